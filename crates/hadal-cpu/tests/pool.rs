//! Pooling against naive loops.

mod common;

use common::{Lcg, assert_close};
use hadal_core::ops::{PoolGeometry, Window};
use hadal_cpu::pool::{PoolElement, check, max_pool, max_pool_indices, sum_pool, sum_pool_grad};
use hadal_cpu::simd::{Level, limit_level};
use hadal_cpu::threads::set_threads;
use half::{bf16, f16};
use std::sync::Mutex;

/// Tests that change the level or the number of threads take turns.
static GLOBAL: Mutex<()> = Mutex::new(());

fn geometry(rng: &mut Lcg) -> PoolGeometry {
    let spatial = rng.pick(&[1, 2, 2, 3]);
    if rng.range(0, 9) == 0 {
        // Far apart: nothing may be proportional to these sizes.
        let far = 1 << 30;
        let apart =
            Window { input: 5, kernel: 2, stride: 1, pad_lo: 0, pad_hi: far, dilation: far, output: 5 };
        let leap =
            Window { input: 3, kernel: 2, stride: far, pad_lo: 0, pad_hi: far, dilation: 1, output: 1 };
        let near = Window { input: 6, kernel: 2, stride: 2, output: 3, ..Window::UNIT };
        let windows = [near, rng.pick(&[apart, leap, near]), rng.pick(&[apart, leap])];
        return PoolGeometry { planes: 2, windows, spatial: 3 };
    }
    loop {
        let mut windows = [Window::UNIT; 3];
        for w in &mut windows[3 - spatial..] {
            *w = Window {
                input: rng.range(1, [80, 20, 8][spatial - 1]),
                kernel: rng.range(1, 4),
                stride: rng.range(1, 4),
                pad_lo: rng.range(0, 2),
                pad_hi: rng.range(0, 2),
                dilation: rng.pick(&[1, 1, 2]),
                output: 1,
            };
            let room = (w.input + w.pad_lo + w.pad_hi) as isize - w.reach() as isize;
            // Rounded up in some cases.
            let extra = if rng.range(0, 2) == 0 { w.stride as isize - 1 } else { 0 };
            w.output = ((room.max(0) + extra) as usize) / w.stride + 1;
        }
        let g = PoolGeometry { planes: rng.range(1, 7), windows, spatial };
        if check(&g).is_ok() {
            return g;
        }
    }
}

/// Calls `f(input index in the plane, output index in the plane)` in the order of windows and taps.
fn each(g: &PoolGeometry, mut f: impl FnMut(usize, usize)) {
    let [wz, wy, wx] = &g.windows;
    let at = |w: &Window, o: usize, k: usize| {
        let i = (o * w.stride + k * w.dilation) as isize - w.pad_lo as isize;
        (i >= 0 && (i as usize) < w.input).then_some(i as usize)
    };
    for oz in 0..wz.output {
        for oy in 0..wy.output {
            for ox in 0..wx.output {
                for kz in 0..wz.kernel {
                    for ky in 0..wy.kernel {
                        for kx in 0..wx.kernel {
                            if let (Some(z), Some(y), Some(x)) =
                                (at(wz, oz, kz), at(wy, oy, ky), at(wx, ox, kx))
                            {
                                f((z * wy.input + y) * wx.input + x, (oz * wy.output + oy) * wx.output + ox);
                            }
                        }
                    }
                }
            }
        }
    }
}

fn volume(g: &PoolGeometry, f: fn(&Window) -> usize) -> usize {
    g.windows.iter().map(f).product()
}

fn random_cases<T: PoolElement>(seed: u64, count: usize, tol: f64) {
    let _turn = GLOBAL.lock().unwrap_or_else(|e| e.into_inner());
    let mut rng = Lcg(seed);
    for level in [Level::Portable, Level::Avx2, Level::Avx512] {
        if limit_level(level) != level {
            continue;
        }
        for case in 0..count {
            let g = geometry(&mut rng);
            let (nx, ny) = (volume(&g, |w| w.input), volume(&g, |w| w.output));
            // Few different values, so that there are ties; now and then NaN and minus infinity.
            let x: Vec<T> = (0..g.planes * nx)
                .map(|_| {
                    T::from_f64(match rng.range(0, 40) {
                        0 => f64::NAN,
                        1..4 => f64::NEG_INFINITY,
                        v => (v % 5) as f64 - 2.0,
                    })
                })
                .collect();
            let clean: Vec<T> = rng.vec(g.planes * nx).into_iter().map(T::from_f64).collect();
            let dy: Vec<T> = rng.vec(g.planes * ny).into_iter().map(T::from_f64).collect();
            let (mut best, mut sums, mut grads) =
                (vec![None; g.planes * ny], vec![0.0; g.planes * ny], vec![0.0; g.planes * nx]);
            for p in 0..g.planes {
                each(&g, |i, o| {
                    let v = x[p * nx + i].to_f64();
                    let slot: &mut Option<(f64, i64)> = &mut best[p * ny + o];
                    if slot.is_none_or(|(b, _)| v > b || v.is_nan()) {
                        *slot = Some((v, i as i64));
                    }
                    sums[p * ny + o] += clean[p * nx + i].to_f64();
                    grads[p * nx + i] += dy[p * ny + o].to_f64();
                });
            }
            let best: Vec<i64> = best.into_iter().map(|b| b.unwrap().1).collect();
            let mut first: Option<(Vec<T>, Vec<T>)> = None;
            for threads in [1, 2, 4] {
                set_threads(threads);
                let what = format!("{level:?} case {case} {threads} threads {g:?}");
                let (mut index, mut y, mut dx) =
                    (vec![-1; best.len()], vec![dy[0]; dy.len()], vec![dy[0]; x.len()]);
                max_pool_indices(&x, &mut index, &g).unwrap();
                assert_eq!(index, best, "{what}");
                max_pool(&x, &mut y, &g).unwrap();
                for (i, (y, &at)) in y.iter().zip(&index).enumerate() {
                    let want = x[i / ny * nx + at as usize].to_f64();
                    let y = y.to_f64();
                    assert!(y.to_bits() == want.to_bits() || (y.is_nan() && want.is_nan()), "{what} {i}");
                }
                sum_pool(&clean, &mut y, &g).unwrap();
                sum_pool_grad(&dy, &mut dx, &g).unwrap();
                let f = |v: &[T]| v.iter().map(|v| v.to_f64()).collect::<Vec<f64>>();
                assert_close(&f(&y), &sums, tol, &what);
                assert_close(&f(&dx), &grads, tol, &what);
                match &first {
                    None => first = Some((y, dx)),
                    Some(f) => assert!(f.0 == y && f.1 == dx, "{what}"),
                }
            }
        }
    }
    limit_level(Level::Avx512);
}

#[test]
fn f32_agrees_with_naive_loops() {
    random_cases::<f32>(41, 150, 1e-5);
}

#[test]
fn f64_agrees_with_naive_loops() {
    random_cases::<f64>(42, 150, 1e-13);
}

#[test]
fn halves_agree_with_naive_loops() {
    random_cases::<f16>(43, 30, 1e-3);
    random_cases::<bf16>(44, 30, 1e-2);
}

#[test]
fn many_planes_and_large_planes() {
    let _turn = GLOBAL.lock().unwrap_or_else(|e| e.into_inner());
    let side = |n: usize| Window { input: n, kernel: 2, stride: 2, output: n / 2, ..Window::UNIT };
    for (planes, n) in [(1, 1000), (700, 28)] {
        let g = PoolGeometry { planes, windows: [Window::UNIT, side(n), side(n)], spatial: 2 };
        let x: Vec<f32> = (0..planes * n * n).map(|i| ((i * 7919) % 1009) as f32).collect();
        for threads in [1, 3] {
            set_threads(threads);
            let (mut index, mut y) = (vec![0; x.len() / 4], vec![0.0; x.len() / 4]);
            max_pool_indices(&x, &mut index, &g).unwrap();
            sum_pool(&x, &mut y, &g).unwrap();
            for p in 0..planes {
                for r in 0..n / 2 {
                    for c in 0..n / 2 {
                        let at = |k: usize| (2 * r + k / 2) * n + 2 * c + k % 2;
                        let v = |k: usize| x[p * n * n + at(k)];
                        let best = (0..4).rev().max_by(|&a, &b| v(a).total_cmp(&v(b))).unwrap();
                        let o = (p * n / 2 + r) * n / 2 + c;
                        assert_eq!(index[o], at(best) as i64);
                        assert_eq!(y[o], v(0) + v(1) + v(2) + v(3));
                    }
                }
            }
        }
    }
}

#[test]
fn wrong_calls_are_errors() {
    let row = Window { input: 4, kernel: 2, stride: 2, output: 2, ..Window::UNIT };
    let g = |row: Window| PoolGeometry { planes: 1, windows: [Window::UNIT, Window::UNIT, row], spatial: 1 };
    assert_eq!(check(&g(row)), Ok(()));
    let err = check(&g(Window { output: 3, ..row })).unwrap_err();
    assert!(err.starts_with("pool: window 2 reads nothing but padding"), "{err}");
    let err = check(&g(Window { pad_lo: 2, ..row })).unwrap_err();
    assert!(err.starts_with("pool: window 0 reads nothing but padding"), "{err}");
    let err = check(&g(Window { stride: 0, ..row })).unwrap_err();
    assert!(err.starts_with("pool: kernel, stride and dilation"), "{err}");
    let err = sum_pool(&[0.0f32; 3], &mut [0.0; 2], &g(row)).unwrap_err();
    assert_eq!(err, "pool: input and output have (3, 2) elements instead of (Some(4), Some(2))");
    // Nothing in, nothing out.
    let none = PoolGeometry { planes: 0, ..g(row) };
    max_pool_indices::<f32>(&[], &mut [], &none).unwrap();
    let mut dx = [1.0f32; 4];
    sum_pool_grad(&[], &mut dx, &g(Window { output: 0, ..row })).unwrap();
    assert_eq!(dx, [0.0; 4]);
}
