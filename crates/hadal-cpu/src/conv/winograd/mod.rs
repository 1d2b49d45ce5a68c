//! 3x3 convolutions of stride 1 by Winograd's algorithm F(4x4, 3x3) (Lavin and Gray, "Fast Algorithms
//! for Convolutional Neural Networks", 2015): 36 multiplications for 16 results instead of 144.
//!
//! Tiles of 6x6 source elements, 4 apart, are transformed; for each of the 36 transformed elements a
//! matrix product runs over channels; its results are transformed back. Tiles of several images go
//! together, so that small images make products as large as big ones. The weight gradient is the
//! adjoint: its products run over tiles.
//!
//! Rounding errors are larger than those of a direct sum: with entries between -1 and 1 they stay
//! below `60 eps` times the number of channels (of tiles, for the weight gradient), those of a direct
//! sum below a tenth of that; a test holds both to it. A NaN or an infinity spreads over all results of the tiles that read it. Hence
//! f32 only, and [`set_winograd`].

mod deal;
mod plane;
mod transform;
mod weight_grad;

use super::correlate::{Correlation, multiply};
use super::depth_kernel::{Depth, Rows};
use super::epilogue::{apply, apply_all};
use crate::gemm::tables::{Kernels, Shape};
use crate::scratch::Scratch;
use crate::threads::{SendPtr, parallel_for};
use hadal_core::ops::Window;
use plane::{Planes, Side, Unit};
use std::sync::atomic::{AtomicBool, Ordering};
use transform::{ELEMENTS, Filters, OUT, TAPS};
pub(super) use transform::{Transforms, transforms};
pub(super) use weight_grad::WeightGrad;

static ALLOWED: AtomicBool = AtomicBool::new(true);

/// Whether f32 convolutions may use Winograd's algorithm (they may, unless told otherwise). It is
/// about twice as fast as a direct sum and loses about one decimal digit. Results depend on this
/// setting, and on nothing else but shapes.
pub fn set_winograd(allowed: bool) {
    ALLOWED.store(allowed, Ordering::Relaxed);
}

/// Whether [`set_winograd`] allows it.
pub(super) fn allowed() -> bool {
    ALLOWED.load(Ordering::Relaxed)
}

/// Fewest channels of a group with which transforms are cheap enough.
const MIN_CHANNELS: usize = 16;
/// Fewer units than this are not shared among threads as a whole.
const MIN_UNITS: usize = 16;
/// Longest block of the sum over channels.
const K_BLOCK: usize = 768;
/// Elements by which the matrices of neighbouring elements of a tile are further apart than they
/// have to be: at multiples of 4 KiB they would share their cache sets.
const APART: usize = 16;

/// Estimated cycles for each pair of channels, if transforming is thought quicker than a direct sum.
fn pays(images: usize, tiles: usize, pixels: usize, channels: [usize; 2]) -> Option<f64> {
    if channels[0].min(channels[1]) < MIN_CHANNELS {
        return None;
    }
    let tiles = (images * tiles).next_multiple_of(16) as f64;
    // Nine multiply-adds for each of sixteen pixels, some of them for nothing.
    let direct = 9.0 / 16.0 * (images * pixels) as f64 / 0.85;
    // A product of 36 elements, and what transforms of a tile and of a kernel were measured to take.
    let per_tile = 36.0 / 16.0 / 0.9 + 80.0 * (1.0 / channels[0] as f64 + 1.0 / channels[1] as f64);
    let cycles = tiles * per_tile + 60.0;
    (direct > cycles).then_some(cycles)
}

/// A 3x3 correlation that is worth transforming.
pub(super) struct Winograd<'a, T> {
    c: &'a Correlation<'a, T>,
    planes: Planes,
    /// Height and width of the result.
    height: usize,
    width: usize,
    /// Estimated time.
    pub cycles: f64,
}

/// Gives where the kernel of a group's result 0 and source `s` begins, and whether taps are in
/// reverse order.
#[derive(Clone, Copy)]
pub(super) struct KernelLayout {
    /// Distance of the kernels of neighbouring results.
    pub result: usize,
    /// Distance of the kernels of neighbouring sources.
    pub source: usize,
    /// Whether the kernel is turned by half a turn.
    pub turned: bool,
}

/// Largest dilation: planes fall apart into as many parts, down and across.
const MAX_DILATION: usize = 8;

/// One dimension of a pass.
fn side(w: &Window, grad: bool) -> Option<Side> {
    let (dilation, reach) = (w.dilation, 2usize.checked_mul(w.dilation)?);
    let (from, to, pad) =
        if grad { (w.output, w.input, reach.checked_sub(w.pad_lo)?) } else { (w.input, w.output, w.pad_lo) };
    let fits = (w.kernel, w.stride) == (3, 1)
        && dilation <= MAX_DILATION
        && pad <= reach
        && to <= from + reach
        && to >= dilation;
    fits.then_some(Side { from, to, pad, dilation })
}

/// Tiles of an image, over all parts.
fn tiles(sides: &[Side; 2]) -> usize {
    sides.iter().map(|s| s.tiles() * s.dilation).product()
}

impl<'a, T: Depth> Winograd<'a, T> {
    /// The correlation, if it is one. `windows` are those of the forward pass, or with `grad` of the
    /// pass whose input gradient is wanted.
    pub fn new(c: &'a Correlation<'a, T>, windows: &[Window; 3], grad: bool) -> Option<Self> {
        T::winograd()?;
        let [z, y, x] = windows;
        if !allowed() || *z != Window::UNIT {
            return None;
        }
        let sides = [side(y, grad)?, side(x, grad)?];
        let [height, width] = sides.map(|s| s.to);
        let pair = pays(c.images, tiles(&sides), height * width, [c.sources, c.results])?;
        let cycles = pair * (c.groups * c.sources * c.results) as f64;
        // What products read and write of one unit stays in cache, beside the kernels or instead.
        let channels = c.sources + c.results;
        let budget = (ELEMENTS * c.sources * c.results / 2).clamp(1 << 19, 1 << 21);
        let planes = Planes::new(sides, c.images, budget / (ELEMENTS * channels));
        Some(Winograd { c, planes, height, width, cycles })
    }

    fn tiling(&self) -> (&'static Kernels<T>, Shape, usize, usize) {
        let ks = T::kernels();
        let shape = ks.shape(self.c.results, self.planes.most());
        let k = self.c.sources;
        (ks, shape, k.div_ceil(k.div_ceil(K_BLOCK)), self.c.results.div_ceil(shape.mr))
    }

    /// Distance of the matrices of transformed kernels.
    fn matrix(&self) -> usize {
        self.c.sources * self.c.results + APART
    }

    /// Elements of the transformed kernels.
    pub fn packed_len(&self) -> usize {
        self.c.groups * ELEMENTS * self.matrix()
    }

    /// Transforms the kernels, for any source.
    pub fn pack(&self, w: &[T], layout: KernelLayout, weights: &mut [T]) {
        let Some(transforms) = T::winograd() else { return };
        let (c, k, matrix) = (self.c, self.c.sources, self.matrix());
        let (ks, shape, kc, panels) = self.tiling();
        let shared = SendPtr::new(weights.as_mut_ptr());
        parallel_for(c.groups * panels, &|t| {
            let (group, first) = (t / panels, t % panels * shape.mr);
            let count = shape.mr.min(c.results - first);
            let width = count.next_multiple_of(transforms.lanes);
            // The taps of some sources, each tap a row of results.
            let mut rows = Scratch::<T>::new(SOURCES * TAPS * width);
            let rows = rows.slice();
            for s0 in (0..k).step_by(SOURCES) {
                let n = SOURCES.min(k - s0);
                let contiguous = layout.source == TAPS;
                for s in 0..if contiguous { 1 } else { n } {
                    let at = group * c.results * k * TAPS + first * layout.result + (s0 + s) * layout.source;
                    let steps = if contiguous { n * TAPS } else { TAPS };
                    let to = &mut rows[s * TAPS * width..][..steps * width];
                    let last = at + (count - 1) * layout.result + steps;
                    debug_assert!(last <= w.len());
                    // SAFETY: the kernels of `count` results lie inside the weights; each row has
                    // room for `width` results.
                    unsafe {
                        let from = w.as_ptr().add(at);
                        (ks.pack)(from, layout.result as isize, 1, count, width, steps, to.as_mut_ptr());
                    }
                }
                for s in s0..s0 + n {
                    let block = s / kc * kc;
                    let len = kc.min(k - block);
                    let at = block * c.results + first * len + (s - block) * count;
                    let taps = &mut rows[(s - s0) * TAPS * width..][..TAPS * width];
                    if layout.turned {
                        for i in 0..TAPS / 2 {
                            let (low, high) = taps.split_at_mut((TAPS - 1 - i) * width);
                            low[i * width..][..width].swap_with_slice(&mut high[..width]);
                        }
                    }
                    // SAFETY: this panel and source of each element's matrix belong to this task.
                    unsafe {
                        let to = shared.get().add(group * ELEMENTS * matrix + at);
                        for r in (0..count).step_by(transforms.lanes) {
                            (transforms.kernel)(&Filters {
                                taps: taps.as_mut_ptr().add(r),
                                tap_step: width,
                                elements: to.add(r),
                                step: matrix,
                                count: (count - r).min(transforms.lanes),
                            });
                        }
                    }
                }
            }
        });
    }

    /// Runs the correlation into `out`, `[images, groups, results, y, x]`, with kernels as
    /// [`Winograd::pack`] leaves them.
    pub fn run(&self, weights: &[T], out: &mut [T]) {
        let (c, planes) = (self.c, &self.planes);
        let (k, units) = (c.sources, planes.units());
        let Some(transforms) = T::winograd().filter(|_| c.groups * units > 0) else { return };
        let (ks, shape, kc, panels) = self.tiling();
        let matrix = self.matrix();
        let out = SendPtr::new(out.as_mut_ptr());
        // Inside a task of units its own loops run one after the other.
        let run = |t: usize| {
            let (group, unit) = (t / units, planes.unit(t % units));
            let row = unit.tiles().next_multiple_of(ks.lanes);
            let (step, to_step) = (k * row + APART, c.results * row + APART);
            let mut tiles = Scratch::<T>::new(ELEMENTS * step);
            // Whole vectors are read from each image's first tile on.
            let mut sums = Scratch::<T>::new(ELEMENTS * to_step + transforms.lanes);
            let (tiles, sums) = (tiles.slice(), sums.slice());
            let (to, shared_sums) = (SendPtr::new(tiles.as_mut_ptr()), SendPtr::new(sums.as_mut_ptr()));
            parallel_for(k, &|s| {
                let mut work = planes.work();
                for image in unit.images.clone() {
                    let channel = (planes.image(image).0 * c.groups + group) * k + s;
                    // SAFETY: row `s` of each element's matrix belongs to this task.
                    unsafe {
                        let to = to.get().add(s * row);
                        planes.transform(
                            transforms.source,
                            c.source,
                            channel,
                            &unit,
                            image,
                            &mut work,
                            to,
                            step,
                            row,
                        );
                    }
                }
            });
            let tiles = &*tiles;
            let rows: Vec<isize> = (0..k).map(|s| (s * row) as isize).collect();
            parallel_for(ELEMENTS, &|e| {
                let weights = &weights[(group * ELEMENTS + e) * matrix..][..matrix];
                // SAFETY: the sums of an element belong to its task.
                let sums = unsafe { shared_sums.slice(e * to_step, c.results * row) };
                let sizes = (k, kc, c.results);
                multiply(ks, shape, weights, sizes, 0..panels, &tiles[e * step..], &rows, row, sums);
            });
            let sums = &*sums;
            parallel_for(c.results, &|r| {
                let mut work = planes.work();
                for image in unit.images.clone() {
                    let (real, part) = planes.image(image);
                    let plane = (real * c.groups + group) * c.results + r;
                    let at = plane * self.height * self.width;
                    // SAFETY: whole vectors of row `r` of each element's sums; the unit's rows of
                    // this plane belong to this task.
                    unsafe {
                        let from = sums.as_ptr().add(r * row + unit.first(image));
                        let rows =
                            planes.result(transforms.result, from.cast_mut(), to_step, &unit, &mut work);
                        if planes.dilation() == [1, 1] {
                            self.write(rows, &unit, out, at);
                            let first = OUT * unit.rows.start;
                            let len = (self.height.min(OUT * unit.rows.end) - first) * self.width;
                            let place = at + first * self.width;
                            apply(&c.epilogue, group * c.results + r, place, out.slice(place, len));
                        } else {
                            self.write_part(rows, &unit, part, out, at);
                        }
                    }
                }
            });
        };
        let tasks = c.groups * units;
        if tasks >= MIN_UNITS {
            parallel_for(tasks, &run)
        } else {
            (0..tasks).for_each(run)
        }
        if planes.dilation() != [1, 1] {
            let len = c.images * c.groups * c.results * self.height * self.width;
            // SAFETY: the whole result, which the tasks have written and left.
            let out = unsafe { out.slice(0, len) };
            apply_all(&c.epilogue, c.groups * c.results, self.height * self.width, out);
        }
    }

    /// Copies the results of a unit's tiles of one image, four arrays `part` apart, to the plane that
    /// begins at `at`.
    ///
    /// # Safety
    /// The arrays hold all rows of the unit's tiles; nobody else uses these rows of the plane.
    unsafe fn write(&self, (from, part): (*const T, usize), unit: &Unit, out: SendPtr<T>, at: usize) {
        let copy = T::depth(self.width).copy_exact;
        for i in 0..OUT {
            let first = OUT * unit.rows.start + i;
            let rows = (self.height + OUT - 1 - i) / OUT;
            let rows = rows.min(unit.rows.end).saturating_sub(unit.rows.start);
            if rows == 0 {
                continue;
            }
            // SAFETY: rows `first`, `first + 4`, … of the plane, below its height; the arrays hold a
            // row at every `4 * tiles of a row` elements.
            unsafe {
                copy(&Rows {
                    from: from.add(i * part),
                    from_row: OUT * self.planes.tiles[1],
                    to: out.get().add(at + first * self.width),
                    to_row: OUT * self.width,
                    rows,
                    cols: self.width,
                });
            }
        }
    }
}

impl<T: Depth> Winograd<'_, T> {
    /// As [`Winograd::write`], to the elements of a part of the plane.
    ///
    /// # Safety
    /// As there.
    unsafe fn write_part(
        &self,
        (from, array): (*const T, usize),
        unit: &Unit,
        [down, across]: [usize; 2],
        out: SendPtr<T>,
        at: usize,
    ) {
        let [row_step, col_step] = self.planes.dilation();
        let cols = (self.width - across).div_ceil(col_step);
        for tile in unit.rows.clone() {
            for i in 0..OUT {
                let y = down + (OUT * tile + i) * row_step;
                if y >= self.height {
                    return;
                }
                // SAFETY: a row of tiles of array `i`; this part of the plane's row, which nobody else
                // uses.
                unsafe {
                    let from = from.add(i * array + (tile - unit.rows.start) * OUT * self.planes.tiles[1]);
                    let to = out.get().add(at + y * self.width + across);
                    for x in 0..cols {
                        *to.add(x * col_step) = *from.add(x);
                    }
                }
            }
        }
    }
}

/// Sources whose taps are brought into order at once.
const SOURCES: usize = 16;
