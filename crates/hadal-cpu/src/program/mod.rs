//! Fused pointwise programs: one pass over memory, block by block.
//!
//! The iteration space is walked in blocks of consecutive elements small enough that all registers
//! stay in the L1 cache. On each block the instructions run one after the other, each as one call of
//! a vectorised block function; what is reduced is added to accumulators as it is made, and only
//! what leaves the program is written to memory.
//!
//! | file | idea |
//! |---|---|
//! | `check` | what unsafe code relies on, checked once per run |
//! | `plan` | program to steps: dead code, aliases, registers |
//! | `load`, `convert` | any layout and dtype into a block, and back |
//! | `blocks` | the tables' formulas as vector loops, for every instruction set |
//! | `compound` | several instructions as one block function |
//! | `exec` | steps on blocks |
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
mod isa;
mod load;
mod plan;
mod reduce;
mod space;
#[cfg(target_arch = "x86_64")]
mod x86;

use crate::args::temporary;
use crate::scratch::Scratch;
use crate::strided::copy_into;
use crate::threads::parallel_for;
use blocks::BLOCK;
use exec::Worker;
use hadal_core::ops::{Arg, Data, Out, Program};
use hadal_core::smallvec::SmallVec;
use hadal_core::{Buffer, DType, Layout, Result, dispatch_storage};
use plan::Source;

/// Below this many elements times steps a program runs on the calling thread: waking another costs
/// more than it saves.
const SERIAL: usize = 32 * 1024;
/// Elements of a task of a program without reductions.
const TASK: usize = 64 * BLOCK;

/// The memory of one output.
#[derive(Clone, Copy)]
struct Target {
    to: *mut u8,
    dtype: DType,
    len: usize,
}

/// Runs a program on its inputs, writing its outputs.
///
/// Results are bit-identical for any number of threads, and for the same instructions split over
/// several programs.
///
/// # Errors
/// Of kind `State` when program, inputs and outputs do not fit together, which is a bug of the
/// planner; of kind `Value` for the maximum of nothing.
pub fn run(program: &Program, inputs: &[Arg<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
    let numel = check::check(program, inputs, outputs)?;
    let level = crate::simd::level();
    let copies = row_major_copies(inputs)?;
    let inputs: SmallVec<[Arg<'_>; 8]> = inputs
        .iter()
        .enumerate()
        .map(|(i, &arg)| match copies.iter().find(|c| c.input == i) {
            Some(c) => Arg { data: Data::Buffer(&c.data), layout: &c.layout, ..arg },
            None => arg,
        })
        .collect();
    let targets: SmallVec<[Target; 4]> = outputs
        .iter_mut()
        .map(|o| Target { to: o.data.bytes_mut().as_mut_ptr(), dtype: o.dtype, len: o.shape.numel() })
        .collect();
    let memory: SmallVec<[*mut u8; 4]> = targets.iter().map(|t| t.to).collect();
    let sources: SmallVec<[Source; 8]> = inputs
        .iter()
        .map(|arg| match arg.data {
            Data::Buffer(b) => {
                let bytes = b.bytes().as_ptr_range();
                Source { start: bytes.start, end: bytes.end, in_place: None }
            }
            // Read and written through the one pointer taken from the exclusive borrow above.
            Data::InPlace(n) => Source { start: memory[n], end: memory[n], in_place: Some(n) },
        })
        .collect();
    // SAFETY: `check` has found every layout inside its buffer and every output large enough; the
    // borrows of the arguments last until this function returns.
    let Some(plan) = (unsafe { plan::build(level, program, &inputs, &sources, &memory) }) else {
        return Err(crate::args::internal("program", "an operation does not take its operands' dtype"));
    };
    let serial = numel.saturating_mul(plan.steps.len()) < SERIAL;
    if program.outputs.iter().any(|o| o.reduce.is_some()) {
        // SAFETY: as above.
        return unsafe { reduce::run(level, program, &plan, &targets, numel, serial) };
    }
    if numel == 0 || targets.is_empty() {
        return Ok(());
    }
    let task = |t: usize| {
        let mut registers = Scratch::<u64>::new(plan.scratch / 8);
        // SAFETY: the scratch is what the plan asks for; tasks have disjoint ranges.
        unsafe {
            let mut worker = Worker::new(&plan, registers.slice().as_mut_ptr().cast());
            worker.range(t * TASK, (t * TASK + TASK).min(numel));
            worker.done();
        }
    };
    parallel(numel.div_ceil(TASK), serial, &task);
    Ok(())
}

/// An input in row-major order.
struct RowMajor {
    input: usize,
    data: Buffer,
    layout: Layout,
}

/// Copies of the inputs that are better copied first.
fn row_major_copies(inputs: &[Arg<'_>]) -> Result<SmallVec<[RowMajor; 1]>> {
    let mut copies = SmallVec::new();
    for (input, arg) in inputs.iter().enumerate() {
        let Data::Buffer(source) = arg.data else { continue };
        if !load::is_transposed(arg.layout) {
            continue;
        }
        let layout = Layout::contiguous(arg.layout.shape.clone());
        let data = dispatch_storage!(arg.dtype, T => {
            let mut data = temporary::<T>("program", layout.shape.numel())?;
            copy_into("program", source.as_slice::<T>(), arg.layout, data.as_mut_slice::<T>(), 0, &layout.strides)?;
            data
        });
        copies.push(RowMajor { input, data, layout });
    }
    Ok(copies)
}

/// `f(0)`, …, `f(tasks - 1)`, on the calling thread alone if `serial`.
fn parallel(tasks: usize, serial: bool, f: &(dyn Fn(usize) + Sync)) {
    if serial { (0..tasks).for_each(f) } else { parallel_for(tasks, f) }
}
