//! The two models that are trained, as a user writes them, and one step of training.

use hadal_nn::{Backward, Conv2d, Ctx, Forward, Init, Linear, Module, loss::cross_entropy};
use hadal_optim::{Optimizer, Sgd};
use hadal_tensor::{DType, Key, Tensor};

/// 784-256-10 with ReLU.
#[derive(Module)]
pub struct Mlp {
    hidden: Linear,
    out: Linear,
}

impl Mlp {
    /// A model with PyTorch's initial values.
    pub fn new(init: &Init) -> Mlp {
        Mlp { hidden: Linear::new(init, 784, 256), out: Linear::new(init, 256, 10) }
    }
}

impl Forward for Mlp {
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        self.out.forward(&self.hidden.forward(x, cx).relu(), cx)
    }
}

/// The book's LeNet: sigmoid and average pooling.
#[derive(Module)]
pub struct LeNet {
    conv1: Conv2d,
    conv2: Conv2d,
    fc1: Linear,
    fc2: Linear,
    fc3: Linear,
}

impl LeNet {
    /// A model with PyTorch's initial values.
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

/// Images of this shape and their labels, drawn once.
pub fn batch(shape: &[usize]) -> Result<(Tensor, Tensor), String> {
    let x = Tensor::randn(shape, DType::F32, Key::new(1));
    let y = Tensor::randint(0, 10, [shape[0]], Key::new(2));
    hadal_tensor::eval(&[&x, &y]).map_err(|e| e.to_string())?;
    Ok((x, y))
}

/// A function that takes one SGD step.
pub fn training<M: Module + Forward + 'static>(
    mut model: M,
    (x, y): (Tensor, Tensor),
) -> impl FnMut() -> Result<(), String> {
    let mut optimizer = Optimizer::new(Sgd::new(0.1));
    move || {
        let logits = model.forward(&x, &Ctx::train_without_key());
        let loss = cross_entropy(&logits, &y);
        let grads = loss.backward(&model).map_err(|e| e.to_string())?;
        optimizer.step(&mut model, &grads).map_err(|e| e.to_string())
    }
}
