//! What the machine can do: multiplications and additions a second, and bytes a second.

use serde_json::{Value, json};
use std::hint::black_box;
use std::time::Instant;

/// Larger than the caches it could be kept in.
const BYTES: usize = 256 << 20;

/// Figures for this number of threads, each the best of several tries.
pub fn measure(threads: usize) -> Value {
    let rounds = 1 << 20;
    let flops = best(8, || on(threads, || peak(rounds)).iter().sum::<f64>());
    let share = BYTES / threads;
    let mut sources: Vec<Vec<u64>> = (0..threads).map(|_| vec![1; share / 8]).collect();
    let mut targets = sources.clone();
    let read = best(5, || {
        std::thread::scope(|s| {
            sources
                .iter()
                .map(|x| s.spawn(|| black_box(x.iter().fold(0u64, |a, &b| a.wrapping_add(b)))))
                .for_each(drop)
        });
        (share * threads) as f64
    });
    let copy = best(5, || {
        std::thread::scope(|s| {
            let pairs = sources.iter_mut().zip(&mut targets);
            pairs.map(|(x, y)| s.spawn(|| black_box(y).copy_from_slice(black_box(x)))).for_each(drop)
        });
        (2 * share * threads) as f64
    });
    let fresh = best(3, || {
        on(threads, || {
            let mut v: Vec<u8> = Vec::with_capacity(share / 4);
            v.resize(share / 4, 1);
            black_box(&v).len() as f64
        })
        .iter()
        .sum()
    });
    json!({"threads": threads, "gflops": flops / 1e9, "read_gbs": read / 1e9, "copy_gbs": copy / 1e9, "fresh_gbs": fresh / 1e9})
}

/// The best rate of several tries: units done by `f` per second.
fn best(tries: usize, mut f: impl FnMut() -> f64) -> f64 {
    let mut best = 0.0f64;
    for _ in 0..tries {
        let start = Instant::now();
        let done = f();
        best = best.max(done / start.elapsed().as_secs_f64());
    }
    best
}

/// The same work on several threads at once.
fn on(threads: usize, f: impl Fn() -> f64 + Sync) -> Vec<f64> {
    std::thread::scope(|s| {
        let all: Vec<_> = (0..threads).map(|_| s.spawn(&f)).collect();
        all.into_iter().map(|t| t.join().unwrap_or(0.0)).collect()
    })
}

/// Independent fused multiply-adds, enough of them to fill the pipelines. Returns the operations done.
fn peak(rounds: usize) -> f64 {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has AVX-512F.
            return unsafe { x86::peak_avx512(rounds) };
        }
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
            // SAFETY: the processor has AVX2 and FMA.
            return unsafe { x86::peak_avx2(rounds) };
        }
    }
    let mut sums = [[1.0f32; 4]; 16];
    let (a, b) = (black_box(0.999f32), black_box(0.001f32));
    for _ in 0..rounds {
        for s in sums.as_flattened_mut() {
            *s = *s * a + b;
        }
    }
    black_box(sums);
    (rounds * 64 * 2) as f64
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    #[target_feature(enable = "avx512f")]
    pub fn peak_avx512(rounds: usize) -> f64 {
        let mut sums = [_mm512_set1_ps(1.0); 12];
        let (a, b) = (_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(black_box(0.001)));
        for _ in 0..rounds {
            for s in &mut sums {
                *s = _mm512_fmadd_ps(*s, a, b);
            }
        }
        black_box(sums.map(|s| _mm512_reduce_add_ps(s)));
        (rounds * 12 * 16 * 2) as f64
    }

    #[target_feature(enable = "avx2,fma")]
    pub fn peak_avx2(rounds: usize) -> f64 {
        let mut sums = [_mm256_set1_ps(1.0); 12];
        let (a, b) = (_mm256_set1_ps(black_box(0.999)), _mm256_set1_ps(black_box(0.001)));
        for _ in 0..rounds {
            for s in &mut sums {
                *s = _mm256_fmadd_ps(*s, a, b);
            }
        }
        black_box(sums.map(|s| _mm256_cvtss_f32(s)));
        (rounds * 12 * 8 * 2) as f64
    }
}
