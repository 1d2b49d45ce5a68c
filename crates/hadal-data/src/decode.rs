//! PNG and JPEG files to `[c, h, w]` bytes.

use crate::array::{Array, ArrayData, Buffers};
use crate::dataset::Channels;
use crate::error::{DataError, Result};
use hadal_io::Image;
use std::path::Path;

/// Decodes a picture and converts its colours.
pub(crate) fn decode(path: &Path, channels: Channels, buffers: &mut Buffers) -> Result<Array> {
    let picture = Image::read(path).map_err(DataError::Image)?;
    let (count, picture) = match channels {
        Channels::Rgb if picture.channels() == 3 => (3, picture),
        Channels::Rgb => (3, picture.to_rgb()),
        Channels::Gray if picture.channels() == 1 => (1, picture),
        Channels::Gray => (1, picture.to_gray()),
    };
    let shape = vec![count, picture.height(), picture.width()];
    let interleaved = picture.into_data();
    let mut planes = buffers.take_u8(interleaved.len());
    for c in 0..count {
        planes.extend(interleaved.iter().skip(c).step_by(count));
    }
    Ok(Array::trusted(shape, ArrayData::U8(planes)))
}
