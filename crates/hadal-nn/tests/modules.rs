//! Names, ties, sharing, loading, freezing, lazy layers.

mod common;

use common::{randn, values};
use hadal_nn::loss::cross_entropy;
use hadal_nn::*;
use hadal_tensor::{DType, Tensor, grad};

#[derive(Module)]
struct Block {
    conv: Conv2d,
    bn: BatchNorm2d,
    act: PReLU,
    down: Option<Conv2d>,
}

#[derive(Module)]
struct Net {
    stem: Block,
    layers: Vec<Block>,
    norm: LayerNorm,
    pos: Param,
    #[module(rename = "classifier")]
    head: Sequential,
    #[module(skip)]
    _cache: Vec<u8>,
}

fn block(i: &Init, down: bool) -> Block {
    let down = down.then(|| Conv2d::new(i, 2, 2, 1).no_bias());
    Block { conv: Conv2d::new(i, 2, 2, 3), bn: BatchNorm2d::new(i, 2), act: PReLU::new(i), down }
}

fn net(i: &Init) -> Net {
    Net {
        stem: block(i, false),
        layers: vec![block(i, false), block(i, true)],
        norm: LayerNorm::new(i, 4),
        pos: i.normal([1, 4], 0.02),
        head: seq![Flatten::new(), Linear::new(i, 4, 3), Dropout::new(0.5), Linear::new(i, 3, 2)],
        _cache: vec![],
    }
}

#[test]
fn names_are_pytorchs_in_order() {
    let names: Vec<String> = net(&Init::new(0)).state_dict().into_iter().map(|(n, _)| n).collect();
    let bn = |b: &str| {
        ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
            .map(|n| format!("{b}.bn.{n}"))
    };
    let mut want: Vec<String> = vec![];
    for b in ["stem", "layers.0", "layers.1"] {
        want.extend([format!("{b}.conv.weight"), format!("{b}.conv.bias")]);
        want.extend(bn(b));
        want.push(format!("{b}.act.weight"));
    }
    want.push("layers.1.down.weight".into());
    want.extend(["norm.weight", "norm.bias", "pos"].map(String::from));
    want.extend(["1.weight", "1.bias", "3.weight", "3.bias"].map(|n| format!("classifier.{n}")));
    assert_eq!(names, want);
}

#[test]
fn shapes_are_pytorchs() {
    let i = Init::new(0);
    let shape = |m: &dyn Module, name: &str| {
        m.parameters().into_iter().find(|(n, _)| n == name).map(|(_, p)| p.shape().dims().to_vec())
    };
    assert_eq!(shape(&Linear::new(&i, 3, 5), "weight").unwrap(), [5, 3]);
    assert_eq!(shape(&Conv2d::new(&i, 4, 6, [3, 5]).groups(2), "weight").unwrap(), [6, 2, 3, 5]);
    assert_eq!(shape(&ConvTranspose2d::new(&i, 4, 6, 3).groups(2), "weight").unwrap(), [4, 3, 3, 3]);
    assert_eq!(shape(&ConvTranspose2d::new(&i, 4, 6, 3).groups(2), "bias").unwrap(), [6]);
    assert_eq!(shape(&Embedding::new(&i, 7, 2), "weight").unwrap(), [7, 2]);
    assert_eq!(shape(&LayerNorm::new(&i, [2, 3]), "bias").unwrap(), [2, 3]);
    assert_eq!(shape(&RMSNorm::new(&i, 3), "bias"), None);
    assert_eq!(net(&i).num_parameters(), 3 * (38 + 4 + 1) + 4 + 8 + 4 + 15 + 8);
}

#[test]
fn the_same_seed_gives_the_same_model_whatever_the_order_of_evaluation() {
    let (a, b) = (net(&Init::new(3)), net(&Init::new(3)));
    for (_, p) in b.parameters().into_iter().rev() {
        p.get().eval().unwrap();
    }
    for ((name, x), (_, y)) in a.parameters().iter().zip(b.parameters()) {
        assert_eq!(values(&x.get()), values(&y.get()), "{name}");
    }
    let c = net(&Init::new(4));
    assert_ne!(values(&a.pos.get()), values(&c.pos.get()));
}

#[test]
fn constants_to_begin_with_have_gradients_at_the_first_step() {
    let i = Init::new(0).dtype(DType::F64);
    let net = seq![
        BatchNorm1d::new(&i, 3),
        LayerNorm::new(&i, 3),
        RMSNorm::new(&i, 3),
        PReLU::new(&i).num_parameters(3),
        Linear::new(&i, 3, 2)
    ];
    let loss = net.forward(&randn(&[5, 3], 0), &Ctx::train_without_key()).square().mean(..);
    let grads = loss.backward(&net).unwrap();
    for e in grads.entries() {
        let g = e.grad.as_ref().unwrap_or_else(|| panic!("{} has no gradient", e.name));
        assert_eq!(*g.shape(), e.param.shape(), "{}", e.name);
    }
}

#[test]
fn a_shared_layer_gets_the_sum_of_its_gradients() {
    let i = Init::new(0).dtype(DType::F64);
    let fc = Linear::new(&i, 2, 2);
    let x = randn(&[3, 2], 1);
    let cx = Ctx::eval();
    let w = fc.weight.get();
    let both = fc.forward(&fc.forward(&x, &cx).tanh(), &cx).square().sum(..);
    let total = both.backward(&fc).unwrap();
    // Each use by itself: the other one's weight is a copy that does not count.
    let frozen = Linear::new(&i, 2, 2);
    frozen.weight.set(w.detach().materialize().unwrap());
    frozen.bias.as_ref().unwrap().set(fc.bias.as_ref().unwrap().get().materialize().unwrap());
    let outer = fc.forward(&frozen.forward(&x, &cx).tanh(), &cx).square().sum(..);
    let inner = frozen.forward(&fc.forward(&x, &cx).tanh(), &cx).square().sum(..);
    let sum = outer.backward(&fc).unwrap().get("weight").unwrap()
        + inner.backward(&fc).unwrap().get("weight").unwrap();
    for (a, b) in values(total.get("weight").unwrap()).iter().zip(values(&sum)) {
        assert!((a - b).abs() < 1e-12, "{a} and {b}");
    }
}

#[derive(Module)]
struct Tied {
    tok_emb: Embedding,
    head: Linear,
}

fn tied() -> Tied {
    let i = Init::new(0).dtype(DType::F64);
    let tok_emb = Embedding::new(&i, 5, 3);
    let mut head = Linear::new(&i, 3, 5).no_bias();
    head.weight = tok_emb.weight.clone();
    Tied { tok_emb, head }
}

#[test]
fn tied_parameters_are_one_and_saved_under_both_names() {
    let m = tied();
    let names: Vec<String> = m.parameters().into_iter().map(|(n, _)| n).collect();
    assert_eq!(names, ["tok_emb.weight"]);
    assert_eq!(m.num_parameters(), 15);
    let saved: Vec<String> = m.state_dict().into_iter().map(|(n, _)| n).collect();
    assert_eq!(saved, ["tok_emb.weight", "head.weight"]);

    let index = Tensor::new([0i64, 3]);
    let cx = Ctx::eval();
    let loss = cross_entropy(&m.head.forward(&m.tok_emb.forward(&index, &cx), &cx), &Tensor::new([1i64, 0]));
    let w = m.tok_emb.weight.get();
    let grads = loss.backward(&m).unwrap();
    assert_eq!(grads.entries().len(), 1);
    assert_eq!(values(grads.get("tok_emb.weight").unwrap()), values(&grad(&loss, &[&w]).unwrap()[0]));

    let other = tied();
    other.load_state_dict(&m.state_dict(), true).unwrap();
    assert_eq!(values(&other.head.weight.get()), values(&m.tok_emb.weight.get()));
    assert!(other.head.weight.same(&other.tok_emb.weight), "loading must not untie");
}

#[test]
fn a_round_trip_through_state_dict_keeps_every_bit() {
    let (a, b) = (net(&Init::new(1)), net(&Init::new(2)));
    let x = Tensor::randn([2, 2, 5, 5], DType::F32, hadal_tensor::Key::new(1));
    // Move the running statistics first.
    a.stem.bn.forward(&a.stem.conv.forward(&x, &Ctx::eval()), &Ctx::train_without_key()).eval().unwrap();
    b.load_state_dict(&a.state_dict(), true).unwrap();
    for ((name, x), (_, y)) in a.state_dict().iter().zip(b.state_dict()) {
        assert_eq!(x.to_bytes().unwrap(), y.to_bytes().unwrap(), "{name}");
    }
}

#[test]
fn loading_lists_everything_that_is_wrong_and_changes_nothing() {
    let i = Init::new(0);
    let m =
        seq!["fc1" => Linear::new(&i, 3, 4), "bn" => BatchNorm1d::new(&i, 4), "fc2" => Linear::new(&i, 4, 2)];
    let before: Vec<Vec<f64>> = m.state_dict().iter().map(|(_, t)| values(t)).collect();
    let mut file = m.state_dict();
    file.retain(|(n, _)| n != "bn.running_var" && n != "fc2.bias");
    file.push(("fc3.weight".into(), Tensor::zeros([1], DType::F32)));
    for (n, t) in &mut file {
        *t = if n == "fc1.weight" { Tensor::zeros([4, 5], DType::F32) } else { &*t + 1 };
    }
    let e = m.load_state_dict(&file, true).unwrap_err().to_string();
    assert!(
        e.starts_with(
            "load_state_dict: missing: bn.running_var, fc2.bias\n  unexpected: fc3.weight\n  \
         misshapen: fc1.weight is [4, 3] here, [4, 5] there"
        ),
        "{e}"
    );
    let after: Vec<Vec<f64>> = m.state_dict().iter().map(|(_, t)| values(t)).collect();
    assert_eq!(before, after);

    file.retain(|(n, _)| n != "fc1.weight");
    m.load_state_dict(&file, false).unwrap();
    let bias = &m.state_dict()[1].1;
    assert_eq!(values(bias), before[1].iter().map(|v| (*v as f32 + 1.0) as f64).collect::<Vec<_>>());
}

#[test]
fn loading_keeps_the_models_dtype() {
    let m = Linear::new(&Init::new(0), 2, 2).no_bias();
    m.load_state_dict(&[("weight".into(), Tensor::new([[1.0f64, 2.0], [3.0, 4.0]]))], true).unwrap();
    assert_eq!(m.weight.get().to_vec::<f32>().unwrap(), [1.0, 2.0, 3.0, 4.0]);
}

#[test]
fn frozen_parameters_have_no_gradient() {
    let i = Init::new(0);
    let m = seq!["a" => Linear::new(&i, 2, 2), "b" => Linear::new(&i, 2, 1)];
    m.get(0).unwrap().freeze(true);
    let loss = m.forward(&Tensor::ones([1, 2], DType::F32), &Ctx::eval()).sum(..);
    let names: Vec<String> = loss.backward(&m).unwrap().entries().iter().map(|e| e.name.clone()).collect();
    assert_eq!(names, ["b.weight", "b.bias"]);
}

#[test]
fn backward_says_what_is_wrong() {
    let fc = Linear::new(&Init::new(0), 2, 2);
    let y = fc.forward(&Tensor::ones([1, 2], DType::F32), &Ctx::eval());
    let e = y.backward(&fc).err().unwrap().to_string();
    assert!(e.contains("the loss has several elements") && e.contains(".mean(..)"), "{e}");
    let e = y.detach().sum(..).backward(&fc).err().unwrap().to_string();
    assert!(e.contains("depends on none of the model's parameters"), "{e}");
}

#[test]
fn lazy_layers_settle_at_a_dry_run_and_train_under_the_same_names() {
    let i = Init::new(0);
    let m = seq![
        "conv" => LazyConv2d::new(&i, 4, 3).padding(1).no_bias(),
        "bn" => LazyBatchNorm2d::new(&i),
        "act" => ReLU::new(),
        "flat" => Flatten::new(),
        "fc" => LazyLinear::new(&i, 3),
    ];
    assert!(m.parameters().is_empty());
    assert_eq!(m.uninitialized(), ["conv (LazyConv2d)", "bn (LazyBatchNorm2d)", "fc (LazyLinear)"]);
    let e = m.load_state_dict(&[], true).unwrap_err().to_string();
    let first =
        "load_state_dict: no parameters yet: conv (LazyConv2d), bn (LazyBatchNorm2d), fc (LazyLinear)";
    assert!(e.starts_with(first), "{e}");
    let e = Tensor::zeros((), DType::F32).backward(&m).err().unwrap().to_string();
    assert!(e.starts_with("backward: no parameters yet: conv"), "{e}");

    let y = m.forward(&Tensor::zeros([1, 2, 6, 6], DType::F32), &Ctx::eval());
    assert!(!y.is_evaluated());
    assert!(m.uninitialized().is_empty());
    let names: Vec<String> = m.parameters().into_iter().map(|(n, _)| n).collect();
    assert_eq!(names, ["conv.weight", "bn.weight", "bn.bias", "fc.weight", "fc.bias"]);
    let bn_mean = &m.buffers()[0].1;
    assert_eq!(values(&bn_mean.get()), [0.0; 4], "a dry run in evaluation must not move the statistics");

    // The same weights as layers that were told their sizes.
    let j = Init::new(0);
    let told = seq![
        "conv" => Conv2d::new(&j, 2, 4, 3).padding(1).no_bias(),
        "bn" => BatchNorm2d::new(&j, 4),
        "act" => ReLU::new(),
        "flat" => Flatten::new(),
        "fc" => Linear::new(&j, 144, 3),
    ];
    for ((name, a), (_, b)) in m.parameters().iter().zip(told.parameters()) {
        assert_eq!(values(&a.get()), values(&b.get()), "{name}");
    }
    let e = m.forward(&Tensor::zeros([1, 3, 6, 6], DType::F32), &Ctx::eval()).eval().unwrap_err().to_string();
    assert!(e.contains("3 channels, in_channels is 2") && e.contains("conv (LazyConv2d)"), "{e}");
}

#[test]
fn an_enum_of_layers_is_a_module() {
    #[derive(Module)]
    enum Norm {
        Batch(BatchNorm2d),
        None,
        Two { first: Linear, second: Linear },
    }
    let i = Init::new(0);
    let names = |n: Norm| n.parameters().into_iter().map(|(n, _)| n).collect::<Vec<_>>();
    assert_eq!(names(Norm::Batch(BatchNorm2d::new(&i, 2))), ["weight", "bias"]);
    assert!(names(Norm::None).is_empty());
    let two = Norm::Two { first: Linear::new(&i, 1, 1).no_bias(), second: Linear::new(&i, 1, 1).no_bias() };
    assert_eq!(names(two), ["first.weight", "second.weight"]);
}

#[test]
fn generic_tuple_and_flattened_structs_are_modules() {
    #[derive(Module)]
    struct Residual<L, F> {
        body: Vec<L>,
        #[module(flatten)]
        rest: Pair,
        #[module(skip)]
        _f: F,
    }
    #[derive(Module)]
    struct Pair(PReLU, Option<Linear>);
    let i = Init::new(0);
    let linear = || Linear::new(&i, 2, 2).no_bias();
    let m = Residual {
        body: vec![linear(), linear()],
        rest: Pair(PReLU::new(&i), Some(linear())),
        _f: |x: f32| x,
    };
    let names: Vec<String> = m.parameters().into_iter().map(|(n, _)| n).collect();
    assert_eq!(names, ["body.0.weight", "body.1.weight", "0.weight", "1.weight"]);
}
