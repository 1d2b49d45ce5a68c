//! Transforms of one image, `[c, h, w]` in u8 or f32, with torchvision's meanings and defaults.
//!
//! Source: torchvision's `transforms` on tensors. Random choices come from the sample's own stream
//! ([`SampleCtx::rng`]), so they differ from PyTorch's numbers but not between runs, machines or
//! numbers of workers.

mod affine;
mod basic;
mod color;
mod crop;
mod resize;

pub use affine::{AffineParams, Interpolation, RandomAffine, RandomRotation, affine};
pub use basic::{
    Grayscale, Normalize, RandomErasing, RandomHorizontalFlip, RandomVerticalFlip, ToFloat, flip,
};
pub use color::{ColorJitter, adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation};
pub use crop::{CenterCrop, Pad, PadMode, RandomCrop, crop, pad};
pub use resize::{Resize, ResizeTo, resize};

use crate::array::{Array, ArrayData};
use crate::dataset::SampleCtx;
use crate::error::{DataError, Result};
use serde::{Deserialize, Serialize};
use std::fmt::Debug;
use std::sync::Arc;

/// A function of one image.
pub trait Transform: Send + Sync + Debug {
    /// Whether the settings can be right.
    ///
    /// # Errors
    /// When they cannot, with what would be.
    fn validate(&self) -> Result<()>;

    /// Transforms a checked image with checked settings.
    ///
    /// # Errors
    /// When the image does not suit the transform.
    fn run(&self, image: Array, cx: &mut SampleCtx) -> Result<Array>;

    /// A description to write into a run's configuration; `None` for transforms of one's own.
    fn spec(&self) -> Option<TransformSpec>;

    /// Checks the settings, then transforms.
    ///
    /// # Errors
    /// When the settings cannot be right or the image does not suit them.
    fn apply(&self, image: Array, cx: &mut SampleCtx) -> Result<Array> {
        self.validate()?;
        self.run(image, cx)
    }
}

/// Transforms one after the other.
///
/// ```
/// use hadal_data::transform::{Compose, RandomCrop, RandomHorizontalFlip, ToFloat, Transform};
/// use hadal_data::{Array, SampleCtx};
/// use std::sync::Arc;
/// let augment = Compose::new(vec![
///     Arc::new(RandomCrop::new(28, 28)?.padding(2)),
///     Arc::new(RandomHorizontalFlip::default()),
///     Arc::new(ToFloat),
/// ]);
/// let image = Array::u8(&[1, 28, 28], vec![255; 784])?;
/// let out = augment.apply(image, &mut SampleCtx::new(0, 0))?;
/// assert_eq!(out.shape(), [1, 28, 28]);
/// # Ok::<(), hadal_data::DataError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Compose {
    steps: Vec<Arc<dyn Transform>>,
}

impl Compose {
    /// Runs the transforms in this order.
    pub fn new(steps: Vec<Arc<dyn Transform>>) -> Self {
        Self { steps }
    }

    /// The transforms that descriptions describe.
    ///
    /// # Errors
    /// When one's settings cannot be right.
    pub fn from_specs(specs: &[TransformSpec]) -> Result<Self> {
        Ok(Self { steps: specs.iter().map(TransformSpec::build).collect::<Result<_>>()? })
    }

    /// The descriptions of all steps; `None` when one has none.
    pub fn specs(&self) -> Option<Vec<TransformSpec>> {
        self.steps.iter().map(|s| s.spec()).collect()
    }
}

impl Transform for Compose {
    fn validate(&self) -> Result<()> {
        self.steps.iter().try_for_each(|s| s.validate())
    }

    fn run(&self, image: Array, cx: &mut SampleCtx) -> Result<Array> {
        self.steps.iter().try_fold(image, |image, step| step.run(image, cx))
    }

    fn spec(&self) -> Option<TransformSpec> {
        Some(TransformSpec::Compose { steps: self.specs()? })
    }
}

macro_rules! specs {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// A transform as it stands in a configuration: `{"type": "random_crop", "size": [28, 28]}`.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "type", rename_all = "snake_case")]
        pub enum TransformSpec {
            /// Several, one after the other.
            Compose {
                /// In order.
                steps: Vec<TransformSpec>,
            },
            $(
                #[doc = concat!("See [`", stringify!($name), "`].")]
                $name($name),
            )*
        }

        impl TransformSpec {
            /// The transform described.
            ///
            /// # Errors
            /// When its settings cannot be right.
            pub fn build(&self) -> Result<Arc<dyn Transform>> {
                let built: Arc<dyn Transform> = match self {
                    Self::Compose { steps } => Arc::new(Compose::from_specs(steps)?),
                    $(Self::$name(t) => Arc::new(t.clone()),)*
                };
                built.validate()?;
                Ok(built)
            }
        }
    };
}
specs! {
    ToFloat, Normalize, Grayscale, RandomErasing, RandomHorizontalFlip, RandomVerticalFlip,
    Pad, CenterCrop, RandomCrop, Resize, RandomRotation, RandomAffine, ColorJitter,
}

/// Writes the `spec` method of a transform named like its description.
macro_rules! own_spec {
    ($name:ident) => {
        fn spec(&self) -> Option<$crate::transform::TransformSpec> {
            Some($crate::transform::TransformSpec::$name(self.clone()))
        }
    };
}
pub(crate) use own_spec;

/// An element of an image.
pub(crate) trait Pixel: Copy {
    /// The value of white: 255 or 1.
    const MAX: f32;
    fn to_f32(self) -> f32;
    /// Rounded to nearest, ties to even, as `torch.round` (identity for f32).
    fn round(v: f32) -> Self;
    /// Truncated, as a cast in PyTorch (identity for f32).
    fn trunc(v: f32) -> Self;
}

impl Pixel for u8 {
    const MAX: f32 = 255.0;
    fn to_f32(self) -> f32 {
        f32::from(self)
    }
    fn round(v: f32) -> Self {
        v.round_ties_even() as u8
    }
    fn trunc(v: f32) -> Self {
        v as u8
    }
}

impl Pixel for f32 {
    const MAX: f32 = 1.0;
    fn to_f32(self) -> f32 {
        self
    }
    fn round(v: f32) -> Self {
        v
    }
    fn trunc(v: f32) -> Self {
        v
    }
}

/// A fresh or recycled buffer of the pixel type at hand.
pub(crate) trait Store: Pixel {
    fn take(cx: &mut SampleCtx, len: usize) -> Vec<Self>;
    fn wrap(v: Vec<Self>) -> ArrayData;
}

impl Store for u8 {
    fn take(cx: &mut SampleCtx, len: usize) -> Vec<u8> {
        cx.buffers.take_u8(len)
    }
    fn wrap(v: Vec<u8>) -> ArrayData {
        ArrayData::U8(v)
    }
}

impl Store for f32 {
    fn take(cx: &mut SampleCtx, len: usize) -> Vec<f32> {
        cx.buffers.take_f32(len)
    }
    fn wrap(v: Vec<f32>) -> ArrayData {
        ArrayData::F32(v)
    }
}

/// Runs a generic function on an image's pixels: `|slice, buffer-maker| -> (Vec, shape)`.
macro_rules! on_pixels {
    ($op:expr, $image:expr, $cx:expr, |$c:ident, $h:ident, $w:ident, $pixels:ident| $body:expr) => {{
        let image: $crate::array::Array = $image;
        let ($c, $h, $w) = image.image_dims($op)?;
        let (shape, data) = match image.data() {
            $crate::array::ArrayData::U8($pixels) => {
                let (shape, out) = $body;
                (shape, $crate::transform::Store::wrap(out))
            }
            $crate::array::ArrayData::F32($pixels) => {
                let (shape, out) = $body;
                (shape, $crate::transform::Store::wrap(out))
            }
            // `image_dims` let only the two through.
            $crate::array::ArrayData::I64(_) => (vec![0], $crate::array::ArrayData::U8(Vec::new())),
        };
        $cx.buffers.give(image);
        Ok($crate::array::Array::trusted(shape, data))
    }};
}
pub(crate) use on_pixels;

/// An error unless `p` is a probability.
pub(crate) fn check_p(op: &'static str, p: f64) -> Result<()> {
    if (0.0..=1.0).contains(&p) {
        Ok(())
    } else {
        Err(DataError::argument(op, format!("probability {p} is not within 0..=1")))
    }
}

/// An error unless the pair is finite and in order, and at least `low`.
pub(crate) fn check_range(op: &'static str, what: &str, (a, b): (f64, f64), low: f64) -> Result<()> {
    if a.is_finite() && b.is_finite() && a <= b && a >= low {
        Ok(())
    } else {
        let least = if low.is_finite() { format!(" and at least {low}") } else { String::new() };
        Err(DataError::argument(op, format!("{what} ({a}, {b}) must be finite, in order{least}")))
    }
}
