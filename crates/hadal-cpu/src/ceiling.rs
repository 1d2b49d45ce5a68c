//! What this machine can do at best: arithmetic and bytes a second, measured on the backend's own
//! threads. No kernel can be faster for longer, so speeds are told as shares of these.

use crate::simd::{Level, level};
use crate::threads::{SendPtr, parallel_for, threads};
use hadal_core::Buffer;
use std::hint::black_box;
use std::time::Instant;

/// Bytes of each array in memory: larger than the caches they could be kept in.
const BYTES: usize = 128 << 20;
/// Bytes that each thread reads again and again: larger than first-level caches, which end at 64 KiB,
/// and half of the smallest second-level caches in use.
const CACHED: usize = 256 << 10;
/// Streams that a thread reads or updates at once. More of them keep more prefetchers busy, too many of
/// them collide; the best of these counts is taken.
const STREAMS: [usize; 3] = [1, 2, 4];

/// Rates of this machine, each the best of several tries: other programs only ever make them less.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ceilings {
    /// Threads that they were measured on.
    pub threads: usize,
    /// Billions of f32 operations a second, by independent fused multiply-adds that count 2 each.
    pub gflops: f64,
    /// The same by products of bf16 that are added up in f32; 0 where the processor has none.
    pub bf16_gflops: f64,
    /// Billions of bytes a second read from memory.
    pub read_gbs: f64,
    /// Billions of bytes a second read from one array and written to another, both counted.
    pub copy_gbs: f64,
    /// Billions of bytes a second changed in place, read and written ones counted: the better of one
    /// array and of what an optimizer does, four streams read and three of them written.
    pub update_gbs: f64,
    /// Billions of bytes a second read from the second-level caches.
    pub l2_gbs: f64,
    /// Billions of bytes a second written to memory that the system has just given.
    pub fresh_gbs: f64,
}

/// Measures this machine on as many threads as kernels use now; takes about a second and 256 MiB, which
/// count in the peak of [`memory_stats`](hadal_core::memory_stats).
///
/// ```no_run
/// let c = hadal_cpu::ceiling::measure();
/// println!("{:.0} GFLOP/s, {:.0} GB/s", c.gflops, c.read_gbs.max(c.update_gbs));
/// ```
pub fn measure() -> Ceilings {
    measure_on(BYTES, 1 << 20)
}

/// As [`measure`], with arrays of so many bytes and so many rounds of arithmetic.
fn measure_on(bytes: usize, rounds: usize) -> Ceilings {
    let threads = threads();
    let gflops = best(24, || {
        parallel_for(threads, &|_| peak(rounds));
        (threads * flops(rounds)) as f64
    });
    let bf16_gflops = if has_bf16() {
        best(24, || {
            parallel_for(threads, &|_| peak_bf16(rounds));
            (threads * 2 * flops(rounds)) as f64
        })
    } else {
        0.0
    };
    let l2_gbs = {
        let rows: Vec<Vec<u64>> = vec![vec![1; CACHED / 8]; threads];
        let repeats = (rounds / 1024).max(1);
        best(12, || {
            parallel_for(threads, &|t| {
                for _ in 0..repeats {
                    black_box(sum(black_box(&rows[t]), 1));
                }
            });
            (threads * repeats * CACHED) as f64
        })
    };
    // Of the pool, as tensors are: huge pages where they can be had.
    let (mut source, mut target) = (Buffer::new(bytes), Buffer::new(bytes));
    let (x, y) = (source.as_mut_slice::<u64>(), target.as_mut_slice::<u64>());
    x.fill(1);
    y.fill(1);
    let share = x.len() / threads;
    let done = (threads * share * 8) as f64;
    let tries = |f: &dyn Fn(usize)| {
        let rates = STREAMS.map(|n| best(6, || (f(n), done).1));
        rates.into_iter().fold(0.0, f64::max)
    };
    let part = |t: usize| t * share..(t + 1) * share;
    let read_gbs = tries(&|n| {
        parallel_for(threads, &|t| {
            black_box(sum(black_box(&x[part(t)]), n));
        });
    });
    let to = SendPtr::new(y.as_mut_ptr());
    let in_place = 2.0
        * tries(&|n| {
            parallel_for(threads, &|t| {
                // SAFETY: inside `y`, which nobody else uses meanwhile, and another part for each task.
                add(black_box(unsafe { to.slice(t * share, share) }), n);
            });
        });
    let optimizer = 7.0 / 4.0
        * best(10, || {
            parallel_for(threads, &|t| {
                // SAFETY: as above.
                update(black_box(unsafe { to.slice(t * share, share) }));
            });
            done
        });
    let update_gbs = in_place.max(optimizer);
    let copy_gbs = 2.0
        * best(10, || {
            parallel_for(threads, &|t| {
                // SAFETY: as above.
                black_box(unsafe { to.slice(t * share, share) }).copy_from_slice(black_box(&x[part(t)]));
            });
            done
        });
    drop((source, target));
    let fresh = bytes / 4 / threads;
    let fresh_gbs = best(3, || {
        parallel_for(threads, &|_| {
            let mut v: Vec<u8> = Vec::with_capacity(fresh);
            v.resize(fresh, 1);
            black_box(&v);
        });
        (fresh * threads) as f64
    });
    // Nobody needs blocks of that size again.
    hadal_core::trim_memory();
    let giga = |rate: f64| rate / 1e9;
    Ceilings {
        threads,
        gflops: giga(gflops),
        bf16_gflops: giga(bf16_gflops),
        read_gbs: giga(read_gbs),
        copy_gbs: giga(copy_gbs),
        update_gbs: giga(update_gbs),
        l2_gbs: giga(l2_gbs),
        fresh_gbs: giga(fresh_gbs),
    }
}

/// The best rate of several tries: units done by `f` a second.
fn best(tries: usize, mut f: impl FnMut() -> f64) -> f64 {
    let mut best = 0.0f64;
    for _ in 0..tries {
        let start = Instant::now();
        let done = f();
        best = best.max(done / start.elapsed().as_secs_f64().max(1e-9));
    }
    best
}

/// Values in a vector register of f32.
fn lanes() -> usize {
    match level() {
        Level::Avx512 => 16,
        Level::Avx2 => 8,
        Level::Portable => 4,
    }
}

/// Independent sums: multiply-adds take 4 cycles and 2 begin in each, so 8 would do.
const SUMS: usize = 12;

/// Operations of [`peak`].
fn flops(rounds: usize) -> usize {
    rounds * SUMS * lanes() * 2
}

/// Independent fused multiply-adds, enough of them to fill the pipelines.
fn peak(rounds: usize) {
    #[cfg(target_arch = "x86_64")]
    match level() {
        // SAFETY: the level says that the processor has AVX-512F.
        Level::Avx512 => return unsafe { x86::peak_avx512(rounds) },
        // SAFETY: the level says that the processor has AVX2 and FMA.
        Level::Avx2 => return unsafe { x86::peak_avx2(rounds) },
        Level::Portable => {}
    }
    let mut sums = [[1.0f32; 4]; SUMS];
    let (a, b) = (black_box(0.999f32), black_box(0.001f32));
    for _ in 0..rounds {
        for s in sums.as_flattened_mut() {
            // Fused where the target always has it; elsewhere that would be a call of a function.
            *s = if cfg!(target_arch = "aarch64") { s.mul_add(a, b) } else { *s * a + b };
        }
    }
    black_box(sums);
}

/// Whether the processor multiplies bf16 by itself, and kernels may use what it has.
fn has_bf16() -> bool {
    #[cfg(target_arch = "x86_64")]
    if level() == Level::Avx512 {
        return std::arch::is_x86_feature_detected!("avx512bf16");
    }
    false
}

/// As [`peak`] with pairs of bf16: twice its operations. Nothing where [`has_bf16`] says no.
fn peak_bf16(rounds: usize) {
    #[cfg(target_arch = "x86_64")]
    if has_bf16() {
        // SAFETY: the processor has AVX-512F and AVX-512 BF16.
        unsafe { x86::peak_bf16(rounds) }
    }
    let _ = rounds;
}

/// Sum of all values, read as so many streams.
fn sum(x: &[u64], streams: usize) -> u64 {
    #[cfg(target_arch = "x86_64")]
    match level() {
        // SAFETY: the level says that the processor has AVX-512F.
        Level::Avx512 => return unsafe { x86::sum_avx512(x, streams) },
        // SAFETY: the level says that the processor has AVX2.
        Level::Avx2 => return unsafe { x86::sum_avx2(x, streams) },
        Level::Portable => {}
    }
    sum_of(x, streams)
}

/// Adds 1 to all values in place, in so many streams.
fn add(x: &mut [u64], streams: usize) {
    #[cfg(target_arch = "x86_64")]
    match level() {
        // SAFETY: the level says that the processor has AVX-512F.
        Level::Avx512 => return unsafe { x86::add_avx512(x, streams) },
        // SAFETY: the level says that the processor has AVX2.
        Level::Avx2 => return unsafe { x86::add_avx2(x, streams) },
        Level::Portable => {}
    }
    add_to(x, streams);
}

/// Reads a quarter of the values and changes the others by it, as an optimizer does with gradients.
fn update(x: &mut [u64]) {
    #[cfg(target_arch = "x86_64")]
    match level() {
        // SAFETY: the level says that the processor has AVX-512F.
        Level::Avx512 => return unsafe { x86::update_avx512(x) },
        // SAFETY: the level says that the processor has AVX2.
        Level::Avx2 => return unsafe { x86::update_avx2(x) },
        Level::Portable => {}
    }
    update_of(x);
}

#[inline(always)]
fn update_of(x: &mut [u64]) {
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

/// Four cache lines.
const BLOCK: usize = 32;

#[inline(always)]
fn sum_of(x: &[u64], streams: usize) -> u64 {
    let len = x.len() / streams / BLOCK * BLOCK;
    let mut sums = [0u64; BLOCK];
    for at in (0..len).step_by(BLOCK) {
        for s in 0..streams {
            for (sum, v) in sums.iter_mut().zip(&x[s * len + at..][..BLOCK]) {
                *sum = sum.wrapping_add(*v);
            }
        }
    }
    x[streams * len..].iter().chain(&sums).fold(0, |a, b| a.wrapping_add(*b))
}

#[inline(always)]
fn add_to(x: &mut [u64], streams: usize) {
    let len = x.len() / streams / BLOCK * BLOCK;
    for at in (0..len).step_by(BLOCK) {
        for s in 0..streams {
            x[s * len + at..][..BLOCK].iter_mut().for_each(|v| *v = v.wrapping_add(1));
        }
    }
    x[streams * len..].iter_mut().for_each(|v| *v = v.wrapping_add(1));
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{SUMS, add_to, sum_of, update_of};
    use std::arch::x86_64::*;
    use std::hint::black_box;

    #[target_feature(enable = "avx512f")]
    pub fn peak_avx512(rounds: usize) {
        let mut sums = [_mm512_set1_ps(1.0); SUMS];
        let (a, b) = (_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(black_box(0.001)));
        for _ in 0..rounds {
            for s in &mut sums {
                *s = _mm512_fmadd_ps(*s, a, b);
            }
        }
        black_box(sums.map(|s| _mm512_reduce_add_ps(s)));
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub fn peak_bf16(rounds: usize) {
        let mut sums = [_mm512_set1_ps(1.0); SUMS];
        let a = _mm512_cvtne2ps_pbh(_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(0.5));
        let b = _mm512_cvtne2ps_pbh(_mm512_set1_ps(black_box(0.001)), _mm512_set1_ps(0.25));
        for _ in 0..rounds {
            for s in &mut sums {
                *s = _mm512_dpbf16_ps(*s, a, b);
            }
        }
        black_box(sums.map(|s| _mm512_reduce_add_ps(s)));
    }

    #[target_feature(enable = "avx2,fma")]
    pub fn peak_avx2(rounds: usize) {
        let mut sums = [_mm256_set1_ps(1.0); SUMS];
        let (a, b) = (_mm256_set1_ps(black_box(0.999)), _mm256_set1_ps(black_box(0.001)));
        for _ in 0..rounds {
            for s in &mut sums {
                *s = _mm256_fmadd_ps(*s, a, b);
            }
        }
        black_box(sums.map(|s| _mm256_cvtss_f32(s)));
    }

    #[target_feature(enable = "avx512f")]
    pub fn sum_avx512(x: &[u64], streams: usize) -> u64 {
        sum_of(x, streams)
    }

    #[target_feature(enable = "avx2")]
    pub fn sum_avx2(x: &[u64], streams: usize) -> u64 {
        sum_of(x, streams)
    }

    #[target_feature(enable = "avx512f")]
    pub fn add_avx512(x: &mut [u64], streams: usize) {
        add_to(x, streams);
    }

    #[target_feature(enable = "avx2")]
    pub fn add_avx2(x: &mut [u64], streams: usize) {
        add_to(x, streams);
    }

    #[target_feature(enable = "avx512f")]
    pub fn update_avx512(x: &mut [u64]) {
        update_of(x);
    }

    #[target_feature(enable = "avx2")]
    pub fn update_avx2(x: &mut [u64]) {
        update_of(x);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_meet_every_value_once() {
        for len in [0, 1, 31, 32, 100, 1000, 4096] {
            for streams in STREAMS {
                let mut x: Vec<u64> = (0..len).collect();
                assert_eq!(sum(&x, streams), (0..len).sum::<u64>(), "{len} values, {streams} streams");
                add(&mut x, streams);
                assert_eq!(x, (1..=len).collect::<Vec<u64>>(), "{streams} streams");
            }
        }
    }

    #[test]
    fn an_update_reads_one_stream_and_changes_three() {
        for quarter in [1, 7, 8, 100] {
            let mut x: Vec<u64> = [3, 10, 1, 5].into_iter().flat_map(|v| vec![v; quarter]).collect();
            update(&mut x);
            // m = 1 ^ 3 = 2, v = 5 + 3 = 8, p = 10 - (2 ^ 8) = 0.
            assert_eq!(x, [3, 0, 2, 8].into_iter().flat_map(|v| vec![v; quarter]).collect::<Vec<u64>>());
        }
    }

    #[test]
    fn rates_are_rates() {
        let c = measure_on(1 << 20, 1 << 10);
        assert_eq!(c.threads, threads());
        for rate in [c.gflops, c.read_gbs, c.copy_gbs, c.update_gbs, c.l2_gbs, c.fresh_gbs] {
            assert!(rate.is_finite() && rate > 0.0, "{c:?}");
        }
        assert_eq!(c.bf16_gflops > 0.0, has_bf16());
        assert_eq!(flops(10), 10 * 12 * lanes() * 2);
    }
}
