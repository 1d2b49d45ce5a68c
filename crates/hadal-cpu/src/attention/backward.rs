//! The backward pass: a task is some blocks of queries of the heads that share keys, to which the keys
//! pass tile by tile. Five products for each tile: the scores again, the cotangents of probabilities,
//! and what they add to the gradients of values, keys and queries.

use super::problem::{Float, Problem, Saved, Sizes};
use super::tile::{MaskTile, Panel, Place, Products, TileRows, transposed};
use super::{KEYS, QUERIES, tasks};
use crate::args::temporary;
use crate::chunks::for_ranges;
use crate::gemm::Operand;
use crate::scratch::Scratch;
use crate::threads::SendPtr;
use hadal_core::Result;

/// Tasks that are enough for any machine: with fewer heads than this their queries are cut too.
const TASKS: usize = 32;

/// Gradients by queries, keys and values, in the orders `[b, n, h, d]`, `[b, m, g, d]`, `[b, m, g, e]`.
pub(super) fn run<T: Float>(
    op: &'static str,
    p: &Problem<'_, T>,
    saved: &Saved<'_, T>,
    dq: &mut [T],
    dk: &mut [T],
    dv: &mut [T],
) -> Result<()> {
    let Sizes { b, h, g, n, m, d, e } = p.sizes;
    let heads = b * g;
    let blocks = h / g * n.div_ceil(QUERIES);
    // How many tasks share a head's keys: each then has sums of its own.
    let parts = TASKS.div_ceil(heads).min(blocks.div_ceil(2)).max(1);
    let mut sums = temporary::<T>(op, if parts > 1 { heads * parts * m * (d + e) } else { 0 })?;
    let sums = sums.as_mut_slice::<T>();
    let whole = [SendPtr::new(dk.as_mut_ptr()), SendPtr::new(dv.as_mut_ptr()), SendPtr::new(dq.as_mut_ptr())];
    let shares = SendPtr::new(sums.as_mut_ptr());
    let products = Products::new();
    tasks(heads * parts, p.work(), |task| {
        let (head, part) = (task / parts, task % parts);
        let (i, j) = (head / g, head % g);
        // SAFETY: rows of this head, or a share of its own.
        let (keys, values) = unsafe {
            match parts {
                1 => (
                    Rows { at: whole[0].get().add((i * m * g + j) * d), row: g * d },
                    Rows { at: whole[1].get().add((i * m * g + j) * e), row: g * e },
                ),
                _ => {
                    let share = shares.get().add(task * m * (d + e));
                    (Rows { at: share, row: d }, Rows { at: share.add(m * d), row: e })
                }
            }
        };
        let blocks = (part..blocks).step_by(parts);
        // SAFETY: keys and values as above; the rows of these blocks of queries are this task's alone.
        unsafe { share(p, saved, products, (i, j), blocks, [keys, values], whole[2]) };
    });
    if parts > 1 {
        for (rows, width, skip) in [(&mut *dk, d, 0), (&mut *dv, e, m * d)] {
            join(sums, rows, [g, m, width], parts, m * (d + e), skip);
        }
    }
    Ok(())
}

/// Adds up the shares of each head, in order.
fn join<T: Float>(
    sums: &[T],
    to: &mut [T],
    [g, m, width]: [usize; 3],
    parts: usize,
    share: usize,
    skip: usize,
) {
    let rows = to.len() / width;
    let to = SendPtr::new(to.as_mut_ptr());
    for_ranges(rows, (1 << 13) / width, |range| {
        for row in range {
            let (b, key, head) = (row / (m * g), row / g % m, row % g);
            // SAFETY: row `row` belongs to this task.
            let to = unsafe { to.slice(row * width, width) };
            for part in 0..parts {
                let from = ((b * g + head) * parts + part) * share + skip + key * width;
                let from = &sums[from..from + width];
                match part {
                    0 => to.copy_from_slice(from),
                    _ => to.iter_mut().zip(from).for_each(|(t, &v)| *t += v),
                }
            }
        }
    });
}

/// Where the rows of a gradient lie.
#[derive(Clone, Copy)]
struct Rows<T> {
    at: *mut T,
    row: usize,
}

/// What a block of queries brings along: the operands of its products.
pub(super) struct Block<T: Float> {
    /// Scaled queries, and cotangents: transposed panels.
    queries: Scratch<T>,
    cotangents: Scratch<T>,
    /// The same in rows of whole vectors.
    query_rows: Scratch<T>,
    cotangent_rows: Scratch<T>,
    /// Logarithms of sums (+∞ where there is nothing to see), and `Σ dy·y`.
    lse: [T; QUERIES],
    delta: [T; QUERIES],
    mask: MaskTile<T>,
    key_rows: TileRows<T>,
    value_rows: TileRows<T>,
    /// Probabilities of a tile.
    pub p: Scratch<T>,
    /// Cotangents of its scores.
    pub ds: Scratch<T>,
}

impl<T: Float> Block<T> {
    pub fn new(p: &Problem<'_, T>, products: &Products<T>) -> Self {
        let Sizes { d, e, .. } = p.sizes;
        Block {
            queries: Scratch::new(d * QUERIES),
            cotangents: Scratch::new(e * QUERIES),
            query_rows: Scratch::new(products.padded(d) * QUERIES),
            cotangent_rows: Scratch::new(products.padded(e) * QUERIES),
            lse: [T::NONE; QUERIES],
            delta: [T::NONE; QUERIES],
            mask: MaskTile::new(p),
            key_rows: TileRows::new(&p.k, d),
            value_rows: TileRows::new(&p.v, e),
            p: Scratch::new(KEYS * QUERIES),
            ds: Scratch::new(KEYS * QUERIES),
        }
    }

    /// Gets ready for the queries of a place.
    ///
    /// # Safety
    /// The place lies inside the problem.
    pub unsafe fn enter(
        &mut self,
        p: &Problem<'_, T>,
        saved: &Saved<'_, T>,
        products: &Products<T>,
        at: Place,
    ) {
        let Sizes { h, n, d, e, .. } = p.sizes;
        let (q, dy) = (p.q.at(at.b, at.h, at.query, 0), saved.dy.at(at.b, at.h, at.query, 0));
        let (dw, ew) = (products.padded(d), products.padded(e));
        // SAFETY: the rows are those of the place, the scratch was made for them.
        unsafe {
            let rows = self.query_rows.slice();
            products.copy_rows(q, at.queries, d, dw, rows.as_mut_ptr());
            rows[..at.queries * dw].iter_mut().for_each(|v| *v = *v * p.scale);
            let q = Operand { ptr: rows.as_ptr(), lane: dw as isize, step: 1 };
            products.pack(q, at.queries, d, self.queries.slice().as_mut_ptr());
            let rows = self.cotangent_rows.slice();
            products.copy_rows(dy, at.queries, e, ew, rows.as_mut_ptr());
            let dy = Operand { ptr: rows.as_ptr(), lane: ew as isize, step: 1 };
            products.pack(dy, at.queries, e, self.cotangents.slice().as_mut_ptr());
        }
        self.lse = [T::HIGHEST_SCORE; QUERIES];
        self.delta = [T::NONE; QUERIES];
        let lse = &saved.lse[(at.b * h + at.h) * n + at.query..][..at.queries];
        for (to, &lse) in self.lse.iter_mut().zip(lse) {
            *to = if lse == T::LOWEST_SCORE { T::HIGHEST_SCORE } else { lse };
        }
        let y = &saved.y[((at.b * n + at.query) * h + at.h) * e..];
        let dy = self.cotangent_rows.slice().as_ptr();
        // SAFETY: the results of these queries, and their cotangents.
        unsafe {
            let size = (at.queries, e);
            (products.functions().dots)(dy, y.as_ptr(), (ew, h * e), size, self.delta.as_mut_ptr());
        }
    }

    /// The keys and values of a tile, as they are to be read.
    ///
    /// # Safety
    /// The place, and as many keys from there on, lie inside the problem.
    pub unsafe fn keys(
        &mut self,
        p: &Problem<'_, T>,
        products: &Products<T>,
        at: Place,
        count: usize,
    ) -> [Operand<T>; 2] {
        let Sizes { h, g, d, e, .. } = p.sizes;
        let kv = at.h * g / h;
        // SAFETY: the caller's promise.
        unsafe {
            [
                self.key_rows.of(products, p.k.at(at.b, kv, at.key, 0), count, d),
                self.value_rows.of(products, p.v.at(at.b, kv, at.key, 0), count, e),
            ]
        }
    }

    /// Probabilities and cotangents of scores of a panel's queries with the first `keys` keys of a tile.
    ///
    /// # Safety
    /// The place lies inside the problem, `enter` was called for its queries, and `k` and `v` are what
    /// `keys` gave.
    pub unsafe fn panel(
        &mut self,
        p: &Problem<'_, T>,
        products: &Products<T>,
        at: Place,
        panel: Panel,
        ([k, v], keys): ([Operand<T>; 2], usize),
    ) {
        let Sizes { d, e, .. } = p.sizes;
        let Panel { col, lanes } = panel;
        // SAFETY: the panel lies inside the tiles, the keys inside the problem.
        unsafe {
            let s = self.p.slice().as_mut_ptr().add(col);
            let ds = self.ds.slice().as_mut_ptr().add(col);
            let q = self.queries.slice().as_ptr().add(col * d);
            products.product((k, keys, d), (q, lanes), (s, QUERIES, lanes), false);
            self.mask.apply(p, products, at, panel, keys, s);
            let dy = self.cotangents.slice().as_ptr().add(col * e);
            products.product((v, keys, e), (dy, lanes), (ds, QUERIES, lanes), false);
            let (lse, delta) = (self.lse.as_ptr().add(col), self.delta.as_ptr().add(col));
            (products.functions().gradient)(s, ds, QUERIES, keys, lanes, lse, delta);
        }
    }
}

/// One task: blocks of queries of the heads that share head `g` of the keys. Gradients by keys and
/// values are written over what was there.
///
/// # Safety
/// `keys` and `values` have room for all keys; nobody else touches them, or `dq` at these queries.
unsafe fn share<T: Float>(
    p: &Problem<'_, T>,
    saved: &Saved<'_, T>,
    products: Products<T>,
    (b, g): (usize, usize),
    blocks: impl Iterator<Item = usize>,
    [keys, values]: [Rows<T>; 2],
    dq: SendPtr<T>,
) {
    let Sizes { h: heads, g: shared, n, m, d, e, .. } = p.sizes;
    let per_head = n.div_ceil(QUERIES);
    let (dw, ew) = (products.padded(d), products.padded(e));
    let mut block = Block::new(p, &products);
    let mut sums = Scratch::<T>::new(2 * d * QUERIES);
    let (sums, rows) = sums.slice().split_at_mut(d * QUERIES);
    for key in 0..m {
        // SAFETY: row `key` of this task's gradients.
        unsafe {
            std::slice::from_raw_parts_mut(keys.at.add(key * keys.row), d).fill(T::NONE);
            std::slice::from_raw_parts_mut(values.at.add(key * values.row), e).fill(T::NONE);
        }
    }
    for number in blocks {
        let (h, query) = (g * (heads / shared) + number / per_head, number % per_head * QUERIES);
        let queries = QUERIES.min(n - query);
        let mut at = Place { b, h, query, queries, key: 0 };
        // SAFETY: the place lies inside the problem; tiles and sums have rows `QUERIES` apart; the
        // gradients are the caller's promise.
        unsafe {
            block.enter(p, saved, &products, at);
            let end = p.seen_before(query + queries);
            for key in (0..end).step_by(KEYS) {
                at.key = key;
                let count = KEYS.min(end - key);
                let kv = block.keys(p, &products, at, count);
                for panel in products.panels(queries) {
                    let seen = p.seen_before(query + panel.col + panel.lanes);
                    let keys = count.min(seen.saturating_sub(key));
                    block.panel(p, &products, at, panel, (kv, keys));
                    for tile in [&mut block.p, &mut block.ds] {
                        for row in tile.slice().chunks_exact_mut(QUERIES).take(count).skip(keys) {
                            row[panel.col..][..panel.lanes].fill(T::NONE);
                        }
                    }
                    if keys > 0 {
                        let ds = block.ds.slice().as_ptr().add(panel.col);
                        let sums = sums.as_mut_ptr().add(panel.col);
                        products.product(
                            (transposed(kv[0]), d, keys),
                            (ds, QUERIES),
                            (sums, QUERIES, panel.lanes),
                            key > 0,
                        );
                    }
                }
                // Queries before the first key of the tile do not see it.
                let first = if p.causal { key.saturating_sub(query) } else { 0 };
                let seeing = queries - first;
                for (tile, rows, width, to, size) in [
                    (&mut block.p, &mut block.cotangent_rows, ew, values, e),
                    (&mut block.ds, &mut block.query_rows, dw, keys, d),
                ] {
                    let a =
                        Operand { ptr: tile.slice().as_ptr().add(first), lane: QUERIES as isize, step: 1 };
                    let rows = rows.slice().as_ptr().add(first * width);
                    let to_row = to.at.add(key * to.row);
                    products.product((a, count, seeing), (rows, width), (to_row, to.row, size), true);
                }
            }
            let sums = Operand { ptr: sums.as_ptr(), lane: 1, step: QUERIES as isize };
            products.copy_rows(sums, queries, d, d, rows.as_mut_ptr());
            for i in 0..queries {
                let dq = dq.slice(((b * n + query + i) * heads + h) * d, d);
                dq.iter_mut().zip(&rows[i * d..(i + 1) * d]).for_each(|(t, &v)| *t = v * p.scale);
            }
        }
    }
}
