//! Distributions of initial parameters.

mod common;

use common::values;
use hadal_nn::init::{self, Fan, Nonlinearity, calculate_gain};
use hadal_nn::*;
use hadal_tensor::{DType, Key, Tensor};

fn moments(t: &Tensor) -> (f64, f64, f64, f64) {
    let v = values(t);
    let n = v.len() as f64;
    let mean = v.iter().sum::<f64>() / n;
    let std = (v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
    let (low, high) = v.iter().fold((f64::MAX, f64::MIN), |(l, h), &x| (l.min(x), h.max(x)));
    (mean, std, low, high)
}

/// Mean 0 and this standard deviation, within what a sample of this size allows.
fn spread(t: &Tensor, std: f64) {
    let (mean, s, ..) = moments(t);
    let n = t.numel() as f64;
    assert!(mean.abs() < 5.0 * std / n.sqrt(), "mean {mean}");
    assert!((s / std - 1.0).abs() < 5.0 / n.sqrt(), "standard deviation {s}, not {std}");
}

const SHAPE: [usize; 4] = [64, 32, 3, 3]; // fan_in 288, fan_out 576

#[test]
fn xavier_and_kaiming_have_their_spread() {
    let (k, f) = (Key::new(1), DType::F64);
    let xavier = 2.0 * (2.0f64 / (288.0 + 576.0)).sqrt();
    spread(&init::xavier_uniform(k, SHAPE, f, 2.0), xavier);
    spread(&init::xavier_normal(k, SHAPE, f, 2.0), xavier);
    let (_, _, low, high) = moments(&init::xavier_uniform(k, SHAPE, f, 2.0));
    assert!(high <= 3f64.sqrt() * xavier && low >= -(3f64.sqrt()) * xavier);
    for (n, gain) in [
        (Nonlinearity::Linear, 1.0),
        (Nonlinearity::Sigmoid, 1.0),
        (Nonlinearity::Tanh, 5.0 / 3.0),
        (Nonlinearity::Relu, 2f64.sqrt()),
        (Nonlinearity::LeakyRelu(0.2), (2.0f64 / 1.04).sqrt()),
        (Nonlinearity::Selu, 0.75),
    ] {
        assert_eq!(calculate_gain(n), gain);
        spread(&init::kaiming_normal(k, SHAPE, f, Fan::In, n), gain / 288f64.sqrt());
        spread(&init::kaiming_uniform(k, SHAPE, f, Fan::Out, n), gain / 576f64.sqrt());
    }
}

#[test]
fn truncated_normal_stays_inside_and_has_its_density() {
    let t = init::trunc_normal(Key::new(1), [100_000], DType::F32, 1.0, 2.0, -1.0, 5.0);
    let (mean, std, low, high) = moments(&t);
    assert!(low >= -1.0 && high <= 5.0);
    // Cut at -1 and 2 standard deviations: a = φ(-1) - φ(2) over Φ(2) - Φ(-1) is the shifted mean.
    assert!((mean - (1.0 + 2.0 * 0.229_637_3)).abs() < 0.03, "mean {mean}");
    assert!((std - 2.0 * 0.720_6).abs() < 0.03, "standard deviation {std}");
    let symmetric = init::trunc_normal(Key::new(1), [100_000], DType::F32, 0.0, 1.0, -2.0, 2.0);
    let (mean, std, ..) = moments(&symmetric);
    assert!(mean.abs() < 0.02 && (std - 0.879_6).abs() < 0.01, "{mean} {std}");
}

#[test]
fn orthogonal_is_orthogonal() {
    for shape in [vec![5, 5], vec![3, 7], vec![7, 3], vec![4, 2, 3, 3], vec![6, 1, 2]] {
        let q = init::orthogonal(Key::new(2), shape.clone(), DType::F64, 2.0);
        assert_eq!(q.dims(), shape);
        let flat = q.reshape([shape[0] as isize, -1]);
        let (r, c) = (flat.dims()[0], flat.dims()[1]);
        let product = if r <= c { flat.matmul(&flat.t()) } else { flat.t().matmul(&flat) };
        let n = r.min(c);
        for (i, v) in values(&product).iter().enumerate() {
            let want = if i % (n + 1) == 0 { 4.0 } else { 0.0 };
            assert!((v - want).abs() < 1e-12, "{shape:?}: element {i} of the product is {v}");
        }
    }
}

#[test]
fn patterns() {
    let eye = values(&init::eye(2, 3, DType::F32));
    assert_eq!(eye, [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    // A dirac convolution hands channels on.
    let x = Tensor::randn([1, 2, 4, 4], DType::F32, Key::new(1));
    let conv = Conv2d::new(&Init::new(0), 2, 4, 3).padding(1).groups(2).no_bias();
    conv.weight.set(init::dirac(conv.weight.shape(), DType::F32, 2));
    let y = conv.forward(&x, &Ctx::eval());
    assert_eq!(values(&y.select(1, 0)), values(&x.select(1, 0)));
    assert_eq!(values(&y.select(1, 2)), values(&x.select(1, 1)));
    assert_eq!(values(&y.select(1, 1)), [0.0; 16]);
    let s = init::sparse(Key::new(3), [10, 20], DType::F32, 0.25, 0.01);
    let zeros = s.eq(0.0).sum(0).to_vec::<i64>().unwrap();
    assert_eq!(zeros, [3; 20]);
    assert_eq!(values(&init::constant([2], DType::BF16, 0.5)), [0.5; 2]);
}

#[test]
fn layers_begin_as_pytorchs() {
    let i = Init::new(0);
    let uniform = |t: Tensor, bound: f64| {
        let (_, _, low, high) = moments(&t);
        assert!(low >= -bound && high <= bound, "{low} {high} outside ±{bound}");
        spread(&t, bound / 3f64.sqrt());
    };
    let fc = Linear::new(&i, 100, 400);
    uniform(fc.weight.get(), 0.1);
    uniform(fc.bias.unwrap().get(), 0.1);
    let conv = Conv2d::new(&i, 16, 64, 5).groups(4);
    uniform(conv.weight.get(), 0.1);
    uniform(conv.bias.unwrap().get(), 0.1);
    // PyTorch counts the second size of a transposed weight as inputs.
    let up = ConvTranspose2d::new(&i, 64, 4, 5);
    uniform(up.weight.get(), 0.1);
    spread(&Embedding::new(&i, 100, 100).weight.get(), 1.0);
    assert_eq!(values(&PReLU::new(&i).weight.get()), [0.25]);
    let bn = BatchNorm2d::new(&i, 2);
    let state: Vec<Vec<f64>> = bn.state_dict().iter().map(|(_, t)| values(t)).collect();
    assert_eq!(state, [vec![1.0, 1.0], vec![0.0, 0.0], vec![0.0, 0.0], vec![1.0, 1.0], vec![0.0]]);
}

#[test]
fn dtype_follows_the_init() {
    let i = Init::new(0).dtype(DType::BF16);
    let m = seq![Conv1d::new(&i, 2, 3, 3), GroupNorm::new(&i, 1, 3), Linear::new(&i, 4, 2)];
    assert!(m.parameters().iter().all(|(_, p)| p.dtype() == DType::BF16));
    let y = m.forward(&Tensor::ones([1, 2, 6], DType::BF16), &Ctx::eval());
    assert_eq!(y.dtype(), DType::BF16);
    y.eval().unwrap();
}
