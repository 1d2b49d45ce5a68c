//! Gradients of a loss by a model's parameters.

use crate::Module;
use hadal_core::{Error, ErrorKind, Result};
use hadal_tensor::{Param, Tensor, eval_and_release, vjp_or_none};

/// Gradients by parameter, in the model's order, and the loss they belong to.
pub struct Grads {
    loss: Tensor,
    entries: Vec<Entry>,
}

/// A parameter and its gradient.
#[derive(Clone)]
pub struct Entry {
    /// The parameter's name.
    pub name: String,
    /// The parameter.
    pub param: Param,
    /// Its gradient; `None` when the loss does not depend on it.
    pub grad: Option<Tensor>,
}

/// `loss.backward(&model)`.
pub trait Backward {
    /// Gradients of this single number by all parameters of `model` that are not frozen.
    ///
    /// Builds graph and computes nothing; an optimizer's step, or [`Grads::eval`], computes loss and
    /// gradients together.
    ///
    /// # Errors
    /// The loss is poisoned, has several elements, or depends on no parameter at all; a layer of the model
    /// waits for its first input.
    fn backward<M: Module + ?Sized>(&self, model: &M) -> Result<Grads>;
}

impl Backward for Tensor {
    fn backward<M: Module + ?Sized>(&self, model: &M) -> Result<Grads> {
        self.checked()?;
        let params = crate::module::complete_parameters(model, "backward")?;
        if self.numel() != 1 {
            return Err(Error::new(ErrorKind::Shape, "backward", "the loss has several elements")
                .operand(self.shape(), self.dtype())
                .help("reduce it with .mean(..) or .sum(..)"));
        }
        let params: Vec<(String, Param)> = params.into_iter().filter(|(_, p)| !p.is_frozen()).collect();
        let tensors: Vec<Tensor> = params.iter().map(|(_, p)| p.get()).collect();
        let grads = vjp_or_none(self, &Tensor::ones_like(self), &tensors.iter().collect::<Vec<_>>())?;
        if !params.is_empty() && grads.iter().all(Option::is_none) {
            return Err(Error::new(
                ErrorKind::State,
                "backward",
                "the loss depends on none of the model's parameters",
            )
            .help("was it built under no_grad, detached, or computed with other parameters?"));
        }
        let entries =
            params.into_iter().zip(grads).map(|((name, param), grad)| Entry { name, param, grad }).collect();
        Ok(Grads { loss: self.clone(), entries })
    }
}

impl Grads {
    /// The loss.
    pub fn loss(&self) -> &Tensor {
        &self.loss
    }
    /// Parameters and gradients, in the model's order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
    /// The same gradients, changed one by one: clipping, scaling, noise.
    pub fn map(&self, mut f: impl FnMut(&str, &Tensor) -> Tensor) -> Grads {
        let entries = self
            .entries
            .iter()
            .map(|e| Entry { grad: e.grad.as_ref().map(|g| f(&e.name, g)), ..e.clone() })
            .collect();
        Grads { loss: self.loss.clone(), entries }
    }
    /// The gradient of a parameter by name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.entries.iter().find(|e| e.name == name)?.grad.as_ref()
    }
    /// Adds the gradients (and the loss) of another backward pass over the same model.
    ///
    /// # Errors
    /// The parameters differ.
    pub fn accumulate(&self, other: &Grads) -> Result<Grads> {
        let same = self.entries.len() == other.entries.len()
            && self.entries.iter().zip(&other.entries).all(|(a, b)| a.param.same(&b.param));
        if !same {
            return Err(Error::new(
                ErrorKind::State,
                "accumulate",
                "the gradients are of different parameters",
            ));
        }
        let entries = self
            .entries
            .iter()
            .zip(&other.entries)
            .map(|(a, b)| Entry {
                grad: match (&a.grad, &b.grad) {
                    (Some(x), Some(y)) => Some(x.add(y)),
                    (x, y) => x.clone().or_else(|| y.clone()),
                },
                ..a.clone()
            })
            .collect();
        Ok(Grads { loss: self.loss.detach().add(other.loss.detach()), entries })
    }
    /// Gradients and loss times a number, for averages over accumulated batches. Half gradients are
    /// multiplied in f32: the number is not rounded to half first.
    pub fn scale(&self, factor: f64) -> Grads {
        let mut out = self.map(|_, g| (g.cast(g.dtype().compute()) * factor).cast(g.dtype()));
        out.loss = self.loss.detach() * factor;
        out
    }
    /// Square root of the sum of squares of all gradients: the norm that clipping looks at.
    pub fn norm(&self) -> Tensor {
        let squares: Vec<Tensor> = self
            .entries
            .iter()
            .filter_map(|e| e.grad.as_ref())
            .map(|g| g.cast(g.dtype().compute()).square().sum(..))
            .collect();
        match squares.first() {
            None => Tensor::full((), 0.0),
            Some(_) => Tensor::stack(&squares.iter().collect::<Vec<_>>(), 0).sum(..).sqrt(),
        }
    }
    /// Computes loss and gradients together and forgets the graph behind them.
    ///
    /// # Errors
    /// The first error of the evaluation.
    pub fn eval(&self) -> Result<()> {
        self.eval_with(&[])
    }
    /// As [`eval`](Grads::eval), computing other tensors in the same pass.
    pub fn eval_with(&self, others: &[&Tensor]) -> Result<()> {
        let mut all: Vec<&Tensor> = vec![&self.loss];
        all.extend(self.entries.iter().filter_map(|e| e.grad.as_ref()));
        let release = all.clone();
        all.extend(others);
        eval_and_release(&all, &release)
    }
}
