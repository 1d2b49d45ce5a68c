//! Many layers of one width, whose activations are most of what training holds.

use hadal_nn::{Ctx, Forward, Init, Linear, Module};
use hadal_tensor::{Tensor, checkpoint};

/// Linear layers with GELU, and a classifier.
#[derive(Module)]
pub struct Deep {
    layers: Vec<Linear>,
    out: Linear,
    #[module(skip)]
    region: Option<usize>,
}

impl Deep {
    /// So many layers. With `region`, so many at a time are computed again in the backward pass.
    pub fn new(init: &Init, width: usize, layers: usize, classes: usize, region: Option<usize>) -> Deep {
        let layers = (0..layers).map(|_| Linear::new(init, width, width)).collect();
        Deep { layers, out: Linear::new(init, width, classes), region }
    }
}

impl Forward for Deep {
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let some = |x: &Tensor, layers: &[Linear]| {
            layers.iter().fold(x.clone(), |x, layer| layer.forward(&x, cx).gelu())
        };
        let x = match self.region {
            Some(n) => self.layers.chunks(n).fold(x.clone(), |x, part| checkpoint(|| some(&x, part))),
            None => some(x, &self.layers),
        };
        self.out.forward(&x, cx)
    }
}
