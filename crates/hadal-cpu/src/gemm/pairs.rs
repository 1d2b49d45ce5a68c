//! Products of bf16 by `vdpbf16ps`: a lane holds two neighbours along k, and a step multiplies both pairs and
//! adds them to an f32, at twice the rate of f32.
//!
//! A lane of pairs has the size of an f32, so panels, tiles and tasks are those of f32; only packing and the
//! multiply-add differ. An odd last element is paired with zero. The instruction rounds each of its two
//! additions to nearest, takes subnormal operands as zero and flushes subnormal sums to zero.

use super::driver::Operand;
use super::kernel::{self, PACKED, Tile};
use super::kernel_x86::AVX512_F32;
use super::pack::pack_avx2_f32;
use super::tables::{Kernels, family};
use super::vecmat::{self, Rows};
use crate::scratch::Scratch;
use crate::vector::Vector;
use half::bf16;
use std::arch::x86_64::*;

/// Sixteen pairs, or sixteen sums.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Pairs(__m512);

impl Vector for Pairs {
    type Elem = f32;
    const LANES: usize = 16;
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the trait's contract, here and below.
        Pairs(unsafe { __m512::zero() })
    }
    #[inline(always)]
    unsafe fn splat(v: f32) -> Self {
        // SAFETY: as above.
        Pairs(unsafe { __m512::splat(v) })
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: as above.
        Pairs(unsafe { __m512::load(p) })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: as above.
        unsafe { self.0.store(p) }
    }
    #[inline(always)]
    unsafe fn load_first(p: *const f32, n: usize) -> Self {
        // SAFETY: as above.
        Pairs(unsafe { __m512::load_first(p, n) })
    }
    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, n: usize) {
        // SAFETY: as above.
        unsafe { self.0.store_first(p, n) }
    }
    #[inline(always)]
    unsafe fn add(self, o: Self) -> Self {
        // SAFETY: as above.
        Pairs(unsafe { self.0.add(o.0) })
    }
    /// Here `self` and `b` are pairs, `c` and the result sums.
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        // SAFETY: as above; the three types are 512 bits of anything.
        unsafe {
            let pairs = |v: __m512| std::mem::transmute::<__m512, __m512bh>(v);
            Pairs(_mm512_dpbf16_ps(c.0, pairs(self.0), pairs(b.0)))
        }
    }
    #[inline(always)]
    unsafe fn relu(self) -> Self {
        // SAFETY: as above.
        Pairs(unsafe { self.0.relu() })
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: as above.
        unsafe { self.0.sum() }
    }
    #[inline(always)]
    unsafe fn prefetch(p: *const f32) {
        // SAFETY: a hint.
        unsafe { __m512::prefetch(p) }
    }
}

#[target_feature(enable = "avx512bf16,avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
unsafe fn tile<V: Vector, const MODE: u8, const MR: usize, const NV: usize>(t: &Tile<V::Elem>) {
    // SAFETY: the caller's promise, and this function has the instructions.
    unsafe { kernel::kernel::<V, MODE, MR, NV>(t, finish::<V>) }
}
#[target_feature(enable = "avx512bf16,avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
#[inline(never)]
unsafe fn finish<V: Vector>(acc: *const V::Elem, mr: usize, nv: usize, t: &Tile<V::Elem>) {
    // SAFETY: as above.
    unsafe { kernel::finish::<V>(acc, mr, nv, t) }
}

#[target_feature(enable = "avx512bf16,avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
unsafe fn dot(r: &Rows<f32>, b: *const f32, b_row: isize, c: *mut f32, c_row: usize, c_col: usize, n: usize) {
    // SAFETY: as above.
    unsafe { vecmat::dot::<Pairs>(r, b, b_row, c, c_row, c_col, n) }
}

/// Tiles of packed pairs, and dot products. Everything else is that of f32 and not used.
pub(super) static AVX512_PAIRS: Kernels<f32> =
    Kernels { packed: family!(tile, Pairs, PACKED, [12, 12, 8, 6]), dot, narrow: None, ..AVX512_F32 };

/// Packs `cols` lanes as panels of `nr`, the last of `rest` columns, two elements of k to a step.
///
/// # Safety
/// The operand is valid for these lanes and `elements` of k; `dst` has room for the panels; the machine has
/// AVX-512.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
pub(super) unsafe fn pack(
    src: Operand<bf16>,
    cols: usize,
    nr: usize,
    rest: usize,
    elements: usize,
    dst: *mut f32,
) {
    let steps = elements.div_ceil(2);
    // SAFETY: the caller's promise; panel by panel.
    unsafe {
        if src.lane == 1 {
            return rows(src.ptr.cast(), src.step, cols, nr, rest, elements, dst);
        }
        for j in (0..cols).step_by(nr) {
            let lanes = nr.min(cols - j);
            let width = if lanes < nr { rest } else { nr };
            columns(src.from(j, 0), lanes, width, elements, dst.add(j * steps));
        }
    }
}

/// Lanes side by side: two rows become one of pairs.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
unsafe fn rows(
    src: *const i16,
    step: isize,
    cols: usize,
    nr: usize,
    rest: usize,
    elements: usize,
    dst: *mut f32,
) {
    /// Rows ahead of those being read that are asked for.
    const AHEAD: isize = 8;
    let steps = elements.div_ceil(2);
    let low = _mm512_set_epi16(
        47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6, 37, 5, 36, 4, 35, 3, 34,
        2, 33, 1, 32, 0,
    );
    let high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
    let first = |n: usize| if n >= 32 { u32::MAX } else { (1u32 << n) - 1 };
    for p in 0..steps {
        // SAFETY: row `2 p` exists, the next one where its pair is whole; columns below `cols` are read and
        // the panel's own width written.
        unsafe {
            let even = src.offset(2 * p as isize * step);
            let whole = 2 * p + 1 < elements;
            for j in (0..cols).step_by(nr) {
                let lanes = nr.min(cols - j);
                let width = if lanes < nr { rest } else { nr };
                let to = dst.add(j * steps + p * width);
                for x in (0..width).step_by(32) {
                    let mask = first(lanes.saturating_sub(x));
                    let at = even.wrapping_add(j + x);
                    let a = _mm512_maskz_loadu_epi16(mask, at);
                    let b = _mm512_maskz_loadu_epi16(if whole { mask } else { 0 }, at.wrapping_offset(step));
                    _mm_prefetch::<_MM_HINT_T0>(at.wrapping_offset(AHEAD * step).cast());
                    _mm_prefetch::<_MM_HINT_T0>(at.wrapping_offset((AHEAD + 1) * step).cast());
                    let stored = first(width - x);
                    let to = to.add(x).cast();
                    _mm512_mask_storeu_epi32(to, stored as u16, _mm512_permutex2var_epi16(a, low, b));
                    if stored >> 16 != 0 {
                        let pairs = _mm512_permutex2var_epi16(a, high, b);
                        _mm512_mask_storeu_epi32(to.add(16), (stored >> 16) as u16, pairs);
                    }
                }
            }
        }
    }
}

/// Lanes apart. Where k lies side by side pairs do too, and it remains to turn squares of them over.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
unsafe fn columns(src: Operand<bf16>, lanes: usize, width: usize, elements: usize, dst: *mut f32) {
    let (whole, steps) = (elements / 2, elements.div_ceil(2));
    // SAFETY: lanes below `lanes` and elements below `elements` are read; `width` by `steps` pairs written.
    unsafe {
        let mut next = 0;
        let mut copy;
        if src.step == 1 && whole > 0 {
            let (mut from, mut row) = (src.ptr.cast::<f32>(), src.lane / 2);
            // Pairs that do not lie on a boundary of four bytes are copied to one.
            if !src.ptr.addr().is_multiple_of(4) || src.lane % 2 != 0 {
                copy = Scratch::<u32>::new(lanes * whole);
                let to = copy.slice().as_mut_ptr();
                for i in 0..lanes {
                    let row = src.from(i, 0).ptr.cast::<u8>();
                    std::ptr::copy_nonoverlapping(row, to.add(i * whole).cast::<u8>(), 4 * whole);
                }
                (from, row) = (to.cast(), whole as isize);
            }
            pack_avx2_f32(from, row, 1, lanes, width, whole, dst);
            next = whole;
        }
        for p in next..steps {
            for i in 0..width {
                let at = |e: usize| {
                    let there = i < lanes && e < elements;
                    if there { u32::from((*src.from(i, e).ptr).to_bits()) } else { 0 }
                };
                *dst.add(p * width + i).cast::<u32>() = at(2 * p) | at(2 * p + 1) << 16;
            }
        }
    }
}
