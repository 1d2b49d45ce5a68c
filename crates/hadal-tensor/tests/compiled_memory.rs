//! A compiled function allocates nothing but its results. Alone in its process, since memory is counted for
//! the whole of it.

use hadal_tensor::{Compiled, ConvOptions, DType, Key, Tensor, memory_stats, set_threads};

fn drawn(shape: &[usize], seed: u64) -> Tensor {
    let t = Tensor::randn(shape, DType::F32, Key::new(seed));
    t.eval().unwrap();
    t
}

#[test]
fn memory_is_taken_once() {
    set_threads(2);
    let x = drawn(&[2, 16, 32, 32], 1);
    let (w1, w2, bias) = (drawn(&[24, 16, 3, 3], 2), drawn(&[24, 24, 1, 1], 3), drawn(&[24, 1, 1], 4));
    let net = Compiled::new(&[&x], |x| {
        let padded = ConvOptions::default().padding(1);
        let y = (x[0].conv2d(&w1, None, &padded) * &bias + &bias).relu().clamp(-1.0, 3.0) / 2.0;
        let z = (y.conv2d(&w2, None, &ConvOptions::default()) + &y).max_pool2d(2);
        vec![z.flatten(1).matmul(&drawn(&[24 * 16 * 16, 10], 5)).softmax(1)]
    })
    .unwrap();
    let result = net.run(&[&x]).unwrap();
    drop(result);
    let before = memory_stats();
    for _ in 0..20 {
        let y = net.run(&[&x]).unwrap();
        // All that is there: what was there before, and the result.
        let held = memory_stats().live - before.live;
        assert!((2 * 10 * 4..=512).contains(&held), "{held} bytes for {} numbers", y[0].numel());
    }
    let after = memory_stats();
    assert_eq!((after.fresh, after.live), (before.fresh, before.live));
    // An input in another order is copied for the run.
    let turned = x.transpose(2, 3);
    drop(net.run(&[&turned]).unwrap());
    let before = memory_stats();
    (0..20).for_each(|_| drop(net.run(&[&turned]).unwrap()));
    let after = memory_stats();
    assert_eq!((after.fresh, after.live), (before.fresh, before.live));
    // A run at the same time has memory of its own, which is kept too.
    std::thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| (0..10).for_each(|_| drop(net.run(&[&x]).unwrap())));
        }
    });
    let (one, two) = (before.live, memory_stats().live);
    assert!(two <= 3 * one, "{two} bytes for two runs, {one} for one");
}
