//! Words of a random sequence, many blocks at a time.
//!
//! The generator is the one of the crate `rand_philox`; this only compiles it for wider vectors where
//! the machine has them.

#[cfg(target_arch = "x86_64")]
use crate::simd::{Level, level};
use rand_philox::{Philox, splitmix64};

/// Blocks side by side.
const LANES: usize = 8;
/// Words of such a step.
const STEP: usize = 4 * LANES;

/// Words `first..` of the sequence of key `[seed, stream]`; `first` must be a multiple of 4.
///
/// These are the words of `Philox::from_u64_seed_stream(seed, stream)`.
pub(crate) fn words(key: [u64; 2], first: usize, to: &mut [u32]) {
    debug_assert!(first.is_multiple_of(4));
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: `level` has found these instructions on this machine.
        match level() {
            Level::Avx512 => return unsafe { words_avx512(key, first, to) },
            Level::Avx2 => return unsafe { words_avx2(key, first, to) },
            Level::Portable => {}
        }
    }
    rest(key, first, to);
}

/// The words by the crate.
fn rest([seed, stream]: [u64; 2], first: usize, to: &mut [u32]) {
    let mut philox = Philox::from_u64_seed_stream(seed, stream);
    philox.seek((stream as u128) << 64 | (first / 4) as u128);
    philox.fill_u32(to);
}

/// # Safety
/// The machine has AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn words_avx2(key: [u64; 2], first: usize, to: &mut [u32]) {
    steps(key, first, to);
}

/// # Safety
/// The machine has AVX-512 F, VL, BW and DQ.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,avx512f,avx512vl,avx512bw,avx512dq")]
unsafe fn words_avx512(key: [u64; 2], first: usize, to: &mut [u32]) {
    steps(key, first, to);
}

/// Full steps in vectors, what remains by the crate.
#[inline(always)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
fn steps(key: [u64; 2], first: usize, to: &mut [u32]) {
    let (seed, stream) = (splitmix64(key[0]), key[1]);
    let mut chunks = to.chunks_exact_mut(STEP);
    let mut block = (first / 4) as u64;
    for chunk in &mut chunks {
        let at: [u64; LANES] = std::array::from_fn(|l| block.wrapping_add(l as u64));
        let c = [at, at.map(|b| b >> 32), [stream; LANES], [stream >> 32; LANES]];
        let [c0, c1, c2, c3] = ten_rounds(c, [seed & LOW, seed >> 32]);
        let mut words = [0u32; STEP];
        for l in 0..LANES {
            words[4 * l] = c0[l] as u32;
            words[4 * l + 1] = c1[l] as u32;
            words[4 * l + 2] = c2[l] as u32;
            words[4 * l + 3] = c3[l] as u32;
        }
        chunk.copy_from_slice(&words);
        block = block.wrapping_add(LANES as u64);
    }
    rest(key, 4 * block as usize, chunks.into_remainder());
}

const LOW: u64 = 0xffff_ffff;

/// Philox4x32-10 on every lane (Salmon et al. 2011, section 3.3). A word is the lower half of its
/// u64; the upper half is whatever is left there, so that a round is two multiplications, two shifts
/// and two exclusive ors.
#[inline(always)]
fn ten_rounds([mut c0, mut c1, mut c2, mut c3]: [[u64; LANES]; 4], mut key: [u64; 2]) -> [[u64; LANES]; 4] {
    for _ in 0..10 {
        for l in 0..LANES {
            let p = (c0[l] & LOW) * 0xd251_1f53;
            let q = (c2[l] & LOW) * 0xcd9e_8d57;
            c0[l] = (q >> 32) ^ c1[l] ^ key[0];
            c1[l] = q;
            c2[l] = (p >> 32) ^ c3[l] ^ key[1];
            c3[l] = p;
        }
        key = [key[0].wrapping_add(0x9e37_79b9), key[1].wrapping_add(0xbb67_ae85)];
    }
    [c0, c1, c2, c3]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_give_the_crates_words() {
        for key in [[0, 0], [42, 7], [u64::MAX, u64::MAX - 1]] {
            // Across a carry out of the counter's first word too.
            for first in [0, 4, 1000, 4 * (u32::MAX as usize - 5)] {
                for n in [0, 1, 63, 64, 65, 700] {
                    let (mut want, mut got, mut own) = (vec![0; n], vec![0; n], vec![0; n]);
                    rest(key, first, &mut want);
                    words(key, first, &mut got);
                    steps(key, first, &mut own);
                    assert_eq!(want, got, "{key:?} {first} {n}");
                    assert_eq!(want, own, "{key:?} {first} {n}");
                }
            }
        }
    }
}
