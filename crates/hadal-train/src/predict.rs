//! Classifying an image of any size and colour: it is converted as the training data was, and what was
//! done is said.

use crate::data::{DataInfo, Input, Task, center_of_mass};
use crate::evaluate::log_softmax;
use crate::{Result, TrainError};
use hadal_io::Image;
use hadal_io::image::Filter;
use hadal_nn::{Ctx, Layer};
use hadal_tensor::{DType, Tensor, no_grad};
use serde::Serialize;

/// What a model takes an image for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// Classes by name with their probabilities, the most probable first.
    pub top: Vec<(String, f64)>,
    /// What was done to the image, step by step.
    pub conversion: Vec<String>,
}

/// Classifies images with a model.
pub struct Predictor<'a> {
    model: &'a dyn Layer,
    classes: &'a [String],
    channels: usize,
    height: usize,
    width: usize,
    mean: &'a [f32],
    std: &'a [f32],
    dark_background: bool,
    centered: bool,
    dtype: DType,
}

impl<'a> Predictor<'a> {
    /// With a model trained on this data.
    ///
    /// # Errors
    /// The data is no set of images in classes.
    pub fn new(model: &'a dyn Layer, data: &'a DataInfo) -> Result<Self> {
        let (
            Input::Image { channels, height, width, mean, std, dark_background, centered },
            Task::Classification { classes },
        ) = (&data.input, &data.task)
        else {
            return Err(TrainError::config(format!(
                "the model was trained on {}, which are no images in classes: there is nothing to predict on an image",
                data.name
            )));
        };
        let dtype = model.parameters().first().map_or(DType::F32, |(_, p)| p.dtype());
        Ok(Self {
            model,
            classes,
            channels: *channels,
            height: *height,
            width: *width,
            mean,
            std,
            dark_background: *dark_background,
            centered: *centered,
            dtype,
        })
    }

    /// The `k` most probable classes of an image.
    ///
    /// # Errors
    /// The model's own, which cannot take the image.
    pub fn predict(&self, image: &Image, k: usize) -> Result<Prediction> {
        let (image, conversion) = self.convert(image)?;
        let x = self.input(&image);
        let output = no_grad(|| self.model.forward(&x, &Ctx::eval()));
        let logits = output.cast(DType::F64).to_vec::<f64>()?;
        if logits.len() != self.classes.len() {
            return Err(TrainError::config(format!(
                "the model has {} outputs, the data {} classes",
                logits.len(),
                self.classes.len()
            )));
        }
        let mut top: Vec<(String, f64)> =
            self.classes.iter().cloned().zip(log_softmax(&logits).into_iter().map(f64::exp)).collect();
        // Stable: equal probabilities stay in label order.
        top.sort_by(|a, b| b.1.total_cmp(&a.1));
        top.truncate(k);
        Ok(Prediction { top, conversion })
    }

    /// `[1, c, h, w]`, normalised as in training.
    fn input(&self, image: &Image) -> Tensor {
        let (c, plane) = (self.channels, self.height * self.width);
        let mut values = Vec::with_capacity(c * plane);
        for k in 0..c {
            let (mean, std) =
                (self.mean.get(k).copied().unwrap_or(0.0), self.std.get(k).copied().unwrap_or(1.0));
            values
                .extend(image.data().iter().skip(k).step_by(c).map(|&v| (f32::from(v) / 255.0 - mean) / std));
        }
        Tensor::from_vec(values, [1, c, self.height, self.width]).cast(self.dtype)
    }

    /// The image in the size and colours of the training data, and what was done for it.
    ///
    /// # Errors
    /// None that is known.
    pub fn convert(&self, image: &Image) -> Result<(Image, Vec<String>)> {
        let mut said = Vec::new();
        let mut image = match (self.channels, image.channels()) {
            (1, 3) => {
                said.push("colour to grey".to_owned());
                image.to_gray()
            }
            (3, 1) => {
                said.push("grey to three equal channels".to_owned());
                image.to_rgb()
            }
            _ => image.clone(),
        };
        let fits = (image.width(), image.height()) == (self.width, self.height);
        if self.dark_background && self.channels == 1 && border_level(&image) > 127 {
            let data = image.data().iter().map(|v| 255 - v).collect();
            image = Image::new(image.width(), image.height(), 1, data)?;
            said.push(
                "inverted, since the training images are bright on black and this one's border is light"
                    .to_owned(),
            );
        }
        if !fits && self.centered && self.channels == 1 {
            image = self.center(image, &mut said)?;
        } else if !fits {
            image = self.fit(image, &mut said)?;
        }
        if said.is_empty() {
            said.push("used as it is".to_owned());
        }
        Ok((image, said))
    }

    /// Scales the shorter side and cuts the longer one, so that nothing is stretched.
    fn fit(&self, image: Image, said: &mut Vec<String>) -> Result<Image> {
        let (w, h) = (image.width(), image.height());
        // The smaller of the two factors that fill the target.
        let (nw, nh) = if w * self.height > h * self.width {
            ((w * self.height).div_ceil(h).max(self.width), self.height)
        } else {
            (self.width, (h * self.width).div_ceil(w).max(self.height))
        };
        let resized = image.resize(nw, nh, Filter::Antialias)?;
        said.push(format!("{w} x {h} pixels to {nw} x {nh}, antialiased"));
        if (nw, nh) == (self.width, self.height) {
            return Ok(resized);
        }
        said.push(format!("the middle {} x {} cut out", self.width, self.height));
        crop(&resized, (nw - self.width) / 2, (nh - self.height) / 2, self.width, self.height)
    }

    /// As MNIST's digits were made: the figure scaled to 20 of 28 pixels, its centre of mass in the
    /// middle (LeCun et al., section "The MNIST database").
    fn center(&self, image: Image, said: &mut Vec<String>) -> Result<Image> {
        let image = stretch(image, said)?;
        let (w, h) = (image.width(), image.height());
        let ink = |at: usize| image.data()[at] > 50;
        let mut figure: Option<(usize, usize, usize, usize)> = None;
        for at in (0..w * h).filter(|&at| ink(at)) {
            let (x, y) = (at % w, at / w);
            let (l, t, r, b) = figure.unwrap_or((x, y, x, y));
            figure = Some((l.min(x), t.min(y), r.max(x), b.max(y)));
        }
        let Some((left, top, right, bottom)) = figure else {
            said.push("no figure found".to_owned());
            return self.fit(image, said);
        };
        let (fw, fh) = (right - left + 1, bottom - top + 1);
        let figure = crop(&image, left, top, fw, fh)?;
        let room = (self.width.min(self.height) * 20 / 28).max(1);
        let long = fw.max(fh);
        let (nw, nh) = ((fw * room).div_ceil(long).max(1), (fh * room).div_ceil(long).max(1));
        let small = figure.resize(nw, nh, Filter::Antialias)?;
        let (cx, cy) =
            center_of_mass(small.data(), nw).unwrap_or(((nw - 1) as f64 / 2.0, (nh - 1) as f64 / 2.0));
        let place = |side: usize, n: usize, c: f64| {
            let at = ((side - 1) as f64 / 2.0 - c).round();
            at.clamp(0.0, (side - n.min(side)) as f64) as usize
        };
        let (ox, oy) = (place(self.width, nw, cx), place(self.height, nh, cy));
        let mut data = vec![0u8; self.width * self.height];
        for y in 0..nh {
            let to = (oy + y) * self.width + ox;
            data[to..to + nw].copy_from_slice(&small.data()[y * nw..(y + 1) * nw]);
        }
        said.push(format!(
            "the figure ({fw} x {fh} of {w} x {h} pixels) scaled to {nw} x {nh}, antialiased, and its centre of mass \
             put in the middle of {} x {}",
            self.width, self.height
        ));
        Ok(Image::new(self.width, self.height, 1, data)?)
    }
}

/// The median of a grey image's border.
fn border_level(image: &Image) -> u8 {
    let (w, h) = (image.width(), image.height());
    let mut border: Vec<u8> = (0..w * h)
        .filter(|at| at % w == 0 || at % w == w - 1 || at / w == 0 || at / w == h - 1)
        .map(|at| image.data()[at])
        .collect();
    border.sort_unstable();
    border[border.len() / 2]
}

/// Makes the background black and the brightest pixel white, where they are not nearly so.
fn stretch(image: Image, said: &mut Vec<String>) -> Result<Image> {
    let low = border_level(&image);
    let high = image.data().iter().copied().max().unwrap_or(255);
    // Below 32 steps between them there is no figure, only noise that would be blown up.
    if (low <= 16 && high >= 224) || high.saturating_sub(low) < 32 {
        return Ok(image);
    }
    let range = f32::from(high - low);
    let scale = |v: &u8| (f32::from(v.saturating_sub(low)) * 255.0 / range).round() as u8;
    let data = image.data().iter().map(scale).collect();
    said.push(format!("contrast stretched from {low}..{high} to 0..255"));
    Ok(Image::new(image.width(), image.height(), 1, data)?)
}

/// A part of an image that lies inside it.
fn crop(image: &Image, left: usize, top: usize, width: usize, height: usize) -> Result<Image> {
    let c = image.channels();
    let mut data = Vec::with_capacity(width * height * c);
    for y in top..top + height {
        let at = (y * image.width() + left) * c;
        data.extend_from_slice(&image.data()[at..at + width * c]);
    }
    Ok(Image::new(width, height, c, data)?)
}
