//! Recurrent layers and cells: PyTorch's outputs, states and gradients from the same weights; derivatives
//! against central differences; errors; training.

mod common;

use common::{Golden, Outcome, close, compare_case, gradcheck_layer, randn, values};
use hadal_nn::*;
use hadal_tensor::{DType, Key, Tensor, grad, no_grad};
use serde_json::Value;

/// The layer of a case, its outputs, and its tensors by name.
fn outcome(golden: &Golden, case: &Value) -> Outcome {
    let args = &case["args"];
    let names: Vec<&str> =
        case["input_names"].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect();
    let inputs: Vec<Tensor> = golden.list(case, "inputs").into_iter().map(Option::unwrap).collect();
    let vars: Vec<Tensor> =
        inputs.iter().map(|t| if t.dtype().is_float() { t.requires_grad() } else { t.clone() }).collect();
    let var = |name: &str| names.iter().position(|n| *n == name).map(|i| vars[i].clone());
    let number = |name: &str| args[name].as_u64().map(|n| n as usize);
    let flag = |name: &str| args[name].as_bool() == Some(true);
    let (input, hidden) = (number("input_size").unwrap(), number("hidden_size").unwrap());
    let dtype = inputs[0].dtype();
    let init = Init::new(0).dtype(dtype);
    let (x, h0, c0, lengths) = (var("input").unwrap(), var("h_0"), var("c_0"), var("lengths"));
    let relu = args["nonlinearity"] == "relu";
    // Parameters become the case's tensors, names and shapes being equal.
    let place = |module: &dyn Module| -> Vec<(String, Param)> {
        let params = module.parameters();
        let of_case = names.iter().filter(|n| n.contains("weight") || n.contains("bias"));
        assert_eq!(
            params.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>(),
            of_case.copied().collect::<Vec<_>>()
        );
        for (name, p) in &params {
            let value = var(name).unwrap();
            assert_eq!(p.shape(), *value.shape(), "{name}");
            p.set(value);
        }
        params
    };
    macro_rules! layer {
        ($kind:ident) => {{
            let mut layer = $kind::new(&init, input, hidden);
            if let Some(n) = number("num_layers") {
                layer = layer.num_layers(n);
            }
            if flag("bidirectional") {
                layer = layer.bidirectional();
            }
            if flag("batch_first") {
                layer = layer.batch_first();
            }
            if args["bias"] == false {
                layer = layer.no_bias();
            }
            layer
        }};
    }
    macro_rules! cell {
        ($kind:ident) => {{
            let cell = $kind::new(&init, input, hidden);
            if args["bias"] == false { cell.no_bias() } else { cell }
        }};
    }
    let cx = Ctx::eval();
    let states = h0.as_ref().zip(c0.as_ref());
    let (outputs, params) = match case["op"].as_str().unwrap() {
        "rnn" => {
            let mut layer = layer!(RNN);
            if relu {
                layer = layer.relu();
            }
            let params = place(&layer);
            let (y, h) = layer.forward_with(&x, h0.as_ref(), lengths.as_ref(), &cx);
            (vec![y, h], params)
        }
        "gru" => {
            let layer = layer!(GRU);
            let params = place(&layer);
            let (y, h) = layer.forward_with(&x, h0.as_ref(), lengths.as_ref(), &cx);
            (vec![y, h], params)
        }
        "lstm" => {
            let mut layer = layer!(LSTM);
            if let Some(p) = number("proj_size") {
                layer = layer.proj_size(p);
            }
            let params = place(&layer);
            let (y, (h, c)) = layer.forward_with(&x, states, lengths.as_ref(), &cx);
            (vec![y, h, c], params)
        }
        "rnn_cell" => {
            let cell = if relu { cell!(RNNCell).relu() } else { cell!(RNNCell) };
            let params = place(&cell);
            (vec![cell.forward(&x, h0.as_ref(), &cx)], params)
        }
        "gru_cell" => {
            let cell = cell!(GRUCell);
            let params = place(&cell);
            (vec![cell.forward(&x, h0.as_ref(), &cx)], params)
        }
        "lstm_cell" => {
            let cell = cell!(LSTMCell);
            let params = place(&cell);
            let (h, c) = cell.forward(&x, states, &cx);
            (vec![h, c], params)
        }
        other => panic!("{other}"),
    };
    let inputs = names.iter().zip(&vars).map(|(name, v)| {
        Some(params.iter().find(|(n, _)| n == name).map_or_else(|| v.clone(), |(_, p)| p.get()))
    });
    Outcome { outputs, inputs: inputs.collect() }
}

#[test]
fn layers_and_cells_equal_pytorch() {
    let golden = Golden::load("recurrent");
    for case in &golden.cases {
        let tol = if case["dtype"] == "f64" { 1e-12 } else { 5e-6 };
        compare_case(&golden, case, &outcome(&golden, case), tol);
    }
    assert!(golden.cases.len() >= 39, "{} cases", golden.cases.len());
}

#[test]
fn without_gradients_the_same_numbers() {
    let golden = Golden::load("recurrent");
    for case in &golden.cases {
        let kept = outcome(&golden, case).outputs;
        let plain = no_grad(|| outcome(&golden, case)).outputs;
        for (a, b) in kept.iter().zip(&plain) {
            assert_eq!(values(a), values(b), "{}", case["name"]);
        }
    }
}

#[test]
fn derivatives_of_first_and_second_order() {
    let i = Init::new(0).dtype(DType::F64);
    let lengths = Tensor::new([3i64, 1]);
    let cx = Ctx::eval();
    let x = randn(&[3, 2, 2], 5);
    gradcheck_layer("rnn", &RNN::new(&i, 2, 2), |l, x| l.forward(x, &cx), &x);
    gradcheck_layer(
        "gru, both directions",
        &GRU::new(&i, 2, 2).bidirectional(),
        |l, x| l.forward(x, &cx),
        &x,
    );
    let run = |l: &LSTM, x: &Tensor| {
        let (y, (h, c)) = l.forward_with(x, None, Some(&lengths), &Ctx::eval());
        y.sum(..) * h.square().sum(..) + c.square().sum(..)
    };
    gradcheck_layer("lstm with projection and lengths", &LSTM::new(&i, 2, 3).proj_size(2), run, &x);
    let run = |l: &LSTMCell, x: &Tensor| {
        let (h, c) = l.forward(x, None, &Ctx::eval());
        let (h, c) = l.forward(x, Some((&h, &c)), &Ctx::eval());
        h * c.square()
    };
    gradcheck_layer("lstm cell, twice", &LSTMCell::new(&i, 2, 2), run, &randn(&[2, 2], 6));
}

#[test]
fn parameters_have_pytorchs_names_and_beginnings() {
    let init = || Init::new(3);
    let lstm = LSTM::new(&init(), 4, 16).num_layers(2).bidirectional().proj_size(5);
    let names: Vec<String> = lstm.parameters().into_iter().map(|(n, _)| n).collect();
    let of = |suffix: &str| {
        ["weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"].map(|n| format!("{n}_l{suffix}"))
    };
    assert_eq!(names, [of("0"), of("0_reverse"), of("1"), of("1_reverse")].concat());
    let shapes: Vec<Vec<usize>> = lstm.parameters().iter().map(|(_, p)| p.shape().to_vec()).collect();
    assert_eq!(shapes[..5], [vec![64, 4], vec![64, 5], vec![64], vec![64], vec![5, 16]]);
    assert_eq!(shapes[10], [64, 10]);
    for (name, p) in lstm.parameters() {
        let v = values(&p.get());
        let (low, high) = v.iter().fold((0.0f64, 0.0f64), |(l, h), &v| (l.min(v), h.max(v)));
        assert!((-0.25..-0.2).contains(&low) && (0.2..0.25).contains(&high), "{name}: {low} to {high}");
    }
    // Options that add parameters leave the others as they were.
    let first = |l: &LSTM| values(&l.parameters()[0].1.get());
    assert_eq!(first(&LSTM::new(&init(), 4, 16)), first(&lstm));
}

#[test]
fn dropout_is_between_layers_and_only_in_training() {
    let x = randn(&[4, 3, 2], 1);
    let i = || Init::new(0).dtype(DType::F64);
    let two = GRU::new(&i(), 2, 8).num_layers(2).dropout(0.5);
    let plain = GRU::new(&i(), 2, 8).num_layers(2);
    let eval = values(&two.forward(&x, &Ctx::eval()));
    assert_eq!(eval, values(&plain.forward(&x, &Ctx::eval())));
    let train = |key: u64| values(&two.forward(&x, &Ctx::train(Key::new(key))));
    assert_ne!(train(1), eval);
    assert_eq!(train(1), train(1));
    assert_ne!(train(1), train(2));
    let one = GRU::new(&i(), 2, 8).dropout(0.5);
    let y = one.forward(&x, &Ctx::train(Key::new(1)));
    assert_eq!(values(&y), values(&one.forward(&x, &Ctx::eval())));
}

#[test]
fn halves_are_computed_in_f32() {
    let x = Tensor::randn([5, 2, 4], DType::F32, Key::new(1)).cast(DType::BF16);
    let lstm = LSTM::new(&Init::new(0).dtype(DType::BF16), 4, 8);
    let y = lstm.forward(&x, &Ctx::eval());
    assert_eq!(y.dtype(), DType::BF16);
    let wide = LSTM::new(&Init::new(0), 4, 8);
    for ((_, to), (_, from)) in wide.parameters().iter().zip(lstm.parameters()) {
        to.set(from.get().cast(DType::F32));
    }
    // The input's projection is rounded to bf16 once, 2⁻⁸ of values near 1, and the result once more.
    close("bf16", &y.cast(DType::F32), &wide.forward(&x.cast(DType::F32), &Ctx::eval()), 0.02);
}

#[test]
fn wrong_inputs_say_what_does_not_fit() {
    let i = Init::new(0);
    let cx = Ctx::eval();
    let ones = |shape: &[usize]| Tensor::ones(shape, DType::F32);
    let x = ones(&[4, 2, 3]);
    let says = |t: &Tensor, want: &str| {
        let message = t.eval().expect_err(want).to_string();
        assert!(message.starts_with(want), "{message}");
    };
    let lstm = LSTM::new(&i, 3, 5);
    says(&lstm.forward(&ones(&[4, 2, 6]), &cx), "LSTM: the input's last size is 6, input_size is 3");
    says(&lstm.forward(&ones(&[4]), &cx), "LSTM: the input has 1 dimensions, 2 or 3 are needed");
    says(&lstm.forward(&ones(&[0, 2, 3]), &cx), "lstm: a sequence of no steps");
    says(&lstm.forward(&x.cast(DType::F64), &cx), "matmul: dtypes differ: f64 and f32");
    let (h, c) = (ones(&[1, 2, 5]), ones(&[1, 2, 4]));
    says(
        &lstm.forward_with(&x, Some((&h, &c)), None, &cx).1.1,
        "LSTM: the initial cell is [1, 2, 4], [1, 2, 5] is needed",
    );
    let gru = GRU::new(&i, 3, 5).num_layers(2);
    says(
        &gru.forward_with(&x, Some(&h), None, &cx).1,
        "GRU: the initial state is [1, 2, 5], [2, 2, 5] is needed",
    );
    let with = |l: Tensor| gru.forward_with(&x, None, Some(&l), &cx).0;
    says(&with(Tensor::new([1i64])), "gru: the tensor of lengths is [1], [2] is needed");
    says(&with(Tensor::new([1.0f32, 2.0])), "gru: lengths of f32");
    says(&with(Tensor::new([1i64, 5])), "gru: sequence 1 has length 5, the longest possible is 4");
    says(&with(Tensor::new([-1i64, 2])), "gru: sequence 0 has length -1, the longest possible is 4");
    let alone = gru.forward_with(&ones(&[4, 3]), None, Some(&Tensor::new([4i64])), &cx).0;
    says(&alone, "GRU: lengths for an input without a batch");
    says(&LSTM::new(&i, 3, 5).proj_size(5).forward(&x, &cx), "LSTM: proj_size 5 for hidden_size 5");
    says(&RNN::new(&i, 3, 0).forward(&x, &cx), "RNN: hidden_size 0 and num_layers 1");
    says(&RNN::new(&i, 3, 2).num_layers(0).forward(&x, &cx), "RNN: hidden_size 2 and num_layers 0");
    says(&RNN::new(&i, 3, 2).dropout(1.5).forward(&x, &cx), "RNN: a dropout of 1.5");
    let cell = GRUCell::new(&i, 3, 5);
    says(&cell.forward(&ones(&[2, 4]), None, &cx), "GRUCell: the input is [2, 4], its last size must be 3");
    says(
        &cell.forward(&ones(&[2, 3]), Some(&ones(&[3, 5])), &cx),
        "GRUCell: a state of [3, 5], [2, 5] is needed",
    );
}

#[test]
fn an_empty_batch_is_fine() {
    let lstm = LSTM::new(&Init::new(0), 3, 5).bidirectional();
    let x = Tensor::zeros([4, 0, 3], DType::F32).requires_grad();
    let y = lstm.forward(&x, &Ctx::eval());
    assert_eq!(y.dims(), [4, 0, 10]);
    let g = grad(&y.sum(..), &[&x]).unwrap().remove(0);
    assert!(g.to_vec::<f32>().unwrap().is_empty());
    let w = lstm.parameters()[1].1.get();
    let g = grad(&lstm.forward(&x, &Ctx::eval()).sum(..), &[&w]).unwrap().remove(0);
    assert_eq!(values(&g), vec![0.0; 20 * 5]);
}

/// Whether a sequence of signs has more plus than minus, from the last state of what reads it.
#[test]
fn every_layer_learns() {
    #[derive(Module)]
    struct Net<L> {
        read: L,
        out: Linear,
    }
    fn train<L: Module>(
        read: L,
        last: impl Fn(&L, &Tensor, &Tensor, &Ctx) -> Tensor,
        size: usize,
    ) -> (f32, f32) {
        let x = Tensor::bernoulli([9, 64, 1], DType::F32, Key::new(1), 0.5) * 2.0 - 1.0;
        // Odd lengths: sums are never zero.
        let lengths = Tensor::randint(1, 5, [64], Key::new(2)) * 2 + 1;
        let there = Tensor::arange(0, 9, 1).unsqueeze(1).lt(lengths.unsqueeze(0));
        let y = there.where_(x.squeeze(2), 0.0).sum(0).gt(0.0).cast(DType::I64);
        let net = Net { read, out: Linear::new(&Init::new(1), size, 2) };
        let (mut first, mut loss_now) = (None, 0.0);
        for step in 0..40 {
            let cx = Ctx::train(Key::new(3).split(step));
            let logits = net.out.forward(&last(&net.read, &x, &lengths, &cx), &cx);
            let loss = loss::cross_entropy(&logits, &y);
            let grads = loss.backward(&net).unwrap();
            grads.eval().unwrap();
            loss_now = loss.item::<f32>().unwrap();
            // Steps of one size, that of Adam without its memory.
            for e in grads.entries() {
                let next = e.param.get() - e.grad.as_ref().unwrap().sign() * 0.01;
                e.param.set(next.materialize().unwrap());
            }
            first.get_or_insert(loss_now);
        }
        (first.unwrap(), loss_now)
    }
    let i = Init::new(0);
    let both = |h: Tensor| Tensor::cat(&[&h.select(0, -2), &h.select(0, -1)], 1);
    let results = [
        train(RNN::new(&i, 1, 12), |l, x, n, cx| l.forward_with(x, None, Some(n), cx).1.select(0, -1), 12),
        train(
            LSTM::new(&i, 1, 12).bidirectional().proj_size(6),
            |l, x, n, cx| both(l.forward_with(x, None, Some(n), cx).1.0),
            12,
        ),
        train(
            GRU::new(&i, 1, 12).num_layers(2).dropout(0.1),
            |l, x, n, cx| l.forward_with(x, None, Some(n), cx).1.select(0, -1),
            12,
        ),
    ];
    for (first, last) in results {
        assert!(last < 0.3 * first, "{first} to {last}");
    }
}
