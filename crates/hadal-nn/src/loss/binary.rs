//! Losses of probabilities.

use super::{Reduction, paired, with_reduction};
use crate::layers::wrong;
use hadal_core::ErrorKind;
use hadal_tensor::Tensor;

/// `ln x`, at least -100, as PyTorch holds it. Gradient 0 where it is held; NaN for negative `x`.
fn held_log(x: &Tensor) -> Tensor {
    // e⁻¹⁰⁰; the logarithm never sees a 0, whose infinite slope would make the gradient NaN.
    let tiny = x.abs().lt(3.720_075_976_020_836e-44);
    tiny.where_(-100.0, tiny.where_(1.0, x).log())
}

/// Whether a weight broadcasts to the shape of the input.
fn fits(weight: &Tensor, input: &Tensor) -> bool {
    input.shape().broadcast(weight.shape()).is_some_and(|s| s == *input.shape())
}

/// Binary cross-entropy of probabilities: `-(y·ln x + (1-y)·ln(1-x))`, logarithms held at -100.
/// Input and target of one shape. For logits use [`BceWithLogits`], which is accurate there.
///
/// ```
/// use hadal_nn::loss;
/// use hadal_tensor::Tensor;
/// let (p, y) = (Tensor::new([0.5f32, 0.0]), Tensor::new([1.0f32, 0.0]));
/// let loss = loss::binary_cross_entropy(&p, &y).item::<f32>().unwrap();
/// assert!((loss - 0.5 * 2f32.ln()).abs() < 1e-6);
/// ```
#[derive(Clone, Default)]
pub struct Bce {
    weight: Option<Tensor>,
    reduction: Reduction,
}

impl Bce {
    /// The mean of the elements' losses.
    pub fn new() -> Bce {
        Bce::default()
    }
    /// A factor for each element's loss; broadcasts to the input's shape.
    pub fn weight(self, weight: &Tensor) -> Bce {
        Bce { weight: Some(weight.clone()), ..self }
    }
    /// The loss. Both have one shape.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        const OP: &str = "binary_cross_entropy";
        if let Some(w) = self.weight.as_ref().filter(|w| !fits(w, input)) {
            return wrong(
                ErrorKind::Shape,
                OP,
                "the weight does not fit the input",
                &[input, target, w],
                "it broadcasts to the input",
            );
        }
        paired(OP, [input, target], self.reduction, |[x, y]| {
            let loss = -(&y * held_log(&x) + (1.0 - &y) * held_log(&(1.0 - &x)));
            match &self.weight {
                Some(w) => &loss * w.cast_like(&loss),
                None => loss,
            }
        })
    }
}

/// [`Bce`] with defaults.
#[track_caller]
pub fn binary_cross_entropy(input: &Tensor, target: &Tensor) -> Tensor {
    Bce::new().forward(input, target)
}

/// Binary cross-entropy of `sigmoid(x)`, computed from the logits `x` without overflow:
/// `(1-y)·x + (1 + (pos_weight-1)·y)·ln(1 + e⁻ˣ)`. Input and target of one shape.
///
/// ```
/// use hadal_nn::loss;
/// use hadal_tensor::Tensor;
/// let (x, y) = (Tensor::new([1000.0f32]), Tensor::new([0.0f32]));
/// assert_eq!(loss::binary_cross_entropy_with_logits(&x, &y).item::<f32>().unwrap(), 1000.0);
/// ```
#[derive(Clone, Default)]
pub struct BceWithLogits {
    weight: Option<Tensor>,
    pos_weight: Option<Tensor>,
    reduction: Reduction,
}

impl BceWithLogits {
    /// The mean of the elements' losses.
    pub fn new() -> BceWithLogits {
        BceWithLogits::default()
    }
    /// A factor for each element's loss; broadcasts to the input's shape.
    pub fn weight(self, weight: &Tensor) -> BceWithLogits {
        BceWithLogits { weight: Some(weight.clone()), ..self }
    }
    /// A factor for the positive examples of each class; broadcasts to the input's shape.
    pub fn pos_weight(self, weight: &Tensor) -> BceWithLogits {
        BceWithLogits { pos_weight: Some(weight.clone()), ..self }
    }
    /// The loss. Both have one shape.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        const OP: &str = "binary_cross_entropy_with_logits";
        for w in [&self.weight, &self.pos_weight].into_iter().flatten() {
            if !fits(w, input) {
                return wrong(
                    ErrorKind::Shape,
                    OP,
                    "a weight does not fit the input",
                    &[input, target, w],
                    "both broadcast to the input",
                );
            }
        }
        paired(OP, [input, target], self.reduction, |[x, y]| {
            let negative = (-&x).softplus();
            let loss = match &self.pos_weight {
                Some(w) => (1.0 - &y) * &x + (&y * (w.cast_like(&x) - 1.0) + 1.0) * negative,
                None => (1.0 - &y) * &x + negative,
            };
            match &self.weight {
                Some(w) => &loss * w.cast_like(&loss),
                None => loss,
            }
        })
    }
}

/// [`BceWithLogits`] with defaults.
#[track_caller]
pub fn binary_cross_entropy_with_logits(input: &Tensor, target: &Tensor) -> Tensor {
    BceWithLogits::new().forward(input, target)
}

/// Kullback–Leibler divergence `y·(ln y - x)` of the target's distribution from the one whose
/// logarithms are the input; 0 where `y` is 0. With `log_target` the target holds logarithms too.
/// Input and target of one shape.
///
/// The default reduction is, as in PyTorch, the mean over all elements; the divergence's own definition
/// is the mean over the batch, [`batch_mean`](KlDiv::batch_mean).
///
/// ```
/// use hadal_nn::loss::KlDiv;
/// use hadal_tensor::Tensor;
/// let p = Tensor::new([[0.25f32, 0.75]]);
/// let same = KlDiv::new().batch_mean().forward(&p.log(), &p);
/// assert!(same.item::<f32>().unwrap().abs() < 1e-6);
/// ```
#[derive(Clone, Debug, Default)]
pub struct KlDiv {
    log_target: bool,
    batch_mean: bool,
    reduction: Reduction,
}

impl KlDiv {
    /// The mean over all elements, for a target of probabilities.
    pub fn new() -> KlDiv {
        KlDiv::default()
    }
    /// Whether the target holds logarithms.
    pub fn log_target(self, log_target: bool) -> KlDiv {
        KlDiv { log_target, ..self }
    }
    /// The sum divided by the first size, in place of a reduction.
    pub fn batch_mean(self) -> KlDiv {
        KlDiv { batch_mean: true, ..self }
    }
    /// The loss. Both have one shape.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        let reduction = if self.batch_mean { Reduction::None } else { self.reduction };
        let batch = if self.batch_mean { input.dims().first().copied().unwrap_or(1) } else { 1 };
        paired("kl_div", [input, target], reduction, |[x, y]| {
            let loss = if self.log_target { y.exp() * (&y - x) } else { y.xlogy(&y) - &y * x };
            if self.batch_mean { loss.sum(..) * (1.0 / batch as f64) } else { loss }
        })
    }
}

/// [`KlDiv`] with defaults.
#[track_caller]
pub fn kl_div(input: &Tensor, target: &Tensor) -> Tensor {
    KlDiv::new().forward(input, target)
}

/// `ln(1 + e^(-y·x))` for targets of 1 and -1. Input and target of one shape.
///
/// ```
/// use hadal_nn::loss;
/// use hadal_tensor::Tensor;
/// let loss = loss::soft_margin_loss(&Tensor::new([0.0f32]), &Tensor::new([1.0f32]));
/// assert!((loss.item::<f32>().unwrap() - 2f32.ln()).abs() < 1e-6);
/// ```
#[derive(Clone, Debug, Default)]
pub struct SoftMargin {
    reduction: Reduction,
}

impl SoftMargin {
    /// The mean of the elements' losses.
    pub fn new() -> SoftMargin {
        SoftMargin::default()
    }
    /// The loss. Both have one shape.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        paired("soft_margin_loss", [input, target], self.reduction, |[x, y]| (-(x * y)).softplus())
    }
}

/// [`SoftMargin`] with defaults.
#[track_caller]
pub fn soft_margin_loss(input: &Tensor, target: &Tensor) -> Tensor {
    SoftMargin::new().forward(input, target)
}

with_reduction!(Bce, BceWithLogits, KlDiv, SoftMargin);
