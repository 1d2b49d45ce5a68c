//! Pooling of one to three dimensions: where the maximum is, sums over windows, and their adjoint.
//!
//! Arrays are contiguous: `planes` volumes of depth, height, width. Windows are taken apart into a
//! part along the rows and a part across them; both run over whole bands of rows, which vectorises.
//! Bands are shared among threads.

mod band;
mod halve;
mod pairs;

use crate::gemm::real::Source;
use crate::scratch::Scratch;
use crate::threads::{SendPtr, parallel_chunks, parallel_for};
pub(crate) use band::BandOps;
use band::{Band, each_tap, pitch, scattered};
use hadal_core::Element;
use hadal_core::ops::{PoolGeometry, Window};
use half::{bf16, f16};

/// Elements that one task works on, about.
const TASK: usize = 1 << 15;
/// Elements of the frame of a band (see [`Band`]), about.
const BAND: usize = 1 << 12;
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
    if volume.is_none_or(|v| v >= u32::MAX as usize) {
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
        fn max_values(x: &[Self], y: &mut [Self], g: &PoolGeometry);
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

/// The maximum of every window: what lies at the places of [`max_pool_indices`].
///
/// # Errors
/// As for [`max_pool_indices`].
pub fn max_pool<T: PoolElement>(x: &[T], y: &mut [T], g: &PoolGeometry) -> Result<(), String> {
    check_lengths(g, x.len(), y.len())?;
    T::max_values(x, y, g);
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

/// What is done to a band: band, input volume, rows of the output.
type Work<'a, T, U> = dyn Fn(&Band<'_>, &[T], &mut [U]) + Sync + 'a;

/// Calls `f(band, input volume, band of the output)` for bands that cover `out`, whose volumes have
/// the extents `dims`.
fn bands<T: Sync, U: Send>(
    g: &PoolGeometry,
    input: &[T],
    out: &mut [U],
    dims: [usize; 3],
    f: &Work<'_, T, U>,
) {
    if out.is_empty() {
        return;
    }
    let [depth, height, width] = dims;
    let volume = input.len() / g.planes;
    let pitch = pitch(&g.windows[2]);
    // Rows of a band: what fits the first-level cache together with the frame, in even parts.
    let row = if scattered(&g.windows[2]) {
        (volume / (depth * height)).max(1)
    } else {
        pitch * g.windows[2].stride * g.windows[1].stride.min(g.windows[1].input)
    };
    let most = (BAND / row).max(1);
    let rows = height.div_ceil(height.div_ceil(most));
    let per_plane = height.div_ceil(rows);
    let units = g.planes * depth * per_plane;
    let each = (TASK / (rows * row)).clamp(1, units);
    let out = SendPtr::new(out.as_mut_ptr());
    parallel_for(units.div_ceil(each), &|task| {
        for unit in task * each..((task + 1) * each).min(units) {
            let (plane, y) = (unit / per_plane, unit % per_plane * rows);
            let count = rows.min(height - y);
            // SAFETY: the band's rows belong to this task.
            let to = unsafe { out.slice((plane * height + y) * width, count * width) };
            let band = Band { g, z: plane % depth, rows: y..y + count, pitch };
            f(&band, &input[plane / depth * volume..][..volume], to);
        }
    });
}

fn max<T: BandOps>(x: &[T], index: &mut [i64], g: &PoolGeometry) {
    if scattered(&g.windows[2]) {
        return bands(g, x, index, g.windows.map(|w| w.output), &|band, x, out| {
            out.fill(-1);
            let start = (band.z * g.windows[1].output + band.rows.start) * g.windows[2].output;
            each_tap(g, band.z, band.rows.clone(), |i, o| {
                let at = &mut out[o - start];
                if *at < 0 || x[i] > x[*at as usize] || x[i].is_nan() {
                    *at = i as i64;
                }
            });
        });
    }
    bands(g, x, index, g.windows.map(|w| w.output), &|band, x, out| T::max_band(band, x, out));
}

fn max_values<T: BandOps>(x: &[T], y: &mut [T], g: &PoolGeometry) {
    if scattered(&g.windows[2]) {
        return bands(g, x, y, g.windows.map(|w| w.output), &|band, x, out| {
            out.fill(T::LOWEST);
            let start = (band.z * g.windows[1].output + band.rows.start) * g.windows[2].output;
            each_tap(g, band.z, band.rows.clone(), |i, o| {
                if x[i] > out[o - start] || x[i].is_nan() {
                    out[o - start] = x[i];
                }
            });
        });
    }
    bands(g, x, y, g.windows.map(|w| w.output), &|band, x, out| T::max_value_band(band, x, out));
}

fn sum<T: BandOps>(x: &[T], y: &mut [T], g: &PoolGeometry) {
    if scattered(&g.windows[2]) {
        return bands(g, x, y, g.windows.map(|w| w.output), &|band, x, out| {
            out.fill(T::ZERO);
            let start = (band.z * g.windows[1].output + band.rows.start) * g.windows[2].output;
            each_tap(g, band.z, band.rows.clone(), |i, o| out[o - start] += x[i]);
        });
    }
    bands(g, x, y, g.windows.map(|w| w.output), &|band, x, y| T::sum_band(band, x, y));
}

fn sum_grad<T: BandOps>(dy: &[T], dx: &mut [T], g: &PoolGeometry) {
    if dy.is_empty() {
        return dx.fill(T::ZERO);
    }
    let [wz, wy, wx] = &g.windows;
    if scattered(wx) {
        // Whole volumes, since windows of several rows meet in one input row.
        let (input, output) = (wz.input * wy.input * wx.input, wz.output * wy.output * wx.output);
        return parallel_chunks(dx, input, &|plane, dx| {
            dx.fill(T::ZERO);
            let dy = &dy[plane * output..][..output];
            (0..wz.output).for_each(|z| each_tap(g, z, 0..wy.output, |i, o| dx[i] += dy[o]));
        });
    }
    bands(g, dy, dx, g.windows.map(|w| w.input), &|band, dy, dx| T::grad_band(band, dy, dx));
}

macro_rules! pool {
    ($($t:ty),*) => {$(
        impl Pool for $t {
            fn max(x: &[$t], index: &mut [i64], g: &PoolGeometry) {
                max(x, index, g)
            }
            fn max_values(x: &[$t], y: &mut [$t], g: &PoolGeometry) {
                max_values(x, y, g)
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
            fn max_values(x: &[$t], y: &mut [$t], g: &PoolGeometry) {
                rounded(y, |y| max_values(widened(x).slice(), y, g))
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
