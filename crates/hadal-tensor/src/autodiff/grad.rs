//! The backward walk.

use super::recompute::Recompute;
use super::rules;
use super::sum::{Arrived, sum};
use crate::Tensor;
use crate::plan::IdMap;
use crate::scope::{self, Origin};
use crate::tensor::Inputs;
use hadal_core::smallvec::smallvec;
use hadal_core::{Error, ErrorKind, Result};

/// Gradients of `y` (a single element) by each of `xs`.
///
/// The result is graph: it can be differentiated again.
///
/// ```
/// use hadal_tensor::{Tensor, grad};
/// let x = Tensor::from_slice(&[3.0f64]);
/// let y = (&x * &x * &x).sum(..);                  // x³
/// let dy = grad(&y, &[&x]).unwrap().remove(0);     // 3x²
/// let ddy = grad(&dy.sum(..), &[&x]).unwrap().remove(0); // 6x
/// assert_eq!(dy.item::<f64>().unwrap(), 27.0);
/// assert_eq!(ddy.item::<f64>().unwrap(), 18.0);
/// ```
///
/// # Errors
/// `y` has more than one element, is no float or is poisoned; or does not depend on one of `xs`.
pub fn grad(y: &Tensor, xs: &[&Tensor]) -> Result<Vec<Tensor>> {
    y.checked()?;
    if y.numel() != 1 {
        return Err(Error::new(
            ErrorKind::Shape,
            "grad",
            "gradients are of a single number; this tensor has several elements",
        )
        .operand(y.shape(), y.dtype())
        .help("reduce it with .mean(..) or .sum(..), or give a cotangent with vjp"));
    }
    vjp(y, &Tensor::ones_like(y), xs)
}

/// Vector–Jacobian product: gradients by each of `xs` of `Σ y·cotangent`.
///
/// ```
/// use hadal_tensor::{Tensor, vjp};
/// let x = Tensor::from_slice(&[1.0f32, 2.0]);
/// let y = &x * &x;
/// let g = vjp(&y, &Tensor::from_slice(&[1.0f32, 10.0]), &[&x]).unwrap();
/// assert_eq!(g[0].to_vec::<f32>().unwrap(), [2.0, 40.0]);
/// ```
///
/// # Errors
/// As [`grad`]; or the cotangent's shape is not `y`'s.
pub fn vjp(y: &Tensor, cotangent: &Tensor, xs: &[&Tensor]) -> Result<Vec<Tensor>> {
    let grads = vjp_or_none(y, cotangent, xs)?;
    grads
        .into_iter()
        .zip(xs)
        .enumerate()
        .map(|(i, (g, x))| match g {
            Some(g) => g.checked().cloned(),
            None => Err(Error::new(
                ErrorKind::State,
                "grad",
                format!("the result does not depend on input {i}"),
            )
            .operand(x.shape(), x.dtype())
            .help(
                "the path may be cut by detach, no_grad or an integer operation, or was forgotten when a \
                     result was evaluated: mark the input with .requires_grad() before using it",
            )),
        })
        .collect()
}

/// Like [`vjp`], with `None` for what `y` does not depend on.
pub fn vjp_or_none(y: &Tensor, cotangent: &Tensor, xs: &[&Tensor]) -> Result<Vec<Option<Tensor>>> {
    y.checked()?;
    cotangent.checked()?;
    if let Some(e) = scope::take_deferred() {
        return Err(e);
    }
    if !y.dtype().is_float() {
        return Err(Error::new(ErrorKind::DType, "grad", format!("{} has no gradient", y.dtype()))
            .operand(y.shape(), y.dtype())
            .help("compute the loss in a float dtype"));
    }
    if cotangent.shape() != y.shape() {
        return Err(Error::new(ErrorKind::Shape, "vjp", "the cotangent's shape is not the result's")
            .operand(y.shape(), y.dtype())
            .operand(cotangent.shape(), cotangent.dtype()));
    }
    for x in xs {
        x.checked()?;
    }

    let nodes = reachable(y);
    let mut wanted: IdMap<()> = IdMap::default();
    for x in xs {
        wanted.insert(x.0.id, ());
    }
    // A node that was evaluated and has forgotten its inputs may have led to an x. What is followed
    // (`requires_grad`, parameters) keeps its graph, so then only a graph that was given up counts.
    let cut = nodes.iter().map(|(t, _)| t).find(|t| {
        let may_lead = |x: &&Tensor| !x.0.tracked && x.0.id < t.0.id;
        t.0.is_cut() && !wanted.contains_key(&t.0.id) && (t.0.tracked || xs.iter().any(may_lead))
    });
    if let Some(t) = cut {
        let what = format!(
            "the way back is incomplete: the result of {} was evaluated and its graph forgotten",
            t.0.op.name()
        );
        return Err(Error::new(ErrorKind::State, "grad", what)
            .operand(t.shape(), t.dtype())
            .at(t.0.location, t.0.tag.clone())
            .help(
                "mark what you differentiate by with .requires_grad() before using it; a loss whose gradients \
                 were computed is spent: build it again",
            ));
    }
    // Which nodes lie on a path from an x: inputs are older than their users, so one pass by age.
    let mut on_path: IdMap<()> = IdMap::default();
    for (t, inputs) in &nodes {
        let dependent = wanted.contains_key(&t.0.id)
            || (!t.0.stop && t.dtype().is_float() && inputs.iter().any(|i| on_path.contains_key(&i.0.id)));
        if dependent {
            on_path.insert(t.0.id, ());
        }
    }

    let mut arrived: IdMap<Arrived> = IdMap::default();
    let seed = if cotangent.dtype() == y.dtype() { cotangent.clone() } else { cotangent.cast(y.dtype()) };
    arrived.insert(y.0.id, smallvec![seed]);
    let mut recompute = Recompute::default();
    for (t, inputs) in nodes.iter().rev() {
        if !on_path.contains_key(&t.0.id) || inputs.is_empty() || t.0.stop {
            continue;
        }
        let Some(from_users) = arrived.remove(&t.0.id) else { continue };
        let origin = Origin { location: t.0.location, tag: t.0.tag.clone() };
        let g = scope::with_origin(origin.clone(), || sum(from_users));
        if wanted.contains_key(&t.0.id) {
            arrived.insert(t.0.id, smallvec![g.clone()]);
        }
        let needs: Vec<bool> = inputs.iter().map(|i| on_path.contains_key(&i.0.id)).collect();
        if !needs.contains(&true) {
            continue;
        }
        let (y, stand_ins) = recompute.stand_ins(t, inputs);
        let grads = scope::with_origin(origin, || rules::vjp(&y, &stand_ins, &g, &needs));
        for ((input, grad), need) in inputs.iter().zip(grads).zip(&needs) {
            if let (true, Some(grad)) = (*need, grad) {
                arrived.entry(input.0.id).or_default().push(grad);
            }
        }
    }
    let mut take = |x: &&Tensor| {
        let total = sum(arrived.remove(&x.0.id)?);
        arrived.insert(x.0.id, smallvec![total.clone()]);
        Some(total)
    };
    Ok(xs.iter().map(&mut take).collect())
}

/// All nodes behind `y`, oldest first, with their inputs; not through `detach`.
fn reachable(y: &Tensor) -> Vec<(Tensor, Inputs)> {
    let mut seen: IdMap<()> = IdMap::default();
    let mut found = Vec::new();
    let mut stack = vec![y.clone()];
    seen.insert(y.0.id, ());
    while let Some(t) = stack.pop() {
        let inputs = if t.0.stop { Inputs::new() } else { t.0.inputs() };
        for i in &inputs {
            if i.dtype().is_float() && seen.insert(i.0.id, ()).is_none() {
                stack.push(i.clone());
            }
        }
        found.push((t, inputs));
    }
    found.sort_unstable_by_key(|(t, _)| t.0.id);
    found
}
