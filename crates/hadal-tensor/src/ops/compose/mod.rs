//! Compositions of the primitives, under PyTorch's names. Gradients follow from the primitives'; where
//! a formula has a kink or a branch that overflows, it is written so that the gradient comes out as
//! PyTorch's.
//!
//! Halves are computed in f32 inside and rounded once at the end, as PyTorch does; integers and bools
//! count as f32.

mod activation;
pub(crate) mod attention;
pub(crate) mod normalize;
mod numeric;
pub(crate) mod recurrent;
mod softmax;

use super::pointwise::float_of;
use crate::Tensor;
use crate::scope::composed;
use hadal_core::{DType, Error, ErrorKind, Scalar, Shape};

/// The first poisoned one: its error is the one to pass on.
pub(crate) fn first_bad(tensors: &[&Tensor]) -> Option<Tensor> {
    tensors.iter().find(|t| t.is_poisoned()).map(|t| (*t).clone())
}

/// A poisoned tensor for a call that cannot be right, or the poison of an operand.
#[track_caller]
pub(crate) fn fail(
    op: &'static str,
    kind: ErrorKind,
    message: impl Into<String>,
    operands: &[&Tensor],
    help: &str,
) -> Tensor {
    if let Some(bad) = first_bad(operands) {
        return bad;
    }
    let mut e = Error::new(kind, op, message);
    for t in operands {
        e = e.operand(t.shape(), t.dtype());
    }
    if !help.is_empty() {
        e = e.help(help);
    }
    let (shape, dtype) =
        operands.first().map_or((Shape::default(), DType::F32), |t| (t.shape().clone(), t.dtype()));
    Tensor::poison(e, &shape, dtype)
}

/// 0 (false) in the category of a dtype, so that it changes no dtype.
pub(crate) fn zero(dtype: DType) -> Scalar {
    Scalar::I(0).cast(dtype)
}

/// `f` of the tensor in the dtype it is computed in, the result rounded back to the tensor's float
/// dtype.
#[track_caller]
fn in_float(x: &Tensor, f: impl FnOnce(&Tensor) -> Tensor) -> Tensor {
    if x.is_poisoned() {
        return x.clone();
    }
    let dtype = float_of(x.dtype());
    composed(|| f(&x.cast(dtype.compute())).cast(dtype))
}

/// The same for several tensors, in the dtype of the first.
#[track_caller]
pub(crate) fn in_float_all<const N: usize>(
    xs: [&Tensor; N],
    f: impl FnOnce([Tensor; N]) -> Tensor,
) -> Tensor {
    if let Some(bad) = first_bad(&xs) {
        return bad;
    }
    let dtype = xs.iter().map(|t| float_of(t.dtype())).reduce(DType::promote).unwrap_or(DType::F32);
    composed(|| f(xs.map(|t| t.cast(dtype.compute()))).cast(dtype))
}
