//! One update: forward, loss, backward, accumulation, clipping. The optimizer's part is the trainer's.

use crate::Result;
use crate::loss::{Loss, tensors};
use hadal_data::Batch;
use hadal_nn::{Backward, Ctx, Grads, Layer};
use hadal_optim::{ClipNorm, clip_grad_value, total_norm};
use hadal_tensor::{DType, Key, Tensor};

/// How gradients are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepOptions {
    pub loss: Loss,
    pub dtype: DType,
    pub clip_norm: Option<f64>,
    /// The p of the norm that is clipped by and reported.
    pub norm_type: f64,
    pub clip_value: Option<f64>,
}

/// Gradients, computed, and what is known from computing them.
pub(crate) struct Computed {
    pub grads: Grads,
    /// Mean over the samples.
    pub loss: f64,
    pub correct: u64,
    pub samples: u64,
    /// Before clipping by norm.
    pub grad_norm: f64,
}

/// The gradient of the mean loss over all samples of these batches, each with its own randomness.
///
/// Loss, gradients, their norm and the number of right answers are computed in one evaluation per
/// batch. Nothing of the graph is alive afterwards.
pub(crate) fn gradients(model: &dyn Layer, batches: &[(Batch, Key)], o: &StepOptions) -> Result<Computed> {
    let samples: u64 = batches.iter().map(|(b, _)| b.len() as u64).sum();
    let mut correct = 0;
    let grads = match batches {
        [(batch, key)] => {
            let (grads, right) = backward(model, batch, *key, o)?;
            let (grads, norm) = clip(grads, o);
            compute(&grads, &[Some(&norm), right.as_ref()])?;
            correct += count(right)?;
            return Computed::new(grads, correct, samples, &norm);
        }
        _ => {
            let mut sum: Option<Grads> = None;
            for (batch, key) in batches {
                // Weighted by samples, so that the result is the gradient of the one large batch.
                let (grads, right) = backward(model, batch, *key, o)?;
                let grads = grads.scale(batch.len() as f64);
                let grads = match &sum {
                    Some(s) => s.accumulate(&grads)?,
                    None => grads,
                };
                compute(&grads, &[right.as_ref()])?;
                correct += count(right)?;
                sum = Some(grads);
            }
            sum.ok_or_else(|| crate::TrainError::config("an update needs at least one batch"))?
        }
    };
    let (grads, norm) = clip(grads.scale(1.0 / samples.max(1) as f64), o);
    compute(&grads, &[Some(&norm)])?;
    Computed::new(grads, correct, samples, &norm)
}

impl Computed {
    fn new(grads: Grads, correct: u64, samples: u64, norm: &Tensor) -> Result<Computed> {
        let loss = grads.loss().item::<f64>()?;
        let grad_norm = norm.item::<f64>()?;
        Ok(Computed { grads, loss, correct, samples, grad_norm })
    }

    /// Whether the update may be made.
    pub fn is_finite(&self) -> bool {
        self.loss.is_finite() && self.grad_norm.is_finite()
    }
}

fn backward(model: &dyn Layer, batch: &Batch, key: Key, o: &StepOptions) -> Result<(Grads, Option<Tensor>)> {
    let (x, target) = tensors(batch, o.dtype);
    let output = model.forward(&x, &Ctx::train(key));
    let grads = o.loss.mean(&output, &target).backward(model)?;
    Ok((grads, o.loss.correct(&output, &target)))
}

fn clip(grads: Grads, o: &StepOptions) -> (Grads, Tensor) {
    let grads = match o.clip_value {
        Some(limit) => clip_grad_value(&grads, limit),
        None => grads,
    };
    match o.clip_norm {
        Some(max) => ClipNorm::new(max).norm_type(o.norm_type).clip(&grads),
        None => {
            let norm = total_norm(&grads, o.norm_type);
            (grads, norm)
        }
    }
}

fn compute(grads: &Grads, others: &[Option<&Tensor>]) -> Result<()> {
    let others: Vec<&Tensor> = others.iter().copied().flatten().collect();
    Ok(grads.eval_with(&others)?)
}

fn count(right: Option<Tensor>) -> Result<u64> {
    Ok(match right {
        Some(t) => t.item::<i64>()? as u64,
        None => 0,
    })
}
