//! Losses of classes.

use super::{Reduction, computed, with_reduction};
use crate::layers::wrong;
use hadal_core::ErrorKind;
use hadal_tensor::{Tensor, no_grad};

/// Cross-entropy of logits: `-ln softmax(x)[class]`.
///
/// Input `[n, c]`, `[n, c, d..]` or `[c]`: the classes are dimension 1, or the only one. Target: class
/// indices of the input's shape without the classes (any integer dtype), or probabilities (any float
/// dtype) of the input's shape. Examples whose index is `ignore_index` (-100 unless set) cost nothing and
/// do not count in the mean; with class weights the mean is the weighted one, as in PyTorch. An index
/// outside the classes is an error when the loss is evaluated.
///
/// ```
/// use hadal_nn::loss::CrossEntropy;
/// use hadal_tensor::Tensor;
/// let logits = Tensor::new([[0.0f32, 0.0], [0.0, 0.0]]);
/// let loss = CrossEntropy::new().forward(&logits, &Tensor::new([1i64, -100]));
/// assert!((loss.item::<f32>().unwrap() - 2f32.ln()).abs() < 1e-6);
/// let outside = CrossEntropy::new().forward(&logits, &Tensor::new([1i64, 2]));
/// assert!(outside.eval().unwrap_err().to_string().contains("index 2"));
/// ```
#[derive(Clone)]
pub struct CrossEntropy {
    weight: Option<Tensor>,
    ignore_index: Option<i64>,
    label_smoothing: f64,
    reduction: Reduction,
}

impl Default for CrossEntropy {
    fn default() -> Self {
        CrossEntropy {
            weight: None,
            ignore_index: Some(-100),
            label_smoothing: 0.0,
            reduction: Reduction::Mean,
        }
    }
}

impl CrossEntropy {
    /// The mean of the examples' losses, without weights and smoothing.
    pub fn new() -> CrossEntropy {
        CrossEntropy::default()
    }
    /// A weight for each class, `[c]`.
    pub fn weight(self, weight: &Tensor) -> CrossEntropy {
        CrossEntropy { weight: Some(weight.clone()), ..self }
    }
    /// The index of examples to leave out, -100 unless set. `None` leaves out none, and saves the check.
    pub fn ignore_index(self, index: impl Into<Option<i64>>) -> CrossEntropy {
        CrossEntropy { ignore_index: index.into(), ..self }
    }
    /// The share of the target that is spread evenly over all classes (Szegedy 2015, arXiv:1512.00567).
    pub fn label_smoothing(self, share: f64) -> CrossEntropy {
        CrossEntropy { label_smoothing: share, ..self }
    }
    /// The loss.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        const OP: &str = "cross_entropy";
        let share = self.label_smoothing;
        if !(0.0..=1.0).contains(&share) {
            let message = format!("a label smoothing of {share}");
            return wrong(ErrorKind::Value, OP, message, &[input, target], "it is a share, from 0 to 1");
        }
        let probabilities = target.dtype().is_float() && target.dims() == input.dims();
        let checked = Classes::of(OP, input, target, self.weight.as_ref(), probabilities);
        let classes = match checked {
            Ok(c) => c,
            Err(bad) => return bad,
        };
        computed(OP, [input], |[x]| {
            // -ln softmax(x)[c] = ln Σ e^(x-max) - (x[c] - max). The maximum cancels in the gradient, and
            // no tensor of the input's size is written in the forward pass.
            let axis = classes.axis;
            let top = no_grad(|| x.max_keepdim(axis));
            let distance = &x - &top;
            let log_sum = distance.exp().sum(axis as usize).log();
            if probabilities {
                return self.of_probabilities(&classes, &distance, &log_sum, target);
            }
            let (index, kept) = classes.index(target, self.ignore_index);
            let mut loss = &log_sum - (classes.pick(&x, &index) - top.squeeze(axis));
            let weight = self.weight.as_ref().map(|w| w.cast_like(&x));
            let of_target = weight.as_ref().map(|w| w.embedding(&index));
            if let Some(w) = &of_target {
                loss = loss * w;
            }
            if share > 0.0 {
                // The same with every class as the target, in equal shares.
                let spread = match &weight {
                    Some(w) => &log_sum * w.sum(..) - (&distance * classes.along(w)).sum(axis as usize),
                    None => &log_sum * classes.count as f64 - distance.sum(axis as usize),
                };
                loss = loss * (1.0 - share) + spread * (share / classes.count as f64);
            }
            weighted_mean(&loss, kept.as_ref(), of_target.as_ref(), self.reduction)
        })
    }

    fn of_probabilities(
        &self,
        classes: &Classes,
        distance: &Tensor,
        log_sum: &Tensor,
        target: &Tensor,
    ) -> Tensor {
        let mut p = target.cast_like(distance);
        if self.label_smoothing > 0.0 {
            p = p * (1.0 - self.label_smoothing) + self.label_smoothing / classes.count as f64;
        }
        if let Some(w) = &self.weight {
            p = p * classes.along(&w.cast_like(distance));
        }
        let loss = ((log_sum.unsqueeze(classes.axis) - distance) * p).sum(classes.axis as usize);
        self.reduction.apply(&loss)
    }
}

/// [`CrossEntropy`] with defaults.
#[track_caller]
pub fn cross_entropy(input: &Tensor, target: &Tensor) -> Tensor {
    CrossEntropy::new().forward(input, target)
}

/// Negative log-likelihood: `-x[class]`, for an input of log-probabilities, as a log-softmax gives them.
///
/// Shapes, weights and `ignore_index` as for [`CrossEntropy`]; the target holds class indices.
///
/// ```
/// use hadal_nn::loss;
/// use hadal_tensor::Tensor;
/// let x = Tensor::new([[-1.0f32, -2.0]]);
/// assert_eq!(loss::nll_loss(&x, &Tensor::new([1i64])).item::<f32>().unwrap(), 2.0);
/// ```
#[derive(Clone)]
pub struct Nll {
    weight: Option<Tensor>,
    ignore_index: Option<i64>,
    reduction: Reduction,
}

impl Default for Nll {
    fn default() -> Self {
        Nll { weight: None, ignore_index: Some(-100), reduction: Reduction::Mean }
    }
}

impl Nll {
    /// The mean of the examples' losses, without weights.
    pub fn new() -> Nll {
        Nll::default()
    }
    /// A weight for each class, `[c]`.
    pub fn weight(self, weight: &Tensor) -> Nll {
        Nll { weight: Some(weight.clone()), ..self }
    }
    /// The index of examples to leave out, -100 unless set. `None` leaves out none, and saves the check.
    pub fn ignore_index(self, index: impl Into<Option<i64>>) -> Nll {
        Nll { ignore_index: index.into(), ..self }
    }
    /// The loss.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        const OP: &str = "nll_loss";
        let classes = match Classes::of(OP, input, target, self.weight.as_ref(), false) {
            Ok(c) => c,
            Err(bad) => return bad,
        };
        computed(OP, [input], |[x]| {
            let (index, kept) = classes.index(target, self.ignore_index);
            let of_target = self.weight.as_ref().map(|w| w.cast_like(&x).embedding(&index));
            let mut loss = -classes.pick(&x, &index);
            if let Some(w) = &of_target {
                loss = loss * w;
            }
            weighted_mean(&loss, kept.as_ref(), of_target.as_ref(), self.reduction)
        })
    }
}

/// [`Nll`] with defaults.
#[track_caller]
pub fn nll_loss(input: &Tensor, target: &Tensor) -> Tensor {
    Nll::new().forward(input, target)
}

/// The hinge loss of many classes (Crammer and Singer 2001, as PyTorch's `multi_margin_loss`): the mean
/// over classes `i` other than the target `y` of `max(0, margin - x[y] + x[i])ᵖ`.
///
/// Input `[n, c]` with target `[n]`, or `[c]` with a 0-d target.
///
/// ```
/// use hadal_nn::loss;
/// use hadal_tensor::Tensor;
/// let x = Tensor::new([[2.0f32, 1.5]]);
/// assert_eq!(loss::multi_margin_loss(&x, &Tensor::new([0i64])).item::<f32>().unwrap(), 0.25);
/// ```
#[derive(Clone)]
pub struct MultiMargin {
    p: i32,
    margin: f64,
    weight: Option<Tensor>,
    reduction: Reduction,
}

impl Default for MultiMargin {
    fn default() -> Self {
        MultiMargin { p: 1, margin: 1.0, weight: None, reduction: Reduction::Mean }
    }
}

impl MultiMargin {
    /// The mean of the examples' losses, with p 1 and a margin of 1.
    pub fn new() -> MultiMargin {
        MultiMargin::default()
    }
    /// The power, 1 or 2; 1 unless set.
    pub fn p(self, p: i32) -> MultiMargin {
        MultiMargin { p, ..self }
    }
    /// The lead that the target's score should have, 1 unless set.
    pub fn margin(self, margin: f64) -> MultiMargin {
        MultiMargin { margin, ..self }
    }
    /// A weight for each class, `[c]`, by the target.
    pub fn weight(self, weight: &Tensor) -> MultiMargin {
        MultiMargin { weight: Some(weight.clone()), ..self }
    }
    /// The loss.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        const OP: &str = "multi_margin_loss";
        if !matches!(self.p, 1 | 2) || input.rank() > 2 {
            let message = format!("a power of {} for an input of {} dimensions", self.p, input.rank());
            return wrong(
                ErrorKind::Value,
                OP,
                message,
                &[input, target],
                "p is 1 or 2, the input [n, c] or [c]",
            );
        }
        let classes = match Classes::of(OP, input, target, self.weight.as_ref(), false) {
            Ok(c) => c,
            Err(bad) => return bad,
        };
        computed(OP, [input], |[x]| {
            let axis = classes.axis;
            let lead = (&x - classes.pick(&x, target).unsqueeze(axis) + self.margin).relu();
            let lead = if self.p == 2 { lead.square() } else { lead };
            let own = Tensor::arange(0, classes.count, 1).eq(target.unsqueeze(axis));
            let mut loss = own.where_(0.0, lead).sum(axis as usize) * (1.0 / classes.count as f64);
            if let Some(w) = &self.weight {
                loss = &loss * w.cast_like(&loss).embedding(target);
            }
            self.reduction.apply(&loss)
        })
    }
}

/// [`MultiMargin`] with defaults.
#[track_caller]
pub fn multi_margin_loss(input: &Tensor, target: &Tensor) -> Tensor {
    MultiMargin::new().forward(input, target)
}

with_reduction!(CrossEntropy, Nll, MultiMargin);

/// Where the classes are.
struct Classes {
    axis: isize,
    count: usize,
    rank: usize,
}

impl Classes {
    /// What fits together: input, target and class weights.
    #[track_caller]
    fn of(
        op: &'static str,
        input: &Tensor,
        target: &Tensor,
        weight: Option<&Tensor>,
        probabilities: bool,
    ) -> Result<Classes, Tensor> {
        let mut operands = vec![input, target];
        operands.extend(weight);
        if let Some(bad) = operands.iter().find(|t| t.is_poisoned()) {
            return Err((*bad).clone());
        }
        if input.rank() == 0 {
            let help = "the input is [n, c], [n, c, d..] or [c]";
            return Err(wrong(ErrorKind::Shape, op, "the input has no classes", &operands, help));
        }
        let axis = usize::from(input.rank() > 1);
        let count = input.dims()[axis];
        if !probabilities {
            let mut want = input.dims().to_vec();
            want.remove(axis);
            if !target.dtype().is_int() {
                let message = format!("class indices must be integers, not {}", target.dtype());
                let help = "cast them: .cast(DType::I64); probabilities have the input's shape";
                return Err(wrong(ErrorKind::DType, op, message, &operands, help));
            }
            if target.dims() != want {
                let message = format!("the target of this input has the shape {want:?}");
                let help =
                    "the classes are dimension 1 of the input; class indices have its shape without them";
                return Err(wrong(ErrorKind::Shape, op, message, &operands, help));
            }
        }
        if weight.is_some_and(|w| w.dims() != [count]) {
            let message = format!("the weight needs one number for each of {count} classes");
            return Err(wrong(
                ErrorKind::Shape,
                op,
                message,
                &operands,
                "there is one weight for each class: [c]",
            ));
        }
        Ok(Classes { axis: axis as isize, count, rank: input.rank() })
    }

    /// Indices that can be looked up, and which of them count (all, if `None`).
    fn index(&self, target: &Tensor, ignore: Option<i64>) -> (Tensor, Option<Tensor>) {
        match ignore {
            Some(i) => {
                let target = target.cast(hadal_core::DType::I64);
                let kept = target.ne(i);
                (kept.where_(&target, 0), Some(kept))
            }
            None => (target.clone(), None),
        }
    }

    /// The element of each example at its index.
    #[track_caller]
    fn pick(&self, x: &Tensor, index: &Tensor) -> Tensor {
        x.gather(self.axis, &index.unsqueeze(self.axis)).squeeze(self.axis)
    }

    /// A number for each class, shaped to broadcast over the input.
    fn along(&self, w: &Tensor) -> Tensor {
        let mut dims = vec![1; self.rank];
        dims[self.axis as usize] = self.count;
        w.reshape(dims)
    }
}

/// The examples that count, reduced; the mean divides by their number or the sum of their weights.
fn weighted_mean(
    loss: &Tensor,
    kept: Option<&Tensor>,
    weight: Option<&Tensor>,
    reduction: Reduction,
) -> Tensor {
    let only_kept = |t: &Tensor| kept.map_or_else(|| t.clone(), |k| k.where_(t, 0.0));
    let loss = only_kept(loss);
    match (reduction, kept, weight) {
        (Reduction::Mean, Some(kept), None) => loss.sum(..) / kept.cast(loss.dtype()).sum(..),
        (Reduction::Mean, _, Some(w)) => loss.sum(..) / only_kept(w).sum(..),
        _ => reduction.apply(&loss),
    }
}
