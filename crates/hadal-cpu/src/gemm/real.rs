//! The element types kernels compute in, and those they read and write.

use super::driver::Operand;
use super::kernel_portable::{PORTABLE_F32, PORTABLE_F64};
#[cfg(target_arch = "x86_64")]
use super::kernel_x86::{AVX2_F32, AVX2_F64, AVX512_F32, AVX512_F64};
use super::tables::{Kernels, Set};
use crate::simd::{Level, level};
use bytemuck::Pod;
use hadal_core::Element;
use half::{bf16, f16};
use std::ops::{Add, AddAssign, Mul};

/// A float that kernels compute in: f32 or f64.
pub(crate) trait Real:
    Element + Pod + Default + PartialOrd + Add<Output = Self> + Mul<Output = Self> + AddAssign
{
    /// Smaller than every number.
    const LOWEST: Self;
    /// Longest block of k that is packed at once. Measured: longer blocks write C less often, and
    /// panels are read from the second-level cache as quickly as they are used.
    const K_BLOCK: usize;
    /// Whether this is not a number.
    fn is_nan(self) -> bool;
    /// The kernels of this machine, as far as [`crate::simd::limit_level`] allows.
    fn kernels() -> &'static Kernels<Self>;
}

impl Real for f32 {
    const LOWEST: f32 = f32::NEG_INFINITY;
    const K_BLOCK: usize = 384;
    #[inline(always)]
    fn is_nan(self) -> bool {
        f32::is_nan(self)
    }
    fn kernels() -> &'static Kernels<f32> {
        match level() {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => &AVX512_F32,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => &AVX2_F32,
            _ => &PORTABLE_F32,
        }
    }
}
impl Real for f64 {
    const LOWEST: f64 = f64::NEG_INFINITY;
    const K_BLOCK: usize = 256;
    #[inline(always)]
    fn is_nan(self) -> bool {
        f64::is_nan(self)
    }
    fn kernels() -> &'static Kernels<f64> {
        match level() {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => &AVX512_F64,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => &AVX2_F64,
            _ => &PORTABLE_F64,
        }
    }
}

/// A float type in memory that is computed in `T`.
pub(crate) trait Source<T: Real>: Element + Pod {
    /// Whether memory can be used as `T` without conversion.
    const SAME: bool;
    /// The kernels that multiply these on this machine.
    fn set() -> Set<T> {
        Set { ks: T::kernels(), unit: 1 }
    }
    /// See `super::pairs::pack`.
    ///
    /// # Safety
    /// As there; only where [`Source::set`] takes two elements a step.
    unsafe fn pack_pairs(
        _src: Operand<Self>,
        _cols: usize,
        _nr: usize,
        _rest: usize,
        _elements: usize,
        _dst: *mut T,
    ) {
    }
    /// Converts one value.
    fn widen(self) -> T;
    /// Rounds one value.
    fn narrow(v: T) -> Self;
    /// Converts a slice; both have the same length.
    fn widen_into(src: &[Self], dst: &mut [T]) {
        for (d, s) in dst.iter_mut().zip(src) {
            *d = s.widen();
        }
    }
    /// Rounds a slice; both have the same length.
    fn narrow_into(src: &[T], dst: &mut [Self]) {
        for (d, &s) in dst.iter_mut().zip(src) {
            *d = Self::narrow(s);
        }
    }
}

impl<T: Real> Source<T> for T {
    const SAME: bool = true;
    fn widen(self) -> T {
        self
    }
    fn narrow(v: T) -> T {
        v
    }
}

impl Source<f32> for bf16 {
    const SAME: bool = false;
    #[cfg(target_arch = "x86_64")]
    fn set() -> Set<f32> {
        if crate::simd::bf16_pairs() {
            return Set { ks: &super::pairs::AVX512_PAIRS, unit: 2 };
        }
        Set { ks: f32::kernels(), unit: 1 }
    }
    #[cfg(target_arch = "x86_64")]
    unsafe fn pack_pairs(
        src: Operand<bf16>,
        cols: usize,
        nr: usize,
        rest: usize,
        elements: usize,
        dst: *mut f32,
    ) {
        // SAFETY: the caller's promise.
        unsafe { super::pairs::pack(src, cols, nr, rest, elements, dst) }
    }
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits((self.to_bits() as u32) << 16)
    }
    #[inline(always)]
    fn narrow(v: f32) -> bf16 {
        // Round to nearest even; a NaN stays one, made quiet. Without branches, so that it
        // vectorises.
        let b = v.to_bits();
        let rounded = b.wrapping_add(0x7fff + ((b >> 16) & 1)) >> 16;
        let nan = (b >> 16) | 0x40;
        bf16::from_bits(if v.is_nan() { nan as u16 } else { rounded as u16 })
    }
    fn widen_into(src: &[bf16], dst: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        if level() >= Level::Avx2 {
            // SAFETY: this level includes AVX2.
            return unsafe { wide_bf16::widen(src, dst) };
        }
        dst.iter_mut().zip(src).for_each(|(d, s)| *d = s.widen());
    }
    fn narrow_into(src: &[f32], dst: &mut [bf16]) {
        #[cfg(target_arch = "x86_64")]
        if level() >= Level::Avx2 {
            // SAFETY: this level includes AVX2.
            return unsafe { wide_bf16::narrow(src, dst) };
        }
        dst.iter_mut().zip(src).for_each(|(d, &s)| *d = bf16::narrow(s));
    }
}

/// The plain loops, compiled for wider vectors.
#[cfg(target_arch = "x86_64")]
mod wide_bf16 {
    use super::{Source, bf16};

    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn widen(src: &[bf16], dst: &mut [f32]) {
        dst.iter_mut().zip(src).for_each(|(d, s)| *d = s.widen());
    }

    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn narrow(src: &[f32], dst: &mut [bf16]) {
        dst.iter_mut().zip(src).for_each(|(d, &s)| *d = bf16::narrow(s));
    }
}

impl Source<f32> for f16 {
    const SAME: bool = false;
    fn widen(self) -> f32 {
        self.to_f32()
    }
    fn narrow(v: f32) -> f16 {
        f16::from_f32(v)
    }
    fn widen_into(src: &[f16], dst: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        if level() >= Level::Avx2 {
            // SAFETY: this level includes F16C.
            return unsafe { f16c::widen(src, dst) };
        }
        for (d, s) in dst.iter_mut().zip(src) {
            *d = s.to_f32();
        }
    }
    fn narrow_into(src: &[f32], dst: &mut [f16]) {
        #[cfg(target_arch = "x86_64")]
        if level() >= Level::Avx2 {
            // SAFETY: this level includes F16C.
            return unsafe { f16c::narrow(src, dst) };
        }
        for (d, &s) in dst.iter_mut().zip(src) {
            *d = f16::from_f32(s);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod f16c {
    use half::f16;
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx2,f16c")]
    pub(super) unsafe fn widen(src: &[f16], dst: &mut [f32]) {
        let (s, sr) = src.as_chunks::<8>();
        let (d, dr) = dst.as_chunks_mut::<8>();
        for (d, s) in d.iter_mut().zip(s) {
            // SAFETY: eight elements on both sides.
            unsafe { _mm256_storeu_ps(d.as_mut_ptr(), _mm256_cvtph_ps(_mm_loadu_si128(s.as_ptr().cast()))) }
        }
        for (d, s) in dr.iter_mut().zip(sr) {
            *d = s.to_f32();
        }
    }

    #[target_feature(enable = "avx2,f16c")]
    pub(super) unsafe fn narrow(src: &[f32], dst: &mut [f16]) {
        let (s, sr) = src.as_chunks::<8>();
        let (d, dr) = dst.as_chunks_mut::<8>();
        for (d, s) in d.iter_mut().zip(s) {
            // SAFETY: eight elements on both sides.
            unsafe {
                let v = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(_mm256_loadu_ps(s.as_ptr()));
                _mm_storeu_si128(d.as_mut_ptr().cast(), v);
            }
        }
        for (d, &s) in dr.iter_mut().zip(sr) {
            *d = f16::from_f32(s);
        }
    }
}
