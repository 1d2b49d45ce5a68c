//! Pointwise operations: methods and gradients made from the table in `hadal_core::ops`, casts,
//! `where`, and the broadcast and promotion they share.

use crate::Tensor;
use crate::autodiff::Grads;
use crate::operand::{Operand, result_type};
use crate::tensor::Inputs;
use hadal_core::ops::{BinaryOp, Kind, Op, UnaryOp};
use hadal_core::smallvec::smallvec;
use hadal_core::{DType, Error, ErrorKind, Scalar, Shape, binary_table, unary_table};

macro_rules! unary_methods {
    ($($(#[doc = $doc:literal])+ $v:ident $name:ident $kind:ident ($lo:expr, $hi:expr)
        |$x:ident| $f:expr; |$xi:ident| $fi:expr; grad $(none)? $(|$gx:ident, $gy:ident, $gg:ident| $d:expr)?;)*) => {
        impl Tensor {
            $($(#[doc = $doc])+
            ///
            /// Elementwise, any shape.
            #[track_caller]
            pub fn $name(&self) -> Tensor { unary(UnaryOp::$v, self) })*
        }

        pub(crate) fn unary_vjp(op: UnaryOp, x: &Tensor, y: &Tensor, g: &Tensor) -> Grads {
            match op {
                $(UnaryOp::$v => {
                    $(let ($gx, $gy, $gg) = (x, y, g);
                    // A rule may use only some of its three names.
                    let _ = ($gx, $gy, $gg);
                    return smallvec![Some($d)];)?
                    #[allow(unreachable_code)]
                    { let _ = (x, y, g); smallvec![None] }
                })*
            }
        }
    };
}
unary_table!(unary_methods);

macro_rules! binary_methods {
    ($($(#[doc = $doc:literal])+ $v:ident $name:ident $kind:ident ($alo:expr, $ahi:expr) ($blo:expr, $bhi:expr)
        |$a:ident, $b:ident| $f:expr; |$ai:ident, $bi:ident| $fi:expr;
        grad $(none)? $(|$ga:ident, $gb:ident, $gy:ident, $gg:ident| $da:expr, $db:expr)?;)*) => {
        #[allow(clippy::should_implement_trait)] // The operators call these.
        impl Tensor {
            $($(#[doc = $doc])+
            ///
            /// Elementwise with broadcasting and PyTorch's promotion; `other` is a tensor or a number.
            #[track_caller]
            pub fn $name(&self, other: impl Into<Operand>) -> Tensor {
                binary(BinaryOp::$v, Operand::Tensor(self.clone()), other.into())
            })*
        }

        pub(crate) fn binary_vjp(op: BinaryOp, a: &Tensor, b: &Tensor, y: &Tensor, g: &Tensor, needs: &[bool]) -> Grads {
            match op {
                $(BinaryOp::$v => {
                    $(let ($ga, $gb, $gy, $gg) = (a, b, y, g);
                    let _ = ($ga, $gb, $gy, $gg);
                    return smallvec![
                        if needs[0] { Some($da) } else { None },
                        if needs[1] { Some($db) } else { None },
                    ];)?
                    #[allow(unreachable_code)]
                    { let _ = (a, b, y, g, needs); smallvec![None, None] }
                })*
            }
        }
    };
}
binary_table!(binary_methods);

/// The float type an operation on `d` computes in.
pub(crate) fn float_of(d: DType) -> DType {
    if d.is_float() { d } else { DType::F32 }
}

#[track_caller]
pub(crate) fn unary(op: UnaryOp, x: &Tensor) -> Tensor {
    let (input, out) = match op.kind() {
        Kind::Num if x.dtype() == DType::Bool => {
            return Tensor::poison(
                Error::new(ErrorKind::DType, op.name(), "not defined for bool")
                    .operand(x.shape(), x.dtype())
                    .help("cast it first: .cast(DType::F32), or use logical_not"),
                x.shape(),
                x.dtype(),
            );
        }
        Kind::Float => (float_of(x.dtype()), float_of(x.dtype())),
        Kind::Test => (float_of(x.dtype()), DType::Bool),
        _ => (x.dtype(), x.dtype()),
    };
    Tensor::make(Op::Unary(op), smallvec![x.cast(input)], x.shape().clone(), out)
}

#[track_caller]
pub(crate) fn binary(op: BinaryOp, a: Operand, b: Operand) -> Tensor {
    match (a, b) {
        (Operand::Tensor(a), Operand::Tensor(b)) if a.dtype() == b.dtype() && a.shape() == b.shape() => {
            // Most operations: nothing to promote or to broadcast.
            let dtype = match op.kind() {
                Kind::Float | Kind::Num if a.dtype().is_float() => a.dtype(),
                Kind::Compare => DType::Bool,
                _ => return binary_of(op, &Operand::Tensor(a), &Operand::Tensor(b)),
            };
            let shape = a.shape().clone();
            Tensor::make(Op::Binary(op), smallvec![a, b], shape, dtype)
        }
        (a, b) => binary_of(op, &a, &b),
    }
}

#[track_caller]
fn binary_of(op: BinaryOp, a: &Operand, b: &Operand) -> Tensor {
    let common = result_type(&[a, b]);
    // A comparison with a number that the integer dtype cannot hold is decided in i64.
    let common = match (op.kind(), misfit(a, common).or(misfit(b, common))) {
        (Kind::Compare, Some(_)) => DType::I64,
        // Only whether it is 0 counts.
        (Kind::Logic, _) => common,
        // Negative numbers wrap in u8 arithmetic, as in PyTorch: the result is the same modulo 256.
        (_, Some(s)) if !(common == DType::U8 && (-255..0).contains(&s.to_i64())) => {
            let e = Error::new(ErrorKind::Value, op.name(), format!("{s} does not fit {common}")).help(
                format!("cast the tensor to a wider dtype first: .cast(DType::I64) instead of {common}"),
            );
            return failed(e, a, b, common);
        }
        _ => common,
    };
    let (input, out) = match op.kind() {
        Kind::Float => (float_of(common), float_of(common)),
        Kind::Compare => (common, DType::Bool),
        Kind::Logic => (DType::Bool, DType::Bool),
        _ => (common, common),
    };
    if let Some(problem) = dtype_problem(op, common) {
        let help = "cast the operands first, as in .cast(DType::I64)";
        return failed(Error::new(ErrorKind::DType, op.name(), problem).help(help), a, b, out);
    }
    let Some(shape) = broadcast(&[a, b]) else {
        return failed(
            Error::new(ErrorKind::Shape, op.name(), "shapes do not broadcast")
                .help("sizes must be equal or 1, counted from the last dimension"),
            a,
            b,
            out,
        );
    };
    let inputs = smallvec![adapt(a, &shape, input), adapt(b, &shape, input)];
    Tensor::make(Op::Binary(op), inputs, shape, out)
}

/// A whole number that would wrap in this integer dtype.
fn misfit(o: &Operand, dtype: DType) -> Option<Scalar> {
    match o {
        Operand::Scalar(s @ Scalar::I(v)) if dtype.is_int() && s.cast(dtype) != Scalar::I(*v) => Some(*s),
        _ => None,
    }
}

fn dtype_problem(op: BinaryOp, common: DType) -> Option<String> {
    match op.kind() {
        Kind::Bit if common.is_float() => {
            Some(format!("bits of {common} have no meaning; integers or bools only"))
        }
        _ if op == BinaryOp::Sub && common == DType::Bool => {
            Some("not defined for two bools; use logical_xor".to_owned())
        }
        _ => None,
    }
}

#[track_caller]
fn failed(mut e: Error, a: &Operand, b: &Operand, dtype: DType) -> Tensor {
    let mut shape = Shape::default();
    for o in [a, b] {
        match o {
            Operand::Tensor(t) if t.is_poisoned() => return t.clone(),
            Operand::Tensor(t) => {
                e = e.operand(t.shape(), t.dtype());
                if t.numel() > shape.numel() || shape.rank() == 0 {
                    shape = t.shape().clone();
                }
            }
            Operand::Scalar(s) => e = e.operand(&Shape::default(), s.dtype()),
        }
    }
    Tensor::poison(e, &shape, dtype)
}

pub(crate) fn broadcast(operands: &[&Operand]) -> Option<Shape> {
    let mut shape = Shape::default();
    for o in operands {
        if let Operand::Tensor(t) = o {
            shape = shape.broadcast(t.shape())?;
        }
    }
    Some(shape)
}

/// The operand as a tensor of that shape and dtype.
#[track_caller]
pub(crate) fn adapt(o: &Operand, shape: &Shape, dtype: DType) -> Tensor {
    match o {
        Operand::Tensor(t) => t.cast(dtype).expand_to(shape),
        Operand::Scalar(s) => Tensor::fill(shape.clone(), s.cast(dtype), dtype),
    }
}

impl Tensor {
    /// The values converted to another dtype: floats to integers toward zero, anything to bool as
    /// "is not 0". The same dtype gives the same tensor.
    #[track_caller]
    pub fn cast(&self, dtype: DType) -> Tensor {
        if dtype == self.dtype() {
            return self.clone();
        }
        Tensor::make(Op::Cast, smallvec![self.clone()], self.shape().clone(), dtype)
    }

    /// The values converted to another tensor's dtype.
    #[track_caller]
    pub fn cast_like(&self, other: &Tensor) -> Tensor {
        self.cast(other.dtype())
    }

    /// Where `self` (bool) holds, the element of `a`, else of `b`; all three broadcast.
    ///
    /// ```
    /// use hadal_tensor::Tensor;
    /// let x = Tensor::from_slice(&[-1.0f32, 2.0]);
    /// assert_eq!(x.gt(0.0).where_(&x, 0.0).to_vec::<f32>().unwrap(), [0.0, 2.0]);
    /// ```
    #[track_caller]
    pub fn where_(&self, a: impl Into<Operand>, b: impl Into<Operand>) -> Tensor {
        let (a, b) = (a.into(), b.into());
        let dtype = result_type(&[&a, &b]);
        if self.dtype() != DType::Bool {
            let e = Error::new(ErrorKind::DType, "where", "the condition must be bool")
                .operand(self.shape(), self.dtype())
                .help("compare it: .ne(0), .gt(0.0), …");
            return self.fail(e, dtype);
        }
        let cond = Operand::Tensor(self.clone());
        let Some(shape) = broadcast(&[&cond, &a, &b]) else {
            let e = Error::new(ErrorKind::Shape, "where", "shapes do not broadcast")
                .operand(self.shape(), self.dtype())
                .help("sizes must be equal or 1, counted from the last dimension");
            return failed(e, &a, &b, dtype);
        };
        let inputs = smallvec![self.expand_to(&shape), adapt(&a, &shape, dtype), adapt(&b, &shape, dtype)];
        Tensor::make(Op::Where, inputs, shape, dtype)
    }

    /// The tensor where `cond` holds, 0 elsewhere (even where the tensor is NaN or infinite).
    #[track_caller]
    pub(crate) fn zero_unless(&self, cond: &Tensor) -> Tensor {
        cond.where_(self, Scalar::F(0.0))
    }

    /// Elements where `mask` (bool) holds are replaced by `value`.
    #[track_caller]
    pub fn masked_fill(&self, mask: &Tensor, value: impl Into<Scalar>) -> Tensor {
        let value: Scalar = value.into();
        if mask.dtype() != DType::Bool {
            let e = Error::new(ErrorKind::DType, "masked_fill", "the mask must be bool")
                .operand(self.shape(), self.dtype())
                .operand(mask.shape(), mask.dtype())
                .help("compare it: .ne(0), .gt(0.0), …");
            return self.fail(e, self.dtype());
        }
        if misfit(&Operand::Scalar(value), self.dtype()).is_some() {
            let e =
                Error::new(ErrorKind::Value, "masked_fill", format!("{value} does not fit {}", self.dtype()))
                    .operand(self.shape(), self.dtype());
            return self.fail(e, self.dtype());
        }
        if mask.shape().broadcast(self.shape()).is_none() {
            let e = Error::new(ErrorKind::Shape, "masked_fill", "shapes do not broadcast")
                .operand(self.shape(), self.dtype())
                .operand(mask.shape(), mask.dtype())
                .help("the mask's sizes must be the tensor's or 1, counted from the last dimension");
            return if mask.is_poisoned() { mask.clone() } else { self.fail(e, self.dtype()) };
        }
        mask.where_(Operand::Scalar(value.cast(self.dtype())), self).cast(self.dtype())
    }

    /// `true` where the element is 0 (false).
    #[track_caller]
    pub fn logical_not(&self) -> Tensor {
        self.cast(DType::Bool).logical_xor(true)
    }

    /// All bits turned over; of bools the negation.
    #[track_caller]
    pub fn bitwise_not(&self) -> Tensor {
        match self.dtype() {
            DType::Bool => self.logical_not(),
            DType::U8 => self.bitwise_xor(255),
            _ => self.bitwise_xor(-1),
        }
    }
}

pub(crate) fn where_vjp(x: &Inputs, g: &Tensor) -> Grads {
    let cond = &x[0];
    smallvec![None, Some(cond.where_(g, 0.0)), Some(cond.where_(0.0, g))]
}
