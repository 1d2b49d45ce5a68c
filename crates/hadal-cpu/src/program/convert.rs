//! Between storage and compute types: how elements come into a block and leave it.

use super::blocks::bf16_bits;
use super::isa::versions;
use crate::simd::Level;
use hadal_core::DType;
use half::{bf16, f16};

/// `copy(dst, src, n)`: both valid for `n` elements, aligned, not overlapping.
pub(super) type CopyFn = unsafe fn(*mut u8, *const u8, usize);
/// `gather(dst, src, stride, n)`: element `i` is read at `src + i·stride`, counted in elements.
pub(super) type GatherFn = unsafe fn(*mut u8, *const u8, isize, usize);

/// One element, storage to compute or back.
trait To<U> {
    fn to(self) -> U;
}
macro_rules! to {
    ($($t:ty => $u:ty, |$x:ident| $e:expr;)*) => {
        $(impl To<$u> for $t {
            #[inline(always)]
            fn to(self) -> $u {
                let $x = self;
                $e
            }
        })*
    };
}
to! {
    f32 => f32, |x| x;
    f64 => f64, |x| x;
    i64 => i64, |x| x;
    u8 => u8, |x| x;
    f16 => f32, |x| x.to_f32();
    bf16 => f32, |x| f32::from_bits((x.to_bits() as u32) << 16);
    i32 => i64, |x| x as i64;
    u8 => i64, |x| x as i64;
    f32 => f16, |x| f16::from_f32(x);
    f32 => bf16, |x| bf16::from_bits(bf16_bits(x));
    i64 => i32, |x| x as i32;
    i64 => u8, |x| x as u8;
}

#[inline(always)]
unsafe fn body_copy<T: Copy + To<U>, U>(dst: *mut u8, src: *const u8, n: usize) {
    // SAFETY: see `CopyFn`.
    let (d, s) = unsafe {
        (std::slice::from_raw_parts_mut(dst.cast::<U>(), n), std::slice::from_raw_parts(src.cast::<T>(), n))
    };
    for (d, &s) in d.iter_mut().zip(s) {
        *d = s.to();
    }
}
versions!(pick_copy, CopyFn, body_copy, [T, U], [T: Copy + To<U>],
    (dst: *mut u8, src: *const u8, n: usize));

unsafe fn plain_copy<const SIZE: usize>(dst: *mut u8, src: *const u8, n: usize) {
    // SAFETY: see `CopyFn`.
    unsafe { std::ptr::copy_nonoverlapping(src, dst, n * SIZE) }
}

#[inline(always)]
unsafe fn body_gather<T: Copy + To<U>, U: Copy>(dst: *mut u8, src: *const u8, stride: isize, n: usize) {
    let (d, s) = (dst.cast::<U>(), src.cast::<T>());
    if stride == 0 {
        // SAFETY: see `GatherFn`.
        unsafe { std::slice::from_raw_parts_mut(d, n) }.fill(unsafe { s.read() }.to());
        return;
    }
    for i in 0..n {
        // SAFETY: see `GatherFn`.
        unsafe { d.add(i).write(s.offset(i as isize * stride).read().to()) }
    }
}

versions!(pick_gather, GatherFn, body_gather, [T, U], [T: Copy + To<U>, U: Copy],
    (dst: *mut u8, src: *const u8, stride: isize, n: usize));

/// A run of consecutive elements of a storage dtype, as its compute type.
pub(super) fn load_copy(level: Level, dtype: DType) -> CopyFn {
    match dtype {
        DType::F32 => plain_copy::<4>,
        DType::F64 | DType::I64 => plain_copy::<8>,
        DType::Bool => plain_copy::<1>,
        #[cfg(target_arch = "x86_64")]
        DType::F16 if level != Level::Portable => super::x86::load_f16,
        DType::F16 => pick_copy::<f16, f32>(level),
        DType::BF16 => pick_copy::<bf16, f32>(level),
        DType::I32 => pick_copy::<i32, i64>(level),
        DType::U8 => pick_copy::<u8, i64>(level),
    }
}

/// Elements of a storage dtype at any distance, as its compute type.
pub(super) fn load_gather(level: Level, dtype: DType) -> GatherFn {
    match dtype {
        DType::F32 => pick_gather::<f32, f32>(level),
        DType::F64 => pick_gather::<f64, f64>(level),
        DType::I64 => pick_gather::<i64, i64>(level),
        DType::Bool => pick_gather::<u8, u8>(level),
        DType::F16 => pick_gather::<f16, f32>(level),
        DType::BF16 => pick_gather::<bf16, f32>(level),
        DType::I32 => pick_gather::<i32, i64>(level),
        DType::U8 => pick_gather::<u8, i64>(level),
    }
}

/// A block of the compute type to consecutive elements of the storage dtype.
pub(super) fn store_copy(level: Level, dtype: DType) -> CopyFn {
    match dtype {
        DType::F32 => plain_copy::<4>,
        DType::F64 | DType::I64 => plain_copy::<8>,
        DType::Bool => plain_copy::<1>,
        #[cfg(target_arch = "x86_64")]
        DType::F16 if level != Level::Portable => super::x86::store_f16,
        DType::F16 => pick_copy::<f32, f16>(level),
        DType::BF16 => pick_copy::<f32, bf16>(level),
        DType::I32 => pick_copy::<i64, i32>(level),
        DType::U8 => pick_copy::<i64, u8>(level),
    }
}

/// A block to consecutive elements of the same type past the caches, where the machine can. Ends
/// with a fence (`Worker::done`).
pub(super) fn stream_copy(level: Level, dtype: DType) -> Option<CopyFn> {
    #[cfg(target_arch = "x86_64")]
    if level != Level::Portable {
        return match dtype.size() {
            8 => Some(super::x86::stream::<8>),
            4 => Some(super::x86::stream::<4>),
            _ => Some(super::x86::stream::<1>),
        };
    }
    let _ = (level, dtype);
    None
}
