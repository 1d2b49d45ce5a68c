//! Random programs.

use super::build::build;
use super::naive;
use super::program::{Program, Reduction, Region, Spec, Step};
use super::rng::Rng;
use super::value::{Val, broadcast, nearest};
use hadal_core::ops::{BinaryOp, Kind, UnaryOp};
use hadal_tensor::{DType, Scalar, Tensor};

/// What kind of program to make.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Taste {
    /// Finite numbers within bounds, so that the reference applies; else anything, NaN included.
    pub tame: bool,
    /// Tensors that kernels split among threads.
    pub large: bool,
    /// Floats of 32 and 64 bits at the leaves, and few operations that cut gradients.
    pub smooth: bool,
}

pub struct Made {
    pub program: Program,
    pub reference: Vec<Val>,
}

struct Maker {
    rng: Rng,
    taste: Taste,
    steps: Vec<Step>,
    vals: Vec<Val>,
    /// Lazy, never evaluated: the library's word on what fits.
    tensors: Vec<Tensor>,
}

const SPECIAL: [f64; 12] =
    [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 1e30, -1e30, 1e-42, 1e-310, 3e9, -3e9, 65504.0, 256.5];

pub fn generate(seed: u64, taste: Taste) -> Made {
    let mut m = Maker { rng: Rng::new(seed), taste, steps: vec![], vals: vec![], tensors: vec![] };
    let target = m.rng.within(5, if taste.large { 25 } else { 60 }) as usize;
    let mut tries = 0;
    m.leaf_any();
    while m.steps.len() < target && tries < 2000 {
        tries += 1;
        m.step();
    }
    let n = m.steps.len();
    let rng = &mut m.rng;
    let mut used = vec![false; n];
    m.steps.iter().for_each(|s| s.args.iter().for_each(|&a| used[a] = true));
    let sinks: Vec<usize> = (0..n).filter(|&i| !used[i]).collect();
    let mut roots: Vec<usize> = sinks.into_iter().filter(|_| rng.chance(70)).collect();
    roots.extend((0..n).filter(|_| rng.chance(4)));
    if roots.is_empty() {
        roots.push(n - 1);
    }
    for i in (1..roots.len()).rev() {
        roots.swap(i, rng.below(i + 1));
    }
    let held = (0..n).filter(|_| rng.chance(15)).collect();
    let early = (0..n).filter(|_| rng.chance(7)).collect();
    let mut regions = Vec::new();
    if rng.chance(40) {
        let start = rng.below(n);
        let kind = if rng.chance(40) && !taste.smooth { Region::NoGrad } else { Region::Checkpoint };
        regions.push((start, (start + 1 + rng.below(8)).min(n), kind));
    }
    let (together, drop_early) = (rng.chance(60), rng.chance(50));
    let program = Program { seed, steps: m.steps, roots, held, early, regions, together, drop_early };
    Made { program, reference: m.vals }
}

impl Maker {
    /// Elements of a tensor.
    fn most(&self) -> usize {
        if self.taste.large { 400_000 } else { 3000 }
    }

    /// Adds a step if the library takes it and, for tame programs, its values are reasonable.
    fn add(&mut self, spec: Spec, args: &[usize]) -> Option<usize> {
        let inputs: Vec<&Tensor> = args.iter().map(|&a| &self.tensors[a]).collect();
        let t = build(&spec, &inputs);
        if t.is_poisoned() || t.numel() > self.most() {
            return None;
        }
        let vals: Vec<&Val> = args.iter().map(|&a| &self.vals[a]).collect();
        let v = naive::run(&spec, &vals);
        assert_eq!((t.dims(), t.dtype()), (&v.dims[..], v.dtype), "shape or dtype of {spec:?} of {inputs:?}");
        if self.taste.tame && !reasonable(&v) {
            return None;
        }
        self.steps.push(Step { spec, args: args.to_vec() });
        self.vals.push(v);
        self.tensors.push(t);
        Some(self.steps.len() - 1)
    }

    fn dims(&mut self) -> Vec<usize> {
        if self.taste.large {
            return self
                .rng
                .pick(&[&[120_001][..], &[300, 400], &[7, 20_000], &[40_000, 4], &[50, 60, 41]])
                .to_vec();
        }
        let rank = self.rng.pick(&[0, 1, 1, 2, 2, 2, 3, 3, 4, 4]);
        let zero = !self.taste.tame && self.rng.chance(4);
        let mut dims: Vec<usize> = (0..rank).map(|_| 1 + self.rng.below(6)).collect();
        if rank == 4 {
            dims[2] += 2;
            dims[3] += 2;
        }
        if zero && rank > 0 {
            dims[0] = 0;
        }
        dims
    }

    fn leaf(&mut self, dims: Vec<usize>, d: DType) -> Option<usize> {
        let n = dims.iter().product();
        if n > self.most() {
            return None;
        }
        let wild = !self.taste.tame;
        let data = (0..n)
            .map(|_| match d {
                _ if wild && self.rng.chance(8) => nearest(d, self.rng.pick(&SPECIAL)),
                DType::Bool => self.rng.below(2) as f64,
                DType::U8 => self.rng.below(11) as f64,
                d if d.is_int() => self.rng.within(-5, 5) as f64,
                // Some equal numbers, for ties.
                d if self.rng.chance(20) => nearest(d, self.rng.within(-8, 8) as f64 / 4.0),
                d => nearest(d, self.rng.real(-2.0, 2.0)),
            })
            .map(|v| match d {
                // What a leaf of a whole dtype holds, as a number.
                DType::Bool => (v != 0.0) as u8 as f64,
                DType::U8 => v as u8 as f64,
                DType::I32 => v as i32 as f64,
                DType::I64 => v as i64 as f64,
                _ => v,
            })
            .collect();
        self.add(Spec::Leaf(dims, d, data), &[])
    }

    fn dtype(&mut self) -> DType {
        use DType::*;
        if self.taste.smooth {
            return self.rng.pick(&[F32, F64]);
        }
        self.rng.pick(&[F32, F32, F32, F64, F64, F16, BF16, I64, I32, U8, Bool])
    }

    fn leaf_any(&mut self) -> Option<usize> {
        let (dims, d) = (self.dims(), self.dtype());
        match self.rng.below(10) {
            0 => {
                let v = self.rng.within(-4, 4) as f64 / 2.0;
                let v = if d.is_float() { v } else { v.abs().floor().min(1.0) };
                self.add(Spec::Full(dims, d, v), &[])
            }
            1 => {
                let n = dims.iter().product();
                self.add(Spec::Arange(n), &[])
            }
            2 if !self.taste.tame && d.is_float() => {
                let key = self.rng.next();
                self.add(Spec::Random(dims, d, key), &[])
            }
            _ => self.leaf(dims, d),
        }
    }

    /// An earlier step, mostly a late one.
    fn any(&mut self) -> usize {
        let n = self.steps.len();
        if self.rng.chance(60) { n - 1 - self.rng.below(n.min(5)) } else { self.rng.below(n) }
    }

    fn find(&mut self, fits: impl Fn(&Val) -> bool) -> Option<usize> {
        for _ in 0..10 {
            let i = self.any();
            if fits(&self.vals[i]) {
                return Some(i);
            }
        }
        None
    }

    /// An operand that broadcasts with step `a`: an earlier step or a new leaf.
    fn partner(&mut self, a: usize) -> Option<usize> {
        let dims = self.vals[a].dims.clone();
        if let Some(b) = self.find(|v| broadcast(&v.dims, &dims).is_some()) {
            return Some(b);
        }
        let drop = if self.rng.chance(30) { self.rng.below(dims.len() + 1) } else { 0 };
        let own = dims[drop..].iter().map(|&n| if self.rng.chance(25) { 1 } else { n }).collect();
        let d = self.dtype();
        self.leaf(own, d)
    }

    fn dim(&mut self, a: usize) -> usize {
        self.rng.below(self.vals[a].rank())
    }

    fn step(&mut self) -> Option<usize> {
        let choice = self.rng.below(100);
        let a = self.any();
        let (dims, d) = (self.vals[a].dims.clone(), self.vals[a].dtype);
        let rank = dims.len();
        match choice {
            0..5 => self.leaf_any(),
            5..27 => self.unary(a),
            27..47 => self.binary(a),
            47..50 => self.choose(a),
            50..54 => {
                let to = self.dtype();
                self.add(Spec::Cast(to), &[a])
            }
            54..62 => self.reduction(a),
            62..80 => self.view(a),
            80..84 => self.join(a),
            84..87 => self.matmul(a),
            87..89 => self.spatial(),
            89..93 if rank > 0 => self.indexed(a),
            93 if d.is_float() => self.add(Spec::Clamp(-1.0, 0.75), &[a]),
            94 if rank > 0 => {
                let spec = Spec::CumSum(self.dim(a));
                self.add(spec, &[a])
            }
            95 | 96 if rank > 0 => {
                let (dim, log) = (self.dim(a), self.rng.chance(50));
                self.add(Spec::Softmax(dim, log), &[a])
            }
            97 if rank > 0 => {
                let (dim, descending) = (self.dim(a), self.rng.chance(50));
                self.add(Spec::Sort(dim, descending), &[a])
            }
            98 if rank > 0 && !self.taste.smooth => {
                let (dim, keep) = (self.dim(a), self.rng.chance(50));
                self.add(Spec::ArgMax(dim, keep), &[a])
            }
            99 if !self.taste.tame && rank > 0 => {
                let spec = if self.rng.chance(50) { Spec::Gelu } else { Spec::LayerNorm };
                self.add(spec, &[a])
            }
            _ => None,
        }
    }

    fn unary(&mut self, a: usize) -> Option<usize> {
        let op = self.rng.pick(UnaryOp::ALL);
        if self.taste.smooth && !op.differentiable() {
            return None;
        }
        self.add(Spec::Unary(op), &[a])
    }

    fn binary(&mut self, a: usize) -> Option<usize> {
        let common = [BinaryOp::Add, BinaryOp::Sub, BinaryOp::Mul, BinaryOp::Div];
        let op = if self.rng.chance(50) { self.rng.pick(&common) } else { self.rng.pick(BinaryOp::ALL) };
        if self.taste.smooth && !op.differentiable() {
            return None;
        }
        // Bits of a negative number have a meaning; a power of a whole number may be anything.
        if self.rng.chance(30) {
            let s = match self.rng.below(4) {
                0 => Scalar::I(self.rng.within(-3, 4) as i64),
                1 if op.kind() == Kind::Logic => Scalar::B(true),
                _ => Scalar::F(self.rng.within(-12, 12) as f64 / 8.0),
            };
            return self.add(Spec::BinaryScalar(op, s), &[a]);
        }
        let b = self.partner(a)?;
        self.add(Spec::Binary(op), &[a, b])
    }

    fn choose(&mut self, a: usize) -> Option<usize> {
        let b = self.partner(a)?;
        let dims = broadcast(&self.vals[a].dims, &self.vals[b].dims)?;
        let c = self.find(|v| v.dtype == DType::Bool && broadcast(&v.dims, &dims).is_some());
        let c = match c {
            Some(c) => c,
            None => self.leaf(dims, DType::Bool)?,
        };
        self.add(Spec::Where, &[c, a, b])
    }

    fn axes(&mut self, rank: usize) -> Vec<usize> {
        let all = self.rng.chance(20);
        (0..rank).filter(|_| all || self.rng.chance(45)).collect()
    }

    fn reduction(&mut self, a: usize) -> Option<usize> {
        use Reduction::*;
        let axes = self.axes(self.vals[a].rank());
        let keep = self.rng.chance(40);
        let r =
            self.rng.pick(&[Sum, Sum, Sum, Mean, Mean, Prod, Max, Min, Any, All, LogSumExp, Var(1), Var(0)]);
        self.add(Spec::Reduce(r, axes, keep), &[a])
    }

    fn view(&mut self, a: usize) -> Option<usize> {
        let dims = self.vals[a].dims.clone();
        let rank = dims.len();
        let spec = match self.rng.below(13) {
            0..3 => {
                // Split or merge.
                let mut to = dims.clone();
                if rank > 0 && self.rng.chance(50) {
                    let k = self.rng.below(rank);
                    let f = (2..=4).find(|&f| to[k].is_multiple_of(f)).unwrap_or(1);
                    to[k] /= f;
                    to.insert(k + self.rng.below(2), f);
                } else if rank > 1 {
                    let k = self.rng.below(rank - 1);
                    to[k] *= to.remove(k + 1);
                } else {
                    to.insert(self.rng.below(rank + 1), 1);
                }
                Spec::Reshape(to)
            }
            3..5 => {
                let mut p: Vec<usize> = (0..rank).collect();
                for i in (1..rank).rev() {
                    p.swap(i, self.rng.below(i + 1));
                }
                Spec::Permute(p)
            }
            5..8 => Spec::Slice(dims.iter().map(|&n| self.slice(n)).collect()),
            8 => {
                let mut to: Vec<usize> =
                    dims.iter().map(|&n| if n == 1 { 1 + self.rng.below(4) } else { n }).collect();
                if self.rng.chance(40) {
                    to.insert(0, 1 + self.rng.below(3));
                }
                Spec::Expand(to)
            }
            9 => Spec::Flip(self.axes(rank)),
            10 if rank > 0 => {
                let k = self.dim(a);
                let size = 1 + self.rng.below(dims[k]);
                Spec::Unfold(k, size, 1 + self.rng.below(3))
            }
            11 => Spec::Contiguous,
            12 if !self.taste.smooth => Spec::Detach,
            _ => return None,
        };
        self.add(spec, &[a])
    }

    fn slice(&mut self, n: usize) -> (usize, usize, isize) {
        if n == 0 || self.rng.chance(40) {
            return (0, n, 1);
        }
        let start = self.rng.below(n);
        let step: isize = self.rng.pick(&[1, 1, 2, 3, -1, -1, -2]);
        let room = if step > 0 { (n - 1 - start) / step as usize } else { start / step.unsigned_abs() };
        (start, 1 + self.rng.below(room + 1), step)
    }

    fn join(&mut self, a: usize) -> Option<usize> {
        let dims = self.vals[a].dims.clone();
        let rank = dims.len();
        match self.rng.below(6) {
            0 | 1 if rank > 0 => {
                let dim = self.dim(a);
                let fits = |v: &Val| v.rank() == rank && (0..rank).all(|d| d == dim || v.dims[d] == dims[d]);
                let b = self.find(fits)?;
                let c = if self.rng.chance(30) { self.find(fits)? } else { a };
                let args = if c == a { vec![a, b] } else { vec![a, b, c] };
                self.add(Spec::Cat(dim), &args)
            }
            2 => {
                let b = self.find(|v| v.dims == dims)?;
                let dim = self.rng.below(rank + 1);
                self.add(Spec::Stack(dim), &[a, b])
            }
            3 => {
                let amounts = dims.iter().rev().map(|&n| {
                    let most = n as isize / 2;
                    (self.rng.within(-most, 2), self.rng.within(-most, 2))
                });
                let amounts: Vec<_> = amounts.take(2).collect();
                let whole = self.rng.within(0, 1) as f64;
                self.add(Spec::Pad(amounts, whole), &[a])
            }
            4 => {
                let times = dims.iter().map(|_| 1 + self.rng.below(2)).collect();
                self.add(Spec::Repeat(times), &[a])
            }
            5 if rank > 0 => {
                let dim = self.dim(a);
                if dims[dim] == 0 {
                    return None;
                }
                let by = self.rng.within(-3, 3);
                self.add(Spec::Roll(by, dim), &[a])
            }
            _ => None,
        }
    }

    fn matmul(&mut self, a: usize) -> Option<usize> {
        let (dims, d) = (self.vals[a].dims.clone(), self.vals[a].dtype);
        let k = *dims.last()?;
        if self.taste.large && k > 500 {
            return None;
        }
        let fits = |v: &Val| v.dtype == d && v.rank() > 0 && v.dims[v.rank().saturating_sub(2)] == k;
        let b = match self.find(fits) {
            Some(b) => b,
            None => {
                let n = 1 + self.rng.below(5);
                let own = if self.rng.chance(20) { vec![k] } else { vec![k, n] };
                self.leaf(own, d)?
            }
        };
        self.add(Spec::Matmul, &[a, b])
    }

    fn spatial(&mut self) -> Option<usize> {
        let a = self.find(|v| v.rank() == 4 && v.dtype.is_float() && v.dims[2].min(v.dims[3]) >= 2)?;
        let (dims, d) = (self.vals[a].dims.clone(), self.vals[a].dtype);
        let (k, s) = (1 + self.rng.below(3), 1 + self.rng.below(2));
        match self.rng.below(4) {
            0 => self.add(Spec::MaxPool(k, s, k / 2), &[a]),
            1 => self.add(Spec::AvgPool(k, s, k / 2), &[a]),
            _ => {
                let groups = (1..=dims[1].max(1))
                    .rev()
                    .filter(|g| dims[1] % g == 0)
                    .nth(self.rng.below(2))
                    .unwrap_or(1);
                let out = groups * (1 + self.rng.below(2));
                let kernel = [k, 1 + self.rng.below(3)];
                let w = self.leaf(vec![out, dims[1] / groups, kernel[0], kernel[1]], d)?;
                let (padding, dilation) = (self.rng.below(3), 1 + self.rng.below(2));
                self.add(Spec::Conv2d { stride: s, padding, dilation, groups }, &[a, w])
            }
        }
    }

    fn indexed(&mut self, a: usize) -> Option<usize> {
        let (dims, d) = (self.vals[a].dims.clone(), self.vals[a].dtype);
        let dim = self.dim(a);
        if dims[dim] == 0 || dims.len() == 2 && self.rng.chance(10) {
            return self.add(Spec::Tril(0), &[a]);
        }
        let positions = |m: &mut Maker, dims: Vec<usize>, below: usize| {
            if dims.iter().product::<usize>() > m.most() {
                return None;
            }
            let data = (0..dims.iter().product()).map(|_| m.rng.below(below) as f64).collect();
            let d = if m.rng.chance(80) { DType::I64 } else { DType::I32 };
            m.add(Spec::Leaf(dims, d, data), &[])
        };
        let n = 1 + self.rng.below(4);
        match self.rng.below(3) {
            0 => {
                let i = positions(self, vec![n], dims[dim])?;
                self.add(Spec::IndexSelect(dim), &[a, i])
            }
            1 => {
                let mut small: Vec<usize> =
                    dims.iter().map(|&n| if n > 1 { n - self.rng.below(2) } else { n }).collect();
                small[dim] = n;
                let i = positions(self, small, dims[dim])?;
                self.add(Spec::Gather(dim), &[a, i])
            }
            _ => {
                let mut small = dims.clone();
                small[dim] = n;
                let i = positions(self, small.clone(), dims[dim])?;
                let src = self.leaf(small, d)?;
                self.add(Spec::ScatterAdd(dim), &[a, i, src])
            }
        }
    }
}

/// Finite, not too large for its dtype, and still known well enough for the check to mean something.
fn reasonable(v: &Val) -> bool {
    let (low, most) = match v.dtype {
        DType::F64 | DType::F32 => (-1e4, 1e4),
        DType::F16 | DType::BF16 => (-1e3, 1e3),
        DType::I64 | DType::I32 => (-1e6, 1e6),
        DType::U8 => (0.0, 255.0),
        DType::Bool => (0.0, 1.0),
    };
    let mut vague = 0;
    for (&a, &b) in v.lo.iter().zip(&v.hi) {
        if !(a >= low && b <= most) {
            return false;
        }
        let rounds = if v.dtype.is_float() { 0.05 * a.abs().max(b.abs()).max(0.1) } else { 0.0 };
        vague += (b - a > rounds) as usize;
    }
    vague * 10 <= v.numel()
}
