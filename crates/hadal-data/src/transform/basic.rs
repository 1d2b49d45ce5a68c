//! Scaling to floats, normalising, grey, flips and erasing.

use super::{Store, Transform, check_p, check_range, on_pixels, own_spec};
use crate::array::{Array, ArrayData};
use crate::dataset::SampleCtx;
use crate::error::{DataError, Result};
use serde::{Deserialize, Serialize};

/// u8 to f32 as `v / 255`; f32 stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToFloat;

impl Transform for ToFloat {
    fn validate(&self) -> Result<()> {
        Ok(())
    }

    fn run(&self, image: Array, cx: &mut SampleCtx) -> Result<Array> {
        image.image_dims("ToFloat")?;
        match image.into_parts() {
            (shape, ArrayData::U8(v)) => {
                let mut out = cx.buffers.take_f32(v.len());
                out.extend(v.iter().map(|&x| f32::from(x) / 255.0));
                cx.buffers.give_data(ArrayData::U8(v));
                Ok(Array::trusted(shape, ArrayData::F32(out)))
            }
            (shape, data) => Ok(Array::trusted(shape, data)),
        }
    }

    own_spec!(ToFloat);
}

/// `(x − mean) / std` for each channel of an f32 image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalize {
    mean: Vec<f32>,
    std: Vec<f32>,
}

impl Normalize {
    /// One mean and one standard deviation per channel, on the 0..1 scale.
    ///
    /// # Errors
    /// When the counts differ, or a standard deviation is not positive.
    pub fn new(mean: &[f32], std: &[f32]) -> Result<Self> {
        let new = Self { mean: mean.to_vec(), std: std.to_vec() };
        new.validate()?;
        Ok(new)
    }
}

impl Transform for Normalize {
    fn validate(&self) -> Result<()> {
        let fail = |m| Err(DataError::argument("Normalize", m));
        if self.mean.len() != self.std.len() || self.mean.is_empty() {
            return fail(format!(
                "{} means and {} standard deviations; give one of each per channel",
                self.mean.len(),
                self.std.len()
            ));
        }
        if let Some(s) = self.std.iter().find(|s| !(s.is_finite() && **s > 0.0)) {
            return fail(format!("standard deviation {s} is not positive"));
        }
        match self.mean.iter().find(|m| !m.is_finite()) {
            Some(m) => fail(format!("mean {m} is not finite")),
            None => Ok(()),
        }
    }

    fn run(&self, mut image: Array, _cx: &mut SampleCtx) -> Result<Array> {
        let (c, h, w) = image.image_dims("Normalize")?;
        if c != self.mean.len() {
            return Err(DataError::argument(
                "Normalize",
                format!("has {} channels, the image has {c}", self.mean.len()),
            ));
        }
        let Some(x) = image.as_f32_mut() else {
            return Err(DataError::argument("Normalize", "the image is u8; put ToFloat before it"));
        };
        for ((plane, mean), std) in x.chunks_exact_mut(h * w).zip(&self.mean).zip(&self.std) {
            plane.iter_mut().for_each(|v| *v = (*v - mean) / std);
        }
        Ok(image)
    }

    own_spec!(Normalize);
}

/// Luminance `0.2989 r + 0.587 g + 0.114 b` of an RGB image, in one or three equal channels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grayscale {
    num_output_channels: usize,
}

impl Default for Grayscale {
    fn default() -> Self {
        Self { num_output_channels: 1 }
    }
}

impl Grayscale {
    /// One or three channels.
    ///
    /// # Errors
    /// For another number.
    pub fn new(num_output_channels: usize) -> Result<Self> {
        let new = Self { num_output_channels };
        new.validate()?;
        Ok(new)
    }
}

/// One pixel's luminance in PyTorch's order of operations.
pub(super) fn luminance<T: Store>(r: T, g: T, b: T) -> T {
    T::trunc(0.2989 * r.to_f32() + 0.587 * g.to_f32() + 0.114 * b.to_f32())
}

fn gray<T: Store>(pixels: &[T], c: usize, plane: usize, channels: usize, cx: &mut SampleCtx) -> Vec<T> {
    let mut out = T::take(cx, plane * channels);
    if c == 1 {
        out.extend_from_slice(pixels);
    } else {
        let (r, rest) = pixels.split_at(plane);
        let (g, b) = rest.split_at(plane);
        out.extend(r.iter().zip(g).zip(b).map(|((&r, &g), &b)| luminance(r, g, b)));
    }
    for _ in 1..channels {
        out.extend_from_within(..plane);
    }
    out
}

impl Transform for Grayscale {
    fn validate(&self) -> Result<()> {
        match self.num_output_channels {
            1 | 3 => Ok(()),
            n => Err(DataError::argument("Grayscale", format!("{n} output channels; 1 or 3 are possible"))),
        }
    }

    fn run(&self, image: Array, cx: &mut SampleCtx) -> Result<Array> {
        let (c, _, _) = image.image_dims("Grayscale")?;
        if c != 1 && c != 3 {
            return Err(DataError::argument(
                "Grayscale",
                format!("needs 1 or 3 channels, the image has {c}"),
            ));
        }
        on_pixels!("Grayscale", image, cx, |c, h, w, p| {
            let n = self.num_output_channels;
            (vec![n, h, w], gray(p, c, h * w, n, cx))
        })
    }

    own_spec!(Grayscale);
}

/// Mirrors an image: left to right when `horizontal`, else top to bottom.
///
/// # Errors
/// When it is no image.
pub fn flip(mut image: Array, horizontal: bool) -> Result<Array> {
    fn turn<T>(p: &mut [T], h: usize, w: usize, horizontal: bool) {
        if horizontal {
            p.chunks_exact_mut(w).for_each(<[T]>::reverse);
        } else {
            for plane in p.chunks_exact_mut(h * w) {
                for y in 0..h / 2 {
                    let (top, bottom) = plane.split_at_mut((h - 1 - y) * w);
                    top[y * w..(y + 1) * w].swap_with_slice(&mut bottom[..w]);
                }
            }
        }
    }
    let (_, h, w) = image.image_dims("flip")?;
    let (shape, mut data) = image.into_parts();
    match &mut data {
        ArrayData::U8(p) => turn(p, h, w, horizontal),
        ArrayData::F32(p) => turn(p, h, w, horizontal),
        ArrayData::I64(_) => {}
    }
    image = Array::trusted(shape, data);
    Ok(image)
}

macro_rules! flips {
    ($($name:ident, $horizontal:expr, $doc:expr;)*) => {$(
        #[doc = $doc]
        #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            p: f64,
        }

        impl Default for $name {
            fn default() -> Self {
                Self { p: 0.5 }
            }
        }

        impl $name {
            /// With this probability.
            ///
            /// # Errors
            /// When it is not within 0..=1.
            pub fn new(p: f64) -> Result<Self> {
                check_p(stringify!($name), p)?;
                Ok(Self { p })
            }
        }

        impl Transform for $name {
            fn validate(&self) -> Result<()> {
                check_p(stringify!($name), self.p)
            }

            fn run(&self, image: Array, cx: &mut SampleCtx) -> Result<Array> {
                image.image_dims(stringify!($name))?;
                if cx.rng().chance(self.p) { flip(image, $horizontal) } else { Ok(image) }
            }

            own_spec!($name);
        }
    )*};
}
flips! {
    RandomHorizontalFlip, true, "Mirrors left to right with probability `p` (0.5).";
    RandomVerticalFlip, false, "Mirrors top to bottom with probability `p` (0.5).";
}

/// Fills a random rectangle (Zhong et al. 2017, "Random Erasing Data Augmentation").
///
/// With probability `p` (0.5) a rectangle of `scale` (0.02..0.33) of the area and an aspect ratio
/// in `ratio` (0.3..3.3) becomes `value` (0), or standard normal noise on an f32 image when
/// `random`. Ten tries are made to fit one, as in torchvision.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RandomErasing {
    p: f64,
    scale: (f64, f64),
    ratio: (f64, f64),
    value: f32,
    random: bool,
}

impl Default for RandomErasing {
    fn default() -> Self {
        Self { p: 0.5, scale: (0.02, 0.33), ratio: (0.3, 3.3), value: 0.0, random: false }
    }
}

impl RandomErasing {
    /// With other settings than the defaults.
    ///
    /// # Errors
    /// When `p` is no probability, `scale` is not an ordered range within 0..=1, or `ratio` not an
    /// ordered range of positive numbers.
    pub fn new(p: f64, scale: (f64, f64), ratio: (f64, f64), value: f32) -> Result<Self> {
        let new = Self { p, scale, ratio, value, random: false };
        new.validate()?;
        Ok(new)
    }

    /// Fills with standard normal noise (f32 images only).
    #[must_use]
    pub fn random(mut self) -> Self {
        self.random = true;
        self
    }
}

impl Transform for RandomErasing {
    fn validate(&self) -> Result<()> {
        let op = "RandomErasing";
        check_p(op, self.p)?;
        check_range(op, "scale", self.scale, 0.0)?;
        check_range(op, "ratio", self.ratio, f64::MIN_POSITIVE)?;
        if self.scale.1 > 1.0 || !self.value.is_finite() {
            return Err(DataError::argument(
                op,
                format!("scale {:?} goes past 1, or value {} is not finite", self.scale, self.value),
            ));
        }
        Ok(())
    }

    fn run(&self, image: Array, cx: &mut SampleCtx) -> Result<Array> {
        let (c, h, w) = image.image_dims("RandomErasing")?;
        if self.random && image.as_u8().is_some() {
            return Err(DataError::argument(
                "RandomErasing",
                "noise needs an f32 image; put ToFloat before it",
            ));
        }
        let rng = cx.rng();
        if !rng.chance(self.p) {
            return Ok(image);
        }
        let (low, high) = (self.ratio.0.ln(), self.ratio.1.ln());
        let fits = |_| {
            let area = (h * w) as f64 * rng.range(self.scale.0, self.scale.1);
            let aspect = rng.range(low, high).exp();
            let eh = (area * aspect).sqrt().round_ties_even() as usize;
            let ew = (area / aspect).sqrt().round_ties_even() as usize;
            (eh < h && ew < w).then(|| (rng.below(h - eh + 1), rng.below(w - ew + 1), eh, ew))
        };
        let Some((top, left, eh, ew)) = (0..10).find_map(fits) else { return Ok(image) };
        let (shape, mut data) = image.into_parts();
        for channel in 0..c {
            for y in top..top + eh {
                let start = (channel * h + y) * w + left;
                match &mut data {
                    ArrayData::F32(p) if self.random => {
                        p[start..start + ew].iter_mut().for_each(|v| *v = rng.normal() as f32);
                    }
                    ArrayData::F32(p) => p[start..start + ew].fill(self.value),
                    ArrayData::U8(p) => p[start..start + ew].fill(self.value as u8),
                    ArrayData::I64(_) => {}
                }
            }
        }
        Ok(Array::trusted(shape, data))
    }

    own_spec!(RandomErasing);
}
