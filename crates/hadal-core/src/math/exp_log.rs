//! Exponentials and logarithms of `f32`, in `f32` arithmetic.

use super::{poly32 as poly, sel};
use std::f32::consts::{LN_2, LOG2_E, LOG10_E};

/// 1.5 · 2^23: adding it rounds a float of magnitude below 2^22 to an integer, whose two's
/// complement then stands in the low bits.
const MAGIC: f32 = 12582912.0;
/// ln 2 − (the f32 nearest to ln 2).
const LN_2_REST: f32 = -1.904_654_2e-9;
/// ln 2 cut to 15 bits, so that its product with an exponent is exact, and what is left of it.
const LN_2_HI: f32 = 0.693_145_75;
const LN_2_LO: f32 = 1.428_606_8e-6;
/// log₁₀ 2 in the same way.
const LOG10_2_HI: f32 = 0.301_025_4;
const LOG10_2_LO: f32 = 4.605_039e-6;
/// log₂ e − (the f32 nearest to it), and the same for log₁₀ e.
const LOG2_E_REST: f32 = 1.925_963e-8;
const LOG10_E_REST: f32 = -1.010_305e-8;

/// `x` limited to [lo, hi]; NaN stays NaN.
#[inline(always)]
fn clamp(x: f32, lo: f32, hi: f32) -> f32 {
    let x = sel(x < lo, lo, x);
    sel(x > hi, hi, x)
}

/// 2^n from the low bits of `t`, which hold n + 127, for −126 ≤ n ≤ 128 (at 128: ∞).
#[inline(always)]
fn pow2(t: u32) -> f32 {
    f32::from_bits(t << 23)
}

/// `p · 2^n` for |n| ≤ 250 from the low bits of `t`, which hold n + 254; rounded once also where the
/// result is subnormal.
#[inline(always)]
fn scale(p: f32, t: u32) -> f32 {
    let half = t >> 1;
    p * pow2(half) * pow2(t.wrapping_sub(half))
}

/// `(e^r − 1, t)` with `x = n ln 2 + r`, |r| ≤ ln 2 / 2; the low bits of `t` hold n + `bias`, which may
/// be up to 2^21; |x| ≤ 10^5 or NaN.
#[inline(always)]
fn exp_parts(x: f32, bias: f32) -> (f32, u32) {
    let magic = MAGIC + bias;
    let t = x.mul_add(LOG2_E, magic);
    let n = t - magic;
    let r = n.mul_add(-LN_2_REST, n.mul_add(-LN_2, x));
    let q = poly(r, [4.999_999_4e-1, 1.666_652_1e-1, 4.166_839e-2, 8.368_745e-3, 1.381_454e-3]);
    ((r * r).mul_add(q, r), t.to_bits())
}

/// e^x for |x| ≤ 87 or NaN: no care for over- or underflow.
#[inline(always)]
pub(super) fn exp_narrow(x: f32) -> f32 {
    let (p, t) = exp_parts(x, 127.0);
    (1.0 + p) * pow2(t)
}

#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // e^-104 rounds to zero and e^89 to infinity.
    let (p, t) = exp_parts(clamp(x, -104.0, 89.0), 254.0);
    scale(1.0 + p, t)
}

#[inline(always)]
pub(super) fn exp2(x: f32) -> f32 {
    let x = clamp(x, -151.0, 129.0);
    let magic = MAGIC + 254.0;
    let t = x + magic;
    let r = x - (t - magic);
    let q =
        poly(r, [6.931_472e-1, 2.402_264_8e-1, 5.550_332_4e-2, 9.618_437e-3, 1.339_887_4e-3, 1.535_336_2e-4]);
    scale(r.mul_add(q, 1.0), t.to_bits())
}

#[inline(always)]
pub(super) fn expm1(x: f32) -> f32 {
    // Below -20 the result is -1 to the last bit; e^88.8 is beyond the range already. Half the
    // result is computed, since 2^n alone may overflow where the result does not.
    let (p, t) = exp_parts(clamp(x, -20.0, 88.8), 126.0);
    let h = pow2(t);
    let y = 2.0 * p.mul_add(h, h - 0.5);
    // Halving would cost a subnormal its last bit. Below 2^-25 the next term, x²/2, is under half an
    // ulp.
    sel(x.abs() < 2.98e-8, x, y)
}

/// `(m − 1, e)` with `x = m 2^e`, m in [√½, √2); for finite x > 0.
#[inline(always)]
fn ln_reduce(x: f32) -> (f32, f32) {
    const SQRT_HALF: i32 = 0x3f35_04f3;
    let tiny = x < f32::MIN_POSITIVE;
    let ix = sel(tiny, x * 8_388_608.0, x).to_bits() as i32;
    let e = ix.wrapping_sub(SQRT_HALF) >> 23;
    let m = f32::from_bits(ix.wrapping_sub(e << 23) as u32);
    (m - 1.0, e as f32 - sel(tiny, 23.0, 0.0))
}

/// `(−f²/2, f³ P)` with ln(1 + f) = f − f²/2 + f³ P, f in [√½ − 1, √2 − 1].
#[inline(always)]
fn ln_tail(f: f32) -> (f32, f32) {
    let z = f * f;
    let p = poly(
        f,
        [
            3.333_333e-1,
            -2.500_082e-1,
            2.000_122_7e-1,
            -1.662_335_7e-1,
            1.420_175_9e-1,
            -1.316_018_3e-1,
            1.276_157_5e-1,
            -7.634_494_5e-2,
        ],
    );
    (-0.5 * z, (f * z) * p)
}

/// Puts the values of a logarithm at 0, below 0, at ∞ and NaN in place of `y`.
#[inline(always)]
fn ln_special(x: f32, y: f32) -> f32 {
    let y = sel(x == 0.0, f32::NEG_INFINITY, y);
    let y = sel(x < f32::INFINITY, y, x);
    sel(x < 0.0, f32::NAN, y)
}

#[inline(always)]
pub(super) fn ln(x: f32) -> f32 {
    let (f, e) = ln_reduce(x);
    let (sq, cu) = ln_tail(f);
    let y = f + (sq + e.mul_add(LN_2_LO, cu));
    ln_special(x, e.mul_add(LN_2_HI, y))
}

#[inline(always)]
pub(super) fn log2(x: f32) -> f32 {
    let (f, e) = ln_reduce(x);
    let (sq, cu) = ln_tail(f);
    let hi = f * LOG2_E;
    let lo = f.mul_add(LOG2_E, -hi) + f * LOG2_E_REST;
    let y = (sq + cu).mul_add(LOG2_E, lo) + hi;
    ln_special(x, y + e)
}

#[inline(always)]
pub(super) fn log10(x: f32) -> f32 {
    let (f, e) = ln_reduce(x);
    let (sq, cu) = ln_tail(f);
    let hi = f * LOG10_E;
    let lo = f.mul_add(LOG10_E, -hi) + e.mul_add(LOG10_2_LO, f * LOG10_E_REST);
    let y = (sq + cu).mul_add(LOG10_E, lo) + hi;
    ln_special(x, e.mul_add(LOG10_2_HI, y))
}

#[inline(always)]
pub(super) fn log1p(x: f32) -> f32 {
    const SQRT_HALF: i32 = 0x3f35_04f3;
    let s = 1.0 + x;
    // What the sum lost, exactly; from 2^24 on it is below the precision.
    let c = sel(x < 1.0, x - (s - 1.0), 1.0 - (s - x));
    let c = sel(x < 16_777_216.0, c, 0.0);
    let ix = s.to_bits() as i32;
    let e = ix.wrapping_sub(SQRT_HALF) >> 23;
    let m = f32::from_bits(ix.wrapping_sub(e << 23) as u32);
    // For e = 0 this is x itself.
    let f = c.mul_add(pow2(127i32.wrapping_sub(e).max(1) as u32), m - 1.0);
    let e = e as f32;
    let (sq, cu) = ln_tail(f);
    let y = f + (sq + e.mul_add(LN_2_LO, cu));
    let y = ln_special(s, e.mul_add(LN_2_HI, y));
    sel(x == 0.0, x, y)
}

/// ln(1 + x) for 0 ≤ x ≤ 1 or NaN: the exponent of 1 + x is 0 or, from √2 on, 1.
#[inline(always)]
fn log1p_unit(x: f32) -> f32 {
    let s = 1.0 + x;
    let c = x - (s - 1.0);
    let upper = s > std::f32::consts::SQRT_2;
    let f = sel(upper, c.mul_add(0.5, 0.5 * s - 1.0), x);
    let (sq, cu) = ln_tail(f);
    let y = f + (sq + (cu + sel(upper, LN_2_LO, 0.0)));
    y + sel(upper, LN_2_HI, 0.0)
}

#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    // With e = exp(-|x|) nothing overflows: 1/(1+e) above zero, e/(1+e) below.
    let e = exp(-x.abs());
    sel(x < 0.0, e, 1.0) / (1.0 + e)
}

#[inline(always)]
pub(super) fn softplus(x: f32) -> f32 {
    sel(x < 0.0, 0.0, x) + log1p_unit(exp(-x.abs()))
}
