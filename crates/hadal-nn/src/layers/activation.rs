//! Activation functions as layers. Each is the tensor method of the same name; the formulas and their
//! sources stand there. Any shape, and PyTorch's defaults.

use super::wrong;
use crate::{Ctx, Forward, Init, Module};
use hadal_core::{ErrorKind, Tag};
use hadal_tensor::{Param, Tensor};

macro_rules! activations {
    ($($(#[doc = $doc:literal])+ $name:ident |$x:ident| $f:expr;)*) => { $(
        $(#[doc = $doc])+
        ///
        /// ```
        /// use hadal_nn::{Ctx, Forward};
        /// use hadal_tensor::Tensor;
        #[doc = concat!("let act = hadal_nn::", stringify!($name), "::new();")]
        /// assert_eq!(act.forward(&Tensor::new([[-1.0f32, 2.0]]), &Ctx::eval()).dims(), [1, 2]);
        /// ```
        #[derive(Module, Debug)]
        pub struct $name {
            tag: Tag,
        }
        impl $name {
            /// The layer; it has no options.
            pub fn new() -> $name {
                $name { tag: Tag::new(stringify!($name)) }
            }
        }
        impl Default for $name {
            fn default() -> Self {
                $name::new()
            }
        }
        impl Forward for $name {
            #[track_caller]
            fn forward(&self, $x: &Tensor, cx: &Ctx) -> Tensor {
                let _layer = cx.enter(&self.tag);
                $f
            }
        }
    )* };
}

activations! {
    /// `max(x, 0)`.
    ReLU |x| x.relu();
    /// `min(max(x, 0), 6)`.
    ReLU6 |x| x.relu6();
    /// Self-normalising ELU (Klambauer 2017, arXiv:1706.02515).
    SELU |x| x.selu();
    /// `x·sigmoid(x)`, also called swish.
    SiLU |x| x.silu();
    /// `x·tanh(softplus(x))` (Misra 2019, arXiv:1908.08681).
    Mish |x| x.mish();
    /// `x/(1 + |x|)`.
    Softsign |x| x.softsign();
    /// `1/(1 + e⁻ˣ)`.
    Sigmoid |x| x.sigmoid();
    /// `ln sigmoid(x)`.
    LogSigmoid |x| x.logsigmoid();
    /// Hyperbolic tangent.
    Tanh |x| x.tanh();
    /// `x·min(max(x + 3, 0), 6)/6` (Howard 2019, arXiv:1905.02244).
    Hardswish |x| x.hardswish();
    /// `min(max(x + 3, 0), 6)/6` (Howard 2019, arXiv:1905.02244).
    Hardsigmoid |x| x.hardsigmoid();
    /// `x - tanh(x)`.
    Tanhshrink |x| x.tanhshrink();
}

macro_rules! with_options {
    ($($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $fdoc:literal])+ $field:ident: $t:ty = $default:expr),+ }
        |$this:ident, $x:ident| $f:expr;)*) => { $(
        $(#[doc = $doc])+
        ///
        /// ```
        /// use hadal_nn::{Ctx, Forward};
        /// use hadal_tensor::Tensor;
        #[doc = concat!("let act = hadal_nn::", stringify!($name), "::new();")]
        /// assert!(act.forward(&Tensor::new([[-1.0f32, 2.0]]), &Ctx::eval()).eval().is_ok());
        /// ```
        #[derive(Module, Debug)]
        pub struct $name {
            tag: Tag,
            $($field: $t,)+
        }
        impl $name {
            /// The layer with PyTorch's defaults.
            pub fn new() -> $name {
                $name { tag: Tag::new(stringify!($name)), $($field: $default),+ }
            }
            $(
                $(#[doc = $fdoc])+
                #[doc = concat!(" ", stringify!($default), " unless set.")]
                pub fn $field(self, $field: $t) -> $name {
                    $name { $field, ..self }
                }
            )+
        }
        impl Default for $name {
            fn default() -> Self {
                $name::new()
            }
        }
        impl Forward for $name {
            #[track_caller]
            fn forward(&self, $x: &Tensor, cx: &Ctx) -> Tensor {
                let $this = self;
                let _layer = cx.enter(&$this.tag);
                $f
            }
        }
    )* };
}

with_options! {
    /// `x` above 0, `negative_slope·x` below.
    LeakyReLU {
        /// The slope below 0.
        negative_slope: f64 = 0.01
    } |o, x| x.leaky_relu(o.negative_slope);
    /// `x` above 0, `alpha·(eˣ - 1)` below (Clevert 2015, arXiv:1511.07289).
    ELU {
        /// The negated limit on the left.
        alpha: f64 = 1.0
    } |o, x| x.elu(o.alpha);
    /// `max(x, 0) + min(alpha·(e^(x/alpha) - 1), 0)` (Barron 2017, arXiv:1704.07483).
    CELU {
        /// The negated limit on the left.
        alpha: f64 = 1.0
    } |o, x| x.celu(o.alpha);
    /// `½x·(1 + erf(x/√2))` (Hendrycks and Gimpel 2016, arXiv:1606.08415), or its approximation.
    GELU {
        /// Whether to use the approximation by tanh (PyTorch's `approximate="tanh"`).
        tanh: bool = false
    } |o, x| if o.tanh { x.gelu_tanh() } else { x.gelu() };
    /// `ln(1 + e^(beta·x))/beta`, the identity where `beta·x` is above `threshold`.
    Softplus {
        /// How sharp the bend is.
        beta: f64 = 1.0,
        /// Where the identity begins.
        threshold: f64 = 20.0
    } |o, x| x.softplus_with(o.beta, o.threshold);
    /// `x` cut off at both ends.
    Hardtanh {
        /// The lower end.
        min_val: f64 = -1.0,
        /// The upper end.
        max_val: f64 = 1.0
    } |o, x| x.hardtanh(o.min_val, o.max_val);
    /// `x` outside `-lambda..=lambda`, 0 inside.
    Hardshrink {
        /// Half the width of the gap.
        lambda: f64 = 0.5
    } |o, x| x.hardshrink(o.lambda);
    /// `x` moved towards 0 by `lambda`, and 0 nearer than that.
    Softshrink {
        /// How far values move.
        lambda: f64 = 0.5
    } |o, x| x.softshrink(o.lambda);
    /// The first half of a dimension times the sigmoid of the second (Dauphin 2016, arXiv:1612.08083).
    GLU {
        /// The dimension to halve; negative counts from the end.
        dim: isize = -1
    } |o, x| x.glu(o.dim);
}

/// `x` above `threshold`, else `value`.
///
/// ```
/// use hadal_nn::{Ctx, Forward, Threshold};
/// use hadal_tensor::Tensor;
/// let y = Threshold::new(0.5, 9.0).forward(&Tensor::new([0.0f32, 1.0]), &Ctx::eval());
/// assert_eq!(y.to_vec::<f32>().unwrap(), [9.0, 1.0]);
/// ```
#[derive(Module, Debug)]
pub struct Threshold {
    tag: Tag,
    threshold: f64,
    value: f64,
}

impl Threshold {
    /// Where values pass, and what stands for the others.
    pub fn new(threshold: f64, value: f64) -> Threshold {
        Threshold { tag: Tag::new("Threshold"), threshold, value }
    }
}

impl Forward for Threshold {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let _layer = cx.enter(&self.tag);
        x.threshold(self.threshold, self.value)
    }
}

macro_rules! along_dim {
    ($($(#[doc = $doc:literal])+ $name:ident $method:ident;)*) => { $(
        $(#[doc = $doc])+
        ///
        /// ```
        /// use hadal_nn::{Ctx, Forward};
        /// use hadal_tensor::Tensor;
        #[doc = concat!("let act = hadal_nn::", stringify!($name), "::new(-1);")]
        /// assert_eq!(act.forward(&Tensor::new([[-1.0f32, 2.0]]), &Ctx::eval()).dims(), [1, 2]);
        /// ```
        #[derive(Module, Debug)]
        pub struct $name {
            tag: Tag,
            dim: isize,
        }
        impl $name {
            /// Along this dimension; negative counts from the end.
            pub fn new(dim: isize) -> $name {
                $name { tag: Tag::new(stringify!($name)), dim }
            }
        }
        impl Forward for $name {
            #[track_caller]
            fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
                let _layer = cx.enter(&self.tag);
                x.$method(self.dim)
            }
        }
    )* };
}

along_dim! {
    /// `eˣ/Σ eˣ` along a dimension.
    Softmax softmax;
    /// `softmax(-x)` along a dimension.
    Softmin softmin;
    /// `ln softmax(x)` along a dimension, accurate where the probability is tiny.
    LogSoftmax log_softmax;
}

/// `x` above 0, `weight·x` below, with one learned weight, or one for each channel (dimension 1) (He
/// 2015, arXiv:1502.01852). `weight` is `[num_parameters]` and starts as 0.25.
///
/// ```
/// use hadal_nn::{Ctx, Forward, Init, PReLU};
/// use hadal_tensor::Tensor;
/// let act = PReLU::new(&Init::new(0));
/// assert_eq!(act.forward(&Tensor::new([[-1.0f32, 2.0]]), &Ctx::eval()).to_vec::<f32>().unwrap(), [-0.25, 2.0]);
/// ```
#[derive(Module, Debug)]
pub struct PReLU {
    tag: Tag,
    /// `[1]` or `[channels]`.
    pub weight: Param,
}

impl PReLU {
    /// One weight for all channels.
    pub fn new(init: &Init) -> PReLU {
        PReLU { tag: Tag::new("PReLU"), weight: init.constant([1], 0.25) }
    }
    /// One weight for each of these channels.
    pub fn num_parameters(self, channels: usize) -> PReLU {
        self.weight.set(self.weight.get().detach().select(0, 0).expand([channels]));
        self
    }
    /// The weight to begin with, 0.25 unless set.
    pub fn init(self, value: f64) -> PReLU {
        self.weight.set(Tensor::full_like(&self.weight.get(), value));
        self
    }
}

impl Forward for PReLU {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let _layer = cx.enter(&self.tag);
        let weight = self.weight.get();
        let channels = x.dims().get(1).copied().unwrap_or(1);
        if weight.numel() != 1 && weight.numel() != channels {
            let message = format!("{} weights for {channels} channels", weight.numel());
            return wrong(
                ErrorKind::Shape,
                "PReLU",
                message,
                &[x, &weight],
                "give one weight, or one for each channel",
            );
        }
        x.prelu(&weight)
    }
}
