//! Looks at a file's outer structure before a decoder does.
//!
//! Decoders are lenient where training data must not be: a JPEG cut in half decodes to a picture
//! with a grey lower half, and a header of 30 bytes makes a decoder allocate for millions of
//! pixels. Both are caught here.

use super::Problem;

#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Format {
    Png,
    Jpeg,
}

const PNG_MAGIC: &[u8] = b"\x89PNG\r\n\x1a\n";

impl Format {
    /// The format that the first bytes tell; extensions are not looked at.
    pub(super) fn of(bytes: &[u8]) -> Option<Format> {
        if bytes.starts_with(PNG_MAGIC) {
            Some(Format::Png)
        } else if bytes.starts_with(&[0xFF, 0xD8, 0xFF]) {
            Some(Format::Jpeg)
        } else {
            None
        }
    }
}

/// Checks that the file goes on up to its end mark.
pub(super) fn check_complete(format: Format, bytes: &[u8]) -> Result<(), Problem> {
    let (complete, what) = match format {
        Format::Png => (png_has_end(bytes), "the PNG ends before its IEND chunk"),
        Format::Jpeg => (jpeg_has_end(bytes), "the JPEG ends before its end-of-image mark"),
    };
    if complete == Some(true) { Ok(()) } else { Err(Problem::truncated(what)) }
}

/// Walks the chunks (length, type, data, checksum). `None` when one is cut off.
fn png_has_end(bytes: &[u8]) -> Option<bool> {
    let mut rest = bytes.strip_prefix(PNG_MAGIC)?;
    loop {
        let (len, after) = rest.split_first_chunk::<4>()?;
        let (kind, after) = after.split_first_chunk::<4>()?;
        let len = u32::from_be_bytes(*len) as usize;
        rest = after.split_at_checked(len.checked_add(4)?)?.1;
        if kind == b"IEND" {
            return Some(true);
        }
    }
}

/// Walks the segments, and the entropy-coded data after each start of scan, up to the EOI marker.
fn jpeg_has_end(bytes: &[u8]) -> Option<bool> {
    const SOS: u8 = 0xDA;
    const EOI: u8 = 0xD9;
    let mut rest = bytes.get(2..)?;
    loop {
        // To the next marker: FF and then neither 00 (a stuffed FF), FF (fill) nor RST.
        let at = rest
            .windows(2)
            .position(|w| w[0] == 0xFF && !matches!(w[1], 0x00 | 0xFF | 0x01 | 0xD0..=0xD8))?;
        let marker = rest[at + 1];
        rest = &rest[at + 2..];
        if marker == EOI {
            return Some(true);
        }
        let (len, _) = rest.split_first_chunk::<2>()?;
        rest = rest.get(usize::from(u16::from_be_bytes(*len))..)?;
        // After SOS come coded bytes, which the search above skips; after any other segment the
        // next marker follows at once.
        if marker != SOS && !matches!(rest.first(), Some(0xFF)) {
            return rest.is_empty().then_some(false);
        }
    }
}

/// Refuses a header that claims more pixels than its file can hold.
///
/// PNG: deflate expands at most 1032-fold and a pixel takes at least one bit. JPEG: a block of 64
/// pixels takes at least one bit.
pub(super) fn check_plausible(format: Format, pixels: u64, file_len: usize) -> Result<(), Problem> {
    let most = match format {
        Format::Png => file_len as u64 * 1032 * 8,
        Format::Jpeg => file_len as u64 * 8 * 64,
    };
    if pixels > most {
        return Err(Problem::truncated(format!(
            "the header says {pixels} pixels, more than {file_len} bytes can hold"
        )));
    }
    Ok(())
}
