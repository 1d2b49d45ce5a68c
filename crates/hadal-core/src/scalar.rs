//! A single number with its category, as written in source code: `2`, `0.5`, `true`.

use crate::{Category, DType};
use std::fmt;

/// A number outside any tensor. In promotion it counts only by its category, as in PyTorch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar {
    /// A float.
    F(f64),
    /// An integer.
    I(i64),
    /// A truth value.
    B(bool),
}

impl Scalar {
    /// As f64.
    pub fn to_f64(self) -> f64 {
        match self {
            Scalar::F(v) => v,
            Scalar::I(v) => v as f64,
            Scalar::B(v) => v as u8 as f64,
        }
    }
    /// As i64, truncating.
    pub fn to_i64(self) -> i64 {
        match self {
            Scalar::F(v) => v as i64,
            Scalar::I(v) => v,
            Scalar::B(v) => v as i64,
        }
    }
    /// Whether it is not zero.
    pub fn to_bool(self) -> bool {
        match self {
            Scalar::F(v) => v != 0.0,
            Scalar::I(v) => v != 0,
            Scalar::B(v) => v,
        }
    }
    /// Its category.
    pub fn category(self) -> Category {
        match self {
            Scalar::F(_) => Category::Float,
            Scalar::I(_) => Category::Int,
            Scalar::B(_) => Category::Bool,
        }
    }
    /// The dtype a tensor made from it alone has.
    pub fn dtype(self) -> DType {
        match self {
            Scalar::F(_) => DType::F32,
            Scalar::I(_) => DType::I64,
            Scalar::B(_) => DType::Bool,
        }
    }
    /// The value as a cast to `dtype` would leave it, in that dtype's category.
    pub fn cast(self, dtype: DType) -> Scalar {
        match dtype {
            DType::F64 => Scalar::F(self.to_f64()),
            DType::F32 => Scalar::F(self.to_f64() as f32 as f64),
            DType::F16 => Scalar::F(half::f16::from_f32(self.to_f64() as f32).to_f64()),
            DType::BF16 => Scalar::F(half::bf16::from_f32(self.to_f64() as f32).to_f64()),
            DType::I64 => Scalar::I(self.to_i64()),
            DType::I32 => Scalar::I(self.to_i64() as i32 as i64),
            DType::U8 => Scalar::I(self.to_i64() as u8 as i64),
            DType::Bool => Scalar::B(self.to_bool()),
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scalar::F(v) => write!(f, "{v:?}"),
            Scalar::I(v) => write!(f, "{v}"),
            Scalar::B(v) => write!(f, "{v}"),
        }
    }
}

macro_rules! from_int {
    ($($t:ty),*) => { $(impl From<$t> for Scalar { fn from(v: $t) -> Scalar { Scalar::I(v as i64) } })* };
}
from_int!(i8, i16, i32, i64, isize, u8, u16, u32, usize);
impl From<f64> for Scalar {
    fn from(v: f64) -> Scalar {
        Scalar::F(v)
    }
}
impl From<f32> for Scalar {
    fn from(v: f32) -> Scalar {
        Scalar::F(v as f64)
    }
}
impl From<bool> for Scalar {
    fn from(v: bool) -> Scalar {
        Scalar::B(v)
    }
}
