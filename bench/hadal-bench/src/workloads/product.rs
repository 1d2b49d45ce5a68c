//! Matrix products and what is made of them.

use super::{Row, Workload};
use crate::fill::{data, weight};
use hadal_tensor::{DType, Tensor};

pub const ROWS: &[Row] = &[
    ("matmul_16", || square(16)),
    ("matmul_32", || square(32)),
    ("matmul_64", || square(64)),
    ("matmul_128", || square(128)),
    ("matmul_256", || square(256)),
    ("matmul_512", || square(512)),
    ("matmul_1024", || square(1024)),
    ("matmul_32x4096x1024", || product([32, 4096], [4096, 1024])),
    ("matmul_tall_8192x256x64", || product([8192, 256], [256, 64])),
    ("matmul_flat_64x256x8192", || product([64, 256], [256, 8192])),
    ("matmul_batched_64x128", || {
        let (a, b) = (data("a", [64, 128, 128]), data("b", [64, 128, 128]));
        Workload::forward(move || a.matmul(&b)).flops(64.0 * 2.0 * 128f64.powi(3))
    }),
    ("matmul_nt_512", || layouts(false, true)),
    ("matmul_tn_512", || layouts(true, false)),
    ("matmul_tt_512", || layouts(true, true)),
    ("matmul_bf16_1024", || {
        let (a, b) = (evaluated(square_data("a", 1024)), evaluated(square_data("b", 1024)));
        Workload::forward(move || a.matmul(&b)).bf16_flops(2.0 * 1024f64.powi(3))
    }),
    ("linear_gelu_1024x384x1536", || {
        let x = data("x", [1024, 384]);
        let (w, b) = (weight("fc.weight", [1536, 384]), weight("fc.bias", [1536]));
        Workload::forward(move || x.linear(&w, Some(&b)).gelu()).flops(2.0 * 1024.0 * 384.0 * 1536.0)
    }),
    ("sdpa_fwd", || {
        let [q, k, v] = ["q", "k", "v"].map(|name| data(name, HEADS));
        Workload::forward(move || attention(&q, &k, &v)).flops(ATTENTION)
    }),
    ("sdpa_fwdbwd", || {
        let inputs = ["q", "k", "v"].map(|name| data(name, HEADS));
        // Four products of the same size in the backward pass, two in the forward pass.
        Workload::both(inputs.to_vec(), data("g", HEADS), |t| attention(&t[0], &t[1], &t[2]))
            .flops(3.0 * ATTENTION)
    }),
];

/// Batch, heads, tokens, width of a head.
const HEADS: [usize; 4] = [8, 8, 256, 64];
/// Two products of [256, 64] and [64, 256] for each head, of which the causal mask leaves half.
const ATTENTION: f64 = 64.0 * 2.0 * 2.0 * 256.0 * 256.0 * 64.0 / 2.0;

fn attention(q: &Tensor, k: &Tensor, v: &Tensor) -> Tensor {
    q.scaled_dot_product_attention(k, v, None, true, None)
}

fn square(n: usize) -> Workload {
    product([n, n], [n, n])
}

fn product(a: [usize; 2], b: [usize; 2]) -> Workload {
    let flops = 2.0 * (a[0] * a[1] * b[1]) as f64;
    let (a, b) = (data("a", a), data("b", b));
    Workload::forward(move || a.matmul(&b)).flops(flops)
}

/// 512 square with operands that lie transposed.
fn layouts(left: bool, right: bool) -> Workload {
    let (a, b) = (data("a", [512, 512]), data("b", [512, 512]));
    Workload::forward(move || {
        let a = if left { a.t() } else { a.clone() };
        let b = if right { b.t() } else { b.clone() };
        a.matmul(&b)
    })
    .flops(2.0 * 512f64.powi(3))
}

fn square_data(name: &str, n: usize) -> Tensor {
    data(name, [n, n]).cast(DType::BF16)
}

/// Computed before it is timed; an error comes back when it is used.
fn evaluated(t: Tensor) -> Tensor {
    t.materialize().unwrap_or(t)
}
