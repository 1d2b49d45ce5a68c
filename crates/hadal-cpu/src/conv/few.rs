//! Convolutions of few pixels and many channels, with result channels along the lanes of vectors.
//!
//! Planes of 7 columns fill vectors badly, and their weights are most of what is read. Here a vector is
//! some result channels of one pixel; pixels are broadcast. A tap's products run over just the pixels
//! at which it meets the source, so padding costs nothing. Weights are packed as
//! `[panel of results][tap][source channel][result]`, sources brought into the order
//! `[pixel][channel]`.

use super::correlate::Correlation;
use super::depth_kernel::{Depth, Rows};
use super::epilogue::apply;
use super::lanes::{MAX_EXTENT, Spots, WIDE};
use super::passes::Weights;
use super::winograd::KernelLayout;
use crate::gemm::kernel::{MAX_MR, Tile};
use crate::gemm::tables::Kernels;
use crate::scratch::Scratch;
use crate::threads::{SendPtr, parallel_for};
use hadal_core::ops::Window;

/// Vectors of a panel.
const NV: usize = 2;
/// Fewest channels of a group on either side.
const MIN_CHANNELS: usize = 32;
/// Source channels whose weights of a tap and panel stay in the first-level cache.
const K_BLOCK: usize = 128;
/// Elements between pixels beyond what they take, so that they do not share cache sets.
const APART: usize = 16;
/// Most elements of the sources: they are read from the second-level cache for each panel.
const MAX_SOURCES: usize = 1 << 18;

/// Pixels of a row that a tap meets: places in the result and in the source, at constant distances.
struct Row {
    tap: usize,
    to: usize,
    from: usize,
    count: usize,
    to_step: usize,
    from_step: usize,
}

/// A correlation of few pixels.
pub(super) struct Few<'a, T: 'static> {
    c: &'a Correlation<'a, T>,
    ks: &'static Kernels<T>,
    rows: Vec<Row>,
    taps: usize,
    /// Pixels of a source and of a result plane.
    pixels: [usize; 2],
    /// Estimated time.
    pub cycles: f64,
}

/// For each tap of a dimension, where it meets: result and source.
fn meetings(w: &Window, grad: bool) -> Option<Vec<Vec<[usize; 2]>>> {
    let mut taps = vec![Vec::new(); w.kernel.min(MAX_EXTENT)];
    for (to, met) in Spots::axis(w, grad)?.iter().enumerate() {
        met.iter().for_each(|m| taps[m.tap].push([to, m.pixel]));
    }
    Some(taps)
}

/// Asks for an element's cache line.
#[inline(always)]
fn prefetch<T>(element: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, for memory that is there.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(std::ptr::from_ref(element).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = element;
}

impl<'a, T: Depth> Few<'a, T> {
    /// The correlation, if it is one.
    pub fn new(c: &'a Correlation<'a, T>, windows: &[Window; 3], grad: bool) -> Option<Self> {
        let volume = |output: bool| {
            let sides = windows.iter().map(|w| if output { w.output } else { w.input });
            sides.fold(1, usize::saturating_mul)
        };
        let pixels = [volume(grad), volume(!grad)];
        let sources = c.images.saturating_mul(c.sources).saturating_mul(pixels[0]);
        if c.sources.min(c.results) < MIN_CHANNELS || sources > MAX_SOURCES {
            return None;
        }
        let [z, y, x] = windows;
        let (tz, ty, tx) = (meetings(z, grad)?, meetings(y, grad)?, meetings(x, grad)?);
        let (height, width) = if grad {
            ([y.output, y.input], [x.output, x.input])
        } else {
            ([y.input, y.output], [x.input, x.output])
        };
        let mut rows = Vec::new();
        let mut met = 0;
        for (kz, pairs) in tz.iter().enumerate() {
            for (ky, lines) in ty.iter().enumerate() {
                for (kx, columns) in tx.iter().enumerate() {
                    let Some(&[to, from]) = columns.first() else { continue };
                    let step = |side: usize| columns.get(1).map_or(1, |c| c[side] - columns[0][side]);
                    for &[tz, fz] in pairs {
                        for &[ty, fy] in lines {
                            rows.push(Row {
                                tap: (kz * y.kernel + ky) * x.kernel + kx,
                                to: (tz * height[1] + ty) * width[1] + to,
                                from: (fz * height[0] + fy) * width[0] + from,
                                count: columns.len(),
                                to_step: step(0),
                                from_step: step(1),
                            });
                            met += columns.len();
                        }
                    }
                }
            }
        }
        let taps = windows.iter().map(|w| w.kernel).product();
        let results = c.results.next_multiple_of(NV * WIDE);
        let cycles = (met * c.images) as f64 * (c.groups * c.sources * results) as f64 / WIDE as f64 / 0.9;
        Some(Few { c, ks: T::kernels(), rows, taps, pixels, cycles })
    }

    fn width(&self) -> usize {
        NV * self.ks.lanes
    }

    fn panels(&self) -> usize {
        self.c.results.div_ceil(self.width())
    }

    fn panel_len(&self) -> usize {
        self.taps * self.c.sources * self.width()
    }

    /// Elements of the packed weights.
    pub fn packed_len(&self) -> usize {
        self.c.groups * self.panels() * self.panel_len()
    }

    /// Packs weights, for any source.
    pub fn pack(&self, w: &[T], layout: KernelLayout, packed: &mut [T]) {
        let to = SendPtr::new(packed.as_mut_ptr());
        parallel_for(self.c.groups * self.panels(), &|t| {
            // SAFETY: the panel belongs to this task.
            let panel = unsafe { to.slice(t * self.panel_len(), self.panel_len()) };
            for s0 in (0..self.c.sources).step_by(K_BLOCK) {
                let n = K_BLOCK.min(self.c.sources - s0);
                self.pack_block(w, layout, t, (s0, n), &mut panel[s0 * self.width()..], self.c.sources);
            }
        });
    }

    /// Where the weights of result `r` of panel `t`, counted over all groups, and source `s` begin.
    fn weights_at(&self, layout: KernelLayout, t: usize, r: usize, s: usize) -> usize {
        let (group, first) = (t / self.panels(), t % self.panels() * self.width());
        let group = group * self.c.results * self.c.sources * self.taps;
        group + (first + r) * layout.result + s * layout.source
    }

    /// Results of panel `t`.
    fn count(&self, t: usize) -> usize {
        self.width().min(self.c.results - t % self.panels() * self.width())
    }

    /// Packs `n` sources from `s0` on of panel `t`: source `s` of a tap goes to row `tap * tap_rows + s -
    /// s0` of `to`.
    fn pack_block(
        &self,
        w: &[T],
        layout: KernelLayout,
        t: usize,
        (s0, n): (usize, usize),
        to: &mut [T],
        tap_rows: usize,
    ) {
        let (taps, width, count) = (self.taps, self.width(), self.count(t));
        let each = if layout.source == taps { n } else { 1 };
        let mut rows = Scratch::<T>::new(each * taps * width);
        let rows = rows.slice();
        for s in (0..n).step_by(each) {
            let from = &w[self.weights_at(layout, t, 0, s0 + s)..];
            debug_assert!((count - 1) * layout.result + each * taps <= from.len());
            // SAFETY: the weights of `count` results and `each` sources, each source's taps side by
            // side, lie inside; the destination has a row for each.
            unsafe {
                let lane = layout.result as isize;
                (self.ks.pack)(from.as_ptr(), lane, 1, count, width, each * taps, rows.as_mut_ptr());
            }
            for tap in 0..taps {
                let to = &mut to[(tap * tap_rows + s) * width..][..each * width];
                // SAFETY: every `taps`-th row of those just made, and as many of the panel.
                unsafe {
                    (T::depth(width).copy_exact)(&Rows {
                        from: rows.as_ptr().add(tap * width),
                        from_row: taps * width,
                        to: to.as_mut_ptr(),
                        to_row: width,
                        rows: each,
                        cols: width,
                    });
                }
            }
        }
    }

    /// Asks for a part of the weights that the next block will pack: they come from far away, a piece of
    /// each result's row, and would be waited for.
    fn prefetch(&self, w: &[T], layout: KernelLayout, t: usize, s0: usize, (part, parts): (usize, usize)) {
        if s0 >= self.c.sources || layout.source != self.taps {
            return;
        }
        let len = K_BLOCK.min(self.c.sources - s0) * self.taps;
        let line = 64 / size_of::<T>();
        let (lines, count) = (len.div_ceil(line), self.count(t));
        for i in lines * count * part / parts..lines * count * (part + 1) / parts {
            let at = self.weights_at(layout, t, i / lines, s0) + i % lines * line;
            if let Some(element) = w.get(at) {
                prefetch(element);
            }
        }
    }

    /// Runs the correlation into `out`, `[images, groups, results, pixels]`. Plain weights are packed
    /// block by block, just before they are used.
    pub fn run(&self, weights: Weights<'_, T>, layout: KernelLayout, out: &mut [T]) {
        let (c, ks, width) = (self.c, self.ks, self.width());
        let ([from_pixels, to_pixels], row) = (self.pixels, c.sources + APART);
        let planes = c.images * c.groups;
        let mut sources = Scratch::<T>::new(planes * from_pixels * row);
        let sources = sources.slice();
        let to = SendPtr::new(sources.as_mut_ptr());
        let blocks = c.sources.div_ceil(K_BLOCK);
        parallel_for(planes * blocks, &|t| {
            let (plane, c0) = (t / blocks, t % blocks * K_BLOCK);
            let n = K_BLOCK.min(c.sources - c0);
            let from = &c.source[(plane * c.sources + c0) * from_pixels..][..n * from_pixels];
            let mut pixels = Scratch::<T>::new(n * from_pixels);
            let pixels = pixels.slice();
            // SAFETY: channels by pixels become pixels by channels; these channels of each pixel
            // belong to this task.
            unsafe {
                (ks.pack)(from.as_ptr(), from_pixels as isize, 1, n, n, from_pixels, pixels.as_mut_ptr());
                for (pixel, values) in pixels.chunks_exact(n).enumerate() {
                    to.slice((plane * from_pixels + pixel) * row + c0, n).copy_from_slice(values);
                }
            }
        });
        let sources = &*sources;
        let out = SendPtr::new(out.as_mut_ptr());
        let most = ks.max_mr[NV - 1];
        parallel_for(c.groups * self.panels(), &|t| {
            let (group, first) = (t / self.panels(), t % self.panels() * width);
            let count = width.min(c.results - first);
            let mut scratch = match weights {
                Weights::Packed(_) => Scratch::<T>::new(0),
                Weights::Plain(_) => Scratch::new(self.taps * K_BLOCK.min(c.sources) * width),
            };
            let len = to_pixels * width;
            let mut sums = Scratch::<T>::new(c.images * len);
            let sums = sums.slice();
            sums.fill(T::ZERO);
            let mut tile = Tile::<T>::empty();
            (tile.a_step, tile.b_step, tile.cols, tile.accumulate) = (1, width as isize, width, true);
            for k0 in (0..c.sources).step_by(K_BLOCK) {
                tile.k = K_BLOCK.min(c.sources - k0);
                let (block, tap_rows) = match weights {
                    Weights::Packed(packed) => {
                        (&packed[t * self.panel_len()..][..self.panel_len()][k0 * width..], c.sources)
                    }
                    Weights::Plain(w) => {
                        self.pack_block(w, layout, t, (k0, tile.k), scratch.slice(), tile.k);
                        (&*scratch.slice(), tile.k)
                    }
                };
                // A tap's rows follow each other: its weights stay in cache.
                for (i, r) in self.rows.iter().enumerate() {
                    if let Weights::Plain(w) = weights {
                        self.prefetch(w, layout, t, k0 + K_BLOCK, (i, self.rows.len()));
                    }
                    // SAFETY: the tap's weights lie inside the block, the pixels inside the sources and
                    // the sums, whose rows are whole vectors.
                    unsafe {
                        tile.b = block.as_ptr().add(r.tap * tap_rows * width);
                        tile.c_row = r.to_step * width;
                        let parts = r.count.div_ceil(most);
                        for image in 0..c.images {
                            let plane = (image * c.groups + group) * from_pixels;
                            for part in 0..parts {
                                let (lo, hi) = (r.count * part / parts, r.count * (part + 1) / parts);
                                let mut a_off = [0; MAX_MR];
                                for (i, o) in a_off[..hi - lo].iter_mut().enumerate() {
                                    *o = (i * r.from_step * row) as isize;
                                }
                                tile.a_off = a_off.as_ptr();
                                tile.a = sources.as_ptr().add((plane + r.from + lo * r.from_step) * row + k0);
                                tile.c = sums.as_mut_ptr().add(image * len + (r.to + lo * r.to_step) * width);
                                (ks.strided[NV - 1][hi - lo - 1])(&tile);
                            }
                        }
                    }
                }
            }
            for (image, sums) in sums.chunks_exact(len).enumerate() {
                let channel = group * c.results + first;
                let at = (image * c.groups * c.results + channel) * to_pixels;
                // SAFETY: pixels by results become results by pixels; these planes belong to this task.
                let planes = unsafe {
                    let planes = out.slice(at, count * to_pixels);
                    let to = planes.as_mut_ptr();
                    (ks.pack)(sums.as_ptr(), width as isize, 1, to_pixels, to_pixels, count, to);
                    planes
                };
                if !c.epilogue.is_none() {
                    for (i, plane) in planes.chunks_exact_mut(to_pixels).enumerate() {
                        apply(&c.epilogue, channel + i, at + i * to_pixels, plane);
                    }
                }
            }
        });
    }
}
