//! The tables' formulas as scalar functions.

use crate::support::Val;
use hadal_core::math::Real;
use hadal_core::ops::{BinaryOp, UnaryOp};
use hadal_core::{binary_table, unary_table};

macro_rules! num_or_float {
    (Num, $e:expr) => {
        Some($e)
    };
    ($kind:ident, $e:expr) => {
        None::<i64>
    };
}
macro_rules! float1 {
    (Test, $e:expr) => {
        Val::B($e)
    };
    ($kind:ident, $e:expr) => {
        Val::from($e)
    };
}
impl From<f32> for Val {
    fn from(v: f32) -> Val {
        Val::F32(v)
    }
}
impl From<f64> for Val {
    fn from(v: f64) -> Val {
        Val::F64(v)
    }
}

macro_rules! scalar_unary {
    ($($(#[doc = $doc:literal])+ $v:ident $name:ident $kind:ident ($lo:expr, $hi:expr)
        |$x:ident| $f:expr; |$xi:ident| $fi:expr; grad $(none)? $(|$gx:ident, $gy:ident, $gg:ident| $d:expr)?;)*) => {
        /// One unary operation on one value, before rounding to the instruction's dtype.
        #[allow(unused_variables)]
        pub fn unary(op: UnaryOp, x: Val) -> Val {
            match (op, x) {
                $((UnaryOp::$v, Val::F32($x)) => float1!($kind, $f),
                  (UnaryOp::$v, Val::F64($x)) => float1!($kind, $f),
                  (UnaryOp::$v, Val::I($xi)) => Val::I(num_or_float!($kind, $fi).expect("an operation on integers")),
                  (UnaryOp::$v, Val::B(b)) => {
                      let $xi = b as i64;
                      Val::B(num_or_float!($kind, $fi).expect("an operation on bools") != 0)
                  })*
            }
        }
    };
}
macro_rules! float2 {
    (Compare, $e:expr) => {
        Val::B($e)
    };
    (Logic, $e:expr) => {
        unreachable!("logic on floats")
    };
    (Bit, $e:expr) => {
        unreachable!("bits of floats")
    };
    ($kind:ident, $e:expr) => {
        Val::from($e)
    };
}
macro_rules! int2 {
    (Compare, $e:expr) => {
        Val::B($e)
    };
    (Num, $e:expr) => {
        Val::I($e)
    };
    (Bit, $e:expr) => {
        Val::I($e)
    };
    ($kind:ident, $e:expr) => {
        unreachable!("not on integers")
    };
}
macro_rules! bool2 {
    (Num, $a:ident, $b:ident, $e:expr) => {{
        let ($a, $b) = ($a as i64, $b as i64);
        Val::B($e != 0)
    }};
    (Float, $a:ident, $b:ident, $e:expr) => {
        unreachable!("not on bools")
    };
    ($kind:ident, $a:ident, $b:ident, $e:expr) => {
        Val::B($e)
    };
}
macro_rules! scalar_binary {
    ($($(#[doc = $doc:literal])+ $v:ident $name:ident $kind:ident ($alo:expr, $ahi:expr) ($blo:expr, $bhi:expr)
        |$a:ident, $b:ident| $f:expr; |$ai:ident, $bi:ident| $fi:expr;
        grad $(none)? $(|$ga:ident, $gb:ident, $gy:ident, $gg:ident| $da:expr, $db:expr)?;)*) => {
        /// One binary operation on two values, before rounding to the instruction's dtype.
        #[allow(unused_variables, unreachable_code)]
        pub fn binary(op: BinaryOp, a: Val, b: Val) -> Val {
            match (op, a, b) {
                $((BinaryOp::$v, Val::F32($a), Val::F32($b)) => float2!($kind, $f),
                  (BinaryOp::$v, Val::F64($a), Val::F64($b)) => float2!($kind, $f),
                  (BinaryOp::$v, Val::I($ai), Val::I($bi)) => int2!($kind, $fi),
                  (BinaryOp::$v, Val::B($ai), Val::B($bi)) => bool2!($kind, $ai, $bi, $fi),)*
                (op, a, b) => unreachable!("{op:?} of {a:?} and {b:?}"),
            }
        }
    };
}
unary_table!(scalar_unary);
binary_table!(scalar_binary);
