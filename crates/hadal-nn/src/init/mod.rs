//! How parameters begin: the key and dtype that construction carries, and the distributions.
//!
//! The functions ([`xavier_uniform`], [`kaiming_normal`], [`orthogonal`], …) give tensors, for
//! `param.set(..)` and [`apply`]; [`Init`] makes parameters of a model under construction.
//!
//! ```
//! use hadal_nn::init::{self, Fan, Nonlinearity};
//! use hadal_nn::{Init, Linear, Module};
//! use hadal_tensor::Key;
//! let fc = Linear::new(&Init::new(0), 4, 2);
//! let key = Key::new(7);
//! fc.weight.set(init::xavier_uniform(key, fc.weight.shape(), fc.weight.dtype(), 1.0));
//! // The same for every weight of a model, as d2l's `net.apply(init_weights)`:
//! let mut n = 0;
//! init::apply(&fc, |name, p| {
//!     n += 1;
//!     let (k, shape) = (key.split(n), p.shape());
//!     name.ends_with("weight").then(|| init::kaiming_normal(k, shape, p.dtype(), Fan::In, Nonlinearity::Relu))
//! });
//! assert!(fc.weight.get().eval().is_ok());
//! ```

mod distributions;
mod orthogonal;

pub use distributions::{
    Fan, Nonlinearity, calculate_gain, constant, dirac, eye, kaiming_normal, kaiming_uniform, normal, ones,
    sparse, trunc_normal, uniform, xavier_normal, xavier_uniform, zeros,
};
pub use orthogonal::orthogonal;

use crate::Module;
use hadal_core::{DType, Shape};
use hadal_tensor::{Key, Param, Tensor};
use std::cell::Cell;

/// What constructors need to make parameters: a key and a dtype.
///
/// Each parameter takes the next stream of the key, so a model is a function of its seed and its
/// structure.
#[derive(Debug)]
pub struct Init {
    key: Key,
    made: Cell<u64>,
    dtype: DType,
}

impl Init {
    /// f32 parameters from this seed.
    pub fn new(seed: u64) -> Init {
        // Streams of a seed are split by purpose: 1 is initialisation, training takes others.
        Init { key: Key::new(seed).split(1), made: Cell::new(0), dtype: DType::F32 }
    }
    /// Parameters of this dtype.
    pub fn dtype(self, dtype: DType) -> Init {
        Init { dtype, ..self }
    }
    /// The dtype of parameters made here.
    pub fn param_dtype(&self) -> DType {
        self.dtype
    }
    /// The next stream.
    pub fn next_key(&self) -> Key {
        let n = self.made.get();
        self.made.set(n + 1);
        self.key.split(n)
    }
    /// A parameter uniform in `[-bound, bound)`.
    pub fn uniform(&self, shape: impl Into<Shape>, bound: f64) -> Param {
        Param::new(Tensor::uniform(shape, self.dtype, self.next_key(), -bound, bound))
    }
    /// A normal parameter.
    pub fn normal(&self, shape: impl Into<Shape>, std: f64) -> Param {
        Param::new(Tensor::normal(shape, self.dtype, self.next_key(), 0.0, std))
    }
    /// A parameter of one value.
    pub fn constant(&self, shape: impl Into<Shape>, value: f64) -> Param {
        Param::new(constant(shape, self.dtype, value))
    }
    /// See [`xavier_uniform`].
    pub fn xavier_uniform(&self, shape: impl Into<Shape>, gain: f64) -> Param {
        Param::new(xavier_uniform(self.next_key(), shape, self.dtype, gain))
    }
    /// See [`xavier_normal`].
    pub fn xavier_normal(&self, shape: impl Into<Shape>, gain: f64) -> Param {
        Param::new(xavier_normal(self.next_key(), shape, self.dtype, gain))
    }
    /// See [`kaiming_uniform`].
    pub fn kaiming_uniform(&self, shape: impl Into<Shape>, fan: Fan, nonlinearity: Nonlinearity) -> Param {
        Param::new(kaiming_uniform(self.next_key(), shape, self.dtype, fan, nonlinearity))
    }
    /// See [`kaiming_normal`].
    pub fn kaiming_normal(&self, shape: impl Into<Shape>, fan: Fan, nonlinearity: Nonlinearity) -> Param {
        Param::new(kaiming_normal(self.next_key(), shape, self.dtype, fan, nonlinearity))
    }
    /// See [`trunc_normal`]; cut off at two standard deviations.
    pub fn trunc_normal(&self, shape: impl Into<Shape>, std: f64) -> Param {
        Param::new(trunc_normal(self.next_key(), shape, self.dtype, 0.0, std, -2.0 * std, 2.0 * std))
    }
    /// See [`orthogonal`].
    pub fn orthogonal(&self, shape: impl Into<Shape>, gain: f64) -> Param {
        Param::new(orthogonal(self.next_key(), shape, self.dtype, gain))
    }
    /// The streams of a layer with weight and bias, for options that come after the constructor.
    pub(crate) fn seeds(&self) -> Seeds {
        Seeds { weight: self.next_key(), bias: self.next_key(), dtype: self.dtype }
    }
}

/// Replaces parameters of a model: `f` is given each one's name and parameter, and returns the tensor
/// to begin with, or `None` to leave it as it is.
pub fn apply<M: Module + ?Sized>(model: &M, mut f: impl FnMut(&str, &Param) -> Option<Tensor>) {
    for (name, param) in model.parameters() {
        if let Some(tensor) = f(&name, &param) {
            param.set(tensor);
        }
    }
}

/// Where the parameters of one layer come from. Options such as `groups` change shapes after the
/// constructor has returned: the same streams are then drawn again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seeds {
    weight: Key,
    bias: Key,
    pub dtype: DType,
}

impl Seeds {
    /// PyTorch's default of linear and convolution weights: `kaiming_uniform` with `a = √5`, which is
    /// uniform in ±1/√fan_in.
    pub fn weight(&self, shape: impl Into<Shape>, fan_in: usize) -> Param {
        Param::new(Tensor::uniform(shape, self.dtype, self.weight, -bound(fan_in), bound(fan_in)))
    }
    /// PyTorch's default of their biases: uniform in ±1/√fan_in.
    pub fn bias(&self, n: usize, fan_in: usize) -> Param {
        Param::new(Tensor::uniform([n], self.dtype, self.bias, -bound(fan_in), bound(fan_in)))
    }
}

/// 1/√fan_in; a layer without inputs has nothing to draw.
fn bound(fan_in: usize) -> f64 {
    if fan_in == 0 { 0.0 } else { 1.0 / (fan_in as f64).sqrt() }
}
