//! Whole models, evaluated.

use super::{Row, Workload};
use crate::fill::{data, filled, index};
use crate::models::{Bert, MobileNetV2, ResNet18, bert::MINILM};
use hadal_nn::{Forward, Init};
use hadal_tensor::Tensor;

pub const ROWS: &[Row] = &[
    ("resnet18_b1", || images(1, RESNET18, |init| ResNet18::new(init, 1000))),
    ("resnet18_b8", || images(8, RESNET18, |init| ResNet18::new(init, 1000))),
    ("mobilenetv2_b1", || images(1, MOBILENETV2, |init| MobileNetV2::new(init, 1000))),
    ("mobilenetv2_b8", || images(8, MOBILENETV2, |init| MobileNetV2::new(init, 1000))),
    ("minilm_b1", || minilm(1)),
    ("minilm_b8", || minilm(8)),
];

/// Of one image of 224 × 224: the papers count multiplications, here additions count too.
const RESNET18: f64 = 2.0 * 1.814e9;
const MOBILENETV2: f64 = 2.0 * 0.301e9;

fn images<M: Forward + hadal_nn::Module + 'static>(n: usize, flops: f64, new: fn(&Init) -> M) -> Workload {
    evaluated(new, data("x", [n, 3, 224, 224])).flops(n as f64 * flops)
}

/// Sentences of 128 tokens.
fn minilm(n: usize) -> Workload {
    let (tokens, width) = ((n * 128) as f64, MINILM.width as f64);
    // Four square matrices and two of the network for each token; two products with 128 others.
    let weights = 4.0 * width * width + 2.0 * width * MINILM.hidden as f64;
    let flops = MINILM.layers as f64 * tokens * 2.0 * (weights + 2.0 * 128.0 * width);
    evaluated(|init| Bert::new(init, &MINILM), index("tokens", [n, 128], MINILM.vocab as u32)).flops(flops)
}

/// Compiled once, as ONNX Runtime plans a session once.
fn evaluated<M: Forward + hadal_nn::Module + 'static>(new: fn(&Init) -> M, x: Tensor) -> Workload {
    let net = filled(new(&Init::new(0))).compile(&x).map_err(|e| e.to_string());
    Workload::new(move || match &net {
        Ok(net) => net.run(&[&x]).map_err(|e| e.to_string()),
        Err(e) => Err(e.clone()),
    })
}
