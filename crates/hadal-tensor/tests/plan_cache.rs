//! Plans that are used again: when they are, when not, and that it makes no difference but in time.
//!
//! The cache belongs to a thread, and every test has a thread of its own.

use hadal_tensor::*;

/// Hits and misses of `f`.
fn counted<R>(f: impl FnOnce() -> R) -> (u64, u64, R) {
    let before = plan_cache_stats();
    let result = f();
    let after = plan_cache_stats();
    (after.hits - before.hits, after.misses - before.misses, result)
}

fn numbers(t: &Tensor) -> Vec<f32> {
    t.to_vec().unwrap()
}

fn data(n: usize, from: f32) -> Tensor {
    Tensor::from_vec((0..n).map(|i| from + i as f32).collect::<Vec<f32>>(), [n])
}

#[test]
fn numbers_are_not_part_of_a_plan() {
    let x = data(6, 1.0);
    let (hits, misses, ()) = counted(|| {
        for step in 0..5 {
            let lr = 0.5f64.powi(step);
            let y = &x - &x * lr + Tensor::full((), lr).cast(DType::F32);
            let want: Vec<f32> = (1..7).map(|v| v as f32 - v as f32 * lr as f32 + lr as f32).collect();
            assert_eq!(numbers(&y), want);
        }
    });
    assert_eq!((hits, misses), (4, 1));
}

#[test]
fn random_keys_and_constants_of_kernels_are_not_part_of_a_plan() {
    let draw = |seed| Tensor::uniform([9], DType::F32, Key::new(seed), 0.0, 1.0) + 1.0;
    let pad = |by: f64| data(3, 1.0).pad(&[(1, 1)], by) * 2.0;
    let (hits, misses, ()) = counted(|| {
        for seed in 0..4 {
            let fresh = without_plan_cache(|| numbers(&draw(seed)));
            assert_eq!(numbers(&draw(seed)), fresh);
            assert_ne!(numbers(&draw(seed)), numbers(&draw(seed + 1)));
        }
        for by in [1.0, 2.0] {
            assert_eq!(numbers(&pad(by)), [2.0 * by as f32, 2.0, 4.0, 6.0, 2.0 * by as f32]);
        }
    });
    // The four that were told to plan anew count as misses.
    assert_eq!((hits, misses), (12, 6));
}

#[test]
fn where_slices_begin_is_not_part_of_a_plan() {
    let x = data(12, 0.0);
    let (hits, misses, ()) = counted(|| {
        for at in 0..10 {
            let row = x.narrow(0, at, 3);
            assert_eq!(numbers(&(&row * 1.0)), [at as f32, at as f32 + 1.0, at as f32 + 2.0]);
            // It was held and so has its value: the next evaluation finds a leaf that begins elsewhere.
            assert_eq!(numbers(&row), [at as f32, at as f32 + 1.0, at as f32 + 2.0]);
            assert_eq!(row.sum(..).item::<f32>().unwrap(), 3.0 * at as f32 + 3.0);
        }
    });
    assert_eq!((hits, misses), (18, 2));
}

#[test]
fn layouts_of_leaves_are_part_of_a_plan() {
    let x = data(9, 0.0).reshape([3, 3]);
    let t = x.transpose(0, 1);
    eval(&[&x, &t]).unwrap();
    let (hits, misses, ()) = counted(|| {
        for _ in 0..2 {
            assert_eq!(numbers(&(&x + 1.0)), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
            assert_eq!(numbers(&(&t + 1.0)), [1.0, 4.0, 7.0, 2.0, 5.0, 8.0, 3.0, 6.0, 9.0]);
            assert_eq!(numbers(&(&x + &t)), [0.0, 4.0, 8.0, 4.0, 8.0, 12.0, 8.0, 12.0, 16.0]);
            assert_eq!(numbers(&(&x + &x)), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0, 16.0]);
        }
    });
    assert_eq!((hits, misses), (4, 4));
}

#[test]
fn shapes_dtypes_operations_and_switches_are_told_apart() {
    let one = |n: usize, dtype| Tensor::from_vec(vec![4.0f64; n], [n]).cast(dtype);
    let leaves: Vec<Tensor> =
        [(2, DType::F32), (3, DType::F32), (2, DType::F64)].map(|(n, d)| one(n, d)).to_vec();
    eval(&leaves.iter().collect::<Vec<_>>()).unwrap();
    let runs: [fn(&Tensor) -> Tensor; 4] =
        [|x| (x + 1.0).sqrt(), |x| (x * 1.0).sqrt(), |x| (x + 1.0).exp(), |x| (x + 1.0).sqrt().sum(..)];
    let all = || {
        for x in &leaves {
            for run in runs {
                run(x).eval().unwrap();
                unfused(|| run(x).eval().unwrap());
            }
        }
    };
    assert_eq!(counted(all).1, 24);
    assert_eq!(counted(all).0, 24);
}

/// A step of gradient descent with momentum that gives parameter and state their own buffers back.
fn descend(p: &mut Tensor, m: &mut Tensor, g: &Tensor, lr: f64) {
    no_grad(|| {
        let old = std::mem::replace(m, Tensor::zeros([0], DType::F32));
        *m = old * 0.5 + g;
        let old = std::mem::replace(p, Tensor::zeros([0], DType::F32));
        *p = old - &*m * lr;
    });
    eval(&[p, m]).unwrap();
}

#[test]
fn updates_in_place_and_buffers_that_are_held() {
    let run = || {
        let (mut p, mut m, g) = (data(5, 1.0), data(5, 0.0) * 0.0, data(5, 2.0));
        m.eval().unwrap();
        let mut held = Vec::new();
        let mut seen = Vec::new();
        for step in 0..9 {
            // Every third parameter stays with somebody and must not be overwritten; sometimes only a view.
            match step % 3 {
                1 => held.push((p.clone(), numbers(&p))),
                2 => held.push((p.narrow(0, 1, 2), numbers(&p.narrow(0, 1, 2)))),
                _ => {}
            }
            held.iter().for_each(|h| h.0.eval().unwrap());
            descend(&mut p, &mut m, &g, 0.1 * step as f64);
            seen.extend(numbers(&p));
            for (t, before) in &held {
                assert_eq!(numbers(t), *before, "step {step}");
            }
        }
        seen
    };
    let fresh = without_plan_cache(run);
    let live = memory_stats().live;
    let (hits, _, kept) = counted(run);
    assert_eq!(kept.len(), fresh.len());
    assert_eq!(kept, fresh);
    assert!(hits > 5, "{hits}");
    // Other tests run meanwhile, so that only what is far too much shows.
    assert!(memory_stats().live < live + (64 << 20));
}

#[test]
fn evaluations_that_fail_leave_no_trace() {
    let x = data(4, 0.0);
    let pick = |i: i64| x.index_select(0, &Tensor::from_vec(vec![i, 0], [2])) + 1.0;
    let (hits, misses, ()) = counted(|| {
        assert_eq!(numbers(&pick(3)), [4.0, 1.0]);
        let e = pick(7).eval().unwrap_err();
        assert!(e.to_string().contains("index_select"), "{e}");
        assert_eq!(numbers(&pick(2)), [3.0, 1.0]);
        // A poisoned tensor is never planned.
        assert!((x.reshape([3]) + 1.0).eval().is_err());
        assert!(check_finite(|| (&x / 0.0).eval()).is_err());
        assert!(check_finite(|| (&x / 2.0).eval()).is_ok());
    });
    assert_eq!((hits, misses), (3, 2));
}

#[test]
fn the_oldest_plans_make_room() {
    let x = data(1, 3.0);
    let chain = |n: usize| (0..n).fold(x.clone(), |y, _| y + 1.0);
    for n in 1..100 {
        assert_eq!(numbers(&chain(n)), [3.0 + n as f32]);
    }
    let full = plan_cache_stats();
    assert!(full.plans <= 64 && full.evicted >= 35, "{full:?}");
    // The newest is there, the oldest is not.
    assert_eq!(counted(|| numbers(&chain(99))).0, 1);
    assert_eq!(counted(|| numbers(&chain(1))).1, 1);
    // What is too large is never kept, and large ones make room for each other.
    for n in (1000..1012).chain([20_000]) {
        assert_eq!(numbers(&chain(n)), [3.0 + n as f32]);
    }
    assert!(plan_cache_stats().plans <= 8);
    assert_eq!(counted(|| numbers(&chain(20_000))).1, 1);
}

#[test]
fn a_profile_says_which_plans_were_used_again() {
    let x = data(3, 0.0);
    let (_, seen) = profile(|| {
        for _ in 0..3 {
            (&x + 1.0).eval().unwrap();
        }
    });
    assert_eq!(seen.evaluations.iter().map(|e| e.reused).collect::<Vec<_>>(), [false, true, true]);
    assert!(seen.work.iter().all(|w| w.name == "add" && w.bytes == 24));
}
