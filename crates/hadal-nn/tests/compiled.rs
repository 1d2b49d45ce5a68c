//! Compiled models against themselves uncompiled, and both against the same models in f64.

use hadal_nn::{
    BatchNorm2d, Conv2d, Ctx, Embedding, Forward, GELU, GlobalAvgPool, Init, LayerNorm, Linear, Module, ReLU,
    ReLU6, Sequential, seq,
};
use hadal_tensor::{DType, Key, Tensor, no_grad, set_threads};

/// A sum of what comes in and what the body makes of it, then an activation.
#[derive(Module)]
struct Residual {
    body: Sequential,
    shortcut: Option<Sequential>,
    #[module(skip)]
    relu: bool,
}

impl Forward for Residual {
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let y = self.body.forward(x, cx) + self.shortcut.forward(x, cx);
        if self.relu { y.relu() } else { y }
    }
}

fn conv_norm(init: &Init, [from, to, kernel, stride, groups]: [usize; 5]) -> Sequential {
    let conv = Conv2d::new(init, from, to, kernel).stride(stride).padding((kernel - 1) / 2).groups(groups);
    seq![conv.no_bias(), BatchNorm2d::new(init, to)]
}

/// A stem, two blocks (the second with a shortcut of its own), a head: ResNet's parts.
fn resnet(init: &Init) -> Sequential {
    let block = |from, to, stride| Residual {
        body: seq![
            conv_norm(init, [from, to, 3, stride, 1]),
            ReLU::new(),
            conv_norm(init, [to, to, 3, 1, 1])
        ],
        shortcut: (from != to).then(|| conv_norm(init, [from, to, 1, stride, 1])),
        relu: true,
    };
    let stem = seq![conv_norm(init, [3, 20, 7, 2, 1]), ReLU::new()];
    seq![stem, block(20, 20, 1), block(20, 36, 2), GlobalAvgPool::new(), Linear::new(init, 36, 10)]
}

/// Inverted residuals: MobileNetV2's parts.
fn mobilenet(init: &Init) -> Sequential {
    let block = |c: usize, stride| {
        seq![
            conv_norm(init, [c, 6 * c, 1, 1, 1]),
            ReLU6::new(),
            conv_norm(init, [6 * c, 6 * c, 3, stride, 6 * c]),
            ReLU6::new(),
            conv_norm(init, [6 * c, c, 1, 1, 1])
        ]
    };
    let adds = Residual { body: block(16, 1), shortcut: None, relu: false };
    let stem = seq![conv_norm(init, [3, 16, 3, 2, 1]), ReLU6::new()];
    seq![stem, block(16, 2), adds, GlobalAvgPool::new(), Linear::new(init, 16, 10)]
}

/// Half of a transformer's layer behind an embedding; no norm to fold: the same bits.
fn encoder(init: &Init) -> Sequential {
    let network = seq![Linear::new(init, 48, 160), GELU::new(), Linear::new(init, 160, 48)];
    let layer = Residual { body: network, shortcut: None, relu: false };
    seq![Embedding::new(init, 100, 48), LayerNorm::new(init, 48), layer, LayerNorm::new(init, 48)]
}

/// Running statistics as of a trained model.
fn trained(model: Sequential) -> Sequential {
    for (i, (name, state)) in model.buffers().into_iter().enumerate() {
        let key = Key::new(100 + i as u64);
        if name.ends_with("running_mean") {
            state.set(Tensor::randn(state.get().shape(), DType::F32, key) * 0.3).unwrap();
        } else if name.ends_with("running_var") {
            state.set(Tensor::randn(state.get().shape(), DType::F32, key).square() + 0.2).unwrap();
        }
    }
    model
}

fn output(model: &Sequential, x: &Tensor) -> Vec<f64> {
    no_grad(|| model.forward(x, &Ctx::eval())).cast(DType::F64).to_vec().unwrap()
}

/// The largest difference.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn as_close_to_the_truth_as_uncompiled() {
    for (name, new) in [("resnet", resnet as fn(&Init) -> Sequential), ("mobilenet", mobilenet)] {
        let model = trained(new(&Init::new(1)));
        let exact = new(&Init::new(2).dtype(DType::F64));
        exact.load_state_dict(&model.state_dict(), true).unwrap();
        for batch in [1, 3] {
            let x = Tensor::randn([batch, 3, 64, 64], DType::F32, Key::new(batch as u64));
            let net = model.compile(&x).unwrap();
            let run = || net.run(&[&x]).unwrap()[0].cast(DType::F64).to_vec::<f64>().unwrap();
            let (compiled, truth) = (run(), output(&exact, &x.cast(DType::F64)));
            let plain = distance(&output(&model, &x), &truth);
            let size = truth.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
            let error = distance(&compiled, &truth);
            assert!(error <= 4.0 * plain + 1e-6 * size, "{name}, {batch}: {error:e}, uncompiled {plain:e}");
            for threads in [1, 2, 3] {
                set_threads(threads);
                assert!(run() == compiled, "{name}, {batch}, {threads} threads");
            }
            let kernels = net.summary().kernels;
            assert!(!kernels.iter().any(|k| k.contains("sub") || k.contains("rsqrt")), "{kernels:?}");
        }
    }
}

#[test]
fn the_same_bits_without_norms() {
    let model = encoder(&Init::new(1));
    for batch in [1, 4] {
        let tokens = Tensor::randint(0, 100, [batch, 30], Key::new(5));
        let net = model.compile(&tokens).unwrap();
        let compiled = net.run(&[&tokens]).unwrap()[0].cast(DType::F64).to_vec::<f64>().unwrap();
        assert!(compiled == output(&model, &tokens), "batch {batch}");
    }
}

#[test]
fn errors_name_the_layer() {
    let model = resnet(&Init::new(1));
    model.name_layers();
    let wrong = model.compile(&Tensor::zeros([1, 4, 64, 64], DType::F32)).unwrap_err().to_string();
    assert!(wrong.contains("channels") && wrong.contains("Conv2d"), "{wrong}");
}
