//! Running sums and positions of extremes against naive loops.

mod support;

use hadal_core::ops::Op;
use hadal_core::{DType, Shape};
use support::{Rng, Tensor, each, run, small};

#[test]
fn cumsum_in_both_directions() {
    let mut rng = Rng(21);
    for case in 0..600 {
        let (mut shape, mut dtype) = (rng.shape(1), rng.dtype());
        if case < 3 {
            shape =
                [Shape::new(&[200_000]), Shape::new(&[300, 700]), Shape::new(&[3, 90, 400])][case].clone();
            dtype = DType::I32;
        }
        if dtype == DType::Bool {
            continue;
        }
        let axis = if case < 3 { [0, 0, 1][case] } else { rng.below(shape.rank()) };
        let reverse = rng.below(2) == 0;
        let x = Tensor::strided(&mut rng, &shape, dtype, |r| r.below(4) as f64);
        let mut want = Vec::new();
        let mut memo = std::collections::BTreeMap::new();
        let n = shape[axis];
        each(&shape, |i| {
            let mut key = i.to_vec();
            key[axis] = 0;
            let sums = memo.entry(key.clone()).or_insert_with(|| {
                let mut line: Vec<f64> = (0..n)
                    .map(|k| {
                        key[axis] = k;
                        x.at(&key)
                    })
                    .collect();
                if reverse {
                    line.reverse();
                }
                for k in 1..n {
                    line[k] += line[k - 1];
                }
                if reverse {
                    line.reverse();
                }
                line
            });
            want.push(sums[i[axis]]);
        });
        let got = run(&Op::CumSum { axis, reverse }, &[&x], dtype, &shape).unwrap();
        assert!(got == want, "{shape} axis {axis} reverse {reverse} {dtype}");
    }
}

#[test]
fn a_long_f32_sum_does_not_drift() {
    let n = 300_000;
    let x = Tensor::new(&[n], DType::F32, &vec![0.1; n]);
    let got = run(&Op::CumSum { axis: 0, reverse: false }, &[&x], DType::F32, &Shape::new(&[n])).unwrap();
    assert_eq!(got[n - 1], (n as f64 * 0.1f32 as f64) as f32 as f64);
}

#[test]
fn arg_reduce_takes_the_first_of_equals_and_any_nan() {
    let mut rng = Rng(22);
    for case in 0..1200 {
        let (mut shape, dtype) = (rng.shape(1), rng.dtype());
        if case < 3 {
            shape =
                [Shape::new(&[5, 60_000]), Shape::new(&[300, 700]), Shape::new(&[3, 90, 400])][case].clone();
        }
        let axis = if case < 3 { 1 } else { rng.below(shape.rank()) };
        let max = rng.below(2) == 0;
        let nan = dtype.is_float() && rng.below(2) == 0;
        let x = Tensor::strided(&mut rng, &shape, dtype, |r| match r.below(50) {
            0 if nan => f64::NAN,
            1 if dtype.is_float() => -0.0,
            2 if dtype.is_float() => f64::NEG_INFINITY,
            _ => (small(r, dtype) / 4.0).trunc(),
        });
        let mut out = shape.to_vec();
        let n = out.remove(axis);
        let out = Shape::new(&out);
        let op = Op::ArgReduce { max, axis };
        if n == 0 {
            let r = run(&op, &[&x], DType::I64, &out);
            assert_eq!(r.is_err(), out.numel() > 0);
            continue;
        }
        let mut want = Vec::new();
        each(&out, |i| {
            let mut i = i.to_vec();
            i.insert(axis, 0);
            let (mut best, mut at) = (x.at(&i), 0);
            for k in 1..n {
                i[axis] = k;
                let v = x.at(&i);
                let wins = if max { v > best } else { v < best };
                if wins || (v.is_nan() && !best.is_nan()) {
                    (best, at) = (v, k);
                }
            }
            want.push(at as f64);
        });
        assert!(run(&op, &[&x], DType::I64, &out).unwrap() == want, "{shape} axis {axis} max {max} {dtype}");
    }
}

#[test]
fn arg_reduce_over_nothing_is_an_error() {
    let x = Tensor::new(&[3, 0], DType::F32, &[]);
    let e = run(&Op::ArgReduce { max: true, axis: 1 }, &[&x], DType::I64, &Shape::new(&[3])).unwrap_err();
    assert_eq!(
        e.to_string(),
        "argmax: axis 1 is empty\n  operands: [3, 0] f32\n  help: reduce over an axis with at least one element"
    );
}
