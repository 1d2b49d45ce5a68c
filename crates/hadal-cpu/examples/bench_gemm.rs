//! Speed of the matrix products:
//! `cargo run --release -p hadal-cpu --example bench_gemm -- [part of a name] [--threads 1,2]`.
//!
//! Prints GFLOP/s: best and median of several rounds.

mod harness;

use hadal_cpu::gemm::{Epilogue, MatView, matmul};
use harness::Harness;

fn gemm(h: &Harness, name: &str, m: usize, n: usize, k: usize, ta: bool, tb: bool) {
    let a: Vec<f32> = (0..m * k).map(|i| (i % 13) as f32 - 6.0).collect();
    let b: Vec<f32> = (0..k * n).map(|i| (i % 11) as f32 - 5.0).collect();
    let mut c = vec![0.0f32; m * n];
    let va = if ta { MatView::row_major(&a, m).t() } else { MatView::row_major(&a, k) };
    let vb = if tb { MatView::row_major(&b, k).t() } else { MatView::row_major(&b, n) };
    let layout = format!("{}{}", if ta { "T" } else { "N" }, if tb { "T" } else { "N" });
    h.report(&format!("{name} {m}x{n}x{k} {layout}"), 2.0 * (m * n * k) as f64, "GFLOP/s", || {
        let _ = matmul(&[], m, n, k, va, vb, &mut c, false, &Epilogue::NONE);
    });
}

fn main() {
    let h = &Harness::from_args();
    for n in [16, 32, 48, 64, 96, 128, 256, 384, 512, 1024, 2048] {
        gemm(h, "square", n, n, n, false, false);
    }
    for (ta, tb) in [(false, true), (true, false), (true, true)] {
        gemm(h, "layout", 512, 512, 512, ta, tb);
        gemm(h, "layout", 64, 64, 64, ta, tb);
    }
    gemm(h, "mlp 1 forward", 256, 256, 784, false, true);
    gemm(h, "mlp 1 weight", 256, 784, 256, true, false);
    gemm(h, "mlp 2 forward", 256, 10, 256, false, true);
    gemm(h, "mlp 2 input", 256, 256, 10, false, false);
    gemm(h, "mlp 2 weight", 10, 256, 256, true, false);
    gemm(h, "lenet fc1", 256, 120, 400, false, true);
    gemm(h, "lenet fc3", 256, 10, 84, false, true);
    gemm(h, "vector", 1, 1024, 1024, false, false);
    gemm(h, "vector", 1, 1024, 1024, false, true);
    gemm(h, "vector", 4, 1024, 1024, false, true);
    gemm(h, "vector", 1024, 1, 1024, false, false);
    gemm(h, "vector", 1, 4096, 4096, false, false);
    gemm(h, "vector", 1, 4096, 4096, false, true);
    gemm(h, "few rows", 8, 1024, 1024, false, false);
    gemm(h, "few rows", 8, 1024, 1024, false, true);
    gemm(h, "tall", 20000, 32, 64, false, false);
    gemm(h, "flat", 32, 20000, 64, false, false);
    gemm(h, "deep", 32, 32, 20000, false, false);
}
