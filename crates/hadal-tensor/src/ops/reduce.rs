//! Reductions and running sums.

use crate::Tensor;
use crate::autodiff::Grads;
use crate::operand::{Dims, resolve_dim, resolve_dims};
use crate::ops::pointwise::float_of;
use crate::scope::composed;
use hadal_core::ops::{Axes, Op, ReduceOp};
use hadal_core::smallvec::smallvec;
use hadal_core::{DType, Error, ErrorKind, Shape};

macro_rules! keepdim_pair {
    ($($(#[doc = $doc:literal])+ $name:ident $keep:ident $inner:ident;)*) => { $(
        $(#[doc = $doc])+
        ///
        /// The dimensions go away; `..` reduces all of them.
        #[track_caller]
        pub fn $name(&self, dims: impl Dims) -> Tensor { self.reduce_with(stringify!($name), dims, false, Tensor::$inner) }
        $(#[doc = $doc])+
        ///
        /// The dimensions stay with size 1.
        #[track_caller]
        pub fn $keep(&self, dims: impl Dims) -> Tensor { self.reduce_with(stringify!($name), dims, true, Tensor::$inner) }
    )* };
}

impl Tensor {
    keepdim_pair! {
        /// Sum over dimensions. Integers and bools sum as i64; halves accumulate in f32.
        sum sum_keepdim sum_axes;
        /// Mean over dimensions; floats only. Halves are computed in f32.
        mean mean_keepdim mean_axes;
        /// Product over dimensions. Integers and bools multiply as i64.
        prod prod_keepdim prod_axes;
        /// Largest over dimensions; NaN if any is (PyTorch's `amax`: ties share the gradient).
        max max_keepdim max_axes;
        /// Smallest over dimensions; NaN if any is (PyTorch's `amin`: ties share the gradient).
        min min_keepdim min_axes;
        /// Whether any element is not 0.
        any any_keepdim any_axes;
        /// Whether all elements are not 0.
        all all_keepdim all_axes;
        /// `ln Σ eˣ` over dimensions, without overflow.
        logsumexp logsumexp_keepdim logsumexp_axes;
    }

    #[track_caller]
    fn reduce_with(
        &self,
        op: &'static str,
        dims: impl Dims,
        keep: bool,
        f: impl FnOnce(&Tensor, &'static str, Axes) -> Tensor,
    ) -> Tensor {
        match resolve_dims(op, self, dims) {
            Ok(axes) => composed(|| {
                let out = f(self, op, axes.clone());
                if keep && !out.is_poisoned() { out.keep_axes(self.shape(), &axes) } else { out }
            }),
            Err(e) => self.fail(e, self.dtype()),
        }
    }

    /// Reduced axes back as size 1.
    #[track_caller]
    fn keep_axes(&self, full: &Shape, axes: &[usize]) -> Tensor {
        let dims: Vec<usize> =
            full.iter().enumerate().map(|(i, &d)| if axes.contains(&i) { 1 } else { d }).collect();
        self.reshape(dims)
    }

    #[track_caller]
    pub(crate) fn reduce(&self, op: ReduceOp, axes: Axes, dtype: DType) -> Tensor {
        if axes.is_empty() && !matches!(op, ReduceOp::Any | ReduceOp::All) {
            return self.cast(dtype);
        }
        let shape =
            self.dims().iter().enumerate().filter(|(i, _)| !axes.contains(i)).map(|(_, &d)| d).collect();
        Tensor::make(Op::Reduce(op, axes), smallvec![self.clone()], shape, dtype)
    }

    #[track_caller]
    pub(crate) fn sum_axes(&self, _op: &'static str, axes: Axes) -> Tensor {
        let dtype = if self.dtype().is_float() { self.dtype() } else { DType::I64 };
        self.reduce(ReduceOp::Sum, axes, dtype)
    }

    #[track_caller]
    fn prod_axes(&self, _op: &'static str, axes: Axes) -> Tensor {
        let dtype = if self.dtype().is_float() { self.dtype() } else { DType::I64 };
        self.reduce(ReduceOp::Prod, axes, dtype)
    }

    #[track_caller]
    fn mean_axes(&self, op: &'static str, axes: Axes) -> Tensor {
        if !self.dtype().is_float() {
            let e = Error::new(
                ErrorKind::DType,
                op,
                format!("the mean of {} is not {}", self.dtype(), self.dtype()),
            )
            .operand(self.shape(), self.dtype())
            .help("cast to a float first: .cast(DType::F32)");
            return self.fail(e, self.dtype());
        }
        let n: usize = axes.iter().map(|&a| self.dims()[a]).product();
        // In f32 for halves, whose sums would overflow.
        let wide = self.cast(self.dtype().compute());
        (wide.sum_axes(op, axes) * (1.0 / n as f64)).cast(self.dtype())
    }

    #[track_caller]
    fn max_axes(&self, op: &'static str, axes: Axes) -> Tensor {
        self.extreme(op, ReduceOp::Max, axes)
    }
    #[track_caller]
    fn min_axes(&self, op: &'static str, axes: Axes) -> Tensor {
        self.extreme(op, ReduceOp::Min, axes)
    }
    #[track_caller]
    fn extreme(&self, op: &'static str, reduce: ReduceOp, axes: Axes) -> Tensor {
        if axes.iter().any(|&a| self.dims()[a] == 0) {
            let e = Error::new(ErrorKind::Shape, op, "nothing to choose from")
                .operand(self.shape(), self.dtype())
                .help("the reduced dimensions must not be empty");
            return self.fail(e, self.dtype());
        }
        self.reduce(reduce, axes, self.dtype())
    }
    #[track_caller]
    fn any_axes(&self, _op: &'static str, axes: Axes) -> Tensor {
        self.cast(DType::Bool).reduce(ReduceOp::Any, axes, DType::Bool)
    }
    #[track_caller]
    fn all_axes(&self, _op: &'static str, axes: Axes) -> Tensor {
        self.cast(DType::Bool).reduce(ReduceOp::All, axes, DType::Bool)
    }

    #[track_caller]
    fn logsumexp_axes(&self, op: &'static str, axes: Axes) -> Tensor {
        let x = self.cast(float_of(self.dtype()).compute());
        if axes.iter().any(|&a| self.dims()[a] == 0) {
            return x.exp().sum_axes(op, axes).log().cast(float_of(self.dtype()));
        }
        // Shifted by the largest, which cancels in the gradient; -inf and inf rows must not become NaN.
        let m = x.detach().max_axes(op, axes.clone());
        let m = m.isfinite().where_(&m, 0.0);
        let shifted = &x - m.keep_axes(self.shape(), &axes);
        (shifted.exp().sum_axes(op, axes).log() + m).cast(float_of(self.dtype()))
    }

    /// Variance over dimensions: squared distance from the mean, divided by the count less
    /// `correction` (1 is PyTorch's default, 0 the population's variance).
    #[track_caller]
    pub fn var(&self, dims: impl Dims, correction: usize) -> Tensor {
        self.reduce_with("var", dims, false, |x, op, axes| x.var_axes(op, axes, correction))
    }
    /// As [`var`](Tensor::var); the dimensions stay with size 1.
    #[track_caller]
    pub fn var_keepdim(&self, dims: impl Dims, correction: usize) -> Tensor {
        self.reduce_with("var", dims, true, |x, op, axes| x.var_axes(op, axes, correction))
    }
    /// Standard deviation over dimensions; see [`var`](Tensor::var).
    #[track_caller]
    pub fn std(&self, dims: impl Dims, correction: usize) -> Tensor {
        self.reduce_with("std", dims, false, |x, op, axes| x.std_axes(op, axes, correction))
    }
    /// As [`std`](Tensor::std); the dimensions stay with size 1.
    #[track_caller]
    pub fn std_keepdim(&self, dims: impl Dims, correction: usize) -> Tensor {
        self.reduce_with("std", dims, true, |x, op, axes| x.std_axes(op, axes, correction))
    }

    #[track_caller]
    fn var_axes(&self, op: &'static str, axes: Axes, correction: usize) -> Tensor {
        let n: usize = axes.iter().map(|&a| self.dims()[a]).product();
        let wide = self.cast(self.dtype().compute());
        let mean = wide.mean_axes(op, axes.clone());
        if mean.is_poisoned() {
            return mean;
        }
        let d = &wide - mean.keep_axes(self.shape(), &axes);
        // 0/0 is NaN, as in PyTorch, when nothing is left after the correction.
        let scale = 1.0 / n.saturating_sub(correction) as f64;
        (d.square().sum_axes(op, axes) * scale).cast(self.dtype())
    }
    #[track_caller]
    fn std_axes(&self, op: &'static str, axes: Axes, correction: usize) -> Tensor {
        let var = self.var_axes(op, axes, correction);
        if var.is_poisoned() {
            return var;
        }
        // The gradient at a variance of 0 is 0, as in PyTorch.
        let zero = var.eq(0.0);
        zero.where_(0.0, zero.where_(1.0, &var).sqrt())
    }

    /// Position (i64) of the largest element along a dimension; the first of equals, NaN before all. Over
    /// several dimensions or `..` it is the position in these dimensions flattened (row-major).
    ///
    /// ```
    /// use hadal_tensor::Tensor;
    /// let x = Tensor::new([[1i64, 5, 2], [7, 3, 4]]);
    /// assert_eq!(x.argmax(1, false).to_vec::<i64>().unwrap(), [1, 0]);
    /// assert_eq!(x.argmax(.., false).item::<i64>().unwrap(), 3);
    /// ```
    #[track_caller]
    pub fn argmax(&self, dims: impl Dims, keepdim: bool) -> Tensor {
        self.arg_reduce("argmax", true, dims, keepdim)
    }
    /// Position (i64) of the smallest element along a dimension or several; see [`argmax`](Tensor::argmax).
    #[track_caller]
    pub fn argmin(&self, dims: impl Dims, keepdim: bool) -> Tensor {
        self.arg_reduce("argmin", false, dims, keepdim)
    }
    #[track_caller]
    fn arg_reduce(&self, op: &'static str, max: bool, dims: impl Dims, keepdim: bool) -> Tensor {
        let axes = match resolve_dims(op, self, dims) {
            Ok(a) => a,
            Err(e) => return self.fail(e, DType::I64),
        };
        let nothing = self.rank() > 0 && axes.is_empty();
        if nothing || axes.iter().any(|&a| self.dims()[a] == 0) {
            let message = if nothing { "no dimension is named" } else { "nothing to choose from" };
            let e = Error::new(ErrorKind::Shape, op, message)
                .operand(self.shape(), self.dtype())
                .help("name dimensions that are not empty, or .. for all");
            return self.fail(e, DType::I64);
        }
        let kept: Axes = (0..self.rank()).filter(|d| !axes.contains(d)).collect();
        let shape: Shape = kept.iter().map(|&d| self.dims()[d]).collect();
        composed(|| {
            let (x, axis) = match axes[..] {
                [axis] => (self.clone(), axis),
                _ => {
                    // All reduced dimensions as one, the last.
                    let order: Axes = kept.iter().chain(&axes).copied().collect();
                    let mut dims = shape.dims().to_vec();
                    dims.push(axes.iter().map(|&a| self.dims()[a]).product());
                    (self.permute_axes(&order).reshape(dims), kept.len())
                }
            };
            let out = Tensor::make(Op::ArgReduce { max, axis }, smallvec![x], shape, DType::I64);
            if keepdim { out.keep_axes(self.shape(), &axes) } else { out }
        })
    }
    /// Largest elements along `dim` and where they are; the gradient goes to those places.
    #[track_caller]
    pub fn max_with_indices(&self, dim: isize) -> (Tensor, Tensor) {
        self.taken_from(dim, self.argmax(dim, true))
    }
    /// Smallest elements along `dim` and where they are; the gradient goes to those places.
    #[track_caller]
    pub fn min_with_indices(&self, dim: isize) -> (Tensor, Tensor) {
        self.taken_from(dim, self.argmin(dim, true))
    }
    #[track_caller]
    fn taken_from(&self, dim: isize, i: Tensor) -> (Tensor, Tensor) {
        if self.rank() == 0 {
            // The element itself.
            return (if i.is_poisoned() { i.clone() } else { self.clone() }, i);
        }
        (self.gather(dim, &i).squeeze(dim), i.squeeze(dim))
    }

    /// Running sum along `dim`. Integers and bools sum as i64.
    #[track_caller]
    pub fn cumsum(&self, dim: isize) -> Tensor {
        let dtype = if self.dtype().is_float() { self.dtype() } else { DType::I64 };
        if self.rank() == 0 && (dim == 0 || dim == -1) {
            return self.cast(dtype);
        }
        match resolve_dim("cumsum", self, dim) {
            Ok(axis) => self.cast(dtype).cumsum_along(axis, false),
            Err(e) => self.fail(e, dtype),
        }
    }

    #[track_caller]
    pub(crate) fn cumsum_along(&self, axis: usize, reverse: bool) -> Tensor {
        Tensor::make(
            Op::CumSum { axis, reverse },
            smallvec![self.clone()],
            self.shape().clone(),
            self.dtype(),
        )
    }

    /// Summed down to a shape that broadcasts to this one: the adjoint of expanding.
    #[track_caller]
    pub(crate) fn sum_to(&self, shape: &Shape) -> Tensor {
        if self.shape() == shape {
            return self.clone();
        }
        let pad = self.rank() - shape.rank();
        let axes: Axes =
            (0..self.rank()).filter(|&i| i < pad || (shape[i - pad] == 1 && self.dims()[i] != 1)).collect();
        self.reduce(ReduceOp::Sum, axes, self.dtype()).reshape(shape)
    }
}

pub(crate) fn vjp(op: ReduceOp, axes: &Axes, x: &Tensor, y: &Tensor, g: &Tensor) -> Grads {
    let spread = |t: &Tensor| t.keep_axes(x.shape(), axes).expand_to(x.shape());
    let grad = match op {
        ReduceOp::Sum => spread(g),
        ReduceOp::Max | ReduceOp::Min => {
            // Equal shares among ties.
            let hit = x.eq(spread(y)).cast(g.dtype());
            let share = g / hit.sum_axes("sum", axes.clone());
            hit * spread(&share)
        }
        ReduceOp::Prod => return smallvec![product_tree(axes, x, g)],
        ReduceOp::Any | ReduceOp::All => return smallvec![None],
    };
    smallvec![Some(grad)]
}

/// The gradient of a product as that of the same product written as a tree of multiplications: right
/// at zeros too, and in every order, where `y / x` would divide by zero.
fn product_tree(axes: &Axes, x: &Tensor, g: &Tensor) -> Option<Tensor> {
    let kept = (0..x.rank()).filter(|d| !axes.contains(d));
    let order: Axes = kept.chain(axes.iter().copied()).collect();
    let mut dims: Vec<usize> = g.dims().to_vec();
    dims.push(axes.iter().map(|&a| x.dims()[a]).product());
    let last = dims.len() - 1;
    let mut tree = x.permute_axes(&order).reshape(&dims);
    while tree.dims()[last] > 1 {
        let n = tree.dims()[last];
        let pairs = tree.narrow_axis(last, 0, n / 2, 1) * tree.narrow_axis(last, n / 2, n / 2, 1);
        tree = match n % 2 {
            0 => pairs,
            _ => Tensor::cat(&[&pairs, &tree.narrow_axis(last, n - 1, 1, 1)], last as isize),
        };
    }
    crate::vjp_or_none(&tree, &g.unsqueeze(-1).expand(tree.shape()), &[x]).ok()?.pop()?
}
