//! Wrong inputs end in an error that names the layer, the sizes, and what to do. None panics.

mod common;

use hadal_nn::init::{self, Fan, Nonlinearity};
use hadal_nn::loss::*;
use hadal_nn::*;
use hadal_tensor::{DType, Key, Tensor};

fn x(shape: &[usize]) -> Tensor {
    Tensor::ones(shape, DType::F32)
}
fn message(t: &Tensor) -> String {
    t.eval().expect_err("an error was expected").to_string()
}

#[test]
fn the_message_has_path_place_shapes_and_help() {
    #[derive(Module)]
    struct Net {
        fc1: Linear,
    }
    let net = Net { fc1: Linear::new(&Init::new(0), 4, 2) };
    net.name_layers();
    let line = line!() + 1;
    let y = net.fc1.forward(&x(&[3, 5]), &Ctx::eval());
    let want = format!(
        "Linear: the input's last size is 5, in_features is 4\n  operands: [3, 5] f32, [2, 4] f32\n  \
         in: fc1 (Linear)\n  at: {}:{line}:21\n  \
         help: the input is [.., in_features]; flatten images first, as in x.flatten(1)",
        file!()
    );
    assert_eq!(message(&y), want);
    // Whatever is built on it carries the first error.
    assert_eq!(message(&(y.relu() * 2.0).sum(..)), want);
}

#[test]
fn layers_say_what_does_not_fit() {
    let i = Init::new(0);
    let cases: Vec<(Box<dyn Layer>, Vec<usize>, &str)> = vec![
        (Box::new(Linear::new(&i, 4, 2)), vec![], "Linear: the input has no dimensions"),
        (
            Box::new(Conv2d::new(&i, 3, 4, 3)),
            vec![1, 1, 8, 8],
            "Conv2d: the input has 1 channels, in_channels is 3",
        ),
        (Box::new(Conv2d::new(&i, 3, 4, 3)), vec![8, 8], "Conv2d: the input has 2 dimensions, 4 are needed"),
        (Box::new(Conv2d::new(&i, 3, 4, 9)), vec![1, 3, 8, 8], "conv2d: the kernel reaches 9 elements"),
        (
            Box::new(Conv2d::new(&i, 3, 4, 3).stride(0)),
            vec![1, 3, 8, 8],
            "conv2d: stride, dilation and groups",
        ),
        (
            Box::new(Conv2d::new(&i, 3, 4, 3).groups(2)),
            vec![1, 3, 8, 8],
            "Conv2d: 3 and 4 channels in 2 groups",
        ),
        (
            Box::new(Conv2d::new(&i, 3, 4, 3).groups(0)),
            vec![1, 3, 8, 8],
            "Conv2d: 3 and 4 channels in 0 groups",
        ),
        (
            Box::new(Conv2d::new(&i, 3, 4, [1, 2, 3])),
            vec![1, 3, 8, 8],
            "Conv2d: the kernel takes 1 or 2 numbers",
        ),
        (Box::new(Conv1d::new(&i, 3, 4, 0)), vec![1, 3, 8], "conv1d: a kernel of size 0"),
        (
            Box::new(ConvTranspose2d::new(&i, 3, 4, 3)),
            vec![1, 2, 8, 8],
            "ConvTranspose2d: the input has 2 channels, in_channels is 3",
        ),
        (
            Box::new(ConvTranspose1d::new(&i, 3, 4, 3).output_padding(1)),
            vec![1, 3, 8],
            "conv_transpose1d: output padding must be smaller",
        ),
        (
            Box::new(BatchNorm2d::new(&i, 3)),
            vec![2, 4, 5, 5],
            "BatchNorm2d: the input has 4 channels, the layer is for 3",
        ),
        (
            Box::new(BatchNorm2d::new(&i, 3)),
            vec![2, 3],
            "BatchNorm2d: the input has 2 dimensions, 4 are needed",
        ),
        (
            Box::new(LayerNorm::new(&i, [3, 4])),
            vec![2, 4, 3],
            "LayerNorm: the input's last sizes are not normalized_shape, [3, 4]",
        ),
        (
            Box::new(RMSNorm::new(&i, 4)),
            vec![2, 3],
            "RMSNorm: the input's last sizes are not normalized_shape, [4]",
        ),
        (Box::new(GroupNorm::new(&i, 2, 4)), vec![2, 3, 5], "GroupNorm: the input must have 4 channels"),
        (
            Box::new(GroupNorm::new(&i, 3, 4)),
            vec![2, 4, 5],
            "group_norm: 4 channels do not divide into 3 groups",
        ),
        (
            Box::new(InstanceNorm2d::new(&i, 3)),
            vec![2, 3, 1, 1],
            "InstanceNorm2d: 1 spatial values have no variance",
        ),
        (Box::new(Embedding::new(&i, 3, 2)), vec![2], "Embedding: indices must be integers, not f32"),
        (
            Box::new(MaxPool2d::new(3).padding(2)),
            vec![1, 1, 8, 8],
            "max_pool2d: padding 2 is more than half the kernel 3",
        ),
        (Box::new(AvgPool2d::new(9)), vec![1, 1, 8, 8], "avg_pool2d: a window of 9 in 8 elements"),
        (
            Box::new(AdaptiveAvgPool2d::new(0)),
            vec![1, 1, 8, 8],
            "adaptive_avg_pool2d: an empty grid or input",
        ),
        (Box::new(GlobalAvgPool::new()), vec![2, 3], "GlobalAvgPool: the input has 2 dimensions"),
        (Box::new(Flatten::new()), vec![3], "Flatten: dimensions 1 to -1 of 1"),
        (Box::new(Unflatten::new(1, [2, -1])), vec![3, 5], "Unflatten: size 5 does not divide into [2, -1]"),
        (Box::new(Unflatten::new(2, [1])), vec![3, 5], "Unflatten: dimension 2 of 2"),
        (Box::new(PReLU::new(&i).num_parameters(3)), vec![2, 4], "PReLU: 3 weights for 4 channels"),
        (Box::new(GLU::new()), vec![2, 5], "glu: "),
        (Box::new(Softmax::new(2)), vec![2, 5], "softmax: dimension 2 is out of range"),
        (Box::new(LazyLinear::new(&i, 2)), vec![], "LazyLinear: the input has no dimensions"),
        (Box::new(LazyConv2d::new(&i, 2, 3)), vec![2, 2], "LazyConv2d: the input has 2 dimensions"),
    ];
    for (layer, shape, want) in cases {
        let m = seq!["layer" => layer];
        m.name_layers();
        let e = message(&m.forward(&x(&shape), &Ctx::train(Key::new(0))));
        assert!(e.starts_with(want), "wanted {want:?}, got {e:?}");
        assert!(e.contains("in: layer ("), "{e}");
    }
}

#[test]
fn an_index_outside_the_table_is_named() {
    let words = Embedding::new(&Init::new(0), 3, 2);
    for bad in [3i64, -1] {
        let e = message(&words.forward(&Tensor::new([0, bad]), &Ctx::eval()));
        assert!(e.contains(&format!("index {bad}")) && e.contains("size 3"), "{e}");
        assert!(e.contains("in: an Embedding layer"), "{e}");
    }
    let padded = Embedding::new(&Init::new(0), 3, 2).padding_idx(3);
    let e = message(&padded.forward(&Tensor::new([0i64]), &Ctx::eval()));
    assert!(e.starts_with("Embedding: padding_idx 3 is not a row of 3"), "{e}");
}

#[test]
fn losses_say_what_does_not_fit() {
    let (a, b) = (x(&[4, 3]), x(&[4, 1]));
    let e = message(&mse_loss(&a, &b));
    assert!(
        e.starts_with("mse_loss: input and target differ in shape\n  operands: [4, 3] f32, [4, 1] f32"),
        "{e}"
    );
    let e = message(&cross_entropy(&a, &Tensor::zeros([3], DType::I64)));
    assert!(e.starts_with("cross_entropy: the target of this input has the shape [4]"), "{e}");
    let e = message(&cross_entropy(&a, &b));
    assert!(e.starts_with("cross_entropy: class indices must be integers, not f32"), "{e}");
    let e = message(&cross_entropy(&a, &Tensor::new([0i64, 1, 2, 3])));
    assert!(e.contains("index 3") && e.contains("size 3"), "{e}");
    let e = message(&cross_entropy(&a, &Tensor::new([0i64, 1, 2, -1])));
    assert!(e.contains("index -1") && e.contains("size 3"), "{e}");
    let t = Tensor::new([0i64, 1, 2, 0]);
    let e = message(&CrossEntropy::new().weight(&x(&[4])).forward(&a, &t));
    assert!(e.starts_with("cross_entropy: the weight needs one number for each of 3 classes"), "{e}");
    let e = message(&CrossEntropy::new().label_smoothing(1.5).forward(&a, &t));
    assert!(e.starts_with("cross_entropy: a label smoothing of 1.5"), "{e}");
    let e = message(&mse_loss(&t, &t));
    assert!(e.starts_with("mse_loss: no operand is a float"), "{e}");
    let e = message(&BceWithLogits::new().pos_weight(&x(&[2])).forward(&a, &a));
    assert!(e.starts_with("binary_cross_entropy_with_logits: a weight does not fit"), "{e}");
    let e = message(&triplet_margin_loss(&a, &a, &b));
    assert!(e.starts_with("triplet_margin_loss: shapes differ"), "{e}");
    let e = message(&cosine_embedding_loss(&a, &a, &a));
    assert!(e.starts_with("cosine_embedding_loss: shapes do not fit"), "{e}");
    let e = message(&gaussian_nll_loss(&a, &a, &x(&[3])));
    assert!(e.starts_with("gaussian_nll_loss: the variance does not fit"), "{e}");
}

#[test]
fn losses_pass_on_the_first_error() {
    let bad = x(&[2]).reshape([3]);
    let e = message(&cross_entropy(&bad, &Tensor::new([0i64])));
    assert!(e.starts_with("reshape: "), "{e}");
    assert!(message(&mse_loss(&x(&[2]), &bad)).starts_with("reshape: "));
    let fc = Linear::new(&Init::new(0), 4, 2);
    assert!(message(&fc.forward(&bad, &Ctx::eval())).starts_with("reshape: "));
}

#[test]
fn initialisers_say_what_does_not_fit() {
    let k = Key::new(0);
    let e = message(&init::xavier_uniform(k, 3, DType::F32, 1.0));
    assert!(e.starts_with("xavier_uniform: the fan of shape [3] is not defined"), "{e}");
    assert!(init::kaiming_normal(k, 3, DType::F32, Fan::Out, Nonlinearity::Relu).eval().is_err());
    assert!(init::orthogonal(k, 3, DType::F32, 1.0).eval().is_err());
    assert!(init::trunc_normal(k, 3, DType::F32, 0.0, 1.0, 2.0, -2.0).eval().is_err());
    assert!(init::dirac([4, 4], DType::F32, 1).eval().is_err());
    assert!(init::sparse(k, [4, 4], DType::F32, 1.5, 0.01).eval().is_err());
}

/// Layers behind `dyn`, inside closures, and built when they are first used: the line is the user's.
#[test]
fn the_line_is_the_users_wherever_the_library_calls_itself() {
    let here = |t: Tensor| {
        let e = t.eval().unwrap_err();
        assert!(e.location().is_some_and(|l| l.file() == file!()), "{e}");
    };
    let (init, cx) = (Init::new(0), Ctx::train_without_key());
    let x = Tensor::ones([2, 3], DType::F32);
    here(seq![ReLU::new(), BatchNorm2d::new(&init, 3)].forward(&x, &cx));
    here(seq![seq![ReLU::new(), Linear::new(&init, 4, 4)]].forward(&x, &cx));
    let boxed: Box<dyn Layer> = Box::new(Linear::new(&init, 4, 4));
    here(boxed.forward(&x, &cx));
    here(std::sync::Arc::new(Some(Linear::new(&init, 4, 4))).forward(&x, &cx));
    here(Dropout::new(0.5).forward(&x, &cx));
    here(LazyConv2d::new(&init, 4, 3).groups(3).forward(&Tensor::ones([1, 4, 8, 8], DType::F32), &cx));
    here(LSTM::new(&init, 4, 8).forward(&Tensor::ones([5, 2, 3], DType::F32), &cx));
    here(loss::cross_entropy(&x, &Tensor::new([0i64, 3])));
    here(init::xavier_uniform(Key::new(0), [3], DType::F32, 1.0));
    here(init::orthogonal(Key::new(0), [3], DType::F32, 1.0));
    // A layer of the user's own, behind `dyn` and in a chain, is placed where its code stands.
    let own = Lambda::new(|x: &Tensor| x.reshape([7]));
    let line = line!() - 1;
    let e = seq![own].forward(&x, &cx).eval().unwrap_err();
    assert_eq!(e.location().map(|l| l.line()), Some(line));
}
