//! Work added up: per operation, and per module path as a tree.

use super::Ceilings;
use hadal_tensor::{Phase, Profile, Work};
use std::collections::BTreeMap;
use std::time::Duration;

/// What several pieces of work are together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sum {
    /// How many.
    pub calls: u64,
    /// How long they took.
    pub time: Duration,
    /// Arithmetic operations; a multiplication with its addition counts 2.
    pub flops: u64,
    /// Bytes that they must at least move.
    pub bytes: u64,
    /// Seconds they would take at this machine's ceilings: the sum of [`Ceilings::seconds`].
    pub at_best: f64,
}

impl Sum {
    fn add(&mut self, w: &Work, ceilings: &Ceilings) {
        self.calls += 1;
        self.time += w.time;
        self.flops = self.flops.saturating_add(w.flops);
        self.bytes = self.bytes.saturating_add(w.bytes);
        self.at_best += ceilings.seconds(w.flops, w.bytes, w.dtype);
    }

    fn join(&mut self, other: &Sum) {
        self.calls += other.calls;
        self.time += other.time;
        self.flops = self.flops.saturating_add(other.flops);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.at_best += other.at_best;
    }

    /// Billions of operations a second; `None` where no time passed.
    pub fn gflops(&self) -> Option<f64> {
        self.per_second(self.flops as f64 / 1e9)
    }
    /// Billions of bytes a second; `None` where no time passed.
    pub fn gbs(&self) -> Option<f64> {
        self.per_second(self.bytes as f64 / 1e9)
    }
    /// Share of the ceiling that arithmetic and traffic set: 1 is as fast as this machine can. `None`
    /// where no time passed or there is neither arithmetic nor traffic. More than 1 is possible where
    /// data came from third-level caches.
    pub fn of_ceiling(&self) -> Option<f64> {
        self.per_second(self.at_best).filter(|s| *s > 0.0)
    }
    /// Arithmetic operations for each byte.
    pub fn intensity(&self) -> Option<f64> {
        (self.bytes > 0).then(|| self.flops as f64 / self.bytes as f64)
    }

    fn per_second(&self, n: f64) -> Option<f64> {
        (self.time > Duration::ZERO).then(|| n / self.time.as_secs_f64())
    }
}

impl<'a> FromIterator<&'a Sum> for Sum {
    fn from_iter<I: IntoIterator<Item = &'a Sum>>(sums: I) -> Sum {
        let mut all = Sum::default();
        sums.into_iter().for_each(|s| all.join(s));
        all
    }
}

/// Where the time went; the four parts are together the [`total`](Times::total).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// In kernels and fused programs.
    pub work: Duration,
    /// Collecting, fusing and ordering graphs.
    pub planning: Duration,
    /// In evaluations between the pieces of work: memory, views, handing values over.
    pub between: Duration,
    /// Not in evaluations: building graphs, taking gradients, reading data, logs.
    pub outside: Duration,
}

impl Times {
    /// Of a recording.
    pub fn of(profile: &Profile) -> Times {
        let work = profile.busy();
        let planning: Duration = profile.evaluations.iter().map(|e| e.planning).sum();
        let evaluating: Duration = profile.evaluations.iter().map(|e| e.time).sum();
        // An evaluation that failed leaves work behind that belongs to none.
        let evaluating = evaluating.max(work + planning);
        Times {
            work,
            planning,
            between: evaluating - work - planning,
            outside: profile.total.saturating_sub(evaluating),
        }
    }

    /// All of it.
    pub fn total(&self) -> Duration {
        self.work + self.planning + self.between + self.outside
    }
}

/// An operation, or several fused into one pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// Its name, as in [`Work::name`]: what was fused with what.
    pub name: String,
    /// What it is there for: the same operation of two phases is two.
    pub phase: Phase,
    /// All its calls.
    pub sum: Sum,
}

impl Operation {
    /// Its name, and its phase unless that is the forward pass.
    pub fn label(&self) -> String {
        match self.phase {
            Phase::Forward => self.name.clone(),
            other => format!("{}, {}", self.name, other.name()),
        }
    }
}

/// All phases in their order.
pub(super) const PHASES: [Phase; 3] = [Phase::Forward, Phase::Backward, Phase::Optimizer];

/// Sums of some operations by phase, in the order of [`PHASES`].
pub(super) fn by_phase<'a>(operations: impl IntoIterator<Item = &'a Operation>) -> [Sum; 3] {
    let mut sums = [Sum::default(); 3];
    for o in operations {
        sums[o.phase as usize].join(&o.sum);
    }
    sums
}

/// Operations by name and phase, the longest time first.
pub(super) fn operations<'a>(
    work: impl IntoIterator<Item = &'a Work>,
    ceilings: &Ceilings,
) -> Vec<Operation> {
    let mut by_name: BTreeMap<(&str, Phase), Sum> = BTreeMap::new();
    for w in work {
        by_name.entry((&w.name, w.phase)).or_default().add(w, ceilings);
    }
    let mut all: Vec<Operation> = by_name
        .into_iter()
        .map(|((name, phase), sum)| Operation { name: name.to_owned(), phase, sum })
        .collect();
    // Stable: equal times stay in the order of names, then phases.
    all.sort_by_key(|o| std::cmp::Reverse(o.sum.time));
    all
}

/// A module with all that is inside it.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Its full path; empty for what no layer made, such as the loss, and for the optimizer.
    pub path: String,
    /// The last part of the path.
    pub name: String,
    /// Its type; empty for a module that only holds others.
    pub kind: &'static str,
    /// How many modules it is inside.
    pub depth: usize,
    /// It and everything in it.
    pub sum: Sum,
    /// The same by phase: forward, backward, optimizer.
    pub phases: [Sum; 3],
    /// It alone, by operation, the longest first.
    pub own: Vec<Operation>,
}

/// The name of what no layer made.
pub(super) const OUTSIDE_LAYERS: &str = "outside layers";
/// The name of what changes parameters.
pub(super) const OPTIMIZER: &str = "optimizer";

/// Modules in the order in which they first ran, each followed by those inside it; then what no layer made;
/// last, the optimizer.
pub(super) fn layers(profile: &Profile, ceilings: &Ceilings) -> Vec<Layer> {
    struct Node<'a> {
        name: &'a str,
        path: &'a str,
        kind: &'static str,
        depth: usize,
        children: Vec<usize>,
        work: Vec<&'a Work>,
    }
    let mut nodes: Vec<Node<'_>> = Vec::new();
    let mut roots: Vec<usize> = Vec::new();
    let mut known: BTreeMap<(&str, bool), usize> = BTreeMap::new();
    for w in &profile.work {
        let updates = w.phase == Phase::Optimizer;
        let path = if updates { "" } else { w.layer.as_deref().unwrap_or("") };
        // Ends of the paths of all modules around it, and of its own.
        let ends = path.match_indices('.').map(|(i, _)| i).chain([path.len()]);
        let (mut at, mut start) = (None, 0);
        for (depth, end) in ends.enumerate() {
            let node = *known.entry((&path[..end], updates)).or_insert_with(|| {
                let name = match (updates, path.is_empty()) {
                    (true, _) => OPTIMIZER,
                    (false, true) => OUTSIDE_LAYERS,
                    (false, false) => &path[start..end],
                };
                let (path, children, work) = (&path[..end], Vec::new(), Vec::new());
                nodes.push(Node { name, path, kind: "", depth, children, work });
                let new = nodes.len() - 1;
                at.map_or(&mut roots, |at: usize| &mut nodes[at].children).push(new);
                new
            });
            (at, start) = (Some(node), end + 1);
        }
        if let Some(at) = at {
            nodes[at].kind = w.layer_type.unwrap_or(nodes[at].kind);
            nodes[at].work.push(w);
        }
    }
    // What no layer made comes last, wherever it ran first.
    roots.sort_by_key(|&i| (nodes[i].path.is_empty(), nodes[i].name == OPTIMIZER));
    // A module comes before those in it, so its sum is complete when all after it were added.
    let own: Vec<Vec<Operation>> =
        nodes.iter().map(|n| operations(n.work.iter().copied(), ceilings)).collect();
    let mut sums: Vec<[Sum; 3]> = own.iter().map(by_phase).collect();
    for i in (0..nodes.len()).rev() {
        for &child in &nodes[i].children {
            let inside = sums[child];
            sums[i].iter_mut().zip(&inside).for_each(|(all, s)| all.join(s));
        }
    }
    let mut own: Vec<Option<Vec<Operation>>> = own.into_iter().map(Some).collect();
    let mut out = Vec::with_capacity(nodes.len());
    let mut next: Vec<usize> = roots.into_iter().rev().collect();
    while let Some(i) = next.pop() {
        let n = &nodes[i];
        out.push(Layer {
            path: n.path.to_owned(),
            name: n.name.to_owned(),
            kind: if n.path.is_empty() { "" } else { n.kind },
            depth: n.depth,
            sum: sums[i].iter().collect(),
            phases: sums[i],
            own: own[i].take().unwrap_or_default(),
        });
        next.extend(n.children.iter().rev());
    }
    out
}
