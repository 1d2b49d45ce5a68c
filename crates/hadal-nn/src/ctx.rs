//! The one extra argument of `forward`: training or evaluation, and randomness.

use hadal_core::{Error, ErrorKind, Result, Tag};
use hadal_tensor::{Compiled, Key, TagGuard, Tensor};
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

    /// The model in evaluation mode, planned once for inputs like the example: constants folded, batch
    /// norms taken into convolutions, weights in the kernels' form. A snapshot: what happens to the model
    /// afterwards is not seen. See [`Compiled`] for what else to know; for models of several inputs or
    /// outputs use [`Compiled::new`].
    ///
    /// ```
    /// use hadal_nn::{Forward, Init, Linear, ReLU, seq};
    /// use hadal_tensor::{DType, Key, Tensor};
    /// let init = Init::new(0);
    /// let net = seq![Linear::new(&init, 8, 16), ReLU::new(), Linear::new(&init, 16, 4)];
    /// let fast = net.compile(&Tensor::zeros([32, 8], DType::F32))?;
    /// let x = Tensor::randn([32, 8], DType::F32, Key::new(1));
    /// let y = fast.run(&[&x])?.remove(0); // [32, 4]
    /// assert_eq!(y.to_vec::<f32>()?, net.forward(&x, &hadal_nn::Ctx::eval()).to_vec::<f32>()?);
    /// # Ok::<(), hadal_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the forward pass on the example.
    fn compile(&self, example: &Tensor) -> Result<Compiled> {
        Compiled::new(&[example], |x| vec![self.forward(&x[0], &Ctx::eval())])
    }
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
