//! The formulas of a step for some units of one row, forward and backward.
//!
//! Units go in chunks of [`LANES`] through arrays, which become vectors; the last chunk of a row is padded,
//! so that every unit goes through the same instructions wherever it stands.

use crate::simd::{Level, level};
use hadal_core::math::Real;
use hadal_core::ops::RecurrentCell;

/// Units of a chunk.
const LANES: usize = 16;

/// What a forward step reads and writes of one row from the first unit on. Gates are `gate` apart in `x`,
/// `bias` and `kept`, and `sum_gate` apart in `sums`.
#[derive(Clone, Copy)]
pub(super) struct Forward<T> {
    pub units: usize,
    pub gate: usize,
    pub sum_gate: usize,
    /// The product of the previous state and the weight.
    pub sums: *const T,
    /// The input's projection.
    pub x: *const T,
    /// One vector for each of the cell's sums.
    pub bias: *const T,
    /// Previous state (GRU).
    pub h0: *const T,
    /// Previous cell, which may be where the next one goes (LSTM).
    pub c0: *const T,
    pub h: *mut T,
    pub c: *mut T,
    /// Gates for the backward pass, or null.
    pub kept: *mut T,
}

/// The same for a backward step. Gates are `gate` apart in `kept` and `dsums`.
#[derive(Clone, Copy)]
pub(super) struct Backward<T> {
    pub units: usize,
    pub gate: usize,
    /// What came from the following step through the weight.
    pub sums: *const T,
    /// The cotangent of the output at this step, or null.
    pub dy: *const T,
    /// What goes round the weight: of the state (GRU), of the cell (LSTM); read and written.
    pub carry: *mut T,
    pub kept: *const T,
    /// State (plain cells), previous state (GRU).
    pub h: *const T,
    /// Previous cell and cell (LSTM).
    pub c0: *const T,
    pub c: *const T,
    pub dsums: *mut T,
}

pub(super) type ForwardFn<T> = unsafe fn(&Forward<T>);
pub(super) type BackwardFn<T> = unsafe fn(&Backward<T>);

type Lanes<T> = [T; LANES];

/// `w` values, and zeros behind them.
#[inline(always)]
unsafe fn load<T: Real>(p: *const T, w: usize) -> Lanes<T> {
    // SAFETY: the caller's pointer is valid for `w` values.
    unsafe {
        if w == LANES {
            return p.cast::<Lanes<T>>().read_unaligned();
        }
        let mut v = [T::ZERO; LANES];
        std::ptr::copy_nonoverlapping(p, v.as_mut_ptr(), w);
        v
    }
}

/// The first `w` values.
#[inline(always)]
unsafe fn store<T: Real>(v: Lanes<T>, p: *mut T, w: usize) {
    // SAFETY: the caller's pointer is valid for `w` values.
    unsafe {
        if w == LANES {
            p.cast::<Lanes<T>>().write_unaligned(v);
        } else {
            std::ptr::copy_nonoverlapping(v.as_ptr(), p, w);
        }
    }
}

#[inline(always)]
fn map<T: Real>(f: impl Fn(usize) -> T) -> Lanes<T> {
    let mut v = [T::ZERO; LANES];
    for (i, v) in v.iter_mut().enumerate() {
        *v = f(i);
    }
    v
}

// Whatever a chunk calls must be inlined into it, so that it is compiled for the instruction set of the
// caller: that is why there are no closures that are called twice.

/// Input, then bias, then product: the sum of gate `q`.
#[inline(always)]
unsafe fn gate<T: Real>(r: &Forward<T>, q: usize, o: usize, w: usize) -> Lanes<T> {
    // SAFETY: the caller's chunk lies inside the row.
    unsafe {
        let (x, b) = (load(r.x.add(q * r.gate + o), w), load(r.bias.add(q * r.gate + o), w));
        let s = load(r.sums.add(q * r.sum_gate + o), w);
        map(|i| x[i] + b[i] + s[i])
    }
}

/// The gates for the backward pass.
#[inline(always)]
unsafe fn keep<T: Real>(r: &Forward<T>, v: [Lanes<T>; 4], o: usize, w: usize) {
    if !r.kept.is_null() {
        for (q, v) in v.into_iter().enumerate() {
            // SAFETY: the caller's chunk lies inside the row.
            unsafe { store(v, r.kept.add(q * r.gate + o), w) }
        }
    }
}

/// `w` units from the first unit + `o` on.
#[inline(always)]
unsafe fn forward_chunk<T: Real, const CELL: u8>(r: &Forward<T>, o: usize, w: usize) {
    // SAFETY: the caller's pointers are valid for `units` values of every gate; the chunk lies inside.
    unsafe {
        match CELL {
            TANH | RELU => {
                let a = gate(r, 0, o, w);
                let h = if CELL == TANH { map(|i| a[i].tanh_()) } else { map(|i| a[i].relu_()) };
                store(h, r.h.add(o), w);
            }
            LSTM => {
                let (a, b) = (gate(r, 0, o, w), gate(r, 1, o, w));
                let (c, d) = (gate(r, 2, o, w), gate(r, 3, o, w));
                let (i_, f) = (map(|i| a[i].sigmoid_()), map(|i| b[i].sigmoid_()));
                let (g, o_) = (map(|i| c[i].tanh_()), map(|i| d[i].sigmoid_()));
                let c0 = load(r.c0.add(o), w);
                let c = map(|i| f[i] * c0[i] + i_[i] * g[i]);
                store(c, r.c.add(o), w);
                store(map(|i| o_[i] * c[i].tanh_()), r.h.add(o), w);
                keep(r, [i_, f, g, o_], o, w);
            }
            _ => {
                let (a, b) = (gate(r, 0, o, w), gate(r, 1, o, w));
                let (reset, z) = (map(|i| a[i].sigmoid_()), map(|i| b[i].sigmoid_()));
                let (bx, bh) = (load(r.bias.add(2 * r.gate + o), w), load(r.bias.add(3 * r.gate + o), w));
                let (x, s) = (load(r.x.add(2 * r.gate + o), w), load(r.sums.add(2 * r.sum_gate + o), w));
                let q = map(|i| s[i] + bh[i]);
                let n = map(|i| (x[i] + bx[i] + reset[i] * q[i]).tanh_());
                let h0 = load(r.h0.add(o), w);
                store(map(|i| (T::ONE - z[i]) * n[i] + z[i] * h0[i]), r.h.add(o), w);
                keep(r, [reset, z, n, q], o, w);
            }
        }
    }
}

/// Gate `q` of those kept.
#[inline(always)]
unsafe fn kept<T: Real>(r: &Backward<T>, q: usize, o: usize, w: usize) -> Lanes<T> {
    // SAFETY: the caller's chunk lies inside the row.
    unsafe { load(r.kept.add(q * r.gate + o), w) }
}

/// The gradient by sum `q`.
#[inline(always)]
unsafe fn out<T: Real>(r: &Backward<T>, q: usize, v: Lanes<T>, o: usize, w: usize) {
    // SAFETY: the caller's chunk lies inside the row.
    unsafe { store(v, r.dsums.add(q * r.gate + o), w) }
}

/// As [`forward_chunk`].
#[inline(always)]
unsafe fn backward_chunk<T: Real, const CELL: u8>(r: &Backward<T>, o: usize, w: usize) {
    let one = T::ONE;
    // SAFETY: as in `forward_chunk`.
    unsafe {
        let mut dh = load(r.sums.add(o), w);
        if !r.dy.is_null() {
            let dy = load(r.dy.add(o), w);
            dh = map(|i| dy[i] + dh[i]);
        }
        match CELL {
            TANH | RELU => {
                let h = load(r.h.add(o), w);
                let d = match CELL {
                    TANH => map(|i| dh[i] * (one - h[i] * h[i])),
                    _ => map(|i| T::select(h[i] > T::ZERO, dh[i], T::ZERO)),
                };
                out(r, 0, d, o, w);
            }
            LSTM => {
                let (i_, f) = (kept(r, 0, o, w), kept(r, 1, o, w));
                let (g, o_) = (kept(r, 2, o, w), kept(r, 3, o, w));
                let (c, c0, carry) = (load(r.c.add(o), w), load(r.c0.add(o), w), load(r.carry.add(o), w));
                let t = map(|i| c[i].tanh_());
                let dc = map(|i| carry[i] + dh[i] * o_[i] * (one - t[i] * t[i]));
                store(map(|i| dc[i] * f[i]), r.carry.add(o), w);
                out(r, 0, map(|i| dc[i] * g[i] * (i_[i] * (one - i_[i]))), o, w);
                out(r, 1, map(|i| dc[i] * c0[i] * (f[i] * (one - f[i]))), o, w);
                out(r, 2, map(|i| dc[i] * i_[i] * (one - g[i] * g[i])), o, w);
                out(r, 3, map(|i| dh[i] * t[i] * (o_[i] * (one - o_[i]))), o, w);
            }
            _ => {
                let (reset, z) = (kept(r, 0, o, w), kept(r, 1, o, w));
                let (n, q) = (kept(r, 2, o, w), kept(r, 3, o, w));
                let (h0, carry) = (load(r.h.add(o), w), load(r.carry.add(o), w));
                let dh = map(|i| dh[i] + carry[i]);
                let dn = map(|i| dh[i] * (one - z[i]) * (one - n[i] * n[i]));
                store(map(|i| dh[i] * z[i]), r.carry.add(o), w);
                out(r, 0, map(|i| dn[i] * q[i] * (reset[i] * (one - reset[i]))), o, w);
                out(r, 1, map(|i| dh[i] * (h0[i] - n[i]) * (z[i] * (one - z[i]))), o, w);
                out(r, 2, dn, o, w);
                out(r, 3, map(|i| dn[i] * reset[i]), o, w);
            }
        }
    }
}

/// All units chunk by chunk; the width is a constant in whole chunks.
macro_rules! chunks {
    ($name:ident, $row:ident, $chunk:ident) => {
        #[inline(always)]
        unsafe fn $name<T: Real, const CELL: u8>(r: &$row<T>) {
            let whole = r.units - r.units % LANES;
            // SAFETY: the caller's promise; no chunk goes beyond the units.
            unsafe {
                for o in (0..whole).step_by(LANES) {
                    $chunk::<T, CELL>(r, o, LANES);
                }
                if whole < r.units {
                    $chunk::<T, CELL>(r, whole, r.units - whole);
                }
            }
        }
    };
}
chunks!(forward, Forward, forward_chunk);
chunks!(backward, Backward, backward_chunk);

const TANH: u8 = 0;
const RELU: u8 = 1;
const LSTM: u8 = 2;
const GRU: u8 = 3;

/// The body, compiled for each instruction set, and the choice among them.
macro_rules! versions {
    ($pick:ident, $body:ident, $row:ident, $f:ident) => {
        pub(super) fn $pick<T: Real>(cell: RecurrentCell) -> $f<T> {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma,avx2")]
            unsafe fn v4<T: Real, const CELL: u8>(r: &$row<T>) {
                // SAFETY: the caller's promise is the body's.
                unsafe { $body::<T, CELL>(r) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "fma,avx2")]
            unsafe fn v3<T: Real, const CELL: u8>(r: &$row<T>) {
                // SAFETY: the caller's promise is the body's.
                unsafe { $body::<T, CELL>(r) }
            }
            unsafe fn base<T: Real, const CELL: u8>(r: &$row<T>) {
                // SAFETY: the caller's promise is the body's.
                unsafe { $body::<T, CELL>(r) }
            }
            fn at<T: Real, const CELL: u8>() -> $f<T> {
                match level() {
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx512 => v4::<T, CELL>,
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx2 => v3::<T, CELL>,
                    _ => base::<T, CELL>,
                }
            }
            match cell {
                RecurrentCell::Tanh => at::<T, TANH>(),
                RecurrentCell::Relu => at::<T, RELU>(),
                RecurrentCell::Lstm => at::<T, LSTM>(),
                RecurrentCell::Gru => at::<T, GRU>(),
            }
        }
    };
}
versions!(forward_fn, forward, Forward, ForwardFn);
versions!(backward_fn, backward, Backward, BackwardFn);
