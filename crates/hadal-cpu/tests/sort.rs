//! Sorting indices against the standard library's stable sort.

mod support;

use hadal_core::ops::Op;
use hadal_core::{Buffer, DType, Layout, Shape};
use hadal_cpu::simd::{self, Level};
use std::cmp::Ordering;
use support::{Rng, Tensor, each, run, run_buffer, small};

/// NaN is largest and equal to NaN; -0 equals +0.
fn order(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

#[test]
fn argsort_is_stable_in_both_directions() {
    let mut rng = Rng(31);
    for case in 0..1200 {
        let (mut shape, dtype) = (rng.shape(1), rng.dtype());
        if case < 3 {
            shape = [Shape::new(&[50_000]), Shape::new(&[400, 70]), Shape::new(&[3, 300, 40])][case].clone();
        }
        let axis = if case < 3 { [0, 0, 1][case] } else { rng.below(shape.rank()) };
        let descending = rng.below(2) == 0;
        let special = dtype.is_float() && rng.below(2) == 0;
        let x = Tensor::strided(&mut rng, &shape, dtype, |r| match r.below(12) {
            0 if special => f64::NAN,
            1 if special => -f64::NAN,
            2 if special => -0.0,
            3 if special => f64::INFINITY,
            4 if special => f64::NEG_INFINITY,
            _ => (small(r, dtype) / 3.0).trunc(),
        });
        let mut want = vec![0.0; shape.numel()];
        let strides = shape.strides();
        let mut lines = shape.clone();
        lines[axis] = lines[axis].min(1);
        each(&lines, |start| {
            let mut i = start.to_vec();
            let line: Vec<f64> = (0..shape[axis])
                .map(|k| {
                    i[axis] = k;
                    x.at(&i)
                })
                .collect();
            let mut by: Vec<usize> = (0..line.len()).collect();
            by.sort_by(|&a, &b| {
                let o = order(line[a], line[b]);
                if descending { o.reverse() } else { o }
            });
            let base: usize = start.iter().zip(&strides).map(|(&i, &s)| i * s as usize).sum();
            for (k, &v) in by.iter().enumerate() {
                want[base + k * strides[axis] as usize] = v as f64;
            }
        });
        let op = Op::ArgSort { axis, descending };
        assert!(run(&op, &[&x], DType::I64, &shape).unwrap() == want, "{op:?} {shape} {dtype}");
        // Asked for fewer, the first of them.
        let (n, inner) = (shape[axis], strides[axis] as usize);
        for first in [0, 1, n / 40, n / 16, n / 3, n.saturating_sub(1)] {
            let mut fewer = shape.clone();
            fewer[axis] = first.min(n);
            let places = (0..want.len()).filter(|at| at / inner.max(1) % n.max(1) < first);
            let want: Vec<f64> = places.map(|at| want[at]).collect();
            assert!(run(&op, &[&x], DType::I64, &fewer).unwrap() == want, "{op:?} {shape} {dtype} {first}");
        }
    }
}

#[test]
fn all_bits_of_wide_keys_count() {
    let ints = [i64::MIN, i64::MAX, 0, -1, 1, i64::MAX - 1, i64::MIN + 1, i64::MAX];
    let shape = Shape::new(&[8]);
    let x = Tensor {
        buffer: Buffer::from_slice(&ints),
        dtype: DType::I64,
        layout: Layout::contiguous(shape.clone()),
    };
    let got = run_buffer(&Op::ArgSort { axis: 0, descending: false }, &[&x], DType::I64, &shape).unwrap();
    assert_eq!(got.as_slice::<i64>(), [0, 6, 3, 2, 4, 5, 1, 7]);
    let got = run_buffer(&Op::ArgSort { axis: 0, descending: true }, &[&x], DType::I64, &shape).unwrap();
    assert_eq!(got.as_slice::<i64>(), [1, 7, 5, 4, 2, 3, 6, 0]);
}

#[test]
fn few_of_many_are_the_same_on_every_instruction_set() {
    let mut rng = Rng(32);
    for dtype in DType::ALL {
        let shape = Shape::new(&[3, 3001]);
        // Rising, so that candidates are replaced again and again; falling; and anything.
        let values: Vec<f64> = (0..3 * 3001)
            .map(|i| match i / 3001 {
                0 => (i / 20) as f64,
                1 => 200.0 - (i / 40) as f64,
                _ => small(&mut rng, dtype),
            })
            .collect();
        let x = Tensor::new(&shape, dtype, &values);
        for descending in [false, true] {
            let op = Op::ArgSort { axis: 1, descending };
            let all = run(&op, &[&x], DType::I64, &shape).unwrap();
            for first in [1, 7, 50, 187] {
                let want: Vec<f64> = all.chunks(3001).flat_map(|row| row[..first].to_vec()).collect();
                for level in [Level::Portable, Level::Avx2, Level::Avx512] {
                    simd::limit_level(level);
                    let got = run(&op, &[&x], DType::I64, &Shape::new(&[3, first])).unwrap();
                    assert!(got == want, "{op:?} {dtype} {first} {level:?}");
                }
            }
        }
    }
}
