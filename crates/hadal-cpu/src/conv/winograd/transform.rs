//! The transforms of Winograd's algorithm F(4x4, 3x3), for tiles in the lanes of vectors.
//!
//! Each is a small matrix from both sides: first down the columns, where rows of an image are the
//! vectors, then along the rows, where every fourth element belongs to the next tile. `B` makes 6x6
//! elements of 6x6 of the source, `A'` 4x4 results of 6x6 products, `A` is what the weight gradient
//! makes of 4x4 elements of the output gradient, `G` 6x6 of a 3x3 kernel, `G'` its adjoint.

use super::deal::Deal;
use crate::vector::Vector;

/// Results of a tile in a row.
pub(super) const OUT: usize = 4;
/// Source elements of a tile in a row.
pub(super) const IN: usize = 6;
/// Elements of a transformed tile.
pub(super) const ELEMENTS: usize = IN * IN;
/// Taps of a kernel.
pub(super) const TAPS: usize = 9;

/// Rows of tiles of one plane, to or from their transformed elements.
#[derive(Clone, Copy)]
pub(super) struct Tiles<T> {
    /// The plane with zeros around it; where tile (0, 0) begins. Read up to a vector beyond.
    pub plane: *const T,
    /// Distance of its rows.
    pub pitch: usize,
    /// Rows of tiles, and tiles of a row.
    pub rows: usize,
    pub cols: usize,
    /// Twelve arrays of `part` elements; the way back uses four.
    pub work: *mut T,
    /// At least four elements for each tile, and four vectors.
    pub part: usize,
    /// Transformed element `e` of tile `t` is `elements[e * step + t]`.
    pub elements: *mut T,
    pub step: usize,
    /// How many elements may be written from there on. Reads go up to a vector beyond the tiles.
    pub room: usize,
}

/// Kernels, and their transformed elements.
#[derive(Clone, Copy)]
pub(super) struct Filters<T> {
    /// Tap `i` of kernel `r` is `taps[i * tap_step + r]`.
    pub taps: *mut T,
    pub tap_step: usize,
    /// Element `e` of kernel `r` is `elements[e * step + r]`.
    pub elements: *mut T,
    pub step: usize,
    /// Kernels, a vector at most.
    pub count: usize,
}

/// The transforms of one instruction set.
pub(in crate::conv) struct Transforms<T> {
    pub(super) lanes: usize,
    /// `B`: from the plane to elements.
    pub(super) source: unsafe fn(&Tiles<T>),
    /// `A'`: from elements to the first four work arrays, row `i` of all tiles in the `i`-th.
    pub(super) result: unsafe fn(&Tiles<T>),
    /// `A`: from the plane to elements.
    pub(super) cotangent: unsafe fn(&Tiles<T>),
    /// `G`: from taps to elements.
    pub(super) kernel: unsafe fn(&Filters<T>),
    /// `G'`: from elements to taps, which are whole vectors.
    pub(super) kernel_grad: unsafe fn(&Filters<T>),
}

#[inline(always)]
unsafe fn times<V: Vector<Elem = f32>>(x: V, c: f32) -> V {
    // SAFETY: the caller has the instructions.
    unsafe { x.fma(V::splat(c), V::zero()) }
}

/// `x + c y`.
#[inline(always)]
unsafe fn plus<V: Vector<Elem = f32>>(x: V, c: f32, y: V) -> V {
    // SAFETY: the caller has the instructions.
    unsafe { y.fma(V::splat(c), x) }
}

/// `B'`.
#[inline(always)]
unsafe fn source_row<V: Vector<Elem = f32>>(d: [V; IN]) -> [V; IN] {
    // SAFETY: the caller has the instructions.
    unsafe {
        let a = plus(d[4], -4.0, d[2]);
        let b = plus(d[3], -4.0, d[1]);
        let e = plus(d[4], -1.0, d[2]);
        let f = plus(d[3], -1.0, d[1]);
        [
            plus(plus(d[4], -5.0, d[2]), 4.0, d[0]),
            a.add(b),
            plus(a, -1.0, b),
            plus(e, 2.0, f),
            plus(e, -2.0, f),
            plus(plus(d[5], -5.0, d[3]), 4.0, d[1]),
        ]
    }
}

/// `A'`.
#[inline(always)]
unsafe fn result_row<V: Vector<Elem = f32>>(m: [V; IN]) -> [V; OUT] {
    // SAFETY: the caller has the instructions.
    unsafe {
        let (s, d) = (m[1].add(m[2]), plus(m[1], -1.0, m[2]));
        let (p, q) = (m[3].add(m[4]), plus(m[3], -1.0, m[4]));
        [m[0].add(s).add(p), plus(d, 2.0, q), plus(s, 4.0, p), plus(d, 8.0, q).add(m[5])]
    }
}

/// `A`.
#[inline(always)]
unsafe fn cotangent_row<V: Vector<Elem = f32>>(y: [V; OUT]) -> [V; IN] {
    // SAFETY: the caller has the instructions.
    unsafe {
        let (even, odd) = (y[0].add(y[2]), y[1].add(y[3]));
        let (even4, odd4) = (plus(y[0], 4.0, y[2]), plus(y[1], 4.0, y[3]));
        [y[0], even.add(odd), plus(even, -1.0, odd), plus(even4, 2.0, odd4), plus(even4, -2.0, odd4), y[3]]
    }
}

/// `G`.
#[inline(always)]
unsafe fn kernel_row<V: Vector<Elem = f32>>(g: [V; 3]) -> [V; IN] {
    // SAFETY: the caller has the instructions.
    unsafe {
        let even = times(g[0].add(g[2]), -1.0 / 6.0);
        let far = plus(times(g[0], 1.0 / 24.0), 1.0 / 6.0, g[2]);
        [
            times(g[0], 0.25),
            plus(even, -1.0 / 6.0, g[1]),
            plus(even, 1.0 / 6.0, g[1]),
            plus(far, 1.0 / 12.0, g[1]),
            plus(far, -1.0 / 12.0, g[1]),
            g[2],
        ]
    }
}

/// `G'`.
#[inline(always)]
unsafe fn kernel_grad_row<V: Vector<Elem = f32>>(u: [V; IN]) -> [V; 3] {
    // SAFETY: the caller has the instructions.
    unsafe {
        let (near, far) = (u[1].add(u[2]), u[3].add(u[4]));
        let (near_odd, far_odd) = (plus(u[2], -1.0, u[1]), plus(u[3], -1.0, u[4]));
        let sixth = times(near, -1.0 / 6.0);
        [
            plus(plus(sixth, 0.25, u[0]), 1.0 / 24.0, far),
            plus(times(near_odd, 1.0 / 6.0), 1.0 / 12.0, far_odd),
            plus(sixth, 1.0 / 6.0, far).add(u[5]),
        ]
    }
}

/// Writes the first lanes that there is room for.
#[inline(always)]
unsafe fn store<V: Vector>(v: V, to: *mut V::Elem, room: usize) {
    // SAFETY: the caller's place has `room` elements.
    unsafe { if room >= V::LANES { v.store(to) } else { v.store_first(to, room) } }
}

/// # Safety
/// The tiles' pointers are valid as their fields say; the machine has `V`'s instructions.
#[inline(always)]
unsafe fn source<V: Deal<Elem = f32>>(t: &Tiles<f32>) {
    // SAFETY: the caller's promise. What a row's last vector writes too much is where the next row
    // begins, or the slack behind a part.
    unsafe {
        let width = OUT * t.cols;
        for r in 0..t.rows {
            let row = t.plane.add(OUT * r * t.pitch);
            for x in (0..width).step_by(V::LANES) {
                // The second half again, four elements on: for the last two columns of tiles.
                for half in 0..2 {
                    let from = row.add(x + OUT * half);
                    let mut d = [V::zero(); IN];
                    for (i, d) in d.iter_mut().enumerate() {
                        *d = V::load(from.add(i * t.pitch));
                    }
                    for (i, v) in source_row(d).into_iter().enumerate() {
                        v.store(t.work.add((half * IN + i) * t.part + r * width + x));
                    }
                }
            }
        }
        for q in (0..t.rows * t.cols).step_by(V::LANES) {
            for i in 0..IN {
                let [a, b, c, d] = V::deal(t.work.add(i * t.part + OUT * q));
                let [e, f, ..] = V::deal(t.work.add((IN + i) * t.part + OUT * q));
                for (j, v) in source_row([a, b, c, d, e, f]).into_iter().enumerate() {
                    store(v, t.elements.add((i * IN + j) * t.step + q), t.room - q);
                }
            }
        }
    }
}

/// # Safety
/// As for [`source`].
#[inline(always)]
unsafe fn cotangent<V: Deal<Elem = f32>>(t: &Tiles<f32>) {
    // SAFETY: as in `source`.
    unsafe {
        let width = OUT * t.cols;
        for r in 0..t.rows {
            let row = t.plane.add(OUT * r * t.pitch);
            for x in (0..width).step_by(V::LANES) {
                let mut y = [V::zero(); OUT];
                for (i, y) in y.iter_mut().enumerate() {
                    *y = V::load(row.add(x + i * t.pitch));
                }
                for (i, v) in cotangent_row(y).into_iter().enumerate() {
                    v.store(t.work.add(i * t.part + r * width + x));
                }
            }
        }
        for q in (0..t.rows * t.cols).step_by(V::LANES) {
            for i in 0..IN {
                let row = V::deal(t.work.add(i * t.part + OUT * q));
                for (j, v) in cotangent_row(row).into_iter().enumerate() {
                    store(v, t.elements.add((i * IN + j) * t.step + q), t.room - q);
                }
            }
        }
    }
}

/// # Safety
/// As for [`source`].
#[inline(always)]
#[allow(clippy::needless_range_loop)] // Unrolled: indices say which is which.
unsafe fn result<V: Deal<Elem = f32>>(t: &Tiles<f32>) {
    // SAFETY: as in `source`.
    unsafe {
        for q in (0..t.rows * t.cols).step_by(V::LANES) {
            let mut half = [[V::zero(); IN]; OUT];
            for j in 0..IN {
                let mut m = [V::zero(); IN];
                for (i, m) in m.iter_mut().enumerate() {
                    *m = V::load(t.elements.add((i * IN + j) * t.step + q));
                }
                let column = result_row(m);
                for i in 0..OUT {
                    half[i][j] = column[i];
                }
            }
            for (i, row) in half.into_iter().enumerate() {
                V::join(result_row(row), t.work.add(i * t.part + OUT * q));
            }
        }
    }
}

/// # Safety
/// The kernels' pointers are valid as their fields say; the machine has `V`'s instructions.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // As above.
unsafe fn kernel<V: Vector<Elem = f32>>(k: &Filters<f32>) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut half = [[V::zero(); 3]; IN];
        for j in 0..3 {
            let mut g = [V::zero(); 3];
            for (i, v) in g.iter_mut().enumerate() {
                let at = k.taps.add((3 * i + j) * k.tap_step);
                *v = if k.count >= V::LANES { V::load(at) } else { V::load_first(at, k.count) };
            }
            let column = kernel_row(g);
            for i in 0..IN {
                half[i][j] = column[i];
            }
        }
        for (i, row) in half.into_iter().enumerate() {
            for (j, v) in kernel_row(row).into_iter().enumerate() {
                store(v, k.elements.add((i * IN + j) * k.step), k.count);
            }
        }
    }
}

/// # Safety
/// As for [`kernel`].
#[inline(always)]
#[allow(clippy::needless_range_loop)] // As above.
unsafe fn kernel_grad<V: Vector<Elem = f32>>(k: &Filters<f32>) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut half = [[V::zero(); IN]; 3];
        for j in 0..IN {
            let mut u = [V::zero(); IN];
            for (i, v) in u.iter_mut().enumerate() {
                let at = k.elements.add((i * IN + j) * k.step);
                *v = if k.count >= V::LANES { V::load(at) } else { V::load_first(at, k.count) };
            }
            let column = kernel_grad_row(u);
            for i in 0..3 {
                half[i][j] = column[i];
            }
        }
        for (i, row) in half.into_iter().enumerate() {
            for (j, v) in kernel_grad_row(row).into_iter().enumerate() {
                v.store(k.taps.add((3 * i + j) * k.tap_step));
            }
        }
    }
}

macro_rules! transforms {
    ($(#[$feature:meta])* $module:ident, $v:ty) => {
        mod $module {
            use super::{Filters, Tiles, Transforms};
            use crate::vector::Vector;
            transforms!(@wrap $(#[$feature])* $v: source(Tiles) result(Tiles) cotangent(Tiles) kernel(Filters)
                kernel_grad(Filters));
            pub(super) static F32: Transforms<f32> =
                Transforms { lanes: <$v>::LANES, source, result, cotangent, kernel, kernel_grad };
        }
    };
    (@wrap $v:ty: $($name:ident($arg:ident))*) => {
        $(
            unsafe fn $name(arg: &$arg<f32>) {
                // SAFETY: the caller's promise.
                unsafe { super::$name::<$v>(arg) }
            }
        )*
    };
    (@wrap #[$feature:meta] $v:ty: $($name:ident($arg:ident))*) => {
        $(
            #[$feature]
            unsafe fn $name(arg: &$arg<f32>) {
                // SAFETY: the caller's promise, and this function has the instructions.
                unsafe { super::$name::<$v>(arg) }
            }
        )*
    };
}
transforms!(portable, crate::vector::Plain<f32, 4>);
#[cfg(target_arch = "x86_64")]
transforms!(
    #[target_feature(enable = "avx2,fma")]
    avx2,
    std::arch::x86_64::__m256
);
#[cfg(target_arch = "x86_64")]
transforms!(
    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
    avx512,
    std::arch::x86_64::__m512
);

/// The transforms of this machine.
pub(in crate::conv) fn transforms() -> &'static Transforms<f32> {
    use crate::simd::{Level, level};
    match level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => &avx512::F32,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => &avx2::F32,
        _ => &portable::F32,
    }
}
