//! Resizing by bilinear interpolation, with or without antialiasing.

use super::{Store, Transform, on_pixels, own_spec};
use crate::array::Array;
use crate::dataset::SampleCtx;
use crate::error::{DataError, Result};
use serde::{Deserialize, Serialize};

/// The largest side of a resized image.
const MAX_SIDE: usize = 1 << 16;

/// One output position's first input position and weights.
struct Taps {
    first: usize,
    weights: Vec<f32>,
}

/// Weights along one axis, as PyTorch's `interpolate(mode="bilinear", align_corners=False)`.
fn taps(from: usize, to: usize, antialias: bool) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    // A triangle as wide as the output pixel when shrinking, as an input pixel otherwise.
    let support = if antialias { scale.max(1.0) } else { 1.0 };
    (0..to)
        .map(|i| {
            if !antialias {
                let x = ((i as f64 + 0.5) * scale - 0.5).max(0.0);
                let first = (x as usize).min(from - 1);
                let fraction = (x - first as f64) as f32;
                let weights = if first + 1 < from { vec![1.0 - fraction, fraction] } else { vec![1.0] };
                return Taps { first, weights };
            }
            let center = scale * (i as f64 + 0.5);
            let first = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(from);
            let raw = |x: usize| (1.0 - ((x as f64 - center + 0.5) / support).abs()).max(0.0);
            let total: f64 = (first..end).map(raw).sum();
            Taps { first, weights: (first..end).map(|x| (raw(x) / total) as f32).collect() }
        })
        .collect()
}

/// Resizes to `height` × `width`; u8 is rounded to nearest.
///
/// # Errors
/// When it is no image, or the size is 0 or over 65,536.
pub fn resize(
    image: Array,
    height: usize,
    width: usize,
    antialias: bool,
    cx: &mut SampleCtx,
) -> Result<Array> {
    let (_, h, w) = image.image_dims("Resize")?;
    check_side(height.min(width))?;
    check_side(height.max(width))?;
    if (h, w) == (height, width) {
        return Ok(image);
    }
    let (columns, rows) = (taps(w, width, antialias), taps(h, height, antialias));
    fn run<T: Store>(
        p: &[T],
        (h, w): (usize, usize),
        columns: &[Taps],
        rows: &[Taps],
        cx: &mut SampleCtx,
    ) -> Vec<T> {
        let mut out = T::take(cx, p.len() / (h * w) * columns.len() * rows.len());
        let mut narrow = cx.buffers.take_f32(h * columns.len());
        let mut line = cx.buffers.take_f32(columns.len());
        for plane in p.chunks_exact(h * w) {
            narrow.clear();
            for row in plane.chunks_exact(w) {
                narrow.extend(columns.iter().map(|t| {
                    let pixels = &row[t.first..t.first + t.weights.len()];
                    pixels.iter().zip(&t.weights).map(|(p, k)| p.to_f32() * k).sum::<f32>()
                }));
            }
            for t in rows {
                line.clear();
                line.resize(columns.len(), 0.0);
                for (k, source) in t.weights.iter().zip(narrow.chunks_exact(columns.len()).skip(t.first)) {
                    line.iter_mut().zip(source).for_each(|(v, s)| *v += k * s);
                }
                out.extend(line.iter().map(|&v| T::round(v)));
            }
        }
        cx.buffers.give_data(crate::array::ArrayData::F32(narrow));
        cx.buffers.give_data(crate::array::ArrayData::F32(line));
        out
    }
    on_pixels!("Resize", image, cx, |c, h, w, p| (
        vec![c, height, width],
        run(p, (h, w), &columns, &rows, cx)
    ))
}

fn check_side(side: usize) -> Result<()> {
    if side == 0 || side > MAX_SIDE {
        return Err(DataError::argument("Resize", format!("side {side} is not between 1 and {MAX_SIDE}")));
    }
    Ok(())
}

/// The size to resize to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ResizeTo {
    /// The shorter side becomes this, the longer one keeps the proportion.
    Shorter(usize),
    /// Height and width.
    Exact(usize, usize),
}

/// Resizes by bilinear interpolation, antialiased unless switched off.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resize {
    size: ResizeTo,
    #[serde(default = "yes")]
    antialias: bool,
}

fn yes() -> bool {
    true
}

impl Resize {
    /// To `height` × `width`.
    ///
    /// # Errors
    /// When one is 0 or over 65,536.
    pub fn new(height: usize, width: usize) -> Result<Self> {
        let new = Self { size: ResizeTo::Exact(height, width), antialias: true };
        new.validate()?;
        Ok(new)
    }

    /// The shorter side to this many pixels, keeping the proportion.
    ///
    /// # Errors
    /// When it is 0 or over 65,536.
    pub fn shorter(side: usize) -> Result<Self> {
        let new = Self { size: ResizeTo::Shorter(side), antialias: true };
        new.validate()?;
        Ok(new)
    }

    /// With or without antialiasing (on by default).
    #[must_use]
    pub fn antialias(mut self, on: bool) -> Self {
        self.antialias = on;
        self
    }
}

impl Transform for Resize {
    fn validate(&self) -> Result<()> {
        match self.size {
            ResizeTo::Shorter(s) => check_side(s),
            ResizeTo::Exact(h, w) => check_side(h).and_then(|()| check_side(w)),
        }
    }

    fn run(&self, image: Array, cx: &mut SampleCtx) -> Result<Array> {
        let (_, h, w) = image.image_dims("Resize")?;
        // The longer side is truncated, as torchvision's `int(size * long / short)`.
        let long =
            |side: usize, long: usize, short: usize| (side as f64 * long as f64 / short as f64) as usize;
        let (height, width) = match self.size {
            ResizeTo::Exact(height, width) => (height, width),
            ResizeTo::Shorter(side) if w <= h => (long(side, h, w), side),
            ResizeTo::Shorter(side) => (side, long(side, w, h)),
        };
        resize(image, height, width, self.antialias, cx)
    }

    own_spec!(Resize);
}
