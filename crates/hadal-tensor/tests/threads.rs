//! Several threads of the operating system that build, share and evaluate tensors.

use hadal_tensor::*;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Barrier};
use std::thread;

const THREADS: usize = 4;

fn bits(t: &Tensor) -> Vec<u32> {
    t.to_vec::<f32>().unwrap_or_else(|e| panic!("{e}")).into_iter().map(f32::to_bits).collect()
}

/// Runs `f(thread)` on several threads that begin together; what panics there panics here.
fn together(f: impl Fn(usize) + Sync) {
    let barrier = Barrier::new(THREADS);
    thread::scope(|s| {
        for i in 0..THREADS {
            let (f, barrier) = (&f, &barrier);
            s.spawn(move || {
                barrier.wait();
                f(i);
            });
        }
    });
}

fn work(x: &Tensor, k: usize) -> Tensor {
    let y = (x * (k as f64 * 0.25 + 1.0)).tanh().matmul(&x.t());
    (y.softmax(1) + &y).sum(0)
}

#[test]
fn threads_of_their_own_get_the_bits_of_one() {
    let x = Tensor::randn([96, 96], DType::F32, Key::new(1)).materialize().unwrap();
    let want: Vec<Vec<u32>> = (0..16).map(|k| bits(&work(&x, k))).collect();
    together(|i| {
        for round in 0..40 {
            let k = (round * 7 + i) % 16;
            assert_eq!(bits(&work(&x, k)), want[k]);
            set_threads(1 + (round + i) % 3);
        }
    });
    set_threads(2);
}

#[test]
fn one_lazy_tensor_evaluated_by_all_at_once() {
    for round in 0..60u64 {
        // Nobody holds the leaves: whoever evaluates may take their buffers.
        let fresh = || Tensor::randn([64, 64], DType::F32, Key::new(round)).materialize().unwrap();
        let want = {
            let x = fresh();
            let y = (&x * 2.0 + 1.0).exp();
            (bits(&y.sin()), bits(&(&y + &x).sum(1)))
        };
        let (a, b) = {
            let x = fresh();
            let y = (&x * 2.0 + 1.0).exp();
            (y.sin(), (&y + &x).sum(1))
        };
        together(|i| {
            if i % 2 == 0 {
                assert_eq!(bits(&a), want.0);
            } else {
                assert_eq!(bits(&b), want.1);
            }
            assert_eq!((bits(&a), bits(&b)), want);
        });
    }
}

#[test]
fn chains_that_give_their_leaves_away_race_to_the_same_root() {
    for round in 0..200u64 {
        let root = {
            let x = Tensor::from_vec((0..512).map(|i| (i + round) as f32).collect::<Vec<_>>(), [512]);
            let mut y = x * 0.5;
            for _ in 0..10 {
                y = (y.cumsum(0) * 1e-3).flip(0) + 1.0;
            }
            y
        };
        let first: std::sync::Mutex<Option<Vec<u32>>> = std::sync::Mutex::new(None);
        together(|i| {
            let got = if i == 0 { bits(&root) } else { bits(&(&root + i as f64 - i as f64).contiguous()) };
            let one = bits(&root);
            assert_eq!(one, first.lock().unwrap().get_or_insert(one.clone()).clone());
            assert_eq!(got.len(), 512);
        });
    }
}

#[test]
fn gradients_of_shared_parameters_on_all_threads() {
    let w = Tensor::randn([32, 32], DType::F32, Key::new(3)).requires_grad();
    let x = Tensor::randn([32, 32], DType::F32, Key::new(4)).materialize().unwrap();
    let step = |k: usize| {
        let loss = ((x.matmul(&w).relu() * (k as f64 + 1.0)).log_softmax(1)).mean(..);
        let g = grad(&loss, &[&w]).unwrap().remove(0);
        eval_and_release(&[&loss, &g], &[&loss]).unwrap();
        bits(&g)
    };
    let want: Vec<_> = (0..8).map(step).collect();
    together(|i| {
        for round in 0..40 {
            let k = (i + round) % 8;
            assert_eq!(step(k), want[k]);
        }
    });
}

#[test]
fn states_and_parameters_under_many_writers() {
    let state = State::new(Tensor::zeros([16], DType::F32));
    let param = Param::new(Tensor::ones([16], DType::F32));
    let done = AtomicUsize::new(0);
    together(|_| {
        for i in 0..200 {
            state.update(state.get() * 0.5 + 1.0);
            let p = param.get();
            param.set(no_grad(|| p * 0.5 + 0.5));
            if i % 3 == 0 {
                Tensor::from_slice(&[1.0f32]).neg().eval().unwrap();
            }
            let v = bits(&state.get());
            assert!(v.iter().all(|&b| (0.0..=2.0).contains(&f32::from_bits(b))));
        }
        done.fetch_add(1, Relaxed);
    });
    assert_eq!(done.into_inner(), THREADS);
    assert_eq!(bits(&param.get()), vec![1f32.to_bits(); 16]);
}

#[test]
fn switches_belong_to_their_thread() {
    together(|i| {
        for _ in 0..50 {
            let x = Tensor::from_slice(&[1.0f32, -2.0]);
            let run = || {
                let y = &x * 2.0;
                assert_eq!(y.is_evaluated(), i == 0);
                y
            };
            match i {
                0 => drop(eager(run)),
                1 => assert!(grad(&no_grad(run).sum(..), &[&x]).is_err()),
                2 => drop(unfused(run)),
                _ => assert!(grad(&run().sum(..), &[&x]).is_ok()),
            }
            // A deferred error, too.
            if i == 3 {
                let [_, _] = x.sizes();
            }
            assert_eq!((&x + 1.0).eval().is_err(), i == 3);
        }
    });
}

#[test]
fn errors_on_one_thread_do_not_reach_another() {
    let stop = Arc::new(AtomicBool::new(false));
    let bad = {
        let stop = stop.clone();
        thread::spawn(move || {
            let x = Tensor::ones([8], DType::F32);
            while !stop.load(Relaxed) {
                assert!(x.gather(0, &Tensor::from_slice(&[9i64])).eval().is_err());
                assert!(x.reshape([3]).eval().is_err());
            }
        })
    };
    let x = Tensor::randn([64, 64], DType::F32, Key::new(1)).materialize().unwrap();
    let want = bits(&work(&x, 3));
    for _ in 0..50 {
        assert_eq!(bits(&work(&x, 3)), want);
    }
    stop.store(true, Relaxed);
    bad.join().unwrap();
}

#[test]
fn few_columns_and_a_long_sum_run_on_threads() {
    // Weight gradients of narrow layers: fewer columns than tasks, which once divided by zero.
    set_threads(4);
    for (m, n) in [(1, 1), (1, 3), (2, 4), (4, 2), (3, 15), (4, 17), (4, 600)] {
        let a = Tensor::ones([40_000, m], DType::F32).materialize().unwrap();
        let b = Tensor::full([40_000, n], 0.5).materialize().unwrap();
        let c = a.t().matmul(&b).to_vec::<f32>().unwrap();
        assert_eq!(c, vec![20_000.0; m * n], "{m} × {n}");
    }
    set_threads(2);
}

#[test]
fn handles_are_dropped_where_they_are() {
    // Long graphs built on one thread and dropped on another, evaluated or not.
    let (send, receive) = std::sync::mpsc::channel::<Tensor>();
    let taker = thread::spawn(move || receive.into_iter().map(|t| t.is_evaluated() as usize).sum::<usize>());
    for i in 0..20 {
        let mut y = Tensor::from_slice(&[1.0f32, 2.0]);
        for _ in 0..5000 {
            y = y + 1.0;
        }
        if i % 2 == 0 {
            y.eval().unwrap();
        }
        send.send(y).unwrap();
    }
    drop(send);
    assert_eq!(taker.join().unwrap(), 10);
}
