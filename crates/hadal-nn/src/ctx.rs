//! The one extra argument of `forward`: training or evaluation, and randomness.

use hadal_core::{Error, ErrorKind, Result, Tag};
use hadal_tensor::{Key, TagGuard, Tensor};
use std::cell::Cell;

/// How a forward pass runs.
///
/// A training step makes one from a key of its own (`key.split(step)`); every layer that draws random
/// numbers takes the next stream of it, in the order of the calls. The same key gives the same pass.
#[derive(Debug)]
pub struct Ctx {
    train: bool,
    key: Option<Key>,
    drawn: Cell<u64>,
}

impl Ctx {
    /// Training, with random numbers from this key.
    pub fn train(key: Key) -> Ctx {
        Ctx { train: true, key: Some(key), drawn: Cell::new(0) }
    }
    /// Training without randomness: layers that need random numbers return an error.
    pub fn train_without_key() -> Ctx {
        Ctx { train: true, key: None, drawn: Cell::new(0) }
    }
    /// Evaluation: no dropout, running statistics are used and left alone.
    pub fn eval() -> Ctx {
        Ctx { train: false, key: None, drawn: Cell::new(0) }
    }
    /// Whether this pass trains.
    pub fn is_train(&self) -> bool {
        self.train
    }
    /// The next stream of random numbers.
    ///
    /// # Errors
    /// The context has no key.
    pub fn next_key(&self, op: &'static str) -> Result<Key> {
        let Some(key) = self.key else {
            return Err(Error::new(
                ErrorKind::State,
                op,
                "random numbers are needed, but the context has no key",
            )
            .help("train with Ctx::train(key), evaluate with Ctx::eval()"));
        };
        let n = self.drawn.get();
        self.drawn.set(n + 1);
        Ok(key.split(n))
    }
    /// From here until the guard is dropped, errors name this layer, and its caller's line.
    #[track_caller]
    pub fn enter(&self, tag: &Tag) -> TagGuard {
        hadal_tensor::enter(tag)
    }
}

/// A map from tensor to tensor: most layers and models.
pub trait Forward {
    /// Computes the output. Builds graph; evaluates nothing.
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor;
}
impl<F: Forward + ?Sized> Forward for Box<F> {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let _line = hadal_tensor::from_here();
        (**self).forward(x, cx)
    }
}
impl<F: Forward + ?Sized> Forward for std::sync::Arc<F> {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let _line = hadal_tensor::from_here();
        (**self).forward(x, cx)
    }
}
impl<F: Forward> Forward for Option<F> {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        match self {
            Some(f) => f.forward(x, cx),
            None => x.clone(),
        }
    }
}

/// A module that maps tensor to tensor: what a `Sequential` holds. Shared between threads when it serves.
pub trait Layer: crate::Module + Forward + Send + Sync {}
impl<L: crate::Module + Forward + Send + Sync + ?Sized> Layer for L {}
