//! [`Real`] for `f32` and `f64`.

use super::{Real, erf, exp_log, gamma, hyperbolic, pow, sel, trig};

/// What both types share: constants, conversions and what the hardware does.
macro_rules! common {
    ($t:ident) => {
        const ZERO: $t = 0.0;
        const ONE: $t = 1.0;
        const TWO: $t = 2.0;
        const HALF: $t = 0.5;
        const PI: $t = std::$t::consts::PI;
        const FRAC_PI_2: $t = std::$t::consts::FRAC_PI_2;
        const FRAC_1_PI: $t = std::$t::consts::FRAC_1_PI;
        const FRAC_2_SQRT_PI: $t = std::$t::consts::FRAC_2_SQRT_PI;
        const E: $t = std::$t::consts::E;
        const LN_2: $t = std::$t::consts::LN_2;
        const LN_10: $t = std::$t::consts::LN_10;
        const LOG2_E: $t = std::$t::consts::LOG2_E;
        const LOG10_E: $t = std::$t::consts::LOG10_E;
        const SQRT_2: $t = std::$t::consts::SQRT_2;
        const FRAC_1_SQRT_2: $t = std::$t::consts::FRAC_1_SQRT_2;
        const FRAC_SQRT_PI_2: $t = 0.886_226_925_452_758_f64 as $t;
        const FRAC_1_SQRT_2PI: $t = 0.398_942_280_401_432_7_f64 as $t;
        const FRAC_SQRT_2_PI: $t = 0.797_884_560_802_865_4_f64 as $t;
        const EPSILON: $t = $t::EPSILON;
        const MIN: $t = $t::MIN;
        const MAX: $t = $t::MAX;
        const MIN_POSITIVE: $t = $t::MIN_POSITIVE;
        const INFINITY: $t = $t::INFINITY;
        const NEG_INFINITY: $t = $t::NEG_INFINITY;
        const NAN: $t = $t::NAN;

        #[inline(always)]
        fn from_f64(v: f64) -> $t {
            v as $t
        }
        #[inline(always)]
        fn to_f64(self) -> f64 {
            self as f64
        }
        #[inline(always)]
        fn mul_add_(self, a: $t, b: $t) -> $t {
            self.mul_add(a, b)
        }
        #[inline(always)]
        fn sqrt_(self) -> $t {
            self.sqrt()
        }
        #[inline(always)]
        fn rsqrt_(self) -> $t {
            1.0 / self.sqrt()
        }
        #[inline(always)]
        fn recip_(self) -> $t {
            1.0 / self
        }
        #[inline(always)]
        fn fmod_(self, x: $t) -> $t {
            self % x
        }
        #[inline(always)]
        fn remainder_(self, x: $t) -> $t {
            let r = self % x;
            sel((r != 0.0) & ((r < 0.0) != (x < 0.0)), r + x, r)
        }
        #[inline(always)]
        fn floor_(self) -> $t {
            self.floor()
        }
        #[inline(always)]
        fn ceil_(self) -> $t {
            self.ceil()
        }
        #[inline(always)]
        fn trunc_(self) -> $t {
            self.trunc()
        }
        #[inline(always)]
        fn round_(self) -> $t {
            self.round_ties_even()
        }
        #[inline(always)]
        fn frac_(self) -> $t {
            self - self.trunc()
        }
        #[inline(always)]
        fn sign_(self) -> $t {
            sel(self > 0.0, 1.0, 0.0) - sel(self < 0.0, 1.0, 0.0)
        }
        #[inline(always)]
        fn abs_(self) -> $t {
            self.abs()
        }
        #[inline(always)]
        fn copysign_(self, x: $t) -> $t {
            self.copysign(x)
        }
        #[inline(always)]
        fn maximum_(self, x: $t) -> $t {
            sel((self > x) | self.is_nan(), self, x)
        }
        #[inline(always)]
        fn minimum_(self, x: $t) -> $t {
            sel((self < x) | self.is_nan(), self, x)
        }
    };
}

impl Real for f32 {
    common!(f32);

    #[inline(always)]
    fn exp_(self) -> f32 {
        exp_log::exp(self)
    }
    #[inline(always)]
    fn exp_low_(self) -> f32 {
        sel(self < -87.0, 0.0, exp_log::exp_narrow(self))
    }
    #[inline(always)]
    fn exp2_(self) -> f32 {
        exp_log::exp2(self)
    }
    #[inline(always)]
    fn expm1_(self) -> f32 {
        exp_log::expm1(self)
    }
    #[inline(always)]
    fn ln_(self) -> f32 {
        exp_log::ln(self)
    }
    #[inline(always)]
    fn log2_(self) -> f32 {
        exp_log::log2(self)
    }
    #[inline(always)]
    fn log10_(self) -> f32 {
        exp_log::log10(self)
    }
    #[inline(always)]
    fn log1p_(self) -> f32 {
        exp_log::log1p(self)
    }
    #[inline(always)]
    fn sigmoid_(self) -> f32 {
        exp_log::sigmoid(self)
    }
    #[inline(always)]
    fn softplus_(self) -> f32 {
        exp_log::softplus(self)
    }
    #[inline(always)]
    fn sin_(self) -> f32 {
        trig::sin(self)
    }
    #[inline(always)]
    fn cos_(self) -> f32 {
        trig::cos(self)
    }
    #[inline(always)]
    fn tan_(self) -> f32 {
        trig::tan(self)
    }
    #[inline(always)]
    fn asin_(self) -> f32 {
        trig::asin(self)
    }
    #[inline(always)]
    fn acos_(self) -> f32 {
        trig::acos(self)
    }
    #[inline(always)]
    fn atan_(self) -> f32 {
        trig::atan(self)
    }
    #[inline(always)]
    fn atan2_(self, x: f32) -> f32 {
        trig::atan2(self, x)
    }
    #[inline(always)]
    fn sinh_(self) -> f32 {
        hyperbolic::sinh(self)
    }
    #[inline(always)]
    fn cosh_(self) -> f32 {
        hyperbolic::cosh(self)
    }
    #[inline(always)]
    fn tanh_(self) -> f32 {
        hyperbolic::tanh(self)
    }
    #[inline(always)]
    fn asinh_(self) -> f32 {
        hyperbolic::asinh(self)
    }
    #[inline(always)]
    fn acosh_(self) -> f32 {
        hyperbolic::acosh(self)
    }
    #[inline(always)]
    fn atanh_(self) -> f32 {
        hyperbolic::atanh(self)
    }
    #[inline(always)]
    fn erf_(self) -> f32 {
        erf::erf(self)
    }
    #[inline(always)]
    fn erfc_(self) -> f32 {
        erf::erfc(self)
    }
    #[inline(always)]
    fn erfinv_(self) -> f32 {
        erf::erfinv(self)
    }
    #[inline(always)]
    fn lgamma_(self) -> f32 {
        libm::lgamma(self as f64) as f32
    }
    #[inline(always)]
    fn digamma_(self) -> f32 {
        gamma::digamma(self as f64) as f32
    }
    #[inline(always)]
    fn pow_(self, x: f32) -> f32 {
        pow::pow(self, x)
    }
    #[inline(always)]
    fn hypot_(self, x: f32) -> f32 {
        trig::hypot(self, x)
    }
}

impl Real for f64 {
    common!(f64);

    #[inline(always)]
    fn exp_(self) -> f64 {
        libm::exp(self)
    }
    #[inline(always)]
    fn exp_low_(self) -> f64 {
        libm::exp(self)
    }
    #[inline(always)]
    fn exp2_(self) -> f64 {
        libm::exp2(self)
    }
    #[inline(always)]
    fn expm1_(self) -> f64 {
        libm::expm1(self)
    }
    #[inline(always)]
    fn ln_(self) -> f64 {
        libm::log(self)
    }
    #[inline(always)]
    fn log2_(self) -> f64 {
        libm::log2(self)
    }
    #[inline(always)]
    fn log10_(self) -> f64 {
        libm::log10(self)
    }
    #[inline(always)]
    fn log1p_(self) -> f64 {
        libm::log1p(self)
    }
    #[inline(always)]
    fn sigmoid_(self) -> f64 {
        let e = libm::exp(-self.abs());
        sel(self < 0.0, e, 1.0) / (1.0 + e)
    }
    #[inline(always)]
    fn softplus_(self) -> f64 {
        sel(self < 0.0, 0.0, self) + libm::log1p(libm::exp(-self.abs()))
    }
    #[inline(always)]
    fn sin_(self) -> f64 {
        libm::sin(self)
    }
    #[inline(always)]
    fn cos_(self) -> f64 {
        libm::cos(self)
    }
    #[inline(always)]
    fn tan_(self) -> f64 {
        libm::tan(self)
    }
    #[inline(always)]
    fn asin_(self) -> f64 {
        libm::asin(self)
    }
    #[inline(always)]
    fn acos_(self) -> f64 {
        libm::acos(self)
    }
    #[inline(always)]
    fn atan_(self) -> f64 {
        libm::atan(self)
    }
    #[inline(always)]
    fn atan2_(self, x: f64) -> f64 {
        libm::atan2(self, x)
    }
    #[inline(always)]
    fn sinh_(self) -> f64 {
        libm::sinh(self)
    }
    #[inline(always)]
    fn cosh_(self) -> f64 {
        libm::cosh(self)
    }
    #[inline(always)]
    fn tanh_(self) -> f64 {
        libm::tanh(self)
    }
    #[inline(always)]
    fn asinh_(self) -> f64 {
        libm::asinh(self)
    }
    #[inline(always)]
    fn acosh_(self) -> f64 {
        sel(self < 1.0, f64::NAN, libm::acosh(self))
    }
    #[inline(always)]
    fn atanh_(self) -> f64 {
        libm::atanh(self)
    }
    #[inline(always)]
    fn erf_(self) -> f64 {
        libm::erf(self)
    }
    #[inline(always)]
    fn erfc_(self) -> f64 {
        libm::erfc(self)
    }
    #[inline(always)]
    fn erfinv_(self) -> f64 {
        erf::erfinv_f64(self)
    }
    #[inline(always)]
    fn lgamma_(self) -> f64 {
        libm::lgamma(self)
    }
    #[inline(always)]
    fn digamma_(self) -> f64 {
        gamma::digamma(self)
    }
    #[inline(always)]
    fn pow_(self, x: f64) -> f64 {
        libm::pow(self, x)
    }
    #[inline(always)]
    fn hypot_(self, x: f64) -> f64 {
        libm::hypot(self, x)
    }
}
