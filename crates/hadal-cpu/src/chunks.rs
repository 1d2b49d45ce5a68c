//! Splitting an output into pieces that tasks write independently.
//!
//! Piece sizes depend on the shapes only, so results are the same for any number of threads.

use crate::threads::parallel_for;
use std::ops::Range;

/// Bytes of output per task: large against the cost of handing out a task (under 1 µs), small
/// against L2.
pub(crate) const GRAIN: usize = 128 << 10;

/// Elements of `T` per task.
pub(crate) const fn grain<T>() -> usize {
    GRAIN / size_of::<T>()
}

/// An output that several tasks write at once, each at places of its own.
pub(crate) struct Shared<T> {
    ptr: *mut T,
    len: usize,
}

// SAFETY: the pointer comes from an exclusive borrow that outlives the tasks; every access goes
// through unsafe functions whose callers promise disjoint places.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub(crate) fn new(out: &mut [T]) -> Shared<T> {
        Shared { ptr: out.as_mut_ptr(), len: out.len() }
    }
    /// The place of element `i`.
    ///
    /// # Safety
    /// The borrow given to `new` is still exclusive to the tasks, and `i` is at most its length.
    pub(crate) unsafe fn at(&self, i: isize) -> *mut T {
        debug_assert!(i >= 0 && i as usize <= self.len);
        // SAFETY: inside the slice, or one past it, by the caller's promise.
        unsafe { self.ptr.offset(i) }
    }
    /// A part, for writing.
    ///
    /// # Safety
    /// As for `at`; no other task touches the part while the result lives.
    #[allow(clippy::mut_from_ref)] // exclusive by the caller's promise
    pub(crate) unsafe fn part(&self, range: Range<usize>) -> &mut [T] {
        debug_assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: inside the slice and unshared by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.add(range.start), range.len()) }
    }
}

/// Runs `f` on pieces of `0..n` of at most `chunk` numbers.
pub(crate) fn for_ranges(n: usize, chunk: usize, f: impl Fn(Range<usize>) + Sync) {
    let chunk = chunk.max(1);
    match n.div_ceil(chunk) {
        0 => {}
        1 => f(0..n),
        tasks => parallel_for(tasks, &|t| f(t * chunk..n.min((t + 1) * chunk))),
    }
}

/// Runs `f(start, piece)` on pieces of `out` of at most `chunk` elements.
pub(crate) fn for_chunks<T: Send>(out: &mut [T], chunk: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    let n = out.len();
    let shared = Shared::new(out);
    for_ranges(n, chunk, |r| {
        // SAFETY: the ranges of different tasks do not overlap and end at the slice's length.
        f(r.start, unsafe { shared.part(r) })
    });
}
