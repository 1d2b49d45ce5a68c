//! Convolution of one to three dimensions: forward pass, input gradient (which is the transposed
//! convolution as well) and weight gradient. All arrays are contiguous: `[batch, channels, depth,
//! height, width]`, weights `[out_channels, in_channels / groups, depth, height, width]`.
//!
//! f16 and bf16 are converted to f32 as a whole, and the result is rounded.

mod correlate;
mod depth_kernel;
mod depthwise;
pub(crate) mod epilogue;
mod few;
mod lanes;
mod packed;
mod passes;
mod plan;
pub(crate) mod taps;
mod weight_grad;
mod winograd;

use crate::gemm::Activation;
use crate::gemm::real::Source;
use crate::scratch::Scratch;
use crate::threads::parallel_chunks;
pub use epilogue::{ConvEpilogue, PieceMap};
use hadal_core::Element;
use hadal_core::ops::{ConvGeometry, Window};
use half::{bf16, f16};
pub use packed::PackedConv;
use passes::Weights;
pub use winograd::set_winograd;

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

/// Checks that packed weights, at most four times the weights, have a length.
fn check_packable(g: &ConvGeometry) -> Result<(), String> {
    let [_, w, _] = lengths(g)?;
    w.checked_mul(4).map(|_| ()).ok_or_else(|| "conv: the weight is too large to be packed".into())
}

fn check_lengths(got: [usize; 3], g: &ConvGeometry) -> Result<(), String> {
    let want = lengths(g)?;
    if got == want {
        return Ok(());
    }
    Err(format!("conv: input, weight and output have {got:?} elements instead of {want:?}"))
}

mod sealed {
    use super::{ConvEpilogue, ConvGeometry};

    /// Implemented by the four float types.
    pub trait Convolve: Sized {
        /// What sums are computed in.
        type Work: hadal_core::Storage;
        fn packed_len(g: &ConvGeometry) -> usize;
        fn pack(w: &[Self], g: &ConvGeometry, packed: &mut [Self::Work]);
        fn forward(x: &[Self], w: &[Self], y: &mut [Self], g: &ConvGeometry, e: ConvEpilogue<'_, Self>);
        fn forward_packed(
            x: &[Self],
            packed: &[Self::Work],
            y: &mut [Self],
            g: &ConvGeometry,
            e: ConvEpilogue<'_, Self>,
        );
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
    e.check(g.out_channels, y.len())?;
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
    e.check(g.in_channels, dx.len())?;
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

macro_rules! convolve {
    ($($t:ty),*) => {$(
        impl Convolve for $t {
            type Work = $t;
            fn packed_len(g: &ConvGeometry) -> usize {
                passes::packed_len::<$t>(g)
            }
            fn pack(w: &[$t], g: &ConvGeometry, packed: &mut [$t]) {
                passes::pack(w, g, packed)
            }
            fn forward(x: &[$t], w: &[$t], y: &mut [$t], g: &ConvGeometry, e: ConvEpilogue<'_, $t>) {
                passes::forward(x, Weights::Plain(w), y, g, e)
            }
            fn forward_packed(
                x: &[$t],
                packed: &[$t],
                y: &mut [$t],
                g: &ConvGeometry,
                e: ConvEpilogue<'_, $t>,
            ) {
                passes::forward(x, Weights::Packed(packed), y, g, e)
            }
            fn input_grad(dy: &[$t], w: &[$t], dx: &mut [$t], g: &ConvGeometry, e: ConvEpilogue<'_, $t>) {
                passes::input_grad(dy, w, dx, g, e)
            }
            fn weight_grad(x: &[$t], dy: &[$t], dw: &mut [$t], g: &ConvGeometry) {
                passes::weight_grad(x, dy, dw, g)
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

/// Runs `f` on `out` in f32 and rounds; then the epilogue's last step, plane by plane.
fn rounded<S: Source<f32>>(
    out: &mut [S],
    plane: usize,
    map: Option<&PieceMap<'_, S>>,
    f: impl FnOnce(&mut [f32]),
) {
    let mut wide = Scratch::<f32>::new(out.len());
    f(wide.slice());
    let wide = &*wide.slice();
    parallel_chunks(out, HALF_TASK, &|i, d| S::narrow_into(&wide[i * HALF_TASK..][..d.len()], d));
    if let Some(map) = map {
        parallel_chunks(out, plane, &|i, values| map(i * plane, values));
    }
}

/// The arrays of an epilogue in f32.
struct WideEpilogue {
    arrays: [Option<Scratch<f32>>; 3],
    activation: Activation,
    clamp: Option<[f32; 2]>,
}

impl WideEpilogue {
    fn new<S: Source<f32>>(e: &ConvEpilogue<'_, S>) -> Self {
        WideEpilogue {
            arrays: [e.scale, e.bias, e.residual].map(|v| v.map(widened)),
            activation: e.activation,
            clamp: e.clamp.map(|bounds| bounds.map(S::widen)),
        }
    }
    fn get(&mut self) -> ConvEpilogue<'_, f32> {
        let [scale, bias, residual] = self.arrays.each_mut().map(|v| v.as_mut().map(|v| &*v.slice()));
        ConvEpilogue { scale, bias, residual, activation: self.activation, clamp: self.clamp, map: None }
    }
}

/// A forward pass that is computed in f32 and rounded.
fn forward_wide<S: Source<f32>>(
    x: &[S],
    w: Weights<'_, f32>,
    y: &mut [S],
    g: &ConvGeometry,
    e: ConvEpilogue<'_, S>,
) {
    let (mut x, mut wide) = (widened(x), WideEpilogue::new(&e));
    let plane = g.windows.iter().map(|w| w.output).product();
    rounded(y, plane, e.map, |y| passes::forward(x.slice(), w, y, g, wide.get()));
}

macro_rules! convolve_halves {
    ($($t:ty),*) => {$(
        impl Convolve for $t {
            type Work = f32;
            fn packed_len(g: &ConvGeometry) -> usize {
                passes::packed_len::<f32>(g)
            }
            fn pack(w: &[$t], g: &ConvGeometry, packed: &mut [f32]) {
                passes::pack(widened(w).slice(), g, packed)
            }
            fn forward(x: &[$t], w: &[$t], y: &mut [$t], g: &ConvGeometry, e: ConvEpilogue<'_, $t>) {
                forward_wide(x, Weights::Plain(widened(w).slice()), y, g, e)
            }
            fn forward_packed(
                x: &[$t],
                packed: &[f32],
                y: &mut [$t],
                g: &ConvGeometry,
                e: ConvEpilogue<'_, $t>,
            ) {
                forward_wide(x, Weights::Packed(packed), y, g, e)
            }
            fn input_grad(dy: &[$t], w: &[$t], dx: &mut [$t], g: &ConvGeometry, e: ConvEpilogue<'_, $t>) {
                let (mut dy, mut w, mut wide) = (widened(dy), widened(w), WideEpilogue::new(&e));
                let plane = g.windows.iter().map(|w| w.input).product();
                rounded(dx, plane, e.map, |dx| passes::input_grad(dy.slice(), w.slice(), dx, g, wide.get()));
            }
            fn weight_grad(x: &[$t], dy: &[$t], dw: &mut [$t], g: &ConvGeometry) {
                let (mut x, mut dy) = (widened(x), widened(dy));
                rounded(dw, 0, None, |dw| passes::weight_grad(x.slice(), dy.slice(), dw, g));
            }
        }
    )*};
}
convolve_halves!(f16, bf16);
