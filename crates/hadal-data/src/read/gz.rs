//! Files that may be gzip-compressed, read in pieces of what is really there.

use crate::error::{DataError, Result};
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

/// The two bytes a gzip member begins with (RFC 1952, 2.3.1).
const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A file's content, decompressed when it begins like gzip (whatever its name).
pub(crate) fn open(path: &Path) -> Result<Box<dyn Read>> {
    let io = |e| DataError::io("read", path, e);
    let mut file = File::open(path).map_err(io)?;
    let mut head = [0u8; 2];
    let mut filled = 0;
    while filled < 2 {
        match file.read(&mut head[filled..]).map_err(io)? {
            0 => break,
            n => filled += n,
        }
    }
    let start = std::io::Cursor::new(head).take(filled as u64);
    let whole = BufReader::with_capacity(1 << 16, start.chain(file));
    Ok(if filled == 2 && head == MAGIC { Box::new(MultiGzDecoder::new(whole)) } else { Box::new(whole) })
}

/// The whole of a file, decompressed when it is gzip; an error past `limit` bytes.
pub(crate) fn read_all(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    open(path)?
        .take(limit.saturating_add(1))
        .read_to_end(&mut out)
        .map_err(|e| DataError::io("read", path, e))?;
    if out.len() as u64 > limit {
        return Err(DataError::format(
            path.display().to_string(),
            format!("holds more than the {limit} bytes expected; this is another file"),
        ));
    }
    Ok(out)
}

/// Decompresses one gzip member without optional header fields into a buffer of exactly its size.
///
/// For the embedded data, whose sizes are known: one call, no growing buffer.
pub(crate) fn inflate_exact(member: &[u8], out: &mut [u8]) -> Result<(), &'static str> {
    /// Header without optional fields, and trailer (CRC-32, size), in bytes.
    const HEADER: usize = 10;
    const TRAILER: usize = 8;
    if member.len() < HEADER + TRAILER || member[..2] != MAGIC || member[2] != 8 || member[3] != 0 {
        return Err("not a plain gzip member");
    }
    let (deflated, trailer) = member[HEADER..].split_at(member.len() - HEADER - TRAILER);
    let mut inflate = flate2::Decompress::new(false);
    let status = inflate
        .decompress(deflated, out, flate2::FlushDecompress::Finish)
        .map_err(|_| "broken deflate data")?;
    if status != flate2::Status::StreamEnd || inflate.total_out() != out.len() as u64 {
        return Err("the decompressed size is not the one expected");
    }
    let mut crc = flate2::Crc::new();
    crc.update(out);
    if trailer[..4] != crc.sum().to_le_bytes() {
        return Err("the checksum differs");
    }
    Ok(())
}
