//! A multi-layer perceptron.

use hadal_nn::{Ctx, Forward, Init, Linear, Module};
use hadal_tensor::Tensor;

/// One hidden layer with ReLU.
#[derive(Module)]
pub struct Mlp {
    hidden: Linear,
    out: Linear,
}

impl Mlp {
    /// From `input` numbers by way of `hidden` to `out`.
    pub fn new(init: &Init, input: usize, hidden: usize, out: usize) -> Mlp {
        Mlp { hidden: Linear::new(init, input, hidden), out: Linear::new(init, hidden, out) }
    }
}

impl Forward for Mlp {
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        self.out.forward(&self.hidden.forward(x, cx).relu(), cx)
    }
}
