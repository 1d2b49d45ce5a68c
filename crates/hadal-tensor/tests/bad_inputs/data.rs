//! Creation, and back to data.

use super::{Fixtures, returned, row};
use hadal_tensor::*;

pub fn table(f: &Fixtures) {
    let Fixtures { x, i, b, e, v, huge, bad, .. } = f;
    let key = Key::new(1);
    row(
        || Tensor::from_vec(vec![1.0f32; 5], [2, 3]),
        "from_vec: 5 elements do not fill shape [2, 3], which has 6",
    );
    row(|| Tensor::from_vec(Vec::<f32>::new(), ()), "from_vec: 0 elements do not fill shape [], which has 1");
    row(
        || Tensor::from_vec(vec![1i64], [usize::MAX, 2]),
        "from_vec: more elements than memory could ever hold",
    );
    row(
        || Tensor::from_vec(Vec::<f64>::new(), [0, 1 << 40, 1 << 40]),
        "from_vec: more elements than memory could ever hold",
    );
    row(|| Tensor::new(vec![vec![1.0f32], vec![1.0, 2.0]]), "new: rows differ in length");
    row(|| Tensor::new(Vec::<Vec<f32>>::new()), "OK");
    row(|| Tensor::from_bytes(&[0; 7], [2], DType::F32), "from_bytes: 7 bytes do not fill shape [2] of f32");
    row(
        || Tensor::from_bytes(&[0, 2], [2], DType::Bool),
        "from_bytes: a byte that is neither 0 nor 1 in a bool tensor",
    );
    row(
        || Tensor::from_bytes(&[], [usize::MAX, usize::MAX], DType::U8),
        "from_bytes: more elements than memory could ever hold",
    );
    row(
        || Tensor::from_bytes(&[], [0, usize::MAX, 8], DType::F32),
        "from_bytes: more elements than memory could ever hold",
    );
    row(|| Tensor::full([usize::MAX, 8], 1.0), "full: more elements than memory could ever hold");
    row(|| Tensor::full([1 << 61], 1), "full: more elements than memory could ever hold");
    row(|| Tensor::full([0, 1 << 40, 1 << 40], 1), "full: more elements than memory could ever hold");
    row(|| Tensor::zeros([usize::MAX], DType::U8), "full: more elements than memory could ever hold");
    row(|| Tensor::ones([1 << 40, 1 << 40], DType::Bool), "full: more elements than memory could ever hold");
    row(|| Tensor::zeros([1 << 50], DType::U8), "OK");
    row(
        || Tensor::zeros([1 << 50], DType::U8).contiguous(),
        "contiguous: no memory for 1125899906842624 elements of u8 (1048576.0 GiB)",
    );
    row(|| Tensor::zeros_like(bad), "reshape: 4 elements do not fit shape [3]");
    row(|| Tensor::full_like(bad, 2), "reshape: 4 elements do not fit shape [3]");
    row(|| Tensor::arange(0, 5, 0), "arange: no range from 0 to 5 in steps of 0");
    row(|| Tensor::arange(0.0, f64::INFINITY, 1.0), "arange: no range from 0.0 to inf in steps of 1.0");
    row(|| Tensor::arange(0.0, f64::NAN, 1.0), "arange: no range from 0.0 to NaN in steps of 1.0");
    row(|| Tensor::arange(0.0, 1.0, f64::NAN), "arange: no range from 0.0 to 1.0 in steps of NaN");
    row(|| Tensor::arange(0, 5, -1), "OK");
    row(|| Tensor::arange(i64::MIN, i64::MAX, 1), "arange: more elements than memory could ever hold");
    row(|| Tensor::arange(0.0, 1e30, 1e-30), "arange: more elements than memory could ever hold");
    row(|| Tensor::linspace(0.0, 1.0, usize::MAX), "linspace: more elements than memory could ever hold");
    row(|| Tensor::linspace(f64::NAN, 1.0, 3), "OK");
    row(|| Tensor::linspace(0.0, 1.0, 0), "OK");
    row(|| Tensor::eye(usize::MAX, DType::F32), "eye: more elements than memory could ever hold");
    row(|| Tensor::eye(1 << 40, DType::F32), "eye: more elements than memory could ever hold");
    row(
        || Tensor::eye(1 << 25, DType::F64),
        "cast: no memory for 1125899906842624 elements of f64 (8388608.0 GiB)",
    );
    row(|| Tensor::eye(0, DType::Bool), "OK");
    row(|| Tensor::rand([2], DType::I64, key), "uniform: random i64 are not drawn this way");
    row(|| Tensor::rand([usize::MAX], DType::F32, key), "random: more elements than memory could ever hold");
    row(|| Tensor::randn([2], DType::Bool, key), "normal: random bool are not drawn this way");
    row(|| Tensor::uniform([2], DType::F32, key, 1.0, 0.0), "uniform: no interval from 1 to 0");
    row(|| Tensor::uniform([2], DType::F32, key, f64::NAN, 0.0), "uniform: no interval from NaN to 0");
    row(|| Tensor::uniform([2], DType::F32, key, 0.0, f64::INFINITY), "OK");
    row(|| Tensor::uniform([2], DType::F64, key, -f64::MAX, f64::MAX), "OK");
    row(|| Tensor::normal([2], DType::F32, key, 0.0, -1.0), "normal: a standard deviation of -1");
    row(|| Tensor::normal([2], DType::F32, key, 0.0, f64::NAN), "normal: a standard deviation of NaN");
    row(|| Tensor::normal([2], DType::F32, key, f64::NAN, 1.0), "OK");
    row(
        || Tensor::normal([1 << 62], DType::F32, key, 0.0, 1.0),
        "random: more elements than memory could ever hold",
    );
    row(|| Tensor::randint(5, 5, [2], key), "randint: no whole number from 5 to below 5");
    row(|| Tensor::randint(i64::MIN, i64::MAX, [2], key), "OK");
    row(|| Tensor::randint(0, 5, [usize::MAX], key), "random: more elements than memory could ever hold");
    row(|| Tensor::bernoulli([2], DType::F32, key, 1.5), "bernoulli: a probability of 1.5");
    row(|| Tensor::bernoulli([2], DType::F32, key, f64::NAN), "bernoulli: a probability of NaN");
    row(
        || Tensor::bernoulli([usize::MAX], DType::Bool, key, 0.5),
        "random: more elements than memory could ever hold",
    );
    row(|| Tensor::randperm(usize::MAX, key), "random: more elements than memory could ever hold");
    row(|| Tensor::randperm(0, key), "OK");
    row(
        || Tensor::randperm(1 << 45, key),
        "random: no memory for 35184372088832 elements of i64 (262144.0 GiB)",
    );

    returned(|| x.item::<f32>(), "item: 6 elements, one expected");
    returned(|| e.item::<f32>(), "item: 0 elements, one expected");
    returned(|| bad.item::<f32>(), "reshape: 4 elements do not fit shape [3]");
    returned(|| x.to_vec::<f64>(), "to_vec: asked for f64");
    returned(|| i.to_vec::<i32>(), "to_vec: asked for i32");
    returned(|| b.to_vec::<u8>(), "to_vec: asked for u8");
    returned(|| bad.to_vec::<f32>(), "reshape: 4 elements do not fit shape [3]");
    returned(|| huge.to_vec::<u8>(), "full: no memory for 1125899906842624 elements of u8 (1048576.0 GiB)");
    returned(|| huge.to_bytes(), "full: no memory for 1125899906842624 elements of u8 (1048576.0 GiB)");
    returned(
        || huge.contiguous().materialize(),
        "contiguous: no memory for 1125899906842624 elements of u8 (1048576.0 GiB)",
    );
    returned(|| bad.materialize(), "reshape: 4 elements do not fit shape [3]");
    returned(|| bad.checked().cloned(), "reshape: 4 elements do not fit shape [3]");
    row(|| bad.requires_grad(), "reshape: 4 elements do not fit shape [3]");
    row(|| bad.detach(), "reshape: 4 elements do not fit shape [3]");
    row(
        || huge.contiguous().requires_grad(),
        "contiguous: no memory for 1125899906842624 elements of u8 (1048576.0 GiB)",
    );
    row(|| Tensor::poison(Error::new(ErrorKind::Value, "mine", "no"), &[2].into(), DType::F32), "mine: no");
    row(|| x.reshape([x.size(5) as isize, -1]), "size: dimension 5 of a tensor with 2 dimensions");
    row(
        || x + x.size(isize::MIN) as i64,
        "size: dimension -9223372036854775808 of a tensor with 2 dimensions",
    );
    row(|| x + x.sizes::<4>()[3] as i64, "sizes: 4 dimensions expected, the tensor has 2");
    row(|| bad + bad.sizes::<4>()[3] as i64, "reshape: 4 elements do not fit shape [3]");
    row(|| v + v.size(-1) as i64, "OK");

    // Gradients.
    returned(|| grad(x, &[x]), "grad: gradients are of a single number; this tensor has several elements");
    returned(|| grad(&i.sum(..), &[i]), "grad: i64 has no gradient");
    returned(|| grad(&x.sum(..), &[v]), "grad: the result does not depend on input 0");
    returned(|| grad(bad, &[x]), "reshape: 4 elements do not fit shape [3]");
    returned(|| grad(&x.sum(..), &[bad]), "reshape: 4 elements do not fit shape [3]");
    returned(|| vjp(x, v, &[x]), "vjp: the cotangent's shape is not the result's");
    returned(|| vjp(x, bad, &[x]), "reshape: 4 elements do not fit shape [3]");
    returned(|| vjp_or_none(x, &x.sum(0), &[]), "vjp: the cotangent's shape is not the result's");
    returned(
        || grad(&x.argmax(0, false).cast(DType::F32).sum(..), &[x]),
        "grad: the result does not depend on input 0",
    );
    returned(|| eval(&[x, bad]), "reshape: 4 elements do not fit shape [3]");
    returned(|| eval_and_release(&[bad], &[]), "reshape: 4 elements do not fit shape [3]");
    returned(|| plan_summary(&[bad]), "reshape: 4 elements do not fit shape [3]");
    returned(|| trace(bad), "reshape: 4 elements do not fit shape [3]");
    returned(|| State::new(x.clone()).set(bad.clone()), "reshape: 4 elements do not fit shape [3]");
    returned(
        || check_finite(|| (x.log() / 0.0).eval()),
        "div: the first result that is NaN or infinite (element 0 in row-major order)",
    );
}
