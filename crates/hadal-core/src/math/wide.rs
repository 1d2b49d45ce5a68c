//! Branch-free `f64` kernels behind the less frequent `f32` functions.
//!
//! Each is good to about 2^-36 relative, so that an `f32` result rounded from it is off by
//! 0.501 ulp at most. They assume arguments that come from `f32` (no `f64` subnormals) and are
//! built of selects, integer tricks and fused multiply-adds only, so that a loop over them becomes
//! vector code. Coefficients: `tools/golden/math_coefficients.py` (Remez).

use super::sel;

/// 1.5 · 2^52: adding it rounds a double of magnitude below 2^51 to an integer, whose two's
/// complement then stands in the low bits.
pub(super) const MAGIC: f64 = 6755399441055744.0;

/// Σ c\[i\] z^i by Horner's rule.
#[inline(always)]
pub(super) fn poly<const N: usize>(z: f64, c: [f64; N]) -> f64 {
    let mut p = c[N - 1];
    let mut i = N - 1;
    while i > 0 {
        i -= 1;
        p = p.mul_add(z, c[i]);
    }
    p
}

/// 2^n for the integer `n` that `t = n + MAGIC` carries, |n| ≤ 1022.
#[inline(always)]
fn pow2(t: f64) -> f64 {
    f64::from_bits(t.to_bits().wrapping_sub(MAGIC.to_bits()).wrapping_add(1023) << 52)
}

/// `(e^r − 1, 2^n)` with `x = n ln 2 + r`, |x| ≤ 700 or NaN.
#[inline(always)]
fn exp_parts(x: f64) -> (f64, f64) {
    let t = x.mul_add(std::f64::consts::LOG2_E, MAGIC);
    let n = t - MAGIC;
    let r = n.mul_add(-std::f64::consts::LN_2, x);
    let q = poly(
        r,
        [
            0.4999999999966326,
            0.16666666667267105,
            0.041666666962940566,
            0.008333333094523285,
            0.0013888811721023723,
            0.0001984153951813926,
            2.4880872680544574e-05,
            2.749301364564172e-06,
        ],
    );
    ((r * r).mul_add(q, r), pow2(t))
}

/// e^x, |x| ≤ 700 or NaN.
#[inline(always)]
pub(super) fn exp(x: f64) -> f64 {
    let (p, s) = exp_parts(x);
    p.mul_add(s, s)
}

/// e^x − 1, |x| ≤ 700 or NaN.
#[inline(always)]
pub(super) fn expm1(x: f64) -> f64 {
    let (p, s) = exp_parts(x);
    p.mul_add(s, s - 1.0)
}

/// 2^x, |x| ≤ 1000 or NaN.
#[inline(always)]
pub(super) fn exp2(x: f64) -> f64 {
    let t = x + MAGIC;
    let r = (x - (t - MAGIC)) * std::f64::consts::LN_2;
    let (p, _) = exp_parts(r);
    let s = pow2(t);
    p.mul_add(s, s)
}

/// `(e, ln m)` with `x = m 2^e`, m in [√½, √2); for finite x > 0.
#[inline(always)]
fn ln_parts(x: f64) -> (f64, f64) {
    const SQRT_HALF: u64 = 0x3fe6_a09e_667f_3bcd;
    let ix = x.to_bits();
    let e = (ix.wrapping_sub(SQRT_HALF) as i64) >> 52;
    let m = f64::from_bits(ix.wrapping_sub((e as u64) << 52));
    let e = f64::from_bits(MAGIC.to_bits().wrapping_add(e as u64)) - MAGIC;
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let p = poly(
        z,
        [
            0.3333333333329348,
            0.20000000026204215,
            0.14285708553065868,
            0.11111686737150654,
            0.0906179081370684,
            0.08410293505174782,
        ],
    );
    let two_s = s + s;
    (e, (two_s * z).mul_add(p, two_s))
}

/// Puts the values of a logarithm at 0, below 0, at ∞ and NaN in place of `y`.
#[inline(always)]
fn ln_special(x: f64, y: f64) -> f64 {
    let y = sel(x == 0.0, f64::NEG_INFINITY, y);
    let y = sel(x < f64::INFINITY, y, x);
    sel(x < 0.0, f64::NAN, y)
}

/// ln x.
#[inline(always)]
pub(super) fn ln(x: f64) -> f64 {
    let (e, l) = ln_parts(x);
    ln_special(x, e.mul_add(std::f64::consts::LN_2, l))
}

/// log₂ x.
#[inline(always)]
pub(super) fn log2(x: f64) -> f64 {
    let (e, l) = ln_parts(x);
    ln_special(x, l.mul_add(std::f64::consts::LOG2_E, e))
}

/// ln(1 + x).
#[inline(always)]
pub(super) fn log1p(x: f64) -> f64 {
    let u = 1.0 + x;
    // What the sum lost; in the first order it adds c / u to the logarithm. Beyond 2^53 it is
    // below the precision and would be ∞ − ∞ at ∞.
    let c = sel(x < 9e15, (x - (u - 1.0)) / u, 0.0);
    let y = ln(u);
    sel(u > 0.0, y + c, y)
}

/// `(sin 2πr, cos 2πr)` of the quarter-turn remainder, and the number of quarter turns in the two
/// low bits of an integer, for an `x` that comes from an `f32` of any magnitude.
///
/// x/2π is made of products with four pieces of 1/2π, of which the first three have 29 bits so that
/// the product with a 24-bit x is exact (Payne and Hanek, 1983, in floating point). For huge x the
/// bits of 1/2π that only contribute whole turns are skipped.
#[inline(always)]
pub(super) fn sin_cos_turns(x: f64) -> (f64, f64, u64) {
    // 2^76: from there on, ulp(x) times the 53 skipped bits is a whole number of turns.
    let huge = x.abs() >= 7.555786372591432e22;
    let t1 = x * sel(huge, 7.342738843835495e-17, 0.15915494225919247);
    let t2 = x * sel(huge, 7.0940550210363e-26, 8.327028684640414e-10);
    let t3 = x * sel(huge, 2.3430016322254e-34, 5.69002511952534e-19);
    let t4 = x * sel(huge, 3.877041902507235e-43, 6.317065088957875e-27);
    let f1 = t1 - t1.round_ties_even();
    let f2 = t2 - t2.round_ties_even();
    let f3 = t3 - t3.round_ties_even();
    let k = (f1 + f2 + f3).mul_add(4.0, MAGIC);
    // In this order every step but the last is exact where x is close to a multiple of π/2.
    let r = (((k - MAGIC).mul_add(-0.25, f1) + f2) + f3) + t4;
    let z = r * r;
    let s = r * poly(
        z,
        [6.283185307152453, -41.34170215350498, 81.60520474626556, -76.69786996624708, 41.47294862234362],
    );
    let c = poly(
        z,
        [
            0.9999999999999445,
            -19.73920880192285,
            64.93939383150267,
            -85.45676496485363,
            60.23818561594753,
            -26.058175537635872,
        ],
    );
    (s, c, k.to_bits())
}

/// asin of `s` given `z = s²`, 0 ≤ s ≤ 1/2.
#[inline(always)]
pub(super) fn asin_small(s: f64, z: f64) -> f64 {
    let p = poly(
        z,
        [
            0.16666666626724078,
            0.07500005042112914,
            0.04464068769785953,
            0.030426842812647164,
            0.021863000753865686,
            0.020659073642634675,
            0.001948370599078969,
            0.03294183595363028,
        ],
    );
    (s * z).mul_add(p, s)
}

/// atan t, 0 ≤ t ≤ 1.
#[inline(always)]
pub(super) fn atan_unit(t: f64) -> f64 {
    let z = t * t;
    let p = poly(
        z,
        [
            -0.3333333313022912,
            0.19999985333645856,
            -0.1428534334992769,
            0.1110636969115538,
            -0.09054953174610778,
            0.07515378472512894,
            -0.06068678494657984,
            0.044366812928822795,
            -0.02674586126334632,
            0.011910982291384849,
            -0.0033772170442733394,
            0.0004491930148941766,
        ],
    );
    (t * z).mul_add(p, t)
}

/// erfc a for 0 ≤ a ≤ 10.5 or NaN: e^(−a²) · P((a − 3)/(a + 3)) / (1 + 2a).
#[inline(always)]
pub(super) fn erfc_positive(a: f64) -> f64 {
    let t = (a - 3.0) / (a + 3.0);
    let p = poly(
        t,
        [
            1.2530080582696292,
            -0.13562110613735823,
            -0.04756229433365199,
            0.1296451596621362,
            -0.1192736636381804,
            0.0683080064350354,
            -0.02377052500609399,
            0.002529587398924521,
            0.0018888940123677578,
            -0.0007806840551870247,
            -0.00010653956640304636,
            0.00012652348652745883,
            8.929727199576288e-06,
            -1.9433051404475242e-05,
            -4.8057255816142555e-06,
        ],
    );
    exp(-a * a) * p / a.mul_add(2.0, 1.0)
}
