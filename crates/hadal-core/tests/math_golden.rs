//! The `f64` functions against a table from mpmath, and the special values of both types.

use hadal_core::math::Real;

/// The largest relative error of `f` over a table, where the exact value is not zero.
fn worst(table: &serde_json::Value, f: fn(f64) -> f64) -> (f64, f64) {
    let number = |v: &serde_json::Value| v.as_str().unwrap().parse::<f64>().unwrap();
    let mut worst = (0.0, 0.0);
    for row in table.as_array().unwrap() {
        let (x, exact) = (number(&row[0]), number(&row[1]));
        // Below the normal range the ulp, not the relative error, is what is kept.
        let e = (f(x) - exact).abs() / exact.abs().max(f64::MIN_POSITIVE);
        if e > worst.0 || e.is_nan() {
            worst = (e, x);
        }
    }
    worst
}

#[test]
fn f64_functions_agree_with_mpmath() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests-data/golden/math_f64.json");
    let tables: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    type Row = (&'static str, fn(f64) -> f64, f64);
    let rows: [Row; 12] = [
        ("erf", f64::erf_, 3e-16),
        ("erfc", f64::erfc_, 5e-16),
        ("erfinv", f64::erfinv_, 1e-15),
        ("lgamma", f64::lgamma_, 1e-14),
        ("digamma", f64::digamma_, 1e-13),
        ("expm1", f64::expm1_, 3e-16),
        ("log1p", f64::log1p_, 3e-16),
        ("asinh", f64::asinh_, 5e-16),
        ("acosh", f64::acosh_, 5e-16),
        ("atanh", f64::atanh_, 5e-16),
        ("sigmoid", f64::sigmoid_, 5e-16),
        ("softplus", f64::softplus_, 5e-16),
    ];
    let mut bad = Vec::new();
    for (name, f, bound) in rows {
        let (e, x) = worst(&tables[name], f);
        println!("{name:10} {e:.2e} at {x:e}");
        if e.is_nan() || e > bound {
            bad.push(format!("{name} is off by {e:.2e} at {x:e}, stated {bound:e}"));
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
}

/// Equal, with the sign of zero and NaN equal to NaN.
fn same<T: Real>(a: T, b: T) -> bool {
    (a.is_nan_() && b.is_nan_()) || (a == b && T::ONE.copysign_(a) == T::ONE.copysign_(b))
}

fn special_values<T: Real>() {
    let (inf, ninf, nan) = (T::INFINITY, T::NEG_INFINITY, T::NAN);
    let (zero, one, two, half) = (T::ZERO, T::ONE, T::TWO, T::HALF);
    let nz = -T::ZERO;
    let n = T::from_f64;
    type Unary<T> = (&'static str, fn(T) -> T);
    type Rows<'a, T> = &'a [(T, T)];
    let unary: [(Unary<T>, Rows<T>); 42] = [
        (("exp", T::exp_), &[(inf, inf), (ninf, zero), (zero, one), (n(1000.0), inf), (n(-1e4), zero)]),
        (("exp2", T::exp2_), &[(inf, inf), (ninf, zero), (n(10.0), n(1024.0)), (n(-3.0), n(0.125))]),
        (("expm1", T::expm1_), &[(inf, inf), (ninf, -one), (zero, zero), (nz, nz), (n(-1e3), -one)]),
        (("ln", T::ln_), &[(inf, inf), (zero, ninf), (nz, ninf), (one, zero), (-one, nan), (ninf, nan)]),
        (("log2", T::log2_), &[(inf, inf), (zero, ninf), (n(1024.0), n(10.0)), (-one, nan)]),
        (("log10", T::log10_), &[(inf, inf), (zero, ninf), (n(1000.0), n(3.0)), (-one, nan)]),
        (("log1p", T::log1p_), &[(inf, inf), (-one, ninf), (nz, nz), (n(-1.5), nan), (ninf, nan)]),
        (("sqrt", T::sqrt_), &[(inf, inf), (nz, nz), (n(4.0), two), (-one, nan)]),
        (("rsqrt", T::rsqrt_), &[(inf, zero), (zero, inf), (n(4.0), half), (-one, nan)]),
        (("recip", T::recip_), &[(inf, zero), (ninf, nz), (zero, inf), (nz, ninf)]),
        (("sigmoid", T::sigmoid_), &[(inf, one), (ninf, zero), (zero, half), (n(-1e4), zero)]),
        (("softplus", T::softplus_), &[(inf, inf), (ninf, zero), (n(1e4), n(1e4))]),
        (("sin", T::sin_), &[(inf, nan), (ninf, nan), (zero, zero), (nz, nz)]),
        (("cos", T::cos_), &[(inf, nan), (zero, one), (nz, one)]),
        (("tan", T::tan_), &[(inf, nan), (zero, zero), (nz, nz)]),
        (
            ("asin", T::asin_),
            &[(one, T::FRAC_PI_2), (-one, -T::FRAC_PI_2), (nz, nz), (two, nan), (ninf, nan)],
        ),
        (("acos", T::acos_), &[(one, zero), (-one, T::PI), (zero, T::FRAC_PI_2), (-two, nan), (inf, nan)]),
        (("atan", T::atan_), &[(inf, T::FRAC_PI_2), (ninf, -T::FRAC_PI_2), (nz, nz)]),
        (("sinh", T::sinh_), &[(inf, inf), (ninf, ninf), (nz, nz), (n(-1e4), ninf)]),
        (("cosh", T::cosh_), &[(inf, inf), (ninf, inf), (nz, one)]),
        (("tanh", T::tanh_), &[(inf, one), (ninf, -one), (nz, nz), (n(1e3), one)]),
        (("asinh", T::asinh_), &[(inf, inf), (ninf, ninf), (nz, nz)]),
        (("acosh", T::acosh_), &[(inf, inf), (one, zero), (half, nan), (ninf, nan), (n(-5.0), nan)]),
        (("atanh", T::atanh_), &[(one, inf), (-one, ninf), (nz, nz), (two, nan), (-two, nan)]),
        (("erf", T::erf_), &[(inf, one), (ninf, -one), (nz, nz), (n(7.0), one)]),
        (("erfc", T::erfc_), &[(inf, zero), (ninf, two), (zero, one), (n(-9.0), two), (n(40.0), zero)]),
        (("erfinv", T::erfinv_), &[(one, inf), (-one, ninf), (nz, nz), (n(1.5), nan), (ninf, nan)]),
        (("lgamma", T::lgamma_), &[(zero, inf), (nz, inf), (-two, inf), (inf, inf), (one, zero)]),
        (("digamma", T::digamma_), &[(zero, ninf), (nz, inf), (-two, nan), (inf, inf), (ninf, nan)]),
        (("floor", T::floor_), &[(n(-0.5), -one), (nz, nz), (inf, inf)]),
        (("ceil", T::ceil_), &[(n(-0.5), nz), (n(0.5), one)]),
        (("trunc", T::trunc_), &[(n(-1.5), -one), (n(1.5), one)]),
        (("round", T::round_), &[(half, zero), (n(1.5), two), (n(2.5), two), (n(-0.5), nz), (n(-1.5), -two)]),
        (("frac", T::frac_), &[(n(-1.5), -half), (n(1.5), half), (inf, nan)]),
        (("abs", T::abs_), &[(nz, zero), (ninf, inf)]),
        (("max0", |x| x.maximum_(T::ZERO)), &[(inf, inf), (ninf, zero), (nan, nan)]),
        (("0max", |x| T::ZERO.maximum_(x)), &[(inf, inf), (ninf, zero), (nan, nan)]),
        (("min0", |x| x.minimum_(T::ZERO)), &[(inf, zero), (ninf, ninf), (nan, nan)]),
        (("0min", |x| T::ZERO.minimum_(x)), &[(inf, zero), (ninf, ninf), (nan, nan)]),
        (("hypot_nan", |x| x.hypot_(T::ONE)), &[(inf, inf), (ninf, inf), (nan, nan)]),
        (("fmod3", |x| x.fmod_(T::from_f64(3.0))), &[(n(-7.0), -one), (n(7.0), one), (inf, nan), (nz, nz)]),
        (("rem3", |x| x.remainder_(T::from_f64(3.0))), &[(n(-7.0), two), (n(7.0), one), (inf, nan)]),
    ];
    for ((name, f), rows) in unary {
        assert!(f(nan).is_nan_(), "{name}(NaN) = {}", f(nan));
        for &(x, want) in rows {
            assert!(same(f(x), want), "{name}({x}) = {}, not {want}", f(x));
        }
    }
    for (x, want) in [(nan, zero), (nz, zero), (inf, one), (n(-3.0), -one)] {
        assert!(same(x.sign_(), want), "sign({x}) = {}", x.sign_());
    }
    let three = n(3.0);
    for (x, y, want) in [
        (nan, zero, one),
        (one, nan, one),
        (nan, one, nan),
        (two, nan, nan),
        (-one, inf, one),
        (-one, ninf, one),
        (-one, nan, nan),
        (half, inf, zero),
        (half, ninf, inf),
        (two, inf, inf),
        (two, ninf, zero),
        (zero, -one, inf),
        (nz, -one, ninf),
        (nz, -two, inf),
        (nz, three, nz),
        (nz, half, zero),
        (zero, zero, one),
        (-two, three, n(-8.0)),
        (-two, two, n(4.0)),
        (-two, half, nan),
        (-two, n(-1.0), -half),
        (inf, half, inf),
        (inf, -half, zero),
        (ninf, three, ninf),
        (ninf, two, inf),
        (ninf, -three, nz),
        (ninf, half, inf),
        (three, three, n(27.0)),
        (two, n(-1.0), half),
        (n(10.0), two, n(100.0)),
        (zero, inf, zero),
        (zero, ninf, inf),
        (-two, inf, inf),
        (inf, zero, one),
        (one, inf, one),
        (-one, n(1e7 + 1.0), -one),
    ] {
        assert!(same(x.pow_(y), want), "pow({x}, {y}) = {}, not {want}", x.pow_(y));
    }
    let pi = T::PI;
    for (y, x, want) in [
        (zero, zero, zero),
        (nz, zero, nz),
        (zero, nz, pi),
        (nz, nz, -pi),
        (zero, -one, pi),
        (one, zero, T::FRAC_PI_2),
        (-one, nz, -T::FRAC_PI_2),
        (inf, inf, n(std::f64::consts::FRAC_PI_4)),
        (one, inf, zero),
        (one, ninf, pi),
        (-one, ninf, -pi),
        (inf, ninf, n(0.75 * std::f64::consts::PI)),
        (inf, one, T::FRAC_PI_2),
        (nan, one, nan),
        (one, nan, nan),
        (nan, zero, nan),
        (zero, nan, nan),
        (nan, inf, nan),
        (inf, nan, nan),
    ] {
        assert!(same(y.atan2_(x), want), "atan2({y}, {x}) = {}, not {want}", y.atan2_(x));
    }
    for (x, y, want) in [
        (n(-7.0), n(-3.0), -one),
        (n(7.0), n(-3.0), -two),
        (n(-1.0), inf, inf),
        (one, inf, one),
        (one, zero, nan),
        (n(6.0), n(-3.0), zero),
    ] {
        assert!(same(x.remainder_(y), want), "remainder({x}, {y}) = {}, not {want}", x.remainder_(y));
    }
    assert!(same(nan.hypot_(ninf), inf) && same(three.hypot_(n(4.0)), n(5.0)));
    assert!(same(one.copysign_(nz), -one) && same(T::select(nan < one, one, two), two));
    assert!(!nan.is_finite_() && !ninf.is_finite_() && T::MAX.is_finite_() && nz.is_finite_());
}

#[test]
fn special_values_of_f32() {
    special_values::<f32>();
}

#[test]
fn special_values_of_f64() {
    special_values::<f64>();
}

#[test]
fn subnormals_are_kept() {
    let s = f32::from_bits(1);
    let odd: [fn(f32) -> f32; 10] = [
        f32::expm1_,
        f32::log1p_,
        f32::sin_,
        f32::tan_,
        f32::asin_,
        f32::atan_,
        f32::sinh_,
        f32::tanh_,
        f32::asinh_,
        f32::atanh_,
    ];
    for f in odd {
        assert_eq!(f(s).to_bits(), 1);
        assert_eq!(f(-s), -s);
    }
    assert_eq!(f32::exp_(-103.0).to_bits(), 1);
    assert_eq!(f32::exp2_(-149.0).to_bits(), 1);
    assert_eq!(f32::log2_(s), -149.0);
    assert_eq!(f32::pow_(2.0, -149.0).to_bits(), 1);
    assert_eq!(f32::pow_(s, 1.0).to_bits(), 1);
}
