//! One matrix product: blocks, packing, tasks.
//!
//! k is cut into blocks whose length depends on k alone; each element of C is summed block after
//! block, and within a block in the order of k. Everything else (panels, tasks, packing or not)
//! only decides where and when that happens, so no result depends on it.

use super::kernel::{MAX_MR, Tile};
use super::real::{Real, Source};
use super::tables::{Kernels, Shape};
use super::vecmat::{MAX_ROWS, Rows};
use crate::scratch::Scratch;
use crate::threads::{SendPtr, parallel_for, threads};

/// A strided matrix of which one dimension is k: `ptr[i * lane + p * step]`.
#[derive(Clone, Copy)]
pub(crate) struct Operand<S> {
    pub ptr: *const S,
    /// Step along m (for A) or n (for B).
    pub lane: isize,
    /// Step along k.
    pub step: isize,
}

/// What happens to finished elements: `C = relu(C + bias_n + bias_m)`, then `map`.
#[derive(Clone, Copy)]
pub(crate) struct Tail<'a, T> {
    /// Added to each row, `n` values; or null.
    pub bias_n: *const T,
    /// Added to each column, `m` values; or null.
    pub bias_m: *const T,
    pub relu: bool,
    /// Called on pieces of finished rows: row, first column, values.
    pub map: Option<&'a Map<'a, T>>,
}

/// See [`Tail::map`].
pub(crate) type Map<'a, T> = dyn Fn(usize, usize, &mut [T]) + Sync + 'a;

impl<T> Tail<'_, T> {
    fn is_none(&self) -> bool {
        self.bias_n.is_null() && self.bias_m.is_null() && !self.relu && self.map.is_none()
    }
}

/// `C[m, n] (+)= A[m, k] B[k, n]`; C's rows are contiguous, `c_row` apart.
#[derive(Clone, Copy)]
pub(crate) struct Product<'a, S, T> {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: Operand<S>,
    pub b: Operand<S>,
    pub c: *mut T,
    pub c_row: usize,
    pub accumulate: bool,
    pub tail: Tail<'a, T>,
}

// SAFETY: a description of memory; the functions that use it say what must hold.
unsafe impl<S: Send + Sync, T: Send> Sync for Product<'_, S, T> {}

/// Multiply-adds below which a product is not worth sharing among threads (a few microseconds).
const PARALLEL_FROM: usize = 1 << 17;
/// Elements of packing below which packing is not shared.
const PACK_PARALLEL_FROM: usize = 1 << 14;
/// Columns of B that dot products take before the next rows; a multiple of what the kernel takes.
const DOT_COLUMNS: usize = 8;
/// Elements that one packing task packs, about.
const PACK_TASK: usize = 1 << 13;
/// Bytes of an operand that is read in place where its rows do not share cache sets.
const SMALL_OPERAND: usize = 128 << 10;
/// Bytes of an operand that is read in place, as it stays in the first-level cache.
const TINY_OPERAND: usize = 24 << 10;
/// Bytes of a packed block of A or B: together well inside a share of the last-level cache.
const BLOCK_BYTES: usize = 4 << 20;

/// The length of the blocks of k. Depends on k alone.
fn k_block<T: Real>(k: usize) -> usize {
    let blocks = k.div_ceil(T::K_BLOCK).max(1);
    k.div_ceil(blocks).next_multiple_of(4).max(1)
}

/// Runs a product, on several threads where `parallel` and the size say so.
///
/// # Safety
/// A and B are valid for reads at every index of the product, C for writes, the biases for reads;
/// C overlaps none of them.
pub(crate) unsafe fn product<S: Source<T>, T: Real>(p: &Product<'_, S, T>, parallel: bool) {
    if p.m == 0 || p.n == 0 {
        return;
    }
    let parallel = parallel && threads() > 1 && p.m * p.n * p.k.max(1) >= PARALLEL_FROM;
    // SAFETY: the caller's promise, passed on.
    unsafe {
        if p.k == 0 || !vecmat(p, parallel) {
            if p.k == 0 {
                clear(p);
                finish_rows(p, 0, p.m, 0, p.n);
            } else {
                blocked(p, parallel);
            }
        }
    }
}

/// Zeros C unless it is added to.
unsafe fn clear<S, T: Real>(p: &Product<'_, S, T>) {
    if !p.accumulate {
        for i in 0..p.m {
            // SAFETY: row `i` of C has `n` elements.
            unsafe { std::slice::from_raw_parts_mut(p.c.add(i * p.c_row), p.n) }.fill(T::ZERO);
        }
    }
}

/// Applies the whole tail to a part of C.
unsafe fn finish_rows<S, T: Real>(p: &Product<'_, S, T>, row0: usize, rows: usize, col0: usize, cols: usize) {
    if p.tail.is_none() {
        return;
    }
    for i in row0..row0 + rows {
        // SAFETY: the part lies inside C and belongs to this task; the biases have `m` and `n`
        // values.
        unsafe {
            let c = std::slice::from_raw_parts_mut(p.c.add(i * p.c_row + col0), cols);
            if !p.tail.bias_m.is_null() {
                let b = *p.tail.bias_m.add(i);
                c.iter_mut().for_each(|v| *v += b);
            }
            if !p.tail.bias_n.is_null() {
                let b = std::slice::from_raw_parts(p.tail.bias_n.add(col0), cols);
                c.iter_mut().zip(b).for_each(|(v, &b)| *v += b);
            }
            if p.tail.relu {
                c.iter_mut().filter(|v| **v < T::ZERO).for_each(|v| *v = T::ZERO);
            }
            if let Some(map) = p.tail.map {
                map(i, col0, c);
            }
        }
    }
}

/// Products with few rows or columns, where an operand can be read as it lies. Returns whether it
/// was one.
unsafe fn vecmat<S: Source<T>, T: Real>(p: &Product<'_, S, T>, parallel: bool) -> bool {
    if !S::SAME {
        return false;
    }
    let ks = T::kernels();
    let (a, b) = (p.a.ptr.cast::<T>(), p.b.ptr.cast::<T>());
    let c = SendPtr::new(p.c);
    let shared = SharedPtr((a, b));
    // Columns per task: a KiB or more of each row that is read. A multiple of what the kernels take
    // at once, so that no element is treated differently for another number of threads.
    let cut = |n: usize| {
        let chunk = if parallel { (n / (4 * threads())).next_multiple_of(256) } else { n };
        // A long k makes even a few columns worth threads: the quotient above may be 0.
        let chunk = chunk.max(256);
        (chunk, n.div_ceil(chunk))
    };
    let by_rows = p.m <= MAX_ROWS;
    // SAFETY (all blocks below): operands are valid by the caller's promise; each task writes its
    // own rows or columns of C.
    if by_rows && p.b.lane == 1 {
        let (chunk, tasks) = cut(p.n);
        let rows = |a| Rows { a, a_row: p.a.lane, a_step: p.a.step, m: p.m, k: p.k };
        // SAFETY: see above.
        parallel_for(tasks, &|t| unsafe {
            let (a, b) = shared.get();
            let (j, n) = (t * chunk, chunk.min(p.n - t * chunk));
            if !p.accumulate {
                for i in 0..p.m {
                    c.slice(i * p.c_row + j, n).fill(T::ZERO);
                }
            }
            (ks.axpy)(&rows(a), b.add(j), p.b.step, c.get().add(j), p.c_row, n);
            finish_rows(p, 0, p.m, j, n);
        });
        return true;
    }
    if p.m <= 2 * MAX_ROWS && p.b.step == 1 && p.a.step == 1 {
        let (chunk, tasks) = cut(p.n);
        // SAFETY: see above.
        parallel_for(tasks, &|t| unsafe {
            let (a, b) = shared.get();
            let (j, n) = (t * chunk, chunk.min(p.n - t * chunk));
            if !p.accumulate {
                for i in 0..p.m {
                    c.slice(i * p.c_row + j, n).fill(T::ZERO);
                }
            }
            // Some columns of B stay in cache while the rows pass, four at a time.
            let block = if by_rows { n } else { DOT_COLUMNS };
            for j in (j..j + n).step_by(block) {
                let n = block.min(p.n - j);
                let b = b.offset(j as isize * p.b.lane);
                for i in (0..p.m).step_by(MAX_ROWS) {
                    let a = a.offset(i as isize * p.a.lane);
                    let rows = Rows { a, a_row: p.a.lane, a_step: 1, m: MAX_ROWS.min(p.m - i), k: p.k };
                    (ks.dot)(&rows, b, p.b.lane, c.get().add(i * p.c_row + j), p.c_row, 1, n);
                }
            }
            finish_rows(p, 0, p.m, j, n);
        });
        return true;
    }
    if by_rows || p.n > MAX_ROWS {
        return false;
    }
    // Few columns: the same with A and B in each other's place.
    let (chunk, tasks) = cut(p.m);
    if p.a.step == 1 && (p.b.step == 1 || p.k * p.n <= 1 << 16) {
        let mut copy = Scratch::<T>::new(if p.b.step == 1 { 0 } else { p.k * p.n });
        let (mut b, mut b_row) = (b, p.b.lane);
        if p.b.step != 1 {
            // SAFETY: the scratch has `k * n` elements.
            unsafe {
                for j in 0..p.n {
                    for (q, d) in copy.slice()[j * p.k..(j + 1) * p.k].iter_mut().enumerate() {
                        *d = *b.offset(j as isize * p.b.lane + q as isize * p.b.step);
                    }
                }
            }
            (b, b_row) = (copy.slice().as_ptr(), p.k as isize);
        }
        let shared = SharedPtr((a, b));
        // SAFETY: see above.
        parallel_for(tasks, &|t| unsafe {
            let (a, b) = shared.get();
            let (i, m) = (t * chunk, chunk.min(p.m - t * chunk));
            if !p.accumulate {
                for r in i..i + m {
                    c.slice(r * p.c_row, p.n).fill(T::ZERO);
                }
            }
            let rows = Rows { a: b, a_row: b_row, a_step: 1, m: p.n, k: p.k };
            let a = a.offset(i as isize * p.a.lane);
            (ks.dot)(&rows, a, p.a.lane, c.get().add(i * p.c_row), 1, p.c_row, m);
            finish_rows(p, i, m, 0, p.n);
        });
        return true;
    }
    if p.a.lane == 1 {
        // SAFETY: see above.
        parallel_for(tasks, &|t| unsafe {
            let (a, b) = shared.get();
            let (i, m) = (t * chunk, chunk.min(p.m - t * chunk));
            // Columns of C as rows, for a contiguous inner loop.
            let mut tmp = Scratch::<T>::new(p.n * m);
            let tmp = tmp.slice();
            for j in 0..p.n {
                for r in 0..m {
                    tmp[j * m + r] = if p.accumulate { *c.get().add((i + r) * p.c_row + j) } else { T::ZERO };
                }
            }
            let rows = Rows { a: b, a_row: p.b.lane, a_step: p.b.step, m: p.n, k: p.k };
            (ks.axpy)(&rows, a.add(i), p.a.step, tmp.as_mut_ptr(), m, m);
            for r in 0..m {
                let row = c.slice((i + r) * p.c_row, p.n);
                for (j, v) in row.iter_mut().enumerate() {
                    *v = tmp[j * m + r];
                }
            }
            finish_rows(p, i, m, 0, p.n);
        });
        return true;
    }
    false
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

/// Packs panel `i` of an operand whose lanes are cut into panels of `width`; returns the panel's
/// width. `align` is what the width of the last, narrower panel is rounded up to.
///
/// # Safety
/// The operand is valid for lanes below `lanes` and steps `p0` to `p0 + k`; `dst` has room.
pub(crate) unsafe fn pack_panel<S: Source<T>, T: Real>(
    ks: &Kernels<T>,
    src: Operand<S>,
    lanes: usize,
    first: usize,
    width: usize,
    (p0, k): (usize, usize),
    dst: *mut T,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let ptr = src.ptr.offset(first as isize * src.lane + p0 as isize * src.step);
        if S::SAME {
            return (ks.pack)(ptr.cast(), src.lane, src.step, lanes, width, k, dst);
        }
        // Other types are converted on the way, along whichever dimension is contiguous.
        if src.lane == 1 {
            for p in 0..k {
                let d = std::slice::from_raw_parts_mut(dst.add(p * width), width);
                let s = std::slice::from_raw_parts(ptr.offset(p as isize * src.step), lanes);
                S::widen_into(s, &mut d[..lanes]);
                d[lanes..].fill(T::ZERO);
            }
            return;
        }
        let mut tmp = Scratch::<T>::new(lanes * k);
        let tmp = tmp.slice();
        for (i, row) in tmp.chunks_exact_mut(k).enumerate() {
            let s = ptr.offset(i as isize * src.lane);
            if src.step == 1 {
                S::widen_into(std::slice::from_raw_parts(s, k), row);
            } else {
                for (p, d) in row.iter_mut().enumerate() {
                    *d = (*s.offset(p as isize * src.step)).widen();
                }
            }
        }
        (ks.pack)(tmp.as_ptr(), k as isize, 1, lanes, width, k, dst);
    }
}

/// How the operands of a block are read.
struct Plan<T: 'static> {
    ks: &'static Kernels<T>,
    shape: Shape,
    /// Columns of a panel.
    nr: usize,
    pack_a: bool,
    pack_b: bool,
}

fn plan<S: Source<T>, T: Real>(p: &Product<'_, S, T>) -> Plan<T> {
    let mut ks = T::kernels();
    // Half a vector or less: the shorter vectors do the same work in half the time.
    if let Some(narrow) = ks.narrow
        && p.n <= narrow.lanes
    {
        ks = narrow;
    }
    let shape = ks.shape(p.m, p.n);
    let nr = shape.nv * ks.lanes;
    let size = size_of::<T>();
    // A panel of A is used once per panel of B: with few of them packing does not pay, unless the
    // rows fall on the same cache lines.
    let rows_apart = !(p.a.lane.unsigned_abs() * size).is_multiple_of(4096);
    let readable_a = p.a.lane == 1 || (p.a.step == 1 && rows_apart);
    let few = p.n <= 2 * nr || (p.n <= 4 * nr && p.m * p.k * size <= SMALL_OPERAND);
    // Likewise B's with A's, whose panels are narrow strips of rows.
    let strips_apart = !(p.b.step.unsigned_abs() * size).is_multiple_of(512);
    let b_bytes = p.k * p.n * size;
    let strip = p.k * nr * size <= TINY_OPERAND || b_bytes <= SMALL_OPERAND;
    let compact = p.b.step.unsigned_abs() * size <= 256;
    let direct_b =
        p.b.lane == 1 && (p.m <= shape.mr || b_bytes <= TINY_OPERAND || compact || (strips_apart && strip));
    let (pack_a, pack_b) = (!(S::SAME && few && readable_a), !(S::SAME && direct_b));
    Plan { ks, shape, nr, pack_a, pack_b }
}

unsafe fn blocked<S: Source<T>, T: Real>(p: &Product<'_, S, T>, parallel: bool) {
    let plan = plan(p);
    let (mr, nr) = (plan.shape.mr, plan.nr);
    let kc = k_block::<T>(p.k);
    let most = BLOCK_BYTES / size_of::<T>() / kc;
    let nc = (most / nr).max(1) * nr;
    let mc = (most / mr).max(1) * mr;
    // Without packing, the last panel of B is packed all the same, so that the kernel never reads
    // beyond the matrix.
    let b_len = if plan.pack_b { nc.min(p.n.next_multiple_of(nr)) * kc } else { nr * kc };
    let a_len = if plan.pack_a { mc.min(p.m.next_multiple_of(mr)) * kc } else { 0 };
    let (mut a_buf, mut b_buf) = (Scratch::<T>::new(a_len), Scratch::<T>::new(b_len));
    let a_buf = SendPtr::new(a_buf.slice().as_mut_ptr());
    let b_buf = SendPtr::new(b_buf.slice().as_mut_ptr());
    for j0 in (0..p.n).step_by(nc) {
        let n = nc.min(p.n - j0);
        for p0 in (0..p.k).step_by(kc) {
            let k = kc.min(p.k - p0);
            for i0 in (0..p.m).step_by(mc) {
                let m = mc.min(p.m - i0);
                let block = Block { p, plan: &plan, i0, m, j0, n, p0, k, a_buf, b_buf };
                // SAFETY: the block lies inside the product, the buffers have room for it.
                unsafe {
                    block.pack(i0 == 0, parallel);
                    block.multiply(parallel);
                }
            }
        }
    }
}

/// One block of all three dimensions.
struct Block<'b, 'a, S, T: Real> {
    p: &'b Product<'a, S, T>,
    plan: &'b Plan<T>,
    i0: usize,
    m: usize,
    j0: usize,
    n: usize,
    p0: usize,
    k: usize,
    a_buf: SendPtr<T>,
    b_buf: SendPtr<T>,
}

impl<S: Source<T>, T: Real> Block<'_, '_, S, T> {
    /// Packs what is to be packed; B only with the first block of rows.
    unsafe fn pack(&self, with_b: bool, parallel: bool) {
        let (mr, nr, ks, k) = (self.plan.shape.mr, self.plan.nr, self.plan.ks, self.k);
        let a_panels = if self.plan.pack_a { self.m.div_ceil(mr) } else { 0 };
        let first_b = if self.plan.pack_b { 0 } else { self.n / nr };
        let b_panels = if with_b { self.n.div_ceil(nr) - first_b } else { 0 };
        let (a_each, b_each) = ((PACK_TASK / (mr * k)).max(1), (PACK_TASK / (nr * k)).max(1));
        let a_tasks = a_panels.div_ceil(a_each);
        let tasks = a_tasks + b_panels.div_ceil(b_each);
        let run = |t: usize| {
            // SAFETY: panels lie inside the block; each is packed by one task, to its own place.
            unsafe {
                if t < a_tasks {
                    for i in t * a_each..((t + 1) * a_each).min(a_panels) {
                        let lanes = mr.min(self.m - i * mr);
                        let dst = self.a_buf.get().add(i * mr * k);
                        pack_panel(ks, self.p.a, lanes, self.i0 + i * mr, lanes, (self.p0, k), dst);
                    }
                } else {
                    let t = t - a_tasks;
                    for j in t * b_each..((t + 1) * b_each).min(b_panels) {
                        let col = (first_b + j) * nr;
                        let lanes = nr.min(self.n - col);
                        let width = lanes.next_multiple_of(ks.lanes);
                        let dst = self.b_buf.get().add(j * nr * k);
                        pack_panel(ks, self.p.b, lanes, self.j0 + col, width, (self.p0, k), dst);
                    }
                }
            }
        };
        if parallel && (a_panels * mr + b_panels * nr) * k >= PACK_PARALLEL_FROM {
            parallel_for(tasks, &run);
        } else {
            (0..tasks).for_each(run);
        }
    }

    /// Multiplies the block, cut into tasks of some panels each way.
    unsafe fn multiply(&self, parallel: bool) {
        let (mr, nr) = (self.plan.shape.mr, self.plan.nr);
        let (mp, np) = (self.m.div_ceil(mr), self.n.div_ceil(nr));
        // A task's part of A stays in the second-level cache while B's panels pass.
        let mut mt = (144 / mr).max(1).min(mp);
        let mut nt = (256 / nr).max(1).min(np);
        if parallel {
            while mp.div_ceil(mt) * np.div_ceil(nt) < 4 * threads() && mt * nt > 1 {
                let rows_first = nt == 1 || (mt > 1 && mt * mr >= nt * nr);
                if rows_first { mt = mt.div_ceil(2) } else { nt = nt.div_ceil(2) }
            }
        }
        let (mtasks, ntasks) = (mp.div_ceil(mt), np.div_ceil(nt));
        let run = |t: usize| {
            let (i, j) = (t % mtasks, t / mtasks);
            // SAFETY: tasks cover disjoint tiles of C.
            unsafe { self.task(i * mt..((i + 1) * mt).min(mp), j * nt..((j + 1) * nt).min(np)) }
        };
        if parallel {
            parallel_for(mtasks * ntasks, &run);
        } else {
            (0..mtasks * ntasks).for_each(run);
        }
    }

    unsafe fn task(&self, rows: std::ops::Range<usize>, cols: std::ops::Range<usize>) {
        let (p, k, plan) = (self.p, self.k, self.plan);
        let (mr, nr, ks) = (plan.shape.mr, plan.nr, plan.ks);
        let last = self.p0 + k == p.k;
        let mut a_off = [0isize; MAX_MR];
        for (i, o) in a_off.iter_mut().enumerate() {
            *o = i as isize * p.a.lane;
        }
        let mut t = Tile::<T>::empty();
        t.k = k;
        t.c_row = p.c_row;
        t.accumulate = p.accumulate || self.p0 > 0;
        t.a_off = a_off.as_ptr();
        t.a_step = p.a.step;
        t.relu = last && p.tail.relu;
        let first_packed_b = if plan.pack_b { 0 } else { self.n / nr };
        // SAFETY: panel `i` covers rows `i * mr` and on of the block, panel `j` columns `j * nr` and
        // on; the packed panels were written by `pack`, whose last one has just its own width.
        unsafe {
            for j in cols.clone() {
                let col = self.j0 + j * nr;
                t.cols = nr.min(self.n - j * nr);
                let nv = t.cols.div_ceil(ks.lanes);
                if j >= first_packed_b {
                    t.b = self.b_buf.get().add((j - first_packed_b) * nr * k);
                    t.b_step = (nv * ks.lanes) as isize;
                } else {
                    t.b = p.b.ptr.cast::<T>().offset(self.p0 as isize * p.b.step).add(col);
                    t.b_step = p.b.step;
                }
                if last && !p.tail.bias_n.is_null() {
                    t.bias_n = p.tail.bias_n.add(col);
                }
                for i in rows.clone() {
                    let row = self.i0 + i * mr;
                    let count = mr.min(self.m - i * mr);
                    t.c = p.c.add(row * p.c_row + col);
                    if last && !p.tail.bias_m.is_null() {
                        t.bias_m = p.tail.bias_m.add(row);
                    }
                    if plan.pack_a {
                        t.a = self.a_buf.get().add(i * mr * k);
                        ks.packed[nv - 1][count - 1](&t);
                    } else {
                        t.a =
                            p.a.ptr.cast::<T>().offset(row as isize * p.a.lane + self.p0 as isize * p.a.step);
                        ks.strided[nv - 1][count - 1](&t);
                    }
                }
            }
        }
        if last && let Some(map) = p.tail.map {
            let (row0, row1) = (self.i0 + rows.start * mr, self.i0 + (rows.end * mr).min(self.m));
            let (col0, col1) = (self.j0 + cols.start * nr, self.j0 + (cols.end * nr).min(self.n));
            for i in row0..row1 {
                // SAFETY: the task's own part of C.
                map(i, col0, unsafe {
                    std::slice::from_raw_parts_mut(p.c.add(i * p.c_row + col0), col1 - col0)
                });
            }
        }
    }
}
