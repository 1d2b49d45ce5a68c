//! Cells: a single step, for loops of one's own.

use super::stack::{Sizes, Weights};
use crate::layers::wrong;
use crate::{Ctx, Init, Module, Walk};
use hadal_core::{DType, ErrorKind, Tag};
use hadal_tensor::{Key, Recurrent, RecurrentCell, RecurrentStates, Tensor};

#[derive(Debug)]
struct Cell {
    tag: Tag,
    name: &'static str,
    sizes: Sizes,
    key: Key,
    dtype: DType,
    weights: Weights,
}

impl Cell {
    fn new(name: &'static str, cell: RecurrentCell, init: &Init, input: usize, hidden: usize) -> Cell {
        let sizes = Sizes { cell, input, hidden, proj: 0, bias: true };
        let (key, dtype) = (init.next_key(), init.param_dtype());
        Cell { tag: Tag::new(name), name, sizes, key, dtype, weights: Weights::new(sizes, key, dtype) }
    }
    fn change(mut self, f: impl FnOnce(&mut Sizes)) -> Cell {
        f(&mut self.sizes);
        self.weights = Weights::new(self.sizes, self.key, self.dtype);
        self
    }

    /// One step; states are `[n, hidden]`, or `[hidden]` where the input has no batch.
    #[track_caller]
    fn run(&self, x: &Tensor, state: Option<(&Tensor, Option<&Tensor>)>, cx: &Ctx) -> RecurrentStates {
        let _layer = cx.enter(&self.tag);
        let (s, w) = (self.sizes, &self.weights);
        let bad = |t: Tensor| RecurrentStates { output: t.clone(), state: t.clone(), cell: Some(t) };
        if s.hidden == 0 {
            return bad(wrong(ErrorKind::Value, self.name, "hidden_size 0", &[x], "it is at least 1"));
        }
        if !(1..=2).contains(&x.rank()) || x.dims().last() != Some(&s.input) {
            let message = format!("the input is {}, its last size must be {}", x.shape(), s.input);
            let help = "the input is [n, input_size] or [input_size]";
            return bad(wrong(ErrorKind::Shape, self.name, message, &[x], help));
        }
        let single = x.rank() == 1;
        let rows = |t: &Tensor| if single && t.rank() == 1 { t.unsqueeze(0) } else { t.clone() };
        let x = rows(x);
        let state = state.map(|(h, c)| (rows(h), c.map(rows)));
        let want = [x.size(0), s.hidden];
        if let Some((h, c)) = &state
            && let Some(t) = [Some(h), c.as_ref()].into_iter().flatten().find(|t| t.dims() != want)
        {
            let message = format!("a state of {}, [{}, {}] is needed", t.shape(), want[0], want[1]);
            let help = "states are [n, hidden_size], or [hidden_size] without a batch";
            return bad(wrong(ErrorKind::Shape, self.name, message, &[&x, t], help));
        }
        let gates = x.matmul(&w.w_ih.get().t()).unsqueeze(0);
        let (w_hh, bias) = (w.w_hh.get(), w.bias(s.cell, s.hidden));
        let mut r = Recurrent::new(s.cell, &w_hh);
        if let Some(b) = &bias {
            r = r.bias(b);
        }
        if let Some((h, c)) = &state {
            r = r.initial(h, c.as_ref());
        }
        let out = r.forward(&gates);
        let squeezed = |t: Tensor| if single { t.squeeze(0) } else { t };
        RecurrentStates { output: out.output, state: squeezed(out.state), cell: out.cell.map(squeezed) }
    }
}

impl Module for Cell {
    fn visit(&self, walk: &mut Walk<'_>) {
        walk.field("tag", &self.tag);
        self.weights.visit(walk, "");
    }
}

macro_rules! cell {
    ($(#[doc = $doc:literal])* $name:ident, $cell:expr) => {
        $(#[doc = $doc])*
        #[derive(Debug)]
        pub struct $name {
            cell: Cell,
        }
        impl $name {
            /// A cell with biases.
            pub fn new(init: &Init, input_size: usize, hidden_size: usize) -> Self {
                $name { cell: Cell::new(stringify!($name), $cell, init, input_size, hidden_size) }
            }
            /// Without biases.
            pub fn no_bias(self) -> Self {
                $name { cell: self.cell.change(|s| s.bias = false) }
            }
        }
        impl Module for $name {
            fn visit(&self, walk: &mut Walk<'_>) {
                self.cell.visit(walk);
            }
        }
    };
}

cell! {
    /// One step of an [`RNN`](crate::RNN). Parameters `weight_ih`, `weight_hh`, `bias_ih`, `bias_hh`.
    ///
    /// ```
    /// use hadal_nn::{Ctx, Init, RNNCell};
    /// use hadal_tensor::{DType, Tensor};
    /// let cell = RNNCell::new(&Init::new(0), 4, 8);
    /// let h = cell.forward(&Tensor::ones([3, 4], DType::F32), None, &Ctx::eval());
    /// assert_eq!(h.dims(), [3, 8]);
    /// ```
    RNNCell, RecurrentCell::Tanh
}
cell! {
    /// One step of an [`LSTM`](crate::LSTM). Parameters `weight_ih`, `weight_hh`, `bias_ih`, `bias_hh`.
    ///
    /// ```
    /// use hadal_nn::{Ctx, Init, LSTMCell};
    /// use hadal_tensor::{DType, Tensor};
    /// let cell = LSTMCell::new(&Init::new(0), 4, 8);
    /// let x = Tensor::ones([3, 4], DType::F32);
    /// let (h, c) = cell.forward(&x, None, &Ctx::eval());
    /// let (h, _) = cell.forward(&x, Some((&h, &c)), &Ctx::eval());
    /// assert_eq!(h.dims(), [3, 8]);
    /// ```
    LSTMCell, RecurrentCell::Lstm
}
cell! {
    /// One step of a [`GRU`](crate::GRU). Parameters `weight_ih`, `weight_hh`, `bias_ih`, `bias_hh`.
    ///
    /// ```
    /// use hadal_nn::{Ctx, GRUCell, Init};
    /// use hadal_tensor::{DType, Tensor};
    /// let cell = GRUCell::new(&Init::new(0), 4, 8);
    /// let h = cell.forward(&Tensor::ones([4], DType::F32), None, &Ctx::eval());
    /// assert_eq!(h.dims(), [8]);
    /// ```
    GRUCell, RecurrentCell::Gru
}

macro_rules! one_state {
    ($($name:ident)*) => { $(
        impl $name {
            /// The next state `[n, hidden_size]` from input `[n, input_size]` and state (zeros if `None`),
            /// or all of it without the batch.
            #[track_caller]
            pub fn forward(&self, x: &Tensor, h: Option<&Tensor>, cx: &Ctx) -> Tensor {
                self.cell.run(x, h.map(|h| (h, None)), cx).state
            }
        }
    )* };
}
one_state!(RNNCell GRUCell);

impl RNNCell {
    /// ReLU in place of tanh.
    pub fn relu(self) -> RNNCell {
        RNNCell { cell: self.cell.change(|s| s.cell = RecurrentCell::Relu) }
    }
}

impl LSTMCell {
    /// The next state and cell `[n, hidden_size]` from input `[n, input_size]`, state and cell (zeros if
    /// `None`), or all of it without the batch.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, state: Option<(&Tensor, &Tensor)>, cx: &Ctx) -> (Tensor, Tensor) {
        let out = self.cell.run(x, state.map(|(h, c)| (h, Some(c))), cx);
        let cell = out.cell.unwrap_or_else(|| out.state.clone());
        (out.state, cell)
    }
}
