//! From a graph to work done: collect the nodes that have no value, fuse pointwise groups, order the
//! work, run it, and free every buffer at its last use.

mod cache;
mod collect;
mod compile;
mod epilogue;
mod exec;
mod fixed;
mod fuse;
mod order;
mod profile;
mod remat;
mod schedule;
mod walk;

pub(crate) use exec::{allocate, copy, given_away};
pub(crate) use fixed::Fixed;
pub(crate) use walk::{Mark, Walk};

pub use cache::{PlanCacheStats, plan_cache_stats, without_plan_cache};
pub use profile::{Evaluation, Profile, Work, profile};

use crate::state;
use crate::{Tensor, scope};
use collect::Graph;
use hadal_core::Result;
use schedule::Schedule;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

/// Held while an evaluation reads who holds which node, and while it changes that. Counting references
/// and edges makes sense only when no other evaluation cuts edges between the two counts.
static GRAPH: Mutex<()> = Mutex::new(());

/// Held for reading by every evaluation. One that finds a leaf empty waits for the others by asking to
/// write: another thread was computing from that leaf, took its buffer because nobody else could reach
/// it, and leaves behind the values that both wanted.
static RUNNING: RwLock<()> = RwLock::new(());

type Exclusive = MutexGuard<'static, ()>;

fn exclusive() -> Exclusive {
    GRAPH.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What to do for a graph.
fn plan(graph: &Graph, fuse: bool) -> Schedule {
    // Planning may add nodes; those that were collected stay as they are.
    let mut planned = Graph { nodes: graph.nodes.clone() };
    let units = fuse::fuse(&mut planned, fuse);
    let order = order::order(&planned, &units);
    Schedule::new(&planned, &units, &order)
}

fn run(roots: &[&Tensor], release: &[&Tensor]) -> Result<()> {
    let recorded = profile::recording().then(|| (Instant::now(), profile::count()));
    let graph = collect::collect(roots, release);
    let fuse = scope::fusion_enabled();
    let (mut planned, reused) = cache::take(&graph, fuse, || plan(&graph, fuse));
    let planning = recorded.map(|(start, _)| start.elapsed());
    let done = exec::run(&graph, &mut planned.schedule, None);
    if done.is_ok() {
        let _changing = exclusive();
        exec::publish(&graph, &mut planned.schedule);
    }
    planned.schedule.slots.fill(None);
    cache::put(planned);
    done?;
    if let (Some((start, first)), Some(planning)) = (recorded, planning) {
        profile::add_evaluation(start, planning, graph.nodes.len(), first, reused);
    }
    Ok(())
}

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
    let outcome = compute(&all, release);
    for p in pending {
        // An evaluation that failed for other reasons must not cost a state its update.
        if outcome.is_ok() || compute(&[p.value()], &[]).is_ok() {
            p.commit();
        }
    }
    outcome
}

fn compute(roots: &[&Tensor], release: &[&Tensor]) -> Result<()> {
    if roots.iter().all(|r| r.is_evaluated()) {
        let _changing = exclusive();
        for r in release {
            r.0.release();
        }
        return Ok(());
    }
    let first = {
        let _running = RUNNING.read().unwrap_or_else(PoisonError::into_inner);
        run(roots, release)
    };
    match first {
        Err(e) if exec::is_given_away(&e) => {
            let _alone = RUNNING.write().unwrap_or_else(PoisonError::into_inner);
            run(roots, release)
        }
        done => done,
    }
}

/// Computes tensors, and no states' updates.
pub(crate) fn evaluate_only(roots: &[&Tensor]) -> Result<()> {
    compute(roots, &[])
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
    Ok(summary(collect::collect(roots, &[])))
}

fn summary(mut graph: Graph) -> PlanSummary {
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
            let computed = members.iter().filter(|&&i| graph.nodes[i as usize].kind != collect::Kind::View);
            let names: Vec<_> = computed.map(|&i| graph.nodes[i as usize].tensor.0.op.name()).collect();
            Some(names.join("+"))
        })
        .collect();
    let nodes = graph.nodes.iter().filter(|n| !matches!(n.kind, collect::Kind::Value)).count();
    PlanSummary { nodes, kernels }
}
