//! Data sets by name: one embedded, the others from a folder or downloaded once into a cache.

mod digits;
mod fetch;
mod specs;

pub use fetch::{FetchEvent, fetch};
pub use specs::{NamedSpec, RemoteFile, named_sets};

use crate::dataset::ImageDataset;
use crate::error::{DataError, Result};
use crate::read::{
    CIFAR10_CLASSES, CIFAR100_CLASSES, CifarLabels, cifar_dataset, idx_images, open, parse_cifar10,
    parse_cifar100, read_all, read_idx, tar,
};
use specs::Layout;
use std::path::{Path, PathBuf};

/// Which part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// To learn from.
    Train,
    /// To judge by.
    Test,
}

/// Where the files of a named data set may be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Places<'a> {
    /// A folder that holds the files; when given, only it is looked at.
    pub data_dir: Option<&'a Path>,
    /// The folder that downloads are kept in, each data set in a folder of its name.
    pub cache_dir: Option<&'a Path>,
    /// Whether files that are not in the cache are downloaded into it.
    pub download: bool,
}

/// The description of a data set by name (case and `_` for `-` do not matter).
///
/// # Errors
/// When there is none of that name; the nearest known name is offered.
pub fn named_set(name: &str) -> Result<&'static NamedSpec> {
    let wanted = name.trim().to_lowercase().replace('_', "-");
    let known = named_sets();
    if let Some(spec) =
        known.iter().find(|s| s.name == wanted || s.name.replace('-', "") == wanted.replace('-', ""))
    {
        return Ok(spec);
    }
    let near = known.iter().map(|s| (distance(s.name, &wanted), s.name)).min();
    Err(DataError::UnknownName {
        name: name.into(),
        nearest: near.filter(|(d, n)| *d <= n.len() / 2).map(|(_, n)| n),
        known: known.iter().map(|s| s.name).collect::<Vec<_>>().join(", "),
    })
}

/// Levenshtein's distance over bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Loads one part of a named data set.
///
/// # Errors
/// When the name is unknown, files are missing (the message says which, from where and where to),
/// a download fails, or a file is not what it should be.
///
/// ```
/// use hadal_data::{Dataset, Places, Split, load_named};
/// let test = load_named("digits", Split::Test, Places::default(), &mut |_| {})?;
/// assert_eq!((test.len(), test.shape()), (2000, [2000, 1, 28, 28]));
/// # Ok::<(), hadal_data::DataError>(())
/// ```
pub fn load_named(
    name: &str,
    split: Split,
    places: Places<'_>,
    progress: &mut dyn FnMut(FetchEvent<'_>),
) -> Result<ImageDataset> {
    let spec = named_set(name)?;
    if spec.layout == Layout::Embedded {
        return digits::load(split);
    }
    let folders = match (places.data_dir, places.cache_dir) {
        (Some(dir), _) => {
            if !dir.is_dir() {
                let e = std::io::Error::new(std::io::ErrorKind::NotFound, "there is no such folder");
                return Err(DataError::io("read the data folder", dir, e));
            }
            roots(dir, spec)
        }
        (None, Some(cache)) => {
            let folder = cache.join(spec.name);
            if places.download && !present(spec, split, &roots(&folder, spec)) {
                fetch(spec.name, cache, progress)?;
            }
            roots(&folder, spec)
        }
        (None, None) => Vec::new(),
    };
    if !present(spec, split, &folders) {
        return Err(missing(spec, split, places));
    }
    read(spec, split, &folders)
}

/// Folders to look in: the given one and those that other tools make below it.
fn roots(dir: &Path, spec: &NamedSpec) -> Vec<PathBuf> {
    let mut roots = vec![dir.to_path_buf(), dir.join(spec.name)];
    for sub in spec.folders {
        roots.push(dir.join(sub));
        roots.push(dir.join(spec.name).join(sub));
    }
    roots
}

/// The first of the names that is there.
fn find(roots: &[PathBuf], names: &[String]) -> Option<PathBuf> {
    roots.iter().flat_map(|r| names.iter().map(move |n| r.join(n))).find(|p| p.is_file())
}

/// A file's name, and its name without compression.
fn spellings(name: &str) -> [String; 2] {
    [name.to_string(), name.trim_end_matches(".gz").to_string()]
}

/// Files of a part: the remote ones for idx, those within the archive for CIFAR.
fn part_files(spec: &NamedSpec, split: Split) -> &'static [&'static str] {
    match (spec.layout, split) {
        (Layout::Idx, Split::Train) => &["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"],
        (Layout::Idx, Split::Test) => &["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"],
        (Layout::Cifar10, Split::Train) => &[
            "data_batch_1.bin",
            "data_batch_2.bin",
            "data_batch_3.bin",
            "data_batch_4.bin",
            "data_batch_5.bin",
        ],
        (Layout::Cifar10, Split::Test) => &["test_batch.bin"],
        (Layout::Cifar100, Split::Train) => &["train.bin"],
        (Layout::Cifar100, Split::Test) => &["test.bin"],
        (Layout::Embedded, _) => &[],
    }
}

fn archive(spec: &NamedSpec) -> Vec<String> {
    spec.files.iter().filter(|f| f.name.ends_with(".tar.gz")).flat_map(|f| spellings(f.name)).collect()
}

fn present(spec: &NamedSpec, split: Split, roots: &[PathBuf]) -> bool {
    let parts = part_files(spec, split).iter().all(|f| find(roots, &spellings(f)).is_some());
    parts || find(roots, &archive(spec)).is_some()
}

fn missing(spec: &NamedSpec, split: Split, places: Places<'_>) -> DataError {
    let files: Vec<&str> = match spec.layout {
        Layout::Idx => part_files(spec, split).to_vec(),
        _ => spec.files.iter().map(|f| f.name).collect(),
    };
    let urls: Vec<String> =
        spec.files.iter().filter(|f| files.contains(&f.name)).map(|f| format!("  {}", f.urls[0])).collect();
    let place = match (places.data_dir, places.cache_dir) {
        (Some(dir), _) => format!("into {}", dir.display()),
        (None, Some(cache)) => format!("into {}", cache.join(spec.name).display()),
        (None, None) => "into a folder and give that as the data folder".into(),
    };
    DataError::Missing(format!(
        "the files of data set {} are not there: put {} {place}; they can be downloaded from\n{}",
        spec.name,
        files.join(" and "),
        urls.join("\n")
    ))
}

fn read(spec: &NamedSpec, split: Split, roots: &[PathBuf]) -> Result<ImageDataset> {
    let names = part_files(spec, split);
    let paths: Option<Vec<PathBuf>> = names.iter().map(|f| find(roots, &spellings(f))).collect();
    let classes: Vec<String> = spec.classes.iter().map(ToString::to_string).collect();
    if spec.layout == Layout::Idx {
        let paths = paths.unwrap_or_default();
        let [images, labels] = paths.as_slice() else { return Err(missing(spec, split, Places::default())) };
        let (images_name, labels_name) = (images.display().to_string(), labels.display().to_string());
        return idx_images((read_idx(images)?, &images_name), (read_idx(labels)?, &labels_name), classes);
    }
    /// More than any file of the two sets holds; they are 154 MB at most.
    const LIMIT: u64 = 256 << 20;
    let parts: Vec<(String, Vec<u8>)> = match (paths, find(roots, &archive(spec))) {
        (Some(paths), _) => {
            let read = |p: &PathBuf| Ok((p.display().to_string(), read_all(p, LIMIT)?));
            paths.iter().map(read).collect::<Result<_>>()?
        }
        (None, Some(archive)) => {
            let name = archive.display().to_string();
            let files = tar::extract(open(&archive)?, &name, names, LIMIT)?;
            names.iter().map(|n| format!("{name}: {n}")).zip(files).collect()
        }
        (None, None) => return Err(missing(spec, split, Places::default())),
    };
    let parse = |(name, bytes): &(String, Vec<u8>)| match spec.layout {
        Layout::Cifar100 => parse_cifar100(bytes, name, CifarLabels::Fine),
        _ => parse_cifar10(bytes, name),
    };
    let records = parts.iter().map(parse).collect::<Result<Vec<_>>>()?;
    let classes: &[&str] = if spec.layout == Layout::Cifar100 { &CIFAR100_CLASSES } else { &CIFAR10_CLASSES };
    cifar_dataset(records, classes)
}
