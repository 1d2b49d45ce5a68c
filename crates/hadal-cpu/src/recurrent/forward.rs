//! The forward pass of a sequence.

use super::Number;
use super::cells::{self, ForwardFn};
use super::drive::{Operands, Steps, drive};
use super::panels::{Panels, Rows, Weight};
use crate::scratch::Scratch;
use crate::threads::SendPtr;
use hadal_core::ops::Recurrence;

/// Inputs, of the lengths that the recurrence says.
pub(super) struct Inputs<'a, T> {
    pub x: &'a [T],
    pub weight: &'a [T],
    pub bias: Option<&'a [T]>,
    pub h0: Option<&'a [T]>,
    pub c0: Option<&'a [T]>,
    pub projection: Option<&'a [T]>,
    pub lengths: Option<&'a [i64]>,
}

struct Pass<'a, T: 'static> {
    r: &'a Recurrence,
    x: &'a [T],
    /// One vector for each sum; zeros where there is no bias.
    bias: &'a [T],
    lengths: Option<&'a [i64]>,
    weight: Panels<'a, T>,
    projection: Option<Panels<'a, T>>,
    cell: ForwardFn<T>,
    out: SendPtr<T>,
    /// Hidden units before the projection, and how far those of steps are apart.
    hidden: (SendPtr<T>, usize),
}

/// Runs the sequence; `out` has `r.len()` elements.
pub(super) fn run<T: Number>(r: &Recurrence, a: &Inputs<'_, T>, out: &mut [T]) {
    let zero = <T as hadal_core::math::Real>::ZERO;
    let (n, h, p, g) = (r.batch, r.hidden, r.state, r.cell.gates());
    // The initial state and cell stand before the first step's place.
    let at = if r.reverse { r.steps } else { 0 };
    let fill = |to: &mut [T], from: Option<&[T]>| match from {
        Some(v) => to.copy_from_slice(v),
        None => to.fill(zero),
    };
    fill(&mut out[r.states()][at * n * p..(at + 1) * n * p], a.h0);
    let slot = if r.keep { at * r.cell_len() } else { 0 };
    fill(&mut out[r.cells()][slot..slot + r.cell_len()], a.c0);

    let weight = Weight { src: a.weight, k: p, groups: g, cols: h, group: h * p, lane: p, step: 1 };
    let mut memory = Scratch::<T>::new(weight.packed_len());
    let weight = Panels::new(&weight, memory.slice());
    let projection =
        a.projection.map(|src| Weight { src, k: h, groups: 1, cols: p, group: 0, lane: h, step: 1 });
    let mut memory = Scratch::<T>::new(projection.as_ref().map_or(0, Weight::packed_len));
    let projection = projection.map(|w| Panels::new(&w, memory.slice()));
    let mut no_bias = Scratch::<T>::new(if a.bias.is_some() { 0 } else { r.cell.sums() * h });
    let bias = match a.bias {
        Some(b) => b,
        None => {
            no_bias.slice().fill(zero);
            no_bias.slice()
        }
    };
    let mut unkept = Scratch::<T>::new(if r.projected && !r.keep { n * h } else { 0 });
    let shared = SendPtr::new(out.as_mut_ptr());
    let hidden = match r.projected && !r.keep {
        true => (SendPtr::new(unkept.slice().as_mut_ptr()), 0),
        false => (SendPtr::new(shared.get().wrapping_add(r.unprojected().start)), n * h),
    };
    let cell = cells::forward_fn::<T>(r.cell);
    drive(&Pass { r, x: a.x, bias, lengths: a.lengths, weight, projection, cell, out: shared, hidden }, n);
}

impl<T: Number> Pass<'_, T> {
    /// Where the state of a place begins (places are one more than steps).
    unsafe fn state(&self, place: usize) -> *mut T {
        // SAFETY: the place is one of the sequence's.
        unsafe { self.out.get().add(place * self.r.state_len()) }
    }
    unsafe fn cell_at(&self, place: usize) -> *mut T {
        let place = if self.r.keep { place } else { 0 };
        // SAFETY: as above; without cells the section is empty and the pointer not used.
        unsafe { self.out.get().add(self.r.cells().start + place * self.r.cell_len()) }
    }
    fn ended(&self, row: usize, time: usize) -> bool {
        self.lengths.is_some_and(|l| time as i64 >= l[row])
    }
}

impl<T: Number> Steps<T> for Pass<'_, T> {
    fn steps(&self) -> usize {
        self.r.steps
    }
    fn blocks(&self, _: usize) -> [usize; 2] {
        [self.weight.blocks(), self.projection.as_ref().map_or(0, Panels::blocks)]
    }
    fn operands(&self) -> [usize; 2] {
        [self.r.state, if self.r.projected { self.r.hidden } else { 0 }]
    }
    fn sums(&self) -> usize {
        self.weight.row()
    }

    unsafe fn prepare(&self, rows: Rows, operands: &Operands<T>) {
        let (r, p) = (self.r, self.r.state);
        if r.initial {
            // SAFETY: the initial state has a row for every row of the batch.
            unsafe {
                let h0 = self.state(if r.reverse { r.steps } else { 0 });
                rows.pack(h0.add(rows.first * p), p, 0, p, p, operands.turns[0]);
            }
        }
    }

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
        let (n, h, p, kept) = (r.batch, r.hidden, r.state, r.cell.kept());
        let time = r.time(step);
        let (before, after) = if r.reverse { (time + 1, time) } else { (time, time + 1) };
        // SAFETY: rows, units and places stay inside the sections; the driver's promise says that only
        // this call writes these rows' units of this step.
        unsafe {
            let (h0, h1) = (self.state(before), self.state(after));
            let next = operands.turns[(step + 1) % 2];
            if product == 1 {
                let Some(panels) = &self.projection else { return };
                let (col, units) = panels.block(block);
                panels.multiply(operands.middle, rows, block, sums);
                for i in 0..rows.count {
                    let at = (rows.first + i) * p + col;
                    let from = match self.ended(rows.first + i, time) {
                        true => h0.add(at).cast_const(),
                        false => sums.add(i * panels.row()).cast_const(),
                    };
                    std::ptr::copy_nonoverlapping(from, h1.add(at), units);
                }
                if step + 1 < r.steps {
                    rows.pack(h1.add(rows.first * p + col), p, col, units, p, next);
                }
                return;
            }
            let panels = &self.weight;
            let (col, units) = panels.block(block);
            if step > 0 || r.initial {
                panels.multiply(operands.turns[step % 2], rows, block, sums);
            } else {
                std::slice::from_raw_parts_mut(sums, rows.count * panels.row())
                    .fill(<T as hadal_core::math::Real>::ZERO);
            }
            let (c0, c1) = (self.cell_at(before), self.cell_at(after));
            let hidden = match r.projected {
                true => self.hidden.0.get().add(time * self.hidden.1),
                false => h1,
            };
            let gates = self.out.get().add(r.gates().start);
            for i in 0..rows.count {
                let row = rows.first + i;
                let (unit, place) = (row * h + col, time * n + row);
                if self.ended(row, time) {
                    let zeros = |at: *mut T| {
                        std::slice::from_raw_parts_mut(at, units).fill(<T as hadal_core::math::Real>::ZERO)
                    };
                    if r.keep {
                        (0..kept).for_each(|q| zeros(gates.add((place * kept + q) * h + col)));
                    }
                    if r.projected {
                        zeros(hidden.add(unit));
                    } else {
                        std::ptr::copy_nonoverlapping(h0.add(unit), hidden.add(unit), units);
                    }
                    if r.cell.has_cell() && r.keep {
                        std::ptr::copy_nonoverlapping(c0.add(unit), c1.add(unit), units);
                    }
                    continue;
                }
                let there = |section: *mut T, at: usize, there: bool| match there {
                    true => section.add(at),
                    false => std::ptr::null_mut(),
                };
                (self.cell)(&cells::Forward {
                    units,
                    gate: h,
                    sum_gate: panels.unit,
                    sums: sums.add(i * panels.row()),
                    x: self.x.as_ptr().add(place * r.cell.gates() * h + col),
                    bias: self.bias.as_ptr().add(col),
                    h0: there(h0, unit, !r.projected).cast_const(),
                    c0: there(c0, unit, r.cell.has_cell()).cast_const(),
                    h: hidden.add(unit),
                    c: there(c1, unit, r.cell.has_cell()),
                    kept: there(gates, place * kept * h + col, r.keep && kept > 0),
                });
            }
            let from = hidden.add(rows.first * h + col);
            if r.projected {
                rows.pack(from, h, col, units, h, operands.middle);
            } else if step + 1 < r.steps {
                rows.pack(from, h, col, units, h, next);
            }
        }
    }
}
