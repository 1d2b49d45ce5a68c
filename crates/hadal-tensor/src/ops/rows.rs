//! Operations on rows, the last dimension, as one operation forward and one backward: softmax, its
//! logarithm, layer and root-mean-square norm. Gradients of gradients are those of compositions.

use super::compose::normalize::norm as composition;
use crate::Tensor;
use crate::autodiff::{Grads, vjp_or_none};
use crate::scope::composed;
use crate::tensor::Inputs;
use hadal_core::ops::{Op, RowOp};
use hadal_core::smallvec::{SmallVec, smallvec};
use hadal_core::{Error, Result, Shape};

/// Longest row that kernels take: rows of input, cotangent and result stay in a core's cache. A longer one
/// is better shared among threads, as reductions are.
const LONGEST: usize = 64 * 1024;

/// Whether the kernels take rows along this dimension of a tensor in the dtype that is computed in.
pub(crate) fn takes(x: &Tensor, dim: isize) -> bool {
    let last = x.rank() > 0 && (dim == -1 || dim == x.rank() as isize - 1);
    last && x.numel() > 0 && x.dims()[x.rank() - 1] <= LONGEST
}

/// Softmax, or its logarithm, of rows that the kernels take.
pub(crate) fn softmax(x: &Tensor, log: bool) -> Tensor {
    let op = if log { RowOp::LogSoftmax } else { RowOp::Softmax };
    Tensor::make(Op::Rows(op), smallvec![x.clone()], x.shape().clone(), x.dtype())
}

/// The norm of rows that the kernels take; weight and bias `[n]` in the same dtype.
pub(crate) fn norm(
    x: &Tensor,
    centred: bool,
    eps: f64,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
) -> Tensor {
    let op = RowOp::Norm { centred, eps, weight: weight.is_some(), bias: bias.is_some() };
    let inputs = [Some(x), weight, bias].into_iter().flatten().cloned().collect();
    Tensor::make(Op::Rows(op), inputs, x.shape().clone(), x.dtype())
}

pub(crate) fn vjp(op: RowOp, x: &Inputs, y: &Tensor, g: &Tensor, needs: &[bool]) -> Grads {
    let RowOp::Norm { weight, .. } = op else {
        let (grad, inputs) = (Op::RowsGrad { op, parameters: false }, smallvec![y.clone(), g.clone()]);
        return smallvec![Some(Tensor::make(grad, inputs, y.shape().clone(), y.dtype()))];
    };
    let mut inputs: Inputs = smallvec![x[0].clone(), g.clone()];
    if weight {
        inputs.push(x[1].clone());
    }
    let parameters = needs[1..].contains(&true);
    let (shape, dtype) = (x[0].shape().clone(), x[0].dtype());
    let grad = Op::RowsGrad { op, parameters };
    if !parameters {
        let mut grads: Grads = smallvec![None; x.len()];
        grads[0] = Some(Tensor::make(grad, inputs, shape, dtype));
        return grads;
    }
    let len = x.iter().map(Tensor::numel).sum();
    let packed = Tensor::make(grad, inputs, Shape::new(&[len]), dtype);
    let mut at = 0;
    let parts = x.iter().map(|t| Some(part(&packed, &mut at, t)));
    let copied = |(i, t): (usize, Option<Tensor>)| match i {
        0 => t,
        // A view would keep the whole of the packed gradients alive for as long as a parameter's is.
        _ => t.map(|t| t.view_as(Op::Copy, t.shape().clone())),
    };
    parts.enumerate().map(copied).collect()
}

/// The next part of a 1-d tensor, in the shape of `like`.
fn part(packed: &Tensor, at: &mut usize, like: &Tensor) -> Tensor {
    let start = std::mem::replace(at, *at + like.numel());
    packed.narrow_axis(0, start, like.numel(), 1).reshape(like.shape())
}

/// Gradients of the gradient `y` with inputs `x`: those of its composition, or for norms of the gradients
/// of the forward composition.
pub(crate) fn grad_vjp(op: RowOp, x: &Inputs, y: &Tensor, g: &Tensor, needs: &[bool]) -> Grads {
    composed(|| {
        // Nodes of their own, so that a tensor that is several inputs, or lies behind one, is counted once
        // for each.
        let own: SmallVec<[Tensor; 3]> =
            x.iter().map(|t| t.view_as(Op::Reshape, t.shape().clone())).collect();
        let found = match op {
            RowOp::Norm { .. } => of_norm(op, &own, y, g),
            _ => of_softmax(op, &own, g),
        };
        found.unwrap_or_else(|e| poison(&e, x, needs))
    })
}

fn of_softmax(op: RowOp, x: &[Tensor], g: &Tensor) -> Result<Grads> {
    let (y, dy) = (&x[0], &x[1]);
    let dx = match op {
        RowOp::LogSoftmax => dy - y.exp() * dy.sum_keepdim(-1),
        _ => y * (dy - (y * dy).sum_keepdim(-1)),
    };
    Ok(vjp_or_none(&dx, g, &[y, dy])?.into_iter().collect())
}

fn of_norm(op: RowOp, x: &[Tensor], packed: &Tensor, g: &Tensor) -> Result<Grads> {
    let RowOp::Norm { centred, eps, weight, bias } = op else { return Ok(smallvec![None; x.len()]) };
    let (dy, weight) = (&x[1], weight.then(|| &x[2]));
    let n = x[0].dims().last().copied().unwrap_or(1);
    let bias = bias.then(|| Tensor::zeros([n], dy.dtype()).requires_grad());
    let y = composition(&x[0], centred, eps, weight, bias.as_ref());
    let mut wanted = vec![&x[0]];
    let mut cotangents = vec![g.clone()];
    if packed.numel() != x[0].numel() {
        wanted.extend(weight.iter().chain(&bias.as_ref()));
        let mut at = 0;
        cotangents = wanted.iter().map(|t| part(g, &mut at, t)).collect();
    }
    let first = vjp_or_none(&y, dy, &wanted)?;
    let products = first.iter().zip(&cotangents).filter_map(|(f, c)| Some((f.as_ref()? * c).sum(..)));
    let Some(sum) = products.reduce(|a, b| a + b) else { return Ok(smallvec![None; x.len()]) };
    let inputs: Vec<&Tensor> = x.iter().collect();
    Ok(vjp_or_none(&sum, &Tensor::ones_like(&sum), &inputs)?.into_iter().collect())
}

/// An error on the way to a gradient is that gradient.
fn poison(e: &Error, x: &Inputs, needs: &[bool]) -> Grads {
    let one =
        |(like, need): (&Tensor, &bool)| need.then(|| Tensor::poison(e.clone(), like.shape(), like.dtype()));
    x.iter().zip(needs).map(one).collect()
}
