//! Functions that are planned once: results, errors. (Memory: `compiled_memory.rs`, a process of its own.)

use hadal_tensor::{Compiled, ConvOptions, DType, Key, Param, Tensor, no_grad, set_threads};

fn drawn(shape: &[usize], seed: u64) -> Tensor {
    let t = Tensor::randn(shape, DType::F32, Key::new(seed));
    t.eval().unwrap();
    t
}

fn values(t: &Tensor) -> Vec<f32> {
    t.to_vec().unwrap()
}

/// A block as of a residual network: convolution, normalisation by running statistics, activation, a sum.
fn block(x: &Tensor, channels: usize, seed: u64) -> Tensor {
    let w = drawn(&[channels, x.dims()[1], 3, 3], seed);
    let per_channel = |i| drawn(&[1, channels, 1, 1], seed + i);
    let (mean, var, weight, bias) = (per_channel(1), per_channel(2), per_channel(3), per_channel(4));
    let scale = (var.square() + 1e-5).rsqrt() * weight;
    let y = (x.conv2d(&w, None, &ConvOptions::default().padding(1)) - mean) * scale + bias;
    (&y.clamp(0.0, 6.0) + y * 2.0).max_pool2d(2)
}

fn network(x: &Tensor) -> Tensor {
    let y = block(&block(x, 20, 10), 24, 20);
    let y = y.flatten(1);
    let (w, b) = (drawn(&[10, y.dims()[1]], 30), drawn(&[10], 31));
    y.linear(&w, Some(&b)).log_softmax(1)
}

#[test]
fn close_to_the_function_and_the_same_for_all_threads() {
    let x = drawn(&[3, 16, 24, 24], 1);
    let plain = values(&no_grad(|| network(&x)));
    let net = Compiled::new(&[&x], |x| vec![network(&x[0])]).unwrap();
    let first = values(&net.run(&[&x]).unwrap()[0]);
    for (a, b) in first.iter().zip(&plain) {
        assert!((a - b).abs() <= 1e-3 * b.abs().max(1.0), "{a} {b}");
    }
    for threads in [1, 2, 3] {
        set_threads(threads);
        assert_eq!(values(&net.run(&[&x]).unwrap()[0]), first, "{threads} threads");
    }
    // Another input, and the first again.
    let other = drawn(&[3, 16, 24, 24], 2);
    let answer = values(&net.run(&[&other]).unwrap()[0]);
    assert_ne!(answer, first);
    assert_eq!(values(&net.run(&[&x]).unwrap()[0]), first);
}

#[test]
fn the_same_bits_where_nothing_is_folded() {
    let (w1, b1, w2) = (drawn(&[64, 40], 1), drawn(&[64], 2), drawn(&[7, 64], 3));
    let f = |x: &Tensor| (x.linear(&w1, Some(&b1)).gelu().matmul(&w2.t()) / 3.0).softmax(-1).sum_keepdim(0);
    let x = drawn(&[5, 9, 40], 4);
    let net = Compiled::new(&[&x], |x| vec![f(&x[0])]).unwrap();
    assert_eq!(values(&net.run(&[&x]).unwrap()[0]), values(&f(&x)));
    // A bias is no product: it stays a sum behind the convolution.
    let (w, b) = (drawn(&[18, 16, 3, 3], 5), drawn(&[18], 6));
    let f = |x: &Tensor| x.conv2d(&w, Some(&b), &ConvOptions::default()).relu();
    let x = drawn(&[1, 16, 11, 11], 7);
    let net = Compiled::new(&[&x], |x| vec![f(&x[0])]).unwrap();
    assert_eq!(values(&net.run(&[&x]).unwrap()[0]), values(&f(&x)));
}

#[test]
fn norms_go_into_the_weights_and_constants_are_computed_once() {
    let x = drawn(&[1, 16, 24, 24], 1);
    let net = Compiled::new(&[&x], |x| vec![network(&x[0])]).unwrap();
    let kernels = net.summary().kernels;
    // The second sum is of the folded result: it is stored for nobody.
    let convs: Vec<_> = kernels.iter().filter(|k| k.starts_with("conv")).collect();
    assert_eq!(convs, ["conv+add+le+where+ge+where+mul+add"; 2], "{kernels:?}");
    assert!(!kernels.iter().any(|k| k.contains("rsqrt")), "{kernels:?}");
}

#[test]
fn chains_of_every_kind() {
    let x = drawn(&[2, 5, 9, 9], 1);
    let w = drawn(&[6, 5, 3, 3], 2);
    let c = |seed| drawn(&[1, 6, 1, 1], seed);
    let conv = |x: &Tensor| x.conv2d(&w, None, &ConvOptions::default().stride(2));
    type F<'a> = Box<dyn Fn(&Tensor) -> Tensor + 'a>;
    // With the kernels that remain.
    let cases: Vec<(F<'_>, &str)> = vec![
        (Box::new(|x| conv(x) * 3.0), "conv"),
        (Box::new(|x| -(conv(x) / &c(3)) - 1.0), "conv+add"),
        (Box::new(|x| c(3) - conv(x)), "conv+add"),
        (Box::new(|x| ((c(3) - conv(x) * c(4)) / c(5) + c(6)).exp()), "conv+add+exp"),
        // The other operand depends on the input, is not per channel, or divides by the result.
        (Box::new(|x| conv(x) * conv(x).sigmoid()), "conv"),
        (Box::new(|x| conv(x) * drawn(&[2, 6, 4, 4], 7)), "conv+mul"),
        (Box::new(|x| conv(x) * drawn(&[2, 1, 1, 1], 7)), "conv+mul"),
        (Box::new(|x| c(3) / conv(x)), "conv+div"),
    ];
    for (i, (f, kernel)) in cases.iter().enumerate() {
        let net = Compiled::new(&[&x], |x| vec![f(&x[0])]).unwrap();
        let kernels = net.summary().kernels;
        assert!(kernels.iter().any(|k| k == kernel), "{i}: {kernels:?}");
        let (got, want) = (values(&net.run(&[&x]).unwrap()[0]), values(&f(&x)));
        for (a, b) in got.iter().zip(&want) {
            assert!((a - b).abs() <= 2e-5 * b.abs().max(30.0), "{i}: {a} {b}");
        }
    }
}

#[test]
fn several_inputs_and_results() {
    let (a, b) = (drawn(&[4, 3], 1), Tensor::arange(0, 4, 1));
    let table = drawn(&[10, 3], 2);
    let net = Compiled::new(&[&a, &b], |x| {
        let y = &x[0] + table.index_select(0, &x[1]);
        // A result, a view of it, a constant, an input, and the result once more.
        vec![y.exp(), y.exp().t(), &table * 2.0, x[0].clone(), y]
    })
    .unwrap();
    // A strided input is brought into order.
    let strided = drawn(&[3, 4], 3).t();
    let got = net.run(&[&strided, &b]).unwrap();
    let y = &strided + table.index_select(0, &b);
    let want = [y.exp(), y.exp().t(), &table * 2.0, strided.clone(), y];
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        assert_eq!((got.dims(), values(got)), (want.dims(), values(want)), "result {i}");
    }
    // Results live on while the plan runs again.
    let kept = values(&got[0]);
    net.run(&[&drawn(&[4, 3], 9), &b]).unwrap();
    assert_eq!(values(&got[0]), kept);
}

#[test]
fn runs_at_the_same_time() {
    let x = drawn(&[1, 16, 16, 16], 1);
    let net = Compiled::new(&[&x], |x| vec![network(&x[0])]).unwrap();
    let answers: Vec<(Tensor, Vec<f32>)> = (0..4)
        .map(|i| {
            let x = drawn(&[1, 16, 16, 16], 50 + i);
            let y = values(&net.run(&[&x]).unwrap()[0]);
            (x, y)
        })
        .collect();
    std::thread::scope(|s| {
        for (x, y) in &answers {
            let net = &net;
            s.spawn(move || (0..20).for_each(|_| assert_eq!(values(&net.run(&[x]).unwrap()[0]), *y)));
        }
    });
}

#[test]
fn errors() {
    let x = Tensor::zeros([2, 3], DType::F32);
    let net = Compiled::new(&[&x], |x| vec![x[0].exp()]).unwrap();
    let message = |inputs: &[&Tensor]| net.run(inputs).unwrap_err().to_string();
    let of = |shape: [usize; 2], dtype| Tensor::zeros(shape, dtype);
    assert!(
        message(&[&of([3, 3], DType::F32)])
            .starts_with("compiled: input 0 is [3, 3] f32, the example was [2, 3] f32")
    );
    assert!(
        message(&[&of([2, 3], DType::F64)])
            .starts_with("compiled: input 0 is [2, 3] f64, the example was [2, 3] f32")
    );
    assert!(message(&[]).starts_with("compiled: 0 inputs were given, the examples were 1"));
    assert!(message(&[&x, &x]).starts_with("compiled: 2 inputs were given"));
    let poisoned = x.matmul(&x);
    assert!(message(&[&poisoned]).starts_with("matmul: "));
    // Of the examples, of the graph, of a value that is asked for, of data.
    let failed = |f: fn(&Tensor) -> Tensor| Compiled::new(&[&x], |x| vec![f(&x[0])]).unwrap_err().to_string();
    assert!(Compiled::new(&[&poisoned], |x| x.to_vec()).is_err());
    assert!(failed(|x| x.matmul(x)).starts_with("matmul: inner sizes differ"));
    let asked =
        failed(|x| if x.sum(..).item::<f32>().unwrap_or(f32::NAN) > 0.0 { x.exp() } else { x.matmul(x) });
    assert!(asked.starts_with("matmul"), "{asked}");
    let index = Tensor::new([7i64]);
    let outside = Compiled::new(&[&index], |i| vec![Tensor::zeros([3], DType::F32).index_select(0, &i[0])]);
    assert!(outside.unwrap_err().to_string().starts_with("index_select"));
    // A run that failed leaves the plan usable.
    let index = Tensor::new([2i64]);
    let net = Compiled::new(&[&index], |i| vec![drawn(&[3], 1).index_select(0, &i[0])]).unwrap();
    let good = values(&net.run(&[&index]).unwrap()[0]);
    assert!(net.run(&[&Tensor::new([3i64])]).is_err());
    assert_eq!(values(&net.run(&[&index]).unwrap()[0]), good);
}

#[test]
fn shapes_without_elements_and_pools() {
    let x = Tensor::zeros([0, 3, 8, 8], DType::F32);
    let w = drawn(&[4, 3, 3, 3], 1);
    let f = |x: &Tensor| (x.conv2d(&w, None, &ConvOptions::default()) * 2.0).avg_pool2d(2).sum(..);
    let net = Compiled::new(&[&x], |x| vec![f(&x[0])]).unwrap();
    assert_eq!(values(&net.run(&[&x]).unwrap()[0]), [0.0]);
}

#[test]
fn it_is_a_snapshot() {
    let w = Param::new(drawn(&[256, 256], 6));
    let x = drawn(&[1, 256], 7);
    let net = Compiled::new(&[&x], |x| vec![x[0].matmul(&w.get())]).unwrap();
    let before = net.run(&[&x]).unwrap()[0].to_vec::<f32>().unwrap();
    w.set(Tensor::zeros([256, 256], DType::F32));
    assert_eq!(net.run(&[&x]).unwrap()[0].to_vec::<f32>().unwrap(), before);
}
