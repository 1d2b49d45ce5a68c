//! ResNet-18 (He, Zhang, Ren and Sun 2015, arXiv:1512.03385, table 1), with torchvision's names.

use hadal_nn::{BatchNorm2d, Conv2d, Ctx, Forward, GlobalAvgPool, Init, Linear, Module, Sequential, seq};
use hadal_tensor::{PoolOptions, Tensor};

/// ResNet-18 for images `[n, 3, h, w]`.
#[derive(Module)]
pub struct ResNet18 {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    layer1: Sequential,
    layer2: Sequential,
    layer3: Sequential,
    layer4: Sequential,
    pool: GlobalAvgPool,
    fc: Linear,
}

impl ResNet18 {
    /// A model for this number of classes.
    pub fn new(init: &Init, classes: usize) -> ResNet18 {
        ResNet18 {
            conv1: Conv2d::new(init, 3, 64, 7).stride(2).padding(3).no_bias(),
            bn1: BatchNorm2d::new(init, 64),
            layer1: seq![Block::new(init, 64, 64, 1), Block::new(init, 64, 64, 1)],
            layer2: seq![Block::new(init, 64, 128, 2), Block::new(init, 128, 128, 1)],
            layer3: seq![Block::new(init, 128, 256, 2), Block::new(init, 256, 256, 1)],
            layer4: seq![Block::new(init, 256, 512, 2), Block::new(init, 512, 512, 1)],
            pool: GlobalAvgPool::new(),
            fc: Linear::new(init, 512, classes),
        }
    }
}

impl Forward for ResNet18 {
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let x = self.bn1.forward(&self.conv1.forward(x, cx), cx).relu(); // [n, 64, h/2, w/2]
        let x = x.max_pool2d(PoolOptions::new(3).stride(2).padding(1)); // [n, 64, h/4, w/4]
        let x = self.layer1.forward(&x, cx);
        let x = self.layer2.forward(&x, cx); // [n, 128, h/8, w/8]
        let x = self.layer3.forward(&x, cx); // [n, 256, h/16, w/16]
        let x = self.layer4.forward(&x, cx); // [n, 512, h/32, w/32]
        self.fc.forward(&self.pool.forward(&x, cx), cx) // [n, classes]
    }
}

/// Two 3×3 convolutions around which the input goes unchanged, or by a 1×1 convolution where the size
/// changes.
#[derive(Module)]
struct Block {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    conv2: Conv2d,
    bn2: BatchNorm2d,
    downsample: Option<Sequential>,
}

impl Block {
    fn new(init: &Init, from: usize, to: usize, stride: usize) -> Block {
        Block {
            conv1: Conv2d::new(init, from, to, 3).stride(stride).padding(1).no_bias(),
            bn1: BatchNorm2d::new(init, to),
            conv2: Conv2d::new(init, to, to, 3).padding(1).no_bias(),
            bn2: BatchNorm2d::new(init, to),
            downsample: (stride != 1 || from != to).then(|| {
                seq![Conv2d::new(init, from, to, 1).stride(stride).no_bias(), BatchNorm2d::new(init, to)]
            }),
        }
    }
}

impl Forward for Block {
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let y = self.bn1.forward(&self.conv1.forward(x, cx), cx).relu();
        let y = self.bn2.forward(&self.conv2.forward(&y, cx), cx);
        (y + self.downsample.forward(x, cx)).relu()
    }
}
