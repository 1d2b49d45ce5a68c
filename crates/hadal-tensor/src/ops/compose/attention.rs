//! Attention.

use super::{fail, first_bad, in_float_all};
use crate::Tensor;
use hadal_core::{DType, ErrorKind};

impl Tensor {
    /// `softmax(q·kᵀ·scale + mask)·v` with `self` as the queries `[.., l, d]`, keys `[.., s, d]` and
    /// values `[.., s, e]`, giving `[.., l, e]`; dimensions before the last two broadcast (Vaswani
    /// 2017, arXiv:1706.03762).
    ///
    /// A bool mask says which keys take part; any other is added to the scores. Both broadcast to
    /// `[.., l, s]`. `is_causal` lets query `i` see keys `0..=i`. The scale is `1/√d` unless given. A
    /// query that sees no key gets zeros, as in PyTorch.
    ///
    /// # Errors
    /// Shapes that do not fit; a mask together with `is_causal`, as in PyTorch.
    #[track_caller]
    pub fn scaled_dot_product_attention(
        &self,
        key: &Tensor,
        value: &Tensor,
        mask: Option<&Tensor>,
        is_causal: bool,
        scale: Option<f64>,
    ) -> Tensor {
        const OP: &str = "scaled_dot_product_attention";
        let operands = [self, key, value];
        if let Some(bad) = mask.and_then(|m| first_bad(&[m])) {
            return bad;
        }
        if operands.iter().any(|t| t.rank() < 2) {
            return fail(
                OP,
                ErrorKind::Shape,
                "queries, keys and values need two dimensions at least",
                &operands,
                "",
            );
        }
        if self.size(-1) != key.size(-1) || key.size(-2) != value.size(-2) {
            let message = "queries and keys must have one last size, keys and values one length";
            return fail(
                OP,
                ErrorKind::Shape,
                message,
                &operands,
                "the shapes are [.., l, d], [.., s, d], [.., s, e]",
            );
        }
        if mask.is_some() && is_causal {
            let help = "combine the causal mask into the mask given";
            return fail(OP, ErrorKind::Value, "a mask and is_causal together", &operands, help);
        }
        let (l, s) = (self.size(-2), key.size(-2));
        let scale = scale.unwrap_or(1.0 / (self.size(-1) as f64).sqrt());
        in_float_all(operands, |[q, k, v]| {
            let scores = (q * scale).matmul(&k.t());
            let scores = match mask {
                Some(m) if m.dtype() == DType::Bool => m.where_(&scores, f64::NEG_INFINITY),
                Some(m) => &scores + m.cast(scores.dtype()),
                None if is_causal => {
                    let seen = Tensor::arange(0, s, 1).le(Tensor::arange(0, l, 1).unsqueeze(1));
                    seen.where_(&scores, f64::NEG_INFINITY)
                }
                None => scores,
            };
            scores.safe_softmax(-1).matmul(&v)
        })
    }
}
