//! What changes while a model is used: parameters, and state such as running averages.

use crate::Tensor;
use hadal_core::{DType, Error, ErrorKind, Result, Shape};
use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

/// A learnable tensor of a model.
///
/// A cell that its clones share: cloning a `Param` into two fields ties them. Its tensor is always a
/// leaf or a constant, so that training steps never pile up a graph.
#[derive(Clone)]
pub struct Param(Arc<ParamCell>);

struct ParamCell {
    inner: Mutex<ParamInner>,
}
struct ParamInner {
    tensor: Tensor,
    frozen: bool,
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(|e| e.into_inner())
}

impl Param {
    /// A parameter that starts as `tensor`. It may be lazy: initialisation runs at the first use.
    pub fn new(tensor: Tensor) -> Param {
        let tensor = tensor.into_tracked();
        Param(Arc::new(ParamCell { inner: Mutex::new(ParamInner { tensor, frozen: false }) }))
    }
    /// The tensor as it is now.
    pub fn get(&self) -> Tensor {
        lock(&self.0.inner).tensor.clone()
    }
    /// Replaces the tensor; shape and dtype may change.
    pub fn set(&self, tensor: Tensor) {
        let tensor = tensor.into_tracked();
        lock(&self.0.inner).tensor = tensor;
    }
    /// Gives the parameter the values of a tensor of its shape and dtype; evaluates. Other than after
    /// [`set`](Param::set), it stays the same leaf: what was built on it before reads the new values, and
    /// gradients by it reach it. (PyTorch's change of `param.data` in place.)
    ///
    /// # Errors
    /// Another shape or dtype; any error of the computation. The parameter keeps its values then.
    #[track_caller]
    pub fn overwrite(&self, values: &Tensor) -> Result<()> {
        let old = self.get();
        if (old.shape(), old.dtype()) != (values.shape(), values.dtype()) {
            let e = Error::new(
                ErrorKind::Shape,
                "overwrite",
                "the values must have the parameter's shape and dtype",
            )
            .operand(old.shape(), old.dtype())
            .operand(values.shape(), values.dtype());
            return values.checked().and(Err(e.at(Location::caller(), crate::scope::current_tag())));
        }
        crate::eval(&[&old, values])?;
        old.0.replace_value(values.force()?);
        Ok(())
    }
    /// Takes the tensor out, leaving a placeholder of no elements, so that its buffer can be
    /// overwritten. Put one back with [`set`](Param::set).
    pub fn take(&self) -> Tensor {
        let mut inner = lock(&self.0.inner);
        let empty = Tensor::zeros([0], inner.tensor.dtype());
        std::mem::replace(&mut inner.tensor, empty)
    }
    /// Whether training leaves it alone.
    pub fn is_frozen(&self) -> bool {
        lock(&self.0.inner).frozen
    }
    /// Makes training leave it alone, or not.
    pub fn freeze(&self, frozen: bool) {
        lock(&self.0.inner).frozen = frozen;
    }
    /// Its shape.
    pub fn shape(&self) -> Shape {
        lock(&self.0.inner).tensor.shape().clone()
    }
    /// Its dtype.
    pub fn dtype(&self) -> DType {
        lock(&self.0.inner).tensor.dtype()
    }
    /// Whether both are the same cell (tied weights).
    pub fn same(&self, other: &Param) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl std::fmt::Debug for Param {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let t = self.get();
        write!(f, "Param({} {})", t.shape(), t.dtype())
    }
}

/// A tensor that a model keeps up to date itself, such as a running mean. Not learned, but saved.
///
/// [`update`](State::update) may be given a lazy tensor: every evaluation anywhere computes pending
/// updates too and cuts them loose, so that a forgotten state never grows a graph.
#[derive(Clone)]
pub struct State(Arc<StateCell>);

struct StateCell {
    inner: Mutex<StateInner>,
}
struct StateInner {
    current: Tensor,
    pending: Option<Tensor>,
}

static PENDING: Mutex<Vec<Weak<StateCell>>> = Mutex::new(Vec::new());

impl State {
    /// State that starts as `tensor`.
    pub fn new(tensor: Tensor) -> State {
        State(Arc::new(StateCell { inner: Mutex::new(StateInner { current: tensor, pending: None }) }))
    }
    /// The tensor as it is now, updates included.
    pub fn get(&self) -> Tensor {
        let inner = lock(&self.0.inner);
        inner.pending.clone().unwrap_or_else(|| inner.current.clone())
    }
    /// Replaces the tensor by one that may be lazy. A poisoned one is ignored: the computation it
    /// comes from reports its error, and the state stays what it was.
    pub fn update(&self, tensor: Tensor) {
        if tensor.is_poisoned() {
            return;
        }
        let tensor = crate::no_grad(|| tensor.detach());
        let mut inner = lock(&self.0.inner);
        let first = inner.pending.is_none();
        inner.pending = Some(tensor);
        drop(inner);
        if first {
            lock(&PENDING).push(Arc::downgrade(&self.0));
        }
    }
    /// Replaces the tensor by one that has its value, dropping pending updates.
    pub fn set(&self, tensor: Tensor) -> Result<()> {
        let leaf = tensor.materialize()?;
        let mut inner = lock(&self.0.inner);
        inner.pending = None;
        inner.current = leaf;
        Ok(())
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let t = self.get();
        write!(f, "State({} {})", t.shape(), t.dtype())
    }
}

/// An update on its way into an evaluation.
pub(crate) struct Pending {
    cell: Arc<StateCell>,
    tensor: Tensor,
    done: bool,
}

impl Pending {
    pub fn value(&self) -> &Tensor {
        &self.tensor
    }
    /// The evaluation succeeded: the state becomes a leaf.
    pub fn commit(mut self) {
        let mut inner = lock(&self.cell.inner);
        if let Some(v) = self.tensor.0.value() {
            inner.current = Tensor::from_value(v, self.tensor.dtype(), false);
        }
        self.done = true;
        if inner.pending.as_ref().is_some_and(|p| p.same(&self.tensor)) {
            inner.pending = None;
        } else if inner.pending.is_some() {
            // A newer update that came meanwhile waits for the next evaluation.
            drop(inner);
            lock(&PENDING).push(Arc::downgrade(&self.cell));
        }
    }
}

impl Drop for Pending {
    /// The update itself cannot be computed: the state goes back to its last good value. Keeping it
    /// would fail every later evaluation.
    fn drop(&mut self) {
        if !self.done {
            let mut inner = lock(&self.cell.inner);
            if inner.pending.as_ref().is_some_and(|p| p.same(&self.tensor)) {
                inner.pending = None;
            } else if inner.pending.is_some() {
                drop(inner);
                lock(&PENDING).push(Arc::downgrade(&self.cell));
            }
        }
    }
}

pub(crate) fn take_pending() -> Vec<Pending> {
    let cells = std::mem::take(&mut *lock(&PENDING));
    cells
        .iter()
        .filter_map(Weak::upgrade)
        .filter_map(|cell| {
            let tensor = lock(&cell.inner).pending.clone()?;
            Some(Pending { cell, tensor, done: false })
        })
        .collect()
}
