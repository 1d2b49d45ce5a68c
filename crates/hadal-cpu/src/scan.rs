//! Running sums.

use crate::args::{around, dense, input, internal, output, want_shape};
use crate::backend::Ran;
use crate::chunks::{Shared, for_chunks, for_ranges, grain};
use hadal_core::half::{bf16, f16};
use hadal_core::ops::{Arg, Op, Out};
use hadal_core::{Result, Storage, dispatch_storage};
use std::ops::ControlFlow::{Break, Continue};

/// What a running sum is kept in: f64 for every float (so that a long f32 sum does not drift; each
/// output is the f64 sum rounded once), wrapping i64 for integers.
trait Running: Storage {
    type Acc: Copy + Send + Sync;
    const ZERO: Self::Acc;
    fn step(acc: Self::Acc, v: Self) -> Self::Acc;
    fn round(acc: Self::Acc) -> Self;
}
macro_rules! running {
    ($t:ty, $acc:ty, $zero:expr, |$a:ident, $v:ident| $step:expr, |$r:ident| $round:expr) => {
        impl Running for $t {
            type Acc = $acc;
            const ZERO: $acc = $zero;
            #[inline(always)]
            fn step($a: $acc, $v: $t) -> $acc {
                $step
            }
            #[inline(always)]
            fn round($r: $acc) -> $t {
                $round
            }
        }
    };
}
running!(f32, f64, 0.0, |a, v| a + v as f64, |r| r as f32);
running!(f64, f64, 0.0, |a, v| a + v, |r| r);
running!(f16, f64, 0.0, |a, v| a + v.to_f64(), |r| f16::from_f32(r as f32));
running!(bf16, f64, 0.0, |a, v| a + v.to_f64(), |r| bf16::from_f32(r as f32));
running!(i64, i64, 0, |a, v| a.wrapping_add(v), |r| r);
running!(i32, i64, 0, |a, v| a.wrapping_add(v as i64), |r| r as i32);
running!(u8, i64, 0, |a, v| a.wrapping_add(v as i64), |r| r as u8);

/// The operations of this file.
pub fn run_op<'o>(op: &Op, inputs: &[Arg<'_>], out: Out<'o>) -> Ran<'o> {
    match op {
        Op::CumSum { axis, reverse } => Break(cumsum(op.name(), *axis, *reverse, inputs, out)),
        _ => Continue(out),
    }
}

/// Running sum along an axis, from the end if `reverse`.
fn cumsum(op: &'static str, axis: usize, reverse: bool, inputs: &[Arg<'_>], mut out: Out<'_>) -> Result<()> {
    let x = input(op, inputs, 0)?;
    let (outer, n, inner) = around(op, &x.layout.shape, axis)?;
    want_shape(op, "the output", out.shape, &x.layout.shape)?;
    if x.dtype != out.dtype || x.dtype == hadal_core::DType::Bool {
        return Err(internal(op, format!("from {} to {}", x.dtype, out.dtype)));
    }
    let x = dense(op, x)?;
    dispatch_storage!(out.dtype, T => run::<T>(x.slice(), output(op, &mut out)?, (outer, n, inner), reverse));
    Ok(())
}

/// Columns summed side by side.
const LANE: usize = 64;

fn run<T: Running>(src: &[T], dst: &mut [T], (outer, n, inner): (usize, usize, usize), reverse: bool) {
    if dst.is_empty() {
        return;
    }
    if inner == 1 {
        return for_chunks(dst, (grain::<T>() / n).max(1) * n, |first, part| {
            for (row, from) in part.chunks_exact_mut(n).zip(src[first..].chunks_exact(n)) {
                let mut acc = T::ZERO;
                let mut step = |(t, &v): (&mut T, &T)| {
                    acc = T::step(acc, v);
                    *t = T::round(acc);
                };
                match reverse {
                    false => row.iter_mut().zip(from).for_each(&mut step),
                    true => row.iter_mut().zip(from).rev().for_each(&mut step),
                }
            }
        });
    }
    let lanes = inner.div_ceil(LANE);
    let dst = Shared::new(dst);
    let per_task = grain::<T>() / (n * inner.min(LANE)).max(1);
    for_ranges(outer * lanes, per_task, |pieces| {
        for piece in pieces {
            let (o, column) = (piece / lanes, piece % lanes * LANE);
            let width = LANE.min(inner - column);
            let mut acc = [T::ZERO; LANE];
            for k in 0..n {
                let k = if reverse { n - 1 - k } else { k };
                let start = (o * n + k) * inner + column;
                // SAFETY: columns of different pieces do not overlap.
                let to = unsafe { dst.part(start..start + width) };
                for ((a, t), &v) in acc.iter_mut().zip(to).zip(&src[start..start + width]) {
                    *a = T::step(*a, v);
                    *t = T::round(*a);
                }
            }
        }
    });
}
