//! Reading and writing at positions given by tensors.

use crate::Tensor;
use crate::autodiff::Grads;
use crate::operand::resolve_dim;
use crate::tensor::Inputs;
use hadal_core::ops::Op;
use hadal_core::smallvec::smallvec;
use hadal_core::{DType, Error, ErrorKind, Scalar};

impl Tensor {
    #[track_caller]
    fn check_index(&self, op: &'static str, dim: isize, index: &Tensor) -> Result<(usize, Tensor), Tensor> {
        if index.is_poisoned() {
            return Err(index.clone());
        }
        let axis = match resolve_dim(op, self, dim) {
            Ok(a) => a,
            Err(e) => return Err(self.fail(e, self.dtype())),
        };
        if !index.dtype().is_int() {
            let e = Error::new(ErrorKind::DType, op, "indices must be integers")
                .operand(self.shape(), self.dtype())
                .operand(index.shape(), index.dtype())
                .help("cast them: .cast(DType::I64)");
            return Err(self.fail(e, self.dtype()));
        }
        Ok((axis, index.cast(DType::I64)))
    }

    #[track_caller]
    fn shape_error(&self, op: &'static str, what: String, other: &Tensor) -> Tensor {
        let help = match op {
            "gather" => {
                "the index has the tensor's dimensions, none larger than the tensor's but the one named"
            }
            "scatter" | "scatter_add" => {
                "index and source have the tensor's dimensions; the index is nowhere larger than the source, and \
                 than the tensor only along the dimension named"
            }
            "index_add" => {
                "the source has the tensor's shape, with the index's length along the dimension named"
            }
            "index_select" => "flatten it, or use index or gather",
            _ => "the table is [rows, width..]",
        };
        let e = Error::new(ErrorKind::Shape, op, what)
            .operand(self.shape(), self.dtype())
            .operand(other.shape(), other.dtype())
            .help(help);
        self.fail(e, self.dtype())
    }

    /// Elements at `index` along `dim`: `out[i][j] = self[index[i][j]][j]` for `dim` 0. `index` has as
    /// many dimensions, none larger than this tensor's except along `dim`.
    ///
    /// # Errors
    /// At evaluation, an index outside `0..size`.
    #[track_caller]
    pub fn gather(&self, dim: isize, index: &Tensor) -> Tensor {
        if self.rank() == 0 && index.rank() == 0 {
            return self.reshape([1]).gather(dim, &index.reshape([1])).reshape(());
        }
        let (axis, index) = match self.check_index("gather", dim, index) {
            Ok(ok) => ok,
            Err(t) => return t,
        };
        if index.rank() != self.rank()
            || (0..self.rank()).any(|d| d != axis && index.dims()[d] > self.dims()[d])
        {
            return self.shape_error(
                "gather",
                format!("the index does not fit along dimension {dim}"),
                &index,
            );
        }
        // Where the index is smaller in another dimension, the rest is not looked at.
        let mut x = self.clone();
        for d in 0..self.rank() {
            if d != axis {
                x = x.narrow_axis(d, 0, index.dims()[d], 1);
            }
        }
        let shape = index.shape().clone();
        Tensor::make(Op::Gather(axis), smallvec![x, index], shape, self.dtype())
    }

    #[track_caller]
    fn scatter_with(&self, op: &'static str, dim: isize, index: &Tensor, src: &Tensor, add: bool) -> Tensor {
        let (axis, index) = match self.check_index(op, dim, index) {
            Ok(ok) => ok,
            Err(t) => return t,
        };
        if src.is_poisoned() && !self.is_poisoned() {
            return src.clone();
        }
        if src.dtype() != self.dtype() {
            let e = Error::new(ErrorKind::DType, op, "the source must have the tensor's dtype")
                .operand(self.shape(), self.dtype())
                .operand(src.shape(), src.dtype())
                .help("cast it: .cast_like(&x)");
            return self.fail(e, self.dtype());
        }
        let fits = index.rank() == self.rank()
            && src.rank() == self.rank()
            && (0..self.rank()).all(|d| {
                index.dims()[d] <= src.dims()[d] && (d == axis || index.dims()[d] <= self.dims()[d])
            });
        if !fits {
            return self.shape_error(
                op,
                format!("the index or source does not fit along dimension {dim}"),
                &index,
            );
        }
        let mut s = src.clone();
        for d in 0..self.rank() {
            s = s.narrow_axis(d, 0, index.dims()[d], 1);
        }
        let shape = self.shape().clone();
        Tensor::make(Op::Scatter { axis, add }, smallvec![self.clone(), index, s], shape, self.dtype())
    }

    /// This tensor with `src` written at `index` along `dim`; of several writes to one place the last
    /// wins.
    #[track_caller]
    pub fn scatter(&self, dim: isize, index: &Tensor, src: &Tensor) -> Tensor {
        self.scatter_with("scatter", dim, index, src, false)
    }
    /// This tensor with one value written at `index` along `dim`.
    #[track_caller]
    pub fn scatter_value(&self, dim: isize, index: &Tensor, value: impl Into<Scalar>) -> Tensor {
        let src = Tensor::fill(index.shape().clone(), value.into(), self.dtype());
        self.scatter_with("scatter", dim, index, &src, false)
    }
    /// This tensor with `src` added at `index` along `dim`; additions to one place happen in order.
    #[track_caller]
    pub fn scatter_add(&self, dim: isize, index: &Tensor, src: &Tensor) -> Tensor {
        self.scatter_with("scatter_add", dim, index, src, true)
    }

    /// Whole slices along `dim` at the positions of a 1-d index, in its order.
    #[track_caller]
    pub fn index_select(&self, dim: isize, index: &Tensor) -> Tensor {
        // One position may be given 0-d, and a 0-d tensor has one.
        if index.rank() == 0 && index.dtype().is_int() {
            return self.index_select(dim, &index.reshape([1]));
        }
        if self.is_only_dim(dim) && index.dims() == [1] {
            return self.reshape([1]).index_select(0, index).reshape(());
        }
        let (axis, index) = match self.check_index("index_select", dim, index) {
            Ok(ok) => ok,
            Err(t) => return t,
        };
        if index.rank() != 1 {
            return self.shape_error("index_select", "the index must have one dimension".into(), &index);
        }
        let mut shape = self.shape().clone();
        shape[axis] = index.numel();
        Tensor::make(Op::IndexSelect(axis), smallvec![self.clone(), index], shape, self.dtype())
    }

    /// This tensor with the slices of `src` added at the positions of a 1-d index along `dim`.
    #[track_caller]
    pub fn index_add(&self, dim: isize, index: &Tensor, src: &Tensor) -> Tensor {
        let (axis, index) = match self.check_index("index_add", dim, index) {
            Ok(ok) => ok,
            Err(t) => return t,
        };
        if src.is_poisoned() && !self.is_poisoned() {
            return src.clone();
        }
        let mut want = self.shape().clone();
        want[axis] = index.numel();
        if index.rank() != 1 || src.shape() != &want || src.dtype() != self.dtype() {
            return self.shape_error("index_add", format!("the source must be {want} {}", self.dtype()), src);
        }
        let sum = Tensor::make(
            Op::IndexAdd(axis),
            smallvec![index, src.clone()],
            self.shape().clone(),
            self.dtype(),
        );
        self.add(sum)
    }

    /// Rows of a table (`self`, `[rows, width..]`) at integer positions of any shape: an embedding.
    #[track_caller]
    pub fn embedding(&self, index: &Tensor) -> Tensor {
        if self.rank() == 0 {
            return self.shape_error("embedding", "the table must have rows".into(), index);
        }
        let flat = self.index_select(0, &index.reshape([-1]));
        let dims: Vec<usize> = index.dims().iter().chain(&self.dims()[1..]).copied().collect();
        flat.reshape(dims)
    }
}

pub(crate) fn gather_vjp(axis: usize, x: &Tensor, index: &Tensor, g: &Tensor) -> Tensor {
    Tensor::zeros_like(x).cast(g.dtype()).scatter_add(axis as isize, index, g)
}

pub(crate) fn scatter_vjp(axis: usize, add: bool, x: &Inputs, g: &Tensor) -> Grads {
    let index = &x[1];
    let dim = axis as isize;
    let mut src = g.gather(dim, index);
    if add {
        return smallvec![Some(g.clone()), None, Some(src)];
    }
    // Of several writes to one place only the last counts: see which one that was.
    let writes = Tensor::arange(0, index.numel(), 1).reshape(index.shape());
    let last = Tensor::zeros(g.shape(), DType::I64).scatter(dim, index, &writes);
    src = src.zero_unless(&last.gather(dim, index).eq(&writes));
    smallvec![Some(g.scatter_value(dim, index, 0)), None, Some(src)]
}

pub(crate) fn index_select_vjp(axis: usize, x: &Tensor, index: &Tensor, g: &Tensor) -> Tensor {
    Tensor::make(Op::IndexAdd(axis), smallvec![index.clone(), g.clone()], x.shape().clone(), g.dtype())
}

pub(crate) fn index_add_vjp(axis: usize, index: &Tensor, g: &Tensor) -> Tensor {
    g.index_select(axis as isize, index)
}
