//! Layers, models as plain structs, initialisation, losses, and gradients by parameter.

// The derive names this crate by its own name, inside it too.
extern crate self as hadal_nn;

mod ctx;
mod grads;
pub mod init;
mod layers;
pub mod loss;
mod module;
mod rnn;

pub use ctx::{Ctx, Forward, Layer};
pub use grads::{Backward, Entry, Grads};
// For the facade `hadal`, which exports it as `Module`: it writes `::hadal::nn` in place of `::hadal_nn`.
#[doc(hidden)]
pub use hadal_derive::FacadeModule;
pub use hadal_derive::Module;
pub use hadal_tensor::{Param, State};
pub use init::Init;
pub use layers::*;
pub use module::{Module, Visitor, Walk};
pub use rnn::{GRU, GRUCell, LSTM, LSTMCell, RNN, RNNCell};
