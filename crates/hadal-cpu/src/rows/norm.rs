//! Layer and root-mean-square norms, forward and backward, a row at a time.
//!
//! The backward pass works mean and scale out again: a row is read from memory anyway, and the further
//! passes over it find it in the first-level cache.

use super::lanes::{Flag, L, No, Number, RUN, SUMS, Yes};
use super::lanes::{chunks, drain, load, store, summed, total};
use super::softmax::leave;
use crate::cache::fence;
use crate::program::isa::versions;
use crate::scratch::Scratch;
use crate::simd::Level;

/// Some rows on their way forward: `rows` of `n` elements.
pub(super) struct Forward<T> {
    pub x: *const T,
    pub y: *mut T,
    pub rows: usize,
    pub n: usize,
    pub eps: f64,
    /// Null where there is none; readable for whole chunks.
    pub weight: *const T,
    pub bias: *const T,
}

/// The same backward.
pub(super) struct Backward<T> {
    pub x: *const T,
    pub g: *const T,
    pub dx: *mut T,
    pub rows: usize,
    pub n: usize,
    pub eps: f64,
    pub weight: *const T,
    /// Sums over the rows by weight and bias, `n` each; null where not wanted.
    pub by_weight: *mut f64,
    pub by_bias: *mut f64,
}

pub(super) type ForwardFn<T> = unsafe fn(&Forward<T>);
pub(super) type BackwardFn<T> = unsafe fn(&Backward<T>);

/// The kernels for this machine; `centred` with a mean, `stream` as for softmax.
pub(super) fn forward<T: Number>(level: Level, centred: bool, stream: bool) -> ForwardFn<T> {
    match (centred, stream) {
        (false, false) => pick_forward::<T, No, No>(level),
        (false, true) => pick_forward::<T, No, Yes>(level),
        (true, false) => pick_forward::<T, Yes, No>(level),
        (true, true) => pick_forward::<T, Yes, Yes>(level),
    }
}
pub(super) fn backward<T: Number>(level: Level, centred: bool, stream: bool) -> BackwardFn<T> {
    match (centred, stream) {
        (false, false) => pick_backward::<T, No, No>(level),
        (false, true) => pick_backward::<T, No, Yes>(level),
        (true, false) => pick_backward::<T, Yes, No>(level),
        (true, true) => pick_backward::<T, Yes, Yes>(level),
    }
}

versions!(pick_forward, ForwardFn<T>, forward_rows, [T, C, S], [T: Number, C: Flag, S: Flag],
    (r: &Forward<T>));
versions!(pick_backward, BackwardFn<T>, backward_rows, [T, C, S], [T: Number, C: Flag, S: Flag],
    (r: &Backward<T>));

/// Mean and scale of a row of `n` elements, behind whose first `left` are valid.
///
/// # Safety
/// `x` is valid for `left` elements, which are at least `n`.
#[inline(always)]
unsafe fn moments<T: Number, C: Flag>(x: *const T, n: usize, left: usize, eps: f64) -> (T, T) {
    let mut mean = T::ZERO;
    // SAFETY: chunks lie inside the row, or with room inside what is left.
    unsafe {
        if C::ON {
            let sum = summed!(n, [sum: totals], |at, w, q| {
                let v = load(x.add(at), w, at + L <= left, T::ZERO);
                for i in 0..L {
                    sum[q][i] += v[i];
                }
            });
            mean = T::from_f64(sum / n as f64);
        }
        let sum = summed!(n, [sum: totals], |at, w, q| {
            let v = load(x.add(at), w, at + L <= left, mean);
            for i in 0..L {
                let d = v[i] - mean;
                sum[q][i] += d * d;
            }
        });
        (mean, T::from_f64(1.0 / (sum / n as f64 + eps).sqrt()))
    }
}

/// # Safety
/// The pointers are valid for what they are said to be; `y` overlaps no other; `n` is above 0.
#[inline(always)]
unsafe fn forward_rows<T: Number, C: Flag, S: Flag>(r: &Forward<T>) {
    let n = r.n;
    for row in 0..r.rows {
        let left = (r.rows - row) * n;
        // SAFETY: the caller's promise; chunks lie inside the row, or with room inside the rows left.
        unsafe {
            let (x, y) = (r.x.add(row * n), r.y.add(row * n));
            let (mean, scale) = moments::<T, C>(x, n, left, r.eps);
            macro_rules! out {
                ($weight:literal, $bias:literal) => {
                    chunks!(0, n, |at, w, _q| {
                        let room = at + L <= left;
                        let mut v = load(x.add(at), w, room, mean);
                        for v in &mut v {
                            *v = (*v - mean) * scale;
                        }
                        if $weight {
                            let k = load(r.weight.add(at), L, true, T::ONE);
                            for i in 0..L {
                                v[i] *= k[i];
                            }
                        }
                        if $bias {
                            let b = load(r.bias.add(at), L, true, T::ZERO);
                            for i in 0..L {
                                v[i] += b[i];
                            }
                        }
                        leave::<T, S>(v, y.add(at), w, room);
                    })
                };
            }
            match (r.weight.is_null(), r.bias.is_null()) {
                (true, true) => out!(false, false),
                (false, true) => out!(true, false),
                (true, false) => out!(false, true),
                (false, false) => out!(true, true),
            }
        }
    }
    if S::ON {
        fence();
    }
}

/// Rows whose gradients by weight and bias are added up in the row's type before they go to f64.
const DEPTH: usize = 16;

/// # Safety
/// As for [`forward_rows`].
#[inline(always)]
unsafe fn backward_rows<T: Number, C: Flag, S: Flag>(r: &Backward<T>) {
    let n = r.n;
    let parameters = !r.by_weight.is_null() || !r.by_bias.is_null();
    let width = n.next_multiple_of(L);
    let mut scratch = Scratch::<T>::new(if parameters { 2 * width } else { 0 });
    let sums = scratch.slice();
    sums.fill(T::ZERO);
    let dw = sums.as_mut_ptr();
    let db = dw.wrapping_add(width);
    for row in 0..r.rows {
        let left = (r.rows - row) * n;
        // SAFETY: the caller's promise; chunks lie inside the row, or with room inside the rows left;
        // the sums are whole chunks.
        unsafe {
            let (x, g, dx) = (r.x.add(row * n), r.g.add(row * n), r.dx.add(row * n));
            let (mean, scale) = moments::<T, C>(x, n, left, r.eps);
            macro_rules! pass {
                ($weight:literal, $parameters:literal) => {{
                    let (by_mean, by_scale) = summed!(n, [a: as_, b: bs], |at, w, q| {
                        let room = at + L <= left;
                        let v = load(x.add(at), w, room, mean);
                        let mut h = load(g.add(at), w, room, T::ZERO);
                        if $weight {
                            let k = load(r.weight.add(at), L, true, T::ONE);
                            for i in 0..L {
                                h[i] *= k[i];
                            }
                        }
                        for i in 0..L {
                            if C::ON {
                                a[q][i] += h[i];
                            }
                            b[q][i] += h[i] * (v[i] - mean);
                        }
                    });
                    let by_mean = T::from_f64(by_mean / n as f64);
                    let s = scale.to_f64();
                    let by_scale = T::from_f64(s * s * by_scale / n as f64);
                    chunks!(0, n, |at, w, _q| {
                        let room = at + L <= left;
                        let v = load(x.add(at), w, room, mean);
                        let g = load(g.add(at), w, room, T::ZERO);
                        let mut h = g;
                        if $weight {
                            let k = load(r.weight.add(at), L, true, T::ONE);
                            for i in 0..L {
                                h[i] *= k[i];
                            }
                        }
                        let mut out = [T::ZERO; L];
                        for i in 0..L {
                            let d = v[i] - mean;
                            let rest = if C::ON { h[i] - by_mean } else { h[i] };
                            out[i] = (rest - d * by_scale) * scale;
                        }
                        if $parameters {
                            let mut dw_ = load(dw.add(at), L, true, T::ZERO);
                            let mut db_ = load(db.add(at), L, true, T::ZERO);
                            for i in 0..L {
                                dw_[i] += g[i] * ((v[i] - mean) * scale);
                                db_[i] += g[i];
                            }
                            store(dw_, dw.add(at), L, true);
                            store(db_, db.add(at), L, true);
                        }
                        leave::<T, S>(out, dx.add(at), w, room);
                    });
                }};
            }
            match (r.weight.is_null(), parameters) {
                (true, false) => pass!(false, false),
                (true, true) => pass!(false, true),
                (false, false) => pass!(true, false),
                (false, true) => pass!(true, true),
            }
            if parameters && ((row + 1) % DEPTH == 0 || row + 1 == r.rows) {
                flush(dw, r.by_weight, n);
                flush(db, r.by_bias, n);
            }
        }
    }
    if S::ON {
        fence();
    }
}

/// Adds sums to totals, if there are such, and begins them anew.
///
/// # Safety
/// Both have `n` elements, unless there are no totals.
#[inline(always)]
unsafe fn flush<T: Number>(sums: *mut T, totals: *mut f64, n: usize) {
    if totals.is_null() {
        return;
    }
    for i in 0..n {
        // SAFETY: the caller's promise.
        unsafe {
            *totals.add(i) += (*sums.add(i)).to_f64();
            *sums.add(i) = T::ZERO;
        }
    }
}
