//! `Tensor`: a cheap handle on a node of the lazily built graph.

use crate::nodes::{Made, bury};
use crate::plan;
use crate::scope;
use hadal_core::ops::Op;
use hadal_core::smallvec::SmallVec;
use hadal_core::{Buffer, DType, Error, ErrorKind, Layout, Result, Shape, Strides, Tag};
use std::panic::Location;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

/// A multi-dimensional array, or the promise of one.
///
/// A tensor is a handle on a node of a graph: an operation, its inputs, the shape and dtype that
/// follow from them, and the caller's place. Calling an operation computes nothing. Values are
/// computed by [`eval`](Tensor::eval), and by whatever needs them: [`item`](Tensor::item),
/// [`to_vec`](Tensor::to_vec), printing, saving, an optimizer's step.
///
/// A call that cannot be right returns a *poisoned* tensor. Whatever is built on it stays poisoned
/// with the first error, and evaluation returns that error.
///
/// ```
/// use hadal_tensor::Tensor;
/// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0]);
/// let y = (&x * 2.0 + 1.0).sum(..);
/// assert_eq!(y.item::<f32>().unwrap(), 15.0);
///
/// let wrong = x.matmul(&Tensor::from_slice(&[1.0f32, 2.0])).relu();
/// assert!(wrong.eval().unwrap_err().to_string().starts_with("matmul: inner sizes differ: 3 and 2"));
/// ```
#[derive(Clone)]
pub struct Tensor(pub(crate) Arc<Node>);

/// Inputs of a node.
pub(crate) type Inputs = SmallVec<[Tensor; 2]>;

pub(crate) struct Node {
    /// Increases along every edge: inputs are older.
    pub id: u64,
    pub op: Op,
    pub shape: Shape,
    pub dtype: DType,
    /// Keeps its inputs after evaluation, because a gradient may be wanted.
    pub tracked: bool,
    /// Gradients do not flow into the inputs.
    pub stop: bool,
    pub tag: Option<Tag>,
    pub phase: scope::Phase,
    pub location: &'static Location<'static>,
    pub region: Option<Arc<scope::Region>>,
    /// It had inputs through which gradients flow, and has forgotten them.
    pub cut: AtomicBool,
    /// Where the walk that last met it has put it.
    pub mark: plan::Mark,
    pub state: Mutex<State>,
}

pub(crate) struct State {
    pub inputs: Inputs,
    pub value: Option<Value>,
}

/// Computed data: a buffer, perhaps shared with views, and where in it the elements lie.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub buffer: Arc<Buffer>,
    pub layout: Layout,
}

impl Node {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
    pub fn value(&self) -> Option<Value> {
        self.state().value.clone()
    }
    pub fn has_value(&self) -> bool {
        self.state().value.is_some()
    }
    /// Calls `f` with the inputs.
    pub fn with_inputs(&self, f: impl FnOnce(&[Tensor])) {
        f(&self.state().inputs);
    }
    /// Calls `f` with the inputs if there is no value, and says whether there is one.
    pub fn unless_valued(&self, f: impl FnOnce(&[Tensor])) -> bool {
        let state = self.state();
        let valued = state.value.is_some();
        if !valued {
            f(&state.inputs);
        }
        valued
    }
    /// The strides of the value.
    pub fn value_strides(&self) -> Option<Strides> {
        self.state().value.as_ref().map(|v| v.layout.strides.clone())
    }
    /// Whether there is a value, and which strides it has, are as given.
    pub fn has_strides(&self, strides: Option<&Strides>) -> bool {
        self.state().value.as_ref().map(|v| &v.layout.strides) == strides
    }
    /// The value's buffer and offset, if it has these strides.
    pub fn lend(&self, strides: &Strides) -> Option<(Arc<Buffer>, usize)> {
        let state = self.state();
        let value = state.value.as_ref().filter(|v| v.layout.strides == *strides)?;
        Some((value.buffer.clone(), value.layout.offset))
    }
    pub fn inputs(&self) -> Inputs {
        self.state().inputs.clone()
    }
    /// Gives it its value; one that it has stays, since another thread may be reading that.
    pub fn set_value(&self, value: Value) {
        self.state().value.get_or_insert(value);
    }
    /// Gives it another value; whoever reads the one before holds that by itself.
    pub fn replace_value(&self, value: Value) {
        self.state().value = Some(value);
    }
    pub fn take_value(&self) -> Option<Value> {
        self.state().value.take()
    }
    /// Whether gradients once flowed through this node to inputs it has forgotten.
    pub fn is_cut(&self) -> bool {
        self.cut.load(Relaxed)
    }
    /// Forgets the inputs: the node becomes a leaf.
    pub fn release(&self) {
        let inputs = std::mem::take(&mut self.state().inputs);
        if !self.stop && self.dtype.is_float() && inputs.iter().any(|i| i.dtype().is_float()) {
            self.cut.store(true, Relaxed);
        }
        bury(inputs);
    }
}

/// Whether memory could ever hold a tensor of this shape: the one check of sizes, which everything that
/// computes with them relies on. Sizes of 0 do not count, so that strides and partial products of an
/// empty shape stay within bounds too.
pub(crate) fn possible(shape: &Shape, dtype: DType) -> bool {
    let bytes = shape.iter().filter(|&&n| n != 0).try_fold(dtype.size(), |b, &n| b.checked_mul(n));
    bytes.is_some_and(|b| b < isize::MAX as usize / 4)
}

pub(crate) fn too_large(op: &'static str, shape: &Shape, dtype: DType) -> Error {
    Error::new(ErrorKind::Shape, op, "more elements than memory could ever hold")
        .operand(shape, dtype)
        .help("check the sizes; one of them may come from a subtraction or a product gone wrong")
}

/// A shape of as many dimensions that is safe to compute with.
pub(crate) fn ones_of(shape: &Shape) -> Shape {
    shape.iter().map(|_| 1).collect()
}

impl Tensor {
    /// Builds a node, or passes on the poison of an input. Everything is made here.
    #[track_caller]
    pub(crate) fn make(op: Op, inputs: Inputs, shape: Shape, dtype: DType) -> Tensor {
        if let Some(bad) = inputs.iter().find(|t| t.is_poisoned()) {
            return bad.clone();
        }
        let origin = scope::origin(Location::caller());
        if let Some(e) = scope::take_deferred() {
            return Tensor::poisoned_at(e, shape, dtype, &origin);
        }
        if !possible(&shape, dtype) {
            return Tensor::poisoned_at(too_large(op.name(), &shape, dtype), ones_of(&shape), dtype, &origin);
        }
        let grad = scope::grad_enabled();
        let tracked = grad && inputs.iter().any(|t| t.0.tracked);
        let (tag, location, region) = (origin.tag, origin.location, scope::region());
        let stop = !grad;
        let t = Made { op, shape, dtype, tracked, stop, tag, location, region, inputs, value: None }.node();
        if scope::eager_enabled()
            && let Err(e) = plan::evaluate(&[&t], &[])
        {
            return Tensor::poison(e, &t.0.shape, t.0.dtype);
        }
        t
    }

    /// A poisoned tensor. `shape` and `dtype` are a best guess, so that code that reads them goes on.
    #[track_caller]
    pub fn poison(error: Error, shape: &Shape, dtype: DType) -> Tensor {
        let origin = scope::origin(Location::caller());
        Tensor::poisoned_at(error, shape.clone(), dtype, &origin)
    }

    /// The result of a call on this tensor that cannot be right; an earlier error comes first.
    #[track_caller]
    pub(crate) fn fail(&self, error: Error, dtype: DType) -> Tensor {
        if self.is_poisoned() { self.clone() } else { Tensor::poison(error, self.shape(), dtype) }
    }

    fn poisoned_at(error: Error, shape: Shape, dtype: DType, origin: &scope::Origin) -> Tensor {
        let error = error.at(origin.location, origin.tag.clone());
        if scope::strict_enabled() {
            panic!("{error}");
        }
        Tensor::node(Op::Poison(error), shape, dtype, None, false)
    }

    fn node(op: Op, shape: Shape, dtype: DType, value: Option<Value>, tracked: bool) -> Tensor {
        let (stop, tag, location, region) = (false, None, Location::caller(), None);
        let inputs = Inputs::new();
        Made { op, shape, dtype, tracked, stop, tag, location, region, inputs, value }.node()
    }

    /// A leaf with this value.
    pub(crate) fn from_value(value: Value, dtype: DType, tracked: bool) -> Tensor {
        Tensor::node(Op::Leaf, value.layout.shape.clone(), dtype, Some(value), tracked)
    }

    /// A leaf without a value: a place for data that comes later.
    pub(crate) fn placeholder(shape: Shape, dtype: DType) -> Tensor {
        Tensor::node(Op::Leaf, shape, dtype, None, false)
    }

    /// A leaf holding a buffer in row-major order.
    pub(crate) fn from_buffer(buffer: Buffer, shape: Shape, dtype: DType) -> Tensor {
        let layout = Layout::contiguous(shape);
        Tensor::from_value(Value { buffer: Arc::new(buffer), layout }, dtype, false)
    }

    /// A copy of this node that is a beginning: followed by training, and no gradient goes beyond it.
    pub(crate) fn rebuild_tracked(&self) -> Tensor {
        self.rebuilt(self.0.inputs(), true, true)
    }

    /// A copy of this node with other inputs, for recomputation.
    pub(crate) fn rebuild(&self, inputs: Inputs) -> Tensor {
        self.rebuilt(inputs, self.0.tracked, self.0.stop)
    }

    fn rebuilt(&self, inputs: Inputs, tracked: bool, stop: bool) -> Tensor {
        let n = &*self.0;
        Made {
            op: n.op.clone(),
            shape: n.shape.clone(),
            dtype: n.dtype,
            tracked,
            stop,
            tag: n.tag.clone(),
            location: n.location,
            region: None,
            inputs,
            value: None,
        }
        .node()
    }

    /// Sizes of the dimensions.
    pub fn shape(&self) -> &Shape {
        &self.0.shape
    }
    /// Sizes of the dimensions, as a slice.
    pub fn dims(&self) -> &[usize] {
        self.0.shape.dims()
    }
    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.0.shape.rank()
    }
    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.0.shape.numel()
    }
    /// The type of the elements.
    pub fn dtype(&self) -> DType {
        self.0.dtype
    }
    /// Size of a dimension; negative counts from the end. A dimension that is not there gives 1, and
    /// the next operation of this thread an error.
    #[track_caller]
    pub fn size(&self, dim: isize) -> usize {
        let rank = self.rank() as isize;
        let d = if dim < 0 { dim + rank } else { dim };
        if (0..rank).contains(&d) {
            return self.0.shape[d as usize];
        }
        if !self.is_poisoned() {
            let e = Error::new(
                ErrorKind::Index,
                "size",
                format!("dimension {dim} of a tensor with {rank} dimensions"),
            )
            .operand(self.shape(), self.dtype());
            scope::defer(e.at(Location::caller(), scope::current_tag()));
        }
        1
    }
    /// The sizes as an array, to take apart: `let [n, c, h, w] = x.sizes();`. A wrong rank gives
    /// ones, and the next operation of this thread returns the error.
    ///
    /// ```
    /// use hadal_tensor::Tensor;
    /// let x = Tensor::from_slice(&[1.0f32, 2.0]);
    /// let [n, _c] = x.sizes();
    /// let e = x.reshape([n as isize, -1]).eval().unwrap_err();
    /// assert!(e.to_string().starts_with("sizes: 2 dimensions expected, the tensor has 1"));
    /// ```
    #[track_caller]
    pub fn sizes<const N: usize>(&self) -> [usize; N] {
        if let Ok(a) = self.dims().try_into() {
            return a;
        }
        if !self.is_poisoned() {
            let e = Error::new(
                ErrorKind::Shape,
                "sizes",
                format!("{N} dimensions expected, the tensor has {}", self.rank()),
            )
            .operand(self.shape(), self.dtype())
            .help("reshape or unsqueeze the tensor before this line");
            scope::defer(e.at(Location::caller(), scope::current_tag()));
        }
        [1; N]
    }

    /// Whether an error happened on the way here.
    pub fn is_poisoned(&self) -> bool {
        matches!(self.0.op, Op::Poison(_))
    }
    /// The error this tensor carries, if it is poisoned.
    pub fn error(&self) -> Option<&Error> {
        match &self.0.op {
            Op::Poison(e) => Some(e),
            _ => None,
        }
    }
    /// This tensor, or its error.
    pub fn checked(&self) -> Result<&Tensor> {
        match self.error() {
            Some(e) => Err(e.clone()),
            None => Ok(self),
        }
    }
    /// Whether the values are computed already.
    pub fn is_evaluated(&self) -> bool {
        self.0.has_value()
    }
    /// Whether this and `other` are the same node.
    pub fn same(&self, other: &Tensor) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Computes the values, with everything they need, and pending state updates.
    ///
    /// # Errors
    /// The first error on the way here; an index out of range found in data; no memory.
    pub fn eval(&self) -> Result<()> {
        eval(&[self])
    }

    /// A leaf with the same value that remembers nothing of how it came about; evaluates.
    pub fn materialize(&self) -> Result<Tensor> {
        self.eval()?;
        Ok(Tensor::from_value(self.force()?, self.dtype(), false))
    }

    /// The same values, through which no gradient flows.
    #[track_caller]
    pub fn detach(&self) -> Tensor {
        scope::no_grad(|| self.view_as(Op::Reshape, self.shape().clone()))
    }

    /// A leaf of the same values for which the graph behind its results is kept after evaluation, so
    /// that gradients by it can be taken then too (PyTorch's `requires_grad_`).
    #[track_caller]
    pub fn requires_grad(&self) -> Tensor {
        if self.is_poisoned() {
            return self.clone();
        }
        match self.force() {
            Ok(v) => Tensor::from_value(v, self.dtype(), true),
            Err(e) => self.fail(e, self.dtype()),
        }
    }

    /// The value, computed if need be.
    pub(crate) fn force(&self) -> Result<Value> {
        if let Some(v) = self.0.value() {
            return Ok(v);
        }
        self.eval()?;
        self.0.value().ok_or_else(|| plan::given_away(self.0.op.name()))
    }
}

/// Computes several tensors in one plan, sharing what they share, and all pending state updates.
///
/// # Errors
/// The first error found; nothing is computed when any of the tensors is poisoned.
pub fn eval(tensors: &[&Tensor]) -> Result<()> {
    plan::evaluate(tensors, &[])
}

/// Like [`eval`]; the graph behind the tensors in `release` is forgotten, even where gradients could
/// still be asked for. A training step does this with its loss.
pub fn eval_and_release(tensors: &[&Tensor], release: &[&Tensor]) -> Result<()> {
    plan::evaluate(tensors, release)
}
