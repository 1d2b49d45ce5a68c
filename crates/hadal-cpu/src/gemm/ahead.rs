//! Asking for memory that is wanted soon, while something else is multiplied.
//!
//! The machine's own prefetching stops at the end of a page and knows nothing of the next matrix. Hints are spread
//! over the tiles of what is being multiplied, so that there are never more than the machine can have under way.

use super::driver::Operand;
use super::{Call, MatView};

/// Bytes of a cache line.
const LINE: usize = 64;
/// Bytes of a batch below which it lies in cache anyway.
const FROM: usize = 8 << 20;
/// Most bytes of a stretch: what is asked for must stay in the second-level cache until its turn comes.
pub(super) const MOST: usize = 256 << 10;

/// Rows of memory that lie a fixed distance apart.
#[derive(Clone, Copy)]
pub(super) struct Stretch {
    from: *const u8,
    row: isize,
    rows: usize,
    /// Cache lines of a row.
    lines: usize,
}

impl Stretch {
    pub const NONE: Stretch = Stretch { from: std::ptr::null(), row: 0, rows: 0, lines: 1 };

    fn new<T>(from: *const T, row: isize, rows: usize, cols: usize) -> Stretch {
        let size = size_of::<T>();
        let fits = rows.saturating_mul(cols).saturating_mul(size) <= MOST;
        let lines = (cols * size).div_ceil(LINE);
        if fits && lines > 0 {
            Stretch { from: from.cast(), row: row * size as isize, rows, lines }
        } else {
            Stretch::NONE
        }
    }

    /// `lanes` lanes by `steps` steps, if one of the two is contiguous.
    pub fn of<S>(o: Operand<S>, lanes: usize, steps: usize) -> Stretch {
        match (o.lane, o.step) {
            (1, step) => Stretch::new(o.ptr, step, steps, lanes),
            (lane, 1) => Stretch::new(o.ptr, lane, lanes, steps),
            _ => Stretch::NONE,
        }
    }

    /// Asks for part `index` of `parts`.
    #[inline]
    pub fn fetch(&self, index: usize, parts: usize) {
        let all = self.rows * self.lines;
        if all == 0 {
            return;
        }
        let (from, to) = (all * index / parts, all * (index + 1) / parts);
        let (mut row, mut line) = (from / self.lines, from % self.lines);
        for _ in from..to {
            prefetch(self.from.wrapping_offset(row as isize * self.row).wrapping_add(LINE * line));
            line += 1;
            if line == self.lines {
                (row, line) = (row + 1, 0);
            }
        }
    }
}

/// The operands and the output of the next product of a batch.
#[derive(Clone, Copy)]
pub(super) struct Ahead([Stretch; 3]);

impl Ahead {
    pub const NONE: Ahead = Ahead([Stretch::NONE; 3]);

    /// Matrix `index` of a batch whose output begins at `c`.
    pub fn new<S>(call: &Call<'_, S>, index: usize, c: *const S) -> Ahead {
        let (m, n, k) = (call.m, call.n, call.k);
        if (m * k + k * n + m * n).saturating_mul(call.count).saturating_mul(size_of::<S>()) < FROM {
            return Ahead::NONE;
        }
        let (a, b) = call.offsets(index);
        let stretch = |v: &MatView<'_, S>, at: isize, rows: usize, cols: usize| {
            let ptr = v.data.as_ptr().wrapping_offset(at);
            Stretch::of(Operand { ptr, lane: v.row_stride, step: v.col_stride }, rows, cols)
        };
        let c = Stretch::new(c.wrapping_add(index * m * n), n as isize, m, n);
        Ahead([stretch(&call.a, a, m, k), stretch(&call.b, b, k, n), c])
    }

    /// Whether there is anything to ask for.
    pub fn any(&self) -> bool {
        self.0.iter().any(|s| s.rows > 0)
    }

    /// Asks for part `index` of `parts`.
    pub fn fetch(&self, index: usize, parts: usize) {
        self.0.iter().for_each(|s| s.fetch(index, parts));
    }
}

/// Asks for a cache line, into the second-level cache.
#[inline(always)]
fn prefetch(_p: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint that reads nothing; every x86-64 has it.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(_p.cast());
    }
}
