//! Checkpointed regions: memory for time.

use crate::idmap::IdMap;
use crate::tensor::Inputs;
use crate::{Tensor, scope};
use std::sync::Arc;

/// Runs `f`; what it computes inside is not kept for the backward pass but computed again there.
///
/// Costs one more forward pass of the region, and saves the memory of its intermediate results.
/// Random numbers come out the same, since they are functions of their key.
///
/// ```
/// use hadal_tensor::{Tensor, checkpoint, grad};
/// let x = Tensor::from_slice(&[0.5f32, 1.0]);
/// let y = checkpoint(|| x.exp().sin().exp());
/// let g = grad(&y.sum(..), &[&x]).unwrap();
/// let plain = grad(&x.exp().sin().exp().sum(..), &[&x]).unwrap();
/// assert_eq!(g[0].to_vec::<f32>().unwrap(), plain[0].to_vec::<f32>().unwrap());
/// ```
pub fn checkpoint<R>(f: impl FnOnce() -> R) -> R {
    scope::with_region(f)
}

/// Copies of a region's nodes, made once per backward walk and only as far as needed.
#[derive(Default)]
pub(super) struct Recompute {
    copies: IdMap<Tensor>,
}

impl Recompute {
    /// The node and inputs a gradient rule may read: inside a region these are copies, so that the
    /// forward pass need not keep its buffers. They are younger than everything in the forward
    /// pass, and work runs oldest first. `None` outside of regions.
    pub fn stand_ins(&mut self, t: &Tensor, inputs: &Inputs) -> Option<(Tensor, Inputs)> {
        let region = t.0.region.as_ref()?;
        let in_region =
            |x: &Tensor| !x.0.has_value() && x.0.region.as_ref().is_some_and(|r| Arc::ptr_eq(r, region));
        if !in_region(t) {
            return None;
        }
        let mut stack = vec![t.clone()];
        while let Some(top) = stack.last() {
            if self.copies.contains_key(&top.0.id) {
                stack.pop();
                continue;
            }
            let sources = top.0.inputs();
            let missing: Vec<Tensor> = sources
                .iter()
                .filter(|s| in_region(s) && !self.copies.contains_key(&s.0.id))
                .cloned()
                .collect();
            if missing.is_empty() {
                let copied = sources.iter().map(|s| self.copies.get(&s.0.id).unwrap_or(s).clone()).collect();
                let copy = top.rebuild(copied);
                self.copies.insert(top.0.id, copy);
                stack.pop();
            } else {
                stack.extend(missing);
            }
        }
        let look = |x: &Tensor| self.copies.get(&x.0.id).unwrap_or(x).clone();
        Some((look(t), inputs.iter().map(look).collect()))
    }
}
