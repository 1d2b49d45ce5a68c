//! Scalar math for kernels: one set of functions for `f32` and `f64`.
//!
//! The `f32` functions are straight-line code of selects, integer tricks and explicit fused
//! multiply-adds, always inlined: a plain loop over them inside a function compiled for AVX2 with
//! FMA or for AVX-512 becomes vector code without calls. Nothing depends on how the compiler
//! contracts or orders the arithmetic, so an element's result is the same in the vector body, in
//! the scalar tail and on every machine (without FMA instructions it is only slower). Exceptions,
//! which are calls: `fmod_`, `remainder_`, `lgamma_` and `digamma_`.
//!
//! The `f64` functions serve gradient checks and reference values: accurate (within about 1 ulp)
//! rather than fast, from the `libm` crate, whose results do not depend on the platform's C library
//! either.
//!
//! The errors stated at each method are the largest of a dense sample, in units in the last place
//! of the exact result; `tests/math_ulp.rs` measures and asserts them. Subnormal arguments and
//! results are handled, not flushed.
//!
//! ```
//! use hadal_core::math::Real;
//! fn gelu<T: Real>(x: T) -> T {
//!     T::HALF * x * (T::ONE + (x * T::FRAC_1_SQRT_2).erf_())
//! }
//! assert!((gelu(1.0f32) - 0.841_344_7).abs() < 1e-6);
//! assert!((gelu(1.0f64) - 0.841_344_746_068_542_9).abs() < 1e-15);
//! ```

mod erf;
mod exp_log;
mod gamma;
mod hyperbolic;
mod pow;
mod real;
mod trig;
mod wide;

use std::fmt::{Debug, Display};
use std::ops::{Add, AddAssign, Div, DivAssign, Mul, MulAssign, Neg, Sub, SubAssign};

/// `if c { a } else { b }` as a data dependency, never as a jump.
#[inline(always)]
fn sel<T>(c: bool, a: T, b: T) -> T {
    std::hint::select_unpredictable(c, a, b)
}

/// Σ c\[i\] z^i by Horner's rule, in `f32`.
#[inline(always)]
fn poly32<const N: usize>(z: f32, c: [f32; N]) -> f32 {
    let mut p = c[N - 1];
    let mut i = N - 1;
    while i > 0 {
        i -= 1;
        p = p.mul_add(z, c[i]);
    }
    p
}

/// A floating-point type with every scalar function that kernels need.
///
/// The methods end in an underscore, since the inherent methods of `f32` and `f64` of the same name
/// would win over them and call the platform's C library.
pub trait Real:
    Copy
    + Debug
    + Display
    + Default
    + PartialEq
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + DivAssign
    + Send
    + Sync
    + 'static
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// 2.
    const TWO: Self;
    /// 1/2.
    const HALF: Self;
    /// π.
    const PI: Self;
    /// π/2.
    const FRAC_PI_2: Self;
    /// 1/π.
    const FRAC_1_PI: Self;
    /// 2/√π.
    const FRAC_2_SQRT_PI: Self;
    /// e.
    const E: Self;
    /// ln 2.
    const LN_2: Self;
    /// ln 10.
    const LN_10: Self;
    /// log₂ e.
    const LOG2_E: Self;
    /// log₁₀ e.
    const LOG10_E: Self;
    /// √2.
    const SQRT_2: Self;
    /// 1/√2.
    const FRAC_1_SQRT_2: Self;
    /// √π/2, the factor in the derivative of erf⁻¹.
    const FRAC_SQRT_PI_2: Self;
    /// 1/√(2π), the normal density at 0.
    const FRAC_1_SQRT_2PI: Self;
    /// √(2/π), the factor in GELU's tanh form.
    const FRAC_SQRT_2_PI: Self;
    /// The distance from 1 to the next larger number.
    const EPSILON: Self;
    /// The smallest finite number.
    const MIN: Self;
    /// The largest finite number.
    const MAX: Self;
    /// The smallest positive normal number.
    const MIN_POSITIVE: Self;
    /// ∞.
    const INFINITY: Self;
    /// −∞.
    const NEG_INFINITY: Self;
    /// Not a number.
    const NAN: Self;

    /// The nearest value.
    fn from_f64(v: f64) -> Self;
    /// The same value.
    fn to_f64(self) -> f64;
    /// `if c { a } else { b }`, both computed: never a jump.
    #[inline(always)]
    fn select(c: bool, a: Self, b: Self) -> Self {
        sel(c, a, b)
    }
    /// Whether it is NaN.
    #[inline(always)]
    #[allow(clippy::eq_op)]
    fn is_nan_(self) -> bool {
        self != self
    }
    /// Whether it is neither infinite nor NaN.
    #[inline(always)]
    fn is_finite_(self) -> bool {
        self.abs_() < Self::INFINITY
    }
    /// Whether x is infinite.
    #[inline(always)]
    fn is_inf_(self) -> bool {
        self.abs_() == Self::INFINITY
    }
    /// max(x, 0); NaN stays NaN and -0 becomes 0.
    #[inline(always)]
    fn relu_(self) -> Self {
        sel(self <= Self::ZERO, Self::ZERO, self)
    }
    /// The largest whole number not above the exact quotient (Python's `//`,
    /// `torch.floor_divide`): `floor(a / b)` alone would round a quotient just below a whole number up.
    #[inline(always)]
    fn floor_divide_(self, x: Self) -> Self {
        // From the remainder with the sign of self, which is self itself for an infinite x.
        let r = self.fmod_(x);
        let q = ((self - r) / x).round_();
        let below = (r != Self::ZERO) & ((r < Self::ZERO) != (x < Self::ZERO));
        sel(x == Self::ZERO, self / x, sel(below, q - Self::ONE, q))
    }
    /// self · a + b, rounded once.
    fn mul_add_(self, a: Self, b: Self) -> Self;
    /// e^x.
    ///
    /// f32: within 1.01 ulp over all of f32, subnormal results included.
    fn exp_(self) -> Self;
    /// e^x for x ≤ 0 (or NaN), as softmax wants it; f32: 0 below −87, in fewer instructions.
    ///
    /// f32: within 1.01 ulp from −87 to 0.
    fn exp_low_(self) -> Self;
    /// 2^x.
    ///
    /// f32: within 0.95 ulp over all of f32, subnormal results included.
    fn exp2_(self) -> Self;
    /// e^x − 1.
    ///
    /// f32: within 1.45 ulp over all of f32.
    fn expm1_(self) -> Self;
    /// ln x; −∞ at ±0, NaN below.
    ///
    /// f32: within 0.86 ulp over all of f32.
    fn ln_(self) -> Self;
    /// log₂ x.
    ///
    /// f32: within 1.08 ulp over all of f32.
    fn log2_(self) -> Self;
    /// log₁₀ x.
    ///
    /// f32: within 1.0 ulp over all of f32.
    fn log10_(self) -> Self;
    /// ln(1 + x).
    ///
    /// f32: within 1.4 ulp over all of f32.
    fn log1p_(self) -> Self;
    /// 1 / (1 + e^(−x)), without overflow on either side.
    ///
    /// f32: within 2.35 ulp over all of f32.
    fn sigmoid_(self) -> Self;
    /// ln(1 + e^x), without overflow: max(x, 0) + ln(1 + e^(−|x|)).
    ///
    /// f32: within 1.7 ulp over all of f32.
    fn softplus_(self) -> Self;
    /// sin x, x in radians.
    ///
    /// f32: within 0.501 ulp over all of f32 (computed in f64, exact argument reduction).
    fn sin_(self) -> Self;
    /// cos x, x in radians.
    ///
    /// f32: within 0.501 ulp over all of f32 (computed in f64, exact argument reduction).
    fn cos_(self) -> Self;
    /// tan x, x in radians.
    ///
    /// f32: within 0.501 ulp over all of f32 (computed in f64, exact argument reduction).
    fn tan_(self) -> Self;
    /// asin x, in [−π/2, π/2]; NaN beyond |x| = 1.
    ///
    /// f32: within 0.501 ulp over all of f32 (computed in f64).
    fn asin_(self) -> Self;
    /// acos x, in [0, π]; NaN beyond |x| = 1.
    ///
    /// f32: within 0.501 ulp over all of f32 (computed in f64).
    fn acos_(self) -> Self;
    /// atan x, in [−π/2, π/2].
    ///
    /// f32: within 0.501 ulp over all of f32 (computed in f64).
    fn atan_(self) -> Self;
    /// The angle of the point (`x`, `self`), in [−π, π].
    ///
    /// f32: within 0.501 ulp (computed in f64).
    fn atan2_(self, x: Self) -> Self;
    /// sinh x.
    ///
    /// f32: within 0.501 ulp over all of f32 (computed in f64).
    fn sinh_(self) -> Self;
    /// cosh x.
    ///
    /// f32: within 0.501 ulp over all of f32 (computed in f64).
    fn cosh_(self) -> Self;
    /// tanh x.
    ///
    /// f32: within 1.35 ulp over all of f32.
    fn tanh_(self) -> Self;
    /// asinh x.
    ///
    /// f32: within 0.501 ulp over all of f32 (computed in f64).
    fn asinh_(self) -> Self;
    /// acosh x; NaN below 1.
    ///
    /// f32: within 0.501 ulp over all of f32 (computed in f64).
    fn acosh_(self) -> Self;
    /// atanh x; ±∞ at ±1, NaN beyond.
    ///
    /// f32: within 0.501 ulp over all of f32 (computed in f64).
    fn atanh_(self) -> Self;
    /// 2/√π ∫₀ˣ e^(−t²) dt.
    ///
    /// f32: within 1.17 ulp over all of f32. f64: 1.9e-16 relative.
    fn erf_(self) -> Self;
    /// 1 − erf x, without cancellation.
    ///
    /// f32: within 0.501 ulp over all of f32 (computed in f64). f64: 2.3e-16 relative.
    fn erfc_(self) -> Self;
    /// The x' with erf x' = x; ±∞ at ±1, NaN beyond.
    ///
    /// f32: within 0.501 ulp over all of f32 (computed in f64). f64: 4.1e-16 relative.
    fn erfinv_(self) -> Self;
    /// ln |Γ(x)|; ∞ at 0 and the negative integers.
    ///
    /// f32: within 0.501 ulp over all of f32 (computed in f64). f64: 2.4e-16 relative (more close to
    /// its negative zeros).
    fn lgamma_(self) -> Self;
    /// d/dx ln Γ(x); ∓∞ at ±0, NaN at the negative integers, as in PyTorch.
    ///
    /// f32: within 0.501 ulp over all of f32 (computed in f64). f64: 1.7e-15 relative (more close to
    /// its negative zeros).
    fn digamma_(self) -> Self;
    /// `self` to the power `x`, with the special cases of IEEE 754 (`pow(1, NaN) = pow(NaN, 0) = 1`,
    /// a negative base has a power for integral exponents only).
    ///
    /// f32: within 0.501 ulp (computed in f64).
    fn pow_(self, x: Self) -> Self;
    /// √(self² + x²), without overflow; ∞ if one of them is infinite, even beside NaN.
    ///
    /// f32: within 0.501 ulp (computed in f64).
    fn hypot_(self, x: Self) -> Self;
    /// √x, correctly rounded.
    fn sqrt_(self) -> Self;
    /// 1/√x, from two correctly rounded steps, as in PyTorch: within 1.5 ulp.
    fn rsqrt_(self) -> Self;
    /// 1/x, correctly rounded.
    fn recip_(self) -> Self;
    /// The remainder of `self / x` with the sign of `self` (C's fmod, `torch.fmod`); exact.
    fn fmod_(self, x: Self) -> Self;
    /// The remainder of `self / x` with the sign of `x` (Python's `%`, `torch.remainder`).
    fn remainder_(self, x: Self) -> Self;
    /// The largest integer not above x.
    fn floor_(self) -> Self;
    /// The smallest integer not below x.
    fn ceil_(self) -> Self;
    /// x without its fraction.
    fn trunc_(self) -> Self;
    /// The nearest integer, halves to the even one, as in PyTorch and NumPy.
    fn round_(self) -> Self;
    /// x − trunc x: the fraction, with the sign of x.
    fn frac_(self) -> Self;
    /// −1, 0 or 1. NaN gives 0, as in PyTorch (NumPy gives NaN).
    fn sign_(self) -> Self;
    /// |x|.
    fn abs_(self) -> Self;
    /// |self| with the sign of `x`, which counts at zero and NaN too.
    fn copysign_(self, x: Self) -> Self;
    /// The larger one; NaN if one of them is NaN, as in PyTorch.
    fn maximum_(self, x: Self) -> Self;
    /// The smaller one; NaN if one of them is NaN, as in PyTorch.
    fn minimum_(self, x: Self) -> Self;
}
