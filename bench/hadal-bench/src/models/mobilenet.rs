//! MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381, table 2), with torchvision's names.

use hadal_nn::{
    BatchNorm2d, Conv2d, Ctx, Dropout, Forward, GlobalAvgPool, Init, Linear, Module, ReLU6, Sequential, seq,
};
use hadal_tensor::Tensor;

/// Expansion, channels, blocks, stride of the first block: the rows of the paper's table.
const STAGES: [(usize, usize, usize, usize); 7] = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
];

/// MobileNetV2 for images `[n, 3, h, w]`.
#[derive(Module)]
pub struct MobileNetV2 {
    features: Sequential,
    pool: GlobalAvgPool,
    classifier: Sequential,
}

impl MobileNetV2 {
    /// A model for this number of classes.
    pub fn new(init: &Init, classes: usize) -> MobileNetV2 {
        let mut features = seq![conv(init, 3, 32, 3, 2, 1)];
        let mut from = 32;
        for (expand, to, blocks, stride) in STAGES {
            for i in 0..blocks {
                features.push(InvertedResidual::new(init, from, to, if i == 0 { stride } else { 1 }, expand));
                from = to;
            }
        }
        features.push(conv(init, from, 1280, 1, 1, 1));
        MobileNetV2 {
            features,
            pool: GlobalAvgPool::new(),
            classifier: seq![Dropout::new(0.2), Linear::new(init, 1280, classes)],
        }
    }
}

impl Forward for MobileNetV2 {
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let x = self.features.forward(x, cx); // [n, 1280, h/32, w/32]
        self.classifier.forward(&self.pool.forward(&x, cx), cx) // [n, classes]
    }
}

/// Convolution, batch norm, ReLU6.
fn conv(init: &Init, from: usize, to: usize, kernel: usize, stride: usize, groups: usize) -> Sequential {
    seq![
        Conv2d::new(init, from, to, kernel).stride(stride).padding((kernel - 1) / 2).groups(groups).no_bias(),
        BatchNorm2d::new(init, to),
        ReLU6::new()
    ]
}

/// Widens by a 1×1 convolution, filters each channel, and narrows again; the input is added where it
/// fits.
#[derive(Module)]
struct InvertedResidual {
    conv: Sequential,
    #[module(skip)]
    adds: bool,
}

impl InvertedResidual {
    fn new(init: &Init, from: usize, to: usize, stride: usize, expand: usize) -> InvertedResidual {
        let wide = from * expand;
        let mut layers = Sequential::new();
        if expand != 1 {
            layers.push(conv(init, from, wide, 1, 1, 1));
        }
        layers.push(conv(init, wide, wide, 3, stride, wide));
        layers.push(Conv2d::new(init, wide, to, 1).no_bias());
        layers.push(BatchNorm2d::new(init, to));
        InvertedResidual { conv: layers, adds: stride == 1 && from == to }
    }
}

impl Forward for InvertedResidual {
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let y = self.conv.forward(x, cx);
        if self.adds { x + y } else { y }
    }
}
