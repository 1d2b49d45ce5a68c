//! The part of the graph that an evaluation needs, in topological order.

use crate::Tensor;
use hadal_core::Scalar;
use hadal_core::ops::Op;
use hadal_core::smallvec::SmallVec;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

/// How a node is computed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// It has its value already.
    Value,
    /// Every element the same: an immediate in programs, one element with stride 0 elsewhere.
    Const(Scalar),
    /// May be fused.
    Pointwise,
    /// May be fused behind the pointwise nodes that feed it.
    Reduce,
    /// Changes the layout only.
    View,
    /// Has a kernel of its own.
    Kernel,
}

pub struct PlanNode {
    pub tensor: Tensor,
    pub inputs: SmallVec<[u32; 3]>,
    pub kind: Kind,
    /// Edges from nodes of this plan.
    pub uses: u32,
    /// Somebody outside the plan holds it: its value is kept.
    pub keep: bool,
    /// It is kept and forgets its inputs.
    pub release: bool,
    /// A kept node that remembers its inputs can reach it: its buffer must survive.
    pub retained: bool,
}

pub struct Graph {
    pub nodes: Vec<PlanNode>,
}

/// Ids are consecutive numbers: multiplying spreads them well enough.
#[derive(Default)]
pub struct IdHasher(u64);
impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for &b in bytes {
            self.write_u64(b as u64);
        }
    }
    fn write_u64(&mut self, id: u64) {
        self.0 = id.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23);
    }
}
/// Only ever looked up, never iterated: its order reaches no result.
pub type IdMap<V> = HashMap<u64, V, BuildHasherDefault<IdHasher>>;

pub fn collect(roots: &[&Tensor], release: &[&Tensor]) -> Graph {
    const PENDING: u32 = u32::MAX;
    let mut index: IdMap<u32> = IdMap::default();
    let mut nodes: Vec<PlanNode> = Vec::new();
    // Depth first with an explicit stack; a node is numbered when all its inputs are.
    let mut stack: Vec<(Tensor, crate::tensor::Inputs, usize)> = Vec::new();
    let open = |t: Tensor| {
        let inputs = if t.0.has_value() { Default::default() } else { t.0.inputs() };
        (t, inputs, 0)
    };
    for root in roots {
        let Entry::Vacant(unseen) = index.entry(root.0.id) else { continue };
        unseen.insert(PENDING);
        stack.push(open((*root).clone()));
        while let Some((_, inputs, next)) = stack.last_mut() {
            if let Some(input) = inputs.get(*next) {
                *next += 1;
                if let Entry::Vacant(unseen) = index.entry(input.0.id) {
                    unseen.insert(PENDING);
                    let frame = open(input.clone());
                    stack.push(frame);
                }
                continue;
            }
            let Some((tensor, inputs, _)) = stack.pop() else { break };
            let numbers: SmallVec<[u32; 3]> = inputs.iter().map(|i| index[&i.0.id]).collect();
            drop(inputs);
            for &n in &numbers {
                nodes[n as usize].uses += 1;
            }
            index.insert(tensor.0.id, nodes.len() as u32);
            let mut kind = kind_of(&tensor, numbers.is_empty());
            let mut numbers = numbers;
            if let Some(s) = folded(&tensor, kind, &numbers, &nodes) {
                kind = Kind::Const(s);
                numbers.clear();
            }
            nodes.push(PlanNode {
                tensor,
                inputs: numbers,
                kind,
                uses: 0,
                keep: false,
                release: false,
                retained: false,
            });
        }
    }
    let released: SmallVec<[u64; 2]> = release.iter().map(|t| t.0.id).collect();
    for i in (0..nodes.len()).rev() {
        let n = &mut nodes[i];
        // One reference is the plan's own, one per consumer in the plan; any other is somebody's
        // handle, or a graph that is not evaluated now. Roots are held by the caller.
        n.keep = Arc::strong_count(&n.tensor.0) > n.uses as usize + 1;
        // No gradient goes beyond a node that stops it, such as a parameter that was set to a graph.
        let beginning = !n.tensor.0.tracked || n.tensor.0.stop;
        n.release = n.keep && (beginning || released.contains(&n.tensor.0.id));
        if (n.keep && !n.release) || n.retained {
            n.retained = true;
            for k in 0..nodes[i].inputs.len() {
                let input = nodes[i].inputs[k] as usize;
                nodes[input].retained = true;
            }
        }
    }
    Graph { nodes }
}

/// The constant that a view or a cast of a constant is. In the graph they stay nodes of their own: a
/// gradient may be asked for by what looks like a constant.
fn folded(t: &Tensor, kind: Kind, inputs: &[u32], nodes: &[PlanNode]) -> Option<Scalar> {
    let Kind::Const(s) = nodes[*inputs.first()? as usize].kind else { return None };
    match (kind, &t.0.op) {
        (Kind::View, _) => Some(s),
        (_, Op::Cast) if kind == Kind::Pointwise => Some(s.cast(t.0.dtype)),
        _ => None,
    }
}

fn kind_of(t: &Tensor, no_inputs: bool) -> Kind {
    // Also one that has its value: what it is turned into must not depend on what was evaluated before,
    // down to the layout, since kernels add in an order that may follow from strides.
    if let Op::Fill(s) = t.0.op {
        return Kind::Const(s);
    }
    if t.0.has_value() {
        return Kind::Value;
    }
    match &t.0.op {
        Op::Arange(..) | Op::Random(..) | Op::Poison(_) => Kind::Kernel,
        // A leaf, or a result that forgot its inputs, and its value was given away: reading it says so.
        _ if no_inputs => Kind::Value,
        Op::Reduce(..) => Kind::Reduce,
        op if op.is_pointwise() => Kind::Pointwise,
        op if op.is_view() => Kind::View,
        _ => Kind::Kernel,
    }
}
