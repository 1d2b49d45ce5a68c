//! Convolution of one to three dimensions: forward pass, input gradient (which is the transposed
//! convolution as well) and weight gradient. All arrays are contiguous: `[batch, channels, depth,
//! height, width]`, weights `[out_channels, in_channels / groups, depth, height, width]`.
//!
//! f16 and bf16 are converted to f32 as a whole, and the result is rounded.

mod correlate;
mod plan;
pub(crate) mod taps;
mod weight_grad;

use crate::gemm::real::{Real, Source};
use crate::gemm::{Activation, Bias, Epilogue, MatView, MatmulElement, Operand, matmul, pack_panel};
use crate::scratch::Scratch;
use crate::threads::parallel_chunks;
use correlate::{Correlation, correlate};
use hadal_core::Element;
use hadal_core::ops::{ConvGeometry, Window};
use half::{bf16, f16};
use plan::Axis;
use std::ops::Range;

/// Largest extent and channel count: far above any use, and small enough that products of two stay
/// in range.
const LIMIT: usize = 1 << 31;

/// Checks that a geometry can be computed: sizes in range, channels divisible by groups, every
/// window inside the padded input.
///
/// # Errors
/// A sentence that names the first thing that is wrong.
pub fn check(g: &ConvGeometry) -> Result<(), String> {
    if g.groups == 0 || !g.in_channels.is_multiple_of(g.groups) || !g.out_channels.is_multiple_of(g.groups) {
        return Err(format!(
            "conv: {} input and {} output channels cannot be split into {} groups",
            g.in_channels, g.out_channels, g.groups
        ));
    }
    for w in &g.windows {
        let sizes = [w.input, w.kernel, w.stride, w.pad_lo, w.pad_hi, w.dilation, w.output];
        if sizes.iter().any(|&s| s > LIMIT) {
            return Err(format!("conv: sizes above 2^31 in {w:?}"));
        }
        if w.kernel == 0 || w.stride == 0 || w.dilation == 0 {
            return Err(format!("conv: kernel, stride and dilation must be at least 1 in {w:?}"));
        }
        let need = (w.output as u128).saturating_sub(1) * w.stride as u128
            + (w.kernel as u128 - 1) * w.dilation as u128
            + 1;
        if w.output > 0 && need > (w.input + w.pad_lo + w.pad_hi) as u128 {
            return Err(format!("conv: {} windows do not fit the padded input in {w:?}", w.output));
        }
    }
    Ok(())
}

/// Lengths of input, weight and output.
fn lengths(g: &ConvGeometry) -> Result<[usize; 3], String> {
    check(g)?;
    let product = |first: [usize; 2], f: fn(&Window) -> usize| {
        let all = || first.into_iter().chain(g.windows.iter().map(f));
        if all().any(|n| n == 0) { Some(0) } else { all().try_fold(1usize, |a, n| a.checked_mul(n)) }
    };
    let x = product([g.batch, g.in_channels], |w| w.input);
    let w = product([g.out_channels, g.in_channels / g.groups], |w| w.kernel);
    let y = product([g.batch, g.out_channels], |w| w.output);
    match (x, w, y) {
        (Some(x), Some(w), Some(y)) => Ok([x, w, y]),
        _ => Err("conv: the arrays are too large".into()),
    }
}

fn check_lengths(got: [usize; 3], g: &ConvGeometry) -> Result<(), String> {
    let want = lengths(g)?;
    if got == want {
        return Ok(());
    }
    Err(format!("conv: input, weight and output have {got:?} elements instead of {want:?}"))
}

/// What a convolution adds to each channel and applies to each element, in this order.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConvEpilogue<'a, T> {
    /// One value per output channel.
    pub bias: Option<&'a [T]>,
    /// Applied after the bias.
    pub activation: Activation,
}

impl<T> ConvEpilogue<'_, T> {
    /// Leaves the result as it is.
    pub const NONE: Self = ConvEpilogue { bias: None, activation: Activation::None };
}

mod sealed {
    use super::{ConvEpilogue, ConvGeometry};

    /// Implemented by the four float types.
    pub trait Convolve: Sized {
        fn forward(x: &[Self], w: &[Self], y: &mut [Self], g: &ConvGeometry, e: ConvEpilogue<'_, Self>);
        fn input_grad(dy: &[Self], w: &[Self], dx: &mut [Self], g: &ConvGeometry, e: ConvEpilogue<'_, Self>);
        fn weight_grad(x: &[Self], dy: &[Self], dw: &mut [Self], g: &ConvGeometry);
    }
}
use sealed::Convolve;

/// An element type that can be convolved: f32, f64, f16, bf16.
pub trait ConvElement: Element + Convolve {}
impl<T: Element + Convolve> ConvElement for T {}

/// The convolution `y[n, o, p] = sum over c and taps of w[o, c, tap] * x[n, c, p * stride + tap *
/// dilation - pad_lo]`.
///
/// # Errors
/// When the geometry is impossible or a slice does not have its length.
///
/// ```
/// use hadal_core::ops::{ConvGeometry, Window};
/// use hadal_cpu::conv::{conv_forward, ConvEpilogue};
/// let row = Window { input: 4, kernel: 2, output: 3, ..Window::UNIT };
/// let g = ConvGeometry {
///     batch: 1, in_channels: 1, out_channels: 1, groups: 1,
///     windows: [Window::UNIT, Window::UNIT, row], spatial: 1,
/// };
/// let mut y = [0.0f32; 3];
/// conv_forward(&[1.0, 2.0, 4.0, 8.0], &[1.0, -1.0], &mut y, &g, ConvEpilogue::NONE)?;
/// assert_eq!(y, [-1.0, -2.0, -4.0]);
/// # Ok::<(), String>(())
/// ```
pub fn conv_forward<T: ConvElement>(
    x: &[T],
    w: &[T],
    y: &mut [T],
    g: &ConvGeometry,
    e: ConvEpilogue<'_, T>,
) -> Result<(), String> {
    check_lengths([x.len(), w.len(), y.len()], g)?;
    check_bias(e.bias, g.out_channels)?;
    T::forward(x, w, y, g, e);
    Ok(())
}

/// The gradient of [`conv_forward`] by its input; with `dy` as input, the transposed convolution.
/// Input elements that no window reads get zero (plus bias, if any).
///
/// # Errors
/// As for [`conv_forward`].
pub fn conv_input_grad<T: ConvElement>(
    dy: &[T],
    w: &[T],
    dx: &mut [T],
    g: &ConvGeometry,
    e: ConvEpilogue<'_, T>,
) -> Result<(), String> {
    check_lengths([dx.len(), w.len(), dy.len()], g)?;
    check_bias(e.bias, g.in_channels)?;
    T::input_grad(dy, w, dx, g, e);
    Ok(())
}

/// The gradient of [`conv_forward`] by its weight.
///
/// # Errors
/// As for [`conv_forward`].
pub fn conv_weight_grad<T: ConvElement>(
    x: &[T],
    dy: &[T],
    dw: &mut [T],
    g: &ConvGeometry,
) -> Result<(), String> {
    check_lengths([x.len(), dw.len(), dy.len()], g)?;
    T::weight_grad(x, dy, dw, g);
    Ok(())
}

fn check_bias<T>(bias: Option<&[T]>, channels: usize) -> Result<(), String> {
    match bias {
        Some(b) if b.len() != channels => {
            Err(format!("conv: a bias of {} values for {channels} channels", b.len()))
        }
        _ => Ok(()),
    }
}

/// Whether the convolution is a matrix product over channels.
fn pointwise(g: &ConvGeometry) -> bool {
    g.windows
        .iter()
        .all(|w| w.kernel == 1 && w.stride == 1 && w.pad_lo == 0 && w.pad_hi == 0 && w.output == w.input)
}

fn forward<T: Real + MatmulElement>(x: &[T], w: &[T], y: &mut [T], g: &ConvGeometry, e: ConvEpilogue<'_, T>) {
    let (sources, results) = (g.in_channels / g.groups, g.out_channels / g.groups);
    if pointwise(g) && (g.groups == 1 || e.bias.is_none()) && channel_product(x, w, y, g, e, false) {
        return;
    }
    let relu = e.activation == Activation::Relu;
    let c =
        Correlation { images: g.batch, groups: g.groups, sources, results, source: x, bias: e.bias, relu };
    let plan = correlate::plan([0, 1, 2].map(|d| Axis::forward(&g.windows[d])), &c);
    let k = sources * plan.taps();
    if k == 0 {
        return empty_sum(y, (g.batch, g.out_channels), e);
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

fn input_grad<T: Real + MatmulElement>(
    dy: &[T],
    w: &[T],
    dx: &mut [T],
    g: &ConvGeometry,
    e: ConvEpilogue<'_, T>,
) {
    let (sources, results) = (g.out_channels / g.groups, g.in_channels / g.groups);
    if pointwise(g) && (g.groups == 1 || e.bias.is_none()) && channel_product(dy, w, dx, g, e, true) {
        return;
    }
    let relu = e.activation == Activation::Relu;
    let c =
        Correlation { images: g.batch, groups: g.groups, sources, results, source: dy, bias: e.bias, relu };
    let kernel = g.windows.map(|w| w.kernel);
    let volume: usize = kernel.iter().product();
    // One correlation for each residue that occurs.
    let residues = |w: &Window| -> Vec<Axis> {
        (0..w.stride.min(w.input)).map(|i| Axis::input_grad(w, (i + w.pad_lo) % w.stride)).collect()
    };
    let axes: Vec<Vec<Axis>> = g.windows.iter().map(residues).collect();
    let empty = |a: &Axis| a.count > 0 && (a.taps() == 0 || a.source == 0);
    if sources == 0 || axes.iter().flatten().any(empty) {
        empty_sum(dx, (g.batch, g.in_channels), e);
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
}

/// The result of a sum over nothing: zeros through bias and activation.
fn empty_sum<T: Real>(out: &mut [T], (batch, channels): (usize, usize), e: ConvEpilogue<'_, T>) {
    let plane = out.len() / (batch * channels).max(1);
    parallel_chunks(out, plane, &|i, values| {
        let v = e.bias.map_or(T::ZERO, |b| b[i % channels]);
        values.fill(if e.activation == Activation::Relu && v < T::ZERO { T::ZERO } else { v });
    });
}

/// A 1x1 convolution as one matrix product per image and group. `transposed` is the input gradient.
fn channel_product<T: Real + MatmulElement>(
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
    let bias = e.bias.map_or(Bias::None, Bias::Rows);
    let epilogue = Epilogue { bias, activation: e.activation, map: None };
    matmul(&[g.batch, g.groups], m, pixels, k, a, b, to, false, &epilogue).is_ok()
}

macro_rules! convolve {
    ($($t:ty),*) => {$(
        impl Convolve for $t {
            fn forward(x: &[$t], w: &[$t], y: &mut [$t], g: &ConvGeometry, e: ConvEpilogue<'_, $t>) {
                forward(x, w, y, g, e)
            }
            fn input_grad(dy: &[$t], w: &[$t], dx: &mut [$t], g: &ConvGeometry, e: ConvEpilogue<'_, $t>) {
                input_grad(dy, w, dx, g, e)
            }
            fn weight_grad(x: &[$t], dy: &[$t], dw: &mut [$t], g: &ConvGeometry) {
                weight_grad::weight_grad(g, x, dy, dw)
            }
        }
    )*};
}
convolve!(f32, f64);

/// A slice in f32.
fn widened<S: Source<f32>>(v: &[S]) -> Scratch<f32> {
    let mut wide = Scratch::new(v.len());
    parallel_chunks(wide.slice(), HALF_TASK, &|i, d| S::widen_into(&v[i * HALF_TASK..][..d.len()], d));
    wide
}

/// Elements that one task converts.
const HALF_TASK: usize = 1 << 15;

/// Runs `f` on `out` in f32 and rounds.
fn rounded<S: Source<f32>>(out: &mut [S], f: impl FnOnce(&mut [f32])) {
    let mut wide = Scratch::<f32>::new(out.len());
    f(wide.slice());
    let wide = &*wide.slice();
    parallel_chunks(out, HALF_TASK, &|i, d| S::narrow_into(&wide[i * HALF_TASK..][..d.len()], d));
}

macro_rules! convolve_halves {
    ($($t:ty),*) => {$(
        impl Convolve for $t {
            fn forward(x: &[$t], w: &[$t], y: &mut [$t], g: &ConvGeometry, e: ConvEpilogue<'_, $t>) {
                let (mut x, mut w, mut b) = (widened(x), widened(w), e.bias.map(widened));
                let e = ConvEpilogue { bias: b.as_mut().map(|b| &*b.slice()), activation: e.activation };
                rounded(y, |y| forward(x.slice(), w.slice(), y, g, e));
            }
            fn input_grad(dy: &[$t], w: &[$t], dx: &mut [$t], g: &ConvGeometry, e: ConvEpilogue<'_, $t>) {
                let (mut dy, mut w, mut b) = (widened(dy), widened(w), e.bias.map(widened));
                let e = ConvEpilogue { bias: b.as_mut().map(|b| &*b.slice()), activation: e.activation };
                rounded(dx, |dx| input_grad(dy.slice(), w.slice(), dx, g, e));
            }
            fn weight_grad(x: &[$t], dy: &[$t], dw: &mut [$t], g: &ConvGeometry) {
                let (mut x, mut dy) = (widened(x), widened(dy));
                rounded(dw, |dw| weight_grad::weight_grad(g, x.slice(), dy.slice(), dw));
            }
        }
    )*};
}
convolve_halves!(f16, bf16);
