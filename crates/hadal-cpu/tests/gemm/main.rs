//! Matrix products against a naive f64 loop.

#[path = "../common/mod.rs"]
mod common;
mod edges;

use common::{Lcg, assert_close};
use hadal_core::{DType, Element};
use hadal_cpu::gemm::{
    Activation, Bias, Epilogue, MatView, MatmulElement, PackElement, PackedMatrix, matmul, matmul_packed,
};
use hadal_cpu::simd::{Level, allow_bf16_pairs, limit_level};
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
    random_cases_with::<T>(true, seed, count, tol);
}

/// With or without the instruction for pairs of bf16.
fn random_cases_with<T: MatmulElement>(pairs: bool, seed: u64, count: usize, tol: f64) {
    let _turn = GLOBAL.lock().unwrap_or_else(|e| e.into_inner());
    allow_bf16_pairs(pairs);
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
    allow_bf16_pairs(true);
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

/// The same values under other strides.
fn laid_out<T: Element>(rng: &mut Lcg, values: &[T], rows: usize, cols: usize, layout: usize) -> Mat<T> {
    let mut mat = Mat::random(rng, &[], rows, cols, layout, false);
    for i in 0..rows {
        for j in 0..cols {
            let at = mat.offset as isize + i as isize * mat.rs + j as isize * mat.cs;
            mat.data[at as usize] = values[i * cols + j];
        }
    }
    mat
}

/// An element's bits depend on its row, its column and k: not on strides, on the size or place of the
/// matrices around them, on threads, on packing, or on whether B was packed before. Dot products of few rows or
/// columns, which sum in lanes, are left out.
fn one_order_of_sums<T: PackElement>(seed: u64, pairs: bool) {
    let _turn = GLOBAL.lock().unwrap_or_else(|e| e.into_inner());
    allow_bf16_pairs(pairs);
    let mut rng = Lcg(seed);
    for level in [Level::Portable, Level::Avx2, Level::Avx512] {
        if limit_level(level) != level {
            continue;
        }
        for _ in 0..20 {
            let size = |rng: &mut Lcg| {
                let top = rng.pick(&[4, 9, 20, 70, 300]);
                rng.range(1, top)
            };
            let (m, n) = (size(&mut rng), size(&mut rng));
            let k = rng.pick(&[1, 5, 33, 64, 200, 390, 801]);
            let dots = |m: usize, n: usize, along_a: bool, along_b: bool| {
                let same = T::DTYPE != DType::F16;
                same && m.max(n).max(k) > 64 && ((m <= 8 && along_b) || (n <= 8 && along_a))
            };
            let a: Vec<T> = (0..m * k).map(|_| T::from_f64(rng.unit())).collect();
            let b: Vec<T> = (0..k * n).map(|_| T::from_f64(rng.unit())).collect();
            let start: Vec<T> = (0..m * n).map(|_| T::from_f64(rng.unit())).collect();
            let accumulate = rng.range(0, 3) == 0;
            let bits = |c: &[T]| c.iter().map(|v| v.to_f64().to_bits()).collect::<Vec<_>>();
            set_threads(1);
            let mut want = start.clone();
            let (va, vb) = (MatView::row_major(&a, k), MatView::row_major(&b, n));
            matmul(&[], m, n, k, va, vb, &mut want, accumulate, &Epilogue::NONE).unwrap();
            let want = if dots(m, n, true, n == 1) {
                let packed = PackedMatrix::new(k, n, vb).unwrap();
                let mut c = start.clone();
                matmul_packed(&[], m, va, &packed, &mut c, accumulate, &Epilogue::NONE).unwrap();
                bits(&c)
            } else {
                bits(&want)
            };
            let what = format!("{} {level:?} {m}x{n}x{k} accumulate {accumulate}", T::DTYPE);
            for threads in [1, 3] {
                set_threads(threads);
                for (la, lb) in [(0, 1), (1, 0), (1, 1), (2, 2), (3, 1)] {
                    let (a, b) = (laid_out(&mut rng, &a, m, k, la), laid_out(&mut rng, &b, k, n, lb));
                    let mut c = start.clone();
                    matmul(&[], m, n, k, a.view(), b.view(), &mut c, accumulate, &Epilogue::NONE).unwrap();
                    if !dots(m, n, a.cs == 1, b.rs == 1) {
                        assert_eq!(bits(&c), want, "{what}: layouts {la} and {lb}");
                    }
                    let packed = PackedMatrix::new(k, n, b.view()).unwrap();
                    let mut c = start.clone();
                    matmul_packed(&[], m, a.view(), &packed, &mut c, accumulate, &Epilogue::NONE).unwrap();
                    assert_eq!(bits(&c), want, "{what}: packed from layout {lb}");
                }
            }
            let (i, j) = (rng.range(0, m - 1), rng.range(0, n - 1));
            let (rows, cols) = (rng.range(1, m - i), rng.range(1, n - j));
            let (va, vb) = (MatView { offset: i * k, ..va }, MatView { offset: j, ..vb });
            let part = |c: &[T]| -> Vec<T> {
                (i..i + rows).flat_map(|i| c[i * n + j..][..cols].iter().copied()).collect()
            };
            let mut c = part(&start);
            matmul(&[], rows, cols, k, va, vb, &mut c, accumulate, &Epilogue::NONE).unwrap();
            let want: Vec<u64> =
                (i..i + rows).flat_map(|i| want[i * n + j..][..cols].iter().copied()).collect();
            if dots(rows, cols, true, n == 1) {
                continue;
            }
            assert_eq!(bits(&c), want, "{what}: rows {i}+{rows}, columns {j}+{cols}");
        }
    }
    limit_level(Level::Avx512);
    allow_bf16_pairs(true);
}

/// bf16 in pairs and by conversion, where the machine knows pairs.
#[test]
fn bf16_is_multiplied_both_ways() {
    for pairs in [false, true] {
        random_cases_with::<bf16>(pairs, 41, 100, 1e-2);
        one_order_of_sums::<bf16>(42, pairs);
    }
}

/// The error bound that the module states, for values of mixed sizes.
fn within_the_bound<T: MatmulElement>(seed: u64, u_sum: f64, u_result: f64, least: f64) {
    let _turn = GLOBAL.lock().unwrap_or_else(|e| e.into_inner());
    let mut rng = Lcg(seed);
    for level in [Level::Portable, Level::Avx2, Level::Avx512] {
        if limit_level(level) != level {
            continue;
        }
        for _ in 0..6 {
            let (m, n) = (rng.range(1, 30), rng.range(1, 60));
            let k = rng.pick(&[1, 2, 63, 200, 1000, 3001]);
            let mut values = |len: usize| -> Vec<T> {
                (0..len).map(|_| T::from_f64(rng.unit() * (2f64).powi(rng.range(0, 8) as i32 - 4))).collect()
            };
            let (a, b) = (values(m * k), values(k * n));
            let mut c = vec![T::from_f64(0.0); m * n];
            let (va, vb) = (MatView::row_major(&a, k), MatView::row_major(&b, n));
            matmul(&[], m, n, k, va, vb, &mut c, false, &Epilogue::NONE).unwrap();
            for (at, got) in c.iter().enumerate() {
                let (i, j) = (at / n, at % n);
                let terms = (0..k).map(|p| a[i * k + p].to_f64() * b[p * n + j].to_f64());
                let (sum, size) = terms.fold((0.0, 0.0), |(s, z): (f64, f64), t| (s + t, z + t.abs()));
                let bound = (2 * k + 2) as f64 * u_sum * size + (u_result * sum.abs()).max(least);
                let error = (got.to_f64() - sum).abs();
                assert!(error <= bound, "{} {level:?} {m}x{n}x{k}: {error:e} above {bound:e}", T::DTYPE);
            }
        }
    }
    limit_level(Level::Avx512);
}

#[test]
fn errors_stay_within_the_stated_bounds() {
    within_the_bound::<f32>(51, 2f64.powi(-24), 0.0, 0.0);
    within_the_bound::<f16>(52, 2f64.powi(-24), 2f64.powi(-11) * 1.001, 2f64.powi(-25));
    within_the_bound::<bf16>(53, 2f64.powi(-24), 2f64.powi(-8) * 1.001, 0.0);
}

#[test]
fn sums_have_one_order() {
    one_order_of_sums::<f32>(21, true);
    one_order_of_sums::<f64>(22, true);
    one_order_of_sums::<f16>(23, true);
}

#[test]
fn packed_products_take_batches_and_epilogues() {
    let mut rng = Lcg(31);
    let (m, k, n) = (5, 70, 45);
    let a = rng.vec(6 * m * k).iter().map(|&v| v as f32).collect::<Vec<_>>();
    let w = rng.vec(k * n).iter().map(|&v| v as f32).collect::<Vec<_>>();
    let bias = rng.vec(n).iter().map(|&v| v as f32).collect::<Vec<_>>();
    let packed = PackedMatrix::new(k, n, MatView::row_major(&w, n)).unwrap();
    assert_eq!((packed.k(), packed.n()), (k, n));
    assert!(packed.bytes() >= k * n * 4);
    let map = |row: usize, col: usize, v: &mut [f32]| {
        for (j, v) in v.iter_mut().enumerate() {
            *v += (row * n + col + j) as f32;
        }
    };
    let e = Epilogue { bias: Bias::Columns(&bias), activation: Activation::Relu, map: Some(&map) };
    // Contiguous, and with the batch turned round.
    for (offset, strides) in [
        (0, [(3 * m * k) as isize, (m * k) as isize]),
        (5 * m * k, [-((3 * m * k) as isize), -((m * k) as isize)]),
    ] {
        let va = MatView { offset, batch_strides: &strides, ..MatView::row_major(&a, k) };
        let vb = MatView { batch_strides: &[0, 0], ..MatView::row_major(&w, n) };
        let (mut got, mut want) = (vec![0.0; 6 * m * n], vec![0.0; 6 * m * n]);
        matmul_packed(&[2, 3], m, va, &packed, &mut got, false, &e).unwrap();
        matmul(&[2, 3], m, n, k, va, vb, &mut want, false, &e).unwrap();
        assert_eq!(got, want);
    }
    let err = PackedMatrix::new(k, n, MatView::row_major(&w[1..], n)).unwrap_err();
    assert!(err.contains("the right operand reaches elements 0 to 3149"), "{err}");
    let err =
        matmul_packed(&[], m, MatView::row_major(&a, k), &packed, &mut [0.0; 3], false, &Epilogue::NONE);
    assert_eq!(err.unwrap_err(), "matmul: the output has 3 elements for batch [] of 5x45");
    let empty = PackedMatrix::<f32>::new(0, n, MatView::row_major(&[], n)).unwrap();
    let mut c = [1.0; 45];
    let e = Epilogue { bias: Bias::Columns(&bias), ..Epilogue::NONE };
    matmul_packed(&[], 1, MatView::row_major(&[], 0), &empty, &mut c, false, &e).unwrap();
    assert_eq!(c[..], bias[..]);
}
