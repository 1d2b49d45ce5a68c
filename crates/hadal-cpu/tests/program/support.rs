//! A naive interpreter of programs, one element at a time in scalar code, and the tools to compare
//! the block engine with it.

pub use crate::formulas::{binary, unary};
use hadal_core::ops::{Arg, BinaryOp, Code, Data, Instr, Out, Output, Program, ReduceOp, UnaryOp};
use hadal_core::smallvec::SmallVec;
use hadal_core::{Buffer, DType, Element, Layout, Result, Scalar, Shape, dispatch, half};
use hadal_cpu::program;

/// A linear congruential generator (Knuth's MMIX constants).
pub struct Lcg(pub u64);

impl Lcg {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 33
    }
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
    pub fn float(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.next() as f64 / (1u64 << 31) as f64)
    }
}

/// A value of a register, in its compute type.
#[derive(Clone, Copy, Debug)]
pub enum Val {
    F32(f32),
    F64(f64),
    I(i64),
    B(bool),
}

impl Val {
    pub fn f64(self) -> f64 {
        match self {
            Val::F32(v) => v as f64,
            Val::F64(v) => v,
            Val::I(v) => v as f64,
            Val::B(v) => v as u8 as f64,
        }
    }
    fn scalar(self) -> Scalar {
        match self {
            Val::I(v) => Scalar::I(v),
            Val::B(v) => Scalar::B(v),
            v => Scalar::F(v.f64()),
        }
    }
    /// Equal bits; all NaN count as one.
    pub fn same(self, other: Val) -> bool {
        match (self, other) {
            (Val::F32(a), Val::F32(b)) => a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()),
            (Val::F64(a), Val::F64(b)) => a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()),
            (Val::I(a), Val::I(b)) => a == b,
            (Val::B(a), Val::B(b)) => a == b,
            _ => false,
        }
    }
}

/// Conversion of a value to a dtype, as `Element` converts.
pub fn convert(v: Val, to: DType) -> Val {
    let integer = match v {
        Val::I(i) => Some(i),
        Val::B(b) => Some(b as i64),
        _ => None,
    };
    fn element<T: Element>(v: Val, i: Option<i64>) -> T {
        i.map_or_else(|| T::from_f64(v.f64()), T::from_i64)
    }
    match to {
        DType::F32 => Val::F32(element::<f32>(v, integer)),
        DType::F64 => Val::F64(element::<f64>(v, integer)),
        DType::F16 => Val::F32(element::<half::f16>(v, integer).to_f32()),
        DType::BF16 => Val::F32(element::<half::bf16>(v, integer).to_f32()),
        DType::I64 => Val::I(element::<i64>(v, integer)),
        DType::I32 => Val::I(element::<i32>(v, integer) as i64),
        DType::U8 => Val::I(element::<u8>(v, integer) as i64),
        DType::Bool => Val::B(element::<bool>(v, integer)),
    }
}

/// A tensor: memory and a layout.
pub struct Host {
    pub data: Buffer,
    pub dtype: DType,
    pub layout: Layout,
}

/// A stored element.
pub fn read(data: &Buffer, dtype: DType, i: usize) -> Val {
    dispatch!(dtype, T => {
        let bytes = &data.bytes()[i * size_of::<T>()..(i + 1) * size_of::<T>()];
        let v = T::from_bytes(bytes).expect("a valid element")[0];
        match dtype.compute() {
            DType::F32 => Val::F32(v.to_f64() as f32),
            DType::F64 => Val::F64(v.to_f64()),
            DType::I64 => Val::I(v.to_i64()),
            _ => Val::B(v.to_i64() != 0),
        }
    })
}

fn write(data: &mut Buffer, dtype: DType, i: usize, v: Val) {
    let s = v.scalar();
    dispatch!(dtype, T => {
        let e = match s {
            Scalar::F(v) => T::from_f64(v),
            s => T::from_i64(s.to_i64()),
        };
        let at = i * size_of::<T>();
        data.bytes_mut()[at..at + size_of::<T>()].copy_from_slice(bytemuck::bytes_of(&e));
    })
}

impl Host {
    /// A contiguous tensor with values from a function of the position.
    pub fn new(shape: &[usize], dtype: DType, mut f: impl FnMut(usize) -> Val) -> Host {
        let shape = Shape::new(shape);
        let n = shape.numel();
        let mut data = Buffer::for_elements(n, dtype).expect("memory");
        for i in 0..n {
            write(&mut data, dtype, i, f(i));
        }
        Host { data, dtype, layout: Layout::contiguous(shape) }
    }

    /// Random values; floats in an interval, integers in it too.
    pub fn random(shape: &[usize], dtype: DType, low: f64, high: f64, rng: &mut Lcg) -> Host {
        Host::new(shape, dtype, |_| random_value(dtype, low, high, rng))
    }

    /// The same memory in another layout.
    pub fn with(mut self, f: impl FnOnce(&Layout) -> Layout) -> Host {
        self.layout = f(&self.layout);
        self
    }

    pub fn arg(&self) -> Arg<'_> {
        Arg { data: Data::Buffer(&self.data), dtype: self.dtype, layout: &self.layout }
    }

    /// The element at a row-major position of its layout.
    pub fn at(&self, mut i: usize) -> Val {
        let mut at = self.layout.offset as isize;
        for (&d, &s) in self.layout.shape.iter().zip(&self.layout.strides).rev() {
            at += (i % d) as isize * s;
            i /= d;
        }
        read(&self.data, self.dtype, at as usize)
    }
}

pub fn random_value(dtype: DType, low: f64, high: f64, rng: &mut Lcg) -> Val {
    match dtype {
        DType::Bool => Val::B(rng.next() & 1 == 1),
        DType::U8 => Val::I(rng.below(256) as i64),
        _ => convert(Val::F64(rng.float(low, high)), dtype),
    }
}

/// Shorthands for programs.
pub struct Builder(pub Program);

impl Builder {
    pub fn new(shape: &[usize]) -> Builder {
        Builder(Program {
            shape: Shape::new(shape),
            instrs: Vec::new(),
            outputs: SmallVec::new(),
            reduced: SmallVec::from_elem(false, shape.len()),
        })
    }
    pub fn push(&mut self, code: Code, dtype: DType) -> u16 {
        self.0.instrs.push(Instr { code, dtype });
        self.0.instrs.len() as u16 - 1
    }
    pub fn load(&mut self, n: u16, dtype: DType) -> u16 {
        self.push(Code::Load(n), dtype)
    }
    pub fn constant(&mut self, v: impl Into<Scalar>, dtype: DType) -> u16 {
        self.push(Code::Const(v.into()), dtype)
    }
    pub fn unary(&mut self, op: UnaryOp, a: u16) -> u16 {
        let dtype = if op.kind() == hadal_core::ops::Kind::Test { DType::Bool } else { self.dtype(a) };
        self.push(Code::Unary(op, a), dtype)
    }
    pub fn binary(&mut self, op: BinaryOp, a: u16, b: u16) -> u16 {
        use hadal_core::ops::Kind;
        let dtype = match op.kind() {
            Kind::Compare | Kind::Logic => DType::Bool,
            _ => self.dtype(a),
        };
        self.push(Code::Binary(op, a, b), dtype)
    }
    pub fn cast(&mut self, a: u16, dtype: DType) -> u16 {
        self.push(Code::Cast(a), dtype)
    }
    pub fn dtype(&self, r: u16) -> DType {
        self.0.instrs[r as usize].dtype
    }
    pub fn store(&mut self, reg: u16) -> &mut Builder {
        self.0.outputs.push(Output { reg, reduce: None });
        self
    }
    pub fn reduce(&mut self, reg: u16, op: ReduceOp, axes: &[usize]) -> &mut Builder {
        self.0.outputs.push(Output { reg, reduce: Some(op) });
        for &a in axes {
            self.0.reduced[a] = true;
        }
        self
    }
}

/// The dtype of a program's output as the tensor layer chooses it.
pub fn out_dtype(p: &Program, o: &Output) -> DType {
    let dtype = p.instrs[o.reg as usize].dtype;
    match o.reduce {
        Some(ReduceOp::Any | ReduceOp::All) => DType::Bool,
        Some(ReduceOp::Sum | ReduceOp::Prod) if !dtype.is_float() => DType::I64,
        _ => dtype,
    }
}

/// Runs a program and returns its output buffers with their dtypes.
pub fn run_raw(p: &Program, inputs: &[&Host]) -> Result<Vec<(Buffer, DType)>> {
    let args: Vec<Arg<'_>> = inputs.iter().map(|h| h.arg()).collect();
    let kept = p.kept_shape();
    let mut memory: Vec<(Buffer, DType, &Shape)> = Vec::new();
    for o in &p.outputs {
        let (dtype, shape) = (out_dtype(p, o), if o.reduce.is_some() { &kept } else { &p.shape });
        let mut b = Buffer::for_elements(shape.numel(), dtype).expect("memory");
        b.bytes_mut().fill(0xa5);
        memory.push((b, dtype, shape));
    }
    let mut outs: Vec<Out<'_>> =
        memory.iter_mut().map(|(b, dtype, shape)| Out { data: b, dtype: *dtype, shape }).collect();
    program::run(p, &args, &mut outs)?;
    drop(outs);
    Ok(memory.into_iter().map(|(b, d, _)| (b, d)).collect())
}

/// Runs a program and returns its outputs' values.
pub fn run(p: &Program, inputs: &[&Host]) -> Vec<Vec<Val>> {
    run_raw(p, inputs).expect("a valid program").iter().map(|(b, d)| values(b, *d)).collect()
}

pub fn values(b: &Buffer, dtype: DType) -> Vec<Val> {
    (0..b.len() / dtype.size()).map(|i| read(b, dtype, i)).collect()
}

/// All registers at one position.
pub fn interpret(p: &Program, inputs: &[&Host], at: usize) -> Vec<Val> {
    let mut regs: Vec<Val> = Vec::with_capacity(p.instrs.len());
    for instr in &p.instrs {
        let r = |i: u16| regs[i as usize];
        let v = match instr.code {
            Code::Load(n) => inputs[n as usize].at(at),
            Code::Const(s) => match s.cast(instr.dtype) {
                Scalar::F(v) => Val::F64(v),
                Scalar::I(v) => Val::I(v),
                Scalar::B(v) => Val::B(v),
            },
            Code::Cast(a) => r(a),
            Code::Unary(op, a) => unary(op, r(a)),
            Code::Binary(op, a, b) => binary(op, r(a), r(b)),
            Code::Where(c, a, b) => match r(c) {
                Val::B(true) => r(a),
                _ => r(b),
            },
        };
        regs.push(convert(v, instr.dtype));
    }
    regs
}

/// Runs a program without reductions and compares every element, bit for bit, with the interpreter.
pub fn check(p: &Program, inputs: &[&Host], what: &str) {
    let got = run(p, inputs);
    for at in 0..p.shape.numel() {
        let want = interpret(p, inputs, at);
        for (k, o) in p.outputs.iter().enumerate() {
            let (g, w) = (got[k].get(at).copied().expect("as long as the shape"), want[o.reg as usize]);
            assert!(g.same(w), "{what}: output {k} at {at} of {}: got {g:?}, want {w:?}", p.shape);
        }
    }
}
