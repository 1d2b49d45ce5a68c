//! The Box–Muller transform on blocks.
//!
//! Logarithm, sine and cosine are polynomials of plain f64 multiplications and additions (no fused
//! multiply-add, no library call): the same bits on every machine, and loops that vectorise. The
//! coefficients are fdlibm's (Sun Microsystems 1993: e_log.c, k_sin.c, k_cos.c); errors are below
//! 1e-15 relative, far under what f32 shows.

// The coefficients are written with the digits of their source.
#![allow(clippy::excessive_precision)]

use crate::random::BLOCK;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Level, level};

/// Turns pairs of numbers, the first in (0, 1], the second in [0, 1), into pairs of independent
/// standard normal values. The same bits at every level: vectors only do several pairs at once.
pub(crate) fn normals(z: &mut [f64; BLOCK]) {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: `level` has found these instructions on this machine.
        match level() {
            Level::Avx512 => return unsafe { normals_avx512(z) },
            Level::Avx2 => return unsafe { normals_avx2(z) },
            Level::Portable => {}
        }
    }
    transform(z);
}

/// # Safety
/// The machine has AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn normals_avx2(z: &mut [f64; BLOCK]) {
    transform(z);
}

/// # Safety
/// The machine has AVX-512 F, VL and DQ.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,avx512f,avx512vl,avx512dq")]
unsafe fn normals_avx512(z: &mut [f64; BLOCK]) {
    transform(z);
}

#[inline(always)]
fn transform(z: &mut [f64; BLOCK]) {
    const HALF: usize = BLOCK / 2;
    let mut radius = [0.0; HALF];
    let (mut sin, mut cos) = ([0.0; HALF], [0.0; HALF]);
    for i in 0..HALF {
        radius[i] = (-2.0 * ln(z[2 * i])).max(0.0).sqrt();
    }
    for i in 0..HALF {
        (sin[i], cos[i]) = sin_cos_turns(z[2 * i + 1]);
    }
    for i in 0..HALF {
        z[2 * i] = radius[i] * cos[i];
        z[2 * i + 1] = radius[i] * sin[i];
    }
}

/// Natural logarithm of a normal number in (0, 1].
#[inline(always)]
fn ln(u: f64) -> f64 {
    const LN2_HI: f64 = 6.93147180369123816490e-01;
    const LN2_LO: f64 = 1.90821492927058770002e-10;
    const LG: [f64; 7] = [
        6.666666666666735130e-01,
        3.999999999940941908e-01,
        2.857142874366239149e-01,
        2.222219843214978396e-01,
        1.818357216161805012e-01,
        1.531383769920937332e-01,
        1.479819860511658591e-01,
    ];
    /// Bits of sqrt(1/2) and of 1.
    const ROOT: u64 = 0x3fe6_a09e_667f_3bcd;
    const ONE: u64 = 0x3ff0_0000_0000_0000;
    // u = 2^k · m with m in [sqrt(1/2), sqrt(2)).
    let bits = u.to_bits().wrapping_add(ONE - ROOT);
    let m = f64::from_bits((bits & 0x000f_ffff_ffff_ffff).wrapping_add(ROOT));
    // The biased exponent as a float, by way of the mantissa of 2^52: there is no vector conversion
    // from 64-bit integers before AVX-512.
    let k = f64::from_bits((bits >> 52) | 0x4330_0000_0000_0000) - (4_503_599_627_370_496.0 + 1023.0);
    let f = m - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    let w = z * z;
    let t1 = w * (LG[1] + w * (LG[3] + w * LG[5]));
    let t2 = z * (LG[0] + w * (LG[2] + w * (LG[4] + w * LG[6])));
    let half = 0.5 * f * f;
    s * (half + t1 + t2) + k * LN2_LO - half + f + k * LN2_HI
}

/// Sine and cosine of `2π·v` for v in [0, 1).
#[inline(always)]
fn sin_cos_turns(v: f64) -> (f64, f64) {
    const S: [f64; 6] = [
        -1.66666666666666324348e-01,
        8.33333333332248946124e-03,
        -1.98412698298579493134e-04,
        2.75573137070700676789e-06,
        -2.50507602534068634195e-08,
        1.58969099521155010221e-10,
    ];
    const C: [f64; 6] = [
        4.16666666666666019037e-02,
        -1.38888888888741095749e-03,
        2.48015872894767294178e-05,
        -2.75573143513906633035e-07,
        2.08757232129817482790e-09,
        -1.13596475577881948265e-11,
    ];
    /// Adding it rounds to a whole number, which the low bits of the sum then hold.
    const MAGIC: f64 = 6_755_399_441_055_744.0;
    // v = q/4 + r/(2π) with |r| <= π/4.
    let shifted = 4.0 * v + MAGIC;
    let quarter = shifted.to_bits();
    let r = (v - (shifted - MAGIC) * 0.25) * std::f64::consts::TAU;
    let z = r * r;
    let sin = r + r * z * (S[0] + z * (S[1] + z * (S[2] + z * (S[3] + z * (S[4] + z * S[5])))));
    let tail = z * z * (C[0] + z * (C[1] + z * (C[2] + z * (C[3] + z * (C[4] + z * C[5])))));
    let cos = 1.0 - 0.5 * z + tail;
    // Quarter 1: (cos, -sin); 2: (-sin, -cos); 3: (-cos, sin), as (sine, cosine).
    let swap = 0u64.wrapping_sub(quarter & 1);
    let (sin, cos) = (sin.to_bits(), cos.to_bits());
    let sin_out = (sin & !swap) | (cos & swap);
    let cos_out = (cos & !swap) | (sin & swap);
    let sin_sign = (quarter & 2) << 62;
    let cos_sign = (quarter.wrapping_add(1) & 2) << 62;
    (f64::from_bits(sin_out ^ sin_sign), f64::from_bits(cos_out ^ cos_sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_agree_with_the_library() {
        for i in 1..=100_000u32 {
            let u = i as f64 / 100_000.0;
            for u in [u, u * 2f64.powi(-(i as i32 % 50))] {
                let (got, want) = (ln(u), u.ln());
                assert!((got - want).abs() <= 1e-15 * want.abs().max(1e-15), "ln {u}: {got} {want}");
            }
            let v = (i - 1) as f64 / 100_000.0;
            let (s, c) = sin_cos_turns(v);
            let angle = v * std::f64::consts::TAU;
            assert!((s - angle.sin()).abs() < 2e-15 && (c - angle.cos()).abs() < 2e-15, "{v}");
        }
        assert_eq!(ln(1.0), 0.0);
        assert_eq!(sin_cos_turns(0.0), (0.0, 1.0));
    }

    #[test]
    fn every_level_gives_the_same_bits() {
        let mut state = 1u64;
        for _ in 0..200 {
            let z: [f64; BLOCK] = std::array::from_fn(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                ((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64
            });
            let (mut plain, mut vector) = (z, z);
            transform(&mut plain);
            normals(&mut vector);
            assert_eq!(plain.map(f64::to_bits), vector.map(f64::to_bits));
            #[cfg(target_arch = "x86_64")]
            if is_x86_feature_detected!("avx2") {
                let mut vector = z;
                // SAFETY: just detected.
                unsafe { normals_avx2(&mut vector) };
                assert_eq!(plain.map(f64::to_bits), vector.map(f64::to_bits));
            }
        }
    }
}
