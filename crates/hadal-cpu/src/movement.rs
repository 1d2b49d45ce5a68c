//! Copies: row-major order, concatenation, placing into a larger tensor, folding windows back.

use crate::args::{dense, elements, input, internal, output, want_shape};
use crate::backend::Ran;
use crate::chunks::{for_chunks, grain};
use crate::create::element;
use crate::strided::copy_into;
use crate::sum::{Accumulate, dispatch_sum};
use hadal_core::ops::{Arg, Op, Out};
use hadal_core::{DType, Result, Scalar, Shape, Strides, dispatch_storage};
use std::ops::ControlFlow::{Break, Continue};

/// Runs a block with `$t` a storage type of the dtype's size: copying does not look inside.
macro_rules! dispatch_size {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype.size() {
            1 => dispatch_storage!(DType::U8, $t => $body),
            2 => dispatch_storage!(DType::F16, $t => $body),
            4 => dispatch_storage!(DType::I32, $t => $body),
            _ => dispatch_storage!(DType::I64, $t => $body),
        }
    };
}

fn same_dtype(op: &'static str, arg: &Arg<'_>, out: &Out<'_>) -> Result<()> {
    if arg.dtype == out.dtype {
        Ok(())
    } else {
        Err(internal(op, format!("the input has dtype {}, the output {}", arg.dtype, out.dtype)))
    }
}

/// The operations of this file.
pub fn run_op<'o>(op: &Op, inputs: &[Arg<'_>], out: Out<'o>) -> Ran<'o> {
    let name = op.name();
    match op {
        Op::Copy => Break(copy(name, inputs, out)),
        Op::Cat(axis) => Break(cat(name, *axis, inputs, out)),
        Op::Place { starts, steps, fill } => Break(place(name, starts, steps, *fill, inputs, out)),
        Op::Fold { axis, size, step } => Break(fold(name, *axis, *size, *step, inputs, out)),
        _ => Continue(out),
    }
}

/// The input in row-major order.
fn copy(op: &'static str, inputs: &[Arg<'_>], mut out: Out<'_>) -> Result<()> {
    let x = input(op, inputs, 0)?;
    same_dtype(op, x, &out)?;
    want_shape(op, "the input", &x.layout.shape, out.shape)?;
    let strides = out.shape.strides();
    dispatch_size!(out.dtype, T => {
        copy_into(op, elements::<T>(op, x)?, x.layout, output::<T>(op, &mut out)?, 0, &strides)
    })
}

/// The inputs one after the other along an axis.
fn cat(op: &'static str, axis: usize, inputs: &[Arg<'_>], mut out: Out<'_>) -> Result<()> {
    let strides = out.shape.strides();
    let mut start = 0;
    for x in inputs {
        same_dtype(op, x, &out)?;
        let mut want = Shape::clone(out.shape);
        if axis >= want.rank() || x.layout.shape.rank() != want.rank() {
            return Err(internal(op, format!("axis {axis} of {} into {want}", x.layout.shape)));
        }
        want[axis] = x.layout.shape[axis];
        want_shape(op, "an input", &x.layout.shape, &want)?;
        dispatch_size!(out.dtype, T => {
            let offset = start * strides[axis] as usize;
            copy_into(op, elements::<T>(op, x)?, x.layout, output::<T>(op, &mut out)?, offset, &strides)?;
        });
        start += want[axis];
    }
    match out.shape.get(axis) {
        Some(&n) if n == start => Ok(()),
        _ => Err(internal(op, format!("inputs of total size {start} along axis {axis} into {}", out.shape))),
    }
}

/// A tensor of `fill` with the input at places `starts[d] + i[d]·steps[d]`.
fn place(
    op: &'static str,
    starts: &[usize],
    steps: &[isize],
    fill: Scalar,
    inputs: &[Arg<'_>],
    mut out: Out<'_>,
) -> Result<()> {
    let x = input(op, inputs, 0)?;
    same_dtype(op, x, &out)?;
    let (shape, rank) = (&x.layout.shape, out.shape.rank());
    if shape.rank() != rank || starts.len() != rank || steps.len() != rank {
        return Err(internal(op, format!("{shape} into {}", out.shape)));
    }
    let empty = shape.numel() == 0;
    let mut offset = 0;
    let mut strides: Strides = out.shape.strides();
    for d in 0..rank {
        let end = starts[d] as isize + (shape[d] as isize - 1) * steps[d];
        let inside = starts[d] < out.shape[d] && end >= 0 && end < out.shape[d] as isize;
        if !empty && (!inside || (steps[d] == 0 && shape[d] > 1)) {
            return Err(internal(
                op,
                format!(
                    "{} elements from {} by {} in axis {d} of {}",
                    shape[d], starts[d], steps[d], out.shape
                ),
            ));
        }
        offset += starts[d] * strides[d] as usize;
        strides[d] *= steps[d];
    }
    let dtype = out.dtype;
    let whole = shape.numel() == out.shape.numel();
    dispatch_storage!(dtype, T => {
        let src = elements::<T>(op, x)?;
        let dst = output::<T>(op, &mut out)?;
        if !whole {
            let v = element::<T>(fill.cast(dtype));
            for_chunks(dst, grain::<T>(), |_, part| part.fill(v));
        }
        if empty { Ok(()) } else { copy_into(op, src, x.layout, dst, offset, &strides) }
    })
}

/// Sums windows back to where an unfold along `axis` read them. The terms of an element are added
/// in the order of their windows; halves add in f32 and are rounded once.
fn fold(
    op: &'static str,
    axis: usize,
    size: usize,
    step: usize,
    inputs: &[Arg<'_>],
    mut out: Out<'_>,
) -> Result<()> {
    let x = input(op, inputs, 0)?;
    same_dtype(op, x, &out)?;
    let (outer, n, inner) = crate::args::around(op, out.shape, axis)?;
    let windows = x.layout.shape.get(axis).copied().unwrap_or(0);
    let mut want = Shape::clone(out.shape);
    want[axis] = windows;
    want.push(size);
    want_shape(op, "the input", &x.layout.shape, &want)?;
    if step == 0 || (windows > 0 && (windows - 1) * step + size > n) {
        return Err(internal(op, format!("{windows} windows of {size} by {step} into {}", out.shape)));
    }
    let x = dense(op, x)?;
    dispatch_sum!(out.dtype, T => {
        let src = x.slice::<T>();
        let dst = bytemuck::cast_slice_mut::<_, T>(output::<<T as Accumulate>::Stored>(op, &mut out)?);
        let geometry = FoldGeometry { n, inner, windows, size, step };
        // Pieces of whole rows along the inner dimensions.
        let rows = (grain::<T>() / inner.max(1)).max(1);
        debug_assert!(dst.len() == outer * n * inner);
        for_chunks(dst, rows * inner, |first, part| geometry.run::<T>(src, first / inner, part));
    });
    Ok(())
}

struct FoldGeometry {
    n: usize,
    inner: usize,
    windows: usize,
    size: usize,
    step: usize,
}

/// Elements of a row that are summed at a time, in accumulators that stay in L1.
const LANE: usize = 256;

impl FoldGeometry {
    /// Rows `first..` (row `o·n + p` holds the inner elements at position `p`).
    fn run<T: Accumulate>(&self, src: &[T], first: usize, part: &mut [T]) {
        let mut acc = [T::ZERO; LANE];
        for (r, row) in part.chunks_exact_mut(self.inner).enumerate() {
            let (o, p) = ((first + r) / self.n, (first + r) % self.n);
            // Windows w with w·step <= p < w·step + size.
            let lo = (p + 1).saturating_sub(self.size).div_ceil(self.step);
            let hi = (p / self.step + 1).min(self.windows);
            for (b, piece) in row.chunks_mut(LANE).enumerate() {
                let acc = &mut acc[..piece.len()];
                acc.fill(T::ZERO);
                for w in lo..hi {
                    let tap = p - w * self.step;
                    let from = ((o * self.windows + w) * self.inner + b * LANE) * self.size + tap;
                    for (a, v) in acc.iter_mut().zip(src[from..].iter().step_by(self.size)) {
                        *a = T::add(*a, v.lift());
                    }
                }
                for (v, &a) in piece.iter_mut().zip(acc.iter()) {
                    *v = T::lower(a);
                }
            }
        }
    }
}
