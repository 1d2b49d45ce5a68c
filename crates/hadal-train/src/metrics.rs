//! What is written down of each step and epoch, as one JSON object a line.

use serde::{Deserialize, Serialize};

/// A line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Record {
    /// An update.
    Step(StepRecord),
    /// An epoch.
    Epoch(EpochRecord),
}

/// An update.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Updates so far, with this one.
    pub step: u64,
    /// The epoch, counted from 1.
    pub epoch: u64,
    /// Mean loss of the batch, before the update.
    pub loss: f64,
    /// Share of right answers in the batch, before the update; `None` for a regression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Learning rate.
    pub lr: f64,
    /// L2 norm of the gradient, before clipping.
    pub grad_norm: f64,
    /// Samples a second, reading the data included.
    pub samples_per_second: f64,
}

/// An epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Updates so far.
    pub step: u64,
    /// The epoch, counted from 1.
    pub epoch: u64,
    /// Mean loss over the epoch's batches, each before its update.
    pub train_loss: f64,
    /// Share of right answers over the epoch's batches; `None` for a regression.
    pub train_accuracy: Option<f64>,
    /// Loss on the validation part, where one is held out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_loss: Option<f64>,
    /// Accuracy on the validation part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_accuracy: Option<f64>,
    /// Loss on the test part, where no validation part is held out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_loss: Option<f64>,
    /// Accuracy on the test part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_accuracy: Option<f64>,
    /// Learning rate of the last update.
    pub lr: f64,
    /// Seconds of training in this epoch, evaluation not included.
    pub seconds: f64,
    /// Samples a second.
    pub samples_per_second: f64,
    /// Most bytes of tensors at once since the start.
    pub peak_memory_bytes: u64,
}

impl EpochRecord {
    /// Loss on held-out data: validation where there is one, else test.
    pub fn held_out_loss(&self) -> Option<f64> {
        self.valid_loss.or(self.test_loss)
    }
    /// Accuracy on held-out data.
    pub fn held_out_accuracy(&self) -> Option<f64> {
        self.valid_accuracy.or(self.test_accuracy)
    }
}
