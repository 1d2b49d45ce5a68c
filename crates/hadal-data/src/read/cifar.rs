//! The binary format of CIFAR-10 and CIFAR-100: records of label bytes and 3×32×32 pixels.
//!
//! Source: A. Krizhevsky, "The CIFAR-10 dataset", section "Binary version".

use crate::array::{Array, ArrayData};
use crate::dataset::ImageDataset;
use crate::error::{DataError, Result};

/// Bytes of one picture: red, green and blue planes of 32×32.
const PIXELS: usize = 3 * 32 * 32;

/// Which of CIFAR-100's two labels is the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CifarLabels {
    /// The 100 classes.
    #[default]
    Fine,
    /// The 20 groups of five classes.
    Coarse,
}

/// The class names of CIFAR-10 in label order.
pub const CIFAR10_CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// The fine class names of CIFAR-100 in label order (alphabetical).
#[rustfmt::skip]
pub const CIFAR100_CLASSES: [&str; 100] = [
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle",
    "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle",
    "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur",
    "dolphin", "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard",
    "lamp", "lawn_mower", "leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain",
    "mouse", "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree",
    "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road", "rocket",
    "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider",
    "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone", "television", "tiger", "tractor",
    "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
];

/// The coarse class names of CIFAR-100 in label order (alphabetical).
#[rustfmt::skip]
pub const CIFAR100_COARSE: [&str; 20] = [
    "aquatic_mammals", "fish", "flowers", "food_containers", "fruit_and_vegetables",
    "household_electrical_devices", "household_furniture", "insects", "large_carnivores",
    "large_man-made_outdoor_things", "large_natural_outdoor_scenes", "large_omnivores_and_herbivores",
    "medium_mammals", "non-insect_invertebrates", "people", "reptiles", "small_mammals", "trees",
    "vehicles_1", "vehicles_2",
];

/// Pixels and labels of one or more files.
pub(crate) type Records = (Vec<u8>, Vec<i64>);

/// Reads records of CIFAR-10: one label byte, then the pixels.
///
/// # Errors
/// When the length is not a whole number of records, there is none, or a label is over 9.
pub fn parse_cifar10(bytes: &[u8], name: &str) -> Result<(Vec<u8>, Vec<i64>)> {
    parse(bytes, name, 1, 0, 10)
}

/// Reads records of CIFAR-100: a coarse and a fine label byte, then the pixels.
///
/// # Errors
/// When the length is not a whole number of records, there is none, or a label is out of range.
pub fn parse_cifar100(bytes: &[u8], name: &str, labels: CifarLabels) -> Result<(Vec<u8>, Vec<i64>)> {
    match labels {
        CifarLabels::Fine => parse(bytes, name, 2, 1, 100),
        CifarLabels::Coarse => parse(bytes, name, 2, 0, 20),
    }
}

fn parse(bytes: &[u8], name: &str, heads: usize, which: usize, classes: usize) -> Result<Records> {
    let record = heads + PIXELS;
    if bytes.is_empty() || !bytes.len().is_multiple_of(record) {
        return Err(DataError::format(
            name,
            format!(
                "has {} bytes, which is not one or more whole records of {record} bytes; it is truncated or not in this binary format (the 'python version' is another one)",
                bytes.len()
            ),
        ));
    }
    let n = bytes.len() / record;
    let mut pixels = Vec::with_capacity(n * PIXELS);
    let mut labels = Vec::with_capacity(n);
    for (index, r) in bytes.chunks_exact(record).enumerate() {
        let label = i64::from(r[which]);
        if label >= classes as i64 {
            return Err(DataError::LabelOutOfRange { file: name.into(), index, label, classes });
        }
        labels.push(label);
        pixels.extend_from_slice(&r[heads..]);
    }
    Ok((pixels, labels))
}

/// Makes a data set of the records of one or more files.
///
/// # Errors
/// When pixels and labels do not fit together or a label has no name.
pub fn cifar_dataset(parts: Vec<(Vec<u8>, Vec<i64>)>, class_names: &[&str]) -> Result<ImageDataset> {
    let mut parts = parts.into_iter();
    let (mut pixels, mut labels) = parts.next().unwrap_or_default();
    for (p, l) in parts {
        pixels.extend_from_slice(&p);
        labels.extend_from_slice(&l);
    }
    let images = Array::new(vec![labels.len(), 3, 32, 32], ArrayData::U8(pixels))?;
    ImageDataset::new(images, labels, class_names.iter().map(ToString::to_string).collect())
}
