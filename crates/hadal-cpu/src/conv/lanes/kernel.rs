//! Products over runs of memory: sums over (run, step) of a column of `A` times a row of `B`.

use crate::vector::Vector;

/// Steps whose operands lie at constant distances.
#[derive(Clone, Copy)]
pub(super) struct Run {
    /// Where they begin, counted from the operands' pointers.
    pub a: usize,
    pub b: usize,
    pub steps: usize,
}

/// `c[i * c_row + j] = sum over runs and steps of a[..] * b[..]`.
#[derive(Clone, Copy)]
pub(super) struct Product<'a, T> {
    pub runs: &'a [Run],
    pub a: *const T,
    pub b: *const T,
    /// Distance of the steps of B.
    pub b_step: usize,
    pub c: *mut T,
    pub c_row: usize,
}

pub(super) type ProductFn<T> = unsafe fn(&Product<'_, T>);

/// The kernels of one instruction set.
pub(in crate::conv) struct RunKernels<T> {
    /// Elements of a vector.
    pub(super) lanes: usize,
    /// Tiles of 4, 8 and 12 rows by a vector; A has those rows side by side, step after step.
    pub(super) rows: [ProductFn<T>; 3],
    /// Tiles of `tall` rows by two vectors; A's rows are a vector apart, its steps side by side.
    pub(super) tall: usize,
    pub(super) pairs: ProductFn<T>,
}

/// Rows of the largest tile of [`RunKernels::rows`], and what they are multiples of.
pub(super) const ROWS: usize = 12;
pub(super) const ROUND: usize = 4;

/// # Safety
/// All that the formula reads and writes is valid, C for `MR` rows of `NV` vectors; the machine has
/// `V`'s instructions.
#[inline(always)]
unsafe fn product<V: Vector, const MR: usize, const NV: usize, const PACKED: bool>(p: &Product<'_, V::Elem>) {
    let (row, step) = if PACKED { (1, MR) } else { (V::LANES, 1) };
    // SAFETY: the caller's promise.
    unsafe {
        let mut acc = [[V::zero(); NV]; MR];
        for run in p.runs {
            let (mut a, mut b) = (p.a.add(run.a), p.b.add(run.b));
            for _ in 0..run.steps {
                let mut bv = [V::zero(); NV];
                for (j, v) in bv.iter_mut().enumerate() {
                    *v = V::load(b.add(j * V::LANES));
                }
                for (i, acc) in acc.iter_mut().enumerate() {
                    let av = V::splat(*a.add(i * row));
                    for (c, &v) in acc.iter_mut().zip(&bv) {
                        *c = av.fma(v, *c);
                    }
                }
                a = a.add(step);
                b = b.add(p.b_step);
            }
        }
        for (i, row) in acc.iter().enumerate() {
            for (j, &v) in row.iter().enumerate() {
                v.store(p.c.add(i * p.c_row + j * V::LANES));
            }
        }
    }
}

macro_rules! run_kernels {
    ($(#[$feature:meta])? $module:ident, $v:ty, $tall:literal) => {
        mod $module {
            use super::{Product, RunKernels};
            use crate::vector::Vector;

            $(#[$feature])?
            unsafe fn product<const MR: usize, const NV: usize, const PACKED: bool>(p: &Product<'_, f32>) {
                // SAFETY: the caller's promise, and this function has the instructions.
                unsafe { super::product::<$v, MR, NV, PACKED>(p) }
            }
            pub(super) static F32: RunKernels<f32> = RunKernels {
                lanes: <$v>::LANES,
                rows: [product::<4, 1, true>, product::<8, 1, true>, product::<12, 1, true>],
                tall: $tall,
                pairs: product::<$tall, 2, false>,
            };
        }
    };
}
run_kernels!(portable, crate::vector::Plain<f32, 4>, 4);
#[cfg(target_arch = "x86_64")]
run_kernels!(
    #[target_feature(enable = "avx2,fma")]
    avx2,
    std::arch::x86_64::__m256,
    6
);
#[cfg(target_arch = "x86_64")]
run_kernels!(
    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
    avx512,
    std::arch::x86_64::__m512,
    12
);

/// The kernels of this machine.
pub(in crate::conv) fn run_kernels() -> &'static RunKernels<f32> {
    use crate::simd::{Level, level};
    match level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => &avx512::F32,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => &avx2::F32,
        _ => &portable::F32,
    }
}
