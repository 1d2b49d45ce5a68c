//! A matrix product or convolution that nobody but one program reads takes that program in as its
//! epilogue: the kernel hands over each part of its result while it is in cache.
//!
//! The program is any program without reductions. Its bits are those of running it afterwards
//! ([`Prepared::run_behind`](hadal_core::ops::Prepared::run_behind)). A program takes part once: where it
//! reads two such results (a sum of two convolutions), the later one gets it and the other is read from
//! memory.
//!
//! This adds no circle: a path from the kernel to anything else leads through the program.

use super::collect::{Graph, Kind};
use super::fuse::NONE;
use hadal_core::DType;
use hadal_core::ops::Op;

/// The kernel of a unit whose other members are its epilogue.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// The node with the kernel.
    pub kernel: u32,
    /// What the program reads: that node, or a reshape of it.
    pub read: u32,
}

/// Who reads a node.
#[derive(Clone, Copy, PartialEq)]
enum Reader {
    Nobody,
    /// A fused group.
    Group(u32),
    /// A reshape.
    Reshape(u32),
    /// Several, or others.
    Others,
}

/// Puts kernels, and reshapes between them and the program, into the groups of the programs that they
/// take in. `group_of` has the group of each node that is in one; `open` says whether a group takes a
/// head. Returns the heads with their groups.
pub fn attach(graph: &Graph, group_of: &mut [u32], open: impl Fn(u32) -> bool) -> Vec<(u32, Head)> {
    let nodes = &graph.nodes;
    let mut reader = vec![Reader::Nobody; nodes.len()];
    for (i, node) in nodes.iter().enumerate() {
        let this = match (&node.kind, &node.tensor.0.op) {
            _ if group_of[i] != NONE => Reader::Group(group_of[i]),
            (Kind::View, Op::Reshape) => Reader::Reshape(i as u32),
            _ => Reader::Others,
        };
        for &j in &node.inputs {
            let r = &mut reader[j as usize];
            *r = if *r == Reader::Nobody || *r == this { this } else { Reader::Others };
        }
    }
    // The sizes of what each group stores, as bits: the kernel's result is computed in one of them.
    let groups = group_of.iter().filter(|&&g| g != NONE).max().map_or(0, |&g| g as usize + 1);
    let mut sizes = vec![0usize; groups];
    for (i, node) in nodes.iter().enumerate().filter(|(i, _)| group_of[*i] != NONE) {
        if node.keep || reader[i] != Reader::Group(group_of[i]) {
            sizes[group_of[i] as usize] |= node.tensor.0.dtype.size();
        }
    }
    let mut heads: Vec<(u32, Head)> = Vec::new();
    let mut taken = vec![false; groups];
    // The latest first: it is the one whose result is in cache when the program runs.
    for i in (0..nodes.len()).rev() {
        if !takes_epilogue(graph, i) {
            continue;
        }
        let mut read = i;
        while let Reader::Reshape(v) = reader[read] {
            // Memory of one shape: what is read, and what somebody holds.
            if nodes[i].keep || nodes[v as usize].keep {
                break;
            }
            read = v as usize;
        }
        let Reader::Group(g) = reader[read] else { continue };
        let home = nodes[i].keep || sizes[g as usize] & nodes[i].tensor.0.dtype.size() != 0;
        if taken[g as usize] || !home || !open(g) {
            continue;
        }
        taken[g as usize] = true;
        let mut at = read;
        while at != i {
            group_of[at] = g;
            at = nodes[at].inputs[0] as usize;
        }
        group_of[i] = g;
        heads.push((g, Head { kernel: i as u32, read: read as u32 }));
    }
    heads
}

fn takes_epilogue(graph: &Graph, i: usize) -> bool {
    let node = &graph.nodes[i];
    node.kind == Kind::Kernel
        && matches!(node.tensor.0.op, Op::Matmul | Op::Conv(_) | Op::ConvInputGrad(_))
        && matches!(node.tensor.0.dtype, DType::F32 | DType::F64)
}
