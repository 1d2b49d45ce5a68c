//! Runs the units in order, keeping each buffer exactly as long as somebody needs it.

use super::collect::{Graph, Kind};
use super::compile::{Compiled, compile};
use super::fuse::{NONE, Units};
use super::profile;
use crate::backend;
use crate::scope;
use crate::tensor::Value;
use hadal_core::ops::{Arg, Data, Op, Out};
use hadal_core::smallvec::SmallVec;
use hadal_core::{
    Buffer, DType, Error, ErrorKind, Layout, Result, Scalar, Shape, dispatch_storage, memory_stats,
};
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

/// Computes everything; what others may see appears in the graph only with [`publish`].
pub fn run(graph: &Graph, units: &Units, order: &[u32]) -> Result<Values> {
    let mut exec = Exec::new(graph, units);
    for &u in order {
        let members = &units.members[u as usize];
        let first = members[0];
        let recorded = if profile::recording() { exec.before(graph, units, u) } else { None };
        match graph.nodes[first as usize].kind {
            Kind::Value => {}
            Kind::Const(s) => exec.constant(graph, first, s)?,
            Kind::View => exec.view(graph, first)?,
            Kind::Kernel => exec.kernel(graph, units, u)?,
            Kind::Pointwise | Kind::Reduce => exec.program(graph, units, u)?,
        }
        if let Some((start, read)) = recorded {
            exec.record(graph, units, u, start, read);
        }
        if scope::finite_checked() {
            for &m in members {
                exec.check_finite(graph, m)?;
            }
        }
    }
    Ok(Values(exec.slots))
}

/// What an evaluation has computed.
pub struct Values(Vec<Option<Value>>);

/// Gives the nodes that are kept their values, and lets those forget their inputs that may.
pub fn publish(graph: &Graph, mut values: Values) {
    for (node, slot) in graph.nodes.iter().zip(&mut values.0) {
        if node.keep {
            if node.kind != Kind::Value
                && let Some(v) = slot.take()
            {
                node.tensor.0.set_value(v);
            }
            if node.release {
                node.tensor.0.release();
            }
        }
    }
}

struct Exec {
    /// Value of each node while it is needed.
    slots: Vec<Option<Value>>,
    /// Units that still want to read each node. Programs hold constants as immediates and do not count
    /// as their readers.
    readers: Vec<u32>,
    /// The unit that last met each node, to count each input of a unit once.
    met: Vec<u32>,
}

/// Whether a unit of this kind reads this input from memory.
fn reads(unit: Kind, input: Kind) -> bool {
    !(matches!(unit, Kind::Pointwise | Kind::Reduce) && matches!(input, Kind::Const(_)))
}

impl Exec {
    fn new(graph: &Graph, units: &Units) -> Exec {
        let n = graph.nodes.len();
        let mut exec = Exec { slots: vec![None; n], readers: vec![0; n], met: vec![NONE; n] };
        for u in 0..units.members.len() as u32 {
            exec.for_inputs(graph, units, u, |exec, j| exec.readers[j as usize] += 1);
        }
        exec.met.fill(NONE);
        exec
    }

    /// Calls `f` once for every node outside unit `u` that it reads from memory.
    fn for_inputs(&mut self, graph: &Graph, units: &Units, u: u32, f: impl Fn(&mut Exec, u32)) {
        for &m in &units.members[u as usize] {
            let node = &graph.nodes[m as usize];
            for &j in &node.inputs {
                let fresh = units.unit_of[j as usize] != u && self.met[j as usize] != u;
                if fresh && reads(node.kind, graph.nodes[j as usize].kind) {
                    self.met[j as usize] = u;
                    f(self, j);
                }
            }
        }
    }

    /// The value of an input, for reading.
    fn read(&mut self, graph: &Graph, j: u32) -> Result<Value> {
        if let Some(v) = &self.slots[j as usize] {
            return Ok(v.clone());
        }
        let node = &graph.nodes[j as usize];
        node.tensor.0.value().ok_or_else(|| {
            given_away(node.tensor.0.op.name()).at(node.tensor.0.location, node.tensor.0.tag.clone())
        })
    }

    /// One unit less wants node `j`; its buffer goes when nobody does.
    fn done_reading(&mut self, graph: &Graph, j: u32) {
        let left = &mut self.readers[j as usize];
        *left -= 1;
        let node = &graph.nodes[j as usize];
        if *left == 0 && !node.keep {
            self.slots[j as usize] = None;
            // A leaf nobody can reach any more, such as the parameters before an optimizer's step.
            if node.kind == Kind::Value && !node.retained {
                node.tensor.0.take_value();
            }
        }
    }

    fn set(&mut self, graph: &Graph, i: u32, value: Value) {
        if self.readers[i as usize] > 0 || graph.nodes[i as usize].keep {
            self.slots[i as usize] = Some(value);
        }
    }

    fn constant(&mut self, graph: &Graph, i: u32, s: Scalar) -> Result<()> {
        let node = &graph.nodes[i as usize].tensor.0;
        // Nobody but programs uses it.
        if self.readers[i as usize] == 0 && !graph.nodes[i as usize].keep {
            return Ok(());
        }
        if let Some(v) = node.value() {
            self.set(graph, i, v);
            return Ok(());
        }
        let mut buffer = allocate(1, node.dtype, "full")?;
        write_scalar(&mut buffer, node.dtype, s);
        let layout = Layout::contiguous(Shape::default()).expand(&node.shape);
        self.set(graph, i, Value { buffer: Arc::new(buffer), layout });
        Ok(())
    }

    fn view(&mut self, graph: &Graph, i: u32) -> Result<()> {
        let j = graph.nodes[i as usize].inputs[0];
        let node = &graph.nodes[i as usize].tensor.0;
        let source = self.read(graph, j)?;
        let layout = match &node.op {
            Op::Reshape => source.layout.reshape(&node.shape),
            Op::Permute(perm) => Some(source.layout.permute(perm)),
            Op::Expand => Some(source.layout.expand(&node.shape)),
            Op::Slice { starts, steps } => Some(source.layout.slice(starts, &node.shape, steps)),
            Op::Unfold { axis, step, .. } => {
                let mut l = source.layout.clone();
                let stride = l.strides[*axis];
                l.strides[*axis] = stride * *step as isize;
                l.strides.push(stride);
                l.shape = node.shape.clone();
                Some(l)
            }
            _ => None,
        };
        let value = match layout {
            Some(layout) => Value { buffer: source.buffer, layout },
            // A reshape that strides cannot express.
            None => {
                let dense = copy(node.op.name(), &source, node.dtype)
                    .map_err(|e| e.at(node.location, node.tag.clone()))?;
                Value { layout: Layout::contiguous(node.shape.clone()), ..dense }
            }
        };
        self.done_reading(graph, j);
        self.set(graph, i, value);
        Ok(())
    }

    fn kernel(&mut self, graph: &Graph, units: &Units, u: u32) -> Result<()> {
        let i = units.members[u as usize][0];
        let plan_node = &graph.nodes[i as usize];
        let node = &plan_node.tensor.0;
        let place = |e: Error| e.at(node.location, node.tag.clone());
        let mut values: SmallVec<[Value; 3]> = SmallVec::new();
        for &j in &plan_node.inputs {
            values.push(self.read(graph, j)?);
        }
        let args: SmallVec<[Arg<'_>; 3]> = values
            .iter()
            .zip(&plan_node.inputs)
            .map(|(v, &j)| Arg {
                data: Data::Buffer(&v.buffer),
                dtype: graph.nodes[j as usize].tensor.0.dtype,
                layout: &v.layout,
            })
            .collect();
        let mut buffer = allocate(node.shape.numel(), node.dtype, node.op.name()).map_err(place)?;
        backend::get()
            .run_op(&node.op, &args, Out { data: &mut buffer, dtype: node.dtype, shape: &node.shape })
            .map_err(place)?;
        drop(args);
        drop(values);
        self.for_inputs(graph, units, u, |exec, j| exec.done_reading(graph, j));
        self.set(
            graph,
            i,
            Value { buffer: Arc::new(buffer), layout: Layout::contiguous(node.shape.clone()) },
        );
        Ok(())
    }

    fn program(&mut self, graph: &Graph, units: &Units, u: u32) -> Result<()> {
        // A member is stored when a unit elsewhere reads it or somebody holds it.
        let stored = |m: u32| self.readers[m as usize] > 0 || graph.nodes[m as usize].keep;
        let Compiled { program, inputs, outputs } = compile(graph, units, u, stored);
        let members = &units.members[u as usize];
        let last = &graph.nodes[members[members.len() - 1] as usize].tensor.0;
        let place = |e: Error| e.at(last.location, last.tag.clone());

        let mut values: SmallVec<[Option<Value>; 6]> = SmallVec::new();
        for &j in &inputs {
            values.push(Some(self.read(graph, j)?));
        }
        let mut dead: SmallVec<[bool; 6]> = SmallVec::new();
        for &j in &inputs {
            dead.push(self.readers[j as usize] == 1 && !graph.nodes[j as usize].keep);
        }
        self.for_inputs(graph, units, u, |exec, j| exec.done_reading(graph, j));
        // An input that dies here and that nobody shares gives its buffer to an output.
        let mut in_place: SmallVec<[Option<usize>; 6]> = SmallVec::from_elem(None, inputs.len());
        let mut layouts: SmallVec<[Layout; 6]> = SmallVec::new();
        for v in values.iter().flatten() {
            layouts.push(v.layout.clone());
        }
        let mut buffers: SmallVec<[Buffer; 2]> = SmallVec::new();
        for (o, &m) in program.outputs.iter().zip(&outputs) {
            let node = &graph.nodes[m as usize].tensor.0;
            let bytes = node.shape.numel() * node.dtype.size();
            let mut found = None;
            if o.reduce.is_none() {
                for k in 0..inputs.len() {
                    let dtype = graph.nodes[inputs[k] as usize].tensor.0.dtype;
                    let fits = dead[k]
                        && in_place[k].is_none()
                        && dtype.size() == node.dtype.size()
                        && layouts[k].offset == 0
                        && layouts[k].is_contiguous()
                        && values[k].as_ref().is_some_and(|v| v.buffer.len() == bytes);
                    if !fits {
                        continue;
                    }
                    let Some(v) = values[k].take() else { continue };
                    match Arc::try_unwrap(v.buffer) {
                        Ok(buffer) => {
                            in_place[k] = Some(buffers.len());
                            found = Some(buffer);
                            break;
                        }
                        Err(buffer) => values[k] = Some(Value { buffer, layout: v.layout }),
                    }
                }
            }
            let buffer = match found {
                Some(b) => b,
                None => allocate(node.shape.numel(), node.dtype, node.op.name()).map_err(place)?,
            };
            buffers.push(buffer);
        }
        let mut args: SmallVec<[Arg<'_>; 6]> = SmallVec::new();
        for (k, &j) in inputs.iter().enumerate() {
            let data = match (&values[k], in_place[k]) {
                (Some(v), _) => Data::Buffer(&v.buffer),
                (None, Some(o)) => Data::InPlace(o),
                (None, None) => continue,
            };
            args.push(Arg { data, dtype: graph.nodes[j as usize].tensor.0.dtype, layout: &layouts[k] });
        }
        let mut outs: SmallVec<[Out<'_>; 2]> = buffers
            .iter_mut()
            .zip(&outputs)
            .map(|(b, &m)| {
                let n = &graph.nodes[m as usize].tensor.0;
                Out { data: b, dtype: n.dtype, shape: &n.shape }
            })
            .collect();
        backend::get().run_program(&program, &args, &mut outs).map_err(place)?;
        drop(outs);
        drop(args);
        for (buffer, &m) in buffers.into_iter().zip(&outputs) {
            let layout = Layout::contiguous(graph.nodes[m as usize].tensor.0.shape.clone());
            self.set(graph, m, Value { buffer: Arc::new(buffer), layout });
        }
        Ok(())
    }

    /// When unit `u` begins and how many bytes it will read; `None` for what moves no memory.
    fn before(&mut self, graph: &Graph, units: &Units, u: u32) -> Option<(Instant, u64)> {
        let first = &graph.nodes[units.members[u as usize][0] as usize];
        if matches!(first.kind, Kind::Value | Kind::Const(_) | Kind::View) {
            return None;
        }
        let mut inputs: SmallVec<[u32; 6]> = SmallVec::new();
        for &m in &units.members[u as usize] {
            let node = &graph.nodes[m as usize];
            let outside =
                |j: &u32| units.unit_of[*j as usize] != u && reads(node.kind, graph.nodes[*j as usize].kind);
            inputs.extend(node.inputs.iter().copied().filter(outside));
        }
        inputs.sort_unstable();
        inputs.dedup();
        let stored = |v: Value| {
            let dims = v.layout.shape.iter().zip(&v.layout.strides);
            dims.map(|(&n, &stride)| if stride == 0 { n.min(1) as u64 } else { n as u64 }).product::<u64>()
        };
        let read = inputs.iter().map(|&j| {
            let size = graph.nodes[j as usize].tensor.0.dtype.size() as u64;
            self.read(graph, j).map_or(0, |v| size * stored(v))
        });
        let read = read.sum();
        Some((Instant::now(), read))
    }

    /// Adds unit `u`, which has just run, to the recording.
    fn record(&self, graph: &Graph, units: &Units, u: u32, start: Instant, read: u64) {
        let members = &units.members[u as usize];
        let node = |m: &u32| &graph.nodes[*m as usize].tensor.0;
        profile::add(start, |start, time| {
            let (mut flops, mut written) = (0u64, 0);
            for m in members {
                let shapes: SmallVec<[&Shape; 3]> =
                    graph.nodes[*m as usize].inputs.iter().map(|j| &node(j).shape).collect();
                flops = flops.saturating_add(node(m).op.flops(&shapes, &node(m).shape));
                if self.slots[*m as usize].is_some() {
                    written += (node(m).shape.numel() * node(m).dtype.size()) as u64;
                }
            }
            let names: Vec<&str> = members.iter().map(|m| node(m).op.name()).collect();
            let last = node(&members[members.len() - 1]);
            profile::Work {
                name: names.join("+"),
                layer: last.tag.as_ref().and_then(|t| t.path()).map(str::to_owned),
                layer_type: last.tag.as_ref().map(|t| t.layer()),
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

    fn check_finite(&self, graph: &Graph, i: u32) -> Result<()> {
        let node = &graph.nodes[i as usize].tensor.0;
        let Some(v) = &self.slots[i as usize] else { return Ok(()) };
        if !node.dtype.is_float() || matches!(node.op, Op::Fill(_)) || node.op.is_view() {
            return Ok(());
        }
        let dense = copy(node.op.name(), v, node.dtype)?;
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
    Buffer::for_elements(n, dtype).ok_or_else(|| {
        let gib = n as f64 * dtype.size() as f64 / (1u64 << 30) as f64;
        Error::new(ErrorKind::State, op, format!("no memory for {n} elements of {dtype} ({gib:.1} GiB)"))
            .help("use a smaller batch, a smaller dtype, or checkpoint parts of the model")
    })
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
