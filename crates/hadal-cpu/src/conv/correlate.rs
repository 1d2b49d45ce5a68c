//! The correlation behind the forward pass and the input gradient.

use super::depth_kernel::{Depth, Rows};
use super::epilogue::{ConvEpilogue, apply};
use super::plan::{Area, Plan};
use crate::gemm::kernel::Tile;
use crate::gemm::real::Real;
use crate::gemm::tables::{Kernels, Shape};
use crate::scratch::Scratch;
use crate::threads::{SendPtr, parallel_for};
use std::ops::Range;

/// Elements of an area's copy of the source, about a quarter of the second-level cache in f32.
const COPY: usize = 1 << 16;
/// Elements of an area's result.
const RESULT: usize = 1 << 16;
/// Longest block of the sum over channels and taps.
const K_BLOCK: usize = 768;
/// Elements of the packed weights that are used before the next pixels.
const WEIGHTS: usize = 1 << 16;

/// What a correlation sums over and writes, for every image and group.
#[derive(Clone, Copy)]
pub(crate) struct Correlation<'a, T> {
    pub images: usize,
    pub groups: usize,
    /// Source channels of a group.
    pub sources: usize,
    /// Result channels of a group.
    pub results: usize,
    pub source: &'a [T],
    /// Applied to every element; nothing where results do not lie side by side.
    pub epilogue: ConvEpilogue<'a, T>,
}

/// Packs the weights: `pack(group, first_result, count, k_range, dst)` writes, for each k of the
/// range, `count` values of consecutive result channels.
pub(crate) type PackWeights<'a, T> = dyn Fn(usize, usize, usize, Range<usize>, &mut [T]) + Sync + 'a;

/// Fewer tasks than this leave threads idle; a constant, so that nothing depends on their number.
const MIN_TASKS: usize = 16;

/// Plans the areas of a correlation.
pub(crate) fn plan(axes: [super::plan::Axis; 3], c: &Correlation<'_, impl Real>) -> Plan {
    // The result of an area has to fit as well as the copy.
    let copy = COPY.min(RESULT * c.sources.max(1) / c.results.max(1)).max(COPY / 8);
    Plan::new(axes, c.sources, copy)
}

/// How a correlation's weights are cut into panels and blocks of k.
struct Tiling<T: 'static> {
    ks: &'static Kernels<T>,
    shape: Shape,
    k: usize,
    /// Length of a block of k.
    kc: usize,
    panels: usize,
}

impl<T: Depth> Tiling<T> {
    fn new(c: &Correlation<'_, T>, plan: &Plan) -> Self {
        let k = c.sources * plan.taps();
        let ks = T::kernels();
        let pixels = (plan.rows - 1) * plan.pitch + plan.cols;
        let ks = ks.narrow.filter(|n| pixels <= n.lanes).unwrap_or(ks);
        let shape = ks.shape(c.results, pixels);
        let kc = k.div_ceil(k.div_ceil(K_BLOCK).max(1));
        Tiling { ks, shape, k, kc, panels: c.results.div_ceil(shape.mr) }
    }
}

/// Elements of the packed weights.
pub(crate) fn packed_len<T: Depth>(c: &Correlation<'_, T>, plan: &Plan) -> usize {
    c.groups * c.sources * plan.taps() * c.results
}

/// Packs the weights of a correlation, for any source.
pub(crate) fn pack_weights<T: Depth>(
    c: &Correlation<'_, T>,
    plan: &Plan,
    pack: &PackWeights<'_, T>,
    packed: &mut [T],
) {
    let Tiling { shape, k, kc, panels, .. } = Tiling::new(c, plan);
    if packed.is_empty() {
        return;
    }
    let dst = SendPtr::new(packed.as_mut_ptr());
    let blocks = k.div_ceil(kc);
    parallel_for(c.groups * panels, &|t| {
        let (g, i) = (t / panels, t % panels);
        let count = shape.mr.min(c.results - i * shape.mr);
        for b in 0..blocks {
            let range = b * kc..((b + 1) * kc).min(k);
            let at = g * k * c.results + range.start * c.results + i * shape.mr * range.len();
            // SAFETY: panel (g, i) of block b has this range of the buffer to itself.
            pack(g, i * shape.mr, count, range.clone(), unsafe { dst.slice(at, count * range.len()) });
        }
    });
}

/// Runs a correlation into `out`, `[images, groups, results, z, y, x]`, with weights as
/// [`pack_weights`] leaves them. Result positions that the plan's axes do not name are left alone.
pub(crate) fn correlate<T: Depth>(c: &Correlation<'_, T>, plan: &Plan, weights: &[T], out: &mut [T]) {
    let areas = plan.areas();
    let units = c.images * c.groups * areas;
    if units * c.results == 0 || weights.is_empty() {
        return;
    }
    let Tiling { ks, shape, k, kc, panels } = Tiling::new(c, plan);
    let offsets = plan.offsets(c.sources);
    let source_len = c.sources * plan.axes.iter().map(|a| a.source).product::<usize>();
    let result_len = c.results * plan.axes.iter().map(|a| a.result).product::<usize>();
    let out = SendPtr::new(out.as_mut_ptr());
    // The results of some panels, from a unit's copy.
    let compute = |unit: usize, copy: &[T], panels: Range<usize>| {
        let (image, area) = (unit / areas, plan.area(unit % areas));
        let group = image % c.groups;
        let weights = &weights[group * k * c.results..][..k * c.results];
        let results = panels.start * shape.mr..c.results.min(panels.end * shape.mr);
        let [_, y, x] = &plan.axes;
        if y.place_step == 1 && x.place_step == 1 && area.cols.is_multiple_of(ks.lanes) {
            let rows = WholeRows { plan, area, channel: group * c.results, start: image * result_len };
            // SAFETY: the area's elements of these results belong to this task alone.
            unsafe {
                rows.multiply(ks, shape, weights, (k, kc, c.results), panels, copy, &offsets, out);
                rows.finish(&c.epilogue, results, out);
            }
            return;
        }
        let row = ((area.rows - 1) * plan.pitch + area.cols).next_multiple_of(ks.lanes);
        let mut sums = Scratch::<T>::new(results.len() * row);
        let sums = sums.slice();
        multiply(ks, shape, weights, (k, kc, c.results), panels, copy, &offsets, row, sums);
        let finish = Finish { plan, area, row, results, group: group * c.results, epilogue: &c.epilogue };
        // SAFETY: the area's elements of these results belong to this task alone.
        unsafe { finish.write(sums, out, image * result_len) };
    };
    let copy_len = c.sources * plan.channel() + ks.lanes * 4;
    if units >= MIN_TASKS || panels == 1 {
        parallel_for(units, &|unit| {
            let source = &c.source[unit / areas * source_len..][..source_len];
            let mut copy = Scratch::<T>::new(copy_len);
            plan.fill(plan.area(unit % areas), source, c.sources, copy.slice());
            compute(unit, copy.slice(), 0..panels);
        });
        return;
    }
    // Few units: their copies are made together, and then the results are shared out.
    let mut copies = Scratch::<T>::new(units * copy_len);
    let copies = copies.slice();
    let shared = SendPtr::new(copies.as_mut_ptr());
    let parts = MIN_TASKS.min(c.sources);
    parallel_for(units * parts, &|t| {
        let (unit, part) = (t / parts, t % parts);
        let (first, last) = (c.sources * part / parts, c.sources * (part + 1) / parts);
        let plane = source_len / c.sources;
        let source = &c.source[unit / areas * source_len + first * plane..][..(last - first) * plane];
        let at = unit * copy_len + first * plan.channel();
        // SAFETY: these channels of this unit's copy belong to this task.
        let copy = unsafe { shared.slice(at, (last - first) * plan.channel()) };
        plan.fill(plan.area(unit % areas), source, last - first, copy);
    });
    let copies = &*copies;
    let parts = (2 * MIN_TASKS).div_ceil(units).min(panels);
    parallel_for(units * parts, &|t| {
        let (unit, part) = (t / parts, t % parts);
        let panels = panels * part / parts..panels * (part + 1) / parts;
        compute(unit, &copies[unit * copy_len..][..copy_len], panels);
    });
}

/// `sums[i, q] = sum over p of weights[p, i] * copy[offsets[p] + q]` for `row` pixels and the results
/// of some panels.
#[allow(clippy::too_many_arguments)]
pub(super) fn multiply<T: Real>(
    ks: &Kernels<T>,
    shape: Shape,
    weights: &[T],
    (k, kc, results): (usize, usize, usize),
    panels: Range<usize>,
    copy: &[T],
    offsets: &[isize],
    row: usize,
    sums: &mut [T],
) {
    let nr = shape.nv * ks.lanes;
    let mut t = Tile::<T>::empty();
    t.c_row = row;
    for p0 in (0..k).step_by(kc) {
        t.k = kc.min(k - p0);
        t.accumulate = p0 > 0;
        let block = (WEIGHTS / (t.k * shape.mr)).max(1);
        for first in panels.clone().step_by(block) {
            for q in (0..row).step_by(nr) {
                let nv = ((row - q) / ks.lanes).min(shape.nv);
                t.cols = nv * ks.lanes;
                for i in first..(first + block).min(panels.end) {
                    let count = shape.mr.min(results - i * shape.mr);
                    let at = p0 * results + i * shape.mr * t.k;
                    // SAFETY: the packed panel has `k * count` values; offsets plus pixels stay inside
                    // the copy, which has a few vectors to spare behind its last plane; the sums have
                    // `results` rows of `row` elements, a whole number of vectors.
                    unsafe {
                        t.a = weights.as_ptr().add(at);
                        t.b = copy.as_ptr().add(q);
                        t.b_off = offsets.as_ptr().add(p0);
                        t.c = sums.as_mut_ptr().add((i - panels.start) * shape.mr * row + q);
                        ks.gather[nv - 1][count - 1](&t);
                    }
                }
            }
        }
    }
}

/// An area whose rows are whole vectors: its results are computed where they belong.
struct WholeRows<'a> {
    plan: &'a Plan,
    area: Area,
    /// The group's first channel.
    channel: usize,
    /// Where the group's volumes begin.
    start: usize,
}

impl WholeRows<'_> {
    /// Where a row of a result lies.
    fn at(&self, result: usize, row: usize) -> usize {
        let (a, [z, y, x]) = (self.area, &self.plan.axes);
        let plane = z.place + a.z * z.place_step;
        self.start
            + ((result * z.result + plane) * y.result + y.place + a.y0 + row) * x.result
            + x.place
            + a.x0
    }

    /// As [`multiply`], into the result.
    ///
    /// # Safety
    /// `out` holds the group's volumes, of which nobody else uses the area.
    #[allow(clippy::too_many_arguments)]
    unsafe fn multiply<T: Real>(
        &self,
        ks: &Kernels<T>,
        shape: Shape,
        weights: &[T],
        (k, kc, results): (usize, usize, usize),
        panels: Range<usize>,
        copy: &[T],
        offsets: &[isize],
        out: SendPtr<T>,
    ) {
        let nr = shape.nv * ks.lanes;
        let mut t = Tile::<T>::empty();
        t.c_row = self.plan.axes.iter().map(|a| a.result).product();
        for p0 in (0..k).step_by(kc) {
            t.k = kc.min(k - p0);
            t.accumulate = p0 > 0;
            let block = (WEIGHTS / (t.k * shape.mr)).max(1);
            for first in panels.clone().step_by(block) {
                for (r, q) in
                    (0..self.area.rows).flat_map(|r| (0..self.area.cols).step_by(nr).map(move |q| (r, q)))
                {
                    let nv = ((self.area.cols - q) / ks.lanes).min(shape.nv);
                    t.cols = nv * ks.lanes;
                    for i in first..(first + block).min(panels.end) {
                        let count = shape.mr.min(results - i * shape.mr);
                        // SAFETY: as in `multiply`; the tile lies inside the area's row of these
                        // results.
                        unsafe {
                            t.a = weights.as_ptr().add(p0 * results + i * shape.mr * t.k);
                            t.b = copy.as_ptr().add(r * self.plan.pitch + q);
                            t.b_off = offsets.as_ptr().add(p0);
                            t.c = out.get().add(self.at(i * shape.mr, r) + q);
                            ks.gather[nv - 1][count - 1](&t);
                        }
                    }
                }
            }
        }
    }

    /// The epilogue.
    ///
    /// # Safety
    /// As for [`WholeRows::multiply`].
    unsafe fn finish<T: Depth>(&self, e: &ConvEpilogue<'_, T>, results: Range<usize>, out: SendPtr<T>) {
        if e.is_none() {
            return;
        }
        let (a, width) = (self.area, self.plan.axes[2].result);
        // Whole rows in one go.
        let (count, len) = if a.cols == width { (1, a.rows * a.cols) } else { (a.rows, a.cols) };
        for i in results {
            for r in 0..count {
                let at = self.at(i, r);
                // SAFETY: these elements belong to this task.
                apply(e, self.channel + i, at, unsafe { out.slice(at, len) });
            }
        }
    }
}

/// Copies sums to their places in the result, through the epilogue.
struct Finish<'a, T> {
    plan: &'a Plan,
    area: Area,
    /// Distance of the sums' rows.
    row: usize,
    /// Which results the sums are.
    results: Range<usize>,
    /// The group's first channel.
    group: usize,
    epilogue: &'a ConvEpilogue<'a, T>,
}

impl<T: Depth> Finish<'_, T> {
    /// # Safety
    /// `out` from `start` on holds the volumes of a group, of which nobody else uses the area.
    unsafe fn write(&self, sums: &[T], out: SendPtr<T>, start: usize) {
        let (a, [z, y, x]) = (self.area, &self.plan.axes);
        let side_by_side = y.place_step == 1 && x.place_step == 1;
        for (i, sums) in self.results.clone().zip(sums.chunks_exact(self.row)) {
            let volume = start + i * z.result * y.result * x.result;
            let plane = volume + (z.place + a.z * z.place_step) * y.result * x.result;
            let row_at = |r: usize| {
                plane + (y.place + (a.y0 + r) * y.place_step) * x.result + x.place + a.x0 * x.place_step
            };
            // SAFETY: the rows' places lie inside the volume and belong to this area; the sums have
            // a row at every multiple of the pitch.
            unsafe {
                if side_by_side {
                    let rows = Rows {
                        from: sums.as_ptr(),
                        from_row: self.plan.pitch,
                        to: out.get().add(row_at(0)),
                        to_row: x.result,
                        rows: a.rows,
                        cols: a.cols,
                    };
                    (T::depth(a.cols).copy_exact)(&rows);
                    if self.epilogue.is_none() {
                        continue;
                    }
                    // Whole rows in one go.
                    let (count, len) =
                        if a.cols == x.result { (1, a.rows * a.cols) } else { (a.rows, a.cols) };
                    for r in 0..count {
                        apply(self.epilogue, self.group + i, row_at(r), out.slice(row_at(r), len));
                    }
                    continue;
                }
                for r in 0..a.rows {
                    let from = &sums[r * self.plan.pitch..][..a.cols];
                    for (j, &v) in from.iter().enumerate() {
                        *out.get().add(row_at(r) + j * x.place_step) = v;
                    }
                }
            }
        }
    }
}
