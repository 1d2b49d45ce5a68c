//! Random programs: the same bits fused, one instruction at a time, interpreted, and for any number
//! of threads.

use crate::support::*;
use hadal_core::ops::{BinaryOp, Code, Kind, Output, Program, ReduceOp, UnaryOp};
use hadal_core::smallvec::SmallVec;
use hadal_core::{DType, Layout, Scalar, Shape};
use hadal_cpu::threads::set_threads;

/// A random valid program over `inputs` of these dtypes.
fn random_program(shape: &[usize], dtypes: &[DType], rng: &mut Lcg) -> Program {
    let mut b = Builder::new(shape);
    for (i, &d) in dtypes.iter().enumerate() {
        b.load(i as u16, d);
    }
    for _ in 0..3 + rng.below(25) {
        let n = b.0.instrs.len();
        let a = rng.below(n) as u16;
        match rng.below(8) {
            0 => {
                let d = DType::ALL[rng.below(8)];
                b.constant(Scalar::F(rng.float(-3.0, 3.0)), d);
            }
            1 | 2 => {
                b.cast(a, DType::ALL[rng.below(8)]);
            }
            3 | 4 => {
                let op = UnaryOp::ALL[rng.below(UnaryOp::ALL.len())];
                let a =
                    if op.kind() == Kind::Num || b.dtype(a).is_float() { a } else { b.cast(a, DType::F32) };
                b.unary(op, a);
            }
            5 | 6 => {
                let op = BinaryOp::ALL[rng.below(BinaryOp::ALL.len())];
                let d = match (op.kind(), b.dtype(a)) {
                    (Kind::Float, d) if !d.is_float() => DType::F32,
                    (Kind::Logic, _) => DType::Bool,
                    (Kind::Bit, d) if d.is_float() => DType::I32,
                    (_, d) => d,
                };
                let c = rng.below(n) as u16;
                let (a, c) = (b.cast(a, d), b.cast(c, d));
                b.binary(op, a, c);
            }
            _ => {
                let d = b.dtype(a);
                let (c, y) = (rng.below(n) as u16, rng.below(n) as u16);
                let (c, y) = (b.cast(c, DType::Bool), b.cast(y, d));
                b.push(Code::Where(c, a, y), d);
            }
        }
    }
    let n = b.0.instrs.len();
    for _ in 0..1 + rng.below(3) {
        let reg = (n - 1 - rng.below(n.min(6))) as u16;
        b.store(reg);
    }
    for axis in 0..shape.len() {
        b.0.reduced[axis] = rng.below(2) == 0;
    }
    for _ in 0..rng.below(3) {
        let reg = (n - 1 - rng.below(n.min(6))) as u16;
        let op = [ReduceOp::Sum, ReduceOp::Max, ReduceOp::Min, ReduceOp::Any][rng.below(4)];
        b.0.outputs.push(Output { reg, reduce: Some(op) });
    }
    b.0
}

/// Runs every instruction as a program of its own.
fn one_by_one(p: &Program, inputs: &[&Host]) -> Vec<Vec<Val>> {
    let single = |code: Code, dtype: DType, from: &[&Host], reduce: Option<ReduceOp>| {
        let mut b = Builder(Program {
            shape: p.shape.clone(),
            instrs: Vec::new(),
            outputs: SmallVec::new(),
            reduced: p.reduced.clone(),
        });
        for (i, h) in from.iter().enumerate() {
            b.load(i as u16, h.dtype);
        }
        let r = b.push(code, dtype);
        b.0.outputs.push(Output { reg: r, reduce });
        let (data, dtype) = run_raw(&b.0, from).expect("a valid program").remove(0);
        Host { data, dtype, layout: Layout::contiguous(p.shape.clone()) }
    };
    let mut regs: Vec<Host> = Vec::new();
    for instr in &p.instrs {
        let h = match instr.code {
            Code::Load(n) => single(Code::Load(0), instr.dtype, &[inputs[n as usize]], None),
            Code::Const(_) => single(instr.code.clone(), instr.dtype, &[], None),
            Code::Cast(a) => single(Code::Cast(0), instr.dtype, &[&regs[a as usize]], None),
            Code::Unary(op, a) => single(Code::Unary(op, 0), instr.dtype, &[&regs[a as usize]], None),
            Code::Binary(op, a, b) => {
                single(Code::Binary(op, 0, 1), instr.dtype, &[&regs[a as usize], &regs[b as usize]], None)
            }
            Code::Where(c, a, b) => {
                let from = [&regs[c as usize], &regs[a as usize], &regs[b as usize]];
                single(Code::Where(0, 1, 2), instr.dtype, &from, None)
            }
        };
        regs.push(h);
    }
    p.outputs
        .iter()
        .map(|o| {
            let from = &regs[o.reg as usize];
            match o.reduce {
                None => values(&from.data, from.dtype),
                Some(op) => {
                    let h = single(Code::Load(0), from.dtype, &[from], Some(op));
                    values(&h.data, h.dtype)
                }
            }
        })
        .collect()
}

#[test]
fn random_programs_fused_unfused_and_interpreted_agree() {
    let mut rng = Lcg(31);
    for round in 0..250 {
        let shapes: [&[usize]; 8] =
            [&[], &[5], &[40, 33], &[3, 700], &[700, 3], &[2, 9, 64], &[1, 513], &[6, 5, 4, 3]];
        let shape = shapes[rng.below(8)];
        let dtypes: Vec<DType> = (0..1 + rng.below(4)).map(|_| DType::ALL[rng.below(8)]).collect();
        let inputs: Vec<Host> = dtypes
            .iter()
            .map(|&d| {
                let full = Shape::new(shape);
                match rng.below(4) {
                    0 if !shape.is_empty() => {
                        Host::random(&shape[1..], d, -3.0, 3.0, &mut rng).with(|l| l.expand(&full))
                    }
                    1 => {
                        let turned: Vec<usize> = shape.iter().rev().copied().collect();
                        let back: Vec<usize> = (0..shape.len()).rev().collect();
                        Host::random(&turned, d, -3.0, 3.0, &mut rng).with(|l| l.permute(&back))
                    }
                    _ => Host::random(shape, d, -3.0, 3.0, &mut rng),
                }
            })
            .collect();
        let inputs: Vec<&Host> = inputs.iter().collect();
        let p = random_program(shape, &dtypes, &mut rng);
        let fused = run(&p, &inputs);
        let split = one_by_one(&p, &inputs);
        for (k, (f, s)) in fused.iter().zip(&split).enumerate() {
            assert_eq!(f.len(), s.len());
            let differ = f.iter().zip(s).position(|(f, s)| !f.same(*s));
            assert!(differ.is_none(), "round {round}, output {k} at {differ:?}: {:?}\n{p:#?}", p.outputs[k]);
        }
        let mut elementwise = p.clone();
        elementwise.outputs.retain(|o| o.reduce.is_none());
        check(&elementwise, &inputs, &format!("round {round}"));
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let mut rng = Lcg(32);
    let cases: [(&[usize], &[usize]); 8] = [
        (&[300_000], &[0]),
        (&[700, 500], &[0]),
        (&[700, 500], &[1]),
        (&[5, 60_000], &[0]),
        (&[5, 60_000], &[1]),
        (&[60_000, 5], &[0]),
        (&[8, 30, 35, 35], &[0, 2, 3]),
        (&[8, 30, 35, 35], &[1]),
    ];
    for (shape, axes) in cases {
        let x = Host::random(shape, DType::F32, -1.0, 1.0, &mut rng);
        let mut b = Builder::new(shape);
        let r = b.load(0, DType::F32);
        let e = b.unary(UnaryOp::Exp, r);
        let s = b.binary(BinaryOp::Mul, e, r);
        b.store(s).reduce(e, ReduceOp::Sum, axes).reduce(s, ReduceOp::Prod, axes);
        let runs: Vec<Vec<Vec<Val>>> = [1, 2, 4]
            .into_iter()
            .map(|n| {
                set_threads(n);
                run(&b.0, &[&x])
            })
            .collect();
        for other in &runs[1..] {
            for (a, b) in runs[0].iter().flatten().zip(other.iter().flatten()) {
                assert!(a.same(*b), "{shape:?} {axes:?}: {a:?} {b:?}");
            }
        }
    }
}
