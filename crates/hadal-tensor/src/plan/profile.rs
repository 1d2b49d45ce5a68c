//! Where the time of evaluations goes: every kernel call and every pass of a fused program, with its
//! work and its traffic. Costs nothing while nobody records.

use crate::Phase;
use hadal_core::{DType, Shape};
use std::cell::RefCell;
use std::time::{Duration, Instant};

/// A kernel call, or one pass of a fused program.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    /// Names of its operations, such as `matmul` or `mul+add+tanh`.
    pub name: String,
    /// Path of the layer that made the last of them, or the product or convolution that the others follow
    /// (in a gradient: of the layer it belongs to).
    pub layer: Option<String>,
    /// Type of that layer.
    pub layer_type: Option<&'static str>,
    /// What its kernel, or the last of them, is there for.
    pub phase: Phase,
    /// Shape of the last result.
    pub shape: Shape,
    /// Its dtype.
    pub dtype: DType,
    /// From the beginning of the recording to its beginning.
    pub start: Duration,
    /// How long it took.
    pub time: Duration,
    /// Arithmetic operations, as in [`TraceNode::flops`](crate::TraceNode::flops).
    pub flops: u64,
    /// Memory that it must at least move: each input read once (broadcast ones as often as they are
    /// stored), each result written once.
    pub bytes: u64,
    /// Memory held by all tensors of the process after it.
    pub memory: usize,
}

/// One evaluation: planning, then the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evaluation {
    /// From the beginning of the recording to its beginning.
    pub start: Duration,
    /// Collecting, and fusing and ordering or finding the plan of an earlier evaluation.
    pub planning: Duration,
    /// All of it.
    pub time: Duration,
    /// Nodes of the graph that had no value.
    pub nodes: usize,
    /// How many pieces of work it became: these many of [`Profile::work`], in the same order.
    pub work: usize,
    /// Its plan was that of an earlier evaluation.
    pub reused: bool,
}

/// What [`profile`] saw.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// Every piece of work, in the order in which it ran.
    pub work: Vec<Work>,
    /// Every evaluation.
    pub evaluations: Vec<Evaluation>,
    /// From beginning to end, with everything that is not evaluation: building the graph, reading data.
    pub total: Duration,
}

impl Profile {
    /// Time inside kernels and programs.
    pub fn busy(&self) -> Duration {
        self.work.iter().map(|w| w.time).sum()
    }
}

struct Recorder {
    began: Instant,
    profile: Profile,
}

thread_local! {
    static RECORDER: RefCell<Option<Recorder>> = const { RefCell::new(None) };
}

/// Runs `f` and records what the evaluations that this thread starts meanwhile do. A recording inside
/// another one keeps what it sees to itself.
///
/// ```
/// use hadal_tensor::{Tensor, profile};
/// let x = Tensor::from_slice(&[1.0f32, 2.0]);
/// let (y, seen) = profile(|| {
///     let y = (&x * 2.0).exp();
///     y.to_vec::<f32>()
/// });
/// assert_eq!(seen.work[0].name, "mul+exp");
/// assert_eq!((seen.work[0].flops, seen.work[0].bytes), (4, 16));
/// # y.unwrap();
/// ```
pub fn profile<R>(f: impl FnOnce() -> R) -> (R, Profile) {
    /// Gives the outer recording its place back, also when `f` panics.
    struct Outer(Option<Recorder>);
    impl Drop for Outer {
        fn drop(&mut self) {
            RECORDER.set(self.0.take());
        }
    }
    let began = Instant::now();
    let _outer = Outer(RECORDER.replace(Some(Recorder { began, profile: Profile::default() })));
    let result = f();
    let mut seen = RECORDER.take().map(|r| r.profile).unwrap_or_default();
    seen.total = began.elapsed();
    (result, seen)
}

/// Whether this thread records.
pub(super) fn recording() -> bool {
    RECORDER.with_borrow(Option::is_some)
}

/// Adds a piece of work that began at `start`; its times are filled in here.
pub(super) fn add(start: Instant, work: impl FnOnce(Duration, Duration) -> Work) {
    let time = start.elapsed();
    RECORDER.with_borrow_mut(|r| {
        if let Some(r) = r {
            let entry = work(start.saturating_duration_since(r.began), time);
            r.profile.work.push(entry);
        }
    });
}

/// Work recorded so far.
pub(super) fn count() -> usize {
    RECORDER.with_borrow(|r| r.as_ref().map_or(0, |r| r.profile.work.len()))
}

/// Adds an evaluation that began at `start` and whose first piece of work was number `first`.
pub(super) fn add_evaluation(start: Instant, planning: Duration, nodes: usize, first: usize, reused: bool) {
    let time = start.elapsed();
    RECORDER.with_borrow_mut(|r| {
        if let Some(r) = r {
            let start = start.saturating_duration_since(r.began);
            let work = r.profile.work.len() - first;
            r.profile.evaluations.push(Evaluation { start, planning, time, nodes, work, reused });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Param, Tag, Tensor, enter, grad};

    #[test]
    fn work_layers_and_traffic() {
        let tag = Tag::new("Linear");
        tag.name("head");
        let w = Param::new(Tensor::from_vec(vec![1.0f32; 15], [3, 5]));
        let x = Tensor::from_vec(vec![1.0f32; 12], [4, 3]);
        let (g, seen) = profile(|| {
            let y = {
                let _in = enter(&tag);
                x.matmul(&w.get()) + Tensor::ones([5], DType::F32)
            };
            grad(&y.square().sum(..), &[&w.get()]).unwrap().remove(0).eval()
        });
        g.unwrap();
        let products: Vec<&Work> = seen.work.iter().filter(|w| w.name.starts_with("matmul")).collect();
        let names: Vec<_> = products.iter().map(|p| p.name.as_str()).collect();
        // The gradient of the square runs behind the product, and y, which is held, is stored as well.
        let forward = "matmul+add+mul+mul";
        assert_eq!(names, [forward, "matmul"], "forward and the weight's gradient: {:?}", seen.work);
        let phases: Vec<Phase> = products.iter().map(|w| w.phase).collect();
        assert_eq!(phases, [Phase::Forward, Phase::Backward], "{:?}", seen.work);
        for (p, (more, stored)) in products.iter().zip([(3 * 4 * 5, 4 * 5), (0, 0)]) {
            assert_eq!((p.layer.as_deref(), p.layer_type), (Some("head"), Some("Linear")));
            assert_eq!(p.flops, 2 * 4 * 3 * 5 + more);
            assert_eq!(p.bytes, 4 * (4 * 3 + 3 * 5 + 4 * 5 + stored));
        }
        assert_eq!(seen.evaluations.len(), 1);
        assert_eq!(seen.evaluations[0].work, seen.work.len());
        assert!(seen.busy() <= seen.evaluations[0].time && seen.evaluations[0].time <= seen.total);
        assert!(seen.work.windows(2).all(|w| w[0].start + w[0].time <= w[1].start));
    }

    #[test]
    fn inner_recordings_and_panics() {
        let one = |n: usize| Tensor::ones([n], DType::F32).exp().eval().unwrap();
        let (_, outer) = profile(|| {
            one(1);
            let (_, inner) = profile(|| one(2));
            assert_eq!(inner.work[0].shape.dims(), [2]);
            let caught = std::panic::catch_unwind(|| profile(|| panic!("in the middle")));
            assert!(caught.is_err());
            one(3);
        });
        let shapes: Vec<_> = outer.work.iter().map(|w| w.shape.dims()[0]).collect();
        assert_eq!(shapes, [1, 3]);
        assert!(!recording());
    }
}
