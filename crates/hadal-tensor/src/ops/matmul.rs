//! Matrix products.

use crate::Tensor;
use crate::autodiff::Grads;
use crate::scope::composed;
use hadal_core::ops::Op;
use hadal_core::smallvec::smallvec;
use hadal_core::{DType, Error, ErrorKind, Shape};

impl Tensor {
    /// Matrix product as `torch.matmul`: vectors count as a row on the left and a column on the right,
    /// dimensions before the last two are a batch and broadcast.
    ///
    /// Halves accumulate in f32. Operands of different dtypes are an error, as in PyTorch.
    ///
    /// ```
    /// use hadal_tensor::Tensor;
    /// let a = Tensor::new([[1.0f32, 2.0], [3.0, 4.0]]);
    /// assert_eq!(a.matmul(&Tensor::new([1.0f32, 1.0])).to_vec::<f32>().unwrap(), [3.0, 7.0]);
    /// ```
    ///
    /// # Errors
    /// Inner sizes differ; batches do not broadcast; a 0-d operand; dtypes differ or are bool.
    #[track_caller]
    pub fn matmul(&self, other: &Tensor) -> Tensor {
        composed(|| self.matmul_inner(other))
    }

    fn matmul_inner(&self, other: &Tensor) -> Tensor {
        let (a, b) = (self, other);
        for t in [a, b] {
            if t.is_poisoned() {
                return t.clone();
            }
        }
        let fail = |kind, message: String, help: &str| {
            let e = Error::new(kind, "matmul", message)
                .operand(a.shape(), a.dtype())
                .operand(b.shape(), b.dtype())
                .help(help);
            Tensor::poison(e, a.shape(), a.dtype())
        };
        if a.dtype() != b.dtype() {
            return fail(
                ErrorKind::DType,
                format!("dtypes differ: {} and {}", a.dtype(), b.dtype()),
                "cast one operand: .cast(other.dtype())",
            );
        }
        if a.dtype() == DType::Bool {
            return fail(
                ErrorKind::DType,
                "not defined for bool".into(),
                "cast the operands to a number dtype",
            );
        }
        if a.rank() == 0 || b.rank() == 0 {
            return fail(ErrorKind::Shape, "a 0-d operand".into(), "multiply with * instead");
        }
        let (m1, n1) = (a.rank() == 1, b.rank() == 1);
        let lhs = if m1 { a.unsqueeze(0) } else { a.clone() };
        let rhs = if n1 { b.unsqueeze(1) } else { b.clone() };
        let (k, k2) = (lhs.size(-1), rhs.size(-2));
        if k != k2 {
            let help = if b.rank() >= 2 && b.size(-1) == k {
                "the second operand's last size would fit: transpose it with .t()"
            } else {
                "the first operand's last size must be the second's size before the last"
            };
            return fail(ErrorKind::Shape, format!("inner sizes differ: {k} and {k2}"), help);
        }
        let out = if rhs.rank() == 2 && lhs.rank() > 2 {
            // One tall product instead of a batch of small ones.
            let mut dims = lhs.dims().to_vec();
            let rows: usize = dims[..dims.len() - 1].iter().product();
            dims.pop();
            dims.push(rhs.size(-1));
            lhs.reshape([rows, k]).product(&rhs).reshape(dims)
        } else {
            let (la, lb) = (&lhs.dims()[..lhs.rank() - 2], &rhs.dims()[..rhs.rank() - 2]);
            let Some(batch) = Shape::new(la).broadcast(&Shape::new(lb)) else {
                return fail(
                    ErrorKind::Shape,
                    "batch sizes do not broadcast".into(),
                    "sizes must be equal or 1",
                );
            };
            let full = |t: &Tensor| {
                let s: Shape =
                    batch.iter().copied().chain(t.dims()[t.rank() - 2..].iter().copied()).collect();
                t.expand_to(&s)
            };
            full(&lhs).product(&full(&rhs))
        };
        let out = if m1 { out.squeeze(-2) } else { out };
        if n1 { out.squeeze(-1) } else { out }
    }

    /// `[batch.., m, k] · [batch.., k, n]`, shapes known to fit.
    #[track_caller]
    fn product(&self, rhs: &Tensor) -> Tensor {
        let mut shape = self.shape().clone();
        let last = shape.rank() - 1;
        shape[last] = rhs.size(-1);
        Tensor::make(Op::Matmul, smallvec![self.clone(), rhs.clone()], shape, self.dtype())
    }

    /// `x · weightᵀ + bias`: the linear layer's map. x `[.., in]`, weight `[out, in]`, bias `[out]`.
    #[track_caller]
    pub fn linear(&self, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
        let y = self.matmul(&weight.t());
        match bias {
            Some(b) => y.add(b),
            None => y,
        }
    }
}

pub(crate) fn vjp(a: &Tensor, b: &Tensor, g: &Tensor, needs: &[bool]) -> Grads {
    smallvec![needs[0].then(|| g.product(&b.t())), needs[1].then(|| a.t().product(g))]
}
