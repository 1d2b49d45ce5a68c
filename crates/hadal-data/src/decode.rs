//! PNG and JPEG files to `[c, h, w]` bytes.

use crate::array::{Array, ArrayData, Buffers};
use crate::dataset::Channels;
use crate::error::{DataError, Result};
use std::path::Path;

/// Decodes a picture and converts its colours.
pub(crate) fn decode(path: &Path, channels: Channels, buffers: &mut Buffers) -> Result<Array> {
    let bytes = std::fs::read(path).map_err(|e| DataError::io("read", path, e))?;
    let fail = |e: image::ImageError| DataError::Image { path: path.into(), message: e.to_string() };
    let picture = image::load_from_memory(&bytes).map_err(fail)?;
    let (w, h) = (picture.width() as usize, picture.height() as usize);
    let (count, interleaved) = match channels {
        Channels::Rgb => (3, picture.into_rgb8().into_raw()),
        Channels::Gray => (1, picture.into_luma8().into_raw()),
        Channels::Rgba => (4, picture.into_rgba8().into_raw()),
    };
    let mut planes = buffers.take_u8(interleaved.len());
    for c in 0..count {
        planes.extend(interleaved.iter().skip(c).step_by(count));
    }
    Ok(Array::trusted(vec![count, h, w], ArrayData::U8(planes)))
}
