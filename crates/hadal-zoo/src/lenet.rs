//! LeNet-5 as *Dive into Deep Learning* has it.
//!
//! - Paper: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document
//!   recognition", Proc. IEEE 86 (1998), figure 2; Zhang et al., *Dive into Deep Learning*, 7.6,
//!   figure 7.6.1. As there: average pooling without weights, a plain last layer, sigmoid throughout.
//! - Input `[n, 1, 28, 28]`, output `[n, classes]` logits.
//! - 61,706 parameters with 10 classes.
//! - Weights start as d2l's `init_cnn` has them, uniform after Glorot and Bengio (2010): with sigmoids,
//!   PyTorch's default leaves the first epochs without progress.

use crate::{ModelInfo, ModelOptions, Output};
use hadal_core::{Error, ErrorKind, Result};
use hadal_nn::{Conv2d, Ctx, Forward, Init, Linear, Module, init};
use hadal_tensor::Tensor;

/// LeNet-5.
///
/// ```
/// use hadal_nn::{Ctx, Forward, Init, Module};
/// use hadal_tensor::{DType, Tensor};
/// let net = hadal_zoo::LeNet::new(&Init::new(0), 10);
/// assert_eq!(net.num_parameters(), 61_706);
/// let logits = net.forward(&Tensor::zeros([2, 1, 28, 28], DType::F32), &Ctx::eval());
/// assert_eq!(logits.dims(), [2, 10]);
/// ```
#[derive(Module)]
pub struct LeNet {
    conv1: Conv2d,
    conv2: Conv2d,
    fc1: Linear,
    fc2: Linear,
    fc3: Linear,
}

impl LeNet {
    /// For grey images of 28 × 28 pixels.
    pub fn new(init: &Init, classes: usize) -> Self {
        Self::with_features(init, 1, 400, classes)
    }

    /// For other images; height and width must be at least 12.
    ///
    /// # Errors
    /// Smaller images, of which the second convolution and pooling leave nothing.
    pub fn sized(init: &Init, o: &ModelOptions) -> Result<Self> {
        // Padding keeps the size in conv1; conv2 takes 4 off; both poolings halve.
        let side = |n: usize| (n / 2).saturating_sub(4) / 2;
        let features = 16 * side(o.height) * side(o.width);
        if features == 0 {
            return Err(Error::new(ErrorKind::Shape, "LeNet", format!("images of {} x {} pixels", o.height, o.width))
                .help("LeNet needs images of at least 12 x 12 pixels"));
        }
        Ok(Self::with_features(init, o.in_channels, features, o.classes))
    }

    fn with_features(init: &Init, channels: usize, features: usize, classes: usize) -> Self {
        let net = Self {
            conv1: Conv2d::new(init, channels, 6, 5).padding(2),
            conv2: Conv2d::new(init, 6, 16, 5),
            fc1: Linear::new(init, features, 120),
            fc2: Linear::new(init, 120, 84),
            fc3: Linear::new(init, 84, classes),
        };
        init::apply(&net, |name, p| {
            let weight = name.ends_with("weight");
            weight.then(|| init::xavier_uniform(init.next_key(), p.shape(), p.dtype(), 1.0))
        });
        net
    }
}

impl Forward for LeNet {
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        // [n, 1, 28, 28]
        let x = self.conv1.forward(x, cx).sigmoid().avg_pool2d(2); // [n, 6, 14, 14]
        let x = self.conv2.forward(&x, cx).sigmoid().avg_pool2d(2); // [n, 16, 5, 5]
        let x = self.fc1.forward(&x.flatten(1), cx).sigmoid(); // [n, 120]
        let x = self.fc2.forward(&x, cx).sigmoid(); // [n, 84]
        self.fc3.forward(&x, cx) // [n, classes]
    }
}

pub(crate) const INFO: ModelInfo = ModelInfo {
    name: "lenet",
    about: "LeNet-5 with sigmoid and average pooling (LeCun et al. 1998; d2l 7.6)",
    output: Output::Logits,
    build: |o, init| Ok(Box::new(LeNet::sized(init, o)?)),
    options: || ModelOptions { hidden: vec![], ..Default::default() },
};
