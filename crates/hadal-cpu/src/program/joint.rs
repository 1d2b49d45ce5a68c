//! Compounds that are run together: an optimizer's new averages and the step that reads them, in one loop.
//!
//! One after the other they would walk the block three times, with more streams to memory begun and left
//! again. The formulas are those of the compounds, so the results are the same bits.

use super::blocks::PAD;
use super::compound::{AdamStep, AdamWStep, Blend, BlendSquare, Compound, Formula, Num, WIDTH};
use super::isa::versions;
use super::plan::for_operands;
use crate::simd::Level;
use hadal_core::DType;
use hadal_core::ops::{Program, Reg};
use hadal_core::smallvec::SmallVec;

/// `kernel(dsts, sources, n, whole)`: as [`CompoundKernel`](super::compound::CompoundKernel) with
/// [`RESULTS`] results. Each of them may be one of the sources.
pub(super) type JointKernel = unsafe fn(*const *mut u8, *const *const u8, usize, u32);

/// Results of a joint: step, first and second moment.
pub(super) const RESULTS: usize = 3;
/// Most leaves.
pub(super) const MAX_LEAVES: usize = 12;

/// Compounds run together.
pub(super) struct Joint {
    pub kernel: JointKernel,
    /// The instructions that the compounds end in, the last first.
    pub dsts: [Reg; RESULTS],
    pub leaves: SmallVec<[Reg; MAX_LEAVES]>,
}

/// An expression of `N` leaves with [`RESULTS`] results.
trait Together<const N: usize> {
    fn of<T: Num>(x: [T; N]) -> [T; RESULTS];
}

struct AdamW;
impl Together<12> for AdamW {
    #[inline(always)]
    fn of<T: Num>([p, w, c, eps, r, m, s, g, t, v, s2, t2]: [T; 12]) -> [T; RESULTS] {
        let (m, v) = (Blend::of([m, s, g, t]), BlendSquare::of([v, s2, g, t2]));
        [AdamWStep::of([p, w, m, v, c, eps, r]), m, v]
    }
}

struct Adam;
impl Together<11> for Adam {
    #[inline(always)]
    fn of<T: Num>([p, c, eps, r, m, s, g, t, v, s2, t2]: [T; 11]) -> [T; RESULTS] {
        let (m, v) = (Blend::of([m, s, g, t]), BlendSquare::of([v, s2, g, t2]));
        [AdamStep::of([p, m, v, c, eps, r]), m, v]
    }
}

#[inline(always)]
unsafe fn body<T: Num, F: Together<N>, const N: usize>(
    dsts: *const *mut u8,
    sources: *const *const u8,
    n: usize,
    whole: u32,
) {
    // SAFETY: the caller promises a source for each leaf and a destination for each result.
    let (dsts, sources) = unsafe { (&*dsts.cast::<[*mut T; RESULTS]>(), &*sources.cast::<[*const T; N]>()) };
    for at in (0..n & !(PAD - 1)).step_by(PAD) {
        let x: [*const T; N] =
            std::array::from_fn(|k| sources[k].wrapping_add(if whole >> k & 1 == 1 { at } else { 0 }));
        for i in (0..PAD).step_by(WIDTH) {
            // SAFETY: see `JointKernel`; whole or not, a source has PAD elements from `x` on.
            unsafe {
                let x: [[T; WIDTH]; N] = std::array::from_fn(|k| x[k].add(i).cast::<[T; WIDTH]>().read());
                let y: [[T; RESULTS]; WIDTH] =
                    std::array::from_fn(|j| F::of(std::array::from_fn(|k| x[k][j])));
                for (k, d) in dsts.iter().enumerate() {
                    let y: [T; WIDTH] = std::array::from_fn(|j| y[j][k]);
                    d.add(at + i).cast::<[T; WIDTH]>().write(y);
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn adamw<T: Num>(d: *const *mut u8, s: *const *const u8, n: usize, whole: u32) {
    // SAFETY: the caller's promise.
    unsafe { body::<T, AdamW, 12>(d, s, n, whole) }
}
#[inline(always)]
unsafe fn adam<T: Num>(d: *const *mut u8, s: *const *const u8, n: usize, whole: u32) {
    // SAFETY: the caller's promise.
    unsafe { body::<T, Adam, 11>(d, s, n, whole) }
}
versions!(pick_adamw, JointKernel, adamw, [T], [T: Num],
    (d: *const *mut u8, s: *const *const u8, n: usize, whole: u32));
versions!(pick_adam, JointKernel, adam, [T], [T: Num],
    (d: *const *mut u8, s: *const *const u8, n: usize, whole: u32));

/// Takes compounds that belong together out of those found. What they end in, but for the last, is no
/// longer `used` by itself.
pub(super) fn join(
    level: Level,
    program: &Program,
    root: &[Reg],
    used: &mut [bool],
    found: &mut Vec<(Reg, Compound)>,
) -> Vec<Joint> {
    let mut joints = Vec::new();
    let mut steps: Vec<Reg> = found.iter().filter(|c| step_leaves(c.1.name).is_some()).map(|c| c.0).collect();
    while let Some(reg) = steps.pop() {
        let Some(joint) = joint_of(level, program, root, used, found, reg) else { continue };
        found.retain(|c| !joint.dsts.contains(&c.0));
        joint.dsts[1..].iter().for_each(|&r| used[r as usize] = false);
        joints.push(joint);
    }
    joints
}

/// Where a step's formula has its first and second moment.
fn step_leaves(name: &str) -> Option<(usize, usize)> {
    match name {
        AdamWStep::NAME => Some((2, 3)),
        AdamStep::NAME => Some((1, 2)),
        _ => None,
    }
}

fn joint_of(
    level: Level,
    program: &Program,
    root: &[Reg],
    used: &[bool],
    found: &[(Reg, Compound)],
    reg: Reg,
) -> Option<Joint> {
    let of = |reg: Reg| found.iter().find(|c| c.0 == reg).map(|c| &c.1);
    let step = of(reg)?;
    let (m_at, v_at) = step_leaves(step.name)?;
    let (m, v) = (step.leaves[m_at], step.leaves[v_at]);
    let (first, second) = (of(m)?, of(v)?);
    let same_gradient =
        first.name == Blend::NAME && second.name == BlendSquare::NAME && first.leaves[2] == second.leaves[2];
    let is = |r: Reg| root[r as usize] == m || root[r as usize] == v;
    // Nothing but the step reads the moments: they are made no earlier than it.
    let mut reads = 0;
    for (i, instr) in program.instrs.iter().enumerate() {
        if used[i] && root[i] as usize == i {
            match found.iter().find(|c| c.0 as usize == i) {
                Some((_, c)) => reads += c.leaves.iter().filter(|&&r| is(r)).count(),
                None => for_operands(&instr.code, |r| reads += is(r) as usize),
            }
        }
    }
    let dtypes = [reg, m, v].map(|r| program.instrs[r as usize].dtype);
    if !same_gradient || m == v || reads != 2 || dtypes.iter().any(|&t| t != dtypes[0]) {
        return None;
    }
    let own = step.leaves.iter().enumerate().filter(|&(k, _)| k != m_at && k != v_at).map(|(_, &r)| r);
    let (s2, t2) = (second.leaves[1], second.leaves[3]);
    let leaves = own.chain(first.leaves.iter().copied()).chain([second.leaves[0], s2, t2]).collect();
    let kernel = match (step.name == AdamWStep::NAME, dtypes[0]) {
        (true, DType::F32) => pick_adamw::<f32>(level),
        (true, _) => pick_adamw::<f64>(level),
        (false, DType::F32) => pick_adam::<f32>(level),
        (false, _) => pick_adam::<f64>(level),
    };
    Some(Joint { kernel, dsts: [reg, m, v], leaves })
}

#[cfg(test)]
mod tests {
    use crate::program::run;
    use hadal_core::ops::{Arg, BinaryOp, Code, Data, Instr, Out, Output, Program, Reg, UnaryOp};
    use hadal_core::smallvec::SmallVec;
    use hadal_core::{Buffer, DType, Layout, Scalar, Shape};

    /// An AdamW (or, without decay, Adam) step of `n` elements; with `extra` somebody else reads the first
    /// moment too.
    fn program(n: usize, decay: bool, extra: bool) -> Program {
        let dtype = DType::F32;
        let mut p = Program {
            shape: Shape::new(&[n]),
            instrs: Vec::new(),
            outputs: SmallVec::new(),
            reduced: SmallVec::from_elem(false, 1),
        };
        let mut push = |code: Code| -> Reg {
            p.instrs.push(Instr { code, dtype });
            p.instrs.len() as Reg - 1
        };
        let [w, g, m, v] = [0, 1, 2, 3].map(|k| push(Code::Load(k)));
        let mut lit = |x: f64| push(Code::Const(Scalar::F(x)));
        let [b1, c1, b2, c2, k, eps, lr, keep] =
            [0.9, 0.1, 0.999, 0.001, 1.7, 1e-8, 3e-3, 0.99].map(&mut lit);
        let mut op = |op: BinaryOp, a: Reg, b: Reg| push(Code::Binary(op, a, b));
        let (mb, gc) = (op(BinaryOp::Mul, m, b1), op(BinaryOp::Mul, g, c1));
        let m = op(BinaryOp::Add, mb, gc);
        let (vb, gg) = (op(BinaryOp::Mul, v, b2), op(BinaryOp::Mul, g, g));
        let gg = op(BinaryOp::Mul, gg, c2);
        let v = op(BinaryOp::Add, vb, gg);
        let side = op(BinaryOp::Mul, m, k);
        let w = if decay { op(BinaryOp::Mul, w, keep) } else { w };
        let root = push(Code::Unary(UnaryOp::Sqrt, v));
        let mut op = |op: BinaryOp, a: Reg, b: Reg| push(Code::Binary(op, a, b));
        let d = op(BinaryOp::Mul, root, k);
        let d = op(BinaryOp::Add, d, eps);
        let q = op(BinaryOp::Div, m, d);
        let q = op(BinaryOp::Mul, q, lr);
        let w = op(BinaryOp::Sub, w, q);
        for reg in [w, m, v].into_iter().chain(extra.then_some(side)) {
            p.outputs.push(Output { reg, reduce: None });
        }
        p
    }

    /// All outputs for elements `from..from + n`.
    fn result(from: usize, n: usize, decay: bool, extra: bool, in_place: bool) -> Vec<Vec<f32>> {
        let program = program(n, decay, extra);
        let value = |k: usize, i: usize| ((i * 37 + k * 101) % 997) as f32 / 300.0 + 0.01;
        let fill = |k: usize| {
            let mut b = Buffer::for_elements(n, DType::F32).expect("memory");
            b.as_mut_slice::<f32>().iter_mut().enumerate().for_each(|(i, x)| *x = value(k, from + i));
            b
        };
        let inputs: Vec<Buffer> = (0..4).map(fill).collect();
        let mut outputs: Vec<Buffer> =
            [0, 2, 3, 1][..program.outputs.len()].iter().map(|&k| fill(k)).collect();
        let layout = Layout::contiguous(program.shape.clone());
        let args: Vec<Arg<'_>> = (0..4)
            .map(|k| Arg {
                data: match k {
                    0 if in_place => Data::InPlace(0),
                    2 if in_place => Data::InPlace(1),
                    3 if in_place => Data::InPlace(2),
                    _ => Data::Buffer(&inputs[k]),
                },
                dtype: DType::F32,
                layout: &layout,
            })
            .collect();
        let mut outs: Vec<Out<'_>> =
            outputs.iter_mut().map(|data| Out { data, dtype: DType::F32, shape: &program.shape }).collect();
        run(&program, &args, &mut outs).expect("a program");
        outputs.iter().map(|b| b.as_slice::<f32>()[..n].to_vec()).collect()
    }

    #[test]
    fn a_step_in_one_loop_gives_the_bits_of_its_instructions() {
        const N: usize = 2 * crate::program::plan::COMPOUNDS + 77;
        for (decay, extra) in [(true, false), (false, false), (true, true)] {
            // Short programs run instruction by instruction.
            let step = 999;
            let mut plain = vec![Vec::new(); 3 + extra as usize];
            for i in (0..N).step_by(step) {
                let part = result(i, step.min(N - i), decay, extra, false);
                plain.iter_mut().zip(part).for_each(|(all, part)| all.extend(part));
            }
            for in_place in [false, true] {
                let joined = result(0, N, decay, extra, in_place);
                for (a, b) in joined.iter().zip(&plain) {
                    let same = a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
                    assert!(same, "decay {decay}, extra {extra}, in place {in_place}");
                }
            }
        }
    }

    #[test]
    fn a_step_is_one_step_of_the_plan_unless_its_moments_are_read_elsewhere() {
        for (extra, want) in [(false, 1), (true, 0)] {
            let program = program(8, true, extra);
            let root: Vec<Reg> = (0..program.instrs.len() as Reg).collect();
            let mut used = vec![true; root.len()];
            if !extra {
                // Nobody reads the other use of the first moment: dead code.
                let moment = |i: &Instr| matches!(i.code, Code::Binary(BinaryOp::Mul, 14, _));
                used[program.instrs.iter().position(moment).expect("it is there")] = false;
            }
            let level = crate::simd::Level::Portable;
            let mut found = crate::program::compound::find(level, &program, &root, &mut used);
            let joints = super::join(level, &program, &root, &mut used, &mut found);
            assert_eq!((joints.len(), found.len()), (want, 3 - 3 * want), "extra {extra}");
        }
    }
}
