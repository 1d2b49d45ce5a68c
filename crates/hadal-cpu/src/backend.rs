//! The CPU as a device: which kernel runs which operation.

use crate::args::internal;
use crate::glue::Pass;
use crate::{create, glue, index, movement, random, reduce_arg, scan, sort};
use hadal_core::Result;
use hadal_core::ops::{Arg, Backend, Op, Out, Program};

/// The CPU backend. It has no state of its own; threads and memory are the process's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cpu;

impl Backend for Cpu {
    fn run_program(&self, program: &Program, inputs: &[Arg<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        crate::program::run(program, inputs, outputs)
    }

    fn run_op(&self, op: &Op, inputs: &[Arg<'_>], output: Out<'_>) -> Result<()> {
        let name = op.name();
        match op {
            Op::Fill(value) => create::fill(name, *value, output),
            Op::Arange(start, step) => create::arange(name, *start, *step, output),
            Op::Random(dist, key) => random::random(name, *dist, *key, output),

            Op::ArgReduce { max, axis } => reduce_arg::arg_reduce(name, *max, *axis, inputs, output),
            Op::CumSum { axis, reverse } => scan::cumsum(name, *axis, *reverse, inputs, output),
            Op::ArgSort { axis, descending } => sort::argsort(name, *axis, *descending, inputs, output),

            Op::Copy => movement::copy(name, inputs, output),
            Op::Cat(axis) => movement::cat(name, *axis, inputs, output),
            Op::Place { starts, steps, fill } => movement::place(name, starts, steps, *fill, inputs, output),
            Op::Fold { axis, size, step } => movement::fold(name, *axis, *size, *step, inputs, output),

            Op::Gather(axis) => index::gather(name, *axis, inputs, output),
            Op::Scatter { axis, add } => index::scatter(name, *axis, *add, inputs, output),
            Op::IndexSelect(axis) => index::index_select(name, *axis, inputs, output),
            Op::IndexAdd(axis) => index::index_add(name, *axis, inputs, output),

            Op::Matmul => glue::matmul(name, inputs, output),
            Op::Conv(g) => glue::conv(name, Pass::Forward, g, inputs, output),
            Op::ConvInputGrad(g) => glue::conv(name, Pass::InputGrad, g, inputs, output),
            Op::ConvWeightGrad(g) => glue::conv(name, Pass::WeightGrad, g, inputs, output),
            Op::MaxPoolIndex(g) => glue::max_pool_index(name, g, inputs, output),
            Op::SumPool(g) => glue::sum_pool(name, false, g, inputs, output),
            Op::SumPoolGrad(g) => glue::sum_pool(name, true, g, inputs, output),

            Op::Poison(error) => Err(error.clone()),
            Op::Leaf
            | Op::Unary(_)
            | Op::Binary(_)
            | Op::Where
            | Op::Cast
            | Op::Reduce(..)
            | Op::Reshape
            | Op::Permute(_)
            | Op::Expand
            | Op::Slice { .. }
            | Op::Unfold { .. } => {
                Err(internal(name, "this operation runs in programs or changes layouts; it has no kernel"))
            }
        }
    }
}
