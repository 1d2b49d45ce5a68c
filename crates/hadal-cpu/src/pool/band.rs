//! Bands of rows, and what is done to them.

use super::halve::{self, Halve};
use super::pairs;
use crate::gemm::real::Real;
use crate::scratch::Scratch;
use crate::simd::{Level, level};
use hadal_core::ops::{PoolGeometry, Window};
use std::ops::Range;

/// A band of rows of one volume's plane, and the working rows it needs.
///
/// Rows are worked on in a padded frame: result column `q` and tap `k` meet at frame column `q *
/// stride + k * dilation`, and frame rows are `stride * pitch` long for result rows of `pitch`, so
/// that whole bands are single loops: frame element `(row, column)` of result element `q` is `q *
/// stride + k * dilation` for `q` over all rows at once.
pub(crate) struct Band<'a> {
    pub g: &'a PoolGeometry,
    /// Depth of the result, and its rows.
    pub z: usize,
    pub rows: Range<usize>,
    /// Length of a working row of the output side.
    pub pitch: usize,
}

/// Working rows are a whole number of these.
const ROUND: usize = 8;

/// The pitch of the output side.
pub(super) fn pitch(w: &Window) -> usize {
    let need = w.output.saturating_sub(1) * w.stride + w.reach();
    need.div_ceil(w.stride).next_multiple_of(ROUND)
}

/// The input index of tap `k` of window `o`, if it is on the input.
pub(super) fn tap(w: &Window, o: usize, k: usize) -> Option<usize> {
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

/// The input rows of a band in their frame, split into phases: element `t` of phase `r` is frame
/// element `t * stride + r`. Tap `k` of result `q` is then element `q + k * dilation / stride` of
/// phase `k * dilation % stride`, contiguous in `q`.
struct Phases<T: BandOps> {
    buffer: Scratch<T>,
    frame: Scratch<T>,
    /// Elements of a phase that are written, and distance of the phases.
    n: usize,
    apart: usize,
    stride: usize,
}

impl<T: BandOps> Phases<T> {
    fn new(n: usize, w: &Window) -> Self {
        // Taps of the last results read on past the end; what they find there is not used.
        let apart = (n + w.reach() / w.stride).next_multiple_of(ROUND);
        let frame = if w.stride > 1 { n * w.stride } else { 0 };
        Phases {
            buffer: Scratch::new(apart * w.stride),
            frame: Scratch::new(frame),
            n,
            apart,
            stride: w.stride,
        }
    }

    #[inline(always)]
    fn fill(&mut self, band: &Band<'_>, x: &[T], rows: Range<usize>, pad: T) {
        if self.stride == 1 {
            return band.frame(x, rows, pad, &mut self.buffer.slice()[..self.n]);
        }
        let (frame, buffer) = (self.frame.slice(), self.buffer.slice());
        band.frame(x, rows, pad, frame);
        if self.stride == 2 {
            let (even, odd) = buffer.split_at_mut(self.apart);
            return T::split_pairs(frame, &mut even[..self.n], &mut odd[..self.n]);
        }
        for (r, phase) in buffer.chunks_exact_mut(self.apart).enumerate() {
            phase.iter_mut().zip(frame[r..].iter().step_by(self.stride)).for_each(|(p, &f)| *p = f);
        }
    }

    /// The elements of a tap, which is `at` frame elements from the first.
    #[inline(always)]
    fn tap(&mut self, at: usize) -> &[T] {
        &self.buffer.slice()[at % self.stride * self.apart + at / self.stride..][..self.n]
    }
}

/// Adds one row to another, both a whole multiple of [`ROUND`] long.
#[inline(always)]
fn add<T: Real>(to: &mut [T], from: &[T]) {
    for (to, from) in to.as_chunks_mut::<ROUND>().0.iter_mut().zip(from.as_chunks::<ROUND>().0) {
        // Loaded before anything is stored, so that the compiler need not fear that they overlap.
        let (mut sum, from) = (*to, *from);
        (0..ROUND).for_each(|i| sum[i] += from[i]);
        *to = sum;
    }
}

/// Takes values into `best`, and their marks plus `base` into `marks`, where they are larger or NaN.
/// All rows are a whole multiple of [`ROUND`] long.
#[inline(always)]
fn take<T: Real>(best: &mut [T], marks: &mut [u32], values: &[T], new: &[u32], base: u32) {
    let n = best.len();
    let (marks, values, new) = (&mut marks[..n], &values[..n], &new[..n]);
    for i in 0..n {
        let (b, v) = (best[i], values[i]);
        let better = (v > b) | v.is_nan();
        best[i] = if better { v } else { b };
        marks[i] = if better { new[i].wrapping_add(base) } else { marks[i] };
    }
}

/// Takes values into `best` where they are larger or NaN. Both are as long.
#[inline(always)]
fn take_values<T: Real>(best: &mut [T], values: &[T]) {
    for (b, &v) in best.iter_mut().zip(values) {
        *b = if (v > *b) | v.is_nan() { v } else { *b };
    }
}

/// Whether bands would waste more than they save: few outputs in a row, or padding far wider than the
/// input. Such pools run window by window.
pub(super) fn scattered(w: &Window) -> bool {
    w.output < 4 || pitch(w) * w.stride > 8 * (w.input + 64)
}

/// Calls `f(place in the input plane, place in the output plane)` for the taps of the output rows
/// `rows` of depth `z`, in row-major order of windows and taps.
#[inline(always)]
pub(super) fn each_tap(g: &PoolGeometry, z: usize, rows: Range<usize>, mut f: impl FnMut(usize, usize)) {
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
pub(crate) trait BandOps: Real {
    /// Elements 0, 2, 4, … and 1, 3, 5, … of twice as many.
    fn split_pairs(from: &[Self], even: &mut [Self], odd: &mut [Self]);
    /// The inverse of [`BandOps::split_pairs`].
    fn join_pairs(even: &[Self], odd: &[Self], to: &mut [Self]);
    /// The loops along rows of these windows, if there are quick ones.
    fn halve(w: &Window) -> Option<Halve<Self>>;
    /// `x` is the input plane; `out` the band's rows.
    fn max_band(band: &Band<'_>, x: &[Self], out: &mut [i64]);
    /// The maxima themselves.
    fn max_value_band(band: &Band<'_>, x: &[Self], out: &mut [Self]);
    fn sum_band(band: &Band<'_>, x: &[Self], out: &mut [Self]);
    /// The band counts input rows; `dy` is the output plane, `out` the band's rows of the input.
    fn grad_band(band: &Band<'_>, dy: &[Self], out: &mut [Self]);
}

#[inline(always)]
fn max_band<T: BandOps>(band: &Band<'_>, x: &[T], out: &mut [i64]) {
    let [wz, wy, wx] = &band.g.windows;
    let (p, from) = (band.pitch, band.input_rows());
    let n = from.len() * p;
    let mut phases = Phases::<T>::new(n, wx);
    let (mut row_best, mut row_tap) = (Scratch::<T>::new(n), Scratch::<u32>::new(n));
    let (row_best, row_tap) = (row_best.slice(), row_tap.slice());
    let mut zeros = Scratch::<u32>::new(n);
    let zeros = zeros.slice();
    zeros.fill(0);
    let zeros = &*zeros;
    let total = band.rows.len() * p;
    let (mut best, mut place) = (Scratch::<T>::new(total), Scratch::<u32>::new(total));
    let (best, place) = (best.slice(), place.slice());
    best.fill(T::LOWEST);
    place.fill(0);
    for kz in 0..wz.kernel {
        let Some(z) = tap(wz, band.z, kz) else { continue };
        let plane = z * wy.input * wx.input;
        phases.fill(band, &x[plane..], from.clone(), T::LOWEST);
        // Along the rows first, then down: ties and NaN then fall as in row-major order.
        row_best.copy_from_slice(phases.tap(0));
        row_tap.fill(0);
        for tap in (1..wx.kernel).map(|k| k * wx.dilation) {
            take(row_best, row_tap, phases.tap(tap), zeros, tap as u32);
        }
        for (r, y) in band.rows.clone().enumerate() {
            let (best, place) = (&mut best[r * p..][..p], &mut place[r * p..][..p]);
            for ky in 0..wy.kernel {
                let Some(iy) = tap(wy, y, ky) else { continue };
                let at = (iy - from.start) * p;
                let base = (plane + iy * wx.input) as u32;
                take(best, place, &row_best[at..][..p], &row_tap[at..][..p], base);
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

/// In the order of [`max_band`], so that of equal values (zeros of both signs) the same wins.
#[inline(always)]
fn max_value_band<T: BandOps>(band: &Band<'_>, x: &[T], out: &mut [T]) {
    let [wz, wy, wx] = &band.g.windows;
    let (p, from) = (band.pitch, band.input_rows());
    let n = from.len() * p;
    let mut phases = Phases::<T>::new(n, wx);
    let mut row_best = Scratch::<T>::new(n);
    let row_best = row_best.slice();
    out.fill(T::LOWEST);
    if let Some(halve) = T::halve(wx) {
        let mut line = Scratch::<T>::new(halve::line_len(wx));
        for kz in 0..wz.kernel {
            let Some(z) = tap(wz, band.z, kz) else { continue };
            let from = &x[z * wy.input * wx.input..][..wy.input * wx.input];
            halve::rows(wx, from, band.input_rows(), T::LOWEST, line.slice(), halve.max, p, row_best);
            for (y, out) in band.rows.clone().zip(out.chunks_exact_mut(wx.output)) {
                for iy in (0..wy.kernel).filter_map(|ky| tap(wy, y, ky)) {
                    take_values(out, &row_best[(iy - band.input_rows().start) * p..][..wx.output]);
                }
            }
        }
        return;
    }
    for kz in 0..wz.kernel {
        let Some(z) = tap(wz, band.z, kz) else { continue };
        phases.fill(band, &x[z * wy.input * wx.input..], from.clone(), T::LOWEST);
        row_best.copy_from_slice(phases.tap(0));
        for tap in (1..wx.kernel).map(|k| k * wx.dilation) {
            take_values(row_best, phases.tap(tap));
        }
        for (y, out) in band.rows.clone().zip(out.chunks_exact_mut(wx.output)) {
            for iy in (0..wy.kernel).filter_map(|ky| tap(wy, y, ky)) {
                take_values(out, &row_best[(iy - from.start) * p..][..wx.output]);
            }
        }
    }
}

#[inline(always)]
fn sum_band<T: BandOps>(band: &Band<'_>, x: &[T], out: &mut [T]) {
    let [wz, wy, wx] = &band.g.windows;
    let (p, from) = (band.pitch, band.input_rows());
    let n = from.len() * p;
    let mut phases = Phases::<T>::new(n, wx);
    let (mut row, mut sums) = (Scratch::<T>::new(n), Scratch::<T>::new(band.rows.len() * p));
    let (row, sums) = (row.slice(), sums.slice());
    if let Some(halve) = T::halve(wx) {
        let mut line = Scratch::<T>::new(halve::line_len(wx));
        out.fill(T::ZERO);
        for kz in 0..wz.kernel {
            let Some(z) = tap(wz, band.z, kz) else { continue };
            let plane = &x[z * wy.input * wx.input..][..wy.input * wx.input];
            halve::rows(wx, plane, from.clone(), T::ZERO, line.slice(), halve.sum, p, row);
            for (y, out) in band.rows.clone().zip(out.chunks_exact_mut(wx.output)) {
                for iy in (0..wy.kernel).filter_map(|ky| tap(wy, y, ky)) {
                    let row = &row[(iy - from.start) * p..][..wx.output];
                    out.iter_mut().zip(row).for_each(|(o, &v)| *o += v);
                }
            }
        }
        return;
    }
    sums.fill(T::ZERO);
    for kz in 0..wz.kernel {
        let Some(z) = tap(wz, band.z, kz) else { continue };
        phases.fill(band, &x[z * wy.input * wx.input..], from.clone(), T::ZERO);
        row.copy_from_slice(phases.tap(0));
        for tap in (1..wx.kernel).map(|k| k * wx.dilation) {
            add(row, phases.tap(tap));
        }
        for (r, y) in band.rows.clone().enumerate() {
            for ky in 0..wy.kernel {
                let Some(iy) = tap(wy, y, ky) else { continue };
                add(&mut sums[r * p..][..p], &row[(iy - from.start) * p..][..p]);
            }
        }
    }
    for (out, sums) in out.chunks_exact_mut(wx.output).zip(sums.chunks_exact(p)) {
        out.copy_from_slice(&sums[..wx.output]);
    }
}

#[inline(always)]
fn grad_band<T: BandOps>(band: &Band<'_>, dy: &[T], out: &mut [T]) {
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
    let mut phases = Scratch::<T>::new(n * s);
    let phases = phases.slice();
    for (r, phase) in phases.chunks_exact_mut(n).enumerate() {
        phase.fill(T::ZERO);
        for k in (0..wx.kernel).filter(|k| k * wx.dilation % s == r) {
            add(phase, &down[margin - k * wx.dilation / s..][..n]);
        }
    }
    let frame = match s {
        1 => &*phases,
        2 => {
            let (even, odd) = phases.split_at(n);
            T::join_pairs(even, odd, frame);
            &*frame
        }
        _ => {
            for (r, phase) in phases.chunks_exact(n).enumerate() {
                frame[r..].iter_mut().step_by(s).zip(phase).for_each(|(f, &v)| *f = v);
            }
            &*frame
        }
    };
    let covered = (p * s).saturating_sub(wx.pad_lo).min(wx.input);
    for (out, frame) in out.chunks_exact_mut(wx.input).zip(frame.chunks_exact(p * s)) {
        out[..covered].copy_from_slice(&frame[wx.pad_lo.min(p * s)..][..covered]);
        out[covered..].fill(T::ZERO);
    }
}

macro_rules! band_ops {
    ($t:ty, $pairs:ident, $halve:ident, $($name:ident($out:ty)),*) => {
        impl BandOps for $t {
            fn halve(w: &Window) -> Option<Halve<$t>> {
                halve::$halve(w)
            }
            fn split_pairs(from: &[$t], even: &mut [$t], odd: &mut [$t]) {
                #[cfg(target_arch = "x86_64")]
                if level() >= Level::Avx2 {
                    // SAFETY: this level includes AVX2.
                    return unsafe { pairs::$pairs::split(from, even, odd) };
                }
                pairs::split(from, even, odd)
            }
            fn join_pairs(even: &[$t], odd: &[$t], to: &mut [$t]) {
                #[cfg(target_arch = "x86_64")]
                if level() >= Level::Avx2 {
                    // SAFETY: as above.
                    return unsafe { pairs::$pairs::join(even, odd, to) };
                }
                pairs::join(even, odd, to)
            }
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
band_ops!(f32, avx2_f32, of_f32, max_band(i64), max_value_band(f32), sum_band(f32), grad_band(f32));
band_ops!(f64, avx2_f64, of_f64, max_band(i64), max_value_band(f64), sum_band(f64), grad_band(f64));
