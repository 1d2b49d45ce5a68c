//! Rows taken apart into every fourth element, and put together again.

use crate::vector::{Plain, Vector};

/// A vector type with shuffles by four.
pub(super) trait Deal: Vector {
    /// Elements 0, 4, 8, …; 1, 5, …; 2, 6, …; 3, 7, … of four vectors' memory.
    ///
    /// # Safety
    /// As for [`Vector::load`], of four vectors.
    unsafe fn deal(from: *const Self::Elem) -> [Self; 4];
    /// The inverse of [`Deal::deal`].
    ///
    /// # Safety
    /// As for [`Vector::store`], of four vectors.
    unsafe fn join(parts: [Self; 4], to: *mut Self::Elem);
}

impl Deal for Plain<f32, 4> {
    #[inline(always)]
    unsafe fn deal(from: *const f32) -> [Self; 4] {
        // SAFETY: sixteen elements.
        let all: [f32; 16] = unsafe { from.cast::<[f32; 16]>().read_unaligned() };
        std::array::from_fn(|j| {
            let part: [f32; 4] = std::array::from_fn(|t| all[4 * t + j]);
            // SAFETY: a vector's elements.
            unsafe { Self::load(part.as_ptr()) }
        })
    }
    #[inline(always)]
    unsafe fn join(parts: [Self; 4], to: *mut f32) {
        let mut all = [0.0f32; 16];
        for (j, part) in parts.into_iter().enumerate() {
            let mut elements = [0.0f32; 4];
            // SAFETY: a vector's elements.
            unsafe { part.store(elements.as_mut_ptr()) };
            elements.into_iter().enumerate().for_each(|(t, v)| all[4 * t + j] = v);
        }
        // SAFETY: sixteen elements.
        unsafe { to.cast::<[f32; 16]>().write_unaligned(all) }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Deal;
    use crate::vector::Vector;
    use std::arch::x86_64::*;

    impl Deal for __m256 {
        #[inline(always)]
        unsafe fn deal(from: *const f32) -> [Self; 4] {
            // SAFETY: four vectors; the machine has AVX2.
            unsafe {
                let v = [
                    Self::load(from),
                    Self::load(from.add(8)),
                    Self::load(from.add(16)),
                    Self::load(from.add(24)),
                ];
                // Halves of 128 bits: [0 4 .. of v0, of v1 | the same of the upper halves].
                let even = [_mm256_shuffle_ps::<0x88>(v[0], v[1]), _mm256_shuffle_ps::<0x88>(v[2], v[3])];
                let odd = [_mm256_shuffle_ps::<0xdd>(v[0], v[1]), _mm256_shuffle_ps::<0xdd>(v[2], v[3])];
                let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
                [
                    _mm256_permutevar8x32_ps(_mm256_shuffle_ps::<0x88>(even[0], even[1]), order),
                    _mm256_permutevar8x32_ps(_mm256_shuffle_ps::<0x88>(odd[0], odd[1]), order),
                    _mm256_permutevar8x32_ps(_mm256_shuffle_ps::<0xdd>(even[0], even[1]), order),
                    _mm256_permutevar8x32_ps(_mm256_shuffle_ps::<0xdd>(odd[0], odd[1]), order),
                ]
            }
        }
        #[inline(always)]
        unsafe fn join(parts: [Self; 4], to: *mut f32) {
            // SAFETY: as above.
            unsafe {
                let [a, b, c, d] = parts;
                let (ab, cd) = (_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d));
                let (ab2, cd2) = (_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d));
                // Tiles 0 | 4, 1 | 5, 2 | 6, 3 | 7.
                let t = [
                    _mm256_shuffle_ps::<0x44>(ab, cd),
                    _mm256_shuffle_ps::<0xee>(ab, cd),
                    _mm256_shuffle_ps::<0x44>(ab2, cd2),
                    _mm256_shuffle_ps::<0xee>(ab2, cd2),
                ];
                _mm256_permute2f128_ps::<0x20>(t[0], t[1]).store(to);
                _mm256_permute2f128_ps::<0x20>(t[2], t[3]).store(to.add(8));
                _mm256_permute2f128_ps::<0x31>(t[0], t[1]).store(to.add(16));
                _mm256_permute2f128_ps::<0x31>(t[2], t[3]).store(to.add(24));
            }
        }
    }

    impl Deal for __m512 {
        #[inline(always)]
        unsafe fn deal(from: *const f32) -> [Self; 4] {
            // SAFETY: four vectors; the machine has AVX-512.
            unsafe {
                let v = [
                    Self::load(from),
                    Self::load(from.add(16)),
                    Self::load(from.add(32)),
                    Self::load(from.add(48)),
                ];
                // Elements 0 mod 4 of two vectors, then those 1 mod 4; and so on.
                let first = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 1, 5, 9, 13, 17, 21, 25, 29);
                let second = _mm512_setr_epi32(2, 6, 10, 14, 18, 22, 26, 30, 3, 7, 11, 15, 19, 23, 27, 31);
                let lo =
                    [_mm512_permutex2var_ps(v[0], first, v[1]), _mm512_permutex2var_ps(v[2], first, v[3])];
                let hi =
                    [_mm512_permutex2var_ps(v[0], second, v[1]), _mm512_permutex2var_ps(v[2], second, v[3])];
                [
                    _mm512_shuffle_f32x4::<0x44>(lo[0], lo[1]),
                    _mm512_shuffle_f32x4::<0xee>(lo[0], lo[1]),
                    _mm512_shuffle_f32x4::<0x44>(hi[0], hi[1]),
                    _mm512_shuffle_f32x4::<0xee>(hi[0], hi[1]),
                ]
            }
        }
        #[inline(always)]
        unsafe fn join(parts: [Self; 4], to: *mut f32) {
            // SAFETY: as above.
            unsafe {
                let [a, b, c, d] = parts;
                let (ab, cd) = (_mm512_unpacklo_ps(a, b), _mm512_unpacklo_ps(c, d));
                let (ab2, cd2) = (_mm512_unpackhi_ps(a, b), _mm512_unpackhi_ps(c, d));
                // Part i of vector j is tile 4 i + j.
                let t = [
                    _mm512_shuffle_ps::<0x44>(ab, cd),
                    _mm512_shuffle_ps::<0xee>(ab, cd),
                    _mm512_shuffle_ps::<0x44>(ab2, cd2),
                    _mm512_shuffle_ps::<0xee>(ab2, cd2),
                ];
                // A transpose of 4 by 4 parts.
                let (u0, u1) =
                    (_mm512_shuffle_f32x4::<0x44>(t[0], t[1]), _mm512_shuffle_f32x4::<0x44>(t[2], t[3]));
                let (u2, u3) =
                    (_mm512_shuffle_f32x4::<0xee>(t[0], t[1]), _mm512_shuffle_f32x4::<0xee>(t[2], t[3]));
                _mm512_shuffle_f32x4::<0x88>(u0, u1).store(to);
                _mm512_shuffle_f32x4::<0xdd>(u0, u1).store(to.add(16));
                _mm512_shuffle_f32x4::<0x88>(u2, u3).store(to.add(32));
                _mm512_shuffle_f32x4::<0xdd>(u2, u3).store(to.add(48));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Level, level};

    unsafe fn there_and_back<V: Deal<Elem = f32>>() {
        let from: Vec<f32> = (0..4 * V::LANES).map(|i| i as f32).collect();
        let mut to = vec![0.0f32; 4 * V::LANES];
        let mut part = vec![0.0f32; V::LANES];
        // SAFETY: four vectors on both sides; the caller has the instructions.
        unsafe {
            let parts = V::deal(from.as_ptr());
            for (j, v) in parts.into_iter().enumerate() {
                v.store(part.as_mut_ptr());
                let want: Vec<f32> = (0..V::LANES).map(|t| (4 * t + j) as f32).collect();
                assert_eq!(part, want);
            }
            V::join(parts, to.as_mut_ptr());
        }
        assert_eq!(from, to);
    }

    #[test]
    fn dealing_and_joining_are_inverse() {
        // SAFETY: plain arrays need no instructions.
        unsafe { there_and_back::<Plain<f32, 4>>() };
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "avx2,fma")]
            unsafe fn avx2() {
                // SAFETY: this function has the instructions.
                unsafe { there_and_back::<std::arch::x86_64::__m256>() }
            }
            #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
            unsafe fn avx512() {
                // SAFETY: as above.
                unsafe { there_and_back::<std::arch::x86_64::__m512>() }
            }
            if level() >= Level::Avx2 {
                // SAFETY: the level says that the machine has them.
                unsafe { avx2() };
            }
            if level() >= Level::Avx512 {
                // SAFETY: as above.
                unsafe { avx512() };
            }
        }
    }
}
