//! Which rule belongs to which operation. The rules stand with their operations.

use crate::ops;
use crate::{Tensor, tensor::Inputs};
use hadal_core::ops::Op;
use hadal_core::smallvec::{SmallVec, smallvec};

/// Gradients by a node's inputs; `None` where it is zero or not needed.
pub(crate) type Grads = SmallVec<[Option<Tensor>; 2]>;

/// `y` is the node, `x` its inputs, `g` the cotangent of `y`; `needs` says which are wanted.
pub(super) fn vjp(y: &Tensor, x: &Inputs, g: &Tensor, needs: &[bool]) -> Grads {
    use ops::*;
    match &y.0.op {
        Op::Leaf | Op::Fill(_) | Op::Arange(..) | Op::Random(..) | Op::Poison(_) => smallvec![],
        Op::Unary(op) => pointwise::unary_vjp(*op, &x[0], y, g),
        Op::Binary(op) => pointwise::binary_vjp(*op, &x[0], &x[1], y, g, needs),
        Op::Where => pointwise::where_vjp(x, g),
        Op::Cast => smallvec![Some(g.cast(x[0].dtype()))],
        Op::Reduce(op, axes) => reduce::vjp(*op, axes, &x[0], y, g),
        Op::CumSum { axis, reverse } => smallvec![Some(g.cumsum_along(*axis, !reverse))],
        Op::Reshape | Op::Copy => smallvec![Some(g.view_as(Op::Reshape, x[0].shape().clone()))],
        Op::Permute(perm) => smallvec![Some(view::permute_vjp(perm, g))],
        Op::Expand => smallvec![Some(g.sum_to(x[0].shape()))],
        Op::Slice { starts, steps } => smallvec![Some(view::slice_vjp(starts, steps, &x[0], g))],
        Op::Unfold { axis, size, step } => smallvec![Some(view::unfold_vjp(*axis, *size, *step, &x[0], g))],
        Op::Place { starts, steps, .. } => smallvec![Some(view::place_vjp(starts, steps, &x[0], g))],
        Op::Fold { axis, size, step } => smallvec![Some(g.unfold(*axis as isize, *size, *step))],
        Op::Cat(axis) => movement::cat_vjp(*axis, x, g),
        Op::Matmul => matmul::vjp(&x[0], &x[1], g, needs),
        Op::Conv(geo) => conv::conv_vjp(geo, x, g, needs),
        Op::ConvInputGrad(geo) => conv::input_grad_vjp(geo, x, g, needs),
        Op::ConvWeightGrad(geo) => conv::weight_grad_vjp(geo, x, g, needs),
        Op::MaxPool(geo) => smallvec![Some(pool::max_pool_vjp(geo, &x[0], g))],
        Op::SumPool(geo) => smallvec![Some(pool::sum_pool_vjp(geo, g))],
        Op::SumPoolGrad(geo) => smallvec![Some(pool::sum_pool_grad_vjp(geo, g))],
        Op::Rows(op) => rows::vjp(*op, x, y, g, needs),
        Op::RowsGrad { op, .. } => rows::grad_vjp(*op, x, y, g, needs),
        Op::Attention(op) => attention::vjp(*op, x, y, g, needs),
        Op::AttentionGrad(op) => attention::grad_vjp(*op, x, g, needs),
        Op::AttentionMaskGrad(op) => attention::mask_grad_vjp(*op, x, g, needs),
        Op::Gather(axis) => smallvec![Some(index::gather_vjp(*axis, &x[0], &x[1], g)), None],
        Op::Scatter { axis, add } => index::scatter_vjp(*axis, *add, x, g),
        Op::IndexSelect(axis) => smallvec![Some(index::index_select_vjp(*axis, &x[0], &x[1], g)), None],
        Op::IndexAdd(axis) => smallvec![None, Some(index::index_add_vjp(*axis, &x[0], g))],
        Op::Recurrent(r) => recurrent::vjp(r, x, g, needs),
        Op::RecurrentOutput(r) => recurrent::output_vjp(r, x, g, needs),
        Op::RecurrentGrad(r) => recurrent::grad_vjp(r, x, g, needs),
        // Positions have no gradient.
        Op::ArgReduce { .. } | Op::ArgSort { .. } | Op::MaxPoolIndex(_) => smallvec![],
    }
}
