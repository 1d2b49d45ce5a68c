//! Brightness, contrast, saturation and hue.

use super::basic::luminance;
use super::{Store, Transform, check_range, on_pixels, own_spec};
use crate::array::Array;
use crate::dataset::SampleCtx;
use crate::error::{DataError, Result};
use serde::{Deserialize, Serialize};

/// `ratio · a + (1 − ratio) · b`, clamped to the pixel range and truncated.
fn blend<T: Store>(a: T, b: f32, ratio: f32, rest: f32) -> T {
    T::trunc((ratio * a.to_f32() + rest * b).clamp(0.0, T::MAX))
}

/// An error unless the image has 1 or 3 channels and the factor is finite and at least 0.
fn check(op: &'static str, image: &Array, factor: f64) -> Result<usize> {
    let (c, _, _) = image.image_dims(op)?;
    if c != 1 && c != 3 {
        return Err(DataError::argument(op, format!("needs 1 or 3 channels, the image has {c}")));
    }
    if !factor.is_finite() {
        return Err(DataError::argument(op, format!("factor {factor} is not finite")));
    }
    Ok(c)
}

fn check_factor(op: &'static str, factor: f64) -> Result<()> {
    if factor < 0.0 {
        return Err(DataError::argument(op, format!("factor {factor} is below 0")));
    }
    Ok(())
}

/// Scales all channels; 0 is black, 1 the image itself.
///
/// # Errors
/// When the factor is below 0 or the image has neither 1 nor 3 channels.
pub fn adjust_brightness(image: Array, factor: f64, cx: &mut SampleCtx) -> Result<Array> {
    check("adjust_brightness", &image, factor)?;
    check_factor("adjust_brightness", factor)?;
    fn run<T: Store>(p: &[T], factor: f64, cx: &mut SampleCtx) -> Vec<T> {
        let mut out = T::take(cx, p.len());
        out.extend(p.iter().map(|&v| blend(v, 0.0, factor as f32, (1.0 - factor) as f32)));
        out
    }
    on_pixels!("adjust_brightness", image, cx, |c, h, w, p| (vec![c, h, w], run(p, factor, cx)))
}

/// Moves all pixels from (factor 0) the mean luminance; 1 is the image itself.
///
/// # Errors
/// As [`adjust_brightness`].
pub fn adjust_contrast(image: Array, factor: f64, cx: &mut SampleCtx) -> Result<Array> {
    check("adjust_contrast", &image, factor)?;
    check_factor("adjust_contrast", factor)?;
    fn run<T: Store>(p: &[T], c: usize, plane: usize, factor: f64, cx: &mut SampleCtx) -> Vec<T> {
        // The mean of the (for u8 truncated) luminance, summed in f64.
        let sum: f64 = if c == 3 {
            (0..plane).map(|i| f64::from(luminance(p[i], p[plane + i], p[2 * plane + i]).to_f32())).sum()
        } else {
            p.iter().map(|v| f64::from(v.to_f32())).sum()
        };
        let mean = (sum / plane as f64) as f32;
        let mut out = T::take(cx, p.len());
        out.extend(p.iter().map(|&v| blend(v, mean, factor as f32, (1.0 - factor) as f32)));
        out
    }
    on_pixels!("adjust_contrast", image, cx, |c, h, w, p| (vec![c, h, w], run(p, c, h * w, factor, cx)))
}

/// Moves colours from (factor 0) grey; 1 is the image itself. Leaves one-channel images.
///
/// # Errors
/// As [`adjust_brightness`].
pub fn adjust_saturation(image: Array, factor: f64, cx: &mut SampleCtx) -> Result<Array> {
    check_factor("adjust_saturation", factor)?;
    if check("adjust_saturation", &image, factor)? == 1 {
        return Ok(image);
    }
    fn run<T: Store>(p: &[T], plane: usize, factor: f64, cx: &mut SampleCtx) -> Vec<T> {
        let mut out = T::take(cx, p.len());
        let grey = |i: usize| luminance(p[i], p[plane + i], p[2 * plane + i]).to_f32();
        out.extend(
            p.iter()
                .enumerate()
                .map(|(i, &v)| blend(v, grey(i % plane), factor as f32, (1.0 - factor) as f32)),
        );
        out
    }
    on_pixels!("adjust_saturation", image, cx, |c, h, w, p| (vec![c, h, w], run(p, h * w, factor, cx)))
}

/// Turns the hue by a part of the full circle, −0.5..=0.5. Leaves one-channel images.
///
/// # Errors
/// When the factor is outside that, or the image has neither 1 nor 3 channels.
pub fn adjust_hue(image: Array, factor: f64, cx: &mut SampleCtx) -> Result<Array> {
    let c = check("adjust_hue", &image, factor)?;
    if factor.abs() > 0.5 {
        return Err(DataError::argument("adjust_hue", format!("factor {factor} is not within -0.5..=0.5")));
    }
    if c == 1 {
        return Ok(image);
    }
    fn run<T: Store>(p: &[T], plane: usize, factor: f64, cx: &mut SampleCtx) -> Vec<T> {
        let mut out = T::take(cx, p.len());
        out.extend_from_slice(p);
        for i in 0..plane {
            let rgb = [0, 1, 2].map(|c| p[c * plane + i].to_f32() / T::MAX);
            let turned = turn_hue(rgb, factor as f32);
            for (c, v) in turned.into_iter().enumerate() {
                // PyTorch's conversion to u8 multiplies by 256 − 1e-3 and truncates.
                let scale = if T::MAX == 1.0 { 1.0 } else { T::MAX + 1.0 - 1e-3 };
                out[c * plane + i] = T::trunc(v * scale);
            }
        }
        out
    }
    on_pixels!("adjust_hue", image, cx, |c, h, w, p| (vec![c, h, w], run(p, h * w, factor, cx)))
}

/// RGB to HSV, hue turned, back to RGB (0..1), in torchvision's order of operations.
fn turn_hue([r, g, b]: [f32; 3], by: f32) -> [f32; 3] {
    let (max, min) = (r.max(g).max(b), r.min(g).min(b));
    let spread = max - min;
    let (s, divisor) = if spread == 0.0 { (spread, 1.0) } else { (spread / max, spread) };
    let (rc, gc, bc) = ((max - r) / divisor, (max - g) / divisor, (max - b) / divisor);
    let sector = if max == r {
        bc - gc
    } else if max == g {
        2.0 + rc - bc
    } else {
        4.0 + gc - rc
    };
    let h = ((sector / 6.0 + 1.0) % 1.0 + by).rem_euclid(1.0);
    let i = (h * 6.0).floor();
    let f = h * 6.0 - i;
    let p = (max * (1.0 - s)).clamp(0.0, 1.0);
    let q = (max * (1.0 - s * f)).clamp(0.0, 1.0);
    let t = (max * (1.0 - s * (1.0 - f))).clamp(0.0, 1.0);
    match i as i32 % 6 {
        0 => [max, t, p],
        1 => [q, max, p],
        2 => [p, max, t],
        3 => [p, q, max],
        4 => [t, p, max],
        _ => [max, p, q],
    }
}

/// Changes brightness, contrast, saturation and hue at random, in random order.
///
/// Each of the first three is a range of factors (`(1, 1)`: unchanged), hue a range within
/// −0.5..=0.5 (`(0, 0)`: unchanged). Nothing changes by default.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ColorJitter {
    brightness: (f64, f64),
    contrast: (f64, f64),
    saturation: (f64, f64),
    hue: (f64, f64),
}

impl Default for ColorJitter {
    fn default() -> Self {
        Self { brightness: (1.0, 1.0), contrast: (1.0, 1.0), saturation: (1.0, 1.0), hue: (0.0, 0.0) }
    }
}

impl ColorJitter {
    /// As torchvision takes single numbers: factors from `max(0, 1 − x)` to `1 + x`, hue from
    /// `−x` to `x`.
    ///
    /// # Errors
    /// When one is negative, or hue above 0.5.
    pub fn new(brightness: f64, contrast: f64, saturation: f64, hue: f64) -> Result<Self> {
        for (name, x) in
            [("brightness", brightness), ("contrast", contrast), ("saturation", saturation), ("hue", hue)]
        {
            if !(x.is_finite() && x >= 0.0) {
                return Err(DataError::argument(
                    "ColorJitter",
                    format!("{name} is {x}; it must be finite and at least 0"),
                ));
            }
        }
        let around = |x: f64| ((1.0 - x).max(0.0), 1.0 + x);
        Self::ranges(around(brightness), around(contrast), around(saturation), (-hue, hue))
    }

    /// With ranges of factors.
    ///
    /// # Errors
    /// When a range is out of order, factors are below 0, or hue is outside −0.5..=0.5.
    pub fn ranges(
        brightness: (f64, f64),
        contrast: (f64, f64),
        saturation: (f64, f64),
        hue: (f64, f64),
    ) -> Result<Self> {
        let new = Self { brightness, contrast, saturation, hue };
        new.validate()?;
        Ok(new)
    }
}

impl Transform for ColorJitter {
    fn validate(&self) -> Result<()> {
        check_range("ColorJitter", "brightness", self.brightness, 0.0)?;
        check_range("ColorJitter", "contrast", self.contrast, 0.0)?;
        check_range("ColorJitter", "saturation", self.saturation, 0.0)?;
        check_range("ColorJitter", "hue", self.hue, -0.5)?;
        if self.hue.1 > 0.5 {
            return Err(DataError::argument(
                "ColorJitter",
                format!("hue {:?} is not within -0.5..=0.5", self.hue),
            ));
        }
        Ok(())
    }

    fn run(&self, mut image: Array, cx: &mut SampleCtx) -> Result<Array> {
        let mut order = [0, 1, 2, 3];
        cx.rng().shuffle(&mut order);
        let mut draw = |(a, b): (f64, f64)| cx.rng().range(a, b);
        let factors = [draw(self.brightness), draw(self.contrast), draw(self.saturation), draw(self.hue)];
        for step in order {
            let factor = factors[step];
            image = match step {
                0 if self.brightness != (1.0, 1.0) => adjust_brightness(image, factor, cx)?,
                1 if self.contrast != (1.0, 1.0) => adjust_contrast(image, factor, cx)?,
                2 if self.saturation != (1.0, 1.0) => adjust_saturation(image, factor, cx)?,
                3 if self.hue != (0.0, 0.0) => adjust_hue(image, factor, cx)?,
                _ => image,
            };
        }
        Ok(image)
    }

    own_spec!(ColorJitter);
}
