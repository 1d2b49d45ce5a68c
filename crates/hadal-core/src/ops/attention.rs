//! Scaled dot-product attention as an operation.

use crate::Shape;

/// What [`Op::Attention`](super::Op::Attention) and its gradients do with the scores.
///
/// Queries are `[b, h, n, d]`, keys `[b, g, m, d]`, values `[b, g, m, e]` with `g` dividing `h`: head `i`
/// of the queries sees head `i · g / h` of the keys. A mask has four dimensions too, each of size 1 or
/// that of `[b, h, n, m]`: a bool says which keys take part, a float is added to the scores.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct AttentionOp {
    /// What queries are multiplied with before the product.
    pub scale: f64,
    /// Query `i` sees keys `0..=i` only.
    pub causal: bool,
}

impl AttentionOp {
    /// Arithmetic operations: two for each multiply-add of `by_keys` products along the size of keys
    /// and `by_values` along that of values, over the pairs of a query and a key it may see.
    pub fn flops(&self, inputs: &[&Shape], by_keys: u64, by_values: u64) -> u64 {
        let [q, k, v, ..] = inputs else { return 0 };
        let (&[b, h, n, d], &[.., m, _], &[.., e]) = (q.dims(), k.dims(), v.dims()) else { return 0 };
        let seen = n.min(m) as u64;
        let pairs = match self.causal {
            true => seen * (seen + 1) / 2 + (n as u64 - seen).saturating_mul(m as u64),
            false => (n as u64).saturating_mul(m as u64),
        };
        let each = 2 * (by_keys * d as u64 + by_values * e as u64);
        pairs.saturating_mul((b * h) as u64).saturating_mul(each)
    }
}
