//! Data sets that are held in memory as whole arrays.

use super::{Batch, Dataset, Sample, SampleCtx, check_index};
use crate::array::{Array, ArrayData, Buffers};
use crate::error::{DataError, Result};
use crate::transform::Transform;
use std::sync::Arc;

/// Inputs `[n, …]` and targets `[n, …]`, both whole in memory.
///
/// ```
/// use hadal_data::{Array, ArrayDataset, Dataset, SampleCtx};
/// let set = ArrayDataset::new(
///     Array::f32(&[3, 2], vec![0., 1., 2., 3., 4., 5.])?,
///     Array::i64(&[3], vec![0, 1, 0])?,
/// )?;
/// let sample = set.get(1, &mut SampleCtx::new(0, 0))?;
/// assert_eq!(sample.input.as_f32(), Some(&[2., 3.][..]));
/// # Ok::<(), hadal_data::DataError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ArrayDataset {
    inputs: Array,
    targets: Array,
    class_names: Option<Vec<String>>,
}

impl ArrayDataset {
    /// Pairs row i of the inputs with row i of the targets.
    ///
    /// # Errors
    /// When one of them has no first axis, or their first axes differ.
    pub fn new(inputs: Array, targets: Array) -> Result<Self> {
        match (inputs.shape().first(), targets.shape().first()) {
            (Some(&n), Some(&m)) if n == m => Ok(Self { inputs, targets, class_names: None }),
            (Some(&n), Some(&m)) => Err(DataError::Counts {
                what: "ArrayDataset".into(),
                left: "inputs",
                left_count: n,
                right: "targets",
                right_count: m,
            }),
            _ => Err(DataError::argument(
                "ArrayDataset::new",
                format!(
                    "inputs ({}) and targets ({}) need a first axis that counts the samples",
                    inputs.describe(),
                    targets.describe()
                ),
            )),
        }
    }

    /// Names the classes that the targets number.
    #[must_use]
    pub fn with_class_names(mut self, names: Vec<String>) -> Self {
        self.class_names = Some(names);
        self
    }

    /// All inputs.
    pub fn inputs(&self) -> &Array {
        &self.inputs
    }

    /// All targets.
    pub fn targets(&self) -> &Array {
        &self.targets
    }
}

/// Copies rows of an array, in the order of the indices, into a recycled buffer.
fn gather_rows(array: &Array, indices: &[usize], buffers: &mut Buffers) -> Array {
    let row: usize = array.shape()[1..].iter().product();
    let mut shape = array.shape().to_vec();
    shape[0] = indices.len();
    let len = row * indices.len();
    fn fill<T: Copy>(mut out: Vec<T>, from: &[T], row: usize, indices: &[usize]) -> Vec<T> {
        for &i in indices {
            out.extend_from_slice(&from[i * row..(i + 1) * row]);
        }
        out
    }
    let data = match array.data() {
        ArrayData::F32(v) => ArrayData::F32(fill(buffers.take_f32(len), v, row, indices)),
        ArrayData::I64(v) => ArrayData::I64(fill(buffers.take_i64(len), v, row, indices)),
        ArrayData::U8(v) => ArrayData::U8(fill(buffers.take_u8(len), v, row, indices)),
    };
    Array::trusted(shape, data)
}

/// Row `index` without its first axis.
fn row(array: &Array, index: usize, buffers: &mut Buffers) -> Array {
    let (shape, data) = gather_rows(array, &[index], buffers).into_parts();
    Array::trusted(shape[1..].to_vec(), data)
}

impl Dataset for ArrayDataset {
    fn len(&self) -> usize {
        self.inputs.shape()[0]
    }

    fn get(&self, index: usize, cx: &mut SampleCtx) -> Result<Sample> {
        check_index("an ArrayDataset", index, self.len())?;
        Ok(Sample {
            input: row(&self.inputs, index, &mut cx.buffers),
            target: row(&self.targets, index, &mut cx.buffers),
        })
    }

    fn class_names(&self) -> Option<&[String]> {
        self.class_names.as_deref()
    }

    fn gather(&self, indices: &[usize], cx: &mut SampleCtx) -> Option<Result<Batch>> {
        for &i in indices {
            if let Err(e) = check_index("an ArrayDataset", i, self.len()) {
                return Some(Err(e));
            }
        }
        Some(Ok(Batch {
            inputs: gather_rows(&self.inputs, indices, &mut cx.buffers),
            targets: gather_rows(&self.targets, indices, &mut cx.buffers),
        }))
    }
}

/// How u8 pixels become the model's input: transforms, then `v / 255`, then `(x − mean) / std`.
#[derive(Clone, Debug, Default)]
pub struct ImageOutput {
    transform: Option<Arc<dyn Transform>>,
    mean: Vec<f32>,
    std: Vec<f32>,
    raw: bool,
}

impl ImageOutput {
    /// The f32 value of each byte, for one channel.
    fn table(&self, channel: usize) -> [f32; 256] {
        // The same arithmetic, in the same order, as ToFloat and Normalize.
        std::array::from_fn(|v| {
            let x = v as f32 / 255.0;
            match (self.mean.get(channel), self.std.get(channel)) {
                (Some(mean), Some(std)) => (x - mean) / std,
                _ => x,
            }
        })
    }

    fn tables(&self, channels: usize) -> Vec<[f32; 256]> {
        (0..channels).map(|c| self.table(c)).collect()
    }

    pub(crate) fn set_transform(&mut self, transform: Arc<dyn Transform>) {
        self.transform = Some(transform);
    }

    pub(crate) fn set_raw(&mut self) {
        self.raw = true;
    }

    pub(crate) fn set_normalize(&mut self, mean: &[f32], std: &[f32]) -> Result<()> {
        crate::transform::Normalize::new(mean, std)?;
        self.mean = mean.to_vec();
        self.std = std.to_vec();
        Ok(())
    }

    /// Runs the transforms on a `[c, h, w]` image and converts what they leave.
    pub(crate) fn convert(&self, image: Array, cx: &mut SampleCtx) -> Result<Array> {
        let image = match &self.transform {
            Some(t) => t.apply(image, cx)?,
            None => image,
        };
        if self.raw {
            return Ok(image);
        }
        let (c, h, w) = image.image_dims("image output")?;
        if !self.mean.is_empty() && self.mean.len() != c {
            return Err(DataError::argument(
                "Normalize",
                format!("has {} channels, the image has {c}", self.mean.len()),
            ));
        }
        match image.into_parts() {
            (shape, ArrayData::U8(pixels)) => {
                let mut out = cx.buffers.take_f32(pixels.len());
                for (channel, plane) in pixels.chunks_exact(h * w).enumerate() {
                    let table = self.table(channel);
                    out.extend(plane.iter().map(|&v| table[usize::from(v)]));
                }
                cx.buffers.give_data(ArrayData::U8(pixels));
                Ok(Array::trusted(shape, ArrayData::F32(out)))
            }
            (shape, ArrayData::F32(mut x)) => {
                for ((plane, mean), std) in x.chunks_exact_mut(h * w).zip(&self.mean).zip(&self.std) {
                    plane.iter_mut().for_each(|v| *v = (*v - mean) / std);
                }
                Ok(Array::trusted(shape, ArrayData::F32(x)))
            }
            (shape, data) => Ok(Array::trusted(shape, data)),
        }
    }
}

/// Images `[n, c, h, w]` in u8 with a class label each, whole in memory.
///
/// A sample's input is f32: `v / 255`, and `(x − mean) / std` after
/// [`normalize`](Self::normalize). [Transforms](Self::transform) see the u8 image first; one that
/// yields f32 already is only normalised.
#[derive(Clone, Debug)]
pub struct ImageDataset {
    images: Arc<Vec<u8>>,
    shape: [usize; 4],
    labels: Arc<[i64]>,
    class_names: Arc<[String]>,
    output: ImageOutput,
    /// The output's byte table of each channel.
    tables: Vec<[f32; 256]>,
}

impl ImageDataset {
    /// Pairs image i with label i.
    ///
    /// # Errors
    /// When the images are not u8 `[n, c, h, w]` with pixels, the counts differ, or a label is
    /// outside `0..class_names.len()`.
    pub fn new(images: Array, labels: Vec<i64>, class_names: Vec<String>) -> Result<Self> {
        let describe = images.describe();
        let (shape, data) = images.into_parts();
        let (&[n, c, h, w], ArrayData::U8(pixels)) = (shape.as_slice(), data) else {
            return Err(DataError::argument(
                "ImageDataset::new",
                format!("images must be u8 of shape [n, channels, height, width], got {describe}"),
            ));
        };
        if c * h * w == 0 {
            return Err(DataError::argument(
                "ImageDataset::new",
                format!("images of shape {shape:?} have no pixels"),
            ));
        }
        if n != labels.len() {
            return Err(DataError::Counts {
                what: "ImageDataset".into(),
                left: "images",
                left_count: n,
                right: "labels",
                right_count: labels.len(),
            });
        }
        let classes = class_names.len();
        if let Some(index) = labels.iter().position(|&l| usize::try_from(l).map_or(true, |l| l >= classes)) {
            return Err(DataError::LabelOutOfRange {
                file: "ImageDataset".into(),
                index,
                label: labels[index],
                classes,
            });
        }
        let output = ImageOutput::default();
        let tables = output.tables(c);
        Ok(Self {
            images: Arc::new(pixels),
            shape: [n, c, h, w],
            labels: labels.into(),
            class_names: class_names.into(),
            output,
            tables,
        })
    }

    /// Subtracts the mean of each channel and divides by its standard deviation, both on the
    /// 0..1 scale.
    ///
    /// # Errors
    /// When their number is not the number of channels, or a standard deviation is not positive.
    pub fn normalize(mut self, mean: &[f32], std: &[f32]) -> Result<Self> {
        if mean.len() != self.shape[1] {
            return Err(DataError::argument(
                "ImageDataset::normalize",
                format!("{} means for images of {} channels", mean.len(), self.shape[1]),
            ));
        }
        self.output.set_normalize(mean, std)?;
        self.tables = self.output.tables(self.shape[1]);
        Ok(self)
    }

    /// Runs a transform on every image before the conversion to f32.
    #[must_use]
    pub fn transform(mut self, transform: Arc<dyn Transform>) -> Self {
        self.output.set_transform(transform);
        self
    }

    /// Gives images as the transforms leave them (u8 without any), not converted to f32.
    #[must_use]
    pub fn raw(mut self) -> Self {
        self.output.set_raw();
        self
    }

    /// Samples, channels, height, width.
    pub fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// All labels.
    pub fn labels(&self) -> &[i64] {
        &self.labels
    }

    /// The classes' names in label order.
    pub fn classes(&self) -> &[String] {
        &self.class_names
    }

    /// The bytes `[c, h, w]` of one image; `None` past the end.
    pub fn pixels(&self, index: usize) -> Option<&[u8]> {
        let size = self.shape[1] * self.shape[2] * self.shape[3];
        self.images.get(index.checked_mul(size)?..index.checked_add(1)?.checked_mul(size)?)
    }

    /// How many samples each class has.
    pub fn histogram(&self) -> Vec<usize> {
        let mut counts = vec![0; self.class_names.len()];
        for &l in self.labels.iter() {
            counts[l as usize] += 1; // Labels were checked at construction.
        }
        counts
    }

    /// Mean and standard deviation of each channel on the 0..1 scale, over all pixels (exact
    /// sums of integers, so the same on every machine).
    pub fn mean_std(&self) -> (Vec<f32>, Vec<f32>) {
        let [n, c, h, w] = self.shape;
        let mut histogram = vec![[0u64; 256]; c];
        for (i, plane) in self.images.chunks_exact(h * w).enumerate() {
            let counts = &mut histogram[i % c];
            plane.iter().for_each(|&v| counts[usize::from(v)] += 1);
        }
        let count = (n * h * w).max(1) as f64;
        histogram
            .iter()
            .map(|counts| {
                let moment = |p: i32| -> f64 {
                    counts.iter().enumerate().map(|(v, &k)| k as f64 * (v as f64 / 255.0).powi(p)).sum()
                };
                let mean = moment(1) / count;
                let var = (moment(2) / count - mean * mean).max(0.0);
                (mean as f32, var.sqrt() as f32)
            })
            .unzip()
    }
}

impl Dataset for ImageDataset {
    fn len(&self) -> usize {
        self.shape[0]
    }

    fn get(&self, index: usize, cx: &mut SampleCtx) -> Result<Sample> {
        check_index("an ImageDataset", index, self.len())?;
        let pixels = self.pixels(index).unwrap_or_default();
        let mut buffer = cx.buffers.take_u8(pixels.len());
        buffer.extend_from_slice(pixels);
        let image = Array::trusted(self.shape[1..].to_vec(), ArrayData::U8(buffer));
        Ok(Sample { input: self.output.convert(image, cx)?, target: cx.label(self.labels[index]) })
    }

    fn class_names(&self) -> Option<&[String]> {
        Some(&self.class_names)
    }

    fn gather(&self, indices: &[usize], cx: &mut SampleCtx) -> Option<Result<Batch>> {
        if self.output.transform.is_some() || self.output.raw {
            return None;
        }
        for &i in indices {
            if let Err(e) = check_index("an ImageDataset", i, self.len()) {
                return Some(Err(e));
            }
        }
        let [_, c, h, w] = self.shape;
        let mut out = cx.buffers.take_f32(indices.len() * c * h * w);
        let mut labels = cx.buffers.take_i64(indices.len());
        for &i in indices {
            let pixels = self.pixels(i).unwrap_or_default();
            for (plane, table) in pixels.chunks_exact(h * w).zip(&self.tables) {
                out.extend(plane.iter().map(|&v| table[usize::from(v)]));
            }
            labels.push(self.labels[i]);
        }
        Some(Ok(Batch {
            inputs: Array::trusted(vec![indices.len(), c, h, w], ArrayData::F32(out)),
            targets: Array::trusted(vec![indices.len()], ArrayData::I64(labels)),
        }))
    }
}
