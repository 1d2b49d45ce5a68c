//! How one body is compiled for every instruction set.
//!
//! All levels give the same bits: the formulas fix the order of operations, and nothing contracts a
//! product and a sum into one rounding unless a formula says so.

/// Defines `fn $pick::<generics>(isa) -> $ty`, which compiles the `#[inline(always)]` function
/// `$body` once for each level and returns the one asked for.
macro_rules! versions {
    ($pick:ident, $ty:ty, $body:ident, [$($g:ident),*], [$($bound:tt)*], ($($arg:ident: $at:ty),*) $(-> $out:ty)?) => {
        fn $pick<$($g),*>(isa: $crate::simd::Level) -> $ty where $($bound)* {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma,avx2,f16c")]
            unsafe fn v4<$($g),*>($($arg: $at),*) $(-> $out)? where $($bound)* {
                // SAFETY: the caller's promise is the body's.
                unsafe { $body::<$($g),*>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "fma,avx2,f16c")]
            unsafe fn v3<$($g),*>($($arg: $at),*) $(-> $out)? where $($bound)* {
                // SAFETY: the caller's promise is the body's.
                unsafe { $body::<$($g),*>($($arg),*) }
            }
            unsafe fn base<$($g),*>($($arg: $at),*) $(-> $out)? where $($bound)* {
                // SAFETY: the caller's promise is the body's.
                unsafe { $body::<$($g),*>($($arg),*) }
            }
            match isa {
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Level::Avx512 => v4::<$($g),*>,
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Level::Avx2 => v3::<$($g),*>,
                _ => base::<$($g),*>,
            }
        }
    };
}
pub(crate) use versions;
