//! The book's LeNet: sigmoid and average pooling.

use hadal_nn::{Conv2d, Ctx, Forward, Init, Linear, Module};
use hadal_tensor::Tensor;

/// LeNet-5 for `[n, 1, 28, 28]`.
#[derive(Module)]
pub struct LeNet {
    conv1: Conv2d,
    conv2: Conv2d,
    fc1: Linear,
    fc2: Linear,
    fc3: Linear,
}

impl LeNet {
    /// Ten classes.
    pub fn new(init: &Init) -> LeNet {
        LeNet {
            conv1: Conv2d::new(init, 1, 6, 5).padding(2),
            conv2: Conv2d::new(init, 6, 16, 5),
            fc1: Linear::new(init, 400, 120),
            fc2: Linear::new(init, 120, 84),
            fc3: Linear::new(init, 84, 10),
        }
    }
}

impl Forward for LeNet {
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let x = self.conv1.forward(x, cx).sigmoid().avg_pool2d(2);
        let x = self.conv2.forward(&x, cx).sigmoid().avg_pool2d(2);
        let x = self.fc1.forward(&x.flatten(1), cx).sigmoid();
        let x = self.fc2.forward(&x, cx).sigmoid();
        self.fc3.forward(&x, cx)
    }
}
