//! Constant and counting tensors.

use crate::args::output;
use crate::backend::Ran;
use crate::chunks::{for_chunks, grain};
use hadal_core::ops::{Arg, Op, Out};
use hadal_core::{Element, Result, Scalar, dispatch_storage};
use std::ops::ControlFlow::{Break, Continue};

/// A scalar as an element, by the rules of a cast. For bool give the scalar cast to bool first.
pub(crate) fn element<T: Element>(value: Scalar) -> T {
    match value {
        Scalar::F(v) => T::from_f64(v),
        Scalar::I(v) => T::from_i64(v),
        Scalar::B(v) => T::from_i64(v as i64),
    }
}

/// The operations of this file.
pub fn run_op<'o>(op: &Op, _: &[Arg<'_>], out: Out<'o>) -> Ran<'o> {
    let name = op.name();
    match op {
        Op::Fill(value) => Break(fill(name, *value, out)),
        Op::Arange(start, step) => Break(arange(name, *start, *step, out)),
        _ => Continue(out),
    }
}

/// Every element `value`, cast to the output's dtype.
fn fill(op: &'static str, value: Scalar, mut out: Out<'_>) -> Result<()> {
    let dtype = out.dtype;
    dispatch_storage!(dtype, T => {
        let v = element::<T>(value.cast(dtype));
        for_chunks(output::<T>(op, &mut out)?, grain::<T>(), |_, part| part.fill(v));
    });
    Ok(())
}

/// `start + i·step` by position.
///
/// Floats are computed in f64 as one product and one sum and then rounded to the dtype (no running
/// sum, so no drift). Integers are exact and wrap; for them start and step are truncated first, as
/// in PyTorch.
fn arange(op: &'static str, start: Scalar, step: Scalar, mut out: Out<'_>) -> Result<()> {
    let dtype = out.dtype;
    dispatch_storage!(dtype, T => {
        let out = output::<T>(op, &mut out)?;
        if dtype.is_float() {
            let (start, step) = (start.to_f64(), step.to_f64());
            for_chunks(out, grain::<T>(), |first, part| {
                for (i, o) in part.iter_mut().enumerate() {
                    *o = T::from_f64(start + (first + i) as f64 * step);
                }
            });
        } else {
            let (start, step) = (start.to_i64(), step.to_i64());
            for_chunks(out, grain::<T>(), |first, part| {
                for (i, o) in part.iter_mut().enumerate() {
                    let v = start.wrapping_add(step.wrapping_mul((first + i) as i64));
                    *o = if dtype == hadal_core::DType::Bool { T::from_i64((v != 0) as i64) } else { T::from_i64(v) };
                }
            });
        }
    });
    Ok(())
}
