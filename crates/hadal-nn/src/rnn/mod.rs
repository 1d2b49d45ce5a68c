//! Recurrent layers and cells, with PyTorch's names, gate order and initialisation.

mod cells;
mod layers;
mod stack;

pub use cells::{GRUCell, LSTMCell, RNNCell};
pub use layers::{GRU, LSTM, RNN};
