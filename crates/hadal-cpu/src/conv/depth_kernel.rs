//! The loops over one plane of a depthwise convolution, for kernels of 3x3 and 5x5.
//!
//! They read a *frame*: the rows of a source plane with zeros around it, so that no tap needs a test.
//! With stride 2 a row of the frame holds its even columns first, then its odd ones. Some rows of
//! results are computed at once, since they share most of what they read (four in f32; one where
//! speed matters less, since such code is large).

use super::lanes::RunKernels;
use super::winograd::Transforms;
use crate::gemm::real::Real;
use crate::pool::BandOps;
use crate::simd::{Level, level};
use crate::vector::Vector;

/// Kernel sizes with loops of their own.
pub(super) const SIZES: [usize; 2] = [3, 5];

/// A frame, and where results go.
#[derive(Clone, Copy)]
pub(super) struct Plane<T> {
    pub frame: *const T,
    /// Distance of the frame's rows.
    pub pitch: usize,
    /// Distance of a row's odd columns from its even ones.
    pub phase: usize,
    /// Taps, row by row. For the weight gradient: their sums, each as a vector.
    pub weights: *mut T,
    /// Results; for the weight gradient the output gradient.
    pub out: *mut T,
    /// Distance of the results' rows.
    pub out_row: usize,
    pub rows: usize,
    pub cols: usize,
}

/// Rows of an image to be copied into a frame.
#[derive(Clone, Copy)]
pub(super) struct Rows<T> {
    pub from: *const T,
    pub from_row: usize,
    pub to: *mut T,
    pub to_row: usize,
    pub rows: usize,
    pub cols: usize,
}

pub(super) type PlaneFn<T> = unsafe fn(&Plane<T>);

/// The loops of one element type and instruction set, by size and stride - 1.
pub(super) struct DepthKernels<T> {
    /// Elements of a vector of the weight gradient's sums; no vector is longer.
    pub lanes: usize,
    /// May write zeros behind a row, see [`copy`].
    pub copy: unsafe fn(&Rows<T>),
    pub copy_exact: unsafe fn(&Rows<T>),
    pub forward: [[PlaneFn<T>; 2]; 2],
    /// Input gradient of stride 2: each row of the frame gives two rows of results, and each result
    /// row is `[even columns, odd columns]`, `phase` apart, `cols` of each.
    pub input_grad: [PlaneFn<T>; 2],
    pub weight_grad: [[PlaneFn<T>; 2]; 2],
}

/// A float with depthwise loops.
pub(super) trait Depth: Real + BandOps {
    /// The loops of this machine for rows of `cols` results.
    fn depth(cols: usize) -> &'static DepthKernels<Self>;
    /// The transforms of Winograd's algorithm, for types that may use it.
    fn winograd() -> Option<&'static Transforms<Self>>;
    /// The kernels with images along the lanes, for types that have them.
    fn run_kernels() -> Option<&'static RunKernels<Self>>;
}

/// # Safety
/// Rows are valid on both sides. Unless `EXACT`, the destination has room for a whole vector from
/// every row's start; rows go in ascending order, and what a short row's vector writes beyond it is
/// zero.
#[inline(always)]
unsafe fn copy<V: Vector, const EXACT: bool>(r: &Rows<V::Elem>) {
    // SAFETY: the caller's promise; sources are read only where they are.
    unsafe {
        for y in 0..r.rows {
            let (from, to) = (r.from.add(y * r.from_row), r.to.add(y * r.to_row));
            if r.cols < V::LANES {
                let v = V::load_first(from, r.cols);
                if EXACT {
                    v.store_first(to, r.cols)
                } else {
                    v.store(to)
                }
                continue;
            }
            let last = r.cols - V::LANES;
            let mut c = 0;
            while c < last {
                V::load(from.add(c)).store(to.add(c));
                c += V::LANES;
            }
            V::load(from.add(last)).store(to.add(last));
        }
    }
}

/// Runs `$f` for the frame rows under `$R` rows of results.
macro_rules! each_line {
    ($f:ident::<$V:ident, $K:ident, $S:ident, $R:ident>($($arg:expr),*)) => {
        each_line!(@ $f, $V, $K, $S, $R, ($($arg),*), 0 1 2 3 4 5 6 7 8 9 10)
    };
    (@ $f:ident, $V:ident, $K:ident, $S:ident, $R:ident, $args:tt, $($i:literal)*) => {
        $( if $i < ($R - 1) * $S + $K { each_line!(@call $f, $V, $K, $S, $R, $i, $args) } )*
    };
    (@call $f:ident, $V:ident, $K:ident, $S:ident, $R:ident, $i:literal, ($($arg:expr),*)) => {
        $f::<$V, $K, $S, $R, $i>($($arg),*)
    };
}

/// Frame row `I` below the first: what it adds to each of `R` rows of results.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // Unrolled: indices say which is which.
unsafe fn line<V: Vector, const K: usize, const S: usize, const R: usize, const I: usize>(
    p: &Plane<V::Elem>,
    x: *const V::Elem,
    w: &[[V; K]; K],
    acc: &mut [V; R],
) {
    // SAFETY: the frame has these rows, and a vector's room behind the last tap.
    unsafe {
        let row = x.add(I * p.pitch);
        for kx in 0..K {
            let v = V::load(row.add(kx % S * p.phase + kx / S));
            for (r, acc) in acc.iter_mut().enumerate() {
                if I >= r * S && I - r * S < K {
                    *acc = v.fma(w[I - r * S][kx], *acc);
                }
            }
        }
    }
}

/// `R` rows of results from row `y` on.
#[inline(always)]
unsafe fn rows<V: Vector, const K: usize, const S: usize, const R: usize>(
    p: &Plane<V::Elem>,
    w: &[[V; K]; K],
    y: usize,
) {
    // SAFETY: as for `line`; results are written where they are.
    unsafe {
        let mut c = 0;
        loop {
            let x = p.frame.add(y * S * p.pitch + c);
            let mut acc = [V::zero(); R];
            each_line!(line::<V, K, S, R>(p, x, w, &mut acc));
            for (r, v) in acc.into_iter().enumerate() {
                let at = (y + r) * p.out_row + c;
                let out = p.out.add(at);
                if p.cols < V::LANES { v.store_first(out, p.cols) } else { v.store(out) }
            }
            if c + V::LANES >= p.cols {
                return;
            }
            // The last vector ends with the row: some elements are computed twice, none beyond it.
            c = (c + V::LANES).min(p.cols - V::LANES);
        }
    }
}

/// # Safety
/// The plane's pointers are valid as its fields say; the machine has `V`'s instructions.
#[inline(always)]
unsafe fn forward<V: Vector, const K: usize, const S: usize, const ROWS: usize>(p: &Plane<V::Elem>) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut w = [[V::zero(); K]; K];
        for (i, row) in w.iter_mut().enumerate() {
            for (j, w) in row.iter_mut().enumerate() {
                *w = V::splat(*p.weights.add(i * K + j));
            }
        }
        if p.rows < ROWS {
            for y in 0..p.rows {
                rows::<V, K, S, 1>(p, &w, y);
            }
            return;
        }
        // The last rows may overlap the ones before: an element's value does not depend on its
        // place among them.
        let last = p.rows - ROWS;
        let mut y = 0;
        while y < last {
            rows::<V, K, S, ROWS>(p, &w, y);
            y += ROWS;
        }
        rows::<V, K, S, ROWS>(p, &w, last);
    }
}

/// # Safety
/// As for [`forward`]; result rows have room for whole vectors.
#[inline(always)]
unsafe fn input_grad<V: Vector, const K: usize>(p: &Plane<V::Elem>) {
    // SAFETY: the caller's promise. Result row `2 y + ry`, column `2 t + rx` is a sum over the taps
    // of those parities, tap `2 j + r` meeting source `y - j`, which is frame row `y + (K-1)/2 - j`.
    unsafe {
        let reach = (K - 1) / 2;
        let mut w = [[V::zero(); K]; K];
        for (i, row) in w.iter_mut().enumerate() {
            for (j, w) in row.iter_mut().enumerate() {
                *w = V::splat(*p.weights.add(i * K + j));
            }
        }
        for y in 0..p.rows {
            for c in (0..p.cols).step_by(V::LANES) {
                let mut acc = [[V::zero(); 2]; 2];
                for jy in 0..reach + 1 {
                    for jx in 0..reach + 1 {
                        let v = V::load(p.frame.add((y + reach - jy) * p.pitch + c + reach - jx));
                        for (ry, acc) in acc.iter_mut().enumerate() {
                            for (rx, acc) in acc.iter_mut().enumerate() {
                                if 2 * jy + ry < K && 2 * jx + rx < K {
                                    *acc = v.fma(w[2 * jy + ry][2 * jx + rx], *acc);
                                }
                            }
                        }
                    }
                }
                for (ry, acc) in acc.into_iter().enumerate() {
                    for (rx, v) in acc.into_iter().enumerate() {
                        v.store(p.out.add((2 * y + ry) * p.out_row + rx * p.phase + c));
                    }
                }
            }
        }
    }
}

/// Frame row `I` below the first: its products with each of `R` rows of the output gradient.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // Unrolled: indices say which is which.
unsafe fn dot_line<V: Vector, const K: usize, const S: usize, const R: usize, const I: usize>(
    p: &Plane<V::Elem>,
    x: *const V::Elem,
    n: usize,
    dy: &[V; R],
    acc: &mut [[V; K]; K],
) {
    // SAFETY: as for `line`. Beyond `n` elements lies what must not meet even a zero: it may be NaN.
    unsafe {
        let row = x.add(I * p.pitch);
        for kx in 0..K {
            let at = row.add(kx % S * p.phase + kx / S);
            let v = if n == V::LANES { V::load(at) } else { V::load_first(at, n) };
            for (r, dy) in dy.iter().enumerate() {
                if I >= r * S && I - r * S < K {
                    acc[I - r * S][kx] = dy.fma(v, acc[I - r * S][kx]);
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn dot_rows<V: Vector, const K: usize, const S: usize, const R: usize>(
    p: &Plane<V::Elem>,
    y: usize,
    acc: &mut [[V; K]; K],
) {
    // SAFETY: as for `dot_line`.
    unsafe {
        let mut c = 0;
        while c < p.cols {
            let n = V::LANES.min(p.cols - c);
            let mut dy = [V::zero(); R];
            for (r, v) in dy.iter_mut().enumerate() {
                let at = p.out.add((y + r) * p.out_row + c);
                *v = if n == V::LANES { V::load(at) } else { V::load_first(at, n) };
            }
            let x = p.frame.add(y * S * p.pitch + c);
            each_line!(dot_line::<V, K, S, R>(p, x, n, &dy, acc));
            c += V::LANES;
        }
    }
}

/// Adds to the weights' sums, each a vector in memory.
///
/// # Safety
/// As for [`forward`].
#[inline(always)]
unsafe fn weight_grad<V: Vector, const K: usize, const S: usize, const ROWS: usize>(p: &Plane<V::Elem>) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut acc = [[V::zero(); K]; K];
        for (i, v) in acc.iter_mut().flatten().enumerate() {
            *v = V::load(p.weights.add(i * V::LANES));
        }
        let mut y = 0;
        while y + ROWS <= p.rows {
            dot_rows::<V, K, S, ROWS>(p, y, &mut acc);
            y += ROWS;
        }
        while y < p.rows {
            dot_rows::<V, K, S, 1>(p, y, &mut acc);
            y += 1;
        }
        for (i, v) in acc.into_iter().flatten().enumerate() {
            v.store(p.weights.add(i * V::LANES));
        }
    }
}

macro_rules! depth_kernels {
    ($(#[$feature:meta])* $module:ident: $($name:ident, $t:ty, $v:ty, $wide:ty, $rows:literal;)*) => {
        mod $module {
            use super::{DepthKernels, Plane, Rows};
            use crate::vector::Vector;

            $(#[$feature])*
            unsafe fn copy<V: Vector, const EXACT: bool>(r: &Rows<V::Elem>) {
                // SAFETY: the caller's promise, and this function has the instructions.
                unsafe { super::copy::<V, EXACT>(r) }
            }
            $(#[$feature])*
            unsafe fn forward<V: Vector, const K: usize, const S: usize, const R: usize>(p: &Plane<V::Elem>) {
                // SAFETY: as above.
                unsafe { super::forward::<V, K, S, R>(p) }
            }
            $(#[$feature])*
            unsafe fn input_grad<V: Vector, const K: usize>(p: &Plane<V::Elem>) {
                // SAFETY: as above.
                unsafe { super::input_grad::<V, K>(p) }
            }
            $(#[$feature])*
            unsafe fn weight_grad<V: Vector, const K: usize, const S: usize, const R: usize>(p: &Plane<V::Elem>) {
                // SAFETY: as above.
                unsafe { super::weight_grad::<V, K, S, R>(p) }
            }
            $(
                pub(super) static $name: DepthKernels<$t> = DepthKernels {
                    lanes: <$wide as Vector>::LANES,
                    copy: copy::<$v, false>,
                    copy_exact: copy::<$v, true>,
                    forward: [
                        [forward::<$v, 3, 1, $rows>, forward::<$v, 3, 2, $rows>],
                        [forward::<$v, 5, 1, $rows>, forward::<$v, 5, 2, $rows>],
                    ],
                    input_grad: [input_grad::<$v, 3>, input_grad::<$v, 5>],
                    weight_grad: [
                        [weight_grad::<$wide, 3, 1, $rows>, weight_grad::<$wide, 3, 2, $rows>],
                        [weight_grad::<$wide, 5, 1, $rows>, weight_grad::<$wide, 5, 2, $rows>],
                    ],
                };
            )*
        }
    };
}

depth_kernels! {
    portable:
    F32, f32, crate::vector::Plain<f32, 4>, crate::vector::Plain<f32, 4>, 1;
    F64, f64, crate::vector::Plain<f64, 2>, crate::vector::Plain<f64, 2>, 1;
}
#[cfg(target_arch = "x86_64")]
depth_kernels! {
    #[target_feature(enable = "avx2,fma")] avx2:
    F32, f32, std::arch::x86_64::__m256, std::arch::x86_64::__m256, 4;
    F64, f64, std::arch::x86_64::__m256d, std::arch::x86_64::__m256d, 1;
}
// A vector that begins anywhere crosses a cache line more often the longer it is, which costs more
// than short vectors do; long ones are for what needs their masks.
#[cfg(target_arch = "x86_64")]
depth_kernels! {
    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")] avx512:
    F32, f32, std::arch::x86_64::__m256, std::arch::x86_64::__m512, 4;
    NARROW_F32, f32, std::arch::x86_64::__m512, std::arch::x86_64::__m512, 4;
    F64, f64, std::arch::x86_64::__m512d, std::arch::x86_64::__m512d, 1;
    NARROW_F64, f64, std::arch::x86_64::__m512d, std::arch::x86_64::__m512d, 1;
}

macro_rules! depth {
    ($($t:ty, $name:ident, $narrow:ident, $winograd:expr, $runs:expr;)*) => {$(
        impl Depth for $t {
            fn winograd() -> Option<&'static Transforms<$t>> {
                $winograd
            }
            fn run_kernels() -> Option<&'static RunKernels<$t>> {
                $runs
            }
            fn depth(cols: usize) -> &'static DepthKernels<$t> {
                let _ = cols;
                match level() {
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx512 if cols < 8 => &avx512::$narrow,
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx512 => &avx512::$name,
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx2 => &avx2::$name,
                    _ => &portable::$name,
                }
            }
        }
    )*};
}
depth! {
    f32, F32, NARROW_F32, Some(super::winograd::transforms()), Some(super::lanes::run_kernels());
    f64, F64, NARROW_F64, None, None;
}
