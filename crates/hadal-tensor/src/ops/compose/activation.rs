//! Activation functions.

use super::{fail, in_float, in_float_all};
use crate::Tensor;
use crate::operand::resolve_dim;
use hadal_core::ErrorKind;
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, SQRT_2};

impl Tensor {
    /// `½x·(1 + erf(x/√2))`: the exact GELU (Hendrycks and Gimpel 2016, arXiv:1606.08415).
    #[track_caller]
    pub fn gelu(&self) -> Tensor {
        in_float(self, |x| x * 0.5 * ((x * FRAC_1_SQRT_2).erf() + 1.0))
    }

    /// `½x·(1 + tanh(√(2/π)·(x + 0.044715x³)))`: GELU's approximation in the same paper.
    #[track_caller]
    pub fn gelu_tanh(&self) -> Tensor {
        // √(2/π) = √2 · (2/√π) / 2, as PyTorch writes it.
        const K: f64 = SQRT_2 * FRAC_2_SQRT_PI * 0.5;
        in_float(self, |x| {
            let inner = (x * x * x * 0.044715 + x) * K;
            x * 0.5 * (inner.tanh() + 1.0)
        })
    }

    /// `x·sigmoid(x)`, also called swish.
    #[track_caller]
    pub fn silu(&self) -> Tensor {
        in_float(self, |x| x * x.sigmoid())
    }

    /// `x·tanh(softplus(x))` (Misra 2019, arXiv:1908.08681).
    #[track_caller]
    pub fn mish(&self) -> Tensor {
        in_float(self, |x| x * x.softplus().tanh())
    }

    /// `ln sigmoid(x)` without overflow.
    #[track_caller]
    pub fn logsigmoid(&self) -> Tensor {
        in_float(self, |x| -(-x).softplus())
    }

    /// `x` above 0, `alpha·(eˣ - 1)` below (Clevert 2015, arXiv:1511.07289). PyTorch's `alpha` is 1.
    #[track_caller]
    pub fn elu(&self, alpha: f64) -> Tensor {
        self.elu_with(alpha, 1.0, 1.0)
    }

    /// Self-normalising ELU with the constants of Klambauer 2017, arXiv:1706.02515.
    #[track_caller]
    pub fn selu(&self) -> Tensor {
        self.elu_with(1.673_263_242_354_377_2, 1.050_700_987_355_480_5, 1.0)
    }

    /// `max(x, 0) + min(alpha·(e^(x/alpha) - 1), 0)` (Barron 2017, arXiv:1704.07483), once
    /// differentiable. PyTorch's `alpha` is 1.
    ///
    /// # Errors
    /// `alpha` is 0.
    #[track_caller]
    pub fn celu(&self, alpha: f64) -> Tensor {
        if alpha == 0.0 {
            return fail(
                "celu",
                ErrorKind::Value,
                "an alpha of 0",
                &[self],
                "use any other number; PyTorch's is 1",
            );
        }
        self.elu_with(alpha, 1.0, 1.0 / alpha)
    }

    /// `scale·x` above 0, `scale·alpha·(e^(rate·x) - 1)` below. At 0 the gradient is that from below.
    #[track_caller]
    fn elu_with(&self, alpha: f64, scale: f64, rate: f64) -> Tensor {
        in_float(self, |x| {
            let above = x.gt(0.0);
            // Nothing large goes into exp, whose gradient would be inf · 0.
            let below = (above.where_(0.0, x) * rate).expm1() * (alpha * scale);
            above.where_(x * scale, below)
        })
    }

    /// `x` above 0, `slope·x` below and, for the gradient, at 0. PyTorch's slope is 0.01.
    #[track_caller]
    pub fn leaky_relu(&self, slope: f64) -> Tensor {
        in_float(self, |x| x.gt(0.0).where_(x, x * slope))
    }

    /// `x` above 0, `weight·x` below, with one learned weight, or one for each channel (dimension 1).
    ///
    /// # Errors
    /// The weight has another number of elements than 1 or the channels.
    #[track_caller]
    pub fn prelu(&self, weight: &Tensor) -> Tensor {
        let channels = if self.rank() > 1 { self.dims()[1] } else { 1 };
        if weight.rank() > 1 || (weight.numel() != 1 && weight.numel() != channels) {
            let message = format!("{} weights for {channels} channels", weight.numel());
            return fail(
                "prelu",
                ErrorKind::Shape,
                message,
                &[self, weight],
                "give one weight, or one for each channel",
            );
        }
        in_float_all([self, weight], |[x, w]| {
            let mut dims = vec![1; x.rank()];
            if dims.len() > 1 {
                dims[1] = w.numel();
            }
            let above = x.gt(0.0);
            above.where_(&x, above.where_(0.0, &x) * w.reshape(dims))
        })
    }

    /// `min(max(x, 0), 6)`; gradient 0 at both ends.
    #[track_caller]
    pub fn relu6(&self) -> Tensor {
        self.hardtanh(0.0, 6.0)
    }

    /// `x` cut off at `low` and `high`; gradient 0 at both ends. PyTorch's are -1 and 1.
    #[track_caller]
    pub fn hardtanh(&self, low: f64, high: f64) -> Tensor {
        if self.dtype().is_int() && low.fract() == 0.0 && high.fract() == 0.0 {
            return self.clamp(low as i64, high as i64);
        }
        self.clamp(low, high)
    }

    /// `min(max(x + 3, 0), 6) / 6` (Howard 2019, arXiv:1905.02244).
    #[track_caller]
    pub fn hardsigmoid(&self) -> Tensor {
        in_float(self, |x| (x + 3.0).clamp(0.0, 6.0) / 6.0)
    }

    /// `x·min(max(x + 3, 0), 6) / 6` (Howard 2019, arXiv:1905.02244).
    #[track_caller]
    pub fn hardswish(&self) -> Tensor {
        in_float(self, |x| x * (x + 3.0).clamp(0.0, 6.0) / 6.0)
    }

    /// `x / (1 + |x|)`
    #[track_caller]
    pub fn softsign(&self) -> Tensor {
        in_float(self, |x| x / (x.abs() + 1.0))
    }

    /// `x` moved towards 0 by `lambda`, and 0 nearer than that. PyTorch's `lambda` is 0.5.
    #[track_caller]
    pub fn softshrink(&self, lambda: f64) -> Tensor {
        in_float(self, |x| {
            // x · 0 keeps NaN.
            let inner = x.lt(-lambda).where_(x + lambda, x * 0.0);
            x.gt(lambda).where_(x - lambda, inner)
        })
    }

    /// `x` outside `-lambda..=lambda`, 0 inside. PyTorch's `lambda` is 0.5.
    #[track_caller]
    pub fn hardshrink(&self, lambda: f64) -> Tensor {
        in_float(self, |x| x.ge(-lambda).logical_and(x.le(lambda)).where_(0.0, x))
    }

    /// `x - tanh(x)`
    #[track_caller]
    pub fn tanhshrink(&self) -> Tensor {
        in_float(self, |x| x - x.tanh())
    }

    /// `x` above `threshold`, else `value`.
    #[track_caller]
    pub fn threshold(&self, threshold: f64, value: f64) -> Tensor {
        in_float(self, |x| x.le(threshold).where_(value, x))
    }

    /// `ln(1 + e^(beta·x)) / beta`; the identity where `beta·x` is above `threshold`. PyTorch's are 1
    /// and 20.
    ///
    /// # Errors
    /// `beta` is 0.
    #[track_caller]
    pub fn softplus_with(&self, beta: f64, threshold: f64) -> Tensor {
        if beta == 0.0 {
            return fail(
                "softplus",
                ErrorKind::Value,
                "a beta of 0",
                &[self],
                "use any other number; PyTorch's is 1",
            );
        }
        in_float(self, |x| {
            let scaled = x * beta;
            scaled.gt(threshold).where_(x, scaled.softplus() / beta)
        })
    }

    /// The first half of a dimension times the sigmoid of the second (Dauphin 2016,
    /// arXiv:1612.08083). PyTorch's `dim` is -1.
    ///
    /// # Errors
    /// The dimension's size is odd.
    #[track_caller]
    pub fn glu(&self, dim: isize) -> Tensor {
        if self.is_poisoned() {
            return self.clone();
        }
        let axis = match resolve_dim("glu", self, dim) {
            Ok(a) => a,
            Err(e) => return self.fail(e, self.dtype()),
        };
        let n = self.dims()[axis];
        if !n.is_multiple_of(2) {
            let message = format!("dimension {dim} has the odd size {n}");
            return fail("glu", ErrorKind::Shape, message, &[self], "it is split into two halves");
        }
        in_float(self, |x| {
            let half = |start| x.narrow_axis(axis, start, n / 2, 1);
            half(0) * half(n / 2).sigmoid()
        })
    }
}
