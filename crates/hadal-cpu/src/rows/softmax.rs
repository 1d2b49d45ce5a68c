//! Softmax and its logarithm, forward and backward, a row at a time.

use super::lanes::{Flag, L, Lanes, No, Number, RUN, SUMS, Yes};
use super::lanes::{chunks, drain, load, store, stream, summed, total};
use crate::cache::{ahead, fence};
use crate::program::isa::versions;
use crate::scratch::Scratch;
use crate::simd::Level;
use hadal_core::math::Real;

/// Some rows: input, or result and cotangent; where they go; their number and length.
pub(super) type RowsFn<T> = unsafe fn(*const T, *const T, *mut T, usize, usize);

/// The kernels for this machine. With `stream` results go past the caches; rows must then be whole cache
/// lines.
pub(super) fn forward<T: Number>(level: Level, log: bool, stream: bool) -> RowsFn<T> {
    match (log, stream) {
        (false, false) => pick_forward::<T, No, No>(level),
        (false, true) => pick_forward::<T, No, Yes>(level),
        (true, false) => pick_forward::<T, Yes, No>(level),
        (true, true) => pick_forward::<T, Yes, Yes>(level),
    }
}
pub(super) fn backward<T: Number>(level: Level, log: bool, stream: bool) -> RowsFn<T> {
    match (log, stream) {
        (false, false) => pick_backward::<T, No, No>(level),
        (false, true) => pick_backward::<T, No, Yes>(level),
        (true, false) => pick_backward::<T, Yes, No>(level),
        (true, true) => pick_backward::<T, Yes, Yes>(level),
    }
}

versions!(pick_forward, RowsFn<T>, forward_rows, [T, G, S], [T: Number, G: Flag, S: Flag],
    (x: *const T, unused: *const T, y: *mut T, rows: usize, n: usize));
versions!(pick_backward, RowsFn<T>, backward_rows, [T, G, S], [T: Number, G: Flag, S: Flag],
    (y: *const T, g: *const T, dx: *mut T, rows: usize, n: usize));

/// # Safety
/// `x` and `y` are valid for `rows · n` elements and do not overlap; `n` is above 0.
#[inline(always)]
unsafe fn forward_rows<T: Number, G: Flag, S: Flag>(
    x: *const T,
    _: *const T,
    y: *mut T,
    rows: usize,
    n: usize,
) {
    // What is streamed is computed here first, so that it is written once.
    let mut stage = Scratch::<T>::new(if S::ON && !G::ON { n + L } else { 0 });
    for r in 0..rows {
        let left = (rows - r) * n;
        // SAFETY: row `r` of both; chunks lie inside the row, or with room inside the rows left.
        unsafe {
            let (x, y) = (x.add(r * n), y.add(r * n));
            let m = largest(std::slice::from_raw_parts(x, n));
            let e = if S::ON && !G::ON { stage.slice().as_mut_ptr() } else { y };
            let sum = summed!(n, [sum: totals], |at, w, q| {
                let v = load(x.add(at), w, at + L <= left, T::NEG_INFINITY);
                ahead(x.wrapping_add(n + at));
                let mut p = [T::ZERO; L];
                for i in 0..L {
                    p[i] = (v[i] - m).exp_low_();
                    sum[q][i] += p[i];
                }
                if !G::ON {
                    store(p, e.add(at), w, at + L <= left);
                }
            });
            if G::ON {
                let log = T::from_f64(sum.ln_());
                chunks!(0, n, |at, w, _q| {
                    let mut v = load(x.add(at), w, at + L <= left, m);
                    for v in &mut v {
                        *v = (*v - m) - log;
                    }
                    leave::<T, S>(v, y.add(at), w, at + L <= left);
                });
            } else {
                let scale = T::from_f64(1.0 / sum);
                chunks!(0, n, |at, w, _q| {
                    let mut v = load(e.add(at), w, at + L <= left, T::ZERO);
                    for v in &mut v {
                        *v *= scale;
                    }
                    leave::<T, S>(v, y.add(at), w, at + L <= left);
                });
            }
        }
    }
    if S::ON {
        fence();
    }
}

/// # Safety
/// `y`, `g` and `dx` are valid for `rows · n` elements; `dx` overlaps neither; `n` is above 0.
#[inline(always)]
unsafe fn backward_rows<T: Number, G: Flag, S: Flag>(
    y: *const T,
    g: *const T,
    dx: *mut T,
    rows: usize,
    n: usize,
) {
    for r in 0..rows {
        let left = (rows - r) * n;
        // SAFETY: as in `forward_rows`.
        unsafe {
            let (y, g, dx) = (y.add(r * n), g.add(r * n), dx.add(r * n));
            let sum = summed!(n, [sum: totals], |at, w, q| {
                let room = at + L <= left;
                let v = load(g.add(at), w, room, T::ZERO);
                if G::ON {
                    for i in 0..L {
                        sum[q][i] += v[i];
                    }
                } else {
                    let p = load(y.add(at), w, room, T::ZERO);
                    for i in 0..L {
                        sum[q][i] += v[i] * p[i];
                    }
                }
            });
            let sum = T::from_f64(sum);
            chunks!(0, n, |at, w, _q| {
                let room = at + L <= left;
                let (mut v, p) = (load(g.add(at), w, room, T::ZERO), load(y.add(at), w, room, T::ZERO));
                for i in 0..L {
                    v[i] = if G::ON { v[i] - p[i].exp_low_() * sum } else { p[i] * (v[i] - sum) };
                }
                leave::<T, S>(v, dx.add(at), w, room);
            });
        }
    }
    if S::ON {
        fence();
    }
}

/// Results on their way out.
///
/// # Safety
/// As for [`store`] and [`stream`].
#[inline(always)]
pub(super) unsafe fn leave<T: Real, S: Flag>(v: Lanes<T>, p: *mut T, w: usize, room: bool) {
    // SAFETY: the caller's promise.
    unsafe { if S::ON { stream(v, p) } else { store(v, p, w, room) } }
}

/// The largest, without regard to NaN: whatever it is, `x − max` is NaN for those.
#[inline(always)]
fn largest<T: Real>(row: &[T]) -> T {
    const WIDE: usize = SUMS * L;
    let mut max = [T::NEG_INFINITY; WIDE];
    let mut chunks = row.chunks_exact(WIDE);
    for c in &mut chunks {
        for i in 0..WIDE {
            max[i] = T::select(c[i] > max[i], c[i], max[i]);
        }
    }
    for (m, &v) in max.iter_mut().zip(chunks.remainder()) {
        *m = T::select(v > *m, v, *m);
    }
    // See `total`.
    let mut max = std::hint::black_box(max);
    let mut half = WIDE / 2;
    while half > 0 {
        for i in 0..half {
            max[i] = T::select(max[i + half] > max[i], max[i + half], max[i]);
        }
        half /= 2;
    }
    max[0]
}
