//! Several instructions as one block function.
//!
//! Between two instructions a block is stored and loaded again, at a cost of about as much as a simple
//! operation. So expressions that programs are full of have a block function of their own: averages
//! and steps of optimizers, normalisations, activations. A formula here is written once, over
//! [`Num`]: with numbers it is the block function, with [`Tree`]s it is the pattern that is looked for
//! among the instructions. Operations and their order are those of the instructions replaced, so the
//! results are the same bits.

use super::blocks::PAD;
use super::isa::versions;
use crate::simd::Level;
use hadal_core::DType;
use hadal_core::math::Real;
use hadal_core::ops::{BinaryOp, Code, Program, Reg, UnaryOp};
use hadal_core::smallvec::SmallVec;
use std::ops::{Add, Div, Mul, Sub};
use std::sync::OnceLock;

/// `kernel(dst, sources, n, whole)`: as [`Kernel`](super::blocks::Kernel), with one pointer for each
/// leaf of the formula. Unlike there `dst` may be one of the sources: each element is read before it is
/// written.
pub(super) type CompoundKernel = unsafe fn(*mut u8, *const *const u8, usize, u32);

/// Most leaves of a formula.
pub(super) const MAX_LEAVES: usize = 7;

/// What formulas are written over: numbers, or [`Tree`]s of operations.
pub(super) trait Num:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    fn square(self) -> Self;
    fn sqrt(self) -> Self;
    fn exp(self) -> Self;
    fn erf(self) -> Self;
    fn tanh(self) -> Self;
    fn sigmoid(self) -> Self;
    fn relu(self) -> Self;
    /// `where(self <= low, low, self)`.
    fn at_least(self, low: Self) -> Self;
    /// `where(self >= high, high, self)`.
    fn at_most(self, high: Self) -> Self;
}

macro_rules! num {
    ($($t:ty),*) => { $(impl Num for $t {
        #[inline(always)]
        fn square(self) -> Self {
            self * self
        }
        #[inline(always)]
        fn sqrt(self) -> Self {
            self.sqrt_()
        }
        #[inline(always)]
        fn exp(self) -> Self {
            self.exp_()
        }
        #[inline(always)]
        fn erf(self) -> Self {
            self.erf_()
        }
        #[inline(always)]
        fn tanh(self) -> Self {
            self.tanh_()
        }
        #[inline(always)]
        fn sigmoid(self) -> Self {
            self.sigmoid_()
        }
        #[inline(always)]
        fn relu(self) -> Self {
            self.relu_()
        }
        #[inline(always)]
        fn at_least(self, low: Self) -> Self {
            if self <= low { low } else { self }
        }
        #[inline(always)]
        fn at_most(self, high: Self) -> Self {
            if self >= high { high } else { self }
        }
    })* };
}
num!(f32, f64);

/// A formula as a pattern. Made once per process and never freed.
#[derive(Clone, Copy)]
enum Tree {
    Leaf(usize),
    Unary(UnaryOp, &'static Tree),
    Binary(BinaryOp, &'static Tree, &'static Tree),
    /// The second where the comparison of the first with it holds, else the first.
    Bound(BinaryOp, &'static Tree, &'static Tree),
}

impl Tree {
    fn unary(self, op: UnaryOp) -> Tree {
        Tree::Unary(op, Box::leak(Box::new(self)))
    }
    fn binary(self, op: BinaryOp, o: Tree) -> Tree {
        Tree::Binary(op, Box::leak(Box::new(self)), Box::leak(Box::new(o)))
    }
    fn bound(self, op: BinaryOp, o: Tree) -> Tree {
        Tree::Bound(op, Box::leak(Box::new(self)), Box::leak(Box::new(o)))
    }
    /// Whether the instruction is the tree's outermost operation.
    fn begins(&self, code: &Code) -> bool {
        match (self, code) {
            (Tree::Unary(op, _), Code::Unary(of, _)) => op == of,
            (Tree::Binary(op, ..), Code::Binary(of, ..)) => op == of,
            (Tree::Bound(..), Code::Where(..)) => true,
            _ => false,
        }
    }
    /// Instructions that the tree replaces.
    fn size(&self) -> usize {
        match self {
            Tree::Leaf(_) => 0,
            Tree::Unary(_, a) => 1 + a.size(),
            Tree::Binary(_, a, b) => 1 + a.size() + b.size(),
            Tree::Bound(_, a, b) => 2 + a.size() + b.size(),
        }
    }
}
impl Add for Tree {
    type Output = Tree;
    fn add(self, o: Tree) -> Tree {
        self.binary(BinaryOp::Add, o)
    }
}
impl Sub for Tree {
    type Output = Tree;
    fn sub(self, o: Tree) -> Tree {
        self.binary(BinaryOp::Sub, o)
    }
}
impl Mul for Tree {
    type Output = Tree;
    fn mul(self, o: Tree) -> Tree {
        self.binary(BinaryOp::Mul, o)
    }
}
impl Div for Tree {
    type Output = Tree;
    fn div(self, o: Tree) -> Tree {
        self.binary(BinaryOp::Div, o)
    }
}
impl Num for Tree {
    fn square(self) -> Tree {
        self.unary(UnaryOp::Square)
    }
    fn sqrt(self) -> Tree {
        self.unary(UnaryOp::Sqrt)
    }
    fn exp(self) -> Tree {
        self.unary(UnaryOp::Exp)
    }
    fn erf(self) -> Tree {
        self.unary(UnaryOp::Erf)
    }
    fn tanh(self) -> Tree {
        self.unary(UnaryOp::Tanh)
    }
    fn sigmoid(self) -> Tree {
        self.unary(UnaryOp::Sigmoid)
    }
    fn relu(self) -> Tree {
        self.unary(UnaryOp::Relu)
    }
    fn at_least(self, low: Tree) -> Tree {
        self.bound(BinaryOp::Le, low)
    }
    fn at_most(self, high: Tree) -> Tree {
        self.bound(BinaryOp::Ge, high)
    }
}

/// An expression of `N` leaves.
pub(super) trait Formula<const N: usize> {
    fn of<T: Num>(x: [T; N]) -> T;
}

/// Elements that are read before any is written: a vector register of f32.
pub(super) const WIDTH: usize = 16;

#[inline(always)]
unsafe fn body<T: Num, F: Formula<N>, const N: usize>(
    d: *mut u8,
    sources: *const *const u8,
    n: usize,
    whole: u32,
) {
    // SAFETY: the caller promises a source for each leaf.
    let sources = unsafe { &*sources.cast::<[*const T; N]>() };
    let d = d.cast::<T>();
    for at in (0..n & !(PAD - 1)).step_by(PAD) {
        let x: [*const T; N] =
            std::array::from_fn(|k| sources[k].wrapping_add(if whole >> k & 1 == 1 { at } else { 0 }));
        for i in (0..PAD).step_by(WIDTH) {
            // SAFETY: see `CompoundKernel`; whole or not, a source has PAD elements from `x` on.
            unsafe {
                let x: [[T; WIDTH]; N] = std::array::from_fn(|k| x[k].add(i).cast::<[T; WIDTH]>().read());
                let y: [T; WIDTH] = std::array::from_fn(|j| F::of(std::array::from_fn(|k| x[k][j])));
                d.add(at + i).cast::<[T; WIDTH]>().write(y);
            }
        }
    }
}

/// Formulas of named leaves.
macro_rules! compounds {
    ($($(#[doc = $doc:literal])+ $name:ident($($x:ident),+) = $e:expr;)*) => {
        $(
            $(#[doc = $doc])+
            pub(super) struct $name;
            impl Formula<{ [$(stringify!($x)),+].len() }> for $name {
                #[inline(always)]
                fn of<T: Num>([$($x),+]: [T; { [$(stringify!($x)),+].len() }]) -> T {
                    $e
                }
            }
            impl $name {
                /// By which a compound found is known.
                pub(super) const NAME: &'static str = stringify!($name);
                const LEAVES: usize = [$(stringify!($x)),+].len();
                #[inline(always)]
                unsafe fn run<T: Num>(d: *mut u8, sources: *const *const u8, n: usize, whole: u32) {
                    // SAFETY: the caller's promise.
                    unsafe { body::<T, $name, { $name::LEAVES }>(d, sources, n, whole) }
                }
                fn pattern() -> Pattern {
                    fn run<T: Num>(isa: Level) -> CompoundKernel {
                        #[inline(always)]
                        unsafe fn run<T: Num>(d: *mut u8, s: *const *const u8, n: usize, whole: u32) {
                            // SAFETY: the caller's promise.
                            unsafe { $name::run::<T>(d, s, n, whole) }
                        }
                        versions!(pick, CompoundKernel, run, [T], [T: Num],
                            (d: *mut u8, s: *const *const u8, n: usize, whole: u32));
                        pick::<T>(isa)
                    }
                    Pattern {
                        name: $name::NAME,
                        tree: $name::of(std::array::from_fn(Tree::Leaf)),
                        leaves: $name::LEAVES,
                        f32: run::<f32>,
                        f64: run::<f64>,
                    }
                }
            }
            const _: () = assert!($name::LEAVES <= MAX_LEAVES);
        )*
        /// All patterns, those of most instructions first.
        fn patterns() -> &'static [Pattern] {
            static ALL: OnceLock<Vec<Pattern>> = OnceLock::new();
            ALL.get_or_init(|| {
                let mut all = vec![$($name::pattern()),*];
                all.sort_by_key(|p| std::cmp::Reverse(p.tree.size()));
                all
            })
        }
    };
}

struct Pattern {
    name: &'static str,
    tree: Tree,
    leaves: usize,
    f32: fn(Level) -> CompoundKernel,
    f64: fn(Level) -> CompoundKernel,
}

compounds! {
    /// A running average, or two scaled terms.
    Blend(a, s, b, t) = a * s + b * t;
    /// A running average of squares.
    BlendSquare(a, s, b, t) = a * s + b * b * t;
    /// AdamW's step: decayed parameter, first and second moment, corrections.
    AdamWStep(p, w, m, v, c, eps, r) = p * w - m / (v.sqrt() * c + eps) * r;
    /// Adam's step.
    AdamStep(p, m, v, c, eps, r) = p - m / (v.sqrt() * c + eps) * r;
    /// The step of Adagrad, RMSprop and their like.
    RootStep(p, g, v, eps, r) = p - g / (v.sqrt() + eps) * r;
    /// A normalisation with weight and bias.
    Norm(x, m, s, w, b) = (x - m) * s * w + b;
    /// The same of what is centred already.
    Affine2(x, s, w, b) = x * s * w + b;
    /// A normalisation.
    Standard(x, m, s) = (x - m) * s;
    /// Scale and shift.
    Affine(a, s, b) = a * s + b;
    /// Scale and shift, the sum the other way round.
    Plus(a, b, s) = a + b * s;
    /// A plain step.
    Step(a, b, s) = a - b * s;
    /// Three factors.
    Product(a, b, c) = a * b * c;
    /// A summand of a variance.
    Deviation(x, m) = (x - m).square();
    /// A term of softmax.
    ShiftedExp(x, m) = (x - m).exp();
    /// GELU.
    Gelu(x, h, r, one) = x * h * ((x * r).erf() + one);
    /// GELU by tanh.
    GeluTanh(x, h, k, c, one) = x * h * (((x * x * x * k + x) * c).tanh() + one);
    /// A batch normalisation.
    BatchNorm(x, m, s, b) = (x - m) * s + b;
    /// The same with ReLU behind it.
    BatchNormRelu(x, m, s, b) = ((x - m) * s + b).relu();
    /// A bias or a residual with ReLU behind it.
    SumRelu(x, b) = (x + b).relu();
    /// Both.
    SumsRelu(x, b, r) = (x + b + r).relu();
    /// A batch normalisation with ReLU6 behind it.
    BatchNormClamp(x, m, s, b, low, high) = ((x - m) * s + b).at_least(low).at_most(high);
    /// A bias with ReLU6 behind it.
    BiasClamp(x, b, low, high) = (x + b).at_least(low).at_most(high);
    /// ReLU6.
    Clamp(x, low, high) = x.at_least(low).at_most(high);
    /// Cut off below.
    AtLeast(x, low) = x.at_least(low);
    /// Cut off above.
    AtMost(x, high) = x.at_most(high);
    /// SiLU.
    Silu(x) = x * x.sigmoid();
    /// The derivative of tanh, times a cotangent.
    TanhGrad(g, one, y) = g * (one - y * y);
    /// The derivative of the sigmoid, times a cotangent.
    SigmoidGrad(g, y, one) = g * (y * (one - y));
}

/// A pattern found: the instruction that is its root, and what stands at the leaves.
pub(super) struct Compound {
    /// The formula's name.
    pub name: &'static str,
    pub kernel: CompoundKernel,
    pub leaves: SmallVec<[Reg; MAX_LEAVES]>,
}

/// Looks for compounds in the instructions that are `used`, largest first. Returns them with the
/// instructions that they end in, the last first; instructions that are taken into one are no longer
/// `used`.
pub(super) fn find(level: Level, program: &Program, root: &[Reg], used: &mut [bool]) -> Vec<(Reg, Compound)> {
    let n = program.instrs.len();
    let mut found = Vec::new();
    let mut search = Search { program, root, uses: SmallVec::from_elem(0, n) };
    for i in (0..n).filter(|&i| used[i] && root[i] as usize == i) {
        super::plan::for_operands(&program.instrs[i].code, |r| search.uses[root[r as usize] as usize] += 1);
    }
    for o in &program.outputs {
        search.uses[root[o.reg as usize] as usize] += 2;
    }
    for i in (0..n).rev().filter(|&i| root[i] as usize == i) {
        let dtype = program.instrs[i].dtype;
        if !used[i] || !matches!(dtype, DType::F32 | DType::F64) {
            continue;
        }
        for p in patterns() {
            if !p.tree.begins(&program.instrs[i].code) {
                continue;
            }
            let mut m = Matched { leaves: [None; MAX_LEAVES], inner: SmallVec::new() };
            if search.matches(&p.tree, i as Reg, dtype, 0, &mut m) {
                m.inner.iter().for_each(|&r| used[r as usize] = false);
                let kernel = if dtype == DType::F32 { (p.f32)(level) } else { (p.f64)(level) };
                let leaves = m.leaves[..p.leaves].iter().flatten().copied().collect();
                found.push((i as Reg, Compound { name: p.name, kernel, leaves }));
                break;
            }
        }
    }
    found
}

struct Search<'a> {
    program: &'a Program,
    root: &'a [Reg],
    /// How often a register is an operand; an output counts as two, so that it is never taken in.
    uses: SmallVec<[u32; 32]>,
}

struct Matched {
    leaves: [Option<Reg>; MAX_LEAVES],
    inner: SmallVec<[Reg; 8]>,
}

impl Search<'_> {
    /// `uses`: how often the formula reads the register, if it is not the formula's end.
    fn matches(&self, tree: &Tree, reg: Reg, dtype: DType, uses: u32, m: &mut Matched) -> bool {
        let reg = self.root[reg as usize];
        let instr = &self.program.instrs[reg as usize];
        if instr.dtype != dtype {
            return false;
        }
        if let Tree::Leaf(k) = tree {
            return *m.leaves[*k].get_or_insert(reg) == reg;
        }
        if uses > 0 {
            if self.uses[reg as usize] != uses {
                return false;
            }
            m.inner.push(reg);
        }
        match (tree, &instr.code) {
            (Tree::Unary(op, x), Code::Unary(of, a)) => op == of && self.matches(x, *a, dtype, 1, m),
            (Tree::Binary(op, x, y), Code::Binary(of, a, b)) => {
                op == of && self.matches(x, *a, dtype, 1, m) && self.matches(y, *b, dtype, 1, m)
            }
            (Tree::Bound(op, x, bound), Code::Where(test, a, b)) => {
                let root = |r: Reg| self.root[r as usize];
                let test = root(*test);
                let Code::Binary(of, p, q) = self.program.instrs[test as usize].code else { return false };
                if of != *op || self.uses[test as usize] != 1 || (root(p), root(q)) != (root(*b), root(*a)) {
                    return false;
                }
                m.inner.push(test);
                // Compared and chosen.
                self.matches(x, *b, dtype, 2, m) && self.matches(bound, *a, dtype, 2, m)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::run;
    use hadal_core::ops::{Arg, Data, Instr, Out, Output};
    use hadal_core::{Buffer, Layout, Shape};

    fn program(p: &Pattern, n: usize, dtype: DType) -> Program {
        let shape = Shape::new(&[n]);
        let load = |k: usize| Instr { code: Code::Load(k as u16), dtype };
        let mut program = Program {
            shape,
            instrs: (0..p.leaves).map(load).collect(),
            outputs: SmallVec::new(),
            reduced: SmallVec::from_elem(false, 1),
        };
        let reg = push(&mut program, &p.tree, dtype);
        program.outputs.push(Output { reg, reduce: None });
        program
    }

    fn push(program: &mut Program, tree: &Tree, dtype: DType) -> Reg {
        let code = match tree {
            Tree::Leaf(k) => return *k as Reg,
            Tree::Unary(op, a) => Code::Unary(*op, push(program, a, dtype)),
            Tree::Binary(op, a, b) => {
                let a = push(program, a, dtype);
                Code::Binary(*op, a, push(program, b, dtype))
            }
            Tree::Bound(op, a, b) => {
                let (a, b) = (push(program, a, dtype), push(program, b, dtype));
                program.instrs.push(Instr { code: Code::Binary(*op, a, b), dtype: DType::Bool });
                Code::Where(program.instrs.len() as Reg - 1, b, a)
            }
        };
        program.instrs.push(Instr { code, dtype });
        program.instrs.len() as Reg - 1
    }

    /// Element `i` of leaf `k`: positive, so that roots are numbers.
    fn value(k: usize, i: usize) -> f64 {
        ((i * 37 + k * 101) % 997) as f64 / 300.0 + 0.01
    }

    /// Elements `from..from + n` of the result; every second leaf is one number for all, leaf 0 may
    /// lie in the output's memory.
    fn result(p: &Pattern, dtype: DType, from: usize, n: usize, in_place: bool) -> Vec<u8> {
        let program = program(p, n, dtype);
        let fill = |k: usize, n: usize| {
            let mut b = Buffer::for_elements(n, dtype).expect("memory");
            for i in 0..n {
                let v = value(k, if k % 2 == 1 { 0 } else { from + i });
                match dtype {
                    DType::F32 => b.as_mut_slice::<f32>()[i] = v as f32,
                    _ => b.as_mut_slice::<f64>()[i] = v,
                }
            }
            b
        };
        let buffers: Vec<Buffer> = (0..p.leaves).map(|k| fill(k, if k % 2 == 1 { 1 } else { n })).collect();
        let flat = Layout::contiguous(program.shape.clone());
        let one = Layout::contiguous(Shape::new(&[1])).expand(&program.shape);
        let args: Vec<Arg<'_>> = (0..p.leaves)
            .map(|k| Arg {
                data: if in_place && k == 0 { Data::InPlace(0) } else { Data::Buffer(&buffers[k]) },
                dtype,
                layout: if k % 2 == 1 { &one } else { &flat },
            })
            .collect();
        let mut out = fill(0, n);
        run(&program, &args, &mut [Out { data: &mut out, dtype, shape: &program.shape }]).expect("a program");
        out.bytes()[..n * dtype.size()].to_vec()
    }

    #[test]
    fn every_formula_is_found_in_its_own_instructions() {
        for (at, p) in patterns().iter().enumerate() {
            let program = program(p, 8, DType::F32);
            let root: Vec<Reg> = (0..program.instrs.len() as Reg).collect();
            let mut used = vec![true; root.len()];
            let found = find(Level::Portable, &program, &root, &mut used);
            let ends: Vec<_> = found.iter().map(|(r, c)| (*r, c.leaves.len())).collect();
            assert_eq!(ends, [(program.outputs[0].reg, p.leaves)], "formula {at}");
            assert_eq!(used.iter().filter(|u| **u).count(), p.leaves + 1, "formula {at}");
        }
    }

    #[test]
    fn compounds_give_the_bits_of_their_instructions() {
        const N: usize = 2 * crate::program::plan::COMPOUNDS + 77;
        for (at, p) in patterns().iter().enumerate() {
            for dtype in [DType::F32, DType::F64] {
                // Short programs run instruction by instruction.
                let step = 999;
                let plain: Vec<u8> =
                    (0..N).step_by(step).flat_map(|i| result(p, dtype, i, step.min(N - i), false)).collect();
                for in_place in [false, true] {
                    assert!(result(p, dtype, 0, N, in_place) == plain, "formula {at} {dtype} {in_place}");
                }
            }
        }
    }

    #[test]
    fn what_is_read_elsewhere_is_not_taken_in() {
        // (x - m)² with x - m stored as well, then with it read by another instruction.
        let p =
            patterns().iter().find(|p| p.leaves == 2 && matches!(p.tree, Tree::Unary(UnaryOp::Square, _)));
        let p = p.expect("the formula of a variance");
        for stored in [true, false] {
            let mut program = program(p, 8, DType::F32);
            if stored {
                program.outputs.push(Output { reg: 2, reduce: None });
            } else {
                program.instrs.push(Instr { code: Code::Binary(BinaryOp::Add, 2, 3), dtype: DType::F32 });
                program.outputs[0].reg = 4;
            }
            let root: Vec<Reg> = (0..program.instrs.len() as Reg).collect();
            let mut used = vec![true; root.len()];
            let found = find(Level::Portable, &program, &root, &mut used);
            assert!(found.is_empty());
            assert!(used.iter().all(|u| *u));
        }
    }
}
