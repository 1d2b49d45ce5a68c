//! Vectors of floats as a trait, so that each kernel is written once.
//!
//! The methods are `inline(always)` wrappers of intrinsics: they become single instructions where
//! they are used inside a function compiled for the right instruction set (`#[target_feature]`),
//! and must be used nowhere else.

/// A SIMD register of floats.
///
/// # Safety
/// All methods require that the machine has the instruction set of the type. Pointers need no
/// alignment; they must be valid for as many elements as the method moves.
pub(crate) trait Vector: Copy {
    /// What the lanes hold.
    type Elem: Copy;
    /// Number of lanes.
    const LANES: usize;
    unsafe fn zero() -> Self;
    unsafe fn splat(v: Self::Elem) -> Self;
    unsafe fn load(p: *const Self::Elem) -> Self;
    unsafe fn store(self, p: *mut Self::Elem);
    /// The first `n` lanes from memory, zeros behind.
    unsafe fn load_first(p: *const Self::Elem, n: usize) -> Self;
    /// The first `n` lanes to memory.
    unsafe fn store_first(self, p: *mut Self::Elem, n: usize);
    unsafe fn add(self, o: Self) -> Self;
    /// `self * b + c`, rounded once except where the machine has no such instruction.
    unsafe fn fma(self, b: Self, c: Self) -> Self;
    /// Negative lanes to zero; NaN stays.
    unsafe fn relu(self) -> Self;
    /// The lanes' sum, lane 0 first.
    unsafe fn sum(self) -> Self::Elem;
    /// Asks for a cache line.
    #[inline(always)]
    unsafe fn prefetch(_p: *const Self::Elem) {}
}

/// Lanes in a plain array, for machines without a kernel of their own.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub(crate) struct Plain<T, const N: usize>([T; N]);

macro_rules! plain {
    ($t:ty, $n:literal) => {
        impl Vector for Plain<$t, $n> {
            type Elem = $t;
            const LANES: usize = $n;
            #[inline(always)]
            unsafe fn zero() -> Self {
                Plain([0.0; $n])
            }
            #[inline(always)]
            unsafe fn splat(v: $t) -> Self {
                Plain([v; $n])
            }
            #[inline(always)]
            unsafe fn load(p: *const $t) -> Self {
                // SAFETY: the caller's pointer is valid for a whole vector.
                Plain(unsafe { p.cast::<[$t; $n]>().read_unaligned() })
            }
            #[inline(always)]
            unsafe fn store(self, p: *mut $t) {
                // SAFETY: as in `load`.
                unsafe { p.cast::<[$t; $n]>().write_unaligned(self.0) }
            }
            #[inline(always)]
            unsafe fn load_first(p: *const $t, n: usize) -> Self {
                let mut v = [0.0; $n];
                for i in 0..n.min($n) {
                    // SAFETY: the caller's pointer is valid for `n` elements.
                    v[i] = unsafe { *p.add(i) };
                }
                Plain(v)
            }
            #[inline(always)]
            unsafe fn store_first(self, p: *mut $t, n: usize) {
                for i in 0..n.min($n) {
                    // SAFETY: as in `load_first`.
                    unsafe { *p.add(i) = self.0[i] }
                }
            }
            #[inline(always)]
            unsafe fn add(mut self, o: Self) -> Self {
                for i in 0..$n {
                    self.0[i] += o.0[i];
                }
                self
            }
            #[inline(always)]
            unsafe fn fma(mut self, b: Self, c: Self) -> Self {
                for i in 0..$n {
                    // Without the instruction `mul_add` is a slow library call.
                    self.0[i] = if cfg!(target_arch = "aarch64") {
                        self.0[i].mul_add(b.0[i], c.0[i])
                    } else {
                        self.0[i] * b.0[i] + c.0[i]
                    };
                }
                self
            }
            #[inline(always)]
            unsafe fn relu(mut self) -> Self {
                for v in &mut self.0 {
                    if *v < 0.0 {
                        *v = 0.0;
                    }
                }
                self
            }
            #[inline(always)]
            unsafe fn sum(self) -> $t {
                self.0.iter().fold(0.0, |a, &b| a + b)
            }
        }
    };
}
plain!(f32, 4);
plain!(f64, 2);

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Vector;
    use std::arch::x86_64::*;

    /// The mask of the first `n` of `lanes` lanes.
    #[inline(always)]
    fn mask(n: usize, lanes: usize) -> u32 {
        if n >= lanes { (1u32 << lanes) - 1 } else { (1u32 << n) - 1 }
    }

    macro_rules! avx512 {
        ($v:ty, $t:ty, $n:literal, $m:ty, $zero:ident, $set1:ident, $loadu:ident, $storeu:ident,
         $mload:ident, $mstore:ident, $add:ident, $fma:ident, $cmp:ident, $mmov:ident) => {
            impl Vector for $v {
                type Elem = $t;
                const LANES: usize = $n;
                #[inline(always)]
                unsafe fn zero() -> Self {
                    // SAFETY: the trait's contract: the instruction set is there.
                    unsafe { $zero() }
                }
                #[inline(always)]
                unsafe fn splat(v: $t) -> Self {
                    // SAFETY: as above.
                    unsafe { $set1(v) }
                }
                #[inline(always)]
                unsafe fn load(p: *const $t) -> Self {
                    // SAFETY: as above, and the pointer is valid.
                    unsafe { $loadu(p) }
                }
                #[inline(always)]
                unsafe fn store(self, p: *mut $t) {
                    // SAFETY: as above.
                    unsafe { $storeu(p, self) }
                }
                #[inline(always)]
                unsafe fn load_first(p: *const $t, n: usize) -> Self {
                    // SAFETY: as above; lanes beyond `n` are not touched.
                    unsafe { $mload(mask(n, $n) as $m, p) }
                }
                #[inline(always)]
                unsafe fn store_first(self, p: *mut $t, n: usize) {
                    // SAFETY: as above.
                    unsafe { $mstore(p, mask(n, $n) as $m, self) }
                }
                #[inline(always)]
                unsafe fn add(self, o: Self) -> Self {
                    // SAFETY: as above.
                    unsafe { $add(self, o) }
                }
                #[inline(always)]
                unsafe fn fma(self, b: Self, c: Self) -> Self {
                    // SAFETY: as above.
                    unsafe { $fma(self, b, c) }
                }
                #[inline(always)]
                unsafe fn relu(self) -> Self {
                    // SAFETY: as above.
                    unsafe { $mmov(self, $cmp::<_CMP_LT_OQ>(self, $zero()), $zero()) }
                }
                #[inline(always)]
                unsafe fn sum(self) -> $t {
                    let mut a: [$t; $n] = [0.0; $n];
                    // SAFETY: the array has room for all lanes.
                    unsafe { $storeu(a.as_mut_ptr(), self) }
                    a.iter().fold(0.0, |x, &y| x + y)
                }
                #[inline(always)]
                unsafe fn prefetch(p: *const $t) {
                    // SAFETY: a hint; any address is allowed.
                    unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
                }
            }
        };
    }
    avx512!(
        __m512,
        f32,
        16,
        u16,
        _mm512_setzero_ps,
        _mm512_set1_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_maskz_loadu_ps,
        _mm512_mask_storeu_ps,
        _mm512_add_ps,
        _mm512_fmadd_ps,
        _mm512_cmp_ps_mask,
        _mm512_mask_mov_ps
    );
    avx512!(
        __m512d,
        f64,
        8,
        u8,
        _mm512_setzero_pd,
        _mm512_set1_pd,
        _mm512_loadu_pd,
        _mm512_storeu_pd,
        _mm512_maskz_loadu_pd,
        _mm512_mask_storeu_pd,
        _mm512_add_pd,
        _mm512_fmadd_pd,
        _mm512_cmp_pd_mask,
        _mm512_mask_mov_pd
    );

    macro_rules! avx2 {
        ($v:ty, $t:ty, $n:literal, $zero:ident, $set1:ident, $loadu:ident, $storeu:ident,
         $add:ident, $fma:ident, $cmp:ident, $andnot:ident) => {
            impl Vector for $v {
                type Elem = $t;
                const LANES: usize = $n;
                #[inline(always)]
                unsafe fn zero() -> Self {
                    // SAFETY: the trait's contract: the instruction set is there.
                    unsafe { $zero() }
                }
                #[inline(always)]
                unsafe fn splat(v: $t) -> Self {
                    // SAFETY: as above.
                    unsafe { $set1(v) }
                }
                #[inline(always)]
                unsafe fn load(p: *const $t) -> Self {
                    // SAFETY: as above, and the pointer is valid.
                    unsafe { $loadu(p) }
                }
                #[inline(always)]
                unsafe fn store(self, p: *mut $t) {
                    // SAFETY: as above.
                    unsafe { $storeu(p, self) }
                }
                #[inline(always)]
                unsafe fn load_first(p: *const $t, n: usize) -> Self {
                    let mut a: [$t; $n] = [0.0; $n];
                    // SAFETY: at most `$n` elements, which both sides have.
                    unsafe {
                        std::ptr::copy_nonoverlapping(p, a.as_mut_ptr(), n.min($n));
                        $loadu(a.as_ptr())
                    }
                }
                #[inline(always)]
                unsafe fn store_first(self, p: *mut $t, n: usize) {
                    // Through memory: masked stores are slow on AMD.
                    let mut a: [$t; $n] = [0.0; $n];
                    // SAFETY: as in `load_first`.
                    unsafe {
                        $storeu(a.as_mut_ptr(), self);
                        std::ptr::copy_nonoverlapping(a.as_ptr(), p, n.min($n));
                    }
                }
                #[inline(always)]
                unsafe fn add(self, o: Self) -> Self {
                    // SAFETY: as above.
                    unsafe { $add(self, o) }
                }
                #[inline(always)]
                unsafe fn fma(self, b: Self, c: Self) -> Self {
                    // SAFETY: as above.
                    unsafe { $fma(self, b, c) }
                }
                #[inline(always)]
                unsafe fn relu(self) -> Self {
                    // SAFETY: as above.
                    unsafe { $andnot($cmp::<_CMP_LT_OQ>(self, $zero()), self) }
                }
                #[inline(always)]
                unsafe fn sum(self) -> $t {
                    let mut a: [$t; $n] = [0.0; $n];
                    // SAFETY: the array has room for all lanes.
                    unsafe { $storeu(a.as_mut_ptr(), self) }
                    a.iter().fold(0.0, |x, &y| x + y)
                }
                #[inline(always)]
                unsafe fn prefetch(p: *const $t) {
                    // SAFETY: a hint; any address is allowed.
                    unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
                }
            }
        };
    }
    avx2!(
        __m256,
        f32,
        8,
        _mm256_setzero_ps,
        _mm256_set1_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_add_ps,
        _mm256_fmadd_ps,
        _mm256_cmp_ps,
        _mm256_andnot_ps
    );
    avx2!(
        __m256d,
        f64,
        4,
        _mm256_setzero_pd,
        _mm256_set1_pd,
        _mm256_loadu_pd,
        _mm256_storeu_pd,
        _mm256_add_pd,
        _mm256_fmadd_pd,
        _mm256_cmp_pd,
        _mm256_andnot_pd
    );
}
