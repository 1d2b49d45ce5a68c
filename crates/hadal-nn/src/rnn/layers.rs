//! The layers: one struct for each kind of cell.

use super::stack::Stack;
use crate::{Ctx, Forward, Init, Module, Walk};
use hadal_tensor::{RecurrentCell, Tensor};

/// A layer's struct and its options, which are the same for all.
macro_rules! layer {
    ($(#[doc = $doc:literal])* $name:ident, $cell:expr) => {
        $(#[doc = $doc])*
        #[derive(Debug)]
        pub struct $name {
            stack: Stack,
        }

        impl $name {
            /// One layer in one direction, with biases.
            pub fn new(init: &Init, input_size: usize, hidden_size: usize) -> Self {
                $name { stack: Stack::new(stringify!($name), $cell, init, input_size, hidden_size) }
            }
            /// So many layers on top of each other. 1 unless set.
            pub fn num_layers(self, n: usize) -> Self {
                $name { stack: self.stack.change(|s| s.num_layers = n) }
            }
            /// A second cell in each layer runs from the end to the beginning; outputs are joined.
            pub fn bidirectional(self) -> Self {
                $name { stack: self.stack.change(|s| s.bidirectional = true) }
            }
            /// Without biases.
            pub fn no_bias(self) -> Self {
                $name { stack: self.stack.change(|s| s.sizes.bias = false) }
            }
            /// In training, drops outputs between layers with this probability. 0 unless set.
            pub fn dropout(mut self, p: f64) -> Self {
                self.stack.dropout = p;
                self
            }
            /// Input and output are `[n, t, size]`. The order of states stays.
            pub fn batch_first(mut self) -> Self {
                self.stack.batch_first = true;
                self
            }
        }

        impl Module for $name {
            fn visit(&self, walk: &mut Walk<'_>) {
                self.stack.visit(walk);
            }
        }

        /// From states of zeros; the output of the last layer.
        impl Forward for $name {
            #[track_caller]
            fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
                self.stack.run(x, None, None, cx).0
            }
        }
    };
}

layer! {
    /// Plain recurrent layers (Elman 1990): `h' = tanh(W_ih·x + b_ih + W_hh·h + b_hh)`.
    ///
    /// Input `[t, n, input_size]` or `[t, input_size]`, output `[t, n, directions·hidden_size]`. Parameters
    /// are named as in PyTorch: `weight_ih_l0` `[hidden, input]`, `weight_hh_l0` `[hidden, hidden]`,
    /// `bias_ih_l0`, `bias_hh_l0`, `weight_ih_l0_reverse`, … and start uniform in ±1/√hidden_size.
    ///
    /// ```
    /// use hadal_nn::{Ctx, Forward, Init, RNN};
    /// use hadal_tensor::{DType, Tensor};
    /// let rnn = RNN::new(&Init::new(0), 4, 8).num_layers(2).bidirectional();
    /// let x = Tensor::ones([5, 3, 4], DType::F32);
    /// assert_eq!(rnn.forward(&x, &Ctx::eval()).dims(), [5, 3, 16]);
    /// let (output, h_n) = rnn.forward_with(&x, None, None, &Ctx::eval());
    /// assert_eq!(h_n.dims(), [4, 3, 8]);
    /// assert!(output.eval().is_ok());
    /// ```
    RNN, RecurrentCell::Tanh
}

layer! {
    /// Long short-term memory (Hochreiter and Schmidhuber 1997, with the forget gate of Gers 2000):
    /// gates `i f g o` in the rows of the weights, `c' = σ(f)·c + σ(i)·tanh(g)`, `h' = σ(o)·tanh(c')`.
    ///
    /// Input `[t, n, input_size]` or `[t, input_size]`, output `[t, n, directions·state]`, where the state
    /// is hidden_size, or proj_size if set. Parameters are named as in PyTorch: `weight_ih_l0`
    /// `[4·hidden, input]`, `weight_hh_l0` `[4·hidden, state]`, `bias_ih_l0`, `bias_hh_l0`, `weight_hr_l0`
    /// `[proj, hidden]`, `weight_ih_l0_reverse`, … and start uniform in ±1/√hidden_size.
    ///
    /// ```
    /// use hadal_nn::{Ctx, Init, LSTM};
    /// use hadal_tensor::{DType, Tensor};
    /// let lstm = LSTM::new(&Init::new(0), 4, 8).batch_first();
    /// let x = Tensor::ones([2, 5, 4], DType::F32); // two sequences, of 5 and 3 steps
    /// let (output, (h_n, c_n)) = lstm.forward_with(&x, None, Some(&Tensor::new([5i64, 3])), &Ctx::eval());
    /// assert_eq!((output.dims(), h_n.dims(), c_n.dims()), (&[2, 5, 8][..], &[1, 2, 8][..], &[1, 2, 8][..]));
    /// assert_eq!(output.select(0, 1).narrow(0, 3, 2).abs().sum(..).item::<f32>().unwrap(), 0.0);
    /// ```
    LSTM, RecurrentCell::Lstm
}

layer! {
    /// Gated recurrent units (Cho 2014): gates `r z n` in the rows of the weights,
    /// `n = tanh(W_in·x + b_in + r·(W_hn·h + b_hn))`, `h' = (1 - z)·n + z·h`. The reset gate stands behind
    /// the product, as in PyTorch and cuDNN, not before it as in the paper.
    ///
    /// Input `[t, n, input_size]` or `[t, input_size]`, output `[t, n, directions·hidden_size]`. Parameters
    /// are named as in PyTorch: `weight_ih_l0` `[3·hidden, input]`, `weight_hh_l0` `[3·hidden, hidden]`,
    /// `bias_ih_l0`, `bias_hh_l0`, `weight_ih_l0_reverse`, … and start uniform in ±1/√hidden_size.
    ///
    /// ```
    /// use hadal_nn::{Ctx, Forward, GRU, Init};
    /// use hadal_tensor::{DType, Tensor};
    /// let gru = GRU::new(&Init::new(0), 4, 8);
    /// let x = Tensor::ones([5, 3, 4], DType::F32);
    /// let (output, h_n) = gru.forward_with(&x, Some(&Tensor::zeros([1, 3, 8], DType::F32)), None, &Ctx::eval());
    /// assert_eq!(output.select(0, -1).to_vec::<f32>().unwrap(), h_n.to_vec::<f32>().unwrap());
    /// let wrong = gru.forward(&Tensor::ones([5, 3, 6], DType::F32), &Ctx::eval());
    /// assert!(wrong.eval().unwrap_err().to_string().starts_with("GRU: the input's last size is 6, input_size is 4"));
    /// ```
    GRU, RecurrentCell::Gru
}

/// Layers whose only state is the hidden one.
macro_rules! one_state {
    ($($name:ident)*) => { $(
        impl $name {
            /// Output and last states `[num_layers·directions, n, hidden_size]`, from initial states of that
            /// shape (zeros if `None`).
            ///
            /// With `lengths` (integers `[n]`, 0 to t, in any order) sequences end early: outputs behind the
            /// end are zero, the last state is that at the end, and the second direction starts there. What
            /// PyTorch does with packed sequences.
            #[track_caller]
            pub fn forward_with(
                &self,
                x: &Tensor,
                h_0: Option<&Tensor>,
                lengths: Option<&Tensor>,
                cx: &Ctx,
            ) -> (Tensor, Tensor) {
                let (output, h_n, _) = self.stack.run(x, h_0.map(|h| (h, None)), lengths, cx);
                (output, h_n)
            }
        }
    )* };
}
one_state!(RNN GRU);

impl RNN {
    /// ReLU in place of tanh.
    pub fn relu(self) -> RNN {
        RNN { stack: self.stack.change(|s| s.sizes.cell = RecurrentCell::Relu) }
    }
}

impl LSTM {
    /// The state that goes round, and the output, become a learned projection to this size (Sak 2014,
    /// arXiv:1402.1128). None unless set; smaller than hidden_size.
    pub fn proj_size(self, size: usize) -> LSTM {
        LSTM { stack: self.stack.change(|s| s.sizes.proj = size) }
    }

    /// Output, last states `[num_layers·directions, n, state]` and last cells
    /// `[num_layers·directions, n, hidden_size]`, from initial states and cells of those shapes (zeros if
    /// `None`).
    ///
    /// With `lengths` (integers `[n]`, 0 to t, in any order) sequences end early: outputs behind the end
    /// are zero, the last state is that at the end, and the second direction starts there. What PyTorch
    /// does with packed sequences.
    #[track_caller]
    pub fn forward_with(
        &self,
        x: &Tensor,
        state: Option<(&Tensor, &Tensor)>,
        lengths: Option<&Tensor>,
        cx: &Ctx,
    ) -> (Tensor, (Tensor, Tensor)) {
        let (output, h_n, c_n) = self.stack.run(x, state.map(|(h, c)| (h, Some(c))), lengths, cx);
        let c_n = c_n.unwrap_or_else(|| h_n.clone());
        (output, (h_n, c_n))
    }
}
