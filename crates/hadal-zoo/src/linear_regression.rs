//! Linear regression: one linear map, to be trained with the squared error.
//!
//! - Zhang et al., *Dive into Deep Learning*, 3.5: weights start normal with standard deviation 0.01,
//!   the bias at 0.
//! - Input `[n, features]`, output `[n, outputs]`.
//! - 3 parameters for d2l's 2 features and 1 output.

use crate::{ModelInfo, ModelOptions, Output};
use hadal_nn::{Ctx, Forward, Init, Linear, Module, init};
use hadal_tensor::Tensor;

/// `y = x·wᵀ + b`.
///
/// ```
/// use hadal_nn::{Init, Module};
/// let net = hadal_zoo::LinearRegression::new(&Init::new(0), 2, 1);
/// assert_eq!(net.num_parameters(), 3);
/// ```
#[derive(Module)]
pub struct LinearRegression {
    fc: Linear,
}

impl LinearRegression {
    /// From so many features to so many numbers.
    pub fn new(init: &Init, features: usize, outputs: usize) -> Self {
        let net = Self { fc: Linear::new(init, features, outputs) };
        init::apply(&net, |name, p| {
            Some(if name.ends_with("weight") {
                init::normal(init.next_key(), p.shape(), p.dtype(), 0.0, 0.01)
            } else {
                init::zeros(p.shape(), p.dtype())
            })
        });
        net
    }
}

impl Forward for LinearRegression {
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        self.fc.forward(&x.flatten(1), cx) // [n, outputs]
    }
}

pub(crate) const INFO: ModelInfo = ModelInfo {
    name: "linear-regression",
    about: "one linear map to numbers (d2l 3.5)",
    output: Output::Values,
    build: |o, init| Ok(Box::new(LinearRegression::new(init, o.features(), o.classes))),
    options: || ModelOptions { in_channels: 2, height: 1, width: 1, classes: 1, hidden: vec![] },
};
