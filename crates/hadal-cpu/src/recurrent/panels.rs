//! The product of a step: states packed once a step, weights packed once a sequence.
//!
//! A weight is cut into blocks of [`Panels::unit`] units, and a block holds those columns of every gate
//! side by side: after the product of one block all that these units' formulas need lies in the first-level
//! cache, and is used there.
//!
//! Each sum is one chain of multiply-adds in the order of k, cut into runs whose length depends on
//! nothing: neither blocks, nor rows, nor threads reach a result.

use crate::gemm::kernel::Tile;
use crate::gemm::real::Real;
use crate::gemm::tables::Kernels;
use crate::threads::{SendPtr, parallel_for};
use std::marker::PhantomData;

/// Steps of k in a run, after which sums go to memory: 16 KiB of a weight's panel of two AVX-512 vectors
/// stay in the first-level cache while all rows pass.
const RUN: usize = 128;

/// The matrix `b[k][gate][unit] = src[gate·group + unit·lane + k·step]`.
#[derive(Clone, Copy)]
pub(super) struct Weight<'a, T> {
    pub src: &'a [T],
    pub k: usize,
    pub groups: usize,
    pub cols: usize,
    pub group: usize,
    pub lane: usize,
    pub step: usize,
}

/// A weight, packed into memory that outlives it.
pub(super) struct Panels<'m, T: 'static> {
    at: SendPtr<T>,
    ks: &'static Kernels<T>,
    k: usize,
    groups: usize,
    cols: usize,
    /// Units of a block.
    pub unit: usize,
    memory: PhantomData<&'m mut [T]>,
}

/// Some of the batch's rows, and how they are cut into tiles.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    pub first: usize,
    pub count: usize,
    /// Rows of a tile; the last may have fewer.
    tile: usize,
}

impl Rows {
    pub fn new<T: Real>(first: usize, count: usize) -> Rows {
        let most = T::kernels().max_mr[1];
        Rows { first, count, tile: count.div_ceil(count.div_ceil(most).max(1)).max(1) }
    }
    /// First row within these, and number of rows, of each tile.
    fn tiles(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.count).step_by(self.tile).map(move |i| (i, self.tile.min(self.count - i)))
    }
    /// Packs columns `col..col + units` of rows of `k` values into the left operand: step by step the rows
    /// of a tile, tile after tile.
    ///
    /// # Safety
    /// `src` is the first of these rows at column `col`, valid for `units` columns; rows are `row` apart.
    /// `dst` has room for `count·k` values.
    pub unsafe fn pack<T: Real>(
        self,
        src: *const T,
        row: usize,
        col: usize,
        units: usize,
        k: usize,
        dst: *mut T,
    ) {
        let ks = T::kernels();
        for (i, n) in self.tiles() {
            // SAFETY: the tile lies inside what the caller vouches for.
            unsafe { (ks.pack)(src.add(i * row), row as isize, 1, n, n, units, dst.add(i * k + col * n)) }
        }
    }
}

impl<T: Real> Weight<'_, T> {
    /// Values its panels take.
    pub fn packed_len(&self) -> usize {
        self.cols.next_multiple_of(2 * T::kernels().lanes) * self.groups * self.k
    }
}

impl<'m, T: Real> Panels<'m, T> {
    /// Packs a weight, whose slice must be large enough (checked by the caller), into memory of
    /// [`Weight::packed_len`] values.
    pub fn new(w: &Weight<'_, T>, memory: &'m mut [T]) -> Self {
        let ks = T::kernels();
        debug_assert!(memory.len() >= w.packed_len());
        let at = SendPtr::new(memory.as_mut_ptr());
        let p = Panels {
            at,
            ks,
            k: w.k,
            groups: w.groups,
            cols: w.cols,
            unit: 2 * ks.lanes,
            memory: PhantomData,
        };
        let tasks = p.blocks() * w.groups;
        // By one thread where that is quicker than to ask another.
        let each = ((1 << 14) / (p.unit * w.k).max(1)).max(1);
        parallel_for(tasks.div_ceil(each), &|task| {
            for i in task * each..((task + 1) * each).min(tasks) {
                let (block, gate) = (i / w.groups, i % w.groups);
                let (first, units) = p.block(block);
                let src = &w.src[gate * w.group + first * w.lane..];
                let (lane, step) = (w.lane as isize, w.step as isize);
                // SAFETY: columns `first..first + units` of the gate lie inside the weight, the panel
                // inside the memory, and no other task writes it.
                unsafe {
                    (ks.pack)(src.as_ptr(), lane, step, units, p.width(units), w.k, p.panel(block, gate));
                }
            }
        });
        p
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.cols.div_ceil(self.unit)
    }
    /// First unit of a block, and how many it has.
    pub fn block(&self, block: usize) -> (usize, usize) {
        let first = block * self.unit;
        (first, self.unit.min(self.cols - first))
    }
    /// Values of a row of sums.
    pub fn row(&self) -> usize {
        self.groups * self.unit
    }
    fn width(&self, units: usize) -> usize {
        units.next_multiple_of(self.ks.lanes)
    }
    /// Where a gate of a block begins.
    fn panel(&self, block: usize, gate: usize) -> *mut T {
        // Within the buffer: `blocks·groups` panels of at most `unit·k` values.
        self.at.get().wrapping_add((block * self.groups + gate) * self.unit * self.k)
    }

    /// The sums of a block for rows packed by [`Rows::pack`]: row after row, gate after gate, `unit` places
    /// each.
    ///
    /// # Safety
    /// `a` holds the rows, `sums` has room for `rows.count · row()` values.
    pub unsafe fn multiply(&self, a: *const T, rows: Rows, block: usize, sums: *mut T) {
        let (_, units) = self.block(block);
        let width = self.width(units);
        let mut t = Tile::<T>::empty();
        t.b_step = width as isize;
        t.c_row = self.row();
        t.cols = width;
        let kernels = &self.ks.packed[width / self.ks.lanes - 1];
        for gate in 0..self.groups {
            for k in (0..self.k).step_by(RUN) {
                t.k = RUN.min(self.k - k);
                t.accumulate = k > 0;
                // SAFETY: all places lie inside the panel, the packed rows and the sums.
                unsafe {
                    t.b = self.panel(block, gate).add(k * width);
                    for (i, n) in rows.tiles() {
                        t.a = a.add(i * self.k + k * n);
                        t.c = sums.add(i * self.row() + gate * self.unit);
                        kernels[n - 1](&t);
                    }
                }
            }
        }
    }
}
