//! Stochastic gradient descent.

use super::{Common, Rule, Slots, StepInfo, rule_options};
use hadal_tensor::Tensor;

rule_options! {
    /// Stochastic gradient descent, with momentum (Polyak 1964; Nesterov as in Sutskever et al. 2013).
    Sgd(name = "SGD", lr = 1e-3, weight_decay = 0.0, decoupled = false) {
        /// Momentum factor. Default 0.
        momentum: f64 = 0.0,
        /// How much of each gradient momentum leaves out. Default 0.
        dampening: f64 = 0.0,
        /// Looks ahead along the momentum. Default false.
        nesterov: bool = false,
    }
}
impl Rule for Sgd {
    fn common(&self) -> &Common {
        &self.common
    }
    fn slots(&self) -> &'static [&'static str] {
        if self.momentum != 0.0 { &["momentum_buffer"] } else { &[] }
    }
    fn update(&self, p: &Tensor, g: &Tensor, slots: &mut Slots, info: &StepInfo) -> Tensor {
        let momentum = info.momentum.unwrap_or(self.momentum);
        let Some(buffer) = slots.tensors.first_mut() else { return p - g * info.lr };
        // The first gradient enters whole, as in PyTorch.
        *buffer = if info.step == 1 { g.clone() } else { &*buffer * momentum + g * (1.0 - self.dampening) };
        let direction = if self.nesterov { g + &*buffer * momentum } else { buffer.clone() };
        p - direction * info.lr
    }
}
