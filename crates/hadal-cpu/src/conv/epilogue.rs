//! What happens to a result while it is still in cache.

use crate::gemm::Activation;
use crate::gemm::real::Real;
use crate::simd::{Level, level};
use crate::threads::parallel_chunks;

/// A function of finished elements: place of the first one in the result, and consecutive values.
/// Called on several threads at once, once for every element; how the result is cut into pieces is
/// not specified, except that a piece lies in one channel of one image.
pub type PieceMap<'a, T> = dyn Fn(usize, &mut [T]) + Sync + 'a;

/// What each element of a result goes through, in the order of the fields. Every step rounds as the
/// separate operation would, so that fusing does not change a bit.
///
/// f16 and bf16 take all steps but the last in f32.
pub struct ConvEpilogue<'a, T> {
    /// Multiplies each channel of the result, one value per channel.
    pub scale: Option<&'a [T]>,
    /// Added to each channel of the result, one value per channel.
    pub bias: Option<&'a [T]>,
    /// Added element by element; as long as the result.
    pub residual: Option<&'a [T]>,
    /// Applied fourth.
    pub activation: Activation,
    /// Least and largest result, applied fifth: `where(x <= least, least, x)`, then the same for the largest.
    /// NaN stays NaN.
    pub clamp: Option<[T; 2]>,
    /// Called last.
    pub map: Option<&'a PieceMap<'a, T>>,
}

impl<T: Clone> Clone for ConvEpilogue<'_, T> {
    fn clone(&self) -> Self {
        let &ConvEpilogue { scale, bias, residual, activation, ref clamp, map } = self;
        ConvEpilogue { scale, bias, residual, activation, clamp: clamp.clone(), map }
    }
}
impl<T: Copy> Copy for ConvEpilogue<'_, T> {}

impl<T> Default for ConvEpilogue<'_, T> {
    fn default() -> Self {
        Self::NONE
    }
}

impl<T> ConvEpilogue<'_, T> {
    /// Leaves the result as it is.
    pub const NONE: Self = ConvEpilogue {
        scale: None,
        bias: None,
        residual: None,
        activation: Activation::None,
        clamp: None,
        map: None,
    };

    /// Whether the result stays as it is.
    pub(crate) fn is_none(&self) -> bool {
        self.scale.is_none()
            && self.bias.is_none()
            && self.residual.is_none()
            && self.activation == Activation::None
            && self.clamp.is_none()
            && self.map.is_none()
    }

    /// Checks the lengths of what is added and multiplied.
    pub(crate) fn check(&self, channels: usize, len: usize) -> Result<(), String> {
        for (what, values) in [("scale", self.scale), ("bias", self.bias)] {
            if let Some(v) = values
                && v.len() != channels
            {
                return Err(format!("conv: a {what} of {} values for {channels} channels", v.len()));
            }
        }
        match self.residual {
            Some(r) if r.len() != len => {
                Err(format!("conv: a residual of {} values for a result of {len}", r.len()))
            }
            _ => Ok(()),
        }
    }
}

/// Applies everything to `values`, which begin at place `at` of the result and lie in `channel`.
#[inline]
pub(crate) fn apply<T: Real>(e: &ConvEpilogue<'_, T>, channel: usize, at: usize, values: &mut [T]) {
    if e.is_none() {
        return;
    }
    let steps = Steps {
        scale: e.scale.map(|s| s[channel]),
        bias: e.bias.map(|b| b[channel]),
        residual: e.residual.map(|r| &r[at..at + values.len()]),
        bounds: match (e.activation, e.clamp) {
            (Activation::None, clamp) => clamp,
            (Activation::Relu, None) => Some([T::ZERO, T::from_f64(f64::INFINITY)]),
            (Activation::Relu, Some([low, high])) => {
                Some([if low < T::ZERO { T::ZERO } else { low }, if high < T::ZERO { T::ZERO } else { high }])
            }
        },
    };
    steps.apply(values);
    if let Some(map) = e.map {
        map(at, values);
    }
}

/// Applies everything to a whole result of planes of `channels` channels.
pub(super) fn apply_all<T: Real>(e: &ConvEpilogue<'_, T>, channels: usize, plane: usize, out: &mut [T]) {
    if !e.is_none() && !out.is_empty() {
        parallel_chunks(out, plane, &|i, values| apply(e, i % channels, i * plane, values));
    }
}

/// The epilogue of one piece.
struct Steps<'a, T> {
    scale: Option<T>,
    bias: Option<T>,
    residual: Option<&'a [T]>,
    bounds: Option<[T; 2]>,
}

impl<T: Real> Steps<'_, T> {
    fn apply(&self, values: &mut [T]) {
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2")]
            fn avx512<T: Real>(s: &Steps<'_, T>, values: &mut [T]) {
                s.run(values)
            }
            #[target_feature(enable = "avx2")]
            fn avx2<T: Real>(s: &Steps<'_, T>, values: &mut [T]) {
                s.run(values)
            }
            match level() {
                // SAFETY: the level says that the machine has the instructions.
                Level::Avx512 => return unsafe { avx512(self, values) },
                // SAFETY: as above.
                Level::Avx2 => return unsafe { avx2(self, values) },
                Level::Portable => {}
            }
        }
        self.run(values)
    }

    #[inline(always)]
    fn run(&self, values: &mut [T]) {
        if let Some(s) = self.scale {
            values.iter_mut().for_each(|v| *v = *v * s);
        }
        let [low, high] = self.bounds.unwrap_or([T::from_f64(f64::NEG_INFINITY), T::from_f64(f64::INFINITY)]);
        // Without bounds it changes nothing.
        let bounded = |v: T| {
            let v = if v <= low { low } else { v };
            if v >= high { high } else { v }
        };
        match (self.bias, self.residual) {
            (Some(b), Some(r)) => values.iter_mut().zip(r).for_each(|(v, &r)| *v = bounded(*v + b + r)),
            (Some(b), None) => values.iter_mut().for_each(|v| *v = bounded(*v + b)),
            (None, Some(r)) => values.iter_mut().zip(r).for_each(|(v, &r)| *v = bounded(*v + r)),
            (None, None) if self.bounds.is_some() => values.iter_mut().for_each(|v| *v = bounded(*v)),
            (None, None) => {}
        }
    }
}
