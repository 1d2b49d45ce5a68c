//! The fully connected layer.

use super::wrong;
use crate::init::Seeds;
use crate::{Ctx, Forward, Init, Module};
use hadal_core::{ErrorKind, Tag};
use hadal_tensor::{Param, Tensor};

/// `y = x·Wᵀ + b`.
///
/// Input `[.., in_features]`, output `[.., out_features]`; `weight` is `[out, in]`. Weight and bias
/// start uniform in ±1/√in_features (PyTorch's default).
///
/// ```
/// use hadal_nn::{Ctx, Forward, Init, Linear};
/// use hadal_tensor::{DType, Tensor};
/// let fc = Linear::new(&Init::new(0), 4, 2);
/// let y = fc.forward(&Tensor::ones([3, 4], DType::F32), &Ctx::eval());
/// assert_eq!(y.dims(), [3, 2]);
/// let wrong = fc.forward(&Tensor::ones([3, 5], DType::F32), &Ctx::eval());
/// assert!(wrong.eval().unwrap_err().to_string().starts_with("Linear: the input's last size is 5, in_features is 4"));
/// ```
#[derive(Module, Debug)]
pub struct Linear {
    tag: Tag,
    /// `[out_features, in_features]`.
    pub weight: Param,
    /// `[out_features]`.
    pub bias: Option<Param>,
}

impl Linear {
    /// A layer with bias.
    pub fn new(init: &Init, in_features: usize, out_features: usize) -> Linear {
        Linear::seeded(Tag::new("Linear"), init.seeds(), in_features, out_features)
    }
    pub(super) fn seeded(tag: Tag, seeds: Seeds, in_features: usize, out_features: usize) -> Linear {
        Linear {
            tag,
            weight: seeds.weight([out_features, in_features], in_features),
            bias: Some(seeds.bias(out_features, in_features)),
        }
    }
    /// The same layer without its bias.
    pub fn no_bias(self) -> Linear {
        Linear { bias: None, ..self }
    }
}

impl Forward for Linear {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let _layer = cx.enter(&self.tag);
        let weight = self.weight.get();
        let (have, want) = (x.dims().last(), weight.dims().last());
        if have != want {
            let message = match (have, want) {
                (Some(n), Some(m)) => format!("the input's last size is {n}, in_features is {m}"),
                _ => "the input has no dimensions".to_owned(),
            };
            let help = "the input is [.., in_features]; flatten images first, as in x.flatten(1)";
            return wrong(ErrorKind::Shape, "Linear", message, &[x, &weight], help);
        }
        x.linear(&weight, self.bias.as_ref().map(Param::get).as_ref())
    }
}
