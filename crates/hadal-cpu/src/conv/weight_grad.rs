//! The weight gradient: for every weight a sum over images and pixels.
//!
//! With enough output channels, lanes run along them: the output gradient is packed pixel by pixel,
//! and each (channel, tap) of the source is broadcast from the copy that the forward pass uses too.
//! With few, the pixels of a row are the lanes.
//!
//! Images and areas are cut into a fixed number of chunks whose sums are added in order.

use super::depth_kernel::Depth;
use super::plan::{Axis, Plan};
use super::taps::{MAX_TAPS, TapRows};
use crate::gemm::kernel::{MAX_MR, Tile};
use crate::gemm::{Operand, pack_panel};
use crate::scratch::Scratch;
use crate::threads::{SendPtr, parallel_for};
use hadal_core::ops::ConvGeometry;

/// Elements of an area's copy of the source.
const COPY: usize = 1 << 16;
/// Tasks to aim for.
const TASKS: usize = 32;
/// Most chunks, and most elements of all their sums: a second set of large weights costs more in traffic
/// and memory than blocks of fewer channels, which pack the output gradient once more.
const MAX_CHUNKS: usize = 16;
const MAX_PARTIAL: usize = 1 << 21;
/// Output channels of a group from which lanes run along channels.
const LANES_ALONG_CHANNELS: usize = 4;

struct Job<'a, T> {
    g: &'a ConvGeometry,
    x: &'a [T],
    dy: &'a [T],
    plan: Plan,
    offsets: Vec<isize>,
    /// The place of each tap in the kernel, and the size of the kernel.
    index: Vec<usize>,
    volume: usize,
    /// Channels of a group; channels of a task.
    channels: usize,
    block: usize,
    /// Output channels of a group.
    outs: usize,
    chunks: usize,
}

/// `dw[o, c, tap] = sum over images and pixels of dy[o, pixel] * x[c, pixel at tap]`.
pub(crate) fn weight_grad<T: Depth>(g: &ConvGeometry, x: &[T], dy: &[T], dw: &mut [T]) {
    if dw.is_empty() {
        return;
    }
    let channels = g.in_channels / g.groups;
    let outs = g.out_channels / g.groups;
    let axes = [0, 1, 2].map(|d| Axis::forward(&g.windows[d]));
    let taps: usize = axes.iter().map(Axis::taps).product();
    let images = g.batch;
    // All channels of a group where a row of them fits the budget, else blocks of channels.
    let row = axes[0].taps()
        * axes[1].phases.len()
        * axes[2].phases.len()
        * (axes[1].reach + 4)
        * (axes[2].count.min(1024) + axes[2].reach);
    let mut block = (2 * COPY / row.max(1)).clamp(1, channels);
    let partial = g.groups * channels * taps * outs.next_multiple_of(64);
    let most_chunks = (MAX_PARTIAL / partial.max(1)).clamp(1, MAX_CHUNKS);
    let blocks_wanted = (TASKS / 2).div_ceil(g.groups * images.clamp(1, most_chunks));
    block = block.min(channels.div_ceil(blocks_wanted));
    block = channels.div_ceil(channels.div_ceil(block));
    let plan = Plan::new(axes, block, COPY);
    let kernel = g.windows.map(|w| w.kernel);
    let index = plan.kernel_index(kernel);
    let volume = kernel.iter().product();
    let units = images * plan.areas();
    let wanted = TASKS.div_ceil(g.groups * channels.div_ceil(block));
    let chunks = wanted.min(most_chunks).min(units).max(1);
    if units == 0 || index.len() < volume {
        // Weights that meet nothing but padding.
        dw.fill(T::ZERO);
    }
    if units * index.len() == 0 {
        return;
    }
    let offsets = plan.offsets(block);
    let job = Job { g, x, dy, plan, offsets, index, volume, channels, block, outs, chunks };
    if outs < LANES_ALONG_CHANNELS { job.along_pixels(dw) } else { job.along_channels(dw) }
}

impl<T: Depth> Job<'_, T> {
    /// Calls `f(group, first channel, channels, chunk)` for each task.
    fn tasks(&self, f: &(dyn Fn(usize, usize, usize, usize) + Sync)) {
        let blocks = self.channels.div_ceil(self.block);
        parallel_for(self.g.groups * blocks * self.chunks, &|t| {
            let (chunk, rest) = (t % self.chunks, t / self.chunks);
            let c0 = rest % blocks * self.block;
            f(rest / blocks, c0, self.block.min(self.channels - c0), chunk);
        });
    }

    /// Calls `f(image, area, copy)` for the units of a chunk, with the source of `n` channels copied.
    fn units(
        &self,
        group: usize,
        c0: usize,
        n: usize,
        chunk: usize,
        mut f: impl FnMut(usize, super::plan::Area, &[T]),
    ) {
        let areas = self.plan.areas();
        let units = self.g.batch * areas;
        let source: usize = self.plan.axes.iter().map(|a| a.source).product();
        let mut copy = Scratch::<T>::new(n * self.plan.channel());
        let copy = copy.slice();
        for unit in units * chunk / self.chunks..units * (chunk + 1) / self.chunks {
            let (image, area) = (unit / areas, self.plan.area(unit % areas));
            let first = (image * self.g.in_channels + group * self.channels + c0) * source;
            self.plan.fill(area, &self.x[first..][..n * source], n, copy);
            f(image, area, copy);
        }
    }

    /// The place of row `i` (channel, tap) among the weights of an output channel.
    fn place(&self, i: usize) -> usize {
        i / self.index.len() * self.volume + self.index[i % self.index.len()]
    }

    /// Where the output gradient of a channel, image and area begins.
    fn dy_start(&self, image: usize, out: usize, area: super::plan::Area) -> usize {
        let [z, y, x] = &self.plan.axes;
        (((image * self.g.out_channels + out) * z.count + area.z) * y.count + area.y0) * x.count + area.x0
    }

    fn along_channels(&self, dw: &mut [T]) {
        let (outs, taps) = (self.outs, self.plan.taps());
        let ks = T::kernels();
        let ks = ks.narrow.filter(|n| outs <= n.lanes).unwrap_or(ks);
        let rows = self.channels * taps;
        let shape = ks.shape(self.block * taps, outs);
        let nr = shape.nv * ks.lanes;
        let width = outs.next_multiple_of(ks.lanes);
        let group_len = rows * width;
        let chunk_len = self.g.groups * group_len;
        let mut sums = Scratch::<T>::new(self.chunks * chunk_len);
        let sums = sums.slice();
        let out = SendPtr::new(sums.as_mut_ptr());
        let [z, y, x] = &self.plan.axes;
        let out_plane = z.count * y.count * x.count;
        self.tasks(&|group, c0, n, chunk| {
            let at = chunk * chunk_len + group * group_len + c0 * taps * width;
            // SAFETY: the sums of (chunk, group, channels) belong to this task.
            let sums = unsafe { out.slice(at, n * taps * width) };
            sums.fill(T::ZERO);
            let mut packed = Scratch::<T>::new(self.plan.rows * self.plan.cols * width);
            let packed = packed.slice();
            self.units(group, c0, n, chunk, |image, area, copy| {
                let pixels = area.rows * area.cols;
                let start = self.dy_start(image, group * outs, area);
                // Rows that follow each other without a gap are packed as one.
                let (runs, run) = if area.cols == x.count { (1, pixels) } else { (area.rows, area.cols) };
                for j in 0..outs.div_ceil(nr) {
                    let lanes = nr.min(outs - j * nr);
                    let w = lanes.next_multiple_of(ks.lanes);
                    for r in 0..runs {
                        let first = start + r * x.count;
                        let dst = &mut packed[j * nr * pixels + r * run * w..][..run * w];
                        let src =
                            Operand { ptr: self.dy[first..].as_ptr(), lane: out_plane as isize, step: 1 };
                        // SAFETY: the channels and pixels lie inside `dy`, the destination is a slice
                        // of the right length.
                        unsafe { pack_panel(ks, src, lanes, j * nr, w, (0, run), dst.as_mut_ptr()) };
                    }
                }
                let mut t = Tile::<T>::empty();
                (t.k, t.rows, t.a_step, t.a_row) = (area.cols, area.rows, 1, self.plan.pitch as isize);
                (t.c_row, t.accumulate) = (width, true);
                t.a = copy.as_ptr();
                for j in 0..outs.div_ceil(nr) {
                    let nv = nr.min(outs - j * nr).div_ceil(ks.lanes);
                    t.cols = nv * ks.lanes;
                    t.b_step = t.cols as isize;
                    t.b = packed[j * nr * pixels..].as_ptr();
                    for i in (0..n * taps).step_by(shape.mr) {
                        let count = shape.mr.min(n * taps - i);
                        debug_assert!(count <= MAX_MR);
                        t.a_off = self.offsets[i..i + count].as_ptr();
                        // SAFETY: offsets plus the area stay inside the copy; the packed panel has a
                        // row of `cols` values per pixel; the sums have `width` values per row.
                        unsafe {
                            t.c = sums.as_mut_ptr().add(i * width + j * nr);
                            ks.strided[nv - 1][count - 1](&t);
                        }
                    }
                }
            });
        });
        // Chunks in order, then rows and columns in each other's place.
        let (sums, dw) = (&*sums, SendPtr::new(dw.as_mut_ptr()));
        let each = (4096 / width).max(1);
        let per_group = rows.div_ceil(each);
        parallel_for(self.g.groups * per_group, &|t| {
            let (group, first) = (t / per_group, t % per_group * each);
            let count = each.min(rows - first);
            let mut total = Scratch::<T>::new(count * width);
            let total = total.slice();
            for chunk in 0..self.chunks {
                let part = &sums[chunk * chunk_len + group * group_len + first * width..][..count * width];
                if chunk == 0 {
                    total.copy_from_slice(part);
                } else {
                    total.iter_mut().zip(part).for_each(|(t, &p)| *t += p);
                }
            }
            for o in 0..outs {
                let weights = (group * outs + o) * self.channels * self.volume;
                for i in 0..count {
                    // SAFETY: these weights belong to this task.
                    unsafe { *dw.get().add(weights + self.place(first + i)) = total[i * width + o] };
                }
            }
        });
    }

    fn along_pixels(&self, dw: &mut [T]) {
        let (outs, taps) = (self.outs, self.plan.taps());
        let ks = T::kernels();
        let rows = self.channels * taps;
        let len = self.g.out_channels * rows;
        let mut sums = Scratch::<T>::new(self.chunks * len);
        let sums = sums.slice();
        let out = SendPtr::new(sums.as_mut_ptr());
        self.tasks(&|group, c0, n, chunk| {
            let at = |o: usize| chunk * len + (group * outs + o) * rows + c0 * taps;
            for o in 0..outs {
                // SAFETY: the sums of (chunk, group, channels) belong to this task.
                unsafe { out.slice(at(o), n * taps) }.fill(T::ZERO);
            }
            self.units(group, c0, n, chunk, |image, area, copy| {
                for o in 0..outs {
                    let dy = &self.dy[self.dy_start(image, group * outs + o, area)..];
                    for i in (0..n * taps).step_by(MAX_TAPS) {
                        let r = TapRows {
                            g: dy.as_ptr(),
                            g_row: self.plan.axes[2].count,
                            s: copy.as_ptr(),
                            s_row: self.plan.pitch,
                            off: self.offsets[i..].as_ptr(),
                            taps: MAX_TAPS.min(n * taps - i),
                            rows: area.rows,
                            cols: area.cols,
                        };
                        // SAFETY: the area lies inside `dy`, offsets plus the area inside the copy.
                        unsafe { (ks.tap_dot)(&r, out.get().add(at(o) + i)) };
                    }
                }
            });
        });
        for i in 0..len {
            let at = i / rows * self.channels * self.volume + self.place(i % rows);
            dw[at] = (1..self.chunks).fold(sums[i], |t, chunk| t + sums[chunk * len + i]);
        }
    }
}
