//! What to do step by step: everything about an evaluation that follows from the graph's structure and from
//! where its leaves lie, and that later evaluations of the same structure use again.

use super::collect::{Graph, Kind};
use super::compile::{Compiled, compile};
use super::epilogue::Head;
use super::fuse::{NONE, Units};
use crate::backend;
use hadal_core::ops::{Op, Packed, Prepared};
use hadal_core::smallvec::SmallVec;
use hadal_core::{Buffer, DType, Layout, Shape};
use std::sync::Arc;

/// The steps of an evaluation. Nodes are numbered as they were planned.
pub struct Schedule {
    pub places: Vec<Place>,
    pub steps: Vec<Step>,
    /// Nodes whose values are handed over when all is done.
    pub kept: Vec<u32>,
    /// Nodes that then forget their inputs.
    pub released: Vec<u32>,
    /// The buffer of each node while it is needed; all empty between evaluations.
    pub slots: Vec<Option<Arc<Buffer>>>,
}

/// Where a node's value lies.
pub struct Place {
    /// The node's number in the graph as it was collected.
    pub source: u32,
    /// In its buffer. The offset may be another one in every evaluation.
    pub layout: Layout,
    pub dtype: DType,
    /// Its value is given away at its last reader.
    pub given: bool,
}

/// A piece of work.
pub struct Step {
    pub work: Work,
    /// The nodes that it computes.
    pub members: SmallVec<[u32; 4]>,
    /// The nodes that it reads, each once.
    pub reads: SmallVec<[u32; 4]>,
    /// Those of them that nobody wants afterwards.
    pub dying: SmallVec<[u32; 4]>,
    /// Its weight in the kernel's form, in plans of which the weight is a part.
    pub packed: Option<Packed>,
}

pub enum Work {
    /// One element, the same everywhere.
    Constant,
    /// The buffer of the node it reads.
    View { from: u32 },
    /// A reshape that strides cannot express.
    Copy { from: u32 },
    /// A kernel with these arguments.
    Kernel { arguments: SmallVec<[u32; 4]> },
    /// A fused program.
    Program(Fused),
    /// A kernel and the program that its result goes through.
    Behind(Behind),
}

pub struct Behind {
    pub kernel: u32,
    /// Its arguments.
    pub arguments: SmallVec<[u32; 4]>,
    /// The program's input that its result is.
    pub read: u32,
    /// The program's output in whose memory it is computed.
    pub into: usize,
    pub fused: Fused,
}

pub struct Fused {
    pub program: Box<dyn Prepared>,
    pub inputs: SmallVec<[u32; 6]>,
    pub constants: SmallVec<[u32; 4]>,
    pub outputs: SmallVec<[Output; 2]>,
}

pub struct Output {
    pub node: u32,
    /// Elements.
    pub numel: usize,
    /// Numbers of inputs that may give it their buffer: they die here and lie as it does.
    pub donors: SmallVec<[u16; 4]>,
}

/// The operation of a planned node.
fn op(graph: &Graph, i: u32) -> &Op {
    &graph.nodes[i as usize].tensor.0.op
}

/// Whether a unit of this kind reads this input from memory: programs hold constants as immediates.
fn reads(unit: Kind, input: Kind) -> bool {
    !(matches!(unit, Kind::Pointwise | Kind::Reduce) && matches!(input, Kind::Const(_)))
}

impl Schedule {
    /// The steps of a planned graph.
    pub fn new(graph: &Graph, units: &Units, order: &[u32]) -> Schedule {
        let n = graph.nodes.len();
        let places = graph.nodes.iter().map(|node| {
            let t = &node.tensor.0;
            let value = matches!(node.kind, Kind::Value);
            let mut layout = Layout::contiguous(t.shape.clone());
            if value && let Some(strides) = t.value_strides() {
                layout.strides = strides;
            }
            let given = value && !node.keep && !node.retained;
            Place { source: node.source, layout, dtype: t.dtype, given }
        });
        let places: Vec<Place> = places.collect();
        let mut schedule = Schedule {
            places,
            steps: Vec::with_capacity(order.len()),
            kept: Vec::new(),
            released: Vec::new(),
            slots: vec![None; n],
        };
        // Units that still want to read each node.
        let mut readers = vec![0u32; n];
        let reads: Vec<SmallVec<[u32; 4]>> = inputs_of_units(graph, units);
        for &j in reads.iter().flatten() {
            readers[j as usize] += 1;
        }
        for (&u, members) in order.iter().map(|u| (u, &units.members[*u as usize])) {
            let reads = reads[u as usize].clone();
            let wanted = |m: u32| readers[m as usize] > 0 || graph.nodes[m as usize].keep;
            let last = |j: &u32| readers[*j as usize] == 1 && !graph.nodes[*j as usize].keep;
            let dying: SmallVec<[u32; 4]> = reads.iter().copied().filter(last).collect();
            let work = match (units.heads[u as usize], graph.nodes[members[0] as usize].kind) {
                (Some(head), _) => Some(schedule.behind(graph, head, compile(graph, units, u, wanted))),
                (_, Kind::Value) => continue,
                (_, Kind::Const(_)) => wanted(members[0]).then(|| schedule.constant(members[0])),
                (_, Kind::View) => Some(schedule.view(graph, members[0])),
                (_, Kind::Kernel) => {
                    let inputs = &graph.nodes[members[0] as usize].inputs;
                    Some(Work::Kernel { arguments: inputs.iter().copied().collect() })
                }
                (_, Kind::Pointwise | Kind::Reduce) => {
                    Some(Work::Program(schedule.program(compile(graph, units, u, wanted), &dying)))
                }
            };
            for &j in &reads {
                readers[j as usize] -= 1;
            }
            if let Some(work) = work {
                schedule.steps.push(Step { work, members: members.clone(), reads, dying, packed: None });
            }
        }
        for (i, node) in graph.nodes.iter().enumerate().filter(|(_, node)| node.keep) {
            if node.kind != Kind::Value {
                schedule.kept.push(i as u32);
            }
            if node.release {
                schedule.released.push(i as u32);
            }
        }
        schedule
    }

    fn constant(&mut self, i: u32) -> Work {
        let layout = &mut self.places[i as usize].layout;
        *layout = Layout::contiguous(Shape::default()).expand(&layout.shape);
        Work::Constant
    }

    fn view(&mut self, graph: &Graph, i: u32) -> Work {
        let from = graph.nodes[i as usize].inputs[0];
        let source = &self.places[from as usize].layout;
        let shape = &self.places[i as usize].layout.shape;
        match view(op(graph, i), source, shape) {
            Some(layout) => {
                self.places[i as usize].layout = layout;
                Work::View { from }
            }
            None => Work::Copy { from },
        }
    }

    fn behind(&self, graph: &Graph, head: Head, compiled: Compiled) -> Work {
        let arguments = graph.nodes[head.kernel as usize].inputs.iter().copied().collect();
        // Its own memory, where it is kept, else the first as wide; there is one (`epilogue`).
        let size = |m: u32| self.places[m as usize].dtype.size();
        let own = compiled.outputs.iter().position(|&m| m == head.kernel);
        let wide = || compiled.outputs.iter().position(|&m| size(m) == size(head.kernel));
        let into = own.or_else(wide).unwrap_or(0);
        // The kernel reads its arguments until the end: no input gives its buffer away.
        let fused = self.program(compiled, &[]);
        Work::Behind(Behind { kernel: head.kernel, arguments, read: head.read, into, fused })
    }

    fn program(&self, compiled: Compiled, dying: &[u32]) -> Fused {
        let Compiled { program, inputs, outputs, constants } = compiled;
        let donor = |k: &usize, output: &Place| {
            let input = &self.places[inputs[*k] as usize];
            dying.contains(&inputs[*k])
                && input.dtype.size() == output.dtype.size()
                && input.layout.is_contiguous()
        };
        let outputs = program.outputs.iter().zip(&outputs).map(|(o, &node)| {
            let place = &self.places[node as usize];
            let all = if o.reduce.is_none() { inputs.len() } else { 0 };
            let donors = (0..all).filter(|k| donor(k, place)).map(|k| k as u16).collect();
            Output { node, numel: place.layout.shape.numel(), donors }
        });
        let outputs = outputs.collect();
        Fused { program: backend::get().prepare(program), inputs, constants, outputs }
    }
}

/// For each unit every node outside it that it reads from memory, once.
fn inputs_of_units(graph: &Graph, units: &Units) -> Vec<SmallVec<[u32; 4]>> {
    let mut met = vec![NONE; graph.nodes.len()];
    let mut of = Vec::with_capacity(units.members.len());
    for (u, members) in units.members.iter().enumerate() {
        let mut inputs = SmallVec::new();
        for &m in members {
            let node = &graph.nodes[m as usize];
            for &j in &node.inputs {
                let fresh = units.unit_of[j as usize] != u as u32 && met[j as usize] != u as u32;
                if fresh && reads(node.kind, graph.nodes[j as usize].kind) {
                    met[j as usize] = u as u32;
                    inputs.push(j);
                }
            }
        }
        of.push(inputs);
    }
    of
}

/// The layout of a view; `None` where strides cannot express it.
pub fn view(op: &Op, source: &Layout, shape: &Shape) -> Option<Layout> {
    match op {
        Op::Reshape => source.reshape(shape),
        Op::Permute(perm) => Some(source.permute(perm)),
        Op::Expand => Some(source.expand(shape)),
        Op::Slice { starts, steps } => Some(source.slice(starts, shape, steps)),
        Op::Unfold { axis, step, .. } => {
            let mut l = source.clone();
            let stride = l.strides[*axis];
            l.strides[*axis] = stride * *step as isize;
            l.strides.push(stride);
            l.shape = shape.clone();
            Some(l)
        }
        _ => None,
    }
}
