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

fn cases() -> Vec<Case> {
    vec![
        case!(exp_, 1.01, -104.0, 89.0),
        case!(exp2_, 0.95, -151.0, 129.0),
        case!(expm1_, 1.45, -20.0, 89.0),
        case!(ln_, 0.86, 0.3, 3.0),
        case!(log2_, 1.08, 0.3, 3.0),
        case!(log10_, 1.0, 0.3, 3.0),
        case!(log1p_, 1.4, -0.9, 3.0),
        case!(sqrt_, 0.5, 0.0, 4.0),
        case!(rsqrt_, 1.5, 0.0, 4.0),
        case!(recip_, 0.5, -4.0, 4.0),
        case!(sigmoid_, 2.35, -104.0, 20.0),
        case!(softplus_, 1.7, -104.0, 20.0),
        case!(sin_, 0.501, -100.0, 100.0),
        case!(cos_, 0.501, -100.0, 100.0),
        case!(tan_, 0.501, -100.0, 100.0),
        case!(asin_, 0.501, -1.0, 1.0),
        case!(acos_, 0.501, -1.0, 1.0),
        case!(atan_, 0.501, -10.0, 10.0),
        case!(sinh_, 0.501, -90.0, 90.0),
        case!(cosh_, 0.501, -90.0, 90.0),
        case!(tanh_, 1.35, -10.0, 10.0),
        case!(asinh_, 0.501, -10.0, 10.0),
        case!(acosh_, 0.501, 1.0, 10.0),
        case!(atanh_, 0.501, -1.0, 1.0),
        case!(erf_, 1.17, -4.0, 4.0),
        case!(erfc_, 0.501, -4.0, 10.5),
        case!(erfinv_, 0.501, -1.0, 1.0),
        case!(lgamma_, 0.501, -10.0, 40.0),
        case!(digamma_, 0.501, -10.0, 40.0),
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

#[test]
fn the_short_exponential_holds_below_zero() {
    for bits in ((-0.0f32).to_bits()..=(-87f32).to_bits()).step_by(1009) {
        let x = f32::from_bits(bits);
        let e = ulps(x.exp_low_(), (x as f64).exp_());
        assert!(e <= 1.01, "off by {e:.3} ulp at {x:e}");
    }
    for x in [(-87f32).next_down(), -104.0, f32::MIN, f32::NEG_INFINITY] {
        assert_eq!(x.exp_low_(), 0.0, "{x:e}");
    }
    assert_eq!(0f32.exp_low_(), 1.0);
    assert!(f32::NAN.exp_low_().is_nan());
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

/// Every f32 there is, one function after another, on all cores, with the bounds held:
/// `cargo test --release -p hadal-core --test math_ulp -- --ignored --nocapture every_float`. Each takes one to
/// three minutes of processor time. The functions are the same bits on every instruction set
/// (`math_bits.rs`), so this holds for all of them.
mod every_float {
    use super::{cases, ulps};

    fn check(name: &str) {
        let cases = cases();
        let c = cases.iter().find(|c| c.name == name).unwrap();
        let parts = std::thread::available_parallelism().map_or(1, |n| n.get()) as u64;
        let part = |i: u64| -> (f64, f32) {
            let bits = (i << 32) / parts..((i + 1) << 32) / parts;
            let errors = bits.map(|b| {
                let x = f32::from_bits(b as u32);
                (ulps((c.f)(x), (c.exact)(x as f64)), x)
            });
            errors.fold((0.0, 0.0), |worst, e| if e.0 > worst.0 { e } else { worst })
        };
        let worst = std::thread::scope(|s| {
            let part = &part;
            let all: Vec<_> = (0..parts).map(|i| s.spawn(move || part(i))).collect();
            all.into_iter().map(|t| t.join().unwrap()).max_by(|a, b| a.0.total_cmp(&b.0)).unwrap()
        });
        println!("{name:10} {:.3} ulp at {:e}, stated {}", worst.0, worst.1, c.bound);
        assert!(worst.0 <= c.bound, "{name} is off by {:.3} ulp at {:e}", worst.0, worst.1);
    }

    macro_rules! every_float {
        ($($name:ident)*) => {
            $(
                #[test]
                #[ignore = "minutes"]
                fn $name() {
                    check(stringify!($name));
                }
            )*

            #[test]
            fn all_are_listed() {
                let listed = [$(stringify!($name)),*];
                assert_eq!(cases().iter().map(|c| c.name).collect::<Vec<_>>(), listed);
            }
        };
    }

    every_float! {
        exp_ exp2_ expm1_ ln_ log2_ log10_ log1p_ sqrt_ rsqrt_ recip_ sigmoid_ softplus_ sin_ cos_ tan_ asin_ acos_
        atan_ sinh_ cosh_ tanh_ asinh_ acosh_ atanh_ erf_ erfc_ erfinv_ lgamma_ digamma_
    }
}

/// A reproducible stream of 64-bit numbers (splitmix64).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The largest error of a function of two arguments over `n` pairs of bit patterns and `n` pairs
/// from a usual range.
fn worst2(f: fn(f32, f32) -> f32, exact: fn(f64, f64) -> f64, n: usize) -> (f64, f32, f32) {
    let mut state = 1;
    let mut worst = (0.0, 0.0, 0.0);
    for i in 0..2 * n {
        let bits = next(&mut state);
        let (a, b) = (bits as u32, (bits >> 32) as u32);
        let (x, y) = if i % 2 == 0 {
            (f32::from_bits(a), f32::from_bits(b))
        } else {
            let unit = |v: u32| v as f32 / u32::MAX as f32;
            (10f32.powf(8.0 * unit(a) - 4.0), 24.0 * unit(b) - 12.0)
        };
        let e = ulps(f(x, y), exact(x as f64, y as f64));
        if e > worst.0 {
            worst = (e, x, y);
        }
    }
    worst
}

#[test]
fn binary_functions_stay_within_their_bounds() {
    type Row = (&'static str, fn(f32, f32) -> f32, fn(f64, f64) -> f64, f64);
    let rows: [Row; 5] = [
        ("pow", f32::pow_, f64::pow_, 0.501),
        ("atan2", f32::atan2_, f64::atan2_, 0.501),
        ("hypot", f32::hypot_, f64::hypot_, 0.501),
        ("fmod", f32::fmod_, f64::fmod_, 0.0),
        // One addition after the exact remainder.
        ("remainder", f32::remainder_, f64::remainder_, 0.5),
    ];
    for (name, f, exact, bound) in rows {
        let (e, x, y) = worst2(f, exact, 200_000);
        println!("{name:10} {e:.3} ulp at {x:e}, {y:e}");
        assert!(e <= bound, "{name} is off by {e:.3} ulp at {x:e}, {y:e}, stated {bound}");
    }
}

/// Values of f32 that lie closest to multiples of π/2, in each range of the argument reduction, and
/// the boundaries between them.
#[test]
fn trigonometric_reduction_holds_where_it_is_hardest() {
    let sin = case!(sin_, 0.501, 0.0, 0.0);
    let cos = case!(cos_, 0.501, 0.0, 0.0);
    let tan = case!(tan_, 0.501, 0.0, 0.0);
    let mut xs = vec![f32::MAX, 2f32.powi(76), 2f32.powi(76).next_down(), 16367173.0 * 2f32.powi(72)];
    for k in 1..2_000_000 {
        let exact = k as f64 * std::f64::consts::FRAC_PI_2;
        let near = exact as f32;
        if ((near as f64 - exact) / exact).abs() < 1e-12 {
            xs.push(near);
        }
    }
    for e in 0..128 {
        for m in 0..64 {
            xs.push((1.0 + m as f32 / 64.0) * 2f32.powi(e));
        }
    }
    assert!(xs.len() > 8200, "the search for close values found {}", xs.len());
    for x in xs {
        for c in [&sin, &cos, &tan] {
            let e = ulps((c.f)(x), (c.exact)(x as f64));
            assert!(e <= c.bound, "{} is off by {e:.3} ulp at {x:e}", c.name);
        }
    }
}
