//! What a random program is: steps over earlier steps, and how it is run.

use hadal_core::ops::{BinaryOp, UnaryOp};
use hadal_tensor::{DType, Scalar};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reduction {
    Sum,
    Mean,
    Prod,
    Max,
    Min,
    Any,
    All,
    LogSumExp,
    Var(usize),
}

#[derive(Clone, Debug)]
pub enum Spec {
    Leaf(Vec<usize>, DType, Vec<f64>),
    Full(Vec<usize>, DType, f64),
    Arange(usize),
    Unary(UnaryOp),
    Binary(BinaryOp),
    /// The second operand is a number.
    BinaryScalar(BinaryOp, Scalar),
    Where,
    Cast(DType),
    Clamp(f64, f64),
    Reduce(Reduction, Vec<usize>, bool),
    Softmax(usize, bool),
    CumSum(usize),
    ArgMax(usize, bool),
    Reshape(Vec<usize>),
    Permute(Vec<usize>),
    /// Start, length and step of each dimension.
    Slice(Vec<(usize, usize, isize)>),
    Expand(Vec<usize>),
    Flip(Vec<usize>),
    Unfold(usize, usize, usize),
    Contiguous,
    Detach,
    Cat(usize),
    Stack(usize),
    Pad(Vec<(isize, isize)>, f64),
    Repeat(Vec<usize>),
    Roll(isize, usize),
    Matmul,
    Conv2d {
        stride: usize,
        padding: usize,
        dilation: usize,
        groups: usize,
    },
    MaxPool(usize, usize, usize),
    AvgPool(usize, usize, usize),
    Gather(usize),
    ScatterAdd(usize),
    IndexSelect(usize),
    Sort(usize, bool),
    Tril(isize),
    /// Only compared between the ways of running: no reference.
    Gelu,
    LayerNorm,
    Random(Vec<usize>, DType, u64),
}

#[derive(Clone, Debug)]
pub struct Step {
    pub spec: Spec,
    pub args: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Region {
    NoGrad,
    Checkpoint,
}

#[derive(Clone, Debug)]
pub struct Program {
    pub seed: u64,
    pub steps: Vec<Step>,
    /// Evaluated at the end.
    pub roots: Vec<usize>,
    /// Kept by the user and read at the very end.
    pub held: Vec<usize>,
    /// Evaluated as soon as built.
    pub early: Vec<usize>,
    /// Steps `start..end` are built inside a closure.
    pub regions: Vec<(usize, usize, Region)>,
    /// Roots are evaluated together, else one after the other.
    pub together: bool,
    /// Handles go as soon as nothing uses them any more, else when all is built.
    pub drop_early: bool,
}

impl Program {
    /// The same with only what these roots need.
    pub fn only(&self, roots: &[usize]) -> Program {
        let mut needed = vec![false; self.steps.len()];
        roots.iter().for_each(|&r| needed[r] = true);
        for i in (0..self.steps.len()).rev().filter(|&i| needed[i]).collect::<Vec<_>>() {
            mark(&self.steps, i, &mut needed);
        }
        let mut number = vec![usize::MAX; self.steps.len()];
        let mut steps = Vec::new();
        for (i, s) in self.steps.iter().enumerate().filter(|(i, _)| needed[*i]) {
            number[i] = steps.len();
            steps.push(Step { spec: s.spec.clone(), args: s.args.iter().map(|&a| number[a]).collect() });
        }
        let kept = |list: &[usize]| list.iter().filter(|&&i| needed[i]).map(|&i| number[i]).collect();
        Program {
            steps,
            roots: kept(roots),
            held: kept(&self.held),
            early: kept(&self.early),
            regions: Vec::new(),
            ..self.clone()
        }
    }

    /// The same with other numbers: a graph of the same structure on other data.
    pub fn on_other_data(&self, n: usize) -> Program {
        let mut other = self.clone();
        let half = 0.5f64.powi(n as i32);
        for s in &mut other.steps {
            match &mut s.spec {
                // Indices stay within their bounds.
                Spec::Leaf(_, _, data) if !data.is_empty() => {
                    let by = n % data.len();
                    data.rotate_left(by);
                }
                Spec::Full(_, d, v) if d.is_float() => *v *= half,
                Spec::BinaryScalar(_, Scalar::F(v)) => *v *= half,
                Spec::Random(_, _, seed) => *seed += n as u64,
                _ => {}
            }
        }
        other
    }

    pub fn listing(&self) -> String {
        let mut text = format!("seed {}\n", self.seed);
        for (i, s) in self.steps.iter().enumerate() {
            let mut spec = format!("{:?}", s.spec);
            spec.truncate(160);
            text += &format!("  %{i} = {spec} {:?}\n", s.args);
        }
        let Program { roots, held, early, regions, together, drop_early, .. } = self;
        text += &format!("  roots {roots:?} held {held:?} early {early:?} regions {regions:?} ");
        text + &format!("together {together} drop_early {drop_early}\n")
    }
}

fn mark(steps: &[Step], from: usize, needed: &mut [bool]) {
    let mut stack = vec![from];
    while let Some(i) = stack.pop() {
        for &a in &steps[i].args {
            if !needed[a] {
                needed[a] = true;
                stack.push(a);
            }
        }
    }
}
