//! Products cut into blocks: packing, panels, tasks.

use super::ahead::{self, Stretch};
use super::driver::{Operand, Product, Ready, finish_map, k_block};
use super::kernel::{MAX_MR, Tile};
use super::pack::{pack_columns, pack_strip};
use super::real::{Real, Source};
use super::tables::{Set, Shape};
use crate::scratch::Scratch;
use crate::threads::{SendPtr, parallel_for, threads};
use std::ops::Range;

/// Elements of packing below which packing is not shared.
const PACK_PARALLEL_FROM: usize = 1 << 14;
/// Elements that one packing task packs, about.
const PACK_TASK: usize = 1 << 13;
/// Columns of B that are packed together: rows are then read a KiB at a time.
const PACK_COLUMNS: usize = 256;
/// Bytes of an operand that is read in place where its rows do not share cache sets.
const SMALL_OPERAND: usize = 128 << 10;
/// Bytes of an operand that is read in place, as it stays in the first-level cache.
const TINY_OPERAND: usize = 24 << 10;
/// Bytes of an operand that is read in place whatever its strides: the second-level cache holds it beside the rest.
const NEAR_OPERAND: usize = 64 << 10;
/// Bytes of a packed block of A or B: together well inside a share of the last-level cache.
const BLOCK_BYTES: usize = 4 << 20;
/// Rows of a task. Its part of A stays in the second-level cache while B's panels pass.
const TASK_ROWS: usize = 144;
/// Columns of a task.
const TASK_COLUMNS: usize = 256;

/// How B is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Right {
    /// As it lies; only a last panel of partial vectors is packed.
    InPlace,
    /// Packed first, for all tasks.
    Shared,
    /// Each task packs its own columns, which no other task wants.
    Own,
    /// Packed beforehand.
    Ready,
}

/// How the operands are read, and in which pieces.
struct Plan<T: 'static> {
    set: Set<T>,
    shape: Shape,
    /// Columns of a panel.
    nr: usize,
    /// Steps along k: elements, or pairs of them.
    steps: usize,
    /// Steps of a block of k.
    kc: usize,
    pack_a: bool,
    right: Right,
}

impl<T: Real> Plan<T> {
    fn new<S: Source<T>>(p: &Product<'_, S, T>, parallel: bool) -> Self {
        let (set, shape) = match p.ready {
            Some(Ready { set, .. }) => (set, set.ks.shape_of(p.m, 2)),
            None => {
                let mut set = S::set();
                // Half a vector or less: the shorter vectors do the same work in half the time.
                if let Some(narrow) = set.ks.narrow
                    && p.n <= narrow.lanes
                {
                    set.ks = narrow;
                }
                (set, set.ks.shape(p.m, p.n))
            }
        };
        let (mr, nr) = (shape.mr, shape.nv * set.ks.lanes);
        let steps = p.k.div_ceil(set.unit);
        let size = size_of::<T>();
        // A panel of A is used once per panel of B: with few of them packing does not pay, unless the
        // rows fall on the same cache lines.
        let rows_apart = !(p.a.lane.unsigned_abs() * size).is_multiple_of(4096);
        let readable_a = p.a.lane == 1 || (p.a.step == 1 && rows_apart);
        let few = p.n <= 2 * nr || (p.n <= 4 * nr && p.m * p.k * size <= SMALL_OPERAND) || p.m == 1;
        // Likewise B's with A's, whose panels are narrow strips of rows.
        let strips_apart = !(p.b.step.unsigned_abs() * size).is_multiple_of(512);
        let b_bytes = p.k * p.n * size;
        let strip = p.k * nr * size <= TINY_OPERAND || b_bytes <= SMALL_OPERAND;
        let compact = p.b.step.unsigned_abs() * size <= 256;
        let direct_b =
            p.b.lane == 1 && (p.m <= mr || b_bytes <= NEAR_OPERAND || compact || (strips_apart && strip));
        let panels = p.n.div_ceil(nr);
        let right = if p.ready.is_some() {
            Right::Ready
        } else if S::SAME && direct_b {
            Right::InPlace
        } else if p.m <= TASK_ROWS && (!parallel || panels >= 4 * threads()) {
            Right::Own
        } else {
            Right::Shared
        };
        let pack_a = !(S::SAME && few && readable_a);
        Plan { set, shape, nr, steps, kc: k_block::<T>(steps), pack_a, right }
    }
    fn padded(&self, cols: usize) -> usize {
        cols.next_multiple_of(self.set.ks.lanes)
    }
}

/// Runs a product with `k > 0`.
///
/// # Safety
/// As for [`super::driver::product`].
pub(super) unsafe fn run<S: Source<T>, T: Real>(p: &Product<'_, S, T>, parallel: bool) {
    let plan = Plan::new(p, parallel);
    let (mr, nr) = (plan.shape.mr, plan.nr);
    let most = BLOCK_BYTES / size_of::<T>();
    // All of k at once where that fits, or where sums must be complete before they are rounded.
    let whole =
        !S::SAME || matches!(plan.right, Right::Own | Right::Ready) || most / p.m.max(p.n) >= plan.steps;
    let group = if whole { plan.steps } else { plan.kc };
    let lanes = most / group;
    let mc = (lanes.max(TASK_ROWS) / mr).max(1) * mr;
    let nc = if matches!(plan.right, Right::Own | Right::Ready) {
        p.n
    } else {
        (lanes.max(TASK_COLUMNS) / nr).max(1) * nr
    };
    // Without packing, the last panel of B is packed all the same, so that the kernel never reads
    // beyond the matrix.
    let b_lanes = match plan.right {
        Right::InPlace => nr,
        Right::Shared => nc.min(p.n.next_multiple_of(nr)),
        Right::Own | Right::Ready => 0,
    };
    let a_lanes = if plan.pack_a { mc.min(p.m) } else { 0 };
    let (mut a_buf, mut b_buf) = (buffer::<T>(a_lanes * group), buffer::<T>(b_lanes * group));
    let start = |b: &mut Option<Scratch<T>>| {
        SendPtr::new(b.as_mut().map_or(std::ptr::null_mut(), |b| b.slice().as_mut_ptr()))
    };
    let (a_buf, b_buf) = (start(&mut a_buf), start(&mut b_buf));
    for j0 in (0..p.n).step_by(nc) {
        let n = nc.min(p.n - j0);
        for g0 in (0..plan.steps).step_by(group) {
            let len = group.min(plan.steps - g0);
            for i0 in (0..p.m).step_by(mc) {
                let m = mc.min(p.m - i0);
                let block = Block { p, plan: &plan, i0, m, j0, n, g0, len, a_buf, b_buf };
                // SAFETY: the block lies inside the product, the buffers have room for it.
                unsafe {
                    block.pack(i0 == 0, parallel);
                    block.multiply(parallel);
                }
            }
        }
    }
}

fn buffer<T: Real>(len: usize) -> Option<Scratch<T>> {
    (len > 0).then(|| Scratch::new(len))
}

/// One block of all three dimensions; along k it holds one or all of the blocks of [`Plan::kc`] steps.
struct Block<'b, 'a, S, T: Real> {
    p: &'b Product<'a, S, T>,
    plan: &'b Plan<T>,
    i0: usize,
    m: usize,
    j0: usize,
    n: usize,
    g0: usize,
    len: usize,
    a_buf: SendPtr<T>,
    b_buf: SendPtr<T>,
}

impl<S: Source<T>, T: Real> Block<'_, '_, S, T> {
    /// First step and number of steps of a block of k.
    fn steps(&self, index: usize) -> (usize, usize) {
        let first = index * self.plan.kc;
        (self.g0 + first, self.plan.kc.min(self.len - first))
    }
    /// Number of blocks of k.
    fn depth(&self) -> usize {
        self.len.div_ceil(self.plan.kc)
    }
    /// First panel of B that is packed with the block.
    fn first_packed(&self) -> usize {
        if self.plan.right == Right::InPlace { self.n / self.plan.nr } else { 0 }
    }
    /// Where the packed rows of a block of k begin.
    fn left(&self, p0: usize) -> *mut T {
        self.a_buf.get().wrapping_add((p0 - self.g0) * self.m)
    }
    /// Where the packed columns of a block of k begin.
    fn right(&self, p0: usize) -> *mut T {
        let width = self.plan.padded(self.n - self.first_packed() * self.plan.nr);
        self.b_buf.get().wrapping_add((p0 - self.g0) * width)
    }

    /// Packs what is to be packed; B only with the first block of rows.
    unsafe fn pack(&self, with_b: bool, parallel: bool) {
        let (plan, p) = (self.plan, self.p);
        let (mr, nr, kc) = (plan.shape.mr, plan.nr, plan.kc.min(self.len));
        let a_panels = if plan.pack_a { self.m.div_ceil(mr) } else { 0 };
        let first_b = self.first_packed();
        let shared = with_b && matches!(plan.right, Right::InPlace | Right::Shared);
        let b_panels = if shared { self.n.div_ceil(nr) - first_b } else { 0 };
        let a_each = (PACK_TASK / (mr * kc)).max(1);
        let b_each = (PACK_COLUMNS / nr).min((b_panels * self.depth()).div_ceil(4 * threads())).max(1);
        let (a_tasks, b_tasks) = (a_panels.div_ceil(a_each), b_panels.div_ceil(b_each));
        let tasks = a_tasks + b_tasks;
        if tasks == 0 {
            return;
        }
        let run = |t: usize| {
            let ((p0, k), t) = (self.steps(t / tasks), t % tasks);
            // SAFETY: panels lie inside the block; each is packed by one task, to its own place.
            unsafe {
                if t < a_tasks {
                    for i in t * a_each..((t + 1) * a_each).min(a_panels) {
                        let lanes = mr.min(self.m - i * mr);
                        let src = p.a.from(self.i0 + i * mr, p0 * plan.set.unit);
                        let elements = (k * plan.set.unit).min(p.k - p0 * plan.set.unit);
                        pack_strip::<S, T>(
                            plan.set,
                            src,
                            lanes,
                            lanes,
                            elements,
                            self.left(p0).add(i * mr * k),
                        );
                    }
                } else {
                    let from = first_b + (t - a_tasks) * b_each;
                    let to = (from + b_each).min(first_b + b_panels);
                    self.pack_right(from..to, (p0, k), self.right(p0).add((from - first_b) * nr * k));
                }
            }
        };
        let elements = (a_panels * mr + b_panels * nr) * self.len;
        if parallel && elements >= PACK_PARALLEL_FROM {
            parallel_for(tasks * self.depth(), &run);
        } else {
            (0..tasks * self.depth()).for_each(run);
        }
    }

    /// Packs panels of B one behind the other.
    unsafe fn pack_right(&self, panels: Range<usize>, (p0, k): (usize, usize), dst: *mut T) {
        let (p, nr, set) = (self.p, self.plan.nr, self.plan.set);
        let (from, to) = (panels.start * nr, (panels.end * nr).min(self.n));
        let elements = (k * set.unit).min(p.k - p0 * set.unit);
        // SAFETY: the columns lie inside the block.
        unsafe {
            let src = p.b.from(self.j0 + from, p0 * set.unit);
            pack_columns::<S, T>(set, src, to - from, nr, elements, dst);
        }
    }

    /// Multiplies the block, cut into tasks of some panels each way.
    unsafe fn multiply(&self, parallel: bool) {
        let (mr, nr) = (self.plan.shape.mr, self.plan.nr);
        let (mp, np) = (self.m.div_ceil(mr), self.n.div_ceil(nr));
        let own = self.plan.right == Right::Own;
        let mut mt = if own { mp } else { (TASK_ROWS / mr).max(1).min(mp) };
        let mut nt = if own { np } else { (TASK_COLUMNS / nr).max(1).min(np) };
        if parallel && own {
            nt = np.div_ceil(4 * threads());
        } else if parallel {
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

    unsafe fn task(&self, rows: Range<usize>, cols: Range<usize>) {
        // A task that packs its own columns takes some at a time.
        let own = self.plan.right == Right::Own;
        let bytes = self.plan.nr * self.plan.kc * size_of::<T>();
        let few = (ahead::MOST / bytes).clamp(1, (TASK_COLUMNS / self.plan.nr).max(1));
        let each = if own { few } else { cols.len() };
        for j in cols.clone().step_by(each) {
            let end = (j + each).min(cols.end);
            let then = if own { end..(end + each).min(cols.end) } else { end..end };
            // SAFETY: the task's own part of C.
            unsafe { self.part(rows.clone(), j..end, then) }
        }
    }

    /// What is packed for some panels and a block of k.
    fn wanted(&self, panels: &Range<usize>, (p0, k): (usize, usize)) -> Stretch {
        let (from, to) = (panels.start * self.plan.nr, (panels.end * self.plan.nr).min(self.n));
        let (first, steps) = (p0 * self.plan.set.unit, k * self.plan.set.unit);
        let lanes = to.saturating_sub(from);
        // Only rows: strips of columns far apart would throw each other out of the cache (measured).
        if lanes == 0 || first >= self.p.k || self.p.b.lane != 1 {
            return Stretch::NONE;
        }
        Stretch::of(self.p.b.from(self.j0 + from, first), lanes, steps.min(self.p.k - first))
    }

    /// Part of a task: its rows, and columns of which all panels are packed together. `then` are those that
    /// come next.
    unsafe fn part(&self, rows: Range<usize>, cols: Range<usize>, then: Range<usize>) {
        let (p, plan) = (self.p, self.plan);
        let (mr, nr) = (plan.shape.mr, plan.nr);
        let (row0, row1) = (self.i0 + rows.start * mr, self.i0 + (rows.end * mr).min(self.m));
        let (col0, col1) = (self.j0 + cols.start * nr, self.j0 + (cols.end * nr).min(self.n));
        let (height, width) = (row1 - row0, col1 - col0);
        let own = if plan.right == Right::Own { cols.len() * nr * plan.kc.min(self.len) } else { 0 };
        let mut own = buffer::<T>(own);
        let own = own.as_mut().map_or(std::ptr::null_mut(), |b| b.slice().as_mut_ptr());
        // What is not stored as it is computed is summed beside C.
        let mut sums = buffer::<T>(if S::SAME { 0 } else { height * width });
        let (c, c_row) = match &mut sums {
            None => (p.c.wrapping_add(row0 * p.c_row + col0).cast::<T>(), p.c_row),
            Some(sums) => (sums.slice().as_mut_ptr(), width),
        };
        if !S::SAME && p.accumulate {
            for i in 0..height {
                // SAFETY: the task's part of C, and its sums.
                unsafe {
                    let old = std::slice::from_raw_parts(p.c.add((row0 + i) * p.c_row + col0), width);
                    S::widen_into(old, std::slice::from_raw_parts_mut(c.add(i * c_row), width));
                }
            }
        }
        for index in 0..self.depth() {
            let (p0, k) = self.steps(index);
            // SAFETY: the task's columns.
            let (b, first) = unsafe {
                match plan.right {
                    Right::Own => {
                        self.pack_right(cols.clone(), (p0, k), own);
                        (own.cast_const(), cols.start)
                    }
                    Right::Ready => (p.ready.map_or(std::ptr::null(), |r| r.block(p0, p.n)), 0),
                    _ => (self.right(p0).cast_const(), self.first_packed()),
                }
            };
            let next = if plan.right != Right::Own {
                Stretch::NONE
            } else if index + 1 < self.depth() {
                self.wanted(&cols, self.steps(index + 1))
            } else {
                self.wanted(&then, self.steps(0))
            };
            // SAFETY: the task's tiles.
            unsafe { self.tiles(rows.clone(), cols.clone(), (p0, k), (b, first), (c, c_row), next) }
        }
        if self.g0 + self.len < plan.steps {
            return;
        }
        // SAFETY: the task's own part of C, which is complete.
        unsafe {
            if !S::SAME {
                for i in 0..height {
                    let out = std::slice::from_raw_parts_mut(p.c.add((row0 + i) * p.c_row + col0), width);
                    S::narrow_into(std::slice::from_raw_parts(c.add(i * c_row), width), out);
                }
            }
            finish_map(p, row0..row1, col0..col1);
        }
    }

    /// The tiles of a task for one block of k. `b` is where panel `first` lies packed; those before it
    /// are read in place. `c` is where the task's first tile goes, `next` what the task packs after this.
    unsafe fn tiles(
        &self,
        rows: Range<usize>,
        cols: Range<usize>,
        (p0, k): (usize, usize),
        (b, first): (*const T, usize),
        (c, c_row): (*mut T, usize),
        next: Stretch,
    ) {
        let (p, plan, ks) = (self.p, self.plan, self.plan.set.ks);
        let (mr, nr) = (plan.shape.mr, plan.nr);
        let last = p0 + k == plan.steps;
        let (index, mp, np) = ((p0 - self.g0) / plan.kc, self.m.div_ceil(mr), self.n.div_ceil(nr));
        let ahead = p.ahead.any();
        let mut a_off = [0isize; MAX_MR];
        for (i, o) in a_off.iter_mut().enumerate() {
            *o = i as isize * p.a.lane;
        }
        let mut t = Tile::<T>::empty();
        t.k = k;
        t.c_row = c_row;
        t.accumulate = p.accumulate || p0 > 0;
        t.a_off = a_off.as_ptr();
        t.a_step = p.a.step;
        t.relu = last && p.tail.relu;
        // SAFETY: panel `i` covers rows `i * mr` and on of the block, panel `j` columns `j * nr` and
        // on; the packed panels were written by `pack`, whose last one has just its own width.
        unsafe {
            for j in cols.clone() {
                let col = self.j0 + j * nr;
                t.cols = nr.min(self.n - j * nr);
                let nv = t.cols.div_ceil(ks.lanes);
                if j >= first {
                    t.b = b.add((j - first) * nr * k);
                    t.b_step = (nv * ks.lanes) as isize;
                } else {
                    t.b = p.b.from(col, p0).ptr.cast();
                    t.b_step = p.b.step;
                }
                if last && !p.tail.bias_n.is_null() {
                    t.bias_n = p.tail.bias_n.add(col);
                }
                for i in rows.clone() {
                    let tile = (j - cols.start) * rows.len() + i - rows.start;
                    next.fetch(tile, rows.len() * cols.len());
                    if ahead {
                        p.ahead.fetch(index * np * mp + j * mp + i, np * mp * self.depth());
                    }
                    let row = self.i0 + i * mr;
                    let count = mr.min(self.m - i * mr);
                    t.c = c.add((i - rows.start) * mr * c_row + (j - cols.start) * nr);
                    if last && !p.tail.bias_m.is_null() {
                        t.bias_m = p.tail.bias_m.add(row);
                    }
                    if plan.pack_a {
                        t.a = self.left(p0).add(i * mr * k);
                        ks.packed[nv - 1][count - 1](&t);
                    } else {
                        t.a = p.a.from(row, p0).ptr.cast();
                        ks.strided[nv - 1][count - 1](&t);
                    }
                }
            }
        }
    }
}

impl<S> Operand<S> {
    /// The operand from a lane and a step on.
    pub fn from(self, lane: usize, step: usize) -> Self {
        let at = lane as isize * self.lane + step as isize * self.step;
        Operand { ptr: self.ptr.wrapping_offset(at), ..self }
    }
}
