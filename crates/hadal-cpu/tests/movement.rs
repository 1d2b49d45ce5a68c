//! Copies against naive loops.

mod support;

use hadal_core::ops::Op;
use hadal_core::smallvec::SmallVec;
use hadal_core::{Buffer, DType, ErrorKind, Layout, Scalar, Shape};
use support::{Rng, Tensor, each, run, run_buffer, small};

#[test]
fn copy_reads_every_layout() {
    let mut rng = Rng(1);
    for _ in 0..1500 {
        let (shape, dtype) = (rng.shape(0), rng.dtype());
        let x = Tensor::random(&mut rng, &shape, dtype);
        let got = run(&Op::Copy, &[&x], dtype, &shape).unwrap();
        assert_eq!(got, x.values(), "{:?} {dtype}", x.layout);
    }
}

#[test]
fn copy_of_large_transposed_and_sliced_layouts() {
    let mut rng = Rng(2);
    let cases: [(&[usize], &[usize]); 7] = [
        (&[520, 1024], &[1, 0]),
        (&[301, 523], &[1, 0]),
        (&[3, 130, 257], &[0, 2, 1]),
        (&[3, 130, 257], &[2, 0, 1]),
        (&[5, 16, 17, 33], &[0, 2, 3, 1]),
        (&[40, 9, 70, 11], &[3, 1, 0, 2]),
        (&[2, 100_001], &[1, 0]),
    ];
    for (sizes, perm) in cases {
        for dtype in [DType::F32, DType::F64, DType::BF16, DType::U8] {
            let n: usize = sizes.iter().product();
            let values: Vec<f64> = (0..n).map(|_| small(&mut rng, dtype)).collect();
            let mut x = Tensor::new(sizes, dtype, &values);
            x.layout = x.layout.permute(perm);
            let shape = x.layout.shape.clone();
            let got = run(&Op::Copy, &[&x], dtype, &shape).unwrap();
            assert!(got == x.values(), "{sizes:?} {perm:?} {dtype}");
        }
    }
    // Runs of one row, split over tasks; and a row of one repeated element.
    let n = 300_007;
    let values: Vec<f64> = (0..2 * n).map(|i| (i % 97) as f64).collect();
    let mut x = Tensor::new(&[2 * n], DType::F32, &values);
    for (step, start) in [(1isize, 5usize), (2, 0), (-1, n + 3), (0, 7)] {
        let mut strides = SmallVec::new();
        strides.push(step);
        x.layout = Layout { shape: Shape::new(&[n]), strides, offset: start };
        assert!(run(&Op::Copy, &[&x], DType::F32, &Shape::new(&[n])).unwrap() == x.values(), "step {step}");
    }
}

#[test]
fn cat_puts_inputs_one_after_the_other() {
    let mut rng = Rng(3);
    for _ in 0..600 {
        let (mut shape, dtype) = (rng.shape(1), rng.dtype());
        let axis = rng.below(shape.rank());
        let parts: Vec<Tensor> = (0..1 + rng.below(4))
            .map(|_| {
                shape[axis] = rng.below(6);
                Tensor::random(&mut rng, &shape, dtype)
            })
            .collect();
        shape[axis] = parts.iter().map(|p| p.layout.shape[axis]).sum();
        let mut want = Vec::new();
        each(&shape, |i| {
            let mut i = i.to_vec();
            for p in &parts {
                if i[axis] < p.layout.shape[axis] {
                    want.push(p.at(&i));
                    return;
                }
                i[axis] -= p.layout.shape[axis];
            }
        });
        let inputs: Vec<&Tensor> = parts.iter().collect();
        assert_eq!(run(&Op::Cat(axis), &inputs, dtype, &shape).unwrap(), want);
    }
}

#[test]
fn place_is_the_inverse_of_slice() {
    let mut rng = Rng(4);
    for _ in 0..800 {
        let (shape, dtype) = (rng.shape(0), rng.dtype());
        let x = Tensor::random(&mut rng, &shape, dtype);
        let (mut starts, mut steps) = (SmallVec::new(), SmallVec::new());
        let mut big = shape.clone();
        for d in 0..shape.rank() {
            let step = [1isize, 1, 2, 3, -1, -2][rng.below(6)];
            let reach = shape[d].saturating_sub(1) * step.unsigned_abs();
            let before = rng.below(3);
            big[d] = before + reach + usize::from(shape[d] > 0) + rng.below(3);
            starts.push(if step < 0 { before + reach } else { before });
            steps.push(step);
        }
        let fill = small(&mut rng, dtype);
        let mut want = vec![fill; big.numel()];
        let strides = big.strides();
        each(&shape, |i| {
            let place: isize =
                (0..i.len()).map(|d| (starts[d] as isize + i[d] as isize * steps[d]) * strides[d]).sum();
            want[place as usize] = x.at(i);
        });
        let op = Op::Place { starts, steps, fill: Scalar::F(fill) };
        assert_eq!(run(&op, &[&x], dtype, &big).unwrap(), want, "{op:?} {shape}");
    }
}

#[test]
fn fold_sums_overlapping_windows() {
    let mut rng = Rng(5);
    for case in 0..500 {
        let (mut shape, dtype) = (rng.shape(1), rng.dtype());
        let axis = rng.below(shape.rank());
        if case == 0 {
            shape = Shape::new(&[700, 50, 9]);
        }
        let axis = if case == 0 { 0 } else { axis };
        let (size, step, windows) = (1 + rng.below(5), 1 + rng.below(4), rng.below(7));
        shape[axis] = if windows == 0 { rng.below(3) } else { (windows - 1) * step + size + rng.below(step) };
        let mut input = shape.clone();
        input[axis] = windows;
        input.push(size);
        let x = Tensor::strided(&mut rng, &input, dtype, |r| r.below(2) as f64);
        let mut want = vec![0.0; shape.numel()];
        let strides = shape.strides();
        each(&input, |i| {
            let mut place = 0;
            for d in 0..shape.rank() {
                let p = if d == axis { i[d] * step + i[shape.rank()] } else { i[d] };
                place += p * strides[d] as usize;
            }
            want[place] += x.at(i);
            if dtype == DType::Bool {
                want[place] = want[place].min(1.0);
            }
        });
        let op = Op::Fold { axis, size, step };
        assert_eq!(run(&op, &[&x], dtype, &shape).unwrap(), want, "{op:?} {shape} {dtype}");
    }
}

#[test]
fn fill_and_arange() {
    let shape = Shape::new(&[3, 41_000]);
    for dtype in DType::ALL {
        let got = run(&Op::Fill(Scalar::F(3.0)), &[], dtype, &shape).unwrap();
        let want = if dtype == DType::Bool { 1.0 } else { 3.0 };
        assert!(got.iter().all(|&v| v == want), "{dtype}");
    }
    let line = Shape::new(&[100_003]);
    let got = run(&Op::Arange(Scalar::F(0.1), Scalar::F(0.3)), &[], DType::F32, &line).unwrap();
    assert!((0..line[0]).all(|i| got[i] == (0.1 + i as f64 * 0.3) as f32 as f64));
    let got = run(&Op::Arange(Scalar::I(7), Scalar::I(-3)), &[], DType::I32, &line).unwrap();
    assert!((0..line[0]).all(|i| got[i] == 7.0 - 3.0 * i as f64));
    // 0-d and empty outputs.
    assert_eq!(run(&Op::Fill(Scalar::I(2)), &[], DType::F16, &Shape::new(&[])).unwrap(), [2.0]);
    assert!(run(&Op::Fill(Scalar::I(2)), &[], DType::F16, &Shape::new(&[0, 4])).unwrap().is_empty());
    // All 64 bits of an integer survive.
    let big = i64::MAX - 5;
    let out =
        support::run_buffer(&Op::Arange(Scalar::I(big), Scalar::I(1)), &[], DType::I64, &Shape::new(&[3]));
    assert_eq!(out.unwrap().as_slice::<i64>(), [big, big + 1, big + 2]);
}

#[test]
fn operations_without_a_kernel_and_wrong_layouts_are_errors() {
    let x = Tensor::new(&[2, 3], DType::F32, &[0.0; 6]);
    let e = run(&Op::Cast, &[&x], DType::F32, &Shape::new(&[2, 3])).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::State);
    assert_eq!(
        e.to_string(),
        "cast: this operation runs in programs or changes layouts; it has no kernel\n  help: this is a bug in Hadal; please report it"
    );
    let mut wild = Tensor::new(&[2, 3], DType::F32, &[0.0; 6]);
    for (stride, offset) in [(4isize, 0usize), (-3, 0), (3, 1), (3, usize::MAX / 2)] {
        wild.layout.strides[0] = stride;
        wild.layout.offset = offset;
        let e = run(&Op::Copy, &[&wild], DType::F32, &Shape::new(&[2, 3])).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::State, "{e}");
    }
    let e = run(&Op::Copy, &[], DType::F32, &Shape::new(&[2, 3])).unwrap_err();
    assert_eq!(e.message(), "input 0 is missing");
}

#[test]
fn large_transposed_copies_go_past_the_caches() {
    // From 16 MiB on; rows that are whole cache lines, and rows that are not.
    for (rows, cols) in [(2064, 2048), (2049, 2050)] {
        let values: Vec<f32> = (0..rows * cols).map(|i| i as f32).collect();
        let layout = Layout::contiguous(Shape::new(&[rows, cols]));
        let x = Tensor {
            buffer: Buffer::from_slice(&values),
            dtype: DType::F32,
            layout: Layout {
                shape: Shape::new(&[cols, rows]),
                strides: layout.strides.iter().rev().copied().collect(),
                offset: 0,
            },
        };
        let got = run_buffer(&Op::Copy, &[&x], DType::F32, &Shape::new(&[cols, rows])).unwrap();
        let got = got.as_slice::<f32>();
        let right = (0..rows * cols).all(|i| got[i] == values[i % rows * cols + i / rows]);
        assert!(right, "{rows} by {cols}");
    }
}
