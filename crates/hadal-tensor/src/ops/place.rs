//! Elements by their place: triangles, diagonals, rolled dimensions, coordinates of a grid.

use super::compose::{fail, first_bad, zero};
use crate::Tensor;
use crate::operand::{Dims, ShapeArg, resolve_dim, resolve_dims};
use crate::scope::composed;
use hadal_core::smallvec::smallvec;
use hadal_core::{ErrorKind, Shape};

impl Tensor {
    /// Elements on and below the diagonal `offset` of the last two dimensions, 0 above it. Offset 0 is
    /// the main diagonal, 1 the one above.
    #[track_caller]
    pub fn tril(&self, offset: isize) -> Tensor {
        self.triangle("tril", offset, false)
    }

    /// Elements on and above the diagonal `offset` of the last two dimensions, 0 below it.
    #[track_caller]
    pub fn triu(&self, offset: isize) -> Tensor {
        self.triangle("triu", offset, true)
    }

    #[track_caller]
    fn triangle(&self, op: &'static str, offset: isize, upper: bool) -> Tensor {
        if self.rank() < 2 || self.is_poisoned() {
            return fail(
                op,
                ErrorKind::Shape,
                "two dimensions at least are needed",
                &[self],
                "unsqueeze the tensor",
            );
        }
        let (n, m) = (self.size(-2), self.size(-1));
        composed(|| {
            let reach = Tensor::arange(0, n, 1).unsqueeze(1) + offset as i64;
            let column = Tensor::arange(0, m, 1);
            let keep = if upper { column.ge(reach) } else { column.le(reach) };
            keep.where_(self, zero(self.dtype()))
        })
    }

    /// Elements moved along dimensions, those that fall off the end coming in at the start; with `..`
    /// for the dimensions, along the flattened tensor.
    ///
    /// ```
    /// use hadal_tensor::Tensor;
    /// let x = Tensor::new([1i64, 2, 3]);
    /// assert_eq!(x.roll(1, 0).to_vec::<i64>().unwrap(), [3, 1, 2]);
    /// ```
    ///
    /// # Errors
    /// Not one shift for each dimension.
    #[track_caller]
    pub fn roll(&self, shifts: impl ShapeArg, dims: impl Dims) -> Tensor {
        if self.is_poisoned() {
            return self.clone();
        }
        let shifts = shifts.sizes();
        // PyTorch rolls the flattened tensor when no dimensions are named.
        let Some(dims) = dims.dims().filter(|d| !d.is_empty()) else {
            return self.reshape([-1]).roll(shifts, 0).reshape(self.shape());
        };
        if shifts.len() != dims.len() {
            let message = format!("{} shifts for {} dimensions", shifts.len(), dims.len());
            return fail("roll", ErrorKind::Value, message, &[self], "give one shift for each dimension");
        }
        let mut out = self.clone();
        for (&shift, &dim) in shifts.iter().zip(&dims) {
            let axis = match resolve_dim("roll", self, dim) {
                Ok(a) => a,
                Err(e) => return self.fail(e, self.dtype()),
            };
            let n = self.dims()[axis];
            if n > 0 {
                let by = shift.rem_euclid(n as isize) as usize;
                if by > 0 {
                    let (head, tail) =
                        (out.narrow_axis(axis, 0, n - by, 1), out.narrow_axis(axis, n - by, by, 1));
                    out = Tensor::cat(&[&tail, &head], axis as isize);
                }
            }
        }
        out
    }

    /// Coordinates of a grid: tensor `i` (at most 1-d) varies along dimension `i` of all results
    /// (NumPy's and PyTorch's indexing "ij").
    #[track_caller]
    pub fn meshgrid(tensors: &[&Tensor]) -> Vec<Tensor> {
        Tensor::grid(tensors, false)
    }

    /// [`meshgrid`](Tensor::meshgrid) with the first two dimensions exchanged: x runs along columns
    /// (indexing "xy").
    #[track_caller]
    pub fn meshgrid_xy(tensors: &[&Tensor]) -> Vec<Tensor> {
        Tensor::grid(tensors, true)
    }

    #[track_caller]
    fn grid(tensors: &[&Tensor], xy: bool) -> Vec<Tensor> {
        if tensors.iter().any(|t| t.rank() > 1) || first_bad(tensors).is_some() {
            let bad = fail("meshgrid", ErrorKind::Shape, "vectors are needed", tensors, "flatten them");
            return vec![bad; tensors.len()];
        }
        let swap = |i: usize| if xy && tensors.len() > 1 && i < 2 { 1 - i } else { i };
        let shape: Shape = (0..tensors.len()).map(|i| tensors[swap(i)].numel()).collect();
        let along = |(i, t): (usize, &&Tensor)| {
            let mut dims = vec![1; tensors.len()];
            dims[swap(i)] = t.numel();
            t.reshape(dims).expand_to(&shape)
        };
        composed(|| tensors.iter().enumerate().map(along).collect())
    }

    /// The diagonal `offset` of the dimensions `a` and `b`, as a last dimension in place of both.
    /// Positive offsets are above the main diagonal: element `i` is at `[i, i + offset]`.
    ///
    /// ```
    /// use hadal_tensor::Tensor;
    /// let x = Tensor::arange(0, 6, 1).reshape([2, 3]);
    /// assert_eq!(x.diagonal(1, 0, 1).to_vec::<i64>().unwrap(), [1, 5]);
    /// ```
    ///
    /// # Errors
    /// The dimensions are one, or not there.
    #[track_caller]
    pub fn diagonal(&self, offset: isize, a: isize, b: isize) -> Tensor {
        const OP: &str = "diagonal";
        if self.is_poisoned() {
            return self.clone();
        }
        let axes = match resolve_dims(OP, self, [a, b]) {
            Ok(x) if x.len() == 2 => x,
            Ok(_) => {
                return fail(
                    OP,
                    ErrorKind::Shape,
                    "two dimensions are needed",
                    &[self],
                    "name two different ones",
                );
            }
            Err(e) => return self.fail(e, self.dtype()),
        };
        // The order of the two matters: rows run along `a`.
        let rows_first = resolve_dim(OP, self, a).is_ok_and(|x| x == axes[0]);
        let (row, column) = if rows_first { (axes[0], axes[1]) } else { (axes[1], axes[0]) };
        let (n, m) = (self.dims()[row], self.dims()[column]);
        let (skip_rows, skip_columns) = (offset.min(0).unsigned_abs(), offset.max(0) as usize);
        let length = n.saturating_sub(skip_rows).min(m.saturating_sub(skip_columns));
        composed(|| {
            let mut order: Vec<usize> = (0..self.rank()).filter(|d| !axes.contains(d)).collect();
            let mut dims: Vec<usize> = order.iter().map(|&d| self.dims()[d]).collect();
            order.extend([row, column]);
            dims.push(n * m);
            // In the flattened matrix the diagonal is every (m + 1)th element.
            let flat = self.permute_axes(&order).reshape(&dims);
            let start = if length == 0 { 0 } else { skip_rows * m + skip_columns };
            flat.narrow_axis(dims.len() - 1, start, length, m as isize + 1)
        })
    }

    /// Of a vector the matrix with it on the diagonal `offset`; of a matrix that diagonal.
    ///
    /// # Errors
    /// Neither a vector nor a matrix.
    #[track_caller]
    pub fn diag(&self, offset: isize) -> Tensor {
        match self.rank() {
            2 => self.diagonal(offset, 0, 1),
            1 if !self.is_poisoned() => {
                let n = self.numel().saturating_add(offset.unsigned_abs());
                if n.checked_mul(n).is_none_or(|total| total > isize::MAX as usize) {
                    return fail(
                        "diag",
                        ErrorKind::Value,
                        format!("an offset of {offset}"),
                        &[self],
                        "use a smaller offset",
                    );
                }
                let start = match offset {
                    _ if self.numel() == 0 => 0,
                    o if o < 0 => o.unsigned_abs() * n,
                    o => o as usize,
                };
                let steps = smallvec![n as isize + 1];
                self.place(Shape::from(n * n), smallvec![start], steps, zero(self.dtype())).reshape([n, n])
            }
            _ => fail(
                "diag",
                ErrorKind::Shape,
                "a vector or a matrix is needed",
                &[self],
                "use diagonal for two dimensions of a larger tensor",
            ),
        }
    }

    /// The sum of a matrix's main diagonal.
    #[track_caller]
    pub fn trace(&self) -> Tensor {
        if self.rank() != 2 {
            return fail(
                "trace",
                ErrorKind::Shape,
                "a matrix is needed",
                &[self],
                "use diagonal(0, a, b).sum(-1) for batches",
            );
        }
        self.diagonal(0, 0, 1).sum(..)
    }
}
