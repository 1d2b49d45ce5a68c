//! A program that is kept. Checks, steps and the walk of a reduction follow from the program and from the
//! layouts of its inputs, and are made in the first run; a run that finds the same layouts again only binds
//! memory and constants.

use super::exec::{Memory, Registers, Worker};
use super::pieces::Pieces;
use super::plan::{self, Given, Plan};
use super::reduce::{self, Reduction};
use super::steps::Steps;
use super::{SERIAL, TASK, check, load, parallel};
use crate::Cpu;
use crate::args::{internal, temporary};
use crate::glue::{self, Tail};
use crate::scratch::Scratch;
use crate::simd::{Level, level};
use crate::strided::copy_into;
use hadal_core::ops::{Arg, Backend, Data, Kernel, Op, Out, Program};
use hadal_core::smallvec::SmallVec;
use hadal_core::{Buffer, DType, Result, Scalar, Shape, dispatch_storage};

/// A program, and what was worked out for the layouts it last ran on.
pub struct Prepared {
    program: Program,
    ready: Option<Ready>,
}

struct Ready {
    level: Level,
    inputs: SmallVec<[Input; 4]>,
    outputs: SmallVec<[(Shape, DType); 2]>,
    /// Elements of the iteration space.
    numel: usize,
    plan: Plan,
    reduction: Option<Reduction>,
    /// Too little work for a second thread.
    serial: bool,
}

/// An input that was checked.
struct Input {
    given: Given,
    /// Lowest and highest place it reads, from its first element.
    reach: (isize, isize),
    /// It is brought into row-major order before each run.
    copied: bool,
}

impl Input {
    /// Whether an input with this offset stays inside a buffer of `room` elements.
    fn stays_inside(&self, offset: usize, room: usize, empty: bool) -> bool {
        let inside = |by: isize| offset.checked_add_signed(by).is_some_and(|at| at < room);
        if empty { offset <= room } else { inside(self.reach.0) && inside(self.reach.1) }
    }
}

impl Ready {
    /// Checks everything and works out what can be known before memory is.
    fn new(level: Level, program: &Program, inputs: &[Arg<'_>], outputs: &[Out<'_>]) -> Result<Ready> {
        let numel = check::check(program, inputs, outputs)?;
        let inputs: SmallVec<[Input; 4]> = inputs.iter().map(|arg| input(arg, numel == 0)).collect();
        let outputs: SmallVec<[(Shape, DType); 2]> =
            outputs.iter().map(|o| (o.shape.clone(), o.dtype)).collect();
        // What is copied first is read from the copy.
        let read: SmallVec<[Given; 4]> = inputs
            .iter()
            .map(|i| Given {
                strides: if i.copied { program.shape.strides() } else { i.given.strides.clone() },
                ..i.given
            })
            .collect();
        let Some(plan) = plan::build(level, program, &read) else {
            return Err(internal("program", "an operation does not take its operands' dtype"));
        };
        let reduction = Reduction::of(level, program, &plan, &outputs);
        let serial = numel.saturating_mul(plan.steps.len()) < SERIAL;
        Ok(Ready { level, inputs, outputs, numel, plan, reduction, serial })
    }

    /// Whether all that was checked holds for these arguments too. Whoever relies on a check of
    /// [`check::check`] relies on this.
    fn fits(&self, level: Level, program: &Program, inputs: &[Arg<'_>], outputs: &[Out<'_>]) -> bool {
        let output = |(o, (shape, dtype)): (&Out<'_>, &(Shape, DType))| {
            o.dtype == *dtype && o.shape == shape && shape.numel() <= o.data.len() / dtype.size()
        };
        let input = |(arg, i): (&Arg<'_>, &Input)| {
            let bytes = match (arg.data, i.given.in_place) {
                (Data::Buffer(b), None) => b.len(),
                (Data::InPlace(n), Some(m)) if n == m && arg.layout.offset == 0 => outputs[n].data.len(),
                _ => return false,
            };
            arg.dtype == i.given.dtype
                && arg.layout.strides == i.given.strides
                && arg.layout.shape == program.shape
                && i.stays_inside(arg.layout.offset, bytes / arg.dtype.size(), self.numel == 0)
        };
        self.level == level
            && inputs.len() == self.inputs.len()
            && outputs.len() == self.outputs.len()
            && outputs.iter().zip(&self.outputs).all(output)
            && inputs.iter().zip(&self.inputs).all(input)
    }

    /// The memory of a run on these arguments, some of whose inputs were copied. It points to what is
    /// borrowed.
    fn memory(&self, copies: &[(usize, Buffer)], inputs: &[Arg<'_>], outputs: &mut [Out<'_>]) -> Memory {
        let outputs: SmallVec<[*mut u8; 2]> =
            outputs.iter_mut().map(|o| o.data.bytes_mut().as_mut_ptr()).collect();
        let operands = self.plan.operands.iter().map(|op| {
            let number = op.input as usize;
            let (start, end, offset) = match (copies.iter().find(|c| c.0 == number), inputs[number].data) {
                (Some((_, copy)), _) => {
                    let bytes = copy.bytes().as_ptr_range();
                    (bytes.start, bytes.end, 0)
                }
                (None, Data::Buffer(b)) => {
                    let bytes = b.bytes().as_ptr_range();
                    (bytes.start, bytes.end, inputs[number].layout.offset)
                }
                // Read and written through the one pointer taken from the exclusive borrow above.
                (None, Data::InPlace(n)) => (outputs[n].cast_const(), outputs[n].cast_const(), 0),
            };
            // SAFETY: the layout has been checked to lie inside its buffer, whose borrow lasts for as
            // long as the memory is used; a copy holds the program's number of elements.
            unsafe { op.at(start, end, offset) }
        });
        Memory { operands: operands.collect(), outputs }
    }

    fn run(&self, inputs: &[Arg<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        let copies = self.copies(inputs)?;
        let memory = self.memory(&copies, inputs, outputs);
        if let Some(reduction) = &self.reduction {
            // SAFETY: every layout lies inside its buffer and every output is large enough, as has been
            // checked; the borrows of the arguments last until this function returns.
            return unsafe { reduce::run(reduction, &self.plan, &memory, self.serial) };
        }
        if self.numel == 0 || self.outputs.is_empty() {
            return Ok(());
        }
        let task = |t: usize| {
            let mut registers = Scratch::<u64>::new(self.plan.scratch / 8);
            // SAFETY: as above; the scratch is what the plan asks for; tasks have disjoint ranges.
            unsafe {
                let mut regs = Registers::new();
                let scratch = registers.slice().as_mut_ptr().cast();
                let mut worker = Worker::new(&self.plan, &memory, scratch, &mut regs);
                worker.range(t * TASK, (t * TASK + TASK).min(self.numel));
                worker.done();
            }
        };
        parallel(self.numel.div_ceil(TASK), self.serial, &task);
        Ok(())
    }

    /// Row-major copies of the inputs that are better copied first, with their numbers.
    fn copies(&self, inputs: &[Arg<'_>]) -> Result<SmallVec<[(usize, Buffer); 1]>> {
        let mut copies = SmallVec::new();
        for (number, (arg, _)) in inputs.iter().zip(&self.inputs).enumerate().filter(|(_, (_, i))| i.copied) {
            let Data::Buffer(source) = arg.data else { continue };
            let strides = arg.layout.shape.strides();
            let data = dispatch_storage!(arg.dtype, T => {
                let mut data = temporary::<T>("program", self.numel)?;
                copy_into("program", source.as_slice::<T>(), arg.layout, data.as_mut_slice::<T>(), 0, &strides)?;
                data
            });
            copies.push((number, data));
        }
        Ok(copies)
    }
}

fn input(arg: &Arg<'_>, empty: bool) -> Input {
    let in_place = match arg.data {
        Data::Buffer(_) => None,
        Data::InPlace(n) => Some(n),
    };
    let mut reach = (0, 0);
    for (&n, &stride) in arg.layout.shape.iter().zip(&arg.layout.strides).filter(|_| !empty) {
        // No overflow: the layout has been checked to lie inside its buffer.
        let far = (n as isize - 1) * stride;
        if far < 0 { reach.0 += far } else { reach.1 += far }
    }
    let copied = in_place.is_none() && load::is_transposed(arg.layout);
    Input { given: Given { dtype: arg.dtype, strides: arg.layout.strides.clone(), in_place }, reach, copied }
}

/// The program as steps of the kernel's own, if it is no more.
fn steps(kernel: &Kernel<'_>, program: &Program, constants: &[Scalar], inputs: &[Arg<'_>]) -> Option<Steps> {
    let channel = match kernel.op {
        // A reshape may stand between: columns must still be columns.
        Op::Matmul if program.shape.last() == kernel.shape.last() => program.shape.rank().checked_sub(1)?,
        Op::Matmul => return None,
        _ if program.shape == *kernel.shape => 1,
        _ => return None,
    };
    let steps = Steps::of(program, constants, inputs, kernel.dtype, channel)?;
    (steps.scale.is_none() || !matches!(kernel.op, Op::Matmul)).then_some(steps)
}

impl Prepared {
    /// Nothing is worked out before the first run.
    pub fn new(program: Program) -> Prepared {
        Prepared { program, ready: None }
    }

    /// What is worked out for these arguments, with these constants.
    fn ready(&mut self, constants: &[Scalar], inputs: &[Arg<'_>], outputs: &[Out<'_>]) -> Result<&Ready> {
        let level = level();
        let Prepared { program, ready } = self;
        if !ready.as_ref().is_some_and(|r| r.fits(level, program, inputs, outputs)) {
            *ready = None;
        }
        let ready = match ready {
            Some(ready) => ready,
            none => none.insert(Ready::new(level, program, inputs, outputs)?),
        };
        for c in &mut ready.plan.constants {
            match constants.get(c.number) {
                Some(&value) => c.value = value,
                None => return Err(internal("program", format!("constant {} is missing", c.number))),
            }
        }
        Ok(ready)
    }
}

impl hadal_core::ops::Prepared for Prepared {
    fn program(&self) -> &Program {
        &self.program
    }

    fn run(&mut self, constants: &[Scalar], inputs: &[Arg<'_>], outputs: &mut [Out<'_>]) -> Result<()> {
        self.ready(constants, inputs, outputs)?.run(inputs, outputs)
    }

    fn run_behind(
        &mut self,
        kernel: &Kernel<'_>,
        constants: &[Scalar],
        inputs: &[Arg<'_>],
        outputs: &mut [Out<'_>],
    ) -> Result<()> {
        let simple = steps(kernel, &self.program, constants, inputs);
        let ready = self.ready(constants, inputs, outputs)?;
        let apart = |arg: &Arg<'_>| !matches!(arg.data, Data::InPlace(n) if n != kernel.into);
        let takes = ready.reduction.is_none()
            && inputs.iter().all(apart)
            && ready.numel == kernel.shape.numel()
            && ready.outputs.get(kernel.into).is_some_and(|o| o.1.size() == kernel.dtype.size())
            && glue::takes_pieces(kernel);
        if !takes {
            let Some(out) = outputs.get_mut(kernel.into) else {
                return Err(internal(kernel.op.name(), "the output that it is to be computed in is missing"));
            };
            let out = Out { data: &mut *out.data, dtype: kernel.dtype, shape: kernel.shape };
            match kernel.packed {
                Some(packed) => Cpu.run_packed(kernel.op, packed, kernel.inputs, out)?,
                None => Cpu.run_op(kernel.op, kernel.inputs, out)?,
            }
            return ready.run(inputs, outputs);
        }
        let out = Out { data: &mut *outputs[kernel.into].data, dtype: kernel.dtype, shape: kernel.shape };
        if let Some(steps) = &simple {
            return glue::run_behind(kernel, out, Tail::Steps(steps, inputs));
        }
        let copies = ready.copies(inputs)?;
        let memory = ready.memory(&copies, inputs, outputs);
        let pieces = Pieces::new(&ready.plan, memory, kernel.into);
        let out = Out { data: &mut *outputs[kernel.into].data, dtype: kernel.dtype, shape: kernel.shape };
        glue::run_behind(kernel, out, Tail::Pieces(&pieces))
    }
}
