//! What arrives at one node from all its users becomes one cotangent.

use crate::Tensor;
use hadal_core::Scalar;
use hadal_core::ops::Op;
use hadal_core::smallvec::SmallVec;

/// The cotangents that arrived at a node, in the order in which they came. Most nodes have one user.
pub(super) type Arrived = SmallVec<[Tensor; 1]>;

/// Their sum, added in the order in which they came.
///
/// The gradient of a slice is a tensor of the full size that is zero outside of it. Adding those of n
/// slices that do not overlap (`split`, `unbind`, the steps of a sequence) would cost n times the whole:
/// such are joined instead.
pub(super) fn sum(mut arrived: Arrived) -> Tensor {
    if arrived.len() > 2 {
        arrived = join_slices(arrived);
    }
    let first = arrived[0].clone();
    arrived[1..].iter().fold(first, |sum, t| sum.add(t))
}

/// A slice along one axis, placed among zeros.
struct Piece {
    axis: usize,
    start: usize,
    values: Tensor,
}

fn piece(t: &Tensor) -> Option<Piece> {
    let Op::Place { starts, steps, fill } = &t.0.op else { return None };
    if !is_zero(*fill) || steps.iter().any(|&s| s != 1) {
        return None;
    }
    let values = t.0.inputs().first()?.clone();
    let mut differing = (0..t.rank()).filter(|&d| values.dims()[d] != t.dims()[d]);
    let axis = differing.next()?;
    (differing.next().is_none() && values.numel() > 0).then(|| Piece { axis, start: starts[axis], values })
}

fn is_zero(fill: Scalar) -> bool {
    match fill {
        Scalar::F(v) => v == 0.0,
        Scalar::I(v) => v == 0,
        Scalar::B(v) => !v,
    }
}

/// All slices along the first slice's axis as one tensor, and what else there is behind it; unchanged
/// where the slices overlap.
fn join_slices(arrived: Arrived) -> Arrived {
    let Some(axis) = arrived.iter().find_map(|t| piece(t).map(|p| p.axis)) else { return arrived };
    let mut pieces = Vec::new();
    let mut others = Arrived::new();
    for t in &arrived {
        match piece(t).filter(|p| p.axis == axis) {
            Some(p) => pieces.push(p),
            None => others.push(t.clone()),
        }
    }
    pieces.sort_by_key(|p| p.start);
    let end = |p: &Piece| p.start + p.values.dims()[axis];
    if pieces.len() < 3 || pieces.windows(2).any(|w| end(&w[0]) > w[1].start) {
        return arrived;
    }
    let zeros = |from: usize, to: usize| {
        let mut shape = arrived[0].shape().clone();
        shape[axis] = to - from;
        (to > from).then(|| Tensor::zeros(shape, arrived[0].dtype()))
    };
    let (mut parts, mut at) = (Vec::with_capacity(pieces.len()), 0);
    for p in &pieces {
        parts.extend(zeros(at, p.start));
        parts.push(p.values.clone());
        at = end(p);
    }
    parts.extend(zeros(at, arrived[0].dims()[axis]));
    let joined = Tensor::cat(&parts.iter().collect::<Vec<_>>(), axis as isize);
    std::iter::once(joined).chain(others).collect()
}

#[cfg(test)]
mod tests {
    use crate::{Key, Tensor, grad, trace};
    use hadal_core::DType;

    /// How many tensors of the full size the gradient makes.
    fn places(y: &Tensor) -> usize {
        trace(y).unwrap().iter().filter(|n| n.op == "pad").count()
    }

    #[test]
    fn slices_that_do_not_overlap_are_joined() {
        let x = Tensor::randn([7, 4], DType::F64, Key::new(1)).requires_grad();
        // Out of order, with gaps, and the whole tensor beside them.
        let slices = [(5, 1), (0, 2), (3, 1)];
        let y = slices
            .iter()
            .enumerate()
            .fold((&x * 0.5).sum(..), |y, (i, &(at, n))| y + (x.narrow(0, at, n) * (i as f64 + 1.0)).sum(..));
        let g = grad(&y, &[&x]).unwrap().remove(0);
        assert_eq!(places(&g), 0);
        let rows: Vec<f64> = g.narrow(1, 2, 1).to_vec().unwrap();
        assert_eq!(rows, [2.5, 2.5, 0.5, 3.5, 0.5, 1.5, 0.5]);
    }

    #[test]
    fn slices_that_overlap_are_added() {
        let x = Tensor::ones([4], DType::F32).requires_grad();
        let y = (0..3).fold(Tensor::zeros([2], DType::F32), |y, i| y + x.narrow(0, i, 2));
        let g = grad(&y.sum(..), &[&x]).unwrap().remove(0);
        assert_eq!(places(&g), 3);
        assert_eq!(g.to_vec::<f32>().unwrap(), [1.0, 2.0, 2.0, 1.0]);
    }

    #[test]
    fn second_order_through_an_unbound_sequence() {
        let x = Tensor::from_slice(&[1.0f64, 2.0, 3.0, 4.0]).requires_grad();
        let y = x.unbind(0).iter().fold(Tensor::ones([], DType::F64), |y, x| y * x.square());
        let g = grad(&y, &[&x]).unwrap().remove(0);
        assert_eq!(g.to_vec::<f64>().unwrap(), [1152.0, 576.0, 384.0, 288.0]);
        // d/dx_j of Σ_i 2y/x_i = Σ_{i≠j} 4y/(x_i x_j) + 2y/x_j².
        let h = grad(&g.sum(..), &[&x]).unwrap().remove(0);
        let (y, v) = (576.0, [1.0, 2.0, 3.0, 4.0]);
        let want: Vec<f64> = (0..4)
            .map(|j| (0..4).map(|i| if i == j { 2.0 } else { 4.0 } * y / (v[i] * v[j])).sum())
            .collect();
        for (a, b) in h.to_vec::<f64>().unwrap().iter().zip(want) {
            assert!((a - b).abs() < 1e-9 * b, "{a} {b}");
        }
    }
}
