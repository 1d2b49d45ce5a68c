//! Norms of vectors, and normalisation.

use super::{fail, first_bad, in_float, in_float_all};
use crate::Tensor;
use crate::operand::{Dims, Operand, resolve_dim, resolve_dims};
use crate::ops::{pointwise, rows};
use hadal_core::ErrorKind;

/// `f` where `x` is not 0, and 0 where it is, without the infinite slope there.
fn off_zero(x: &Tensor, f: impl FnOnce(Tensor) -> Tensor) -> Tensor {
    let zero = x.eq(0.0);
    zero.where_(0.0, f(zero.where_(1.0, x)))
}

impl Tensor {
    /// The p-norm `(Σ |x|ᵖ)^(1/p)` over dimensions (`..` for all). `p` may be infinite (the largest or,
    /// for `-inf`, smallest `|x|`), or 0 (how many elements are not 0). The gradient is 0 where the
    /// norm is 0.
    ///
    /// ```
    /// use hadal_tensor::Tensor;
    /// let x = Tensor::new([3.0f32, -4.0]);
    /// assert_eq!(x.norm(2.0, ..).item::<f32>().unwrap(), 5.0);
    /// assert_eq!(x.norm(f64::INFINITY, 0).item::<f32>().unwrap(), 4.0);
    /// ```
    #[track_caller]
    pub fn norm(&self, p: f64, dims: impl Dims) -> Tensor {
        self.norm_over(p, dims, false)
    }

    /// As [`norm`](Tensor::norm); the dimensions stay with size 1.
    #[track_caller]
    pub fn norm_keepdim(&self, p: f64, dims: impl Dims) -> Tensor {
        self.norm_over(p, dims, true)
    }

    #[track_caller]
    fn norm_over(&self, p: f64, dims: impl Dims, keep: bool) -> Tensor {
        if self.is_poisoned() {
            return self.clone();
        }
        let axes = match resolve_dims("norm", self, dims) {
            Ok(a) => a.to_vec(),
            Err(e) => return self.fail(e, self.dtype()),
        };
        if p.is_nan() {
            return fail(
                "norm",
                ErrorKind::Value,
                "a p of NaN",
                &[self],
                "use a number, or f64::INFINITY for the largest absolute value",
            );
        }
        if p.is_infinite() && axes.iter().any(|&a| self.dims()[a] == 0) {
            return fail(
                "norm",
                ErrorKind::Shape,
                "no largest or smallest of no elements",
                &[self],
                "the reduced dimensions must not be empty",
            );
        }
        in_float(self, |x| {
            let sum = |t: Tensor| if keep { t.sum_keepdim(&axes) } else { t.sum(&axes) };
            match p {
                1.0 => sum(x.abs()),
                2.0 => off_zero(&sum(x.square()), |s| s.sqrt()),
                0.0 => sum(x.ne(0.0).cast(x.dtype())),
                f64::INFINITY if keep => x.abs().max_keepdim(&axes),
                f64::INFINITY => x.abs().max(&axes),
                f64::NEG_INFINITY if keep => x.abs().min_keepdim(&axes),
                f64::NEG_INFINITY => x.abs().min(&axes),
                p if p < 0.0 => sum(x.abs().pow(p)).pow(1.0 / p),
                p => off_zero(&sum(off_zero(&x.abs(), |a| a.pow(p))), |s| s.pow(1.0 / p)),
            }
        })
    }

    /// Divided by its p-norm over dimensions, or by `eps` where the norm is smaller. PyTorch's are
    /// `p` 2, dimension 1, `eps` 1e-12.
    #[track_caller]
    pub fn normalize(&self, p: f64, dims: impl Dims, eps: f64) -> Tensor {
        let dims = dims.dims();
        in_float(self, |x| {
            let norm = match dims {
                Some(d) => x.norm_keepdim(p, d),
                None => x.norm_keepdim(p, ..),
            };
            x / norm.clamp_min(eps)
        })
    }

    /// Layer normalisation (Ba 2016, arXiv:1607.06450): over the last dimensions, whose sizes are
    /// `normalized`, the mean becomes 0 and the (population) variance 1, then `· weight + bias`, both of
    /// shape `normalized`. PyTorch's `eps` is 1e-5.
    ///
    /// # Errors
    /// `normalized` are not the last sizes; weight or bias have another shape.
    #[track_caller]
    pub fn layer_norm(
        &self,
        normalized: &[usize],
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f64,
    ) -> Tensor {
        let axes = match self.last_axes("layer_norm", normalized, [weight, bias]) {
            Ok(a) => a,
            Err(bad) => return bad,
        };
        in_float(self, |x| normed(x, &axes, true, eps, weight, bias))
    }

    /// `x / √(mean(x²) + eps) · weight` over the last dimensions, whose sizes are `normalized`
    /// (Zhang 2019, arXiv:1910.07467).
    ///
    /// # Errors
    /// `normalized` are not the last sizes; the weight has another shape.
    #[track_caller]
    pub fn rms_norm(&self, normalized: &[usize], weight: Option<&Tensor>, eps: f64) -> Tensor {
        let axes = match self.last_axes("rms_norm", normalized, [weight, None]) {
            Ok(a) => a,
            Err(bad) => return bad,
        };
        in_float(self, |x| normed(x, &axes, false, eps, weight, None))
    }

    /// Group normalisation (Wu 2018, arXiv:1803.08494) of `[n, c, ..]`: mean 0 and variance 1 within
    /// each image and group of channels, then weight and bias of each channel. PyTorch's `eps` is 1e-5.
    ///
    /// # Errors
    /// The channels do not divide into the groups; weight or bias are not one for each channel.
    #[track_caller]
    pub fn group_norm(
        &self,
        groups: usize,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f64,
    ) -> Tensor {
        const OP: &str = "group_norm";
        if self.rank() < 2 {
            let help = "the shape is [batch, channels, ..]";
            return fail(OP, ErrorKind::Shape, "two dimensions at least are needed", &[self], help);
        }
        let (n, c) = (self.dims()[0], self.dims()[1]);
        if groups == 0 || !c.is_multiple_of(groups) {
            let message = format!("{c} channels do not divide into {groups} groups");
            return fail(OP, ErrorKind::Shape, message, &[self], "the groups must divide the channels");
        }
        for t in [weight, bias].into_iter().flatten() {
            if t.dims() != [c] {
                let message = format!("weight and bias must have the shape [{c}] of the channels");
                return fail(OP, ErrorKind::Shape, message, &[self, t], "weight and bias are [channels]");
            }
        }
        let mut channels = vec![1; self.rank()];
        channels[1] = c;
        in_float(self, |x| {
            let spatial: usize = x.dims()[2..].iter().product();
            let y = normed(&x.reshape([n, groups, c / groups * spatial]), &[2], true, eps, None, None)
                .reshape(x.shape());
            let wide = |t: &Tensor| t.reshape(&channels);
            scaled(y, weight.map(wide).as_ref(), bias.map(wide).as_ref())
        })
    }

    /// Instance normalisation (Ulyanov 2016, arXiv:1607.08022): group normalisation with a group for
    /// each channel.
    #[track_caller]
    pub fn instance_norm(&self, weight: Option<&Tensor>, bias: Option<&Tensor>, eps: f64) -> Tensor {
        let groups = self.dims().get(1).copied().unwrap_or(1).max(1);
        self.group_norm(groups, weight, bias, eps)
    }

    /// The last axes, if their sizes are `normalized` and so are the parameters' shapes.
    #[track_caller]
    fn last_axes(
        &self,
        op: &'static str,
        normalized: &[usize],
        parameters: [Option<&Tensor>; 2],
    ) -> Result<Vec<usize>, Tensor> {
        if normalized.is_empty() || !self.dims().ends_with(normalized) {
            let message = format!("{normalized:?} are not the last sizes");
            return Err(fail(
                op,
                ErrorKind::Shape,
                message,
                &[self],
                "name the sizes of the dimensions to normalize",
            ));
        }
        for t in parameters.into_iter().flatten() {
            if t.dims() != normalized {
                let message = format!("weight and bias must have the shape {normalized:?}");
                return Err(fail(op, ErrorKind::Shape, message, &[self, t], "it has the normalized sizes"));
            }
        }
        if let Some(bad) = parameters.into_iter().flatten().find(|t| t.is_poisoned()) {
            return Err(bad.clone());
        }
        Ok((self.rank() - normalized.len()..self.rank()).collect())
    }

    /// `a·b / (max(‖a‖, eps)·max(‖b‖, eps))` along `dim`, after broadcasting. PyTorch's are dimension 1
    /// and `eps` 1e-8.
    #[track_caller]
    pub fn cosine_similarity(&self, other: &Tensor, dim: isize, eps: f64) -> Tensor {
        const OP: &str = "cosine_similarity";
        if let Some(bad) = first_bad(&[self, other]) {
            return bad;
        }
        let Some(shape) = pointwise::broadcast(&[&Operand::from(self), &Operand::from(other)]) else {
            return fail(
                OP,
                ErrorKind::Shape,
                "shapes do not broadcast",
                &[self, other],
                "sizes must be equal or 1, counted from the last dimension",
            );
        };
        in_float_all([self, other], |[a, b]| {
            let (a, b) = (a.expand_to(&shape), b.expand_to(&shape));
            if let Err(e) = resolve_dim(OP, &a, dim) {
                return Tensor::poison(e, &shape, a.dtype());
            }
            let unit = |t: &Tensor| t / t.norm_keepdim(2.0, dim).clamp_min(eps);
            (unit(&a) * unit(&b)).sum(dim)
        })
    }
}

/// Mean 0, if `centred`, and mean square 1 over the last axes, then weight and bias of their sizes.
fn normed(
    x: &Tensor,
    axes: &[usize],
    centred: bool,
    eps: f64,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
) -> Tensor {
    let n: usize = x.dims()[x.rank() - axes.len()..].iter().product();
    let flat = |t: &Tensor| t.cast_like(x).reshape([n]);
    let (weight, bias) = (weight.map(flat), bias.map(flat));
    let rows = match axes.len() {
        1 => x.clone(),
        k => x.reshape(x.dims()[..x.rank() - k].iter().copied().chain([n]).collect::<Vec<_>>()),
    };
    let y = match rows::takes(&rows, -1) {
        true => rows::norm(&rows, centred, eps, weight.as_ref(), bias.as_ref()),
        false => norm(&rows, centred, eps, weight.as_ref(), bias.as_ref()),
    };
    if axes.len() == 1 { y } else { y.reshape(x.shape()) }
}

/// The norm of rows as a composition: the reference of the kernel, what is differentiated a second time,
/// and what computes the rows that the kernel does not take.
pub(crate) fn norm(
    x: &Tensor,
    centred: bool,
    eps: f64,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
) -> Tensor {
    let d = if centred { x - x.mean_keepdim(-1) } else { x.clone() };
    let scale = (d.square().mean_keepdim(-1) + eps).rsqrt();
    scaled(d * scale, weight, bias)
}

/// `x · weight + bias` in the dtype of `x`.
fn scaled(x: Tensor, weight: Option<&Tensor>, bias: Option<&Tensor>) -> Tensor {
    let y = match weight {
        Some(w) => &x * w.cast_like(&x),
        None => x,
    };
    match bias {
        Some(b) => &y + b.cast_like(&y),
        None => y,
    }
}
