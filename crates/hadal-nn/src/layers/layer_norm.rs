//! Normalisation over the last dimensions.

use super::wrong;
use crate::{Ctx, Forward, Init, Module};
use hadal_core::{ErrorKind, Shape, Tag};
use hadal_tensor::{Param, Tensor};

/// Layer normalisation (Ba 2016, arXiv:1607.06450) over the last dimensions, whose sizes are
/// `normalized_shape`: mean 0 and population variance 1, then `·weight + bias`.
///
/// Input and output `[.., normalized_shape..]`. PyTorch's defaults: eps 1e-5, weight 1, bias 0.
///
/// ```
/// use hadal_nn::{Ctx, Forward, Init, LayerNorm};
/// use hadal_tensor::Tensor;
/// let ln = LayerNorm::new(&Init::new(0), 2);
/// let y = ln.forward(&Tensor::new([[1.0f32, 3.0]]), &Ctx::eval()).to_vec::<f32>().unwrap();
/// assert!((y[0] + 1.0).abs() < 1e-4 && (y[1] - 1.0).abs() < 1e-4);
/// ```
#[derive(Module, Debug)]
pub struct LayerNorm {
    tag: Tag,
    /// `normalized_shape`; none without affine.
    pub weight: Option<Param>,
    /// `normalized_shape`; none without affine or bias.
    pub bias: Option<Param>,
    normalized_shape: Shape,
    eps: f64,
}

impl LayerNorm {
    /// A layer with weight and bias. `normalized_shape` is one size or several.
    pub fn new(init: &Init, normalized_shape: impl Into<Shape>) -> LayerNorm {
        let shape = normalized_shape.into();
        LayerNorm {
            tag: Tag::new("LayerNorm"),
            weight: Some(Param::new(Tensor::ones(&shape, init.param_dtype()))),
            bias: Some(Param::new(Tensor::zeros(&shape, init.param_dtype()))),
            normalized_shape: shape,
            eps: 1e-5,
        }
    }
    /// The number added to the variance, 1e-5 unless set.
    pub fn eps(self, eps: f64) -> LayerNorm {
        LayerNorm { eps, ..self }
    }
    /// The same layer without weight and bias.
    pub fn no_affine(self) -> LayerNorm {
        LayerNorm { weight: None, bias: None, ..self }
    }
    /// The same layer with a weight only.
    pub fn no_bias(self) -> LayerNorm {
        LayerNorm { bias: None, ..self }
    }
}

impl Forward for LayerNorm {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let _layer = cx.enter(&self.tag);
        if let Err(bad) = check("LayerNorm", x, &self.normalized_shape) {
            return bad;
        }
        let (weight, bias) = (self.weight.as_ref().map(Param::get), self.bias.as_ref().map(Param::get));
        x.layer_norm(&self.normalized_shape, weight.as_ref(), bias.as_ref(), self.eps)
    }
}

/// `x/√(mean(x²) + eps)·weight` (Zhang and Sennrich 2019, arXiv:1910.07467) over the last dimensions,
/// whose sizes are `normalized_shape`.
///
/// Input and output `[.., normalized_shape..]`. The weight starts as 1; eps is, as in PyTorch, the
/// computing dtype's machine epsilon unless set.
///
/// ```
/// use hadal_nn::{Ctx, Forward, Init, RMSNorm};
/// use hadal_tensor::Tensor;
/// let norm = RMSNorm::new(&Init::new(0), 2).eps(0.0);
/// let y = norm.forward(&Tensor::new([[3.0f32, 3.0]]), &Ctx::eval());
/// assert_eq!(y.to_vec::<f32>().unwrap(), [1.0, 1.0]);
/// ```
#[derive(Module, Debug)]
pub struct RMSNorm {
    tag: Tag,
    /// `normalized_shape`; none without affine.
    pub weight: Option<Param>,
    normalized_shape: Shape,
    eps: Option<f64>,
}

impl RMSNorm {
    /// A layer with weight. `normalized_shape` is one size or several.
    pub fn new(init: &Init, normalized_shape: impl Into<Shape>) -> RMSNorm {
        let shape = normalized_shape.into();
        RMSNorm {
            tag: Tag::new("RMSNorm"),
            weight: Some(Param::new(Tensor::ones(&shape, init.param_dtype()))),
            normalized_shape: shape,
            eps: None,
        }
    }
    /// The number added to the mean square.
    pub fn eps(self, eps: f64) -> RMSNorm {
        RMSNorm { eps: Some(eps), ..self }
    }
    /// The same layer without its weight.
    pub fn no_affine(self) -> RMSNorm {
        RMSNorm { weight: None, ..self }
    }
}

impl Forward for RMSNorm {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let _layer = cx.enter(&self.tag);
        if let Err(bad) = check("RMSNorm", x, &self.normalized_shape) {
            return bad;
        }
        let epsilon = if x.dtype() == hadal_core::DType::F64 { f64::EPSILON } else { f32::EPSILON as f64 };
        x.rms_norm(
            &self.normalized_shape,
            self.weight.as_ref().map(Param::get).as_ref(),
            self.eps.unwrap_or(epsilon),
        )
    }
}

#[track_caller]
fn check(name: &'static str, x: &Tensor, normalized: &Shape) -> Result<(), Tensor> {
    if x.is_poisoned() {
        return Err(x.clone());
    }
    if x.dims().ends_with(normalized) {
        return Ok(());
    }
    let message = format!("the input's last sizes are not normalized_shape, {normalized}");
    Err(wrong(
        ErrorKind::Shape,
        name,
        message,
        &[x],
        "normalized_shape names the sizes of the last dimensions",
    ))
}
