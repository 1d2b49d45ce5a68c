//! The gradient by a mask that is added: the cotangents of the scores, summed over what the mask repeats
//! along. A task is a part of the mask that lies on one tile, or all tiles where the mask repeats.

use super::backward::Block;
use super::problem::{Float, Problem, Saved, Sizes};
use super::tile::{Place, Products};
use super::{KEYS, QUERIES, tasks};
use crate::scratch::Scratch;
use crate::threads::SendPtr;
use hadal_core::Result;

/// `dims` is the mask's shape, each 1 or that of `[b, h, n, m]`.
pub(super) fn run<T: Float>(
    p: &Problem<'_, T>,
    saved: &Saved<'_, T>,
    dims: &[usize],
    out: &mut [T],
) -> Result<()> {
    let Sizes { b, h, n, m, .. } = p.sizes;
    let &[mb, mh, mn, mm] = dims else { return Ok(()) };
    // Along each dimension: how many tasks, how much each takes, of how much.
    let cuts = [(mb, b, 1), (mh, h, 1), (mn, n, QUERIES), (mm, m, KEYS)].map(|(size, full, step)| {
        if size == full { (full.div_ceil(step), step, full) } else { (1, full, full) }
    });
    let out = SendPtr::new(out.as_mut_ptr());
    let products = Products::new();
    tasks(cuts.iter().map(|c| c.0).product(), p.work(), |task| {
        let mut rest = task;
        let mut ranges = [0..0, 0..0, 0..0, 0..0];
        for (range, (count, step, full)) in ranges.iter_mut().zip(cuts).rev() {
            let start = rest % count * step;
            *range = start..full.min(start + step);
            rest /= count;
        }
        let [bs, hs, queries, keys] = ranges;
        let (first, rows, cols) = ([bs.start, hs.start], queries.clone(), keys.clone());
        let mut sums = Scratch::<T>::new(KEYS * QUERIES);
        let sums = sums.slice();
        sums.fill(T::NONE);
        let mut block = Block::new(p, &products);
        for b in bs {
            for h in hs.clone() {
                for query in queries.clone().step_by(QUERIES) {
                    let count = QUERIES.min(queries.end - query);
                    let mut at = Place { b, h, query, queries: count, key: 0 };
                    // SAFETY: the place lies inside the problem.
                    unsafe { block.enter(p, saved, &products, at) };
                    let end = keys.end.min(p.seen_before(query + count));
                    for key in (keys.start..end).step_by(KEYS) {
                        at.key = key;
                        let keys = KEYS.min(end - key);
                        // SAFETY: as above.
                        let kv = unsafe { block.keys(p, &products, at, keys) };
                        for panel in products.panels(count) {
                            // SAFETY: as above.
                            unsafe { block.panel(p, &products, at, panel, (kv, keys)) };
                            let tile = block.ds.slice().chunks_exact(QUERIES).take(keys);
                            for (to, from) in sums.chunks_exact_mut(QUERIES).zip(tile) {
                                let range = panel.col..panel.col + panel.lanes;
                                let from = &from[range.clone()];
                                to[range].iter_mut().zip(from).for_each(|(t, &v)| *t += v);
                            }
                        }
                    }
                }
            }
        }
        // Where the mask repeats, all queries or keys of the tile belong to one place.
        let (nq, nk) = (rows.len().min(QUERIES), cols.len().min(KEYS));
        let of = |first: usize, size: usize, full: usize| if size == full { first } else { 0 };
        let head = of(first[0], mb, b) * mh + of(first[1], mh, h);
        let (row, col) = (of(rows.start, mn, n), of(cols.start, mm, m));
        let (rows_out, cols_out) = (if mn == n { nq } else { 1 }, if mm == m { nk } else { 1 });
        for i in 0..rows_out {
            let over_queries = if mn == n { i..i + 1 } else { 0..nq };
            for j in 0..cols_out {
                let over_keys = if mm == m { j..j + 1 } else { 0..nk };
                let mut sum = T::NONE;
                for key in over_keys {
                    for query in over_queries.clone() {
                        sum += sums[key * QUERIES + query];
                    }
                }
                // SAFETY: the places of different tasks differ.
                unsafe { *out.get().add((head * mn + row + i) * mm + col + j) = sum };
            }
        }
    });
    Ok(())
}
