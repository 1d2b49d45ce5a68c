//! Deep and wide graphs: no recursion, and time in proportion to the number of nodes.

use hadal_tensor::*;
use std::time::Instant;

fn one(v: f32) -> Tensor {
    Tensor::from_slice(&[v])
}

/// Applies `f` so many times, evaluates, differentiates and drops.
fn chain(n: usize, f: impl Fn(&Tensor) -> Tensor) -> (Vec<f32>, Vec<f32>) {
    let x = Tensor::from_slice(&[0.25f32, 0.5]).requires_grad();
    let mut y = x.clone();
    for _ in 0..n {
        y = f(&y);
    }
    let g = grad(&y.sum(..), &[&x]).unwrap_or_else(|e| panic!("{e}")).remove(0);
    eval(&[&y, &g]).unwrap_or_else(|e| panic!("{e}"));
    (y.to_vec().unwrap(), g.to_vec().unwrap())
}

const MILLION: usize = 1_000_000;

#[test]
fn a_million_views() {
    assert_eq!(chain(MILLION, |y| y.flip(0)), (vec![0.25, 0.5], vec![1.0, 1.0]));
    // Each step is two nodes.
    assert_eq!(chain(MILLION / 5, |y| y.reshape([1, 2]).reshape([2])), (vec![0.25, 0.5], vec![1.0, 1.0]));
    assert_eq!(chain(MILLION / 5, |y| y.expand([3, 2]).select(0, 1)), (vec![0.25, 0.5], vec![1.0, 1.0]));
}

#[test]
fn a_million_pointwise_operations() {
    assert_eq!(chain(MILLION, |y| y.neg()), (vec![0.25, 0.5], vec![1.0, 1.0]));
    let cond = Tensor::from_slice(&[true, false]);
    assert_eq!(chain(MILLION, |y| cond.where_(y, 3.0)), (vec![0.25, 3.0], vec![1.0, 0.0]));
    assert_eq!(
        chain(MILLION / 5, |y| y.cast(DType::F64).cast(DType::F32)),
        (vec![0.25, 0.5], vec![1.0, 1.0])
    );
}

#[test]
fn thirty_thousand_of_each_kernel() {
    const N: usize = 30_000;
    let swap = Tensor::from_slice(&[1i64, 0]);
    let identity = Tensor::eye(2, DType::F32).materialize().unwrap();
    let same = (vec![0.25, 0.5], vec![1.0, 1.0]);
    assert_eq!(chain(N, |y| y.index_select(0, &swap)), same);
    assert_eq!(chain(N, |y| y.gather(0, &swap)), same);
    assert_eq!(chain(N, |y| y.matmul(&identity)), same);
    assert_eq!(chain(N, |y| y.pad(&[(1, 0)], 0.0).narrow(0, 1, 2)), same);
    assert_eq!(chain(N, |y| Tensor::cat(&[&y.narrow(0, 0, 1), &y.narrow(0, 1, 1)], 0)), same);
    assert_eq!(chain(N, |y| y.unsqueeze(0).sum(0)), same);
    assert_eq!(chain(N, |y| y.unsqueeze(0).cumsum(0).squeeze(0)), same);
    assert_eq!(chain(N, |y| checkpoint(|| y.neg().neg())), same);
}

#[test]
fn ten_thousand_inputs_of_one_operation() {
    let parts: Vec<Tensor> = (0..10_000).map(|i| one(i as f32).requires_grad()).collect();
    let all: Vec<&Tensor> = parts.iter().collect();
    let joined = Tensor::cat(&all, 0);
    let g = grad(&(joined.square()).sum(..), &all[..10]).unwrap();
    eval(&g.iter().collect::<Vec<_>>()).unwrap();
    assert_eq!(g[7].to_vec::<f32>().unwrap(), [14.0]);
    assert_eq!(joined.sum(..).item::<f32>().unwrap(), (0..10_000).sum::<i32>() as f32);
    // The same input again and again.
    let x = one(1.0).requires_grad();
    let repeated = Tensor::cat(&vec![&x; 10_000], 0);
    assert_eq!(grad(&repeated.sum(..), &[&x]).unwrap()[0].item::<f32>().unwrap(), 10_000.0);
    // A sum of a thousand terms, and pieces of one tensor joined again.
    let sum = all[..1000].iter().fold(one(0.0), |s, t| s + *t);
    assert_eq!(sum.item::<f32>().unwrap(), 499_500.0);
    let x = Tensor::arange(0.0, 10_000.0, 1.0);
    let pieces = x.split(1, 0);
    let back = Tensor::cat(&pieces.iter().rev().collect::<Vec<_>>(), 0);
    assert_eq!(back.to_vec::<f32>().unwrap()[0], 9999.0);
    // All at once as roots.
    let many: Vec<Tensor> = parts.iter().map(|p| p * 2.0).collect();
    eval(&many.iter().collect::<Vec<_>>()).unwrap();
    assert_eq!(many[77].item::<f32>().unwrap(), 154.0);
}

/// Graphs of about `n` nodes.
type Shape = (&'static str, fn(usize) -> Tensor);
const SHAPES: &[Shape] = &[
    ("pointwise chain", |n| (0..n).fold(one(1.0), |y, _| y.neg())),
    ("chain of kernels", |n| (0..n).fold(one(1.0), |y, _| y.contiguous())),
    ("chain of views", |n| (0..n).fold(one(1.0), |y, _| y.flip(0))),
    ("fan-out", |n| {
        let x = one(1.0);
        let all: Vec<Tensor> = (0..n / 2).map(|_| x.neg()).collect();
        Tensor::cat(&all.iter().collect::<Vec<_>>(), 0)
    }),
    ("binary tree", |n| {
        let mut level: Vec<Tensor> = (0..n / 2).map(|i| one(i as f32)).collect();
        while level.len() > 1 {
            level = level.chunks(2).map(|p| if let [a, b] = p { a + b } else { p[0].clone() }).collect();
        }
        level.remove(0)
    }),
    ("ladder of diamonds", |n| (0..n / 3).fold(one(1.0), |y, _| y.neg() + y.square())),
    ("reductions between", |n| (0..n / 4).fold(one(1.0), |y, _| (&y + y.sum_keepdim(0)).neg())),
    ("skip connections", |n| {
        let first = one(1.0);
        (0..n).fold(first.clone(), |y, _| y + &first)
    }),
    ("two long chains that meet", |n| {
        let x = one(1.0);
        (0..n / 2).fold(x.neg(), |y, _| y.neg()) + (0..n / 2).fold(x.square(), |y, _| y.square())
    }),
];

/// Nanoseconds for each node: build, plan, run, drop.
fn cost(build: fn(usize) -> Tensor, n: usize) -> f64 {
    (0..3)
        .map(|_| {
            let since = Instant::now();
            let y = build(n);
            y.eval().unwrap_or_else(|e| panic!("{e}"));
            drop(y);
            since.elapsed().as_nanos() as f64 / n as f64
        })
        .fold(f64::INFINITY, f64::min)
}

/// Fails when each node costs clearly more in the large graph than in the small one, every time it is
/// measured. Eight times the nodes: quadratic time would be eight times as much for each. Caches make it
/// somewhat more, and so does whatever else the machine is doing: hence the repetitions.
fn assert_linear(name: &str, cost: impl Fn(usize) -> f64, small: usize, slack: f64) {
    let mut seen = Vec::new();
    for _ in 0..6 {
        let (few, many) = (cost(small), cost(8 * small));
        if many < 4.0 * few + slack {
            return;
        }
        seen.push((few, many));
    }
    panic!("{name}: ns for each of {small} and of {} nodes: {seen:.0?}", 8 * small);
}

#[test]
fn time_grows_with_the_number_of_nodes_only() {
    for (name, build) in SHAPES {
        assert_linear(name, |n| cost(*build, n), 12_500, 300.0);
    }
}

#[test]
fn gradients_grow_with_the_number_of_nodes_only() {
    let cost = |n: usize| {
        let x = one(0.5).requires_grad();
        let since = Instant::now();
        let y = (0..n).fold(x.clone(), |y, _| y.sin() + &x);
        let g = grad(&y.sum(..), &[&x]).unwrap().remove(0);
        g.eval().unwrap();
        since.elapsed().as_nanos() as f64 / n as f64
    };
    assert_linear("gradients", cost, 5000, 1000.0);
}
