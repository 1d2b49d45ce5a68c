//! Convolutions of many images with images along the lanes of vectors.
//!
//! Small planes fill vectors badly: 3 columns, or 7, and the zeros around them. Here a vector is one
//! pixel of one channel in as many images as it has lanes. So no lane is wasted, strides and
//! dilations cost nothing, and the sum of a result runs over just the taps that meet the source: of
//! a 3x3 plane that is padded by 1 those are 49 of 81.
//!
//! Sources are brought into the order `[pixel][channel][image]`, a block of rows at a time, weights
//! into `[panel of results][tap][source channel][result]`: both are read front to back.

mod kernel;
mod weight_grad;

use super::correlate::Correlation;
use super::depth_kernel::{Depth, Rows};
use super::epilogue::apply;
use super::plan::Plan;
use super::winograd::KernelLayout;
use crate::scratch::Scratch;
use crate::threads::{SendPtr, parallel_for};
use hadal_core::ops::Window;
use kernel::{Product, ROUND, ROWS, Run};
pub(super) use kernel::{RunKernels, run_kernels};
use std::ops::Range;
pub(super) use weight_grad::weight_grad;

/// Images that fill a vector of the widest kind.
pub(super) const WIDE: usize = 16;
/// Fewest channels of a group: runs are that long.
const MIN_CHANNELS: usize = 16;
/// Largest extent of source, result and kernel, and most taps that meet a source: tables are as large.
pub(super) const MAX_EXTENT: usize = 1 << 10;
const MAX_MEETINGS: usize = 1 << 17;
/// Elements of a block's source, about half of the second-level cache.
const BLOCK: usize = 1 << 17;
/// Fewer units than this are not shared among threads as a whole.
const MIN_UNITS: usize = 16;
/// Source channels that a task brings into order.
const CHANNELS: usize = 16;
/// Source channels whose weights are brought into order at once: rows as long as prefetchers want.
const PACKED: usize = 64;

/// A tap that meets the source at a pixel.
#[derive(Clone, Copy)]
pub(super) struct Meeting {
    pub tap: usize,
    pub pixel: usize,
}

/// What each result pixel reads.
pub(super) struct Spots {
    all: Vec<Meeting>,
    /// Where each result pixel's begin; one more than there are pixels.
    first: Vec<usize>,
}

impl Spots {
    /// The meetings along one dimension, for each result.
    pub fn axis(w: &Window, grad: bool) -> Option<Vec<Vec<Meeting>>> {
        let (from, to) = if grad { (w.output, w.input) } else { (w.input, w.output) };
        if from.max(to).max(w.kernel) > MAX_EXTENT {
            return None;
        }
        let meet = |at: usize, tap: usize| {
            let shift = tap * w.dilation;
            let pixel = if grad {
                let at = (at + w.pad_lo).checked_sub(shift)?;
                at.is_multiple_of(w.stride).then_some(at / w.stride)?
            } else {
                (at * w.stride + shift).checked_sub(w.pad_lo)?
            };
            (pixel < from).then_some(Meeting { tap, pixel })
        };
        Some((0..to).map(|at| (0..w.kernel).filter_map(|tap| meet(at, tap)).collect()).collect())
    }

    /// The meetings of a pass; with `grad` of the input gradient. `None` if there are too many, or if
    /// their products for `pairs` pairs of channels take `limit` cycles or more.
    fn new(windows: &[Window; 3], grad: bool, images: usize, pairs: usize, limit: f64) -> Option<Spots> {
        let [z, y, x] = windows;
        let (az, ay, ax) = (Spots::axis(z, grad)?, Spots::axis(y, grad)?, Spots::axis(x, grad)?);
        let (height, width) = if grad { (y.output, x.output) } else { (y.input, x.input) };
        let product =
            |f: fn(&Vec<Vec<Meeting>>) -> usize| [&az, &ay, &ax].into_iter().map(f).product::<usize>();
        let met = product(|axis| axis.iter().map(Vec::len).sum());
        let cycles = met as f64 * pairs as f64 / 0.85 * images.div_ceil(WIDE) as f64;
        if met.max(product(Vec::len)) > MAX_MEETINGS || cycles >= limit {
            return None;
        }
        let mut spots = Spots { all: Vec::new(), first: vec![0] };
        for mz in &az {
            for my in &ay {
                for mx in &ax {
                    for z in mz {
                        for y in my {
                            spots.all.extend(mx.iter().map(|x| Meeting {
                                tap: (z.tap * windows[1].kernel + y.tap) * windows[2].kernel + x.tap,
                                pixel: (z.pixel * height + y.pixel) * width + x.pixel,
                            }));
                        }
                    }
                    spots.first.push(spots.all.len());
                }
            }
        }
        Some(spots)
    }

    fn of(&self, pixel: usize) -> &[Meeting] {
        &self.all[self.first[pixel]..self.first[pixel + 1]]
    }

    fn pixels(&self) -> usize {
        self.first.len() - 1
    }

    /// The source pixels that some result pixels read: from the first to the last.
    fn sources(&self, pixels: &Range<usize>) -> Range<usize> {
        let met = &self.all[self.first[pixels.start]..self.first[pixels.end]];
        let lo = met.iter().map(|m| m.pixel).min();
        lo.unwrap_or(0)..met.iter().map(|m| m.pixel + 1).max().unwrap_or(0)
    }
}

/// A correlation with images along lanes.
pub(super) struct Lanes<'a, T: 'static> {
    c: &'a Correlation<'a, T>,
    ks: &'static RunKernels<T>,
    spots: Spots,
    /// Runs of result pixels that are computed together.
    blocks: Vec<Range<usize>>,
    source_pixels: usize,
    taps: usize,
}

impl<'a, T: Depth> Lanes<'a, T> {
    /// The correlation, if this is thought quicker than `limit` cycles.
    pub fn new(c: &'a Correlation<'a, T>, windows: &[Window; 3], grad: bool, limit: f64) -> Option<Self> {
        let ks = T::run_kernels()?;
        if c.sources < MIN_CHANNELS || c.results < MIN_CHANNELS || c.images < WIDE / 2 {
            return None;
        }
        let spots = Spots::new(windows, grad, c.images, c.groups * c.sources * c.results, limit)?;
        let (source_pixels, row) = if grad {
            (windows.iter().map(|w| w.output).product(), windows[2].input)
        } else {
            (windows.iter().map(|w| w.input).product(), windows[2].output)
        };
        let mut blocks: Vec<Range<usize>> = Vec::new();
        for at in (0..spots.pixels()).step_by(row.max(1)) {
            let next = at..at + row;
            let joined = blocks.last().map(|b| b.start..next.end);
            match joined {
                Some(j) if spots.sources(&j).len() * c.sources * ks.lanes <= BLOCK => {
                    blocks.pop();
                    blocks.push(j);
                }
                _ => blocks.push(next),
            }
        }
        let taps = windows.iter().map(|w| w.kernel).product();
        Some(Lanes { c, ks, spots, blocks, source_pixels, taps })
    }

    /// Rows of a panel in memory.
    fn panel(&self, first: usize) -> usize {
        ROWS.min((self.c.results - first).next_multiple_of(ROUND))
    }

    /// Elements of a group's packed weights.
    fn group_len(&self) -> usize {
        self.c.results.next_multiple_of(ROUND) * self.c.sources * self.taps
    }

    /// Elements of the packed weights.
    pub fn packed_len(&self) -> usize {
        self.c.groups * self.group_len()
    }

    /// Packs weights, for any source.
    pub fn pack(&self, w: &[T], layout: KernelLayout, packed: &mut [T]) {
        let (c, taps, ks) = (self.c, self.taps, T::kernels());
        let panels = c.results.div_ceil(ROWS);
        let to = SendPtr::new(packed.as_mut_ptr());
        let group = c.results * c.sources * taps;
        parallel_for(c.groups * panels, &|t| {
            let (g, first) = (t / panels, t % panels * ROWS);
            let (rows, count) = (self.panel(first), ROWS.min(c.results - first));
            let at = g * self.group_len() + first * c.sources * taps;
            // SAFETY: the panel belongs to this task.
            let panel = unsafe { to.slice(at, rows * c.sources * taps) };
            let contiguous = layout.source == taps;
            let each = if contiguous { PACKED } else { 1 };
            let mut rows_of = Scratch::<T>::new(each * taps * rows);
            let rows_of = rows_of.slice();
            for s0 in (0..c.sources).step_by(each) {
                let n = each.min(c.sources - s0);
                let from = &w[g * group + first * layout.result + s0 * layout.source..];
                debug_assert!((count - 1) * layout.result + n * taps <= from.len());
                // SAFETY: the weights of `count` results and `n` sources, each source's taps side by
                // side, lie inside; the destination has a row for each.
                unsafe {
                    let lane = layout.result as isize;
                    (ks.pack)(from.as_ptr(), lane, 1, count, rows, n * taps, rows_of.as_mut_ptr());
                }
                for tap in 0..taps {
                    let to = &mut panel[(tap * c.sources + s0) * rows..][..n * rows];
                    // SAFETY: every `taps`-th row of those just made, and as many of the panel.
                    unsafe {
                        (T::depth(rows).copy_exact)(&Rows {
                            from: rows_of.as_ptr().add(tap * rows),
                            from_row: taps * rows,
                            to: to.as_mut_ptr(),
                            to_row: rows,
                            rows: n,
                            cols: rows,
                        });
                    }
                }
            }
        });
    }

    /// Runs the correlation into `out`, `[images, groups, results, pixels]`, with weights as
    /// [`Lanes::pack`] leaves them.
    pub fn run(&self, weights: &[T], out: &mut [T]) {
        let (c, lanes) = (self.c, self.ks.lanes);
        let chunks = c.images.div_ceil(lanes);
        let pixels = self.spots.pixels();
        let units = c.groups * chunks * self.blocks.len();
        let panels = c.results.div_ceil(ROWS);
        let out = SendPtr::new(out.as_mut_ptr());
        let run = |unit: usize| {
            let (block, rest) = (&self.blocks[unit % self.blocks.len()], unit / self.blocks.len());
            let (group, image) = (rest / chunks, rest % chunks * lanes);
            let images = lanes.min(c.images - image);
            let met = self.spots.sources(block);
            let pixel_len = c.sources * lanes;
            let mut source = Scratch::<T>::new(met.len() * pixel_len);
            let order = Order {
                from: c.source,
                first: (image * c.groups + group) * c.sources * self.source_pixels,
                image: c.groups * c.sources * self.source_pixels,
                images,
                channels: c.sources,
                plane: self.source_pixels,
                pixels: met.clone(),
            };
            order.run(lanes, source.slice());
            let source = &*source.slice();
            // What each pixel of the block reads.
            let mut runs = Vec::new();
            let mut ends = vec![0];
            for pixel in block.clone() {
                runs.extend(self.spots.of(pixel).iter().map(|m| (m.tap, (m.pixel - met.start) * pixel_len)));
                ends.push(runs.len());
            }
            parallel_for(panels, &|t| {
                let first = t * ROWS;
                let (rows, count) = (self.panel(first), ROWS.min(c.results - first));
                let panel = &weights[group * self.group_len() + first * c.sources * self.taps..];
                let runs: Vec<Run> = runs
                    .iter()
                    .map(|&(tap, b)| Run { a: tap * c.sources * rows, b, steps: c.sources })
                    .collect();
                let c_row = block.len() * lanes;
                let mut sums = Scratch::<T>::new(rows * c_row);
                let sums = sums.slice();
                let kernel = self.ks.rows[rows / ROUND - 1];
                for (i, ends) in ends.windows(2).enumerate() {
                    // SAFETY: runs lie inside the panel and the block's source; a tile is a vector in
                    // each of `rows` rows of the sums.
                    unsafe {
                        kernel(&Product {
                            runs: &runs[ends[0]..ends[1]],
                            a: panel.as_ptr(),
                            b: source.as_ptr(),
                            b_step: lanes,
                            c: sums.as_mut_ptr().add(i * lanes),
                            c_row,
                        });
                    }
                }
                // Back to images: rows of results and pixels.
                let len = count * block.len();
                let mut planes = Scratch::<T>::new(lanes * len);
                let planes = planes.slice();
                // SAFETY: `len` vectors become `lanes` rows of as many elements.
                unsafe {
                    let lane = lanes as isize;
                    (T::kernels().pack)(sums.as_ptr(), lane, 1, len, len, lanes, planes.as_mut_ptr());
                }
                for (n, planes) in planes.chunks_exact(len).take(images).enumerate() {
                    let plane = ((image + n) * c.groups + group) * c.results + first;
                    for (r, values) in planes.chunks_exact(block.len()).enumerate() {
                        let at = (plane + r) * pixels + block.start;
                        // SAFETY: the block's pixels of these planes belong to this task.
                        let to = unsafe { out.slice(at, block.len()) };
                        to.copy_from_slice(values);
                        apply(&c.epilogue, group * c.results + first + r, at, to);
                    }
                }
            });
        };
        if units >= MIN_UNITS { parallel_for(units, &run) } else { (0..units).for_each(run) }
    }
}

/// Planes of some images that are brought into the order `[pixel][channel][image]`.
struct Order<'a, T> {
    from: &'a [T],
    /// Where the first plane begins.
    first: usize,
    /// Distance of images.
    image: usize,
    images: usize,
    channels: usize,
    /// Elements of a plane.
    plane: usize,
    /// Which of them.
    pixels: Range<usize>,
}

impl<T: Depth> Order<'_, T> {
    /// Fills `to`; lanes without an image become zero.
    fn run(&self, lanes: usize, to: &mut [T]) {
        let (ks, n) = (T::kernels(), self.pixels.len());
        let to = SendPtr::new(to.as_mut_ptr());
        parallel_for(self.channels.div_ceil(CHANNELS), &|t| {
            let mut rows = Scratch::<T>::new(n * lanes);
            let rows = rows.slice();
            for channel in t * CHANNELS..((t + 1) * CHANNELS).min(self.channels) {
                let at = self.first + channel * self.plane + self.pixels.start;
                debug_assert!(at + (self.images - 1) * self.image + n <= self.from.len());
                // SAFETY: the pixels of `images` planes lie inside the source; the rows have room for
                // them.
                unsafe {
                    let from = self.from.as_ptr().add(at);
                    (ks.pack)(from, self.image as isize, 1, self.images, lanes, n, rows.as_mut_ptr());
                }
                // SAFETY: this channel of each pixel belongs to this task.
                unsafe {
                    (T::depth(lanes).copy_exact)(&Rows {
                        from: rows.as_ptr(),
                        from_row: lanes,
                        to: to.get().add(channel * lanes),
                        to_row: self.channels * lanes,
                        rows: n,
                        cols: lanes,
                    });
                }
            }
        });
    }
}

/// Estimated cycles of a correlation by a plan, of whose vectors some lanes are wasted.
pub(super) fn plan_cycles<T: Depth>(c: &Correlation<'_, T>, plan: &Plan) -> f64 {
    let pixels: usize = (0..plan.areas())
        .map(|i| plan.area(i))
        .map(|a| ((a.rows - 1) * plan.pitch + a.cols).next_multiple_of(WIDE))
        .sum();
    let products = (c.images * c.groups * c.sources * c.results) as f64 * plan.taps() as f64;
    products * pixels as f64 / WIDE as f64 / 0.85
}
