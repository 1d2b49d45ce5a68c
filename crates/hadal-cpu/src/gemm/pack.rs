//! Packing: a strip of a strided matrix becomes a panel that a micro-kernel reads front to back.

use super::driver::Operand;
use super::real::{Real, Source};
use super::tables::{Kernels, Set};
use crate::scratch::Scratch;
use crate::vector::Vector;

/// Packs a panel of an operand from lane `first` and step `p0` on: `lanes` lanes, and zeros up to `width`.
///
/// # Safety
/// The operand is valid for these lanes and `k` steps; `dst` has room.
pub(crate) unsafe fn pack_panel<S: Source<T>, T: Real>(
    ks: &Kernels<T>,
    src: Operand<S>,
    lanes: usize,
    first: usize,
    width: usize,
    (p0, k): (usize, usize),
    dst: *mut T,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let Operand { ptr, lane, step } = src.from(first, p0);
        if S::SAME {
            return (ks.pack)(ptr.cast(), lane, step, lanes, width, k, dst);
        }
        // Other types are converted on the way, along whichever dimension is contiguous.
        if lane == 1 {
            for p in 0..k {
                let d = std::slice::from_raw_parts_mut(dst.add(p * width), width);
                let s = std::slice::from_raw_parts(ptr.offset(p as isize * step), lanes);
                S::widen_into(s, &mut d[..lanes]);
                d[lanes..].fill(T::ZERO);
            }
            return;
        }
        let mut tmp = Scratch::<T>::new(lanes * k);
        let tmp = tmp.slice();
        for (i, row) in tmp.chunks_exact_mut(k).enumerate() {
            let s = ptr.offset(i as isize * lane);
            if step == 1 {
                S::widen_into(std::slice::from_raw_parts(s, k), row);
            } else {
                for (p, d) in row.iter_mut().enumerate() {
                    *d = (*s.offset(p as isize * step)).widen();
                }
            }
        }
        (ks.pack)(tmp.as_ptr(), k as isize, 1, lanes, width, k, dst);
    }
}

/// Packs one panel for a set of kernels, `elements` of k from the operand's beginning.
///
/// # Safety
/// The operand is valid for `lanes` lanes and that many elements; `dst` has room.
pub(super) unsafe fn pack_strip<S: Source<T>, T: Real>(
    set: Set<T>,
    src: Operand<S>,
    lanes: usize,
    width: usize,
    elements: usize,
    dst: *mut T,
) {
    // SAFETY: the caller's promise.
    unsafe {
        if set.unit == 1 {
            pack_panel(set.ks, src, lanes, 0, width, (0, elements), dst);
        } else {
            S::pack_pairs(src, lanes, width, width, elements, dst);
        }
    }
}

/// Packs `cols` lanes as panels of `nr` one behind the other; the last has the width of its whole vectors.
///
/// # Safety
/// As for [`pack_strip`].
pub(super) unsafe fn pack_columns<S: Source<T>, T: Real>(
    set: Set<T>,
    src: Operand<S>,
    cols: usize,
    nr: usize,
    elements: usize,
    dst: *mut T,
) {
    // SAFETY: the caller's promise; panel by panel.
    unsafe {
        if S::SAME && src.lane == 1 {
            return (set.ks.pack_rows)(src.ptr.cast(), src.step, cols, nr, elements, dst);
        }
        if set.unit == 2 {
            let rest = (cols % nr).next_multiple_of(set.ks.lanes);
            return S::pack_pairs(src, cols, nr, rest, elements, dst);
        }
        for j in (0..cols).step_by(nr) {
            let lanes = nr.min(cols - j);
            let width = lanes.next_multiple_of(set.ks.lanes);
            pack_strip::<S, T>(set, src.from(j, 0), lanes, width, elements, dst.add(j * elements));
        }
    }
}

/// Rows ahead of the one being copied that are asked for: they often lie on other pages, which the machine
/// does not fetch by itself.
const ROWS_AHEAD: usize = 4;

/// Packs `cols` contiguous lanes by `k` steps as panels of `nr` (whole vectors), row by row.
///
/// # Safety
/// `src` is valid for what is read, `dst` for the panels; the machine has `V`'s instructions.
#[inline(always)]
pub(super) unsafe fn panels_of_rows<V: Vector>(
    src: *const V::Elem,
    step: isize,
    cols: usize,
    nr: usize,
    k: usize,
    dst: *mut V::Elem,
) {
    let (whole, rest) = (cols / nr, cols % nr);
    let rest_width = rest.next_multiple_of(V::LANES);
    // SAFETY: rows `p < k`, columns below `cols`.
    unsafe {
        for p in 0..k {
            let row = src.offset(p as isize * step);
            if p + ROWS_AHEAD < k {
                let ahead = src.offset((p + ROWS_AHEAD) as isize * step);
                for j in (0..cols).step_by(64 / size_of::<V::Elem>()) {
                    V::prefetch(ahead.add(j));
                }
            }
            for j in 0..whole {
                let to = dst.add(j * nr * k + p * nr);
                for v in (0..nr).step_by(V::LANES) {
                    V::load(row.add(j * nr + v)).store(to.add(v));
                }
            }
            if rest > 0 {
                let to = dst.add(whole * nr * k + p * rest_width);
                for v in (0..rest).step_by(V::LANES) {
                    let n = (rest - v).min(V::LANES);
                    V::load_first(row.add(whole * nr + v), n).store(to.add(v));
                }
            }
        }
    }
}

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
