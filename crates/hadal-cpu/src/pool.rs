//! Pooling of one to three dimensions: where the maximum is, sums over windows, and their adjoint.
//!
//! Arrays are contiguous: `planes` volumes of depth, height, width. Windows are taken apart into a
//! part along the rows and a part across them; both run over whole bands of rows, which vectorises.
//! Bands are shared among threads.

use crate::gemm::real::{Real, Source};
use crate::scratch::Scratch;
use crate::simd::{Level, level};
use crate::threads::{SendPtr, parallel_chunks, parallel_for};
use hadal_core::Element;
use hadal_core::ops::{PoolGeometry, Window};
use half::{bf16, f16};
use std::ops::Range;

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

/// A band of rows of one volume's plane, and the working rows it needs.
///
/// Rows are worked on in a padded frame: result column `q` and tap `k` meet at frame column `q *
/// stride + k * dilation`, and frame rows are `stride * pitch` long for result rows of `pitch`, so
/// that whole bands are single loops: frame element `(row, column)` of result element `q` is `q *
/// stride + k * dilation` for `q` over all rows at once.
struct Band<'a> {
    g: &'a PoolGeometry,
    /// Depth of the result, and its rows.
    z: usize,
    rows: Range<usize>,
    /// Length of a working row of the output side.
    pitch: usize,
}

/// Working rows are a whole number of these.
const ROUND: usize = 8;

/// The pitch of the output side.
fn pitch(w: &Window) -> usize {
    let need = w.output.saturating_sub(1) * w.stride + w.reach();
    need.div_ceil(w.stride).next_multiple_of(ROUND)
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

impl Band<'_> {
    /// The input rows under the band's windows.
    fn input_rows(&self) -> Range<usize> {
        let w = &self.g.windows[1];
        let start = (self.rows.start * w.stride).saturating_sub(w.pad_lo).min(w.input);
        let end = ((self.rows.end - 1) * w.stride + w.reach()).saturating_sub(w.pad_lo).min(w.input);
        start..end.max(start)
    }

    /// Copies input rows into the frame; what lies outside the input becomes `pad`.
    #[inline(always)]
    fn frame<T: Real>(&self, x: &[T], rows: Range<usize>, pad: T, frame: &mut [T]) {
        let w = &self.g.windows[2];
        let len = self.pitch * w.stride;
        let n = w.input.min(len - w.pad_lo.min(len));
        for (row, to) in rows.zip(frame.chunks_exact_mut(len)) {
            let (before, rest) = to.split_at_mut(w.pad_lo.min(len));
            before.fill(pad);
            rest[..n].copy_from_slice(&x[row * w.input..][..n]);
            rest[n..].fill(pad);
        }
    }

    /// The place in the plane of the first input element under a window.
    fn first_place(&self, y: usize, column: usize) -> i64 {
        let [wz, wy, wx] = &self.g.windows;
        let first = |w: &Window, o: usize| (0..w.kernel).find_map(|k| tap(w, o, k)).unwrap_or(0);
        ((first(wz, self.z) * wy.input + first(wy, y)) * wx.input + first(wx, column)) as i64
    }
}

/// `f(i, from[i * stride])` for all `i < n`, with the usual strides as constants, which vectorises.
#[inline(always)]
fn strided<T: Copy>(from: &[T], n: usize, stride: usize, mut f: impl FnMut(usize, T)) {
    #[inline(always)]
    fn fixed<const S: usize, T: Copy>(from: &[T], n: usize, f: &mut impl FnMut(usize, T)) {
        let from = &from[..n * S - (S - 1)];
        for i in 0..n {
            f(i, from[i * S]);
        }
    }
    match stride {
        _ if n == 0 => {}
        1 => fixed::<1, T>(from, n, &mut f),
        2 => fixed::<2, T>(from, n, &mut f),
        3 => fixed::<3, T>(from, n, &mut f),
        4 => fixed::<4, T>(from, n, &mut f),
        s => from.iter().step_by(s).take(n).enumerate().for_each(|(i, &v)| f(i, v)),
    }
}

/// Zips two rows of whole multiples of [`ROUND`].
#[inline(always)]
fn rounds<T, U>(a: &mut [T], b: &[U], f: impl Fn(&mut T, &U)) {
    let (a, b) = (a.as_chunks_mut::<ROUND>().0, b.as_chunks::<ROUND>().0);
    for (a, b) in a.iter_mut().zip(b) {
        for i in 0..ROUND {
            f(&mut a[i], &b[i]);
        }
    }
}

/// Whether bands would waste more than they save: few outputs in a row, or padding far wider than the
/// input. Such pools run window by window.
fn scattered(w: &Window) -> bool {
    w.output < 4 || pitch(w) * w.stride > 8 * (w.input + 64)
}

/// Calls `f(place in the input plane, place in the output plane)` for the taps of the output rows
/// `rows` of depth `z`, in row-major order of windows and taps.
#[inline(always)]
fn each_tap(g: &PoolGeometry, z: usize, rows: Range<usize>, mut f: impl FnMut(usize, usize)) {
    let [wz, wy, wx] = &g.windows;
    for y in rows {
        for x in 0..wx.output {
            let out = (z * wy.output + y) * wx.output + x;
            for kz in 0..wz.kernel {
                let Some(iz) = tap(wz, z, kz) else { continue };
                for ky in 0..wy.kernel {
                    let Some(iy) = tap(wy, y, ky) else { continue };
                    let row = (iz * wy.input + iy) * wx.input;
                    (0..wx.kernel).filter_map(|k| tap(wx, x, k)).for_each(|ix| f(row + ix, out));
                }
            }
        }
    }
}

/// The loops over a band, compiled once per instruction set.
trait BandOps: Real {
    /// `x` is the input plane; `out` the band's rows.
    fn max_band(band: &Band<'_>, x: &[Self], out: &mut [i64]);
    fn sum_band(band: &Band<'_>, x: &[Self], out: &mut [Self]);
    /// The band counts input rows; `dy` is the output plane, `out` the band's rows of the input.
    fn grad_band(band: &Band<'_>, dy: &[Self], out: &mut [Self]);
}

#[inline(always)]
fn max_band<T: Real>(band: &Band<'_>, x: &[T], out: &mut [i64]) {
    let [wz, wy, wx] = &band.g.windows;
    let (p, from) = (band.pitch, band.input_rows());
    let n = from.len() * p;
    let mut frame = Scratch::<T>::new(n * wx.stride + wx.reach());
    let (mut row_best, mut row_tap) = (Scratch::<T>::new(n), Scratch::<u32>::new(n));
    let (frame, row_best, row_tap) = (frame.slice(), row_best.slice(), row_tap.slice());
    let total = band.rows.len() * p;
    let (mut best, mut place) = (Scratch::<T>::new(total), Scratch::<u32>::new(total));
    let (best, place) = (best.slice(), place.slice());
    best.fill(T::LOWEST);
    place.fill(0);
    let better = |v: T, b: T| (v > b) | (v != v);
    for kz in 0..wz.kernel {
        let Some(z) = tap(wz, band.z, kz) else { continue };
        let plane = z * wy.input * wx.input;
        band.frame(&x[plane..], from.clone(), T::LOWEST, frame);
        // Along the rows first, then down: ties and NaN then fall as in row-major order.
        strided(frame, n, wx.stride, |i, v| {
            row_best[i] = v;
            row_tap[i] = 0;
        });
        for k in 1..wx.kernel {
            let (row_best, row_tap) = (&mut row_best[..n], &mut row_tap[..n]);
            strided(&frame[k * wx.dilation..], n, wx.stride, |i, v| {
                let take = better(v, row_best[i]);
                row_best[i] = if take { v } else { row_best[i] };
                row_tap[i] = if take { (k * wx.dilation) as u32 } else { row_tap[i] };
            });
        }
        for (r, y) in band.rows.clone().enumerate() {
            let (best, place) = (&mut best[r * p..][..p], &mut place[r * p..][..p]);
            for ky in 0..wy.kernel {
                let Some(iy) = tap(wy, y, ky) else { continue };
                let at = (iy - from.start) * p;
                let base = (plane + iy * wx.input) as u32;
                let (values, taps) = (&row_best[at..][..p], &row_tap[at..][..p]);
                for i in (0..p).step_by(ROUND) {
                    for i in i..i + ROUND {
                        let take = better(values[i], best[i]);
                        best[i] = if take { values[i] } else { best[i] };
                        place[i] = if take { base + taps[i] } else { place[i] };
                    }
                }
            }
        }
    }
    for (r, (y, out)) in band.rows.clone().zip(out.chunks_exact_mut(wx.output)).enumerate() {
        let best = &best[r * p..][..wx.output];
        for (i, (o, &at)) in out.iter_mut().zip(&place[r * p..]).enumerate() {
            *o = at as i64 + (i * wx.stride) as i64 - wx.pad_lo as i64;
        }
        // Only minus infinity under the window: nothing was better than the start.
        if best.contains(&T::LOWEST) {
            for i in (0..best.len()).filter(|&i| best[i] == T::LOWEST) {
                out[i] = band.first_place(y, i);
            }
        }
    }
}

#[inline(always)]
fn sum_band<T: Real>(band: &Band<'_>, x: &[T], out: &mut [T]) {
    let [wz, wy, wx] = &band.g.windows;
    let (p, from) = (band.pitch, band.input_rows());
    let n = from.len() * p;
    let mut frame = Scratch::<T>::new(n * wx.stride + wx.reach());
    let (mut row, mut sums) = (Scratch::<T>::new(n), Scratch::<T>::new(band.rows.len() * p));
    let (frame, row, sums) = (frame.slice(), row.slice(), sums.slice());
    sums.fill(T::ZERO);
    for kz in 0..wz.kernel {
        let Some(z) = tap(wz, band.z, kz) else { continue };
        band.frame(&x[z * wy.input * wx.input..], from.clone(), T::ZERO, frame);
        strided(frame, n, wx.stride, |i, v| row[i] = v);
        for k in 1..wx.kernel {
            let row = &mut row[..n];
            strided(&frame[k * wx.dilation..], n, wx.stride, |i, v| row[i] += v);
        }
        for (r, y) in band.rows.clone().enumerate() {
            for ky in 0..wy.kernel {
                let Some(iy) = tap(wy, y, ky) else { continue };
                rounds(&mut sums[r * p..][..p], &row[(iy - from.start) * p..][..p], |s, &v| *s += v);
            }
        }
    }
    for (out, sums) in out.chunks_exact_mut(wx.output).zip(sums.chunks_exact(p)) {
        out.copy_from_slice(&sums[..wx.output]);
    }
}

#[inline(always)]
fn grad_band<T: Real>(band: &Band<'_>, dy: &[T], out: &mut [T]) {
    let [wz, wy, wx] = &band.g.windows;
    let (p, s) = (band.pitch, wx.stride);
    let n = band.rows.len() * p;
    // Room for the largest shift before the first row.
    let margin = (wx.reach() / s).next_multiple_of(ROUND);
    let mut down = Scratch::<T>::new(margin + n);
    let down = down.slice();
    down.fill(T::ZERO);
    for (r, iy) in band.rows.clone().enumerate() {
        let row = &mut down[margin + r * p..][..wx.output];
        for kz in 0..wz.kernel {
            let Some(z) = window_at(wz, band.z, kz) else { continue };
            for ky in 0..wy.kernel {
                let Some(y) = window_at(wy, iy, ky) else { continue };
                let dy = &dy[(z * wy.output + y) * wx.output..][..wx.output];
                row.iter_mut().zip(dy).for_each(|(d, &v)| *d += v);
            }
        }
    }
    // Frame column `t * s + r` gets the columns `t - k * dilation / s` of the taps with `k * dilation
    // % s == r`.
    let mut frame = Scratch::<T>::new(n * s);
    let frame = frame.slice();
    let mut phase = Scratch::<T>::new(n);
    let phase = phase.slice();
    for r in 0..s {
        phase.fill(T::ZERO);
        for k in (0..wx.kernel).filter(|k| k * wx.dilation % s == r) {
            rounds(phase, &down[margin - k * wx.dilation / s..][..n], |d, &v| *d += v);
        }
        match s {
            1 => frame.copy_from_slice(phase),
            2 => frame.as_chunks_mut::<2>().0.iter_mut().zip(&*phase).for_each(|(f, &v)| f[r] = v),
            _ => frame[r..].iter_mut().step_by(s).zip(&*phase).for_each(|(f, &v)| *f = v),
        }
    }
    let covered = (p * s).saturating_sub(wx.pad_lo).min(wx.input);
    for (out, frame) in out.chunks_exact_mut(wx.input).zip(frame.chunks_exact(p * s)) {
        out[..covered].copy_from_slice(&frame[wx.pad_lo.min(p * s)..][..covered]);
        out[covered..].fill(T::ZERO);
    }
}

macro_rules! band_ops {
    ($t:ty, $($name:ident($out:ty)),*) => {
        impl BandOps for $t {
            $(
                fn $name(band: &Band<'_>, x: &[$t], out: &mut [$out]) {
                    #[cfg(target_arch = "x86_64")]
                    {
                        #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
                        fn avx512(band: &Band<'_>, x: &[$t], out: &mut [$out]) {
                            $name::<$t>(band, x, out)
                        }
                        #[target_feature(enable = "avx2,fma")]
                        fn avx2(band: &Band<'_>, x: &[$t], out: &mut [$out]) {
                            $name::<$t>(band, x, out)
                        }
                        match level() {
                            // SAFETY: the level says that the machine has the instructions.
                            Level::Avx512 => return unsafe { avx512(band, x, out) },
                            // SAFETY: as above.
                            Level::Avx2 => return unsafe { avx2(band, x, out) },
                            Level::Portable => {}
                        }
                    }
                    $name::<$t>(band, x, out)
                }
            )*
        }
    };
}
band_ops!(f32, max_band(i64), sum_band(f32), grad_band(f32));
band_ops!(f64, max_band(i64), sum_band(f64), grad_band(f64));

/// Calls `f(band, input volume, band of the output)` for bands that cover `out`, whose volumes have
/// the extents `dims`.
fn bands<T: Sync, U: Send>(
    g: &PoolGeometry,
    input: &[T],
    out: &mut [U],
    dims: [usize; 3],
    f: &(dyn Fn(&Band<'_>, &[T], &mut [U]) + Sync),
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
                if *at < 0 || x[i] > x[*at as usize] || x[i] != x[i] {
                    *at = i as i64;
                }
            });
        });
    }
    bands(g, x, index, g.windows.map(|w| w.output), &|band, x, out| T::max_band(band, x, out));
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
