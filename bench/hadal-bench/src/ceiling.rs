//! What the machine can do: multiplications and additions a second, and bytes a second.

use memmap2::{Advice, MmapMut};
use serde_json::{Value, json};
use std::hint::black_box;
use std::time::Instant;

/// Larger than the caches it could be kept in.
const BYTES: usize = 256 << 20;

/// Figures for this number of threads, each the best of several tries.
pub fn measure(threads: usize) -> Result<Value, String> {
    let rounds = 1 << 20;
    let flops = best(8, || on(threads, || peak(rounds)).iter().sum::<f64>());
    let bf16 = best(8, || on(threads, || peak_bf16(rounds)).iter().sum::<f64>());
    let share = BYTES / threads;
    let maps = || (0..threads).map(|_| pages(share)).collect::<Result<Vec<_>, _>>();
    let (mut sources, mut targets) = (maps()?, maps()?);
    let read = best(5, || {
        each(&mut sources, |x| {
            black_box(x.iter().fold(0u64, |a, &b| a.wrapping_add(b)));
        });
        (share * threads) as f64
    });
    // One stream is followed by the processor's prefetchers only so far: several lie a part of the memory apart.
    let streams = best(5, || {
        each(&mut sources, |x| {
            black_box(sums(x));
        });
        (share * threads) as f64
    });
    let copy = best(5, || {
        let mut pairs: Vec<_> = sources.iter_mut().zip(&mut targets).collect();
        std::thread::scope(|s| {
            for (x, y) in &mut pairs {
                s.spawn(|| black_box(words(y)).copy_from_slice(black_box(words(x))));
            }
        });
        (2 * share * threads) as f64
    });
    // As an optimizer does it: four streams read, three of them written in place.
    let update = best(5, || {
        each(&mut targets, update);
        (share * threads) as f64 * 7.0 / 4.0
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
    Ok(json!({
        "threads": threads,
        "gflops": flops / 1e9,
        "bf16_gflops": bf16 / 1e9,
        "read_gbs": read.max(streams) / 1e9,
        "copy_gbs": copy / 1e9,
        "update_gbs": update / 1e9,
        "fresh_gbs": fresh / 1e9,
    }))
}

/// Memory in huge pages where the system has them, as tensors have, written once.
fn pages(bytes: usize) -> Result<MmapMut, String> {
    let mut map = MmapMut::map_anon(bytes).map_err(|e| e.to_string())?;
    // A system that knows no huge pages gives small ones.
    #[cfg(target_os = "linux")]
    let _ = map.advise(Advice::HugePage);
    map.fill(1);
    Ok(map)
}

fn words(map: &mut MmapMut) -> &mut [u64] {
    // A mapping begins at a page, so nothing is cut off in front.
    bytemuck::cast_slice_mut(map)
}

/// The same work on each thread's memory.
fn each(maps: &mut [MmapMut], f: impl Fn(&mut [u64]) + Sync) {
    std::thread::scope(|s| {
        for map in maps {
            s.spawn(|| f(black_box(words(map))));
        }
    });
}

/// Eight streams, summed.
fn sums(x: &[u64]) -> u64 {
    let part = x.len() / 8;
    let streams: [&[u64]; 8] = std::array::from_fn(|i| &x[i * part..(i + 1) * part]);
    let mut lanes = [[0u64; 8]; 8];
    for at in (0..part / 8 * 8).step_by(8) {
        for (lane, stream) in lanes.iter_mut().zip(&streams) {
            for (sum, x) in lane.iter_mut().zip(&stream[at..at + 8]) {
                *sum = sum.wrapping_add(*x);
            }
        }
    }
    lanes.as_flattened().iter().fold(0, |a, &b| a.wrapping_add(b))
}

/// Reads four streams and writes three of them.
fn update(x: &mut [u64]) {
    let part = x.len() / 4;
    let (g, rest) = x.split_at_mut(part);
    let (p, rest) = rest.split_at_mut(part);
    let (m, v) = rest.split_at_mut(part);
    for (((g, p), m), v) in g.iter().zip(p).zip(m).zip(v) {
        *m ^= *g;
        *v = v.wrapping_add(*g);
        *p = p.wrapping_sub(*m ^ *v);
    }
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

/// The same with products of bf16, where the processor has them; else 0.
fn peak_bf16(rounds: usize) -> f64 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512bf16") && std::arch::is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has AVX-512F and AVX-512 BF16.
        return unsafe { x86::peak_bf16(rounds) };
    }
    let _ = rounds;
    0.0
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

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub fn peak_bf16(rounds: usize) -> f64 {
        let mut sums = [_mm512_set1_ps(1.0); 12];
        let a = _mm512_cvtne2ps_pbh(_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(0.5));
        let b = _mm512_cvtne2ps_pbh(_mm512_set1_ps(black_box(0.001)), _mm512_set1_ps(0.25));
        for _ in 0..rounds {
            for s in &mut sums {
                *s = _mm512_dpbf16_ps(*s, a, b);
            }
        }
        black_box(sums.map(|s| _mm512_reduce_add_ps(s)));
        (rounds * 12 * 32 * 2) as f64
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
