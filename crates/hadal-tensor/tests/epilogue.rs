//! Kernels that take in the program that follows them: which ones do, and that no bit changes.

use hadal_tensor::{ConvOptions, DType, Key, Tensor, eval, plan_summary, set_threads, unfused};

fn drawn(shape: &[usize], seed: u64) -> Tensor {
    let t = Tensor::randn(shape, DType::F32, Key::new(seed));
    t.eval().unwrap();
    t
}

fn bits(t: &Tensor) -> Vec<u64> {
    t.cast(DType::F64).to_vec::<f64>().unwrap().into_iter().map(f64::to_bits).collect()
}

/// Evaluates what `f` builds as it comes and without fusion, on several numbers of threads.
#[track_caller]
fn same_bits(f: impl Fn() -> Vec<Tensor>, fused: &str) {
    let plain: Vec<_> = unfused(|| {
        let all = f();
        eval(&all.iter().collect::<Vec<_>>()).unwrap();
        all.iter().map(bits).collect()
    });
    let roots = f();
    let kernels = plan_summary(&roots.iter().collect::<Vec<_>>()).unwrap().kernels;
    assert!(kernels.iter().any(|k| k == fused), "{fused} in {kernels:?}");
    drop(roots);
    for threads in [1, 2, 3] {
        set_threads(threads);
        let all = f();
        eval(&all.iter().collect::<Vec<_>>()).unwrap();
        for (i, (t, plain)) in all.iter().zip(&plain).enumerate() {
            assert!(bits(t) == *plain, "output {i} with {threads} threads, {fused}");
        }
    }
}

#[test]
fn products_of_every_path() {
    // Few rows, few columns, blocks, several blocks of k, nothing to sum.
    for (m, n, k) in [(1, 700, 96), (3, 1000, 64), (300, 5, 40), (70, 130, 33), (150, 300, 1200), (9, 7, 0)] {
        let (x, w) = (drawn(&[m, k], 1), drawn(&[n, k], 2));
        let (bias, residual) = (drawn(&[n], 3), drawn(&[m, n], 4));
        same_bits(
            || vec![x.linear(&w, Some(&bias)).gelu() + &residual],
            "matmul+add+mul+mul+erf+add+mul+add",
        );
        same_bits(|| vec![x.linear(&w, Some(&bias)).relu()], "matmul+add+relu");
        let (x, w) = (x.cast(DType::F64), w.cast(DType::F64));
        same_bits(|| vec![x.matmul(&w.t()).exp()], "matmul+exp");
    }
}

#[test]
fn batches_and_reshapes() {
    let (x, w, bias) = (drawn(&[4, 33, 48], 1), drawn(&[96, 48], 2), drawn(&[96], 3));
    // The product is of `[132, 48]`, the sum of `[4, 33, 96]`.
    same_bits(|| vec![x.linear(&w, Some(&bias)).silu()], "matmul+add+sigmoid+mul");
    // One column, which the sum then sees as a row.
    let (v, row) = (drawn(&[48], 7), drawn(&[33], 8));
    same_bits(|| vec![(x.select(0, 1).matmul(&v) + &row).relu()], "matmul+add+relu");
    let (a, b) = (drawn(&[6, 20, 30], 4), drawn(&[6, 30, 25], 5));
    let scale = drawn(&[6, 1, 25], 6);
    same_bits(|| vec![(a.matmul(&b) * &scale).tanh()], "matmul+mul+tanh");
}

/// Scale and shift of each channel, then a residual and ReLU6.
fn after(y: Tensor, residual: bool) -> Tensor {
    let c = y.dims()[1];
    let per_channel = |seed| drawn(&[1, c, 1, 1], seed);
    let (mean, scale, shift) = (per_channel(7), per_channel(8), per_channel(9));
    let shape = y.dims().to_vec();
    let z = (y - mean) * scale + shift;
    let z = if residual { z + drawn(&shape, 10) } else { z };
    z.clamp(0.0, 6.0)
}

#[test]
fn convolutions_of_every_path() {
    // Batch, channels, side, outputs, kernel, stride, padding, groups.
    let cases = [
        // Winograd, direct, product over channels, depthwise, grouped, few pixels.
        (1, 20, 30, 24, 3, 1, 1, 1),
        (2, 3, 41, 18, 7, 2, 3, 1),
        (2, 24, 14, 70, 1, 1, 0, 1),
        (2, 36, 23, 36, 3, 1, 1, 36),
        (1, 36, 23, 36, 3, 2, 1, 36),
        (3, 16, 9, 24, 3, 1, 1, 4),
        (1, 64, 7, 40, 1, 1, 0, 1),
    ];
    for (n, c, side, o, kernel, stride, pad, groups) in cases {
        let x = drawn(&[n, c, side, side], 1);
        let w = drawn(&[o, c / groups, kernel, kernel], 2);
        let options = ConvOptions::default().stride(stride).padding(pad).groups(groups);
        let conv = || x.conv2d(&w, None, &options);
        same_bits(|| vec![after(conv(), false)], "conv+sub+mul+add+le+where+ge+where");
        same_bits(|| vec![after(conv(), true)], "conv+sub+mul+add+add+le+where+ge+where");
    }
    // The input gradient, written in several goes.
    let (x, w, bias) = (drawn(&[2, 12, 9, 9], 1), drawn(&[12, 10, 4, 4], 2), drawn(&[10], 3));
    let options = ConvOptions::default().stride(2).padding(1);
    same_bits(|| vec![x.conv_transpose2d(&w, Some(&bias), &options).relu()], "conv_transpose+add+relu");
}

#[test]
fn results_that_are_wanted_as_well() {
    let (x, w, bias) = (drawn(&[50, 40], 1), drawn(&[60, 40], 2), drawn(&[60], 3));
    // The product itself, what stands between, and the end.
    same_bits(
        || {
            let y = x.matmul(&w.t());
            let z = &y + &bias;
            vec![z.relu(), y, z]
        },
        "matmul+add+relu",
    );
    // No output is as wide as the product, which could not be computed in it.
    same_bits(|| vec![x.matmul(&w.t()).gt(0.5)], "gt");
    same_bits(|| vec![(x.matmul(&w.t()) * 2.0).cast(DType::F16)], "mul+cast");
    // A transposed operand, which a program would rather have copied first.
    let other = drawn(&[400, 300], 4);
    let (a, b) = (drawn(&[300, 20], 5), drawn(&[20, 400], 6));
    same_bits(|| vec![a.matmul(&b) + other.t()], "matmul+add");
}

#[test]
fn who_takes_part() {
    let (x, w) = (drawn(&[50, 40], 1), drawn(&[60, 40], 2));
    let kernels = |roots: &[&Tensor]| plan_summary(roots).unwrap().kernels;
    // Two readers at different times: the product is stored.
    let y = x.matmul(&w.t());
    let z = y.relu().matmul(&w) + y.sum(..);
    drop(y);
    assert!(kernels(&[&z]).contains(&"matmul".to_owned()), "{:?}", kernels(&[&z]));
    // A program that reduces runs on its own.
    assert_eq!(kernels(&[&x.matmul(&w.t()).square().sum(..)]), ["matmul", "square+sum"]);
    // Of two products in one program the later one takes it in.
    let sum = (x.matmul(&w.t()) + x.matmul(&w.t())).relu();
    assert_eq!(kernels(&[&sum]), ["matmul", "matmul+add+relu"]);
    // Of a product that is used twice by one program, both uses are served.
    let y = x.matmul(&w.t());
    let z = &y * y.sigmoid();
    drop(y);
    assert_eq!(kernels(&[&z]), ["matmul+sigmoid+mul"]);
}
