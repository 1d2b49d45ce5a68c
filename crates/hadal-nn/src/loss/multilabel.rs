//! Losses of examples that have several labels.

use super::{Reduction, computed, with_reduction};
use crate::layers::wrong;
use hadal_core::{DType, ErrorKind};
use hadal_tensor::Tensor;

/// The mean over classes of `-(y·ln s + (1-y)·ln(1-s))` with `s = sigmoid(x)`: each class is a yes or no
/// (PyTorch's `multilabel_soft_margin_loss`).
///
/// Input and target `[.., c]` of one shape; one loss for each row.
///
/// ```
/// use hadal_nn::loss;
/// use hadal_tensor::Tensor;
/// let (x, y) = (Tensor::new([[0.0f32, 0.0]]), Tensor::new([[1.0f32, 0.0]]));
/// let loss = loss::multilabel_soft_margin_loss(&x, &y).item::<f32>().unwrap();
/// assert!((loss - 2f32.ln()).abs() < 1e-6);
/// ```
#[derive(Clone, Default)]
pub struct MultiLabelSoftMargin {
    weight: Option<Tensor>,
    reduction: Reduction,
}

impl MultiLabelSoftMargin {
    /// The mean of the rows' losses, without weights.
    pub fn new() -> MultiLabelSoftMargin {
        MultiLabelSoftMargin::default()
    }
    /// A weight for each class, `[c]`.
    pub fn weight(self, weight: &Tensor) -> MultiLabelSoftMargin {
        MultiLabelSoftMargin { weight: Some(weight.clone()), ..self }
    }
    /// The loss. Both have one shape.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        const OP: &str = "multilabel_soft_margin_loss";
        let Some(&classes) = input.dims().last().filter(|_| input.dims() == target.dims()) else {
            let help = "input and target are [.., classes]";
            return wrong(ErrorKind::Shape, OP, "shapes do not fit", &[input, target], help);
        };
        if let Some(w) = self.weight.as_ref().filter(|w| w.dims() != [classes]) {
            let message = format!("the weight needs one number for each of {classes} classes");
            return wrong(ErrorKind::Shape, OP, message, &[input, target, w], "it broadcasts to the input");
        }
        computed(OP, [input, target], |[x, y]| {
            // -ln sigmoid(x) = softplus(-x), -ln(1 - sigmoid(x)) = softplus(x) = softplus(-x) + x.
            let mut loss = (-&x).softplus() + (1.0 - &y) * &x;
            if let Some(w) = &self.weight {
                loss = &loss * w.cast_like(&loss);
            }
            self.reduction.apply(&loss.mean(-1))
        })
    }
}

/// [`MultiLabelSoftMargin`] with defaults.
#[track_caller]
pub fn multilabel_soft_margin_loss(input: &Tensor, target: &Tensor) -> Tensor {
    MultiLabelSoftMargin::new().forward(input, target)
}

/// A hinge loss for several right classes (PyTorch's `multilabel_margin_loss`): the sum over right classes
/// `y` and wrong ones `i` of `max(0, 1 - x[y] + x[i])`, divided by the number of classes.
///
/// Input `[n, c]` or `[c]`. Target of the same shape: class indices, ended by the first -1; what follows
/// does not count.
///
/// ```
/// use hadal_nn::loss;
/// use hadal_tensor::Tensor;
/// let x = Tensor::new([[0.1f32, 0.2, 0.4, 0.8]]);
/// let loss = loss::multilabel_margin_loss(&x, &Tensor::new([[3i64, 0, -1, 1]]));
/// assert!((loss.item::<f32>().unwrap() - 0.85).abs() < 1e-6);
/// ```
#[derive(Clone, Debug, Default)]
pub struct MultiLabelMargin {
    reduction: Reduction,
}

impl MultiLabelMargin {
    /// The mean of the examples' losses.
    pub fn new() -> MultiLabelMargin {
        MultiLabelMargin::default()
    }
    /// The loss. Both have one shape.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        const OP: &str = "multilabel_margin_loss";
        if !matches!(input.rank(), 1 | 2) || input.dims() != target.dims() || !target.dtype().is_int() {
            let help =
                "the input is [n, c] or [c]; the target has its shape and holds class indices, then -1";
            return wrong(ErrorKind::Shape, OP, "the target does not fit the input", &[input, target], help);
        }
        let classes = input.dims().last().copied().unwrap_or(0);
        computed(OP, [input], |[x]| {
            let target = target.cast(DType::I64);
            // Before the first -1: no -1 so far.
            let counts = target.eq(-1).cast(DType::I64).cumsum(-1).eq(0);
            let index = counts.where_(&target, 0);
            let own = Tensor::arange(0, classes, 1).eq(index.unsqueeze(-1));
            // [.., place in the target, class]: whether a class is the one named there, and by any place.
            let named = own.logical_and(counts.unsqueeze(-1)).any(-2);
            let lead = (1.0 - x.gather(-1, &index).unsqueeze(-1) + x.unsqueeze(-2)).relu();
            let pairs = counts.unsqueeze(-1).logical_and(named.logical_not().unsqueeze(-2));
            let loss = pairs.where_(lead, 0.0).sum([-2, -1]) * (1.0 / classes.max(1) as f64);
            self.reduction.apply(&loss)
        })
    }
}

/// [`MultiLabelMargin`] with defaults.
#[track_caller]
pub fn multilabel_margin_loss(input: &Tensor, target: &Tensor) -> Tensor {
    MultiLabelMargin::new().forward(input, target)
}

with_reduction!(MultiLabelSoftMargin, MultiLabelMargin);
