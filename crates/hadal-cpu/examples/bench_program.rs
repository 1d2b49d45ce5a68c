//! Times fused programs: `cargo run --release -p hadal-cpu --example bench_program [repeats] [name]`.
//! A name runs only the cases that contain it.
//!
//! Each case runs on warm buffers, on 1 and 2 threads alternating; the best of all repeats counts.
//! Bytes are those a perfect program moves: every input read once, every output written once.

use hadal_core::ops::{Arg, BinaryOp, Code, Data, Instr, Out, Output, Program, ReduceOp, UnaryOp};
use hadal_core::smallvec::SmallVec;
use hadal_core::{Buffer, DType, Layout, Scalar, Shape};
use hadal_cpu::{program, threads};
use std::time::Instant;

struct Bench {
    program: Program,
    inputs: Vec<(Option<usize>, Buffer, DType, Layout)>,
    out_dtypes: Vec<DType>,
}

impl Bench {
    fn new(shape: &[usize]) -> Bench {
        let program = Program {
            shape: Shape::new(shape),
            instrs: Vec::new(),
            outputs: SmallVec::new(),
            reduced: SmallVec::from_elem(false, shape.len()),
        };
        Bench { program, inputs: Vec::new(), out_dtypes: Vec::new() }
    }
    fn push(&mut self, code: Code, dtype: DType) -> u16 {
        self.program.instrs.push(Instr { code, dtype });
        self.program.instrs.len() as u16 - 1
    }
    fn load_as(&mut self, layout: Layout, dtype: DType, in_place: Option<usize>) -> u16 {
        let (_, n) = layout.span();
        let mut data = Buffer::for_elements(if in_place.is_some() { 0 } else { n }, dtype).expect("memory");
        if dtype == DType::F32 {
            for (i, x) in data.as_mut_slice::<f32>().iter_mut().enumerate() {
                *x = (i % 1013) as f32 / 500.0 - 1.0;
            }
        }
        self.inputs.push((in_place, data, dtype, layout));
        self.push(Code::Load(self.inputs.len() as u16 - 1), dtype)
    }
    fn load(&mut self) -> u16 {
        self.load_as(Layout::contiguous(self.program.shape.clone()), DType::F32, None)
    }
    fn number(&mut self, v: f64) -> u16 {
        self.push(Code::Const(Scalar::F(v)), DType::F32)
    }
    fn unary(&mut self, op: UnaryOp, a: u16) -> u16 {
        let dtype = self.program.instrs[a as usize].dtype;
        self.push(Code::Unary(op, a), dtype)
    }
    fn binary(&mut self, op: BinaryOp, a: u16, b: u16) -> u16 {
        let dtype = self.program.instrs[a as usize].dtype;
        self.push(Code::Binary(op, a, b), dtype)
    }
    fn store(&mut self, reg: u16) {
        self.out_dtypes.push(self.program.instrs[reg as usize].dtype);
        self.program.outputs.push(Output { reg, reduce: None });
    }
    fn reduce(&mut self, reg: u16, op: ReduceOp, axes: &[usize]) {
        self.out_dtypes.push(DType::F32);
        self.program.outputs.push(Output { reg, reduce: Some(op) });
        axes.iter().for_each(|&a| self.program.reduced[a] = true);
    }

    fn run(&self, name: &str, repeats: usize) {
        if std::env::args().nth(2).is_some_and(|only| !name.contains(&only)) {
            return;
        }
        let kept = self.program.kept_shape();
        let shapes: Vec<&Shape> = (self.program.outputs.iter())
            .map(|o| if o.reduce.is_some() { &kept } else { &self.program.shape })
            .collect();
        let mut memory: Vec<Buffer> = (shapes.iter().zip(&self.out_dtypes))
            .map(|(s, &d)| {
                let mut b = Buffer::for_elements(s.numel(), d).expect("memory");
                b.bytes_mut().fill(0);
                b
            })
            .collect();
        let mut bytes: usize = memory.iter().map(|b| b.len()).sum();
        for (in_place, data, dtype, layout) in &self.inputs {
            let all = layout.shape.numel() * dtype.size();
            bytes += if in_place.is_some() { all } else { data.len().min(all) };
        }
        let mut best = [f64::INFINITY; 2];
        for _ in 0..repeats {
            for (t, best) in best.iter_mut().enumerate() {
                threads::set_threads(t + 1);
                let inner = if self.program.shape.numel() < 100_000 { 1000 } else { 1 };
                let start = Instant::now();
                for _ in 0..inner {
                    let args: Vec<Arg<'_>> = (self.inputs.iter())
                        .map(|(in_place, data, dtype, layout)| Arg {
                            data: in_place.map_or(Data::Buffer(data), Data::InPlace),
                            dtype: *dtype,
                            layout,
                        })
                        .collect();
                    let mut outs: Vec<Out<'_>> = (memory.iter_mut().zip(&shapes).zip(&self.out_dtypes))
                        .map(|((data, shape), &dtype)| Out { data, dtype, shape })
                        .collect();
                    program::run(&self.program, &args, &mut outs).expect("a valid program");
                }
                *best = best.min(start.elapsed().as_secs_f64() / inner as f64);
            }
        }
        let rate = |t: f64| bytes as f64 / t * 1e-9;
        if best[0] < 1e-4 {
            println!("{name:<44} {:9.3} µs         {:9.3} µs", best[0] * 1e6, best[1] * 1e6);
        } else {
            println!(
                "{name:<44} {:9.3} ms {:6.1} GB/s {:9.3} ms {:6.1} GB/s",
                best[0] * 1e3,
                rate(best[0]),
                best[1] * 1e3,
                rate(best[1])
            );
        }
    }
}

/// `y = x·a + b; 0.5·y·(1 + erf(y/√2)) + x`, with a and b numbers.
fn gelu_chain(n: usize) -> Bench {
    let mut b = Bench::new(&[n]);
    let x = b.load();
    let (a, c) = (b.number(1.1), b.number(0.1));
    let y = b.binary(BinaryOp::Mul, x, a);
    let y = b.binary(BinaryOp::Add, y, c);
    let r = b.number(std::f64::consts::FRAC_1_SQRT_2);
    let e = b.binary(BinaryOp::Mul, y, r);
    let e = b.unary(UnaryOp::Erf, e);
    let one = b.number(1.0);
    let e = b.binary(BinaryOp::Add, e, one);
    let half = b.number(0.5);
    let h = b.binary(BinaryOp::Mul, y, half);
    let g = b.binary(BinaryOp::Mul, h, e);
    let z = b.binary(BinaryOp::Add, g, x);
    b.store(z);
    b
}

/// One AdamW step: p, m, v in place, g read.
fn adamw(n: usize) -> Bench {
    let mut b = Bench::new(&[n]);
    let flat = || Layout::contiguous(Shape::new(&[n]));
    let p = b.load_as(flat(), DType::F32, Some(0));
    let m = b.load_as(flat(), DType::F32, Some(1));
    let v = b.load_as(flat(), DType::F32, Some(2));
    let g = b.load();
    let numbers: Vec<u16> =
        [0.9, 0.1, 0.999, 0.001, 1e-3, 1e-8, 0.99999, 1.1].into_iter().map(|x| b.number(x)).collect();
    let m1 = b.binary(BinaryOp::Mul, m, numbers[0]);
    let g1 = b.binary(BinaryOp::Mul, g, numbers[1]);
    let m1 = b.binary(BinaryOp::Add, m1, g1);
    let v1 = b.binary(BinaryOp::Mul, v, numbers[2]);
    let g2 = b.binary(BinaryOp::Mul, g, g);
    let g2 = b.binary(BinaryOp::Mul, g2, numbers[3]);
    let v1 = b.binary(BinaryOp::Add, v1, g2);
    let d = b.unary(UnaryOp::Sqrt, v1);
    let d = b.binary(BinaryOp::Mul, d, numbers[7]);
    let d = b.binary(BinaryOp::Add, d, numbers[5]);
    let u = b.binary(BinaryOp::Div, m1, d);
    let u = b.binary(BinaryOp::Mul, u, numbers[4]);
    let p1 = b.binary(BinaryOp::Mul, p, numbers[6]);
    let p1 = b.binary(BinaryOp::Sub, p1, u);
    b.store(p1);
    b.store(m1);
    b.store(v1);
    b
}

fn add(n: usize) -> Bench {
    let mut b = Bench::new(&[n]);
    let (x, y) = (b.load(), b.load());
    let z = b.binary(BinaryOp::Add, x, y);
    b.store(z);
    b
}

fn sum(shape: &[usize], axes: &[usize]) -> Bench {
    let mut b = Bench::new(shape);
    let x = b.load();
    b.reduce(x, ReduceOp::Sum, axes);
    b
}

fn main() {
    let repeats = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(15);
    println!("{:<44} {:>26} {:>26}", "", "1 thread", "2 threads");
    gelu_chain(1 << 24).run("gelu(x*a+b)+x, 2^24", repeats);
    add(1 << 24).run("x + y, 2^24", repeats);
    let mut b = Bench::new(&[1 << 24]);
    let x = b.load();
    let y = b.unary(UnaryOp::Exp, x);
    b.store(y);
    b.run("exp, 2^24", repeats);
    let mut b = Bench::new(&[4096, 1024]);
    let x = b.load();
    let row = Layout::contiguous(Shape::new(&[1024])).expand(&b.program.shape.clone());
    let col = Layout::contiguous(Shape::new(&[4096, 1])).expand(&b.program.shape.clone());
    let (r, c) = (b.load_as(row, DType::F32, None), b.load_as(col, DType::F32, None));
    let y = b.binary(BinaryOp::Sub, x, c);
    let y = b.binary(BinaryOp::Mul, y, r);
    b.store(y);
    b.run("(x - column)·row, [4096, 1024]", repeats);
    let mut b = Bench::new(&[4096, 4096]);
    let x = b.load();
    let t = Layout::contiguous(b.program.shape.clone()).permute(&[1, 0]);
    let y = b.load_as(t, DType::F32, None);
    let y = b.binary(BinaryOp::Add, x, y);
    b.store(y);
    b.run("x + y transposed, [4096, 4096]", repeats);
    sum(&[1 << 24], &[0]).run("sum of 2^24", repeats);
    sum(&[4096, 4096], &[0]).run("sum over axis 0 of [4096, 4096]", repeats);
    sum(&[4096, 4096], &[1]).run("sum over axis 1 of [4096, 4096]", repeats);
    sum(&[4096, 1024], &[1]).run("sum over axis 1 of [4096, 1024]", repeats);
    sum(&[1 << 20, 10], &[1]).run("sum over axis 1 of [2^20, 10]", repeats);
    sum(&[1 << 20, 10], &[0]).run("sum over axis 0 of [2^20, 10]", repeats);
    let mut b = Bench::new(&[32, 64, 56, 56]);
    let x = b.load();
    let s = b.unary(UnaryOp::Square, x);
    b.reduce(x, ReduceOp::Sum, &[0, 2, 3]);
    b.reduce(s, ReduceOp::Sum, &[0, 2, 3]);
    b.run("batch norm sums of [32, 64, 56, 56]", repeats);
    let mut b = Bench::new(&[4096, 1024]);
    let x = b.load();
    let m = Layout::contiguous(Shape::new(&[4096, 1])).expand(&b.program.shape.clone());
    let m = b.load_as(m, DType::F32, None);
    let y = b.binary(BinaryOp::Sub, x, m);
    let y = b.unary(UnaryOp::Exp, y);
    b.store(y);
    b.reduce(y, ReduceOp::Sum, &[1]);
    b.run("exp(x - m) and its row sums, [4096, 1024]", repeats);
    adamw(25_000_000).run("AdamW in place, 25 M", repeats);
    add(16).run("x + y, 16 elements", repeats);
    gelu_chain(16).run("gelu chain, 16 elements", repeats);
    sum(&[64, 10], &[0]).run("sum over axis 0 of [64, 10]", repeats);
    sum(&[64, 10], &[1]).run("sum over axis 1 of [64, 10]", repeats);
    adamw(4096).run("AdamW in place, 4096", repeats);
    gelu_chain(2560).run("gelu chain, 2560 elements", repeats);
    for op in [
        UnaryOp::Neg,
        UnaryOp::Sqrt,
        UnaryOp::Erf,
        UnaryOp::Exp,
        UnaryOp::Tanh,
        UnaryOp::Sigmoid,
        UnaryOp::Log,
        UnaryOp::Sin,
    ] {
        let mut b = Bench::new(&[20 * 512]);
        let x = b.load();
        let y = b.unary(op, x);
        b.store(y);
        b.run(&format!("{} of 10240 elements", op.name()), repeats);
    }
    for op in [BinaryOp::Add, BinaryOp::Div, BinaryOp::Maximum] {
        let mut b = Bench::new(&[20 * 512]);
        let x = b.load();
        let c = b.number(1.5);
        let y = b.binary(op, x, c);
        b.store(y);
        b.run(&format!("{} of 10240 elements", op.name()), repeats);
    }
}
