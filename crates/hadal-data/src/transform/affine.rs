//! Rotation and general affine maps about the image's centre.

use super::{Store, Transform, check_range, on_pixels, own_spec};
use crate::array::Array;
use crate::dataset::SampleCtx;
use crate::error::{DataError, Result};
use serde::{Deserialize, Serialize};

/// How a value between pixels is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// The nearest pixel.
    #[default]
    Nearest,
    /// Between the four neighbours.
    Bilinear,
}

/// An affine map: shear, then scale, then rotation about the centre, then translation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AffineParams {
    /// Clockwise rotation in degrees (as torchvision's `affine`; its `rotate` turns the other way).
    pub degrees: f64,
    /// Shift in pixels, to the right and down.
    pub translate: (f64, f64),
    /// Scale; 1 keeps the size.
    pub scale: f64,
    /// Shear in degrees along x and y.
    pub shear: (f64, f64),
}

impl Default for AffineParams {
    fn default() -> Self {
        Self { degrees: 0.0, translate: (0.0, 0.0), scale: 1.0, shear: (0.0, 0.0) }
    }
}

impl AffineParams {
    /// The matrix from output to input positions, both relative to the centre
    /// (torchvision's `_get_inverse_affine_matrix`).
    fn inverse(&self) -> Result<[f64; 6]> {
        let rot = self.degrees.to_radians();
        let (sx, sy) = (self.shear.0.to_radians(), self.shear.1.to_radians());
        let (tx, ty) = self.translate;
        let a = (rot - sy).cos() / sy.cos();
        let b = -(rot - sy).cos() * sx.tan() / sy.cos() - rot.sin();
        let c = (rot - sy).sin() / sy.cos();
        let d = -(rot - sy).sin() * sx.tan() / sy.cos() + rot.cos();
        let [m0, m1, m3, m4] = [d, -b, -c, a].map(|v| v / self.scale);
        let m = [m0, m1, -m0 * tx - m1 * ty, m3, m4, -m3 * tx - m4 * ty];
        if m.iter().all(|v| v.is_finite()) && self.scale > 0.0 {
            return Ok(m);
        }
        Err(DataError::argument(
            "affine",
            format!("{self:?} cannot be inverted; scale must be above 0 and shear below 90 degrees"),
        ))
    }
}

/// Maps an image of unchanged size; what comes from outside is `fill`.
///
/// With bilinear interpolation, edge pixels are weighted with the fill as torchvision does on
/// tensors: `m · (v − fill) + fill`, where `v` already counts the outside as 0 and `m` is the part
/// of the neighbours that lies inside.
///
/// # Errors
/// When it is no image or the map cannot be inverted.
pub fn affine(
    image: Array,
    params: &AffineParams,
    how: Interpolation,
    fill: f32,
    cx: &mut SampleCtx,
) -> Result<Array> {
    image.image_dims("affine")?;
    let m = params.inverse()?;
    fn run<T: Store>(
        p: &[T],
        (h, w): (usize, usize),
        m: [f64; 6],
        how: Interpolation,
        fill: f32,
        cx: &mut SampleCtx,
    ) -> Vec<T> {
        let mut out = T::take(cx, p.len());
        let (half_w, half_h) = (w as f64 / 2.0, h as f64 / 2.0);
        for plane in p.chunks_exact(h * w) {
            let at = |x: f64, y: f64| -> Option<f32> {
                let inside = x >= 0.0 && y >= 0.0 && x < w as f64 && y < h as f64;
                inside.then(|| plane[y as usize * w + x as usize].to_f32())
            };
            for y in 0..h {
                let v = y as f64 + 0.5 - half_h;
                for x in 0..w {
                    let u = x as f64 + 0.5 - half_w;
                    let sx = m[0] * u + m[1] * v + m[2] + half_w - 0.5;
                    let sy = m[3] * u + m[4] * v + m[5] + half_h - 0.5;
                    let value = match how {
                        Interpolation::Nearest => {
                            at(sx.round_ties_even(), sy.round_ties_even()).unwrap_or(fill)
                        }
                        Interpolation::Bilinear => bilinear(at, sx, sy, fill),
                    };
                    out.push(T::round(value));
                }
            }
        }
        out
    }
    on_pixels!("affine", image, cx, |c, h, w, p| (vec![c, h, w], run(p, (h, w), m, how, fill, cx)))
}

fn bilinear(at: impl Fn(f64, f64) -> Option<f32>, x: f64, y: f64, fill: f32) -> f32 {
    let (x0, y0) = (x.floor(), y.floor());
    let (fx, fy) = ((x - x0) as f32, (y - y0) as f32);
    let corners = [
        (x0, y0, (1.0 - fx) * (1.0 - fy)),
        (x0 + 1.0, y0, fx * (1.0 - fy)),
        (x0, y0 + 1.0, (1.0 - fx) * fy),
        (x0 + 1.0, y0 + 1.0, fx * fy),
    ];
    let (mut value, mut mask) = (0.0, 0.0);
    for (x, y, weight) in corners {
        if let Some(v) = at(x, y) {
            value += v * weight;
            mask += weight;
        }
    }
    mask * (value - fill) + fill
}

/// Turns by a random angle within `degrees` (counter-clockwise), size unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RandomRotation {
    degrees: (f64, f64),
    #[serde(default)]
    interpolation: Interpolation,
    #[serde(default)]
    fill: f32,
}

impl RandomRotation {
    /// Between `−degrees` and `degrees`; nearest pixel, filled with 0.
    ///
    /// # Errors
    /// When it is negative or not finite.
    pub fn new(degrees: f64) -> Result<Self> {
        Self::range(-degrees, degrees)
    }

    /// Between two angles.
    ///
    /// # Errors
    /// When they are out of order or not finite.
    pub fn range(low: f64, high: f64) -> Result<Self> {
        let new = Self { degrees: (low, high), interpolation: Interpolation::Nearest, fill: 0.0 };
        new.validate()?;
        Ok(new)
    }

    /// Another interpolation than the nearest pixel.
    #[must_use]
    pub fn interpolation(mut self, how: Interpolation) -> Self {
        self.interpolation = how;
        self
    }

    /// Another fill than 0, on the image's own scale.
    #[must_use]
    pub fn fill(mut self, fill: f32) -> Self {
        self.fill = fill;
        self
    }
}

impl Transform for RandomRotation {
    fn validate(&self) -> Result<()> {
        check_range("RandomRotation", "degrees", self.degrees, f64::NEG_INFINITY)
    }

    fn run(&self, image: Array, cx: &mut SampleCtx) -> Result<Array> {
        let angle = cx.rng().range(self.degrees.0, self.degrees.1);
        let params = AffineParams { degrees: -angle, ..AffineParams::default() };
        affine(image, &params, self.interpolation, self.fill, cx)
    }

    own_spec!(RandomRotation);
}

/// A random affine map: rotation (`degrees`), `translate` (as parts of width and height), `scale`
/// and `shear` (degrees along x, and y).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RandomAffine {
    degrees: (f64, f64),
    #[serde(default)]
    translate: (f64, f64),
    #[serde(default = "unit")]
    scale: (f64, f64),
    #[serde(default)]
    shear_x: (f64, f64),
    #[serde(default)]
    shear_y: (f64, f64),
    #[serde(default)]
    interpolation: Interpolation,
    #[serde(default)]
    fill: f32,
}

fn unit() -> (f64, f64) {
    (1.0, 1.0)
}

impl RandomAffine {
    /// Rotation between `−degrees` and `degrees` and nothing else; nearest pixel, filled with 0.
    ///
    /// # Errors
    /// When it is negative or not finite.
    pub fn new(degrees: f64) -> Result<Self> {
        let new = Self {
            degrees: (-degrees, degrees),
            translate: (0.0, 0.0),
            scale: unit(),
            shear_x: (0.0, 0.0),
            shear_y: (0.0, 0.0),
            interpolation: Interpolation::Nearest,
            fill: 0.0,
        };
        new.validate()?;
        Ok(new)
    }

    /// Also shifts by up to these parts of width and height, to either side.
    ///
    /// # Errors
    /// When one is not within 0..=1.
    pub fn translate(mut self, horizontal: f64, vertical: f64) -> Result<Self> {
        self.translate = (horizontal, vertical);
        self.validate().map(|()| self)
    }

    /// Also scales.
    ///
    /// # Errors
    /// When the range is out of order or not above 0.
    pub fn scale(mut self, low: f64, high: f64) -> Result<Self> {
        self.scale = (low, high);
        self.validate().map(|()| self)
    }

    /// Also shears along x and y, in degrees.
    ///
    /// # Errors
    /// When a range is out of order or reaches 90 degrees.
    pub fn shear(mut self, x: (f64, f64), y: (f64, f64)) -> Result<Self> {
        (self.shear_x, self.shear_y) = (x, y);
        self.validate().map(|()| self)
    }

    /// Another interpolation than the nearest pixel.
    #[must_use]
    pub fn interpolation(mut self, how: Interpolation) -> Self {
        self.interpolation = how;
        self
    }

    /// Another fill than 0, on the image's own scale.
    #[must_use]
    pub fn fill(mut self, fill: f32) -> Self {
        self.fill = fill;
        self
    }
}

impl Transform for RandomAffine {
    fn validate(&self) -> Result<()> {
        let op = "RandomAffine";
        let any = f64::NEG_INFINITY;
        check_range(op, "degrees", self.degrees, any)?;
        check_range(op, "scale", self.scale, f64::MIN_POSITIVE)?;
        check_range(op, "shear along x", self.shear_x, any)?;
        check_range(op, "shear along y", self.shear_y, any)?;
        let shears = [self.shear_x.0, self.shear_x.1, self.shear_y.0, self.shear_y.1];
        let shifts = [self.translate.0, self.translate.1];
        if shears.iter().any(|s| s.abs() >= 90.0) {
            return Err(DataError::argument(op, format!("a shear of {shears:?} reaches 90 degrees")));
        }
        if shifts.iter().any(|t| !(0.0..=1.0).contains(t)) {
            return Err(DataError::argument(op, format!("translate {shifts:?} must be parts within 0..=1")));
        }
        Ok(())
    }

    fn run(&self, image: Array, cx: &mut SampleCtx) -> Result<Array> {
        let (_, h, w) = image.image_dims("RandomAffine")?;
        let rng = cx.rng();
        let degrees = rng.range(self.degrees.0, self.degrees.1);
        let mut shift = |part: f64, size: usize| {
            let most = part * size as f64;
            rng.range(-most, most).round_ties_even()
        };
        let translate = (shift(self.translate.0, w), shift(self.translate.1, h));
        let scale = rng.range(self.scale.0, self.scale.1);
        let shear = (rng.range(self.shear_x.0, self.shear_x.1), rng.range(self.shear_y.0, self.shear_y.1));
        let params = AffineParams { degrees, translate, scale, shear };
        affine(image, &params, self.interpolation, self.fill, cx)
    }

    own_spec!(RandomAffine);
}
