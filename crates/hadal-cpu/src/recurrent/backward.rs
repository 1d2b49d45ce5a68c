//! The backward pass of a sequence: the steps in reverse, from what the forward pass kept.

use super::Number;
use super::cells::{self, BackwardFn};
use super::drive::{Operands, Steps, drive};
use super::panels::{Panels, Rows, Weight};
use crate::scratch::Scratch;
use crate::threads::SendPtr;
use hadal_core::ops::{Recurrence, RecurrentCell};

/// Inputs, of the lengths that the recurrence says.
pub(super) struct Inputs<'a, T> {
    /// What the forward pass kept.
    pub kept: &'a [T],
    /// By the states after each step, then by the last cell.
    pub cotangent: &'a [T],
    pub weight: &'a [T],
    pub projection: Option<&'a [T]>,
    pub lengths: Option<&'a [i64]>,
}

struct Pass<'a, T: 'static> {
    r: &'a Recurrence,
    kept: &'a [T],
    dy: &'a [T],
    lengths: Option<&'a [i64]>,
    weight: Panels<'a, T>,
    projection: Option<Panels<'a, T>>,
    cell: BackwardFn<T>,
    out: SendPtr<T>,
    /// What goes back to the previous state other than through the weight, `[n, p]`: a GRU's update gate,
    /// and sequences that have ended. Null where nothing does.
    carry_h: SendPtr<T>,
    /// What goes back to the previous cell, `[n, h]`.
    carry_c: SendPtr<T>,
}

/// Runs the sequence backwards; `out` has `r.grad_len()` elements.
pub(super) fn run<T: Number>(r: &Recurrence, a: &Inputs<'_, T>, out: &mut [T]) {
    let zero = <T as hadal_core::math::Real>::ZERO;
    let (n, h, p, g) = (r.batch, r.hidden, r.state, r.cell.gates());
    let weight = Weight { src: a.weight, k: g * h, groups: 1, cols: p, group: 0, lane: 1, step: p };
    let mut memory = Scratch::<T>::new(weight.packed_len());
    let weight = Panels::new(&weight, memory.slice());
    let projection =
        a.projection.map(|src| Weight { src, k: p, groups: 1, cols: h, group: 0, lane: 1, step: h });
    let mut memory = Scratch::<T>::new(projection.as_ref().map_or(0, Weight::packed_len));
    let projection = projection.map(|w| Panels::new(&w, memory.slice()));
    let (dy, dc) = a.cotangent.split_at(r.steps * r.state_len());

    let carries = r.cell == RecurrentCell::Gru || r.lengths;
    let mut carry_h = Scratch::<T>::new(if carries { n * p } else { 0 });
    carry_h.slice().fill(zero);
    let mut carry_c = Scratch::<T>::new(r.cell_len());
    carry_c.slice().copy_from_slice(dc);
    let pass = Pass {
        r,
        kept: a.kept,
        dy,
        lengths: a.lengths,
        weight,
        projection,
        cell: cells::backward_fn::<T>(r.cell),
        out: SendPtr::new(out.as_mut_ptr()),
        carry_h: SendPtr::new(if carries { carry_h.slice().as_mut_ptr() } else { std::ptr::null_mut() }),
        carry_c: SendPtr::new(carry_c.slice().as_mut_ptr()),
    };
    drive(&pass, n);
    if !r.grad_cell().is_empty() {
        out[r.grad_cell()].copy_from_slice(carry_c.slice());
    }
}

impl<T: Number> Pass<'_, T> {
    fn ended(&self, row: usize, time: usize) -> bool {
        self.lengths.is_some_and(|l| time as i64 >= l[row])
    }

    /// `sums += carry` for a row; the carry becomes the sum where the sequence has ended, else zero.
    ///
    /// # Safety
    /// `units` values at all three places.
    unsafe fn collect(&self, ended: bool, dy: *const T, sums: *mut T, carry: *mut T, units: usize) {
        let zero = <T as hadal_core::math::Real>::ZERO;
        // SAFETY: the caller's promise.
        unsafe {
            for u in 0..units {
                *sums.add(u) += *carry.add(u);
                *carry.add(u) = if ended { *sums.add(u) + *dy.add(u) } else { zero };
            }
        }
    }
}

impl<T: Number> Steps<T> for Pass<'_, T> {
    fn steps(&self) -> usize {
        // One more for what goes to the initial state.
        self.r.steps + usize::from(self.r.initial)
    }
    fn blocks(&self, step: usize) -> [usize; 2] {
        let second = self.projection.as_ref().map_or(0, Panels::blocks);
        [self.weight.blocks(), if step < self.r.steps { second } else { 0 }]
    }
    fn operands(&self) -> [usize; 2] {
        let r = self.r;
        [r.cell.gates() * r.hidden, if r.projected { r.state } else { 0 }]
    }
    fn sums(&self) -> usize {
        self.weight.row()
    }
    unsafe fn prepare(&self, _: Rows, _: &Operands<T>) {}

    unsafe fn run(
        &self,
        step: usize,
        product: usize,
        block: usize,
        rows: Rows,
        operands: &Operands<T>,
        sums: *mut T,
    ) {
        let r = self.r;
        let (n, p) = (r.batch, r.state);
        let panels = match (product, &self.projection) {
            (1, Some(projection)) => projection,
            _ => &self.weight,
        };
        let (col, units) = panels.block(block);
        // SAFETY: rows, units and places stay inside the sections; the driver's promise says that only
        // this call writes these rows' units of this step.
        unsafe {
            if product == 1 {
                panels.multiply(operands.middle, rows, block, sums);
                return self.cells(step, rows, (col, units), operands, sums, false);
            }
            if step > 0 {
                panels.multiply(operands.turns[step % 2], rows, block, sums);
            } else {
                std::slice::from_raw_parts_mut(sums, rows.count * panels.row())
                    .fill(<T as hadal_core::math::Real>::ZERO);
            }
            let carry = |row: usize| match self.carry_h.get().is_null() {
                true => std::ptr::null_mut(),
                false => self.carry_h.get().add(row * p + col),
            };
            if step == r.steps {
                // What is left goes to the initial state.
                let to = self.out.get().add(r.grad_state().start);
                for i in 0..rows.count {
                    let (row, sums) = (rows.first + i, sums.add(i * panels.row()));
                    for u in 0..units {
                        let more = carry(row);
                        if !more.is_null() {
                            *sums.add(u) += *more.add(u);
                        }
                        *to.add(row * p + col + u) = *sums.add(u);
                    }
                }
                return;
            }
            let time = r.time(r.steps - 1 - step);
            // A GRU's formula sees to what goes round the weight, as long as the sequence goes on.
            let by_cell = r.cell == RecurrentCell::Gru;
            for i in 0..rows.count {
                let (row, sums) = (rows.first + i, sums.add(i * panels.row()));
                let ended = self.ended(row, time);
                if !carry(row).is_null() && (ended || !by_cell) {
                    let dy = self.dy.as_ptr().add((time * n + row) * p + col);
                    self.collect(ended, dy, sums, carry(row), units);
                }
            }
            if !r.projected {
                return self.cells(step, rows, (col, units), operands, sums, true);
            }
            let to = self.out.get().add(r.grad_projected().start + time * n * p);
            for i in 0..rows.count {
                let (row, sums) = (rows.first + i, sums.add(i * panels.row()));
                let ended = self.ended(row, time);
                let dy = self.dy.as_ptr().add((time * n + row) * p + col);
                for u in 0..units {
                    let v = *dy.add(u) + *sums.add(u);
                    *to.add(row * p + col + u) = if ended { <T as hadal_core::math::Real>::ZERO } else { v };
                }
            }
            rows.pack(to.add(rows.first * p + col), p, col, units, p, operands.middle);
        }
    }
}

impl<T: Number> Pass<'_, T> {
    /// The formulas of a step for some units, and their result as operand of the next product.
    ///
    /// # Safety
    /// As for [`Steps::run`].
    unsafe fn cells(
        &self,
        step: usize,
        rows: Rows,
        (col, units): (usize, usize),
        operands: &Operands<T>,
        sums: *mut T,
        with_dy: bool,
    ) {
        let r = self.r;
        let (n, h, p) = (r.batch, r.hidden, r.state);
        let (gates, kept, out) = (r.cell.gates(), r.cell.kept(), r.cell.sums());
        let time = r.time(r.steps - 1 - step);
        let apart = self.weight.row();
        let from = self.kept.as_ptr();
        // SAFETY: as in `run`; what a cell does not have is not read.
        unsafe {
            for i in 0..rows.count {
                let row = rows.first + i;
                let (unit, place) = (row * h + col, time * n + row);
                let dsums = self.out.get().add(place * out * h + col);
                if self.ended(row, time) {
                    for q in 0..out {
                        std::slice::from_raw_parts_mut(dsums.add(q * h), units)
                            .fill(<T as hadal_core::math::Real>::ZERO);
                    }
                    continue;
                }
                let carry = match r.cell {
                    RecurrentCell::Gru => self.carry_h.get().add(unit),
                    RecurrentCell::Lstm => self.carry_c.get().add(unit),
                    _ => std::ptr::null_mut(),
                };
                let state = if gates == 1 { r.outputs() } else { r.previous() };
                let there = |there: bool, at: usize| if there { from.add(at) } else { std::ptr::null() };
                (self.cell)(&cells::Backward {
                    units,
                    gate: h,
                    sums: sums.add(i * apart),
                    dy: if with_dy { self.dy.as_ptr().add(place * p + col) } else { std::ptr::null() },
                    carry,
                    kept: there(kept > 0, r.gates().start + place * kept * h + col),
                    h: there(!r.cell.has_cell(), state.start + place * p + col),
                    c0: there(r.cell.has_cell(), r.previous_cells().start + place * h + col),
                    c: there(r.cell.has_cell(), r.next_cells().start + place * h + col),
                    dsums,
                });
            }
            if step + 1 < self.steps() {
                for gate in 0..gates {
                    // A GRU's third gate is reached through the state's part of it.
                    let sum = if gate == 2 && r.cell == RecurrentCell::Gru { 3 } else { gate };
                    let from = self.out.get().add(((time * n + rows.first) * out + sum) * h + col);
                    let next = operands.turns[(step + 1) % 2];
                    rows.pack(from, out * h, gate * h + col, units, gates * h, next);
                }
            }
        }
    }
}
