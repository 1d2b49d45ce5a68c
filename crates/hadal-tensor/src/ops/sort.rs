//! Sorting.

use super::compose::{fail, first_bad};
use crate::Tensor;
use crate::operand::resolve_dim;
use hadal_core::ops::Op;
use hadal_core::smallvec::smallvec;
use hadal_core::{DType, ErrorKind, Shape};

impl Tensor {
    /// The elements in order along `dim`, and (i64) where each was. Stable: equal elements keep their
    /// order. NaN counts as largest. The gradient goes to where the elements were.
    ///
    /// ```
    /// use hadal_tensor::Tensor;
    /// let (values, from) = Tensor::new([3.0f32, 1.0, 2.0]).sort(0, true);
    /// assert_eq!(values.to_vec::<f32>().unwrap(), [3.0, 2.0, 1.0]);
    /// assert_eq!(from.to_vec::<i64>().unwrap(), [0, 2, 1]);
    /// ```
    #[track_caller]
    pub fn sort(&self, dim: isize, descending: bool) -> (Tensor, Tensor) {
        let from = self.first_of_sort("sort", dim, descending, usize::MAX);
        (self.pick(dim, &from), from)
    }

    /// Where (i64) the elements in order along `dim` are to be found; see [`sort`](Tensor::sort).
    #[track_caller]
    pub fn argsort(&self, dim: isize, descending: bool) -> Tensor {
        self.first_of_sort("argsort", dim, descending, usize::MAX)
    }

    /// The `first` positions of an [`argsort`](Tensor::argsort), or all.
    #[track_caller]
    fn first_of_sort(&self, op: &'static str, dim: isize, descending: bool, first: usize) -> Tensor {
        if self.is_poisoned() {
            return self.clone();
        }
        if self.is_only_dim(dim) {
            return Tensor::zeros(Shape::default(), DType::I64);
        }
        match resolve_dim(op, self, dim) {
            Ok(axis) => {
                let mut shape = self.shape().clone();
                shape[axis] = shape[axis].min(first);
                Tensor::make(Op::ArgSort { axis, descending }, smallvec![self.clone()], shape, DType::I64)
            }
            Err(e) => self.fail(e, DType::I64),
        }
    }

    /// The `k` largest (or smallest) elements along `dim`, in order, and where (i64) they are. Among
    /// equals the first ones; NaN counts as largest.
    ///
    /// # Errors
    /// `k` is larger than the dimension.
    #[track_caller]
    pub fn topk(&self, k: usize, dim: isize, largest: bool) -> (Tensor, Tensor) {
        let from = self.first_of_sort("topk", dim, largest, k);
        if let Some(bad) = first_bad(&[&from]) {
            return (bad.clone(), bad);
        }
        let n = if self.rank() == 0 { 1 } else { self.size(dim) };
        if k > n {
            let message = format!("{k} elements of dimension {dim}, which has {n}");
            let bad = fail("topk", ErrorKind::Value, message, &[self], "take at most the dimension's size");
            return (bad.clone(), bad);
        }
        if self.rank() == 0 {
            // PyTorch gives the element itself, also for k = 0.
            return (self.clone(), from);
        }
        (self.pick(dim, &from), from)
    }

    /// The elements at positions along `dim` that a sort gave.
    #[track_caller]
    fn pick(&self, dim: isize, from: &Tensor) -> Tensor {
        if let Some(bad) = first_bad(&[self, from]) {
            return bad;
        }
        if self.rank() == 0 { self.clone() } else { self.gather(dim, from) }
    }
}
