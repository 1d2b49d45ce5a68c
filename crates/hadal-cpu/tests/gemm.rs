//! Matrix products against a naive f64 loop.

mod common;

use common::{Lcg, assert_close};
use hadal_core::Element;
use hadal_cpu::gemm::{Activation, Bias, Epilogue, MatView, MatmulElement, matmul};
use hadal_cpu::simd::{Level, limit_level};
use hadal_cpu::threads::set_threads;
use half::{bf16, f16};
use std::sync::Mutex;

/// Tests that change the level or the number of threads take turns.
static GLOBAL: Mutex<()> = Mutex::new(());

/// A random strided matrix batch: data, offset, row, column and batch strides.
struct Mat<T> {
    data: Vec<T>,
    offset: usize,
    rs: isize,
    cs: isize,
    bs: Vec<isize>,
}

impl<T: Element> Mat<T> {
    /// `layout`: 0 rows contiguous, 1 columns contiguous, 2 neither, 3 reversed rows, 4 all one row.
    fn random(rng: &mut Lcg, batch: &[usize], rows: usize, cols: usize, layout: usize, shared: bool) -> Self {
        let (r, c) = (rows as isize, cols as isize);
        let pad = rng.range(0, 3) as isize;
        let (rs, cs) = match layout {
            0 => (c + pad, 1),
            1 => (1, r + pad),
            2 => (2 * c + 1, 2),
            3 => (-(c + pad), 1),
            _ => (0, 1),
        };
        let one = rows.saturating_sub(1) * rs.unsigned_abs() + cols.saturating_sub(1) * cs.unsigned_abs() + 1;
        let mut bs = vec![0isize; batch.len()];
        let mut count = 1;
        for d in (0..batch.len()).rev() {
            if !shared {
                bs[d] = (count * one) as isize;
                count *= batch[d];
            }
        }
        let offset = if rs < 0 { rows.saturating_sub(1) * rs.unsigned_abs() } else { 0 };
        let data = (0..one * count).map(|_| T::from_f64(rng.unit() * 4.0)).collect();
        Mat { data, offset, rs, cs, bs }
    }
    fn view(&self) -> MatView<'_, T> {
        MatView {
            data: &self.data,
            offset: self.offset,
            row_stride: self.rs,
            col_stride: self.cs,
            batch_strides: &self.bs,
        }
    }
    fn at(&self, index: &[usize], i: usize, j: usize) -> f64 {
        let base: isize = index.iter().zip(&self.bs).map(|(&i, &s)| i as isize * s).sum();
        self.data[(self.offset as isize + base + i as isize * self.rs + j as isize * self.cs) as usize]
            .to_f64()
    }
}

fn indices(batch: &[usize]) -> Vec<Vec<usize>> {
    batch.iter().fold(vec![vec![]], |all, &n| {
        all.into_iter().flat_map(|v| (0..n).map(move |i| [v.clone(), vec![i]].concat())).collect()
    })
}

struct Case<T> {
    batch: Vec<usize>,
    m: usize,
    n: usize,
    k: usize,
    a: Mat<T>,
    b: Mat<T>,
    c: Vec<T>,
    accumulate: bool,
    relu: bool,
    bias: Vec<T>,
    /// 0 none, 1 per column, 2 per row.
    bias_kind: usize,
}

impl<T: MatmulElement> Case<T> {
    fn random(rng: &mut Lcg, m: usize, n: usize, k: usize) -> Self {
        let batch = rng.pick(&[&[][..], &[], &[3], &[2, 3], &[1]]).to_vec();
        let (la, lb) = (rng.pick(&[0, 0, 1, 1, 2, 3, 4]), rng.pick(&[0, 0, 1, 1, 2, 3, 4]));
        let (sa, sb) = (rng.range(0, 4) == 0, rng.range(0, 2) == 0);
        let a = Mat::random(rng, &batch, m, k, la, sa);
        let b = Mat::random(rng, &batch, k, n, lb, sb);
        let len = batch.iter().product::<usize>() * m * n;
        let bias_kind = rng.range(0, 2);
        Case {
            c: (0..len).map(|_| T::from_f64(rng.unit())).collect(),
            accumulate: rng.range(0, 1) == 1,
            relu: rng.range(0, 1) == 1,
            bias: (0..if bias_kind == 2 { m } else { n }).map(|_| T::from_f64(rng.unit())).collect(),
            bias_kind,
            batch,
            m,
            n,
            k,
            a,
            b,
        }
    }
    fn run(&self) -> Vec<T> {
        let mut c = self.c.clone();
        let bias = match self.bias_kind {
            1 => Bias::Columns(&self.bias[..]),
            2 => Bias::Rows(&self.bias[..]),
            _ => Bias::None,
        };
        let activation = if self.relu { Activation::Relu } else { Activation::None };
        let e = Epilogue { bias, activation, map: None };
        matmul(
            &self.batch,
            self.m,
            self.n,
            self.k,
            self.a.view(),
            self.b.view(),
            &mut c,
            self.accumulate,
            &e,
        )
        .unwrap();
        c
    }
    fn want(&self) -> Vec<f64> {
        let mut out = Vec::new();
        for index in indices(&self.batch) {
            for i in 0..self.m {
                for j in 0..self.n {
                    let mut v: f64 =
                        (0..self.k).map(|p| self.a.at(&index, i, p) * self.b.at(&index, p, j)).sum();
                    if self.accumulate {
                        v += self.c[out.len()].to_f64();
                    }
                    v += match self.bias_kind {
                        1 => self.bias[j].to_f64(),
                        2 => self.bias[i].to_f64(),
                        _ => 0.0,
                    };
                    out.push(if self.relu { v.max(0.0) } else { v });
                }
            }
        }
        out
    }
    fn name(&self) -> String {
        format!(
            "{} {:?} {}x{}x{} a {:?} b {:?} accumulate {} bias {} relu {}",
            T::DTYPE,
            self.batch,
            self.m,
            self.n,
            self.k,
            (self.a.rs, self.a.cs, &self.a.bs),
            (self.b.rs, self.b.cs, &self.b.bs),
            self.accumulate,
            self.bias_kind,
            self.relu
        )
    }
}

fn sizes(rng: &mut Lcg) -> (usize, usize, usize) {
    let size = |rng: &mut Lcg| {
        let top = rng.pick(&[4, 4, 13, 40, 100, 200]);
        rng.range(1, top)
    };
    let k = rng.pick(&[0, 1, 7, 16, 64, 100, 390, 900]);
    (size(rng), size(rng), k)
}

fn random_cases<T: MatmulElement>(seed: u64, count: usize, tol: f64) {
    let _turn = GLOBAL.lock().unwrap_or_else(|e| e.into_inner());
    let mut rng = Lcg(seed);
    for level in [Level::Portable, Level::Avx2, Level::Avx512] {
        if limit_level(level) != level {
            continue;
        }
        for case in 0..count {
            let (m, n, k) = sizes(&mut rng);
            let case_data = Case::<T>::random(&mut rng, m, n, k);
            set_threads(1);
            let one = case_data.run();
            let got: Vec<f64> = one.iter().map(|v| v.to_f64()).collect();
            assert_close(
                &got,
                &case_data.want(),
                tol,
                &format!("{level:?} case {case}: {}", case_data.name()),
            );
            for threads in [2, 4] {
                set_threads(threads);
                let again = case_data.run();
                let same = one.iter().zip(&again).all(|(a, b)| a.to_f64().to_bits() == b.to_f64().to_bits());
                assert!(same, "{threads} threads change {}", case_data.name());
            }
        }
    }
    limit_level(Level::Avx512);
}

#[test]
fn f32_agrees_with_naive_loops() {
    random_cases::<f32>(1, 400, 1e-3);
}

#[test]
fn f64_agrees_with_naive_loops() {
    random_cases::<f64>(2, 300, 1e-11);
}

#[test]
fn halves_agree_with_naive_loops() {
    random_cases::<f16>(3, 100, 2e-3);
    random_cases::<bf16>(4, 100, 1e-2);
}

#[test]
fn large_shapes_cross_every_block_border() {
    let _turn = GLOBAL.lock().unwrap_or_else(|e| e.into_inner());
    let mut rng = Lcg(9);
    // f64 values chosen as small integers make f32 exact, so that a naive f64 loop over a sample of
    // elements must agree to the bit.
    for (m, n, k, ta, tb) in [
        (700, 3000, 1000, 0, 0),
        (3001, 97, 800, 1, 1),
        (5, 9000, 600, 0, 1),
        (9000, 3, 500, 1, 0),
        (65, 65, 2000, 0, 1),
        (3, 5, 20000, 0, 0),
        (3, 5, 20000, 0, 1),
        (6, 2, 20000, 0, 1),
        (6, 2, 20000, 1, 1),
        (2, 1, 70000, 2, 2),
    ] {
        let mut a = Mat::<f32>::random(&mut rng, &[], m, k, ta, false);
        let mut b = Mat::<f32>::random(&mut rng, &[], k, n, tb, false);
        a.data.iter_mut().chain(&mut b.data).for_each(|v| *v = v.round());
        for threads in [1, 2, 3] {
            set_threads(threads);
            let mut c = vec![7.0f32; m * n];
            matmul(&[], m, n, k, a.view(), b.view(), &mut c, false, &Epilogue::NONE).unwrap();
            for _ in 0..4000 {
                let (i, j) = (rng.range(0, m - 1), rng.range(0, n - 1));
                let want: f64 = (0..k).map(|p| a.at(&[], i, p) * b.at(&[], p, j)).sum();
                assert_eq!(c[i * n + j] as f64, want, "{m}x{n}x{k} at {i}, {j}, {threads} threads");
            }
        }
    }
}

#[test]
fn fused_multiply_add_levels_agree_bit_for_bit() {
    let _turn = GLOBAL.lock().unwrap_or_else(|e| e.into_inner());
    if limit_level(Level::Avx512) != Level::Avx512 {
        return;
    }
    let mut rng = Lcg(11);
    for _ in 0..50 {
        // More than eight rows and columns: with fewer, sums run in lanes as wide as the vectors.
        let (m, n, k) = (rng.range(9, 70), rng.range(9, 70), rng.range(1, 900));
        let case = Case::<f32>::random(&mut rng, m, n, k);
        limit_level(Level::Avx512);
        let wide = case.run();
        limit_level(Level::Avx2);
        let narrow = case.run();
        limit_level(Level::Avx512);
        assert!(wide.iter().zip(&narrow).all(|(a, b)| a.to_bits() == b.to_bits()), "{}", case.name());
    }
}

#[test]
fn integers_wrap_and_bools_combine() {
    let a = [100u8, 100, 3, 1];
    let b = [2u8, 1, 1, 5];
    let mut c = [0u8; 4];
    matmul(
        &[],
        2,
        2,
        2,
        MatView::row_major(&a, 2),
        MatView::row_major(&b, 2),
        &mut c,
        false,
        &Epilogue::NONE,
    )
    .unwrap();
    assert_eq!(c, [44, 88, 7, 8]);
    let mut c = [1i32; 4];
    let (a, b) = ([1i32, -2, 3, i32::MAX], [2i32, 0, 1, 2]);
    matmul(&[], 2, 2, 2, MatView::row_major(&a, 2), MatView::row_major(&b, 2), &mut c, true, &Epilogue::NONE)
        .unwrap();
    assert_eq!(c, [1, -3, 7i32.wrapping_add(i32::MAX), i32::MAX.wrapping_mul(2).wrapping_add(1)]);
    let mut c = [0i64; 6];
    let (a, b) = ([1i64, 2, 3], [10i64, 20]);
    matmul(
        &[],
        3,
        2,
        1,
        MatView::row_major(&a, 1),
        MatView::row_major(&b, 2),
        &mut c,
        false,
        &Epilogue::NONE,
    )
    .unwrap();
    assert_eq!(c, [10, 20, 20, 40, 30, 60]);
    let mut c = [false; 4];
    let (a, b) = ([true, false, false, true], [false, true, true, true]);
    matmul(
        &[],
        2,
        2,
        2,
        MatView::row_major(&a, 2),
        MatView::row_major(&b, 2),
        &mut c,
        false,
        &Epilogue::NONE,
    )
    .unwrap();
    assert_eq!(c, [false, true, true, true]);
    random_cases::<i64>(5, 20, 0.0);
    random_cases::<i32>(6, 20, 0.0);
}

#[test]
fn nan_and_infinity_propagate() {
    let n = 33;
    for (m, k) in [(1, 20), (3, 20), (20, 20)] {
        let mut a = vec![0.0f32; m * k];
        let mut b = vec![1.0f32; k * n];
        b[5 * n + 2] = f32::NAN;
        b[7 * n + 3] = f32::INFINITY;
        let mut c = vec![0.0; m * n];
        let e = Epilogue { activation: Activation::Relu, ..Epilogue::NONE };
        matmul(&[], m, n, k, MatView::row_major(&a, k), MatView::row_major(&b, n), &mut c, false, &e)
            .unwrap();
        assert!(c[2].is_nan() && c[3].is_nan() && c[4] == 0.0, "zero times NaN and infinity are NaN");
        a.fill(1.0);
        matmul(&[], m, n, k, MatView::row_major(&a, k), MatView::row_major(&b, n), &mut c, false, &e)
            .unwrap();
        assert!(c[2].is_nan() && c[3] == f32::INFINITY && c[4] == 20.0);
    }
}

#[test]
fn map_sees_every_element_once_with_its_place() {
    let _turn = GLOBAL.lock().unwrap_or_else(|e| e.into_inner());
    set_threads(2);
    for (batch, m, n, k) in
        [(vec![], 300, 700, 500), (vec![40], 9, 17, 5), (vec![], 3, 5000, 100), (vec![3], 8, 8, 0)]
    {
        let count: usize = batch.iter().product();
        let a = vec![1.0f32; count * m * k];
        let b = vec![1.0f32; count * k * n];
        let mut c = vec![0.0f32; count * m * n];
        let strides = if batch.is_empty() { vec![] } else { vec![1isize] };
        let (sa, sb): (Vec<isize>, Vec<isize>) = (
            strides.iter().map(|s| s * (m * k) as isize).collect(),
            strides.iter().map(|s| s * (k * n) as isize).collect(),
        );
        let map = |row: usize, col: usize, v: &mut [f32]| {
            for (j, v) in v.iter_mut().enumerate() {
                *v += (row * n + col + j) as f32 / 1024.0;
            }
        };
        let e = Epilogue { map: Some(&map), ..Epilogue::NONE };
        let va = MatView { batch_strides: &sa, ..MatView::row_major(&a, k) };
        let vb = MatView { batch_strides: &sb, ..MatView::row_major(&b, n) };
        matmul(&batch, m, n, k, va, vb, &mut c, false, &e).unwrap();
        for (i, &v) in c.iter().enumerate() {
            assert_eq!(v, k as f32 + i as f32 / 1024.0);
        }
    }
}

#[test]
fn wrong_calls_are_errors() {
    let a = [0.0f32; 6];
    let v = MatView::row_major(&a, 3);
    let mut c = [0.0f32; 4];
    let e = Epilogue::NONE;
    let err = matmul(&[], 2, 2, 3, v, v, &mut c, false, &e).unwrap_err();
    assert_eq!(err, "matmul: the right operand reaches elements 0 to 7 of a buffer of 6 elements");
    let err = matmul(&[], 2, 3, 3, v, v, &mut c, false, &e).unwrap_err();
    assert_eq!(err, "matmul: the output has 4 elements for batch [] of 2x3");
    let err = matmul(&[1], 2, 2, 3, v, v.t(), &mut c, false, &e).unwrap_err();
    assert_eq!(err, "matmul: the left operand has 0 batch strides for 1 batch dimensions");
    let short = Epilogue { bias: Bias::Rows(&a[..1]), ..Epilogue::NONE };
    let err = matmul(&[], 2, 2, 3, v, v.t(), &mut c, false, &short).unwrap_err();
    assert_eq!(err, "matmul: a bias of 1 values for 2 rows");
    let backwards = MatView { row_stride: -3, ..v };
    let err = matmul(&[], 2, 2, 3, backwards, v.t(), &mut c, false, &e).unwrap_err();
    assert_eq!(err, "matmul: the left operand reaches elements -3 to 2 of a buffer of 6 elements");
    matmul(
        &[0],
        2,
        2,
        3,
        MatView { batch_strides: &[6], ..v },
        MatView { batch_strides: &[6], ..v },
        &mut [],
        false,
        &e,
    )
    .unwrap();
}
