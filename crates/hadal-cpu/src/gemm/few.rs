//! Products with few rows or few columns: the other operand is read once, as it lies.
//!
//! A matrix of few rows is multiplied with whole rows of the other operand, one step of k after the other.
//! Where the other operand's columns lie along k instead, each is multiplied with the few rows as a dot product,
//! summed in the lanes of vectors: only so are they read at the speed of memory.

use super::driver::{Operand, Product, SharedPtr, finish_rows, k_block, round_rows};
use super::real::{Real, Source};
use super::small;
use super::tables::Kernels;
use super::vecmat::{MAX_ROWS, Rows};
use crate::scratch::Scratch;
use crate::threads::{SendPtr, parallel_for, threads};

/// Most rows of dot products.
const MAX_DOT_ROWS: usize = 8;
/// Columns that dot products take before the next rows; a multiple of what the kernel takes.
const DOT_COLUMNS: usize = 8;
/// Lanes of a task are a multiple of this.
const TASK: usize = 256;
/// Sums of a task: they stay in the first-level cache beside what streams by.
const SUMS: usize = 1 << 13;

/// The long operand, the short one, and where their products go: `c[i * c_short + j * c_long]`.
struct Stripes<'a, T: 'static> {
    ks: &'static Kernels<T>,
    /// Whether the long operand's steps lie side by side, and not its lanes.
    dots: bool,
    short: Operand<T>,
    /// Lanes of the short operand.
    count: usize,
    long: Operand<T>,
    k: usize,
    c: SendPtr<T>,
    c_short: usize,
    c_long: usize,
    accumulate: bool,
    lifetime: std::marker::PhantomData<&'a T>,
}

/// Runs the product if it is one of these. Returns whether it was.
///
/// # Safety
/// As for [`super::driver::product`].
pub(super) unsafe fn run<S: Source<T>, T: Real>(p: &Product<'_, S, T>, parallel: bool) -> bool {
    if p.ready.is_some() {
        return false;
    }
    if !S::SAME {
        // SAFETY: the caller's promise.
        return unsafe { pairs(p, parallel) };
    }
    let cast = |o: Operand<S>| Operand { ptr: o.ptr.cast::<T>(), lane: o.lane, step: o.step };
    let (a, b) = (cast(p.a), cast(p.b));
    let fits = |count: usize, long: &Operand<T>| {
        (count <= MAX_ROWS && long.lane == 1) || (count <= MAX_DOT_ROWS && long.step == 1)
    };
    let by_rows = fits(p.m, &b);
    if !by_rows && !fits(p.n, &a) {
        return false;
    }
    let (mut short, count, long, lanes) = if by_rows { (a, p.m, b, p.n) } else { (b, p.n, a, p.m) };
    let dots = !(long.lane == 1 && count <= MAX_ROWS);
    let mut copy = (dots && short.step != 1).then(|| Scratch::<T>::new(count * p.k));
    if let Some(copy) = &mut copy {
        for (i, row) in copy.slice().chunks_exact_mut(p.k).enumerate() {
            for (q, to) in row.iter_mut().enumerate() {
                // SAFETY: an element of the short operand.
                *to = unsafe { *short.from(i, q).ptr };
            }
        }
        short = Operand { ptr: copy.slice().as_ptr(), lane: p.k as isize, step: 1 };
    }
    let (c_short, c_long) = if by_rows { (p.c_row, 1) } else { (1, p.c_row) };
    let stripes = Stripes {
        ks: T::kernels(),
        dots,
        short,
        count,
        long,
        k: p.k,
        c: SendPtr::new(p.c.cast()),
        c_short,
        c_long,
        accumulate: p.accumulate,
        lifetime: std::marker::PhantomData,
    };
    stripes.tasks(lanes, parallel, |j, n| {
        // SAFETY: the task's own rows or columns of C.
        unsafe { if by_rows { finish_rows(p, 0, p.m, j, n) } else { finish_rows(p, j, n, 0, p.n) } }
    });
    true
}

/// Dot products of bf16 whose pairs lie on boundaries of pairs: summed beside C, and rounded.
unsafe fn pairs<S: Source<T>, T: Real>(p: &Product<'_, S, T>, parallel: bool) -> bool {
    let set = S::set();
    let even = p.k.is_multiple_of(2) && p.a.lane % 2 == 0 && p.b.lane % 2 == 0;
    let small = p.m.max(p.n).max(p.k) <= small::MOST;
    if set.unit != 2 || small || p.m > MAX_DOT_ROWS || !even || p.a.step != 1 || p.b.step != 1 {
        return false;
    }
    let halved = |o: Operand<S>| Operand { ptr: o.ptr.cast::<T>(), lane: o.lane / 2, step: 1 };
    let mut sums = Scratch::<T>::new(p.m * p.n);
    let sums = SendPtr::new(sums.slice().as_mut_ptr());
    let stripes = Stripes {
        ks: set.ks,
        dots: true,
        short: halved(p.a),
        count: p.m,
        long: halved(p.b),
        k: p.k / 2,
        c: sums,
        c_short: p.n,
        c_long: 1,
        accumulate: false,
        lifetime: std::marker::PhantomData,
    };
    stripes.tasks(p.n, parallel, |j, n| {
        // SAFETY: the task's own columns of the sums and of C.
        unsafe { round_rows(p, sums.get(), 0..p.m, j..j + n) }
    });
    true
}

impl<T: Real> Stripes<'_, T> {
    /// All products, on several threads where that is wanted, each task ending with `finish(first lane, lanes)`.
    fn tasks(&self, lanes: usize, parallel: bool, finish: impl Fn(usize, usize) + Sync) {
        let share = if parallel { lanes.div_ceil(4 * threads()) } else { lanes };
        let chunk = share.min(SUMS / self.count).next_multiple_of(TASK);
        let this = SharedPtr(self);
        let task = |t: usize| {
            let (j, n) = (t * chunk, chunk.min(lanes - t * chunk));
            // SAFETY: operands are valid by the promise of `run`; each task writes its own rows or columns of C.
            unsafe { this.get().run(j, n) };
            finish(j, n);
        };
        let tasks = lanes.div_ceil(chunk);
        if parallel { parallel_for(tasks, &task) } else { (0..tasks).for_each(task) }
    }

    /// The products of the long operand's lanes `j..j + n`.
    unsafe fn run(&self, j: usize, n: usize) {
        // SAFETY: the caller's promise.
        unsafe { if self.dots { self.across(j, n) } else { self.along(j, n) } }
    }

    /// Lanes side by side: all of them, one step after the other.
    unsafe fn along(&self, j: usize, n: usize) {
        let kc = k_block::<T>(self.k);
        let mut sums = Scratch::<T>::new(self.count * n);
        let sums = sums.slice();
        for p0 in (0..self.k).step_by(kc) {
            let first = p0 == 0 && !self.accumulate;
            let (short, long) = (self.short.from(0, p0), self.long.from(j, p0));
            let rows = Rows {
                a: short.ptr,
                a_row: short.lane,
                a_step: short.step,
                m: self.count,
                k: kc.min(self.k - p0),
            };
            // SAFETY: these lanes of C and of the long operand.
            unsafe {
                if first && self.c_long == 1 {
                    for i in 0..self.count {
                        self.c.slice(i * self.c_short + j, n).fill(T::ZERO);
                    }
                    (self.ks.axpy)(&rows, long.ptr, long.step, self.c.get().add(j), self.c_short, n);
                } else {
                    sums.fill(T::ZERO);
                    (self.ks.axpy)(&rows, long.ptr, long.step, sums.as_mut_ptr(), n, n);
                    self.store(j, n, sums, n, first);
                }
            }
        }
    }

    /// Steps side by side: sums in the lanes of vectors, each along a row of both operands.
    unsafe fn across(&self, j: usize, n: usize) {
        // Some of the long operand's rows stay in cache while the short one's pass.
        let block = if self.count > MAX_ROWS { DOT_COLUMNS } else { n };
        let end = j + n;
        for j in (j..end).step_by(block) {
            let n = block.min(end - j);
            // SAFETY: as above; the short operand's steps lie side by side.
            unsafe {
                let long = self.long.from(j, 0);
                for i in (0..self.count).step_by(MAX_ROWS) {
                    let short = self.short.from(i, 0);
                    let m = MAX_ROWS.min(self.count - i);
                    let rows = Rows { a: short.ptr, a_row: short.lane, a_step: 1, m, k: self.k };
                    let c = self.c.get().add(i * self.c_short + j * self.c_long);
                    if !self.accumulate {
                        for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
                            *c.add(i * self.c_short + j * self.c_long) = T::ZERO;
                        }
                    }
                    (self.ks.dot)(&rows, long.ptr, long.lane, c, self.c_short, self.c_long, n);
                }
            }
        }
    }

    /// Stores the sums of a block of k, or adds them, for lanes `j..j + n`.
    unsafe fn store(&self, j: usize, n: usize, sums: &[T], row: usize, first: bool) {
        for (i, row) in sums.chunks_exact(row).enumerate() {
            if self.c_long == 1 {
                // SAFETY: the task's own part of C.
                let c = unsafe { self.c.slice(i * self.c_short + j, n) };
                for (c, &v) in c.iter_mut().zip(row) {
                    *c = if first { v } else { *c + v };
                }
                continue;
            }
            let c = self.c.get().wrapping_add(i * self.c_short + j * self.c_long);
            for (x, &v) in row[..n].iter().enumerate() {
                // SAFETY: the task's own part of C.
                unsafe {
                    let c = c.add(x * self.c_long);
                    *c = if first { v } else { *c + v };
                }
            }
        }
    }
}
