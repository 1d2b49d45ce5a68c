//! Reading the graph behind a tensor without computing it: what runs, in which layer, how much work.

use crate::Tensor;
use crate::idmap::IdMap;
use crate::tensor::Inputs;
use hadal_core::ops::Op;
use hadal_core::smallvec::SmallVec;
use hadal_core::{DType, Result, Shape};

/// One operation behind a tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceNode {
    /// The operation's name; `parameter` for a tensor that training follows, `tensor` for other data.
    pub op: &'static str,
    /// Positions of its inputs in the trace.
    pub inputs: Vec<usize>,
    /// Shape of the result.
    pub shape: Shape,
    /// Dtype of the result.
    pub dtype: DType,
    /// Path of the layer it runs in (`encoder.fc1`; empty for the model itself), when the layer knows
    /// its name.
    pub layer: Option<String>,
    /// Type of the layer it runs in (`Linear`).
    pub layer_type: Option<&'static str>,
    /// Arithmetic operations; a multiplication with its addition counts 2. Views, casts and data
    /// movement count 0, a pointwise operation 1 an element, a reduction 1 an element it reads.
    pub flops: u64,
    /// Bytes that a run of this operation by itself reads and writes; 0 for views and data.
    pub bytes: u64,
}

/// All operations that `output` depends on, oldest first, `output` last. Computes nothing.
///
/// The walk ends at data, at parameters (however they are drawn), and at results that were computed
/// already and have forgotten their inputs. To count a model's work, trace a forward pass of it that
/// has not been evaluated.
///
/// ```
/// use hadal_tensor::{DType, Tensor, trace};
/// let x = Tensor::ones([8, 3], DType::F32);
/// let w = Tensor::ones([3, 4], DType::F32);
/// let nodes = trace(&x.matmul(&w).relu())?;
/// let work: Vec<_> = nodes.iter().filter(|n| n.flops > 0).map(|n| (n.op, n.flops)).collect();
/// assert_eq!(work, [("matmul", 2 * 8 * 4 * 3), ("relu", 8 * 4)]);
/// # Ok::<(), hadal_tensor::Error>(())
/// ```
///
/// # Errors
/// The error that `output` carries, if it is poisoned.
pub fn trace(output: &Tensor) -> Result<Vec<TraceNode>> {
    output.checked()?;
    let mut seen: IdMap<usize> = IdMap::default();
    let mut found: Vec<(Tensor, Inputs)> = Vec::new();
    let mut stack = vec![output.clone()];
    seen.insert(output.0.id, 0);
    while let Some(t) = stack.pop() {
        let mut inputs = t.0.inputs();
        if is_beginning(&t, &inputs) {
            inputs.clear();
        }
        for i in &inputs {
            if seen.insert(i.0.id, 0).is_none() {
                stack.push(i.clone());
            }
        }
        found.push((t, inputs));
    }
    // Inputs are older than their users.
    found.sort_unstable_by_key(|(t, _)| t.0.id);
    for (i, (t, _)) in found.iter().enumerate() {
        seen.insert(t.0.id, i);
    }
    Ok(found
        .iter()
        .map(|(t, inputs)| {
            let beginning = is_beginning(t, inputs);
            let tag = t.0.tag.as_ref();
            let shapes: SmallVec<[&Shape; 3]> = inputs.iter().map(Tensor::shape).collect();
            TraceNode {
                op: if beginning { "parameter" } else { t.0.op.name() },
                inputs: inputs.iter().map(|i| seen[&i.0.id]).collect(),
                shape: t.shape().clone(),
                dtype: t.dtype(),
                layer: tag.and_then(|g| g.path()).map(str::to_owned),
                layer_type: tag.map(|g| g.layer()),
                flops: if beginning { 0 } else { t.0.op.flops(&shapes, t.shape()) },
                bytes: if beginning { 0 } else { bytes(t, inputs) },
            }
        })
        .collect())
}

/// Whether training starts following here: every other node that it follows has an input that it
/// follows too. A parameter may still be a graph that draws its first values.
fn is_beginning(t: &Tensor, inputs: &Inputs) -> bool {
    t.0.tracked && !inputs.iter().any(|i| i.0.tracked)
}

fn bytes(t: &Tensor, inputs: &Inputs) -> u64 {
    let size = |t: &Tensor| (t.numel() as u64).saturating_mul(t.dtype().size() as u64);
    match &t.0.op {
        Op::Leaf | Op::Fill(_) | Op::Poison(_) => 0,
        op if op.is_view() => 0,
        _ => inputs.iter().map(size).fold(size(t), u64::saturating_add),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConvOptions, Key, Param, enter};
    use hadal_core::Tag;

    #[test]
    fn layers_shapes_and_work() {
        let tag = Tag::new("Conv2d");
        tag.name("features.0");
        let w = Param::new(Tensor::randn([4, 3, 3, 3], DType::F32, Key::new(0)) * 0.1);
        let x = Tensor::zeros([2, 3, 8, 8], DType::F32);
        let y = {
            let _in = enter(&tag);
            x.conv2d(&w.get(), None, &ConvOptions::default())
        };
        let nodes = trace(&y.relu().sum(..)).unwrap();
        let conv = nodes.iter().find(|n| n.op == "conv").unwrap();
        assert_eq!((conv.layer.as_deref(), conv.layer_type), (Some("features.0"), Some("Conv2d")));
        assert_eq!(conv.shape.dims(), [2, 4, 6, 6]);
        assert_eq!(conv.flops, 2 * (2 * 4 * 6 * 6) * (3 * 3 * 3));
        assert_eq!(conv.bytes, 4 * (2 * 3 * 8 * 8 + 4 * 3 * 3 * 3 + 2 * 4 * 6 * 6));
        // How the parameter is drawn is not part of the model.
        assert_eq!(nodes.iter().filter(|n| n.op == "parameter").count(), 1);
        assert!(nodes.iter().all(|n| n.op != "random" && n.op != "mul"));
        let sum = nodes.last().unwrap();
        assert_eq!((sum.op, sum.layer.as_deref(), sum.flops), ("sum", None, 2 * 4 * 6 * 6));
        for (i, n) in nodes.iter().enumerate() {
            assert!(n.inputs.iter().all(|&k| k < i));
        }
    }

    #[test]
    fn a_long_chain_and_a_shared_input() {
        let x = Tensor::ones([2], DType::F32);
        let mut y = x.clone();
        for _ in 0..100_000 {
            y = &y + &x;
        }
        assert_eq!(trace(&y).unwrap().len(), 100_001);
        assert!(!y.is_evaluated());
    }

    #[test]
    fn poison_is_an_error() {
        let bad = Tensor::ones([2], DType::F32).reshape([3]).relu();
        assert!(trace(&bad).unwrap_err().to_string().starts_with("reshape: "));
    }
}
