//! The table of pointwise operations: the one place where each is written.
//!
//! From a row come the methods on `Tensor`, the block functions of the CPU backend, the gradient,
//! the gradient tests and the row of the documentation's operation table. To add an operation, add
//! a row (and, when its formula needs one, a scalar function in [`math`](crate::math)).
//!
//! A unary row reads
//! `Variant method kind (low, high) |x| float formula; |x| integer formula; grad |x, y, g| gradient;`
//! where `low..high` is the open interval on which tests draw inputs, `x` the input, `y` the output and
//! `g` the cotangent of `y`. Float formulas are over any [`Real`](crate::math::Real); gradients are
//! tensor expressions over references. `grad none` says that the derivative is zero almost
//! everywhere. Kinds:
//!
//! | kind | inputs | output |
//! |---|---|---|
//! | `Float` | floats; integers and bools count as f32 | same float |
//! | `Num` | any but bool | same dtype |
//! | `Test` | floats; others count as f32 | bool |

/// What an operation takes and gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Floats in, the same float out; integers are promoted to f32 first.
    Float,
    /// Any number in, the same dtype out.
    Num,
    /// Floats in, bool out.
    Test,
    /// Any two numbers of one dtype in, bool out.
    Compare,
    /// Bools in, bool out; anything else is compared with zero first.
    Logic,
    /// Integers or bools in, the same dtype out.
    Bit,
}

/// Calls a macro with all unary rows. See the module's documentation.
#[macro_export]
macro_rules! unary_table {
    ($callback:ident) => {
        $callback! {
            /// `-x`
            Neg neg Num (-3.0, 3.0) |x| -x; |x| x.wrapping_neg(); grad |x, y, g| -g;
            /// `|x|`; gradient `sign(x)`, 0 at 0.
            Abs abs Num (-3.0, 3.0) |x| x.abs_(); |x| x.wrapping_abs(); grad |x, y, g| g * x.sign();
            /// -1, 0 or 1; NaN gives 0, as in PyTorch.
            Sign sign Num (-3.0, 3.0) |x| x.sign_(); |x| x.signum(); grad none;
            /// `x²`
            Square square Num (-3.0, 3.0) |x| x * x; |x| x.wrapping_mul(x); grad |x, y, g| g * (x * 2.0);
            /// `max(x, 0)`; gradient 0 at 0, NaN stays NaN.
            Relu relu Num (-3.0, 3.0) |x| x.relu_(); |x| x.max(0); grad |x, y, g| g.zero_unless(&y.gt(0.0));
            /// Largest whole number not above `x`.
            Floor floor Num (-3.0, 3.0) |x| x.floor_(); |x| x; grad none;
            /// Smallest whole number not below `x`.
            Ceil ceil Num (-3.0, 3.0) |x| x.ceil_(); |x| x; grad none;
            /// Nearest whole number, halves to even.
            Round round Num (-3.0, 3.0) |x| x.round_(); |x| x; grad none;
            /// `x` without its fraction.
            Trunc trunc Num (-3.0, 3.0) |x| x.trunc_(); |x| x; grad none;
            /// `1/x`
            Reciprocal reciprocal Float (0.3, 3.0) |x| x.recip_(); |x| x; grad |x, y, g| -(g * (y * y));
            /// `√x`
            Sqrt sqrt Float (0.1, 4.0) |x| x.sqrt_(); |x| x; grad |x, y, g| g / (y * 2.0);
            /// `1/√x`
            Rsqrt rsqrt Float (0.3, 4.0) |x| x.rsqrt_(); |x| x; grad |x, y, g| g * (y * y * y * -0.5);
            /// `eˣ`
            Exp exp Float (-3.0, 3.0) |x| x.exp_(); |x| x; grad |x, y, g| g * y;
            /// `2ˣ`
            Exp2 exp2 Float (-3.0, 3.0) |x| x.exp2_(); |x| x; grad |x, y, g| g * (y * std::f64::consts::LN_2);
            /// `eˣ - 1`, accurate near 0.
            Expm1 expm1 Float (-2.0, 2.0) |x| x.expm1_(); |x| x; grad |x, y, g| g * (y + 1.0);
            /// Natural logarithm.
            Log log Float (0.1, 5.0) |x| x.ln_(); |x| x; grad |x, y, g| g / x;
            /// Logarithm to base 2.
            Log2 log2 Float (0.1, 5.0) |x| x.log2_(); |x| x; grad |x, y, g| g / (x * std::f64::consts::LN_2);
            /// Logarithm to base 10.
            Log10 log10 Float (0.1, 5.0) |x| x.log10_(); |x| x; grad |x, y, g| g / (x * std::f64::consts::LN_10);
            /// `ln(1 + x)`, accurate near 0.
            Log1p log1p Float (-0.7, 3.0) |x| x.log1p_(); |x| x; grad |x, y, g| g / (x + 1.0);
            /// Sine of radians.
            Sin sin Float (-4.0, 4.0) |x| x.sin_(); |x| x; grad |x, y, g| g * x.cos();
            /// Cosine of radians.
            Cos cos Float (-4.0, 4.0) |x| x.cos_(); |x| x; grad |x, y, g| -(g * x.sin());
            /// Tangent of radians.
            Tan tan Float (-1.2, 1.2) |x| x.tan_(); |x| x; grad |x, y, g| g * (y * y + 1.0);
            /// Inverse sine, in radians.
            Asin asin Float (-0.9, 0.9) |x| x.asin_(); |x| x; grad |x, y, g| g * (1.0 - x * x).rsqrt();
            /// Inverse cosine, in radians.
            Acos acos Float (-0.9, 0.9) |x| x.acos_(); |x| x; grad |x, y, g| -(g * (1.0 - x * x).rsqrt());
            /// Inverse tangent, in radians.
            Atan atan Float (-3.0, 3.0) |x| x.atan_(); |x| x; grad |x, y, g| g / (x * x + 1.0);
            /// Hyperbolic sine.
            Sinh sinh Float (-3.0, 3.0) |x| x.sinh_(); |x| x; grad |x, y, g| g * x.cosh();
            /// Hyperbolic cosine.
            Cosh cosh Float (-3.0, 3.0) |x| x.cosh_(); |x| x; grad |x, y, g| g * x.sinh();
            /// Hyperbolic tangent.
            Tanh tanh Float (-3.0, 3.0) |x| x.tanh_(); |x| x; grad |x, y, g| g * (1.0 - y * y);
            /// Inverse hyperbolic sine.
            Asinh asinh Float (-3.0, 3.0) |x| x.asinh_(); |x| x; grad |x, y, g| g * (x * x + 1.0).rsqrt();
            /// Inverse hyperbolic cosine.
            Acosh acosh Float (1.2, 4.0) |x| x.acosh_(); |x| x; grad |x, y, g| g * (x * x - 1.0).rsqrt();
            /// Inverse hyperbolic tangent.
            Atanh atanh Float (-0.9, 0.9) |x| x.atanh_(); |x| x; grad |x, y, g| g / (1.0 - x * x);
            /// Gauss error function.
            Erf erf Float (-2.0, 2.0) |x| x.erf_(); |x| x; grad |x, y, g| g * ((-(x * x)).exp() * std::f64::consts::FRAC_2_SQRT_PI);
            /// `1 - erf(x)`, accurate for large `x`.
            Erfc erfc Float (-2.0, 2.0) |x| x.erfc_(); |x| x; grad |x, y, g| g * ((-(x * x)).exp() * -std::f64::consts::FRAC_2_SQRT_PI);
            /// Inverse of the error function.
            Erfinv erfinv Float (-0.8, 0.8) |x| x.erfinv_(); |x| x; grad |x, y, g| g * ((y * y).exp() * (0.5 / std::f64::consts::FRAC_2_SQRT_PI * 2.0));
            /// `1/(1 + e⁻ˣ)`
            Sigmoid sigmoid Float (-4.0, 4.0) |x| x.sigmoid_(); |x| x; grad |x, y, g| g * (y * (1.0 - y));
            /// `ln(1 + eˣ)` without overflow.
            Softplus softplus Float (-4.0, 4.0) |x| x.softplus_(); |x| x; grad |x, y, g| g * x.sigmoid();
            /// Whether NaN.
            IsNan isnan Test (-1.0, 1.0) |x| x.is_nan_(); |x| x; grad none;
            /// Whether infinite.
            IsInf isinf Test (-1.0, 1.0) |x| x.is_inf_(); |x| x; grad none;
            /// Whether neither NaN nor infinite.
            IsFinite isfinite Test (-1.0, 1.0) |x| x.is_finite_(); |x| x; grad none;
        }
    };
}

/// Calls a macro with all binary rows: `Variant method kind (a low, a high) (b low, b high)
/// |a, b| float formula; |a, b| integer formula; grad |a, b, y, g| da, db;`. Comparisons give bool;
/// logic and bit rows have a formula over `u8` truth values in the float place.
#[macro_export]
macro_rules! binary_table {
    ($callback:ident) => {
        $callback! {
            /// `a + b`
            Add add Num (-3.0, 3.0) (-3.0, 3.0) |a, b| a + b; |a, b| a.wrapping_add(b); grad |a, b, y, g| g.clone(), g.clone();
            /// `a - b`
            Sub sub Num (-3.0, 3.0) (-3.0, 3.0) |a, b| a - b; |a, b| a.wrapping_sub(b); grad |a, b, y, g| g.clone(), -g;
            /// `a · b`
            Mul mul Num (-3.0, 3.0) (-3.0, 3.0) |a, b| a * b; |a, b| a.wrapping_mul(b); grad |a, b, y, g| g * b, g * a;
            /// `a / b`; integers divide as f32.
            Div div Float (-3.0, 3.0) (0.4, 3.0) |a, b| a / b; |a, b| a; grad |a, b, y, g| g / b, -(g * (y / b));
            /// `aᵇ`
            Pow pow Num (0.3, 3.0) (-2.0, 3.0) |a, b| a.pow_(b); |a, b| $crate::ops::int_pow(a, b);
                grad |a, b, y, g| g * (b * a.pow(b - 1.0)).zero_unless(&b.ne(0.0)), g * (y * a.log()).zero_unless(&a.ne(0.0));
            /// Angle of the point `(b, a)`, in radians.
            Atan2 atan2 Float (0.3, 3.0) (0.3, 3.0) |a, b| a.atan2_(b); |a, b| a;
                grad |a, b, y, g| g * (b / (a * a + b * b)), -(g * (a / (a * a + b * b)));
            /// `√(a² + b²)`
            Hypot hypot Float (0.3, 3.0) (0.3, 3.0) |a, b| a.hypot_(b); |a, b| a; grad |a, b, y, g| g * (a / y), g * (b / y);
            /// The larger one; NaN if either is. Ties share the gradient.
            Maximum maximum Num (-3.0, 3.0) (-3.0, 3.0) |a, b| a.maximum_(b); |a, b| a.max(b);
                grad |a, b, y, g| g * (a.gt(b).cast_like(g) + a.eq(b).cast_like(g) * 0.5), g * (b.gt(a).cast_like(g) + a.eq(b).cast_like(g) * 0.5);
            /// The smaller one; NaN if either is. Ties share the gradient.
            Minimum minimum Num (-3.0, 3.0) (-3.0, 3.0) |a, b| a.minimum_(b); |a, b| a.min(b);
                grad |a, b, y, g| g * (a.lt(b).cast_like(g) + a.eq(b).cast_like(g) * 0.5), g * (b.lt(a).cast_like(g) + a.eq(b).cast_like(g) * 0.5);
            /// Remainder with the sign of `a` (C's `fmod`); integers by zero give 0.
            Fmod fmod Num (0.2, 3.0) (3.1, 5.0) |a, b| a.fmod_(b); |a, b| a.checked_rem(b).unwrap_or(0);
                grad |a, b, y, g| g.clone(), -(g * (a / b).trunc());
            /// Remainder with the sign of `b` (Python's `%`); integers by zero give 0.
            Remainder remainder Num (0.2, 3.0) (3.1, 5.0) |a, b| a.remainder_(b); |a, b| $crate::ops::int_remainder(a, b);
                grad |a, b, y, g| g.clone(), -(g * (a / b).floor());
            /// `floor(a / b)`; integers by zero give 0.
            FloorDivide floor_divide Num (-3.0, 3.0) (0.4, 3.0) |a, b| a.floor_divide_(b); |a, b| $crate::ops::int_floor_div(a, b); grad none;
            /// `a = b`
            Eq eq Compare (-3.0, 3.0) (-3.0, 3.0) |a, b| a == b; |a, b| a == b; grad none;
            /// `a ≠ b`
            Ne ne Compare (-3.0, 3.0) (-3.0, 3.0) |a, b| a != b; |a, b| a != b; grad none;
            /// `a < b`
            Lt lt Compare (-3.0, 3.0) (-3.0, 3.0) |a, b| a < b; |a, b| a < b; grad none;
            /// `a ≤ b`
            Le le Compare (-3.0, 3.0) (-3.0, 3.0) |a, b| a <= b; |a, b| a <= b; grad none;
            /// `a > b`
            Gt gt Compare (-3.0, 3.0) (-3.0, 3.0) |a, b| a > b; |a, b| a > b; grad none;
            /// `a ≥ b`
            Ge ge Compare (-3.0, 3.0) (-3.0, 3.0) |a, b| a >= b; |a, b| a >= b; grad none;
            /// Both true.
            LogicalAnd logical_and Logic (-1.0, 1.0) (-1.0, 1.0) |a, b| a & b; |a, b| a & b; grad none;
            /// At least one true.
            LogicalOr logical_or Logic (-1.0, 1.0) (-1.0, 1.0) |a, b| a | b; |a, b| a | b; grad none;
            /// Exactly one true.
            LogicalXor logical_xor Logic (-1.0, 1.0) (-1.0, 1.0) |a, b| a ^ b; |a, b| a ^ b; grad none;
            /// Bitwise and of integers or bools.
            BitwiseAnd bitwise_and Bit (-1.0, 1.0) (-1.0, 1.0) |a, b| a & b; |a, b| a & b; grad none;
            /// Bitwise or of integers or bools.
            BitwiseOr bitwise_or Bit (-1.0, 1.0) (-1.0, 1.0) |a, b| a | b; |a, b| a | b; grad none;
            /// Bitwise exclusive or of integers or bools.
            BitwiseXor bitwise_xor Bit (-1.0, 1.0) (-1.0, 1.0) |a, b| a ^ b; |a, b| a ^ b; grad none;
        }
    };
}

macro_rules! define_unary {
    ($($(#[doc = $doc:literal])+ $v:ident $name:ident $kind:ident ($lo:expr, $hi:expr)
        |$x:ident| $f:expr; |$xi:ident| $fi:expr; grad $(none)? $(|$gx:ident, $gy:ident, $gg:ident| $d:expr)?;)*) => {
        /// A pointwise operation of one input.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        pub enum UnaryOp { $($(#[doc = $doc])+ $v),* }
        impl UnaryOp {
            /// All of them, in table order.
            pub const ALL: &'static [UnaryOp] = &[$(UnaryOp::$v),*];
            /// The method's name.
            pub const fn name(self) -> &'static str { match self { $(UnaryOp::$v => stringify!($name)),* } }
            /// What it takes and gives.
            pub const fn kind(self) -> Kind { match self { $(UnaryOp::$v => Kind::$kind),* } }
            /// Open interval on which tests draw inputs.
            pub const fn domain(self) -> (f64, f64) { match self { $(UnaryOp::$v => ($lo, $hi)),* } }
            /// Its documentation.
            pub const fn doc(self) -> &'static str { match self { $(UnaryOp::$v => concat!($($doc),+)),* } }
            /// Whether it has a gradient that is not zero almost everywhere.
            pub const fn differentiable(self) -> bool {
                match self { $(UnaryOp::$v => { const D: &[&str] = &[$(stringify!($d))?]; !D.is_empty() }),* }
            }
        }
    };
}
macro_rules! define_binary {
    ($($(#[doc = $doc:literal])+ $v:ident $name:ident $kind:ident ($alo:expr, $ahi:expr) ($blo:expr, $bhi:expr)
        |$a:ident, $b:ident| $f:expr; |$ai:ident, $bi:ident| $fi:expr;
        grad $(none)? $(|$ga:ident, $gb:ident, $gy:ident, $gg:ident| $da:expr, $db:expr)?;)*) => {
        /// A pointwise operation of two inputs.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        pub enum BinaryOp { $($(#[doc = $doc])+ $v),* }
        impl BinaryOp {
            /// All of them, in table order.
            pub const ALL: &'static [BinaryOp] = &[$(BinaryOp::$v),*];
            /// The method's name.
            pub const fn name(self) -> &'static str { match self { $(BinaryOp::$v => stringify!($name)),* } }
            /// What it takes and gives.
            pub const fn kind(self) -> Kind { match self { $(BinaryOp::$v => Kind::$kind),* } }
            /// Open intervals on which tests draw the two inputs.
            pub const fn domain(self) -> [(f64, f64); 2] { match self { $(BinaryOp::$v => [($alo, $ahi), ($blo, $bhi)]),* } }
            /// Its documentation.
            pub const fn doc(self) -> &'static str { match self { $(BinaryOp::$v => concat!($($doc),+)),* } }
            /// Whether it has a gradient that is not zero almost everywhere.
            pub const fn differentiable(self) -> bool {
                match self { $(BinaryOp::$v => { const D: &[&str] = &[$(stringify!($da))?]; !D.is_empty() }),* }
            }
        }
    };
}
unary_table!(define_unary);
binary_table!(define_binary);

/// Integer power; a negative exponent gives 0 except for bases 1 and -1, as an exact result would
/// truncate.
pub fn int_pow(a: i64, b: i64) -> i64 {
    if b >= 0 {
        return a.wrapping_pow(b.min(u32::MAX as i64) as u32);
    }
    match a {
        1 => 1,
        -1 => 1 - 2 * (b & 1),
        _ => 0,
    }
}

/// Python's `%`; 0 for a zero divisor.
pub fn int_remainder(a: i64, b: i64) -> i64 {
    match a.checked_rem(b) {
        Some(r) if r != 0 && (r < 0) != (b < 0) => r + b,
        Some(r) => r,
        None => 0,
    }
}

/// Python's `//`; 0 for a zero divisor.
pub fn int_floor_div(a: i64, b: i64) -> i64 {
    match a.checked_div(b) {
        Some(q) if a % b != 0 && (a < 0) != (b < 0) => q - 1,
        Some(q) => q,
        None => 0,
    }
}
