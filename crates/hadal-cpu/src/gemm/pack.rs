//! Packing: a strip of a strided matrix becomes a panel that a micro-kernel reads front to back.

/// Packs `lanes` of `width` lanes by `k` steps into `dst[p * width + i]` from
/// `src[i * lane + p * step]`; lanes from `lanes` to `width` become zero.
///
/// # Safety
/// `src` is valid for what the formula reads, `dst` for `k * width` elements.
#[inline(always)]
#[allow(clippy::too_many_arguments)] // The numbers of the formula, each once.
unsafe fn panel<T: Copy + Default>(
    src: *const T,
    lane: isize,
    step: isize,
    lanes: usize,
    width: usize,
    k: usize,
    dst: *mut T,
    transpose: impl Fn(*const T, isize, usize, usize, *mut T) -> (usize, usize),
) {
    // SAFETY: `i < lanes <= width` and `p < k` throughout.
    unsafe {
        if lane == 1 {
            rows(src, step, lanes, width, k, dst);
            return;
        }
        if lanes < width {
            for p in 0..k {
                for i in lanes..width {
                    *dst.add(p * width + i) = T::default();
                }
            }
        }
        // The lanes and steps that the vector code has done.
        let (done, upto) = if step == 1 { transpose(src, lane, lanes, width, dst) } else { (0, 0) };
        for i in 0..lanes {
            let row = src.offset(i as isize * lane);
            for p in (if i < done { upto } else { 0 })..k {
                *dst.add(p * width + i) = *row.offset(p as isize * step);
            }
        }
    }
}

/// The case of contiguous lanes: a copy per step.
#[inline(always)]
unsafe fn rows<T: Copy + Default>(
    src: *const T,
    step: isize,
    lanes: usize,
    width: usize,
    k: usize,
    dst: *mut T,
) {
    // Whole groups of 8 become vector copies.
    let groups = lanes / 8;
    // SAFETY: as in `panel`.
    unsafe {
        for p in 0..k {
            let s = src.offset(p as isize * step);
            let d = dst.add(p * width);
            for g in 0..groups {
                let v: [T; 8] = s.add(8 * g).cast::<[T; 8]>().read_unaligned();
                d.add(8 * g).cast::<[T; 8]>().write_unaligned(v);
            }
            for i in 8 * groups..lanes {
                *d.add(i) = *s.add(i);
            }
            for i in lanes..width {
                *d.add(i) = T::default();
            }
        }
    }
}

macro_rules! portable {
    ($name:ident, $t:ty) => {
        /// See [`panel`].
        ///
        /// # Safety
        /// As for [`panel`].
        pub(crate) unsafe fn $name(
            src: *const $t,
            lane: isize,
            step: isize,
            lanes: usize,
            width: usize,
            k: usize,
            dst: *mut $t,
        ) {
            // SAFETY: the caller's promise.
            unsafe { panel(src, lane, step, lanes, width, k, dst, |_, _, _, _, _| (0, 0)) }
        }
    };
}
portable!(pack_portable_f32, f32);
portable!(pack_portable_f64, f64);

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{pack_avx2_f32, pack_avx2_f64};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::panel;
    use std::arch::x86_64::*;

    /// See [`panel`].
    ///
    /// # Safety
    /// As for [`panel`]; the machine has AVX2.
    #[target_feature(enable = "avx2")]
    pub(crate) unsafe fn pack_avx2_f32(
        src: *const f32,
        lane: isize,
        step: isize,
        lanes: usize,
        width: usize,
        k: usize,
        dst: *mut f32,
    ) {
        // SAFETY: the caller's promise; blocks of 8 and 4 lanes by as many steps stay inside `lanes`
        // by `k`, the last block of lanes by overlapping the one before.
        unsafe {
            panel(src, lane, step, lanes, width, k, dst, |src, lane, lanes, width, dst| {
                if lanes < 4 {
                    return (0, 0);
                }
                let upto = k & !7;
                for i in (0..lanes & !7).step_by(8) {
                    for p in (0..upto).step_by(8) {
                        let s = src.offset(i as isize * lane).add(p);
                        transpose_8x8(s, lane, dst.add(p * width + i), width);
                    }
                }
                let mut i = lanes & !7;
                while i < lanes {
                    let at = i.min(lanes - 4);
                    for p in (0..upto).step_by(4) {
                        let s = src.offset(at as isize * lane).add(p);
                        transpose_4x4(s, lane, dst.add(p * width + at), width);
                    }
                    i += 4;
                }
                (lanes, upto)
            });
        }
    }

    /// See [`panel`].
    ///
    /// # Safety
    /// As for [`panel`]; the machine has AVX2.
    #[target_feature(enable = "avx2")]
    pub(crate) unsafe fn pack_avx2_f64(
        src: *const f64,
        lane: isize,
        step: isize,
        lanes: usize,
        width: usize,
        k: usize,
        dst: *mut f64,
    ) {
        // SAFETY: as above with blocks of 4x4.
        unsafe {
            panel(src, lane, step, lanes, width, k, dst, |src, lane, lanes, width, dst| {
                if lanes < 4 {
                    return (0, 0);
                }
                let upto = k & !3;
                for i in (0..lanes).step_by(4) {
                    let at = i.min(lanes - 4);
                    for p in (0..upto).step_by(4) {
                        let s = src.offset(at as isize * lane).add(p);
                        transpose_4x4_f64(s, lane, dst.add(p * width + at), width);
                    }
                }
                (lanes, upto)
            });
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn transpose_8x8(src: *const f32, lane: isize, dst: *mut f32, width: usize) {
        // SAFETY: the caller's block is 8 rows of 8 elements on both sides.
        unsafe {
            let r = |i: isize| _mm256_loadu_ps(src.offset(i * lane));
            let (a0, a1) = (r(0), r(1));
            let (a2, a3) = (r(2), r(3));
            let (a4, a5) = (r(4), r(5));
            let (a6, a7) = (r(6), r(7));
            let (b0, b1) = (_mm256_unpacklo_ps(a0, a1), _mm256_unpackhi_ps(a0, a1));
            let (b2, b3) = (_mm256_unpacklo_ps(a2, a3), _mm256_unpackhi_ps(a2, a3));
            let (b4, b5) = (_mm256_unpacklo_ps(a4, a5), _mm256_unpackhi_ps(a4, a5));
            let (b6, b7) = (_mm256_unpacklo_ps(a6, a7), _mm256_unpackhi_ps(a6, a7));
            let (c0, c1) = (_mm256_shuffle_ps::<0x44>(b0, b2), _mm256_shuffle_ps::<0xee>(b0, b2));
            let (c2, c3) = (_mm256_shuffle_ps::<0x44>(b1, b3), _mm256_shuffle_ps::<0xee>(b1, b3));
            let (c4, c5) = (_mm256_shuffle_ps::<0x44>(b4, b6), _mm256_shuffle_ps::<0xee>(b4, b6));
            let (c6, c7) = (_mm256_shuffle_ps::<0x44>(b5, b7), _mm256_shuffle_ps::<0xee>(b5, b7));
            let lo = |x, y| _mm256_permute2f128_ps::<0x20>(x, y);
            let hi = |x, y| _mm256_permute2f128_ps::<0x31>(x, y);
            let out = [
                lo(c0, c4),
                lo(c1, c5),
                lo(c2, c6),
                lo(c3, c7),
                hi(c0, c4),
                hi(c1, c5),
                hi(c2, c6),
                hi(c3, c7),
            ];
            for (p, v) in out.into_iter().enumerate() {
                _mm256_storeu_ps(dst.add(p * width), v);
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn transpose_4x4(src: *const f32, lane: isize, dst: *mut f32, width: usize) {
        // SAFETY: the caller's block is 4 rows of 4 elements on both sides.
        unsafe {
            let r = |i: isize| _mm_loadu_ps(src.offset(i * lane));
            let (mut a, mut b, mut c, mut d) = (r(0), r(1), r(2), r(3));
            _MM_TRANSPOSE4_PS(&mut a, &mut b, &mut c, &mut d);
            for (p, v) in [a, b, c, d].into_iter().enumerate() {
                _mm_storeu_ps(dst.add(p * width), v);
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn transpose_4x4_f64(src: *const f64, lane: isize, dst: *mut f64, width: usize) {
        // SAFETY: the caller's block is 4 rows of 4 elements on both sides.
        unsafe {
            let r = |i: isize| _mm256_loadu_pd(src.offset(i * lane));
            let (a, b, c, d) = (r(0), r(1), r(2), r(3));
            let (e, f) = (_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b));
            let (g, h) = (_mm256_unpacklo_pd(c, d), _mm256_unpackhi_pd(c, d));
            _mm256_storeu_pd(dst, _mm256_permute2f128_pd::<0x20>(e, g));
            _mm256_storeu_pd(dst.add(width), _mm256_permute2f128_pd::<0x20>(f, h));
            _mm256_storeu_pd(dst.add(2 * width), _mm256_permute2f128_pd::<0x31>(e, g));
            _mm256_storeu_pd(dst.add(3 * width), _mm256_permute2f128_pd::<0x31>(f, h));
        }
    }
}
