//! Speed of convolutions and pools: `cargo run --release -p hadal-cpu --example bench_conv`.
//!
//! Prints GFLOP/s (best and median of several rounds) with one thread and with two.

use hadal_core::ops::{ConvGeometry, PoolGeometry, Window};
use hadal_cpu::conv::{ConvEpilogue, conv_forward, conv_input_grad, conv_weight_grad};
use hadal_cpu::pool::{max_pool_indices, sum_pool, sum_pool_grad};
use hadal_cpu::threads::set_threads;
use std::time::Instant;

/// Best and median seconds of a call, over about 0.4 s.
fn time(mut f: impl FnMut()) -> (f64, f64) {
    f();
    let start = Instant::now();
    let mut times = Vec::new();
    while times.len() < 5 || (start.elapsed().as_secs_f64() < 0.4 && times.len() < 20_000) {
        let t = Instant::now();
        f();
        times.push(t.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    (times[0], times[times.len() / 2])
}

fn report(name: &str, flops: f64, mut f: impl FnMut()) {
    let mut line = format!("{name:<44}");
    for threads in [1, 2] {
        set_threads(threads);
        let (best, median) = time(&mut f);
        line += &format!(
            "  {threads}T {:>7.1} ({:>6.1}) GFLOP/s {:>9.1} us",
            flops / best * 1e-9,
            flops / median * 1e-9,
            best * 1e6
        );
    }
    println!("{line}");
}

fn side(input: usize, kernel: usize, stride: usize, pad: usize) -> Window {
    let output = (input + 2 * pad - kernel) / stride + 1;
    Window { input, kernel, stride, pad_lo: pad, pad_hi: pad, dilation: 1, output }
}

fn conv(name: &str, batch: usize, in_channels: usize, out_channels: usize, groups: usize, w: Window) {
    let g =
        ConvGeometry { batch, in_channels, out_channels, groups, windows: [Window::UNIT, w, w], spatial: 2 };
    let ramp = |n: usize| (0..n).map(|i| (i % 17) as f32 * 0.1 - 0.8).collect::<Vec<f32>>();
    let (x, weight, dy) =
        (ramp(g.input_shape().numel()), ramp(g.weight_shape().numel()), ramp(g.output_shape().numel()));
    let (mut y, mut dx, mut dw) = (dy.clone(), x.clone(), weight.clone());
    let flops = g.flops() as f64;
    report(&format!("{name} forward"), flops, || {
        let _ = conv_forward(&x, &weight, &mut y, &g, ConvEpilogue::NONE);
    });
    report(&format!("{name} input grad"), flops, || {
        let _ = conv_input_grad(&dy, &weight, &mut dx, &g, ConvEpilogue::NONE);
    });
    report(&format!("{name} weight grad"), flops, || {
        let _ = conv_weight_grad(&x, &dy, &mut dw, &g);
    });
}

fn pool(name: &str, planes: usize, w: Window) {
    let g = PoolGeometry { planes, windows: [Window::UNIT, w, w], spatial: 2 };
    let x: Vec<f32> = (0..planes * w.input * w.input).map(|i| (i * 7919 % 1013) as f32).collect();
    let mut dx = x.clone();
    let mut y = vec![0.0f32; planes * w.output * w.output];
    let mut index = vec![0i64; y.len()];
    let flops = (y.len() * w.kernel * w.kernel) as f64;
    report(&format!("{name} max"), flops, || {
        let _ = max_pool_indices(&x, &mut index, &g);
    });
    report(&format!("{name} sum"), flops, || {
        let _ = sum_pool(&x, &mut y, &g);
    });
    report(&format!("{name} sum grad"), flops, || {
        let _ = sum_pool_grad(&y, &mut dx, &g);
    });
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some("pool") {
        pool("2x2 [256,6,28,28]", 256 * 6, side(28, 2, 2, 0));
        return pool("3x3 stride 2 [8,64,112,112]", 8 * 64, side(112, 3, 2, 1));
    }
    conv("3x3 [32,64,56,56] to 64", 32, 64, 64, 1, side(56, 3, 1, 1));
    conv("3x3 depthwise [32,96,56,56]", 32, 96, 96, 96, side(56, 3, 1, 1));
    conv("lenet 1: 5x5 [256,1,28,28] to 6", 256, 1, 6, 1, side(28, 5, 1, 2));
    conv("lenet 2: 5x5 [256,6,14,14] to 16", 256, 6, 16, 1, side(14, 5, 1, 0));
    conv("3x3 stride 2 [8,64,56,56] to 128", 8, 64, 128, 1, side(56, 3, 2, 1));
    conv("7x7 stride 2 [8,3,224,224] to 64", 8, 3, 64, 1, side(224, 7, 2, 3));
    conv("1x1 [8,256,28,28] to 128", 8, 256, 128, 1, side(28, 1, 1, 0));
    conv("3x3 [8,512,7,7] to 512", 8, 512, 512, 1, side(7, 3, 1, 1));
    pool("2x2 [256,6,28,28]", 256 * 6, side(28, 2, 2, 0));
    pool("3x3 stride 2 [8,64,112,112]", 8 * 64, side(112, 3, 2, 1));
}
