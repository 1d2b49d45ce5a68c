//! Attention as a composition: the reference of the kernels in tests, what is differentiated a second
//! time, and what computes the shapes that they do not take.

use crate::Tensor;
use hadal_core::DType;
use hadal_core::ops::AttentionOp;

/// `softmax(q·kᵀ·scale + mask)·v` of `[.., h, n, d]`, `[.., g, m, d]` and `[.., g, m, e]`, where `g`
/// divides `h` or broadcasts with it, in the dtype of the operands.
pub(crate) fn attention(
    op: AttentionOp,
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    mask: Option<&Tensor>,
) -> Tensor {
    let heads = |t: &Tensor| if t.rank() > 2 { t.dims()[t.rank() - 3] } else { 1 };
    let (h, g) = (heads(q), heads(k).max(heads(v)));
    if g > 1 && h > g {
        // Heads that share keys become a dimension of their own.
        let grouped = |t: &Tensor, heads: usize| {
            let mut dims = t.dims().to_vec();
            let at = dims.len() - 3;
            dims[at] /= heads;
            dims.insert(at, heads);
            t.reshape(dims)
        };
        let shared = |t: &Tensor| if t.rank() > 2 { t.unsqueeze(-3) } else { t.clone() };
        let mask = mask.map(|m| if m.rank() > 2 && heads(m) == h { grouped(m, g) } else { shared(m) });
        let y = attention(op, &grouped(q, g), &shared(k), &shared(v), mask.as_ref());
        let mut dims = y.dims().to_vec();
        let at = dims.len() - 4;
        dims[at] *= dims.remove(at + 1);
        return y.reshape(dims);
    }
    let scores = (q * op.scale).matmul(&k.t());
    let scores = match mask {
        Some(m) if m.dtype() == DType::Bool => m.where_(&scores, f64::NEG_INFINITY),
        Some(m) => &scores + m.cast(scores.dtype()),
        None => scores,
    };
    let scores = match op.causal {
        true => {
            let (n, m) = (q.dims()[q.rank() - 2], k.dims()[k.rank() - 2]);
            let seen = Tensor::arange(0, m, 1).le(Tensor::arange(0, n, 1).unsqueeze(1));
            seen.where_(&scores, f64::NEG_INFINITY)
        }
        false => scores,
    };
    scores.safe_softmax(-1).matmul(v)
}
