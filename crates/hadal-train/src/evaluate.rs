//! Judging a model by data it has not learned from.

use crate::data::Task;
use crate::loss::tensors;
use crate::{Result, TrainError};
use hadal_data::{DataLoader, Dataset};
use hadal_nn::{Ctx, Layer};
use hadal_tensor::{DType, no_grad};
use serde::Serialize;
use std::sync::Arc;

/// Full batches from which on a model is compiled for them: compiling costs about as much as one.
const COMPILE_FROM: usize = 16;

/// A sample that was taken for another class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mistake {
    /// Index in the data set.
    pub index: usize,
    /// The class it is of.
    pub truth: usize,
    /// The class it was taken for.
    pub predicted: usize,
    /// The probability given to that class.
    pub confidence: f64,
    /// Its loss.
    pub loss: f64,
}

/// How a model does on a data set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Mean loss per sample: cross-entropy in nats, or squared error.
    pub loss: f64,
    /// Share that is right; `None` for a regression.
    pub accuracy: Option<f64>,
    /// Samples.
    pub samples: usize,
    /// Samples that were right; 0 for a regression.
    pub correct: usize,
    /// `confusion[class][predicted class]`; empty for a regression.
    pub confusion: Vec<Vec<u64>>,
    /// All mistakes, those with the highest loss first.
    pub mistakes: Vec<Mistake>,
}

impl Evaluation {
    /// Share of each class's samples that were right; `None` for a class without samples.
    pub fn per_class(&self) -> Vec<Option<f64>> {
        let rows = self.confusion.iter().enumerate();
        rows.map(|(c, row)| {
            let all: u64 = row.iter().sum();
            (all > 0).then(|| row[c] as f64 / all as f64)
        })
        .collect()
    }
}

/// Runs a model over a data set, in evaluation mode and without gradients.
///
/// Sums run in f64 in the order of the samples, so the result does not depend on threads; nor, up to
/// rounding of the model's own arithmetic, on the batch size.
/// A model with batch norms is compiled where there are many batches, and then has its norms in its weights
/// (see [`Compiled`](hadal_tensor::Compiled)): which ones run so depends on the number of samples and the
/// batch size alone.
///
/// # Errors
/// An empty data set, labels outside the classes, an output of another shape than the task has.
pub fn evaluate(
    model: &dyn Layer,
    data: &Arc<dyn Dataset>,
    task: &Task,
    batch_size: usize,
) -> Result<Evaluation> {
    let loader = DataLoader::new(data.clone()).batch_size(batch_size);
    let dtype = model.parameters().first().map_or(DType::F32, |(_, p)| p.dtype());
    let classes = match task {
        Task::Classification { classes } => classes.len(),
        Task::Regression { .. } => 0,
    };
    let mut e = Evaluation {
        loss: 0.0,
        accuracy: None,
        samples: 0,
        correct: 0,
        confusion: vec![vec![0; classes]; classes],
        mistakes: Vec::new(),
    };
    let mut sum = 0.0;
    // Planned once where there are batches enough to repay it; a last, smaller one runs as it is.
    let (mut net, mut compiled_for) = (None, Vec::new());
    for batch in loader.epoch(0).iter() {
        let batch = batch?;
        let (x, target) = tensors(&batch, dtype);
        if net.is_none() && data.len() / batch_size.max(1) >= COMPILE_FROM {
            net = Some(model.compile(&x)?);
            compiled_for = x.dims().to_vec();
        }
        let output = match &net {
            Some(net) if compiled_for == x.dims() => net.run(&[&x])?.remove(0),
            _ => no_grad(|| model.forward(&x, &Ctx::eval())),
        };
        let values = output.cast(DType::F64).to_vec::<f64>()?;
        let n = batch.len();
        match batch.targets.as_i64() {
            Some(labels) if classes > 0 => {
                if output.dims() != [n, classes] {
                    return Err(misfit(output.dims(), &[n, classes]));
                }
                for (row, &label) in values.chunks_exact(classes).zip(labels) {
                    let truth = usize::try_from(label).ok().filter(|&l| l < classes).ok_or_else(|| {
                        TrainError::Data(hadal_data::DataError::LabelOutOfRange {
                            file: "evaluate".into(),
                            index: e.samples,
                            label,
                            classes,
                        })
                    })?;
                    sum += e.judge(row, truth);
                }
            }
            _ => {
                let targets = target.cast(DType::F64).to_vec::<f64>()?;
                if targets.len() != values.len() || n == 0 {
                    return Err(misfit(output.dims(), batch.targets.shape()));
                }
                let each = values.len() / n;
                sum += values.iter().zip(&targets).map(|(a, b)| (a - b) * (a - b)).sum::<f64>()
                    / each.max(1) as f64;
                e.samples += n;
            }
        }
        loader.recycle(batch);
    }
    e.loss = sum / e.samples.max(1) as f64;
    if classes > 0 {
        e.accuracy = Some(e.correct as f64 / e.samples.max(1) as f64);
    }
    // Stable, so that equal losses stay in the order of the samples.
    e.mistakes.sort_by(|a, b| b.loss.total_cmp(&a.loss));
    Ok(e)
}

fn misfit(output: &[usize], expected: &[usize]) -> TrainError {
    TrainError::config(format!(
        "the model's output is {output:?}, the data needs {expected:?}; build the model for this data's classes"
    ))
}

impl Evaluation {
    /// Takes in one sample's logits; gives its loss.
    fn judge(&mut self, logits: &[f64], truth: usize) -> f64 {
        let predicted = argmax(logits);
        let p = log_softmax(logits);
        let loss = -p[truth];
        self.confusion[truth][predicted] += 1;
        if predicted == truth {
            self.correct += 1;
        } else {
            let confidence = p[predicted].exp();
            self.mistakes.push(Mistake { index: self.samples, truth, predicted, confidence, loss });
        }
        self.samples += 1;
        loss
    }
}

/// The first of the largest.
pub(crate) fn argmax(values: &[f64]) -> usize {
    let mut best = 0;
    for (i, v) in values.iter().enumerate() {
        if *v > values[best] {
            best = i;
        }
    }
    best
}

/// Logarithms of the probabilities.
pub(crate) fn log_softmax(logits: &[f64]) -> Vec<f64> {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let log_sum = logits.iter().map(|v| (v - max).exp()).sum::<f64>().ln() + max;
    logits.iter().map(|v| v - log_sum).collect()
}
