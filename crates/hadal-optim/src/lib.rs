//! Optimizers, learning-rate schedules, gradient clipping, averages of weights.

mod clip;
mod ema;
mod optimizer;
mod rules;
mod schedule;

pub use clip::{ClipNorm, clip_grad_norm, clip_grad_value, total_norm};
pub use ema::Ema;
pub use optimizer::{GroupOptions, Optimizer, OptimizerState};
pub use rules::{
    Adadelta, Adagrad, Adam, AdamW, Adamax, Common, Lion, NAdam, RAdam, RmsProp, Rule, Sgd, Slots, StepInfo,
    Yogi,
};
pub use schedule::{Anneal, CycleHeight, Mode, Plateau, Schedule};
