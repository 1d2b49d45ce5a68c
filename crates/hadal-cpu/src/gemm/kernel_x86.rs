//! The kernels for x86-64 with AVX-512 and with AVX2.
//!
//! Register budget. AVX-512 (32): 12x2 vectors use 24 sums, 2 of B, 1 of A; 8x3 the same 24; 6x4
//! likewise. AVX2 (16): 6x2 uses 12 sums, 2 of B, 1 of A.

use super::pack::{pack_avx2_f32, pack_avx2_f64};
use super::tables::kernels;
use std::arch::x86_64::{__m256, __m256d, __m512, __m512d};

kernels! {
    #[target_feature(enable = "avx2,fma")] avx2:
    AVX2_F32, __m256, f32, [12, 6, 4, 2], pack_avx2_f32, None;
    AVX2_F64, __m256d, f64, [12, 6, 4, 2], pack_avx2_f64, None;
}

kernels! {
    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")] avx512:
    AVX512_F32, __m512, f32, [12, 12, 8, 6], pack_avx2_f32, Some(&AVX2_F32);
    AVX512_F64, __m512d, f64, [12, 12, 8, 6], pack_avx2_f64, Some(&AVX2_F64);
}
