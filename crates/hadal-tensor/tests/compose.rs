//! Compositions: edges, kinks, halves, views and errors. Values over whole ranges are compared with
//! PyTorch's elsewhere.

use hadal_tensor::{DType, ErrorKind, Key, Tensor, grad};
use std::f64::consts::LN_2;

const INF: f32 = f32::INFINITY;
const NAN: f32 = f32::NAN;

fn vec(t: &Tensor) -> Vec<f32> {
    t.to_vec().unwrap()
}
fn kind(t: &Tensor) -> ErrorKind {
    t.eval().unwrap_err().kind()
}
/// The function's value and slope at some points.
fn slope(x: &[f32], f: impl Fn(&Tensor) -> Tensor) -> (Vec<f32>, Vec<f32>) {
    let x = Tensor::from_slice(x);
    let g = grad(&f(&x).sum(..), &[&x]).unwrap();
    (vec(&f(&x)), vec(&g[0]))
}
fn near(got: &[f32], want: &[f64]) {
    assert_eq!(got.len(), want.len());
    for (g, w) in got.iter().zip(want) {
        assert!((*g as f64 - w).abs() <= 2e-6 * w.abs().max(1e-3), "{got:?} instead of {want:?}");
    }
}
fn random(shape: &[usize], dtype: DType, n: u64) -> Tensor {
    Tensor::randn(shape, dtype, Key::new(3).split(n))
}
fn same(a: &Tensor, b: &Tensor, tolerance: f64) {
    assert_eq!((a.dims(), a.dtype()), (b.dims(), b.dtype()));
    assert!(a.allclose(b, tolerance, tolerance, true).unwrap(), "{a}\ninstead of\n{b}");
}

#[test]
fn smooth_activations() {
    // From 30-digit arithmetic.
    let at = |f: &dyn Fn(&Tensor) -> Tensor, x: f32| vec(&f(&Tensor::from_slice(&[x])));
    near(&at(&|x| x.gelu(), 1.0), &[0.84134474606854]);
    near(&at(&|x| x.gelu(), -2.0), &[-0.04550026389635]);
    near(&at(&|x| x.gelu_tanh(), 1.0), &[0.84119199060827]);
    near(&at(&|x| x.silu(), 1.0), &[0.73105857863000]);
    near(&at(&|x| x.mish(), 1.0), &[0.86509838826731]);
    near(&at(&|x| x.logsigmoid(), 1.0), &[-0.31326168751822]);
    near(&at(&|x| x.logsigmoid(), -1000.0), &[-1000.0]);
    near(&at(&|x| x.elu(0.5), -1.0), &[-0.31606027941427]);
    near(&at(&|x| x.softplus_with(2.0, 20.0), 0.5), &[0.65663084375911]);
    near(&at(&|x| x.softplus_with(2.0, 1.5), 1.0), &[1.0]);
    near(&at(&|x| x.tanhshrink(), 1.0), &[0.23840584404423]);
    near(&at(&|x| x.softsign(), -3.0), &[-0.75]);
}

#[test]
fn slopes_at_kinks() {
    assert_eq!(slope(&[0.0, 3.0, 6.0], |x| x.relu6()).1, [0.0, 1.0, 0.0]);
    assert_eq!(slope(&[-1.0, 0.5, 2.0], |x| x.hardtanh(-1.0, 2.0)).1, [0.0, 1.0, 0.0]);
    assert_eq!(slope(&[0.0, 1.0], |x| x.leaky_relu(0.25)).1, [0.25, 1.0]);
    assert_eq!(slope(&[0.0, 1.0], |x| x.elu(0.5)).1, [0.5, 1.0]);
    assert_eq!(slope(&[0.0], |x| x.celu(0.5)).1, [1.0]);
    assert_eq!(slope(&[-1.0, 1.0], |x| x.softshrink(1.0)), (vec![0.0, 0.0], vec![0.0, 0.0]));
    assert_eq!(slope(&[-1.0, 1.0, 1.5], |x| x.hardshrink(1.0)), (vec![0.0, 0.0, 1.5], vec![0.0, 0.0, 1.0]));
    assert_eq!(slope(&[-3.0, 3.0], |x| x.hardsigmoid()), (vec![0.0, 1.0], vec![0.0, 0.0]));
    assert_eq!(slope(&[-3.0, 3.0], |x| x.hardswish()), (vec![0.0, 3.0], vec![0.0, 1.0]));
    assert_eq!(slope(&[0.5, 1.0], |x| x.threshold(0.5, 9.0)), (vec![9.0, 1.0], vec![0.0, 1.0]));
    assert_eq!(slope(&[0.0], |x| x.softsign()).1, [1.0]);
    // A number exactly at a bound counts as cut off, as in PyTorch 2.15.
    assert_eq!(slope(&[-1.0, 0.0, 1.0], |x| x.clamp(-1.0, 1.0)).1, [0.0, 1.0, 0.0]);
}

/// The side of a branch that is not taken must not turn the gradient into NaN.
#[test]
fn far_values_have_finite_slopes() {
    let far = [-1e30, -800.0, 800.0, 1e30];
    for f in [
        |x: &Tensor| x.elu(1.0),
        |x: &Tensor| x.selu(),
        |x: &Tensor| x.celu(0.1),
        |x: &Tensor| x.softplus_with(2.0, 20.0),
        |x: &Tensor| x.logsigmoid(),
        |x: &Tensor| x.silu(),
        |x: &Tensor| x.gelu(),
        |x: &Tensor| x.logaddexp(1.0),
        |x: &Tensor| x.softmax(0),
        |x: &Tensor| x.prelu(&Tensor::new([0.5f32])),
    ] {
        let (value, slope) = slope(&far, f);
        assert!(value.iter().chain(&slope).all(|v| v.is_finite()), "{value:?} {slope:?}");
    }
}

#[test]
fn nan_stays_nan() {
    for f in [
        |x: &Tensor| x.relu6(),
        |x: &Tensor| x.clamp(0.0, 1.0),
        |x: &Tensor| x.elu(1.0),
        |x: &Tensor| x.leaky_relu(0.1),
        |x: &Tensor| x.softshrink(0.5),
        |x: &Tensor| x.hardshrink(0.5),
        |x: &Tensor| x.threshold(0.0, 1.0),
        |x: &Tensor| x.hardswish(),
        |x: &Tensor| x.norm(2.0, ..),
        |x: &Tensor| x.softmax(0),
    ] {
        assert!(vec(&f(&Tensor::new([NAN])).reshape([-1]))[0].is_nan());
    }
}

#[test]
fn prelu_weights() {
    let x = Tensor::new([[[-1.0f32, 2.0], [-3.0, -4.0]]]);
    assert_eq!(vec(&x.prelu(&Tensor::new([0.5f32]))), [-0.5, 2.0, -1.5, -2.0]);
    let w = Tensor::new([0.5f32, 10.0]);
    assert_eq!(vec(&x.prelu(&w)), [-0.5, 2.0, -30.0, -40.0]);
    let g = grad(&x.prelu(&w).sum(..), &[&w, &x]).unwrap();
    assert_eq!(vec(&g[0]), [-1.0, -7.0]);
    // An infinite input above 0 does not reach the weight's gradient.
    let x = Tensor::new([INF, -1.0]);
    let w = Tensor::new(0.5f32);
    assert_eq!(vec(&grad(&x.prelu(&w).sum(..), &[&w]).unwrap()[0]), [-1.0]);
    assert_eq!(kind(&Tensor::zeros([2, 3], DType::F32).prelu(&Tensor::new([1.0f32; 2]))), ErrorKind::Shape);
}

#[test]
fn glu() {
    let x = Tensor::new([[1.0f32, 2.0, 0.0, 100.0]]);
    assert_eq!(vec(&x.glu(-1)), [0.5, 2.0]);
    assert_eq!(vec(&x.t().glu(0)), [0.5, 2.0]);
    assert_eq!(kind(&x.glu(0)), ErrorKind::Shape);
    assert_eq!(kind(&x.glu(2)), ErrorKind::Index);
}

#[test]
fn integers_count_as_floats() {
    let x = Tensor::new([-1i64, 7]);
    assert_eq!(x.silu().dtype(), DType::F32);
    assert_eq!(x.softmax(0).dtype(), DType::F32);
    // But clamping by integers leaves them what they are.
    assert_eq!(x.clamp(0, 5).to_vec::<i64>().unwrap(), [0, 5]);
    assert_eq!(x.relu6().to_vec::<i64>().unwrap(), [0, 6]);
    assert_eq!(x.clamp(0.5, 5.5).to_vec::<f32>().unwrap(), [0.5, 5.5]);
}

#[test]
fn clamp_by_tensors() {
    let x = Tensor::new([[-2.0f32, 0.0, 2.0], [5.0, NAN, -5.0]]);
    let (low, high) = (Tensor::new([-1.0f32, 1.0, 0.0]), Tensor::new([[1.0f32], [3.0]]));
    let y = vec(&x.clamp(&low, &high));
    assert_eq!(y[..4], [-1.0, 1.0, 1.0, 3.0]);
    assert!(y[4].is_nan() && y[5] == 0.0);
    // Where the bounds are crossed, the upper one.
    assert_eq!(vec(&Tensor::new([0.0f32]).clamp(2.0, 1.0)), [1.0]);
    let g = grad(&x.clamp(&low, &high).nan_to_num(0.0, None, None).sum(..), &[&low, &high]).unwrap();
    assert_eq!((vec(&g[0]), vec(&g[1])), (vec![1.0, 0.0, 1.0], vec![2.0, 1.0]));
    assert_eq!(kind(&x.clamp_min(Tensor::new([0.0f32; 2]))), ErrorKind::Shape);
}

#[test]
fn softmax_rows() {
    let x = Tensor::new([[1000.0f32, 1000.0], [-1000.0, 0.0]]);
    assert_eq!(vec(&x.softmax(-1)), [0.5, 0.5, 0.0, 1.0]);
    assert_eq!(vec(&x.softmin(1))[2..], [1.0, 0.0]);
    near(&vec(&x.log_softmax(1)), &[-LN_2, -LN_2, -1000.0, 0.0]);
    assert_eq!(vec(&Tensor::new([-INF, 0.0]).softmax(0)), [0.0, 1.0]);
    assert!(vec(&Tensor::new([-INF, -INF]).softmax(0)).iter().all(|v| v.is_nan()));
    assert_eq!(vec(&Tensor::new(5.0f32).softmax(0)), [1.0]);
    assert_eq!(vec(&Tensor::new(5.0f32).log_softmax(-1)), [0.0]);
    assert_eq!(Tensor::zeros([0, 3], DType::F32).softmax(0).dims(), [0, 3]);
    assert_eq!(kind(&x.softmax(2)), ErrorKind::Index);
    let v = random(&[4, 5], DType::F64, 0).t();
    same(&v.softmax(0).sum(0), &Tensor::ones([4], DType::F64), 1e-14);
    same(&v.softmax(0), &v.contiguous().log_softmax(0).exp(), 1e-14);
}

/// Halves compute in f32 and round once.
#[test]
fn halves() {
    for dtype in [DType::F16, DType::BF16] {
        let x = random(&[8, 700], DType::F32, 1).cast(dtype);
        let wide = x.cast(DType::F32);
        same(&x.softmax(1), &wide.softmax(1).cast(dtype), 0.0);
        same(&x.log_softmax(1), &wide.log_softmax(1).cast(dtype), 0.0);
        same(&x.gelu(), &wide.gelu().cast(dtype), 0.0);
        same(&x.mish(), &wide.mish().cast(dtype), 0.0);
        let (w, b) = (random(&[700], DType::F32, 2).cast(dtype), random(&[700], DType::F32, 3).cast(dtype));
        let (w32, b32) = (w.cast(DType::F32), b.cast(DType::F32));
        same(
            &x.layer_norm(&[700], Some(&w), Some(&b), 1e-5),
            &wide.layer_norm(&[700], Some(&w32), Some(&b32), 1e-5).cast(dtype),
            0.0,
        );
        let g = grad(&x.softmax(1).square().sum(..), &[&x]).unwrap();
        assert_eq!(g[0].dtype(), dtype);
    }
    // Squares that no half holds.
    let x = Tensor::new([300.0f32, -400.0]).cast(DType::F16);
    assert_eq!(x.norm(2.0, ..).cast(DType::F32).item::<f32>().unwrap(), 500.0);
    assert_eq!(vec(&x.layer_norm(&[2], None, None, 0.0).cast(DType::F32)), [1.0, -1.0]);
    near(&vec(&x.rms_norm(&[2], None, 0.0).cast(DType::F32)), &[0.8486328125, -1.1318359375]);
}

#[test]
fn norms_of_vectors() {
    let x = Tensor::new([[3.0f32, -4.0], [0.0, 0.0]]);
    let of = |p: f64| vec(&x.norm(p, 1));
    assert_eq!(of(1.0), [7.0, 0.0]);
    assert_eq!(of(2.0), [5.0, 0.0]);
    assert_eq!(of(0.0), [2.0, 0.0]);
    assert_eq!(of(f64::INFINITY), [4.0, 0.0]);
    assert_eq!(of(f64::NEG_INFINITY), [3.0, 0.0]);
    near(&of(3.0), &[4.497941445275415, 0.0]);
    assert_eq!(x.norm_keepdim(2.0, [0, 1]).dims(), [1, 1]);
    assert_eq!(vec(&Tensor::new(-2.0f32).norm(2.0, ..)), [2.0]);
    assert_eq!(vec(&Tensor::zeros([0], DType::F32).norm(2.0, 0)), [0.0]);
    assert_eq!(kind(&Tensor::zeros([0], DType::F32).norm(f64::INFINITY, 0)), ErrorKind::Shape);
    assert_eq!(kind(&x.norm(f64::NAN, 0)), ErrorKind::Value);
    for p in [0.5, 1.0, 2.0, 3.0] {
        let g = grad(&x.norm(p, 1).sum(..), &[&x]).unwrap();
        assert_eq!(vec(&g[0])[2..], [0.0, 0.0], "p = {p}");
    }
}

#[test]
fn normalize_and_cosine_similarity() {
    let x = Tensor::new([[3.0f32, -4.0], [0.0, 0.0]]);
    near(&vec(&x.normalize(2.0, 1, 1e-12)), &[0.6, -0.8, 0.0, 0.0]);
    near(&vec(&x.normalize(1.0, .., 1e-12)), &[3.0 / 7.0, -4.0 / 7.0, 0.0, 0.0]);
    let y = Tensor::new([4.0f32, 3.0]);
    near(&vec(&x.cosine_similarity(&y, 1, 1e-8)), &[0.0, 0.0]);
    near(&vec(&x.cosine_similarity(&x, -1, 1e-8)), &[1.0, 0.0]);
    assert_eq!(kind(&x.cosine_similarity(&y, 2, 1e-8)), ErrorKind::Index);
    assert_eq!(kind(&x.cosine_similarity(&Tensor::new([1.0f32; 3]), 1, 1e-8)), ErrorKind::Shape);
}

#[test]
fn normalisations() {
    let x = random(&[4, 6, 5], DType::F64, 5);
    let y = x.layer_norm(&[6, 5], None, None, 0.0);
    same(&y.mean([1, 2]), &Tensor::zeros([4], DType::F64), 1e-14);
    same(&y.var([1, 2], 0), &Tensor::ones([4], DType::F64), 1e-13);
    let r = x.rms_norm(&[5], None, 0.0);
    same(&r.square().mean(2), &Tensor::ones([4, 6], DType::F64), 1e-13);
    // One group is layer norm of everything but the batch; a group for each channel instance norm.
    same(&x.group_norm(1, None, None, 1e-5), &x.layer_norm(&[6, 5], None, None, 1e-5), 1e-13);
    same(&x.instance_norm(None, None, 1e-5), &x.layer_norm(&[5], None, None, 1e-5), 1e-13);
    let g = x.group_norm(3, None, None, 0.0).reshape([4, 3, 10]);
    same(&g.var(2, 0), &Tensor::ones([4, 3], DType::F64), 1e-13);
    let (w, b) = (Tensor::arange(0.0, 6.0, 1.0).cast(DType::F64), Tensor::ones([6], DType::F64));
    let z = x.group_norm(2, Some(&w), Some(&b), 1e-5);
    same(&z.select(1, 0), &Tensor::ones([4, 5], DType::F64), 0.0);
    // Views as well as copies.
    let v = x.permute([2, 0, 1]);
    same(&v.layer_norm(&[6], None, None, 1e-5), &v.contiguous().layer_norm(&[6], None, None, 1e-5), 0.0);
    assert_eq!(Tensor::zeros([0, 4], DType::F32).layer_norm(&[4], None, None, 1e-5).dims(), [0, 4]);
    assert_eq!(Tensor::zeros([2, 4, 0], DType::F32).group_norm(2, None, None, 1e-5).dims(), [2, 4, 0]);
}

#[test]
fn normalisation_errors() {
    let x = Tensor::zeros([4, 6], DType::F32);
    let e = x.layer_norm(&[4], None, None, 1e-5).eval().unwrap_err();
    assert!(
        e.to_string().starts_with("layer_norm: [4] are not the last sizes\n  operands: [4, 6] f32"),
        "{e}"
    );
    assert_eq!(kind(&x.layer_norm(&[], None, None, 1e-5)), ErrorKind::Shape);
    assert_eq!(kind(&x.layer_norm(&[6], Some(&Tensor::new(1.0f32)), None, 1e-5)), ErrorKind::Shape);
    assert_eq!(kind(&x.rms_norm(&[6, 4], None, 1e-5)), ErrorKind::Shape);
    assert_eq!(kind(&x.group_norm(4, None, None, 1e-5)), ErrorKind::Shape);
    assert_eq!(kind(&x.group_norm(0, None, None, 1e-5)), ErrorKind::Shape);
    assert_eq!(kind(&x.group_norm(2, Some(&Tensor::new([1.0f32])), None, 1e-5)), ErrorKind::Shape);
    assert_eq!(kind(&Tensor::new([1.0f32]).group_norm(1, None, None, 1e-5)), ErrorKind::Shape);
}

#[test]
fn lerp_reaches_its_ends_exactly() {
    let (a, b) = (Tensor::new([0.1f32, -3e8]), Tensor::new([0.7f32, 0.3]));
    assert_eq!(vec(&a.lerp(&b, 0.0)), vec(&a));
    assert_eq!(vec(&a.lerp(&b, 1.0)), vec(&b));
    assert_eq!(vec(&a.lerp(&b, Tensor::new([0.0f32, 1.0]))), [0.1, 0.3]);
    let x = Tensor::new([1.0f32, 2.0]);
    assert_eq!(vec(&x.addcmul(&x, &x, 0.5)), [1.5, 4.0]);
    assert_eq!(vec(&x.addcdiv(&x, &Tensor::new(4.0f32), 2.0)), [1.5, 3.0]);
    assert_eq!(vec(&Tensor::new([1.25f32, -1.25, 3.0]).frac()), [0.25, -0.25, 0.0]);
}

#[test]
fn closeness() {
    let x = Tensor::new([1.0f32, INF, NAN, -INF]);
    let close = |y: [f32; 4], nan: bool| x.isclose(Tensor::new(y), 1e-3, 0.0, nan).to_vec::<bool>().unwrap();
    assert_eq!(close([1.0005, INF, NAN, INF], false), [true, true, false, false]);
    assert_eq!(close([1.0015, 1.0, NAN, -INF], true), [false, false, true, true]);
    assert!(!x.allclose(&x, 0.0, 0.0, false).unwrap());
    assert!(x.allclose(&x, 0.0, 0.0, true).unwrap());
    assert!(
        Tensor::new([16_777_217i64]).isclose(16_777_216, 0.0, 0.0, false).to_vec::<bool>().unwrap()
            == [false]
    );
    assert!(
        Tensor::zeros([0], DType::F32).allclose(Tensor::zeros([0], DType::F32), 0.0, 0.0, false).unwrap()
    );
    assert!(x.allclose(Tensor::new([1.0f32; 3]), 0.0, 0.0, false).is_err());
}

#[test]
fn nan_to_num() {
    let x = Tensor::new([NAN, INF, -INF, 2.0]);
    assert_eq!(vec(&x.nan_to_num(0.5, None, None)), [0.5, f32::MAX, f32::MIN, 2.0]);
    assert_eq!(vec(&x.nan_to_num(0.0, Some(1.0), Some(-1.0))), [0.0, 1.0, -1.0, 2.0]);
    let half = x.cast(DType::F16).nan_to_num(0.0, None, None);
    assert_eq!(vec(&half.cast(DType::F32)), [0.0, 65504.0, -65504.0, 2.0]);
    assert_eq!(slope(&[NAN, INF, 1.0], |x| x.nan_to_num(0.0, None, None)).1, [0.0, 0.0, 1.0]);
}

#[test]
fn logaddexp_at_its_edges() {
    let a = Tensor::new([INF, -INF, -INF, 1000.0, 0.0, NAN]);
    let b = Tensor::new([INF, -INF, 3.0, 1000.0, -200.0, 0.0]);
    let y = vec(&a.logaddexp(&b));
    assert_eq!(y[..3], [INF, -INF, 3.0]);
    near(&y[3..5], &[1000.6931471805599, 0.0]);
    assert!(y[5].is_nan());
    // Smooth where both are equal: slope ½, second derivative ¼.
    let x = Tensor::new(2.0f32).requires_grad();
    let first = grad(&x.logaddexp(2.0), &[&x]).unwrap().remove(0);
    let second = grad(&first, &[&x]).unwrap().remove(0);
    assert_eq!((first.item::<f32>().unwrap(), second.item::<f32>().unwrap()), (0.5, 0.25));
    assert_eq!(kind(&a.logaddexp(Tensor::new([1.0f32; 2]))), ErrorKind::Shape);
}

#[test]
fn xlogy_at_zero() {
    let a = Tensor::new([0.0f32, 0.0, 0.0, 2.0]);
    let b = Tensor::new([0.0f32, INF, NAN, 1.0]);
    let y = vec(&a.xlogy(&b));
    assert_eq!((y[0], y[1], y[3]), (0.0, 0.0, 0.0));
    assert!(y[2].is_nan());
    let b = Tensor::new([0.0f32, 2.0]);
    let a = Tensor::new([0.0f32, 0.0]);
    let g = grad(&a.xlogy(&b).sum(..), &[&a, &b]).unwrap();
    near(&vec(&g[0]), &[0.0, LN_2]);
    assert_eq!(vec(&g[1]), [0.0, 0.0]);
    assert_eq!(Tensor::new([2i64]).xlogy(2.0).dtype(), DType::F32);
}

#[test]
fn products_and_distances() {
    let (a, b) = (Tensor::new([1.0f32, 2.0]), Tensor::new([3.0f32, 4.0]));
    assert_eq!(vec(&a.dot(&b)), [11.0]);
    assert_eq!(vec(&a.outer(&Tensor::new([1.0f32, 0.0, 5.0]))), [1.0, 0.0, 5.0, 2.0, 0.0, 10.0]);
    near(&vec(&a.dist(&b, 2.0)), &[8f64.sqrt()]);
    let rows = Tensor::new([[0.0f32, 0.0], [3.0, 4.0], [0.0, 1.0]]);
    near(&vec(&rows.narrow(0, 0, 2).cdist(&rows, 2.0)), &[0.0, 5.0, 1.0, 5.0, 0.0, 18f64.sqrt()]);
    // The slope of a distance of 0 is 0, not NaN.
    let g = grad(&rows.cdist(&rows, 2.0).sum(..), &[&rows]).unwrap();
    assert!(vec(&g[0]).iter().all(|v| v.is_finite()));
    assert_eq!(kind(&a.dot(&rows)), ErrorKind::Shape);
    assert_eq!(kind(&a.outer(&rows)), ErrorKind::Shape);
    assert_eq!(kind(&rows.cdist(&a, 2.0)), ErrorKind::Shape);
    assert_eq!(Tensor::new([-0.0f32, 0.0, -1.0]).signbit().to_vec::<bool>().unwrap(), [true, false, true]);
    assert_eq!(Tensor::new([-1i64, 0]).signbit().to_vec::<bool>().unwrap(), [true, false]);
}

#[test]
fn attention() {
    let (q, k, v) = (
        random(&[2, 3, 4, 8], DType::F64, 6),
        random(&[2, 3, 5, 8], DType::F64, 7),
        random(&[2, 3, 5, 6], DType::F64, 8),
    );
    let plain = (q.matmul(&k.t()) / 8f64.sqrt()).softmax(-1).matmul(&v);
    same(&q.scaled_dot_product_attention(&k, &v, None, false, None), &plain, 1e-12);
    // The causal mask starts at the first query and key, and is the same as the mask given.
    let seen = Tensor::ones([4, 5], DType::Bool).tril(0);
    let causal = q.scaled_dot_product_attention(&k, &v, None, true, Some(0.3));
    same(&causal, &q.scaled_dot_product_attention(&k, &v, Some(&seen), false, Some(0.3)), 0.0);
    same(&causal.select(2, 0), &v.select(2, 0), 1e-12);
    let bias = seen.where_(0.0, f64::NEG_INFINITY).cast(DType::F64);
    same(&causal, &q.scaled_dot_product_attention(&k, &v, Some(&bias), false, Some(0.3)), 1e-12);
    // Broadcast batches.
    let shared = q.scaled_dot_product_attention(&k.select(1, 0).unsqueeze(1), &v, None, false, None);
    assert_eq!(shared.dims(), [2, 3, 4, 6]);
}

#[test]
fn a_query_that_sees_nothing_gets_zeros() {
    let q = random(&[2, 4], DType::F32, 9).requires_grad();
    let mask = Tensor::new([[true, false, true], [false, false, false]]);
    let k = random(&[3, 4], DType::F32, 10).requires_grad();
    let y = q.scaled_dot_product_attention(&k, &k, Some(&mask), false, None);
    assert_eq!(vec(&y.select(0, 1)), [0.0; 4]);
    let g = grad(&y.square().sum(..), &[&q, &k]).unwrap();
    assert!(vec(&g[0]).iter().chain(&vec(&g[1])).all(|v| v.is_finite()));
    assert_eq!(vec(&g[0].select(0, 1)), [0.0; 4]);
    let none = k.narrow(0, 0, 0);
    assert_eq!(vec(&q.scaled_dot_product_attention(&none, &none, None, false, None)), [0.0; 8]);
}

#[test]
fn attention_errors() {
    let (q, k) = (Tensor::zeros([2, 4], DType::F32), Tensor::zeros([3, 5], DType::F32));
    let of =
        |q: &Tensor, k: &Tensor, v: &Tensor| kind(&q.scaled_dot_product_attention(k, v, None, false, None));
    assert_eq!(of(&q, &k, &k), ErrorKind::Shape);
    assert_eq!(of(&q, &q, &k), ErrorKind::Shape);
    assert_eq!(of(&Tensor::new([1.0f32]), &q, &q), ErrorKind::Shape);
    let both = q.scaled_dot_product_attention(&q, &q, Some(&Tensor::new(true)), true, None);
    assert_eq!(kind(&both), ErrorKind::Value);
    let mask = Tensor::new([[true; 7]]);
    assert_eq!(kind(&q.scaled_dot_product_attention(&q, &q, Some(&mask), false, None)), ErrorKind::Shape);
}

#[test]
fn errors_name_the_callers_line_and_the_first_error_stays() {
    let line = line!() + 1;
    let e = Tensor::new([1.0f32, 2.0, 3.0]).glu(0).eval().unwrap_err();
    assert_eq!((e.op(), e.location().unwrap().line()), ("glu", line));
    // Inside a composition too.
    let (a, b) = (Tensor::new([1.0f32, 2.0]), Tensor::new([1.0f32, 2.0, 3.0]));
    let line = line!() + 1;
    let e = a.lerp(&b, 0.5).eval().unwrap_err();
    let at = e.location().unwrap();
    assert!(at.file().ends_with("compose.rs") && at.line() == line, "{e}");
    let bad = a.reshape([5]);
    for t in [
        bad.glu(7),
        bad.gelu(),
        bad.softmax(9),
        bad.prelu(&b),
        a.prelu(&bad),
        bad.clamp(0.0, 1.0),
        a.clamp_min(&bad),
        a.lerp(&b.reshape([7]), &bad),
        bad.norm(2.0, 4),
        bad.layer_norm(&[9], None, None, 0.0),
        a.layer_norm(&[2], Some(&bad), None, 0.0),
        bad.group_norm(7, None, None, 0.0),
        a.logaddexp(&bad),
        bad.dot(&b),
        bad.cosine_similarity(&b, 5, 0.0),
        bad.scaled_dot_product_attention(&a, &b, None, false, None),
        a.scaled_dot_product_attention(&a, &b, Some(&bad), true, None),
    ] {
        assert_eq!(t.eval().unwrap_err().op(), "reshape");
    }
}
