//! Softmax, its logarithm and norms of rows, forward and backward, against loops in f64: any length and
//! layout, 1 to 4 threads and every instruction set (the same bits).

mod support;

use hadal_core::ops::{Op, RowOp};
use hadal_core::{DType, Shape};
use hadal_cpu::simd::{self, Level};
use support::{Rng, Tensor, run};

/// The result for one row.
fn forward(op: RowOp, x: &[f64], weight: Option<&[f64]>, bias: Option<&[f64]>) -> Vec<f64> {
    let n = x.len() as f64;
    match op {
        RowOp::Norm { centred, eps, .. } => {
            let mean = if centred { x.iter().sum::<f64>() / n } else { 0.0 };
            let scale = 1.0 / (x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n + eps).sqrt();
            let one = |(i, v): (usize, &f64)| {
                (v - mean) * scale * weight.map_or(1.0, |w| w[i]) + bias.map_or(0.0, |b| b[i])
            };
            x.iter().enumerate().map(one).collect()
        }
        _ => {
            let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = x.iter().map(|v| (v - max).exp()).sum();
            match op {
                RowOp::Softmax => x.iter().map(|v| (v - max).exp() / sum).collect(),
                _ => x.iter().map(|v| v - max - sum.ln()).collect(),
            }
        }
    }
}

/// The gradients by row, weight and bias for one row: of softmax from its result, of norms from the input.
fn backward(op: RowOp, x: &[f64], g: &[f64], weight: Option<&[f64]>) -> [Vec<f64>; 3] {
    let n = x.len() as f64;
    let all = |f: &dyn Fn(usize) -> f64| (0..x.len()).map(f).collect::<Vec<f64>>();
    match op {
        RowOp::Softmax => {
            let sum: f64 = x.iter().zip(g).map(|(y, g)| y * g).sum();
            [all(&|i| x[i] * (g[i] - sum)), vec![], vec![]]
        }
        RowOp::LogSoftmax => {
            let sum: f64 = g.iter().sum();
            [all(&|i| g[i] - x[i].exp() * sum), vec![], vec![]]
        }
        RowOp::Norm { centred, eps, .. } => {
            let mean = if centred { x.iter().sum::<f64>() / n } else { 0.0 };
            let scale = 1.0 / (x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n + eps).sqrt();
            let hat = all(&|i| (x[i] - mean) * scale);
            let h = all(&|i| g[i] * weight.map_or(1.0, |w| w[i]));
            let by_mean = if centred { h.iter().sum::<f64>() / n } else { 0.0 };
            let by_scale = h.iter().zip(&hat).map(|(h, x)| h * x).sum::<f64>() / n;
            let dx = all(&|i| (h[i] - by_mean - hat[i] * by_scale) * scale);
            [dx, all(&|i| g[i] * hat[i]), g.to_vec()]
        }
    }
}

fn ops() -> Vec<RowOp> {
    let mut all = vec![RowOp::Softmax, RowOp::LogSoftmax];
    for (centred, weight, bias) in [
        (true, true, true),
        (true, false, false),
        (false, true, false),
        (true, true, false),
        (true, false, true),
    ] {
        all.push(RowOp::Norm { centred, eps: 1e-3, weight, bias });
    }
    all
}

fn values(rng: &mut Rng, shape: &[usize], dtype: DType) -> Tensor {
    Tensor::strided(rng, &Shape::new(shape), dtype, |r| r.below(6001) as f64 / 1000.0 - 3.0)
}

fn near(got: &[f64], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= tolerance * w.abs().max(1.0), "{what}: element {i}: {g} instead of {w}");
    }
}

/// Runs on every instruction set and requires the same bits.
fn on_all_levels(op: &Op, inputs: &[&Tensor], dtype: DType, shape: &[usize]) -> Vec<f64> {
    let mut first: Option<Vec<f64>> = None;
    for level in [Level::Avx512, Level::Avx2, Level::Portable] {
        if simd::limit_level(level) != level {
            continue;
        }
        let got = run(op, inputs, dtype, &Shape::new(shape)).unwrap();
        match &first {
            None => first = Some(got),
            Some(f) => assert!(
                f.iter().zip(&got).all(|(a, b)| a.to_bits() == b.to_bits()),
                "{op:?} {dtype} {shape:?} differs with {level:?}"
            ),
        }
    }
    simd::limit_level(Level::Avx512);
    first.unwrap()
}

fn check(rng: &mut Rng, op: RowOp, dtype: DType, shape: &[usize]) {
    let what = format!("{op:?} {dtype} {shape:?}");
    let tolerance = if dtype == DType::F32 { 2e-5 } else { 1e-12 };
    let norm = matches!(op, RowOp::Norm { .. });
    let n = *shape.last().unwrap();
    let rows = shape.iter().product::<usize>() / n;
    let (with_weight, with_bias) = match op {
        RowOp::Norm { weight, bias, .. } => (weight, bias),
        _ => (false, false),
    };
    let x = values(rng, shape, dtype);
    let weight = with_weight.then(|| values(rng, &[n], dtype));
    let bias = with_bias.then(|| values(rng, &[n], dtype));
    let (w, b) = (weight.as_ref().map(Tensor::values), bias.as_ref().map(Tensor::values));
    let inputs: Vec<&Tensor> = [Some(&x), weight.as_ref(), bias.as_ref()].into_iter().flatten().collect();
    let y = on_all_levels(&Op::Rows(op), &inputs, dtype, shape);
    let plain = x.values();
    let want: Vec<f64> =
        plain.chunks(n).flat_map(|row| forward(op, row, w.as_deref(), b.as_deref())).collect();
    // Rows of nearly equal elements are scaled by up to 30, and so are errors.
    let conditioned = if norm { 30.0 * tolerance } else { tolerance };
    near(&y, &want, conditioned, &what);

    let result = Tensor::new(shape, dtype, &y);
    let (from, g) = (if norm { &x } else { &result }, values(rng, shape, dtype));
    let (from_values, g_values) = (from.values(), g.values());
    let mut want = vec![];
    let (mut dw, mut db) = (vec![0.0; n], vec![0.0; n]);
    for (row, g) in from_values.chunks(n).zip(g_values.chunks(n)) {
        let [dx, by_weight, by_bias] = backward(op, row, g, w.as_deref());
        want.extend(dx);
        by_weight.iter().zip(&mut dw).for_each(|(v, to)| *to += v);
        by_bias.iter().zip(&mut db).for_each(|(v, to)| *to += v);
    }
    let inputs: Vec<&Tensor> = [Some(from), Some(&g), weight.as_ref()].into_iter().flatten().collect();
    let grad = Op::RowsGrad { op, parameters: false };
    let dx = on_all_levels(&grad, &inputs, dtype, shape);
    near(&dx, &want, 30.0 * tolerance, &format!("gradient of {what}"));
    if with_weight || with_bias {
        let len = rows * n + n * (with_weight as usize + with_bias as usize);
        let got = on_all_levels(&Op::RowsGrad { op, parameters: true }, &inputs, dtype, &[len]);
        assert!(got[..rows * n] == dx[..], "{what}: with and without parameters");
        let mut at = rows * n;
        for (wanted, want) in [(with_weight, &dw), (with_bias, &db)] {
            if wanted {
                near(
                    &got[at..at + n],
                    want,
                    30.0 * tolerance * (rows as f64).sqrt(),
                    &format!("parameters of {what}"),
                );
                at += n;
            }
        }
    }
}

#[test]
fn rows_of_any_length_are_those_of_loops() {
    let mut rng = Rng(11);
    for op in ops() {
        for shape in [
            &[1, 1][..],
            &[1],
            &[3, 2],
            &[5, 15],
            &[2, 3, 16],
            &[4, 17],
            &[7, 63],
            &[2, 2, 64],
            &[3, 65],
            &[2, 700],
            &[3, 2048],
            &[2, 2049],
            &[1, 5000],
            &[1000, 3],
            &[300, 130],
            &[257, 256],
        ] {
            for dtype in [DType::F32, DType::F64] {
                check(&mut rng, op, dtype, shape);
            }
        }
    }
}

#[test]
fn results_that_go_past_the_caches() {
    // From 16 MiB on, with rows of whole cache lines.
    let mut rng = Rng(12);
    for op in [
        RowOp::Softmax,
        RowOp::LogSoftmax,
        RowOp::Norm { centred: true, eps: 1e-5, weight: true, bias: true },
    ] {
        let (rows, n) = (4096, 1024);
        let x: Vec<f64> = (0..rows * n).map(|_| rng.below(6001) as f64 / 1000.0 - 3.0).collect();
        let w: Vec<f64> = (0..n).map(|_| rng.below(2001) as f64 / 1000.0).collect();
        let (x, w) = (Tensor::new(&[rows, n], DType::F32, &x), Tensor::new(&[n], DType::F32, &w));
        let norm = matches!(op, RowOp::Norm { .. });
        let inputs: &[&Tensor] = if norm { &[&x, &w, &w] } else { &[&x] };
        let large = run(&Op::Rows(op), inputs, DType::F32, &Shape::new(&[rows, n])).unwrap();
        let grad = Op::RowsGrad { op, parameters: false };
        let inputs: &[&Tensor] = if norm { &[&x, &x, &w] } else { &[&x, &x] };
        let large_grad = run(&grad, inputs, DType::F32, &Shape::new(&[rows, n])).unwrap();
        // The same rows a few at a time.
        for first in [0, 1000, 4090] {
            let few = 6;
            let part = |t: &Tensor| {
                let mut part = Tensor::new(&[few, n], DType::F32, &vec![0.0; few * n]);
                let from = &t.buffer.as_slice::<f32>()[first * n..(first + few) * n];
                part.buffer.as_mut_slice::<f32>().copy_from_slice(from);
                part
            };
            let p = part(&x);
            let inputs: &[&Tensor] = if norm { &[&p, &w, &w] } else { &[&p] };
            let small = run(&Op::Rows(op), inputs, DType::F32, &Shape::new(&[few, n])).unwrap();
            assert!(small[..] == large[first * n..(first + few) * n], "{op:?}");
            let inputs: &[&Tensor] = if norm { &[&p, &p, &w] } else { &[&p, &p] };
            let small = run(&grad, inputs, DType::F32, &Shape::new(&[few, n])).unwrap();
            assert!(small[..] == large_grad[first * n..(first + few) * n], "gradient of {op:?}");
        }
    }
}

#[test]
fn infinities_and_nan_are_those_of_the_formula() {
    let inf = f64::INFINITY;
    let softmax = |row: &[f64]| {
        let x = Tensor::new(&[1, row.len()], DType::F32, row);
        run(&Op::Rows(RowOp::Softmax), &[&x], DType::F32, &Shape::new(&[1, row.len()])).unwrap()
    };
    assert_eq!(softmax(&[-inf, 0.0]), [0.0, 1.0]);
    assert_eq!(softmax(&[1000.0, 1000.0, -1000.0, -inf]), [0.5, 0.5, 0.0, 0.0]);
    for bad in [&[-inf, -inf][..], &[inf, 0.0], &[f64::NAN, 0.0]] {
        assert!(softmax(bad).iter().any(|v| v.is_nan()), "{bad:?}");
    }
    let mut long = vec![0.25; 200];
    long[131] = f64::NAN;
    assert!(softmax(&long).iter().all(|v| v.is_nan()));
}

#[test]
fn what_working_memory_held_before_does_not_matter() {
    let op = RowOp::Norm { centred: true, eps: 1e-5, weight: true, bias: true };
    let grad = Op::RowsGrad { op, parameters: true };
    for n in [31, 17, 5] {
        let shape = Shape::new(&[4 * n + 2 * n]);
        let x: Vec<f64> = (0..4 * n).map(|i| (i % 7) as f64).collect();
        let x = Tensor::new(&[4, n], DType::F32, &x);
        for value in [f64::NAN, 1.0] {
            let w = Tensor::new(&[n], DType::F32, &vec![value; n]);
            let got = run(&grad, &[&x, &x, &w], DType::F32, &shape).unwrap();
            assert_eq!(got.iter().any(|v| v.is_nan()), value.is_nan(), "{n}");
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let x = Tensor::new(&[2, 3], DType::F32, &[0.0; 6]);
    let w = Tensor::new(&[2], DType::F32, &[0.0; 2]);
    let norm = RowOp::Norm { centred: true, eps: 1e-5, weight: true, bias: false };
    let shape = Shape::new(&[2, 3]);
    assert!(run(&Op::Rows(norm), &[&x, &w], DType::F32, &shape).is_err());
    assert!(run(&Op::Rows(norm), &[&x], DType::F32, &shape).is_err());
    assert!(run(&Op::Rows(RowOp::Softmax), &[&x], DType::F64, &shape).is_err());
    assert!(run(&Op::Rows(RowOp::Softmax), &[&x], DType::F32, &Shape::new(&[3, 2])).is_err());
    let grad = Op::RowsGrad { op: norm, parameters: true };
    assert!(run(&grad, &[&x, &x, &w], DType::F32, &Shape::new(&[9])).is_err());
}
