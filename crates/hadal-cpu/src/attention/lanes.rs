//! What happens to a tile of scores, whose rows are keys and whose lanes are queries; and to a row of
//! scores of one query. One body for all instruction sets, which give the same bits.

use crate::simd::{Level, level};
use hadal_core::math::Real as Math;
use std::ops::{Div, Sub};

/// Lanes of a row's partial maxima and sums: the same on all machines, so that sums come out alike.
const ROW: usize = 16;

/// A float with its functions on tiles.
pub(super) trait Lanes: Copy + 'static + PartialOrd + Sub<Output = Self> + Div<Output = Self> {
    const NONE: Self;
    const ONCE: Self;
    const LOWEST_SCORE: Self;
    const HIGHEST_SCORE: Self;
    fn lit(v: f64) -> Self;
    /// The functions for this machine.
    fn functions() -> &'static Functions<Self>;
}

/// Two numbers of elements.
type Pair = (usize, usize);

/// Functions on tiles. Rows are `stride` apart and have `cols` lanes, a multiple of the vectors' lanes
/// and at most two vectors; see the bodies of the same names.
pub(super) struct Functions<T> {
    pub online: unsafe fn(*mut T, usize, usize, usize, *mut Online<T>, usize) -> bool,
    pub rescale: unsafe fn(*mut T, usize, usize, usize, *const T),
    pub gradient: unsafe fn(*mut T, *mut T, usize, usize, usize, *const T, *const T),
    pub hide: unsafe fn(*mut T, usize, usize, usize, *const T, bool),
    pub finish: unsafe fn(*mut Online<T>),
    pub row: unsafe fn(*mut T, usize) -> (T, T),
    pub dots: unsafe fn(*const T, *const T, Pair, Pair, *mut T),
    pub exp: unsafe fn(T) -> T,
    pub ln: unsafe fn(T) -> T,
}

/// The state of the online softmax of some queries.
#[repr(C)]
pub(super) struct Online<T> {
    /// Largest score so far.
    pub max: [T; super::QUERIES],
    /// Sum of `exp(score − max)` so far.
    pub sum: [T; super::QUERIES],
    /// What sums and results so far are to be multiplied with after the last tile.
    pub factor: [T; super::QUERIES],
}

impl<T: Lanes> Online<T> {
    pub fn new() -> Self {
        let all = |v| [v; super::QUERIES];
        Online { max: all(T::LOWEST_SCORE), sum: all(T::NONE), factor: all(T::ONCE) }
    }
}

#[inline(always)]
unsafe fn load<T: Copy, const L: usize>(p: *const T) -> [T; L] {
    // SAFETY: the caller's pointer is valid for `L` elements.
    unsafe { p.cast::<[T; L]>().read_unaligned() }
}
#[inline(always)]
unsafe fn store<T: Copy, const L: usize>(p: *mut T, v: [T; L]) {
    // SAFETY: as above.
    unsafe { p.cast::<[T; L]>().write_unaligned(v) }
}

/// Scores become `exp(score − max)` with the largest score of each query so far; its state goes on,
/// from query `col`.
/// Returns whether a factor is not 1.
///
/// # Safety
/// All bodies: the tile has `keys` rows of `cols` lanes, `stride` apart; other pointers have `cols`
/// elements; the machine has the instructions.
#[inline(always)]
unsafe fn online<T: Lanes + Math, const L: usize>(
    s: *mut T,
    stride: usize,
    keys: usize,
    state: *mut Online<T>,
    col: usize,
) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        let max_at = (&raw mut (*state).max).cast::<T>().add(col);
        let sum_at = (&raw mut (*state).sum).cast::<T>().add(col);
        let factor_at = (&raw mut (*state).factor).cast::<T>().add(col);
        let before = load::<T, L>(max_at);
        let mut max = before;
        for k in 0..keys {
            let v = load::<T, L>(s.add(k * stride));
            for i in 0..L {
                max[i] = T::select(v[i] > max[i], v[i], max[i]);
            }
        }
        let (mut base, mut factor, mut part) = (max, max, [T::NONE; L]);
        let mut changed = false;
        for i in 0..L {
            // Nothing seen so far: any finite base gives zeros.
            base[i] = T::select(max[i] == T::LOWEST_SCORE, T::NONE, max[i]);
            factor[i] = (before[i] - base[i]).exp_low_();
            changed |= factor[i] != T::ONCE;
        }
        for k in 0..keys {
            let mut v = load::<T, L>(s.add(k * stride));
            for i in 0..L {
                v[i] = (v[i] - base[i]).exp_low_();
                part[i] += v[i];
            }
            store(s.add(k * stride), v);
        }
        let mut sum = load::<T, L>(sum_at);
        for i in 0..L {
            sum[i] = sum[i].mul_add_(factor[i], part[i]);
        }
        store(max_at, max);
        store(sum_at, sum);
        store(factor_at, factor);
        changed
    }
}

/// After the last tile: the largest scores become logarithms of sums (−∞ where no key is seen), the
/// factors what results are to be multiplied with.
#[inline(always)]
unsafe fn finish<T: Lanes + Math>(state: *mut Online<T>) {
    // SAFETY: the caller's state.
    let state = unsafe { &mut *state };
    for i in 0..super::QUERIES {
        let sum = state.sum[i];
        let none = sum == T::NONE;
        state.factor[i] = T::select(none, T::NONE, T::ONCE / sum);
        state.max[i] = T::select(none, T::LOWEST_SCORE, state.max[i] + sum.ln_());
    }
}

/// Lanes times their factors.
#[inline(always)]
unsafe fn rescale<T: Lanes + Math, const L: usize>(o: *mut T, stride: usize, rows: usize, factor: *const T) {
    // SAFETY: the caller's promise.
    unsafe {
        let f = load::<T, L>(factor);
        for r in 0..rows {
            let mut v = load::<T, L>(o.add(r * stride));
            for i in 0..L {
                v[i] *= f[i];
            }
            store(o.add(r * stride), v);
        }
    }
}

/// Scores become probabilities `p = exp(score − lse)`, their cotangents `p (dp − delta)`.
#[inline(always)]
unsafe fn gradient<T: Lanes + Math, const L: usize>(
    s: *mut T,
    dp: *mut T,
    stride: usize,
    keys: usize,
    lse: *const T,
    delta: *const T,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let (lse, delta) = (load::<T, L>(lse), load::<T, L>(delta));
        for k in 0..keys {
            let mut p = load::<T, L>(s.add(k * stride));
            let mut g = load::<T, L>(dp.add(k * stride));
            for i in 0..L {
                p[i] = (p[i] - lse[i]).exp_low_();
                g[i] = p[i] * (g[i] - delta[i]);
            }
            store(s.add(k * stride), p);
            store(dp.add(k * stride), g);
        }
    }
}

/// A mask, whose rows are `cols` apart, comes to the scores: it is added, or hides where it is −∞,
/// whatever the score.
#[inline(always)]
unsafe fn hide<T: Lanes + Math, const L: usize>(
    s: *mut T,
    stride: usize,
    keys: usize,
    mask: *const T,
    cols: usize,
    only_hides: bool,
) {
    // SAFETY: the caller's promise.
    unsafe {
        for k in 0..keys {
            let mut v = load::<T, L>(s.add(k * stride));
            let m = load::<T, L>(mask.add(k * cols));
            for i in 0..L {
                let hidden = only_hides & (m[i] == T::LOWEST_SCORE);
                v[i] = T::select(hidden, T::LOWEST_SCORE, v[i] + m[i]);
            }
            store(s.add(k * stride), v);
        }
    }
}

/// The scores of one query, in a row, become `exp(score − max)`. Returns the largest and the sum.
#[inline(always)]
unsafe fn row<T: Lanes + Math>(s: *mut T, keys: usize) -> (T, T) {
    // SAFETY: the row has `keys` elements.
    let s = unsafe { std::slice::from_raw_parts_mut(s, keys) };
    let mut maxima = [T::LOWEST_SCORE; ROW];
    let (whole, rest) = s.as_chunks::<ROW>();
    for v in whole {
        for i in 0..ROW {
            maxima[i] = T::select(v[i] > maxima[i], v[i], maxima[i]);
        }
    }
    let max = rest.iter().chain(&maxima).fold(T::LOWEST_SCORE, |m, &v| T::select(v > m, v, m));
    let base = T::select(max == T::LOWEST_SCORE, T::NONE, max);
    let mut sums = [T::NONE; ROW];
    let (whole, rest) = s.as_chunks_mut::<ROW>();
    for v in whole {
        for i in 0..ROW {
            v[i] = (v[i] - base).exp_low_();
            sums[i] += v[i];
        }
    }
    for (v, sum) in rest.iter_mut().zip(&mut sums) {
        *v = (*v - base).exp_low_();
        *sum += *v;
    }
    (max, sums.iter().fold(T::NONE, |a, &v| a + v))
}

/// The products of the rows of two matrices, which are `a_row` and `b_row` apart, `width` long.
#[inline(always)]
unsafe fn dots<T: Lanes + Math>(
    a: *const T,
    b: *const T,
    (a_row, b_row): Pair,
    (rows, width): Pair,
    to: *mut T,
) {
    for row in 0..rows {
        // SAFETY: both matrices have this row, and `to` as many elements.
        unsafe {
            let a = std::slice::from_raw_parts(a.add(row * a_row), width);
            let b = std::slice::from_raw_parts(b.add(row * b_row), width);
            let mut sums = [T::NONE; ROW];
            let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<ROW>(), b.as_chunks::<ROW>());
            for (a, b) in a.iter().zip(b) {
                for i in 0..ROW {
                    sums[i] += a[i] * b[i];
                }
            }
            for ((a, b), sum) in a_rest.iter().zip(b_rest).zip(&mut sums) {
                *sum += *a * *b;
            }
            *to.add(row) = sums.iter().fold(T::NONE, |s, &v| s + v);
        }
    }
}

/// The functions of one type compiled for one instruction set: `functions!(features, module, type,
/// lanes of a vector, of two vectors)`.
macro_rules! functions {
    ($(#[$feature:meta])* $module:ident, $t:ty, $one:literal, $two:literal) => {
        mod $module {
            use super::{Functions, Math, Online};
            // SAFETY (all): the caller's promise is the body's; each part of the lanes is one call.
            $(#[$feature])*
            unsafe fn online(
                s: *mut $t, stride: usize, keys: usize, cols: usize, o: *mut Online<$t>, col: usize,
            ) -> bool {
                // SAFETY: see above.
                unsafe {
                    if cols == $two { super::online::<$t, $two>(s, stride, keys, o, col) }
                    else { super::online::<$t, $one>(s, stride, keys, o, col) }
                }
            }
            $(#[$feature])*
            unsafe fn rescale(o: *mut $t, stride: usize, rows: usize, cols: usize, f: *const $t) {
                // SAFETY: see above.
                unsafe {
                    if cols == $two { super::rescale::<$t, $two>(o, stride, rows, f) }
                    else { super::rescale::<$t, $one>(o, stride, rows, f) }
                }
            }
            $(#[$feature])*
            unsafe fn gradient(
                s: *mut $t, dp: *mut $t, stride: usize, keys: usize, cols: usize, lse: *const $t, delta: *const $t,
            ) {
                // SAFETY: see above.
                unsafe {
                    if cols == $two { super::gradient::<$t, $two>(s, dp, stride, keys, lse, delta) }
                    else { super::gradient::<$t, $one>(s, dp, stride, keys, lse, delta) }
                }
            }
            $(#[$feature])*
            unsafe fn hide(s: *mut $t, stride: usize, keys: usize, cols: usize, m: *const $t, only: bool) {
                // SAFETY: see above.
                unsafe {
                    if cols == $two { super::hide::<$t, $two>(s, stride, keys, m, cols, only) }
                    else { super::hide::<$t, $one>(s, stride, keys, m, cols, only) }
                }
            }
            $(#[$feature])*
            unsafe fn row(s: *mut $t, keys: usize) -> ($t, $t) {
                // SAFETY: see above.
                unsafe { super::row::<$t>(s, keys) }
            }
            $(#[$feature])*
            unsafe fn finish(o: *mut Online<$t>) {
                // SAFETY: see above.
                unsafe { super::finish::<$t>(o) }
            }
            $(#[$feature])*
            unsafe fn dots(a: *const $t, b: *const $t, apart: super::Pair, size: super::Pair, to: *mut $t) {
                // SAFETY: see above.
                unsafe { super::dots::<$t>(a, b, apart, size, to) }
            }
            $(#[$feature])*
            unsafe fn exp(v: $t) -> $t {
                v.exp_low_()
            }
            $(#[$feature])*
            unsafe fn ln(v: $t) -> $t {
                v.ln_()
            }
            pub(super) static FUNCTIONS: Functions<$t> =
                Functions { online, finish, rescale, gradient, hide, row, dots, exp, ln };
        }
    };
}

macro_rules! float {
    ($t:ident, $avx512:ident $w1:literal $w2:literal, $avx2:ident $x1:literal $x2:literal,
     $plain:ident $y1:literal $y2:literal) => {
        #[cfg(target_arch = "x86_64")]
        functions!(
            #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
            $avx512,
            $t,
            $w1,
            $w2
        );
        #[cfg(target_arch = "x86_64")]
        functions!(
            #[target_feature(enable = "avx2,fma")]
            $avx2,
            $t,
            $x1,
            $x2
        );
        functions!($plain, $t, $y1, $y2);

        impl Lanes for $t {
            const NONE: $t = 0.0;
            const ONCE: $t = 1.0;
            const LOWEST_SCORE: $t = $t::NEG_INFINITY;
            const HIGHEST_SCORE: $t = $t::INFINITY;
            fn lit(v: f64) -> $t {
                v as $t
            }
            fn functions() -> &'static Functions<$t> {
                match level() {
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx512 => &$avx512::FUNCTIONS,
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx2 => &$avx2::FUNCTIONS,
                    _ => &$plain::FUNCTIONS,
                }
            }
        }
    };
}
float!(f32, f32_avx512 16 32, f32_avx2 8 16, f32_plain 4 8);
float!(f64, f64_avx512 8 16, f64_avx2 4 8, f64_plain 2 4);
