//! How an input is read at a linear position of the iteration space.
//!
//! Every input is walked by its own dimensions, merged as far as its strides allow, so one awkward
//! input does not slow the others.

use super::blocks::BLOCK;
use super::convert::{CopyFn, GatherFn, load_copy, load_gather};
use crate::simd::Level;
use hadal_core::smallvec::SmallVec;
use hadal_core::{DType, Layout};

/// Longest period, in elements, of an input that is kept unrolled in scratch. A row of this length
/// (4 KiB of f32) leaves most of the L1 cache to the registers.
const MAX_PERIOD: usize = 1024;

/// Elements from which on a transposed input is copied; fewer stay in the L2 cache.
const TRANSPOSE: usize = 64 * 1024;

/// What reading an input at a position takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// The same element everywhere: filled once per task.
    Uniform,
    /// The same short row again and again: unrolled once per task, so that a block anywhere is one
    /// run of it. The period in elements.
    Periodic(usize),
    /// Anything else: read block by block, without a copy where possible.
    Walk,
}

/// An input, ready to be read.
pub(super) struct Operand {
    base: *const u8,
    /// The memory is that of an output.
    in_place: bool,
    /// End of the input's memory: how far a block may be read past its own end.
    end: *const u8,
    size: usize,
    /// Compute type and storage type are the same, so a block need not be copied.
    plain: bool,
    /// Sizes and strides, innermost last, none of size 1, neighbours that could be one merged.
    dims: SmallVec<[(usize, isize); 4]>,
    pub(super) kind: Kind,
    copy: CopyFn,
    gather: GatherFn,
}

/// Merges dimensions: drops those of size 1 and joins neighbours that are one run.
fn merged(layout: &Layout) -> SmallVec<[(usize, isize); 4]> {
    let mut dims: SmallVec<[(usize, isize); 4]> = SmallVec::new();
    for (&d, &s) in layout.shape.iter().zip(&layout.strides) {
        if d == 1 {
            continue;
        }
        match dims.last_mut() {
            Some((size, stride)) if *stride == s.wrapping_mul(d as isize) => {
                *size *= d;
                *stride = s;
            }
            _ => dims.push((d, s)),
        }
    }
    dims
}

/// Whether an input is better brought into row-major order before the program runs: its rows are
/// strided, and some other axis is its contiguous one. Block by block each element would cost a
/// cache line; a blocked transpose uses lines whole.
pub(super) fn is_transposed(layout: &Layout) -> bool {
    if layout.shape.numel() < TRANSPOSE {
        return false;
    }
    let dims = merged(layout);
    let strided = dims.last().is_some_and(|d| d.1.unsigned_abs() >= 16);
    let contiguous = dims.iter().any(|d| d.1 == 1 && d.0 >= 8);
    strided && contiguous && dims.iter().all(|d| d.1 != 0)
}

impl Operand {
    /// An operand of `layout` in the memory `start..end`, which the layout has been checked against.
    /// `in_place` is set for memory that is also an output: nothing may be read there but what a
    /// block is about to overwrite, since other threads are writing the rest.
    ///
    /// # Safety
    /// Every element of the layout lies in `start..end`, which is one live allocation.
    pub(super) unsafe fn new(
        level: Level,
        dtype: DType,
        layout: &Layout,
        start: *const u8,
        end: *const u8,
        in_place: bool,
    ) -> Operand {
        let dims = merged(layout);
        let numel: usize = dims.iter().map(|d| d.0).product();
        let kind = match dims.first() {
            _ if in_place => Kind::Walk,
            None => Kind::Uniform,
            Some(&(n, 0)) => {
                let period = numel / n.max(1);
                match period {
                    1 => Kind::Uniform,
                    _ if period <= MAX_PERIOD && numel >= 4 * (period + BLOCK) => Kind::Periodic(period),
                    _ => Kind::Walk,
                }
            }
            _ => Kind::Walk,
        };
        let size = dtype.size();
        // SAFETY: the offset is that of the first element, inside the allocation.
        let base = unsafe { start.add(layout.offset * size) };
        Operand {
            base,
            in_place,
            end: if in_place { base } else { end },
            size,
            plain: dtype == dtype.compute(),
            dims,
            kind,
            copy: load_copy(level, dtype),
            gather: load_gather(level, dtype),
        }
    }

    /// Never lends its memory as a block.
    pub(super) fn always_copy(&mut self) {
        self.plain = false;
    }

    /// Whether the operand lies in the output's memory that begins at `to`.
    pub(super) fn is_in_place_of(&self, to: *const u8) -> bool {
        self.in_place && self.base == to
    }

    /// Elements of scratch the operand wants.
    pub(super) fn scratch_len(&self) -> usize {
        match self.kind {
            Kind::Periodic(p) => (p + BLOCK).next_multiple_of(BLOCK),
            _ => BLOCK,
        }
    }

    /// Fills the scratch of an operand that is filled once per task.
    ///
    /// # Safety
    /// `dst` is valid for [`scratch_len`](Operand::scratch_len) elements of the compute type, or
    /// `uniform` if the operand is uniform; the iteration space is not empty.
    pub(super) unsafe fn prepare(&self, dst: *mut u8, compute_size: usize, uniform: usize) {
        // SAFETY: the caller's promise; a periodic operand's numel is at least period + BLOCK, and
        // all its strides in front of the period are 0, so positions up to there exist.
        unsafe {
            match self.kind {
                Kind::Uniform => (self.gather)(dst, self.base, 0, uniform),
                Kind::Periodic(p) => {
                    self.read(0, p, dst, compute_size);
                    let mut have = p;
                    let want = p + BLOCK;
                    while have < want {
                        let n = have.min(want - have);
                        std::ptr::copy_nonoverlapping(dst, dst.add(have * compute_size), n * compute_size);
                        have += n;
                    }
                }
                Kind::Walk => {}
            }
        }
    }

    /// The block at position `p` where it lies, if it is one run of the compute type there of which
    /// `padded` elements may be read. `place` is the operand's scratch.
    #[inline]
    pub(super) fn lend(
        &self,
        p: usize,
        n: usize,
        padded: usize,
        place: *const u8,
        compute_size: u8,
    ) -> Option<*const u8> {
        if let Kind::Periodic(period) = self.kind {
            return Some(place.wrapping_add(p % period * compute_size as usize));
        }
        if !self.plain {
            return None;
        }
        let offset = match self.dims[..] {
            [(_, 1)] => p as isize,
            [(_, s), (inner, 1)] => {
                let (row, col) = (p / inner, p % inner);
                if col + n > inner {
                    return None;
                }
                row as isize * s + col as isize
            }
            [.., (inner, 1)] => {
                let col = p % inner;
                if col + n > inner {
                    return None;
                }
                self.offset_of(p / inner) + col as isize
            }
            _ => return None,
        };
        let at = self.base.wrapping_offset(offset * self.size as isize);
        let ends = (at as usize).checked_add(padded * self.size)?;
        (n == padded || ends <= self.end as usize).then_some(at)
    }

    /// Whether elements `p..p + n` are one element again and again, in a walk whose rows are such.
    #[inline]
    pub(super) fn is_one(&self, p: usize, n: usize) -> bool {
        match self.dims.last() {
            Some(&(inner, 0)) if self.kind == Kind::Walk => p % inner + n <= inner,
            _ => false,
        }
    }

    /// Offset in elements of row number `row`, counting all dimensions but the innermost.
    fn offset_of(&self, mut row: usize) -> isize {
        let mut offset = 0;
        for &(d, s) in self.dims.iter().rev().skip(1) {
            offset += (row % d) as isize * s;
            row /= d;
        }
        offset
    }

    /// Reads elements `p..p + n` into `dst` as the compute type.
    ///
    /// # Safety
    /// `p + n` is at most the number of elements of the iteration space; `dst` is valid for `n`
    /// elements of `compute_size` bytes and overlaps no input.
    pub(super) unsafe fn read(&self, p: usize, n: usize, dst: *mut u8, compute_size: usize) {
        let Some(&(inner, stride)) = self.dims.last() else {
            // SAFETY: an operand without dimensions has one element.
            return unsafe { (self.gather)(dst, self.base, 0, n) };
        };
        let (mut row, mut col) = (p / inner, p % inner);
        let mut done = 0;
        let mut outer: SmallVec<[usize; 4]> = SmallVec::new();
        let mut offset = 0isize;
        if self.dims.len() > 1 {
            for &(d, s) in self.dims.iter().rev().skip(1) {
                outer.push(row % d);
                offset += (row % d) as isize * s;
                row /= d;
            }
        }
        while done < n {
            let len = (n - done).min(inner - col);
            // SAFETY: row and column are inside the iteration space, so the element is inside the
            // layout and `len` more of the row follow.
            unsafe {
                let src = self.base.offset((offset + col as isize * stride) * self.size as isize);
                let dst = dst.add(done * compute_size);
                if stride == 1 {
                    (self.copy)(dst, src, len);
                } else {
                    (self.gather)(dst, src, stride, len);
                }
            }
            done += len;
            col = 0;
            // The next row: an odometer over the outer dimensions, the fastest first.
            for (i, &(d, s)) in outer.iter_mut().zip(self.dims.iter().rev().skip(1)) {
                *i += 1;
                offset += s;
                if *i < d {
                    break;
                }
                offset -= s * d as isize;
                *i = 0;
            }
        }
    }
}
