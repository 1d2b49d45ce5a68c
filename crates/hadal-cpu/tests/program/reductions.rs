//! Reductions over any axes: against sums in f64, in any layout, for any number of threads.

use crate::support::*;
use hadal_core::ops::{BinaryOp, ReduceOp, UnaryOp};
use hadal_core::{DType, Shape};

const ALL: [ReduceOp; 6] =
    [ReduceOp::Sum, ReduceOp::Prod, ReduceOp::Max, ReduceOp::Min, ReduceOp::Any, ReduceOp::All];

/// The reduction of values in order, in f64 or exact; and for sums what the error may be relative to.
fn naive(op: ReduceOp, dtype: DType, values: &[Val]) -> (Val, f64) {
    let size: f64 = values.iter().map(|v| v.f64().abs()).sum();
    let integer = !dtype.is_float();
    let whole = |v: &Val| match v {
        Val::I(i) => *i,
        Val::B(b) => *b as i64,
        _ => unreachable!("a float"),
    };
    let best = |larger: bool| {
        values.iter().copied().reduce(|a, b| {
            let take = if larger { b.f64() > a.f64() } else { b.f64() < a.f64() };
            if take || b.f64().is_nan() { b } else { a }
        })
    };
    let v = match op {
        ReduceOp::Sum if integer => Val::I(values.iter().fold(0, |a, v| a.wrapping_add(whole(v)))),
        ReduceOp::Prod if integer => Val::I(values.iter().fold(1, |a, v| a.wrapping_mul(whole(v)))),
        ReduceOp::Sum => Val::F64(values.iter().map(|v| v.f64()).sum()),
        ReduceOp::Prod => Val::F64(values.iter().map(|v| v.f64()).product()),
        ReduceOp::Max => best(true).expect("at least one"),
        ReduceOp::Min => best(false).expect("at least one"),
        ReduceOp::Any => Val::B(values.iter().any(|v| v.f64() != 0.0)),
        ReduceOp::All => Val::B(values.iter().all(|v| v.f64() != 0.0)),
    };
    (v, size)
}

/// Reduces and compares with the naive reduction.
fn check_reduce(x: &Host, op: ReduceOp, axes: &[usize]) {
    let (shape, dtype) = (&x.layout.shape, x.dtype);
    let mut b = Builder::new(shape);
    let r = b.load(0, dtype);
    b.reduce(r, op, axes);
    let got = run(&b.0, &[x]).remove(0);
    let kept = b.0.kept_shape();
    let mut groups: Vec<Vec<Val>> = vec![Vec::new(); kept.numel()];
    for i in 0..shape.numel() {
        let (mut rest, mut at, mut stride) = (i, 0, 1);
        for d in (0..shape.rank()).rev() {
            if !axes.contains(&d) {
                at += rest % shape[d] * stride;
                stride *= shape[d];
            }
            rest /= shape[d];
        }
        groups[at].push(x.at(i));
    }
    assert_eq!(got.len(), groups.len());
    for (i, (g, values)) in got.iter().zip(&groups).enumerate() {
        let (want, size) = naive(op, dtype, values);
        let what = format!("{op:?} {dtype} {shape} over {axes:?} at {i}: got {g:?}, want {want:?}");
        let ulp = match dtype {
            DType::F64 => 1e-13,
            DType::F32 => 3e-7,
            DType::F16 => 6e-4,
            _ => 5e-3,
        };
        match (op, want) {
            (ReduceOp::Sum, Val::F64(w)) => {
                // A lane sums in f32, so its error is relative to the sum of magnitudes; rounding
                // the result to a half is relative to the result.
                let error = (g.f64() - w).abs();
                assert!(error <= 4e-7 * size + ulp * w.abs() || !w.is_finite(), "{what}");
            }
            (ReduceOp::Prod, Val::F64(w)) => assert!((g.f64() - w).abs() <= ulp * w.abs() + 1e-7, "{what}"),
            (_, w) => assert!(g.same(w), "{what}"),
        }
    }
}

fn random(shape: &[usize], dtype: DType, op: ReduceOp, rng: &mut Lcg) -> Host {
    match op {
        ReduceOp::Prod => Host::random(shape, dtype, 0.9, 1.1, rng),
        _ => Host::random(shape, dtype, -3.0, 3.0, rng),
    }
}

#[test]
fn all_subsets_of_axes() {
    let mut rng = Lcg(21);
    for round in 0..40 {
        let rank = rng.below(5);
        let sizes = [1, 2, 3, 4, 7, 10, 33, 100, 513];
        let mut shape: Vec<usize> = (0..rank).map(|_| sizes[rng.below(9)]).collect();
        while shape.iter().product::<usize>() > 30_000 {
            let largest = (0..rank).max_by_key(|&i| shape[i]).unwrap_or(0);
            shape[largest] = shape[largest] / 2 + 1;
        }
        for mask in 0..1usize << rank {
            let axes: Vec<usize> = (0..rank).filter(|i| mask >> i & 1 == 1).collect();
            let (op, dtype) = (ALL[rng.below(6)], DType::ALL[rng.below(8)]);
            let mut x = random(&shape, dtype, op, &mut rng);
            if round % 3 == 0 {
                // The same walk over a transposed input.
                let back: Vec<usize> = (0..rank).rev().collect();
                let turned: Vec<usize> = shape.iter().rev().copied().collect();
                x = random(&turned, dtype, op, &mut rng).with(|l| l.permute(&back));
            }
            check_reduce(&x, op, &axes);
        }
    }
}

#[test]
fn long_and_wide_shapes() {
    let mut rng = Lcg(22);
    let cases: &[(&[usize], &[usize])] = &[
        (&[200_000], &[0]),
        (&[3, 50_000], &[1]),
        (&[50_000, 3], &[0]),
        (&[100_000, 2], &[1]),
        (&[40, 5000], &[0]),
        (&[5000, 40], &[0]),
        (&[5000, 40], &[1]),
        (&[300, 600], &[0]),
        (&[6, 20, 7, 150], &[0, 2]),
        (&[6, 20, 7, 150], &[1, 3]),
        (&[4, 3, 700, 20], &[0, 2]),
        (&[4, 3, 20, 700], &[0, 2]),
        (&[4, 9, 40, 50], &[0, 2, 3]),
        (&[64, 33, 7, 7], &[0, 2, 3]),
        (&[2, 5, 2, 5, 600, 3], &[1, 3, 5]),
        (&[2, 5, 2, 5, 3, 600], &[1, 3]),
    ];
    for &(shape, axes) in cases {
        for op in ALL {
            for dtype in [DType::F32, DType::I32] {
                check_reduce(&random(shape, dtype, op, &mut rng), op, axes);
            }
        }
    }
}

#[test]
fn sums_of_a_million_are_as_good_as_f32_can_be() {
    let mut rng = Lcg(23);
    for shape in [[1 << 20, 1], [1 << 10, 1 << 10], [1 << 12, 1 << 8]] {
        let x = Host::random(&shape, DType::F32, 0.0, 1.0, &mut rng);
        for axes in [&[0, 1][..], &[0], &[1]] {
            let mut b = Builder::new(&shape);
            let r = b.load(0, DType::F32);
            b.reduce(r, ReduceOp::Sum, axes);
            let got = run(&b.0, &[&x]).remove(0);
            let mut want = vec![0.0; got.len()];
            for i in 0..shape[0] * shape[1] {
                let at = match axes {
                    [0] => i % shape[1],
                    [1] => i / shape[1],
                    _ => 0,
                };
                want[at] += x.at(i).f64();
            }
            for (g, w) in got.iter().zip(&want) {
                // One rounding of the result (6e-8), and a few of the lanes' halves (6e-8 each).
                assert!((g.f64() - w).abs() <= 2.5e-7 * w, "{shape:?} {axes:?}: {g:?} {w}");
            }
        }
    }
}

#[test]
fn nan_wins_wherever_it_is() {
    for n in [1, 7, 31, 32, 100, 600, 5000] {
        for at in [0, n / 2, n - 1] {
            for dtype in [DType::F32, DType::F64, DType::BF16] {
                let x = Host::new(&[n], dtype, |i| {
                    convert(Val::F64(if i == at { f64::NAN } else { i as f64 }), dtype)
                });
                check_reduce(&x, ReduceOp::Max, &[0]);
                check_reduce(&x, ReduceOp::Min, &[0]);
                check_reduce(
                    &x.with(|l| l.reshape(&Shape::new(&[n, 1])).expect("contiguous")),
                    ReduceOp::Max,
                    &[0],
                );
            }
        }
    }
}

#[test]
fn nothing_reduces_to_the_neutral_element() {
    for dtype in DType::ALL {
        let x = Host::new(&[3, 0, 2], dtype, |_| unreachable!("no elements"));
        for op in [ReduceOp::Sum, ReduceOp::Prod, ReduceOp::Any, ReduceOp::All] {
            check_reduce(&x, op, &[1]);
            check_reduce(&x, op, &[0, 1, 2]);
        }
        // No results, so nothing to complain about.
        check_reduce(&x, ReduceOp::Max, &[0]);
    }
}

#[test]
fn elementwise_and_reducing_outputs_of_one_program() {
    let mut rng = Lcg(24);
    for shape in [[7, 13], [40, 1000], [300, 96], [2, 40_000]] {
        for axes in [&[0][..], &[1], &[0, 1]] {
            let x = Host::random(&shape, DType::F32, -2.0, 2.0, &mut rng);
            let y = Host::random(&shape[1..], DType::F16, -2.0, 2.0, &mut rng)
                .with(|l| l.expand(&Shape::new(&shape)));
            let mut b = Builder::new(&shape);
            let (rx, ry) = (b.load(0, DType::F32), b.load(1, DType::F16));
            let ry = b.cast(ry, DType::F32);
            let z = b.binary(BinaryOp::Mul, rx, ry);
            let e = b.unary(UnaryOp::Exp, z);
            b.store(z).reduce(e, ReduceOp::Sum, axes).reduce(z, ReduceOp::Max, axes);
            b.store(e);
            let got = run(&b.0, &[&x, &y]);
            // The same, one after the other.
            let mut first = Builder(b.0.clone());
            first.0.outputs.clear();
            first.store(z).store(e);
            check(&first.0, &[&x, &y], "elementwise outputs");
            let stored = run_raw(&first.0, &[&x, &y]).expect("a valid program");
            let layout = hadal_core::Layout::contiguous(Shape::new(&shape));
            for (k, (op, (data, dtype))) in [ReduceOp::Max, ReduceOp::Sum].into_iter().zip(stored).enumerate()
            {
                let host = Host { data, dtype, layout: layout.clone() };
                let mut second = Builder::new(&shape);
                let r = second.load(0, dtype);
                second.reduce(r, op, axes);
                let want = run(&second.0, &[&host]).remove(0);
                let fused = &got[2 - k];
                assert!(fused.iter().zip(&want).all(|(g, w)| g.same(*w)), "{shape:?} {axes:?} {op:?}");
            }
        }
    }
}
