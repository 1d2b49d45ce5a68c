//! Transposed convolution layers.

use super::conv::{check, weight_shape};
use crate::init::Seeds;
use crate::{Ctx, Forward, Init, Module};
use hadal_core::Tag;
use hadal_tensor::{ConvOptions, Padding, Param, Spatial, Tensor};

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
#[derive(Module, Debug)]
pub struct ConvTranspose<const N: usize> {
    tag: Tag,
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
}

/// Transposed convolution of `[n, c, l]`. See [`ConvTranspose`].
pub type ConvTranspose1d = ConvTranspose<1>;
/// Transposed convolution of `[n, c, h, w]`. See [`ConvTranspose`].
pub type ConvTranspose2d = ConvTranspose<2>;
/// Transposed convolution of `[n, c, d, h, w]`. See [`ConvTranspose`].
pub type ConvTranspose3d = ConvTranspose<3>;

impl<const N: usize> ConvTranspose<N> {
    const NAME: &'static str = match N {
        1 => "ConvTranspose1d",
        2 => "ConvTranspose2d",
        _ => "ConvTranspose3d",
    };

    /// A transposed convolution with bias. The kernel is one number or one for each spatial dimension.
    #[track_caller]
    pub fn new(init: &Init, in_channels: usize, out_channels: usize, kernel: impl Into<Spatial>) -> Self {
        ConvTranspose {
            tag: Tag::new(Self::NAME),
            weight: Param::new(Tensor::zeros([0], init.param_dtype())),
            bias: None,
            seeds: init.seeds(),
            in_channels,
            out_channels,
            kernel: kernel.into(),
            options: ConvOptions::default(),
        }
        .drawn(true)
    }

    /// Weight and bias drawn for the options as they are.
    #[track_caller]
    fn drawn(mut self, bias: bool) -> Self {
        let _layer = hadal_tensor::enter(&self.tag);
        let mut fan_in = 0;
        let channels = [self.out_channels, self.in_channels];
        self.weight = match weight_shape(Self::NAME, N, channels, &self.kernel, self.options.groups) {
            Ok(shape) => {
                fan_in = shape[1..].iter().product();
                self.seeds.weight(shape, fan_in)
            }
            Err(bad) => Param::new(bad),
        };
        self.bias = bias.then(|| self.seeds.bias(self.out_channels, fan_in));
        self
    }

    /// Distance in the output of neighbouring inputs, 1 unless set.
    pub fn stride(mut self, stride: impl Into<Spatial>) -> Self {
        self.options.stride = stride.into();
        self
    }
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
    /// Distance of neighbouring taps, 1 unless set.
    pub fn dilation(mut self, dilation: impl Into<Spatial>) -> Self {
        self.options.dilation = dilation.into();
        self
    }
    /// Groups of channels that do not see each other. The weight is drawn anew, in its new shape.
    #[track_caller]
    pub fn groups(mut self, groups: usize) -> Self {
        let bias = self.bias.is_some();
        self.options.groups = groups;
        self.drawn(bias)
    }
    /// The same layer without its bias.
    pub fn no_bias(self) -> Self {
        ConvTranspose { bias: None, ..self }
    }
}

impl<const N: usize> Forward for ConvTranspose<N> {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let _layer = cx.enter(&self.tag);
        let weight = self.weight.get();
        if let Err(bad) = check(Self::NAME, N, x, &weight, self.in_channels) {
            return bad;
        }
        let bias = self.bias.as_ref().map(Param::get);
        match N {
            1 => x.conv_transpose1d(&weight, bias.as_ref(), &self.options),
            2 => x.conv_transpose2d(&weight, bias.as_ref(), &self.options),
            _ => x.conv_transpose3d(&weight, bias.as_ref(), &self.options),
        }
    }
}
