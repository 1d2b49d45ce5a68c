//! A program as an epilogue: run on pieces of a kernel's result as the kernel finishes them, while they
//! are in cache. A block function computes an element from that element alone, so the bits are those of
//! kernel and program one after the other.
//!
//! The result is an input in place of one of the program's outputs. Its memory is handed over with each
//! piece and reached through that alone, so the kernel's exclusive borrow holds. Workers are kept from
//! piece to piece, since pieces are as small as a row of a tile.

use super::exec::{Memory, Registers, Worker};
use super::load::At;
use super::plan::Plan;
use crate::scratch::Scratch;
use hadal_core::smallvec::SmallVec;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

/// A program ready for pieces of the memory of one of its outputs.
pub(crate) struct Pieces<'p> {
    plan: &'p Plan,
    memory: Memory,
    /// The output that the pieces are of.
    into: usize,
    /// Tells the workers that threads keep apart; never used twice.
    key: u64,
}

/// A thread's worker, for the program with this key.
struct Kept {
    key: u64,
    regs: Registers,
    scratch: Option<Scratch<u64>>,
    memory: Memory,
}

static KEYS: AtomicU64 = AtomicU64::new(1);

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::new(Kept {
        key: 0,
        regs: Registers::new(),
        scratch: None,
        memory: Memory { operands: SmallVec::new(), outputs: SmallVec::new() },
    });
}

impl<'p> Pieces<'p> {
    /// A plan without reductions, whose operands in place all lie in output `into`.
    pub(super) fn new(plan: &'p Plan, memory: Memory, into: usize) -> Pieces<'p> {
        Pieces { plan, memory, into, key: KEYS.fetch_add(1, Ordering::Relaxed) }
    }

    /// Runs the program on elements `at` and on of its space, which `values` are.
    ///
    /// # Safety
    /// The program's arguments are still borrowed; the elements are inside its space, of the size of the
    /// output's, and nobody else runs it on any of them.
    pub(crate) unsafe fn run<T>(&self, at: usize, values: &mut [T]) {
        if values.is_empty() {
            return;
        }
        KEPT.with_borrow_mut(|kept| {
            let Kept { key, regs, scratch, memory } = kept;
            let fresh = *key != self.key;
            if fresh {
                // The old memory goes first, to be used again.
                *scratch = None;
                *scratch = Some(Scratch::new(self.plan.scratch / 8));
                memory.clone_from(&self.memory);
                *key = self.key;
            }
            let Some(scratch) = scratch else { return };
            let scratch = scratch.slice().as_mut_ptr().cast::<u8>();
            // Position 0 of the space, if the piece began there.
            let base = values.as_mut_ptr().cast::<u8>().wrapping_sub(at * size_of::<T>());
            memory.outputs[self.into] = base;
            for (operand, place) in self.plan.operands.iter().zip(&mut memory.operands) {
                if operand.in_place.is_some() {
                    *place = At { base, end: base };
                }
            }
            // SAFETY: the scratch is what the plan asks for and this thread's alone; the elements are
            // inside the space and nobody else's by the caller's promise, and `base` is used at their
            // positions only. What a worker prepares is never in place.
            unsafe {
                if fresh {
                    Worker::new(self.plan, memory, scratch, regs);
                }
                let mut worker = Worker::resumed(self.plan, memory, scratch, regs);
                worker.range(at, at + values.len());
                worker.done();
            }
        });
    }
}
