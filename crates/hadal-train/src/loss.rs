//! What is minimised, and how a batch becomes tensors.

use crate::config::Precision;
use crate::data::Task;
use hadal_data::{Array, ArrayData, Batch};
use hadal_nn::loss::{CrossEntropy, mse_loss};
use hadal_tensor::{DType, Tensor};

/// The loss of a task.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Loss {
    /// Cross-entropy with logits.
    CrossEntropy {
        /// Share of the label spread over all classes.
        smoothing: f64,
    },
    /// Mean squared error.
    Mse,
}

impl Loss {
    pub fn of(task: &Task, smoothing: f64) -> Loss {
        match task {
            Task::Classification { .. } => Loss::CrossEntropy { smoothing },
            Task::Regression { .. } => Loss::Mse,
        }
    }

    /// The mean over the batch.
    pub fn mean(self, output: &Tensor, target: &Tensor) -> Tensor {
        // A loss rounded to a half type would have two digits.
        let output = &output.cast(output.dtype().compute());
        match self {
            Loss::CrossEntropy { smoothing } => {
                CrossEntropy::new().ignore_index(None).label_smoothing(smoothing).forward(output, target)
            }
            Loss::Mse => mse_loss(output, target),
        }
    }

    /// How many of the batch are right, where that has a meaning.
    pub fn correct(self, output: &Tensor, target: &Tensor) -> Option<Tensor> {
        match self {
            Loss::CrossEntropy { .. } => {
                let right = output.detach().argmax(-1, false).eq(target);
                Some(right.cast(DType::I64).sum(..))
            }
            Loss::Mse => None,
        }
    }
}

impl Precision {
    /// As tensors know it.
    pub(crate) fn dtype(self) -> DType {
        match self {
            Precision::F32 => DType::F32,
            Precision::F64 => DType::F64,
            Precision::Bf16 => DType::BF16,
        }
    }
}

/// A copy of an array as a tensor; numbers other than labels in the precision of training.
fn tensor(array: &Array, dtype: DType, label: bool) -> Tensor {
    let t = array.tensor();
    if label { t } else { t.cast(dtype) }
}

/// Inputs and targets of a batch.
pub(crate) fn tensors(batch: &Batch, dtype: DType) -> (Tensor, Tensor) {
    let label = matches!(batch.targets.data(), ArrayData::I64(_));
    (tensor(&batch.inputs, dtype, false), tensor(&batch.targets, dtype.compute(), label))
}
