//! Windows of two or three elements, two apart, along rows: a row of results straight from a row of
//! elements, in registers.

use crate::vector::{Plain, Vector};
use hadal_core::ops::Window;
use std::ops::Range;

/// Elements behind a line that vectors may read: four of the longest.
const SLACK: usize = 64;

/// `results[i]` from `line[2 i]`, `line[2 i + 1]` and, for three taps, `line[2 i + 2]`, in that order:
/// line, taps, results, number of results. Results may be written up to a vector beyond.
pub(crate) type RowFn<T> = unsafe fn(*const T, usize, *mut T, usize);

/// The loops of one instruction set.
#[derive(Clone, Copy)]
pub(crate) struct Halve<T> {
    /// The larger element, or NaN.
    pub max: RowFn<T>,
    pub sum: RowFn<T>,
}

/// Length of a padded line, and what may be read behind it.
pub(super) fn line_len(w: &Window) -> usize {
    w.pad_lo + w.input + w.reach() + 2 * w.output + SLACK
}

/// Results of whole rows, `pitch` apart in `to`, from the rows `range` of a plane.
#[allow(clippy::too_many_arguments)]
pub(super) fn rows<T: Copy>(
    w: &Window,
    plane: &[T],
    range: Range<usize>,
    pad: T,
    line: &mut [T],
    f: RowFn<T>,
    pitch: usize,
    to: &mut [T],
) {
    debug_assert!(line.len() >= line_len(w) && w.output <= pitch);
    let line = &mut line[..line_len(w)];
    line.fill(pad);
    let last = range.len().saturating_sub(1);
    for (i, row) in range.enumerate() {
        let from = &plane[row * w.input..][..w.input];
        line[w.pad_lo..w.pad_lo + w.input].copy_from_slice(from);
        let to = &mut to[i * pitch..];
        // What is written beyond a row is overwritten by the next; the last has its exact length.
        let n = if i == last { w.output } else { w.output.next_multiple_of(16).min(to.len()) };
        debug_assert!(n <= to.len());
        // SAFETY: the line has two elements for each result and four vectors behind them; the function
        // writes `n` results.
        unsafe { f(line.as_ptr(), w.kernel, to.as_mut_ptr(), n) };
    }
}

/// What the loops need besides a vector's usual operations.
trait Halves: Vector {
    /// The even and the odd elements of two vectors' memory.
    unsafe fn halves(from: *const Self::Elem) -> [Self; 2];
    /// Lanes of `new` that are larger than those of `self`, or NaN; else those of `self`.
    unsafe fn larger(self, new: Self) -> Self;
}

impl Halves for Plain<f32, 4> {
    #[inline(always)]
    unsafe fn halves(from: *const f32) -> [Self; 2] {
        // SAFETY: eight elements.
        let all: [f32; 8] = unsafe { from.cast::<[f32; 8]>().read_unaligned() };
        let (even, odd) = ([all[0], all[2], all[4], all[6]], [all[1], all[3], all[5], all[7]]);
        // SAFETY: a vector's elements.
        unsafe { [Self::load(even.as_ptr()), Self::load(odd.as_ptr())] }
    }
    #[inline(always)]
    unsafe fn larger(self, new: Self) -> Self {
        let (mut old, mut from) = ([0.0f32; 4], [0.0f32; 4]);
        // SAFETY: a vector's elements.
        unsafe {
            self.store(old.as_mut_ptr());
            new.store(from.as_mut_ptr());
            for (o, n) in old.iter_mut().zip(from) {
                *o = if n > *o || n.is_nan() { n } else { *o };
            }
            Self::load(old.as_ptr())
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Halves;
    use crate::vector::Vector;
    use std::arch::x86_64::*;

    impl Halves for __m256 {
        #[inline(always)]
        unsafe fn halves(from: *const f32) -> [Self; 2] {
            // SAFETY: two vectors; the machine has AVX2.
            unsafe {
                let (a, b) = (Self::load(from), Self::load(from.add(8)));
                let order = _mm256_setr_epi32(0, 1, 4, 5, 2, 3, 6, 7);
                [
                    _mm256_permutevar8x32_ps(_mm256_shuffle_ps::<0x88>(a, b), order),
                    _mm256_permutevar8x32_ps(_mm256_shuffle_ps::<0xdd>(a, b), order),
                ]
            }
        }
        #[inline(always)]
        unsafe fn larger(self, new: Self) -> Self {
            // SAFETY: as above.
            unsafe {
                let larger = _mm256_cmp_ps::<_CMP_GT_OQ>(new, self);
                let nan = _mm256_cmp_ps::<_CMP_UNORD_Q>(new, new);
                _mm256_blendv_ps(self, new, _mm256_or_ps(larger, nan))
            }
        }
    }

    impl Halves for __m512 {
        #[inline(always)]
        unsafe fn halves(from: *const f32) -> [Self; 2] {
            // SAFETY: two vectors; the machine has AVX-512.
            unsafe {
                let (a, b) = (Self::load(from), Self::load(from.add(16)));
                let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
                let odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
                [_mm512_permutex2var_ps(a, even, b), _mm512_permutex2var_ps(a, odd, b)]
            }
        }
        #[inline(always)]
        unsafe fn larger(self, new: Self) -> Self {
            // SAFETY: as above.
            unsafe {
                let larger = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(new, self);
                let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(new, new);
                _mm512_mask_mov_ps(self, larger | nan, new)
            }
        }
    }
}

#[inline(always)]
unsafe fn join<V: Halves, const MAX: bool>(a: V, b: V) -> V {
    // SAFETY: the caller has the instructions.
    unsafe { if MAX { a.larger(b) } else { a.add(b) } }
}

/// # Safety
/// See [`RowFn`]; the machine has `V`'s instructions.
#[inline(always)]
unsafe fn row<V: Halves, const MAX: bool>(line: *const V::Elem, taps: usize, to: *mut V::Elem, n: usize) {
    // SAFETY: the caller's promise: a line has two elements for each result and four vectors more.
    unsafe {
        let mut i = 0;
        while i < n {
            let [first, second] = V::halves(line.add(2 * i));
            let mut v = join::<V, MAX>(first, second);
            if taps == 3 {
                let [third, _] = V::halves(line.add(2 * i + 2));
                v = join::<V, MAX>(v, third);
            }
            if n - i >= V::LANES {
                v.store(to.add(i))
            } else {
                v.store_first(to.add(i), n - i)
            }
            i += V::LANES;
        }
    }
}

macro_rules! halves {
    ($(#[$feature:meta])? $module:ident, $v:ty) => {
        mod $module {
            $(#[$feature])?
            unsafe fn row<const MAX: bool>(line: *const f32, taps: usize, to: *mut f32, n: usize) {
                // SAFETY: the caller's promise, and this function has the instructions.
                unsafe { super::row::<$v, MAX>(line, taps, to, n) }
            }
            pub(super) const F32: super::Halve<f32> = super::Halve { max: row::<true>, sum: row::<false> };
        }
    };
}
halves!(portable, crate::vector::Plain<f32, 4>);
#[cfg(target_arch = "x86_64")]
halves!(
    #[target_feature(enable = "avx2,fma")]
    avx2,
    std::arch::x86_64::__m256
);
#[cfg(target_arch = "x86_64")]
halves!(
    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
    avx512,
    std::arch::x86_64::__m512
);

/// Whether windows are of the kind that is computed here.
fn fits(w: &Window) -> bool {
    w.stride == 2 && matches!(w.kernel, 2 | 3) && w.dilation == 1 && w.pad_lo <= 2
}

/// The loops for f32.
pub(super) fn of_f32(w: &Window) -> Option<Halve<f32>> {
    use crate::simd::{Level, level};
    fits(w).then(|| match level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => avx512::F32,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => avx2::F32,
        _ => portable::F32,
    })
}

/// There are none for f64.
pub(super) fn of_f64(_: &Window) -> Option<Halve<f64>> {
    None
}
