//! Scaled dot-product attention without the matrix of scores.
//!
//! Scores are computed in tiles of [`KEYS`] keys by [`QUERIES`] queries that stay in cache, with the
//! queries along the lanes of vectors. So the softmax over keys is vertical (no sums across lanes), both
//! products read keys and values as they lie, whatever their strides, as the operand of a micro-kernel
//! that is broadcast, and only queries are packed. Forward it is the online softmax of Milakov and
//! Gimelshein (arXiv:1805.02867), tile by tile as in FlashAttention (Dao 2022, arXiv:2205.14135); the
//! backward pass computes the tiles again from the saved logarithms of sums.
//!
//! A few queries ([`few`]) are taken the other way round: keys and values are then read once, at the
//! speed of memory.
//!
//! Work is cut by shapes alone, and partial sums are added in order.

mod backward;
mod few;
mod forward;
mod lanes;
mod mask_grad;
mod problem;
mod tile;

use crate::args::{dense, elements, input, internal, output, want_shape};
use crate::backend::Ran;
use crate::threads::parallel_for;
use hadal_core::ops::{Arg, AttentionOp, Op, Out};
use hadal_core::{DType, Result};
use problem::{Float, Mask, Matrices, Problem};
use std::ops::ControlFlow::{Break, Continue};

/// Queries of a tile: enough that reading keys and values costs little beside the products.
const QUERIES: usize = 64;
/// Keys of a tile. A tile of scores is 32 KiB of f32: with its keys and values well inside the
/// second-level cache.
const KEYS: usize = 128;
/// Multiply-adds below which work is not shared among threads (some microseconds).
const PARALLEL_FROM: usize = 1 << 17;

/// The operations of this file.
pub fn run_op<'o>(op: &Op, inputs: &[Arg<'_>], out: Out<'o>) -> Ran<'o> {
    let (pass, a) = match op {
        Op::Attention(a) => (Pass::Forward, a),
        Op::AttentionGrad(a) => (Pass::Grad, a),
        Op::AttentionMaskGrad(a) => (Pass::MaskGrad, a),
        _ => return Continue(out),
    };
    Break(match out.dtype {
        DType::F32 => run::<f32>(op.name(), pass, a, inputs, out),
        DType::F64 => run::<f64>(op.name(), pass, a, inputs, out),
        other => Err(internal(op.name(), format!("dtype {other} instead of f32 or f64"))),
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Pass {
    Forward,
    Grad,
    MaskGrad,
}

fn run<T: Float>(
    op: &'static str,
    pass: Pass,
    a: &AttentionOp,
    inputs: &[Arg<'_>],
    mut out: Out<'_>,
) -> Result<()> {
    let float = |i: usize| {
        let arg = input(op, inputs, i)?;
        if arg.dtype != out.dtype {
            return Err(internal(op, format!("input {i} is {} instead of {}", arg.dtype, out.dtype)));
        }
        Ok(arg)
    };
    let (q, k, v) = (float(0)?, float(1)?, float(2)?);
    let (&[b, h, n, d], &[_, g, m, _], Some(&e)) =
        (q.layout.shape.dims(), k.layout.shape.dims(), v.layout.shape.dims().last())
    else {
        return Err(internal(op, format!("queries {} and keys {}", q.layout.shape, k.layout.shape)));
    };
    want_shape(op, "keys", &k.layout.shape, &[b, g, m, d])?;
    want_shape(op, "values", &v.layout.shape, &[b, g, m, e])?;
    if [b, h, g, n, m, d, e].contains(&0) || !h.is_multiple_of(g) {
        return Err(internal(op, format!("queries {} and keys {}", q.layout.shape, k.layout.shape)));
    }
    let at = if pass == Pass::Forward { 3 } else { 5 };
    let mask = match inputs.get(at) {
        None => Mask::None,
        Some(arg) => {
            let fits = |(&size, full): (&usize, usize)| size == 1 || size == full;
            let dims = arg.layout.shape.dims();
            if dims.len() != 4 || !dims.iter().zip([b, h, n, m]).all(fits) {
                return Err(internal(op, format!("a mask of shape {}", arg.layout.shape)));
            }
            match arg.dtype {
                DType::Bool => Mask::Bool(Matrices::new(elements::<u8>(op, arg)?, arg.layout)),
                _ => Mask::Added(matrices(op, float(at)?)?),
            }
        }
    };
    let p = Problem {
        sizes: problem::Sizes { b, h, g, n, m, d, e },
        scale: T::lit(a.scale),
        causal: a.causal,
        q: matrices(op, q)?,
        k: matrices(op, k)?,
        v: matrices(op, v)?,
        mask,
    };
    let (size, sums) = (b * n * h * e, b * h * n);
    if pass == Pass::Forward {
        want_shape(op, "the output", out.shape, &[size + sums])?;
        let (y, lse) = output::<T>(op, &mut out)?.split_at_mut(size);
        return if few::takes(&p) { few::run(op, &p, y, lse) } else { forward::run(&p, y, lse) };
    }
    let (result, dy) = (float(3)?, float(4)?);
    want_shape(op, "the result", &result.layout.shape, &[size + sums])?;
    want_shape(op, "the cotangent", &dy.layout.shape, &[b, h, n, e])?;
    let result = dense(op, result)?;
    let (y, lse) = result.slice::<T>()[..size + sums].split_at(size);
    let saved = problem::Saved { y, lse, dy: matrices(op, dy)? };
    if pass == Pass::Grad {
        let (by_q, by_k, by_v) = (b * h * n * d, b * g * m * d, b * g * m * e);
        want_shape(op, "the output", out.shape, &[by_q + by_k + by_v])?;
        let (dq, rest) = output::<T>(op, &mut out)?.split_at_mut(by_q);
        let (dk, dv) = rest.split_at_mut(by_k);
        return backward::run(op, &p, &saved, dq, dk, dv);
    }
    let mask = input(op, inputs, 5)?;
    want_shape(op, "the output", out.shape, mask.layout.shape.dims())?;
    mask_grad::run(&p, &saved, mask.layout.shape.dims(), output::<T>(op, &mut out)?)
}

fn matrices<'a, T: Float>(op: &'static str, arg: &Arg<'a>) -> Result<Matrices<'a, T>> {
    Ok(Matrices::new(elements::<T>(op, arg)?, arg.layout))
}

/// Runs tasks, on several threads where `work` multiply-adds in all are worth it.
fn tasks(count: usize, work: usize, run: impl Fn(usize) + Sync) {
    if work < PARALLEL_FROM { (0..count).for_each(run) } else { parallel_for(count, &run) }
}
