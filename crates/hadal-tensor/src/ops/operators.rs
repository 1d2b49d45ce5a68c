//! `+ - * / %` and unary `-` between tensors, references and numbers.
//!
//! Numbers are `f64` and `i64` only: with one type per kind of literal the compiler knows what
//! `(1.0 - &x).sqrt()` is. Other number types go through the methods: `x.mul(n)`.

use crate::Tensor;
use crate::operand::Operand;
use crate::ops::pointwise;
use hadal_core::ops::BinaryOp;
use std::ops::{Add, Div, Mul, Neg, Rem, Sub};

macro_rules! operator {
    ($trait:ident $method:ident $op:ident) => {
        operator!(@tensor $trait $method $op (Tensor, Tensor) (Tensor, &Tensor) (&Tensor, Tensor) (&Tensor, &Tensor));
        operator!(@scalar $trait $method $op f64 i64);
    };
    (@tensor $trait:ident $method:ident $op:ident $(($a:ty, $b:ty))*) => { $(
        impl $trait<$b> for $a {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: $b) -> Tensor {
                pointwise::binary(BinaryOp::$op, Operand::from(self), Operand::from(other))
            }
        }
    )* };
    (@scalar $trait:ident $method:ident $op:ident $($s:ty)*) => { $(
        operator!(@tensor $trait $method $op (Tensor, $s) (&Tensor, $s) ($s, Tensor) ($s, &Tensor));
    )* };
}
operator!(Add add Add);
operator!(Sub sub Sub);
operator!(Mul mul Mul);
operator!(Div div Div);
operator!(Rem rem Remainder);

impl Neg for Tensor {
    type Output = Tensor;
    #[track_caller]
    fn neg(self) -> Tensor {
        Tensor::neg(&self)
    }
}
impl Neg for &Tensor {
    type Output = Tensor;
    #[track_caller]
    fn neg(self) -> Tensor {
        Tensor::neg(self)
    }
}
