//! Recurrent sequences: all steps of a layer in one direction as one operation, forward and backward.
//!
//! The input's projection for all steps is one matrix product outside, and so are the weights' gradients.
//! What is left depends on the step before: a product with the recurrent weight, packed once, and the
//! formulas of the gates, which are applied to the product while it is in the first-level cache.

mod backward;
mod cells;
mod drive;
mod forward;
mod panels;

use crate::args::{dense, indices, input, internal, output, want_shape};
use crate::backend::Ran;
use crate::chunks::{for_chunks, grain};
use crate::gemm::real::Real;
use hadal_core::ops::{Arg, Op, Out, Recurrence};
use hadal_core::{DType, Error, ErrorKind, Result, Storage};
use std::ops::ControlFlow::{Break, Continue};

/// A float with products and elementary functions: f32 or f64. Halves are computed in f32 above.
pub(crate) trait Number: Real + hadal_core::math::Real + Storage {}
impl Number for f32 {}
impl Number for f64 {}

/// The operations of this file.
pub fn run_op<'o>(op: &Op, inputs: &[Arg<'_>], out: Out<'o>) -> Ran<'o> {
    let (r, run): (_, [Run; 2]) = match op {
        Op::Recurrent(r) => (r, [forward_op::<f32>, forward_op::<f64>]),
        Op::RecurrentOutput(r) => (r, [output_op::<f32>, output_op::<f64>]),
        Op::RecurrentGrad(r) => (r, [grad_op::<f32>, grad_op::<f64>]),
        _ => return Continue(out),
    };
    let name = op.name();
    Break(match out.dtype {
        DType::F32 => run[0](name, r, inputs, out),
        DType::F64 => run[1](name, r, inputs, out),
        other => Err(internal(name, format!("dtype {other} instead of f32 or f64"))),
    })
}

type Run = fn(&'static str, &Recurrence, &[Arg<'_>], Out<'_>) -> Result<()>;

/// Inputs in row-major order, each checked for its shape.
struct Read<'o, 'a> {
    op: &'static str,
    inputs: &'o [Arg<'a>],
    dtype: DType,
}

impl<'a> Read<'_, 'a> {
    fn get(&self, i: usize, shape: &[usize]) -> Result<crate::args::Dense<'a>> {
        let arg = input(self.op, self.inputs, i)?;
        want_shape(self.op, "an input", &arg.layout.shape, shape)?;
        if arg.dtype != self.dtype {
            return Err(internal(self.op, format!("input {i} is {} instead of {}", arg.dtype, self.dtype)));
        }
        dense(self.op, arg)
    }
    fn optional(&self, i: Option<usize>, shape: &[usize]) -> Result<Option<crate::args::Dense<'a>>> {
        i.map(|i| self.get(i, shape)).transpose()
    }
    /// The lengths, each from 0 to the number of steps.
    fn lengths(&self, i: Option<usize>, r: &Recurrence) -> Result<Option<Vec<i64>>> {
        let Some(i) = i else { return Ok(None) };
        let arg = input(self.op, self.inputs, i)?;
        want_shape(self.op, "the lengths", &arg.layout.shape, &[r.batch])?;
        let values = indices(self.op, arg)?;
        let (first, step) = (arg.layout.offset as isize, arg.layout.strides[0]);
        let at = |row: usize| values[(first + row as isize * step) as usize];
        let lengths: Vec<i64> = (0..r.batch).map(at).collect();
        match lengths.iter().position(|&l| !(0..=r.steps as i64).contains(&l)) {
            None => Ok(Some(lengths)),
            Some(row) => {
                let message = format!(
                    "sequence {row} has length {}, the longest possible is {}",
                    lengths[row], r.steps
                );
                Err(Error::new(ErrorKind::Value, self.op, message)
                    .help("lengths are from 0 to the number of time steps, one for each sequence"))
            }
        }
    }
}

/// The sizes fit each other; `Recurrence` comes from another crate.
fn check(op: &'static str, r: &Recurrence) -> Result<()> {
    let state = if r.projected { r.cell.has_cell() } else { r.state == r.hidden };
    if state && r.steps > 0 && r.hidden > 0 && r.state > 0 {
        return Ok(());
    }
    Err(internal(op, format!("{r:?}")))
}

fn forward_op<T: Number>(
    op: &'static str,
    r: &Recurrence,
    inputs: &[Arg<'_>],
    mut out: Out<'_>,
) -> Result<()> {
    check(op, r)?;
    want_shape(op, "the output", out.shape, &[r.len()])?;
    let read = Read { op, inputs, dtype: out.dtype };
    let (n, h, p, g) = (r.batch, r.hidden, r.state, r.cell.gates());
    let more = r.inputs();
    let x = read.get(0, &[r.steps, n, g * h])?;
    let weight = read.get(1, &[g * h, p])?;
    let bias = read.optional(more.bias, &[r.cell.sums() * h])?;
    let h0 = read.optional(more.h0, &[n, p])?;
    let c0 = read.optional(more.c0, &[n, h])?;
    let projection = read.optional(more.projection, &[p, h])?;
    let lengths = read.lengths(more.lengths, r)?;
    let inputs = forward::Inputs::<T> {
        x: &x.slice()[..r.steps * n * g * h],
        weight: &weight.slice()[..g * h * p],
        bias: bias.as_ref().map(|b| &b.slice()[..r.cell.sums() * h]),
        h0: h0.as_ref().map(|v| &v.slice()[..n * p]),
        c0: c0.as_ref().map(|v| &v.slice()[..n * h]),
        projection: projection.as_ref().map(|v| &v.slice()[..p * h]),
        lengths: lengths.as_deref(),
    };
    forward::run(r, &inputs, output(op, &mut out)?);
    Ok(())
}

fn grad_op<T: Number>(op: &'static str, r: &Recurrence, inputs: &[Arg<'_>], mut out: Out<'_>) -> Result<()> {
    check(op, r)?;
    want_shape(op, "the output", out.shape, &[r.grad_len()])?;
    let read = Read { op, inputs, dtype: out.dtype };
    let (h, p, g) = (r.hidden, r.state, r.cell.gates());
    let more = r.grad_inputs();
    if !r.keep {
        return Err(internal(op, "nothing was kept for the backward pass"));
    }
    let kept = read.get(0, &[r.len()])?;
    let cotangent = read.get(1, &[r.visible_len()])?;
    let weight = read.get(2, &[g * h, p])?;
    let projection = read.optional(more.projection, &[p, h])?;
    let lengths = read.lengths(more.lengths, r)?;
    let inputs = backward::Inputs::<T> {
        kept: &kept.slice()[..r.len()],
        cotangent: &cotangent.slice()[..r.visible_len()],
        weight: &weight.slice()[..g * h * p],
        projection: projection.as_ref().map(|v| &v.slice()[..p * h]),
        lengths: lengths.as_deref(),
    };
    backward::run(r, &inputs, output(op, &mut out)?);
    Ok(())
}

/// Copies what a user sees out of what was kept.
fn output_op<T: Number>(
    op: &'static str,
    r: &Recurrence,
    inputs: &[Arg<'_>],
    mut out: Out<'_>,
) -> Result<()> {
    want_shape(op, "the output", out.shape, &[r.visible_len()])?;
    let kept = Read { op, inputs, dtype: out.dtype }.get(0, &[r.len()])?;
    let (from, to) = (&kept.slice::<T>()[..r.len()], output::<T>(op, &mut out)?);
    let (states, cell) = to.split_at_mut(r.outputs().len());
    let source = &from[r.outputs()];
    for_chunks(states, grain::<T>(), |first, part| part.copy_from_slice(&source[first..first + part.len()]));
    cell.copy_from_slice(&from[r.last_cell()]);
    Ok(())
}
