//! Positions of the largest and smallest.

use crate::args::{around, dense, input, internal, output, want_dtype, want_shape};
use crate::backend::Ran;
use crate::chunks::{for_chunks, grain};
use hadal_core::half::{bf16, f16};
use hadal_core::ops::{Arg, Op, Out};
use hadal_core::{DType, Error, ErrorKind, Result, Storage, dispatch_storage};
use std::ops::ControlFlow::{Break, Continue};

/// An element as something that compares: halves as f32.
trait Rank: Storage {
    type As: Copy + PartialOrd + Default;
    fn rank(self) -> Self::As;
}
macro_rules! rank {
    ($($t:ty as $r:ty: |$v:ident| $e:expr),*) => { $(
        impl Rank for $t {
            type As = $r;
            #[inline(always)]
            fn rank(self) -> $r {
                let $v = self;
                $e
            }
        }
    )* };
}
rank!(f32 as f32: |v| v, f64 as f64: |v| v, f16 as f32: |v| v.to_f32(), bf16 as f32: |v| v.to_f32(),
      i64 as i64: |v| v, i32 as i32: |v| v, u8 as u8: |v| v);

/// Whether a value is NaN (only a NaN is not equal to itself).
#[inline(always)]
#[allow(clippy::eq_op)]
fn is_nan<R: PartialOrd>(v: R) -> bool {
    v != v
}

/// Whether `v` replaces the best so far: strictly better, or the first NaN.
#[inline(always)]
fn better<const MAX: bool, R: Copy + PartialOrd>(v: R, best: R) -> bool {
    (if MAX { v > best } else { v < best }) || (is_nan(v) && !is_nan(best))
}

/// The operations of this file.
pub fn run_op<'o>(op: &Op, inputs: &[Arg<'_>], out: Out<'o>) -> Ran<'o> {
    let name = op.name();
    match op {
        Op::ArgReduce { max, axis } => Break(arg_reduce(name, *max, *axis, inputs, out)),
        _ => Continue(out),
    }
}

/// Index (i64) of the largest or smallest along an axis: the first one of equals; NaN wins over all.
fn arg_reduce(op: &'static str, max: bool, axis: usize, inputs: &[Arg<'_>], mut out: Out<'_>) -> Result<()> {
    let x = input(op, inputs, 0)?;
    let (outer, n, inner) = around(op, &x.layout.shape, axis)?;
    let mut want = x.layout.shape.to_vec();
    want.remove(axis);
    want_shape(op, "the output", out.shape, &want)?;
    want_dtype(op, &out, DType::I64)?;
    if n == 0 && outer * inner > 0 {
        return Err(Error::new(ErrorKind::Value, op, format!("axis {axis} is empty"))
            .operand(&x.layout.shape, x.dtype)
            .help("reduce over an axis with at least one element"));
    }
    if n > u32::MAX as usize {
        return Err(internal(op, format!("axis {axis} has {n} elements; at most 2^32 - 1 are supported")));
    }
    let dtype = x.dtype;
    let x = dense(op, x)?;
    let out = output::<i64>(op, &mut out)?;
    dispatch_storage!(dtype, T => {
        let src: &[T] = x.slice();
        match max {
            true => run::<true, T>(src, out, n, inner),
            false => run::<false, T>(src, out, n, inner),
        }
    });
    Ok(())
}

fn run<const MAX: bool, T: Rank>(src: &[T], out: &mut [i64], n: usize, inner: usize) {
    let per_task = (grain::<T>() / n.max(1)).max(1);
    if inner == 1 {
        for_chunks(out, per_task, |first, part| {
            for (r, o) in part.iter_mut().enumerate() {
                *o = in_row::<MAX, T>(&src[(first + r) * n..(first + r + 1) * n]) as i64;
            }
        });
    } else {
        for_chunks(out, per_task.max(LANE), |first, part| columns::<MAX, T>(src, first, part, n, inner));
    }
}

/// Elements looked at together.
const BLOCK: usize = 256;

fn in_row<const MAX: bool, T: Rank>(row: &[T]) -> usize {
    let (mut best, mut at) = (row[0].rank(), 0);
    for (b, block) in row.chunks(BLOCK).enumerate() {
        // First whether the block has anything better at all, in a loop without dependent branches.
        if block.iter().fold(false, |any, v| any | better::<MAX, _>(v.rank(), best)) {
            for (i, v) in block.iter().enumerate() {
                if better::<MAX, _>(v.rank(), best) {
                    (best, at) = (v.rank(), b * BLOCK + i);
                }
            }
        }
    }
    at
}

/// Columns compared side by side.
const LANE: usize = 64;

fn columns<const MAX: bool, T: Rank>(src: &[T], first: usize, part: &mut [i64], n: usize, inner: usize) {
    let (mut done, end) = (0, part.len());
    while done < end {
        let (o, column) = ((first + done) / inner, (first + done) % inner);
        let width = LANE.min(end - done).min(inner - column);
        let mut best = [T::As::default(); LANE];
        let mut at = [0u32; LANE];
        for k in 0..n {
            let start = (o * n + k) * inner + column;
            let row = &src[start..start + width];
            if k == 0 {
                best.iter_mut().zip(row).for_each(|(b, v)| *b = v.rank());
                continue;
            }
            for ((b, t), v) in best.iter_mut().zip(&mut at).zip(row) {
                let v = v.rank();
                let take = better::<MAX, _>(v, *b);
                *b = if take { v } else { *b };
                *t = if take { k as u32 } else { *t };
            }
        }
        part[done..done + width].iter_mut().zip(at).for_each(|(t, k)| *t = k as i64);
        done += width;
    }
}
