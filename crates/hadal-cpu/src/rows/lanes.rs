//! What the kernels of rows are made of: lanes of a vector, loops over a row, sums.
//!
//! A row is walked in chunks of [`L`] elements, which become vectors, with [`SUMS`] of them summed side by
//! side to hide the latency of an addition. The last chunk of a row is padded with what does not count.

use hadal_core::Storage;
use hadal_core::math::Real;

/// Elements of a chunk.
pub(super) const L: usize = 16;
/// Chunks that are summed side by side.
pub(super) const SUMS: usize = 4;
/// Elements after which sums go from the row's type to f64: a lane adds at most 32 numbers.
pub(super) const RUN: usize = 32 * SUMS * L;

/// A float with functions that buffers can be viewed as.
pub(super) trait Number: Real + Storage {}
impl Number for f32 {}
impl Number for f64 {}

/// A switch that kernels are compiled for.
pub(super) trait Flag {
    const ON: bool;
}
pub(super) struct Yes;
pub(super) struct No;
impl Flag for Yes {
    const ON: bool = true;
}
impl Flag for No {
    const ON: bool = false;
}

pub(super) type Lanes<T> = [T; L];

/// `w` elements, and `pad` behind them. With `room` the memory goes on for a whole chunk at least.
///
/// # Safety
/// The pointer is valid for `w` elements, with `room` for [`L`].
#[inline(always)]
pub(super) unsafe fn load<T: Real>(p: *const T, w: usize, room: bool, pad: T) -> Lanes<T> {
    let mut v = [pad; L];
    // SAFETY: the caller's promise.
    unsafe {
        if w == L {
            return p.cast::<Lanes<T>>().read_unaligned();
        }
        if !room {
            std::ptr::copy_nonoverlapping(p, v.as_mut_ptr(), w);
            return v;
        }
        let all = p.cast::<Lanes<T>>().read_unaligned();
        for i in 0..L {
            v[i] = T::select(i < w, all[i], pad);
        }
    }
    v
}

/// The first `w` lanes. With `room` all of them may be written.
///
/// # Safety
/// As for [`load`].
#[inline(always)]
pub(super) unsafe fn store<T: Real>(v: Lanes<T>, p: *mut T, w: usize, room: bool) {
    // SAFETY: the caller's promise.
    unsafe {
        if w == L || room {
            p.cast::<Lanes<T>>().write_unaligned(v);
        } else {
            std::ptr::copy_nonoverlapping(v.as_ptr(), p, w);
        }
    }
}

/// A whole chunk past the caches, to memory aligned to 32 bytes. The task ends with a
/// [`fence`](crate::cache::fence).
///
/// # Safety
/// The pointer is valid for a chunk, and aligned; the machine has AVX, if it is an x86.
#[inline(always)]
pub(super) unsafe fn stream<T: Real>(v: Lanes<T>, p: *mut T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller's promise.
    unsafe {
        use std::arch::x86_64::{__m256i, _mm256_loadu_si256, _mm256_stream_si256};
        let (from, to) = (v.as_ptr().cast::<__m256i>(), p.cast::<__m256i>());
        for i in 0..size_of::<Lanes<T>>() / size_of::<__m256i>() {
            _mm256_stream_si256(to.add(i), _mm256_loadu_si256(from.add(i)));
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: the caller's promise.
    unsafe {
        p.cast::<Lanes<T>>().write_unaligned(v)
    }
}

/// Runs the body for each chunk of elements `$from..$to`: `$at` its first element, `$w` its length, `$q`
/// the number of the sum it belongs to. A macro, since what is called from a kernel must be inlined to be
/// compiled for its instruction set, and a closure that is called twice is not.
macro_rules! chunks {
    ($from:expr, $to:expr, |$at:ident, $w:ident, $q:ident| $body:block) => {{
        let (mut at, to): (usize, usize) = ($from, $to);
        while at + SUMS * L <= to {
            for $q in 0..SUMS {
                let ($at, $w) = (at + $q * L, L);
                $body
            }
            at += SUMS * L;
        }
        while at < to {
            let ($at, $w, $q) = (at, L.min(to - at), 0);
            $body
            at += L;
        }
    }};
}

/// The same for a row of `$n` elements with sums: every [`RUN`] elements they go to f64 totals.
macro_rules! summed {
    ($n:expr, [$($sum:ident: $total:ident),+], |$at:ident, $w:ident, $q:ident| $body:block) => {{
        let n: usize = $n;
        $(let mut $total = [0.0f64; L];)+
        let mut from = 0;
        while from < n {
            let to = n.min(from + RUN);
            $(let mut $sum = [[T::ZERO; L]; SUMS];)+
            chunks!(from, to, |$at, $w, $q| $body);
            $(drain(&$sum, &mut $total);)+
            from = to;
        }
        ($(total($total)),+)
    }};
}
pub(super) use {chunks, summed};

/// Adds the sums of a run to the totals.
#[inline(always)]
pub(super) fn drain<T: Real>(sums: &[Lanes<T>; SUMS], totals: &mut [f64; L]) {
    for i in 0..L {
        totals[i] += ((sums[0][i] + sums[1][i]) + (sums[2][i] + sums[3][i])).to_f64();
    }
}

/// The sum of the lanes.
#[inline(always)]
pub(super) fn total(totals: [f64; L]) -> f64 {
    // Keeps the compiler from cutting the loop's vectors down to the pairs that are folded last.
    let mut v = std::hint::black_box(totals);
    let mut half = L / 2;
    while half > 0 {
        for i in 0..half {
            v[i] += v[i + half];
        }
        half /= 2;
    }
    v[0]
}
