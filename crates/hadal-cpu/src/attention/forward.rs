//! The forward pass: a task is a block of queries of one head, to which the keys pass tile by tile.

use super::lanes::Online;
use super::problem::{Float, Problem, Sizes};
use super::tile::{MaskTile, Place, Products};
use super::{KEYS, QUERIES, tasks};
use crate::gemm::Operand;
use crate::scratch::Scratch;
use crate::threads::SendPtr;
use hadal_core::Result;

/// Writes the result `[b, n, h, e]` and the logarithms of the sums `[b, h, n]`.
pub(super) fn run<T: Float>(p: &Problem<'_, T>, y: &mut [T], lse: &mut [T]) -> Result<()> {
    let Sizes { b, h, n, .. } = p.sizes;
    let blocks = n.div_ceil(QUERIES);
    let (y, lse) = (SendPtr::new(y.as_mut_ptr()), SendPtr::new(lse.as_mut_ptr()));
    let products = Products::new();
    tasks(b * h * blocks, p.work(), |task| {
        // Under a causal mask the last blocks see the most keys: they go first.
        let (head, block) = (task / blocks, blocks - 1 - task % blocks);
        // SAFETY: the block's rows of both outputs are this task's alone.
        unsafe { self::block(p, products, (head / h, head % h, block * QUERIES), y, lse) }
    });
    Ok(())
}

/// # Safety
/// `y` and `lse` have room for all results; nobody else touches those of these queries.
unsafe fn block<T: Float>(
    p: &Problem<'_, T>,
    products: Products<T>,
    (b, h, query): (usize, usize, usize),
    y: SendPtr<T>,
    lse: SendPtr<T>,
) {
    let Sizes { h: heads, g, n, d, e, .. } = p.sizes;
    let queries = QUERIES.min(n - query);
    let kv = h * g / heads;
    let mut q = Scratch::<T>::new(d * QUERIES);
    let mut s = Scratch::<T>::new(KEYS * QUERIES);
    let mut o = Scratch::<T>::new(2 * e * QUERIES);
    let mut mask = MaskTile::new(p);
    let mut state = Online::<T>::new();
    let (q, s, (o, rows)) = (q.slice(), s.slice(), o.slice().split_at_mut(e * QUERIES));
    o.fill(T::NONE);
    let f = products.functions();
    // SAFETY: queries, keys and values lie inside their operands, tiles inside the scratch, whose rows
    // are `QUERIES` apart; the outputs are the caller's promise.
    unsafe {
        products.pack(p.q.at(b, h, query, 0), queries, d, q.as_mut_ptr());
        q.iter_mut().for_each(|v| *v = *v * p.scale);
        let end = p.seen_before(query + queries);
        for key in (0..end).step_by(KEYS) {
            let place = Place { b, h, query, queries, key };
            let (k, v) = (p.k.at(b, kv, key, 0), p.v.at(b, kv, key, 0));
            for panel in products.panels(queries) {
                let seen = p.seen_before(query + panel.col + panel.lanes);
                let keys = KEYS.min(end - key).min(seen.saturating_sub(key));
                if keys == 0 {
                    continue;
                }
                let (col, lanes) = (panel.col, panel.lanes);
                let tile = s.as_mut_ptr().add(col);
                products.product(
                    (k, keys, d),
                    (q.as_ptr().add(col * d), lanes),
                    (tile, QUERIES, lanes),
                    false,
                );
                mask.apply(p, &products, place, panel, keys, tile);
                let result = o.as_mut_ptr().add(col);
                if (f.online)(tile, QUERIES, keys, lanes, &raw mut state, col) && key > 0 {
                    (f.rescale)(result, QUERIES, e, lanes, state.factor.as_ptr().add(col));
                }
                let v = Operand { ptr: v.ptr, lane: v.step, step: v.lane };
                products.product((v, e, keys), (tile, QUERIES), (result, QUERIES, lanes), true);
            }
        }
        // Back to rows of queries.
        let o = Operand { ptr: o.as_ptr(), lane: 1, step: QUERIES as isize };
        products.copy_rows(o, queries, e, e, rows.as_mut_ptr());
        let lse = lse.slice((b * heads + h) * n + query, queries);
        for (i, lse) in lse.iter_mut().enumerate() {
            let (max, sum) = (state.max[i], state.sum[i]);
            let seen = sum != T::NONE;
            let by = if seen { T::ONCE / sum } else { T::NONE };
            let y = y.slice(((b * n + query + i) * heads + h) * e, e);
            for (y, &v) in y.iter_mut().zip(&rows[i * e..(i + 1) * e]) {
                *y = v * by;
            }
            *lse = if seen { max + sum.ln() } else { T::LOWEST_SCORE };
        }
    }
}
