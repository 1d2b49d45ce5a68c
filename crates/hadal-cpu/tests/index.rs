//! Index kernels against naive loops, and what they say about indices out of range.

mod support;

use hadal_core::ops::Op;
use hadal_core::smallvec::SmallVec;
use hadal_core::{DType, ErrorKind, Layout, Shape};
use support::{Rng, Tensor, each, run, run_buffer, small};

fn index_tensor(rng: &mut Rng, shape: &Shape, size: usize) -> Tensor {
    Tensor::strided(rng, shape, DType::I64, |r| r.below(size.max(1)) as f64)
}

/// A shape that fits into `shape` except along `axis`, where it may be anything; empty where the
/// axis is.
fn fitting(rng: &mut Rng, shape: &Shape, axis: usize) -> Shape {
    let mut s: Shape = shape.iter().map(|&n| if rng.below(2) == 0 { n } else { rng.below(n + 1) }).collect();
    s[axis] = if shape[axis] == 0 { 0 } else { rng.below(12) };
    s
}

#[test]
fn gather_takes_from_every_layout() {
    let mut rng = Rng(11);
    for _ in 0..1000 {
        let (shape, dtype) = (rng.shape(1), rng.dtype());
        let axis = rng.below(shape.rank());
        let x = Tensor::random(&mut rng, &shape, dtype);
        let fit = fitting(&mut rng, &shape, axis);
        let index = index_tensor(&mut rng, &fit, shape[axis]);
        let mut want = Vec::new();
        each(&fit, |i| {
            let mut i = i.to_vec();
            let at = index.at(&i) as usize;
            i[axis] = at;
            want.push(x.at(&i));
        });
        assert_eq!(run(&Op::Gather(axis), &[&x, &index], dtype, &fit).unwrap(), want);
    }
}

#[test]
fn index_select_takes_slices() {
    let mut rng = Rng(12);
    for case in 0..600 {
        let (mut shape, dtype) = (rng.shape(1), rng.dtype());
        if case < 3 {
            shape =
                [Shape::new(&[1000, 96]), Shape::new(&[96, 1000]), Shape::new(&[5, 40, 300])][case].clone();
        }
        let axis = if case < 3 { [0, 1, 1][case] } else { rng.below(shape.rank()) };
        let x = Tensor::random(&mut rng, &shape, dtype);
        let k = if shape[axis] == 0 {
            0
        } else if case < 3 {
            2000
        } else {
            rng.below(20)
        };
        let index = index_tensor(&mut rng, &Shape::new(&[k]), shape[axis]);
        let mut out = shape.clone();
        out[axis] = k;
        let mut want = Vec::new();
        each(&out, |i| {
            let mut i = i.to_vec();
            i[axis] = index.at(&[i[axis]]) as usize;
            want.push(x.at(&i));
        });
        assert!(run(&Op::IndexSelect(axis), &[&x, &index], dtype, &out).unwrap() == want, "{shape} {axis}");
    }
}

#[test]
fn scatter_writes_or_adds_in_index_order() {
    let mut rng = Rng(13);
    for case in 0..1200 {
        let (mut shape, dtype) = (rng.shape(1), rng.dtype());
        if case < 3 {
            shape = [Shape::new(&[90, 700]), Shape::new(&[700, 90]), Shape::new(&[4, 30, 500])][case].clone();
        }
        let axis = if case < 3 { [0, 1, 1][case] } else { rng.below(shape.rank()) };
        let add = rng.below(2) == 0;
        let few = |r: &mut Rng| r.below(if dtype == DType::Bool { 2 } else { 3 }) as f64;
        let base = Tensor::strided(&mut rng, &shape, dtype, few);
        let fit = fitting(&mut rng, &shape, axis);
        let index = index_tensor(&mut rng, &fit, shape[axis]);
        let mut wide = fit.clone();
        (0..wide.rank()).for_each(|d| wide[d] += rng.below(2));
        let src = Tensor::strided(&mut rng, &wide, dtype, few);
        let mut want = base.values();
        let strides = shape.strides();
        each(&fit, |i| {
            let place: usize = (0..i.len())
                .map(|d| if d == axis { index.at(i) as usize } else { i[d] } * strides[d] as usize)
                .sum();
            want[place] = if add { want[place] + src.at(i) } else { src.at(i) };
            if dtype == DType::Bool {
                want[place] = want[place].min(1.0);
            }
        });
        let got = run(&Op::Scatter { axis, add }, &[&base, &index, &src], dtype, &shape).unwrap();
        assert!(got == want, "{shape} axis {axis} add {add} {dtype} index {fit}");
    }
}

#[test]
fn index_add_sums_slices() {
    let mut rng = Rng(14);
    for case in 0..700 {
        let (mut shape, dtype) = (rng.shape(1), rng.dtype());
        if case < 4 {
            shape = [
                Shape::new(&[1000, 300]),
                Shape::new(&[300, 70_000]),
                Shape::new(&[5, 40, 513]),
                Shape::new(&[100_000]),
            ][case]
                .clone();
        }
        let axis = if case < 4 { [0, 0, 1, 0][case] } else { rng.below(shape.rank()) };
        let k = if shape[axis] == 0 {
            0
        } else if case < 4 {
            [3000, 20, 90, 9000][case]
        } else {
            rng.below(20)
        };
        let index = index_tensor(&mut rng, &Shape::new(&[k]), shape[axis]);
        let mut source = shape.clone();
        source[axis] = k;
        let src = Tensor::strided(&mut rng, &source, dtype, |r| r.below(2) as f64);
        let mut want = vec![0.0; shape.numel()];
        let strides = shape.strides();
        each(&source, |i| {
            let place: usize = (0..i.len())
                .map(|d| if d == axis { index.at(&[i[d]]) as usize } else { i[d] } * strides[d] as usize)
                .sum();
            want[place] += src.at(i);
            if dtype == DType::Bool {
                want[place] = want[place].min(1.0);
            }
        });
        assert!(
            run(&Op::IndexAdd(axis), &[&index, &src], dtype, &shape).unwrap() == want,
            "{shape} axis {axis} {dtype}"
        );
    }
}

#[test]
fn f32_sums_are_taken_in_index_order() {
    // Values whose sum depends on the order of addition.
    let mut rng = Rng(15);
    let (n, k, d) = (7, 5000, 40);
    let at: Vec<f64> = (0..k).map(|_| rng.below(n) as f64).collect();
    let values: Vec<f64> =
        (0..k * d).map(|_| (rng.next() as f64 / 2f64.powi(64) - 0.3) as f32 as f64).collect();
    let mut want = vec![0f32; n * d];
    for p in 0..k {
        for c in 0..d {
            want[at[p] as usize * d + c] += values[p * d + c] as f32;
        }
    }
    let index = Tensor::new(&[k], DType::I64, &at);
    let src = Tensor::new(&[k, d], DType::F32, &values);
    let shape = Shape::new(&[n, d]);
    let got = run_buffer(&Op::IndexAdd(0), &[&index, &src], DType::F32, &shape).unwrap();
    assert_eq!(got.as_slice::<f32>(), want);
    // The same through scatter, the index repeated over the columns.
    let base = Tensor::new(&[n, d], DType::F32, &vec![0.0; n * d]);
    let mut wide = Tensor::new(&[k], DType::I64, &at);
    wide.layout = Layout { shape: Shape::new(&[k, d]), strides: SmallVec::from_slice(&[1, 0]), offset: 0 };
    let op = Op::Scatter { axis: 0, add: true };
    let got = run_buffer(&op, &[&base, &wide, &src], DType::F32, &shape).unwrap();
    assert_eq!(got.as_slice::<f32>(), want);
}

#[test]
fn halves_add_in_f32_and_round_once() {
    // 4096 ones: a bf16 sum would stop at 256, an f16 sum at 2048.
    let k = 4096;
    for dtype in [DType::BF16, DType::F16] {
        let index = Tensor::new(&[k], DType::I64, &vec![1.0; k]);
        let ones = Tensor::new(&[k], dtype, &vec![1.0; k]);
        let got = run(&Op::IndexAdd(0), &[&index, &ones], dtype, &Shape::new(&[2])).unwrap();
        assert_eq!(got, [0.0, 4096.0]);
        let base = Tensor::new(&[2], dtype, &[5.0, 0.0]);
        let op = Op::Scatter { axis: 0, add: true };
        assert_eq!(run(&op, &[&base, &index, &ones], dtype, &Shape::new(&[2])).unwrap(), [5.0, 4096.0]);
    }
}

#[test]
fn an_index_out_of_range_is_named_and_nothing_is_written() {
    let x = Tensor::new(&[2, 5], DType::F32, &[0.0; 10]);
    let index = Tensor::new(&[2, 3], DType::I64, &[0.0, 1.0, 4.0, 0.0, 7.0, -9.0]);
    let e = run(&Op::Gather(1), &[&x, &index], DType::F32, &Shape::new(&[2, 3])).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Index);
    assert_eq!(
        e.to_string(),
        "gather: index 7 at [1, 1] is out of range for axis 1 of size 5\n  \
         operands: [2, 5] f32, [2, 3] i64\n  help: indices must be from 0 to 4"
    );

    let list = Tensor::new(&[3], DType::I64, &[1.0, -1.0, 2.0]);
    let e = run(&Op::IndexSelect(0), &[&x, &list], DType::F32, &Shape::new(&[3, 5])).unwrap_err();
    assert_eq!(
        e.to_string(),
        "index_select: index -1 at [1] is out of range for axis 0 of size 2\n  \
         operands: [2, 5] f32, [3] i64\n  help: indices must be from 0 to 1"
    );

    let src = Tensor::new(&[3, 5], DType::BF16, &[0.0; 15]);
    let e = run(&Op::IndexAdd(0), &[&list, &src], DType::BF16, &Shape::new(&[2, 5])).unwrap_err();
    assert_eq!(
        e.to_string(),
        "index_add: index -1 at [1] is out of range for axis 0 of size 2\n  \
         operands: [2, 5] bf16, [3] i64\n  help: indices must be from 0 to 1"
    );

    for (add, name) in [(true, "scatter_add"), (false, "scatter")] {
        let op = Op::Scatter { axis: 1, add };
        let src = Tensor::new(&[2, 3], DType::F32, &[0.0; 6]);
        let e = run(&op, &[&x, &index, &src], DType::F32, &Shape::new(&[2, 5])).unwrap_err();
        assert_eq!(e.op(), name);
        assert_eq!(e.message(), "index 7 at [1, 1] is out of range for axis 1 of size 5");
    }

    let none = Tensor::new(&[0, 5], DType::F32, &[]);
    let e = run(&Op::IndexSelect(0), &[&none, &list], DType::F32, &Shape::new(&[3, 5])).unwrap_err();
    assert_eq!(
        e.to_string(),
        "index_select: index 1 at [0] is out of range for axis 0 of size 0\n  \
         operands: [0, 5] f32, [3] i64\n  help: the axis is empty, so no index is valid"
    );
}

#[test]
fn the_first_of_many_bad_indices_is_named_in_large_and_broadcast_indices() {
    let (n, m) = (300, 400);
    let mut rng = Rng(16);
    let mut at: Vec<f64> = (0..n * m).map(|_| rng.below(9) as f64).collect();
    for bad in [n * m - 1, 77_777, 99_999] {
        at[bad] = 9.0;
    }
    let index = Tensor::new(&[n, m], DType::I64, &at);
    let x = Tensor::new(&[n, 9], DType::F32, &vec![small(&mut rng, DType::F32); n * 9]);
    let e = run(&Op::Gather(1), &[&x, &index], DType::F32, &Shape::new(&[n, m])).unwrap_err();
    assert_eq!(e.message(), "index 9 at [194, 177] is out of range for axis 1 of size 9");

    let mut wide = Tensor::new(&[3], DType::I64, &[0.0, 9.0, 1.0]);
    wide.layout = Layout { shape: Shape::new(&[3, 4]), strides: SmallVec::from_slice(&[-1, 0]), offset: 2 };
    let x = Tensor::new(&[9, 4], DType::F32, &[0.0; 36]);
    let e = run(&Op::Gather(0), &[&x, &wide], DType::F32, &Shape::new(&[3, 4])).unwrap_err();
    assert_eq!(e.message(), "index 9 at [1, 0] is out of range for axis 0 of size 9");
}
