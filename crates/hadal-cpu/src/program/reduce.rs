//! Running programs with reducing outputs.

use super::blocks::BLOCK;
use super::exec::{Memory, Registers, Worker};
use super::fold::{DEPTH, Folds, TOGETHER, folds};
use super::parallel;
use super::plan::{Plan, Step};
use super::space::{Space, share};
use crate::args::temporary;
use crate::scratch::Scratch;
use crate::simd::Level;
use crate::threads::SendPtr;
use hadal_core::ops::Program;
use hadal_core::smallvec::SmallVec;
use hadal_core::{DType, Element, Result, Shape, dispatch};

/// Bytes of an accumulator.
const ACC: usize = 8;

/// One reducing output.
struct Reducer {
    reg: u16,
    folds: Folds,
    /// The program's output, its dtype and its elements.
    output: usize,
    dtype: DType,
    len: usize,
}

/// The reducing outputs of a program, and the walk over its iteration space.
pub(super) struct Reduction {
    reducers: SmallVec<[Reducer; 2]>,
    /// The walk; none over nothing.
    space: Option<Space>,
}

impl Reduction {
    /// What reduces in a program whose outputs have these shapes and dtypes; `None` where nothing does.
    pub(super) fn of(
        level: Level,
        program: &Program,
        plan: &Plan,
        outputs: &[(Shape, DType)],
    ) -> Option<Reduction> {
        let reducers: SmallVec<[Reducer; 2]> = (program.outputs.iter().zip(&plan.out_regs).zip(outputs))
            .enumerate()
            .filter_map(|(output, ((o, &reg), (shape, dtype)))| {
                let folds = folds(level, o.reduce?, program.instrs[o.reg as usize].dtype);
                Some(Reducer { reg, folds, output, dtype: *dtype, len: shape.numel() })
            })
            .collect();
        if reducers.is_empty() {
            return None;
        }
        let space = (program.shape.numel() > 0).then(|| Space::new(&program.shape, &program.reduced));
        Some(Reduction { reducers, space })
    }
}

/// Runs the plan of a program with reducing outputs.
///
/// # Safety
/// The plan is that of the reduction's program; for `memory` see [`Worker::new`], and each reducing output
/// holds its elements. It is not otherwise accessed meanwhile.
pub(super) unsafe fn run(reduction: &Reduction, plan: &Plan, memory: &Memory, serial: bool) -> Result<()> {
    let reducers = &reduction.reducers;
    let Some(space) = &reduction.space else {
        for r in reducers {
            let nothing = [r.folds.empty; 64];
            for at in (0..r.len).step_by(nothing.len()) {
                let n = (r.len - at).min(nothing.len());
                // SAFETY: at + n is inside the output.
                unsafe { finish(r, memory, at, nothing.as_ptr().cast(), n) };
            }
        }
        return Ok(());
    };
    if space.splits == 1 {
        let task = |g: usize| {
            // SAFETY: the caller's promise; groups of tiles are disjoint in elements and results.
            unsafe {
                tiles(space, (plan, memory), reducers, share(space.all_tiles, space.groups, g), 0, None)
            }
        };
        parallel(space.groups, serial, &task);
        return Ok(());
    }
    // Accumulators of every split, reducer and kept position.
    let stride = space.kept;
    let mut partials = temporary::<i64>("program", space.splits * reducers.len() * stride)?;
    let ptr = SendPtr::new(partials.as_mut_slice::<i64>().as_mut_ptr().cast::<u64>());
    let task = |t: usize| {
        let (g, s) = (t % space.groups, t / space.groups);
        let tiles_of = share(space.all_tiles, space.groups, g);
        // SAFETY: as above; every split has its own accumulators.
        unsafe { tiles(space, (plan, memory), reducers, tiles_of, s, Some(ptr)) }
    };
    parallel(space.groups * space.splits, serial, &task);
    // Added up in order of the splits, a run of positions at a time.
    let run = 1024;
    let combine = |k: usize| {
        let (at, n) = (k * run, run.min(space.kept - k * run));
        for (i, r) in reducers.iter().enumerate() {
            // SAFETY: all tasks are done; positions at..at + n of split 0 belong to this task.
            unsafe {
                let of = |s: usize| ptr.get().add((s * reducers.len() + i) * stride + at).cast::<u8>();
                for s in 1..space.splits {
                    (r.folds.join)(of(0), of(s), 1, n);
                }
                finish(r, memory, at, of(0), n);
            }
        }
    };
    parallel(space.kept.div_ceil(run), serial || space.kept * space.splits < 16 * 1024, &combine);
    Ok(())
}

/// Converts accumulators to results `at..at + n`.
///
/// # Safety
/// The results are inside the output and no other task's; `acc` holds `n` accumulators.
unsafe fn finish(r: &Reducer, memory: &Memory, at: usize, acc: *const u8, n: usize) {
    dispatch!(r.dtype, T => {
        let to = memory.outputs[r.output].cast::<T>().wrapping_add(at);
        for i in 0..n {
            // SAFETY: the caller's promise. A bool is written as the byte 0 or 1.
            unsafe {
                to.add(i).write(if r.folds.float {
                    T::from_f64(acc.cast::<f64>().add(i).read())
                } else {
                    T::from_i64(acc.cast::<i64>().add(i).read())
                })
            }
        }
    })
}

/// Reduces the parts of split `split` of some tiles. Results go to `partials`, or to the outputs if
/// there is only one split.
///
/// # Safety
/// As for [`run`]; no other task has the same tiles and split.
unsafe fn tiles(
    space: &Space,
    (plan, memory): (&Plan, &Memory),
    reducers: &[Reducer],
    range: std::ops::Range<usize>,
    split: usize,
    partials: Option<SendPtr<u64>>,
) {
    let mut registers = Scratch::<u64>::new(plan.scratch / 8);
    // Accumulators of all reducers, then the column lanes of all.
    let (width, count) = (space.width, reducers.len());
    let mut accumulators = Scratch::<u64>::new(2 * width * count);
    let sums = accumulators.slice().as_mut_ptr();
    let lanes = sums.wrapping_add(width * count);
    let columns = !space.row_reduced;
    let mut regs = Registers::new();
    // Nothing but inputs to add up, row by row.
    let plain = columns
        && space.rows == 1
        && plan.sinks.is_empty()
        && plan.steps.iter().all(|s| matches!(s, Step::Load { .. }));
    // SAFETY: the scratch is as large as the plan asks for, and aligned.
    let mut worker = unsafe { Worker::new(plan, memory, registers.slice().as_mut_ptr().cast(), &mut regs) };
    let parts = share(space.all_parts, space.splits, split);
    for tile in range {
        let (plane, t) = (tile / space.tiles, tile % space.tiles);
        let (k0, k1) = (t * space.tile, ((t + 1) * space.tile).min(space.plane));
        for (i, r) in reducers.iter().enumerate() {
            // SAFETY: `width` accumulators and lanes of this reducer.
            unsafe {
                std::slice::from_raw_parts_mut(sums.add(i * width), width).fill(r.folds.empty);
                if columns {
                    (r.folds.begin)(lanes.add(i * width).cast(), std::ptr::null(), 1, width);
                }
            }
        }
        let flush = || {
            for (i, r) in reducers.iter().enumerate() {
                // SAFETY: as above.
                unsafe { (r.folds.flush)(sums.add(i * width).cast(), lanes.add(i * width).cast(), 1, width) }
            }
        };
        let mut waiting = 0;
        let base = space.base(false, plane);
        let (mut outer, mut part) = (parts.start / space.parts, parts.start % space.parts);
        let mut at = base + space.base(true, outer);
        let mut left = parts.len();
        while left > 0 {
            let together = plain && TOGETHER <= left.min(space.parts - part).min(DEPTH - waiting);
            // SAFETY: the tile and part are inside the space; there are `width` accumulators or lanes
            // for each reducer.
            let taken = unsafe {
                if together && several_columns(space, &worker, reducers, at, part, k0..k1, lanes) {
                    TOGETHER
                } else if columns {
                    part_of_columns(space, &mut worker, reducers, at, part, k0..k1, lanes);
                    1
                } else {
                    part_of_rows(space, &mut worker, reducers, at, part, k0..k1, sums);
                    1
                }
            };
            if columns {
                waiting += taken;
            }
            if waiting == DEPTH {
                flush();
                waiting = 0;
            }
            left -= taken;
            part += taken;
            if part == space.parts {
                part = 0;
                outer += 1;
                at = base + space.base(true, outer);
            }
        }
        if waiting > 0 {
            flush();
        }
        let n = k1 - k0;
        for (i, r) in reducers.iter().enumerate() {
            // SAFETY: accumulators of this reducer; results and partials of this tile and split.
            unsafe {
                let acc = sums.add(i * width).cast::<u8>();
                // Rows that were added side by side.
                for side in (n..width).step_by(n).filter(|_| columns && space.rows > 1) {
                    (r.folds.join)(acc, acc.add(side * ACC), 1, n);
                }
                let result = plane * space.plane + k0;
                match partials {
                    None => finish(r, memory, result, acc, n),
                    Some(p) => {
                        let to = p.get().add((split * reducers.len() + i) * space.kept + result);
                        std::ptr::copy_nonoverlapping(acc.cast::<u64>(), to, n);
                    }
                }
            }
        }
    }
    worker.done();
}

/// One part of the reduced rows `kept` from linear position `at` on, each into its accumulator.
///
/// # Safety
/// As for [`tiles`].
unsafe fn part_of_rows(
    space: &Space,
    worker: &mut Worker<'_>,
    reducers: &[Reducer],
    at: usize,
    part: usize,
    kept: std::ops::Range<usize>,
    sums: *mut u64,
) {
    let len = space.row;
    if len <= BLOCK {
        // Several rows make a block.
        for k in kept.clone().step_by(BLOCK / len) {
            let rows = (BLOCK / len).min(kept.end - k);
            // SAFETY: the rows are inside the tile and follow each other.
            unsafe {
                worker.block(at + k * len, rows * len);
                for (i, r) in reducers.iter().enumerate() {
                    let acc = sums.add(i * space.width + k - kept.start);
                    (r.folds.rows)(acc.cast(), worker.reg(r.reg), rows, len);
                }
            }
        }
        return;
    }
    let piece = space.part_range(part);
    for k in kept.clone() {
        for q in piece.clone().step_by(BLOCK) {
            let n = BLOCK.min(piece.end - q);
            // SAFETY: the piece is inside the row.
            unsafe {
                worker.block(at + k * len + q, n);
                for (i, r) in reducers.iter().enumerate() {
                    let acc = sums.add(i * space.width + k - kept.start);
                    (r.folds.rows)(acc.cast(), worker.reg(r.reg), 1, n);
                }
            }
        }
    }
}

/// The columns `kept` of the middle rows of one part, each into its lane.
///
/// # Safety
/// As for [`tiles`].
unsafe fn part_of_columns(
    space: &Space,
    worker: &mut Worker<'_>,
    reducers: &[Reducer],
    at: usize,
    part: usize,
    kept: std::ops::Range<usize>,
    lanes: *mut u64,
) {
    let first = part * space.rows;
    let rows = space.rows.min(space.middle - first);
    // Where several rows make a block, `kept` is the whole row; otherwise there is one row.
    let (start, end) = (first * space.row + kept.start, (first + rows - 1) * space.row + kept.end);
    for q in (start..end).step_by(BLOCK) {
        let n = BLOCK.min(end - q);
        // SAFETY: the range is inside the tile's rows, and there are as many accumulators.
        unsafe {
            worker.block(at + q, n);
            for (i, r) in reducers.iter().enumerate() {
                let lanes = lanes.add(i * space.width).cast::<u8>().add((q - start) * r.folds.lane);
                (r.folds.columns)(lanes, worker.reg(r.reg), 1, n);
            }
        }
    }
}

/// The columns `kept` of [`TOGETHER`] parts of one row each, each into its lane, in the order and so with
/// the bits of one after the other. False, and nothing done, where an input's rows are not runs of memory.
///
/// # Safety
/// As for [`tiles`]; there are as many parts, and the program only loads.
unsafe fn several_columns(
    space: &Space,
    worker: &Worker<'_>,
    reducers: &[Reducer],
    at: usize,
    part: usize,
    kept: std::ops::Range<usize>,
    lanes: *mut u64,
) -> bool {
    let n = kept.len();
    let mut rows: SmallVec<[[*const u8; TOGETHER]; 2]> = SmallVec::new();
    for r in reducers {
        let mut of = [std::ptr::null(); TOGETHER];
        for (k, row) in of.iter_mut().enumerate() {
            match worker.lent(r.reg, at + (part + k) * space.row + kept.start, n) {
                Some(p) => *row = p,
                None => return false,
            }
        }
        rows.push(of);
    }
    for (i, (r, of)) in reducers.iter().zip(&rows).enumerate() {
        // SAFETY: `n` lanes of this reducer, and as many elements of each row.
        unsafe { (r.folds.several)(lanes.add(i * space.width).cast(), of.as_ptr(), 1, n) }
    }
    true
}
