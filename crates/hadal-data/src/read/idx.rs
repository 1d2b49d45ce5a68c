//! The idx format of the MNIST files: magic, dimensions, big-endian data.
//!
//! Source: Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits",
//! section "THE IDX FILE FORMAT".

use crate::array::{Array, ArrayData};
use crate::dataset::ImageDataset;
use crate::error::{DataError, Result};
use std::io::Read;
use std::path::Path;

/// The elements of an idx file.
#[derive(Clone, Debug, PartialEq)]
pub enum IdxData {
    /// Type code 0x08.
    U8(Vec<u8>),
    /// Type code 0x09.
    I8(Vec<i8>),
    /// Type code 0x0B.
    I16(Vec<i16>),
    /// Type code 0x0C.
    I32(Vec<i32>),
    /// Type code 0x0D.
    F32(Vec<f32>),
    /// Type code 0x0E.
    F64(Vec<f64>),
}

/// The content of an idx file.
#[derive(Clone, Debug, PartialEq)]
pub struct IdxArray {
    /// The sizes along each axis.
    pub shape: Vec<usize>,
    /// The elements, row-major.
    pub data: IdxData,
}

impl IdxArray {
    /// As an [`Array`]: u8 stays, other integers become i64, f64 becomes f32 (rounded).
    pub fn into_array(self) -> Array {
        let data = match self.data {
            IdxData::U8(v) => ArrayData::U8(v),
            IdxData::I8(v) => ArrayData::I64(v.into_iter().map(i64::from).collect()),
            IdxData::I16(v) => ArrayData::I64(v.into_iter().map(i64::from).collect()),
            IdxData::I32(v) => ArrayData::I64(v.into_iter().map(i64::from).collect()),
            IdxData::F32(v) => ArrayData::F32(v),
            IdxData::F64(v) => ArrayData::F32(v.into_iter().map(|x| x as f32).collect()),
        };
        Array::trusted(self.shape, data)
    }
}

/// Reads an idx file, plain or gzip.
///
/// # Errors
/// When it cannot be read, is not idx, is shorter or longer than its header says. Memory grows
/// with the data that is there, not with what the header promises.
pub fn read_idx(path: &Path) -> Result<IdxArray> {
    parse_idx(super::open(path)?, &path.display().to_string())
}

/// Reads idx from a stream; `name` is for messages.
///
/// # Errors
/// As [`read_idx`].
///
/// ```
/// let bytes = [0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9];
/// let idx = hadal_data::parse_idx(&bytes[..], "three bytes")?;
/// assert_eq!(idx.shape, [3]);
/// let e = hadal_data::parse_idx(&bytes[..10], "cut").unwrap_err();
/// assert!(e.to_string().contains("2 of the 3 bytes"), "{e}");
/// # Ok::<(), hadal_data::DataError>(())
/// ```
pub fn parse_idx(mut source: impl Read, name: &str) -> Result<IdxArray> {
    let bad = |message: String| DataError::format(name, message);
    let mut head = [0u8; 4];
    fill(&mut source, &mut head, name, "its 4-byte magic number")?;
    let [zero_a, zero_b, code, rank] = head;
    let size = match (zero_a, zero_b, code) {
        (0, 0, 0x08 | 0x09) => 1,
        (0, 0, 0x0B) => 2,
        (0, 0, 0x0C | 0x0D) => 4,
        (0, 0, 0x0E) => 8,
        _ => {
            return Err(bad(format!(
                "is not an idx file: it begins with {head:02x?}, which must be 00 00, a type (08, 09, 0b, 0c, 0d or 0e) and the number of dimensions"
            )));
        }
    };
    let mut shape = Vec::with_capacity(usize::from(rank));
    for axis in 0..rank {
        let mut dim = [0u8; 4];
        fill(&mut source, &mut dim, name, &format!("the size of dimension {axis} of {rank}"))?;
        shape.push(u32::from_be_bytes(dim) as usize);
    }
    let bytes = shape
        .iter()
        .try_fold(size as u64, |a, &d| a.checked_mul(d as u64))
        .filter(|&b| b <= isize::MAX as u64)
        .ok_or_else(|| bad(format!("its dimensions {shape:?} overflow; the header is corrupt")))?;
    // `take` and a growing buffer: a header that promises more than there is costs nothing.
    let mut data = Vec::new();
    let read = |e| broken(name, &e);
    (&mut source).take(bytes).read_to_end(&mut data).map_err(read)?;
    if (data.len() as u64) < bytes {
        return Err(bad(format!(
            "is truncated: dimensions {shape:?} need {bytes} bytes of data but it has {} of the {bytes} bytes; get the file again",
            data.len()
        )));
    }
    if source.read(&mut [0u8; 1]).map_err(read)? != 0 {
        return Err(bad(format!(
            "has bytes after the {bytes} that dimensions {shape:?} need; the header or the file is corrupt"
        )));
    }
    let data = match code {
        0x08 => IdxData::U8(data),
        0x09 => IdxData::I8(data.into_iter().map(|b| b as i8).collect()),
        0x0B => IdxData::I16(words(&data, i16::from_be_bytes)),
        0x0C => IdxData::I32(words(&data, i32::from_be_bytes)),
        0x0D => IdxData::F32(words(&data, f32::from_be_bytes)),
        _ => IdxData::F64(words(&data, f64::from_be_bytes)),
    };
    Ok(IdxArray { shape, data })
}

fn words<const N: usize, T>(bytes: &[u8], from: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|&w| from(w)).collect()
}

fn broken(name: &str, e: &std::io::Error) -> DataError {
    DataError::format(name, format!("cannot be read or decompressed: {e}; get the file again"))
}

fn fill(source: &mut impl Read, into: &mut [u8], name: &str, what: &str) -> Result<()> {
    source.read_exact(into).map_err(|e| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            DataError::format(name, format!("is truncated within {what}; get the file again"))
        }
        _ => broken(name, &e),
    })
}

/// Pairs an idx file of images (`[n, h, w]` or `[n, c, h, w]`, u8) with one of labels (`[n]`).
///
/// # Errors
/// When the shapes or counts do not fit or a label has no name.
pub fn idx_images(
    (images, images_name): (IdxArray, &str),
    (labels, labels_name): (IdxArray, &str),
    class_names: Vec<String>,
) -> Result<ImageDataset> {
    let shape = match images.shape.as_slice() {
        &[n, h, w] => vec![n, 1, h, w],
        s @ [_, _, _, _] => s.to_vec(),
        s => {
            return Err(DataError::format(
                images_name,
                format!("holds shape {s:?}, images are [n, height, width] or [n, channels, height, width]"),
            ));
        }
    };
    let IdxData::U8(pixels) = images.data else {
        return Err(DataError::format(images_name, "holds other elements than u8; pixels are u8 (type 08)"));
    };
    let [n] = labels.shape[..] else {
        return Err(DataError::format(
            labels_name,
            format!("holds shape {:?}, labels are [n]; is it the images file?", labels.shape),
        ));
    };
    let (_, ArrayData::I64(labels)) =
        IdxArray { shape: vec![n], data: labels_i32(labels.data) }.into_array().into_parts()
    else {
        return Err(DataError::format(labels_name, "holds floats; labels are integers"));
    };
    if shape[0] != n {
        return Err(DataError::Counts {
            what: format!("{images_name} and {labels_name}"),
            left: "images",
            left_count: shape[0],
            right: "labels",
            right_count: n,
        });
    }
    let set = ImageDataset::new(Array::new(shape, ArrayData::U8(pixels))?, labels, class_names);
    set.map_err(|e| match e {
        DataError::LabelOutOfRange { index, label, classes, .. } => {
            DataError::LabelOutOfRange { file: labels_name.into(), index, label, classes }
        }
        DataError::Argument { message, .. } => DataError::format(images_name, message),
        e => e,
    })
}

/// u8 labels widened so that they come out as integers rather than pixels.
fn labels_i32(data: IdxData) -> IdxData {
    match data {
        IdxData::U8(v) => IdxData::I32(v.into_iter().map(i32::from).collect()),
        other => other,
    }
}
