//! Losses of numbers.

use super::{Reduction, computed, paired, with_reduction};
use crate::layers::wrong;
use hadal_core::ErrorKind;
use hadal_tensor::Tensor;
use std::f64::consts::PI;

/// `(x - y)²`. Input and target of one shape.
///
/// ```
/// use hadal_nn::loss::{self, Mse, Reduction};
/// use hadal_tensor::Tensor;
/// let (x, y) = (Tensor::new([1.0f32, 4.0]), Tensor::new([0.0f32, 2.0]));
/// assert_eq!(loss::mse_loss(&x, &y).item::<f32>().unwrap(), 2.5);
/// assert_eq!(Mse::new().reduction(Reduction::Sum).forward(&x, &y).item::<f32>().unwrap(), 5.0);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Mse {
    reduction: Reduction,
}

impl Mse {
    /// The mean of the elements' losses.
    pub fn new() -> Mse {
        Mse::default()
    }
    /// The loss. Both have one shape.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        paired("mse_loss", [input, target], self.reduction, |[x, y]| (x - y).square())
    }
}

/// [`Mse`] with defaults.
#[track_caller]
pub fn mse_loss(input: &Tensor, target: &Tensor) -> Tensor {
    Mse::new().forward(input, target)
}

/// `|x - y|`. Input and target of one shape.
///
/// ```
/// use hadal_nn::loss;
/// use hadal_tensor::Tensor;
/// let (x, y) = (Tensor::new([1.0f32, 4.0]), Tensor::new([0.0f32, 2.0]));
/// assert_eq!(loss::l1_loss(&x, &y).item::<f32>().unwrap(), 1.5);
/// ```
#[derive(Clone, Debug, Default)]
pub struct L1 {
    reduction: Reduction,
}

impl L1 {
    /// The mean of the elements' losses.
    pub fn new() -> L1 {
        L1::default()
    }
    /// The loss. Both have one shape.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        paired("l1_loss", [input, target], self.reduction, |[x, y]| (x - y).abs())
    }
}

/// [`L1`] with defaults.
#[track_caller]
pub fn l1_loss(input: &Tensor, target: &Tensor) -> Tensor {
    L1::new().forward(input, target)
}

/// `½d²/beta` where the distance `d = |x - y|` is below `beta`, else `d - ½beta` (Girshick 2015,
/// arXiv:1504.08083). Input and target of one shape.
///
/// ```
/// use hadal_nn::loss;
/// use hadal_tensor::Tensor;
/// let (x, y) = (Tensor::new([0.5f32, 4.0]), Tensor::new([0.0f32, 2.0]));
/// assert_eq!(loss::smooth_l1_loss(&x, &y).item::<f32>().unwrap(), (0.125 + 1.5) / 2.0);
/// ```
#[derive(Clone, Debug)]
pub struct SmoothL1 {
    beta: f64,
    reduction: Reduction,
}

impl Default for SmoothL1 {
    fn default() -> Self {
        SmoothL1 { beta: 1.0, reduction: Reduction::Mean }
    }
}

impl SmoothL1 {
    /// The mean of the elements' losses, with a beta of 1.
    pub fn new() -> SmoothL1 {
        SmoothL1::default()
    }
    /// Where the parabola ends, 1 unless set; 0 makes it [`L1`].
    pub fn beta(self, beta: f64) -> SmoothL1 {
        SmoothL1 { beta, ..self }
    }
    /// The loss. Both have one shape.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        const OP: &str = "smooth_l1_loss";
        let beta = self.beta;
        if beta.is_nan() || beta < 0.0 {
            return wrong(
                ErrorKind::Value,
                OP,
                format!("a beta of {beta}"),
                &[input, target],
                "it must be at least 0",
            );
        }
        paired(OP, [input, target], self.reduction, |[x, y]| {
            let d = (x - y).abs();
            if beta == 0.0 { d } else { d.lt(beta).where_(d.square() * (0.5 / beta), &d - 0.5 * beta) }
        })
    }
}

/// [`SmoothL1`] with defaults.
#[track_caller]
pub fn smooth_l1_loss(input: &Tensor, target: &Tensor) -> Tensor {
    SmoothL1::new().forward(input, target)
}

/// `½d²` where the distance `d = |x - y|` is below `delta`, else `delta·(d - ½delta)` (Huber 1964).
/// Input and target of one shape.
///
/// ```
/// use hadal_nn::loss;
/// use hadal_tensor::Tensor;
/// let (x, y) = (Tensor::new([0.5f32, 4.0]), Tensor::new([0.0f32, 2.0]));
/// assert_eq!(loss::huber_loss(&x, &y).item::<f32>().unwrap(), (0.125 + 1.5) / 2.0);
/// ```
#[derive(Clone, Debug)]
pub struct Huber {
    delta: f64,
    reduction: Reduction,
}

impl Default for Huber {
    fn default() -> Self {
        Huber { delta: 1.0, reduction: Reduction::Mean }
    }
}

impl Huber {
    /// The mean of the elements' losses, with a delta of 1.
    pub fn new() -> Huber {
        Huber::default()
    }
    /// Where the parabola ends, 1 unless set.
    pub fn delta(self, delta: f64) -> Huber {
        Huber { delta, ..self }
    }
    /// The loss. Both have one shape.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        const OP: &str = "huber_loss";
        let delta = self.delta;
        if delta.is_nan() || delta <= 0.0 {
            return wrong(
                ErrorKind::Value,
                OP,
                format!("a delta of {delta}"),
                &[input, target],
                "it must be positive",
            );
        }
        paired(OP, [input, target], self.reduction, |[x, y]| {
            let d = (x - y).abs();
            d.lt(delta).where_(d.square() * 0.5, (&d - 0.5 * delta) * delta)
        })
    }
}

/// [`Huber`] with defaults.
#[track_caller]
pub fn huber_loss(input: &Tensor, target: &Tensor) -> Tensor {
    Huber::new().forward(input, target)
}

/// Negative log-likelihood of the target under a normal distribution with the input as mean and `var` as
/// variance: `½(ln max(var, eps) + (x - y)²/max(var, eps))`, and with `full` `½ln 2π` more (Nix and
/// Weigend 1994).
///
/// Input and target of one shape; `var` of that shape, or with a last size of 1, or without the last
/// dimension. Variances below `eps` count as `eps`; their gradient is as if they were not cut off.
///
/// ```
/// use hadal_nn::loss;
/// use hadal_tensor::Tensor;
/// let (x, y, var) = (Tensor::new([1.0f32]), Tensor::new([3.0f32]), Tensor::new([1.0f32]));
/// assert_eq!(loss::gaussian_nll_loss(&x, &y, &var).item::<f32>().unwrap(), 2.0);
/// ```
#[derive(Clone, Debug)]
pub struct GaussianNll {
    full: bool,
    eps: f64,
    reduction: Reduction,
}

impl Default for GaussianNll {
    fn default() -> Self {
        GaussianNll { full: false, eps: 1e-6, reduction: Reduction::Mean }
    }
}

impl GaussianNll {
    /// The mean of the elements' losses, without the constant term, eps 1e-6.
    pub fn new() -> GaussianNll {
        GaussianNll::default()
    }
    /// Whether the constant term is included.
    pub fn full(self, full: bool) -> GaussianNll {
        GaussianNll { full, ..self }
    }
    /// The smallest variance, 1e-6 unless set.
    pub fn eps(self, eps: f64) -> GaussianNll {
        GaussianNll { eps, ..self }
    }
    /// The loss.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor, var: &Tensor) -> Tensor {
        const OP: &str = "gaussian_nll_loss";
        let dims = input.dims();
        if dims != target.dims() {
            return wrong(
                ErrorKind::Shape,
                OP,
                "input and target differ in shape",
                &[input, target, var],
                "bring them to one shape, for example with .squeeze(-1) or .unsqueeze(-1)",
            );
        }
        let var = match var.dims().len() + 1 == dims.len() && dims.starts_with(var.dims()) {
            true => var.unsqueeze(-1),
            false => var.clone(),
        };
        let last = dims.len().saturating_sub(1);
        let one_wide =
            var.rank() == dims.len() && var.dims()[..last] == dims[..last] && var.dims().last() == Some(&1);
        if var.dims() != dims && !one_wide {
            let help = "a variance for each element, or one for each row";
            return wrong(ErrorKind::Shape, OP, "the variance does not fit", &[input, target, &var], help);
        }
        computed(OP, [input, target, &var], |[x, y, var]| {
            let var = &var + (var.clamp_min(self.eps) - &var).detach();
            let mut loss = ((x - y).square() / &var + var.log()) * 0.5;
            if self.full {
                loss = loss + 0.5 * (2.0 * PI).ln();
            }
            self.reduction.apply(&loss)
        })
    }
}

/// [`GaussianNll`] with defaults.
#[track_caller]
pub fn gaussian_nll_loss(input: &Tensor, target: &Tensor, var: &Tensor) -> Tensor {
    GaussianNll::new().forward(input, target, var)
}

/// Negative log-likelihood of a count under a Poisson distribution: `eˣ - y·x` when the input is the
/// logarithm of the rate, else `x - y·ln(x + eps)`; with `full` also Stirling's term
/// `y·ln y - y + ½ln(2πy)` for counts above 1. Input and target of one shape.
///
/// ```
/// use hadal_nn::loss;
/// use hadal_tensor::Tensor;
/// let (x, y) = (Tensor::new([0.0f32]), Tensor::new([3.0f32]));
/// assert_eq!(loss::poisson_nll_loss(&x, &y).item::<f32>().unwrap(), 1.0);
/// ```
#[derive(Clone, Debug)]
pub struct PoissonNll {
    log_input: bool,
    full: bool,
    eps: f64,
    reduction: Reduction,
}

impl Default for PoissonNll {
    fn default() -> Self {
        PoissonNll { log_input: true, full: false, eps: 1e-8, reduction: Reduction::Mean }
    }
}

impl PoissonNll {
    /// The mean of the elements' losses, for logarithms of rates, without Stirling's term, eps 1e-8.
    pub fn new() -> PoissonNll {
        PoissonNll::default()
    }
    /// Whether the input is the rate's logarithm, true unless set.
    pub fn log_input(self, log_input: bool) -> PoissonNll {
        PoissonNll { log_input, ..self }
    }
    /// Whether Stirling's term is included.
    pub fn full(self, full: bool) -> PoissonNll {
        PoissonNll { full, ..self }
    }
    /// Added to a rate before its logarithm is taken, 1e-8 unless set.
    pub fn eps(self, eps: f64) -> PoissonNll {
        PoissonNll { eps, ..self }
    }
    /// The loss. Both have one shape.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        paired("poisson_nll_loss", [input, target], self.reduction, |[x, y]| {
            let loss = if self.log_input { x.exp() - &y * &x } else { &x - &y * (&x + self.eps).log() };
            if !self.full {
                return loss;
            }
            let many = y.gt(1.0);
            // Counts of 0 have no logarithm.
            let safe = many.where_(&y, 1.0);
            let stirling = &safe * safe.log() - &safe + (&safe * (2.0 * PI)).log() * 0.5;
            loss + many.where_(stirling, 0.0)
        })
    }
}

/// [`PoissonNll`] with defaults.
#[track_caller]
pub fn poisson_nll_loss(input: &Tensor, target: &Tensor) -> Tensor {
    PoissonNll::new().forward(input, target)
}

with_reduction!(Mse, L1, SmoothL1, Huber, GaussianNll, PoissonNll);
