//! The kernels for machines without kernels of their own: 128-bit vectors in plain arrays, which the
//! compiler maps to SSE2 (16 registers) or NEON (32).

use super::pack::{pack_portable_f32, pack_portable_f64};
use super::tables::kernels;
use crate::vector::Plain;

const MAX: [usize; 4] = if cfg!(target_arch = "aarch64") { [12, 10, 7, 5] } else { [8, 4, 3, 2] };

kernels! {
    portable:
    PORTABLE_F32, Plain<f32, 4>, f32, MAX, pack_portable_f32, None;
    PORTABLE_F64, Plain<f64, 2>, f64, MAX, pack_portable_f64, None;
}
