//! Runs the steps of a schedule, keeping each buffer exactly as long as somebody needs it.

use super::collect::{Graph, Kind};
use super::profile;
use super::schedule::{Behind, Fused, Place, Schedule, Step, Work};
use crate::backend;
use crate::scope;
use crate::tensor::{Node, Value};
use hadal_core::ops::{Arg, Data, Kernel, Op, Out, Packed};
use hadal_core::smallvec::SmallVec;
use hadal_core::{
    Buffer, DType, Error, ErrorKind, Layout, Result, Scalar, Shape, dispatch_storage, memory_stats,
};
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Instant;

/// The message of an error for a leaf without a value: see [`given_away`].
const GIVEN_AWAY: &str = "the value was given away by an evaluation that failed";

/// Whether an evaluation failed because a leaf's value is gone: an evaluation that ran meanwhile on
/// another thread may have taken it, and may have computed what was wanted.
pub fn is_given_away(e: &Error) -> bool {
    e.kind() == ErrorKind::State && e.message() == GIVEN_AWAY
}

/// The error for a node whose value was handed to an operation that overwrote it.
pub(crate) fn given_away(op: &'static str) -> Error {
    Error::new(ErrorKind::State, op, GIVEN_AWAY).help("keep a handle on the inputs, or build the graph again")
}

/// Computes everything into the schedule's slots; what others may see appears in the graph only with
/// [`publish`].
///
/// With `arena`, buffers come from there and go back there.
pub fn run(graph: &Graph, schedule: &mut Schedule, arena: Option<&Arena>) -> Result<()> {
    let Schedule { places, steps, slots, .. } = schedule;
    let mut exec = Exec { graph, places, slots, arena };
    let (recording, finite) = (profile::recording(), scope::finite_checked());
    for step in steps {
        let recorded = if recording { exec.before(step) } else { None };
        match &mut step.work {
            Work::Constant => exec.constant(step.members[0])?,
            Work::View { from } => exec.view(step.members[0], *from)?,
            Work::Copy { from } => exec.copied(step.members[0], *from)?,
            Work::Kernel { arguments } => exec.kernel(step.members[0], arguments, step.packed.as_ref())?,
            Work::Program(fused) => {
                let last = step.members[step.members.len() - 1];
                exec.program(fused, &step.dying, last)?;
            }
            Work::Behind(behind) => exec.behind(behind, step.packed.as_ref())?,
        }
        for &j in &step.dying {
            // A leaf nobody can reach any more, such as the parameters before an optimizer's step.
            if exec.places[j as usize].given {
                exec.node(j).take_value();
            }
            let freed = exec.slots[j as usize].take();
            if let (Some(arena), Some(buffer)) = (arena, freed) {
                arena.give(buffer);
            }
        }
        if let Some((start, read)) = recorded {
            exec.record(step, start, read);
        }
        if finite {
            for &m in &step.members {
                exec.check_finite(m)?;
            }
        }
    }
    Ok(())
}

/// Gives the nodes that are kept their values, and lets those forget their inputs that may.
pub fn publish(graph: &Graph, schedule: &mut Schedule) {
    let node = |place: &Place| &*graph.nodes[place.source as usize].tensor.0;
    for &i in &schedule.kept {
        let place = &schedule.places[i as usize];
        if let Some(buffer) = schedule.slots[i as usize].take() {
            node(place).set_value(Value { buffer, layout: place.layout.clone() });
        }
    }
    for &i in &schedule.released {
        node(&schedule.places[i as usize]).release();
    }
}

/// Buffers that one plan uses again in each run. Values of one size class share them, so that a run needs no
/// more of them than the first.
#[derive(Default)]
pub struct Arena(RefCell<Vec<Arc<Buffer>>>);

impl Arena {
    fn take(&self, bytes: usize) -> Option<Arc<Buffer>> {
        let mut free = self.0.borrow_mut();
        let capacity = Buffer::capacity_for(bytes);
        let at = free.iter().position(|b| b.capacity() == capacity)?;
        let mut buffer = free.swap_remove(at);
        Arc::get_mut(&mut buffer)?.resize(bytes).then_some(buffer)
    }

    /// Takes a buffer back that nobody else holds.
    pub fn give(&self, mut buffer: Arc<Buffer>) {
        if Arc::get_mut(&mut buffer).is_some() {
            self.0.borrow_mut().push(buffer);
        }
    }
}

struct Exec<'a> {
    graph: &'a Graph,
    places: &'a mut [Place],
    /// The buffer of each node while it is needed.
    slots: &'a mut [Option<Arc<Buffer>>],
    arena: Option<&'a Arena>,
}

impl Exec<'_> {
    fn node(&self, i: u32) -> &Node {
        &self.graph.nodes[self.places[i as usize].source as usize].tensor.0
    }

    /// Puts a leaf's buffer into its slot. What is computed here is there already.
    fn fetch(&mut self, j: u32) -> Result<()> {
        if self.slots[j as usize].is_some() {
            return Ok(());
        }
        let node = self.node(j);
        match node.lend(&self.places[j as usize].layout.strides) {
            Some((buffer, offset)) => {
                self.places[j as usize].layout.offset = offset;
                self.slots[j as usize] = Some(buffer);
                Ok(())
            }
            None => Err(given_away(node.op.name()).at(node.location, node.tag.clone())),
        }
    }

    /// An error of node `i`.
    fn at(&self, i: u32, e: Error) -> Error {
        let node = self.node(i);
        e.at(node.location, node.tag.clone())
    }

    /// Memory for `numel` elements of node `i`.
    fn allocate(&self, i: u32, numel: usize) -> Result<Arc<Buffer>> {
        let dtype = self.places[i as usize].dtype;
        if let Some(buffer) = self.arena.and_then(|a| a.take(numel.saturating_mul(dtype.size()))) {
            return Ok(buffer);
        }
        match Buffer::for_elements(numel, dtype) {
            Some(buffer) => Ok(Arc::new(buffer)),
            None => Err(self.at(i, no_memory(numel, dtype, self.node(i).op.name()))),
        }
    }

    fn input(&self, j: u32, what: &'static str) -> Result<Arg<'_>> {
        match &self.slots[j as usize] {
            Some(buffer) => Ok(arg(&self.places[j as usize], Data::Buffer(buffer))),
            None => Err(Error::new(ErrorKind::State, what, "an input was freed too early")),
        }
    }

    fn constant(&mut self, i: u32) -> Result<()> {
        if self.node(i).has_value() {
            return self.fetch(i);
        }
        let place = &self.places[i as usize];
        let Kind::Const(s) = self.graph.nodes[place.source as usize].kind else { return Ok(()) };
        let mut buffer = self.allocate(i, 1)?;
        if let Some(data) = Arc::get_mut(&mut buffer) {
            write_scalar(data, place.dtype, s);
        }
        self.places[i as usize].layout.offset = 0;
        self.slots[i as usize] = Some(buffer);
        Ok(())
    }

    fn view(&mut self, i: u32, from: u32) -> Result<()> {
        self.fetch(from)?;
        let source = &self.places[from as usize].layout;
        let mut offset = source.offset;
        // Where a slice begins is not part of the schedule.
        if let Op::Slice { starts, .. } = &self.node(i).op
            && !self.places[i as usize].layout.shape.contains(&0)
        {
            let by: isize = starts.iter().zip(&source.strides).map(|(&at, &s)| at as isize * s).sum();
            offset = offset.wrapping_add_signed(by);
        }
        self.places[i as usize].layout.offset = offset;
        self.slots[i as usize] = self.slots[from as usize].clone();
        Ok(())
    }

    fn copied(&mut self, i: u32, from: u32) -> Result<()> {
        self.fetch(from)?;
        let source = &self.places[from as usize];
        let op = self.node(i).op.name();
        let mut buffer = self.allocate(i, source.layout.shape.numel())?;
        let input = self.input(from, op)?;
        if let Some(data) = Arc::get_mut(&mut buffer) {
            let out = Out { data, dtype: source.dtype, shape: &source.layout.shape };
            backend::get().run_op(&Op::Copy, &[input], out).map_err(|e| self.at(i, e))?;
        }
        self.slots[i as usize] = Some(buffer);
        Ok(())
    }

    fn kernel(&mut self, i: u32, arguments: &[u32], packed: Option<&Packed>) -> Result<()> {
        for &j in arguments {
            self.fetch(j)?;
        }
        let op = &self.node(i).op;
        let mut args: SmallVec<[Arg<'_>; 4]> = SmallVec::new();
        for &j in arguments {
            args.push(self.input(j, op.name())?);
        }
        let place = &self.places[i as usize];
        let mut buffer = self.allocate(i, place.layout.shape.numel())?;
        if let Some(data) = Arc::get_mut(&mut buffer) {
            let out = Out { data, dtype: place.dtype, shape: &place.layout.shape };
            match packed {
                Some(packed) => backend::get().run_packed(op, packed, &args, out),
                None => backend::get().run_op(op, &args, out),
            }
            .map_err(|e| self.at(i, e))?;
        }
        drop(args);
        self.slots[i as usize] = Some(buffer);
        Ok(())
    }

    /// Errors are reported at node `last`.
    fn program(&mut self, fused: &mut Fused, dying: &[u32], last: u32) -> Result<()> {
        let inputs = &fused.inputs;
        for &j in inputs {
            self.fetch(j)?;
        }
        // A leaf that dies here is to have one owner.
        for &j in dying {
            if self.places[j as usize].given {
                self.node(j).take_value();
            }
        }
        // An input that dies here and that nobody shares gives its buffer to an output.
        let mut in_place: SmallVec<[Option<usize>; 6]> = SmallVec::from_elem(None, inputs.len());
        let mut buffers: SmallVec<[Arc<Buffer>; 2]> = SmallVec::new();
        for (o, output) in fused.outputs.iter().enumerate() {
            let bytes = output.numel * self.places[output.node as usize].dtype.size();
            let mut found = None;
            for &k in &output.donors {
                let (k, j) = (k as usize, inputs[k as usize] as usize);
                if in_place[k].is_some() || self.places[j].layout.offset != 0 {
                    continue;
                }
                let Some(mut buffer) = self.slots[j].take() else { continue };
                if buffer.len() == bytes && Arc::get_mut(&mut buffer).is_some() {
                    in_place[k] = Some(o);
                    found = Some(buffer);
                    break;
                }
                self.slots[j] = Some(buffer);
            }
            let buffer = match found {
                Some(buffer) => buffer,
                None => self.allocate(output.node, output.numel)?,
            };
            buffers.push(buffer);
        }
        let mut args: SmallVec<[Arg<'_>; 6]> = SmallVec::new();
        for (&j, in_place) in inputs.iter().zip(&in_place) {
            args.push(match in_place {
                Some(o) => arg(&self.places[j as usize], Data::InPlace(*o)),
                None => self.input(j, "program")?,
            });
        }
        let mut outs: SmallVec<[Out<'_>; 2]> = SmallVec::new();
        for (buffer, output) in buffers.iter_mut().zip(&fused.outputs) {
            let place = &self.places[output.node as usize];
            // Always: it is new, or was found to have one owner.
            if let Some(data) = Arc::get_mut(buffer) {
                outs.push(Out { data, dtype: place.dtype, shape: &place.layout.shape });
            }
        }
        let constants = self.constants(fused);
        fused.program.run(&constants, &args, &mut outs).map_err(|e| self.at(last, e))?;
        drop(outs);
        drop(args);
        for (buffer, output) in buffers.into_iter().zip(&fused.outputs) {
            self.slots[output.node as usize] = Some(buffer);
        }
        Ok(())
    }

    /// The values of a program's constants in this graph.
    fn constants(&self, fused: &Fused) -> SmallVec<[Scalar; 8]> {
        let value = |&j: &u32| match self.graph.nodes[self.places[j as usize].source as usize].kind {
            Kind::Const(s) => s,
            _ => Scalar::F(f64::NAN),
        };
        fused.constants.iter().map(value).collect()
    }

    /// A kernel and the program behind it. Errors are reported at the kernel's node.
    fn behind(&mut self, behind: &mut Behind, packed: Option<&Packed>) -> Result<()> {
        let Behind { kernel, ref arguments, read, into, ref mut fused } = *behind;
        for &j in arguments.iter().chain(&fused.inputs) {
            if j != read {
                self.fetch(j)?;
            }
        }
        let (op, place) = (&self.node(kernel).op, &self.places[kernel as usize]);
        let mut kernel_args: SmallVec<[Arg<'_>; 4]> = SmallVec::new();
        for &j in arguments {
            kernel_args.push(self.input(j, op.name())?);
        }
        let mut args: SmallVec<[Arg<'_>; 6]> = SmallVec::new();
        for &j in &fused.inputs {
            args.push(match j == read {
                true => arg(&self.places[j as usize], Data::InPlace(into)),
                false => self.input(j, op.name())?,
            });
        }
        let mut buffers: SmallVec<[Arc<Buffer>; 2]> = SmallVec::new();
        for output in &fused.outputs {
            buffers.push(self.allocate(output.node, output.numel)?);
        }
        let mut outs: SmallVec<[Out<'_>; 2]> = SmallVec::new();
        for (buffer, output) in buffers.iter_mut().zip(&fused.outputs) {
            let place = &self.places[output.node as usize];
            // Always: it is new.
            if let Some(data) = Arc::get_mut(buffer) {
                outs.push(Out { data, dtype: place.dtype, shape: &place.layout.shape });
            }
        }
        let constants = self.constants(fused);
        let (shape, dtype) = (&place.layout.shape, place.dtype);
        let first = Kernel { op, inputs: &kernel_args, packed, into, shape, dtype };
        fused.program.run_behind(&first, &constants, &args, &mut outs).map_err(|e| self.at(kernel, e))?;
        drop(outs);
        drop((args, kernel_args));
        for (buffer, output) in buffers.into_iter().zip(&fused.outputs) {
            self.slots[output.node as usize] = Some(buffer);
        }
        Ok(())
    }

    /// When a step begins and how many bytes it will read; `None` for what moves no memory.
    fn before(&mut self, step: &Step) -> Option<(Instant, u64)> {
        if matches!(step.work, Work::Constant | Work::View { .. } | Work::Copy { .. }) {
            return None;
        }
        let stored = |layout: &Layout| {
            let dims = layout.shape.iter().zip(&layout.strides);
            dims.map(|(&n, &stride)| if stride == 0 { n.min(1) as u64 } else { n as u64 }).product::<u64>()
        };
        let read = step.reads.iter().map(|&j| {
            let place = &self.places[j as usize];
            place.dtype.size() as u64 * stored(&place.layout)
        });
        let read = read.sum();
        Some((Instant::now(), read))
    }

    /// Adds a step, which has just run, to the recording.
    fn record(&self, step: &Step, start: Instant, read: u64) {
        let members = &step.members;
        profile::add(start, |start, time| {
            let (mut flops, mut written) = (0u64, 0);
            for &m in members {
                let planned = &self.graph.nodes[self.places[m as usize].source as usize];
                let node = self.node(m);
                let shapes: SmallVec<[&Shape; 3]> =
                    planned.inputs.iter().map(|j| &self.graph.nodes[*j as usize].tensor.0.shape).collect();
                flops = flops.saturating_add(node.op.flops(&shapes, &node.shape));
                if self.slots[m as usize].is_some() {
                    written += (node.shape.numel() * node.dtype.size()) as u64;
                }
            }
            let names: Vec<&str> =
                members.iter().map(|&m| &self.node(m).op).filter(|op| !op.is_view()).map(Op::name).collect();
            let last = self.node(members[members.len() - 1]);
            // A kernel's epilogue is booked with the kernel.
            let origin = match &step.work {
                Work::Behind(behind) => self.node(behind.kernel),
                _ => last,
            };
            let tag = origin.tag.as_ref();
            profile::Work {
                name: names.join("+"),
                layer: tag.and_then(|t| t.path()).map(str::to_owned),
                layer_type: tag.map(|t| t.layer()),
                phase: origin.phase,
                shape: last.shape.clone(),
                dtype: last.dtype,
                start,
                time,
                flops,
                bytes: read + written,
                memory: memory_stats().live,
            }
        });
    }

    fn check_finite(&self, i: u32) -> Result<()> {
        let node = self.node(i);
        let Some(buffer) = &self.slots[i as usize] else { return Ok(()) };
        if !node.dtype.is_float() || matches!(node.op, Op::Fill(_)) || node.op.is_view() {
            return Ok(());
        }
        let v = Value { buffer: buffer.clone(), layout: self.places[i as usize].layout.clone() };
        let dense = copy(node.op.name(), &v, node.dtype)?;
        let bad = match node.dtype {
            DType::F32 => dense.buffer.as_slice::<f32>().iter().position(|x| !x.is_finite()),
            DType::F64 => dense.buffer.as_slice::<f64>().iter().position(|x| !x.is_finite()),
            DType::F16 => dense.buffer.as_slice::<half::f16>().iter().position(|x| !x.is_finite()),
            _ => dense.buffer.as_slice::<half::bf16>().iter().position(|x| !x.is_finite()),
        };
        match bad {
            None => Ok(()),
            Some(at) => Err(Error::new(
                ErrorKind::Numeric,
                node.op.name(),
                format!("the first result that is NaN or infinite (element {at} in row-major order)"),
            )
            .result(&node.shape, node.dtype)
            .at(node.location, node.tag.clone())),
        }
    }
}

/// A copy in row-major order, for operation `op`.
pub(crate) fn copy(op: &'static str, v: &Value, dtype: DType) -> Result<Value> {
    let mut buffer = allocate(v.layout.shape.numel(), dtype, op)?;
    let arg = Arg { data: Data::Buffer(&v.buffer), dtype, layout: &v.layout };
    backend::get().run_op(&Op::Copy, &[arg], Out { data: &mut buffer, dtype, shape: &v.layout.shape })?;
    Ok(Value { buffer: Arc::new(buffer), layout: Layout::contiguous(v.layout.shape.clone()) })
}

pub(crate) fn allocate(n: usize, dtype: DType, op: &'static str) -> Result<Buffer> {
    Buffer::for_elements(n, dtype).ok_or_else(|| no_memory(n, dtype, op))
}

fn no_memory(n: usize, dtype: DType, op: &'static str) -> Error {
    let gib = n as f64 * dtype.size() as f64 / (1u64 << 30) as f64;
    Error::new(ErrorKind::State, op, format!("no memory for {n} elements of {dtype} ({gib:.1} GiB)"))
        .help("use a smaller batch, a smaller dtype, or checkpoint parts of the model")
}

fn arg<'a>(place: &'a Place, data: Data<'a>) -> Arg<'a> {
    Arg { data, dtype: place.dtype, layout: &place.layout }
}

fn write_scalar(buffer: &mut Buffer, dtype: DType, s: Scalar) {
    use hadal_core::Element;
    if dtype == DType::Bool {
        buffer.as_mut_slice::<u8>()[0] = s.to_bool() as u8;
        return;
    }
    let s = s.cast(dtype);
    dispatch_storage!(dtype, T => {
        buffer.as_mut_slice::<T>()[0] = match s {
            Scalar::F(v) => <T as Element>::from_f64(v),
            other => <T as Element>::from_i64(other.to_i64()),
        };
    });
}
