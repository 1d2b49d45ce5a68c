//! Speed of the matrix products: `cargo run --release -p hadal-cpu --example bench_gemm [-- part]`.
//!
//! Prints GFLOP/s (best and median of several rounds) with one thread and with two.

use hadal_cpu::gemm::{Epilogue, MatView, matmul};
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
    let mut line = format!("{name:<34}");
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

fn gemm(name: &str, m: usize, n: usize, k: usize, ta: bool, tb: bool) {
    let a: Vec<f32> = (0..m * k).map(|i| (i % 13) as f32 - 6.0).collect();
    let b: Vec<f32> = (0..k * n).map(|i| (i % 11) as f32 - 5.0).collect();
    let mut c = vec![0.0f32; m * n];
    let va = if ta { MatView::row_major(&a, m).t() } else { MatView::row_major(&a, k) };
    let vb = if tb { MatView::row_major(&b, k).t() } else { MatView::row_major(&b, n) };
    let layout = format!("{}{}", if ta { "T" } else { "N" }, if tb { "T" } else { "N" });
    report(&format!("{name} {m}x{n}x{k} {layout}"), 2.0 * (m * n * k) as f64, || {
        let _ = matmul(&[], m, n, k, va, vb, &mut c, false, &Epilogue::NONE);
    });
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some("square") {
        return [256, 384, 512, 768, 1024].iter().for_each(|&n| gemm("square", n, n, n, false, false));
    }
    for n in [16, 32, 48, 64, 96, 128, 256, 384, 512, 1024, 2048] {
        gemm("square", n, n, n, false, false);
    }
    for (ta, tb) in [(false, true), (true, false), (true, true)] {
        gemm("layout", 512, 512, 512, ta, tb);
        gemm("layout", 64, 64, 64, ta, tb);
    }
    gemm("mlp 1 forward", 256, 256, 784, false, true);
    gemm("mlp 1 weight", 256, 784, 256, true, false);
    gemm("mlp 2 forward", 256, 10, 256, false, true);
    gemm("mlp 2 input", 256, 256, 10, false, false);
    gemm("mlp 2 weight", 10, 256, 256, true, false);
    gemm("lenet fc1", 256, 120, 400, false, true);
    gemm("lenet fc3", 256, 10, 84, false, true);
    gemm("vector", 1, 1024, 1024, false, false);
    gemm("vector", 1, 1024, 1024, false, true);
    gemm("vector", 4, 1024, 1024, false, true);
    gemm("vector", 1024, 1, 1024, false, false);
    gemm("vector", 1, 4096, 4096, false, false);
    gemm("vector", 1, 4096, 4096, false, true);
    gemm("few rows", 8, 1024, 1024, false, false);
    gemm("few rows", 8, 1024, 1024, false, true);
    gemm("tall", 20000, 32, 64, false, false);
    gemm("flat", 32, 20000, 64, false, false);
    gemm("deep", 32, 32, 20000, false, false);
}
