//! The part of the graph that an evaluation needs, in topological order.

use super::walk::Walk;
use crate::Tensor;
use hadal_core::Scalar;
use hadal_core::ops::Op;
use hadal_core::smallvec::SmallVec;
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

#[derive(Clone)]
pub struct PlanNode {
    pub tensor: Tensor,
    /// Its number in the graph as it was collected.
    pub source: u32,
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

/// The graph behind `roots`. References are counted while the walk holds its lock.
pub fn collect(roots: &[&Tensor], release: &[&Tensor]) -> Graph {
    let walk = Walk::begin();
    let mut nodes: Vec<PlanNode> = Vec::with_capacity(64);
    // Depth first with an explicit stack. A node is met, then its inputs are numbered, then it is.
    let mut stack: Vec<(Tensor, bool)> = Vec::with_capacity(32);
    for root in roots {
        if walk.is_new(root) {
            stack.push(((*root).clone(), false));
        }
        while let Some((tensor, met)) = stack.pop() {
            let mut valued = false;
            let mut inputs: SmallVec<[u32; 3]> = SmallVec::new();
            if met {
                tensor.0.with_inputs(|all| inputs.extend(all.iter().filter_map(|i| walk.number_of(i))));
            } else {
                if !walk.is_new(&tensor) {
                    continue;
                }
                walk.number(&tensor, 0);
                let at = stack.len();
                // Whether it has its value is asked once: another thread that computes may take it away.
                valued = tensor.0.unless_valued(|all| {
                    inputs.extend(all.iter().map_while(|i| walk.number_of(i)));
                    if inputs.len() < all.len() {
                        stack.extend(all.iter().rev().filter(|i| walk.is_new(i)).map(|i| (i.clone(), false)));
                    }
                });
                if stack.len() > at {
                    // Behind its inputs.
                    stack.insert(at, (tensor, true));
                    continue;
                }
            }
            finish(&mut nodes, tensor, valued, inputs, &walk);
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

/// Numbers a node whose inputs have these numbers.
fn finish(
    nodes: &mut Vec<PlanNode>,
    tensor: Tensor,
    valued: bool,
    mut inputs: SmallVec<[u32; 3]>,
    walk: &Walk,
) {
    for &n in &inputs {
        nodes[n as usize].uses += 1;
    }
    let source = nodes.len() as u32;
    walk.number(&tensor, source);
    let mut kind = kind_of(&tensor, valued, inputs.is_empty());
    if let Some(s) = folded(&tensor, kind, &inputs, nodes) {
        kind = Kind::Const(s);
        inputs.clear();
    }
    let (keep, release, retained) = (false, false, false);
    nodes.push(PlanNode { tensor, source, inputs, kind, uses: 0, keep, release, retained });
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

fn kind_of(t: &Tensor, valued: bool, no_inputs: bool) -> Kind {
    // Also one that has its value: what it is turned into must not depend on what was evaluated before,
    // down to the layout, since kernels add in an order that may follow from strides.
    if let Op::Fill(s) = t.0.op {
        return Kind::Const(s);
    }
    if valued {
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
