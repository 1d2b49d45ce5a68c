//! Counter-based random numbers: every element is a function of the key and its position alone.
//!
//! The generator is Philox4x32-10 (Salmon et al. 2011). A key `[seed, stream]` names a sequence of
//! 32-bit words: block `b` of stream `s` is the Philox block of key `splitmix64(seed)` at counter
//! `s·2^64 + b`, four words each. The element at position `i` uses
//! - word `i` for what is drawn from 32 bits (Bernoulli; uniform and normal of f32 and halves),
//! - words `2i` (low) and `2i + 1` (high) for what is drawn from 64 (integers, f64, permutations).

use crate::args::{internal, output, want_dtype};
use crate::backend::Ran;
use crate::chunks::for_chunks;
use crate::normal::normals;
use crate::philox::words;
use hadal_core::half::{bf16, f16};
use hadal_core::ops::{Arg, Distribution, Op, Out};
use hadal_core::{DType, Element, Result, Storage, dispatch_storage};
use std::ops::ControlFlow::{Break, Continue};

/// Elements per task.
const CHUNK: usize = 1 << 14;
/// Elements drawn at a time; their words stay in L1.
pub(crate) const BLOCK: usize = 512;

/// The operations of this file.
pub fn run_op<'o>(op: &Op, _: &[Arg<'_>], out: Out<'o>) -> Ran<'o> {
    let name = op.name();
    match op {
        Op::Random(dist, key) => Break(random(name, *dist, *key, out)),
        _ => Continue(out),
    }
}

/// A tensor of random numbers.
fn random(op: &'static str, dist: Distribution, key: [u64; 2], mut out: Out<'_>) -> Result<()> {
    let dtype = out.dtype;
    match dist {
        Distribution::Uniform(low, high) => dispatch_storage!(dtype, T => {
            uniform::<T>(dtype, low, high, key, output(op, &mut out)?);
        }),
        Distribution::Normal(mean, std) => dispatch_storage!(dtype, T => {
            normal::<T>(dtype, mean, std, key, output(op, &mut out)?);
        }),
        Distribution::Int(low, high) => {
            if low >= high {
                return Err(internal(op, format!("no whole number in [{low}, {high})")));
            }
            dispatch_storage!(dtype, T => int::<T>(low, high, key, output(op, &mut out)?));
        }
        Distribution::Bernoulli(p) => dispatch_storage!(dtype, T => {
            bernoulli::<T>(p, key, output(op, &mut out)?);
        }),
        Distribution::Permutation => {
            want_dtype(op, &out, DType::I64)?;
            permutation(key, output(op, &mut out)?);
        }
    }
    Ok(())
}

/// Calls `map(words, elements)` for blocks of the output, `PER` words per element.
fn blocks<T: Storage, const PER: usize>(key: [u64; 2], out: &mut [T], map: impl Fn(&[u32], &mut [T]) + Sync) {
    for_chunks(out, CHUNK, |first, part| {
        let mut buffer = [0u32; 2 * BLOCK];
        for (b, block) in part.chunks_mut(BLOCK).enumerate() {
            // Whole pairs of elements: the normal distribution draws two at once.
            let words_here = &mut buffer[..block.len().next_multiple_of(2) * PER];
            words(key, (first + b * BLOCK) * PER, words_here);
            map(words_here, block);
        }
    });
}

/// Words `2i`, `2i + 1` as one number.
#[inline(always)]
fn wide(words: &[u32], i: usize) -> u64 {
    words[2 * i] as u64 | (words[2 * i + 1] as u64) << 32
}

/// The largest value of a float dtype below `high` rounded to it.
fn below(dtype: DType, high: f64) -> f64 {
    // For halves: one step toward minus infinity on the bit pattern.
    let step = |bits: u16| match bits {
        0 => 0x8001,
        b if b & 0x8000 == 0 => b - 1,
        b => b + 1,
    };
    match dtype {
        DType::F32 => (high as f32).next_down() as f64,
        DType::F16 => f16::from_bits(step(f16::from_f64(high).to_bits())).to_f64(),
        DType::BF16 => bf16::from_bits(step(bf16::from_f64(high).to_bits())).to_f64(),
        _ => high.next_down(),
    }
}

/// `low·(1 - u) + high·u` in f64 with u a multiple of 2^-24 (2^-53 for f64) below 1, then rounded;
/// what would round up to `high` becomes the value before it.
fn uniform<T: Storage + Element>(dtype: DType, low: f64, high: f64, key: [u64; 2], out: &mut [T]) {
    let limit = below(dtype, high);
    // By value: read through a reference they would be loaded again after every store.
    let scale = move |u: f64| {
        let v = low * (1.0 - u) + high * u;
        let v = if v > limit { limit } else { v };
        T::from_f64(if v < low { low } else { v })
    };
    if dtype == DType::F64 {
        blocks::<T, 2>(key, out, move |words, to| {
            let scale = scale;
            for (i, o) in to.iter_mut().enumerate() {
                *o = scale((wide(words, i) >> 11) as f64 * f64::EPSILON / 2.0);
            }
        });
    } else {
        blocks::<T, 1>(key, out, move |words, to| {
            let scale = scale;
            for (&w, o) in words.iter().zip(to) {
                // 24 bits fit an i32, whose conversion is one instruction everywhere.
                *o = scale((w >> 8) as i32 as f64 * (1.0 / (1 << 24) as f64));
            }
        });
    }
}

/// Box–Muller in f64, two elements from two draws. The radius comes from 32 bits (53 for f64), so
/// values reach ±6.76 (±8.65 for f64) standard deviations; beyond lie 1.4e-11 (5e-18) of a normal.
fn normal<T: Storage + Element>(dtype: DType, mean: f64, std: f64, key: [u64; 2], out: &mut [T]) {
    let finish = |z: &[f64; BLOCK], to: &mut [T]| {
        for (o, z) in to.iter_mut().zip(z) {
            *o = T::from_f64(mean + std * z);
        }
    };
    if dtype == DType::F64 {
        blocks::<T, 2>(key, out, |words, to| {
            let mut z = [0.5; BLOCK];
            for (i, z) in z.iter_mut().enumerate().take(words.len() / 2) {
                let bits = (wide(words, i) >> 11) as f64;
                // Even ones must not be 0 for the logarithm.
                *z = (bits + if i % 2 == 0 { 0.5 } else { 0.0 }) * (f64::EPSILON / 2.0);
            }
            normals(&mut z);
            finish(&z, to);
        });
    } else {
        blocks::<T, 1>(key, out, |words, to| {
            let mut z = [0.5; BLOCK];
            for (pair, w) in z.chunks_exact_mut(2).zip(words.chunks_exact(2)) {
                const UNIT: f64 = 1.0 / (1u64 << 32) as f64;
                pair[0] = (w[0] as f64 + 0.5) * UNIT;
                pair[1] = w[1] as f64 * UNIT;
            }
            normals(&mut z);
            finish(&z, to);
        });
    }
}

/// Multiply-high of 64 bits: each of the n numbers has probability 1/n up to a relative error below
/// n·2^-64, which no feasible sample shows.
fn int<T: Storage + Element>(low: i64, high: i64, key: [u64; 2], out: &mut [T]) {
    let n = high.wrapping_sub(low) as u64;
    blocks::<T, 2>(key, out, |words, to| {
        for (i, o) in to.iter_mut().enumerate() {
            *o = T::from_i64(low.wrapping_add(scaled(wide(words, i), n) as i64));
        }
    });
}

#[inline(always)]
fn scaled(word: u64, n: u64) -> u64 {
    ((word as u128 * n as u128) >> 64) as u64
}

/// 1 where a word is below `p·2^32`: p is taken to the nearest multiple of 2^-32; 0 and 1 are exact.
fn bernoulli<T: Storage + Element>(p: f64, key: [u64; 2], out: &mut [T]) {
    let bound = (p.clamp(0.0, 1.0) * (1u64 << 32) as f64).round() as u64;
    let (zero, one) = (T::from_i64(0), T::from_i64(1));
    if bound > u32::MAX as u64 {
        return for_chunks(out, CHUNK, |_, part| part.fill(one));
    }
    let bound = bound as u32;
    blocks::<T, 1>(key, out, move |words, to| {
        let (zero, one, bound) = (zero, one, bound); // not loaded again after every store
        for (&w, o) in words.iter().zip(to) {
            *o = if w < bound { one } else { zero };
        }
    });
}

/// Fisher and Yates: the number at `i` changes places with one at `0..=i`, for i from the end.
/// Sequential; the draw at `i` uses words `2i`, `2i + 1`.
fn permutation(key: [u64; 2], out: &mut [i64]) {
    for (i, o) in out.iter_mut().enumerate() {
        *o = i as i64;
    }
    let mut buffer = [0u32; 2 * BLOCK];
    for b in (0..out.len().div_ceil(BLOCK)).rev() {
        let first = b * BLOCK;
        words(key, 2 * first, &mut buffer);
        for i in (first..out.len().min(first + BLOCK)).rev() {
            out.swap(i, scaled(wide(&buffer, i - first), i as u64 + 1) as usize);
        }
    }
}
