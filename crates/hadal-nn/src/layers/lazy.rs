//! Layers that learn their input's size from the first input they see.
//!
//! Nothing is computed to find it out: one forward pass of the model on zeros, never evaluated, is
//! enough. Before it such a layer has no parameters; optimizers and loading then say so.

use super::{BatchNorm, Conv, Linear, channels, layout, wrong};
use crate::init::Seeds;
use crate::{Ctx, Forward, Init, Module, Walk};
use hadal_core::{DType, ErrorKind, Tag};
use hadal_tensor::{ConvOptions, PadMode, Padding, Spatial, Tensor};
use std::sync::OnceLock;

/// Visits the layer under the lazy one's own name, or reports that it is not there yet.
fn visit<L: Module>(tag: &Tag, layer: &OnceLock<L>, walk: &mut Walk<'_>) {
    match layer.get() {
        Some(layer) => layer.visit(walk),
        None => {
            walk.field("tag", tag);
            walk.uninitialized(tag);
        }
    }
}

/// A [`Linear`] whose `in_features` is the last size of the first input.
///
/// ```
/// use hadal_nn::{Ctx, Forward, Init, LazyLinear, Module};
/// use hadal_tensor::{DType, Tensor};
/// let fc = LazyLinear::new(&Init::new(0), 2);
/// assert!(fc.parameters().is_empty());
/// fc.forward(&Tensor::zeros([1, 7], DType::F32), &Ctx::eval()); // builds graph, computes nothing
/// assert_eq!(fc.parameters()[0].1.shape().dims(), [2, 7]);
/// ```
#[derive(Debug)]
pub struct LazyLinear {
    tag: Tag,
    seeds: Seeds,
    out_features: usize,
    bias: bool,
    layer: OnceLock<Linear>,
}

impl LazyLinear {
    /// A layer with bias and this number of outputs.
    pub fn new(init: &Init, out_features: usize) -> LazyLinear {
        let (tag, seeds) = (Tag::new("LazyLinear"), init.seeds());
        LazyLinear { tag, seeds, out_features, bias: true, layer: OnceLock::new() }
    }
    /// The same layer without its bias.
    pub fn no_bias(self) -> LazyLinear {
        LazyLinear { bias: false, ..self }
    }
    /// The layer, once its input's size is known.
    pub fn get(&self) -> Option<&Linear> {
        self.layer.get()
    }
}

impl Module for LazyLinear {
    fn visit(&self, walk: &mut Walk<'_>) {
        visit(&self.tag, &self.layer, walk);
    }
}

impl Forward for LazyLinear {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        if x.is_poisoned() {
            return x.clone();
        }
        let Some(&in_features) = x.dims().last() else {
            let _layer = cx.enter(&self.tag);
            return wrong(
                ErrorKind::Shape,
                "LazyLinear",
                "the input has no dimensions",
                &[x],
                "the input is [.., in_features]",
            );
        };
        let layer = self.layer.get_or_init(|| {
            let layer = Linear::seeded(self.tag.clone(), self.seeds, in_features, self.out_features);
            if self.bias { layer } else { layer.no_bias() }
        });
        layer.forward(x, cx)
    }
}

/// A [`Conv`] whose `in_channels` is that of the first input; use it as [`LazyConv1d`], [`LazyConv2d`],
/// [`LazyConv3d`].
///
/// ```
/// use hadal_nn::{Ctx, Flatten, Forward, Init, LazyConv2d, LazyLinear, Module, seq};
/// use hadal_tensor::{DType, Tensor};
/// let init = Init::new(0);
/// let net = seq![LazyConv2d::new(&init, 6, 5).padding(2), Flatten::new(), LazyLinear::new(&init, 10)];
/// net.forward(&Tensor::zeros([1, 3, 8, 8], DType::F32), &Ctx::eval());
/// assert_eq!(net.num_parameters(), 6 * 3 * 25 + 6 + 6 * 64 * 10 + 10);
/// ```
#[derive(Debug)]
pub struct LazyConv<const N: usize> {
    tag: Tag,
    seeds: Seeds,
    out_channels: usize,
    kernel: Spatial,
    options: ConvOptions,
    padding_mode: Option<PadMode>,
    bias: bool,
    layer: OnceLock<Conv<N>>,
}

/// A convolution of `[n, c, l]` for any `c`. See [`LazyConv`].
pub type LazyConv1d = LazyConv<1>;
/// A convolution of `[n, c, h, w]` for any `c`. See [`LazyConv`].
pub type LazyConv2d = LazyConv<2>;
/// A convolution of `[n, c, d, h, w]` for any `c`. See [`LazyConv`].
pub type LazyConv3d = LazyConv<3>;

impl<const N: usize> LazyConv<N> {
    const NAME: &'static str = match N {
        1 => "LazyConv1d",
        2 => "LazyConv2d",
        _ => "LazyConv3d",
    };

    /// A convolution with bias and this number of output channels.
    pub fn new(init: &Init, out_channels: usize, kernel: impl Into<Spatial>) -> Self {
        LazyConv {
            tag: Tag::new(Self::NAME),
            seeds: init.seeds(),
            out_channels,
            kernel: kernel.into(),
            options: ConvOptions::default(),
            padding_mode: None,
            bias: true,
            layer: OnceLock::new(),
        }
    }
    /// See [`Conv::stride`].
    pub fn stride(mut self, stride: impl Into<Spatial>) -> Self {
        self.options = self.options.stride(stride);
        self
    }
    /// See [`Conv::padding`].
    pub fn padding(mut self, padding: impl Into<Padding>) -> Self {
        self.options = self.options.padding(padding);
        self
    }
    /// See [`Conv1d::padding_mode`](super::Conv1d::padding_mode).
    pub fn padding_mode(self, mode: impl Into<Option<PadMode>>) -> Self {
        LazyConv { padding_mode: mode.into(), ..self }
    }
    /// See [`Conv::dilation`].
    pub fn dilation(mut self, dilation: impl Into<Spatial>) -> Self {
        self.options = self.options.dilation(dilation);
        self
    }
    /// See [`Conv::groups`].
    pub fn groups(mut self, groups: usize) -> Self {
        self.options = self.options.groups(groups);
        self
    }
    /// The same layer without its bias.
    pub fn no_bias(self) -> Self {
        LazyConv { bias: false, ..self }
    }
    /// The layer, once its input's channels are known.
    pub fn get(&self) -> Option<&Conv<N>> {
        self.layer.get()
    }
}

impl<const N: usize> Module for LazyConv<N> {
    fn visit(&self, walk: &mut Walk<'_>) {
        visit(&self.tag, &self.layer, walk);
    }
}

impl<const N: usize> Forward for LazyConv<N> {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        // The layer is made in a closure.
        let _line = hadal_tensor::from_here();
        if x.is_poisoned() {
            return x.clone();
        }
        let Some(inputs) = channels(x, N) else {
            let _layer = cx.enter(&self.tag);
            let message = format!("the input has {} dimensions, {} are needed", x.rank(), N + 2);
            return wrong(
                ErrorKind::Shape,
                Self::NAME,
                message,
                &[x],
                &format!("the input is {}", layout(N)),
            );
        };
        let layer = self.layer.get_or_init(|| {
            let (kernel, options) = (self.kernel.clone(), self.options.clone());
            Conv::seeded(self.tag.clone(), self.seeds, inputs, self.out_channels, kernel, options, self.bias)
                .padding_mode(self.padding_mode)
        });
        layer.forward(x, cx)
    }
}

/// A [`BatchNorm`] for as many channels as the first input has; use it as [`LazyBatchNorm1d`],
/// [`LazyBatchNorm2d`], [`LazyBatchNorm3d`].
///
/// ```
/// use hadal_nn::{Ctx, Forward, Init, LazyBatchNorm2d, Module};
/// use hadal_tensor::{DType, Tensor};
/// let bn = LazyBatchNorm2d::new(&Init::new(0));
/// bn.forward(&Tensor::zeros([2, 5, 4, 4], DType::F32), &Ctx::eval());
/// assert_eq!(bn.num_parameters(), 10);
/// ```
#[derive(Debug)]
pub struct LazyBatchNorm<const N: usize> {
    tag: Tag,
    dtype: DType,
    eps: f64,
    momentum: Option<f64>,
    affine: bool,
    running_stats: bool,
    layer: OnceLock<BatchNorm<N>>,
}

/// Batch normalisation of `[n, c]` or `[n, c, l]` for any `c`. See [`LazyBatchNorm`].
pub type LazyBatchNorm1d = LazyBatchNorm<1>;
/// Batch normalisation of `[n, c, h, w]` for any `c`. See [`LazyBatchNorm`].
pub type LazyBatchNorm2d = LazyBatchNorm<2>;
/// Batch normalisation of `[n, c, d, h, w]` for any `c`. See [`LazyBatchNorm`].
pub type LazyBatchNorm3d = LazyBatchNorm<3>;

impl<const N: usize> LazyBatchNorm<N> {
    const NAME: &'static str = match N {
        1 => "LazyBatchNorm1d",
        2 => "LazyBatchNorm2d",
        _ => "LazyBatchNorm3d",
    };

    /// A layer with weight, bias and running statistics.
    pub fn new(init: &Init) -> Self {
        let (tag, dtype) = (Tag::new(Self::NAME), init.param_dtype());
        let (eps, momentum, layer) = (1e-5, Some(0.1), OnceLock::new());
        LazyBatchNorm { tag, dtype, eps, momentum, affine: true, running_stats: true, layer }
    }
    /// See [`BatchNorm::eps`].
    pub fn eps(self, eps: f64) -> Self {
        LazyBatchNorm { eps, ..self }
    }
    /// See [`BatchNorm::momentum`].
    pub fn momentum(self, momentum: impl Into<Option<f64>>) -> Self {
        LazyBatchNorm { momentum: momentum.into(), ..self }
    }
    /// See [`BatchNorm::no_affine`].
    pub fn no_affine(self) -> Self {
        LazyBatchNorm { affine: false, ..self }
    }
    /// See [`BatchNorm::no_running_stats`].
    pub fn no_running_stats(self) -> Self {
        LazyBatchNorm { running_stats: false, ..self }
    }
    /// The layer, once its input's channels are known.
    pub fn get(&self) -> Option<&BatchNorm<N>> {
        self.layer.get()
    }
}

impl<const N: usize> Module for LazyBatchNorm<N> {
    fn visit(&self, walk: &mut Walk<'_>) {
        visit(&self.tag, &self.layer, walk);
    }
}

impl<const N: usize> Forward for LazyBatchNorm<N> {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        if x.is_poisoned() {
            return x.clone();
        }
        // A wrong input must not settle the size.
        if !(x.rank() == N + 2 || (N == 1 && x.rank() == 2)) {
            let _layer = cx.enter(&self.tag);
            let message = format!("the input has {} dimensions, {} are needed", x.rank(), N + 2);
            return wrong(ErrorKind::Shape, Self::NAME, message, &[x], "the input is [n, c, ..]");
        }
        let layer = self.layer.get_or_init(|| {
            let layer = BatchNorm::tagged(self.tag.clone(), self.dtype, x.dims()[1]);
            let layer = layer.eps(self.eps).momentum(self.momentum);
            let layer = if self.affine { layer } else { layer.no_affine() };
            if self.running_stats { layer } else { layer.no_running_stats() }
        });
        layer.forward(x, cx)
    }
}
