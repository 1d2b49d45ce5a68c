//! The error function, its complement and its inverse.

use super::wide::poly;
use super::{exp_log, poly32, sel, wide};
use std::f64::consts::FRAC_1_SQRT_2;

/// erf in `f32` arithmetic. Two pieces after N. Juffa: x + x P(x²) up to 0.92, from there
/// 1 − e^(−a P(a)).
#[inline(always)]
pub(super) fn erf(x: f32) -> f32 {
    let a = x.abs();
    let z = x * x;
    let p = poly32(
        z,
        [
            1.283_791_7e-1,
            -3.761_263_5e-1,
            1.128_370_2e-1,
            -2.685_970_3e-2,
            5.201_716_4e-3,
            -8.149_808e-4,
            8.397_805e-5,
        ],
    );
    let small = x.mul_add(p, x);
    // erf 4 is 1 in f32.
    let a = sel(a > 4.0, 4.0, a);
    let q = poly32(
        a,
        [
            1.128_649_6,
            6.351_47e-1,
            1.062_440_95e-1,
            -2.376_828_2e-2,
            3.645_401e-3,
            -3.235_277_5e-4,
            1.130_366_1e-5,
        ],
    );
    let big = (1.0 - exp_log::exp_narrow(-a * q)).copysign(x);
    sel(a < 0.921_875, small, big)
}

/// erfc by way of `f64`.
#[inline(always)]
pub(super) fn erfc(x: f32) -> f32 {
    let a = (x as f64).abs();
    // erfc 10.5 is 0 in f32.
    let y = wide::erfc_positive(sel(a > 10.5, 10.5, a));
    sel(x < 0.0, 2.0 - y, y) as f32
}

/// Wichura's three rational functions (Algorithm AS 241, PPND16, Applied Statistics 37, 1988) for
/// the normal quantile, here as numerators and denominators of: q² of the centre, √(−ln p) − 1.6 of
/// the tail, √(−ln p) − 5 of the far tail.
const CENTRE: [[f64; 8]; 2] = [
    [
        3.387_132_872_796_366_5,
        133.141_667_891_784_38,
        1_971.590_950_306_551_3,
        13_731.693_765_509_46,
        45_921.953_931_549_87,
        67_265.770_927_008_7,
        33_430.575_583_588_13,
        2_509.080_928_730_122_7,
    ],
    [
        1.0,
        42.313_330_701_600_91,
        687.187_007_492_057_9,
        5_394.196_021_424_751,
        21_213.794_301_586_597,
        39_307.895_800_092_71,
        28_729.085_735_721_943,
        5_226.495_278_852_854,
    ],
];
const TAIL: [[f64; 8]; 2] = [
    [
        1.423_437_110_749_683_5,
        4.630_337_846_156_546,
        5.769_497_221_460_691,
        3.647_848_324_763_204_5,
        1.270_458_252_452_368_4,
        0.241_780_725_177_450_6,
        0.022_723_844_989_269_184,
        7.745_450_142_783_414e-4,
    ],
    [
        1.0,
        2.053_191_626_637_759,
        1.676_384_830_183_803_8,
        0.689_767_334_985_1,
        0.148_103_976_427_480_08,
        0.015_198_666_563_616_457,
        5.475_938_084_995_345e-4,
        1.050_750_071_644_416_9e-9,
    ],
];
const FAR: [[f64; 8]; 2] = [
    [
        6.657_904_643_501_103,
        5.463_784_911_164_114,
        1.784_826_539_917_291_3,
        0.296_560_571_828_504_87,
        0.026_532_189_526_576_124,
        1.242_660_947_388_078_4e-3,
        2.711_555_568_743_487_6e-5,
        2.010_334_399_292_288_1e-7,
    ],
    [
        1.0,
        0.599_832_206_555_888,
        0.136_929_880_922_735_8,
        0.014_875_361_290_850_615,
        7.868_691_311_456_133e-4,
        1.846_318_317_510_054_8e-5,
        1.421_511_758_316_446e-7,
        2.044_263_103_389_939_8e-15,
    ],
];

#[inline(always)]
fn ratio(z: f64, c: [[f64; 8]; 2]) -> f64 {
    poly(z, c[0]) / poly(z, c[1])
}

/// x scaled to the centre formula: erf⁻¹ x for |x| ≤ 0.85.
#[inline(always)]
fn erfinv_centre(x: f64) -> f64 {
    let q = 0.5 * x;
    FRAC_1_SQRT_2 * q * ratio(q.mul_add(-q, 0.180625), CENTRE)
}

/// erf⁻¹ of `f32`. An f32 below 1 has √(−ln p) < 4.2, so that the far tail does not occur.
#[inline(always)]
pub(super) fn erfinv(x: f32) -> f32 {
    let w = x as f64;
    let a = w.abs();
    let r = (-wide::ln((1.0 - a) * 0.5)).sqrt();
    let tail = (FRAC_1_SQRT_2 * ratio(r - 1.6, TAIL)).copysign(w);
    let y = sel(a <= 0.85, erfinv_centre(w), tail) as f32;
    sel(a == 1.0, f32::INFINITY.copysign(x), y)
}

/// erf⁻¹ of `f64`.
pub(super) fn erfinv_f64(x: f64) -> f64 {
    let a = x.abs();
    if a <= 0.85 {
        return erfinv_centre(x);
    }
    if a == 1.0 {
        return f64::INFINITY.copysign(x);
    }
    let r = (-libm::log((1.0 - a) * 0.5)).sqrt();
    let y = if r <= 5.0 { ratio(r - 1.6, TAIL) } else { ratio(r - 5.0, FAR) };
    (FRAC_1_SQRT_2 * y).copysign(x)
}
