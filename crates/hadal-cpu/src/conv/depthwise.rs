//! Convolutions in which every output channel reads one input channel, kernels 3x3 or 5x5, stride 1
//! or 2: plane by plane, without a matrix. Other geometries take the general path.
//!
//! There is too little arithmetic here to hide anything behind (nine multiply-adds for four bytes
//! read and four written), so a plane is copied once into a frame that fits the first-level cache,
//! and results are written where they belong.

use super::depth_kernel::{Depth, DepthKernels, Plane, Rows, SIZES};
use super::epilogue::{ConvEpilogue, apply};
use crate::scratch::Scratch;
use crate::threads::{SendPtr, parallel_chunks, parallel_for};
use hadal_core::ops::{ConvGeometry, Window};

/// Elements of a frame, about: three quarters of the first-level cache in f32.
const FRAME: usize = 6 << 10;
/// Results that one task computes, about.
const TASK: usize = 1 << 15;
/// Fewer tasks than this leave threads idle; a constant, so that nothing depends on their number.
const MIN_TASKS: usize = 16;
/// Most chunks of the weight gradient's sum over images.
const MAX_CHUNKS: usize = 16;
/// Room behind a frame for the vector that begins at its last element.
const SLACK: usize = 64;
/// Most taps.
const MAX_TAPS: usize = 25;

/// A depthwise geometry. Pairs are height and width.
pub(super) struct Depthwise {
    images: usize,
    channels: usize,
    /// Output channels for each input channel.
    multiplier: usize,
    /// Which of [`SIZES`].
    size: usize,
    kernel: usize,
    stride: usize,
    pad: [usize; 2],
    input: [usize; 2],
    output: [usize; 2],
}

/// How planes become frames, and how they are cut into bands of rows.
struct Frame {
    /// Height and width of the source.
    source: [usize; 2],
    /// Zeros above and left of it.
    pad: [usize; 2],
    kernel: usize,
    stride: usize,
    /// Rows of all results, and of a band.
    all_rows: usize,
    rows: usize,
    pitch: usize,
    /// Where the odd columns begin (stride 2).
    phase: usize,
    len: usize,
}

impl Frame {
    fn new(source: [usize; 2], pad: [usize; 2], kernel: usize, stride: usize, results: [usize; 2]) -> Frame {
        let phase = results[1] + (kernel - 1) / stride;
        let pitch = phase * stride;
        let most = (FRAME / pitch).saturating_sub(kernel) / stride;
        let bands = results[0].div_ceil(most.max(1));
        let rows = results[0].div_ceil(bands);
        let len = ((rows - 1) * stride + kernel) * pitch + SLACK;
        Frame { source, pad, kernel, stride, all_rows: results[0], rows, pitch, phase, len }
    }

    fn bands(&self) -> usize {
        self.all_rows.div_ceil(self.rows)
    }

    /// First row and rows of a band.
    fn band(&self, i: usize) -> (usize, usize) {
        (i * self.rows, self.rows.min(self.all_rows - i * self.rows))
    }

    /// Memory for a frame, with the zeros in place that [`Frame::fill`] leaves alone.
    fn memory<T: Depth>(&self) -> Scratch<T> {
        let mut frame = Scratch::new(self.len);
        frame.slice().fill(T::ZERO);
        frame
    }

    /// Copies what the result rows `first` to `first + rows` read of a source plane.
    fn fill<T: Depth>(&self, ks: &DepthKernels<T>, plane: &[T], first: usize, rows: usize, frame: &mut [T]) {
        let lines = (rows - 1) * self.stride + self.kernel;
        let ([height, width], [top, left]) = (self.source, self.pad);
        // Lines lo to hi are on the source.
        let start = first * self.stride;
        let lo = top.saturating_sub(start).min(lines);
        let hi = (top + height).saturating_sub(start).clamp(lo, lines);
        let cols = width.min(self.pitch.saturating_sub(left));
        if cols > 0 && hi > lo {
            let from = &plane[(start + lo - top) * width..(start + hi - top) * width];
            if self.stride == 1 {
                let to = &mut frame[lo * self.pitch + left..];
                let rows = Rows {
                    from: from.as_ptr(),
                    from_row: width,
                    to: to.as_mut_ptr(),
                    to_row: self.pitch,
                    rows: hi - lo,
                    cols,
                };
                // SAFETY: the source has these rows and columns, the frame too, and the slack behind
                // it takes the vector of the last row.
                unsafe { (ks.copy)(&rows) };
            } else {
                let lines = frame[lo * self.pitch..].chunks_exact_mut(self.pitch);
                for (line, row) in lines.zip(from.chunks_exact(width)) {
                    self.split(&row[..cols], line);
                }
            }
        }
        frame[..lo * self.pitch].fill(T::ZERO);
        frame[hi * self.pitch..lines * self.pitch].fill(T::ZERO);
    }

    /// Writes a row's even and odd frame columns to their halves of a line.
    fn split<T: Depth>(&self, row: &[T], line: &mut [T]) {
        let left = self.pad[1];
        let (even, odd) = line.split_at_mut(self.phase);
        // The row's first element is on an odd column of the frame if the padding is odd.
        let (first, second) = if left.is_multiple_of(2) {
            (&mut even[left / 2..], &mut odd[left / 2..])
        } else {
            (&mut odd[left / 2..], &mut even[left.div_ceil(2)..])
        };
        let pairs = row.len() / 2;
        T::split_pairs(&row[..2 * pairs], &mut first[..pairs], &mut second[..pairs]);
        if row.len() % 2 == 1 {
            first[pairs] = row[2 * pairs];
        }
    }
}

impl Depthwise {
    /// The geometry, if it is one that is computed here.
    pub fn new(g: &ConvGeometry) -> Option<Depthwise> {
        let [z, y, x] = &g.windows;
        let size = SIZES.iter().position(|&k| k == y.kernel)?;
        // Wider padding than this would only make frames large.
        let modest = |w: &Window| {
            let last = w.output.saturating_sub(1) * w.stride;
            w.dilation == 1 && w.pad_lo < w.kernel && last <= w.input + w.pad_lo
        };
        let fits = g.in_channels == g.groups
            && *z == Window::UNIT
            && (x.kernel, x.stride) == (y.kernel, y.stride)
            && y.stride <= 2
            && [y, x].into_iter().all(modest)
            && ![g.batch, g.out_channels, y.input, x.input, y.output, x.output].contains(&0);
        fits.then(|| Depthwise {
            images: g.batch,
            channels: g.in_channels,
            multiplier: g.out_channels / g.in_channels,
            size,
            kernel: y.kernel,
            stride: y.stride,
            pad: [y.pad_lo, x.pad_lo],
            input: [y.input, x.input],
            output: [y.output, x.output],
        })
    }

    fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// Calls `f(first, last)` for runs of units, a unit being a plane's band of `each` results.
    fn units(&self, frame: &Frame, each: usize, f: &(dyn Fn(usize, usize) + Sync)) {
        let units = self.images * self.channels * frame.bands();
        let run = (TASK / each).clamp(1, (units / MIN_TASKS).max(1));
        parallel_for(units.div_ceil(run), &|t| f(t * run, ((t + 1) * run).min(units)));
    }

    /// See [`super::conv_forward`].
    pub fn forward<T: Depth>(&self, x: &[T], w: &[T], y: &mut [T], e: ConvEpilogue<'_, T>) {
        let (ks, m, taps) = (T::depth(self.output[1]), self.multiplier, self.taps());
        let frame = Frame::new(self.input, self.pad, self.kernel, self.stride, self.output);
        let (source, result) = (self.input[0] * self.input[1], self.output[0] * self.output[1]);
        let y = SendPtr::new(y.as_mut_ptr());
        self.units(&frame, m * frame.rows * self.output[1], &|first, last| {
            let mut memory = frame.memory::<T>();
            for unit in first..last {
                let (plane, (row, rows)) = (unit / frame.bands(), frame.band(unit % frame.bands()));
                frame.fill(ks, &x[plane * source..][..source], row, rows, memory.slice());
                for j in 0..m {
                    let channel = plane % self.channels * m + j;
                    let at = (plane * m + j) * result + row * self.output[1];
                    // SAFETY: these rows of the result belong to this unit.
                    let out = unsafe { y.slice(at, rows * self.output[1]) };
                    let mut weights = [T::ZERO; MAX_TAPS];
                    weights[..taps].copy_from_slice(&w[channel * taps..][..taps]);
                    let p = self.plane(&frame, memory.slice(), &mut weights, out, self.output[1], rows);
                    // SAFETY: the frame holds what these rows read.
                    unsafe { (ks.forward[self.size][self.stride - 1])(&p) };
                    apply(&e, channel, at, out);
                }
            }
        });
    }

    fn plane<T>(
        &self,
        frame: &Frame,
        memory: &[T],
        weights: &mut [T],
        out: &mut [T],
        cols: usize,
        rows: usize,
    ) -> Plane<T> {
        Plane {
            frame: memory.as_ptr(),
            pitch: frame.pitch,
            phase: frame.phase,
            weights: weights.as_mut_ptr(),
            out: out.as_mut_ptr(),
            out_row: cols,
            rows,
            cols,
        }
    }

    /// See [`super::conv_input_grad`].
    pub fn input_grad<T: Depth>(&self, dy: &[T], w: &[T], dx: &mut [T], e: ConvEpilogue<'_, T>) {
        if self.stride == 2 { self.input_grad_2(dy, w, dx, e) } else { self.input_grad_1(dy, w, dx, e) }
    }

    /// Stride 1: the forward pass with mirrored taps.
    fn input_grad_1<T: Depth>(&self, dy: &[T], w: &[T], dx: &mut [T], e: ConvEpilogue<'_, T>) {
        let (ks, m, taps) = (T::depth(self.input[1]), self.multiplier, self.taps());
        let pad = self.pad.map(|p| self.kernel - 1 - p);
        let frame = Frame::new(self.output, pad, self.kernel, 1, self.input);
        let (source, result) = (self.output[0] * self.output[1], self.input[0] * self.input[1]);
        let width = self.input[1];
        let dx = SendPtr::new(dx.as_mut_ptr());
        self.units(&frame, m * frame.rows * width, &|first, last| {
            let mut memory = frame.memory::<T>();
            let mut more = Scratch::<T>::new(if m > 1 { frame.rows * width } else { 0 });
            for unit in first..last {
                let (plane, (row, rows)) = (unit / frame.bands(), frame.band(unit % frame.bands()));
                let at = plane * result + row * width;
                // SAFETY: these rows of the result belong to this unit.
                let out = unsafe { dx.slice(at, rows * width) };
                for j in 0..m {
                    let from = &dy[(plane * m + j) * source..][..source];
                    frame.fill(ks, from, row, rows, memory.slice());
                    let mut weights = [T::ZERO; MAX_TAPS];
                    let channel = plane % self.channels * m + j;
                    let mirrored = w[channel * taps..][..taps].iter().rev();
                    weights.iter_mut().zip(mirrored).for_each(|(d, &s)| *d = s);
                    let to = if j == 0 { &mut *out } else { &mut more.slice()[..rows * width] };
                    let p = self.plane(&frame, memory.slice(), &mut weights, to, width, rows);
                    // SAFETY: the frame holds what these rows read.
                    unsafe { (ks.forward[self.size][0])(&p) };
                    if j > 0 {
                        out.iter_mut().zip(&*more.slice()).for_each(|(d, &s)| *d += s);
                    }
                }
                apply(&e, plane % self.channels, at, out);
            }
        });
    }

    /// Stride 2: rows and columns fall apart into even and odd ones (counted with the padding), each
    /// with its own taps.
    fn input_grad_2<T: Depth>(&self, dy: &[T], w: &[T], dx: &mut [T], e: ConvEpilogue<'_, T>) {
        let (ks, m, taps) = (T::depth(self.input[1]), self.multiplier, self.taps());
        let reach = (self.kernel - 1) / 2;
        let [top, left] = self.pad;
        let [height, width] = self.input;
        let pairs = [(height - 1 + top) / 2 + 1, (width - 1 + left) / 2 + 1];
        let frame = Frame::new(self.output, [reach; 2], reach + 1, 1, pairs);
        let (source, result) = (self.output[0] * self.output[1], height * width);
        // Results as the kernel leaves them: even columns, odd columns.
        let half = pairs[1].next_multiple_of(ks.lanes);
        let dx = SendPtr::new(dx.as_mut_ptr());
        self.units(&frame, m * 4 * frame.rows * pairs[1], &|first, last| {
            let mut memory = frame.memory::<T>();
            let halves = 2 * frame.rows * 2 * half;
            let (mut sums, mut joined) = (Scratch::<T>::new(halves), Scratch::<T>::new(2 * half));
            let mut more = Scratch::<T>::new(if m > 1 { halves } else { 0 });
            for unit in first..last {
                let (plane, (pair, count)) = (unit / frame.bands(), frame.band(unit % frame.bands()));
                for j in 0..m {
                    let from = &dy[(plane * m + j) * source..][..source];
                    frame.fill(ks, from, pair, count, memory.slice());
                    let mut weights = [T::ZERO; MAX_TAPS];
                    let channel = plane % self.channels * m + j;
                    weights[..taps].copy_from_slice(&w[channel * taps..][..taps]);
                    let to = if j == 0 { sums.slice() } else { more.slice() };
                    let p = Plane {
                        phase: half,
                        out_row: 2 * half,
                        ..self.plane(&frame, memory.slice(), &mut weights, to, pairs[1], count)
                    };
                    // SAFETY: the frame holds what these pairs of rows read; result rows are whole
                    // vectors long.
                    unsafe { (ks.input_grad[self.size])(&p) };
                    if j > 0 {
                        sums.slice().iter_mut().zip(&*more.slice()).for_each(|(d, &s)| *d += s);
                    }
                }
                let rows = (2 * pair).max(top)..(2 * (pair + count)).min(height + top);
                for row in rows {
                    let (even, odd) = sums.slice()[(row - 2 * pair) * 2 * half..][..2 * half].split_at(half);
                    T::join_pairs(even, odd, joined.slice());
                    let at = plane * result + (row - top) * width;
                    // SAFETY: this row of the result belongs to this unit.
                    let out = unsafe { dx.slice(at, width) };
                    out.copy_from_slice(&joined.slice()[left..][..width]);
                    apply(&e, plane % self.channels, at, out);
                }
            }
        });
    }

    /// See [`super::conv_weight_grad`]. False if there are no loops for this kernel.
    pub fn weight_grad<T: Depth>(&self, x: &[T], dy: &[T], dw: &mut [T]) -> bool {
        let (ks, m, taps) = (T::depth(self.output[1]), self.multiplier, self.taps());
        let Some(kernel) = ks.weight_grad.get(self.size) else { return false };
        let kernel = kernel[self.stride - 1];
        let frame = Frame::new(self.input, self.pad, self.kernel, self.stride, self.output);
        let (source, result) = (self.input[0] * self.input[1], self.output[0] * self.output[1]);
        // A task: some output channels of one input channel, a chunk of the units (image, band).
        let units = self.images * frame.bands();
        let blocks = MIN_TASKS.div_ceil(self.channels).min(m);
        let block = m.div_ceil(blocks);
        let blocks = m.div_ceil(block);
        let chunks = (2 * MIN_TASKS).div_ceil(self.channels * blocks).min(MAX_CHUNKS).min(units);
        let vectors = taps * ks.lanes;
        let mut sums = Scratch::<T>::new(chunks * self.channels * m * vectors);
        let sums = sums.slice();
        let shared = SendPtr::new(sums.as_mut_ptr());
        parallel_for(self.channels * blocks * chunks, &|t| {
            let (chunk, rest) = (t % chunks, t / chunks);
            let (channel, first) = (rest / blocks, rest % blocks * block);
            let count = block.min(m - first);
            let at = (chunk * self.channels + channel) * m + first;
            // SAFETY: the sums of (chunk, channel, block) belong to this task.
            let sums = unsafe { shared.slice(at * vectors, count * vectors) };
            sums.fill(T::ZERO);
            let mut memory = frame.memory::<T>();
            for unit in units * chunk / chunks..units * (chunk + 1) / chunks {
                let (image, (row, rows)) = (unit / frame.bands(), frame.band(unit % frame.bands()));
                let plane = image * self.channels + channel;
                frame.fill(ks, &x[plane * source..][..source], row, rows, memory.slice());
                for (j, sums) in sums.chunks_exact_mut(vectors).enumerate() {
                    let from = &dy[(plane * m + first + j) * result + row * self.output[1]..];
                    let p = Plane {
                        frame: memory.slice().as_ptr(),
                        pitch: frame.pitch,
                        phase: frame.phase,
                        weights: sums.as_mut_ptr(),
                        out: from[..rows * self.output[1]].as_ptr().cast_mut(),
                        out_row: self.output[1],
                        rows,
                        cols: self.output[1],
                    };
                    // SAFETY: the frame holds what these rows read; there is a vector of sums for
                    // each tap; the output gradient is only read.
                    unsafe { kernel(&p) };
                }
            }
        });
        // Lanes within a chunk, then chunks in order.
        let (all, sums) = (self.channels * m * vectors, &*sums);
        parallel_chunks(dw, 1 << 10, &|part, dw| {
            for (i, d) in (part << 10..).zip(dw) {
                let sum = |chunk: usize| sum_lanes(&sums[chunk * all + i * ks.lanes..][..ks.lanes]);
                *d = (1..chunks).fold(sum(0), |t, chunk| t + sum(chunk));
            }
        });
        true
    }
}

/// The sum of a vector's lanes, four at a time.
#[inline]
fn sum_lanes<T: Depth>(lanes: &[T]) -> T {
    let (fours, rest) = lanes.as_chunks::<4>();
    let mut sums = [T::ZERO; 4];
    for four in fours {
        (0..4).for_each(|i| sums[i] += four[i]);
    }
    sums.iter_mut().zip(rest).for_each(|(s, &v)| *s += v);
    (sums[0] + sums[2]) + (sums[1] + sums[3])
}
