//! From a graph to work done: collect the nodes that have no value, fuse pointwise groups, order the
//! work, run it, and free every buffer at its last use.

mod collect;
mod compile;
mod exec;
mod fuse;
mod order;

pub(crate) use exec::copy;

pub(crate) use collect::IdMap;

use crate::state;
use crate::{Tensor, scope};
use hadal_core::Result;

/// Computes `roots` and pending state updates. See [`crate::eval`].
pub(crate) fn evaluate(roots: &[&Tensor], release: &[&Tensor]) -> Result<()> {
    if let Some(e) = scope::take_deferred() {
        return Err(e);
    }
    for r in roots {
        r.checked()?;
    }
    let pending = state::take_pending();
    let mut all: Vec<&Tensor> = roots.to_vec();
    all.extend(pending.iter().map(|p| p.value()));
    if all.iter().any(|r| !r.is_evaluated()) {
        let mut graph = collect::collect(&all, release);
        let units = fuse::fuse(&mut graph, scope::fusion_enabled());
        let order = order::order(&graph, &units);
        exec::run(&mut graph, &units, &order)?;
    } else {
        for r in release {
            r.0.release();
        }
    }
    for p in pending {
        p.commit();
    }
    Ok(())
}

/// What planning made of a graph, for tests and the curious.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanSummary {
    /// Nodes without a value.
    pub nodes: usize,
    /// Passes over memory and kernel calls, views not counted.
    pub kernels: Vec<String>,
}

/// Plans the evaluation of these tensors without running it.
///
/// ```
/// use hadal_tensor::{Tensor, plan_summary};
/// let x = Tensor::from_slice(&[1.0f32, 2.0]);
/// let y = ((&x * 2.0 + 1.0).exp() * &x).sum(..);
/// assert_eq!(plan_summary(&[&y]).unwrap().kernels, ["mul+add+exp+mul+sum"]);
/// ```
pub fn plan_summary(roots: &[&Tensor]) -> Result<PlanSummary> {
    for r in roots {
        r.checked()?;
    }
    let mut graph = collect::collect(roots, &[]);
    let units = fuse::fuse(&mut graph, scope::fusion_enabled());
    let order = order::order(&graph, &units);
    let kernels = order
        .iter()
        .filter_map(|&u| {
            let members = &units.members[u as usize];
            let first = &graph.nodes[members[0] as usize];
            if matches!(first.kind, collect::Kind::View | collect::Kind::Const(_)) {
                return None;
            }
            let names: Vec<_> = members.iter().map(|&i| graph.nodes[i as usize].tensor.0.op.name()).collect();
            Some(names.join("+"))
        })
        .collect();
    let nodes = graph.nodes.iter().filter(|n| !matches!(n.kind, collect::Kind::Value)).count();
    Ok(PlanSummary { nodes, kernels })
}
