//! Block functions of reductions.
//!
//! Accumulators are `f64` for floats and `i64` for integers and truth values. Inside a block f32 is
//! summed in f32, in [`LANES`] lanes that are then folded in halves: an error of a few ulp at most,
//! since a lane adds no more than 16 numbers. Sums over columns likewise take [`DEPTH`] rows in f32
//! before they go to f64. Which number goes to which lane follows from the length
//! of a row alone.

use super::isa::versions;
use crate::simd::Level;
use hadal_core::DType;
use hadal_core::ops::ReduceOp;

/// `f(acc, src, rows, len)`, see [`Folds`]. Accumulators are 8 bytes each.
pub(super) type FoldFn = unsafe fn(*mut u8, *const u8, usize, usize);

/// Independent sums of a row, enough to hide the latency of an addition.
const LANES: usize = 32;

/// `f(lanes, sources, _, len)`: as [`Folds::columns`], for [`TOGETHER`] rows one after the other.
pub(super) type RowsFn = unsafe fn(*mut u8, *const *const u8, usize, usize);

/// Rows that are added to column lanes in one go, so that lanes are read and written once for all of them.
pub(super) const TOGETHER: usize = 4;

/// Rows that are added to column lanes before these are added to accumulators.
pub(super) const DEPTH: usize = 16;

/// The functions of one reduction on one compute type.
#[derive(Clone, Copy)]
pub(super) struct Folds {
    /// Adds each of `rows` rows of `len` elements to one accumulator.
    pub rows: FoldFn,
    /// Sets `len` lanes to the start; there is no source.
    pub begin: FoldFn,
    /// Adds `len` elements to as many lanes, of 8 bytes or fewer each.
    pub columns: FoldFn,
    /// The same for several rows.
    pub several: RowsFn,
    /// Adds `len` lanes to as many accumulators and begins the lanes anew.
    pub flush: FoldFn,
    /// Adds `len` accumulators to as many accumulators.
    pub join: FoldFn,
    /// Bytes of a lane.
    pub lane: usize,
    /// Bits of the accumulator of nothing.
    pub empty: u64,
    /// Accumulators are f64, not i64.
    pub float: bool,
}

/// A reduction of elements `T`.
trait Fold<T> {
    /// What a block is folded in.
    type Lane: Copy;
    /// What blocks are folded in.
    type Acc: Copy;
    const START: Self::Lane;
    fn lane(x: T) -> Self::Lane;
    fn merge(a: Self::Lane, b: Self::Lane) -> Self::Lane;
    fn lift(x: Self::Lane) -> Self::Acc;
    fn join(a: Self::Acc, b: Self::Acc) -> Self::Acc;
}

#[inline(always)]
unsafe fn body_rows<T: Copy, F: Fold<T>>(acc: *mut u8, src: *const u8, rows: usize, len: usize) {
    // SAFETY: the caller promises `rows` accumulators and `rows · len` elements.
    let (acc, src) = unsafe {
        (
            std::slice::from_raw_parts_mut(acc.cast::<F::Acc>(), rows),
            std::slice::from_raw_parts(src.cast::<T>(), rows * len),
        )
    };
    for (acc, row) in acc.iter_mut().zip(src.chunks_exact(len.max(1))) {
        *acc = F::join(*acc, F::lift(fold_row::<T, F>(row)));
    }
}

#[inline(always)]
fn fold_row<T: Copy, F: Fold<T>>(row: &[T]) -> F::Lane {
    if row.len() < LANES {
        return row.iter().fold(F::START, |a, &x| F::merge(a, F::lane(x)));
    }
    let mut lanes = [F::START; LANES];
    let mut chunks = row.chunks_exact(LANES);
    for c in &mut chunks {
        for i in 0..LANES {
            lanes[i] = F::merge(lanes[i], F::lane(c[i]));
        }
    }
    for (l, &x) in lanes.iter_mut().zip(chunks.remainder()) {
        *l = F::merge(*l, F::lane(x));
    }
    // Keeps the compiler from cutting the loop's vectors down to the pairs that are folded last (eight
    // times slower).
    lanes = std::hint::black_box(lanes);
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = F::merge(lanes[i], lanes[i + half]);
        }
        half /= 2;
    }
    lanes[0]
}

#[inline(always)]
unsafe fn body_begin<T: Copy, F: Fold<T>>(lanes: *mut u8, _: *const u8, _: usize, len: usize) {
    // SAFETY: the caller promises `len` lanes.
    unsafe { std::slice::from_raw_parts_mut(lanes.cast::<F::Lane>(), len) }.fill(F::START);
}

#[inline(always)]
unsafe fn body_columns<T: Copy, F: Fold<T>>(lanes: *mut u8, src: *const u8, _: usize, len: usize) {
    // SAFETY: the caller promises `len` lanes and elements.
    let (lanes, src) = unsafe {
        (
            std::slice::from_raw_parts_mut(lanes.cast::<F::Lane>(), len),
            std::slice::from_raw_parts(src.cast::<T>(), len),
        )
    };
    for (l, &x) in lanes.iter_mut().zip(src) {
        *l = F::merge(*l, F::lane(x));
    }
}

#[inline(always)]
unsafe fn body_several<T: Copy, F: Fold<T>>(lanes: *mut u8, sources: *const *const u8, _: usize, len: usize) {
    // SAFETY: the caller promises as many sources, `len` lanes, and `len` elements of each source.
    let (lanes, sources) = unsafe {
        let sources: [*const u8; TOGETHER] = sources.cast::<[*const u8; TOGETHER]>().read();
        (
            std::slice::from_raw_parts_mut(lanes.cast::<F::Lane>(), len),
            sources.map(|s| std::slice::from_raw_parts(s.cast::<T>(), len)),
        )
    };
    let [a, b, c, d] = sources;
    for ((((l, &a), &b), &c), &d) in lanes.iter_mut().zip(a).zip(b).zip(c).zip(d) {
        *l = F::merge(F::merge(F::merge(F::merge(*l, F::lane(a)), F::lane(b)), F::lane(c)), F::lane(d));
    }
}

#[inline(always)]
unsafe fn body_flush<T: Copy, F: Fold<T>>(acc: *mut u8, lanes: *const u8, _: usize, len: usize) {
    // SAFETY: the caller promises `len` accumulators and lanes, both for writing.
    let (acc, lanes) = unsafe {
        (
            std::slice::from_raw_parts_mut(acc.cast::<F::Acc>(), len),
            std::slice::from_raw_parts_mut(lanes.cast_mut().cast::<F::Lane>(), len),
        )
    };
    for (a, l) in acc.iter_mut().zip(lanes) {
        *a = F::join(*a, F::lift(*l));
        *l = F::START;
    }
}

#[inline(always)]
unsafe fn body_join<T: Copy, F: Fold<T>>(acc: *mut u8, src: *const u8, _: usize, len: usize) {
    // SAFETY: the caller promises `len` accumulators in both.
    let (acc, src) = unsafe {
        (
            std::slice::from_raw_parts_mut(acc.cast::<F::Acc>(), len),
            std::slice::from_raw_parts(src.cast::<F::Acc>(), len),
        )
    };
    for (a, &x) in acc.iter_mut().zip(src) {
        *a = F::join(*a, x);
    }
}

versions!(pick_rows, FoldFn, body_rows, [T, F], [T: Copy, F: Fold<T>],
    (acc: *mut u8, src: *const u8, rows: usize, len: usize));
versions!(pick_columns, FoldFn, body_columns, [T, F], [T: Copy, F: Fold<T>],
    (acc: *mut u8, src: *const u8, rows: usize, len: usize));
versions!(pick_several, RowsFn, body_several, [T, F], [T: Copy, F: Fold<T>],
    (lanes: *mut u8, sources: *const *const u8, unused: usize, len: usize));
versions!(pick_begin, FoldFn, body_begin, [T, F], [T: Copy, F: Fold<T>],
    (acc: *mut u8, src: *const u8, rows: usize, len: usize));
versions!(pick_flush, FoldFn, body_flush, [T, F], [T: Copy, F: Fold<T>],
    (acc: *mut u8, src: *const u8, rows: usize, len: usize));
versions!(pick_join, FoldFn, body_join, [T, F], [T: Copy, F: Fold<T>],
    (acc: *mut u8, src: *const u8, rows: usize, len: usize));

macro_rules! folds {
    ($($op:ident $t:ty => $lane:ty => $acc:ty, $start:expr, |$x:ident| $of:expr,
        |$a:ident, $b:ident| $merge:expr;)*) => {
        $(impl Fold<$t> for $op {
            type Lane = $lane;
            type Acc = $acc;
            const START: $lane = $start;
            #[inline(always)]
            fn lane($x: $t) -> $lane {
                $of
            }
            #[inline(always)]
            fn merge($a: $lane, $b: $lane) -> $lane {
                $merge
            }
            #[inline(always)]
            fn lift(x: $lane) -> $acc {
                x as $acc
            }
            #[inline(always)]
            fn join($a: $acc, $b: $acc) -> $acc {
                $merge
            }
        })*
    };
}

struct Sum;
struct Prod;
struct Max;
struct Min;
struct Any;
struct All;
folds! {
    Sum f32 => f32 => f64, 0.0, |x| x, |a, b| a + b;
    Sum f64 => f64 => f64, 0.0, |x| x, |a, b| a + b;
    Sum i64 => i64 => i64, 0, |x| x, |a, b| a.wrapping_add(b);
    Sum u8 => i64 => i64, 0, |x| x as i64, |a, b| a.wrapping_add(b);
    Prod f32 => f64 => f64, 1.0, |x| x as f64, |a, b| a * b;
    Prod f64 => f64 => f64, 1.0, |x| x, |a, b| a * b;
    Prod i64 => i64 => i64, 1, |x| x, |a, b| a.wrapping_mul(b);
    Prod u8 => i64 => i64, 1, |x| x as i64, |a, b| a & b;
    // A NaN wins: it is taken when met and then never less than anything.
    Max f32 => f32 => f64, f32::NEG_INFINITY, |x| x, |a, b| if (b > a) | b.is_nan() { b } else { a };
    Max f64 => f64 => f64, f64::NEG_INFINITY, |x| x, |a, b| if (b > a) | b.is_nan() { b } else { a };
    Max i64 => i64 => i64, i64::MIN, |x| x, |a, b| if b > a { b } else { a };
    Max u8 => i64 => i64, i64::MIN, |x| x as i64, |a, b| if b > a { b } else { a };
    Min f32 => f32 => f64, f32::INFINITY, |x| x, |a, b| if (b < a) | b.is_nan() { b } else { a };
    Min f64 => f64 => f64, f64::INFINITY, |x| x, |a, b| if (b < a) | b.is_nan() { b } else { a };
    Min i64 => i64 => i64, i64::MAX, |x| x, |a, b| if b < a { b } else { a };
    Min u8 => i64 => i64, i64::MAX, |x| x as i64, |a, b| if b < a { b } else { a };
    Any f32 => i64 => i64, 0, |x| (x != 0.0) as i64, |a, b| a | b;
    Any f64 => i64 => i64, 0, |x| (x != 0.0) as i64, |a, b| a | b;
    Any i64 => i64 => i64, 0, |x| (x != 0) as i64, |a, b| a | b;
    Any u8 => i64 => i64, 0, |x| (x != 0) as i64, |a, b| a | b;
    All f32 => i64 => i64, 1, |x| (x != 0.0) as i64, |a, b| a & b;
    All f64 => i64 => i64, 1, |x| (x != 0.0) as i64, |a, b| a & b;
    All i64 => i64 => i64, 1, |x| (x != 0) as i64, |a, b| a & b;
    All u8 => i64 => i64, 1, |x| (x != 0) as i64, |a, b| a & b;
}

/// An accumulator as bits.
trait Bits {
    const FLOAT: bool;
    fn bits(self) -> u64;
}
impl Bits for f64 {
    const FLOAT: bool = true;
    fn bits(self) -> u64 {
        self.to_bits()
    }
}
impl Bits for i64 {
    const FLOAT: bool = false;
    fn bits(self) -> u64 {
        self as u64
    }
}

fn of<T: Copy, F: Fold<T>>(level: Level) -> Folds
where
    F::Acc: Bits,
{
    Folds {
        rows: pick_rows::<T, F>(level),
        begin: pick_begin::<T, F>(level),
        columns: pick_columns::<T, F>(level),
        several: pick_several::<T, F>(level),
        flush: pick_flush::<T, F>(level),
        join: pick_join::<T, F>(level),
        lane: size_of::<F::Lane>(),
        empty: F::lift(F::START).bits(),
        float: F::Acc::FLOAT,
    }
}

fn of_type<F>(level: Level, t: DType) -> Folds
where
    F: Fold<f32> + Fold<f64> + Fold<i64> + Fold<u8>,
    <F as Fold<f32>>::Acc: Bits,
    <F as Fold<f64>>::Acc: Bits,
    <F as Fold<i64>>::Acc: Bits,
    <F as Fold<u8>>::Acc: Bits,
{
    match t.compute() {
        DType::F32 => of::<f32, F>(level),
        DType::F64 => of::<f64, F>(level),
        DType::I64 => of::<i64, F>(level),
        _ => of::<u8, F>(level),
    }
}

/// The functions of a reduction of registers of a dtype.
pub(super) fn folds(level: Level, op: ReduceOp, t: DType) -> Folds {
    match op {
        ReduceOp::Sum => of_type::<Sum>(level, t),
        ReduceOp::Prod => of_type::<Prod>(level, t),
        ReduceOp::Max => of_type::<Max>(level, t),
        ReduceOp::Min => of_type::<Min>(level, t),
        ReduceOp::Any => of_type::<Any>(level, t),
        ReduceOp::All => of_type::<All>(level, t),
    }
}
