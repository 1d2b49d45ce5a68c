//! Speed of the matrix products:
//! `cargo run --release -p hadal-cpu --example bench_gemm -- [part of a name] [--threads 1,2]`.
//!
//! Prints GFLOP/s: best and median of several rounds.

mod harness;

use hadal_core::Element;
use hadal_cpu::gemm::{Epilogue, MatView, MatmulElement, PackedMatrix, matmul, matmul_packed};
use harness::Harness;

fn values<T: Element>(n: usize, period: usize) -> Vec<T> {
    (0..n).map(|i| T::from_f64((i % period) as f64 - (period / 2) as f64)).collect()
}

fn gemm_of<T: MatmulElement>(h: &Harness, name: &str, [m, n, k]: [usize; 3], ta: bool, tb: bool) {
    let (a, b) = (values::<T>(m * k, 13), values::<T>(k * n, 11));
    let mut c = values::<T>(m * n, 2);
    let va = if ta { MatView::row_major(&a, m).t() } else { MatView::row_major(&a, k) };
    let vb = if tb { MatView::row_major(&b, k).t() } else { MatView::row_major(&b, n) };
    let layout = format!("{}{}", if ta { "T" } else { "N" }, if tb { "T" } else { "N" });
    h.report(&format!("{name} {m}x{n}x{k} {layout}"), 2.0 * (m * n * k) as f64, "GFLOP/s", || {
        let _ = matmul(&[], m, n, k, va, vb, &mut c, false, &Epilogue::NONE);
    });
}

fn gemm(h: &Harness, name: &str, m: usize, n: usize, k: usize, ta: bool, tb: bool) {
    gemm_of::<f32>(h, name, [m, n, k], ta, tb);
}

/// `count` square products.
fn batched(h: &Harness, count: usize, n: usize) {
    let (a, b) = (values::<f32>(count * n * n, 13), values::<f32>(count * n * n, 11));
    let mut c = values::<f32>(count * n * n, 2);
    let strides = [(n * n) as isize];
    let view = |data| MatView { batch_strides: &strides, ..MatView::row_major(data, n) };
    h.report(&format!("batched {count}x{n}"), 2.0 * (count * n * n * n) as f64, "GFLOP/s", || {
        let _ = matmul(&[count], n, n, n, view(&a), view(&b), &mut c, false, &Epilogue::NONE);
    });
}

/// A weight that was packed before.
fn packed(h: &Harness, m: usize, n: usize, k: usize) {
    let (a, b) = (values::<f32>(m * k, 13), values::<f32>(k * n, 11));
    let mut c = values::<f32>(m * n, 2);
    let Ok(b) = PackedMatrix::new(k, n, MatView::row_major(&b, n)) else { return };
    h.report(&format!("packed {m}x{n}x{k}"), 2.0 * (m * n * k) as f64, "GFLOP/s", || {
        let _ = matmul_packed(&[], m, MatView::row_major(&a, k), &b, &mut c, false, &Epilogue::NONE);
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
    gemm(h, "few rows", 5, 1024, 1024, false, true);
    gemm(h, "few rows", 9, 1024, 1024, false, true);
    gemm(h, "few rows", 32, 1024, 4096, false, false);
    gemm(h, "few rows", 64, 8192, 256, false, false);
    batched(h, 64, 128);
    batched(h, 16, 128);
    batched(h, 24, 96);
    batched(h, 512, 32);
    for m in [1, 4, 32, 128] {
        packed(h, m, 1024, 1024);
        packed(h, m, 4096, 1024);
    }
    gemm_of::<half::bf16>(h, "bf16", [1024; 3], false, false);
    gemm_of::<half::bf16>(h, "bf16", [512; 3], false, true);
    gemm_of::<half::bf16>(h, "bf16", [256; 3], true, false);
    gemm_of::<half::bf16>(h, "bf16", [1, 4096, 4096], false, true);
    gemm_of::<half::bf16>(h, "bf16", [1, 4096, 4096], false, false);
    gemm_of::<half::f16>(h, "f16", [512; 3], false, false);
    gemm(h, "tall", 20000, 32, 64, false, false);
    gemm(h, "flat", 32, 20000, 64, false, false);
    gemm(h, "deep", 32, 32, 20000, false, false);
}
