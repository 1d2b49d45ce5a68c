//! Convolution layers.

use super::{channels, layout, wrong};
use crate::init::Seeds;
use crate::{Ctx, Forward, Init, Module};
use hadal_core::{ErrorKind, Shape, Tag};
use hadal_tensor::{ConvOptions, Padding, Param, Spatial, Tensor};

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
#[derive(Module, Debug)]
pub struct Conv<const N: usize> {
    tag: Tag,
    /// `[out_channels, in_channels / groups, kernel..]`.
    pub weight: Param,
    /// `[out_channels]`.
    pub bias: Option<Param>,
    #[module(skip)]
    seeds: Seeds,
    in_channels: usize,
    out_channels: usize,
    kernel: Spatial,
    options: ConvOptions,
}

/// Convolution of `[n, c, l]`. See [`Conv`].
pub type Conv1d = Conv<1>;
/// Convolution of `[n, c, h, w]`. See [`Conv`].
pub type Conv2d = Conv<2>;
/// Convolution of `[n, c, d, h, w]`. See [`Conv`].
pub type Conv3d = Conv<3>;

impl<const N: usize> Conv<N> {
    /// The layer's name, which its errors begin with.
    const NAME: &'static str = match N {
        1 => "Conv1d",
        2 => "Conv2d",
        _ => "Conv3d",
    };

    /// A convolution with bias. The kernel is one number or one for each spatial dimension.
    #[track_caller]
    pub fn new(init: &Init, in_channels: usize, out_channels: usize, kernel: impl Into<Spatial>) -> Self {
        let tag = Tag::new(Self::NAME);
        Self::seeded(
            tag,
            init.seeds(),
            in_channels,
            out_channels,
            kernel.into(),
            ConvOptions::default(),
            true,
        )
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
        let (weight, fan_in) =
            match weight_shape(Self::NAME, N, [in_channels, out_channels], &kernel, options.groups) {
                Ok(shape) => {
                    let fan_in = shape[1..].iter().product();
                    (seeds.weight(shape, fan_in), fan_in)
                }
                Err(bad) => (Param::new(bad), 0),
            };
        let bias = bias.then(|| seeds.bias(out_channels, fan_in));
        Conv { tag, weight, bias, seeds, in_channels, out_channels, kernel, options }
    }

    /// Distance of neighbouring outputs, 1 unless set.
    pub fn stride(mut self, stride: impl Into<Spatial>) -> Self {
        self.options.stride = stride.into();
        self
    }
    /// Zeros around the input: numbers, or [`Padding::Same`] or [`Padding::Valid`]. None unless set.
    pub fn padding(mut self, padding: impl Into<Padding>) -> Self {
        self.options.padding = padding.into();
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
        let bias = self.bias.is_some();
        let options = self.options.groups(groups);
        Self::seeded(self.tag, self.seeds, self.in_channels, self.out_channels, self.kernel, options, bias)
    }
    /// The same layer without its bias.
    pub fn no_bias(self) -> Self {
        Conv { bias: None, ..self }
    }
}

/// `[out, in / groups, kernel..]`, for a transposed convolution with `in` and `out` exchanged.
#[track_caller]
pub(super) fn weight_shape(
    name: &'static str,
    n: usize,
    [inputs, outputs]: [usize; 2],
    kernel: &Spatial,
    groups: usize,
) -> Result<Shape, Tensor> {
    let Some(taps) = kernel.resolve(n) else {
        let message = format!("the kernel takes 1 or {n} numbers");
        return Err(wrong(ErrorKind::Value, name, message, &[], ""));
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

impl<const N: usize> Forward for Conv<N> {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let _layer = cx.enter(&self.tag);
        let weight = self.weight.get();
        if let Err(bad) = check(Self::NAME, N, x, &weight, self.in_channels) {
            return bad;
        }
        let bias = self.bias.as_ref().map(Param::get);
        match N {
            1 => x.conv1d(&weight, bias.as_ref(), &self.options),
            2 => x.conv2d(&weight, bias.as_ref(), &self.options),
            _ => x.conv3d(&weight, bias.as_ref(), &self.options),
        }
    }
}

/// What a convolution asks of its input's rank and channels.
#[track_caller]
pub(super) fn check(
    name: &'static str,
    n: usize,
    x: &Tensor,
    weight: &Tensor,
    want: usize,
) -> Result<(), Tensor> {
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
