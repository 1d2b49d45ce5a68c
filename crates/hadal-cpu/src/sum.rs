//! How the adding index kernels add: halves in f32, integers wrapping, truth values by "or".

use hadal_core::Storage;
use hadal_core::half::{bf16, f16};

/// A stored element that can be summed.
pub(crate) trait Accumulate: Storage {
    /// The storage type buffers are viewed as.
    type Stored: Storage;
    /// What sums are kept in.
    type Acc: Storage;
    /// The empty sum.
    const ZERO: Self::Acc;
    /// As a summand.
    fn lift(self) -> Self::Acc;
    /// One more summand.
    fn add(a: Self::Acc, b: Self::Acc) -> Self::Acc;
    /// The sum, rounded once.
    fn lower(acc: Self::Acc) -> Self;
}

macro_rules! accumulate {
    ($t:ty, $stored:ty, $acc:ty, $zero:expr, |$v:ident| $lift:expr, |$a:ident, $b:ident| $add:expr, |$s:ident| $lower:expr) => {
        impl Accumulate for $t {
            type Stored = $stored;
            type Acc = $acc;
            const ZERO: $acc = $zero;
            #[inline(always)]
            fn lift(self) -> $acc {
                let $v = self;
                $lift
            }
            #[inline(always)]
            fn add($a: $acc, $b: $acc) -> $acc {
                $add
            }
            #[inline(always)]
            fn lower($s: $acc) -> $t {
                $lower
            }
        }
    };
}
accumulate!(f32, f32, f32, 0.0, |v| v, |a, b| a + b, |s| s);
accumulate!(f64, f64, f64, 0.0, |v| v, |a, b| a + b, |s| s);
accumulate!(f16, f16, f32, 0.0, |v| v.to_f32(), |a, b| a + b, |s| f16::from_f32(s));
accumulate!(bf16, bf16, f32, 0.0, |v| v.to_f32(), |a, b| a + b, |s| bf16::from_f32(s));
accumulate!(i64, i64, i64, 0, |v| v, |a, b| a.wrapping_add(b), |s| s);
accumulate!(i32, i32, i32, 0, |v| v, |a, b| a.wrapping_add(b), |s| s);
accumulate!(u8, u8, u8, 0, |v| v, |a, b| a.wrapping_add(b), |s| s);
accumulate!(Truth, u8, Truth, Truth(0), |v| v, |a, b| Truth(a.0 | b.0), |s| s);

/// A stored truth value: 0 or 1.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(transparent)]
pub(crate) struct Truth(pub(crate) u8);

// SAFETY: a transparent u8, for which all-zero bytes are a value.
unsafe impl bytemuck::Zeroable for Truth {}
// SAFETY: a transparent u8: any byte is a value, no padding, Copy and 'static.
unsafe impl bytemuck::Pod for Truth {}
impl Storage for Truth {}

/// As `dispatch_storage!`, but bool is [`Truth`].
macro_rules! dispatch_sum {
    ($dtype:expr, $t:ident => $body:expr) => {
        if $dtype == hadal_core::DType::Bool {
            type $t = $crate::sum::Truth;
            $body
        } else {
            hadal_core::dispatch_storage!($dtype, $t => $body)
        }
    };
}
pub(crate) use dispatch_sum;
