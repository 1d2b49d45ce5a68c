//! Clamping, interpolation, comparison with tolerance, distances, and formulas that need care at their
//! edges.

use super::{fail, first_bad, in_float, in_float_all, zero};
use crate::Tensor;
use crate::operand::{Operand, result_type};
use crate::ops::pointwise::{adapt, binary, broadcast, float_of};
use crate::scope::composed;
use hadal_core::ops::BinaryOp;
use hadal_core::{DType, ErrorKind, Result};

/// The largest finite number of a float dtype.
fn largest(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => f64::MAX,
        DType::F16 => hadal_core::half::f16::MAX.to_f64(),
        DType::BF16 => hadal_core::half::bf16::MAX.to_f64(),
        _ => f32::MAX as f64,
    }
}

impl Tensor {
    /// Two operands of one shape, in the dtype they are computed in, and the result's dtype.
    #[track_caller]
    fn float_pair(&self, op: &'static str, other: Operand) -> Result<(Tensor, Tensor, DType), Tensor> {
        let this = Operand::from(self);
        let tensors: Vec<&Tensor> = match &other {
            Operand::Tensor(t) => vec![self, t],
            Operand::Scalar(_) => vec![self],
        };
        if let Some(bad) = first_bad(&tensors) {
            return Err(bad);
        }
        let Some(shape) = broadcast(&[&this, &other]) else {
            let help = "sizes must be equal or 1, counted from the last dimension";
            return Err(fail(op, ErrorKind::Shape, "shapes do not broadcast", &tensors, help));
        };
        let dtype = float_of(result_type(&[&this, &other]));
        Ok((adapt(&this, &shape, dtype.compute()), adapt(&other, &shape, dtype.compute()), dtype))
    }

    /// Cut off below `low` and above `high`, numbers or tensors. Where `low` exceeds `high` the result
    /// is `high`; NaN stays. Gradient 0 from the bounds on outward.
    ///
    /// ```
    /// use hadal_tensor::Tensor;
    /// let x = Tensor::new([-2.0f32, 0.5, 2.0]);
    /// assert_eq!(x.clamp(-1.0, 1.0).to_vec::<f32>().unwrap(), [-1.0, 0.5, 1.0]);
    /// ```
    #[track_caller]
    pub fn clamp(&self, low: impl Into<Operand>, high: impl Into<Operand>) -> Tensor {
        self.clamp_min(low).clamp_max(high)
    }

    /// Cut off below `low`; see [`clamp`](Tensor::clamp).
    #[track_caller]
    pub fn clamp_min(&self, low: impl Into<Operand>) -> Tensor {
        self.bounded(low.into(), BinaryOp::Le)
    }

    /// Cut off above `high`; see [`clamp`](Tensor::clamp).
    #[track_caller]
    pub fn clamp_max(&self, high: impl Into<Operand>) -> Tensor {
        self.bounded(high.into(), BinaryOp::Ge)
    }

    #[track_caller]
    fn bounded(&self, bound: Operand, beyond: BinaryOp) -> Tensor {
        if let Operand::Tensor(b) = &bound {
            if let Some(bad) = first_bad(&[self, b]) {
                return bad;
            }
            if self.shape().broadcast(b.shape()).is_none() {
                return fail(
                    "clamp",
                    ErrorKind::Shape,
                    "shapes do not broadcast",
                    &[self, b],
                    "sizes must be equal or 1, counted from the last dimension",
                );
            }
        }
        // Compared with and put in place: one and the same number.
        let bound = match bound {
            Operand::Scalar(_) if self.dtype().is_float() && !self.is_poisoned() => {
                Operand::Tensor(adapt(&bound, self.shape(), self.dtype()))
            }
            other => other,
        };
        composed(|| binary(beyond, Operand::from(self), bound.clone()).where_(&bound, self))
    }

    /// `self + weight·(end - self)`; `weight` is a number or a tensor.
    #[track_caller]
    pub fn lerp(&self, end: &Tensor, weight: impl Into<Operand>) -> Tensor {
        let weight = weight.into();
        if let Operand::Tensor(w) = &weight
            && w.is_poisoned()
        {
            return w.clone();
        }
        in_float_all([self, end], |[a, b]| {
            let d = &b - &a;
            // From the nearer end, so that weights 0 and 1 give exactly the ends.
            match weight {
                Operand::Scalar(w) if w.to_f64().abs() < 0.5 => a + d * w.to_f64(),
                Operand::Scalar(w) => b - d * (1.0 - w.to_f64()),
                Operand::Tensor(w) => {
                    let w = w.cast(a.dtype());
                    w.abs().lt(0.5).where_(a + &d * &w, b - d * (1.0 - w))
                }
            }
        })
    }

    /// `self + value·a·b`
    #[track_caller]
    pub fn addcmul(&self, a: &Tensor, b: &Tensor, value: f64) -> Tensor {
        in_float_all([self, a, b], |[x, a, b]| x + a * b * value)
    }

    /// `self + value·a/b`
    #[track_caller]
    pub fn addcdiv(&self, a: &Tensor, b: &Tensor, value: f64) -> Tensor {
        in_float_all([self, a, b], |[x, a, b]| x + a / b * value)
    }

    /// `x` without its whole part: `x - trunc(x)`.
    #[track_caller]
    pub fn frac(&self) -> Tensor {
        in_float(self, |x| x - x.trunc())
    }

    /// NaN replaced by `nan`, infinities by `posinf` and `neginf`, which are the largest and smallest
    /// finite numbers of the dtype unless given. PyTorch's `nan` is 0.
    #[track_caller]
    pub fn nan_to_num(&self, nan: f64, posinf: Option<f64>, neginf: Option<f64>) -> Tensor {
        if self.is_poisoned() || !self.dtype().is_float() {
            return self.clone();
        }
        let most = largest(self.dtype());
        composed(|| {
            let x = self.isnan().where_(nan, self);
            let x = self.eq(f64::INFINITY).where_(posinf.unwrap_or(most), x);
            self.eq(f64::NEG_INFINITY).where_(neginf.unwrap_or(-most), x)
        })
    }

    /// `ln(eᵃ + eᵇ)` without overflow.
    #[track_caller]
    pub fn logaddexp(&self, other: impl Into<Operand>) -> Tensor {
        match self.float_pair("logaddexp", other.into()) {
            Err(bad) => bad,
            Ok((a, b, dtype)) => composed(|| {
                // The smaller one's distance below the larger, smooth also where both are equal; of
                // equal infinities the difference would be NaN.
                let d = a.eq(&b).logical_and(a.isinf()).where_(0.0, &b - &a);
                let from_a = &a + d.softplus();
                a.gt(&b).where_(from_a, &b + (-d).softplus()).cast(dtype)
            }),
        }
    }

    /// `a·ln(b)`, which is 0 where `a` is 0, also for `b` 0 or infinite.
    #[track_caller]
    pub fn xlogy(&self, other: impl Into<Operand>) -> Tensor {
        match self.float_pair("xlogy", other.into()) {
            Err(bad) => bad,
            Ok((a, b, dtype)) => composed(|| {
                let no_log = b.le(0.0).logical_or(b.eq(f64::INFINITY));
                let safe = a.eq(0.0).logical_and(no_log).where_(1.0, b);
                (a * safe.log()).cast(dtype)
            }),
        }
    }

    /// Whether `|a - b| ≤ atol + rtol·|b|`, elementwise; infinities are close only to themselves, NaN
    /// to NaN if `equal_nan`. PyTorch's are `rtol` 1e-5, `atol` 1e-8, false.
    #[track_caller]
    pub fn isclose(&self, other: impl Into<Operand>, rtol: f64, atol: f64, equal_nan: bool) -> Tensor {
        let other = other.into();
        let exact = match &other {
            Operand::Tensor(t) => !t.dtype().is_float(),
            Operand::Scalar(s) => !s.dtype().is_float(),
        };
        // Whole numbers compare in f64, which holds them up to 2^53.
        let this = if exact && !self.dtype().is_float() { self.cast(DType::F64) } else { self.clone() };
        match this.float_pair("isclose", other) {
            Err(bad) => bad,
            Ok((a, b, _)) => composed(|| {
                let distance = (&a - &b).abs();
                let near = distance.le(b.abs() * rtol + atol).logical_and(distance.isfinite());
                let close = a.eq(&b).logical_or(near);
                if equal_nan { close.logical_or(a.isnan().logical_and(b.isnan())) } else { close }
            }),
        }
    }

    /// Whether all elements are close; see [`isclose`](Tensor::isclose). Evaluates.
    ///
    /// # Errors
    /// Any error on the way here.
    #[track_caller]
    pub fn allclose(&self, other: impl Into<Operand>, rtol: f64, atol: f64, equal_nan: bool) -> Result<bool> {
        self.isclose(other, rtol, atol, equal_nan).all(..).item::<bool>()
    }

    /// The sum of the products of two vectors.
    ///
    /// # Errors
    /// One is no vector; lengths or dtypes differ.
    #[track_caller]
    pub fn dot(&self, other: &Tensor) -> Tensor {
        if self.rank() != 1 || other.dims() != self.dims() {
            let help = "use matmul for matrices";
            return fail(
                "dot",
                ErrorKind::Shape,
                "two vectors of one length are needed",
                &[self, other],
                help,
            );
        }
        self.matmul(other)
    }

    /// The product of every element of one vector with every element of another, `[n, m]`.
    ///
    /// # Errors
    /// One is no vector.
    #[track_caller]
    pub fn outer(&self, other: &Tensor) -> Tensor {
        if self.rank() != 1 || other.rank() != 1 {
            return fail(
                "outer",
                ErrorKind::Shape,
                "two vectors are needed",
                &[self, other],
                "flatten them, or use matmul",
            );
        }
        self.unsqueeze(1) * other.unsqueeze(0)
    }

    /// The p-norm of the difference, over all dimensions.
    #[track_caller]
    pub fn dist(&self, other: &Tensor, p: f64) -> Tensor {
        (self - other).norm(p, ..)
    }

    /// The p-norm of the difference of every row of `self`, `[.., n, m]`, to every row of `other`,
    /// `[.., k, m]`: `[.., n, k]`.
    ///
    /// # Errors
    /// Rows of different length, or fewer than two dimensions.
    #[track_caller]
    pub fn cdist(&self, other: &Tensor, p: f64) -> Tensor {
        if self.rank() < 2 || other.rank() < 2 || self.size(-1) != other.size(-1) {
            let message = "rows of one length are needed, [.., n, m] and [.., k, m]";
            return fail(
                "cdist",
                ErrorKind::Shape,
                message,
                &[self, other],
                "transpose one, or flatten what comes before the rows",
            );
        }
        (self.unsqueeze(-2) - other.unsqueeze(-3)).norm(p, -1)
    }

    /// Whether negative, of floats also -0.0; false for NaN.
    #[track_caller]
    pub fn signbit(&self) -> Tensor {
        if !self.dtype().is_float() {
            return self.lt(zero(self.dtype()));
        }
        // 1/-0.0 is -inf.
        composed(|| self.lt(0.0).logical_or(self.eq(0.0).logical_and(self.reciprocal().lt(0.0))))
    }
}
