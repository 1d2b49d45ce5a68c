//! Random numbers: the generator's published answers, the distributions, independence of threads.

mod support;

use hadal_core::ops::{Distribution, Op};
use hadal_core::{DType, Shape};
use hadal_cpu::simd::{Level, limit_level};
use rand_philox::{Philox, philox4x32_10};
use support::run;

fn draw(dist: Distribution, key: [u64; 2], dtype: DType, n: usize) -> Vec<f64> {
    run(&Op::Random(dist, key), &[], dtype, &Shape::new(&[n])).unwrap()
}

fn moments(v: &[f64]) -> (f64, f64) {
    let n = v.len() as f64;
    let mean = v.iter().sum::<f64>() / n;
    (mean, v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n)
}

/// The Kolmogorov–Smirnov distance to a distribution function, times sqrt(n): above 1.95 with
/// probability 0.001 for a true sample.
fn ks(v: &[f64], cdf: impl Fn(f64) -> f64) -> f64 {
    let mut v = v.to_vec();
    v.sort_by(f64::total_cmp);
    let n = v.len() as f64;
    let d = v.iter().enumerate().fold(0f64, |d, (i, &x)| {
        let f = cdf(x);
        d.max((f - i as f64 / n).abs()).max(((i + 1) as f64 / n - f).abs())
    });
    d * n.sqrt()
}

/// The normal distribution function, by Simpson's rule from 0.
fn normal_cdf(x: f64) -> f64 {
    let n = 200;
    let h = x / n as f64;
    let f = |t: f64| (-t * t / 2.0).exp();
    let sum: f64 = (0..=n)
        .map(|i| {
            f(i as f64 * h)
                * if i == 0 || i == n {
                    1.0
                } else if i % 2 == 1 {
                    4.0
                } else {
                    2.0
                }
        })
        .sum();
    0.5 + sum * h / 3.0 / (2.0 * std::f64::consts::PI).sqrt()
}

#[test]
fn every_instruction_set_draws_the_same_bits() {
    let distributions =
        [Distribution::Uniform(-1.0, 2.0), Distribution::Normal(0.5, 2.0), Distribution::Bernoulli(0.3)];
    let lengths = [1, 3, 4, 15, 16, 17, 63, 64, 65, 1000, 5003];
    let all = || -> Vec<Vec<u64>> {
        let each = distributions.iter().flat_map(|d| {
            lengths.map(|n| draw(*d, [7, n as u64], DType::F32, n).iter().map(|x| x.to_bits()).collect())
        });
        each.collect()
    };
    limit_level(Level::Portable);
    let plain = all();
    for level in [Level::Avx2, Level::Avx512] {
        // Where the machine lacks it, the best it has.
        let level = limit_level(level);
        assert!(all() == plain, "{level:?} draws other numbers");
    }
    limit_level(Level::Avx512);
}

#[test]
fn the_generator_gives_the_published_answers() {
    // Random123's kat_vectors for philox4x32-10.
    assert_eq!(philox4x32_10([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
    assert_eq!(
        philox4x32_10([u32::MAX; 4], [u32::MAX; 2]),
        [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
    );
    assert_eq!(
        philox4x32_10([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
        [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
    );
}

#[test]
fn elements_come_from_the_words_the_documentation_names() {
    // Key word splitmix64(0) = 0, so stream 0 of seed 0 begins with the published block.
    let first = [0x6627_e8d5u32, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8];
    let got = draw(Distribution::Uniform(0.0, 1.0), [0, 0], DType::F32, 4);
    for (g, w) in got.iter().zip(first) {
        assert_eq!(*g, (w >> 8) as f64 / 16_777_216.0);
    }
    let n = 40_000;
    let key = [42, 7];
    let mut words = vec![0u32; 2 * n];
    Philox::from_u64_seed_stream(key[0], key[1]).fill_u32(&mut words);
    let wide = |i: usize| words[2 * i] as u64 | (words[2 * i + 1] as u64) << 32;
    let got = draw(Distribution::Uniform(0.0, 1.0), key, DType::F64, n);
    assert!((0..n).all(|i| got[i] == (wide(i) >> 11) as f64 / (1u64 << 53) as f64));
    let got = draw(Distribution::Int(-5, 1000), key, DType::I64, n);
    assert!((0..n).all(|i| got[i] == ((wide(i) as u128 * 1005) >> 64) as f64 - 5.0));
    let got = draw(Distribution::Bernoulli(0.25), key, DType::Bool, n);
    assert!((0..n).all(|i| got[i] == (words[i] < 1 << 30) as u8 as f64));
    for i in (0..n).step_by(2) {
        // Box-Muller with the library's functions.
        let r = (-2.0 * ((words[i] as f64 + 0.5) / 4_294_967_296.0).ln()).sqrt();
        let angle = words[i + 1] as f64 / 4_294_967_296.0 * std::f64::consts::TAU;
        if i == 0 {
            let got = draw(Distribution::Normal(1.0, 2.0), key, DType::F32, 2);
            assert!((got[0] - (1.0 + 2.0 * r * angle.cos())).abs() < 1e-6);
            assert!((got[1] - (1.0 + 2.0 * r * angle.sin())).abs() < 1e-6);
        }
    }
}

#[test]
fn an_element_depends_on_key_and_position_alone() {
    for dist in [
        Distribution::Uniform(-1.0, 3.0),
        Distribution::Normal(0.5, 2.0),
        Distribution::Bernoulli(0.3),
        Distribution::Int(0, 77),
    ] {
        for dtype in [DType::F32, DType::F64, DType::BF16] {
            let long = draw(dist, [3, 4], dtype, 50_001);
            for n in [0, 1, 2, 3, 511, 513, 16_385] {
                assert_eq!(draw(dist, [3, 4], dtype, n), long[..n], "{dist:?} {dtype} {n}");
            }
            assert_ne!(draw(dist, [3, 5], dtype, 1000), long[..1000]);
            assert_ne!(draw(dist, [2, 4], dtype, 1000), long[..1000]);
        }
    }
}

#[test]
fn uniform_numbers_are_uniform_and_below_the_upper_bound() {
    let n = 200_000;
    for dtype in [DType::F32, DType::F64] {
        let v = draw(Distribution::Uniform(-1.0, 3.0), [1, 2], dtype, n);
        let (mean, var) = moments(&v);
        assert!((mean - 1.0).abs() < 0.01 && (var - 16.0 / 12.0).abs() < 0.01, "{mean} {var}");
        assert!(v.iter().all(|&x| (-1.0..3.0).contains(&x)));
        assert!(ks(&v, |x| (x + 1.0) / 4.0) < 1.95);
    }
    // Rounding up must not reach the bound: f16 has 11 bits, u has 24; and a narrow range.
    for dtype in [DType::F16, DType::BF16, DType::F32] {
        for (low, high) in [(0.0, 1.0), (1.0, 1.0 + 1.0 / 64.0), (-1.0, 0.0), (1000.0, 1024.0)] {
            let v = draw(Distribution::Uniform(low, high), [1, 2], dtype, n);
            assert!(v.iter().all(|&x| low <= x && x < high), "{dtype} {low} {high}");
        }
    }
    // A range wider than the dtype's largest number.
    let v = draw(Distribution::Uniform(-3e38, 3e38), [1, 2], DType::F32, 1000);
    assert!(v.iter().all(|x| x.is_finite()));
    let v = draw(Distribution::Uniform(-1.7e308, 1.7e308), [1, 2], DType::F64, 1000);
    assert!(v.iter().all(|x| x.is_finite()));
}

#[test]
fn normal_numbers_are_normal() {
    let n = 200_000;
    for dtype in [DType::F32, DType::F64] {
        let v = draw(Distribution::Normal(0.0, 1.0), [5, 6], dtype, n);
        let (mean, var) = moments(&v);
        assert!(mean.abs() < 0.01 && (var - 1.0).abs() < 0.015, "{mean} {var}");
        assert!(ks(&v, normal_cdf) < 1.95);
        let fourth = v.iter().map(|x| x.powi(4)).sum::<f64>() / n as f64;
        assert!((fourth - 3.0).abs() < 0.15, "{fourth}");
        // Beyond 4: 6.33e-5 of them, 12.7 expected.
        let tail = v.iter().filter(|x| x.abs() > 4.0).count();
        assert!((2..=30).contains(&tail), "{tail}");
        // Partners of one pair are uncorrelated, and so are their squares.
        let r = v.chunks(2).map(|p| p[0] * p[1]).sum::<f64>() / (n / 2) as f64;
        let r2 =
            v.chunks(2).map(|p| (p[0].powi(2) - 1.0) * (p[1].powi(2) - 1.0)).sum::<f64>() / (n / 2) as f64;
        assert!(r.abs() < 0.015 && r2.abs() < 0.03, "{r} {r2}");
    }
    let (mean, var) = moments(&draw(Distribution::Normal(3.0, 0.5), [5, 6], DType::BF16, n));
    assert!((mean - 3.0).abs() < 0.01 && (var - 0.25).abs() < 0.01, "{mean} {var}");
}

#[test]
fn whole_numbers_fill_their_range_evenly() {
    let n = 120_000;
    for dtype in [DType::I64, DType::I32, DType::U8, DType::F32] {
        let v = draw(Distribution::Int(3, 15), [8, 9], dtype, n);
        let mut counts = [0u32; 12];
        v.iter().for_each(|&x| counts[x as usize - 3] += 1);
        let chi2: f64 = counts.iter().map(|&c| (c as f64 - 1e4).powi(2) / 1e4).sum();
        assert!(chi2 < 31.3, "{chi2}"); // 11 degrees of freedom, p = 0.001
    }
    let all = draw(Distribution::Int(i64::MIN, i64::MAX), [8, 9], DType::I64, 1000);
    assert!(all.iter().any(|&x| x < -4e18) && all.iter().any(|&x| x > 4e18));
    assert_eq!(draw(Distribution::Int(7, 8), [8, 9], DType::I64, 3), [7.0; 3]);
}

#[test]
fn bernoulli_has_its_probability() {
    let n = 200_000;
    for p in [0.0, 1e-3, 0.5, 0.9, 1.0] {
        let (mean, _) = moments(&draw(Distribution::Bernoulli(p), [1, 1], DType::F32, n));
        assert!((mean - p).abs() <= 4.0 * (p * (1.0 - p) / n as f64).sqrt(), "{p} {mean}");
    }
}

#[test]
fn permutations_are_permutations_and_uniform() {
    for n in [0, 1, 2, 511, 512, 513, 5000] {
        let mut v = draw(Distribution::Permutation, [4, 4], DType::I64, n);
        v.sort_by(f64::total_cmp);
        assert!(v.iter().enumerate().all(|(i, &x)| x == i as f64));
    }
    // All 24 orders of four, 12 000 draws from different streams: 500 each.
    let mut counts = std::collections::BTreeMap::new();
    for stream in 0..12_000 {
        let v = draw(Distribution::Permutation, [4, stream], DType::I64, 4);
        *counts.entry(v.iter().map(|&x| x as u8).collect::<Vec<_>>()).or_insert(0u32) += 1;
    }
    let chi2: f64 = counts.values().map(|&c| (c as f64 - 500.0).powi(2) / 500.0).sum();
    assert_eq!(counts.len(), 24);
    assert!(chi2 < 49.7, "{chi2}"); // 23 degrees of freedom, p = 0.001
}
