//! Fused pointwise programs: one pass over memory, block by block.
//!
//! The iteration space is walked in blocks of consecutive elements small enough that all registers
//! stay in the L1 cache. On each block the instructions run one after the other, each as one call of
//! a vectorised block function; what is reduced is added to accumulators as it is made, and only
//! what leaves the program is written to memory.
//!
//! | file | idea |
//! |---|---|
//! | `prepared` | a program that is kept: what is worked out once, what in every run |
//! | `check` | what unsafe code relies on, checked once for each set of layouts |
//! | `plan` | program to steps: dead code, aliases, registers |
//! | `load`, `convert` | any layout and dtype into a block, and back |
//! | `blocks` | the tables' formulas as vector loops, for every instruction set |
//! | `compound` | several instructions as one block function |
//! | `joint` | an optimizer's compounds in one loop |
//! | `exec` | steps on blocks |
//! | `pieces`, `steps` | the program as the epilogue of a kernel: any one, the simplest ones |
//! | `space`, `fold`, `reduce` | reductions |
//!
//! A block function computes each element from that element alone, and a reduction is cut up by
//! shape alone. So results do not depend on what is fused with what, on the number of threads, or on
//! the instruction set.

mod blocks;
mod check;
mod compound;
mod convert;
mod exec;
mod fold;
pub(crate) mod isa;
mod joint;
mod load;
mod pieces;
mod plan;
mod prepared;
mod reduce;
mod space;
mod steps;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use pieces::Pieces;
pub use prepared::Prepared;
pub(crate) use steps::Steps;

use crate::threads::parallel_for;
use blocks::BLOCK;
use hadal_core::ops::{Arg, Out, Prepared as _, Program};
use hadal_core::{Result, Scalar};

/// Below this many elements times steps a program runs on the calling thread: waking another costs
/// more than it saves.
const SERIAL: usize = 32 * 1024;
/// Elements of a task of a program without reductions.
const TASK: usize = 64 * BLOCK;

/// Runs a program on its inputs, writing its outputs.
///
/// Results are bit-identical for any number of threads, and for the same instructions split over
/// several programs. To run one often, keep it [`Prepared`].
///
/// # Errors
/// Of kind `State` when program, inputs and outputs do not fit together, which is a bug of the
/// planner; of kind `Value` for the maximum of nothing.
pub fn run(program: &Program, inputs: &[Arg<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
    let constants: Vec<Scalar> = program.constants().collect();
    Prepared::new(program.clone()).run(&constants, inputs, outputs)
}

/// `f(0)`, …, `f(tasks - 1)`, on the calling thread alone if `serial`.
fn parallel(tasks: usize, serial: bool, f: &(dyn Fn(usize) + Sync)) {
    if serial { (0..tasks).for_each(f) } else { parallel_for(tasks, f) }
}
