//! Recurrent sequences as compositions: the reference of the kernels in tests, what is differentiated a
//! second time, and what computes a single step.
//!
//! Both functions compute what the operation of the same name does, packed in the same way.

use crate::Tensor;
use hadal_core::ops::{Recurrence, RecurrentCell};
use std::ops::Range;

/// A part of a packed result as a tensor of its own.
pub(crate) fn part<const N: usize>(packed: &Tensor, range: Range<usize>, dims: [usize; N]) -> Tensor {
    packed.narrow_axis(0, range.start, range.len(), 1).reshape(dims)
}

/// Several tensors packed one after the other.
pub(crate) fn pack(parts: &[Tensor]) -> Tensor {
    let flat: Vec<Tensor> = parts.iter().map(|t| t.reshape([t.numel()])).collect();
    Tensor::cat(&flat.iter().collect::<Vec<_>>(), 0)
}

/// One step for all sequences.
pub(crate) struct Step {
    /// The state after it, `[n, p]`.
    pub state: Tensor,
    /// The cell after it, `[n, h]`.
    pub cell: Option<Tensor>,
    /// What the backward pass needs, each `[n, h]`.
    pub kept: Vec<Tensor>,
    /// The hidden units before their projection.
    pub hidden: Tensor,
}

/// The formulas. `x` is the input's projection `[n, g·h]`; `inputs` are the operation's.
pub(crate) fn step(
    r: &Recurrence,
    inputs: &[Tensor],
    x: &Tensor,
    state: &Tensor,
    cell: Option<&Tensor>,
) -> Step {
    let (h, more) = (r.hidden, r.inputs());
    let product = state.matmul(&inputs[1].t());
    let piece = |t: &Tensor, axis: usize, i: usize| t.narrow_axis(axis, i * h, h, 1);
    let biased = |t: Tensor, i: usize| match more.bias {
        Some(b) => t + piece(&inputs[b], 0, i),
        None => t,
    };
    let gate = |i: usize| biased(piece(x, 1, i), i) + piece(&product, 1, i);
    let (hidden, cell, kept) = match (r.cell, cell) {
        (RecurrentCell::Lstm, Some(c0)) => {
            let (i, f, g, o) = (gate(0).sigmoid(), gate(1).sigmoid(), gate(2).tanh(), gate(3).sigmoid());
            let c = &f * c0 + &i * &g;
            (&o * c.tanh(), Some(c), vec![i, f, g, o])
        }
        (RecurrentCell::Gru, _) => {
            let (reset, z) = (gate(0).sigmoid(), gate(1).sigmoid());
            let q = biased(piece(&product, 1, 2), 3);
            let n = (biased(piece(x, 1, 2), 2) + &reset * &q).tanh();
            ((1.0 - &z) * &n + &z * state, None, vec![reset, z, n, q])
        }
        (RecurrentCell::Relu, _) => (gate(0).relu(), None, vec![]),
        _ => (gate(0).tanh(), None, vec![]),
    };
    let state = match more.projection {
        Some(w) => hidden.matmul(&inputs[w].t()),
        None => hidden.clone(),
    };
    Step { state, cell, kept, hidden }
}

/// Which sequences go on at this time, `[n, 1]`.
fn going_on(lengths: Option<&Tensor>, time: usize) -> Option<Tensor> {
    lengths.map(|l| l.gt(time as i64).unsqueeze(1))
}

/// `a` where the sequence goes on, else `b`.
fn choose(on: &Option<Tensor>, a: Tensor, b: &Tensor) -> Tensor {
    match on {
        Some(on) => on.where_(a, b),
        None => a,
    }
}

/// `a` where the sequence goes on, else 0.
fn or_zero(on: &Option<Tensor>, a: Tensor) -> Tensor {
    match on {
        Some(on) => on.where_(a, 0.0),
        None => a,
    }
}

/// [`Op::Recurrent`](hadal_core::ops::Op::Recurrent).
pub(crate) fn forward(r: &Recurrence, inputs: &[Tensor]) -> Tensor {
    let (n, h, p, more) = (r.batch, r.hidden, r.state, r.inputs());
    let given = |i: Option<usize>, size: usize| match i {
        Some(i) => inputs[i].clone(),
        None => Tensor::zeros([n, size], inputs[0].dtype()),
    };
    let mut state = given(more.h0, p);
    let mut cell = r.cell.has_cell().then(|| given(more.c0, h));
    let (mut states, mut cells) = (vec![state.clone()], vec![cell.clone()]);
    let (mut kept, mut hidden) = (Vec::new(), Vec::new());
    for k in 0..r.steps {
        let time = r.time(k);
        let x = inputs[0].narrow_axis(0, time, 1, 1).reshape([n, r.cell.gates() * h]);
        let next = step(r, inputs, &x, &state, cell.as_ref());
        let on = going_on(more.lengths.map(|i| &inputs[i]), time);
        state = choose(&on, next.state, &state);
        cell = next.cell.zip(cell).map(|(new, old)| choose(&on, new, &old));
        states.push(state.clone());
        cells.push(cell.clone());
        if !next.kept.is_empty() {
            kept.push(or_zero(&on, Tensor::cat(&next.kept.iter().collect::<Vec<_>>(), 1)));
        }
        hidden.push(or_zero(&on, next.hidden));
    }
    let mut cells: Vec<Tensor> = cells.into_iter().flatten().collect();
    if !r.keep {
        (cells, kept, hidden) = (cells.pop().into_iter().collect(), Vec::new(), Vec::new());
    }
    if !r.projected {
        hidden.clear();
    }
    if r.reverse {
        for parts in [&mut states, &mut cells, &mut kept, &mut hidden] {
            parts.reverse();
        }
    }
    pack(&[states, cells, kept, hidden].concat())
}

/// [`Op::RecurrentOutput`](hadal_core::ops::Op::RecurrentOutput).
pub(crate) fn output(r: &Recurrence, packed: &Tensor) -> Tensor {
    let states = part(packed, r.outputs(), [r.outputs().len()]);
    let cell = r.last_cell();
    if cell.is_empty() { states } else { pack(&[states, part(packed, cell.clone(), [cell.len()])]) }
}

/// [`Op::RecurrentGrad`](hadal_core::ops::Op::RecurrentGrad).
pub(crate) fn backward(r: &Recurrence, inputs: &[Tensor]) -> Tensor {
    let (t, n, h, p, more) = (r.steps, r.batch, r.hidden, r.state, r.grad_inputs());
    let (packed, cotangent, weight) = (&inputs[0], &inputs[1], &inputs[2]);
    let at = |all: &Tensor, time: usize| all.narrow_axis(0, time, 1, 1).reshape(&all.dims()[1..]);
    let before = part(packed, r.previous(), [t, n, p]);
    let after = part(packed, r.outputs(), [t, n, p]);
    let cells = r
        .cell
        .has_cell()
        .then(|| (part(packed, r.previous_cells(), [t, n, h]), part(packed, r.next_cells(), [t, n, h])));
    let kept = part(packed, r.gates(), [t, n, r.cell.kept() * h]);
    let dy = part(cotangent, 0..t * n * p, [t, n, p]);
    let zeros = |size: usize| Tensor::zeros([n, size], packed.dtype());
    let mut dc = match r.cell.has_cell() {
        true => part(cotangent, t * n * p..r.visible_len(), [n, h]),
        false => zeros(h),
    };
    let mut carry = zeros(p);
    let (mut sums, mut projected) = (Vec::new(), Vec::new());
    for k in (0..t).rev() {
        let time = r.time(k);
        let on = going_on(more.lengths.map(|i| &inputs[i]), time);
        let all = at(&dy, time) + &carry;
        let dstate = or_zero(&on, all.clone());
        let gate = |i: usize| at(&kept, time).narrow_axis(1, i * h, h, 1);
        let dh = match more.projection {
            Some(w) => dstate.matmul(&inputs[w]),
            None => dstate.clone(),
        };
        // By each sum; what goes to the state beside the weight.
        let (ds, beside) = match (r.cell, &cells) {
            (RecurrentCell::Lstm, Some((c0, c))) => {
                let (i, f, g, o) = (gate(0), gate(1), gate(2), gate(3));
                let tanh = at(c, time).tanh();
                let into = &dc + &dh * &o * (1.0 - tanh.square());
                let ds = [
                    &into * &g * (&i * (1.0 - &i)),
                    &into * at(c0, time) * (&f * (1.0 - &f)),
                    &into * &i * (1.0 - g.square()),
                    &dh * &tanh * (&o * (1.0 - &o)),
                ];
                dc = choose(&on, &into * &f, &dc);
                (ds.to_vec(), None)
            }
            (RecurrentCell::Gru, _) => {
                let (reset, z, m, q) = (gate(0), gate(1), gate(2), gate(3));
                let dm = &dh * (1.0 - &z) * (1.0 - m.square());
                let ds = [
                    &dm * &q * (&reset * (1.0 - &reset)),
                    &dh * (at(&before, time) - &m) * (&z * (1.0 - &z)),
                    dm.clone(),
                    &dm * &reset,
                ];
                (ds.to_vec(), Some(&dh * &z))
            }
            (RecurrentCell::Relu, _) => (vec![at(&after, time).gt(0.0).where_(&dh, 0.0)], None),
            _ => (vec![&dh * (1.0 - at(&after, time).square())], None),
        };
        let ds: Vec<Tensor> = ds.into_iter().map(|d| or_zero(&on, d)).collect();
        let through: Vec<&Tensor> = match r.cell {
            RecurrentCell::Gru => vec![&ds[0], &ds[1], &ds[3]],
            _ => ds.iter().collect(),
        };
        let mut back = Tensor::cat(&through, 1).matmul(weight);
        if let Some(beside) = beside {
            back = back + beside;
        }
        carry = choose(&on, back, &all);
        sums.push(Tensor::cat(&ds.iter().collect::<Vec<_>>(), 1));
        projected.push(dstate);
    }
    if !r.reverse {
        sums.reverse();
        projected.reverse();
    }
    let mut parts = sums;
    if r.initial {
        parts.push(carry);
        if r.cell.has_cell() {
            parts.push(dc);
        }
    }
    if r.projected {
        parts.extend(projected);
    }
    pack(&parts)
}
