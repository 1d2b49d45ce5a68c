//! Tiles: products by micro-kernels, and what of the mask falls on a tile.

use super::problem::{Float, Mask, Matrices, Problem};
use super::{KEYS, QUERIES};
use crate::gemm::kernel::{MAX_MR, Tile};
use crate::gemm::tables::Kernels;
use crate::gemm::{Operand, pack_panel};
use crate::scratch::Scratch;

/// The kernels in use. Products take panels of two vectors.
pub(super) struct Products<T: 'static> {
    ks: &'static Kernels<T>,
    functions: &'static super::lanes::Functions<T>,
}

impl<T> Clone for Products<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Products<T> {}

/// Some queries that one tile takes: `lanes` of them from `col` on, whole vectors, at most two.
#[derive(Clone, Copy)]
pub(super) struct Panel {
    pub col: usize,
    pub lanes: usize,
}

impl<T: Float> Products<T> {
    pub fn new() -> Self {
        Products { ks: T::kernels(), functions: T::functions() }
    }
    pub fn functions(&self) -> &'static super::lanes::Functions<T> {
        self.functions
    }
    pub fn kernels(&self) -> &'static Kernels<T> {
        self.ks
    }
    /// A size rounded up to whole vectors.
    pub fn padded(&self, size: usize) -> usize {
        size.next_multiple_of(self.ks.lanes)
    }
    /// The panels of so many queries.
    pub fn panels(&self, queries: usize) -> impl Iterator<Item = Panel> + use<T> {
        let (all, width) = (self.padded(queries), 2 * self.ks.lanes);
        (0..all).step_by(width).map(move |col| Panel { col, lanes: width.min(all - col) })
    }

    /// Queries (or their cotangents) from the first of `rows` on as panels of their transpose:
    /// `[d, lanes]` one behind the other, zeros behind the last query.
    ///
    /// # Safety
    /// `rows` is valid for so many rows of `d`; `to` has room for `d` times the padded queries.
    pub unsafe fn pack(&self, rows: Operand<T>, queries: usize, d: usize, to: *mut T) {
        for panel in self.panels(queries) {
            let lanes = panel.lanes.min(queries - panel.col);
            // SAFETY: the panel lies behind the ones before it.
            unsafe {
                pack_panel(self.ks, rows, lanes, panel.col, panel.lanes, (0, d), to.add(panel.col * d));
            }
        }
    }

    /// Rows copied one behind the other, `width` apart, zeros between.
    ///
    /// # Safety
    /// `rows` is valid for so many rows of `d`; `to` has room for `count` of `width`.
    pub unsafe fn copy_rows(&self, rows: Operand<T>, count: usize, d: usize, width: usize, to: *mut T) {
        // SAFETY: packing with the elements of a row as lanes.
        unsafe { pack_panel(self.ks, transposed(rows), d, 0, width, (0, count), to) }
    }

    /// `C (+)= A B`: A strided, of `rows` by `k`; B with rows `b_row` apart, valid for whole vectors.
    ///
    /// # Safety
    /// Pointers are valid for that, and C for `rows` of `cols`.
    #[allow(clippy::too_many_arguments)] // three operands
    pub unsafe fn product(
        &self,
        (a, rows, k): (Operand<T>, usize, usize),
        (b, b_row): (*const T, usize),
        (c, c_row, cols): (*mut T, usize, usize),
        accumulate: bool,
    ) {
        let (lanes, width) = (self.ks.lanes, 2 * self.ks.lanes);
        let mut offsets = [0isize; MAX_MR];
        for (i, o) in offsets.iter_mut().enumerate() {
            *o = i as isize * a.lane;
        }
        let mut t = Tile::<T>::empty();
        (t.k, t.c_row, t.accumulate) = (k, c_row, accumulate);
        (t.a_off, t.a_step, t.b_step) = (offsets.as_ptr(), a.step, b_row as isize);
        for col in (0..cols).step_by(width) {
            t.cols = width.min(cols - col);
            let vectors = t.cols.div_ceil(lanes);
            let panels = rows.div_ceil(self.ks.max_mr[vectors - 1]);
            let each = rows.div_ceil(panels.max(1)).max(1);
            for row in (0..rows).step_by(each) {
                let count = each.min(rows - row);
                // SAFETY: the part of the operands that this tile wants lies inside of them.
                unsafe {
                    t.a = a.ptr.offset(row as isize * a.lane);
                    t.b = b.add(col);
                    t.c = c.add(row * c_row + col);
                    self.ks.strided[vectors - 1][count - 1](&t);
                }
            }
        }
    }
}

/// Room for the keys or values of a tile. Rows that fall on the same cache sets, as those of 4096 bytes
/// do, would throw each other out at every step: they are copied once for the tile. (Other rows that lie
/// apart are read where they are: copying them was never quicker, measured.)
pub(super) struct TileRows<T: Float>(Scratch<T>);

impl<T: Float> TileRows<T> {
    /// For matrices with rows of so many elements.
    pub fn new(of: &Matrices<'_, T>, width: usize) -> Self {
        let rows = of.at(0, 0, 0, 0);
        TileRows(Scratch::new(if close(&rows) { 0 } else { KEYS * width }))
    }

    /// Where `count` rows of a tile are to be read, and whose rows are lanes.
    ///
    /// # Safety
    /// `rows` is valid for so many rows of `width`, and is one of the matrices given to `new`.
    pub unsafe fn of(
        &mut self,
        products: &Products<T>,
        rows: Operand<T>,
        count: usize,
        width: usize,
    ) -> Operand<T> {
        if close(&rows) {
            return rows;
        }
        let to = self.0.slice().as_mut_ptr();
        // SAFETY: the caller's promise; the scratch has room for `KEYS` rows.
        unsafe { products.copy_rows(rows, count, width, width, to) };
        Operand { ptr: to, lane: width as isize, step: 1 }
    }
}

/// Whether rows are read as they lie.
fn close<T>(rows: &Operand<T>) -> bool {
    let bytes = rows.lane.unsigned_abs() * size_of::<T>();
    rows.step == 1 && (bytes == 0 || !bytes.is_multiple_of(4096))
}

/// The same with columns as lanes.
pub(super) fn transposed<T>(rows: Operand<T>) -> Operand<T> {
    Operand { ptr: rows.ptr, lane: rows.step, step: rows.lane }
}

/// One tile's place: batch index, head, first query and how many, first key.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub b: usize,
    pub h: usize,
    pub query: usize,
    pub queries: usize,
    pub key: usize,
}

/// Room for the part of a mask that falls on one panel of a tile.
pub(super) struct MaskTile<T: Float> {
    rows: Scratch<T>,
    packed: Scratch<T>,
}

impl<T: Float> MaskTile<T> {
    pub fn new(p: &Problem<'_, T>) -> Self {
        let len = if matches!(p.mask, Mask::None) { 0 } else { KEYS * QUERIES };
        let bools = if matches!(p.mask, Mask::Bool(_)) { len } else { 0 };
        MaskTile { rows: Scratch::new(bools), packed: Scratch::new(len) }
    }

    /// Hides the scores of keys that the queries of a panel must not see, and adds what is to be added.
    ///
    /// # Safety
    /// `s` is the panel's first score in a tile of rows `QUERIES` apart, for `keys` keys; the place lies
    /// inside the problem.
    pub unsafe fn apply(
        &mut self,
        p: &Problem<'_, T>,
        products: &Products<T>,
        at: Place,
        panel: Panel,
        keys: usize,
        s: *mut T,
    ) {
        let (query, queries) = (at.query + panel.col, panel.lanes.min(at.queries - panel.col));
        let only_hides = matches!(p.mask, Mask::Bool(_));
        let added = match &p.mask {
            Mask::None => None,
            Mask::Added(m) => Some(m.at(at.b, at.h, query, at.key)),
            Mask::Bool(m) => {
                let from = m.at(at.b, at.h, query, at.key);
                let rows = self.rows.slice();
                let distinct = if from.lane == 0 { 1 } else { queries };
                for (i, row) in rows.chunks_exact_mut(keys).take(distinct).enumerate() {
                    for (j, to) in row.iter_mut().enumerate() {
                        let place = i as isize * from.lane + j as isize * from.step;
                        // SAFETY: the mask has these queries and keys.
                        let seen = unsafe { *from.ptr.offset(place) != 0 };
                        *to = if seen { T::NONE } else { T::LOWEST_SCORE };
                    }
                }
                let lane = if from.lane == 0 { 0 } else { keys as isize };
                Some(Operand { ptr: rows.as_ptr(), lane, step: 1 })
            }
        };
        if let Some(added) = added {
            let packed = self.packed.slice().as_mut_ptr();
            // SAFETY: the packed mask has `keys` rows of the panel's lanes.
            unsafe {
                pack_panel(products.ks, added, queries, 0, panel.lanes, (0, keys), packed);
                (products.functions.hide)(s, QUERIES, keys, panel.lanes, packed, only_hides);
            }
        }
        if p.causal {
            // Key `key + j` is seen from query `key + j` on.
            for j in (query + 1).saturating_sub(at.key)..keys {
                let before = (at.key + j - query).min(panel.lanes);
                // SAFETY: row `j` of the panel.
                unsafe { std::slice::from_raw_parts_mut(s.add(j * QUERIES), before) }.fill(T::LOWEST_SCORE);
            }
        }
    }
}
