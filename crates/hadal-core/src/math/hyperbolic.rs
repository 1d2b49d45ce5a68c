//! Hyperbolic functions of `f32`. tanh, which networks use, is in `f32` arithmetic; the rest goes
//! by way of `f64`.

use super::{exp_log, poly32 as poly, sel, wide};

#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    let a = x.abs();
    let z = x * x;
    let p = poly(z, [-3.333_328_4e-1, 1.333_149_1e-1, -5.374_349_7e-2, 2.065_058_6e-2, -5.717_043_3e-3]);
    let small = (a * z).mul_add(p, a);
    // tanh 10 is 1 in f32.
    let e = exp_log::exp_narrow(2.0 * sel(a > 10.0, 10.0, a));
    let big = 1.0 - 2.0 / (e + 1.0);
    sel(a < 0.625, small, big).copysign(x)
}

/// |x| limited to 100, where every function here has overflown or settled in f32; NaN stays.
#[inline(always)]
fn magnitude(x: f32) -> f64 {
    let a = (x as f64).abs();
    sel(a > 100.0, 100.0, a)
}

#[inline(always)]
pub(super) fn sinh(x: f32) -> f32 {
    let e = wide::expm1(magnitude(x));
    ((0.5 * (e + e / (e + 1.0))) as f32).copysign(x)
}

#[inline(always)]
pub(super) fn cosh(x: f32) -> f32 {
    let e = wide::exp(magnitude(x));
    (0.5 * (e + 1.0 / e)) as f32
}

#[inline(always)]
pub(super) fn asinh(x: f32) -> f32 {
    let a = (x as f64).abs();
    let r = a.mul_add(a, 1.0).sqrt();
    let y = wide::log1p(a + a * a / (1.0 + r)) as f32;
    sel(a < f64::INFINITY, y, x.abs()).copysign(x)
}

#[inline(always)]
pub(super) fn acosh(x: f32) -> f32 {
    let t = x as f64 - 1.0;
    let y = wide::log1p(t + (t * (t + 2.0)).sqrt()) as f32;
    sel(x < 1.0, f32::NAN, y)
}

#[inline(always)]
pub(super) fn atanh(x: f32) -> f32 {
    let a = (x as f64).abs();
    ((0.5 * wide::log1p(2.0 * a / (1.0 - a))) as f32).copysign(x)
}
