//! Convolutions and pools.

use super::{Row, Workload};
use crate::fill::{data, weight};
use hadal_tensor::{ConvOptions, PoolOptions, Tensor};

pub const ROWS: &[Row] = &[
    ("conv3x3_fwd", || SAME.forward()),
    ("conv3x3_b1", || Conv { batch: 1, ..SAME }.forward()),
    ("conv3x3_512x7_b1", || Conv { batch: 1, from: 512, to: 512, size: 7, ..SAME }.forward()),
    ("conv3x3_256x14", || Conv { from: 256, to: 256, size: 14, ..SAME }.forward()),
    ("conv3x3_fwdbwd", || SAME.both()),
    ("conv3x3_bwd_input", || {
        let w = SAME.weight();
        SAME.backward(SAME.x(), move |c, x| c.apply(x, &w))
    }),
    ("conv3x3_bwd_weight", || {
        let x = SAME.x();
        SAME.backward(SAME.weight(), move |c, w| c.apply(&x, w))
    }),
    ("conv1x1", || Conv { to: 256, kernel: 1, padding: 0, ..SAME }.forward()),
    ("conv1x1_fwdbwd", || Conv { to: 256, kernel: 1, padding: 0, ..SAME }.both()),
    ("conv7x7_stride2", || STEM.forward()),
    ("conv3x3_stride2_fwdbwd", || Conv { to: 128, stride: 2, ..SAME }.both()),
    ("conv3x3_grouped", || GROUPED.forward()),
    ("conv3x3_dilated", || Conv { padding: 2, dilation: 2, ..SAME }.forward()),
    ("conv4x4_transposed", || TRANSPOSED.forward()),
    ("depthwise", || DEPTHWISE.forward()),
    ("depthwise_fwdbwd", || DEPTHWISE.both()),
    ("max_pool3x3_stride2", || {
        let x = data("x", WIDE);
        Workload::forward(move || x.max_pool2d(pool())).moves(WIDE_NUMBERS + WIDE_NUMBERS / 4)
    }),
    ("max_pool_fwdbwd", || {
        let (x, g) = (data("x", WIDE), data("g", [32, 64, 56, 56]));
        // x in and y out; then g and what tells the maxima (counted as x), dx.
        Workload::both(vec![x], g, |t| t[0].max_pool2d(pool())).moves(3 * WIDE_NUMBERS + WIDE_NUMBERS / 2)
    }),
    ("avg_pool2x2", || {
        let x = data("x", WIDE);
        Workload::forward(move || x.avg_pool2d(2)).moves(WIDE_NUMBERS + WIDE_NUMBERS / 4)
    }),
];

/// Feature maps before a pool.
const WIDE: [usize; 4] = [32, 64, 112, 112];
const WIDE_NUMBERS: usize = 32 * 64 * 112 * 112;

fn pool() -> PoolOptions {
    PoolOptions::new(3).stride(2).padding(1)
}

/// A convolution of square images by a square kernel, without bias.
#[derive(Clone, Copy)]
struct Conv {
    batch: usize,
    from: usize,
    to: usize,
    size: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
    groups: usize,
    transposed: bool,
}

/// A residual network's first stage.
const SAME: Conv = Conv {
    batch: 32,
    from: 64,
    to: 64,
    size: 56,
    kernel: 3,
    stride: 1,
    padding: 1,
    dilation: 1,
    groups: 1,
    transposed: false,
};
/// Its first layer.
const STEM: Conv = Conv { from: 3, size: 224, kernel: 7, stride: 2, padding: 3, ..SAME };
/// ResNeXt's 32 groups.
const GROUPED: Conv = Conv { from: 256, to: 256, size: 28, groups: 32, ..SAME };
const DEPTHWISE: Conv = Conv { from: 96, to: 96, groups: 96, ..SAME };
/// Doubles the size, as generators do.
const TRANSPOSED: Conv = Conv { from: 128, size: 28, kernel: 4, stride: 2, transposed: true, ..SAME };

impl Conv {
    fn out_size(&self) -> usize {
        if self.transposed {
            (self.size - 1) * self.stride + self.kernel - 2 * self.padding
        } else {
            (self.size + 2 * self.padding - self.dilation * (self.kernel - 1) - 1) / self.stride + 1
        }
    }
    fn x(&self) -> Tensor {
        data("x", [self.batch, self.from, self.size, self.size])
    }
    fn weight(&self) -> Tensor {
        let (rows, columns) = if self.transposed { (self.from, self.to) } else { (self.to, self.from) };
        weight("conv.weight", [rows, columns / self.groups, self.kernel, self.kernel])
    }
    fn cotangent(&self) -> Tensor {
        data("g", [self.batch, self.to, self.out_size(), self.out_size()])
    }
    fn apply(&self, x: &Tensor, w: &Tensor) -> Tensor {
        let o = ConvOptions::default().stride(self.stride).padding(self.padding).dilation(self.dilation);
        let o = o.groups(self.groups);
        if self.transposed { x.conv_transpose2d(w, None, &o) } else { x.conv2d(w, None, &o) }
    }
    /// Depthwise ones are limited by memory, the others by arithmetic: work of `products` passes.
    fn count(&self, w: Workload, products: usize) -> Workload {
        let pixels = if self.transposed { self.size } else { self.out_size() }.pow(2) * self.batch;
        if self.groups == self.from {
            let maps = self.batch * (self.from * self.size.pow(2) + self.to * self.out_size().pow(2));
            return w.moves(maps * products.min(2));
        }
        w.flops(2.0 * (products * pixels * self.from * self.to / self.groups * self.kernel.pow(2)) as f64)
    }
    fn forward(self) -> Workload {
        let (x, w) = (self.x(), self.weight());
        self.count(Workload::forward(move || self.apply(&x, &w)), 1)
    }
    /// Forward and both gradients.
    fn both(self) -> Workload {
        let run = Workload::both(vec![self.x(), self.weight()], self.cotangent(), move |t| {
            self.apply(&t[0], &t[1])
        });
        self.count(run, 3)
    }
    /// One gradient.
    fn backward(self, by: Tensor, f: impl Fn(&Conv, &Tensor) -> Tensor + 'static) -> Workload {
        self.count(Workload::backward(vec![by], self.cotangent(), move |t| f(&self, &t[0])), 1)
    }
}
