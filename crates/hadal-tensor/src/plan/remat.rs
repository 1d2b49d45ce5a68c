//! Rematerialisation: a cheap node that programs on both sides of a memory barrier use is computed on
//! both sides, where that costs them no more reading than its stored value would.
//!
//! The deviation in a layer norm, `x - mean(x)`, is wanted by the sum of squares and, once that is known,
//! by the quotient. Both can read `x` as well as they could read the deviation, which then is never
//! written. Values do not change: the same operation gives the same bits wherever it runs.

use super::collect::{Graph, Kind, PlanNode};
use crate::idmap::IdMap;
use hadal_core::ops::{BinaryOp, Op};
use hadal_core::smallvec::SmallVec;

/// Below this the memory saved is not worth the node.
const LEAST_ELEMENTS: usize = 4096;

/// An input this many times smaller than the node is read from cache.
const MUCH_SMALLER: usize = 8;

/// Gives programs at later stages their own copies of cheap nodes. Says whether there were any; stages
/// are to be found again then.
pub fn rematerialise(graph: &mut Graph, stages: &[u32]) -> bool {
    let chosen = chosen(graph, stages);
    if !chosen.contains(&true) {
        return false;
    }
    let old = std::mem::take(&mut graph.nodes);
    let mut place: Vec<u32> = Vec::with_capacity(old.len());
    // Copies by node (old number) and stage.
    let mut copies: IdMap<u32> = IdMap::default();
    let key = |node: u32, stage: u32| (node as u64) << 32 | stage as u64;
    let new = &mut graph.nodes;
    for (i, mut node) in old.into_iter().enumerate() {
        for k in 0..node.inputs.len() {
            let j = node.inputs[k];
            let original = place[j as usize];
            if !chosen[j as usize] || stages[j as usize] == stages[i] {
                node.inputs[k] = original;
                continue;
            }
            node.inputs[k] = *copies.entry(key(j, stages[i])).or_insert_with(|| {
                let source = &new[original as usize];
                let copy =
                    PlanNode { uses: 0, keep: false, release: false, retained: false, ..source.clone() };
                new.push(copy);
                new.len() as u32 - 1
            });
        }
        place.push(new.len() as u32);
        new.push(node);
    }
    true
}

/// Which nodes are worth it: cheap, used in programs only, at more than one stage.
fn chosen(graph: &Graph, stages: &[u32]) -> Vec<bool> {
    let nodes = &graph.nodes;
    let mut elsewhere = vec![false; nodes.len()];
    let mut stored_anyway = vec![false; nodes.len()];
    for (i, node) in nodes.iter().enumerate() {
        let in_program = matches!(node.kind, Kind::Pointwise | Kind::Reduce);
        for &j in &node.inputs {
            elsewhere[j as usize] |= stages[i] != stages[j as usize];
            stored_anyway[j as usize] |= !in_program;
        }
    }
    let mut chosen = vec![false; nodes.len()];
    for (i, node) in nodes.iter().enumerate() {
        chosen[i] = elsewhere[i]
            && !stored_anyway[i]
            && !node.keep
            && node.kind == Kind::Pointwise
            && node.tensor.numel() >= LEAST_ELEMENTS
            && is_cheap(&node.tensor.0.op)
            // Copies of copies would make a chain of n such nodes cost n².
            && !node.inputs.iter().any(|&j| chosen[j as usize])
            && reads_no_more(graph, stages, i);
    }
    chosen
}

fn is_cheap(op: &Op) -> bool {
    matches!(op, Op::Cast | Op::Binary(BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul))
}

/// Whether reading the node's inputs costs no more than reading the node: at most one of them is of its
/// size, no wider than it, and in memory anyway.
fn reads_no_more(graph: &Graph, stages: &[u32], i: usize) -> bool {
    let node = &graph.nodes[i];
    let mut large: SmallVec<[u32; 2]> = SmallVec::new();
    for &j in &node.inputs {
        let input = &graph.nodes[j as usize];
        let in_memory = input.kind != Kind::Pointwise || stages[j as usize] < stages[i];
        if matches!(input.kind, Kind::Const(_)) || large.contains(&j) {
            continue;
        }
        if !in_memory {
            return false;
        }
        if elements(graph, j).saturating_mul(MUCH_SMALLER) > node.tensor.numel() {
            if input.tensor.dtype().size() > node.tensor.dtype().size() {
                return false;
            }
            large.push(j);
        }
    }
    large.len() <= 1
}

/// How many elements stand behind a node that may be a broadcast view.
fn elements(graph: &Graph, mut j: u32) -> usize {
    let mut least = usize::MAX;
    loop {
        let node = &graph.nodes[j as usize];
        least = least.min(node.tensor.numel());
        match (node.kind, node.inputs.first()) {
            (Kind::View, Some(&source)) => j = source,
            _ => return least,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{DType, Key, Tensor, plan_summary, profile, unfused};

    fn drawn(rows: usize, columns: usize) -> Tensor {
        let x = Tensor::randn([rows, columns], DType::F32, Key::new(3));
        x.eval().unwrap();
        x
    }

    /// Deviations from the mean over their root mean square.
    fn normalised(x: &Tensor) -> Tensor {
        let d = x - x.mean_keepdim(-1);
        &d * (d.square().mean_keepdim(-1) + 1e-5).rsqrt()
    }

    #[test]
    fn a_deviation_is_not_stored() {
        let x = drawn(64, 256);
        let (y, seen) = profile(|| {
            let y = normalised(&x);
            y.eval().unwrap();
            y
        });
        let size = 4 * 64 * 256;
        let written = seen.work.iter().map(|w| w.bytes).sum::<u64>();
        // Three times read, once written, and the sums.
        assert!(written < 4 * size + size / 8, "{written} of {size}: {:?}", plan_summary(&[&normalised(&x)]));
        let plain: Vec<f32> = unfused(|| normalised(&x).to_vec()).unwrap();
        assert_eq!(y.to_vec::<f32>().unwrap(), plain);
    }

    #[test]
    fn what_is_held_or_used_by_a_kernel_is_stored_once() {
        let x = drawn(64, 256);
        let d = &x - x.mean_keepdim(-1);
        let y = &d * d.square().mean_keepdim(-1).rsqrt();
        let subtractions = |roots: &[&Tensor]| {
            let kernels = plan_summary(roots).unwrap().kernels;
            kernels.iter().map(|k| k.split('+').filter(|name| *name == "sub").count()).sum::<usize>()
        };
        assert_eq!(subtractions(&[&y]), 1, "d is held here");
        drop(d);
        assert_eq!(subtractions(&[&y]), 2);
        let z = {
            let d = &x - x.mean_keepdim(-1);
            &d * d.square().mean_keepdim(-1) + d.matmul(&Tensor::eye(256, DType::F32))
        };
        assert_eq!(subtractions(&[&z]), 1, "the product reads d from memory");
    }

    #[test]
    fn chains_of_cheap_nodes_stay_linear() {
        let y = (0..400).fold(drawn(16, 512), |y, _| &y - y.mean_keepdim(-1));
        let members: usize = plan_summary(&[&y]).unwrap().kernels.iter().map(|k| k.split('+').count()).sum();
        assert!(members < 4 * 400, "{members} operations");
        y.eval().unwrap();
    }
}
