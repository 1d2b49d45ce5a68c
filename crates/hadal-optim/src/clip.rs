//! Gradient clipping.

use hadal_core::{Error, ErrorKind, Result, Shape};
use hadal_nn::{Entry, Grads};
use hadal_tensor::{Phase, Tensor, in_phase};

type Matcher = Box<dyn Fn(&str, &Shape) -> bool>;

/// Gradients scaled down, all by one factor, so that their common norm is at most `max_norm`; and the
/// norm they had (PyTorch's `clip_grad_norm_`, L2). [`ClipNorm`] has other norms and groups.
pub fn clip_grad_norm(grads: &Grads, max_norm: f64) -> (Grads, Tensor) {
    ClipNorm::new(max_norm).clip(grads)
}

/// Gradients with every element limited to `[-limit, limit]` (PyTorch's `clip_grad_value_`).
pub fn clip_grad_value(grads: &Grads, limit: f64) -> Grads {
    in_phase(Phase::Optimizer, || grads.map(|_, g| g.maximum(-limit).minimum(limit)))
}

/// The p-norm of all elements of all gradients together (PyTorch's `get_total_norm`); 0 where there are no
/// gradients. `p` is above 0 and may be infinite: the largest absolute value.
///
/// A `p` that is no such number gives a tensor that carries the error.
pub fn total_norm(grads: &Grads, p: f64) -> Tensor {
    in_phase(Phase::Optimizer, || norm_of(grads.entries().iter(), p))
}

fn norm_of<'a>(entries: impl Iterator<Item = &'a Entry>, p: f64) -> Tensor {
    if p.is_nan() || p <= 0.0 {
        let e = Error::new(ErrorKind::Value, "clip_grad_norm", format!("a norm of type {p}"))
            .help("use a number above 0, such as 1 or 2, or f64::INFINITY for the largest absolute value");
        return Tensor::poison(e, &Shape::default(), hadal_core::DType::F32);
    }
    // Sums of powers, or largest values, of each gradient, in f32 for half types.
    let parts: Vec<Tensor> = entries
        .filter_map(|e| e.grad.as_ref())
        .filter(|g| g.numel() > 0)
        .map(|g| {
            let g = g.cast(g.dtype().compute());
            match p {
                1.0 => g.abs().sum(..),
                2.0 => g.square().sum(..),
                f64::INFINITY => g.abs().max(..),
                p => g.abs().pow(p).sum(..),
            }
        })
        .collect();
    if parts.is_empty() {
        return Tensor::full((), 0.0);
    }
    let all = Tensor::stack(&parts.iter().collect::<Vec<_>>(), 0);
    match p {
        1.0 => all.sum(..),
        2.0 => all.sum(..).sqrt(),
        f64::INFINITY => all.max(..),
        p => all.sum(..).pow(1.0 / p),
    }
}

/// Clipping by norm, with options (PyTorch's `clip_grad_norm_`).
///
/// ```
/// use hadal_nn::{Backward, Ctx, Forward, Init, Linear};
/// use hadal_optim::ClipNorm;
/// use hadal_tensor::{DType, Tensor};
/// let model = Linear::new(&Init::new(0), 3, 1);
/// let loss = model.forward(&Tensor::ones([4, 3], DType::F32), &Ctx::eval()).sum(..);
/// let grads = loss.backward(&model)?; // 4 everywhere
/// let (clipped, largest) = ClipNorm::new(1.0).norm_type(f64::INFINITY).clip(&grads);
/// assert_eq!(largest.item::<f32>()?, 4.0);
/// assert!((clipped.get("bias").unwrap().item::<f32>()? - 1.0).abs() < 1e-5);
/// // A group by itself; the others stay as they are.
/// let (clipped, norm) = ClipNorm::new(1.0).only(|name, _| name == "bias").checked(&grads)?;
/// assert_eq!(norm.item::<f32>()?, 4.0);
/// assert_eq!(clipped.get("weight").unwrap().to_vec::<f32>()?, [4.0; 3]);
/// # Ok::<(), hadal_core::Error>(())
/// ```
pub struct ClipNorm {
    max_norm: f64,
    norm_type: f64,
    only: Option<Matcher>,
}

impl ClipNorm {
    /// Scales gradients down to this common L2 norm.
    pub fn new(max_norm: f64) -> ClipNorm {
        ClipNorm { max_norm, norm_type: 2.0, only: None }
    }
    /// Which p-norm, 2 unless set: above 0, or infinite for the largest absolute value.
    pub fn norm_type(self, p: f64) -> ClipNorm {
        ClipNorm { norm_type: p, ..self }
    }
    /// Only these parameters, by name and shape: their norm is taken, they are scaled. Clip several groups
    /// one after the other.
    pub fn only(self, matches: impl Fn(&str, &Shape) -> bool + 'static) -> ClipNorm {
        ClipNorm { only: Some(Box::new(matches)), ..self }
    }

    /// Gradients scaled down, and the norm they had. Builds graph, computes nothing: a norm that is not
    /// finite goes into the gradients, as in PyTorch.
    pub fn clip(&self, grads: &Grads) -> (Grads, Tensor) {
        in_phase(Phase::Optimizer, || self.scaled(grads))
    }

    fn scaled(&self, grads: &Grads) -> (Grads, Tensor) {
        let chosen = |e: &Entry| self.only.as_ref().is_none_or(|m| m(&e.name, &e.param.shape()));
        let norm = norm_of(grads.entries().iter().filter(|e| chosen(e)), self.norm_type);
        // 1e-6 as in PyTorch.
        let factor = (self.max_norm / (&norm + 1e-6)).minimum(1.0);
        let names: Vec<&str> =
            grads.entries().iter().filter(|e| chosen(e)).map(|e| e.name.as_str()).collect();
        let clipped = grads.map(|name, g| {
            if !names.contains(&name) {
                return g.clone();
            }
            // The factor of a half gradient is not rounded before it is used.
            let wide = g.dtype().compute();
            (g.cast(wide) * factor.cast(wide)).cast(g.dtype())
        });
        (clipped, norm)
    }

    /// As [`clip`](ClipNorm::clip), computing the gradients and their norm (PyTorch's
    /// `error_if_nonfinite`).
    ///
    /// # Errors
    /// The norm is not finite, with the first parameter whose gradient is not; whatever the evaluation
    /// returns.
    pub fn checked(&self, grads: &Grads) -> Result<(Grads, Tensor)> {
        let (clipped, norm) = self.clip(grads);
        grads.eval_with(&[&norm])?;
        let value = norm.item::<f64>()?;
        if value.is_finite() {
            return Ok((clipped, norm));
        }
        let mut at = String::new();
        for e in grads.entries() {
            if let Some(g) = &e.grad
                && !g.isfinite().all(..).item::<bool>()?
            {
                at = format!("; the gradient of {} is not finite", e.name);
                break;
            }
        }
        let message = format!("the gradients' norm is {value}{at}");
        Err(Error::new(ErrorKind::Value, "clip_grad_norm", message)
            .help("lower the learning rate, or look for the operation that made it with check_finite"))
    }
}
