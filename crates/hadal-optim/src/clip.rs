//! Gradient clipping.

use hadal_nn::Grads;
use hadal_tensor::Tensor;

/// Gradients scaled down, all by one factor, so that their common norm is at most `max_norm`; and the
/// norm they had (PyTorch's `clip_grad_norm_`, L2).
pub fn clip_grad_norm(grads: &Grads, max_norm: f64) -> (Grads, Tensor) {
    let norm = grads.norm();
    // 1e-6 as in PyTorch.
    let factor = (max_norm / (&norm + 1e-6)).minimum(1.0);
    (grads.map(|_, g| g * factor.cast(g.dtype())), norm)
}

/// Gradients with every element limited to `[-limit, limit]` (PyTorch's `clip_grad_value_`).
pub fn clip_grad_value(grads: &Grads, limit: f64) -> Grads {
    grads.map(|_, g| g.maximum(-limit).minimum(limit))
}
