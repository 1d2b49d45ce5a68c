//! Views: the same data under another layout.

use crate::Tensor;
use crate::operand::{ShapeArg, new_dim_error, resolve_dim, signed};
use hadal_core::ops::{Axes, Op};
use hadal_core::smallvec::{SmallVec, smallvec};
use hadal_core::{Error, ErrorKind, Scalar, Shape};

type Steps = SmallVec<[isize; 4]>;

/// What to take of a dimension in [`Tensor::slice`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slice {
    start: Option<isize>,
    end: Option<isize>,
    step: isize,
    single: bool,
}

impl Slice {
    /// Python's `start:end:step`; negative positions count from the end, `None` means all the way.
    pub fn new(start: Option<isize>, end: Option<isize>, step: isize) -> Slice {
        Slice { start, end, step, single: false }
    }
    /// The same range with another step.
    pub fn step(self, step: isize) -> Slice {
        Slice { step, ..self }
    }
}
macro_rules! slice_from {
    ($($t:ty),*) => { $(
        /// One position; the dimension goes away.
        impl From<$t> for Slice { fn from(i: $t) -> Slice { Slice { start: Some(signed(i)), end: None, step: 1, single: true } } }
        impl From<std::ops::Range<$t>> for Slice { fn from(r: std::ops::Range<$t>) -> Slice { range(signed(r.start), Some(signed(r.end))) } }
        impl From<std::ops::RangeFrom<$t>> for Slice { fn from(r: std::ops::RangeFrom<$t>) -> Slice { range(signed(r.start), None) } }
        impl From<std::ops::RangeTo<$t>> for Slice { fn from(r: std::ops::RangeTo<$t>) -> Slice { range(0, Some(signed(r.end))) } }
    )* };
}
slice_from!(i32, isize, usize);
impl From<std::ops::RangeFull> for Slice {
    fn from(_: std::ops::RangeFull) -> Slice {
        Slice::new(None, None, 1)
    }
}
fn range(start: isize, end: Option<isize>) -> Slice {
    Slice::new(Some(start), end, 1)
}

/// Several slices, one per dimension from the first: `s![1, .., 2..5]`.
///
/// ```
/// use hadal_tensor::{Slice, Tensor, s};
/// let x = Tensor::arange(0, 24, 1).reshape([2, 3, 4]);
/// assert_eq!(x.slice(&s![1, .., 1..3]).dims(), [3, 2]);
/// assert_eq!(x.slice(&s![0, 0, Slice::new(None, None, -1)]).to_vec::<i64>().unwrap(), [3, 2, 1, 0]);
/// ```
#[macro_export]
macro_rules! s {
    ($($e:expr),* $(,)?) => { [$($crate::Slice::from($e)),*] };
}
impl From<&Slice> for Slice {
    fn from(s: &Slice) -> Slice {
        *s
    }
}

impl Tensor {
    /// Whether this is 0-d and `dim` the dimension that PyTorch lets one name then, 0 or -1.
    pub(crate) fn is_only_dim(&self, dim: isize) -> bool {
        self.rank() == 0 && (dim == 0 || dim == -1)
    }

    /// A view node.
    #[track_caller]
    pub(crate) fn view_as(&self, op: Op, shape: Shape) -> Tensor {
        Tensor::make(op, smallvec![self.clone()], shape, self.dtype())
    }

    /// The same elements in another shape; one size may be -1, to be worked out.
    ///
    /// # Errors
    /// The number of elements differs, or more than one size is -1.
    #[track_caller]
    pub fn reshape(&self, shape: impl ShapeArg) -> Tensor {
        let want = shape.sizes();
        match infer_shape(&want, self.numel()) {
            Some(s) if s == *self.shape() => self.clone(),
            Some(s) => self.view_as(Op::Reshape, s),
            None => {
                let e = Error::new(
                    ErrorKind::Shape,
                    "reshape",
                    format!("{} elements do not fit shape {want:?}", self.numel()),
                )
                .operand(self.shape(), self.dtype())
                .help(
                    "the sizes multiply to the number of elements; one of them may be -1, to be worked out",
                );
                self.fail(e, self.dtype())
            }
        }
    }

    /// Dimensions from `start` to the last become one.
    #[track_caller]
    pub fn flatten(&self, start: isize) -> Tensor {
        if self.rank() == 0 {
            return self.reshape([1]);
        }
        match resolve_dim("flatten", self, start) {
            Ok(d) => {
                let mut dims: Vec<isize> = self.dims()[..d].iter().map(|&n| n as isize).collect();
                dims.push(self.dims()[d..].iter().product::<usize>() as isize);
                self.reshape(dims)
            }
            Err(e) => self.fail(e, self.dtype()),
        }
    }

    /// Dimensions reordered: `out.dims()[i] = self.dims()[perm[i]]`.
    #[track_caller]
    pub fn permute(&self, perm: impl ShapeArg) -> Tensor {
        let want = perm.sizes();
        let mut axes = Axes::new();
        for &d in &want {
            match resolve_dim("permute", self, d) {
                Ok(a) if !axes.contains(&a) => axes.push(a),
                Ok(_) => break,
                Err(e) => return self.fail(e, self.dtype()),
            }
        }
        if axes.len() != self.rank() || want.len() != self.rank() {
            let e = Error::new(
                ErrorKind::Shape,
                "permute",
                format!("{want:?} is no reordering of {} dimensions", self.rank()),
            )
            .operand(self.shape(), self.dtype())
            .help("name every dimension once, in the order wanted");
            return self.fail(e, self.dtype());
        }
        self.permute_axes(&axes)
    }

    #[track_caller]
    pub(crate) fn permute_axes(&self, axes: &[usize]) -> Tensor {
        if axes.iter().enumerate().all(|(i, &a)| i == a) {
            return self.clone();
        }
        let shape = axes.iter().map(|&a| self.dims()[a]).collect();
        self.view_as(Op::Permute(axes.into()), shape)
    }

    /// Two dimensions exchanged.
    #[track_caller]
    pub fn transpose(&self, a: isize, b: isize) -> Tensor {
        if self.is_only_dim(a) && self.is_only_dim(b) {
            return self.clone();
        }
        match (resolve_dim("transpose", self, a), resolve_dim("transpose", self, b)) {
            (Ok(a), Ok(b)) => {
                let mut axes: Axes = (0..self.rank()).collect();
                axes.swap(a, b);
                self.permute_axes(&axes)
            }
            (Err(e), _) | (_, Err(e)) => self.fail(e, self.dtype()),
        }
    }

    /// The last two dimensions exchanged; tensors with fewer stay as they are.
    #[track_caller]
    pub fn t(&self) -> Tensor {
        if self.rank() < 2 { self.clone() } else { self.transpose(-2, -1) }
    }

    /// Broadcast to a shape: sizes of 1 repeat, and dimensions may be added in front. -1 keeps a size.
    #[track_caller]
    pub fn expand(&self, shape: impl ShapeArg) -> Tensor {
        let want = shape.sizes();
        let pad = want.len().checked_sub(self.rank());
        let resolved: Option<Shape> = pad.and_then(|pad| {
            want.iter()
                .enumerate()
                .map(|(i, &d)| match (d, i.checked_sub(pad).map(|k| self.dims()[k])) {
                    (-1, have) => have,
                    (d, Some(have)) if have == d as usize || have == 1 => usize::try_from(d).ok(),
                    (d, None) => usize::try_from(d).ok(),
                    _ => None,
                })
                .collect()
        });
        match resolved {
            Some(s) => self.expand_to(&s),
            None => {
                let e = Error::new(ErrorKind::Shape, "expand", format!("cannot broadcast to {want:?}"))
                    .operand(self.shape(), self.dtype())
                    .help("only sizes of 1 can repeat, counted from the last dimension");
                self.fail(e, self.dtype())
            }
        }
    }

    /// Broadcast to a shape known to fit.
    #[track_caller]
    pub(crate) fn expand_to(&self, shape: &Shape) -> Tensor {
        if self.shape() == shape { self.clone() } else { self.view_as(Op::Expand, shape.clone()) }
    }

    /// Broadcast to the shape of another tensor.
    #[track_caller]
    pub fn expand_as(&self, other: &Tensor) -> Tensor {
        if other.is_poisoned() && !self.is_poisoned() {
            return other.clone();
        }
        self.expand(other.shape())
    }

    /// Without dimension `dim`, if its size is 1.
    #[track_caller]
    pub fn squeeze(&self, dim: isize) -> Tensor {
        if self.is_only_dim(dim) {
            return self.clone();
        }
        match resolve_dim("squeeze", self, dim) {
            Ok(d) if self.dims()[d] == 1 => {
                let mut dims = self.dims().to_vec();
                dims.remove(d);
                self.reshape(dims)
            }
            Ok(_) => self.clone(),
            Err(e) => self.fail(e, self.dtype()),
        }
    }

    /// Without any dimension of size 1.
    #[track_caller]
    pub fn squeeze_all(&self) -> Tensor {
        let dims: Vec<usize> = self.dims().iter().copied().filter(|&d| d != 1).collect();
        self.reshape(dims)
    }

    /// With a new dimension of size 1 at `dim`.
    #[track_caller]
    pub fn unsqueeze(&self, dim: isize) -> Tensor {
        let rank = self.rank() as isize;
        let d = if dim < 0 { dim + rank + 1 } else { dim };
        if !(0..=rank).contains(&d) {
            return self.fail(new_dim_error("unsqueeze", self, dim), self.dtype());
        }
        let mut dims = self.dims().to_vec();
        dims.insert(d as usize, 1);
        self.reshape(dims)
    }

    /// `length` elements of a dimension from `start` on.
    #[track_caller]
    pub fn narrow(&self, dim: isize, start: usize, length: usize) -> Tensor {
        let d = match resolve_dim("narrow", self, dim) {
            Ok(d) => d,
            Err(e) => return self.fail(e, self.dtype()),
        };
        if start.checked_add(length).is_none_or(|end| end > self.dims()[d]) {
            let e = Error::new(
                ErrorKind::Index,
                "narrow",
                format!(
                    "elements {start} to {} of dimension {dim}, which has {}",
                    start.saturating_add(length),
                    self.dims()[d]
                ),
            )
            .operand(self.shape(), self.dtype())
            .help("start and length must stay within the dimension");
            return self.fail(e, self.dtype());
        }
        self.narrow_axis(d, start, length, 1)
    }

    #[track_caller]
    pub(crate) fn narrow_axis(&self, axis: usize, start: usize, length: usize, step: isize) -> Tensor {
        let mut starts: Axes = SmallVec::from_elem(0, self.rank());
        let mut steps: Steps = SmallVec::from_elem(1, self.rank());
        let mut shape = self.shape().clone();
        starts[axis] = start;
        steps[axis] = step;
        if start == 0 && step == 1 && shape[axis] == length {
            return self.clone();
        }
        shape[axis] = length;
        self.view_as(Op::Slice { starts, steps }, shape)
    }

    /// Position `index` of a dimension, which goes away; negative counts from the end.
    #[track_caller]
    pub fn select(&self, dim: isize, index: isize) -> Tensor {
        match resolve_dim("select", self, dim) {
            Ok(d) => {
                let mut all = vec![Slice::from(..); d];
                all.push(Slice::from(index));
                self.slice(&all)
            }
            Err(e) => self.fail(e, self.dtype()),
        }
    }

    /// Python's basic indexing; see [`s!`](crate::s). Dimensions not named are taken whole.
    #[track_caller]
    pub fn slice(&self, slices: &[Slice]) -> Tensor {
        if slices.len() > self.rank() {
            let e = Error::new(
                ErrorKind::Index,
                "slice",
                format!("{} indices for {} dimensions", slices.len(), self.rank()),
            )
            .operand(self.shape(), self.dtype())
            .help("give at most one for each dimension");
            return self.fail(e, self.dtype());
        }
        let mut starts: Axes = SmallVec::from_elem(0, self.rank());
        let mut steps: Steps = SmallVec::from_elem(1, self.rank());
        let mut shape = self.shape().clone();
        let mut kept: Vec<usize> = Vec::new();
        for d in 0..self.rank() {
            let s = slices.get(d).copied().unwrap_or(Slice::new(None, None, 1));
            let n = self.dims()[d] as isize;
            let problem = if s.single {
                let i = s.start.unwrap_or(0);
                let at = if i < 0 { i + n } else { i };
                starts[d] = at.max(0) as usize;
                shape[d] = 1;
                (!(0..n).contains(&at)).then(|| format!("index {i} of dimension {d}, which has {n} elements"))
            } else {
                let (start, len) = python_range(s, n);
                starts[d] = start as usize;
                // One element has no next: its step may be of any size.
                steps[d] = if len > 1 { s.step } else { 1 };
                shape[d] = len;
                kept.push(len);
                (s.step == 0).then(|| "a step of 0".to_owned())
            };
            if let Some(p) = problem {
                let e = Error::new(ErrorKind::Index, "slice", p)
                    .operand(self.shape(), self.dtype())
                    .help("positions count from 0, or from -1 for the last; steps are not 0");
                return self.fail(e, self.dtype());
            }
        }
        let whole = shape == *self.shape() && steps.iter().all(|&s| s == 1);
        let view = if whole { self.clone() } else { self.view_as(Op::Slice { starts, steps }, shape) };
        view.reshape(kept)
    }

    /// Elements of these dimensions in reverse order.
    #[track_caller]
    pub fn flip(&self, dims: impl crate::Dims) -> Tensor {
        let axes = match crate::operand::resolve_dims("flip", self, dims) {
            Ok(a) => a,
            Err(e) => return self.fail(e, self.dtype()),
        };
        let mut starts: Axes = SmallVec::from_elem(0, self.rank());
        let mut steps: Steps = SmallVec::from_elem(1, self.rank());
        for a in axes {
            starts[a] = self.dims()[a].saturating_sub(1);
            steps[a] = -1;
        }
        self.view_as(Op::Slice { starts, steps }, self.shape().clone())
    }

    /// Sliding windows along a dimension, `step` apart: its size becomes the number of windows, and
    /// a last dimension of length `size` is added.
    #[track_caller]
    pub fn unfold(&self, dim: isize, size: usize, step: usize) -> Tensor {
        if self.is_only_dim(dim) {
            return self.reshape([1]).unfold(0, size, step).reshape([-1]);
        }
        let d = match resolve_dim("unfold", self, dim) {
            Ok(d) => d,
            Err(e) => return self.fail(e, self.dtype()),
        };
        let n = self.dims()[d];
        if size == 0 || step == 0 || size > n {
            let e = Error::new(
                ErrorKind::Value,
                "unfold",
                format!("windows of {size} every {step} in dimension {dim}, which has {n} elements"),
            )
            .operand(self.shape(), self.dtype())
            .help("size and step are at least 1, and a window fits into the dimension");
            return self.fail(e, self.dtype());
        }
        let mut shape = self.shape().clone();
        shape[d] = (n - size) / step + 1;
        shape.push(size);
        self.view_as(Op::Unfold { axis: d, size, step }, shape)
    }

    /// A copy in row-major order (none if it is so already, known when evaluated).
    #[track_caller]
    pub fn contiguous(&self) -> Tensor {
        Tensor::make(Op::Copy, smallvec![self.clone()], self.shape().clone(), self.dtype())
    }

    /// Zeros of shape `shape`, with this tensor placed where a slice with these parameters reads.
    #[track_caller]
    pub(crate) fn place(&self, shape: Shape, starts: Axes, steps: Steps, fill: Scalar) -> Tensor {
        Tensor::make(Op::Place { starts, steps, fill }, smallvec![self.clone()], shape, self.dtype())
    }
}

/// Start and length of Python's `start:end:step` in a dimension of `n`.
fn python_range(s: Slice, n: isize) -> (isize, usize) {
    let wrap = |i: isize| if i < 0 { i.saturating_add(n) } else { i };
    if s.step > 0 {
        let start = wrap(s.start.unwrap_or(0)).clamp(0, n);
        let end = wrap(s.end.unwrap_or(n)).clamp(0, n);
        let len = (end - start).max(0) as usize;
        (start, len.div_ceil(s.step as usize))
    } else {
        let start = wrap(s.start.unwrap_or(n - 1)).clamp(-1, n - 1);
        let end = s.end.map_or(-1, |e| wrap(e).clamp(-1, n - 1));
        let len = (start - end).max(0) as usize;
        (start.max(0), len.div_ceil(s.step.unsigned_abs().max(1)))
    }
}

fn infer_shape(want: &[isize], numel: usize) -> Option<Shape> {
    let mut known = 1usize;
    let mut free = None;
    for (i, &d) in want.iter().enumerate() {
        match d {
            -1 if free.is_none() => free = Some(i),
            d if d >= 0 => known = known.checked_mul(d as usize)?,
            _ => return None,
        }
    }
    let mut shape: Shape = want.iter().map(|&d| d.max(0) as usize).collect();
    match free {
        Some(i) if known > 0 && numel.is_multiple_of(known) => shape[i] = numel / known,
        Some(_) => return None,
        None if known != numel => return None,
        None => {}
    }
    Some(shape)
}

pub(crate) fn permute_vjp(perm: &[usize], g: &Tensor) -> Tensor {
    let mut inverse: Axes = SmallVec::from_elem(0, perm.len());
    for (i, &p) in perm.iter().enumerate() {
        inverse[p] = i;
    }
    g.permute_axes(&inverse)
}

pub(crate) fn slice_vjp(starts: &Axes, steps: &Steps, x: &Tensor, g: &Tensor) -> Tensor {
    g.place(x.shape().clone(), starts.clone(), steps.clone(), Scalar::I(0).cast(g.dtype()))
}

pub(crate) fn place_vjp(starts: &Axes, steps: &Steps, x: &Tensor, g: &Tensor) -> Tensor {
    g.view_as(Op::Slice { starts: starts.clone(), steps: steps.clone() }, x.shape().clone())
}

pub(crate) fn unfold_vjp(axis: usize, size: usize, step: usize, x: &Tensor, g: &Tensor) -> Tensor {
    Tensor::make(Op::Fold { axis, size, step }, smallvec![g.clone()], x.shape().clone(), g.dtype())
}
