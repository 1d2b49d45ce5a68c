//! How an input is read at a linear position of the iteration space.
//!
//! Every input is walked by its own dimensions, merged as far as its strides allow, so one awkward
//! input does not slow the others.

use super::blocks::BLOCK;
use super::convert::{CopyFn, GatherFn, load_copy, load_gather};
use super::plan::Given;
use crate::simd::Level;
use hadal_core::smallvec::SmallVec;
use hadal_core::{Layout, Shape, Strides};

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

/// Where an operand lies in one run.
#[derive(Clone, Copy)]
pub(super) struct At {
    /// Its first element.
    pub base: *const u8,
    /// End of the input's memory: how far a block may be read past its own end.
    pub end: *const u8,
}

/// How an input is read.
pub(super) struct Operand {
    /// Which of the program's inputs it is.
    pub(super) input: u16,
    /// The output whose memory it lies in: nothing may be read there but what a block is about to
    /// overwrite, since other threads are writing the rest.
    pub(super) in_place: Option<usize>,
    size: usize,
    /// Compute type and storage type are the same, so a block need not be copied.
    plain: bool,
    /// Sizes and strides, innermost last, none of size 1, neighbours that could be one merged.
    dims: SmallVec<[(usize, isize); 4]>,
    pub(super) kind: Kind,
    /// Elements of the iteration space.
    numel: usize,
    copy: CopyFn,
    gather: GatherFn,
}

/// Merges dimensions: drops those of size 1 and joins neighbours that are one run.
fn merged(shape: &Shape, strides: &Strides) -> SmallVec<[(usize, isize); 4]> {
    let mut dims: SmallVec<[(usize, isize); 4]> = SmallVec::new();
    for (&d, &s) in shape.iter().zip(strides) {
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
    let dims = merged(&layout.shape, &layout.strides);
    let strided = dims.last().is_some_and(|d| d.1.unsigned_abs() >= 16);
    let contiguous = dims.iter().any(|d| d.1 == 1 && d.0 >= 8);
    strided && contiguous && dims.iter().all(|d| d.1 != 0)
}

/// Whether unrolling a period costs less than walking the rows: where there are many blocks, or one block
/// of many rows.
fn repays(period: usize, numel: usize) -> bool {
    numel >= 4 * (period + BLOCK) || (numel <= BLOCK && numel >= 4 * period)
}

impl Operand {
    /// Input number `input` of a program over `shape`.
    pub(super) fn new(level: Level, input: u16, given: &Given, shape: &Shape) -> Operand {
        let &Given { dtype, ref strides, in_place } = given;
        let dims = merged(shape, strides);
        let numel: usize = dims.iter().map(|d| d.0).product();
        let kind = match dims.first() {
            _ if in_place.is_some() => Kind::Walk,
            None => Kind::Uniform,
            Some(&(n, 0)) => {
                let period = numel / n.max(1);
                match period {
                    1 => Kind::Uniform,
                    _ if period <= MAX_PERIOD && repays(period, numel) => Kind::Periodic(period),
                    _ => Kind::Walk,
                }
            }
            _ => Kind::Walk,
        };
        Operand {
            input,
            in_place,
            size: dtype.size(),
            plain: dtype == dtype.compute(),
            dims,
            kind,
            numel,
            copy: load_copy(level, dtype),
            gather: load_gather(level, dtype),
        }
    }

    /// Never lends its memory as a block.
    pub(super) fn always_copy(&mut self) {
        self.plain = false;
    }

    /// Whether the operand lies in this output's memory.
    pub(super) fn is_in_place_of(&self, output: usize) -> bool {
        self.in_place == Some(output)
    }

    /// Where it lies in a run in which its input's memory is `start..end` and its first element the one at
    /// `offset`.
    ///
    /// # Safety
    /// Every element of the layout lies in `start..end`, which is one live allocation.
    pub(super) unsafe fn at(&self, start: *const u8, end: *const u8, offset: usize) -> At {
        // SAFETY: the offset is that of the first element, inside the allocation.
        let base = unsafe { start.add(offset * self.size) };
        At { base, end: if self.in_place.is_some() { base } else { end } }
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
    /// `uniform` if the operand is uniform; the iteration space is not empty; the operand lies at `at`.
    pub(super) unsafe fn prepare(&self, at: At, dst: *mut u8, compute_size: usize, uniform: usize) {
        // SAFETY: the caller's promise; the period is no longer than the iteration space.
        unsafe {
            match self.kind {
                Kind::Uniform => (self.gather)(dst, at.base, 0, uniform),
                Kind::Periodic(p) => {
                    self.read(at, 0, p, dst, compute_size);
                    let mut have = p;
                    let want = (p + BLOCK).min(self.numel);
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
        at: At,
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
        let from = at.base.wrapping_offset(offset * self.size as isize);
        let ends = (from as usize).checked_add(padded * self.size)?;
        (n == padded || ends <= at.end as usize).then_some(from)
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
    /// elements of `compute_size` bytes and overlaps no input; the operand lies at `at`.
    pub(super) unsafe fn read(&self, at: At, p: usize, n: usize, dst: *mut u8, compute_size: usize) {
        let Some(&(inner, stride)) = self.dims.last() else {
            // SAFETY: an operand without dimensions has one element.
            return unsafe { (self.gather)(dst, at.base, 0, n) };
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
                let src = at.base.offset((offset + col as isize * stride) * self.size as isize);
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
