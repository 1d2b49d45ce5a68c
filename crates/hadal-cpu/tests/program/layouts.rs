//! Any layout, any size, outputs in the place of inputs.

use crate::support::*;
use hadal_core::ops::{Arg, BinaryOp, Data, Out, UnaryOp};
use hadal_core::{Buffer, DType, Layout, Shape};

/// `x·y + x` and its square, for two inputs of given dtypes.
fn two_outputs(shape: &[usize], a: DType, b_dtype: DType) -> Builder {
    let mut b = Builder::new(shape);
    let (x, y) = (b.load(0, a), b.load(1, b_dtype));
    let y = b.cast(y, a);
    let z = b.binary(BinaryOp::Mul, x, y);
    let z = b.binary(BinaryOp::Add, z, x);
    let s = b.unary(UnaryOp::Square, z);
    b.store(z).store(s);
    b
}

#[test]
fn sizes_around_the_block() {
    let mut rng = Lcg(1);
    for n in [0, 1, 2, 63, 64, 65, 511, 512, 513, 1024, 5000, 70_000] {
        for (a, y) in [(DType::F32, DType::F32), (DType::F16, DType::I32), (DType::I64, DType::U8)] {
            let xs = Host::random(&[n], a, -3.0, 3.0, &mut rng);
            let ys = Host::random(&[n], y, -3.0, 3.0, &mut rng);
            check(&two_outputs(&[n], a, y).0, &[&xs, &ys], &format!("{n} of {a} and {y}"));
        }
    }
}

#[test]
fn zero_dimensions() {
    let mut rng = Lcg(2);
    let x = Host::random(&[], DType::F32, -3.0, 3.0, &mut rng);
    let y = Host::random(&[], DType::F32, -3.0, 3.0, &mut rng);
    check(&two_outputs(&[], DType::F32, DType::F32).0, &[&x, &y], "0-d");
}

/// A random layout of `shape` over memory of its own: permuted, broadcast, sliced with steps, negative
/// or not.
fn random_layout(shape: &[usize], dtype: DType, rng: &mut Lcg) -> Host {
    let rank = shape.len();
    let mut perm: Vec<usize> = (0..rank).collect();
    if rng.below(2) == 0 {
        for i in (1..rank).rev() {
            perm.swap(i, rng.below(i + 1));
        }
    }
    // What each axis becomes: broadcast, or every k-th element of more, forwards or backwards.
    let kinds: Vec<usize> = (0..rank).map(|_| rng.below(6)).collect();
    let full: Vec<usize> = perm
        .iter()
        .map(|&d| match kinds[d] {
            0 => 1,
            1 => shape[d] * 2 + 1,
            _ => shape[d],
        })
        .collect();
    let host = Host::random(&full, dtype, -3.0, 3.0, rng);
    host.with(|l| {
        let mut back = vec![0; rank];
        perm.iter().enumerate().for_each(|(i, &d)| back[d] = i);
        let mut l = l.permute(&back);
        for d in 0..rank {
            let mut starts = vec![0; rank];
            let mut sizes = l.shape.to_vec();
            let mut steps = vec![1; rank];
            match kinds[d] {
                0 => {
                    let mut to = l.shape.to_vec();
                    to[d] = shape[d];
                    l = l.expand(&Shape::new(&to));
                    continue;
                }
                1 => (starts[d], steps[d]) = (1, 2),
                2 => (starts[d], steps[d]) = (shape[d].saturating_sub(1), -1),
                _ => continue,
            }
            sizes[d] = shape[d];
            l = l.slice(&starts, &sizes, &steps);
        }
        l
    })
}

#[test]
fn strided_broadcast_reversed_and_permuted_inputs() {
    let mut rng = Lcg(3);
    for round in 0..300 {
        let rank = rng.below(5);
        let shape: Vec<usize> = (0..rank)
            .map(|_| [1, 2, 3, 5, 7, 16, 33, 600][rng.below(if rank > 3 { 6 } else { 8 })])
            .collect();
        let dtypes = [DType::ALL[rng.below(8)], DType::ALL[rng.below(8)]];
        if shape.iter().product::<usize>() > 40_000 {
            continue;
        }
        let x = random_layout(&shape, dtypes[0], &mut rng);
        let y = random_layout(&shape, dtypes[1], &mut rng);
        let what = format!("round {round}: {:?} {:?}", x.layout, y.layout);
        check(&two_outputs(&shape, dtypes[0], dtypes[1]).0, &[&x, &y], &what);
    }
}

#[test]
fn a_short_row_over_many() {
    // Long enough that the row is unrolled into scratch once.
    let mut rng = Lcg(4);
    for (rows, cols) in [(700, 10), (100, 100), (40, 1000), (30, 1024), (20, 1025), (9000, 1)] {
        for dtype in [DType::F32, DType::BF16] {
            let x = Host::random(&[rows, cols], dtype, -1.0, 1.0, &mut rng);
            let y = Host::random(&[cols], dtype, -1.0, 1.0, &mut rng)
                .with(|l| l.expand(&Shape::new(&[rows, cols])));
            check(&two_outputs(&[rows, cols], dtype, dtype).0, &[&x, &y], &format!("{rows}x{cols} {dtype}"));
        }
    }
}

/// Runs a program whose first inputs lie in its first outputs.
fn in_place(p: &hadal_core::ops::Program, first: Vec<Host>, rest: &[&Host]) -> Vec<Vec<Val>> {
    let layouts: Vec<Layout> = first.iter().map(|h| h.layout.clone()).collect();
    let dtypes: Vec<DType> = first.iter().map(|h| h.dtype).collect();
    let kept = p.kept_shape();
    let mut memory: Vec<Buffer> = first.into_iter().map(|h| h.data).collect();
    for o in &p.outputs[memory.len()..] {
        let n = if o.reduce.is_some() { kept.numel() } else { p.shape.numel() };
        memory.push(Buffer::for_elements(n, out_dtype(p, o)).expect("memory"));
    }
    let mut args: Vec<Arg<'_>> = (0..layouts.len())
        .map(|i| Arg { data: Data::InPlace(i), dtype: dtypes[i], layout: &layouts[i] })
        .collect();
    args.extend(rest.iter().map(|h| h.arg()));
    let mut outs: Vec<Out<'_>> = memory
        .iter_mut()
        .zip(&p.outputs)
        .map(|(data, o)| Out {
            data,
            dtype: out_dtype(p, o),
            shape: if o.reduce.is_some() { &kept } else { &p.shape },
        })
        .collect();
    hadal_cpu::program::run(p, &args, &mut outs).expect("a valid program");
    drop(outs);
    memory.iter().zip(&p.outputs).map(|(b, o)| values(b, out_dtype(p, o))).collect()
}

#[test]
fn outputs_in_the_place_of_inputs() {
    // Two registers that swap places, one that is computed from both, and a sum of what was there.
    for n in [1, 5, 511, 512, 1300, 40_000] {
        for dtype in [DType::F32, DType::F16, DType::I32, DType::F64] {
            let mut rng = Lcg(n as u64);
            let make = |rng: &mut Lcg| Host::random(&[n], dtype, -3.0, 3.0, rng);
            let (x, y, z) = (make(&mut rng), make(&mut rng), make(&mut rng));
            let mut b = Builder::new(&[n]);
            let (rx, ry, rz) = (b.load(0, dtype), b.load(1, dtype), b.load(2, dtype));
            let w = b.binary(BinaryOp::Mul, rx, ry);
            let w = b.binary(BinaryOp::Sub, w, rz);
            b.store(ry).store(rx).store(w);
            b.reduce(rx, hadal_core::ops::ReduceOp::Max, &[0]);
            let want = run(&b.0, &[&x, &y, &z]);
            let got = in_place(&b.0, vec![x, y, z], &[]);
            for (g, w) in got.iter().flatten().zip(want.iter().flatten()) {
                assert!(g.same(*w), "{n} {dtype}: {g:?} {w:?}");
            }
        }
    }
}

#[test]
fn in_place_of_another_dtype_of_the_same_size() {
    for n in [3, 900] {
        let mut rng = Lcg(9);
        let x = Host::random(&[n], DType::I32, -100.0, 100.0, &mut rng);
        let mut b = Builder::new(&[n]);
        let r = b.load(0, DType::I32);
        let y = b.cast(r, DType::F32);
        let y = b.unary(UnaryOp::Exp, y);
        b.store(y);
        let want = run(&b.0, &[&x]);
        let got = in_place(&b.0, vec![x], &[]);
        assert!(got[0].iter().zip(&want[0]).all(|(g, w)| g.same(*w)));
    }
}

#[test]
fn one_register_leaves_twice_and_dead_code_is_dropped() {
    let mut rng = Lcg(11);
    let x = Host::random(&[1000], DType::F32, -3.0, 3.0, &mut rng);
    let h = Host::random(&[1000], DType::F16, -3.0, 3.0, &mut rng);
    let mut b = Builder::new(&[1000]);
    let (rx, rh) = (b.load(0, DType::F32), b.load(1, DType::F16));
    b.unary(UnaryOp::Exp, rx);
    let y = b.unary(UnaryOp::Neg, rx);
    let e = b.unary(UnaryOp::Exp, rh);
    let wide = b.cast(e, DType::F32);
    let again = b.binary(BinaryOp::Add, y, wide);
    b.store(y).store(y).store(rx).store(rx).store(wide).store(e).store(again);
    check(&b.0, &[&x, &h], "several outputs");
}

#[test]
fn large_transposed_inputs() {
    let mut rng = Lcg(12);
    for (a, y) in [(DType::F32, DType::F32), (DType::F16, DType::U8), (DType::I64, DType::Bool)] {
        let x = Host::random(&[400, 300], a, -3.0, 3.0, &mut rng).with(|l| l.permute(&[1, 0]));
        let y = Host::random(&[400, 300], y, -3.0, 3.0, &mut rng).with(|l| l.permute(&[1, 0]));
        let y_dtype = y.dtype;
        check(&two_outputs(&[300, 400], a, y_dtype).0, &[&x, &y], &format!("transposed {a}"));
    }
}

#[test]
fn outputs_stored_past_the_caches() {
    // More than 16 MiB each; rows that are whole cache lines, rows that are not, and a ragged end.
    for shape in [&[4_300_001][..], &[2100, 2048], &[4200, 1023]] {
        let n: usize = shape.iter().product();
        let value = |i: usize| (i % 1000) as f32 * 0.25 - 100.0;
        let x = Host::new(shape, DType::F32, |i| Val::F32(value(i)));
        let mut b = Builder::new(shape);
        let r = b.load(0, DType::F32);
        let y = b.unary(UnaryOp::Square, r);
        let z = b.binary(BinaryOp::Add, y, r);
        let t = b.cast(z, DType::F64);
        b.store(z).store(t);
        let plain = run_raw(&b.0, &[&x]).expect("a valid program");
        b.reduce(z, hadal_core::ops::ReduceOp::Max, &[0]);
        let with_sum = run_raw(&b.0, &[&x]).expect("a valid program");
        for out in [plain, with_sum] {
            let (z, t) = (out[0].0.as_slice::<f32>(), out[1].0.as_slice::<f64>());
            for i in 0..n {
                let want = value(i) * value(i) + value(i);
                assert!(z[i] == want && t[i] == want as f64, "{shape:?} at {i}: {} {}", z[i], t[i]);
            }
        }
    }
}
