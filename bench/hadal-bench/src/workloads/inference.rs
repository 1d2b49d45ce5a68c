//! Whole models, evaluated.

use super::{Row, Workload};
use crate::fill::{data, filled, index};
use crate::models::{Bert, Gpt, MobileNetV2, ResNet18, bert::MINILM};
use hadal_nn::{Ctx, Forward, Init};
use hadal_tensor::{Tensor, no_grad};

pub const ROWS: &[Row] = &[
    ("resnet18_b1", || images(1, RESNET18, |init| ResNet18::new(init, 1000))),
    ("resnet18_b8", || images(8, RESNET18, |init| ResNet18::new(init, 1000))),
    ("mobilenetv2_b1", || images(1, MOBILENETV2, |init| MobileNetV2::new(init, 1000))),
    ("mobilenetv2_b8", || images(8, MOBILENETV2, |init| MobileNetV2::new(init, 1000))),
    ("minilm_b1", || minilm(1)),
    ("minilm_b8", || minilm(8)),
    ("gpt2_decode", gpt2_decode),
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

/// GPT-2 small: 64 tokens, one after another, after a prompt of 16.
fn gpt2_decode() -> Workload {
    let (layers, width, vocab) = (12, 768, 50_257);
    let (prompt, tokens) = (index("prompt", [1, 16], vocab as u32), 64);
    let model = filled(Gpt::new(&Init::new(0), vocab, 1024, layers, width, 12));
    let run = move || {
        let (mut past, cx) = (model.nothing_past(), Ctx::eval());
        let mut logits = no_grad(|| model.decode(&prompt, &mut past, &cx));
        for _ in 0..tokens {
            let next = logits.argmax(-1, true); // [1, 1]
            next.eval().map_err(|e| e.to_string())?;
            logits = no_grad(|| model.decode(&next, &mut past, &cx));
        }
        logits.eval().map_err(|e| e.to_string())?;
        Ok(vec![logits])
    };
    // The weights of the layers and of the head are read for the prompt and for each token.
    Workload::new(run).moves((1 + tokens) * (layers * 12 * width * width + vocab * width))
}
