//! Steps of training, and recurrent sequences there and back.

use super::{Row, Workload};
use crate::fill::{data, filled, index};
use crate::models::{Deep, Gpt, Mlp, ResNet18};
use hadal_nn::{Backward, Ctx, Forward, GRU, Init, LSTM, Module, loss::cross_entropy};
use hadal_optim::{AdamW, Optimizer, Sgd};
use hadal_tensor::{Tensor, eval};
use hadal_zoo::LeNet;

pub const ROWS: &[Row] = &[
    // 1,000 parameters.
    ("mlp1000_step", || {
        let model = Mlp::new(&Init::new(0), 22, 32, 8);
        step(model, sgd(), data("x", [32, 22]), index("y", [32], 8))
    }),
    ("mlp_step", || {
        let model = Mlp::new(&Init::new(0), 784, 256, 10);
        // No gradient by the images.
        let flops = 2.0 * 256.0 * (2.0 * 784.0 * 256.0 + 3.0 * 256.0 * 10.0);
        step(model, sgd(), data("x", [256, 784]), index("y", [256], 10)).flops(flops)
    }),
    ("lenet_step", || {
        step(LeNet::new(&Init::new(0), 10), sgd(), data("x", [256, 1, 28, 28]), index("y", [256], 10))
    }),
    ("resnet18_step", || {
        let model = ResNet18::new(&Init::new(0), 10);
        // A 224-pixel image takes 1.814 G multiply-adds.
        let flops = 3.0 * 16.0 * 2.0 * 1.814e9 * (96.0f64 / 224.0).powi(2);
        step(model, sgd(), data("x", [16, 3, 96, 96]), index("y", [16], 10)).flops(flops)
    }),
    ("gpt_step", || gpt(false)),
    // The same with blocks that are computed again in the backward pass: memory for time.
    ("gpt_step_checkpoint", || gpt(true)),
    ("deep_step", || deep(None)),
    ("deep_step_checkpoint", || deep(Some(5))),
    ("lstm_fwdbwd", || sequence(LSTM::new(&Init::new(0), 256, 256), 4)),
    ("gru_fwdbwd", || sequence(GRU::new(&Init::new(0), 256, 256), 3)),
];

fn gpt(recompute: bool) -> Workload {
    let model = Gpt::new(&Init::new(0), 65, 256, 4, 256, 4);
    let model = if recompute { model.recompute() } else { model };
    let optimizer = Optimizer::new(AdamW::new(1e-4).weight_decay(0.01));
    // 12 d² weights a layer, the head, and two products with (half of) 256 others.
    let each = 4.0 * (12.0 * 256.0 * 256.0 + 256.0 * 256.0) + 65.0 * 256.0;
    let (x, y) = (index("x", [8, 256], 65), index("y", [8, 256], 65));
    step(model, optimizer, x, y).flops(3.0 * 2.0 * 2048.0 * each)
}

/// 25 layers of 512, batch 2048.
fn deep(region: Option<usize>) -> Workload {
    let model = Deep::new(&Init::new(0), 512, 25, 10, region);
    let flops = 3.0 * 2.0 * 2048.0 * 25.0 * 512.0 * 512.0;
    step(model, sgd(), data("x", [2048, 512]), index("y", [2048], 10)).flops(flops)
}

fn sgd() -> Optimizer {
    Optimizer::new(Sgd::new(0.01))
}

/// One step of training on the same batch. Its output is the loss.
fn step<M: Module + Forward + 'static>(model: M, mut optimizer: Optimizer, x: Tensor, y: Tensor) -> Workload {
    let mut model = filled(model);
    Workload::new(move || {
        let logits = model.forward(&x, &Ctx::train_without_key());
        let classes = logits.size(-1);
        let loss = cross_entropy(&logits.reshape([y.numel(), classes]), &y.reshape([y.numel()]));
        let grads = loss.backward(&model).map_err(|e| e.to_string())?;
        optimizer.step(&mut model, &grads).map_err(|e| e.to_string())?;
        Ok(vec![loss])
    })
}

/// 35 steps of 32 sequences, 256 numbers in and out: states, and gradients by input and parameters.
fn sequence<M: Module + Forward + 'static>(model: M, gates: usize) -> Workload {
    let model = filled(model);
    let (x, g) = (data("x", [35, 32, 256]).requires_grad(), data("g", [35, 32, 256]));
    let run = move || {
        let y = model.forward(&x, &Ctx::train_without_key());
        let params: Vec<Tensor> = model.parameters().iter().map(|(_, p)| p.get()).collect();
        let inputs: Vec<Tensor> = std::iter::once(x.clone()).chain(params).collect();
        let grads = super::gradients(&y, &g, &inputs)?;
        let all: Vec<Tensor> = std::iter::once(y).chain(grads).collect();
        eval(&all.iter().collect::<Vec<_>>()).map_err(|e| e.to_string())?;
        Ok(all)
    };
    Workload::new(run).flops(3.0 * 2.0 * (35 * 32 * gates * 256 * (256 + 256)) as f64)
}
