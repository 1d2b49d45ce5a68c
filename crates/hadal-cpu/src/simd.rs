//! Which vector instructions this machine has, found once at run time.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// A set of vector instructions that kernels are compiled for, weakest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Level {
    /// What every machine of the target has (SSE2 on x86-64, NEON on AArch64).
    Portable = 1,
    /// AVX2, FMA and F16C.
    Avx2 = 2,
    /// AVX-512 F, VL, BW and DQ, and everything in [`Level::Avx2`].
    Avx512 = 3,
}

static CURRENT: AtomicU8 = AtomicU8::new(0);

/// The level kernels use: the best the machine has, unless [`limit_level`] lowered it.
#[inline]
pub fn level() -> Level {
    match CURRENT.load(Ordering::Relaxed) {
        1 => Level::Portable,
        2 => Level::Avx2,
        3 => Level::Avx512,
        _ => {
            let l = detected();
            CURRENT.store(l as u8, Ordering::Relaxed);
            l
        }
    }
}

/// The best level this machine has.
pub fn detected() -> Level {
    #[cfg(target_arch = "x86_64")]
    {
        let avx2 = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        let avx512 = avx2
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq");
        if avx512 {
            return Level::Avx512;
        }
        if avx2 {
            return Level::Avx2;
        }
    }
    Level::Portable
}

/// Uses no more than `limit`, for comparing the kernels of different levels in tests and
/// benchmarks. Returns the level now in use, which is never above what the machine has.
pub fn limit_level(limit: Level) -> Level {
    let l = limit.min(detected());
    CURRENT.store(l as u8, Ordering::Relaxed);
    l
}

static BF16_PAIRS: AtomicBool = AtomicBool::new(true);

/// Whether matrix products of bf16 use the instruction for pairs (AVX512_BF16): the machine has it, and neither
/// [`limit_level`] nor [`allow_bf16_pairs`] rules it out.
pub fn bf16_pairs() -> bool {
    #[cfg(target_arch = "x86_64")]
    return level() == Level::Avx512
        && BF16_PAIRS.load(Ordering::Relaxed)
        && is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Allows or forbids what [`bf16_pairs`] asks for, for comparing both ways in tests and benchmarks. Their results
/// differ by rounding.
pub fn allow_bf16_pairs(allow: bool) {
    BF16_PAIRS.store(allow, Ordering::Relaxed);
}
