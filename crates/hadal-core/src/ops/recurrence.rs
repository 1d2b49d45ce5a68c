//! Sizes of a recurrent sequence, and where the parts of its packed results lie.
//!
//! An operation has one output, and a sequence has several results of different shapes: states, cells,
//! what the backward pass needs. They lie one after the other in a 1-d tensor, each row-major, so that
//! each is a free view of it, contiguous like a tensor of its own.

use std::ops::Range;

/// The formula of a step.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RecurrentCell {
    /// `h' = tanh(x + W·h + b)` (Elman 1990).
    Tanh,
    /// `h' = max(x + W·h + b, 0)`.
    Relu,
    /// Long short-term memory (Hochreiter and Schmidhuber 1997, with forget gate), gates `i f g o`.
    Lstm,
    /// Gated recurrent unit (Cho 2014), gates `r z n`, the reset gate behind the product as in PyTorch
    /// and cuDNN.
    Gru,
}

impl RecurrentCell {
    /// The name used in errors and profiles.
    pub fn name(self) -> &'static str {
        match self {
            RecurrentCell::Tanh | RecurrentCell::Relu => "rnn",
            RecurrentCell::Lstm => "lstm",
            RecurrentCell::Gru => "gru",
        }
    }
    /// Gates: rows of the weight over the hidden size.
    pub fn gates(self) -> usize {
        match self {
            RecurrentCell::Tanh | RecurrentCell::Relu => 1,
            RecurrentCell::Lstm => 4,
            RecurrentCell::Gru => 3,
        }
    }
    /// Sums that a gradient goes to: those of the gates. A GRU has four, since the reset gate separates
    /// what comes from the input from what comes from the state: `r z n` and the state's part of `n`.
    /// So many biases there are.
    pub fn sums(self) -> usize {
        if self == RecurrentCell::Gru { 4 } else { self.gates() }
    }
    /// Values of a unit and step that are kept for the backward pass: the gates, and for a GRU the state's
    /// part of `n`. A plain cell's state is enough.
    pub fn kept(self) -> usize {
        if self.gates() == 1 { 0 } else { 4 }
    }
    /// Whether it has a cell state beside the hidden state.
    pub fn has_cell(self) -> bool {
        self == RecurrentCell::Lstm
    }
}

/// Sizes and options of one layer and direction.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Recurrence {
    /// The step's formula.
    pub cell: RecurrentCell,
    /// Time steps, t.
    pub steps: usize,
    /// Sequences, n.
    pub batch: usize,
    /// Units, h.
    pub hidden: usize,
    /// Size of the state that goes round, p: the hidden size, or that of the projection.
    pub state: usize,
    /// Whether the state is a projection of the hidden units (LSTM only).
    pub projected: bool,
    /// From the last step to the first.
    pub reverse: bool,
    /// Whether there is a bias input.
    pub bias: bool,
    /// Whether initial states are given; else they are zero.
    pub initial: bool,
    /// Whether a length is given for each sequence.
    pub lengths: bool,
    /// Whether everything the backward pass needs is kept.
    pub keep: bool,
}

/// Positions of the inputs that may be missing.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RecurrentInputs {
    /// Bias.
    pub bias: Option<usize>,
    /// Initial state.
    pub h0: Option<usize>,
    /// Initial cell.
    pub c0: Option<usize>,
    /// Weight of the projection.
    pub projection: Option<usize>,
    /// Lengths.
    pub lengths: Option<usize>,
}

fn after(before: &Range<usize>, len: usize) -> Range<usize> {
    before.end..before.end + len
}

impl Recurrence {
    /// Inputs of the forward operation after `gates` and `weight` (positions 0 and 1).
    pub fn inputs(&self) -> RecurrentInputs {
        let mut next = 1;
        let mut take = |there: bool| {
            next += usize::from(there);
            there.then_some(next)
        };
        RecurrentInputs {
            bias: take(self.bias),
            h0: take(self.initial),
            c0: take(self.initial && self.cell.has_cell()),
            projection: take(self.projected),
            lengths: take(self.lengths),
        }
    }
    /// Inputs of the backward operation after what was kept, the cotangent and `weight` (positions 0, 1
    /// and 2).
    pub fn grad_inputs(&self) -> RecurrentInputs {
        let projection = self.projected.then_some(3);
        let lengths = self.lengths.then_some(3 + usize::from(self.projected));
        RecurrentInputs { projection, lengths, ..RecurrentInputs::default() }
    }
    /// The time index of step number `k` in the order of computation.
    pub fn time(&self, k: usize) -> usize {
        if self.reverse { self.steps - 1 - k } else { k }
    }

    /// Elements of one step's states, `[n, p]`.
    pub fn state_len(&self) -> usize {
        self.batch * self.state
    }
    /// Elements of one step's cells, `[n, h]`; none without cells.
    pub fn cell_len(&self) -> usize {
        if self.cell.has_cell() { self.batch * self.hidden } else { 0 }
    }

    /// All states, `[t + 1, n, p]`. Those after the steps in time order, and the initial one: before them,
    /// or in reverse behind them.
    pub fn states(&self) -> Range<usize> {
        0..(self.steps + 1) * self.state_len()
    }
    /// The states after each step, `[t, n, p]`.
    pub fn outputs(&self) -> Range<usize> {
        let first = if self.reverse { 0 } else { self.state_len() };
        first..first + self.steps * self.state_len()
    }
    /// The states before each step, `[t, n, p]`.
    pub fn previous(&self) -> Range<usize> {
        let first = if self.reverse { self.state_len() } else { 0 };
        first..first + self.steps * self.state_len()
    }
    /// The cells in the same order, `[t + 1, n, h]`; only the last, `[n, h]`, if nothing is kept.
    pub fn cells(&self) -> Range<usize> {
        let times = if self.keep { self.steps + 1 } else { 1 };
        after(&self.states(), times * self.cell_len())
    }
    /// The cells before each step, `[t, n, h]`, where they are kept.
    pub fn previous_cells(&self) -> Range<usize> {
        let first = self.cells().start + if self.reverse { self.cell_len() } else { 0 };
        first..first + self.steps * self.cell_len()
    }
    /// The cells after each step, `[t, n, h]`, where they are kept.
    pub fn next_cells(&self) -> Range<usize> {
        let first = self.cells().start + if self.reverse { 0 } else { self.cell_len() };
        first..first + self.steps * self.cell_len()
    }
    /// The cells after the last step, `[n, h]`.
    pub fn last_cell(&self) -> Range<usize> {
        let first =
            self.cells().start + if self.keep && !self.reverse { self.steps * self.cell_len() } else { 0 };
        first..first + self.cell_len()
    }
    /// The gates, `[t, n, kept·h]`; zeros where a sequence has ended.
    pub fn gates(&self) -> Range<usize> {
        let kept = if self.keep { self.cell.kept() } else { 0 };
        after(&self.cells(), self.steps * self.batch * kept * self.hidden)
    }
    /// The hidden units before their projection, `[t, n, h]`; zeros where a sequence has ended.
    pub fn unprojected(&self) -> Range<usize> {
        let there = self.keep && self.projected;
        after(&self.gates(), if there { self.steps * self.batch * self.hidden } else { 0 })
    }
    /// Elements of the forward operation's output.
    pub fn len(&self) -> usize {
        self.unprojected().end
    }
    /// Whether the forward operation's output has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Elements that a user sees: the states after each step, `[t, n, p]`, then the last cell, `[n, h]`.
    pub fn visible_len(&self) -> usize {
        self.steps * self.state_len() + self.cell_len()
    }

    /// In the gradient: by each sum, `[t, n, sums·h]`.
    pub fn grad_sums(&self) -> Range<usize> {
        0..self.steps * self.batch * self.cell.sums() * self.hidden
    }
    /// In the gradient: by the initial state, `[n, p]`, if it was given.
    pub fn grad_state(&self) -> Range<usize> {
        after(&self.grad_sums(), if self.initial { self.state_len() } else { 0 })
    }
    /// In the gradient: by the initial cell, `[n, h]`, if it was given.
    pub fn grad_cell(&self) -> Range<usize> {
        after(&self.grad_state(), if self.initial { self.cell_len() } else { 0 })
    }
    /// In the gradient: by the projected state, `[t, n, p]`, if there is a projection.
    pub fn grad_projected(&self) -> Range<usize> {
        after(&self.grad_cell(), if self.projected { self.steps * self.state_len() } else { 0 })
    }
    /// Elements of the backward operation's output.
    pub fn grad_len(&self) -> usize {
        self.grad_projected().end
    }

    /// Arithmetic of the products of all steps, the same forward and backward.
    pub fn flops(&self) -> u64 {
        let rows = (self.steps as u64).saturating_mul(self.batch as u64);
        let products = self.cell.gates() * self.hidden * self.state
            + if self.projected { self.state * self.hidden } else { 0 };
        rows.saturating_mul(2 * products as u64)
    }
}
