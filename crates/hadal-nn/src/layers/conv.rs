//! Convolution layers and transposed ones: one type, since they differ in which way the weight is read.

use super::{channels, layout, wrong};
use crate::init::Seeds;
use crate::{Ctx, Forward, Init, Module};
use hadal_core::{ErrorKind, Shape, Tag};
use hadal_tensor::{ConvOptions, PadMode, Padding, Param, Spatial, Tensor};

/// What [`Conv`] and [`ConvTranspose`] are: a weight, a bias and options, over `N` spatial dimensions.
#[derive(Module, Debug)]
pub struct ConvLayer<const N: usize, const TRANSPOSED: bool> {
    tag: Tag,
    /// `[out_channels, in_channels / groups, kernel..]`; transposed
    /// `[in_channels, out_channels / groups, kernel..]`.
    pub weight: Param,
    /// `[out_channels]`.
    pub bias: Option<Param>,
    #[module(skip)]
    seeds: Seeds,
    in_channels: usize,
    out_channels: usize,
    kernel: Spatial,
    options: ConvOptions,
    /// What stands around the input; zeros if none.
    #[module(skip)]
    padding_mode: Option<PadMode>,
}

/// Convolution (cross-correlation) over `N` spatial dimensions; use it as [`Conv1d`], [`Conv2d`],
/// [`Conv3d`].
///
/// Input `[n, in_channels, ..]` or without the batch; output the same with `out_channels` and spatial
/// sizes `⌊(size + 2·padding - dilation·(kernel-1) - 1)/stride⌋ + 1`. `weight` is
/// `[out_channels, in_channels/groups, kernel..]`, `bias` `[out_channels]`. Defaults: stride 1, no
/// padding, dilation 1, one group, with bias; weight and bias start uniform in ±1/√fan_in (PyTorch's).
///
/// ```
/// use hadal_nn::{Conv2d, Ctx, Forward, Init};
/// use hadal_tensor::{DType, Padding, Tensor};
/// let init = Init::new(0);
/// let x = Tensor::ones([8, 3, 32, 32], DType::F32);
/// let conv = Conv2d::new(&init, 3, 16, 5).stride(2).padding(2).no_bias();
/// assert_eq!(conv.forward(&x, &Ctx::eval()).dims(), [8, 16, 16, 16]);
/// let depthwise = Conv2d::new(&init, 3, 3, 3).groups(3).padding(Padding::Same);
/// assert_eq!(depthwise.weight.shape().dims(), [3, 1, 3, 3]);
/// ```
pub type Conv<const N: usize> = ConvLayer<N, false>;
/// Convolution of `[n, c, l]`. See [`Conv`].
pub type Conv1d = Conv<1>;
/// Convolution of `[n, c, h, w]`. See [`Conv`].
pub type Conv2d = Conv<2>;
/// Convolution of `[n, c, d, h, w]`. See [`Conv`].
pub type Conv3d = Conv<3>;

/// Transposed convolution over `N` spatial dimensions, the gradient of a convolution by its input; use
/// it as [`ConvTranspose1d`], [`ConvTranspose2d`], [`ConvTranspose3d`].
///
/// Input `[n, in_channels, ..]` or without the batch; output spatial sizes
/// `(size-1)·stride - 2·padding + dilation·(kernel-1) + output_padding + 1`. `weight` is
/// `[in_channels, out_channels/groups, kernel..]`. Defaults are PyTorch's: stride 1, no padding,
/// dilation 1, one group, with bias; weight and bias start uniform in ±1/√fan_in, where PyTorch takes
/// `fan_in` from the weight's second size.
///
/// ```
/// use hadal_nn::{ConvTranspose2d, Ctx, Forward, Init};
/// use hadal_tensor::{DType, Tensor};
/// let up = ConvTranspose2d::new(&Init::new(0), 8, 4, 4).stride(2).padding(1);
/// let y = up.forward(&Tensor::ones([1, 8, 7, 7], DType::F32), &Ctx::eval());
/// assert_eq!(y.dims(), [1, 4, 14, 14]);
/// ```
pub type ConvTranspose<const N: usize> = ConvLayer<N, true>;
/// Transposed convolution of `[n, c, l]`. See [`ConvTranspose`].
pub type ConvTranspose1d = ConvTranspose<1>;
/// Transposed convolution of `[n, c, h, w]`. See [`ConvTranspose`].
pub type ConvTranspose2d = ConvTranspose<2>;
/// Transposed convolution of `[n, c, d, h, w]`. See [`ConvTranspose`].
pub type ConvTranspose3d = ConvTranspose<3>;

impl<const N: usize, const TRANSPOSED: bool> ConvLayer<N, TRANSPOSED> {
    /// The layer's name, which its errors begin with.
    const NAME: &'static str = match (TRANSPOSED, N) {
        (false, 1) => "Conv1d",
        (false, 2) => "Conv2d",
        (false, _) => "Conv3d",
        (true, 1) => "ConvTranspose1d",
        (true, 2) => "ConvTranspose2d",
        (true, _) => "ConvTranspose3d",
    };

    /// A layer with bias. The kernel is one number or one for each spatial dimension.
    #[track_caller]
    pub fn new(init: &Init, in_channels: usize, out_channels: usize, kernel: impl Into<Spatial>) -> Self {
        let (tag, seeds, options) = (Tag::new(Self::NAME), init.seeds(), ConvOptions::default());
        Self::seeded(tag, seeds, in_channels, out_channels, kernel.into(), options, true)
    }

    #[track_caller]
    pub(super) fn seeded(
        tag: Tag,
        seeds: Seeds,
        in_channels: usize,
        out_channels: usize,
        kernel: Spatial,
        options: ConvOptions,
        bias: bool,
    ) -> Self {
        let _layer = hadal_tensor::enter(&tag);
        let (outer, inner) =
            if TRANSPOSED { (in_channels, out_channels) } else { (out_channels, in_channels) };
        let (weight, fan_in) = match weight_shape(Self::NAME, N, [inner, outer], &kernel, options.groups) {
            Ok(shape) => {
                let fan_in = shape[1..].iter().product();
                (seeds.weight(shape, fan_in), fan_in)
            }
            Err(bad) => (Param::new(bad), 0),
        };
        let bias = bias.then(|| seeds.bias(out_channels, fan_in));
        let padding_mode = None;
        ConvLayer { tag, weight, bias, seeds, in_channels, out_channels, kernel, options, padding_mode }
    }

    /// Distance of neighbouring outputs; transposed, distance in the output of neighbouring inputs. 1 unless
    /// set.
    pub fn stride(mut self, stride: impl Into<Spatial>) -> Self {
        self.options.stride = stride.into();
        self
    }
    /// Distance of neighbouring taps, 1 unless set.
    pub fn dilation(mut self, dilation: impl Into<Spatial>) -> Self {
        self.options.dilation = dilation.into();
        self
    }
    /// Groups of channels that do not see each other; `in_channels` for a depthwise convolution. The
    /// weight is drawn anew, in its new shape.
    #[track_caller]
    pub fn groups(self, groups: usize) -> Self {
        let (bias, padding_mode) = (self.bias.is_some(), self.padding_mode);
        let options = self.options.groups(groups);
        let (inputs, outputs) = (self.in_channels, self.out_channels);
        let drawn = Self::seeded(self.tag, self.seeds, inputs, outputs, self.kernel, options, bias);
        ConvLayer { padding_mode, ..drawn }
    }
    /// The same layer without its bias.
    pub fn no_bias(self) -> Self {
        ConvLayer { bias: None, ..self }
    }

    /// Pairs for `pad_with`, last dimension first; `None` where the convolution itself says what is wrong.
    fn amounts(&self) -> Option<Vec<(isize, isize)>> {
        let before_after = |total: usize| {
            // As for zeros, an odd one goes after.
            let before = total / 2;
            Some((isize::try_from(before).ok()?, isize::try_from(total - before).ok()?))
        };
        let totals: Vec<usize> = match &self.options.padding {
            Padding::Explicit(amount) => {
                amount.resolve(N)?.into_iter().map(|a| a.checked_mul(2)).collect::<Option<_>>()?
            }
            Padding::Valid => vec![0; N],
            Padding::Same if self.options.stride.resolve(N)?.iter().all(|&s| s == 1) => {
                let (kernel, dilation) = (self.kernel.resolve(N)?, self.options.dilation.resolve(N)?);
                let reach = |(k, d): (&usize, &usize)| k.checked_sub(1)?.checked_mul(*d);
                kernel.iter().zip(&dilation).map(reach).collect::<Option<_>>()?
            }
            _ => return None,
        };
        totals.into_iter().rev().map(before_after).collect()
    }
}

impl<const N: usize> ConvLayer<N, false> {
    /// Zeros around the input: numbers, or [`Padding::Same`] or [`Padding::Valid`]. None unless set.
    pub fn padding(mut self, padding: impl Into<Padding>) -> Self {
        self.options.padding = padding.into();
        self
    }
    /// What the padding holds in place of zeros: the input mirrored, its edge, or its other side (PyTorch's
    /// `padding_mode` `reflect`, `replicate`, `circular`). `None` is zeros.
    ///
    /// ```
    /// use hadal_nn::{Conv1d, Ctx, Forward, Init};
    /// use hadal_tensor::{PadMode, Tensor};
    /// let conv = Conv1d::new(&Init::new(0), 1, 1, 3).padding(1).padding_mode(PadMode::Circular).no_bias();
    /// conv.weight.set(Tensor::new([[[1.0f32, 0.0, 0.0]]]));
    /// let y = conv.forward(&Tensor::new([[[1.0f32, 2.0, 3.0]]]), &Ctx::eval());
    /// assert_eq!(y.to_vec::<f32>().unwrap(), [3.0, 1.0, 2.0]);
    /// ```
    pub fn padding_mode(self, mode: impl Into<Option<PadMode>>) -> Self {
        ConvLayer { padding_mode: mode.into(), ..self }
    }
}

impl<const N: usize> ConvLayer<N, true> {
    /// Rows cut off the output on all sides, none unless set.
    pub fn padding(mut self, padding: impl Into<Spatial>) -> Self {
        self.options.padding = Padding::Explicit(padding.into());
        self
    }
    /// Rows added at the far side of the output; less than stride or dilation. None unless set.
    pub fn output_padding(mut self, padding: impl Into<Spatial>) -> Self {
        self.options.output_padding = padding.into();
        self
    }
}

/// `[out, in / groups, kernel..]`, for a transposed convolution with `in` and `out` exchanged.
#[track_caller]
fn weight_shape(
    name: &'static str,
    n: usize,
    [inputs, outputs]: [usize; 2],
    kernel: &Spatial,
    groups: usize,
) -> Result<Shape, Tensor> {
    let Some(taps) = kernel.resolve(n) else {
        let message = format!("the kernel takes 1 or {n} numbers");
        return Err(wrong(
            ErrorKind::Value,
            name,
            message,
            &[],
            "give one number, or one for each spatial dimension",
        ));
    };
    if groups == 0 || !inputs.is_multiple_of(groups) || !outputs.is_multiple_of(groups) {
        let message = format!("{inputs} and {outputs} channels in {groups} groups");
        return Err(wrong(
            ErrorKind::Value,
            name,
            message,
            &[],
            "both numbers of channels must be multiples of groups",
        ));
    }
    Ok([outputs, inputs / groups].into_iter().chain(taps).collect())
}

impl<const N: usize, const TRANSPOSED: bool> Forward for ConvLayer<N, TRANSPOSED> {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let _layer = cx.enter(&self.tag);
        let weight = self.weight.get();
        if let Err(bad) = check(Self::NAME, N, x, &weight, self.in_channels) {
            return bad;
        }
        let bias = self.bias.as_ref().map(Param::get);
        let bias = bias.as_ref();
        // A padding that is not zeros stands in the input itself.
        let padded = self.padding_mode.and_then(|mode| Some(x.pad_with(&self.amounts()?, mode)));
        let valid = padded.is_some().then(|| self.options.clone().padding(Padding::Valid));
        let (x, o) = (padded.as_ref().unwrap_or(x), valid.as_ref().unwrap_or(&self.options));
        match (TRANSPOSED, N) {
            (true, 1) => x.conv_transpose1d(&weight, bias, o),
            (true, 2) => x.conv_transpose2d(&weight, bias, o),
            (true, _) => x.conv_transpose3d(&weight, bias, o),
            (false, 1) => x.conv1d(&weight, bias, o),
            (false, 2) => x.conv2d(&weight, bias, o),
            (false, _) => x.conv3d(&weight, bias, o),
        }
    }
}

/// What a convolution asks of its input's rank and channels.
#[track_caller]
fn check(name: &'static str, n: usize, x: &Tensor, weight: &Tensor, want: usize) -> Result<(), Tensor> {
    match channels(x, n) {
        _ if x.is_poisoned() => Err(x.clone()),
        _ if weight.is_poisoned() => Err(weight.clone()),
        None => {
            let message = format!("the input has {} dimensions, {} are needed", x.rank(), n + 2);
            let help = format!("the input is {}; add a missing channel with .unsqueeze(1)", layout(n));
            Err(wrong(ErrorKind::Shape, name, message, &[x, weight], &help))
        }
        Some(have) if have != want => {
            let message = format!("the input has {have} channels, in_channels is {want}");
            let help = format!("the input is {}", layout(n));
            Err(wrong(ErrorKind::Shape, name, message, &[x, weight], &help))
        }
        Some(_) => Ok(()),
    }
}
