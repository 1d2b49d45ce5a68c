//! Element types and PyTorch's promotion rules.

use half::{bf16, f16};
use std::fmt;

/// The type of a tensor's elements.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
#[repr(u8)]
pub enum DType {
    /// 32-bit float, the default for floats.
    F32,
    /// 64-bit float.
    F64,
    /// IEEE half; computed in f32, stored rounded to nearest even.
    F16,
    /// Brain float; computed in f32, stored rounded to nearest even.
    BF16,
    /// 64-bit signed integer, the default for integers and the type of indices.
    I64,
    /// 32-bit signed integer.
    I32,
    /// 8-bit unsigned integer.
    U8,
    /// Truth value, stored as one byte that is 0 or 1.
    Bool,
}

/// The class that decides promotion: bool < integer < float.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Category {
    /// `Bool`.
    Bool,
    /// `U8`, `I32`, `I64`.
    Int,
    /// `F16`, `BF16`, `F32`, `F64`.
    Float,
}

impl DType {
    /// All dtypes, in declaration order.
    pub const ALL: [DType; 8] =
        [DType::F32, DType::F64, DType::F16, DType::BF16, DType::I64, DType::I32, DType::U8, DType::Bool];

    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            DType::F64 | DType::I64 => 8,
            DType::F32 | DType::I32 => 4,
            DType::F16 | DType::BF16 => 2,
            DType::U8 | DType::Bool => 1,
        }
    }

    /// The short name, as printed: `f32`, `bool`, ….
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::I64 => "i64",
            DType::I32 => "i32",
            DType::U8 => "u8",
            DType::Bool => "bool",
        }
    }

    /// The dtype of that short name.
    pub fn parse(name: &str) -> Option<DType> {
        DType::ALL.into_iter().find(|d| d.name() == name)
    }

    /// Bool, integer or float.
    pub const fn category(self) -> Category {
        match self {
            DType::Bool => Category::Bool,
            DType::I64 | DType::I32 | DType::U8 => Category::Int,
            DType::F32 | DType::F64 | DType::F16 | DType::BF16 => Category::Float,
        }
    }

    /// Whether this is one of the four float types.
    pub const fn is_float(self) -> bool {
        matches!(self.category(), Category::Float)
    }

    /// Whether this is an integer type (bool is not).
    pub const fn is_int(self) -> bool {
        matches!(self.category(), Category::Int)
    }

    /// Whether this is a 16-bit float.
    pub const fn is_half(self) -> bool {
        matches!(self, DType::F16 | DType::BF16)
    }

    /// The type this dtype is computed in: halves in f32, all integers in i64.
    pub const fn compute(self) -> DType {
        match self {
            DType::F16 | DType::BF16 | DType::F32 => DType::F32,
            DType::F64 => DType::F64,
            DType::I64 | DType::I32 | DType::U8 => DType::I64,
            DType::Bool => DType::Bool,
        }
    }

    /// PyTorch's promotion of two tensors of at least one dimension each
    /// (`torch.promote_types`).
    ///
    /// ```
    /// use hadal_core::DType::*;
    /// assert_eq!(F16.promote(BF16), F32);
    /// assert_eq!(I64.promote(F16), F16);
    /// assert_eq!(U8.promote(I32), I32);
    /// ```
    pub const fn promote(self, other: DType) -> DType {
        use DType::*;
        if self as u8 == other as u8 {
            return self;
        }
        match (self, other) {
            (F16, BF16) | (BF16, F16) => F32,
            (F64, _) | (_, F64) => F64,
            (F32, _) | (_, F32) => F32,
            (F16, _) | (_, F16) => F16,
            (BF16, _) | (_, BF16) => BF16,
            (I64, _) | (_, I64) => I64,
            (I32, _) | (_, I32) => I32,
            (U8, _) | (_, U8) => U8,
            _ => Bool,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A Rust type that can be a tensor's element.
///
/// Sealed in effect: the eight implementations below are the eight dtypes.
pub trait Element: Copy + Send + Sync + PartialEq + fmt::Debug + bytemuck::NoUninit + 'static {
    /// The dtype stored for this type.
    const DTYPE: DType;
    /// Zero (or false).
    const ZERO: Self;
    /// Conversion as a cast does it (saturating from floats, truncating between integers).
    fn from_f64(v: f64) -> Self;
    /// Conversion to f64 (exact except for large i64).
    fn to_f64(self) -> f64;
    /// Conversion as a cast does it.
    fn from_i64(v: i64) -> Self;
    /// Conversion as a cast does it (truncating toward zero from floats).
    fn to_i64(self) -> i64;
    /// Reads elements out of raw bytes; `None` when the length is not whole or, for bool, a byte
    /// is neither 0 nor 1.
    fn from_bytes(bytes: &[u8]) -> Option<Vec<Self>>;
}

macro_rules! element {
    ($t:ty, $d:ident, $zero:expr, |$f:ident| $from_f:expr, |$s:ident| $to_f:expr, |$i:ident| $from_i:expr, |$r:ident| $to_i:expr) => {
        impl Element for $t {
            const DTYPE: DType = DType::$d;
            const ZERO: Self = $zero;
            #[inline(always)]
            fn from_f64($f: f64) -> Self {
                $from_f
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                let $s = self;
                $to_f
            }
            #[inline(always)]
            fn from_i64($i: i64) -> Self {
                $from_i
            }
            #[inline(always)]
            fn to_i64(self) -> i64 {
                let $r = self;
                $to_i
            }
            fn from_bytes(bytes: &[u8]) -> Option<Vec<Self>> {
                if !bytes.len().is_multiple_of(size_of::<$t>()) {
                    return None;
                }
                element_bytes!($d, $t, bytes)
            }
        }
    };
}
macro_rules! element_bytes {
    (Bool, $t:ty, $b:ident) => {
        $b.iter()
            .map(|&v| match v {
                0 => Some(false),
                1 => Some(true),
                _ => None,
            })
            .collect()
    };
    ($d:ident, $t:ty, $b:ident) => {
        Some(bytemuck::pod_collect_to_vec::<u8, $t>($b))
    };
}

element!(f32, F32, 0.0, |v| v as f32, |s| s as f64, |i| i as f32, |r| r as i64);
element!(f64, F64, 0.0, |v| v, |s| s, |i| i as f64, |r| r as i64);
element!(
    f16,
    F16,
    f16::ZERO,
    |v| f16::from_f32(v as f32),
    |s| s.to_f64(),
    |i| f16::from_f32(i as f32),
    |r| r.to_f32() as i64
);
element!(
    bf16,
    BF16,
    bf16::ZERO,
    |v| bf16::from_f32(v as f32),
    |s| s.to_f64(),
    |i| bf16::from_f32(i as f32),
    |r| r.to_f32() as i64
);
element!(i64, I64, 0, |v| v as i64, |s| s as f64, |i| i, |r| r);
element!(i32, I32, 0, |v| v as i64 as i32, |s| s as f64, |i| i as i32, |r| r as i64);
element!(u8, U8, 0, |v| v as i64 as u8, |s| s as f64, |i| i as u8, |r| r as i64);
element!(bool, Bool, false, |v| v != 0.0, |s| s as u8 as f64, |i| i != 0, |r| r as i64);

/// Runs a block with `$t` bound to the Rust type of a dtype.
///
/// ```
/// use hadal_core::{dispatch, DType};
/// let size = dispatch!(DType::F16, T => size_of::<T>());
/// assert_eq!(size, 2);
/// ```
#[macro_export]
macro_rules! dispatch {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            $crate::DType::F32 => {
                type $t = f32;
                $body
            }
            $crate::DType::F64 => {
                type $t = f64;
                $body
            }
            $crate::DType::F16 => {
                type $t = $crate::half::f16;
                $body
            }
            $crate::DType::BF16 => {
                type $t = $crate::half::bf16;
                $body
            }
            $crate::DType::I64 => {
                type $t = i64;
                $body
            }
            $crate::DType::I32 => {
                type $t = i32;
                $body
            }
            $crate::DType::U8 => {
                type $t = u8;
                $body
            }
            $crate::DType::Bool => {
                type $t = bool;
                $body
            }
        }
    };
}
