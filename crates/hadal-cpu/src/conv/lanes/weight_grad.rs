//! The weight gradient of small planes: for every tap a product over the pixels at which it meets
//! the source, and over images.
//!
//! The output gradient is brought into the order `[pixel][channel][image]`, whose steps along images
//! are broadcast, the source into `[image][pixel][channel]`, whose vectors run along channels. The
//! taps of a block of channels are collected in cache and written in the weight's order.

use super::{MIN_CHANNELS, MIN_UNITS, Meeting, Order, Spots, WIDE};
use crate::conv::depth_kernel::Depth;
use crate::conv::lanes::kernel::{Product, Run};
use crate::scratch::Scratch;
use crate::threads::{SendPtr, parallel_for};
use hadal_core::ops::ConvGeometry;

/// Most elements of source and output gradient of a group together: they are read from the
/// last-level cache.
const MAX_ELEMENTS: usize = 3 << 20;
/// Largest plane: larger ones fill vectors well enough along their pixels.
const MAX_PLANE: usize = 1 << 10;
/// Elements between images beyond what they take, so that they do not share cache sets.
const APART: usize = 48;

/// Computes the weight gradient, if this way is thought quicker than `limit` cycles. False if not.
pub(in crate::conv) fn weight_grad<T: Depth>(
    g: &ConvGeometry,
    x: &[T],
    dy: &[T],
    dw: &mut [T],
    limit: f64,
) -> bool {
    let Some(ks) = T::run_kernels() else { return false };
    let (ins, outs) = (g.in_channels / g.groups, g.out_channels / g.groups);
    if ins.min(outs) < MIN_CHANNELS || g.batch < WIDE / 2 {
        return false;
    }
    let planes = [0, 1].map(|side| {
        g.windows.iter().map(|w| if side == 0 { w.input } else { w.output }).fold(1, usize::saturating_mul)
    });
    let [x_plane, dy_plane] = planes;
    let elements = x_plane.saturating_mul(ins).saturating_add(dy_plane.saturating_mul(outs));
    if x_plane > MAX_PLANE || elements.saturating_mul(g.batch) > MAX_ELEMENTS {
        return false;
    }
    let pairs = g.groups * ins * outs;
    let Some(spots) = Spots::new(&g.windows, false, g.batch, pairs, limit) else { return false };
    let taps: usize = g.windows.iter().map(|w| w.kernel).product();
    // The pixels of each tap.
    let mut meetings = vec![Vec::new(); taps];
    for pixel in 0..spots.pixels() {
        for m in spots.of(pixel) {
            meetings[m.tap].push((pixel, Meeting { ..*m }));
        }
    }
    let lanes = ks.lanes;
    let chunks = g.batch.div_ceil(lanes);
    let image_len = x_plane * ins + APART;
    let chunk_len = dy_plane * outs * lanes;
    // Tiles read whole rows and vectors, some of them beyond the last.
    let mut sources = Scratch::<T>::new(g.batch * image_len + 2 * lanes);
    let mut gradients = Scratch::<T>::new(chunks * chunk_len + ks.tall * lanes);
    let (sources, gradients) = (sources.slice(), gradients.slice());
    let (width, blocks, panels) = (2 * lanes, ins.div_ceil(2 * lanes), outs.div_ceil(ks.tall));
    for group in 0..g.groups {
        for (chunk, to) in gradients[..chunks * chunk_len].chunks_exact_mut(chunk_len).enumerate() {
            let order = Order {
                from: dy,
                first: (chunk * lanes * g.groups + group) * outs * dy_plane,
                image: g.groups * outs * dy_plane,
                images: lanes.min(g.batch - chunk * lanes),
                channels: outs,
                plane: dy_plane,
                pixels: 0..dy_plane,
            };
            order.run(lanes, to);
        }
        let to = SendPtr::new(sources.as_mut_ptr());
        parallel_for(g.batch, &|image| {
            let from = &x[(image * g.groups + group) * ins * x_plane..][..ins * x_plane];
            // SAFETY: an image's part belongs to its task; channels by pixels become pixels by
            // channels.
            unsafe {
                let to = to.slice(image * image_len, x_plane * ins);
                (T::kernels().pack)(from.as_ptr(), x_plane as isize, 1, ins, ins, x_plane, to.as_mut_ptr());
            }
        });
        let (sources, gradients) = (&*sources, &*gradients);
        let runs: Vec<Vec<Run>> = meetings
            .iter()
            .map(|met| {
                let chunks = (0..chunks).flat_map(|chunk| met.iter().map(move |m| (chunk, m)));
                let run = |(chunk, (pixel, m)): (usize, &(usize, Meeting))| Run {
                    a: chunk * chunk_len + pixel * outs * lanes,
                    b: chunk * lanes * image_len + m.pixel * ins,
                    steps: lanes.min(g.batch - chunk * lanes),
                };
                chunks.map(run).collect()
            })
            .collect();
        let to = SendPtr::new(dw[group * outs * ins * taps..][..outs * ins * taps].as_mut_ptr());
        // Blocks of channels one after the other, so that their sources stay in cache.
        let each = panels.div_ceil(MIN_UNITS.div_ceil(blocks));
        let parts = panels.div_ceil(each);
        parallel_for(blocks * parts, &|t| {
            let (c0, part) = (t / parts * width, t % parts);
            let count = width.min(ins - c0);
            let tile = ks.tall * width;
            let mut sums = Scratch::<T>::new(taps * tile);
            let sums = sums.slice();
            for panel in part * each..((part + 1) * each).min(panels) {
                let o0 = panel * ks.tall;
                for (tap, runs) in runs.iter().enumerate() {
                    // SAFETY: runs lie inside the operands, which have some rows and vectors to spare.
                    unsafe {
                        (ks.pairs)(&Product {
                            runs,
                            a: gradients.as_ptr().add(o0 * lanes),
                            b: sources.as_ptr().add(c0),
                            b_step: image_len,
                            c: sums.as_mut_ptr().add(tap * tile),
                            c_row: width,
                        });
                    }
                }
                for o in 0..ks.tall.min(outs - o0) {
                    // SAFETY: these channels of this output channel's weights belong to this task;
                    // taps by channels become channels by taps.
                    unsafe {
                        let to = to.slice(((o0 + o) * ins + c0) * taps, count * taps);
                        let from = sums.as_ptr().add(o * width);
                        (T::kernels().pack)(from, tile as isize, 1, taps, taps, count, to.as_mut_ptr());
                    }
                }
            }
        });
    }
    true
}
