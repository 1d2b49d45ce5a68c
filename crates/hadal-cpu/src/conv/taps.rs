//! The weight gradient of few channels: dot products of two images along their rows, for several
//! shifts ("taps") of one of them at once.

use crate::vector::Vector;
use std::ops::AddAssign;

/// Most taps of one call.
pub(crate) const MAX_TAPS: usize = 9;

/// `out[t] += sum over y, x of g[y * g_row + x] * s[off[t] + y * s_row + x]`.
#[derive(Clone, Copy)]
pub(crate) struct TapRows<T> {
    pub g: *const T,
    pub g_row: usize,
    pub s: *const T,
    pub s_row: usize,
    /// One offset per tap.
    pub off: *const isize,
    /// Number of taps, 1 to [`MAX_TAPS`].
    pub taps: usize,
    pub rows: usize,
    pub cols: usize,
}

/// # Safety
/// Pointers are valid for what the formula reads and writes; the machine has `V`'s instructions.
#[inline(always)]
pub(crate) unsafe fn tap_dot<V: Vector>(r: &TapRows<V::Elem>, out: *mut V::Elem)
where
    V::Elem: AddAssign,
{
    // SAFETY: the caller's promise.
    unsafe {
        match r.taps {
            1 => run::<V, 1>(r, out),
            2 => run::<V, 2>(r, out),
            3 => run::<V, 3>(r, out),
            4 => run::<V, 4>(r, out),
            5 => run::<V, 5>(r, out),
            6 => run::<V, 6>(r, out),
            7 => run::<V, 7>(r, out),
            8 => run::<V, 8>(r, out),
            _ => run::<V, 9>(r, out),
        }
    }
}

#[inline(always)]
unsafe fn run<V: Vector, const N: usize>(r: &TapRows<V::Elem>, out: *mut V::Elem)
where
    V::Elem: AddAssign,
{
    // SAFETY: `x` stays below `cols`, `y` below `rows`.
    unsafe {
        let mut acc = [V::zero(); N];
        let mut s = [r.s; N];
        for (t, s) in s.iter_mut().enumerate() {
            *s = r.s.offset(*r.off.add(t));
        }
        for y in 0..r.rows {
            let g = r.g.add(y * r.g_row);
            let base = y * r.s_row;
            let mut x = 0;
            while x + V::LANES <= r.cols {
                let gv = V::load(g.add(x));
                for t in 0..N {
                    acc[t] = gv.fma(V::load(s[t].add(base + x)), acc[t]);
                }
                x += V::LANES;
            }
            let rest = r.cols - x;
            if rest > 0 {
                let gv = V::load_first(g.add(x), rest);
                for t in 0..N {
                    acc[t] = gv.fma(V::load_first(s[t].add(base + x), rest), acc[t]);
                }
            }
        }
        for (t, v) in acc.into_iter().enumerate() {
            *out.add(t) += v.sum();
        }
    }
}
