//! Pictures in one folder per class.

use super::{Dataset, ImageOutput, Sample, SampleCtx, check_index};
use crate::decode::decode;
use crate::error::{DataError, Result};
use crate::transform::Transform;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The channels that pictures are converted to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Channels {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// One channel of luminance.
    Gray,
}

/// File name endings that are read, without regard to case.
const ENDINGS: [&str; 3] = ["png", "jpg", "jpeg"];

/// `root/class/picture.png`: every folder in `root` is a class, in sorted order, every PNG or JPEG
/// in it (at any depth) a sample, in sorted order of its path. Files are decoded when read.
///
/// Names beginning with a dot are left out. A sample's input is f32 `[c, h, w]`, see
/// [`ImageDataset`](super::ImageDataset); pictures of different sizes need a transform that makes
/// them alike.
#[derive(Clone, Debug)]
pub struct ImageFolder {
    files: Vec<(PathBuf, usize)>,
    class_names: Vec<String>,
    channels: Channels,
    output: ImageOutput,
}

impl ImageFolder {
    /// Lists the pictures; decodes none.
    ///
    /// # Errors
    /// When a folder cannot be listed, or there is no class folder or a class without pictures.
    pub fn new(root: impl AsRef<Path>) -> Result<Self> {
        let root = root.as_ref();
        let classes: Vec<PathBuf> = list(root)?.into_iter().filter(|p| p.is_dir()).collect();
        if classes.is_empty() {
            return Err(DataError::Empty {
                what: root.display().to_string(),
                hint: "an image folder holds one folder per class with PNG or JPEG files in it".into(),
            });
        }
        let mut files = Vec::new();
        let mut class_names = Vec::new();
        for (label, folder) in classes.iter().enumerate() {
            let before = files.len();
            // A list of folders still to visit, so that depth costs no stack.
            let mut open = vec![folder.clone()];
            let mut found = Vec::new();
            while let Some(next) = open.pop() {
                for path in list(&next)? {
                    // A link to a folder is not followed: it could lead back up.
                    if path.is_dir() {
                        if !path.is_symlink() {
                            open.push(path);
                        }
                    } else if is_picture(&path) {
                        found.push(path);
                    }
                }
            }
            found.sort();
            files.extend(found.into_iter().map(|p| (p, label)));
            if files.len() == before {
                return Err(DataError::Empty {
                    what: folder.display().to_string(),
                    hint: format!("a class folder needs files ending in {}", ENDINGS.join(", ")),
                });
            }
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            class_names.push(name.into_owned());
        }
        Ok(Self { files, class_names, channels: Channels::Rgb, output: ImageOutput::default() })
    }

    /// Converts every picture to these channels; RGB by default.
    #[must_use]
    pub fn channels(mut self, channels: Channels) -> Self {
        self.channels = channels;
        self
    }

    /// Runs a transform on every u8 picture before the conversion to f32.
    #[must_use]
    pub fn transform(mut self, transform: Arc<dyn Transform>) -> Self {
        self.output.set_transform(transform);
        self
    }

    /// Subtracts the mean of each channel and divides by its standard deviation.
    ///
    /// # Errors
    /// When the counts differ or a standard deviation is not positive.
    pub fn normalize(mut self, mean: &[f32], std: &[f32]) -> Result<Self> {
        self.output.set_normalize(mean, std)?;
        Ok(self)
    }

    /// Gives pictures as the transforms leave them (u8 without any).
    #[must_use]
    pub fn raw(mut self) -> Self {
        self.output.set_raw();
        self
    }

    /// The file and label of each sample.
    pub fn files(&self) -> impl ExactSizeIterator<Item = (&Path, usize)> {
        self.files.iter().map(|(p, l)| (p.as_path(), *l))
    }
}

/// A folder's entries, sorted, without hidden ones.
fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let io = |e| DataError::io("list the folder", folder, e);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

fn is_picture(path: &Path) -> bool {
    let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    ending.is_some_and(|e| ENDINGS.contains(&e.as_str()))
}

impl Dataset for ImageFolder {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn get(&self, index: usize, cx: &mut SampleCtx) -> Result<Sample> {
        check_index("an ImageFolder", index, self.len())?;
        let (path, label) = &self.files[index];
        let picture = decode(path, self.channels, &mut cx.buffers)?;
        Ok(Sample { input: self.output.convert(picture, cx)?, target: cx.label(*label as i64) })
    }

    fn class_names(&self) -> Option<&[String]> {
        Some(&self.class_names)
    }
}
