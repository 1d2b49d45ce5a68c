//! Resizing.

use super::{Image, check_size, in_memory};
use crate::error::Result;
use ::image::imageops::{self, FilterType};
use ::image::{ImageBuffer, Luma, Rgb};

/// How a resized pixel is made of the source's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Filter {
    /// The nearest pixel: hard edges, no new colours.
    Nearest,
    /// Of the four pixels around the position, pixel centres at half (PyTorch's `bilinear` with
    /// `align_corners=False`, `antialias=False`). Skips pixels when it shrinks.
    Bilinear,
    /// A triangle as wide as the scale, so that every source pixel counts when it shrinks
    /// (Pillow's `BILINEAR`, PyTorch's `antialias=True`).
    Antialias,
}

impl Image {
    /// The image at another size, in pixels. The sides' ratio is not kept.
    ///
    /// ```
    /// use hadal_io::image::{Filter, Image};
    /// let image = Image::new(2, 1, 1, vec![0, 100])?;
    /// assert_eq!(image.resize(1, 1, Filter::Antialias)?.data(), &[50]);
    /// # Ok::<(), hadal_io::IoError>(())
    /// ```
    ///
    /// # Errors
    /// [`IoError`](crate::IoError) when a side is zero or the result has more than
    /// [`MAX_PIXELS`](super::MAX_PIXELS).
    pub fn resize(&self, width: usize, height: usize, filter: Filter) -> Result<Image> {
        check_size(width, height).map_err(|p| in_memory(p, "resize image"))?;
        if (width, height) == (self.width, self.height) {
            return Ok(self.clone());
        }
        let data = match filter {
            Filter::Nearest => self.nearest(width, height),
            Filter::Bilinear => self.bilinear(width, height),
            Filter::Antialias => self.antialias(width, height),
        };
        Ok(Image { width, height, channels: self.channels, data })
    }

    fn nearest(&self, width: usize, height: usize) -> Vec<u8> {
        let c = self.channels;
        let mut out = Vec::with_capacity(width * height * c);
        for y in 0..height {
            let row = (2 * y + 1) * self.height / (2 * height) * self.width;
            for x in 0..width {
                let at = (row + (2 * x + 1) * self.width / (2 * width)) * c;
                out.extend_from_slice(&self.data[at..at + c]);
            }
        }
        out
    }

    fn bilinear(&self, width: usize, height: usize) -> Vec<u8> {
        let c = self.channels;
        let columns: Vec<_> = (0..width).map(|x| Tap::new(x, width, self.width)).collect();
        let mut out = Vec::with_capacity(width * height * c);
        for y in 0..height {
            let v = Tap::new(y, height, self.height);
            for h in &columns {
                for k in 0..c {
                    let at = |y: usize, x: usize| f32::from(self.data[(y * self.width + x) * c + k]);
                    let top = at(v.low, h.low) * (1.0 - h.part) + at(v.low, h.high) * h.part;
                    let bottom = at(v.high, h.low) * (1.0 - h.part) + at(v.high, h.high) * h.part;
                    out.push((top * (1.0 - v.part) + bottom * v.part + 0.5) as u8);
                }
            }
        }
        out
    }

    fn antialias(&self, width: usize, height: usize) -> Vec<u8> {
        let (w, h) = (self.width as u32, self.height as u32);
        let (nw, nh) = (width as u32, height as u32);
        let data = self.data.clone();
        // Both `from_raw` succeed: the constructors keep data as long as the sides say.
        let resized = if self.channels == 1 {
            ImageBuffer::<Luma<u8>, _>::from_raw(w, h, data)
                .map(|b| imageops::resize(&b, nw, nh, FilterType::Triangle).into_raw())
        } else {
            ImageBuffer::<Rgb<u8>, _>::from_raw(w, h, data)
                .map(|b| imageops::resize(&b, nw, nh, FilterType::Triangle).into_raw())
        };
        resized.unwrap_or_default()
    }
}

/// The two source positions of an output position along one side, and the share of the second.
struct Tap {
    low: usize,
    high: usize,
    part: f32,
}

impl Tap {
    fn new(at: usize, out: usize, source: usize) -> Tap {
        let position = ((at as f64 + 0.5) * source as f64 / out as f64 - 0.5).max(0.0);
        let low = (position as usize).min(source - 1);
        Tap { low, high: (low + 1).min(source - 1), part: (position - low as f64) as f32 }
    }
}
