//! Losses, with PyTorch's formulas, defaults and reductions.
//!
//! Each is a struct with options and, for the defaults, a function:
//!
//! ```
//! use hadal_nn::loss::{self, CrossEntropy};
//! use hadal_tensor::Tensor;
//! let logits = Tensor::new([[2.0f32, 1.0, 0.1], [0.5, 2.5, 0.3]]);
//! let target = Tensor::new([0i64, 1]);
//! let plain = loss::cross_entropy(&logits, &target).item::<f32>().unwrap();
//! let smooth = CrossEntropy::new().label_smoothing(0.1).forward(&logits, &target).item::<f32>().unwrap();
//! assert!(smooth > plain);
//! ```
//!
//! Half types are computed in f32 and rounded once at the end. Shapes that differ are an error, where
//! PyTorch may broadcast with a warning.

mod binary;
mod classification;
mod embedding;
mod multilabel;
mod regression;

pub use binary::{
    Bce, BceWithLogits, KlDiv, SoftMargin, binary_cross_entropy, binary_cross_entropy_with_logits, kl_div,
    soft_margin_loss,
};
pub use classification::{CrossEntropy, MultiMargin, Nll, cross_entropy, multi_margin_loss, nll_loss};
pub use embedding::{
    CosineEmbedding, HingeEmbedding, MarginRanking, TripletMargin, cosine_embedding_loss,
    hinge_embedding_loss, margin_ranking_loss, triplet_margin_loss,
};
pub use multilabel::{
    MultiLabelMargin, MultiLabelSoftMargin, multilabel_margin_loss, multilabel_soft_margin_loss,
};
pub use regression::{
    GaussianNll, Huber, L1, Mse, PoissonNll, SmoothL1, gaussian_nll_loss, huber_loss, l1_loss, mse_loss,
    poisson_nll_loss, smooth_l1_loss,
};

use crate::layers::wrong;
use hadal_core::{DType, ErrorKind};
use hadal_tensor::Tensor;

/// What becomes of the losses of the elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Reduction {
    /// Their mean (weighted where there are class weights). PyTorch's default.
    #[default]
    Mean,
    /// Their sum.
    Sum,
    /// They stay as they are.
    None,
}

impl Reduction {
    #[track_caller]
    pub(crate) fn apply(self, loss: &Tensor) -> Tensor {
        match self {
            Reduction::Mean => loss.mean(..),
            Reduction::Sum => loss.sum(..),
            Reduction::None => loss.clone(),
        }
    }
}

/// `f` of the tensors in the dtype they are computed in, the result rounded to their common float dtype.
#[track_caller]
pub(crate) fn computed<const N: usize>(
    name: &'static str,
    tensors: [&Tensor; N],
    f: impl FnOnce([Tensor; N]) -> Tensor,
) -> Tensor {
    if let Some(bad) = tensors.iter().find(|t| t.is_poisoned()) {
        return (*bad).clone();
    }
    let _line = hadal_tensor::from_here();
    let dtype = tensors.iter().map(|t| t.dtype()).filter(|d| d.is_float()).reduce(DType::promote);
    match dtype {
        Some(d) => f(tensors.map(|t| t.cast(d.compute()))).cast(d),
        None => {
            let help = "cast the model's output to a float: .cast(DType::F32)";
            wrong(ErrorKind::DType, name, "no operand is a float", &tensors, help)
        }
    }
}

/// Elementwise losses: both of one shape.
#[track_caller]
pub(crate) fn paired(
    name: &'static str,
    [a, b]: [&Tensor; 2],
    reduction: Reduction,
    f: impl FnOnce([Tensor; 2]) -> Tensor,
) -> Tensor {
    if a.dims() != b.dims() {
        let help = "bring them to one shape, for example with .squeeze(-1) or .unsqueeze(-1)";
        return wrong(ErrorKind::Shape, name, "input and target differ in shape", &[a, b], help);
    }
    computed(name, [a, b], |both| reduction.apply(&f(both)))
}

macro_rules! with_reduction {
    ($($t:ty),*) => { $(impl $t {
        /// What becomes of the losses of the elements; their mean unless set.
        pub fn reduction(mut self, reduction: $crate::loss::Reduction) -> Self {
            self.reduction = reduction;
            self
        }
    })* };
}
pub(crate) use with_reduction;
