//! The backward walk.

use super::recompute::Recompute;
use super::rules;
use super::sum::{Arrived, sum};
use crate::Tensor;
use crate::plan::Walk;
use crate::scope::{self, Origin, Phase};
use crate::tensor::Inputs;
use hadal_core::smallvec::SmallVec;
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
            .operand(cotangent.shape(), cotangent.dtype())
            .help("expand the cotangent: .expand_as(&y)"));
    }
    for x in xs {
        x.checked()?;
    }

    scope::in_phase(Phase::Backward, || way_back(y, cotangent, xs))
}

/// The way back, for operands that fit.
fn way_back(y: &Tensor, cotangent: &Tensor, xs: &[&Tensor]) -> Result<Vec<Option<Tensor>>> {
    let Behind { nodes, places } = reachable(y, xs);
    let mut wanted = vec![false; nodes.len()];
    places.iter().flatten().for_each(|&x| wanted[x as usize] = true);
    // A node that was evaluated and has forgotten its inputs may have led to an x. What is followed
    // (`requires_grad`, parameters) keeps its graph, so then only a graph that was given up counts.
    let cut = nodes.iter().zip(&wanted).find(|(Node { t, .. }, wanted)| {
        let may_lead = |x: &&Tensor| !x.0.tracked && x.0.id < t.0.id;
        t.0.is_cut() && !**wanted && (t.0.tracked || xs.iter().any(may_lead))
    });
    if let Some((Node { t, .. }, _)) = cut {
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
    let mut on_path = vec![false; nodes.len()];
    for (i, Node { t, inputs }) in nodes.iter().enumerate() {
        let through = || inputs.iter().any(|&(_, at)| at.is_some_and(|at| on_path[at as usize]));
        on_path[i] = wanted[i] || (!t.0.stop && t.dtype().is_float() && through());
    }

    let mut arrived: Vec<Arrived> = vec![Arrived::new(); nodes.len()];
    let seed = if cotangent.dtype() == y.dtype() { cotangent.clone() } else { cotangent.cast(y.dtype()) };
    // `y` is the youngest.
    if let Some(last) = arrived.last_mut() {
        last.push(seed);
    }
    let mut recompute = Recompute::default();
    for (i, Node { t, inputs }) in nodes.iter().enumerate().rev() {
        if !on_path[i] || inputs.is_empty() || t.0.stop || arrived[i].is_empty() {
            continue;
        }
        let from_users = std::mem::take(&mut arrived[i]);
        let origin = Origin { location: t.0.location, tag: t.0.tag.clone() };
        let (g, grads) = scope::with_origin(origin, || {
            let g = sum(from_users);
            let needs: SmallVec<[bool; 4]> =
                inputs.iter().map(|(_, at)| at.is_some_and(|at| on_path[at as usize])).collect();
            if !needs.contains(&true) {
                return (g, Default::default());
            }
            let x: Inputs = inputs.iter().map(|(x, _)| x.clone()).collect();
            let grads = match recompute.stand_ins(t, &x) {
                Some((y, x)) => rules::vjp(&y, &x, &g, &needs),
                None => rules::vjp(t, &x, &g, &needs),
            };
            (g, grads)
        });
        if wanted[i] {
            arrived[i].push(g);
        }
        for ((_, at), grad) in inputs.iter().zip(grads) {
            if let (Some(at), Some(grad)) = (at.filter(|&at| on_path[at as usize]), grad) {
                arrived[at as usize].push(grad);
            }
        }
    }
    let mut take = |x: &Option<u32>| {
        let arrived = &mut arrived[(*x)? as usize];
        if arrived.is_empty() {
            return None;
        }
        let total = sum(std::mem::take(arrived));
        arrived.push(total.clone());
        Some(total)
    };
    Ok(places.iter().map(&mut take).collect())
}

/// A node on the way back, and its inputs with their numbers; none for an input through which no gradient
/// flows.
struct Node {
    t: Tensor,
    inputs: SmallVec<[(Tensor, Option<u32>); 2]>,
}

/// What lies behind a tensor.
struct Behind {
    /// Oldest first.
    nodes: Vec<Node>,
    /// The numbers of what gradients are wanted by, as far as it was found.
    places: Vec<Option<u32>>,
}

/// All nodes behind `y`, oldest first, with their inputs; not through `detach`.
fn reachable(y: &Tensor, xs: &[&Tensor]) -> Behind {
    let walk = Walk::begin();
    let mut nodes = Vec::with_capacity(32);
    let mut stack = vec![y.clone()];
    walk.number(y, 0);
    while let Some(t) = stack.pop() {
        let mut inputs: SmallVec<[(Tensor, Option<u32>); 2]> = SmallVec::new();
        if !t.0.stop {
            t.0.with_inputs(|all| inputs.extend(all.iter().map(|i| (i.clone(), None))));
        }
        for (i, _) in &inputs {
            if i.dtype().is_float() && walk.is_new(i) {
                walk.number(i, 0);
                stack.push(i.clone());
            }
        }
        nodes.push(Node { t, inputs });
    }
    nodes.sort_unstable_by_key(|n| n.t.0.id);
    for (i, n) in nodes.iter_mut().enumerate() {
        walk.number(&n.t, i as u32);
        // Inputs are older.
        n.inputs.iter_mut().for_each(|(t, at)| *at = walk.number_of(t));
    }
    let places = xs.iter().map(|x| walk.number_of(x)).collect();
    Behind { nodes, places }
}
