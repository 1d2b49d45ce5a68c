//! What surrounds an operation when it is called: the layer it runs in, the place in the caller's
//! source, and the switches. All of it is per thread.

use hadal_core::{Error, Tag};
use std::cell::{Cell, RefCell};
use std::panic::Location;
use std::sync::{Arc, OnceLock};

/// A region whose intermediate results are computed again in the backward pass.
#[derive(Debug)]
pub(crate) struct Region;

/// What a part of the graph is there for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// What a program computes.
    #[default]
    Forward,
    /// Gradients, and what is recomputed for them.
    Backward,
    /// Changes of parameters by their gradients.
    Optimizer,
}

impl Phase {
    /// In lower case, as in reports.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Forward => "forward",
            Phase::Backward => "backward",
            Phase::Optimizer => "optimizer",
        }
    }
}

#[derive(Clone, Copy)]
struct Flags {
    phase: Phase,
    grad: bool,
    eager: bool,
    strict: bool,
    fuse: bool,
    check_finite: bool,
}

thread_local! {
    static FLAGS: Cell<Flags> =
        const {
            Cell::new(Flags {
                phase: Phase::Forward,
                grad: true,
                eager: false,
                strict: false,
                fuse: true,
                check_finite: false,
            })
        };
    static TAGS: RefCell<Vec<Tag>> = const { RefCell::new(Vec::new()) };
    static CALLER: Cell<Option<&'static Location<'static>>> = const { Cell::new(None) };
    static ORIGIN: RefCell<Option<Origin>> = const { RefCell::new(None) };
    static REGION: RefCell<Option<Arc<Region>>> = const { RefCell::new(None) };
    static DEFERRED: RefCell<Option<Error>> = const { RefCell::new(None) };
    static HAS_DEFERRED: Cell<bool> = const { Cell::new(false) };
}

/// Where a node comes from.
#[derive(Clone)]
pub(crate) struct Origin {
    pub location: &'static Location<'static>,
    pub tag: Option<Tag>,
}

/// Restores what a scope changed when dropped, also when the scope is left by a panic.
struct Restore<F: FnMut()>(F);
impl<F: FnMut()> Drop for Restore<F> {
    fn drop(&mut self) {
        (self.0)()
    }
}

fn with_flags<R>(change: impl FnOnce(&mut Flags), f: impl FnOnce() -> R) -> R {
    let old = FLAGS.get();
    let mut new = old;
    change(&mut new);
    FLAGS.set(new);
    let _restore = Restore(move || FLAGS.set(old));
    f()
}

/// Runs `f`; gradients do not flow into what it builds (PyTorch's `no_grad`).
///
/// ```
/// use hadal_tensor::{Tensor, grad, no_grad};
/// let x = Tensor::from_slice(&[2.0f32, 3.0]);
/// let y = no_grad(|| &x * &x) * &x;
/// assert_eq!(grad(&y.sum(..), &[&x]).unwrap()[0].to_vec::<f32>().unwrap(), [4.0, 9.0]);
/// ```
pub fn no_grad<R>(f: impl FnOnce() -> R) -> R {
    with_flags(|s| s.grad = false, f)
}

/// Runs `f` with every operation evaluated at its call, for debugging. Results are the same bits.
pub fn eager<R>(f: impl FnOnce() -> R) -> R {
    with_flags(|s| s.eager = true, f)
}

/// Runs `f`; the first wrong call panics right there instead of returning a poisoned tensor, so that
/// a debugger or a backtrace shows it. The only panic the library has, and only on request.
pub fn strict<R>(f: impl FnOnce() -> R) -> R {
    with_flags(|s| s.strict = true, f)
}

/// Runs `f` with fusion switched off: every pointwise operation is its own pass over memory. Results
/// are the same bits; only time and memory differ.
pub fn unfused<R>(f: impl FnOnce() -> R) -> R {
    with_flags(|s| s.fuse = false, f)
}

/// Runs `f`; evaluation stops with an error at the first operation whose result has a NaN or an
/// infinity, naming it. Fusion is off meanwhile, so that it is exactly that operation.
pub fn check_finite<R>(f: impl FnOnce() -> R) -> R {
    with_flags(
        |s| {
            s.check_finite = true;
            s.fuse = false;
        },
        f,
    )
}

/// Runs `f`; what it builds counts as this phase in [`profile`](crate::profile()). Gradients are
/// [`Phase::Backward`] by themselves.
///
/// ```
/// use hadal_tensor::{Phase, Tensor, in_phase, profile};
/// let x = Tensor::from_slice(&[1.0f32, 2.0]);
/// let y = in_phase(Phase::Optimizer, || &x * 0.5);
/// let (outcome, seen) = profile(|| y.eval());
/// assert_eq!(seen.work[0].phase, Phase::Optimizer);
/// # outcome.unwrap();
/// ```
pub fn in_phase<R>(phase: Phase, f: impl FnOnce() -> R) -> R {
    with_flags(|s| s.phase = phase, f)
}

pub(crate) fn phase() -> Phase {
    FLAGS.get().phase
}
pub(crate) fn grad_enabled() -> bool {
    FLAGS.get().grad
}
pub(crate) fn eager_enabled() -> bool {
    FLAGS.get().eager
}
pub(crate) fn strict_enabled() -> bool {
    FLAGS.get().strict
}
pub(crate) fn fusion_enabled() -> bool {
    FLAGS.get().fuse
}
pub(crate) fn finite_checked() -> bool {
    FLAGS.get().check_finite
}

/// Leaves the layer entered when dropped.
pub struct TagGuard(#[allow(dead_code)] CallerGuard);
impl Drop for TagGuard {
    fn drop(&mut self) {
        TAGS.with_borrow_mut(|t| {
            t.pop();
        });
    }
}

/// From here until the guard is dropped, errors name this layer, and its caller's line.
#[must_use = "the layer is left when the guard is dropped"]
#[track_caller]
pub fn enter(tag: &Tag) -> TagGuard {
    TAGS.with_borrow_mut(|t| t.push(tag.clone()));
    TagGuard(from_here())
}

/// Forgets the caller's line when dropped.
pub struct CallerGuard(Option<&'static Location<'static>>);
impl Drop for CallerGuard {
    fn drop(&mut self) {
        CALLER.set(self.0);
    }
}

/// From here until the guard is dropped, what the library itself calls on the way counts as called where
/// the caller of the calling function stands: `#[track_caller]` does not reach through closures and `dyn`.
#[must_use = "the line is forgotten when the guard is dropped"]
#[track_caller]
pub fn from_here() -> CallerGuard {
    let outer = CALLER.get();
    CALLER.set(Some(users_line(Location::caller())));
    CallerGuard(outer)
}

/// The line itself, unless it is the library's and a user's is known behind it.
fn users_line(caller: &'static Location<'static>) -> &'static Location<'static> {
    match CALLER.get() {
        Some(outer) if is_ours(caller.file()) => outer,
        _ => caller,
    }
}

/// Whether a file is a source of this crate or of the layers, which lie side by side.
fn is_ours(file: &str) -> bool {
    const HERE: &str = file!();
    static BESIDE: OnceLock<usize> = OnceLock::new();
    let beside = *BESIDE.get_or_init(|| HERE.rfind("hadal-tensor").unwrap_or(0));
    let Some(rest) = file.strip_prefix(&HERE[..beside]) else { return false };
    (rest.starts_with("hadal-nn") || rest.starts_with("hadal-tensor"))
        && rest.split(['/', '\\']).nth(1) == Some("src")
}

pub(crate) fn current_tag() -> Option<Tag> {
    TAGS.with_borrow(|t| t.last().cloned())
}

/// Runs `f`; nodes it builds count as made at `origin`. Gradients and compositions use it.
pub(crate) fn with_origin<R>(origin: Origin, f: impl FnOnce() -> R) -> R {
    let old = ORIGIN.replace(Some(origin));
    let mut old = Some(old);
    let _restore = Restore(move || {
        ORIGIN.replace(old.take().flatten());
    });
    f()
}

/// Runs `f`; nodes it builds, in closures too, count as made where the caller of the calling method
/// stands.
#[track_caller]
pub(crate) fn composed<R>(f: impl FnOnce() -> R) -> R {
    with_origin(origin(Location::caller()), f)
}

pub(crate) fn origin(caller: &'static Location<'static>) -> Origin {
    ORIGIN
        .with_borrow(|o| o.clone())
        .unwrap_or_else(|| Origin { location: users_line(caller), tag: current_tag() })
}

/// Runs `f`; nodes it builds belong to a region to recompute in the backward pass.
pub(crate) fn with_region<R>(f: impl FnOnce() -> R) -> R {
    let old = REGION.replace(Some(Arc::new(Region)));
    let mut old = Some(old);
    let _restore = Restore(move || {
        REGION.replace(old.take().flatten());
    });
    f()
}

pub(crate) fn region() -> Option<Arc<Region>> {
    REGION.with_borrow(|r| r.clone())
}

/// Remembers an error that no tensor could carry (a wrong rank found by a shape accessor). The next
/// operation or evaluation of this thread returns it.
pub(crate) fn defer(error: Error) {
    DEFERRED.with_borrow_mut(|d| {
        d.get_or_insert(error);
    });
    HAS_DEFERRED.set(true);
}

pub(crate) fn take_deferred() -> Option<Error> {
    if !HAS_DEFERRED.get() {
        return None;
    }
    HAS_DEFERRED.set(false);
    DEFERRED.take()
}
