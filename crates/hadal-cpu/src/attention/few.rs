//! Few queries, as when text is generated: keys and values are read once, row by row, by all queries of
//! the heads that share them. The keys are cut into splits of a fixed length, each a task of its own
//! (Dao 2023, "Flash-Decoding"), whose results are joined in order.

use super::lanes::Functions;
use super::problem::{Float, Mask, Problem, Sizes};
use super::tasks;
use super::tile::Products;
use crate::args::temporary;
use crate::gemm::vecmat::{MAX_ROWS, Rows};
use crate::scratch::Scratch;
use crate::threads::SendPtr;
use hadal_core::Result;

/// Most queries of a head.
const MOST: usize = 4;
/// Keys of a task: some 100 KiB of keys and values.
const SPLIT: usize = 512;

/// Whether the problem is one of few queries, its keys and values in rows.
pub(super) fn takes<T: Float>(p: &Problem<'_, T>) -> bool {
    p.sizes.n <= MOST && p.k.rows_contiguous(p.sizes.d) && p.v.rows_contiguous(p.sizes.e)
}

/// Writes the result `[b, n, h, e]` and the logarithms of the sums `[b, h, n]`.
pub(super) fn run<T: Float>(op: &'static str, p: &Problem<'_, T>, y: &mut [T], lse: &mut [T]) -> Result<()> {
    let Sizes { b, h, g, n, e, .. } = p.sizes;
    let rows = h / g * n;
    let keys = p.seen_before(n);
    let splits = keys.div_ceil(SPLIT);
    // Of each row: its result, its largest score, its sum.
    let width = e + 2;
    let mut parts = temporary::<T>(op, b * g * splits * rows * width)?;
    let parts = parts.as_mut_slice::<T>();
    let out = SendPtr::new(parts.as_mut_ptr());
    let products = Products::new();
    tasks(b * g * splits, p.work(), |task| {
        let (head, key) = (task / splits, task % splits * SPLIT);
        // SAFETY: part `task` is this task's alone.
        unsafe {
            let part = out.slice(task * rows * width, rows * width);
            split(p, &products, (head / g, head % g), key..keys.min(key + SPLIT), part);
        }
    });
    for head in 0..b * g {
        for row in 0..rows {
            let (b, h) = (head / g, head % g * (h / g) + row / n);
            let parts = (0..splits).map(|i| &parts[((head * splits + i) * rows + row) * width..][..width]);
            let to = ((b * n + row % n) * p.sizes.h + h) * e;
            lse[(b * p.sizes.h + h) * n + row % n] = join(products.functions(), parts, &mut y[to..to + e]);
        }
    }
    Ok(())
}

/// A row from its splits; returns the logarithm of its sum.
fn join<'a, T: Float>(f: &Functions<T>, parts: impl Iterator<Item = &'a [T]> + Clone, y: &mut [T]) -> T {
    let e = y.len();
    let max = parts.clone().fold(T::LOWEST_SCORE, |m, p| if p[e] > m { p[e] } else { m });
    let base = if max == T::LOWEST_SCORE { T::NONE } else { max };
    y.fill(T::NONE);
    let mut sum = T::NONE;
    for part in parts {
        // SAFETY: the functions of this machine.
        let factor = unsafe { (f.exp)(part[e] - base) };
        sum += part[e + 1] * factor;
        y.iter_mut().zip(part).for_each(|(y, &v)| *y += v * factor);
    }
    if sum == T::NONE {
        y.fill(T::NONE);
        return T::LOWEST_SCORE;
    }
    y.iter_mut().for_each(|y| *y = *y / sum);
    // SAFETY: as above.
    max + unsafe { (f.ln)(sum) }
}

/// # Safety
/// The keys lie inside the problem.
unsafe fn split<T: Float>(
    p: &Problem<'_, T>,
    products: &Products<T>,
    (b, g): (usize, usize),
    range: std::ops::Range<usize>,
    part: &mut [T],
) {
    let Sizes { h: heads, g: shared, n, d, e, .. } = p.sizes;
    let (rows, width) = (heads / shared * n, e + 2);
    let (ks, f) = (products.kernels(), products.functions());
    let place = |row: usize| (g * (heads / shared) + row / n, row % n);
    let (mut q, mut s) = (Scratch::<T>::new(rows * d), Scratch::<T>::new(rows * SPLIT));
    let (q, s) = (q.slice(), s.slice());
    for (row, to) in q.chunks_exact_mut(d).enumerate() {
        let (h, query) = place(row);
        let from = p.q.at(b, h, query, 0);
        for (i, to) in to.iter_mut().enumerate() {
            // SAFETY: element `i` of this query.
            *to = unsafe { *from.ptr.offset(i as isize * from.step) } * p.scale;
        }
    }
    part.fill(T::NONE);
    s.fill(T::NONE);
    let (key, keys) = (range.start, range.len());
    let (k, v) = (p.k.at(b, g, key, 0), p.v.at(b, g, key, 0));
    for row in (0..rows).step_by(MAX_ROWS) {
        let m = MAX_ROWS.min(rows - row);
        // SAFETY: `keys` rows of keys, `m` rows of scores and queries.
        unsafe {
            let a = Rows { a: q.as_ptr().add(row * d), a_row: d as isize, a_step: 1, m, k: d };
            (ks.dot)(&a, k.ptr, k.lane, s.as_mut_ptr().add(row * SPLIT), SPLIT, 1, keys);
        }
    }
    for (row, part) in part.chunks_exact_mut(width).enumerate() {
        let (h, query) = place(row);
        let s = &mut s[row * SPLIT..][..keys];
        // SAFETY: the mask has this query and these keys; a row has `keys` scores.
        unsafe {
            hide(p, (b, h, query, key), s);
            (part[e], part[e + 1]) = (f.row)(s.as_mut_ptr(), keys);
        }
    }
    for row in (0..rows).step_by(MAX_ROWS) {
        let m = MAX_ROWS.min(rows - row);
        // SAFETY: `keys` rows of values, `m` rows of probabilities and results.
        unsafe {
            let a = s.as_ptr().add(row * SPLIT);
            let a = Rows { a, a_row: SPLIT as isize, a_step: 1, m, k: keys };
            (ks.axpy)(&a, v.ptr, v.lane, part.as_mut_ptr().add(row * width), width, e);
        }
    }
}

/// Hides the keys from `key` on that a query must not see, and adds what is to be added.
///
/// # Safety
/// The mask has this query and as many keys.
unsafe fn hide<T: Float>(p: &Problem<'_, T>, (b, h, query, key): (usize, usize, usize, usize), s: &mut [T]) {
    match &p.mask {
        Mask::None => {}
        Mask::Bool(m) => {
            let m = m.at(b, h, query, key);
            for (j, s) in s.iter_mut().enumerate() {
                // SAFETY: the caller's promise.
                if unsafe { *m.ptr.offset(j as isize * m.step) } == 0 {
                    *s = T::LOWEST_SCORE;
                }
            }
        }
        Mask::Added(m) => {
            let m = m.at(b, h, query, key);
            for (j, s) in s.iter_mut().enumerate() {
                // SAFETY: the caller's promise.
                *s += unsafe { *m.ptr.offset(j as isize * m.step) };
            }
        }
    }
    if p.causal {
        s.iter_mut().skip((query + 1).saturating_sub(key)).for_each(|s| *s = T::LOWEST_SCORE);
    }
}
