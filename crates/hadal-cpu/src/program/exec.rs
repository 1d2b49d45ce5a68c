//! Running a plan on blocks of the iteration space.

use super::blocks::{BLOCK, PAD};
use super::compound::MAX_LEAVES;
use super::joint;
use super::load::{At, Kind};
use super::plan::{Constant, Plan, Step};
use hadal_core::smallvec::SmallVec;
use hadal_core::{DType, Scalar};

/// The memory of one run.
#[derive(Clone)]
pub(super) struct Memory {
    /// Where each operand of the plan lies.
    pub operands: SmallVec<[At; 4]>,
    /// Where each output of the program begins.
    pub outputs: SmallVec<[*mut u8; 2]>,
}

// SAFETY: the pointers lead to inputs, which are only read, and to outputs, of which every worker
// writes its own elements; the caller of the program holds the borrows for as long as it runs.
unsafe impl Sync for Memory {}

/// Where the block of each register is.
pub(super) type Registers = SmallVec<[*mut u8; 64]>;

/// One thread's registers for one plan.
pub(super) struct Worker<'p> {
    plan: &'p Plan,
    memory: &'p Memory,
    /// Where each register's block is now.
    regs: &'p mut Registers,
    scratch: *mut u8,
    /// Bit `i` is set if register `i` is the same all over this block and has only [`PAD`] elements.
    columns: u64,
    ahead: Ahead,
}

/// Cache lines of the next block, asked for a few at a time between the steps of this one. The
/// hardware's prefetch stops where a block does; asked for all at once they would hold up the loads
/// of this block.
struct Ahead {
    /// Addresses and numbers of lines.
    runs: SmallVec<[(*const u8, usize); 8]>,
    /// The run that is being asked for.
    current: usize,
    /// Lines to ask for after a step; 0 turns it off.
    lines: usize,
}

impl Ahead {
    /// The block after the one of `bytes` at `at` will be read.
    fn note(&mut self, at: *const u8, bytes: usize) {
        if self.lines > 0 {
            self.runs.push((at.wrapping_add(bytes), bytes / 64));
        }
    }

    /// Asks for the next few lines.
    #[inline]
    fn step(&mut self) {
        let Some((at, left)) = self.runs.get_mut(self.current) else { return };
        let n = self.lines.min(*left);
        for i in 0..n {
            crate::cache::ahead(at.wrapping_add(i * 64));
        }
        *at = at.wrapping_add(n * 64);
        *left -= n;
        self.current += (*left == 0) as usize;
    }
}

impl<'p> Worker<'p> {
    /// Fills what stays the same for all blocks.
    ///
    /// # Safety
    /// `scratch` is valid for `plan.scratch` bytes, 64-byte aligned, used by nothing else, and
    /// outlives the worker; the iteration space is not empty. In `memory` there is a place for each operand
    /// of the plan, with the layout that the plan was made for, and one for each output, which holds the
    /// program's number of elements where the output is elementwise.
    pub(super) unsafe fn new(
        plan: &'p Plan,
        memory: &'p Memory,
        scratch: *mut u8,
        regs: &'p mut Registers,
    ) -> Worker<'p> {
        // A register never defined (dead code) is never read; its pointer does not matter.
        regs.clear();
        regs.extend(plan.places.iter().map(|&at| scratch.wrapping_add(at as usize)));
        for c in &plan.constants {
            // SAFETY: a constant's place has room for its length.
            unsafe { fill(c, plan.filled(c.reg), regs[c.reg as usize]) };
        }
        for &(operand, reg) in &plan.prepared {
            let size = plan.sizes[reg as usize] as usize;
            // SAFETY: the place was made for this operand's scratch length.
            unsafe {
                let at = memory.operands[operand as usize];
                plan.operands[operand as usize].prepare(at, regs[reg as usize], size, plan.filled(reg));
            }
        }
        Worker::resumed(plan, memory, scratch, regs)
    }

    /// A worker with the registers and scratch of an earlier one of the same plan.
    pub(super) fn resumed(
        plan: &'p Plan,
        memory: &'p Memory,
        scratch: *mut u8,
        regs: &'p mut Registers,
    ) -> Worker<'p> {
        let ahead = Ahead { runs: SmallVec::new(), current: 0, lines: plan.ahead };
        Worker { plan, memory, regs, scratch, columns: 0, ahead }
    }

    /// Bit `k` is set if source `k` of a step has only [`PAD`] elements in this block.
    #[inline]
    fn short(&self, sources: &[u16]) -> u32 {
        if self.columns == 0 {
            return 0;
        }
        let bit = |(k, &r): (usize, &u16)| {
            let short = r < u64::BITS as u16 && self.columns >> r & 1 == 1;
            (short as u32) << k
        };
        sources.iter().enumerate().map(bit).sum()
    }

    fn place(&self, reg: u16) -> *mut u8 {
        self.scratch.wrapping_add(self.plan.places[reg as usize] as usize)
    }

    /// Runs the steps on elements `p..p + n` and stores what is stored elementwise.
    ///
    /// # Safety
    /// `0 < n <= BLOCK`, `p + n` is inside the iteration space, and no other worker runs on any of
    /// these elements.
    pub(super) unsafe fn block(&mut self, p: usize, n: usize) {
        let plan = self.plan;
        let padded = if plan.computes { n.next_multiple_of(PAD) } else { n };
        debug_assert!(padded <= BLOCK);
        let full = n == padded;
        for &k in &plan.direct {
            let s = &plan.sinks[k as usize];
            let to = self.memory.outputs[s.output];
            self.regs[s.reg as usize] = if full { to.wrapping_add(p * s.size) } else { self.place(s.reg) };
        }
        self.columns = 0;
        self.ahead.runs.clear();
        self.ahead.current = 0;
        for step in &plan.steps {
            match *step {
                Step::Load { operand, reg } => {
                    let op = &plan.operands[operand as usize];
                    let at = self.memory.operands[operand as usize];
                    let place = self.place(reg);
                    self.regs[reg as usize] = match op.lend(at, p, n, padded, place, plan.sizes[reg as usize])
                    {
                        Some(lent) => {
                            if op.kind == Kind::Walk {
                                self.ahead.note(lent, n * plan.sizes[reg as usize] as usize);
                            }
                            lent.cast_mut()
                        }
                        None if n >= PAD
                            && reg < u64::BITS as u16
                            && plan.columns[reg as usize]
                            && op.is_one(p, n) =>
                        {
                            let size = plan.sizes[reg as usize] as usize;
                            // SAFETY: as below, with fewer elements.
                            unsafe { op.read(at, p, PAD, place, size) };
                            self.columns |= 1 << reg;
                            place
                        }
                        None => {
                            let size = plan.sizes[reg as usize] as usize;
                            // SAFETY: the place has room for a block, p + n is in range.
                            unsafe { op.read(at, p, n, place, size) };
                            place
                        }
                    };
                }
                Step::Run { kernel, dst, a, b, c, whole } => {
                    let r = |i: u16| self.regs[i as usize];
                    let whole = whole & !self.short(&[a, b, c]);
                    // SAFETY: all registers hold `padded` elements: in their places, lent from
                    // inputs that go on that far, or in an output all of whose elements belong
                    // to this block. A destination's place is shared with no register in use, and
                    // memory of inputs is never a destination (plan.rs).
                    unsafe { kernel(r(dst), r(a), r(b), r(c), padded, whole) };
                    self.ahead.step();
                }
                Step::Compound { compound, dst, whole } => {
                    let compound = &plan.compounds[compound as usize];
                    let whole = whole & !self.short(&compound.leaves);
                    let mut sources = [std::ptr::null::<u8>(); MAX_LEAVES];
                    for (s, &r) in sources.iter_mut().zip(&compound.leaves) {
                        *s = self.regs[r as usize];
                    }
                    // SAFETY: as for `Run`; there is a source for each leaf.
                    unsafe { (compound.kernel)(self.regs[dst as usize], sources.as_ptr(), padded, whole) };
                    self.ahead.step();
                }
                Step::Joint { joint, whole } => {
                    let joint = &plan.joints[joint as usize];
                    let whole = whole & !self.short(&joint.leaves);
                    let mut sources = [std::ptr::null::<u8>(); joint::MAX_LEAVES];
                    for (s, &r) in sources.iter_mut().zip(&joint.leaves) {
                        *s = self.regs[r as usize];
                    }
                    let dsts = joint.dsts.map(|r| self.regs[r as usize]);
                    // SAFETY: as for `Compound`; there is a destination for each result.
                    unsafe { (joint.kernel)(dsts.as_ptr(), sources.as_ptr(), padded, whole) };
                    self.ahead.step();
                }
                Step::Store { reg, sink } => {
                    // SAFETY: the sink holds the whole space; stores to memory that is an input
                    // come after all reads of this block.
                    unsafe {
                        let sink = &plan.sinks[sink as usize];
                        sink.store(self.memory.outputs[sink.output], p, n, self.regs[reg as usize]);
                    }
                }
            }
        }
        if !full {
            for &k in &plan.direct {
                let s = &plan.sinks[k as usize];
                // SAFETY: as above; the register is in its place in scratch.
                unsafe { s.store(self.memory.outputs[s.output], p, n, self.regs[s.reg as usize]) };
            }
        }
    }

    /// Elements `p..p + n` of a register that is loaded, where they lie, if they are one run there.
    pub(super) fn lent(&self, reg: u16, p: usize, n: usize) -> Option<*const u8> {
        let operand = self.plan.steps.iter().find_map(|s| match *s {
            Step::Load { operand, reg: r } if r == reg => Some(operand as usize),
            _ => None,
        })?;
        let (op, at) = (&self.plan.operands[operand], self.memory.operands[operand]);
        match op.kind {
            Kind::Walk => op.lend(at, p, n, n, self.place(reg), self.plan.sizes[reg as usize]),
            _ => None,
        }
    }

    /// The current block of a register.
    pub(super) fn reg(&self, reg: u16) -> *const u8 {
        self.regs[reg as usize]
    }

    /// Runs `start..end` block by block.
    ///
    /// # Safety
    /// As for [`Worker::block`], for the whole range.
    pub(super) unsafe fn range(&mut self, start: usize, end: usize) {
        let mut p = start;
        while p < end {
            let n = (end - p).min(BLOCK);
            // SAFETY: the caller's promise.
            unsafe { self.block(p, n) };
            p += n;
        }
    }

    /// To be called after the last block of a task: what was stored becomes visible to others.
    pub(super) fn done(self) {
        if self.plan.streams {
            crate::cache::fence();
        }
    }
}

/// Fills `n` elements with a constant.
///
/// # Safety
/// `dst` is valid for `n` elements of the constant's compute type.
unsafe fn fill(c: &Constant, n: usize, dst: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe {
        match (c.dtype.compute(), c.value.cast(c.dtype)) {
            (DType::F64, v) => std::slice::from_raw_parts_mut(dst.cast(), n).fill(v.to_f64()),
            (DType::I64, v) => std::slice::from_raw_parts_mut(dst.cast(), n).fill(v.to_i64()),
            (DType::Bool, v) => std::slice::from_raw_parts_mut(dst, n).fill(v.to_bool() as u8),
            (_, Scalar::F(v)) => std::slice::from_raw_parts_mut(dst.cast(), n).fill(v as f32),
            (_, v) => std::slice::from_raw_parts_mut(dst.cast(), n).fill(v.to_f64() as f32),
        }
    }
}
