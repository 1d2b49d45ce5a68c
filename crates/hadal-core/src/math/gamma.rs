//! The digamma function.

use super::wide::poly;
use std::f64::consts::PI;

/// ψ(x) = d/dx ln Γ(x).
///
/// On [1, 2]: (x − x₀) P(x − 3/2) about its zero x₀, so that the relative error stays small there;
/// up to 10 by recurrence; from 10 on by the asymptotic series (Abramowitz and Stegun 6.3.18);
/// below 0 by reflection (6.3.7). At 0 it is ∓∞ and at the negative integers NaN, as in PyTorch.
pub(super) fn digamma(x: f64) -> f64 {
    if x == 0.0 {
        return f64::INFINITY.copysign(-x);
    }
    if x < 0.0 {
        let frac = x - x.round_ties_even();
        if frac == 0.0 || x == f64::NEG_INFINITY {
            return f64::NAN;
        }
        return positive(1.0 - x) - PI / libm::tan(PI * frac);
    }
    positive(x)
}

fn positive(mut x: f64) -> f64 {
    if x >= 10.0 {
        let z = 1.0 / (x * x);
        let s = poly(
            z,
            [1.0 / 12.0, -1.0 / 120.0, 1.0 / 252.0, -1.0 / 240.0, 1.0 / 132.0, -691.0 / 32760.0, 1.0 / 12.0],
        );
        return libm::log(x) - 0.5 / x - z * s;
    }
    let mut shift = 0.0;
    while x > 2.0 {
        x -= 1.0;
        shift += 1.0 / x;
    }
    if x < 1.0 {
        shift = -1.0 / x;
        x += 1.0;
    }
    // The positive zero of ψ and what f64 leaves of it.
    const X0: f64 = 1.4616321449683622;
    const X0_REST: f64 = 9.549995429965697e-17;
    let p = poly(
        x - 1.5,
        [
            0.9510558760318328,
            -0.4236274212814606,
            0.24054248424078778,
            -0.14840492305388006,
            0.09498872445276281,
            -0.061922133275561855,
            0.040760833948820484,
            -0.026975796656863435,
            0.01790724806175712,
            -0.0119082201698169,
            0.007927026573369808,
            -0.005279936417431318,
            0.0035180509199326773,
            -0.0023455016320625462,
            0.0015637858481412803,
            -0.0010364227011551283,
            0.0006889259489383289,
            -0.0004860642518957193,
            0.0003299239149394826,
            -0.00014460369085859455,
            8.648376625541045e-05,
            -0.00017837354977435986,
            0.0001261281952143333,
        ],
    );
    shift + ((x - X0) - X0_REST) * p
}
