//! Layers, a file per family.

mod activation;
mod batch_norm;
mod conv;
mod dropout;
mod embedding;
mod group_norm;
mod layer_norm;
mod lazy;
mod linear;
mod pool;
mod sequential;
mod shape;

pub use activation::*;
pub use batch_norm::{BatchNorm, BatchNorm1d, BatchNorm2d, BatchNorm3d};
pub use conv::{
    Conv, Conv1d, Conv2d, Conv3d, ConvLayer, ConvTranspose, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d,
};
pub use dropout::{AlphaDropout, ChannelDropout, Dropout, Dropout1d, Dropout2d, Dropout3d};
pub use embedding::Embedding;
pub use group_norm::{GroupNorm, InstanceNorm, InstanceNorm1d, InstanceNorm2d, InstanceNorm3d};
pub use layer_norm::{LayerNorm, RMSNorm};
pub use lazy::{
    LazyBatchNorm, LazyBatchNorm1d, LazyBatchNorm2d, LazyBatchNorm3d, LazyConv, LazyConv1d, LazyConv2d,
    LazyConv3d, LazyLinear,
};
pub use linear::Linear;
pub use pool::*;
pub use sequential::{Lambda, Sequential};
pub use shape::{Flatten, Identity, Unflatten, ZeroPad2d};

use hadal_core::{DType, Error, ErrorKind, Shape};
use hadal_tensor::Tensor;

/// A poisoned tensor for a call that cannot be right, or the poison of an operand.
#[track_caller]
pub(crate) fn wrong(
    kind: ErrorKind,
    op: &'static str,
    message: impl Into<String>,
    operands: &[&Tensor],
    help: &str,
) -> Tensor {
    if let Some(bad) = operands.iter().find(|t| t.is_poisoned()) {
        return (*bad).clone();
    }
    let mut e = Error::new(kind, op, message);
    for t in operands {
        e = e.operand(t.shape(), t.dtype());
    }
    if !help.is_empty() {
        e = e.help(help);
    }
    let (shape, dtype) =
        operands.first().map_or((Shape::default(), DType::F32), |t| (t.shape().clone(), t.dtype()));
    Tensor::poison(e, &shape, dtype)
}

/// The number of input channels of `x` when a batch is optional: `[n, c, ..]` or `[c, ..]` with `n`
/// spatial dimensions. `None` for any other rank.
pub(crate) fn channels(x: &Tensor, spatial: usize) -> Option<usize> {
    match x.rank() {
        r if r == spatial + 2 => Some(x.dims()[1]),
        r if r == spatial + 1 => Some(x.dims()[0]),
        _ => None,
    }
}

/// Shapes in words, for error messages.
pub(crate) fn layout(spatial: usize) -> &'static str {
    match spatial {
        1 => "[n, c, l] or [c, l]",
        2 => "[n, c, h, w] or [c, h, w]",
        _ => "[n, c, d, h, w] or [c, d, h, w]",
    }
}
