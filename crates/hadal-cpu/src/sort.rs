//! Indices that sort.

use crate::args::{around, dense, input, internal, output, temporary, want_dtype, want_shape};
use crate::backend::Ran;
use crate::chunks::{Shared, for_ranges, grain};
use crate::program::isa::versions;
use crate::simd::level;
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
            if inner == 1 && first <= n / FEW {
                let row = &src[row * n..(row + 1) * n];
                few::<T>(row, &mut work, first, descending, |k, i| {
                    // SAFETY: place k < `first` of this row, which no other task has.
                    unsafe { *out.at((start(first) + k) as isize) = i }
                });
                continue;
            }
            let values = src[start(n)..].iter().step_by(inner).take(n).map(|v| v.key());
            sort::<T>(values, &mut work, first, descending, |k, i| {
                // SAFETY: place k < `first` of this row, which no other task has.
                unsafe { *out.at((start(first) + k * inner) as isize) = i }
            });
        }
    });
    failed.into_inner().unwrap_or_else(|e| e.into_inner()).map_or(Ok(()), Err)
}

/// A key and its position as one number, whose order is that of the result; ties are decided by position,
/// so an unstable sort is stable.
trait Pair: Ord + Copy + bytemuck::Pod {
    fn of(key: u64, position: usize) -> Self;
    fn key(self) -> u64;
    fn position(self) -> i64;
}
impl Pair for u64 {
    fn of(key: u64, position: usize) -> u64 {
        key << 32 | position as u64
    }
    fn key(self) -> u64 {
        self >> 32
    }
    fn position(self) -> i64 {
        (self & u32::MAX as u64) as i64
    }
}
impl Pair for u128 {
    fn of(key: u64, position: usize) -> u128 {
        (key as u128) << 64 | position as u128
    }
    fn key(self) -> u64 {
        (self >> 64) as u64
    }
    fn position(self) -> i64 {
        self as u64 as i64
    }
}

/// What keys are compared with, to sort the other way round.
fn flip<T: Key>(descending: bool) -> u64 {
    match (descending, T::NARROW) {
        (false, _) => 0,
        (true, true) => u32::MAX as u64,
        (true, false) => u64::MAX,
    }
}

/// Sorts keys with their positions, the `first` (at least 1) of them.
fn sort<T: Key>(
    keys: impl Iterator<Item = u64>,
    work: &mut Buffer,
    first: usize,
    descending: bool,
    put: impl FnMut(usize, i64),
) {
    let flip = flip::<T>(descending);
    if T::NARROW {
        sort_pairs::<u64>(keys, bytemuck::cast_slice_mut(work.bytes_mut()), first, flip, put);
    } else {
        sort_pairs::<u128>(keys, bytemuck::cast_slice_mut(work.bytes_mut()), first, flip, put);
    }
}

fn sort_pairs<P: Pair>(
    keys: impl Iterator<Item = u64>,
    pairs: &mut [P],
    first: usize,
    flip: u64,
    mut put: impl FnMut(usize, i64),
) {
    for (i, (p, key)) in pairs.iter_mut().zip(keys).enumerate() {
        *p = P::of(key ^ flip, i);
    }
    leading(pairs, first).iter().enumerate().for_each(|(k, p)| put(k, p.position()));
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

/// From so many elements for each one wanted on, most elements are only compared with the worst candidate.
const FEW: usize = 16;
/// Candidates that are collected before the best are chosen among them, for each one wanted.
const CANDIDATES: usize = 4;
/// Elements that are compared at once.
const CHUNK: usize = 64;

/// As [`sort`], where few of many are wanted.
fn few<T: Key>(row: &[T], work: &mut Buffer, first: usize, descending: bool, put: impl FnMut(usize, i64)) {
    let flip = flip::<T>(descending);
    if T::NARROW {
        few_pairs::<T, u64>(row, bytemuck::cast_slice_mut(work.bytes_mut()), first, flip, put);
    } else {
        few_pairs::<T, u128>(row, bytemuck::cast_slice_mut(work.bytes_mut()), first, flip, put);
    }
}

fn few_pairs<T: Key, P: Pair>(
    row: &[T],
    pairs: &mut [P],
    first: usize,
    flip: u64,
    mut put: impl FnMut(usize, i64),
) {
    let scan = pick_scan::<T>(level());
    let room = (first * CANDIDATES).max(CHUNK);
    // The first elements are candidates all; after that only what is better than the worst of the best so
    // far. What is equal to that comes later, so it is not better.
    let mut have = room.min(row.len());
    for (i, (p, v)) in pairs[..have].iter_mut().zip(row).enumerate() {
        *p = P::of(v.key() ^ flip, i);
    }
    let mut at = have;
    while at < row.len() {
        if have >= room {
            pairs[..have].select_nth_unstable(first - 1);
            have = first;
        }
        let limit = pairs[..have].iter().max().map_or(u64::MAX, |p| p.key());
        // Until the candidates are full the limit stays as it is, which lets in a few too many.
        while at < row.len() && have < room {
            // SAFETY: the row's elements from `at` on.
            at += unsafe { scan(row[at..].as_ptr(), row.len() - at, flip, limit) };
            let chunk = &row[at..row.len().min(at + CHUNK)];
            for (i, v) in chunk.iter().enumerate() {
                let key = v.key() ^ flip;
                if key < limit {
                    pairs[have] = P::of(key, at + i);
                    have += 1;
                }
            }
            at += chunk.len();
        }
    }
    leading(&mut pairs[..have], first).iter().enumerate().for_each(|(k, p)| put(k, p.position()));
}

/// Elements before the first chunk with a key below `limit`, of `n`.
type ScanFn<T> = unsafe fn(*const T, usize, u64, u64) -> usize;

/// # Safety
/// `n` elements are valid.
#[inline(always)]
unsafe fn scan<T: Key>(row: *const T, n: usize, flip: u64, limit: u64) -> usize {
    let mut at = 0;
    while at + CHUNK <= n {
        // SAFETY: the caller's promise.
        let chunk = unsafe { &*row.add(at).cast::<[T; CHUNK]>() };
        let mut any = 0;
        for v in chunk {
            any |= ((v.key() ^ flip) < limit) as u64;
        }
        if any != 0 {
            return at;
        }
        at += CHUNK;
    }
    at
}

versions!(pick_scan, ScanFn<T>, scan, [T], [T: Key], (row: *const T, n: usize, flip: u64, limit: u64) -> usize);
