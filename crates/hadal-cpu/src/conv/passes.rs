//! The three passes, and which path each takes.

use super::correlate::{self, Correlation, correlate};
use super::depth_kernel::Depth;
use super::depthwise::Depthwise;
use super::epilogue::{ConvEpilogue, apply, apply_all};
use super::few::Few;
use super::lanes::{self, Lanes, plan_cycles};
use super::plan::{Axis, Plan};
use super::winograd::{self, KernelLayout, Winograd};
use crate::gemm::{Activation, Bias, Epilogue, MatView, MatmulElement, Operand, RowMap, matmul, pack_panel};
use crate::scratch::Scratch;
use hadal_core::ops::{ConvGeometry, Window};
use std::ops::Range;

/// Whether the convolution is a matrix product over channels.
fn pointwise(g: &ConvGeometry) -> bool {
    g.windows
        .iter()
        .all(|w| w.kernel == 1 && w.stride == 1 && w.pad_lo == 0 && w.pad_hi == 0 && w.output == w.input)
}

/// The weights of a forward pass.
#[derive(Clone, Copy)]
pub(super) enum Weights<'a, T> {
    /// As the caller has them.
    Plain(&'a [T]),
    /// As [`pack`] leaves them.
    Packed(&'a [T]),
}

impl<T: Depth> Weights<'_, T> {
    /// Calls `run` with packed weights, made by `pack` in `len` elements unless they are there.
    fn packed(self, len: usize, pack: impl FnOnce(&[T], &mut [T]), run: impl FnOnce(&[T])) {
        match self {
            Weights::Packed(p) => run(p),
            Weights::Plain(w) => {
                let mut scratch = Scratch::new(len);
                pack(w, scratch.slice());
                run(scratch.slice());
            }
        }
    }
}

/// How a forward pass is computed.
#[allow(clippy::large_enum_variant)] // One for each call, on the stack.
enum Way<'a, T: 'static> {
    Depthwise(Depthwise),
    /// A matrix product over channels.
    Channels,
    Winograd(Winograd<'a, T>),
    Lanes(Lanes<'a, T>),
    Few(Few<'a, T>),
    Direct(Plan),
}

/// The forward pass as a correlation.
fn forward_correlation<'a, T>(x: &'a [T], g: &ConvGeometry, e: ConvEpilogue<'a, T>) -> Correlation<'a, T> {
    let (sources, results) = (g.in_channels / g.groups, g.out_channels / g.groups);
    Correlation { images: g.batch, groups: g.groups, sources, results, source: x, epilogue: e }
}

/// Which way is taken; by shapes only.
fn forward_way<'a, T: Depth>(g: &ConvGeometry, c: &'a Correlation<'a, T>) -> Way<'a, T> {
    if let Some(d) = Depthwise::new(g) {
        return Way::Depthwise(d);
    }
    if pointwise(g) {
        return Way::Channels;
    }
    let winograd = Winograd::new(c, &g.windows, false);
    let plan = correlate::plan([0, 1, 2].map(|d| Axis::forward(&g.windows[d])), c);
    let cycles = winograd.as_ref().map_or_else(|| plan_cycles(c, &plan), |w| w.cycles);
    let few = Few::new(c, &g.windows, false).filter(|f| f.cycles < cycles);
    let cycles = few.as_ref().map_or(cycles, |f| f.cycles);
    match (Lanes::new(c, &g.windows, false, cycles), few, winograd) {
        (Some(lanes), ..) => Way::Lanes(lanes),
        (None, Some(few), _) => Way::Few(few),
        (None, None, Some(winograd)) => Way::Winograd(winograd),
        (None, None, None) => Way::Direct(plan),
    }
}

/// Where the kernels of a forward pass are.
fn forward_kernels<T>(c: &Correlation<'_, T>, g: &ConvGeometry) -> KernelLayout {
    let taps = plane(g, |w| w.kernel);
    KernelLayout { result: c.sources * taps, source: taps, turned: false }
}

/// Packs the weights of a direct forward pass.
fn pack_direct<T: Depth>(g: &ConvGeometry, plan: &Plan, c: &Correlation<'_, T>, w: &[T], packed: &mut [T]) {
    let (sources, results, k) = (c.sources, c.results, c.sources * plan.taps());
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
    correlate::pack_weights(c, plan, &pack, packed);
}

/// Elements of [`pack`]'s result.
pub(super) fn packed_len<T: Depth>(g: &ConvGeometry) -> usize {
    let c = forward_correlation::<T>(&[], g, ConvEpilogue::NONE);
    match forward_way(g, &c) {
        Way::Depthwise(_) | Way::Channels => {
            g.out_channels * c.sources * g.windows.iter().map(|w| w.kernel).product::<usize>()
        }
        Way::Winograd(winograd) => winograd.packed_len(),
        Way::Lanes(lanes) => lanes.packed_len(),
        Way::Few(few) => few.packed_len(),
        Way::Direct(plan) => correlate::packed_len(&c, &plan),
    }
}

/// Brings weights into the form that [`forward`] reads.
pub(super) fn pack<T: Depth>(w: &[T], g: &ConvGeometry, packed: &mut [T]) {
    let c = forward_correlation(&[], g, ConvEpilogue::NONE);
    match forward_way(g, &c) {
        Way::Depthwise(_) | Way::Channels => packed.copy_from_slice(w),
        Way::Winograd(winograd) => winograd.pack(w, forward_kernels(&c, g), packed),
        Way::Lanes(lanes) => lanes.pack(w, forward_kernels(&c, g), packed),
        Way::Few(few) => few.pack(w, forward_kernels(&c, g), packed),
        Way::Direct(plan) => pack_direct(g, &plan, &c, w, packed),
    }
}

/// See [`super::conv_forward`].
pub(super) fn forward<T: Depth + MatmulElement>(
    x: &[T],
    weights: Weights<'_, T>,
    y: &mut [T],
    g: &ConvGeometry,
    e: ConvEpilogue<'_, T>,
) {
    let c = forward_correlation(x, g, e);
    let (Weights::Plain(w) | Weights::Packed(w)) = weights;
    match forward_way(g, &c) {
        Way::Depthwise(d) => d.forward(x, w, y, e),
        Way::Channels => channel_product(x, w, y, g, e, false),
        Way::Winograd(winograd) => weights.packed(
            winograd.packed_len(),
            |w, packed| winograd.pack(w, forward_kernels(&c, g), packed),
            |packed| winograd.run(packed, y),
        ),
        Way::Lanes(lanes) => weights.packed(
            lanes.packed_len(),
            |w, packed| lanes.pack(w, forward_kernels(&c, g), packed),
            |packed| lanes.run(packed, y),
        ),
        Way::Few(few) => few.run(weights, forward_kernels(&c, g), y),
        Way::Direct(plan) => {
            let len = correlate::packed_len(&c, &plan);
            if len == 0 {
                y.fill(T::ZERO);
                return apply_all(&e, g.out_channels, plane(g, |w| w.output), y);
            }
            weights.packed(
                len,
                |w, packed| pack_direct(g, &plan, &c, w, packed),
                |packed| correlate(&c, &plan, packed, y),
            );
        }
    }
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
    if pointwise(g) {
        return channel_product(dy, w, dx, g, e, true);
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
    let mut plans = Vec::new();
    for z in &axes[0] {
        for y in &axes[1] {
            plans.extend(axes[2].iter().map(|x| correlate::plan([z.clone(), y.clone(), x.clone()], &c)));
        }
    }
    if !empty {
        // These write every result once.
        let c = Correlation { epilogue: e, ..c };
        let winograd = Winograd::new(&c, &g.windows, true);
        let cycles = || plans.iter().map(|p| plan_cycles(&c, p)).sum();
        let cycles = winograd.as_ref().map_or_else(cycles, |w| w.cycles);
        let few = Few::new(&c, &g.windows, true).filter(|f| f.cycles < cycles);
        let cycles = few.as_ref().map_or(cycles, |f| f.cycles);
        let layout = KernelLayout { result: volume, source: results * volume, turned: false };
        if let Some(lanes) = Lanes::new(&c, &g.windows, true, cycles) {
            let mut packed = Scratch::new(lanes.packed_len());
            lanes.pack(w, layout, packed.slice());
            return lanes.run(packed.slice(), dx);
        }
        if let Some(few) = few {
            return few.run(Weights::Plain(w), layout, dx);
        }
        if let Some(winograd) = winograd {
            // Turned by half a turn, with sources and results in each other's place.
            let layout = KernelLayout { turned: true, ..layout };
            let mut packed = Scratch::new(winograd.packed_len());
            winograd.pack(w, layout, packed.slice());
            return winograd.run(packed.slice(), dx);
        }
    }
    for plan in &plans {
        let taps = plan.kernel_index(kernel);
        let pack = |group: usize, first: usize, count: usize, range: Range<usize>, dst: &mut [T]| {
            for (k, row) in range.zip(dst.chunks_exact_mut(count)) {
                let (o, tap) = (k / taps.len(), taps[k % taps.len()]);
                let at = ((group * sources + o) * results + first) * volume + tap;
                row.iter_mut().zip(w[at..].iter().step_by(volume)).for_each(|(d, &s)| *d = s);
            }
        };
        let mut packed = Scratch::new(correlate::packed_len(&c, plan));
        correlate::pack_weights(&c, plan, &pack, packed.slice());
        correlate(&c, plan, packed.slice(), dx);
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
    let winograd = winograd::WeightGrad::new::<T>(g);
    let cycles = winograd.as_ref().map_or(f64::INFINITY, |w| w.cycles);
    if lanes::weight_grad(g, x, dy, dw, cycles) || winograd.is_some_and(|w| w.run(g, x, dy, dw)) {
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
) {
    let (ins, outs) = (g.in_channels / g.groups, g.out_channels / g.groups);
    let pixels: usize = g.windows.iter().map(|w| w.input).product();
    let weight = MatView { data: w, offset: 0, row_stride: ins as isize, col_stride: 1, batch_strides: &[] };
    let (m, k, weight) = if transposed { (ins, outs, weight.t()) } else { (outs, ins, weight) };
    let a = MatView { batch_strides: &[0, (ins * outs) as isize], ..weight };
    let b_strides = [(g.groups * k * pixels) as isize, (k * pixels) as isize];
    let b = MatView { batch_strides: &b_strides, ..MatView::row_major(from, pixels) };
    // The bias is added in registers where it comes first, the rest is done row by row.
    let bias = e.bias.filter(|_| g.groups == 1 && e.scale.is_none());
    let rest = if bias.is_some() { ConvEpilogue { bias: None, ..e } } else { e };
    let rows = |row: usize, col: usize, values: &mut [T]| {
        apply(&rest, row % (g.groups * m), row * pixels + col, values);
    };
    let map: Option<&RowMap<'_, T>> = if rest.is_none() { None } else { Some(&rows) };
    let epilogue = Epilogue { bias: bias.map_or(Bias::None, Bias::Rows), activation: Activation::None, map };
    let done = matmul(&[g.batch, g.groups], m, pixels, k, a, b, to, false, &epilogue);
    debug_assert!(done.is_ok(), "lengths were checked: {done:?}");
}
