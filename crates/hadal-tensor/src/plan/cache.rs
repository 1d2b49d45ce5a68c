//! Schedules of graphs that were planned before.
//!
//! The key is the graph as it was collected, node by node: operation with its attributes, shape, dtype, inputs,
//! how it is computed, whether somebody outside holds it, and in which order nodes were made; of leaves the
//! strides; and the switches that planning looks at. A hash finds a candidate, a comparison of all this
//! decides. What only kernels look at (numbers that are filled in, keys of random numbers, where slices
//! begin, data) is read from the graph at hand in every evaluation.

use super::collect::{Graph, Kind, PlanNode};
use super::schedule::Schedule;
use hadal_core::ops::Op;
use hadal_core::smallvec::SmallVec;
use hadal_core::{DType, Shape, Strides};
use std::cell::{Cell, RefCell};

/// Plans that a thread keeps. A training step has two or three, an evaluation one more; eager mode has one
/// for each operation and shape.
const PLANS: usize = 64;
/// Nodes of all kept plans together: 400 bytes each.
const NODES: usize = 16 * 1024;

/// A schedule and what it is for.
pub struct Planned {
    hash: u64,
    key: Key,
    pub schedule: Schedule,
    /// When it was last used, in evaluations.
    used: u64,
    /// The hash of the plan that was used after it the last time.
    next: u64,
}

struct Key {
    fuse: bool,
    nodes: Vec<KeyNode>,
    /// Nodes to compute, oldest first: units run in the order in which they were written.
    by_age: Vec<u32>,
}

struct KeyNode {
    what: What,
    flags: u8,
    dtype: DType,
    shape: Shape,
    inputs: SmallVec<[u32; 3]>,
}

enum What {
    Value(Option<Strides>),
    Constant,
    Computed(Op),
}

/// What this thread's evaluations found in the cache of plans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanCacheStats {
    /// Evaluations that used a kept plan again.
    pub hits: u64,
    /// Evaluations that had to plan.
    pub misses: u64,
    /// Plans that made room for others.
    pub evicted: u64,
    /// Plans kept now.
    pub plans: usize,
}

struct Cache {
    plans: Vec<Planned>,
    nodes: usize,
    clock: u64,
    /// The hash of the plan that was used last.
    last: u64,
    stats: PlanCacheStats,
}

thread_local! {
    static CACHE: RefCell<Cache> = const {
        RefCell::new(Cache {
            plans: Vec::new(),
            nodes: 0,
            clock: 0,
            last: 0,
            stats: PlanCacheStats { hits: 0, misses: 0, evicted: 0, plans: 0 },
        })
    };
    static ENABLED: Cell<bool> = const { Cell::new(true) };
}

/// What this thread's evaluations found in the cache of plans so far.
///
/// ```
/// use hadal_tensor::{Tensor, plan_cache_stats};
/// let x = Tensor::from_slice(&[1.0f32, 2.0]);
/// let before = plan_cache_stats();
/// for i in 0..3 {
///     // The number is not part of the plan.
///     assert_eq!((&x * i as f64).sum(..).item::<f32>()?, 3.0 * i as f32);
/// }
/// let after = plan_cache_stats();
/// assert_eq!((after.misses - before.misses, after.hits - before.hits), (1, 2));
/// # Ok::<(), hadal_tensor::Error>(())
/// ```
pub fn plan_cache_stats() -> PlanCacheStats {
    CACHE.with_borrow(|c| PlanCacheStats { plans: c.plans.len(), ..c.stats })
}

/// Runs `f`; its evaluations plan anew and keep no plans. Results are the same bits; for tests and
/// measurements.
pub fn without_plan_cache<R>(f: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            ENABLED.set(self.0);
        }
    }
    let _restore = Restore(ENABLED.replace(false));
    f()
}

/// A plan of this graph, kept or (by `plan`) new; says whether it was kept.
pub fn take(graph: &Graph, fuse: bool, plan: impl FnOnce() -> Schedule) -> (Planned, bool) {
    let kept = ENABLED.get() && graph.nodes.len() <= NODES / 4;
    let (found, hash) = CACHE.with_borrow_mut(|c| {
        let (found, hash) = if kept { c.find(graph, fuse) } else { (None, 0) };
        match found {
            Some(_) => c.stats.hits += 1,
            None => c.stats.misses += 1,
        }
        let found = found.map(|i| {
            let plan = c.plans.swap_remove(i);
            c.nodes -= plan.key.nodes.len();
            plan
        });
        (found, hash)
    });
    match found {
        Some(planned) => (planned, true),
        None => {
            let schedule = plan();
            let key = if kept { Key::of(graph, fuse) } else { Key { fuse, nodes: vec![], by_age: vec![] } };
            (Planned { hash, key, schedule, used: 0, next: 0 }, false)
        }
    }
}

impl Cache {
    /// The place of the plan of this graph, and the hash that a new one would have.
    fn find(&self, graph: &Graph, fuse: bool) -> (Option<usize>, u64) {
        let with = |hash: u64| {
            let same = |p: &Planned| p.hash == hash && p.key.is_of(graph, fuse);
            self.plans.iter().position(same)
        };
        // Steps repeat: what came after the last plan then probably comes now, and needs no hash.
        let next = self.plans.iter().find(|p| p.hash == self.last).map_or(0, |p| p.next);
        if next != 0
            && let Some(i) = with(next)
        {
            return (Some(i), next);
        }
        let hash = hash(graph, fuse);
        (with(hash), hash)
    }
}

/// Keeps a plan that has been used.
pub fn put(mut planned: Planned) {
    if planned.key.nodes.is_empty() {
        return;
    }
    let evicted = CACHE.with_borrow_mut(|c| {
        c.clock += 1;
        planned.used = c.clock;
        let last = std::mem::replace(&mut c.last, planned.hash);
        if let Some(last) = c.plans.iter_mut().find(|p| p.hash == last) {
            last.next = planned.hash;
        } else if last == planned.hash {
            planned.next = last;
        }
        c.nodes += planned.key.nodes.len();
        c.plans.push(planned);
        let mut evicted = Vec::new();
        while c.plans.len() > PLANS || c.nodes > NODES {
            let Some(oldest) = (0..c.plans.len()).min_by_key(|&i| c.plans[i].used) else { break };
            let plan = c.plans.swap_remove(oldest);
            c.nodes -= plan.key.nodes.len();
            c.stats.evicted += 1;
            evicted.push(plan);
        }
        evicted
    });
    drop(evicted);
}

/// How a node is computed and who holds it, in one byte.
fn flags(n: &PlanNode) -> u8 {
    let kind = match n.kind {
        Kind::Value => 0,
        Kind::Const(_) => 1,
        Kind::Pointwise => 2,
        Kind::Reduce => 3,
        Kind::View => 4,
        Kind::Kernel => 5,
    };
    kind | (n.keep as u8) << 3 | (n.release as u8) << 4 | (n.retained as u8) << 5
}

fn hash(graph: &Graph, fuse: bool) -> u64 {
    let mut h = fuse as u64;
    let mut add = |word: u64| h = (h.rotate_left(5) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    for n in &graph.nodes {
        let op = match n.tensor.0.op {
            Op::Unary(op) => 1 + op as u64,
            Op::Binary(op) => 1 + op as u64,
            _ => 0,
        };
        let shape = &n.tensor.0.shape;
        let small = [flags(n) as u64, n.tensor.0.dtype as u64, op, shape.rank() as u64];
        add(small.iter().fold(n.inputs.len() as u64, |word, &x| word << 8 | x));
        n.inputs.iter().for_each(|&i| add(i as u64));
        shape.iter().for_each(|&d| add(d as u64));
    }
    h
}

impl Key {
    fn of(graph: &Graph, fuse: bool) -> Key {
        let nodes = graph.nodes.iter().map(|n| {
            let t = &n.tensor.0;
            let what = match n.kind {
                Kind::Value => What::Value(t.value_strides()),
                Kind::Const(_) => What::Constant,
                _ => What::Computed(t.op.clone()),
            };
            let (shape, inputs) = (t.shape.clone(), n.inputs.clone());
            KeyNode { what, flags: flags(n), dtype: t.dtype, shape, inputs }
        });
        let mut by_age: Vec<u32> = computed(graph).collect();
        by_age.sort_unstable_by_key(|&i| graph.nodes[i as usize].tensor.0.id);
        Key { fuse, nodes: nodes.collect(), by_age }
    }

    fn is_of(&self, graph: &Graph, fuse: bool) -> bool {
        let id = |i: u32| graph.nodes[i as usize].tensor.0.id;
        self.fuse == fuse
            && self.nodes.len() == graph.nodes.len()
            && self.nodes.iter().zip(&graph.nodes).all(|(key, n)| key.is_of(n))
            && self.by_age.windows(2).all(|w| id(w[0]) < id(w[1]))
    }
}

impl KeyNode {
    fn is_of(&self, n: &PlanNode) -> bool {
        let t = &n.tensor.0;
        self.flags == flags(n)
            && self.dtype == t.dtype
            && self.inputs == n.inputs
            && self.shape == t.shape
            && match &self.what {
                What::Value(strides) => t.has_strides(strides.as_ref()),
                What::Constant => true,
                What::Computed(op) => op.plans_like(&t.op),
            }
    }
}

fn computed(graph: &Graph) -> impl Iterator<Item = u32> + '_ {
    graph.nodes.iter().filter(|n| n.kind != Kind::Value).map(|n| n.source)
}
