//! Scaled dot-product attention: one operation forward, one backward, and one more for the gradient of
//! a mask that is added. None of them makes the matrix of scores. Gradients of gradients are those of
//! the composition in [`compose::attention`](super::compose::attention).

use super::compose::attention::attention as composition;
use super::compose::{fail, first_bad, in_float_all};
use crate::Tensor;
use crate::autodiff::{Grads, vjp_or_none};
use crate::scope::composed;
use crate::tensor::Inputs;
use hadal_core::ops::{AttentionOp, Op};
use hadal_core::smallvec::{SmallVec, smallvec};
use hadal_core::{DType, Error, ErrorKind, Shape};

const OP: &str = "scaled_dot_product_attention";

impl Tensor {
    /// `softmax(q·kᵀ·scale + mask)·v` with `self` as the queries `[.., h, n, d]`, keys `[.., g, m, d]` and
    /// values `[.., g, m, e]`, giving `[.., h, n, e]` (Vaswani 2017, arXiv:1706.03762); the heads may be
    /// missing. Dimensions before the last two broadcast; `g` may also divide `h`, and heads in a row then
    /// share keys and values (PyTorch's `enable_gqa`; Ainslie 2023, arXiv:2305.13245).
    ///
    /// A bool mask says which keys take part; any other is added to the scores. Both broadcast to
    /// `[.., h, n, m]`. `is_causal` lets query `i` see keys `0..=i`. The scale is `1/√d` unless given. A
    /// query that sees no key gets zeros, as in PyTorch.
    ///
    /// Scores are computed in tiles that stay in cache and are never stored: memory grows with
    /// `n + m`. Halves are computed in f32 and rounded once at the end.
    ///
    /// ```
    /// use hadal_tensor::{DType, Key, Tensor};
    /// let q = Tensor::randn([2, 8, 5, 16], DType::F32, Key::new(1)); // [batch, heads, queries, d]
    /// let kv = Tensor::randn([2, 2, 5, 16], DType::F32, Key::new(2)); // four heads share keys
    /// let y = q.scaled_dot_product_attention(&kv, &kv, None, true, None);
    /// assert_eq!(y.dims(), [2, 8, 5, 16]);
    /// ```
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
        let operands = [self, key, value];
        if let Some(bad) = mask.and_then(|m| first_bad(&[m])) {
            return bad;
        }
        if operands.iter().any(|t| t.rank() < 2) {
            let message = "queries, keys and values need two dimensions at least";
            return fail(OP, ErrorKind::Shape, message, &operands, "");
        }
        if self.size(-1) != key.size(-1) || key.size(-2) != value.size(-2) {
            let message = "queries and keys must have one last size, keys and values one length";
            let help = "the shapes are [.., h, n, d], [.., g, m, d], [.., g, m, e]";
            return fail(OP, ErrorKind::Shape, message, &operands, help);
        }
        if mask.is_some() && is_causal {
            let help = "combine the causal mask into the mask given";
            return fail(OP, ErrorKind::Value, "a mask and is_causal together", &operands, help);
        }
        let Some(fit) = Fit::of(operands) else {
            let message = "batches do not broadcast, or the number of key heads does not divide that of \
                           query heads";
            let help = "the shapes are [.., h, n, d], [.., g, m, d], [.., g, m, e]";
            return fail(OP, ErrorKind::Shape, message, &operands, help);
        };
        let scores = fit.scores();
        let masked = mask.map(|m| (m, m.shape().broadcast(&scores)));
        if let Some((m, None)) = masked {
            let message = format!("a mask of shape {} does not broadcast to the scores {scores}", m.shape());
            return fail(OP, ErrorKind::Shape, message, &[self, key, value, m], "");
        }
        let op =
            AttentionOp { scale: scale.unwrap_or(1.0 / (self.size(-1) as f64).sqrt()), causal: is_causal };
        // A mask that is larger than the scores repeats them; and without keys nothing is left to do.
        let fused = masked.as_ref().is_none_or(|(_, full)| *full == Some(scores.clone()))
            && scores.numel() > 0
            && self.size(-1) > 0
            && value.size(-1) > 0;
        in_float_all(operands, |[q, k, v]| match fused {
            true => fit.fused(op, [&q, &k, &v], mask),
            false => composition(op, &q, &k, &v, mask),
        })
    }
}

/// The sizes of queries, keys and values that go together.
struct Fit {
    /// Dimensions before the heads.
    batch: Shape,
    /// Whether there are heads at all.
    with_heads: bool,
    /// Heads of the queries; of keys and values.
    heads: (usize, usize),
    /// Queries, keys.
    lengths: (usize, usize),
}

impl Fit {
    fn of([q, k, v]: [&Tensor; 3]) -> Option<Fit> {
        let heads = |t: &Tensor| if t.rank() > 2 { t.dims()[t.rank() - 3] } else { 1 };
        let batch = |t: &Tensor| Shape::new(&t.dims()[..t.rank().saturating_sub(3)]);
        let (h, g, gv) = (heads(q), heads(k), heads(v));
        let g = if g == gv || gv == 1 { g } else { (g == 1).then_some(gv)? };
        let h = if h == 1 { g } else { h };
        if (g == 0 && h != 0) || (g != 0 && !h.is_multiple_of(g)) {
            return None;
        }
        Some(Fit {
            batch: batch(q).broadcast(&batch(k))?.broadcast(&batch(v))?,
            with_heads: [q, k, v].iter().any(|t| t.rank() > 2),
            heads: (h, g),
            lengths: (q.dims()[q.rank() - 2], k.dims()[k.rank() - 2]),
        })
    }

    /// The batch, the heads if there are any, and two sizes.
    fn shape(&self, heads: usize, rows: usize, cols: usize) -> Shape {
        let heads = self.with_heads.then_some(heads);
        self.batch.iter().copied().chain(heads).chain([rows, cols]).collect()
    }

    fn scores(&self) -> Shape {
        self.shape(self.heads.0, self.lengths.0, self.lengths.1)
    }

    /// The operation, on operands of one dtype; the mask broadcasts to the scores.
    fn fused(&self, op: AttentionOp, [q, k, v]: [&Tensor; 3], mask: Option<&Tensor>) -> Tensor {
        let b: usize = self.batch.iter().product();
        let ((h, g), (n, m)) = (self.heads, self.lengths);
        let (d, e) = (q.dims()[q.rank() - 1], v.dims()[v.rank() - 1]);
        let four = |t: &Tensor, heads: usize, rows: usize, cols: usize| {
            t.expand_to(&self.shape(heads, rows, cols)).reshape([b, heads, rows, cols])
        };
        let mut inputs: Inputs = smallvec![four(q, h, n, d), four(k, g, m, d), four(v, g, m, e)];
        if let Some(mask) = mask {
            let mask = if mask.dtype() == DType::Bool { mask.clone() } else { mask.cast(q.dtype()) };
            inputs.push(self.four_mask(&mask, b));
        }
        let size = b * n * h * e;
        let packed = Tensor::make(Op::Attention(op), inputs, Shape::new(&[size + b * h * n]), q.dtype());
        let y = packed.narrow_axis(0, 0, size, 1).reshape([b, n, h, e]).permute_axes(&[0, 2, 1, 3]);
        y.reshape(&self.shape(h, n, e))
    }

    /// The mask with four dimensions, of which those that repeat keep the size 1.
    fn four_mask(&self, mask: &Tensor, b: usize) -> Tensor {
        let mut dims = mask.dims().to_vec();
        while dims.len() < 2 + self.with_heads as usize + self.batch.rank() {
            dims.insert(0, 1);
        }
        let tail = dims.split_off(self.batch.rank());
        if dims.iter().all(|&n| n == 1) {
            dims = vec![1];
        } else {
            dims = vec![b];
        }
        let full: Vec<usize> = self.batch.iter().copied().chain(tail.iter().copied()).collect();
        let mask = if dims[0] == 1 { mask.clone() } else { mask.expand_to(&Shape::new(&full)) };
        if tail.len() == 2 {
            dims.push(1);
        }
        dims.extend(tail);
        mask.reshape(dims)
    }
}

/// `[b, rows, heads, cols]`, a part of a 1-d tensor, as `[b, heads, rows, cols]`.
fn part(packed: &Tensor, at: &mut usize, like: &Tensor) -> Tensor {
    let &[b, heads, rows, cols] = like.dims() else { return packed.clone() };
    let size = like.numel();
    let start = std::mem::replace(at, *at + size);
    packed.narrow_axis(0, start, size, 1).reshape([b, rows, heads, cols]).permute_axes(&[0, 2, 1, 3])
}

/// The cotangent of the result, from that of the node: behind the result lie sums that nobody else
/// reads, and before a gradient of a slice the slice itself is had.
fn result_cotangent(g: &Tensor, x: &Inputs) -> Tensor {
    let (&[b, h, n, _], Some(&e)) = (x[0].dims(), x[2].dims().last()) else { return g.clone() };
    let size = b * n * h * e;
    let slice = match &g.0.op {
        Op::Place { starts, steps, .. } if starts.as_slice() == [0] && steps.as_slice() == [1] => {
            g.0.inputs().first().filter(|t| t.numel() == size).cloned()
        }
        _ => None,
    };
    let slice = slice.unwrap_or_else(|| g.narrow_axis(0, 0, size, 1));
    slice.reshape([b, n, h, e]).permute_axes(&[0, 2, 1, 3])
}

pub(crate) fn vjp(op: AttentionOp, x: &Inputs, y: &Tensor, g: &Tensor, needs: &[bool]) -> Grads {
    let mut inputs: Inputs = smallvec![x[0].clone(), x[1].clone(), x[2].clone(), y.clone()];
    inputs.push(result_cotangent(g, x));
    inputs.extend(x.get(3).cloned());
    let mut grads: Grads = smallvec![None; x.len()];
    if needs[..3].contains(&true) {
        let size = x[..3].iter().map(Tensor::numel).sum();
        let packed = Tensor::make(Op::AttentionGrad(op), inputs.clone(), Shape::new(&[size]), x[0].dtype());
        let mut at = 0;
        for (to, like) in grads.iter_mut().zip(&x[..3]) {
            *to = Some(part(&packed, &mut at, like));
        }
    }
    if let Some(mask) = x.get(3).filter(|m| needs[3] && m.dtype().is_float()) {
        let shape = mask.shape().clone();
        grads[3] = Some(Tensor::make(Op::AttentionMaskGrad(op), inputs, shape, mask.dtype()));
    }
    grads
}

pub(crate) fn grad_vjp(op: AttentionOp, x: &Inputs, g: &Tensor, needs: &[bool]) -> Grads {
    let mut at = 0;
    let cotangents = [&x[0], &x[1], &x[2]].map(|like| Some(part(g, &mut at, like)));
    second_order(op, x, needs, cotangents, None)
}

pub(crate) fn mask_grad_vjp(op: AttentionOp, x: &Inputs, g: &Tensor, needs: &[bool]) -> Grads {
    second_order(op, x, needs, [None, None, None], Some(g.clone()))
}

/// Gradients of the gradients by queries, keys, values and mask, whose cotangents are given: those of
/// the composition. The forward result among the inputs gets none, since it is counted with the others.
fn second_order(
    op: AttentionOp,
    x: &Inputs,
    needs: &[bool],
    by_operands: [Option<Tensor>; 3],
    by_mask: Option<Tensor>,
) -> Grads {
    composed(|| {
        // Nodes of their own, so that a tensor that is several inputs, or lies behind one, is counted
        // once for each.
        let own = |t: &Tensor| t.view_as(Op::Reshape, t.shape().clone());
        let (q, k, v, dy) = (own(&x[0]), own(&x[1]), own(&x[2]), own(&x[4]));
        let mask = x.get(5).map(|m| if m.dtype().is_float() { own(m) } else { m.clone() });
        let y = composition(op, &q, &k, &v, mask.as_ref());
        let mut from: SmallVec<[(&Tensor, Tensor); 4]> = SmallVec::new();
        from.extend([&q, &k, &v].into_iter().zip(by_operands).filter_map(|(t, g)| Some((t, g?))));
        from.extend(mask.as_ref().zip(by_mask));
        let wanted: Vec<&Tensor> = from.iter().map(|(t, _)| *t).collect();
        let inner = vjp_or_none(&y, &dy, &wanted).map(|first| {
            let products = first.iter().zip(&from).filter_map(|(f, (_, g))| Some((f.as_ref()? * g).sum(..)));
            products.reduce(|a, b| a + b)
        });
        let mut inputs = vec![&q, &k, &v, &dy];
        inputs.extend(mask.as_ref().filter(|m| m.dtype().is_float()));
        let found = inner.and_then(|sum| match sum {
            Some(sum) => vjp_or_none(&sum, &Tensor::ones_like(&sum), &inputs),
            None => Ok(vec![None; inputs.len()]),
        });
        let mut grads: Grads = smallvec![None; x.len()];
        match found {
            Ok(found) => {
                for (to, g) in [0, 1, 2, 4, 5].into_iter().zip(found) {
                    grads[to] = g;
                }
            }
            Err(e) => poison(&mut grads, &e, x, needs),
        }
        grads
    })
}

/// An error on the way to a gradient is that gradient.
fn poison(grads: &mut Grads, e: &Error, x: &Inputs, needs: &[bool]) {
    for ((to, like), _) in grads.iter_mut().zip(x).zip(needs).filter(|(_, need)| **need) {
        *to = Some(Tensor::poison(e.clone(), like.shape(), like.dtype()));
    }
}
