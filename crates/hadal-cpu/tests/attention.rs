//! Attention against plain loops in f64: any layout, mask and number of threads.

mod support;

use hadal_core::ops::{AttentionOp, Op};
use hadal_core::{DType, Shape};
use hadal_cpu::simd::{Level, limit_level};
use std::sync::{Mutex, MutexGuard, PoisonError};
use support::{Rng, Tensor, each, run};

/// The instruction set is the process's, and bits are compared: tests take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `b, h, g, n, m, d, e`, as in `AttentionOp`.
type Sizes = [usize; 7];

struct Case {
    sizes: Sizes,
    op: AttentionOp,
    dtype: DType,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Option<Tensor>,
    dy: Tensor,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    None,
    Bool,
    Added,
}

fn unit(rng: &mut Rng) -> f64 {
    // Exact in f32, so that f32 and f64 are given the same numbers.
    rng.below(2001) as f64 / 1024.0 - 1000.0 / 1024.0
}

impl Case {
    fn new(rng: &mut Rng, sizes: Sizes, dtype: DType, causal: bool, kind: Kind) -> Case {
        let [b, h, g, n, m, d, e] = sizes;
        let op = AttentionOp { scale: 0.75, causal };
        let mut tensor = |shape: [usize; 4]| Tensor::strided(rng, &Shape::new(&shape), dtype, unit);
        let (q, k, v) = (tensor([b, h, n, d]), tensor([b, g, m, d]), tensor([b, g, m, e]));
        let dy = tensor([b, h, n, e]);
        let full = [b, h, n, m];
        let shape: Vec<usize> = full.iter().map(|&s| if rng.below(3) == 0 { 1 } else { s }).collect();
        let mask = match kind {
            Kind::None => None,
            Kind::Bool => Some(Tensor::strided(rng, &Shape::new(&shape), DType::Bool, |r| {
                (r.below(4) != 0) as u8 as f64
            })),
            Kind::Added => Some(Tensor::strided(rng, &Shape::new(&shape), dtype, |r| match r.below(9) {
                0 => f64::NEG_INFINITY,
                _ => unit(r),
            })),
        };
        Case { sizes, op, dtype, q, k, v, mask, dy }
    }

    fn mask_index(&self, at: &[usize]) -> Vec<usize> {
        let dims = self.mask.as_ref().map_or(&[][..], |m| m.layout.shape.dims());
        dims.iter().zip(at).map(|(&size, &i)| if size == 1 { 0 } else { i }).collect()
    }

    /// Scores of a query; −∞ where it must not see.
    fn scores(&self, b: usize, h: usize, i: usize) -> Vec<f64> {
        let [_, heads, g, _, m, d, _] = self.sizes;
        (0..m)
            .map(|j| {
                let kv = h * g / heads;
                let dot: f64 = (0..d).map(|c| self.q.at(&[b, h, i, c]) * self.k.at(&[b, kv, j, c])).sum();
                let s = dot * self.op.scale;
                let s = match &self.mask {
                    None => s,
                    Some(mask) if mask.dtype == DType::Bool => {
                        if mask.at(&self.mask_index(&[b, h, i, j])) != 0.0 { s } else { f64::NEG_INFINITY }
                    }
                    Some(mask) => s + mask.at(&self.mask_index(&[b, h, i, j])),
                };
                if self.op.causal && j > i { f64::NEG_INFINITY } else { s }
            })
            .collect()
    }

    /// Result with sums behind it, gradients by operands one behind the other, gradient by mask.
    fn naive(&self) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
        let [b, h, g, n, m, d, e] = self.sizes;
        let mut y = vec![0.0; b * n * h * e + b * h * n];
        let (sq, sk) = (b * n * h * d, b * m * g * d);
        let mut grad = vec![0.0; sq + sk + b * m * g * e];
        let mask_shape = self.mask.as_ref().map_or(Shape::new(&[]), |t| t.layout.shape.clone());
        let mut by_mask = vec![0.0; mask_shape.numel()];
        each(&[b, h, n], |at| {
            let [b0, h0, i] = *at else { return };
            let kv = h0 * g / h;
            let s = self.scores(b0, h0, i);
            let max = s.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let base = if max == f64::NEG_INFINITY { 0.0 } else { max };
            let sum: f64 = s.iter().map(|s| (s - base).exp()).sum();
            let p: Vec<f64> =
                s.iter().map(|s| if sum > 0.0 { (s - base).exp() / sum } else { 0.0 }).collect();
            y[b * n * h * e + (b0 * h + h0) * n + i] =
                if sum > 0.0 { max + sum.ln() } else { f64::NEG_INFINITY };
            let row = ((b0 * n + i) * h + h0) * e;
            let dp: Vec<f64> = (0..m)
                .map(|j| (0..e).map(|c| self.dy.at(&[b0, h0, i, c]) * self.v.at(&[b0, kv, j, c])).sum())
                .collect();
            let delta: f64 = p.iter().zip(&dp).map(|(a, b)| a * b).sum();
            for j in 0..m {
                let ds = p[j] * (dp[j] - delta);
                for c in 0..e {
                    y[row + c] += p[j] * self.v.at(&[b0, kv, j, c]);
                    grad[sq + sk + ((b0 * m + j) * g + kv) * e + c] += p[j] * self.dy.at(&[b0, h0, i, c]);
                }
                for c in 0..d {
                    let (q, k) = (self.q.at(&[b0, h0, i, c]), self.k.at(&[b0, kv, j, c]));
                    grad[((b0 * n + i) * h + h0) * d + c] += ds * k * self.op.scale;
                    grad[sq + ((b0 * m + j) * g + kv) * d + c] += ds * q * self.op.scale;
                }
                if self.mask.is_some() {
                    let index = self.mask_index(&[b0, h0, i, j]);
                    let place = index.iter().zip(mask_shape.dims()).fold(0, |at, (i, n)| at * n + i);
                    by_mask[place] += ds;
                }
            }
        });
        (y, grad, by_mask)
    }

    fn forward(&self) -> Vec<f64> {
        let [b, h, _, n, _, _, e] = self.sizes;
        let mut inputs = vec![&self.q, &self.k, &self.v];
        inputs.extend(&self.mask);
        run(&Op::Attention(self.op), &inputs, self.dtype, &Shape::new(&[b * n * h * (e + 1)])).unwrap()
    }

    fn backward(&self, y: &[f64]) -> (Vec<f64>, Option<Vec<f64>>) {
        let [b, h, g, n, m, d, e] = self.sizes;
        let y = Tensor::new(&[y.len()], self.dtype, y);
        let mut inputs = vec![&self.q, &self.k, &self.v, &y, &self.dy];
        inputs.extend(&self.mask);
        let shape = Shape::new(&[b * n * h * d + b * m * g * (d + e)]);
        let grads = run(&Op::AttentionGrad(self.op), &inputs, self.dtype, &shape).unwrap();
        let by_mask = self.mask.as_ref().filter(|m| m.dtype != DType::Bool).map(|mask| {
            run(&Op::AttentionMaskGrad(self.op), &inputs, self.dtype, &mask.layout.shape).unwrap()
        });
        (grads, by_mask)
    }

    fn check(&self, what: &str) {
        let (y, grad, by_mask) = self.naive();
        let tol = if self.dtype == DType::F64 { 1e-12 } else { 2e-5 };
        let got = self.forward();
        close(&got, &y, tol, what);
        let (g, m) = self.backward(&got);
        close(&g, &grad, 4.0 * tol, what);
        if let Some(m) = m {
            close(&m, &by_mask, 4.0 * tol, what);
        }
    }
}

/// The error relative to the largest value, which is what sums of products lose.
fn close(got: &[f64], want: &[f64], tol: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let size = want.iter().filter(|v| v.is_finite()).fold(1.0f64, |m, v| m.max(v.abs()));
    for (i, (a, b)) in got.iter().zip(want).enumerate() {
        assert!(a == b || (a - b).abs() <= tol * size, "{what}: element {i}: {a} instead of {b}");
    }
}

fn levels(f: impl Fn(Level)) {
    let _turn = turn();
    for level in [Level::Portable, Level::Avx2, Level::Avx512] {
        if limit_level(level) == level {
            f(level);
        }
    }
}

#[test]
fn random_shapes_layouts_and_masks() {
    levels(|level| {
        let mut rng = Rng(31);
        for case in 0..160 {
            let mut pick = |of: &[usize]| of[rng.below(of.len())];
            let g = pick(&[1, 1, 2, 3]);
            let sizes = [
                pick(&[1, 2, 3]),
                g * pick(&[1, 1, 2, 3]),
                g,
                pick(&[1, 2, 4, 5, 7, 16, 17, 33, 70]),
                pick(&[1, 2, 3, 8, 19, 40, 130]),
                pick(&[1, 2, 3, 8, 15, 20]),
                pick(&[1, 2, 4, 9, 16, 33]),
            ];
            let dtype = if rng.below(3) == 0 { DType::F64 } else { DType::F32 };
            let causal = rng.below(2) == 0;
            let kind = [Kind::None, Kind::Bool, Kind::Added][rng.below(3)];
            let what = format!("case {case}: {sizes:?} {dtype} causal {causal} mask {kind:?} {level:?}");
            Case::new(&mut rng, sizes, dtype, causal, kind).check(&what);
        }
    });
}

#[test]
fn many_tiles_and_splits_of_keys() {
    levels(|level| {
        let mut rng = Rng(32);
        for (sizes, causal, kind) in [
            ([1, 2, 1, 200, 300, 8, 8], true, Kind::None),
            ([1, 1, 1, 300, 140, 4, 5], true, Kind::Bool),
            ([1, 2, 2, 140, 260, 16, 8], false, Kind::Added),
            ([1, 4, 2, 1, 1500, 8, 8], false, Kind::Bool),
            ([1, 2, 1, 3, 1100, 8, 20], false, Kind::Added),
            ([1, 3, 1, 4, 600, 5, 3], true, Kind::None),
        ] {
            let what = format!("{sizes:?} causal {causal} mask {kind:?} {level:?}");
            Case::new(&mut rng, sizes, DType::F32, causal, kind).check(&what);
        }
    });
}

#[test]
fn queries_that_see_nothing_give_zeros_and_no_gradient() {
    let _turn = turn();
    let mut rng = Rng(33);
    for n in [1, 6] {
        for dtype in [DType::Bool, DType::F32] {
            let mut case = Case::new(&mut rng, [1, 1, 1, n, 9, 4, 4], DType::F32, false, Kind::None);
            let hidden = if dtype == DType::Bool { 0.0 } else { f64::NEG_INFINITY };
            let mut mask = vec![1.0; n * 9];
            mask[(n - 1) * 9..].fill(hidden);
            case.mask = Some(Tensor::new(&[1, 1, n, 9], dtype, &mask));
            let y = case.forward();
            assert_eq!(y[(n - 1) * 4..n * 4], [0.0; 4]);
            assert_eq!(y[n * 5 - 1], f64::NEG_INFINITY);
            let (g, by_mask) = case.backward(&y);
            assert!(g.iter().all(|v| v.is_finite()));
            assert_eq!(g[(n - 1) * 4..n * 4], [0.0; 4]);
            assert!(by_mask.is_none_or(|m| m[(n - 1) * 9..] == [0.0; 9]));
        }
    }
}

#[test]
fn scores_that_overflow_on_their_own_do_not() {
    let _turn = turn();
    let mut rng = Rng(34);
    for n in [1, 40] {
        let mut case = Case::new(&mut rng, [1, 1, 1, n, 200, 4, 4], DType::F32, false, Kind::None);
        case.op.scale = 300.0;
        case.check(&format!("{n} queries"));
    }
}

#[test]
fn nan_and_infinity_stay_in_their_rows() {
    let _turn = turn();
    let mut rng = Rng(35);
    for (n, bad) in [(1, f64::NAN), (40, f64::NAN), (40, f64::INFINITY)] {
        let mut case = Case::new(&mut rng, [1, 1, 1, n, 9, 4, 4], DType::F32, false, Kind::None);
        let mut q: Vec<f64> = (0..n * 4).map(|_| unit(&mut rng)).collect();
        q[0] = bad;
        case.q = Tensor::new(&[1, 1, n, 4], DType::F32, &q);
        let y = case.forward();
        assert!(y[..4].iter().all(|v| v.is_nan()), "{n} {bad}");
        assert!(y[4..n * 4].iter().all(|v| v.is_finite()), "{n} {bad}");
    }
}

#[test]
fn results_do_not_depend_on_other_heads_and_batches() {
    let _turn = turn();
    let mut rng = Rng(36);
    let all = Case::new(&mut rng, [3, 4, 2, 70, 150, 16, 16], DType::F32, true, Kind::None);
    let y = all.forward();
    let part = |t: &Tensor, heads: usize, first: usize| {
        let mut layout = t.layout.clone();
        let stride = |d: usize, i: usize| i as isize * t.layout.strides[d];
        layout.offset = (layout.offset as isize + stride(0, 2) + stride(1, first)) as usize;
        (layout.shape[0], layout.shape[1]) = (1, heads);
        Tensor { buffer: support::store(&support::load(&t.buffer, t.dtype), t.dtype), dtype: t.dtype, layout }
    };
    let one = Case {
        sizes: [1, 2, 1, 70, 150, 16, 16],
        op: all.op,
        dtype: all.dtype,
        q: part(&all.q, 2, 2),
        k: part(&all.k, 1, 1),
        v: part(&all.v, 1, 1),
        mask: None,
        dy: part(&all.dy, 2, 2),
    };
    let alone = one.forward();
    for i in 0..70 {
        for h in 0..2 {
            let from = ((2 * 70 + i) * 4 + 2 + h) * 16;
            assert_eq!(y[from..from + 16], alone[(i * 2 + h) * 16..][..16], "query {i} head {h}");
        }
    }
}

#[test]
fn wrong_operands_are_errors() {
    let _turn = turn();
    let mut rng = Rng(37);
    let case = Case::new(&mut rng, [1, 2, 1, 3, 4, 5, 6], DType::F32, false, Kind::None);
    let shape = Shape::new(&[3 * 2 * 7]);
    let op = Op::Attention(case.op);
    let error =
        |inputs: &[&Tensor], shape: &Shape| run(&op, inputs, DType::F32, shape).unwrap_err().to_string();
    let starts = |e: String, want: &str| assert!(e.starts_with(want), "{e}");
    starts(error(&[&case.q, &case.k], &shape), "scaled_dot_product_attention: input 2 is missing");
    starts(
        error(&[&case.q, &case.v, &case.v], &shape),
        "scaled_dot_product_attention: keys has shape [1, 1, 4, 6] instead of [1, 1, 4, 5]",
    );
    starts(
        error(&[&case.q, &case.k, &case.v, &case.dy], &shape),
        "scaled_dot_product_attention: a mask of shape [1, 2, 3, 6]",
    );
    starts(
        error(&[&case.q, &case.k, &case.v], &Shape::new(&[3])),
        "scaled_dot_product_attention: the output has shape [3] instead of [42]",
    );
}
