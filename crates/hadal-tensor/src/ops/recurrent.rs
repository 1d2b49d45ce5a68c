//! Recurrent sequences: all steps of a layer in one direction as one operation.
//!
//! Three operations make one call. [`Op::Recurrent`] runs the steps and keeps everything in one packed
//! tensor: states, cells, gates. [`Op::RecurrentOutput`] copies out of it what the caller sees, and its
//! gradient goes to the sequence's inputs directly, by [`Op::RecurrentGrad`], the steps in reverse: so the
//! cotangent has the size of what is seen, not of everything kept, and the packed tensor lives only as long
//! as the backward pass needs it. A cotangent of the packed tensor itself arises when gradients are
//! differentiated; then the compositions beside the kernels are what is differentiated.

use super::compose::recurrent as compose;
use super::compose::{fail, first_bad};
use crate::Tensor;
use crate::autodiff::{Grads, vjp_or_none};
use crate::scope::{self, composed};
use crate::tensor::Inputs;
use compose::part;
use hadal_core::ops::{Op, Recurrence, RecurrentCell};
use hadal_core::smallvec::{SmallVec, smallvec};
use hadal_core::{DType, ErrorKind, Shape};

/// One layer of a recurrent network in one direction, over whole sequences: weights and options.
///
/// ```
/// use hadal_tensor::{DType, Key, Recurrent, RecurrentCell, Tensor};
/// let (t, n, h) = (5, 2, 3);
/// let gates = Tensor::randn([t, n, 4 * h], DType::F32, Key::new(0)); // x·W_ihᵀ for all steps
/// let weight = Tensor::randn([4 * h, h], DType::F32, Key::new(1));
/// let lstm = Recurrent::new(RecurrentCell::Lstm, &weight);
/// let run = lstm.forward(&gates);
/// assert_eq!(run.output.dims(), [t, n, h]);
/// assert_eq!(run.state.dims(), [n, h]);
/// assert_eq!(run.cell.unwrap().dims(), [n, h]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Recurrent<'a> {
    cell: RecurrentCell,
    weight: &'a Tensor,
    bias: Option<&'a Tensor>,
    projection: Option<&'a Tensor>,
    initial: Option<(&'a Tensor, Option<&'a Tensor>)>,
    lengths: Option<&'a Tensor>,
    reverse: bool,
}

/// What [`Recurrent::forward`] gives.
#[derive(Clone, Debug)]
pub struct RecurrentStates {
    /// The state after each step, `[t, n, p]`; zeros behind the end of a sequence.
    pub output: Tensor,
    /// The state after the last step of each sequence, `[n, p]`. In reverse the last step is number 0.
    pub state: Tensor,
    /// The cell after that step, `[n, h]` (LSTM).
    pub cell: Option<Tensor>,
}

impl<'a> Recurrent<'a> {
    /// A layer with this recurrent weight `[g·h, h]`, where `g` gates of `h` units lie one after the other
    /// in PyTorch's order: `i f g o` of an LSTM, `r z n` of a GRU.
    pub fn new(cell: RecurrentCell, weight: &'a Tensor) -> Self {
        Recurrent { cell, weight, bias: None, projection: None, initial: None, lengths: None, reverse: false }
    }
    /// Added to the gates: `[g·h]`, the sum of PyTorch's two biases. A GRU, whose new state's two biases
    /// are on either side of the reset gate, takes `[4·h]`: those sums of `r` and `z`, then `b_in`, then
    /// `b_hn`.
    pub fn bias(self, bias: &'a Tensor) -> Self {
        Recurrent { bias: Some(bias), ..self }
    }
    /// Makes the state a projection of an LSTM's hidden units (Sak 2014, arXiv:1402.1128): weight `[p, h]`;
    /// the recurrent weight is `[4·h, p]` then.
    pub fn projection(self, weight: &'a Tensor) -> Self {
        Recurrent { projection: Some(weight), ..self }
    }
    /// The state before the first step, `[n, p]`, and for an LSTM the cell, `[n, h]`. Zeros unless set.
    pub fn initial(self, state: &'a Tensor, cell: Option<&'a Tensor>) -> Self {
        Recurrent { initial: Some((state, cell)), ..self }
    }
    /// How many steps each sequence has, integers `[n]` from 0 to t. Outputs behind the end are zero, the
    /// last state is that at the end, and in reverse a sequence starts at its end.
    pub fn lengths(self, lengths: &'a Tensor) -> Self {
        Recurrent { lengths: Some(lengths), ..self }
    }
    /// Runs from the last step to the first.
    pub fn reverse(self, yes: bool) -> Self {
        Recurrent { reverse: yes, ..self }
    }

    /// Runs all steps. `gates` is the input's projection `x·W_ihᵀ` for all of them, `[t, n, g·h]`.
    ///
    /// Halves are computed in f32 and rounded at the end.
    ///
    /// # Errors
    /// Shapes or dtypes that do not fit; no steps. When evaluated: a length above t or below 0.
    #[track_caller]
    pub fn forward(&self, gates: &Tensor) -> RecurrentStates {
        composed(|| match self.check(gates) {
            Ok(r) => self.run(&r, gates),
            Err(bad) => {
                let cell = self.cell.has_cell().then(|| bad.clone());
                RecurrentStates { output: bad.clone(), state: bad, cell }
            }
        })
    }

    fn check(&self, gates: &Tensor) -> Result<Recurrence, Tensor> {
        let (op, g, w) = (self.cell.name(), self.cell.gates(), self.weight);
        let (h0, c0) = self.initial.map_or((None, None), |(h, c)| (Some(h), c));
        let floats = [Some(gates), Some(w), self.bias, self.projection, h0, c0];
        let floats: Vec<&Tensor> = floats.into_iter().flatten().collect();
        let all: Vec<&Tensor> = floats.iter().copied().chain(self.lengths).collect();
        if let Some(bad) = first_bad(&all) {
            return Err(bad);
        }
        let shape = |message: String, operand: &Tensor, help: &str| {
            fail(op, ErrorKind::Shape, message, &[gates, w, operand], help)
        };
        if let Some(t) = floats.iter().find(|t| !t.dtype().is_float() || t.dtype() != gates.dtype()) {
            let help = "weights, input and states have one float dtype: cast with .cast(DType::F32)";
            let message = format!("dtypes {} and {}", gates.dtype(), t.dtype());
            return Err(fail(op, ErrorKind::DType, message, &[gates, t], help));
        }
        let ([steps, batch, width], [rows, state]) = (gates.dims(), w.dims()) else {
            let help = "gates are [t, n, g·h], the recurrent weight is [g·h, h]";
            let message = format!("{} and {} dimensions, 3 and 2 are needed", gates.rank(), w.rank());
            return Err(fail(op, ErrorKind::Shape, message, &[gates, w], help));
        };
        let (steps, batch, state, hidden) = (*steps, *batch, *state, rows / g);
        if rows % g != 0 || width != rows || hidden == 0 || state == 0 {
            let help = "gates are [t, n, g·h], the recurrent weight is [g·h, h]";
            let message = format!("{width} gates of the input, {rows} of the state, {g} for each unit");
            return Err(fail(op, ErrorKind::Shape, message, &[gates, w], help));
        }
        if steps == 0 {
            let message = "a sequence of no steps";
            return Err(fail(
                op,
                ErrorKind::Shape,
                message,
                &[gates],
                "the first size is the number of steps",
            ));
        }
        let projected = self.projection.is_some();
        match self.projection {
            Some(_) if !self.cell.has_cell() => {
                let help = "only an LSTM has a projection";
                return Err(fail(op, ErrorKind::Value, "a projection", &[gates, w], help));
            }
            Some(p) if p.dims() != [state, hidden] => {
                let want = Shape::from([state, hidden]);
                return Err(shape(
                    format!("the projection is {}, {want} is needed", p.shape()),
                    p,
                    "it is [p, h]",
                ));
            }
            None if state != hidden => {
                let message = format!("a state of {state} for {hidden} units");
                let help = "the recurrent weight is [g·h, h]; with a projection to p it is [g·h, p]";
                return Err(fail(op, ErrorKind::Shape, message, &[gates, w], help));
            }
            _ => {}
        }
        let expect = |what: &str, t: Option<&Tensor>, want: &[usize], help: &str| match t {
            Some(t) if t.dims() != want => {
                Err(shape(format!("{what} is {}, {} is needed", t.shape(), Shape::from(want)), t, help))
            }
            _ => Ok(()),
        };
        let sums = self.cell.sums();
        expect("the bias", self.bias, &[sums * hidden], "a GRU takes four biases for each unit")?;
        expect("the initial state", h0, &[batch, state], "it is [n, h], or [n, p] with a projection")?;
        expect("the initial cell", c0, &[batch, hidden], "it is [n, h]")?;
        if let Some(h0) = h0
            && c0.is_some() != self.cell.has_cell()
        {
            let help = "an LSTM starts from a state and a cell, other cells from a state";
            let message = if c0.is_some() { "an initial cell" } else { "no initial cell" };
            return Err(fail(op, ErrorKind::Value, message, &[gates, h0], help));
        }
        if let Some(l) = self.lengths {
            if !l.dtype().is_int() {
                let help = "cast them: .cast(DType::I64)";
                return Err(fail(
                    op,
                    ErrorKind::DType,
                    format!("lengths of {}", l.dtype()),
                    &[gates, l],
                    help,
                ));
            }
            expect("the tensor of lengths", Some(l), &[batch], "it is [n], one length for each sequence")?;
        }
        Ok(Recurrence {
            cell: self.cell,
            steps,
            batch,
            hidden,
            state,
            projected,
            reverse: self.reverse,
            bias: self.bias.is_some(),
            initial: self.initial.is_some(),
            lengths: self.lengths.is_some(),
            keep: scope::grad_enabled(),
        })
    }

    fn run(&self, r: &Recurrence, gates: &Tensor) -> RecurrentStates {
        let (dtype, t, n, p) = (gates.dtype(), r.steps, r.batch, r.state);
        let (h0, c0) = self.initial.map_or((None, None), |(h, c)| (Some(h), c));
        let floats = [Some(gates), Some(self.weight), self.bias, h0, c0, self.projection];
        let mut inputs: Inputs = floats.into_iter().flatten().map(|x| x.cast(dtype.compute())).collect();
        inputs.extend(self.lengths.map(|l| l.cast(DType::I64)));
        let lengths = r.inputs().lengths.map(|i| inputs[i].clone());
        // One step is cheaper without a packed weight.
        let (packed, visible) = if t == 1 && !r.lengths {
            (None, compose::output(r, &compose::forward(r, &inputs)))
        } else {
            let wide = dtype.compute();
            let packed =
                Tensor::make(Op::Recurrent(r.clone().into()), inputs.clone(), Shape::from([r.len()]), wide);
            let visible = if r.keep {
                inputs.insert(0, packed.clone());
                Tensor::make(
                    Op::RecurrentOutput(r.clone().into()),
                    inputs,
                    Shape::from([r.visible_len()]),
                    wide,
                )
            } else {
                compose::output(r, &packed)
            };
            (Some(packed), visible)
        };
        let states = part(&visible, 0..t * n * p, [t, n, p]);
        let last = part(&states, if r.reverse { 0..1 } else { t - 1..t }, [n, p]);
        let cell = r.cell.has_cell().then(|| part(&visible, t * n * p..r.visible_len(), [n, r.hidden]));
        let output = match lengths {
            Some(l) => {
                l.unsqueeze(0).gt(Tensor::arange(0, t, 1).unsqueeze(1)).unsqueeze(2).where_(&states, 0.0)
            }
            None => states,
        };
        drop(packed);
        let narrow = |x: Tensor| x.cast(dtype);
        RecurrentStates { output: narrow(output), state: narrow(last), cell: cell.map(narrow) }
    }
}

/// The gradient through a composition that computes the same as the operation.
fn through(f: impl FnOnce(&[Tensor]) -> Tensor, x: &Inputs, g: &Tensor, needs: &[bool]) -> Grads {
    // The inputs under other names: what leads to them is not this operation's business.
    let names: Vec<Tensor> = x.iter().map(|t| t.view_as(Op::Reshape, t.shape().clone())).collect();
    let y = f(&names);
    let wanted: Vec<&Tensor> = names.iter().zip(needs).filter(|(_, need)| **need).map(|(t, _)| t).collect();
    match vjp_or_none(&y, g, &wanted) {
        Ok(grads) => {
            let mut grads = grads.into_iter();
            needs.iter().map(|&need| if need { grads.next().flatten() } else { None }).collect()
        }
        Err(e) => {
            let bad = |t: &Tensor| Some(Tensor::poison(e.clone(), t.shape(), t.dtype()));
            x.iter().zip(needs).map(|(t, &need)| if need { bad(t) } else { None }).collect()
        }
    }
}

pub(crate) fn vjp(r: &Recurrence, x: &Inputs, g: &Tensor, needs: &[bool]) -> Grads {
    through(|x| compose::forward(r, x), x, g, needs)
}

pub(crate) fn grad_vjp(r: &Recurrence, x: &Inputs, g: &Tensor, needs: &[bool]) -> Grads {
    through(|x| compose::backward(r, x), x, g, needs)
}

/// By the sequence's inputs, which stand behind what was kept.
pub(crate) fn output_vjp(r: &Recurrence, x: &Inputs, g: &Tensor, needs: &[bool]) -> Grads {
    let (kept, of) = (&x[0], r.inputs());
    let (t, n, h, p) = (r.steps, r.batch, r.hidden, r.state);
    // Positions of the sequence's inputs are one further here.
    let input = |i: Option<usize>| i.map(|i| i + 1);
    let mut inputs: Inputs = smallvec![kept.clone(), g.clone(), x[2].clone()];
    inputs.extend(input(of.projection).map(|i| x[i].clone()));
    inputs.extend(input(of.lengths).map(|i| x[i].clone()));
    let d = Tensor::make(Op::RecurrentGrad(r.clone().into()), inputs, Shape::from([r.grad_len()]), g.dtype());

    let (gates, sums) = (r.cell.gates(), r.cell.sums());
    let ds = part(&d, r.grad_sums(), [t * n, sums * h]);
    let mut grads: Grads = SmallVec::from_elem(None, x.len());
    if needs[1] {
        grads[1] = Some(ds.narrow_axis(1, 0, gates * h, 1).reshape([t, n, gates * h]));
    }
    if needs[2] {
        // A state of zeros before the first step adds nothing.
        let skip = if r.initial { 0 } else { n };
        let rows = if r.reverse { 0..t * n - skip } else { skip..t * n };
        let of_rows = |m: &Tensor| m.narrow_axis(0, rows.start, rows.len(), 1);
        let before = of_rows(&part(kept, r.previous(), [t * n, p]));
        let by = |first: usize, gates: usize| {
            of_rows(&ds).narrow_axis(1, first * h, gates * h, 1).t().matmul(&before)
        };
        grads[2] = Some(match r.cell {
            RecurrentCell::Gru => Tensor::cat(&[&by(0, 2), &by(3, 1)], 0),
            _ => by(0, gates),
        });
    }
    let mut set = |i: Option<usize>, grad: &dyn Fn() -> Tensor| {
        if let Some(i) = input(i).filter(|&i| needs[i]) {
            grads[i] = Some(grad());
        }
    };
    set(of.bias, &|| ds.sum(0));
    set(of.h0, &|| part(&d, r.grad_state(), [n, p]));
    set(of.c0, &|| part(&d, r.grad_cell(), [n, h]));
    set(of.projection, &|| {
        let hidden = part(kept, r.unprojected(), [t * n, h]);
        part(&d, r.grad_projected(), [t * n, p]).t().matmul(&hidden)
    });
    grads
}
