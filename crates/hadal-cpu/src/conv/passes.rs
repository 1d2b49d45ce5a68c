//! The three passes, and which path each takes.

use super::correlate::{self, Correlation, correlate};
use super::depth_kernel::Depth;
use super::depthwise::Depthwise;
use super::epilogue::{ConvEpilogue, apply, apply_all};
use super::plan::Axis;
use super::winograd::Winograd;
use crate::gemm::{Activation, Bias, Epilogue, MatView, MatmulElement, Operand, RowMap, matmul, pack_panel};
use hadal_core::ops::{ConvGeometry, Window};
use std::ops::Range;

/// Whether the convolution is a matrix product over channels.
fn pointwise(g: &ConvGeometry) -> bool {
    g.windows
        .iter()
        .all(|w| w.kernel == 1 && w.stride == 1 && w.pad_lo == 0 && w.pad_hi == 0 && w.output == w.input)
}

/// See [`super::conv_forward`].
pub(super) fn forward<T: Depth + MatmulElement>(
    x: &[T],
    w: &[T],
    y: &mut [T],
    g: &ConvGeometry,
    e: ConvEpilogue<'_, T>,
) {
    if let Some(d) = Depthwise::new(g) {
        return d.forward(x, w, y, e);
    }
    if pointwise(g) && channel_product(x, w, y, g, e, false) {
        return;
    }
    let (sources, results) = (g.in_channels / g.groups, g.out_channels / g.groups);
    let c = Correlation { images: g.batch, groups: g.groups, sources, results, source: x, epilogue: e };
    if let Some(winograd) = Winograd::new(&c, &g.windows, false) {
        let kernel = |group: usize, r: usize, s: usize| {
            let at = ((group * results + r) * sources + s) * 9;
            std::array::from_fn(|i| w[at + i])
        };
        return winograd.run(&kernel, y);
    }
    let plan = correlate::plan([0, 1, 2].map(|d| Axis::forward(&g.windows[d])), &c);
    let k = sources * plan.taps();
    if k == 0 {
        y.fill(T::ZERO);
        return apply_all(&e, g.out_channels, plane(g, |w| w.output), y);
    }
    let kernel = g.windows.map(|w| w.kernel);
    let volume: usize = kernel.iter().product();
    let taps = plan.kernel_index(kernel);
    let ks = T::kernels();
    let pack = |group: usize, first: usize, count: usize, range: Range<usize>, dst: &mut [T]| {
        let w = &w[group * results * sources * volume..][..results * sources * volume];
        if taps.len() == volume {
            let src = Operand { ptr: w.as_ptr(), lane: k as isize, step: 1 };
            // SAFETY: rows `first` to `first + count` and the range of k lie inside the group's
            // weights; `dst` has `count * range.len()` elements.
            return unsafe {
                pack_panel(ks, src, count, first, count, (range.start, range.len()), dst.as_mut_ptr())
            };
        }
        for (k, row) in range.zip(dst.chunks_exact_mut(count)) {
            let at = (first * sources + k / taps.len()) * volume + taps[k % taps.len()];
            row.iter_mut().zip(w[at..].iter().step_by(sources * volume)).for_each(|(d, &s)| *d = s);
        }
    };
    correlate(&c, &plan, &pack, y);
}

/// See [`super::conv_input_grad`].
pub(super) fn input_grad<T: Depth + MatmulElement>(
    dy: &[T],
    w: &[T],
    dx: &mut [T],
    g: &ConvGeometry,
    e: ConvEpilogue<'_, T>,
) {
    if let Some(d) = Depthwise::new(g) {
        return d.input_grad(dy, w, dx, e);
    }
    if pointwise(g) && channel_product(dy, w, dx, g, e, true) {
        return;
    }
    let (sources, results) = (g.out_channels / g.groups, g.in_channels / g.groups);
    let kernel = g.windows.map(|w| w.kernel);
    let volume: usize = kernel.iter().product();
    // One correlation for each residue that occurs.
    let residues = |w: &Window| -> Vec<Axis> {
        (0..w.stride.min(w.input)).map(|i| Axis::input_grad(w, (i + w.pad_lo) % w.stride)).collect()
    };
    let axes: Vec<Vec<Axis>> = g.windows.iter().map(residues).collect();
    let empty = |a: &Axis| a.count > 0 && (a.taps() == 0 || a.source == 0);
    let empty = sources == 0 || axes.iter().flatten().any(empty);
    if empty {
        dx.fill(T::ZERO);
    }
    // Where the result is written in several goes, what happens to it must wait.
    let at_once = !empty && g.windows.iter().all(|w| w.stride == 1);
    let epilogue = if at_once { e } else { ConvEpilogue::NONE };
    let c = Correlation { images: g.batch, groups: g.groups, sources, results, source: dy, epilogue };
    if let Some(winograd) = Winograd::new(&c, &g.windows, true) {
        // The kernels turned by half a turn, with sources and results in each other's place.
        let kernel = |group: usize, r: usize, s: usize| {
            let at = ((group * sources + s) * results + r) * 9;
            std::array::from_fn(|i| w[at + 8 - i])
        };
        return winograd.run(&kernel, dx);
    }
    for z in &axes[0] {
        for y in &axes[1] {
            for x in &axes[2] {
                let plan = correlate::plan([z.clone(), y.clone(), x.clone()], &c);
                let taps = plan.kernel_index(kernel);
                let pack = |group: usize, first: usize, count: usize, range: Range<usize>, dst: &mut [T]| {
                    for (k, row) in range.zip(dst.chunks_exact_mut(count)) {
                        let (o, tap) = (k / taps.len(), taps[k % taps.len()]);
                        let at = ((group * sources + o) * results + first) * volume + tap;
                        row.iter_mut().zip(w[at..].iter().step_by(volume)).for_each(|(d, &s)| *d = s);
                    }
                };
                correlate(&c, &plan, &pack, dx);
            }
        }
    }
    if !at_once {
        apply_all(&e, g.in_channels, plane(g, |w| w.input), dx);
    }
}

/// See [`super::conv_weight_grad`].
pub(super) fn weight_grad<T: Depth + MatmulElement>(x: &[T], dy: &[T], dw: &mut [T], g: &ConvGeometry) {
    if Depthwise::new(g).is_some_and(|d| d.weight_grad(x, dy, dw)) {
        return;
    }
    if pointwise(g) && g.groups == 1 && pixel_products(x, dy, dw, g) {
        return;
    }
    super::weight_grad::weight_grad(g, x, dy, dw);
}

/// Pixels of an image from which the weight gradient of a 1x1 convolution is a matrix product over
/// them, image after image.
const MIN_PIXELS: usize = 196;

/// The weight gradient of a 1x1 convolution as matrix products. False if that does not pay.
fn pixel_products<T: Depth + MatmulElement>(x: &[T], dy: &[T], dw: &mut [T], g: &ConvGeometry) -> bool {
    let pixels = plane(g, |w| w.input);
    if pixels < MIN_PIXELS || g.batch == 0 {
        return false;
    }
    let (ins, outs) = (g.in_channels, g.out_channels);
    (0..g.batch).all(|n| {
        let a = MatView { offset: n * outs * pixels, ..MatView::row_major(dy, pixels) };
        let b = MatView { offset: n * ins * pixels, ..MatView::row_major(x, pixels) }.t();
        matmul(&[], outs, ins, pixels, a, b, dw, n > 0, &Epilogue::NONE).is_ok()
    })
}

/// Elements of a plane.
fn plane(g: &ConvGeometry, side: impl Fn(&Window) -> usize) -> usize {
    g.windows.iter().map(side).product()
}

/// A 1x1 convolution as one matrix product per image and group. `transposed` is the input gradient.
fn channel_product<T: Depth + MatmulElement>(
    from: &[T],
    w: &[T],
    to: &mut [T],
    g: &ConvGeometry,
    e: ConvEpilogue<'_, T>,
    transposed: bool,
) -> bool {
    let (ins, outs) = (g.in_channels / g.groups, g.out_channels / g.groups);
    let pixels: usize = g.windows.iter().map(|w| w.input).product();
    let weight = MatView { data: w, offset: 0, row_stride: ins as isize, col_stride: 1, batch_strides: &[] };
    let (m, k, weight) = if transposed { (ins, outs, weight.t()) } else { (outs, ins, weight) };
    let a = MatView { batch_strides: &[0, (ins * outs) as isize], ..weight };
    let b_strides = [(g.groups * k * pixels) as isize, (k * pixels) as isize];
    let b = MatView { batch_strides: &b_strides, ..MatView::row_major(from, pixels) };
    let rows = |row: usize, col: usize, values: &mut [T]| {
        apply(&e, row % (g.groups * m), row * pixels + col, values);
    };
    let simple = g.groups == 1 && e.scale.is_none() && e.residual.is_none() && e.map.is_none();
    let epilogue = if simple {
        Epilogue { bias: e.bias.map_or(Bias::None, Bias::Rows), activation: e.activation, map: None }
    } else {
        let map: &RowMap<'_, T> = &rows;
        Epilogue { bias: Bias::None, activation: Activation::None, map: Some(map) }
    };
    matmul(&[g.batch, g.groups], m, pixels, k, a, b, to, false, &epilogue).is_ok()
}
