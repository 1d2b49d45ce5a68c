//! Which nodes run together.
//!
//! Every node gets a stage: the number of memory barriers before it. An edge between pointwise nodes
//! of one shape is no barrier; every other edge is. Pointwise nodes that are connected within one
//! stage form a group, together with the reductions they feed. A path that leaves a group crosses a
//! barrier, so its stage has risen and it cannot come back: groups never wait for each other in a
//! circle. (Within a stage, a group that is full continues as the next *part* of the stage, which
//! is later by the same argument.)
//!
//! A pointwise node all of whose consumers could take it in runs as late as the first of them does:
//! then it is never stored. The ReLU mask of a forward pass, for example, is computed inside the
//! backward kernel that uses it.

use super::collect::{Graph, Kind};
use super::epilogue::{Head, attach};
use super::remat::rematerialise;
use hadal_core::ops::{Axes, Op};
use hadal_core::smallvec::SmallVec;

/// Nodes of one program at most. More would spill registers out of the first-level cache, and a chain
/// of a million operations must not become one program.
const MAX_MEMBERS: u32 = 48;

/// The plan's pieces of work. A unit is a fused group or a single node.
pub struct Units {
    /// Unit of each node; `NONE` for nodes that have their value.
    pub unit_of: Vec<u32>,
    /// Nodes of each unit, in topological order.
    pub members: Vec<SmallVec<[u32; 4]>>,
    /// For each unit the kernel whose epilogue the rest of it is, if there is one.
    pub heads: Vec<Option<Head>>,
}

pub const NONE: u32 = u32::MAX;

pub fn fuse(graph: &mut Graph, enabled: bool) -> Units {
    let mut stages = if enabled { self::stages(graph) } else { Vec::new() };
    if enabled && rematerialise(graph, &stages) {
        stages = self::stages(graph);
    }
    let mut groups = Groups { parent: Vec::new(), info: Vec::new() };
    let mut group_of = vec![NONE; graph.nodes.len()];
    if enabled {
        let mut part = vec![0u32; graph.nodes.len()];
        for i in 0..graph.nodes.len() {
            let node = &graph.nodes[i];
            let same_stage =
                |j: u32| graph.nodes[j as usize].kind == Kind::Pointwise && stages[j as usize] == stages[i];
            let axes = match (&node.kind, &node.tensor.0.op) {
                (Kind::Pointwise, _) => None,
                (Kind::Reduce, Op::Reduce(_, axes)) => Some(axes.clone()),
                _ => continue,
            };
            let latest = node.inputs.iter().filter(|&&j| same_stage(j)).map(|&j| part[j as usize]).max();
            let fresh = GroupInfo { members: 1, axes: axes.clone() };
            let Some(latest) = latest else {
                group_of[i] = groups.new_group(fresh);
                continue;
            };
            let mut roots: SmallVec<[u32; 3]> = SmallVec::new();
            for &j in node.inputs.iter().filter(|&&j| same_stage(j) && part[j as usize] == latest) {
                let r = groups.root(group_of[j as usize]);
                if !roots.contains(&r) {
                    roots.push(r);
                }
            }
            match groups.join(&roots, fresh.clone()) {
                Some(g) => {
                    group_of[i] = g;
                    part[i] = latest;
                }
                None => {
                    group_of[i] = groups.new_group(fresh);
                    part[i] = latest + 1;
                }
            }
        }
    }
    for g in group_of.iter_mut().filter(|g| **g != NONE) {
        *g = groups.root(*g);
    }
    let heads = attach(graph, &mut group_of, |g| groups.info[g as usize].axes.is_none());
    // Number the units by their first member.
    let mut unit_of_group = vec![NONE; groups.parent.len()];
    let mut units = Units { unit_of: vec![NONE; graph.nodes.len()], members: Vec::new(), heads: Vec::new() };
    for (i, &group) in group_of.iter().enumerate() {
        if graph.nodes[i].kind == Kind::Value {
            continue;
        }
        let slot = if group == NONE { None } else { Some(group as usize) };
        let unit = match slot {
            Some(g) if unit_of_group[g] != NONE => unit_of_group[g],
            _ => {
                units.members.push(SmallVec::new());
                let u = units.members.len() as u32 - 1;
                if let Some(g) = slot {
                    unit_of_group[g] = u;
                }
                u
            }
        };
        units.unit_of[i] = unit;
        units.members[unit as usize].push(i as u32);
    }
    units.heads = vec![None; units.members.len()];
    for (group, head) in heads {
        let u = unit_of_group[group as usize] as usize;
        units.heads[u] = Some(head);
        // Its inputs are outside: first is a topological place.
        let members = &mut units.members[u];
        if let Some(at) = members.iter().position(|&m| m == head.kernel) {
            members[..=at].rotate_right(1);
        }
    }
    units
}

fn stages(graph: &Graph) -> Vec<u32> {
    let nodes = &graph.nodes;
    let mut stage = vec![0u32; nodes.len()];
    // The stage from which on a node's value can be read from memory.
    let ready = |j: usize, stage: &[u32]| match nodes[j].kind {
        Kind::Value | Kind::Const(_) => 0,
        Kind::View => stage[j],
        Kind::Pointwise | Kind::Reduce | Kind::Kernel => stage[j] + 1,
    };
    for i in 0..nodes.len() {
        let fusable = matches!(nodes[i].kind, Kind::Pointwise | Kind::Reduce);
        stage[i] = nodes[i]
            .inputs
            .iter()
            .map(|&j| {
                let j = j as usize;
                if fusable && nodes[j].kind == Kind::Pointwise { stage[j] } else { ready(j, &stage) }
            })
            .max()
            .unwrap_or(0);
    }
    // Late, where that saves storing.
    let mut earliest_use = vec![u32::MAX; nodes.len()];
    let mut absorbed = vec![true; nodes.len()];
    for i in (0..nodes.len()).rev() {
        let fusable = matches!(nodes[i].kind, Kind::Pointwise | Kind::Reduce);
        if nodes[i].kind == Kind::Pointwise && absorbed[i] && !nodes[i].keep && earliest_use[i] != u32::MAX {
            stage[i] = earliest_use[i];
        }
        for &j in &nodes[i].inputs {
            let j = j as usize;
            if fusable {
                earliest_use[j] = earliest_use[j].min(stage[i]);
            } else {
                absorbed[j] = false;
            }
        }
    }
    stage
}

#[derive(Clone)]
struct GroupInfo {
    members: u32,
    /// Axes its reductions reduce; all of them the same.
    axes: Option<Axes>,
}

/// Groups as a union-find forest.
struct Groups {
    parent: Vec<u32>,
    info: Vec<GroupInfo>,
}

impl Groups {
    fn new_group(&mut self, info: GroupInfo) -> u32 {
        self.parent.push(self.parent.len() as u32);
        self.info.push(info);
        self.parent.len() as u32 - 1
    }

    fn root(&mut self, mut g: u32) -> u32 {
        while self.parent[g as usize] != g {
            let up = self.parent[self.parent[g as usize] as usize];
            self.parent[g as usize] = up;
            g = up;
        }
        g
    }

    /// Unites the groups and a new member, if the result stays within bounds.
    fn join(&mut self, roots: &[u32], new: GroupInfo) -> Option<u32> {
        let mut total = new;
        for &r in roots {
            let info = &self.info[r as usize];
            total.members += info.members;
            match (&total.axes, &info.axes) {
                (Some(a), Some(b)) if a != b => return None,
                (None, Some(b)) => total.axes = Some(b.clone()),
                _ => {}
            }
        }
        if total.members > MAX_MEMBERS {
            return None;
        }
        let (&first, rest) = roots.split_first()?;
        for &r in rest {
            self.parent[r as usize] = first;
        }
        self.info[first as usize] = total;
        Some(first)
    }
}
