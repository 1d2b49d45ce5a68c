//! Distributions and patterns to begin with.

use crate::layers::wrong;
use hadal_core::math::Real;
use hadal_core::{DType, ErrorKind, Shape};
use hadal_tensor::{Key, Tensor};

/// Which side's variance [`kaiming_normal`] and [`kaiming_uniform`] keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Fan {
    /// That of the values in the forward pass. PyTorch's default.
    #[default]
    In,
    /// That of the gradients in the backward pass.
    Out,
}

/// What follows the layer, for [`calculate_gain`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Nonlinearity {
    /// Nothing, or a convolution.
    Linear,
    /// Sigmoid.
    Sigmoid,
    /// Tanh.
    Tanh,
    /// ReLU.
    Relu,
    /// Leaky ReLU with this slope; PyTorch's default is `LeakyRelu(0.0)`.
    LeakyRelu(f64),
    /// SELU.
    Selu,
}

/// The factor that keeps the variance behind a nonlinearity, as PyTorch's `init.calculate_gain`:
/// 1, 5/3 for tanh, √2 for ReLU, √(2/(1+slope²)) for leaky ReLU, 3/4 for SELU.
///
/// ```
/// use hadal_nn::init::{Nonlinearity, calculate_gain};
/// assert_eq!(calculate_gain(Nonlinearity::Relu), 2f64.sqrt());
/// ```
#[track_caller]
pub fn calculate_gain(nonlinearity: Nonlinearity) -> f64 {
    match nonlinearity {
        Nonlinearity::Linear | Nonlinearity::Sigmoid => 1.0,
        Nonlinearity::Tanh => 5.0 / 3.0,
        Nonlinearity::Relu => std::f64::consts::SQRT_2,
        Nonlinearity::LeakyRelu(slope) => (2.0 / (1.0 + slope * slope)).sqrt(),
        Nonlinearity::Selu => 0.75,
    }
}

/// Inputs and outputs that meet in one output and one input: `[out, in, kernel..]`.
#[track_caller]
fn fans(op: &'static str, shape: &Shape) -> Result<(usize, usize), Tensor> {
    if shape.rank() < 2 {
        let message = format!("the fan of shape {shape} is not defined");
        return Err(wrong(
            ErrorKind::Shape,
            op,
            message,
            &[],
            "two dimensions at least are needed: [out, in, ..]",
        ));
    }
    let taps: usize = shape[2..].iter().product();
    Ok((shape[1] * taps, shape[0] * taps))
}

/// Uniform in `[low, high)`.
#[track_caller]
pub fn uniform(key: Key, shape: impl Into<Shape>, dtype: DType, low: f64, high: f64) -> Tensor {
    Tensor::uniform(shape, dtype, key, low, high)
}

/// Normal with this mean and standard deviation.
#[track_caller]
pub fn normal(key: Key, shape: impl Into<Shape>, dtype: DType, mean: f64, std: f64) -> Tensor {
    Tensor::normal(shape, dtype, key, mean, std)
}

/// Every element the same.
#[track_caller]
pub fn constant(shape: impl Into<Shape>, dtype: DType, value: f64) -> Tensor {
    Tensor::full_like(&Tensor::zeros(shape, dtype), value)
}

/// Zeros.
#[track_caller]
pub fn zeros(shape: impl Into<Shape>, dtype: DType) -> Tensor {
    Tensor::zeros(shape, dtype)
}

/// Ones.
#[track_caller]
pub fn ones(shape: impl Into<Shape>, dtype: DType) -> Tensor {
    Tensor::ones(shape, dtype)
}

/// Uniform with standard deviation `gain·√(2/(fan_in + fan_out))` (Glorot and Bengio 2010, equation
/// 16). PyTorch's gain is 1.
///
/// # Errors
/// Fewer than two dimensions.
#[track_caller]
pub fn xavier_uniform(key: Key, shape: impl Into<Shape>, dtype: DType, gain: f64) -> Tensor {
    let shape = shape.into();
    match fans("xavier_uniform", &shape) {
        Ok((i, o)) => centered_uniform(key, shape, dtype, gain * (2.0 / (i + o).max(1) as f64).sqrt()),
        Err(bad) => bad,
    }
}

/// Normal with standard deviation `gain·√(2/(fan_in + fan_out))` (Glorot and Bengio 2010). PyTorch's
/// gain is 1.
///
/// # Errors
/// Fewer than two dimensions.
#[track_caller]
pub fn xavier_normal(key: Key, shape: impl Into<Shape>, dtype: DType, gain: f64) -> Tensor {
    let shape = shape.into();
    match fans("xavier_normal", &shape) {
        Ok((i, o)) => Tensor::normal(shape, dtype, key, 0.0, gain * (2.0 / (i + o).max(1) as f64).sqrt()),
        Err(bad) => bad,
    }
}

/// Uniform with standard deviation `gain/√fan` (He 2015, arXiv:1502.01852, equation 10).
///
/// # Errors
/// Fewer than two dimensions.
#[track_caller]
pub fn kaiming_uniform(
    key: Key,
    shape: impl Into<Shape>,
    dtype: DType,
    fan: Fan,
    nonlinearity: Nonlinearity,
) -> Tensor {
    let shape = shape.into();
    match kaiming_std("kaiming_uniform", &shape, fan, nonlinearity) {
        Ok(std) => centered_uniform(key, shape, dtype, std),
        Err(bad) => bad,
    }
}

/// Normal with standard deviation `gain/√fan` (He 2015, arXiv:1502.01852, equation 10).
///
/// # Errors
/// Fewer than two dimensions.
#[track_caller]
pub fn kaiming_normal(
    key: Key,
    shape: impl Into<Shape>,
    dtype: DType,
    fan: Fan,
    nonlinearity: Nonlinearity,
) -> Tensor {
    let shape = shape.into();
    match kaiming_std("kaiming_normal", &shape, fan, nonlinearity) {
        Ok(std) => Tensor::normal(shape, dtype, key, 0.0, std),
        Err(bad) => bad,
    }
}

#[track_caller]
fn kaiming_std(op: &'static str, shape: &Shape, fan: Fan, nonlinearity: Nonlinearity) -> Result<f64, Tensor> {
    let (fan_in, fan_out) = fans(op, shape)?;
    let n = if fan == Fan::In { fan_in } else { fan_out };
    Ok(calculate_gain(nonlinearity) / (n.max(1) as f64).sqrt())
}

/// Uniform around 0 with this standard deviation: the bound is √3 times it.
#[track_caller]
fn centered_uniform(key: Key, shape: Shape, dtype: DType, std: f64) -> Tensor {
    let bound = 3f64.sqrt() * std;
    Tensor::uniform(shape, dtype, key, -bound, bound)
}

/// Normal with this mean and standard deviation, restricted to `[low, high]`: the inverse of its
/// distribution function at uniform numbers, as PyTorch's `init.trunc_normal_`.
///
/// # Errors
/// `low` above `high`, or a negative standard deviation.
#[track_caller]
pub fn trunc_normal(
    key: Key,
    shape: impl Into<Shape>,
    dtype: DType,
    mean: f64,
    std: f64,
    low: f64,
    high: f64,
) -> Tensor {
    if !(low <= high && std >= 0.0) {
        let message = format!("standard deviation {std} cut off at {low} and {high}");
        return wrong(
            ErrorKind::Value,
            "trunc_normal",
            message,
            &[],
            "low must not exceed high, std must not be negative",
        );
    }
    // 2·Φ(x) - 1 of both ends: there the uniform numbers lie to which erfinv is applied.
    let end = |x: f64| if std > 0.0 { ((x - mean) / (std * std::f64::consts::SQRT_2)).erf_() } else { 0.0 };
    let wide = dtype.compute();
    let u = Tensor::uniform(shape, wide, key, end(low), end(high));
    // Rounding may leave the interval by a hair, and erfinv(-1) is infinite.
    ((u.erfinv() * (std * std::f64::consts::SQRT_2) + mean).clamp(low, high)).cast(dtype)
}

/// Ones on the diagonal of an `[n, m]` matrix, zeros elsewhere.
#[track_caller]
pub fn eye(n: usize, m: usize, dtype: DType) -> Tensor {
    Tensor::arange(0, n, 1).unsqueeze(1).eq(Tensor::arange(0, m, 1)).cast(dtype)
}

/// A convolution weight `[out, in/groups, kernel..]` that hands on as many channels as it can
/// unchanged (PyTorch's `init.dirac_`): within each group, output channel `i` is input channel `i`.
///
/// # Errors
/// Not 3 to 5 dimensions, or groups that do not divide the output channels.
#[track_caller]
pub fn dirac(shape: impl Into<Shape>, dtype: DType, groups: usize) -> Tensor {
    let shape = shape.into();
    if !(3..=5).contains(&shape.rank()) || groups == 0 || !shape[0].is_multiple_of(groups) {
        let message = format!("shape {shape} in {groups} groups");
        return wrong(
            ErrorKind::Shape,
            "dirac",
            message,
            &[],
            "a convolution weight is [out, in / groups, kernel..]",
        );
    }
    let per_group = shape[0] / groups;
    let middle = shape[2..].iter().fold(0, |at, &k| at * k + k / 2);
    let taps: usize = shape[2..].iter().product();
    let mut values = vec![0.0f64; shape.numel()];
    if taps > 0 {
        for o in 0..shape[0] {
            if o % per_group < shape[1] {
                values[(o * shape[1] + o % per_group) * taps + middle] = 1.0;
            }
        }
    }
    Tensor::from_vec(values, shape).cast(dtype)
}

/// A normal `[rows, columns]` matrix in which the given share of each column (rounded up) is zero, at
/// random places (Martens 2010, as PyTorch's `init.sparse_`, whose standard deviation is 0.01).
///
/// # Errors
/// Not a matrix, or a share outside `[0, 1]`.
#[track_caller]
pub fn sparse(key: Key, shape: impl Into<Shape>, dtype: DType, sparsity: f64, std: f64) -> Tensor {
    let shape = shape.into();
    if shape.rank() != 2 || !(0.0..=1.0).contains(&sparsity) {
        let message = format!("shape {shape} with a share of {sparsity} zeros");
        return wrong(
            ErrorKind::Value,
            "sparse",
            message,
            &[],
            "a matrix and a share from 0 to 1 are needed",
        );
    }
    let zeros = (sparsity * shape[0] as f64).ceil() as usize;
    // The rank of each element in its column, in a random order.
    let order = Tensor::rand(&shape, DType::F32, key.split(0)).argsort(0, false).argsort(0, false);
    order.lt(zeros).where_(0.0, Tensor::normal(&shape, dtype, key.split(1), 0.0, std))
}
