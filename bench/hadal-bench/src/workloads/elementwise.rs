//! What memory limits: pointwise chains, norms, reductions, copies, the embedding, the optimizer.

use super::{Row, Workload};
use crate::fill::{data, filled, index, weight};
use hadal_nn::{Backward, BatchNorm2d, Ctx, Forward, Init, Module, Param};
use hadal_optim::{AdamW, Optimizer};
use hadal_tensor::Tensor;

pub const ROWS: &[Row] = &[
    ("chain", || {
        let x = data("x", [1 << 24]);
        Workload::forward(move || (&x * 1.5 + 0.25).gelu() + &x).moves(2 << 24)
    }),
    ("softmax_4096x1024", || {
        let x = data("x", [4096, 1024]);
        Workload::forward(move || x.softmax(-1)).moves(2 << 22)
    }),
    ("softmax_fwdbwd", || {
        let (x, g) = (data("x", [4096, 1024]), data("g", [4096, 1024]));
        Workload::both(vec![x], g, |t| t[0].softmax(-1)).moves(4 << 22)
    }),
    ("layernorm_4096x1024", || {
        let (x, w, b) = (data("x", [4096, 1024]), weight("norm.weight", [1024]), weight("norm.bias", [1024]));
        Workload::forward(move || x.layer_norm(&[1024], Some(&w), Some(&b), 1e-5)).moves(2 << 22)
    }),
    ("layernorm_fwdbwd", || {
        let inputs =
            vec![data("x", [4096, 1024]), weight("norm.weight", [1024]), weight("norm.bias", [1024])];
        Workload::both(inputs, data("g", [4096, 1024]), |t| {
            t[0].layer_norm(&[1024], Some(&t[1]), Some(&t[2]), 1e-5)
        })
        .moves(4 << 22)
    }),
    ("sum0_4096", || sum(0)),
    ("sum1_4096", || sum(1)),
    ("transpose_4096", || {
        let x = data("x", [4096, 4096]);
        Workload::forward(move || x.t().contiguous()).moves(2 << 24)
    }),
    ("bn_add_relu", || {
        let (x, r, bn) = (data("x", MAPS), data("r", MAPS), norm());
        Workload::forward(move || (bn.forward(&x, &Ctx::eval()) + &r).relu()).moves(3 * NUMBERS)
    }),
    ("bn_add_relu_train", || {
        let bn = norm();
        let inputs = vec![data("x", MAPS), data("r", MAPS)];
        // Forward: x twice (statistics first), r, y. Backward: x, y and g twice, dx, dr.
        Workload::both(inputs, data("g", MAPS), move |t| {
            (bn.forward(&t[0], &Ctx::train_without_key()) + &t[1]).relu()
        })
        .moves(12 * NUMBERS)
    }),
    ("embedding_fwdbwd", || {
        let (table, tokens) = (data("table", [30_000, 256]), index("tokens", [64, 128], 30_000));
        let g = data("g", [64, 128, 256]);
        // Rows in and out, gradients of rows in, a dense gradient out.
        Workload::both(vec![table], g, move |t| t[0].embedding(&tokens))
            .moves(3 * 64 * 128 * 256 + 30_000 * 256)
    }),
    // The second name is PyTorch's other way of doing the same.
    ("adamw", adamw),
    ("adamw_fused", adamw),
];

/// Feature maps of a residual network's first stage.
const MAPS: [usize; 4] = [32, 64, 56, 56];
const NUMBERS: usize = 32 * 64 * 56 * 56;

fn norm() -> BatchNorm2d {
    filled(BatchNorm2d::new(&Init::new(0), 64))
}

fn sum(dim: isize) -> Workload {
    let x = data("x", [4096, 4096]);
    Workload::forward(move || x.sum(dim)).moves(1 << 24)
}

#[derive(Module)]
struct Weights {
    weights: Vec<Param>,
}

/// One step over 100 tensors of 250,000 with gradients given.
fn adamw() -> Workload {
    let weights = (0..100).map(|i| Param::new(data(&format!("w{i}"), [250_000]))).collect();
    let model = Weights { weights };
    let mut optimizer = Optimizer::new(AdamW::new(1e-3).weight_decay(0.01));
    let mut grads = None;
    Workload::new(move || {
        if grads.is_none() {
            // Any loss will do to get the list of parameters; its gradients are replaced.
            let loss = model.weights.iter().fold(Tensor::full((), 0.0f32), |sum, p| sum + p.get().sum(..));
            let mut i = 0;
            let list = loss.backward(&model).map_err(|e| e.to_string())?.map(|_, _| {
                i += 1;
                data(&format!("g{}", i - 1), [250_000])
            });
            list.eval().map_err(|e| e.to_string())?;
            grads = Some(list);
        }
        optimizer.apply(grads.as_ref().ok_or("no gradients")?).map_err(|e| e.to_string())?;
        Ok([0, 99].iter().map(|&i: &usize| model.weights[i].get()).collect())
    })
    // Reads parameter, gradient and two moments, writes all but the gradient.
    .moves(7 * 25_000_000)
}
