//! One matrix product: what it consists of, and which way it is computed.
//!
//! k is cut into blocks whose length depends on k alone. An element of C is summed block after block, and
//! within a block it is one chain of multiply-adds in the order of k. Everything else (panels, tasks, packing
//! or not, small or large) only decides where and when that happens, so it reaches no result: an element
//! depends on its row of A, its column of B and k.

use super::ahead::Ahead;
use super::real::{Real, Source};
use super::tables::Set;
use super::{RowMap, blocked, few, small};
use crate::threads::threads;
use std::ops::Range;

/// A strided matrix of which one dimension is k: `ptr[i * lane + p * step]`.
#[derive(Clone, Copy)]
pub(crate) struct Operand<S> {
    pub ptr: *const S,
    /// Step along m (for A) or n (for B).
    pub lane: isize,
    /// Step along k.
    pub step: isize,
}

/// What happens to finished elements: `C = relu(C + bias_n + bias_m)`, rounded, then `map`.
#[derive(Clone, Copy)]
pub(super) struct Tail<'a, S, T> {
    /// Added to each row, `n` values; or null.
    pub bias_n: *const T,
    /// Added to each column, `m` values; or null.
    pub bias_m: *const T,
    pub relu: bool,
    /// Called on pieces of finished rows: row, first column, values.
    pub map: Option<&'a RowMap<'a, S>>,
}

/// `C[m, n] (+)= A[m, k] B[k, n]`; C's rows are contiguous, `c_row` apart.
#[derive(Clone, Copy)]
pub(super) struct Product<'a, S, T: 'static> {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: Operand<S>,
    /// Not read where `ready` is there.
    pub b: Operand<S>,
    /// B packed beforehand.
    pub ready: Option<Ready<T>>,
    /// What is multiplied next.
    pub ahead: Ahead,
    pub c: *mut S,
    pub c_row: usize,
    pub accumulate: bool,
    pub tail: Tail<'a, S, T>,
}

/// A whole B in panels of two vectors, block of k after block of k.
#[derive(Clone, Copy)]
pub(super) struct Ready<T: 'static> {
    pub panels: *const T,
    pub set: Set<T>,
}

impl<T: Real> Ready<T> {
    /// Where the block of k that begins at step `p0` lies.
    pub fn block(&self, p0: usize, n: usize) -> *const T {
        self.panels.wrapping_add(p0 * n.next_multiple_of(self.set.ks.lanes))
    }
}

// SAFETY: a description of memory; the functions that use it say what must hold.
unsafe impl<S: Send + Sync, T: Send> Sync for Product<'_, S, T> {}

/// Multiply-adds below which a product is not worth sharing among threads (a few microseconds).
const PARALLEL_FROM: usize = 1 << 17;

/// The length of the blocks of k, counted in steps. Depends on k alone.
pub(super) fn k_block<T: Real>(steps: usize) -> usize {
    let blocks = steps.div_ceil(T::K_BLOCK).max(1);
    steps.div_ceil(blocks).next_multiple_of(4).max(1)
}

/// Runs a product, on several threads where `parallel` and the size say so.
///
/// # Safety
/// A and B are valid for reads at every index of the product, C for writes, the biases for reads;
/// C overlaps none of them.
pub(super) unsafe fn product<S: Source<T>, T: Real>(p: &Product<'_, S, T>, parallel: bool) {
    if p.m == 0 || p.n == 0 {
        return;
    }
    // SAFETY: the caller's promise, passed on.
    unsafe {
        if p.k == 0 {
            clear(p);
            finish_rows(p, 0, p.m, 0, p.n);
            return;
        }
        if small::run(p) {
            return;
        }
        let parallel = parallel && threads() > 1 && p.m * p.n * p.k >= PARALLEL_FROM;
        if !few::run(p, parallel) {
            blocked::run(p, parallel);
        }
    }
}

/// Zeros C unless it is added to.
unsafe fn clear<S: Source<T>, T: Real>(p: &Product<'_, S, T>) {
    if !p.accumulate {
        for i in 0..p.m {
            // SAFETY: row `i` of C has `n` elements.
            unsafe { std::slice::from_raw_parts_mut(p.c.add(i * p.c_row), p.n) }.fill(S::narrow(T::ZERO));
        }
    }
}

/// Applies the whole tail to a part of C.
///
/// # Safety
/// The part lies inside C and belongs to this task.
pub(super) unsafe fn finish_rows<S: Source<T>, T: Real>(
    p: &Product<'_, S, T>,
    row0: usize,
    rows: usize,
    col0: usize,
    cols: usize,
) {
    let adds = !p.tail.bias_m.is_null() || !p.tail.bias_n.is_null() || p.tail.relu;
    let rows = row0..row0 + rows;
    for i in if adds { rows.clone() } else { 0..0 } {
        // SAFETY: the caller's promise.
        unsafe {
            let c = std::slice::from_raw_parts_mut(p.c.add(i * p.c_row + col0), cols);
            for (j, v) in c.iter_mut().enumerate() {
                *v = S::narrow(biased(p, i, col0 + j, v.widen()));
            }
        }
    }
    // SAFETY: the caller's promise.
    unsafe { finish_map(p, rows, col0..col0 + cols) }
}

/// Rounds sums, which lie in rows of `n`, into a part of C, and applies the whole tail.
///
/// # Safety
/// As for [`finish_rows`]; `sums` is valid for the part.
pub(super) unsafe fn round_rows<S: Source<T>, T: Real>(
    p: &Product<'_, S, T>,
    sums: *const T,
    rows: Range<usize>,
    cols: Range<usize>,
) {
    for i in rows.clone() {
        // SAFETY: the caller's promise.
        unsafe {
            let c = std::slice::from_raw_parts_mut(p.c.add(i * p.c_row + cols.start), cols.len());
            let sums = std::slice::from_raw_parts(sums.add(i * p.n + cols.start), cols.len());
            for (j, (v, &sum)) in c.iter_mut().zip(sums).enumerate() {
                let sum = if p.accumulate { v.widen() + sum } else { sum };
                *v = S::narrow(biased(p, i, cols.start + j, sum));
            }
        }
    }
    // SAFETY: the caller's promise.
    unsafe { finish_map(p, rows, cols) }
}

/// A sum with its biases and activation.
///
/// # Safety
/// `i` and `j` are below `m` and `n`.
#[inline(always)]
unsafe fn biased<S, T: Real>(p: &Product<'_, S, T>, i: usize, j: usize, mut sum: T) -> T {
    // SAFETY: the biases have `m` and `n` values, or are null.
    unsafe {
        if !p.tail.bias_m.is_null() {
            sum += *p.tail.bias_m.add(i);
        }
        if !p.tail.bias_n.is_null() {
            sum += *p.tail.bias_n.add(j);
        }
    }
    if p.tail.relu && sum < T::ZERO { T::ZERO } else { sum }
}

/// Calls the tail's `map` on a part of C.
///
/// # Safety
/// The part lies inside C and belongs to this task.
pub(super) unsafe fn finish_map<S, T>(p: &Product<'_, S, T>, rows: Range<usize>, cols: Range<usize>) {
    if let Some(map) = p.tail.map {
        for i in rows {
            // SAFETY: the caller's promise.
            let row =
                unsafe { std::slice::from_raw_parts_mut(p.c.add(i * p.c_row + cols.start), cols.len()) };
            map(i, cols.start, row);
        }
    }
}

/// Pointers that tasks only read through.
#[derive(Clone, Copy)]
pub(crate) struct SharedPtr<P>(pub P);
// SAFETY: tasks read through these pointers what the caller keeps alive and nobody writes.
unsafe impl<P> Send for SharedPtr<P> {}
// SAFETY: as above.
unsafe impl<P> Sync for SharedPtr<P> {}
impl<P: Copy> SharedPtr<P> {
    pub fn get(&self) -> P {
        self.0
    }
}
