//! From a program to the steps run on every block: dead code dropped, loads moved to their first
//! use, registers given places in scratch by linear scan.

use super::blocks::{BLOCK, Kernel, PAD, binary, cast_kernel, round_kernel, select_kernel, unary};
use super::compound::{self, Compound};
use super::convert::{CopyFn, store_copy, stream_copy};
use super::joint::{self, Joint};
use super::load::{Kind, Operand};
use crate::simd::Level;
use hadal_core::ops::{Code, Program, Reg};
use hadal_core::smallvec::SmallVec;
use hadal_core::{ALIGN, DType, Scalar, Strides};

/// What a plan needs to know of an input.
pub(super) struct Given {
    pub dtype: DType,
    /// Its layout has the program's shape.
    pub strides: Strides,
    /// The elementwise output that will overwrite it.
    pub in_place: Option<usize>,
}

/// One step of a block. Registers are numbered as the program's instructions.
pub(super) enum Step {
    /// Make `reg` point at the input's elements, copied to `reg`'s place where they must be.
    Load { operand: u16, reg: Reg },
    /// Run a block function; unused sources repeat a used one.
    Run { kernel: Kernel, dst: Reg, a: Reg, b: Reg, c: Reg, whole: u32 },
    /// Run a compound, by its number in the plan.
    Compound { compound: u16, dst: Reg, whole: u32 },
    /// Run compounds together, by their number in the plan.
    Joint { joint: u16, whole: u32 },
    /// Copy a register to elementwise output number `sink` of the plan.
    Store { reg: Reg, sink: u16 },
}

/// An elementwise output.
pub(super) struct Sink {
    /// The register it is a copy of.
    pub reg: Reg,
    /// The program's output.
    pub output: usize,
    /// Bytes of a stored element.
    pub size: usize,
    copy: CopyFn,
    /// The register is computed in the output's memory where a block is whole.
    direct: bool,
}

impl Sink {
    /// Copies `n` elements to position `p` of the output's memory.
    ///
    /// # Safety
    /// `p + n` elements fit the output, `src` is valid for `n` of the compute type and no part of
    /// what is written.
    #[inline]
    pub(super) unsafe fn store(&self, to: *mut u8, p: usize, n: usize, src: *const u8) {
        // SAFETY: the caller's promise.
        unsafe { (self.copy)(to.add(p * self.size), src, n) }
    }
}

/// A register filled once per task.
pub(super) struct Constant {
    pub reg: Reg,
    /// Which of the program's constants it is.
    pub number: usize,
    pub value: Scalar,
    pub dtype: DType,
}

/// What a worker runs, on any memory whose layouts are those it was made for.
pub(super) struct Plan {
    pub steps: SmallVec<[Step; 16]>,
    /// Block functions of several instructions, with their sources.
    pub compounds: SmallVec<[Compound; 2]>,
    pub joints: Vec<Joint>,
    pub operands: SmallVec<[Operand; 4]>,
    /// Operands that are filled once per task, with their registers.
    pub prepared: SmallVec<[(u16, Reg); 4]>,
    pub constants: SmallVec<[Constant; 4]>,
    pub sinks: SmallVec<[Sink; 2]>,
    /// Sinks whose register is computed in place of the output.
    pub direct: SmallVec<[u16; 2]>,
    /// Byte offset of each register's place in scratch.
    pub places: SmallVec<[u32; 32]>,
    /// Bytes of a register's compute type.
    pub sizes: SmallVec<[u8; 32]>,
    /// Whether any sink stores past the caches.
    pub streams: bool,
    /// Bytes of scratch a worker needs.
    pub scratch: usize,
    /// For each program output the register it reads, after aliases.
    pub out_regs: SmallVec<[Reg; 4]>,
    /// Registers that are the same everywhere and needed only by block functions that take such:
    /// their places hold [`PAD`] elements.
    short: SmallVec<[bool; 32]>,
    /// Inputs that only such block functions need: where one of them is the same all along a row, a
    /// block of it takes [`PAD`] elements.
    pub columns: SmallVec<[bool; 32]>,
    /// Cache lines of the next block to ask for after each block function; 0 for none.
    pub ahead: usize,
    /// Whether any block function runs, which wants whole multiples of its unit.
    pub computes: bool,
    /// Elements of the longest block there is.
    block: usize,
}

impl Plan {
    /// Elements to fill for a register that is the same everywhere.
    pub(super) fn filled(&self, reg: Reg) -> usize {
        if self.short[reg as usize] { PAD } else { self.block }
    }
}

/// Bytes from which on an output is stored past the caches: half of a common L3 cache.
const STREAM: usize = 16 << 20;
/// Elements from which on inputs are not in the L2 cache.
const FAR: usize = 256 * 1024;
/// Elements from which on looking for compounds, which takes 0.5 µs, is repaid.
pub(super) const COMPOUNDS: usize = 4 * 1024;
/// Most lines to ask for at once.
const MOST_AHEAD: usize = 12;
/// Not the place of any register.
const NOWHERE: u32 = u32::MAX;
/// Used until the end of the block.
const END: u32 = u32::MAX;

struct Builder<'a> {
    program: &'a Program,
    level: Level,
    /// What each register is another name of.
    root: SmallVec<[Reg; 32]>,
    loaded: SmallVec<[bool; 32]>,
    /// The last instruction that reads each register, where there are compounds; `END` for what leaves
    /// the program.
    last_reader: SmallVec<[u32; 32]>,
    last_use: SmallVec<[u32; 32]>,
    plan: Plan,
}

/// Makes the plan of a program that has been validated for these inputs.
pub(super) fn build(level: Level, program: &Program, inputs: &[Given]) -> Option<Plan> {
    let n = program.instrs.len();
    let numel = program.shape.numel();
    let mut b = Builder {
        program,
        level,
        root: (0..n).map(|i| i as Reg).collect(),
        loaded: SmallVec::from_elem(false, n),
        last_reader: SmallVec::new(),
        last_use: SmallVec::from_elem(0, n),
        plan: Plan {
            steps: SmallVec::new(),
            compounds: SmallVec::new(),
            joints: Vec::new(),
            operands: SmallVec::new(),
            prepared: SmallVec::new(),
            constants: SmallVec::new(),
            sinks: SmallVec::new(),
            direct: SmallVec::new(),
            places: SmallVec::from_elem(NOWHERE, n),
            sizes: program.instrs.iter().map(|i| i.dtype.compute().size() as u8).collect(),
            streams: false,
            scratch: 0,
            ahead: 0,
            out_regs: SmallVec::new(),
            short: SmallVec::from_elem(false, n),
            columns: SmallVec::from_elem(false, n),
            computes: false,
            block: numel.min(BLOCK).next_multiple_of(PAD),
        },
    };
    b.find_aliases();
    let (mut used, valued) = b.find_uses();
    let (mut compounds, mut joints) = (Vec::new(), Vec::new());
    if numel >= COMPOUNDS {
        compounds = compound::find(level, program, &b.root, &mut used);
        joints = joint::join(level, program, &b.root, &mut used, &mut compounds);
        b.find_last_readers(&used, &compounds, &joints);
    }
    b.add_sinks(inputs);
    // Inputs become operands only where used.
    let mut operand_of: SmallVec<[u16; 32]> = SmallVec::from_elem(0, n);
    for (i, instr) in program.instrs.iter().enumerate() {
        let (Code::Load(input), true) = (&instr.code, used[i]) else { continue };
        let given = &inputs[*input as usize];
        operand_of[i] = b.plan.operands.len() as u16;
        let mut op = Operand::new(level, *input, given, &program.shape);
        // A register that leaves is read after the stores, which may overwrite its source.
        if given.in_place.is_some() && b.plan.out_regs.contains(&(i as Reg)) {
            op.always_copy();
        }
        b.plan.operands.push(op);
    }
    b.find_short(&used, &operand_of);
    let mut constants = 0;
    for (i, instr) in program.instrs.iter().enumerate() {
        let number = constants;
        constants += matches!(instr.code, Code::Const(_)) as usize;
        if !used[i] || b.root[i] as usize != i {
            continue;
        }
        let reg = i as Reg;
        if let Code::Const(value) = instr.code {
            b.plan.constants.push(Constant { reg, number, value, dtype: instr.dtype });
            b.loaded[i] = true;
            b.place_for_good(reg, b.plan.filled(reg));
        } else if let Some((_, compound)) = compounds.pop_if(|c| c.0 == reg) {
            b.compute_at_once(reg, compound, &operand_of);
        } else if let Some(at) = joints.iter().position(|j| j.dsts[0] == reg) {
            b.compute_jointly(joints.swap_remove(at), &operand_of);
        } else if !matches!(instr.code, Code::Load(_)) {
            b.compute(reg, &operand_of, valued[i])?;
        }
    }
    b.finish(&operand_of);
    b.look_ahead();
    b.place_registers();
    Some(b.plan)
}

impl Builder<'_> {
    fn dtype(&self, r: Reg) -> DType {
        self.program.instrs[r as usize].dtype
    }

    /// A cast that changes nothing in compute representation is another name for its operand.
    fn find_aliases(&mut self) {
        for (i, instr) in self.program.instrs.iter().enumerate() {
            if let Code::Cast(a) = instr.code {
                let (from, to) = (self.dtype(a), instr.dtype);
                if from == to || (from.compute() == to.compute() && to == to.compute()) {
                    self.root[i] = self.root[a as usize];
                }
            }
        }
        self.plan.out_regs = self.program.outputs.iter().map(|o| self.root[o.reg as usize]).collect();
    }

    /// Which registers reach an output, and which are needed as values of their dtype, not only to
    /// be stored in it.
    fn find_uses(&self) -> (SmallVec<[bool; 32]>, SmallVec<[bool; 32]>) {
        let n = self.program.instrs.len();
        let mut used: SmallVec<[bool; 32]> = SmallVec::from_elem(false, n);
        let mut valued: SmallVec<[bool; 32]> = SmallVec::from_elem(false, n);
        for o in &self.program.outputs {
            let root = self.root[o.reg as usize] as usize;
            used[root] = true;
            valued[root] |= o.reduce.is_some() || root != o.reg as usize;
        }
        for i in (0..n).rev() {
            if used[i] && self.root[i] as usize == i {
                for_operands(&self.program.instrs[i].code, |r| {
                    let r = self.root[r as usize] as usize;
                    used[r] = true;
                    valued[r] = true;
                });
            }
        }
        (used, valued)
    }

    fn find_last_readers(&mut self, used: &[bool], compounds: &[(Reg, Compound)], joints: &[Joint]) {
        self.last_reader = SmallVec::from_elem(0, used.len());
        for i in (0..used.len()).filter(|&i| used[i] && self.root[i] as usize == i) {
            let mut read = |r: Reg| self.last_reader[self.root[r as usize] as usize] = i as u32;
            if let Some((_, c)) = compounds.iter().find(|c| c.0 as usize == i) {
                c.leaves.iter().copied().for_each(&mut read);
            } else if let Some(j) = joints.iter().find(|j| j.dsts[0] as usize == i) {
                j.leaves.iter().copied().for_each(&mut read);
            } else {
                for_operands(&self.program.instrs[i].code, read);
            }
        }
        for &r in &self.plan.out_regs {
            self.last_reader[r as usize] = END;
        }
    }

    fn add_sinks(&mut self, inputs: &[Given]) {
        for (k, o) in self.program.outputs.iter().enumerate() {
            if o.reduce.is_some() {
                continue;
            }
            let dtype = self.dtype(o.reg);
            let reg = self.root[o.reg as usize];
            let computed = !matches!(self.program.instrs[reg as usize].code, Code::Load(_) | Code::Const(_));
            let in_place = inputs.iter().any(|s| s.in_place == Some(k));
            let stream = if in_place { None } else { self.stream(dtype) };
            let direct = computed
                && stream.is_none()
                && dtype == dtype.compute()
                && dtype.size() == self.dtype(reg).compute().size()
                && !in_place
                && !self.plan.sinks.iter().any(|s| s.reg == reg && s.direct);
            if direct {
                self.plan.direct.push(self.plan.sinks.len() as u16);
                self.last_use[reg as usize] = END;
            }
            self.plan.streams |= stream.is_some();
            self.plan.sinks.push(Sink {
                reg,
                output: k,
                size: dtype.size(),
                copy: stream.unwrap_or_else(|| store_copy(self.level, dtype)),
                direct,
            });
        }
    }

    /// The copy past the caches for outputs too large to be found there again. It saves reading what
    /// is about to be overwritten: a third of the traffic of a copy.
    fn stream(&self, dtype: DType) -> Option<CopyFn> {
        let shape = &self.program.shape;
        let row = shape.last().copied().unwrap_or(1) * dtype.size();
        // Reductions begin blocks at rows.
        let aligned = row.is_multiple_of(ALIGN) || self.program.outputs.iter().all(|o| o.reduce.is_none());
        if !aligned || dtype != dtype.compute() || shape.numel() * dtype.size() < STREAM {
            return None;
        }
        stream_copy(self.level, dtype)
    }

    /// Finds the constants and uniform inputs that need no whole block.
    fn find_short(&mut self, used: &[bool], operand_of: &[u16]) {
        for (i, instr) in self.program.instrs.iter().enumerate() {
            self.plan.columns[i] = matches!(instr.code, Code::Load(_));
            self.plan.short[i] = match instr.code {
                Code::Const(_) => true,
                Code::Load(_) if used[i] => self.plan.operands[operand_of[i] as usize].kind == Kind::Uniform,
                _ => false,
            };
        }
        for i in (0..self.program.instrs.len()).filter(|&i| used[i] && self.root[i] as usize == i) {
            let code = &self.program.instrs[i].code;
            if matches!(code, Code::Unary(..) | Code::Cast(_)) {
                for_operands(code, |r| {
                    let r = self.root[r as usize] as usize;
                    self.plan.short[r] = false;
                    self.plan.columns[r] = false;
                });
            }
        }
        for &r in &self.plan.out_regs {
            self.plan.short[r as usize] = false;
            self.plan.columns[r as usize] = false;
        }
    }

    fn push(&mut self, step: Step) {
        let at = self.plan.steps.len() as u32;
        let mut touch = |r: Reg| {
            let u = &mut self.last_use[r as usize];
            *u = (*u).max(at);
        };
        match &step {
            Step::Load { reg, .. } | Step::Store { reg, .. } => touch(*reg),
            Step::Run { dst, a, b, c, .. } => [*dst, *a, *b, *c].into_iter().for_each(touch),
            Step::Compound { compound, dst, .. } => {
                touch(*dst);
                self.plan.compounds[*compound as usize].leaves.iter().copied().for_each(touch);
            }
            Step::Joint { joint, .. } => {
                let joint = &self.plan.joints[*joint as usize];
                joint.dsts.iter().chain(&joint.leaves).copied().for_each(touch);
            }
        }
        self.plan.steps.push(step);
    }

    /// Loads a register that is an input and has not been loaded.
    fn ensure(&mut self, reg: Reg, operand_of: &[u16]) {
        if self.loaded[reg as usize] {
            return;
        }
        self.loaded[reg as usize] = true;
        let operand = operand_of[reg as usize];
        let op = &self.plan.operands[operand as usize];
        let kind = op.kind;
        let len = if kind == Kind::Uniform { self.plan.filled(reg) } else { op.scratch_len() };
        if kind != Kind::Walk {
            self.plan.prepared.push((operand, reg));
            self.place_for_good(reg, len);
        }
        if kind != Kind::Uniform {
            self.push(Step::Load { operand, reg });
        }
    }

    /// A place that is never used for another register.
    fn place_for_good(&mut self, reg: Reg, len: usize) {
        self.plan.places[reg as usize] = self.plan.scratch as u32;
        self.plan.scratch += len * self.plan.sizes[reg as usize] as usize;
    }

    fn compute(&mut self, reg: Reg, operand_of: &[u16], valued: bool) -> Option<()> {
        let instr = &self.program.instrs[reg as usize];
        let mut src: SmallVec<[Reg; 3]> = SmallVec::new();
        for_operands(&instr.code, |r| src.push(self.root[r as usize]));
        src.iter().for_each(|&r| self.ensure(r, operand_of));
        let of = self.dtype(*src.first()?).compute();
        let kernel = match instr.code {
            Code::Unary(op, _) => unary(self.level, op, of)?,
            Code::Binary(op, ..) => binary(self.level, op, of)?,
            Code::Where(..) => select_kernel(self.level, instr.dtype),
            Code::Cast(_) => cast_kernel(self.level, of, instr.dtype),
            Code::Load(_) | Code::Const(_) => return None,
        };
        let at = |i: usize| src.get(i).copied().unwrap_or(src[0]);
        let (a, b, c) = (at(0), at(1), at(2));
        self.loaded[reg as usize] = true;
        self.plan.computes = true;
        let bit = |r: Reg, bit: u32| if self.plan.short[r as usize] { 0 } else { bit };
        let whole = bit(a, 1) | bit(b, 2) | bit(c, 4);
        self.push(Step::Run { kernel, dst: reg, a, b, c, whole });
        if valued && let Some(kernel) = round_kernel(self.level, instr.dtype) {
            self.push(Step::Run { kernel, dst: reg, a: reg, b: reg, c: reg, whole: 7 });
        }
        self.store_early(reg);
        Some(())
    }

    /// A compound that ends in `reg`. Its dtype is its compute type: there is nothing to round.
    fn compute_at_once(&mut self, reg: Reg, compound: Compound, operand_of: &[u16]) {
        let mut whole = 0;
        for (k, &r) in compound.leaves.iter().enumerate() {
            self.ensure(r, operand_of);
            whole |= (!self.plan.short[r as usize] as u32) << k;
        }
        self.loaded[reg as usize] = true;
        self.plan.computes = true;
        self.plan.compounds.push(compound);
        let compound = self.plan.compounds.len() as u16 - 1;
        self.push(Step::Compound { compound, dst: reg, whole });
        self.overwrite(reg, reg, operand_of);
        self.store_early(reg);
    }

    /// Compounds together, as the last of them would run.
    fn compute_jointly(&mut self, joint: Joint, operand_of: &[u16]) {
        let mut whole = 0;
        for (k, &r) in joint.leaves.iter().enumerate() {
            self.ensure(r, operand_of);
            whole |= (!self.plan.short[r as usize] as u32) << k;
        }
        let dsts = joint.dsts;
        dsts.iter().for_each(|&r| self.loaded[r as usize] = true);
        self.plan.computes = true;
        self.plan.joints.push(joint);
        self.push(Step::Joint { joint: self.plan.joints.len() as u16 - 1, whole });
        dsts.iter().for_each(|&r| self.overwrite(r, dsts[0], operand_of));
        dsts.iter().for_each(|&r| self.store_early(r));
    }

    /// Lets a compound that runs as instruction `at` write right over the input that its result `reg`
    /// replaces, if nothing reads that input afterwards.
    fn overwrite(&mut self, reg: Reg, at: Reg, operand_of: &[u16]) {
        let sink = |s: &Sink| s.reg == reg && s.size == self.plan.sizes[reg as usize] as usize;
        let overwriting = |s: &Sink| sink(s) && self.overwrites(s.output);
        let Some(k) = self.plan.sinks.iter().position(overwriting) else { return };
        let output = self.plan.sinks[k].output;
        let read_later = self.program.instrs.iter().enumerate().any(|(i, instr)| {
            matches!(instr.code, Code::Load(_))
                && self.last_reader[i] > at as u32
                && self.plan.operands.get(operand_of[i] as usize).is_some_and(|o| o.is_in_place_of(output))
        });
        if !read_later && !self.plan.sinks.iter().any(|s| s.reg == reg && s.direct) {
            self.plan.sinks[k].direct = true;
            self.plan.direct.push(k as u16);
            self.last_use[reg as usize] = END;
        }
    }

    /// Outputs that nothing in place depends on are stored while the block is hot.
    fn store_early(&mut self, reg: Reg) {
        for k in 0..self.plan.sinks.len() {
            let s = &self.plan.sinks[k];
            if s.reg == reg && !s.direct && !self.overwrites(s.output) {
                self.push(Step::Store { reg, sink: k as u16 });
            }
        }
    }

    /// Whether an output's memory is also an input.
    fn overwrites(&self, output: usize) -> bool {
        self.plan.operands.iter().any(|o| o.is_in_place_of(output))
    }

    /// Loads what only leaves, then stores what is stored late.
    fn finish(&mut self, operand_of: &[u16]) {
        for k in 0..self.plan.out_regs.len() {
            let reg = self.plan.out_regs[k];
            self.ensure(reg, operand_of);
            if self.program.outputs[k].reduce.is_some() {
                self.last_use[reg as usize] = END;
            }
        }
        for k in 0..self.plan.sinks.len() {
            let s = &self.plan.sinks[k];
            let reg = s.reg;
            let computed = !matches!(self.program.instrs[reg as usize].code, Code::Load(_) | Code::Const(_));
            if !s.direct && (!computed || self.overwrites(s.output)) {
                self.push(Step::Store { reg, sink: k as u16 });
            }
        }
    }

    /// Decides how many lines to ask for ahead: with so few loads to so much computing that they can
    /// be spread, or none. (AdamW over 25 M: 45 ms without, 35 ms with, on one thread; a plain `exp`
    /// is slower with it.)
    fn look_ahead(&mut self) {
        let (mut lines, mut runs) = (0, 0);
        for step in &self.plan.steps {
            match *step {
                Step::Load { reg, .. } => lines += BLOCK * self.plan.sizes[reg as usize] as usize / ALIGN,
                Step::Run { .. } | Step::Compound { .. } | Step::Joint { .. } => runs += 1,
                Step::Store { .. } => {}
            }
        }
        let each = lines.div_ceil(runs.max(1));
        let large = self.program.shape.numel() >= FAR;
        self.plan.ahead = if large && each <= MOST_AHEAD { each } else { 0 };
    }

    /// Gives each register a place when it is defined and takes it back after its last use. A
    /// destination is placed before its sources are freed, so it never shares their place.
    fn place_registers(&mut self) {
        let mut free: [SmallVec<[u32; 8]>; 3] = Default::default();
        let class = |size: u8| match size {
            8 => 0,
            4 => 1,
            _ => 2,
        };
        for at in 0..self.plan.steps.len() {
            let mut touched: SmallVec<[Reg; 8]> = SmallVec::new();
            let mut touch = |r: Reg| {
                if !touched.contains(&r) {
                    touched.push(r);
                }
            };
            match self.plan.steps[at] {
                Step::Load { reg, .. } | Step::Store { reg, .. } => touch(reg),
                Step::Run { dst, a, b, c, .. } => [dst, a, b, c].into_iter().for_each(touch),
                Step::Compound { compound, dst, .. } => {
                    touch(dst);
                    self.plan.compounds[compound as usize].leaves.iter().copied().for_each(touch);
                }
                Step::Joint { joint, .. } => {
                    let joint = &self.plan.joints[joint as usize];
                    joint.dsts.iter().chain(&joint.leaves).copied().for_each(touch);
                }
            }
            // Those without a place are defined here.
            for reg in touched.iter().map(|&r| r as usize) {
                if self.plan.places[reg] == NOWHERE {
                    let size = self.plan.sizes[reg];
                    self.plan.places[reg] = free[class(size)].pop().unwrap_or_else(|| {
                        let place = self.plan.scratch as u32;
                        self.plan.scratch += BLOCK * size as usize;
                        place
                    });
                }
            }
            for r in touched {
                let r = r as usize;
                if self.last_use[r] == at as u32 && !self.is_for_good(r as Reg) {
                    free[class(self.plan.sizes[r])].push(self.plan.places[r]);
                }
            }
        }
    }

    fn is_for_good(&self, reg: Reg) -> bool {
        matches!(self.program.instrs[reg as usize].code, Code::Const(_))
            || self.plan.prepared.iter().any(|p| p.1 == reg)
    }
}

/// Calls `f` with every operand of an instruction, in order.
pub(super) fn for_operands(code: &Code, mut f: impl FnMut(Reg)) {
    match *code {
        Code::Load(_) | Code::Const(_) => {}
        Code::Cast(a) | Code::Unary(_, a) => f(a),
        Code::Binary(_, a, b) => {
            f(a);
            f(b);
        }
        Code::Where(c, a, b) => {
            f(c);
            f(a);
            f(b);
        }
    }
}
