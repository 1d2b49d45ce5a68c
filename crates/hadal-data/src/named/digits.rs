//! The embedded handwritten digits; see `assets/digits/README.md` for where they come from.

use super::Split;
use crate::dataset::ImageDataset;
use crate::error::{DataError, Result};
use crate::read::{idx_images, inflate_exact, parse_idx};
use flate2::read::MultiGzDecoder;

/// Samples in the training part.
pub(super) const TRAIN: usize = 8_000;
/// Samples in the test part.
pub(super) const TEST: usize = 2_000;
/// Mean of the training part's pixels on the 0..1 scale (a test computes it again).
pub(super) const MEAN: [f32; 1] = [0.1310];
/// Standard deviation of the training part's pixels on the 0..1 scale.
pub(super) const STD: [f32; 1] = [0.3085];

const TRAIN_IMAGES: &[u8] = include_bytes!("../../assets/digits/train-images-idx3-ubyte.gz");
const TRAIN_LABELS: &[u8] = include_bytes!("../../assets/digits/train-labels-idx1-ubyte.gz");
const TEST_IMAGES: &[u8] = include_bytes!("../../assets/digits/test-images-idx3-ubyte.gz");
const TEST_LABELS: &[u8] = include_bytes!("../../assets/digits/test-labels-idx1-ubyte.gz");

/// Bytes of the gzip members that the training images are stored in, 2,000 images each, so that
/// threads can decompress them side by side.
const TRAIN_MEMBERS: [usize; 4] = [304_238, 306_770, 303_278, 305_268];
/// The idx header before the first image.
const HEADER: usize = 16;
const PIXELS: usize = 28 * 28;

/// Decompresses one part: a few milliseconds for the training part.
pub(super) fn load(split: Split) -> Result<ImageDataset> {
    let (count, images, labels, members): (usize, _, _, &[usize]) = match split {
        Split::Train => (TRAIN, TRAIN_IMAGES, TRAIN_LABELS, &TRAIN_MEMBERS),
        Split::Test => (TEST, TEST_IMAGES, TEST_LABELS, &[TEST_IMAGES.len()]),
    };
    let pixels = inflate(images, members, count)?;
    let labels = parse_idx(MultiGzDecoder::new(labels), "embedded digits (labels)")?;
    let classes = (0..10).map(|d| d.to_string()).collect();
    let images = crate::read::IdxArray { shape: vec![count, 28, 28], data: crate::read::IdxData::U8(pixels) };
    idx_images((images, "embedded digits (images)"), (labels, "embedded digits (labels)"), classes)
}

fn inflate(mut packed: &[u8], members: &[usize], count: usize) -> Result<Vec<u8>> {
    let broken = |why: &str| DataError::format("embedded digits", format!("cannot be unpacked: {why}"));
    let each = count / members.len() * PIXELS;
    // The header belongs to the first member: keep it in front of the pixels while unpacking.
    let mut out = vec![0u8; HEADER + count * PIXELS];
    let mut rest = out.as_mut_slice();
    let mut pieces = Vec::with_capacity(members.len());
    for (i, &size) in members.iter().enumerate() {
        let (member, more) = packed.split_at_checked(size).ok_or_else(|| broken("a member is cut off"))?;
        let (into, left) = rest.split_at_mut(each + if i == 0 { HEADER } else { 0 });
        pieces.push((member, into));
        (packed, rest) = (more, left);
    }
    std::thread::scope(|scope| {
        let mut pieces = pieces.into_iter();
        let first = pieces.next();
        let others: Vec<_> = pieces.map(|(m, into)| scope.spawn(move || inflate_exact(m, into))).collect();
        let mut result = first.map_or(Ok(()), |(m, into)| inflate_exact(m, into));
        for other in others {
            result = result.and(other.join().unwrap_or(Err("a thread failed")));
        }
        result
    })
    .map_err(broken)?;
    let expected =
        [[0, 0, 8, 3], (count as u32).to_be_bytes(), 28u32.to_be_bytes(), 28u32.to_be_bytes()].concat();
    if out[..HEADER] != expected {
        return Err(broken("its header differs"));
    }
    out.drain(..HEADER);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fast_path_equals_the_idx_reader() {
        for (split, images, labels) in
            [(Split::Train, TRAIN_IMAGES, TRAIN_LABELS), (Split::Test, TEST_IMAGES, TEST_LABELS)]
        {
            let images = parse_idx(MultiGzDecoder::new(images), "images").unwrap();
            let labels = parse_idx(MultiGzDecoder::new(labels), "labels").unwrap();
            let set = load(split).unwrap();
            let (n, array) = (set.shape()[0], images.into_array());
            assert_eq!(array.as_u8().unwrap().len(), n * PIXELS);
            for i in 0..n {
                assert_eq!(set.pixels(i).unwrap(), &array.as_u8().unwrap()[i * PIXELS..(i + 1) * PIXELS]);
            }
            let labels = labels.into_array();
            let labels = labels.as_u8().unwrap();
            assert_eq!(labels.len(), n);
            assert!(set.labels().iter().zip(labels).all(|(&a, &b)| a == i64::from(b)));
        }
        assert_eq!(TRAIN_MEMBERS.iter().sum::<usize>(), TRAIN_IMAGES.len());
    }

    #[test]
    fn mean_and_deviation_are_those_of_the_training_part() {
        let (mean, std) = load(Split::Train).unwrap().mean_std();
        assert!((mean[0] - MEAN[0]).abs() < 5e-5 && (std[0] - STD[0]).abs() < 5e-5, "{mean:?} {std:?}");
    }
}
