//! Products of matrices that fit the first-level cache: no tasks, and operands read as they lie.

use super::driver::{Product, finish_map};
use super::kernel::{MAX_MR, Tile};
use super::real::{Real, Source};
use crate::scratch::Scratch;

/// Largest m, n and k. Below the length of a block of k, so each sum is one chain.
pub(super) const MOST: usize = 64;

/// Runs the product if it is one of these. Returns whether it was.
///
/// # Safety
/// As for [`super::driver::product`].
pub(super) unsafe fn run<S: Source<T>, T: Real>(p: &Product<'_, S, T>) -> bool {
    if !S::SAME || p.m.max(p.n).max(p.k) > MOST || p.ready.is_some() {
        return false;
    }
    // Rows of a large matrix that fall on the same cache sets are packed, elsewhere.
    if p.m > 8 && p.a.lane != 0 && (p.a.lane.unsigned_abs() * size_of::<T>()).is_multiple_of(4096) {
        return false;
    }
    let mut ks = T::kernels();
    if let Some(narrow) = ks.narrow
        && p.n <= narrow.lanes
    {
        ks = narrow;
    }
    let nv = match p.n.div_ceil(ks.lanes) {
        1 => 1,
        3 => 3,
        4 if p.m <= ks.max_mr[3] => 4,
        _ => 2,
    };
    let (mr, nr) = (ks.shape_of(p.m, nv).mr, nv * ks.lanes);
    // Whole vectors are read in place where B's rows are contiguous and lie close; the rest is packed.
    let in_place = p.b.lane == 1 && p.b.step.unsigned_abs() <= 2 * MOST;
    let direct = if in_place { p.n - p.n % ks.lanes } else { 0 };
    let mut packed = (direct < p.n).then(|| Scratch::<T>::new(p.n.next_multiple_of(ks.lanes) * p.k));
    let mut a_off = [0isize; MAX_MR];
    for (i, o) in a_off.iter_mut().enumerate().take(mr) {
        *o = i as isize * p.a.lane;
    }
    let mut t = Tile::<T>::empty();
    t.k = p.k;
    t.c_row = p.c_row;
    t.accumulate = p.accumulate;
    t.a_off = a_off.as_ptr();
    t.a_step = p.a.step;
    t.relu = p.tail.relu;
    for j in (0..p.n).step_by(nr) {
        t.cols = nr.min(p.n - j);
        let vectors = t.cols.div_ceil(ks.lanes);
        // SAFETY: the panel's columns lie inside B and C, the packed copy has room for whole vectors; the
        // caller's promise for the rest.
        unsafe {
            let b = p.b.from(j, 0);
            (t.b, t.b_step) = (b.ptr.cast(), b.step);
            if j + t.cols > direct
                && let Some(packed) = &mut packed
            {
                let (width, to) = (vectors * ks.lanes, packed.slice().as_mut_ptr());
                (ks.pack)(b.ptr.cast(), b.lane, b.step, t.cols, width, p.k, to);
                (t.b, t.b_step) = (to, width as isize);
            }
            if !p.tail.bias_n.is_null() {
                t.bias_n = p.tail.bias_n.add(j);
            }
            for i in (0..p.m).step_by(mr) {
                t.a = p.a.from(i, 0).ptr.cast();
                t.c = p.c.add(i * p.c_row + j).cast();
                if !p.tail.bias_m.is_null() {
                    t.bias_m = p.tail.bias_m.add(i);
                }
                ks.strided[vectors - 1][mr.min(p.m - i) - 1](&t);
            }
        }
    }
    // SAFETY: all of C, which is complete.
    unsafe { finish_map(p, 0..p.m, 0..p.n) };
    true
}
