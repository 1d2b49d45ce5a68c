//! What is not arithmetic of floats: integers, bools, NaN, epilogues by place, wrong calls.

use super::*;

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
