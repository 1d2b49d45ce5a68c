//! Speed of convolutions and pools:
//! `cargo run --release -p hadal-cpu --example bench_conv -- [part of a name] [--threads 1,2]`.
//!
//! Prints GFLOP/s, for depthwise convolutions and pools GB/s (each array counted once): best and
//! median of several rounds.

mod harness;

use hadal_core::Buffer;
use hadal_core::ops::{ConvGeometry, PoolGeometry, Window};
use hadal_cpu::conv::{ConvEpilogue, conv_forward, conv_input_grad, conv_weight_grad};
use hadal_cpu::pool::{max_pool, max_pool_indices, sum_pool, sum_pool_grad};
use harness::Harness;

fn side(input: usize, kernel: usize, stride: usize, pad: usize) -> Window {
    let output = (input + 2 * pad - kernel) / stride + 1;
    Window { input, kernel, stride, pad_lo: pad, pad_hi: pad, dilation: 1, output }
}

/// Memory as tensors have it.
fn ramp(n: usize) -> Buffer {
    let mut buffer = Buffer::new(n * 4);
    floats(&mut buffer).iter_mut().enumerate().for_each(|(i, v)| *v = (i % 17) as f32 * 0.1 - 0.8);
    buffer
}

fn floats(buffer: &mut Buffer) -> &mut [f32] {
    buffer.as_mut_slice()
}

/// `batch`, input channels, output channels, groups.
type Channels = [usize; 4];

fn conv(h: &Harness, name: &str, [batch, in_channels, out_channels, groups]: Channels, w: Window) {
    let passes = ["forward", "input grad", "weight grad"].map(|p| format!("{name} {p}"));
    if !passes.iter().any(|p| h.wants(p)) {
        return;
    }
    let g =
        ConvGeometry { batch, in_channels, out_channels, groups, windows: [Window::UNIT, w, w], spatial: 2 };
    let sizes = [g.input_shape(), g.weight_shape(), g.output_shape()].map(|s| s.numel());
    let (mut bx, mut bw, mut by) = (ramp(sizes[0]), ramp(sizes[1]), ramp(sizes[2]));
    let (mut bdx, mut bdw, mut bdy) = (ramp(sizes[0]), ramp(sizes[1]), ramp(sizes[2]));
    let (x, weight, dy) = (&*floats(&mut bx), &*floats(&mut bw), &*floats(&mut bdy));
    let (y, dx, dw) = (floats(&mut by), floats(&mut bdx), floats(&mut bdw));
    let (amount, unit) = if groups == 1 {
        (g.flops() as f64, "GFLOP/s")
    } else {
        ((4 * (x.len() + y.len() + weight.len())) as f64, "GB/s")
    };
    h.report(&passes[0], amount, unit, || {
        let _ = conv_forward(x, weight, y, &g, ConvEpilogue::NONE);
    });
    h.report(&passes[1], amount, unit, || {
        let _ = conv_input_grad(dy, weight, dx, &g, ConvEpilogue::NONE);
    });
    h.report(&passes[2], amount, unit, || {
        let _ = conv_weight_grad(x, dy, dw, &g);
    });
}

fn pool(h: &Harness, name: &str, planes: usize, w: Window) {
    let passes = ["max", "sum", "sum grad"].map(|p| format!("pool {name} {p}"));
    if !passes.iter().any(|p| h.wants(p)) {
        return;
    }
    let g = PoolGeometry { planes, windows: [Window::UNIT, w, w], spatial: 2 };
    let x: Vec<f32> = (0..planes * w.input * w.input).map(|i| (i * 7919 % 1013) as f32).collect();
    let mut dx = x.clone();
    let mut y = vec![0.0f32; planes * w.output * w.output];
    let mut index = vec![0i64; y.len()];
    let bytes = |of_y: usize| (4 * x.len() + of_y * y.len()) as f64;
    let mut best = y.clone();
    let (indices, sums) = (bytes(8), bytes(4));
    h.report(&format!("{} values", passes[0]), sums, "GB/s", || {
        let _ = max_pool(&x, &mut best, &g);
    });
    h.report(&passes[0], indices, "GB/s", || {
        let _ = max_pool_indices(&x, &mut index, &g);
    });
    h.report(&passes[1], sums, "GB/s", || {
        let _ = sum_pool(&x, &mut y, &g);
    });
    h.report(&passes[2], sums, "GB/s", || {
        let _ = sum_pool_grad(&y, &mut dx, &g);
    });
}

fn main() {
    let h = &Harness::from_args();
    conv(h, "3x3 [32,64,56,56] to 64", [32, 64, 64, 1], side(56, 3, 1, 1));
    conv(h, "depthwise 3x3 [32,96,56,56]", [32, 96, 96, 96], side(56, 3, 1, 1));
    conv(h, "depthwise 3x3 stride 2 [32,96,56,56]", [32, 96, 96, 96], side(56, 3, 2, 1));
    conv(h, "depthwise 5x5 [8,120,28,28]", [8, 120, 120, 120], side(28, 5, 1, 2));
    conv(h, "depthwise 5x5 stride 2 [8,120,28,28]", [8, 120, 120, 120], side(28, 5, 2, 2));
    conv(h, "depthwise 3x3 [1,32,112,112]", [1, 32, 32, 32], side(112, 3, 1, 1));
    conv(h, "depthwise 3x3 [1,384,14,14]", [1, 384, 384, 384], side(14, 3, 1, 1));
    conv(h, "depthwise 3x3 [1,960,7,7]", [1, 960, 960, 960], side(7, 3, 1, 1));
    conv(h, "depthwise x2 3x3 [8,32,56,56]", [8, 32, 64, 32], side(56, 3, 1, 1));
    conv(h, "lenet 1: 5x5 [256,1,28,28] to 6", [256, 1, 6, 1], side(28, 5, 1, 2));
    conv(h, "lenet 2: 5x5 [256,6,14,14] to 16", [256, 6, 16, 1], side(14, 5, 1, 0));
    conv(h, "resnet 3x3 [1,64,56,56] to 64", [1, 64, 64, 1], side(56, 3, 1, 1));
    conv(h, "resnet 3x3 [1,128,28,28] to 128", [1, 128, 128, 1], side(28, 3, 1, 1));
    conv(h, "resnet 3x3 [1,256,14,14] to 256", [1, 256, 256, 1], side(14, 3, 1, 1));
    conv(h, "resnet 3x3 [1,512,7,7] to 512", [1, 512, 512, 1], side(7, 3, 1, 1));
    conv(h, "resnet 3x3 [8,512,7,7] to 512", [8, 512, 512, 1], side(7, 3, 1, 1));
    conv(h, "resnet 3x3 [32,256,14,14] to 256", [32, 256, 256, 1], side(14, 3, 1, 1));
    for (channels, n) in [(64, 24), (128, 12), (256, 6), (512, 3)] {
        let name = |what: &str| format!("step {what} {channels} {n}");
        conv(h, &name("3x3"), [16, channels, channels, 1], side(n, 3, 1, 1));
        if channels > 64 {
            conv(h, &name("3x3 stride 2"), [16, channels / 2, channels, 1], side(2 * n, 3, 2, 1));
            conv(h, &name("1x1 stride 2"), [16, channels / 2, channels, 1], side(2 * n, 1, 2, 0));
        }
    }
    conv(h, "step 7x7 stride 2", [16, 3, 64, 1], side(96, 7, 2, 3));
    conv(h, "resnet 3x3 stride 2 [1,64,56,56] to 128", [1, 64, 128, 1], side(56, 3, 2, 1));
    conv(h, "resnet 3x3 stride 2 [32,64,56,56] to 128", [32, 64, 128, 1], side(56, 3, 2, 1));
    conv(h, "resnet 3x3 stride 2 [8,64,56,56] to 128", [8, 64, 128, 1], side(56, 3, 2, 1));
    conv(h, "resnet 7x7 stride 2 [1,3,224,224] to 64", [1, 3, 64, 1], side(224, 7, 2, 3));
    conv(h, "resnet 7x7 stride 2 [32,3,224,224] to 64", [32, 3, 64, 1], side(224, 7, 2, 3));
    conv(h, "transposed 4x4 [32,128,28,28] to 64", [32, 64, 128, 1], side(56, 4, 2, 1));
    let dilated = Window { dilation: 2, pad_lo: 2, pad_hi: 2, ..side(56, 3, 1, 1) };
    conv(h, "3x3 dilated [32,64,56,56] to 64", [32, 64, 64, 1], dilated);
    conv(h, "1x1 [32,64,56,56] to 256", [32, 64, 256, 1], side(56, 1, 1, 0));
    conv(h, "resnet 7x7 stride 2 [8,3,224,224] to 64", [8, 3, 64, 1], side(224, 7, 2, 3));
    conv(h, "1x1 stride 2 [1,64,56,56] to 128", [1, 64, 128, 1], side(56, 1, 2, 0));
    conv(h, "1x1 [1,96,56,56] to 24", [1, 96, 24, 1], side(56, 1, 1, 0));
    conv(h, "1x1 [1,16,112,112] to 96", [1, 16, 96, 1], side(112, 1, 1, 0));
    conv(h, "1x1 [1,320,7,7] to 1280", [1, 320, 1280, 1], side(7, 1, 1, 0));
    conv(h, "1x1 [32,256,28,28] to 128", [32, 256, 128, 1], side(28, 1, 1, 0));
    conv(h, "1x1 [32,160,7,7] to 960", [32, 160, 960, 1], side(7, 1, 1, 0));
    pool(h, "2x2 [256,6,28,28]", 256 * 6, side(28, 2, 2, 0));
    pool(h, "3x3 stride 2 [8,64,112,112]", 8 * 64, side(112, 3, 2, 1));
    pool(h, "2x2 [32,64,112,112]", 32 * 64, side(112, 2, 2, 0));
    pool(h, "3x3 stride 2 [32,64,112,112]", 32 * 64, side(112, 3, 2, 1));
}
