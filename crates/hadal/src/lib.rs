//! Hadal: a deep-learning framework. Tensors, automatic differentiation, layers, optimizers, data,
//! training and a model zoo, in Rust.
//!
//! ```
//! use hadal::prelude::*;
//!
//! #[derive(Module)]
//! struct Mlp {
//!     hidden: Linear,
//!     out: Linear,
//! }
//!
//! impl Forward for Mlp {
//!     fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
//!         let x = self.hidden.forward(x, cx).relu();
//!         self.out.forward(&x, cx)
//!     }
//! }
//!
//! # fn main() -> Result<()> {
//! let init = Init::new(0);
//! let mut model = Mlp { hidden: Linear::new(&init, 2, 16), out: Linear::new(&init, 16, 2) };
//! let mut optimizer = Optimizer::new(Adam::new(0.05));
//! // Whether two numbers have the same sign.
//! let x = Tensor::randn([256, 2], DType::F32, Key::new(1));
//! let y = x.prod([1]).gt(0.0).cast(DType::I64);
//! for step in 0..100 {
//!     let logits = model.forward(&x, &Ctx::train(Key::new(2).split(step)));
//!     let grads = loss::cross_entropy(&logits, &y).backward(&model)?;
//!     optimizer.step(&mut model, &grads)?;
//! }
//! let right = model.forward(&x, &Ctx::eval()).argmax(1, false).eq(&y).cast(DType::F32).mean(..);
//! assert!(right.item::<f32>()? > 0.9);
//! # Ok(()) }
//! ```
//!
//! The parts are crates of their own, here as modules: [`tensor`], [`nn`], [`optim`], [`io`], [`data`],
//! [`train`] and [`zoo`]. The [`prelude`] holds what most programs need. The `hadal` program is
//! another crate, `hadal-cli`.

// The derive writes `::hadal::nn::…`, which must hold in this crate's own documentation tests too.
extern crate self as hadal;

pub use hadal_data as data;
pub use hadal_io as io;
pub use hadal_optim as optim;
pub use hadal_tensor as tensor;
pub use hadal_train as train;
pub use hadal_zoo as zoo;

pub use hadal_tensor::{DType, Error, Key, Result, Shape, Tensor, s};
pub use hadal_train::files;
// The function records, the module of the same name reports.
pub use hadal_tensor::profile;
pub use hadal_train::profile;
pub use summary::{Summary, SummaryRow, summary};

#[cfg(doctest)]
mod doc_pages;
mod summary;

pub mod nn {
    //! Layers, models as plain structs, initialisation, losses, and gradients by parameter.
    //!
    //! Everything of the crate `hadal-nn`. The derive [`Module`](macro@Module) is this crate's own: it
    //! names `::hadal::nn`, so that a program needs no other dependency than `hadal`.

    pub use hadal_nn::*;
    // Shadows the macro of the same name in the glob above, and leaves its trait alone.
    pub use hadal_nn::FacadeModule as Module;
}

pub mod prelude {
    //! What most programs need: `use hadal::prelude::*;`.

    pub use crate::data::{
        Array, Batch, DataLoader, Dataset, ImageDataset, Places, Split, Transform, load_named,
    };
    pub use crate::files::{load_npy, load_npz, load_safetensors, save_npy, save_npz, save_safetensors};
    // Layers, Module, Forward, Ctx, Init, Param, State, Backward, Grads, and the module `loss`.
    pub use crate::nn::*;
    pub use crate::optim::{
        Adadelta, Adagrad, Adam, AdamW, Adamax, ClipNorm, Ema, GroupOptions, Lion, NAdam, Optimizer, Plateau,
        RAdam, RmsProp, Schedule, Sgd, Yogi, clip_grad_norm, clip_grad_value, total_norm,
    };
    pub use crate::tensor::{
        ConvOptions, DType, Element, Error, Key, Operand, PadMode, Padding, PoolOptions, Result, Scalar,
        Shape, Slice, Tensor, checkpoint, eager, einsum, eval, grad, no_grad, s, set_threads, strict, vjp,
    };
}
