//! Operations on rows: softmax and normalisation.

/// What [`Op::Rows`](super::Op::Rows) makes of each row, the last dimension.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum RowOp {
    /// `eˣ / Σ eˣ`.
    Softmax,
    /// `x − ln Σ eˣ`.
    LogSoftmax,
    /// `(x − μ) / √(mean((x − μ)²) + eps) · weight + bias`.
    Norm {
        /// μ is the mean; otherwise 0.
        centred: bool,
        /// What is added to the mean square.
        eps: f64,
        /// Whether there is a weight, `[n]`.
        weight: bool,
        /// Whether there is a bias, `[n]`.
        bias: bool,
    },
}

impl RowOp {
    /// The name used in errors and profiles.
    pub fn name(self) -> &'static str {
        match self {
            RowOp::Softmax => "softmax",
            RowOp::LogSoftmax => "log_softmax",
            RowOp::Norm { centred: true, .. } => "layer_norm",
            RowOp::Norm { .. } => "rms_norm",
        }
    }

    /// The name of its gradient.
    pub fn grad_name(self) -> &'static str {
        match self {
            RowOp::Softmax => "softmax_grad",
            RowOp::LogSoftmax => "log_softmax_grad",
            RowOp::Norm { centred: true, .. } => "layer_norm_grad",
            RowOp::Norm { .. } => "rms_norm_grad",
        }
    }

    /// Arithmetic operations for one element, a function counted as one.
    pub fn flops(self) -> u64 {
        match self {
            RowOp::Softmax | RowOp::LogSoftmax => 4,
            RowOp::Norm { centred, weight, bias, .. } => 3 + 2 * centred as u64 + weight as u64 + bias as u64,
        }
    }

    /// Arithmetic operations of the gradient for one element.
    pub fn grad_flops(self) -> u64 {
        match self {
            RowOp::Softmax | RowOp::LogSoftmax => 4,
            RowOp::Norm { centred, weight, bias, .. } => {
                8 + 3 * centred as u64 + 4 * weight as u64 + bias as u64
            }
        }
    }
}
