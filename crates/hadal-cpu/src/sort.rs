//! Indices that sort.

use crate::args::{around, dense, input, internal, output, temporary, want_dtype, want_shape};
use crate::backend::Ran;
use crate::chunks::{Shared, for_ranges, grain};
use hadal_core::half::{bf16, f16};
use hadal_core::ops::{Arg, Op, Out};
use hadal_core::{Buffer, DType, Result, Storage, dispatch_storage};
use std::ops::ControlFlow::{Break, Continue};
use std::sync::Mutex;

/// An unsigned key in the order of the elements: equal elements (`-0` and `+0`, any two NaN) have
/// equal keys, NaN has the largest.
trait Key: Storage {
    /// Whether keys fit 32 bits, so that key and position fit one u64.
    const NARROW: bool;
    fn key(self) -> u64;
}
macro_rules! float_key {
    ($t:ty, $bits:ty, $narrow:expr, $zero:expr) => {
        impl Key for $t {
            const NARROW: bool = $narrow;
            #[inline(always)]
            fn key(self) -> u64 {
                const TOP: $bits = 1 << (<$bits>::BITS - 1);
                if self.is_nan() {
                    return <$bits>::MAX as u64;
                }
                let b = if self == $zero { 0 } else { self.to_bits() };
                // Negative: more bits is smaller. Positive: above all negative.
                (if b & TOP != 0 { !b } else { b | TOP }) as u64
            }
        }
    };
}
float_key!(f32, u32, true, 0.0);
float_key!(f64, u64, false, 0.0);
float_key!(f16, u16, true, f16::ZERO);
float_key!(bf16, u16, true, bf16::ZERO);
macro_rules! int_key {
    ($t:ty, $u:ty, $narrow:expr) => {
        impl Key for $t {
            const NARROW: bool = $narrow;
            #[inline(always)]
            fn key(self) -> u64 {
                (self.wrapping_sub(<$t>::MIN) as $u) as u64
            }
        }
    };
}
int_key!(i64, u64, false);
int_key!(i32, u32, true);
int_key!(u8, u8, true);

/// The operations of this file.
pub fn run_op<'o>(op: &Op, inputs: &[Arg<'_>], out: Out<'o>) -> Ran<'o> {
    let name = op.name();
    match op {
        Op::ArgSort { axis, descending } => Break(argsort(name, *axis, *descending, inputs, out)),
        _ => Continue(out),
    }
}

/// Indices (i64) that sort along an axis, the first as many of them as the output has places. Stable
/// in both directions: equal elements keep their order. NaN counts as the largest.
fn argsort(
    op: &'static str,
    axis: usize,
    descending: bool,
    inputs: &[Arg<'_>],
    mut out: Out<'_>,
) -> Result<()> {
    let x = input(op, inputs, 0)?;
    let (outer, n, inner) = around(op, &x.layout.shape, axis)?;
    let mut shape = x.layout.shape.clone();
    let first = out.shape.get(axis).copied().unwrap_or(n).min(n);
    shape[axis] = first;
    want_shape(op, "the output", out.shape, &shape)?;
    want_dtype(op, &out, DType::I64)?;
    if n > u32::MAX as usize {
        return Err(internal(op, format!("rows of {n} elements; at most 2^32 - 1 can be sorted")));
    }
    let dtype = x.dtype;
    let x = dense(op, x)?;
    let out = output::<i64>(op, &mut out)?;
    dispatch_storage!(dtype, T => rows::<T>(op, x.slice(), out, (outer, n, inner), first, descending))
}

fn rows<T: Key>(
    op: &'static str,
    src: &[T],
    out: &mut [i64],
    (outer, n, inner): (usize, usize, usize),
    first: usize,
    descending: bool,
) -> Result<()> {
    if out.is_empty() {
        return Ok(());
    }
    let out = Shared::new(out);
    let failed = Mutex::new(None);
    // Sorting costs about log2(n) passes: fewer elements per task than for a copy.
    for_ranges(outer * inner, grain::<i64>() / 8 / n, |range| {
        let size = if T::NARROW { 8 } else { 16 };
        let mut work = match temporary::<u8>(op, n * size) {
            Ok(work) => work,
            Err(e) => {
                *failed.lock().unwrap_or_else(|e| e.into_inner()) = Some(e);
                return;
            }
        };
        for row in range {
            let start = |n: usize| row / inner * n * inner + row % inner;
            let values = src[start(n)..].iter().step_by(inner).take(n).map(|v| v.key());
            sort::<T>(values, &mut work, first, descending, |k, i| {
                // SAFETY: place k < `first` of this row, which no other task has.
                unsafe { *out.at((start(first) + k * inner) as isize) = i }
            });
        }
    });
    failed.into_inner().unwrap_or_else(|e| e.into_inner()).map_or(Ok(()), Err)
}

/// Sorts keys with their positions, the `first` (at least 1) of them; ties are decided by position, so an unstable sort is stable.
fn sort<T: Key>(
    keys: impl Iterator<Item = u64>,
    work: &mut Buffer,
    first: usize,
    descending: bool,
    mut put: impl FnMut(usize, i64),
) {
    let flip = if descending { u64::MAX } else { 0 };
    if T::NARROW {
        let pairs = bytemuck::cast_slice_mut::<u8, u64>(work.bytes_mut());
        for (i, (p, key)) in pairs.iter_mut().zip(keys).enumerate() {
            *p = (key ^ flip) << 32 | i as u64;
        }
        leading(pairs, first).iter().enumerate().for_each(|(k, p)| put(k, (p & u32::MAX as u64) as i64));
    } else {
        let pairs = bytemuck::cast_slice_mut::<u8, u128>(work.bytes_mut());
        for (i, (p, key)) in pairs.iter_mut().zip(keys).enumerate() {
            *p = ((key ^ flip) as u128) << 64 | i as u128;
        }
        leading(pairs, first).iter().enumerate().for_each(|(k, p)| put(k, (p & u64::MAX as u128) as i64));
    }
}

/// The `first` smallest, in order. No two are equal, so there is one answer.
fn leading<P: Ord>(pairs: &mut [P], first: usize) -> &[P] {
    if first < pairs.len() {
        pairs.select_nth_unstable(first);
    }
    let chosen = &mut pairs[..first];
    chosen.sort_unstable();
    chosen
}
