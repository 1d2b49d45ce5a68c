//! The forward pass: a task is a block of queries of one head, to which the keys pass tile by tile.

use super::lanes::Online;
use super::problem::{Float, Problem, Sizes};
use super::tile::{MaskTile, Place, Products, TileRows, transposed};
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
    let (mut key_rows, mut value_rows) = (TileRows::new(&p.k, d), TileRows::new(&p.v, e));
    let mut state = Online::<T>::new();
    let (q, s, (o, rows)) = (q.slice(), s.slice(), o.slice().split_at_mut(e * QUERIES));
    let f = products.functions();
    // SAFETY: queries, keys and values lie inside their operands, tiles inside the scratch, whose rows
    // are `QUERIES` apart; the outputs are the caller's promise.
    unsafe {
        products.pack(p.q.at(b, h, query, 0), queries, d, q.as_mut_ptr());
        q.iter_mut().for_each(|v| *v = *v * p.scale);
        let end = p.seen_before(query + queries);
        for key in (0..end).step_by(KEYS) {
            let place = Place { b, h, query, queries, key };
            let keys = KEYS.min(end - key);
            let k = key_rows.of(&products, p.k.at(b, kv, key, 0), keys, d);
            let v = transposed(value_rows.of(&products, p.v.at(b, kv, key, 0), keys, e));
            for panel in products.panels(queries) {
                let seen = p.seen_before(query + panel.col + panel.lanes);
                let keys = keys.min(seen.saturating_sub(key));
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
                // The first tile is seen by every panel.
                products.product((v, e, keys), (tile, QUERIES), (result, QUERIES, lanes), key > 0);
            }
        }
        // Back to rows of queries.
        let o = Operand { ptr: o.as_ptr(), lane: 1, step: QUERIES as isize };
        products.copy_rows(o, queries, e, e, rows.as_mut_ptr());
        (f.finish)(&raw mut state);
        lse.slice((b * heads + h) * n + query, queries).copy_from_slice(&state.max[..queries]);
        for (i, &by) in state.factor[..queries].iter().enumerate() {
            let y = y.slice(((b * n + query + i) * heads + h) * e, e);
            y.iter_mut().zip(&rows[i * e..(i + 1) * e]).for_each(|(y, &v)| *y = v * by);
        }
    }
}
