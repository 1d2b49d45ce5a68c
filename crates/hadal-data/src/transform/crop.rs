//! Padding and cropping.

use super::{Store, Transform, on_pixels, own_spec};
use crate::array::Array;
use crate::dataset::SampleCtx;
use crate::error::{DataError, Result};
use serde::{Deserialize, Serialize};

/// What padding is filled with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PadMode {
    /// One value.
    #[default]
    Constant,
    /// The nearest edge pixel.
    Edge,
    /// Mirrored about the edge pixel, which is not repeated.
    Reflect,
    /// Mirrored about the edge, repeating the edge pixel.
    Symmetric,
}

/// More pixels than any image has on a side: a larger padding is a mistake.
const MAX_SIDE: usize = 1 << 20;

/// Where row or column `i` of the padded image comes from; `None` for the fill.
fn source(i: usize, before: usize, size: usize, mode: PadMode) -> Option<usize> {
    let (i, n) = (i as isize - before as isize, size as isize);
    let inside = (0..n).contains(&i);
    match mode {
        _ if inside => Some(i as usize),
        PadMode::Constant => None,
        PadMode::Edge => Some(i.clamp(0, n - 1) as usize),
        PadMode::Reflect => Some(if i < 0 { -i } else { 2 * n - 2 - i } as usize),
        PadMode::Symmetric => Some(if i < 0 { -i - 1 } else { 2 * n - 1 - i } as usize),
    }
}

/// Pads by `[left, top, right, bottom]` pixels.
///
/// # Errors
/// When it is no image, or a mirrored padding is larger than the image allows.
pub fn pad(image: Array, by: [usize; 4], fill: f32, mode: PadMode, cx: &mut SampleCtx) -> Result<Array> {
    let [left, top, right, bottom] = by;
    let (_, h, w) = image.image_dims("Pad")?;
    if by == [0; 4] {
        return Ok(image);
    }
    let most = match mode {
        PadMode::Reflect => (w - 1, h - 1),
        PadMode::Symmetric => (w, h),
        _ => (MAX_SIDE, MAX_SIDE),
    };
    if left.max(right) > most.0 || top.max(bottom) > most.1 {
        return Err(DataError::argument(
            "Pad",
            format!(
                "padding {by:?} of a {h}×{w} image is larger than mode {mode:?} allows ({} wide, {} high)",
                most.0, most.1
            ),
        ));
    }
    fn run<T: Store>(
        p: &[T],
        (c, h, w): (usize, usize, usize),
        by: [usize; 4],
        fill: f32,
        mode: PadMode,
        cx: &mut SampleCtx,
    ) -> Vec<T> {
        let [left, top, right, bottom] = by;
        let (oh, ow) = (h + top + bottom, w + left + right);
        let fill = T::trunc(fill);
        let mut out = T::take(cx, c * oh * ow);
        for plane in p.chunks_exact(h * w) {
            for y in 0..oh {
                let Some(sy) = source(y, top, h, mode) else {
                    out.resize(out.len() + ow, fill);
                    continue;
                };
                let row = &plane[sy * w..(sy + 1) * w];
                let at = |x| source(x, left, w, mode).map_or(fill, |sx| row[sx]);
                out.extend((0..left).map(at));
                out.extend_from_slice(row);
                out.extend((left + w..ow).map(at));
            }
        }
        out
    }
    on_pixels!("Pad", image, cx, |c, h, w, p| {
        (vec![c, h + top + bottom, w + left + right], run(p, (c, h, w), by, fill, mode, cx))
    })
}

/// Cuts out `height` × `width` pixels at (`top`, `left`).
///
/// # Errors
/// When they are not all within the image, or none.
pub fn crop(
    image: Array,
    top: usize,
    left: usize,
    height: usize,
    width: usize,
    cx: &mut SampleCtx,
) -> Result<Array> {
    let (_, h, w) = image.image_dims("crop")?;
    let within = |start: usize, size: usize, full: usize| {
        size > 0 && start.checked_add(size).is_some_and(|e| e <= full)
    };
    if !within(top, height, h) || !within(left, width, w) {
        return Err(DataError::argument(
            "crop",
            format!(
                "{height}×{width} at row {top}, column {left} is not within the {h}×{w} image; pad or resize it first"
            ),
        ));
    }
    if (height, width) == (h, w) {
        return Ok(image);
    }
    fn run<T: Store>(
        p: &[T],
        (c, h, w): (usize, usize, usize),
        at: [usize; 4],
        cx: &mut SampleCtx,
    ) -> Vec<T> {
        let [top, left, height, width] = at;
        let mut out = T::take(cx, c * height * width);
        for plane in p.chunks_exact(h * w) {
            for y in top..top + height {
                out.extend_from_slice(&plane[y * w + left..y * w + left + width]);
            }
        }
        out
    }
    on_pixels!("crop", image, cx, |c, h, w, p| {
        (vec![c, height, width], run(p, (c, h, w), [top, left, height, width], cx))
    })
}

fn check_size(op: &'static str, size: (usize, usize)) -> Result<()> {
    if size.0 == 0 || size.1 == 0 || size.0.max(size.1) > MAX_SIDE {
        return Err(DataError::argument(
            op,
            format!("size {}×{} is not between 1 and {MAX_SIDE}", size.0, size.1),
        ));
    }
    Ok(())
}

fn check_padding(op: &'static str, by: [usize; 4]) -> Result<()> {
    match by.iter().find(|&&p| p > MAX_SIDE) {
        Some(p) => Err(DataError::argument(op, format!("padding {p} is more than {MAX_SIDE} pixels"))),
        None => Ok(()),
    }
}

/// Pads on all sides: `[left, top, right, bottom]` pixels, with `fill` (0) or mirrored.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pad {
    padding: [usize; 4],
    #[serde(default)]
    fill: f32,
    #[serde(default)]
    mode: PadMode,
}

impl Pad {
    /// The same on all sides, filled with 0.
    ///
    /// # Errors
    /// When it is more than 2^20 pixels.
    pub fn new(padding: usize) -> Result<Self> {
        Self::sides([padding; 4])
    }

    /// `[left, top, right, bottom]`, filled with 0.
    ///
    /// # Errors
    /// When one is more than 2^20 pixels.
    pub fn sides(padding: [usize; 4]) -> Result<Self> {
        check_padding("Pad", padding)?;
        Ok(Self { padding, fill: 0.0, mode: PadMode::Constant })
    }

    /// Another fill value, on the image's own scale (0..255 or 0..1).
    #[must_use]
    pub fn fill(mut self, fill: f32) -> Self {
        self.fill = fill;
        self
    }

    /// Another kind of padding.
    #[must_use]
    pub fn mode(mut self, mode: PadMode) -> Self {
        self.mode = mode;
        self
    }
}

impl Transform for Pad {
    fn validate(&self) -> Result<()> {
        check_padding("Pad", self.padding)
    }

    fn run(&self, image: Array, cx: &mut SampleCtx) -> Result<Array> {
        pad(image, self.padding, self.fill, self.mode, cx)
    }

    own_spec!(Pad);
}

/// Cuts out the middle; an image that is too small is padded with 0 first.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CenterCrop {
    size: (usize, usize),
}

impl CenterCrop {
    /// To `height` × `width`.
    ///
    /// # Errors
    /// When one is 0.
    pub fn new(height: usize, width: usize) -> Result<Self> {
        check_size("CenterCrop", (height, width))?;
        Ok(Self { size: (height, width) })
    }
}

impl Transform for CenterCrop {
    fn validate(&self) -> Result<()> {
        check_size("CenterCrop", self.size)
    }

    fn run(&self, image: Array, cx: &mut SampleCtx) -> Result<Array> {
        let (_, h, w) = image.image_dims("CenterCrop")?;
        let (ch, cw) = self.size;
        let (dh, dw) = (ch.saturating_sub(h), cw.saturating_sub(w));
        let image = pad(image, [dw / 2, dh / 2, dw.div_ceil(2), dh.div_ceil(2)], 0.0, PadMode::Constant, cx)?;
        let (_, h, w) = image.image_dims("CenterCrop")?;
        // Python's round, which torchvision uses: halves go to the even number.
        let middle = |full: usize, part: usize| ((full - part) as f64 / 2.0).round_ties_even() as usize;
        crop(image, middle(h, ch), middle(w, cw), ch, cw, cx)
    }

    own_spec!(CenterCrop);
}

/// Cuts out a rectangle at a random place, after optional padding.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RandomCrop {
    size: (usize, usize),
    #[serde(default)]
    padding: [usize; 4],
    #[serde(default)]
    pad_if_needed: bool,
    #[serde(default)]
    fill: f32,
    #[serde(default)]
    mode: PadMode,
}

impl RandomCrop {
    /// To `height` × `width`, without padding.
    ///
    /// # Errors
    /// When one is 0.
    pub fn new(height: usize, width: usize) -> Result<Self> {
        check_size("RandomCrop", (height, width))?;
        Ok(Self {
            size: (height, width),
            padding: [0; 4],
            pad_if_needed: false,
            fill: 0.0,
            mode: PadMode::Constant,
        })
    }

    /// Pads all sides first.
    #[must_use]
    pub fn padding(mut self, pixels: usize) -> Self {
        self.padding = [pixels; 4];
        self
    }

    /// Pads an image that is too small, on both sides by what is missing, as torchvision does.
    #[must_use]
    pub fn pad_if_needed(mut self) -> Self {
        self.pad_if_needed = true;
        self
    }

    /// What padding is filled with.
    #[must_use]
    pub fn fill(mut self, fill: f32, mode: PadMode) -> Self {
        (self.fill, self.mode) = (fill, mode);
        self
    }
}

impl Transform for RandomCrop {
    fn validate(&self) -> Result<()> {
        check_size("RandomCrop", self.size)?;
        check_padding("RandomCrop", self.padding)
    }

    fn run(&self, image: Array, cx: &mut SampleCtx) -> Result<Array> {
        let mut image = pad(image, self.padding, self.fill, self.mode, cx)?;
        let (ch, cw) = self.size;
        if self.pad_if_needed {
            let (_, h, w) = image.image_dims("RandomCrop")?;
            let (dh, dw) = (ch.saturating_sub(h), cw.saturating_sub(w));
            image = pad(image, [dw, dh, dw, dh], self.fill, self.mode, cx)?;
        }
        let (_, h, w) = image.image_dims("RandomCrop")?;
        if h < ch || w < cw {
            return Err(DataError::argument(
                "RandomCrop",
                format!(
                    "the image is {h}×{w} with padding, the crop {ch}×{cw}; use padding, pad_if_needed or Resize"
                ),
            ));
        }
        let top = cx.rng().below(h - ch + 1);
        let left = cx.rng().below(w - cw + 1);
        crop(image, top, left, ch, cw, cx)
    }

    own_spec!(RandomCrop);
}
