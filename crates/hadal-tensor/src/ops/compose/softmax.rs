//! Softmax and its relatives.

use super::in_float;
use crate::operand::resolve_dims;
use crate::ops::rows;
use crate::{Tensor, no_grad};

/// The composition: the reference of the kernel, and what computes the dimensions that it does not take.
fn softmax(x: &Tensor, dim: isize) -> Tensor {
    let e = x.shifted(dim).exp();
    // One division for each sum: a division costs several products.
    &e * e.sum_keepdim(dim).reciprocal()
}

/// As [`softmax`].
fn log_softmax(x: &Tensor, dim: isize) -> Tensor {
    let d = x.shifted(dim);
    &d - d.exp().sum_keepdim(dim).log()
}

impl Tensor {
    /// `eˣ / Σ eˣ` along `dim`, shifted by the largest element so that nothing overflows.
    ///
    /// ```
    /// use hadal_tensor::Tensor;
    /// let p = Tensor::new([1000.0f32, 1000.0]).softmax(0);
    /// assert_eq!(p.to_vec::<f32>().unwrap(), [0.5, 0.5]);
    /// ```
    #[track_caller]
    pub fn softmax(&self, dim: isize) -> Tensor {
        self.along("softmax", dim, |x| match rows::takes(x, dim) {
            true => rows::softmax(x, false),
            false => softmax(x, dim),
        })
    }

    /// `softmax(-x)` along `dim`.
    #[track_caller]
    pub fn softmin(&self, dim: isize) -> Tensor {
        self.along("softmin", dim, |x| match rows::takes(x, dim) {
            true => rows::softmax(&-x, false),
            false => softmax(&-x, dim),
        })
    }

    /// `ln softmax(x)` along `dim`, accurate where the probability is tiny.
    #[track_caller]
    pub fn log_softmax(&self, dim: isize) -> Tensor {
        self.along("log_softmax", dim, |x| match rows::takes(x, dim) {
            true => rows::softmax(x, true),
            false => log_softmax(x, dim),
        })
    }

    /// As [`softmax`](Tensor::softmax), but a row of nothing but `-inf` gives zeros instead of NaN.
    #[track_caller]
    pub(crate) fn safe_softmax(&self, dim: isize) -> Tensor {
        self.along("softmax", dim, |x| {
            let m = no_grad(|| {
                let m = x.max_keepdim(dim);
                m.eq(f64::NEG_INFINITY).where_(0.0, m)
            });
            let e = (x - m).exp();
            let sum = e.sum_keepdim(dim);
            e * sum.eq(0.0).where_(1.0, sum).reciprocal()
        })
    }

    #[track_caller]
    fn along(&self, op: &'static str, dim: isize, f: impl FnOnce(&Tensor) -> Tensor) -> Tensor {
        if self.is_poisoned() {
            return self.clone();
        }
        if let Err(e) = resolve_dims(op, self, dim) {
            return self.fail(e, self.dtype());
        }
        in_float(self, |x| if x.numel() == 0 { x.clone() } else { f(x) })
    }

    /// Less the largest element along `dim`, which cancels in what follows: no gradient goes there.
    fn shifted(&self, dim: isize) -> Tensor {
        self - no_grad(|| self.max_keepdim(dim))
    }
}
