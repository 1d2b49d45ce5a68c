//! Trigonometric functions of `f32`, by way of the `f64` kernels in `wide.rs`.

use super::{sel, wide};
use std::f64::consts::{FRAC_PI_2, PI};

/// sin or cos by the number of quarter turns.
#[inline(always)]
fn by_quadrant(s: f64, c: f64, q: u64) -> f64 {
    let y = sel(q & 1 == 0, s, c);
    f64::from_bits(y.to_bits() ^ ((q & 2) << 62))
}

#[inline(always)]
pub(super) fn sin(x: f32) -> f32 {
    let (s, c, q) = wide::sin_cos_turns(x as f64);
    sel(x == 0.0, x, by_quadrant(s, c, q) as f32)
}

#[inline(always)]
pub(super) fn cos(x: f32) -> f32 {
    let (s, c, q) = wide::sin_cos_turns(x as f64);
    by_quadrant(s, c, q.wrapping_add(1)) as f32
}

#[inline(always)]
pub(super) fn tan(x: f32) -> f32 {
    let (s, c, q) = wide::sin_cos_turns(x as f64);
    let odd = q & 1 != 0;
    let y = sel(odd, -c, s) / sel(odd, s, c);
    sel(x == 0.0, x, y as f32)
}

/// `(asin of the smaller of a and its complement, whether it was the complement)`, a = |x|:
/// from 1/2 on, asin a = π/2 − 2 asin √((1 − a)/2).
#[inline(always)]
fn asin_half(x: f32) -> (f64, bool) {
    let a = (x as f64).abs();
    let big = a > 0.5;
    let z = sel(big, (1.0 - a) * 0.5, a * a);
    let s = sel(big, z.sqrt(), a);
    (wide::asin_small(s, z), big)
}

#[inline(always)]
pub(super) fn asin(x: f32) -> f32 {
    let (p, big) = asin_half(x);
    (sel(big, FRAC_PI_2 - 2.0 * p, p) as f32).copysign(x)
}

#[inline(always)]
pub(super) fn acos(x: f32) -> f32 {
    let (p, big) = asin_half(x);
    let neg = x < 0.0;
    let near_one = sel(neg, PI - 2.0 * p, 2.0 * p);
    let near_zero = FRAC_PI_2 - sel(neg, -p, p);
    sel(big, near_one, near_zero) as f32
}

#[inline(always)]
pub(super) fn atan(x: f32) -> f32 {
    let a = (x as f64).abs();
    let inv = a > 1.0;
    let p = wide::atan_unit(sel(inv, 1.0 / a, a));
    (sel(inv, FRAC_PI_2 - p, p) as f32).copysign(x)
}

#[inline(always)]
pub(super) fn atan2(y: f32, x: f32) -> f32 {
    let (a, b) = ((y as f64).abs(), (x as f64).abs());
    let steep = a > b;
    let (num, den) = (sel(steep, b, a), sel(steep, a, b));
    // 0/0 counts as slope 0 and ∞/∞ as slope 1; a NaN makes the comparisons false and passes.
    let t = sel(a == b, sel(a == 0.0, 0.0, 1.0), num / den);
    let p = wide::atan_unit(t);
    let p = sel(steep, FRAC_PI_2 - p, p);
    // The sign bit decides, so that atan2(0, -0) = π.
    let p = sel(x.is_sign_negative(), PI - p, p);
    (p as f32).copysign(y)
}

#[inline(always)]
pub(super) fn hypot(x: f32, y: f32) -> f32 {
    let (a, b) = (x as f64, y as f64);
    let h = a.mul_add(a, b * b).sqrt() as f32;
    let inf = (x.abs() == f32::INFINITY) | (y.abs() == f32::INFINITY);
    sel(inf, f32::INFINITY, h)
}
