//! Reverse-mode differentiation that builds more graph, so that gradients have gradients.

mod grad;
mod recompute;
mod rules;
mod sum;

pub(crate) use rules::Grads;

pub use grad::{grad, vjp, vjp_or_none};
pub use recompute::checkpoint;
