//! Softmax regression: one linear map, to be trained with cross-entropy.
//!
//! - Zhang et al., *Dive into Deep Learning*, 4.5.
//! - Input `[n, …]` of `features` values a sample, output `[n, classes]` logits.
//! - 7,850 parameters for 784 features and 10 classes.

use crate::{ModelInfo, ModelOptions, Output};
use hadal_nn::{Ctx, Forward, Init, Linear, Module};
use hadal_tensor::Tensor;

/// One fully connected layer from all pixels to the classes.
///
/// ```
/// use hadal_nn::{Init, Module};
/// let net = hadal_zoo::SoftmaxRegression::new(&Init::new(0), 784, 10);
/// assert_eq!(net.num_parameters(), 7_850);
/// ```
#[derive(Module)]
pub struct SoftmaxRegression {
    fc: Linear,
}

impl SoftmaxRegression {
    /// From so many features to so many classes.
    pub fn new(init: &Init, features: usize, classes: usize) -> Self {
        Self { fc: Linear::new(init, features, classes) }
    }
}

impl Forward for SoftmaxRegression {
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        self.fc.forward(&x.flatten(1), cx) // [n, classes]
    }
}

pub(crate) const INFO: ModelInfo = ModelInfo {
    name: "softmax-regression",
    about: "one linear map to classes (d2l 4.5)",
    output: Output::Logits,
    build: |o, init| Ok(Box::new(SoftmaxRegression::new(init, o.features(), o.classes))),
    options: || ModelOptions { hidden: vec![], ..Default::default() },
};
