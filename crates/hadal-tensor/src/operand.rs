//! What methods accept: tensors or numbers as operands, dimensions, shapes.

use crate::Tensor;
use hadal_core::ops::Axes;
use hadal_core::smallvec::{SmallVec, smallvec};
use hadal_core::{DType, Error, ErrorKind, Scalar, Shape};

/// The second operand of a binary operation: a tensor, or a number that adapts to the tensor's dtype.
#[derive(Clone)]
pub enum Operand {
    /// A tensor.
    Tensor(Tensor),
    /// A number.
    Scalar(Scalar),
}

macro_rules! operand_scalars {
    ($($t:ty),*) => { $(impl From<$t> for Operand { fn from(v: $t) -> Operand { Operand::Scalar(v.into()) } })* };
}
operand_scalars!(f64, f32, i32, i64, usize, u8, bool, Scalar);
impl From<&Tensor> for Operand {
    fn from(t: &Tensor) -> Operand {
        Operand::Tensor(t.clone())
    }
}
impl From<Tensor> for Operand {
    fn from(t: Tensor) -> Operand {
        Operand::Tensor(t)
    }
}
impl From<&Operand> for Operand {
    fn from(o: &Operand) -> Operand {
        o.clone()
    }
}

/// PyTorch's result type: the highest category among tensors with dimensions decides, unless a
/// 0-d tensor, or after that a number, is of a higher category.
pub(crate) fn result_type(operands: &[&Operand]) -> DType {
    let mut dimensioned: Option<DType> = None;
    let mut zero_dim: Option<DType> = None;
    let mut number: Option<DType> = None;
    for o in operands {
        let (slot, d) = match o {
            Operand::Tensor(t) if t.rank() > 0 => (&mut dimensioned, t.dtype()),
            Operand::Tensor(t) => (&mut zero_dim, t.dtype()),
            Operand::Scalar(s) => (&mut number, s.dtype()),
        };
        *slot = Some(slot.map_or(d, |b| b.promote(d)));
    }
    let combine = |high: Option<DType>, low: Option<DType>| match (high, low) {
        (Some(h), Some(l)) if h.category() >= l.category() => Some(h),
        (h, l) => l.or(h),
    };
    combine(combine(dimensioned, zero_dim), number).unwrap_or(DType::F32)
}

/// Sizes or dimensions as they are given: perhaps negative.
pub type Sizes = SmallVec<[isize; 4]>;

/// Dimensions to reduce: one, several, or `..` for all. Negative ones count from the end.
///
/// ```
/// use hadal_tensor::Tensor;
/// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0]).reshape([2, 2]);
/// assert_eq!(x.sum(..).to_vec::<f32>().unwrap(), [10.0]);
/// assert_eq!(x.sum(0).to_vec::<f32>().unwrap(), [4.0, 6.0]);
/// assert_eq!(x.sum([0, -1]).to_vec::<f32>().unwrap(), [10.0]);
/// ```
pub trait Dims {
    /// The dimensions, or `None` for all.
    fn dims(&self) -> Option<Sizes>;
}
impl Dims for std::ops::RangeFull {
    fn dims(&self) -> Option<Sizes> {
        None
    }
}
/// A number as `isize`; one beyond it becomes the largest, which is then out of range like itself.
pub(crate) fn signed(n: impl TryInto<isize>) -> isize {
    n.try_into().unwrap_or(isize::MAX)
}

macro_rules! dims_ints {
    ($($t:ty),*) => { $(
        impl Dims for $t { fn dims(&self) -> Option<Sizes> { Some(smallvec![signed(*self)]) } }
        impl<const N: usize> Dims for [$t; N] { fn dims(&self) -> Option<Sizes> { Some(self.iter().map(|&d| signed(d)).collect()) } }
        impl Dims for &[$t] { fn dims(&self) -> Option<Sizes> { Some(self.iter().map(|&d| signed(d)).collect()) } }
        impl Dims for Vec<$t> { fn dims(&self) -> Option<Sizes> { Some(self.iter().map(|&d| signed(d)).collect()) } }
        impl Dims for &Vec<$t> { fn dims(&self) -> Option<Sizes> { Some(self.iter().map(|&d| signed(d)).collect()) } }
    )* };
}
dims_ints!(i32, isize, i64, usize);

impl Dims for Sizes {
    fn dims(&self) -> Option<Sizes> {
        Some(self.clone())
    }
}

/// The error for a dimension that is not there.
pub(crate) fn dim_error(op: &'static str, t: &Tensor, dim: isize) -> Error {
    let rank = t.rank() as isize;
    let message = if rank == 0 {
        format!("dimension {dim} of a tensor with no dimensions")
    } else {
        format!("dimension {dim} is out of range: {} to {} for this tensor", -rank, rank - 1)
    };
    Error::new(ErrorKind::Index, op, message)
        .operand(t.shape(), t.dtype())
        .help("dimensions count from 0, or from -1 for the last one")
}

/// The error for a place where no new dimension can be put: there is one place more than dimensions.
pub(crate) fn new_dim_error(op: &'static str, t: &Tensor, dim: isize) -> Error {
    let rank = t.rank() as isize;
    let message =
        format!("a new dimension at {dim} is out of range: {} to {rank} for this tensor", -rank - 1);
    Error::new(ErrorKind::Index, op, message)
        .operand(t.shape(), t.dtype())
        .help("places count from 0, or from -1 for the one behind the last dimension")
}

/// A dimension counted from the front.
pub(crate) fn resolve_dim(op: &'static str, t: &Tensor, dim: isize) -> Result<usize, Error> {
    let rank = t.rank() as isize;
    let d = if dim < 0 { dim + rank } else { dim };
    if (0..rank).contains(&d) { Ok(d as usize) } else { Err(dim_error(op, t, dim)) }
}

/// Sorted axes; an error when one is out of range or named twice.
pub(crate) fn resolve_dims(op: &'static str, t: &Tensor, dims: impl Dims) -> Result<Axes, Error> {
    let Some(dims) = dims.dims() else { return Ok((0..t.rank()).collect()) };
    let mut axes = Axes::new();
    for d in dims {
        // A 0-d tensor takes dimension 0 or -1 in reductions, as PyTorch does.
        if t.rank() == 0 && (d == 0 || d == -1) {
            continue;
        }
        let a = resolve_dim(op, t, d)?;
        if axes.contains(&a) {
            return Err(Error::new(ErrorKind::Index, op, format!("dimension {d} is named twice"))
                .operand(t.shape(), t.dtype())
                .help("name each dimension once"));
        }
        axes.push(a);
    }
    axes.sort_unstable();
    Ok(axes)
}

/// A shape to reshape to; one size may be -1, to be worked out.
pub trait ShapeArg {
    /// The sizes.
    fn sizes(&self) -> Sizes;
}
macro_rules! shape_arg {
    ($($t:ty),*) => { $(
        impl ShapeArg for $t { fn sizes(&self) -> Sizes { smallvec![signed(*self)] } }
        impl<const N: usize> ShapeArg for [$t; N] { fn sizes(&self) -> Sizes { self.iter().map(|&d| signed(d)).collect() } }
        impl<const N: usize> ShapeArg for &[$t; N] { fn sizes(&self) -> Sizes { self.iter().map(|&d| signed(d)).collect() } }
        impl ShapeArg for &[$t] { fn sizes(&self) -> Sizes { self.iter().map(|&d| signed(d)).collect() } }
        impl ShapeArg for Vec<$t> { fn sizes(&self) -> Sizes { self.iter().map(|&d| signed(d)).collect() } }
        impl ShapeArg for &Vec<$t> { fn sizes(&self) -> Sizes { self.iter().map(|&d| signed(d)).collect() } }
    )* };
}
shape_arg!(i32, isize, i64, usize);
impl ShapeArg for Sizes {
    fn sizes(&self) -> Sizes {
        self.clone()
    }
}
impl ShapeArg for () {
    fn sizes(&self) -> Sizes {
        Sizes::new()
    }
}
impl ShapeArg for &Shape {
    fn sizes(&self) -> Sizes {
        self.iter().map(|&d| signed(d)).collect()
    }
}
