//! The multilayer perceptron.
//!
//! - Zhang et al., *Dive into Deep Learning*, 5.2: one hidden layer of 256 units and ReLU. Any number of
//!   hidden layers of any size is possible.
//! - Input `[n, …]` of `features` values a sample, output `[n, classes]` logits.
//! - 203,530 parameters for 784-256-10.

use crate::{ModelInfo, ModelOptions, Output};
use hadal_nn::{Ctx, Forward, Init, Linear, Module};
use hadal_tensor::Tensor;

/// Fully connected layers with ReLU between them.
///
/// ```
/// use hadal_nn::{Init, Module};
/// let net = hadal_zoo::Mlp::new(&Init::new(0), 784, &[256], 10);
/// assert_eq!(net.num_parameters(), 203_530);
/// ```
#[derive(Module)]
pub struct Mlp {
    layers: Vec<Linear>,
}

impl Mlp {
    /// Hidden layers of these sizes.
    pub fn new(init: &Init, features: usize, hidden: &[usize], classes: usize) -> Self {
        let sizes: Vec<usize> = [features].into_iter().chain(hidden.iter().copied()).chain([classes]).collect();
        Self { layers: sizes.windows(2).map(|w| Linear::new(init, w[0], w[1])).collect() }
    }
}

impl Forward for Mlp {
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let mut x = x.flatten(1); // [n, features]
        for (i, layer) in self.layers.iter().enumerate() {
            if i > 0 {
                x = x.relu();
            }
            x = layer.forward(&x, cx); // [n, hidden[i]], at last [n, classes]
        }
        x
    }
}

pub(crate) const INFO: ModelInfo = ModelInfo {
    name: "mlp",
    about: "multilayer perceptron with ReLU, one hidden layer of 256 by default (d2l 5.2)",
    output: Output::Logits,
    build: |o, init| Ok(Box::new(Mlp::new(init, o.features(), &o.hidden, o.classes))),
    options: ModelOptions::default,
};
