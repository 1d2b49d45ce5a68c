//! The kernels of one element type and instruction set, and the choice among them.

use super::kernel::{Kernel, MAX_MR};
use super::vecmat::Rows;

/// Most vectors in a row of a tile.
pub(crate) const MAX_NV: usize = 4;

/// Kernels by `[vectors - 1][rows - 1]`. Entries above the largest that fits the registers repeat it
/// and are never chosen.
pub(crate) type Family<T> = [[Kernel<T>; MAX_MR]; MAX_NV];

/// See [`super::vecmat::axpy`].
pub(crate) type Axpy<T> = unsafe fn(&Rows<T>, *const T, isize, *mut T, usize, usize);
/// See [`super::vecmat::dot`].
pub(crate) type Dot<T> = unsafe fn(&Rows<T>, *const T, isize, *mut T, usize, usize, usize);
/// See [`super::pack::panel`].
pub(crate) type PackPanel<T> = unsafe fn(*const T, isize, isize, usize, usize, usize, *mut T);
/// See [`super::pack::panels_of_rows`].
pub(crate) type PackRows<T> = unsafe fn(*const T, isize, usize, usize, usize, *mut T);
/// See [`crate::conv::taps`].
pub(crate) type TapDot<T> = unsafe fn(&crate::conv::taps::TapRows<T>, *mut T);

/// The kernels of one element type and instruction set.
pub(crate) struct Kernels<T: 'static> {
    /// Elements of a vector.
    pub lanes: usize,
    /// Most rows of a tile, by vectors - 1.
    pub max_mr: [usize; MAX_NV],
    pub packed: Family<T>,
    pub strided: Family<T>,
    pub gather: Family<T>,
    pub axpy: Axpy<T>,
    pub dot: Dot<T>,
    pub pack: PackPanel<T>,
    pub pack_rows: PackRows<T>,
    pub tap_dot: TapDot<T>,
    /// Kernels with shorter vectors, for matrices with few columns.
    pub narrow: Option<&'static Kernels<T>>,
}

/// Kernels, and how many elements of k they take in a step: 1, or 2 where a lane holds a pair of bf16.
pub(crate) struct Set<T: 'static> {
    pub ks: &'static Kernels<T>,
    pub unit: usize,
}

impl<T> Clone for Set<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Set<T> {}

/// The shape of a tile: rows, and vectors per row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Shape {
    pub mr: usize,
    pub nv: usize,
}

impl<T> Kernels<T> {
    /// Tiles of `nv` vectors, rows shared out evenly among the panels.
    pub fn shape_of(&self, m: usize, nv: usize) -> Shape {
        let most = self.max_mr[nv - 1];
        Shape { mr: m.div_ceil(m.div_ceil(most).max(1)).max(1), nv }
    }

    /// The tile shape with the least estimated time for an `m` by `n` matrix. Rows are shared out
    /// evenly among the panels.
    pub fn shape(&self, m: usize, n: usize) -> Shape {
        // In order of preference where the estimate is equal.
        let best = [2, 3, 4, 1].into_iter().map(|nv| {
            let shape = self.shape_of(m, nv);
            (shape, self.estimate(m, n, shape.mr, nv))
        });
        best.min_by_key(|&(_, cost)| cost).map_or(Shape { mr: 1, nv: 1 }, |(s, _)| s)
    }

    /// Eighths of a cycle per step of k, for all tiles of the matrix.
    fn estimate(&self, m: usize, n: usize, mr: usize, nv: usize) -> usize {
        // A tile does one multiply-add of a vector per cycle at best, loads two scalars or one
        // vector per cycle, and cannot be quicker than the latency of a multiply-add.
        let tile = |mr: usize, nv: usize| (8 * mr * nv).max(4 * mr + 8 * nv).max(8 * 4) + 4;
        let vectors = n.div_ceil(self.lanes);
        let (full, rest) = (vectors / nv, vectors % nv);
        let row = |mr: usize| full * tile(mr, nv) + if rest > 0 { tile(mr, rest) } else { 0 };
        (m / mr) * row(mr) + if !m.is_multiple_of(mr) { row(m % mr) } else { 0 }
    }
}

/// All kernels of one mode as a [`Family`]: `family!(wrapper, vector, mode, max_mr)`.
macro_rules! family {
    ($wrap:ident, $v:ty, $mode:expr, $max:expr) => {
        [
            $crate::gemm::tables::family!(@row $wrap, $v, $mode, 1, $max[0]),
            $crate::gemm::tables::family!(@row $wrap, $v, $mode, 2, $max[1]),
            $crate::gemm::tables::family!(@row $wrap, $v, $mode, 3, $max[2]),
            $crate::gemm::tables::family!(@row $wrap, $v, $mode, 4, $max[3]),
        ]
    };
    (@row $wrap:ident, $v:ty, $mode:expr, $nv:literal, $max:expr) => {
        [
            $wrap::<$v, { $mode }, { $crate::gemm::tables::at_most(1, $max) }, $nv>,
            $wrap::<$v, { $mode }, { $crate::gemm::tables::at_most(2, $max) }, $nv>,
            $wrap::<$v, { $mode }, { $crate::gemm::tables::at_most(3, $max) }, $nv>,
            $wrap::<$v, { $mode }, { $crate::gemm::tables::at_most(4, $max) }, $nv>,
            $wrap::<$v, { $mode }, { $crate::gemm::tables::at_most(5, $max) }, $nv>,
            $wrap::<$v, { $mode }, { $crate::gemm::tables::at_most(6, $max) }, $nv>,
            $wrap::<$v, { $mode }, { $crate::gemm::tables::at_most(7, $max) }, $nv>,
            $wrap::<$v, { $mode }, { $crate::gemm::tables::at_most(8, $max) }, $nv>,
            $wrap::<$v, { $mode }, { $crate::gemm::tables::at_most(9, $max) }, $nv>,
            $wrap::<$v, { $mode }, { $crate::gemm::tables::at_most(10, $max) }, $nv>,
            $wrap::<$v, { $mode }, { $crate::gemm::tables::at_most(11, $max) }, $nv>,
            $wrap::<$v, { $mode }, { $crate::gemm::tables::at_most(12, $max) }, $nv>,
        ]
    };
}
pub(crate) use family;

/// The smaller one, in constants.
pub(crate) const fn at_most(a: usize, b: usize) -> usize {
    if a < b { a } else { b }
}

/// The wrappers that compile the generic bodies for one instruction set, and the table of one
/// element type.
macro_rules! kernels {
    ($(#[$feature:meta])* $module:ident: $($name:ident, $v:ty, $t:ty, $max:expr, $pack:path, $narrow:expr;)*) => {
        mod $module {
            use super::*;
            use $crate::conv::taps::{TapRows, tap_dot};
            use $crate::gemm::kernel::{self, GATHER, PACKED, STRIDED, Tile};
            use $crate::gemm::pack::panels_of_rows;
            use $crate::gemm::tables::{Kernels, family};
            use $crate::gemm::vecmat::{self, Rows};
            use $crate::vector::Vector;

            $(#[$feature])*
            unsafe fn tile<V: Vector, const MODE: u8, const MR: usize, const NV: usize>(t: &Tile<V::Elem>) {
                // SAFETY: the caller's promise, and this function has the instructions.
                unsafe { kernel::kernel::<V, MODE, MR, NV>(t, finish::<V>) }
            }
            $(#[$feature])*
            #[inline(never)]
            unsafe fn finish<V: Vector>(acc: *const V::Elem, mr: usize, nv: usize, t: &Tile<V::Elem>) {
                // SAFETY: as above.
                unsafe { kernel::finish::<V>(acc, mr, nv, t) }
            }
            $(#[$feature])*
            unsafe fn axpy<V: Vector>(
                r: &Rows<V::Elem>, b: *const V::Elem, b_step: isize, c: *mut V::Elem, c_row: usize, n: usize,
            ) {
                // SAFETY: as above.
                unsafe { vecmat::axpy::<V>(r, b, b_step, c, c_row, n) }
            }
            $(#[$feature])*
            unsafe fn pack_rows<V: Vector>(
                src: *const V::Elem, step: isize, cols: usize, nr: usize, k: usize, dst: *mut V::Elem,
            ) {
                // SAFETY: as above.
                unsafe { panels_of_rows::<V>(src, step, cols, nr, k, dst) }
            }
            $(#[$feature])*
            unsafe fn dot<V: Vector>(
                r: &Rows<V::Elem>, b: *const V::Elem, b_row: isize, c: *mut V::Elem, c_row: usize, c_col: usize,
                n: usize,
            )
            where
                V::Elem: std::ops::AddAssign,
            {
                // SAFETY: as above.
                unsafe { vecmat::dot::<V>(r, b, b_row, c, c_row, c_col, n) }
            }
            $(#[$feature])*
            unsafe fn taps<V: Vector>(r: &TapRows<V::Elem>, out: *mut V::Elem)
            where
                V::Elem: std::ops::AddAssign,
            {
                // SAFETY: as above.
                unsafe { tap_dot::<V>(r, out) }
            }
            $(
                pub(crate) static $name: Kernels<$t> = Kernels {
                    lanes: <$v as Vector>::LANES,
                    max_mr: $max,
                    packed: family!(tile, $v, PACKED, $max),
                    strided: family!(tile, $v, STRIDED, $max),
                    gather: family!(tile, $v, GATHER, $max),
                    axpy: axpy::<$v>,
                    dot: dot::<$v>,
                    pack: $pack,
                    pack_rows: pack_rows::<$v>,
                    tap_dot: taps::<$v>,
                    narrow: $narrow,
                };
            )*
        }
        $(pub(crate) use $module::$name;)*
    };
}
pub(crate) use kernels;
