//! Powers of `f32`, by way of `f64`.

use super::{sel, wide};

#[inline(always)]
pub(super) fn pow(x: f32, y: f32) -> f32 {
    let e = y as f64 * wide::log2((x as f64).abs());
    // 2^±1000 is beyond the f32 range on either side; NaN stays.
    let e = sel(e > 1000.0, 1000.0, e);
    let e = sel(e < -1000.0, -1000.0, e);
    let mag = wide::exp2(e) as f32;
    // 0 · ∞ in the exponent: 1^y, (-1)^±∞ and x^0 are 1.
    let mag = sel((x.abs() == 1.0) | (y == 0.0), 1.0, mag);
    let half = 0.5 * y;
    let is_int = y.trunc() == y;
    let is_odd = is_int & (half.trunc() != half);
    let signed = sel(is_odd & x.is_sign_negative(), -mag, mag);
    // A negative finite base has a real power only for an integral exponent (±∞ counts as even).
    let undefined = (x < 0.0) & (x > f32::NEG_INFINITY) & !is_int;
    let r = sel(undefined, f32::NAN, signed);
    // 1 and the exponent 0 win over NaN, as in IEEE 754.
    sel((x == 1.0) | (y == 0.0), 1.0, r)
}
