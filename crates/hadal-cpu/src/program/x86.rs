//! What needs x86-64 instructions by name: IEEE half conversions by F16C, which round as `half` does,
//! and stores that go past the caches.

use super::blocks::PAD;
use std::arch::x86_64::*;

/// To nearest, ties to even.
const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT;

/// Rounds `n` f32 (a multiple of [`PAD`]) to half precision in place; see
/// [`Kernel`](super::blocks::Kernel).
#[target_feature(enable = "avx,f16c")]
pub(super) unsafe fn round_f16(d: *mut u8, _: *const u8, _: *const u8, _: *const u8, n: usize, _: u32) {
    let d = d.cast::<f32>();
    for i in (0..n & !(PAD - 1)).step_by(8) {
        // SAFETY: the caller promises `n` elements at `d`, and i + 8 <= n.
        unsafe {
            let h = _mm256_cvtps_ph::<NEAREST>(_mm256_loadu_ps(d.add(i)));
            _mm256_storeu_ps(d.add(i), _mm256_cvtph_ps(h));
        }
    }
}

/// `n` f32 at `src` to `n` halves at `dst`; neither overlaps the other.
#[target_feature(enable = "avx,f16c")]
pub(super) unsafe fn store_f16(dst: *mut u8, src: *const u8, n: usize) {
    let (d, s) = (dst.cast::<half::f16>(), src.cast::<f32>());
    let whole = n & !7;
    for i in (0..whole).step_by(8) {
        // SAFETY: the caller promises `n` elements at both, and i + 8 <= n.
        unsafe {
            let h = _mm256_cvtps_ph::<NEAREST>(_mm256_loadu_ps(s.add(i)));
            _mm_storeu_si128(d.add(i).cast(), h);
        }
    }
    for i in whole..n {
        // SAFETY: i < n.
        unsafe { d.add(i).write(half::f16::from_f32(s.add(i).read())) }
    }
}

/// `n` halves at `src` to `n` f32 at `dst`; neither overlaps the other.
#[target_feature(enable = "avx,f16c")]
pub(super) unsafe fn load_f16(dst: *mut u8, src: *const u8, n: usize) {
    let (d, s) = (dst.cast::<f32>(), src.cast::<half::f16>());
    let whole = n & !7;
    for i in (0..whole).step_by(8) {
        // SAFETY: the caller promises `n` elements at both, and i + 8 <= n.
        unsafe { _mm256_storeu_ps(d.add(i), _mm256_cvtph_ps(_mm_loadu_si128(s.add(i).cast()))) }
    }
    for i in whole..n {
        // SAFETY: i < n.
        unsafe { d.add(i).write(s.add(i).read().to_f32()) }
    }
}

/// Copies `n` elements of `SIZE` bytes past the caches, where `dst` and the length are whole cache
/// lines. The caller calls [`fence`] before another thread may read.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn stream<const SIZE: usize>(dst: *mut u8, src: *const u8, n: usize) {
    let n = n * SIZE;
    if (dst as usize | n) & 63 != 0 {
        // SAFETY: the caller promises `n` elements at both, not overlapping.
        return unsafe { std::ptr::copy_nonoverlapping(src, dst, n) };
    }
    for i in (0..n).step_by(64) {
        // SAFETY: i + 64 <= n; `dst + i` is a multiple of 64.
        unsafe {
            let a = _mm256_loadu_si256(src.add(i).cast());
            let b = _mm256_loadu_si256(src.add(i + 32).cast());
            _mm256_stream_si256(dst.add(i).cast(), a);
            _mm256_stream_si256(dst.add(i + 32).cast(), b);
        }
    }
}
