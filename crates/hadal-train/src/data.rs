//! The data of a run: training, validation and test part, and what a model's input must look like, so
//! that other images can be brought into the same form later.

use crate::config::{Augment, Config};
use crate::{Result, TrainError};
use hadal_data::transform::{Compose, RandomAffine, RandomCrop, RandomHorizontalFlip, Transform};
use hadal_data::{
    Array, ArrayDataset, Dataset, FetchEvent, ImageDataset, NamedSpec, Split, Subset, load_named, named_set,
    random_split,
};
use hadal_tensor::{DType, Key, Tensor};
use hadal_zoo::{ModelOptions, Output};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The name of d2l's synthetic line.
pub const LINEAR: &str = "linear";

/// What is to be learned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// One of these classes, in label order.
    Classification {
        /// Their names.
        classes: Vec<String>,
    },
    /// So many numbers.
    Regression {
        /// How many.
        outputs: usize,
    },
}

/// What a sample's input is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Input {
    /// An image `[channels, height, width]`: bytes / 255, minus mean, over std.
    Image {
        /// 1 for grey, 3 for colour.
        channels: usize,
        /// Height in pixels.
        height: usize,
        /// Width in pixels.
        width: usize,
        /// Mean of each channel on the 0..1 scale.
        mean: Vec<f32>,
        /// Standard deviation of each channel on the 0..1 scale.
        std: Vec<f32>,
        /// Whether the images are bright figures on black, as MNIST's digits are.
        dark_background: bool,
        /// Whether each figure's centre of mass is the image's middle, as in MNIST.
        centered: bool,
    },
    /// A vector.
    Vector {
        /// Its length.
        features: usize,
    },
}

/// What is known of a run's data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataInfo {
    /// The data set's name.
    pub name: String,
    /// What is to be learned.
    pub task: Task,
    /// What goes in.
    pub input: Input,
}

impl DataInfo {
    /// The classes' names, where there are classes.
    pub fn classes(&self) -> Option<&[String]> {
        match &self.task {
            Task::Classification { classes } => Some(classes),
            Task::Regression { .. } => None,
        }
    }

    /// The sizes a model for this data has.
    pub fn model_options(&self, hidden: &[usize]) -> ModelOptions {
        let (in_channels, height, width) = match self.input {
            Input::Image { channels, height, width, .. } => (channels, height, width),
            Input::Vector { features } => (features, 1, 1),
        };
        let classes = match &self.task {
            Task::Classification { classes } => classes.len(),
            Task::Regression { outputs } => *outputs,
        };
        ModelOptions { in_channels, height, width, classes, hidden: hidden.to_vec() }
    }
}

/// The parts of the data, ready to be read.
#[derive(Clone)]
pub struct TrainData {
    /// To learn from.
    pub train: Arc<dyn Dataset>,
    /// To judge epochs by, where some is held out.
    pub valid: Option<Arc<dyn Dataset>>,
    /// To judge the result by.
    pub test: Arc<dyn Dataset>,
    /// What it is.
    pub info: DataInfo,
}

/// Where data may be on this machine.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// A folder that holds the files; when given, only it is looked at.
    pub data_dir: Option<PathBuf>,
    /// The folder that downloads are kept in.
    pub cache_dir: Option<PathBuf>,
    /// Whether what is missing is downloaded.
    pub download: bool,
}

impl Places {
    /// As a configuration says; `cache_dir` where it names none.
    pub fn of(config: &Config, cache_dir: Option<&Path>) -> Places {
        Places {
            data_dir: config.data_dir.as_ref().map(PathBuf::from),
            cache_dir: config
                .cache_dir
                .as_ref()
                .map(PathBuf::from)
                .or_else(|| cache_dir.map(Path::to_path_buf)),
            download: config.download,
        }
    }

    fn load(
        &self,
        name: &str,
        split: Split,
        progress: &mut dyn FnMut(FetchEvent<'_>),
    ) -> Result<ImageDataset> {
        let places = hadal_data::Places {
            data_dir: self.data_dir.as_deref(),
            cache_dir: self.cache_dir.as_deref(),
            download: self.download,
        };
        Ok(load_named(name, split, places, progress)?)
    }
}

/// Loads what a configuration asks for.
///
/// # Errors
/// An unknown name, missing or damaged files, or a model that does not fit the data.
pub fn load(config: &Config, places: &Places, progress: &mut dyn FnMut(FetchEvent<'_>)) -> Result<TrainData> {
    let output = hadal_zoo::model(&config.model).map_err(|e| TrainError::config(e.to_string()))?.output;
    let linear = config.data.trim().eq_ignore_ascii_case(LINEAR);
    if linear != (output == Output::Values) {
        let (gives, fits) = match output {
            Output::Values => ("numbers", LINEAR),
            Output::Logits => ("classes", "digits, mnist, fashion-mnist, cifar10 or cifar100"),
        };
        return Err(TrainError::config(format!(
            "model {} predicts {gives}, which data set {} does not have; use --data with {fits}",
            config.model, config.data
        )));
    }
    if linear { linear_data(config) } else { image_data(config, places, progress) }
}

/// d2l 3.3: `y = 2·x₀ − 3.4·x₁ + 4.2`, with noise of standard deviation 0.01, x standard normal;
/// a thousand samples to learn from and a thousand to judge by.
fn linear_data(config: &Config) -> Result<TrainData> {
    let part = |stream: u64| -> Result<Arc<dyn Dataset>> {
        // Streams 1 and 2 of a seed are weights and training.
        let key = Key::new(config.seed).split(3).split(stream);
        let n = 1000;
        let x = Tensor::randn([n, 2], DType::F32, key.split(0));
        let w = Tensor::new([[2.0f32], [-3.4]]);
        let noise = Tensor::randn([n, 1], DType::F32, key.split(1)) * 0.01;
        let y = x.matmul(&w) + 4.2 + noise;
        let set = ArrayDataset::new(
            Array::f32(&[n, 2], x.to_vec::<f32>()?)?,
            Array::f32(&[n, 1], y.to_vec::<f32>()?)?,
        )?;
        Ok(Arc::new(set))
    };
    let (train, valid) = hold_out(part(0)?, None, config)?;
    let info = DataInfo {
        name: LINEAR.into(),
        task: Task::Regression { outputs: 1 },
        input: Input::Vector { features: 2 },
    };
    Ok(TrainData { train, valid, test: part(1)?, info })
}

fn image_data(
    config: &Config,
    places: &Places,
    progress: &mut dyn FnMut(FetchEvent<'_>),
) -> Result<TrainData> {
    let spec = named_set(&config.data).map_err(|e| TrainError::config(e.to_string()))?;
    let raw = places.load(spec.name, Split::Train, progress)?;
    let input = input_of(spec, &raw);
    let plain = raw.normalize(spec.mean, spec.std)?;
    let augmented: Option<Arc<dyn Dataset>> =
        augmentation(config.augment, spec)?.map(|t| Arc::new(plain.clone().transform(t)) as Arc<dyn Dataset>);
    let (train, valid) = hold_out(Arc::new(plain), augmented, config)?;
    let test: Arc<dyn Dataset> =
        Arc::new(places.load(spec.name, Split::Test, progress)?.normalize(spec.mean, spec.std)?);
    let classes = spec.classes.iter().map(ToString::to_string).collect();
    let info = DataInfo { name: spec.name.into(), task: Task::Classification { classes }, input };
    Ok(TrainData { train, valid, test, info })
}

type Parts = (Arc<dyn Dataset>, Option<Arc<dyn Dataset>>);

/// Takes the validation part away; it is never augmented.
fn hold_out(plain: Arc<dyn Dataset>, augmented: Option<Arc<dyn Dataset>>, config: &Config) -> Result<Parts> {
    let f = config.valid_fraction;
    let learn = augmented.unwrap_or_else(|| plain.clone());
    if f == 0.0 {
        return Ok((learn, None));
    }
    let mut parts = random_split(plain, &[1.0 - f, f], config.seed)?.into_iter();
    let (Some(train), Some(valid)) = (parts.next(), parts.next()) else {
        return Err(TrainError::config("valid-fraction: the split has no two parts"));
    };
    if valid.is_empty() || train.is_empty() {
        return Err(TrainError::config(format!(
            "valid-fraction: {f} of {} samples leaves {} to learn from and {} to judge by; use another share",
            learn.len(),
            train.len(),
            valid.len()
        )));
    }
    let train = Subset::new(learn, train.indices().to_vec())?;
    Ok((Arc::new(train), Some(Arc::new(valid))))
}

/// Light augmentation: digits must not be mirrored, other pictures may.
fn augmentation(augment: Augment, spec: &NamedSpec) -> Result<Option<Arc<dyn Transform>>> {
    if augment == Augment::None {
        return Ok(None);
    }
    let [_, height, width] = spec.shape;
    let steps: Vec<Arc<dyn Transform>> = if matches!(spec.name, "digits" | "mnist") {
        vec![Arc::new(RandomAffine::new(8.0)?.translate(0.06, 0.06)?.scale(0.93, 1.07)?)]
    } else {
        vec![
            Arc::new(RandomCrop::new(height, width)?.padding(height / 8)),
            Arc::new(RandomHorizontalFlip::default()),
        ]
    };
    Ok(Some(Arc::new(Compose::new(steps))))
}

/// How many training images are looked at to see what images of this set look like.
const LOOK_AT: usize = 200;

/// What the images of a set look like, measured on its first ones.
fn input_of(spec: &NamedSpec, images: &ImageDataset) -> Input {
    let [n, channels, height, width] = images.shape();
    let (mut dark, mut total, mut near, mut seen) = (0usize, 0usize, 0usize, 0usize);
    for i in 0..n.min(LOOK_AT) {
        let Some(pixels) = images.pixels(i) else { continue };
        for plane in pixels.chunks_exact(height * width) {
            for (at, v) in plane.iter().enumerate() {
                let (y, x) = (at / width, at % width);
                if y == 0 || x == 0 || y == height - 1 || x == width - 1 {
                    total += 1;
                    dark += usize::from(*v < 32);
                }
            }
        }
        if let Some((cx, cy)) = center_of_mass(&pixels[..height * width], width) {
            seen += 1;
            let off = |c: f64, side: usize| (c - (side as f64 - 1.0) / 2.0).abs();
            near += usize::from(off(cx, width) < 1.5 && off(cy, height) < 1.5);
        }
    }
    let dark_background = dark * 100 >= total * 95 && total > 0;
    Input::Image {
        channels,
        height,
        width,
        mean: spec.mean.to_vec(),
        std: spec.std.to_vec(),
        dark_background,
        centered: dark_background && seen > 0 && near * 100 >= seen * 95,
    }
}

/// Centre of mass (x, y) of a grey image, in pixels from the first; `None` when it is all black.
pub(crate) fn center_of_mass(plane: &[u8], width: usize) -> Option<(f64, f64)> {
    let (mut sum, mut sx, mut sy) = (0.0f64, 0.0f64, 0.0f64);
    for (at, v) in plane.iter().enumerate() {
        let v = f64::from(*v);
        sum += v;
        sx += v * (at % width) as f64;
        sy += v * (at / width) as f64;
    }
    (sum > 0.0).then(|| (sx / sum, sy / sum))
}

/// The test part of a data set by name, converted as the data `info` describes was.
///
/// # Errors
/// Also when its images or classes do not fit.
pub fn load_test_like(
    info: &DataInfo,
    name: &str,
    seed: u64,
    places: &Places,
    progress: &mut dyn FnMut(FetchEvent<'_>),
) -> Result<Arc<dyn Dataset>> {
    if info.name == LINEAR && name.trim().eq_ignore_ascii_case(LINEAR) {
        return Ok(linear_data(&Config { seed, ..Config::default() })?.test);
    }
    let refuse = |why: String| {
        TrainError::config(format!("a model trained on {} cannot be evaluated on {name}: {why}", info.name))
    };
    let (Input::Image { channels, height, width, mean, std, .. }, Some(classes)) =
        (&info.input, info.classes())
    else {
        return Err(refuse("it does not classify images".into()));
    };
    if name.trim().eq_ignore_ascii_case(LINEAR) {
        return Err(refuse("that is a line with noise, not images in classes".into()));
    }
    let spec = named_set(name)?;
    if spec.shape != [*channels, *height, *width] {
        return Err(refuse(format!(
            "its images are {:?}, the model takes {:?}",
            spec.shape,
            [channels, height, width]
        )));
    }
    if spec.classes.len() != classes.len() {
        return Err(refuse(format!("it has {} classes, the model {}", spec.classes.len(), classes.len())));
    }
    let set = places.load(spec.name, Split::Test, progress)?.normalize(mean, std)?;
    Ok(Arc::new(set))
}

/// Inputs of a sample as bytes to look at: the normalisation undone. `None` where it is no image.
pub(crate) fn to_image(info: &DataInfo, input: &Array) -> Option<hadal_io::Image> {
    let Input::Image { channels, height, width, mean, std, .. } = &info.input else { return None };
    let values = input.as_f32()?;
    let (c, h, w) = (*channels, *height, *width);
    if values.len() != c * h * w || (c != 1 && c != 3) {
        return None;
    }
    let mut data = vec![0u8; values.len()];
    for (k, plane) in values.chunks_exact(h * w).enumerate() {
        for (at, v) in plane.iter().enumerate() {
            let byte = (v * std.get(k)? + mean.get(k)?) * 255.0;
            data[at * c + k] = byte.round().clamp(0.0, 255.0) as u8;
        }
    }
    hadal_io::Image::new(w, h, c, data).ok()
}
