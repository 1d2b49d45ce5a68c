//! A plan that is made once for a graph and run again and again on other inputs: what a
//! [`Compiled`](crate::Compiled) model runs.

use super::collect::{Graph, Kind, collect};
use super::exec::{self, Arena};
use super::schedule::{Schedule, Work};
use super::{PlanSummary, plan, summary};
use crate::tensor::Value;
use crate::{Tensor, backend, scope};
use hadal_core::Result;
use hadal_core::ops::{Arg, Data, Packed};
use std::sync::{Mutex, PoisonError};

/// The plan of a graph whose leaves are constants, but for its inputs.
pub(crate) struct Fixed {
    graph: Graph,
    /// Where in the graph each input is; none where nothing depends on it.
    inputs: Vec<Option<u32>>,
    /// Where the results are.
    roots: Vec<u32>,
    /// Packed weights by node.
    packed: Vec<Option<Packed>>,
    /// What a run needs for itself: one for each run that goes on at the same time.
    idle: Mutex<Vec<Run>>,
}

/// Schedule and memory of a run.
struct Run {
    schedule: Schedule,
    /// Inputs and results as the schedule numbers them.
    inputs: Vec<Option<usize>>,
    roots: Vec<usize>,
    arena: Arena,
}

impl Fixed {
    /// Plans the graph behind `roots`. Leaves other than `inputs` stay what they are now.
    pub fn new(inputs: &[Tensor], roots: &[Tensor]) -> Fixed {
        // Held while references are counted: a leaf that only the graph holds would be given away.
        let held = constants(roots);
        let graph = collect(&roots.iter().collect::<Vec<_>>(), &[]);
        drop(held);
        let of = |t: &Tensor| graph.nodes.iter().position(|n| n.tensor.0.id == t.0.id).map(|i| i as u32);
        let roots = roots.iter().filter_map(of).collect();
        let inputs: Vec<Option<u32>> = inputs.iter().map(of).collect();
        let packed = graph.nodes.iter().map(|n| pack(&graph, &inputs, n)).collect();
        Fixed { graph, inputs, roots, packed, idle: Mutex::default() }
    }

    /// Computes the results for these inputs, which lie in row-major order, each in a buffer of its own.
    pub fn run(&self, inputs: Vec<Value>) -> Result<Vec<Value>> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = idle().pop();
        let mut run = waiting.unwrap_or_else(|| self.ready());
        let done = self.run_in(&mut run, inputs);
        // The inputs' buffers are the caller's.
        for at in run.inputs.iter().flatten() {
            run.schedule.slots[*at] = None;
        }
        for slot in &mut run.schedule.slots {
            if let Some(buffer) = slot.take() {
                run.arena.give(buffer);
            }
        }
        if done.is_ok() {
            idle().push(run);
        }
        done
    }

    fn run_in(&self, run: &mut Run, inputs: Vec<Value>) -> Result<Vec<Value>> {
        let Run { schedule, inputs: places, roots, arena } = run;
        for (&at, value) in places.iter().zip(inputs) {
            if let Some(at) = at {
                schedule.places[at].layout.offset = value.layout.offset;
                schedule.slots[at] = Some(value.buffer);
            }
        }
        exec::run(&self.graph, schedule, Some(arena))?;
        let result = |(&at, &node): (&usize, &u32)| match &schedule.slots[at] {
            Some(buffer) => {
                let layout = schedule.places[at].layout.clone();
                Ok(Value { buffer: buffer.clone(), layout })
            }
            // A constant.
            None => self.graph.nodes[node as usize].tensor.force(),
        };
        roots.iter().zip(&self.roots).map(result).collect()
    }

    fn ready(&self) -> Run {
        let mut schedule = plan(&self.graph, scope::fusion_enabled());
        for step in &mut schedule.steps {
            let node = match &step.work {
                Work::Kernel { .. } => step.members[0],
                Work::Behind(behind) => behind.kernel,
                _ => continue,
            };
            let source = schedule.places[node as usize].source;
            step.packed = self.packed[source as usize].clone();
        }
        // Inputs and results are never among the nodes that planning copies.
        let number = |node: u32| schedule.places.iter().position(|p| p.source == node);
        let inputs = self.inputs.iter().map(|i| i.and_then(number)).collect();
        let roots = self.roots.iter().filter_map(|&r| number(r)).collect();
        Run { schedule, inputs, roots, arena: Arena::default() }
    }

    /// What planning made of the graph.
    pub fn summary(&self) -> PlanSummary {
        summary(Graph { nodes: self.graph.nodes.clone() })
    }
}

/// All constants behind tensors.
fn constants(roots: &[Tensor]) -> Vec<Tensor> {
    crate::compiled::nodes_behind(roots).into_iter().filter(Tensor::is_evaluated).collect()
}

/// The packed weight of a kernel whose weight is a constant.
fn pack(graph: &Graph, inputs: &[Option<u32>], node: &super::collect::PlanNode) -> Option<Packed> {
    let &weight = node.inputs.get(1)?;
    let constant = graph.nodes[weight as usize].kind == Kind::Value && !inputs.contains(&Some(weight));
    if node.kind != Kind::Kernel || !constant {
        return None;
    }
    let first = &graph.nodes[node.inputs[0] as usize].tensor;
    let weight = &graph.nodes[weight as usize].tensor;
    let value = weight.0.value()?;
    let arg = Arg { data: Data::Buffer(&value.buffer), dtype: weight.dtype(), layout: &value.layout };
    backend::get().pack(&node.tensor.0.op, first.shape(), &arg)
}
