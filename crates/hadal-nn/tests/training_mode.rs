//! What differs between training and evaluation: batch statistics and dropout.

mod common;

use common::{randn, values};
use hadal_nn::*;
use hadal_tensor::{DType, Key, Tensor};

fn init() -> Init {
    Init::new(0).dtype(DType::F64)
}
fn near(a: &[f64], b: &[f64]) {
    assert_eq!(a.len(), b.len());
    for (x, y) in a.iter().zip(b) {
        assert!((x - y).abs() < 1e-12, "{a:?} and {b:?}");
    }
}
fn stats<const N: usize>(bn: &BatchNorm<N>) -> (Vec<f64>, Vec<f64>, i64) {
    let get = |s: &Option<State>| s.as_ref().unwrap().get();
    let n = get(&bn.num_batches_tracked).item::<i64>().unwrap();
    (values(&get(&bn.running_mean)), values(&get(&bn.running_var)), n)
}

#[test]
fn running_statistics_are_those_computed_by_hand() {
    let bn = BatchNorm1d::new(&init(), 2);
    let cx = Ctx::train_without_key();
    // Channel 0: 1, 2, 3, 6 (mean 3, sample variance 14/3). Channel 1: 0, 0, 0, 4 (mean 1, 4).
    let x = Tensor::new([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [6.0, 4.0]]);
    let y = bn.forward(&x, &cx);
    y.eval().unwrap();
    let (mean, var, n) = stats(&bn);
    near(&mean, &[0.3, 0.1]);
    near(&var, &[0.9 + 0.1 * 14.0 / 3.0, 0.9 + 0.1 * 4.0]);
    assert_eq!(n, 1);
    // The result is normalised by the population variance, 3.5 and 3.
    let d = 1.0 / (3.5f64 + 1e-5).sqrt();
    near(&values(&y.select(1, 0)), &[-2.0 * d, -d, 0.0, 3.0 * d]);

    bn.forward(&x, &cx).eval().unwrap();
    let (mean, _, n) = stats(&bn);
    near(&mean, &[0.3 * 0.9 + 0.3, 0.1 * 0.9 + 0.1]);
    assert_eq!(n, 2);

    // Evaluation uses them and leaves them alone.
    let z = bn.forward(&Tensor::new([[0.57, 0.19]]), &Ctx::eval());
    near(&values(&z), &[0.0, 0.0]);
    assert_eq!(stats(&bn).2, 2);
}

#[test]
fn without_momentum_every_batch_counts_the_same() {
    let bn = BatchNorm1d::new(&init(), 1).momentum(None);
    for (a, b) in [(0.0, 2.0), (3.0, 5.0), (8.0, 8.0)] {
        bn.forward(&Tensor::new([[a], [b]]), &Ctx::train_without_key()).eval().unwrap();
    }
    let (mean, var, n) = stats(&bn);
    near(&mean, &[(1.0 + 4.0 + 8.0) / 3.0]);
    near(&var, &[(2.0 + 2.0 + 0.0) / 3.0]);
    assert_eq!(n, 3);
}

#[test]
fn updates_that_nobody_evaluates_are_flushed_with_the_next_evaluation() {
    let bn = BatchNorm2d::new(&Init::new(0), 3);
    let x = Tensor::randn([4, 3, 5, 5], DType::F32, Key::new(1));
    for _ in 0..50 {
        // Only the loss is evaluated, never the statistics; each step is its own small graph.
        bn.forward(&x, &Ctx::train_without_key()).square().mean(..).eval().unwrap();
        for (name, s) in bn.buffers() {
            assert!(s.get().is_evaluated(), "{name} still waits after an evaluation");
        }
    }
    assert_eq!(stats(&bn).2, 50);
    // Evaluation mode builds nothing on the statistics.
    let before: Vec<Tensor> = bn.buffers().into_iter().map(|(_, s)| s.get()).collect();
    for _ in 0..10 {
        bn.forward(&x, &Ctx::eval()).eval().unwrap();
    }
    for (b, (name, s)) in before.iter().zip(bn.buffers()) {
        assert!(b.same(&s.get()), "{name} was replaced in evaluation");
    }
}

#[test]
fn no_statistics_no_affine() {
    let bn = BatchNorm1d::new(&init(), 2).no_running_stats().no_affine();
    assert!(bn.state_dict().is_empty());
    let x = randn(&[6, 2], 1);
    let (train, eval) = (bn.forward(&x, &Ctx::train_without_key()), bn.forward(&x, &Ctx::eval()));
    near(&values(&train), &values(&eval));
}

#[test]
fn one_value_per_channel_is_an_error_in_training_only() {
    let bn = BatchNorm1d::new(&init(), 2);
    let one = Tensor::new([[1.0, 2.0]]);
    let e = bn.forward(&one, &Ctx::train_without_key()).eval().unwrap_err().to_string();
    assert!(e.starts_with("BatchNorm1d: 1 values per channel have no variance"), "{e}");
    assert!(bn.forward(&one, &Ctx::eval()).eval().is_ok());
    assert_eq!(stats(&bn).2, 0, "the failed pass must not count");
}

#[test]
fn half_types_are_computed_in_f32() {
    let x = Tensor::randn([64, 2], DType::F32, Key::new(3)) * 100.0;
    for dtype in [DType::F16, DType::BF16] {
        let i = Init::new(0).dtype(dtype);
        let (bn, wide) = (BatchNorm1d::new(&i, 2), BatchNorm1d::new(&Init::new(0), 2));
        let half = x.cast(dtype);
        let y = bn.forward(&half, &Ctx::train_without_key());
        assert_eq!(y.dtype(), dtype);
        // Squares of hundreds overflow f16; rounded only once, the results are the nearest halves.
        let want = wide.forward(&half.cast(DType::F32), &Ctx::train_without_key()).cast(dtype);
        assert_eq!(values(&y), values(&want));
        assert_eq!(bn.running_var.as_ref().unwrap().get().dtype(), DType::F32);
        assert_eq!(stats(&bn).1, stats(&wide).1);
    }
}

#[test]
fn instance_norm_tracks_the_mean_over_the_batch() {
    let norm = InstanceNorm1d::new(&init(), 1).track_running_stats();
    let x = Tensor::new([[[0.0, 2.0]], [[4.0, 4.0]]]);
    norm.forward(&x, &Ctx::train_without_key()).eval().unwrap();
    let state = norm.state_dict();
    assert_eq!(state[0].0, "running_mean");
    near(&values(&state[0].1), &[0.1 * 2.5]);
    near(&values(&state[1].1), &[0.9 + 0.1 * 1.0]); // sample variances 2 and 0
    assert_eq!(state[2].1.item::<i64>().unwrap(), 1);
}

#[test]
fn dropout_keeps_the_mean_and_the_rate() {
    let x = Tensor::ones([100_000], DType::F32);
    for p in [0.1, 0.5, 0.9] {
        let y = Dropout::new(p).forward(&x, &Ctx::train(Key::new(7)));
        let kept = y.ne(0.0).sum(..).item::<i64>().unwrap() as f64 / 1e5;
        // Five standard deviations of the binomial distribution.
        let bound = 5.0 * (p * (1.0 - p) / 1e5).sqrt();
        assert!((kept - (1.0 - p)).abs() < bound, "p {p}: kept {kept}");
        assert!((y.mean(..).item::<f64>().unwrap() - 1.0).abs() < bound / (1.0 - p), "p {p}");
    }
    let all = Dropout::new(1.0).forward(&x, &Ctx::train(Key::new(7)));
    assert_eq!(all.abs().sum(..).item::<f64>().unwrap(), 0.0);
    assert!(Dropout::new(0.0).forward(&x, &Ctx::train_without_key()).same(&x));
}

#[test]
fn dropout_is_a_function_of_the_key_and_of_the_calls_before() {
    let x = Tensor::ones([1000], DType::F32);
    let drop = Dropout::new(0.5);
    let twice = |key: u64| {
        let cx = Ctx::train(Key::new(key));
        [drop.forward(&x, &cx), drop.forward(&x, &cx)].map(|t| values(&t))
    };
    let ([a, b], [c, d], [e, _]) = (twice(1), twice(1), twice(2));
    assert_eq!((&a, &b), (&c, &d));
    assert_ne!(a, b, "two layers of one pass must not drop the same places");
    assert_ne!(a, e);
}

#[test]
fn randomness_without_a_key_is_an_error() {
    let x = Tensor::ones([2, 2, 2], DType::F32);
    let cx = Ctx::train_without_key();
    for layer in [&Dropout::new(0.5) as &dyn Forward, &Dropout1d::new(0.5), &AlphaDropout::new(0.5)] {
        let e = layer.forward(&x, &cx).eval().unwrap_err().to_string();
        assert!(e.contains("the context has no key") && e.contains("Ctx::train(key)"), "{e}");
    }
    let e = Dropout::new(1.5).forward(&x, &cx).eval().unwrap_err().to_string();
    assert!(e.starts_with("Dropout: a probability of 1.5"), "{e}");
}

#[test]
fn channels_are_dropped_whole() {
    let y = Dropout3d::new(0.5).forward(&Tensor::ones([4, 8, 2, 2, 2], DType::F32), &Ctx::train(Key::new(1)));
    let all = y.to_vec::<f32>().unwrap();
    let channels: Vec<f32> =
        all.chunks(8).map(|c| if c.iter().all(|v| v == &c[0]) { c[0] } else { -1.0 }).collect();
    assert!(channels.iter().all(|&c| c == 0.0 || c == 2.0));
    assert!(channels.contains(&0.0) && channels.contains(&2.0));
}

#[test]
fn the_padding_row_of_an_embedding_stays_zero() {
    let words = Embedding::new(&init(), 4, 3).padding_idx(-1);
    let index = Tensor::new([0i64, 3, 3, 1]);
    let loss = words.forward(&index, &Ctx::eval()).exp().sum(..);
    let grads = loss.backward(&words).unwrap();
    let g = values(grads.get("weight").unwrap());
    assert!(g[..6].iter().all(|v| *v > 0.0), "{g:?}");
    assert_eq!(g[6..], [0.0; 6]);
    assert_eq!(values(&words.weight.get())[9..], [0.0; 3]);
}
