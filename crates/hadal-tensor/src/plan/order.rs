//! In which order the units run: as the caller wrote them, as far as dependencies allow.
//!
//! Creation order is memory's friend: a backward pass builds the gradients of a layer together, so
//! running them together frees the layer's intermediate results before the next layer's begin.

use super::collect::Graph;
use super::fuse::{NONE, Units};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Units in running order.
pub fn order(graph: &Graph, units: &Units) -> Vec<u32> {
    let n = units.members.len();
    let mut waiting_for = vec![0u32; n];
    // Edges between units, by counting sort into one array.
    let mut degree = vec![0u32; n + 1];
    let mut edges: Vec<(u32, u32)> = Vec::with_capacity(graph.nodes.len());
    for (u, members) in units.members.iter().enumerate() {
        for &m in members {
            for &j in &graph.nodes[m as usize].inputs {
                let from = units.unit_of[j as usize];
                if from != NONE && from as usize != u {
                    edges.push((from, u as u32));
                    degree[from as usize + 1] += 1;
                    waiting_for[u] += 1;
                }
            }
        }
    }
    for i in 0..n {
        degree[i + 1] += degree[i];
    }
    let mut next = degree.clone();
    let mut targets = vec![0u32; edges.len()];
    for (from, to) in edges {
        let at = &mut next[from as usize];
        targets[*at as usize] = to;
        *at += 1;
    }
    let key = |u: u32| {
        // The newest member: a group cannot be wanted before that one was written.
        let id = units.members[u as usize].iter().map(|&m| graph.nodes[m as usize].tensor.0.id).max();
        (id.unwrap_or(0), u)
    };
    let mut ready: BinaryHeap<Reverse<(u64, u32)>> =
        (0..n as u32).filter(|&u| waiting_for[u as usize] == 0).map(|u| Reverse(key(u))).collect();
    let mut order = Vec::with_capacity(n);
    while let Some(Reverse((_, u))) = ready.pop() {
        order.push(u);
        for &to in &targets[degree[u as usize] as usize..degree[u as usize + 1] as usize] {
            waiting_for[to as usize] -= 1;
            if waiting_for[to as usize] == 0 {
                ready.push(Reverse(key(to)));
            }
        }
    }
    debug_assert_eq!(order.len(), n, "units wait for each other in a circle");
    order
}
