//! The error of every `f32` function against `f64`, in units in the last place.

use hadal_core::math::Real;

/// The distance of `y` from `exact` in units in the last place of `exact` as an f32; infinite where
/// one is NaN or infinite and the other is not the same.
fn ulps(y: f32, exact: f64) -> f64 {
    let e = exact as f32;
    if e.is_nan() || y.is_nan() {
        return if e.is_nan() && y.is_nan() { 0.0 } else { f64::INFINITY };
    }
    if e.is_infinite() || y.is_infinite() {
        // One step beyond the largest number is as near as f32 gets to infinity.
        let near = |v: f32| v.abs() >= f32::MAX && v.is_sign_positive() == (exact > 0.0);
        return if e == y {
            0.0
        } else if near(e) && near(y) {
            1.0
        } else {
            f64::INFINITY
        };
    }
    let exponent = ((exact.abs().to_bits() >> 52) as i32 - 1023).max(-126);
    (y as f64 - exact).abs() / 2f64.powi(exponent - 23)
}

struct Case {
    name: &'static str,
    f: fn(f32) -> f32,
    exact: fn(f64) -> f64,
    /// The bound that the documentation states.
    bound: f64,
    /// Where the function does something: sampled evenly on top of the sample of bit patterns.
    dense: (f32, f32),
}

macro_rules! case {
    ($name:ident, $bound:expr, $lo:expr, $hi:expr) => {
        Case {
            name: stringify!($name),
            f: <f32 as Real>::$name,
            exact: <f64 as Real>::$name,
            bound: $bound,
            dense: ($lo, $hi),
        }
    };
}

/// 1/√x in f64.
fn cases() -> Vec<Case> {
    vec![
        case!(exp_, 1.1, -104.0, 89.0),
        case!(exp2_, 1.1, -151.0, 129.0),
        case!(expm1_, 1.5, -20.0, 89.0),
        case!(ln_, 1.0, 0.3, 3.0),
        case!(log2_, 1.5, 0.3, 3.0),
        case!(log10_, 1.5, 0.3, 3.0),
        case!(log1p_, 1.5, -0.9, 3.0),
        case!(sqrt_, 0.5, 0.0, 4.0),
        case!(rsqrt_, 1.5, 0.0, 4.0),
        case!(recip_, 0.5, -4.0, 4.0),
        case!(sigmoid_, 2.5, -104.0, 20.0),
        case!(softplus_, 2.0, -104.0, 20.0),
        case!(sin_, 0.51, -100.0, 100.0),
        case!(cos_, 0.51, -100.0, 100.0),
        case!(tan_, 0.51, -100.0, 100.0),
        case!(asin_, 0.51, -1.0, 1.0),
        case!(acos_, 0.51, -1.0, 1.0),
        case!(atan_, 0.51, -10.0, 10.0),
        case!(sinh_, 0.51, -90.0, 90.0),
        case!(cosh_, 0.51, -90.0, 90.0),
        case!(tanh_, 1.5, -10.0, 10.0),
        case!(asinh_, 0.51, -10.0, 10.0),
        case!(acosh_, 0.51, 1.0, 10.0),
        case!(atanh_, 0.51, -1.0, 1.0),
        case!(erf_, 1.5, -4.0, 4.0),
        case!(erfc_, 0.51, -4.0, 10.5),
        case!(erfinv_, 0.51, -1.0, 1.0),
        case!(lgamma_, 0.51, -10.0, 40.0),
        case!(digamma_, 0.51, -10.0, 40.0),
    ]
}

/// The largest error over every `stride`-th bit pattern and `dense` points of the interval.
fn worst(c: &Case, stride: usize, dense: usize) -> (f64, f32) {
    let mut worst = (0.0, 0.0);
    let mut try_one = |x: f32| {
        let e = ulps((c.f)(x), (c.exact)(x as f64));
        if e > worst.0 {
            worst = (e, x);
        }
    };
    for bits in (0..=u32::MAX).step_by(stride) {
        try_one(f32::from_bits(bits));
    }
    let (lo, hi) = c.dense;
    for i in 0..dense {
        try_one(lo + (hi - lo) * (i as f32 / dense as f32));
    }
    worst
}

#[test]
fn unary_functions_stay_within_their_bounds() {
    let mut bad = Vec::new();
    for c in cases() {
        let (e, x) = worst(&c, 5501, 100_000);
        if e > c.bound {
            bad.push(format!("{} is off by {e:.3} ulp at {x:e}, stated {}", c.name, c.bound));
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
}

/// Prints the table of errors in the documentation: `cargo test -p hadal-core --test math_ulp --
/// --ignored --nocapture`.
#[test]
#[ignore = "a measurement of minutes, for the documentation"]
fn measure() {
    for c in cases() {
        let (e, x) = worst(&c, 97, 2_000_000);
        println!("{:10} {e:.3} ulp at {x:e}", c.name);
    }
}
