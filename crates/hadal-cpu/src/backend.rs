//! The CPU as a device: which kernel runs which operation. Each file of kernels says so itself.

use crate::args::internal;
use crate::{attention, create, glue, index, movement, random, recurrent, reduce_arg, rows, scan, sort};
use hadal_core::ops::{Arg, Backend, Op, Out, Packed, Prepared, Program};
use hadal_core::{Result, Shape};
use std::ops::ControlFlow;

/// What became of an operation: `Break` with how it ended, or `Continue` with the output handed back
/// by a file that has no kernel for it.
pub(crate) type Ran<'o> = ControlFlow<Result<()>, Out<'o>>;

/// The CPU backend. It has no state of its own; threads and memory are the process's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cpu;

impl Backend for Cpu {
    fn prepare(&self, program: Program) -> Box<dyn Prepared> {
        Box::new(crate::program::Prepared::new(program))
    }

    fn run_op(&self, op: &Op, inputs: &[Arg<'_>], output: Out<'_>) -> Result<()> {
        match run(op, inputs, output) {
            ControlFlow::Break(done) => done,
            ControlFlow::Continue(_) => match op {
                Op::Poison(error) => Err(error.clone()),
                _ => Err(internal(
                    op.name(),
                    "this operation runs in programs or changes layouts; it has no kernel",
                )),
            },
        }
    }

    fn pack(&self, op: &Op, first: &Shape, weight: &Arg<'_>) -> Option<Packed> {
        glue::pack(op, first, weight)
    }

    fn run_packed(&self, op: &Op, packed: &Packed, inputs: &[Arg<'_>], output: Out<'_>) -> Result<()> {
        glue::run_packed(op, packed, inputs, output)
    }
}

fn run<'o>(op: &Op, inputs: &[Arg<'_>], out: Out<'o>) -> Ran<'o> {
    let out = glue::run_op(op, inputs, out)?;
    let out = attention::run_op(op, inputs, out)?;
    let out = create::run_op(op, inputs, out)?;
    let out = movement::run_op(op, inputs, out)?;
    let out = index::run_op(op, inputs, out)?;
    let out = random::run_op(op, inputs, out)?;
    let out = reduce_arg::run_op(op, inputs, out)?;
    let out = recurrent::run_op(op, inputs, out)?;
    let out = rows::run_op(op, inputs, out)?;
    let out = scan::run_op(op, inputs, out)?;
    sort::run_op(op, inputs, out)
}
