//! The order of the work: all steps of some rows by one thread, or each step by all threads.
//!
//! Rows of the batch do not depend on each other. Where there are enough of them, each thread takes its own
//! through all steps, and threads never wait for each other. Few rows share each step: its blocks of units
//! are tasks. Which of the two it is reaches no result.

use super::Number;
use super::panels::Rows;
use crate::scratch::Scratch;
use crate::threads::{parallel_for, threads};

/// Rows of a thread from which a thread is best left alone: with fewer, the weight is read too often for
/// too little arithmetic.
const ROWS_ALONE: usize = 8;
/// Most rows that go through the steps together: their sums of a block stay in the first-level cache.
const ROWS_TOGETHER: usize = 48;

/// Memory of some rows: two operands of the product of a step, of which one is read while the other is
/// written, and one of a second product.
#[derive(Clone, Copy)]
pub(super) struct Operands<T> {
    pub turns: [*mut T; 2],
    pub middle: *mut T,
}
// SAFETY: pointers into memory that the driver keeps alive; who writes where is said at `Steps::run`.
unsafe impl<T: Send> Send for Operands<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Operands<T> {}

/// A computation step by step.
pub(super) trait Steps<T>: Sync {
    /// Number of steps.
    fn steps(&self) -> usize;
    /// Blocks of the products of a step, one after the other.
    fn blocks(&self, step: usize) -> [usize; 2];
    /// Values of a row in [`Operands::turns`] and [`Operands::middle`].
    fn operands(&self) -> [usize; 2];
    /// Values of a row of sums.
    fn sums(&self) -> usize;
    /// What comes before the first step.
    ///
    /// # Safety
    /// The operands are those of these rows, and only this call uses them.
    unsafe fn prepare(&self, rows: Rows, operands: &Operands<T>);
    /// One block of one product of a step. Blocks before it have run; other blocks of the same product may
    /// run at the same time.
    ///
    /// # Safety
    /// The operands are those of these rows; no other call has the same rows, step, product and block;
    /// `sums` has room for the rows and is this call's own.
    unsafe fn run(
        &self,
        step: usize,
        product: usize,
        block: usize,
        rows: Rows,
        operands: &Operands<T>,
        sums: *mut T,
    );
}

/// Runs all steps for all rows.
pub(super) fn drive<T: Number>(s: &impl Steps<T>, batch: usize) {
    if batch == 0 {
        return;
    }
    let [turn, middle] = s.operands();
    let operands = |rows: usize, memory: &mut [T]| {
        let (a, rest) = memory.split_at_mut(rows * turn);
        let (b, c) = rest.split_at_mut(rows * turn);
        Operands { turns: [a.as_mut_ptr(), b.as_mut_ptr()], middle: c.as_mut_ptr() }
    };
    let n = threads();
    if n == 1 || batch >= ROWS_ALONE * n {
        let chunks = n * batch.div_ceil(ROWS_TOGETHER * n);
        let each = batch.div_ceil(chunks);
        parallel_for(batch.div_ceil(each), &|task| {
            let first = task * each;
            let rows = Rows::new::<T>(first, each.min(batch - first));
            let mut memory = Scratch::<T>::new(rows.count * (2 * turn + middle));
            let mut sums = Scratch::<T>::new(rows.count * s.sums());
            let operands = operands(rows.count, memory.slice());
            let sums = sums.slice().as_mut_ptr();
            // SAFETY: the memory is these rows', which are this task's; everything runs in order.
            unsafe {
                s.prepare(rows, &operands);
                for step in 0..s.steps() {
                    for (product, blocks) in s.blocks(step).into_iter().enumerate() {
                        (0..blocks).for_each(|block| s.run(step, product, block, rows, &operands, sums));
                    }
                }
            }
        });
        return;
    }
    let rows = Rows::new::<T>(0, batch);
    let mut memory = Scratch::<T>::new(batch * (2 * turn + middle));
    let operands = operands(batch, memory.slice());
    // SAFETY: nothing else runs yet.
    unsafe { s.prepare(rows, &operands) };
    for step in 0..s.steps() {
        for (product, blocks) in s.blocks(step).into_iter().enumerate() {
            parallel_for(blocks, &|block| {
                let mut sums = Scratch::<T>::new(batch * s.sums());
                // SAFETY: each block is run once, after all blocks before it; sums are the task's own.
                unsafe { s.run(step, product, block, rows, &operands, sums.slice().as_mut_ptr()) }
            });
        }
    }
}
