//! Pooling of one to three dimensions: where the maximum is, sums over windows, and their adjoint.
//!
//! Arrays are contiguous: `planes` volumes of depth, height, width. Each row of a result is computed
//! on its own, tap by tap over the whole row, which vectorises; rows are shared among threads.

use crate::gemm::real::{Real, Source};
use crate::scratch::Scratch;
use crate::simd::{Level, level};
use crate::threads::{SendPtr, parallel_chunks, parallel_for};
use hadal_core::Element;
use hadal_core::ops::{PoolGeometry, Window};
use half::{bf16, f16};

/// Elements that one task reads, about.
const TASK: usize = 1 << 14;
/// Largest extent.
const LIMIT: usize = 1 << 31;

/// Checks that a geometry can be computed: sizes in range, and every window with at least one tap on
/// the input.
///
/// # Errors
/// A sentence that names the first thing that is wrong.
pub fn check(g: &PoolGeometry) -> Result<(), String> {
    for w in &g.windows {
        let sizes = [w.input, w.kernel, w.stride, w.pad_lo, w.pad_hi, w.dilation, w.output];
        if sizes.iter().any(|&s| s > LIMIT) {
            return Err(format!("pool: sizes above 2^31 in {w:?}"));
        }
        if w.kernel == 0 || w.stride == 0 || w.dilation == 0 {
            return Err(format!("pool: kernel, stride and dilation must be at least 1 in {w:?}"));
        }
        if let Some(o) = (0..w.output).find(|&o| !reads(w, o)) {
            return Err(format!("pool: window {o} reads nothing but padding in {w:?}"));
        }
    }
    let volume = g.windows.iter().try_fold(1usize, |a, w| a.checked_mul(w.input));
    if !volume.is_some_and(|v| v < u32::MAX as usize) {
        return Err("pool: a plane has 2^32 or more elements".into());
    }
    Ok(())
}

/// Whether window `o` has a tap on the input.
fn reads(w: &Window, o: usize) -> bool {
    let start = (o * w.stride) as isize - w.pad_lo as isize;
    let k = ((-start).max(0) as usize).div_ceil(w.dilation);
    k < w.kernel && start + ((k * w.dilation) as isize) < w.input as isize
}

fn check_lengths(g: &PoolGeometry, x: usize, y: usize) -> Result<(), String> {
    let len = |f: fn(&Window) -> usize| g.windows.iter().try_fold(g.planes, |a, w| a.checked_mul(f(w)));
    let want = (len(|w| w.input), len(|w| w.output));
    if want != (Some(x), Some(y)) {
        return Err(format!("pool: input and output have {:?} elements instead of {want:?}", (x, y)));
    }
    check(g)
}

mod sealed {
    use hadal_core::ops::PoolGeometry;

    /// Implemented by the four float types.
    pub trait Pool: Sized {
        fn max(x: &[Self], index: &mut [i64], g: &PoolGeometry);
        fn sum(x: &[Self], y: &mut [Self], g: &PoolGeometry);
        fn sum_grad(dy: &[Self], dx: &mut [Self], g: &PoolGeometry);
    }
}
use sealed::Pool;

/// An element type that can be pooled: f32, f64, f16, bf16.
pub trait PoolElement: Element + Pool {}
impl<T: Element + Pool> PoolElement for T {}

/// For every window the place of its maximum in the flattened input plane. Padding never wins; the
/// first of equal maxima does; with NaN in the window the last NaN does (as in PyTorch).
///
/// # Errors
/// When the geometry is impossible or a slice does not have its length.
///
/// ```
/// use hadal_core::ops::{PoolGeometry, Window};
/// let row = Window { input: 4, kernel: 2, stride: 2, output: 2, ..Window::UNIT };
/// let g = PoolGeometry { planes: 1, windows: [Window::UNIT, Window::UNIT, row], spatial: 1 };
/// let mut index = [0; 2];
/// hadal_cpu::pool::max_pool_indices(&[1.0f32, 5.0, 3.0, 2.0], &mut index, &g)?;
/// assert_eq!(index, [1, 2]);
/// # Ok::<(), String>(())
/// ```
pub fn max_pool_indices<T: PoolElement>(x: &[T], index: &mut [i64], g: &PoolGeometry) -> Result<(), String> {
    check_lengths(g, x.len(), index.len())?;
    T::max(x, index, g);
    Ok(())
}

/// The sum of every window; padding counts as zero.
///
/// # Errors
/// As for [`max_pool_indices`].
pub fn sum_pool<T: PoolElement>(x: &[T], y: &mut [T], g: &PoolGeometry) -> Result<(), String> {
    check_lengths(g, x.len(), y.len())?;
    T::sum(x, y, g);
    Ok(())
}

/// The adjoint of [`sum_pool`]: each input element gets the sum over the windows that contain it.
///
/// # Errors
/// As for [`max_pool_indices`].
pub fn sum_pool_grad<T: PoolElement>(dy: &[T], dx: &mut [T], g: &PoolGeometry) -> Result<(), String> {
    check_lengths(g, dx.len(), dy.len())?;
    T::sum_grad(dy, dx, g);
    Ok(())
}

/// The outputs `lo..hi` whose tap `k` is on the input, and the input index of the first.
fn span(w: &Window, k: usize) -> (usize, usize, usize) {
    let at = (k * w.dilation) as isize - w.pad_lo as isize;
    let lo = ((-at).max(0) as usize).div_ceil(w.stride);
    let end = w.input as isize - at;
    let hi = if end <= 0 { 0 } else { (end as usize).div_ceil(w.stride) }.min(w.output);
    if lo >= hi { (0, 0, 0) } else { (lo, hi, ((lo * w.stride) as isize + at) as usize) }
}

/// The input index of tap `k` of window `o`, if it is on the input.
fn tap(w: &Window, o: usize, k: usize) -> Option<usize> {
    let i = (o * w.stride + k * w.dilation) as isize - w.pad_lo as isize;
    (i >= 0 && (i as usize) < w.input).then_some(i as usize)
}

/// The window whose tap `k` is on input `i`, if there is one.
fn window_at(w: &Window, i: usize, k: usize) -> Option<usize> {
    let at = (i + w.pad_lo).checked_sub(k * w.dilation)?;
    (at.is_multiple_of(w.stride) && at / w.stride < w.output).then_some(at / w.stride)
}

/// One result row and what it is made of.
struct Row<'a> {
    g: &'a PoolGeometry,
    z: usize,
    y: usize,
}

impl Row<'_> {
    /// Calls `f(start of the input row)` for every input row under the windows of this output row.
    #[inline(always)]
    fn inputs(&self, mut f: impl FnMut(usize)) {
        let [wz, wy, wx] = &self.g.windows;
        for kz in 0..wz.kernel {
            let Some(z) = tap(wz, self.z, kz) else { continue };
            for ky in 0..wy.kernel {
                if let Some(y) = tap(wy, self.y, ky) {
                    f((z * wy.input + y) * wx.input);
                }
            }
        }
    }
}

/// The loops over a row, compiled once per instruction set.
trait RowOps: Real {
    /// `x` is the plane, `best` and `at` working rows.
    fn max_row(row: &Row<'_>, x: &[Self], best: &mut [Self], at: &mut [u32]);
    fn sum_row(row: &Row<'_>, x: &[Self], y: &mut [Self]);
    /// `row` names an input row; `dy` is the output plane.
    fn grad_row(row: &Row<'_>, dy: &[Self], dx: &mut [Self]);
}

#[inline(always)]
fn max_row<T: Real>(row: &Row<'_>, x: &[T], best: &mut [T], at: &mut [u32]) {
    const NONE: u32 = u32::MAX;
    best.fill(T::LOWEST);
    at.fill(NONE);
    let wx = &row.g.windows[2];
    row.inputs(|start| {
        for k in 0..wx.kernel {
            let (lo, hi, first) = span(wx, k);
            let take = |best: &mut T, at: &mut u32, v: T, i: u32| {
                // The first element is taken whatever it is: all may be minus infinity.
                let better = (v > *best) | (v != v) | (*at == NONE);
                *best = if better { v } else { *best };
                *at = if better { i } else { *at };
            };
            let (best, at) = (&mut best[lo..hi], &mut at[lo..hi]);
            let x = &x[start + first..];
            let first = (start + first) as u32;
            match wx.stride {
                1 => {
                    for (j, ((b, a), &v)) in best.iter_mut().zip(at).zip(x).enumerate() {
                        take(b, a, v, first + j as u32);
                    }
                }
                2 if !best.is_empty() => {
                    let n = best.len();
                    let x = &x[..2 * n - 1];
                    for j in 0..n {
                        take(&mut best[j], &mut at[j], x[2 * j], first + 2 * j as u32);
                    }
                }
                s => {
                    for (j, ((b, a), &v)) in best.iter_mut().zip(at).zip(x.iter().step_by(s)).enumerate() {
                        take(b, a, v, first + (j * s) as u32);
                    }
                }
            }
        }
    });
}

#[inline(always)]
fn sum_row<T: Real>(row: &Row<'_>, x: &[T], y: &mut [T]) {
    y.fill(T::ZERO);
    let wx = &row.g.windows[2];
    row.inputs(|start| {
        for k in 0..wx.kernel {
            let (lo, hi, first) = span(wx, k);
            let (y, x) = (&mut y[lo..hi], &x[start + first..]);
            match wx.stride {
                1 => y.iter_mut().zip(x).for_each(|(y, &x)| *y += x),
                2 if !y.is_empty() => {
                    let n = y.len();
                    let x = &x[..2 * n - 1];
                    for j in 0..n {
                        y[j] += x[2 * j];
                    }
                }
                s => y.iter_mut().zip(x.iter().step_by(s)).for_each(|(y, &x)| *y += x),
            }
        }
    });
}

#[inline(always)]
fn grad_row<T: Real>(row: &Row<'_>, dy: &[T], dx: &mut [T]) {
    dx.fill(T::ZERO);
    let [wz, wy, wx] = &row.g.windows;
    for kz in 0..wz.kernel {
        let Some(z) = window_at(wz, row.z, kz) else { continue };
        for ky in 0..wy.kernel {
            let Some(y) = window_at(wy, row.y, ky) else { continue };
            let dy = &dy[(z * wy.output + y) * wx.output..];
            for k in 0..wx.kernel {
                let (lo, hi, first) = span(wx, k);
                let (dy, dx) = (&dy[lo..hi], &mut dx[first..]);
                if wx.stride == 1 {
                    dx.iter_mut().zip(dy).for_each(|(x, &y)| *x += y);
                } else {
                    dx.iter_mut().step_by(wx.stride).zip(dy).for_each(|(x, &y)| *x += y);
                }
            }
        }
    }
}

macro_rules! row_ops {
    ($t:ty, $($name:ident($($arg:ident: $ty:ty),*)),*) => {
        impl RowOps for $t {
            $(
                fn $name(row: &Row<'_>, $($arg: $ty),*) {
                    #[cfg(target_arch = "x86_64")]
                    {
                        #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
                        fn avx512(row: &Row<'_>, $($arg: $ty),*) {
                            $name::<$t>(row, $($arg),*)
                        }
                        #[target_feature(enable = "avx2,fma")]
                        fn avx2(row: &Row<'_>, $($arg: $ty),*) {
                            $name::<$t>(row, $($arg),*)
                        }
                        match level() {
                            // SAFETY: the level says that the machine has the instructions.
                            Level::Avx512 => return unsafe { avx512(row, $($arg),*) },
                            // SAFETY: as above.
                            Level::Avx2 => return unsafe { avx2(row, $($arg),*) },
                            Level::Portable => {}
                        }
                    }
                    $name::<$t>(row, $($arg),*)
                }
            )*
        }
    };
}
row_ops!(
    f32,
    max_row(x: &[f32], best: &mut [f32], at: &mut [u32]),
    sum_row(x: &[f32], y: &mut [f32]),
    grad_row(dy: &[f32], dx: &mut [f32])
);
row_ops!(
    f64,
    max_row(x: &[f64], best: &mut [f64], at: &mut [u32]),
    sum_row(x: &[f64], y: &mut [f64]),
    grad_row(dy: &[f64], dx: &mut [f64])
);

/// Calls `f(row, input plane, output row)` for every row of `out`, whose planes have the extents
/// `dims`; the planes of `input` have `input_plane` elements.
fn rows<T: Sync, U: Send>(
    g: &PoolGeometry,
    input: &[T],
    out: &mut [U],
    dims: [usize; 3],
    f: &(dyn Fn(&Row<'_>, &[T], &mut [U]) + Sync),
) {
    let per_plane = dims[0] * dims[1];
    let count = g.planes * per_plane;
    if count == 0 || out.is_empty() {
        return;
    }
    let input_plane = input.len() / g.planes;
    let work = (input_plane / per_plane).max(dims[2]).max(1);
    let each = (TASK / work).clamp(1, count);
    let out = SendPtr::new(out.as_mut_ptr());
    parallel_for(count.div_ceil(each), &|task| {
        for r in task * each..((task + 1) * each).min(count) {
            let (plane, z, y) = (r / per_plane, r % per_plane / dims[1], r % dims[1]);
            // SAFETY: row `r` of the result belongs to this task.
            let to = unsafe { out.slice(r * dims[2], dims[2]) };
            f(&Row { g, z, y }, &input[plane * input_plane..][..input_plane], to);
        }
    });
}

fn max<T: RowOps>(x: &[T], index: &mut [i64], g: &PoolGeometry) {
    let dims = g.windows.map(|w| w.output);
    rows(g, x, index, dims, &|row, x, out| {
        let (mut best, mut at) = (Scratch::<T>::new(dims[2]), Scratch::<u32>::new(dims[2]));
        let at = at.slice();
        T::max_row(row, x, best.slice(), at);
        out.iter_mut().zip(at).for_each(|(o, &mut i)| *o = i as i64);
    });
}

fn sum<T: RowOps>(x: &[T], y: &mut [T], g: &PoolGeometry) {
    rows(g, x, y, g.windows.map(|w| w.output), &|row, x, y| T::sum_row(row, x, y));
}

fn sum_grad<T: RowOps>(dy: &[T], dx: &mut [T], g: &PoolGeometry) {
    if dy.is_empty() {
        return dx.fill(T::ZERO);
    }
    rows(g, dy, dx, g.windows.map(|w| w.input), &|row, dy, dx| T::grad_row(row, dy, dx));
}

macro_rules! pool {
    ($($t:ty),*) => {$(
        impl Pool for $t {
            fn max(x: &[$t], index: &mut [i64], g: &PoolGeometry) {
                max(x, index, g)
            }
            fn sum(x: &[$t], y: &mut [$t], g: &PoolGeometry) {
                sum(x, y, g)
            }
            fn sum_grad(dy: &[$t], dx: &mut [$t], g: &PoolGeometry) {
                sum_grad(dy, dx, g)
            }
        }
    )*};
}
pool!(f32, f64);

/// A slice in f32.
fn widened<S: Source<f32>>(v: &[S]) -> Scratch<f32> {
    let mut wide = Scratch::new(v.len());
    parallel_chunks(wide.slice(), TASK, &|i, d| S::widen_into(&v[i * TASK..][..d.len()], d));
    wide
}

/// Runs `f` on `out` in f32 and rounds.
fn rounded<S: Source<f32>>(out: &mut [S], f: impl FnOnce(&mut [f32])) {
    let mut wide = Scratch::<f32>::new(out.len());
    f(wide.slice());
    let wide = &*wide.slice();
    parallel_chunks(out, TASK, &|i, d| S::narrow_into(&wide[i * TASK..][..d.len()], d));
}

macro_rules! pool_halves {
    ($($t:ty),*) => {$(
        impl Pool for $t {
            fn max(x: &[$t], index: &mut [i64], g: &PoolGeometry) {
                max(widened(x).slice(), index, g)
            }
            fn sum(x: &[$t], y: &mut [$t], g: &PoolGeometry) {
                rounded(y, |y| sum(widened(x).slice(), y, g))
            }
            fn sum_grad(dy: &[$t], dx: &mut [$t], g: &PoolGeometry) {
                rounded(dx, |dx| sum_grad(widened(dy).slice(), dx, g))
            }
        }
    )*};
}
pool_halves!(f16, bf16);
