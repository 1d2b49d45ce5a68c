//! Joining, splitting, padding, repeating.

use crate::Tensor;
use crate::autodiff::Grads;
use crate::operand::{Operand, ShapeArg, dim_error, new_dim_error, resolve_dim, result_type};
use crate::scope::composed;
use crate::tensor::{Inputs, possible, too_large};
use hadal_core::ops::{Axes, Op};
use hadal_core::smallvec::SmallVec;
use hadal_core::{DType, Error, ErrorKind, Scalar, Shape};

/// A list of more handles than this would fill the memory by itself.
const MOST_PIECES: usize = 1 << 24;

/// Where the elements of a padding come from, unless they are a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PadMode {
    /// Mirrored at the edge, which is not repeated.
    Reflect,
    /// The edge, again and again.
    Replicate,
    /// From the other side.
    Circular,
}

impl Tensor {
    /// Tensors one after the other along `dim`. All other sizes must be equal; dtypes promote.
    ///
    /// ```
    /// use hadal_tensor::Tensor;
    /// let a = Tensor::new([[1i64, 2]]);
    /// assert_eq!(Tensor::cat(&[&a, &a], 0).dims(), [2, 2]);
    /// ```
    #[track_caller]
    pub fn cat(tensors: &[&Tensor], dim: isize) -> Tensor {
        let Some(&first) = tensors.first() else {
            let e = Error::new(ErrorKind::Value, "cat", "no tensors to join");
            return Tensor::poison(e, &[0].into(), DType::F32);
        };
        if let Some(bad) = tensors.iter().find(|t| t.is_poisoned()) {
            return (*bad).clone();
        }
        let axis = match resolve_dim("cat", first, dim) {
            Ok(a) => a,
            Err(e) => return Tensor::poison(e, first.shape(), first.dtype()),
        };
        let mut shape = first.shape().clone();
        shape[axis] = 0;
        for t in tensors {
            let fits = t.rank() == first.rank()
                && t.dims().iter().zip(first.dims()).enumerate().all(|(i, (a, b))| i == axis || a == b);
            if !fits {
                let e =
                    Error::new(ErrorKind::Shape, "cat", format!("sizes other than dimension {axis} differ"))
                        .operand(first.shape(), first.dtype())
                        .operand(t.shape(), t.dtype())
                        .help(
                            "tensors are joined along one dimension; leave out empty ones of another shape",
                        );
                return Tensor::poison(e, first.shape(), first.dtype());
            }
            shape[axis] = shape[axis].saturating_add(t.dims()[axis]);
        }
        let operands: Vec<Operand> = tensors.iter().map(|t| Operand::Tensor((*t).clone())).collect();
        let dtype = result_type(&operands.iter().collect::<Vec<_>>());
        if let [only] = tensors {
            return (*only).clone();
        }
        let inputs: Inputs = composed(|| tensors.iter().map(|t| t.cast(dtype)).collect());
        Tensor::make(Op::Cat(axis), inputs, shape, dtype)
    }

    /// Tensors of one shape along a new dimension at `dim`.
    #[track_caller]
    pub fn stack(tensors: &[&Tensor], dim: isize) -> Tensor {
        if tensors.is_empty() {
            let e = Error::new(ErrorKind::Value, "stack", "no tensors to join");
            return Tensor::poison(e, &[0].into(), DType::F32);
        }
        let rank = tensors[0].rank() as isize;
        if !(-rank - 1..=rank).contains(&dim) {
            return tensors[0].fail(new_dim_error("stack", tensors[0], dim), tensors[0].dtype());
        }
        let raised: Vec<Tensor> = composed(|| tensors.iter().map(|t| t.unsqueeze(dim)).collect());
        if let Some(bad) = raised.iter().find(|t| t.is_poisoned()) {
            return bad.clone();
        }
        if let Some(odd) = tensors.iter().find(|t| t.shape() != tensors[0].shape()) {
            let e = Error::new(ErrorKind::Shape, "stack", "shapes differ")
                .operand(tensors[0].shape(), tensors[0].dtype())
                .operand(odd.shape(), odd.dtype())
                .help("bring them to one shape, or use cat to join along a dimension that is there");
            return Tensor::poison(e, tensors[0].shape(), tensors[0].dtype());
        }
        let axis = if dim < 0 { dim + tensors.first().map_or(0, |t| t.rank() as isize) + 1 } else { dim };
        Tensor::cat(&raised.iter().collect::<Vec<_>>(), axis)
    }

    /// Pieces of `size` along `dim`; the last may be smaller.
    #[track_caller]
    pub fn split(&self, size: usize, dim: isize) -> Vec<Tensor> {
        match resolve_dim("split", self, dim) {
            Ok(_) if size == 0 => {
                let e = Error::new(ErrorKind::Value, "split", "pieces of size 0")
                    .operand(self.shape(), self.dtype());
                vec![self.fail(e, self.dtype())]
            }
            Ok(axis) if self.dims()[axis].div_ceil(size) > MOST_PIECES => {
                let pieces = self.dims()[axis].div_ceil(size);
                let e =
                    Error::new(ErrorKind::Value, "split", format!("{pieces} pieces, {MOST_PIECES} at most"))
                        .operand(self.shape(), self.dtype());
                vec![self.fail(e, self.dtype())]
            }
            Ok(axis) => {
                let n = self.dims()[axis];
                // An empty dimension is one empty piece.
                let piece = |at: usize| self.narrow_axis(axis, at, size.min(n - at.min(n)), 1);
                composed(|| (0..n.max(1)).step_by(size).map(piece).collect())
            }
            Err(e) => vec![self.fail(e, self.dtype())],
        }
    }

    /// Pieces of these sizes along `dim`, which must add up. An error poisons as many pieces.
    #[track_caller]
    pub fn split_sizes(&self, sizes: &[usize], dim: isize) -> Vec<Tensor> {
        let axis = match resolve_dim("split", self, dim) {
            Ok(a) => a,
            Err(e) => return self.bad_pieces(sizes.len(), e),
        };
        let sum = sizes.iter().try_fold(0usize, |s, &n| s.checked_add(n));
        if sum != Some(self.dims()[axis]) {
            let e = Error::new(
                ErrorKind::Shape,
                "split",
                format!("{sizes:?} do not add up to {}", self.dims()[axis]),
            )
            .operand(self.shape(), self.dtype())
            .help("the sizes of the pieces make up the dimension");
            return self.bad_pieces(sizes.len(), e);
        }
        let mut at = 0;
        let pieces = sizes.iter().map(|&n| {
            at += n;
            self.narrow_axis(axis, at - n, n, 1)
        });
        composed(|| pieces.collect())
    }

    /// A poisoned tensor for each piece asked for, so that code that takes the list apart goes on.
    #[track_caller]
    fn bad_pieces(&self, count: usize, e: Error) -> Vec<Tensor> {
        vec![self.fail(e, self.dtype()); count.clamp(1, 1024)]
    }

    /// At most `chunks` pieces of equal size (the last may be smaller) along `dim`; of an empty dimension
    /// as many empty ones. An error poisons as many pieces.
    #[track_caller]
    pub fn chunk(&self, chunks: usize, dim: isize) -> Vec<Tensor> {
        match resolve_dim("chunk", self, dim) {
            Ok(_) if chunks == 0 => {
                let e = Error::new(ErrorKind::Value, "chunk", "0 pieces").operand(self.shape(), self.dtype());
                vec![self.fail(e, self.dtype())]
            }
            Ok(axis) if self.dims()[axis] == 0 && chunks <= MOST_PIECES => vec![self.clone(); chunks],
            Ok(axis) => self.split(self.dims()[axis].div_ceil(chunks).max(1), dim),
            Err(e) => self.bad_pieces(chunks, e),
        }
    }

    /// The slices at each position of `dim`, which goes away; none for a dimension of size 0.
    ///
    /// ```
    /// use hadal_tensor::Tensor;
    /// let columns = Tensor::new([[1i64, 2], [3, 4]]).unbind(1);
    /// assert_eq!(columns[1].to_vec::<i64>().unwrap(), [2, 4]);
    /// ```
    #[track_caller]
    pub fn unbind(&self, dim: isize) -> Vec<Tensor> {
        match resolve_dim("unbind", self, dim) {
            Ok(axis) if self.dims()[axis] > MOST_PIECES => {
                let e = Error::new(
                    ErrorKind::Value,
                    "unbind",
                    format!("{} pieces, {MOST_PIECES} at most", self.dims()[axis]),
                )
                .operand(self.shape(), self.dtype());
                vec![self.fail(e, self.dtype())]
            }
            Ok(axis) => composed(|| {
                (0..self.dims()[axis])
                    .map(|at| self.narrow_axis(axis, at, 1, 1).squeeze(axis as isize))
                    .collect()
            }),
            Err(e) => vec![self.fail(e, self.dtype())],
        }
    }

    /// Padded with a constant: `(before, after)` for the last dimension first, then the one before it,
    /// as PyTorch's `F.pad`. Negative amounts cut off.
    ///
    /// ```
    /// use hadal_tensor::Tensor;
    /// let x = Tensor::new([[1.0f32, 2.0]]);
    /// assert_eq!(x.pad(&[(1, 0)], 9.0).to_vec::<f32>().unwrap(), [9.0, 1.0, 2.0]);
    /// ```
    #[track_caller]
    pub fn pad(&self, amounts: &[(isize, isize)], value: impl Into<Scalar>) -> Tensor {
        if amounts.len() > self.rank() {
            let e = Error::new(
                ErrorKind::Shape,
                "pad",
                format!("{} pairs for {} dimensions", amounts.len(), self.rank()),
            )
            .operand(self.shape(), self.dtype())
            .help("give a pair (before, after) for each dimension to pad, the last one first");
            return self.fail(e, self.dtype());
        }
        let mut inner = self.clone();
        let mut starts: Axes = SmallVec::from_elem(0, self.rank());
        let mut shape = self.shape().clone();
        for (i, &(lo, hi)) in amounts.iter().enumerate() {
            let d = self.rank() - 1 - i;
            let n = self.dims()[d] as isize;
            let sum = n.checked_add(lo).and_then(|s| s.checked_add(hi));
            // A sum that is too large goes on to be more than memory could hold.
            let total = if lo > 0 && hi > 0 { sum.unwrap_or(isize::MAX) } else { sum.unwrap_or(-1) };
            if total < 0 || lo < -n || hi < -n {
                let e = Error::new(
                    ErrorKind::Value,
                    "pad",
                    format!("({lo}, {hi}) leaves nothing of dimension {d}"),
                )
                .operand(self.shape(), self.dtype())
                .help("negative amounts cut off, at most what is there");
                return self.fail(e, self.dtype());
            }
            let cut_lo = (-lo).max(0);
            let kept = n - cut_lo - (-hi).max(0);
            inner = inner.narrow_axis(d, cut_lo as usize, kept.max(0) as usize, 1);
            starts[d] = lo.max(0) as usize;
            shape[d] = total as usize;
        }
        if shape == *inner.shape() {
            return inner;
        }
        let steps = SmallVec::from_elem(1, self.rank());
        let value: Scalar = value.into();
        inner.place(shape, starts, steps, value.cast(self.dtype()))
    }

    /// Padded with its own elements: `(before, after)` for the last dimension first, as
    /// [`pad`](Tensor::pad).
    ///
    /// # Errors
    /// A negative amount; reflecting by as much as the dimension's size; wrapping by more than it.
    #[track_caller]
    pub fn pad_with(&self, amounts: &[(isize, isize)], mode: PadMode) -> Tensor {
        composed(|| self.pad_with_inner(amounts, mode))
    }

    fn pad_with_inner(&self, amounts: &[(isize, isize)], mode: PadMode) -> Tensor {
        let fail = |message: String| {
            let e = Error::new(ErrorKind::Value, "pad", message).operand(self.shape(), self.dtype());
            self.fail(e, self.dtype())
        };
        if amounts.len() > self.rank() {
            return fail(format!("{} pairs for {} dimensions", amounts.len(), self.rank()));
        }
        let mut out = self.clone();
        for (i, &(lo, hi)) in amounts.iter().enumerate() {
            let d = self.rank() - 1 - i;
            let n = self.dims()[d] as isize;
            let most = match mode {
                PadMode::Reflect => n - 1,
                PadMode::Circular => n,
                PadMode::Replicate => isize::MAX,
            };
            if lo < 0 || hi < 0 || lo.max(hi) > most || (n == 0 && lo.max(hi) > 0) {
                return fail(format!(
                    "({lo}, {hi}) around dimension {d}, which has {n} elements, by {mode:?}"
                ));
            }
            if lo == 0 && hi == 0 {
                continue;
            }
            let mut shape = out.shape().clone();
            shape[d] = (n as usize).saturating_add(lo as usize).saturating_add(hi as usize);
            let mut from: Vec<i64> = Vec::new();
            if !possible(&shape, self.dtype()) || from.try_reserve_exact(shape[d]).is_err() {
                return self.fail(too_large("pad", &shape, self.dtype()), self.dtype());
            }
            let positions = (-lo..n + hi).map(|p| match mode {
                PadMode::Replicate => p.clamp(0, n - 1),
                PadMode::Circular => p.rem_euclid(n),
                PadMode::Reflect if p < 0 => -p,
                PadMode::Reflect if p < n => p,
                PadMode::Reflect => 2 * (n - 1) - p,
            } as i64);
            from.extend(positions);
            out = out.index_select(d as isize, &Tensor::from_slice(&from));
        }
        out
    }

    /// The tensor repeated whole, so many times along each dimension; more numbers than dimensions
    /// add dimensions in front.
    #[track_caller]
    pub fn repeat(&self, times: impl ShapeArg) -> Tensor {
        let times = times.sizes();
        if times.len() < self.rank() || times.iter().any(|&t| t < 0) {
            let e =
                Error::new(ErrorKind::Value, "repeat", format!("{times:?} for {} dimensions", self.rank()))
                    .operand(self.shape(), self.dtype())
                    .help("give a count of at least 0 for every dimension");
            return self.fail(e, self.dtype());
        }
        let pad = times.len() - self.rank();
        // [n] → [1, n] → [t, n] → [t·n], for all dimensions at once.
        let (mut thin, mut wide, mut out) = (Vec::new(), Vec::new(), Vec::new());
        for (i, &t) in times.iter().enumerate() {
            let n = if i < pad { 1 } else { self.dims()[i - pad] };
            thin.extend([1, n]);
            wide.extend([t as usize, n]);
            out.push((t as usize).saturating_mul(n));
        }
        if !possible(&Shape::new(&out), self.dtype()) {
            return self.fail(too_large("repeat", &Shape::new(&out), self.dtype()), self.dtype());
        }
        self.reshape(thin).expand(wide).reshape(out)
    }

    /// Every element repeated in place along `dim`.
    #[track_caller]
    pub fn repeat_interleave(&self, times: usize, dim: isize) -> Tensor {
        match resolve_dim("repeat_interleave", self, dim) {
            Ok(d) => {
                let mut wide = self.dims().to_vec();
                wide.insert(d + 1, times);
                let mut out = self.dims().to_vec();
                out[d] = out[d].saturating_mul(times);
                if !possible(&Shape::new(&out), self.dtype()) {
                    return self
                        .fail(too_large("repeat_interleave", &Shape::new(&out), self.dtype()), self.dtype());
                }
                self.unsqueeze(d as isize + 1).expand(wide).reshape(out)
            }
            Err(_) => self.fail(dim_error("repeat_interleave", self, dim), self.dtype()),
        }
    }
}

pub(crate) fn cat_vjp(axis: usize, x: &Inputs, g: &Tensor) -> Grads {
    let mut at = 0;
    x.iter()
        .map(|t| {
            let n = t.dims()[axis];
            at += n;
            Some(g.narrow_axis(axis, at - n, n, 1))
        })
        .collect()
}
