//! Just enough tar (POSIX ustar) to take named files out of an archive.

use crate::error::{DataError, Result};
use std::io::Read;

const BLOCK: usize = 512;

/// Finds the files whose last path component is in `wanted`, each at most `limit` bytes.
///
/// The files come in the order of `wanted`.
pub(crate) fn extract(
    mut source: impl Read,
    name: &str,
    wanted: &[&str],
    limit: u64,
) -> Result<Vec<Vec<u8>>> {
    let bad = |m: String| DataError::format(name, m);
    let mut found: Vec<Option<Vec<u8>>> = vec![None; wanted.len()];
    while found.iter().any(Option::is_none) {
        let mut header = Vec::with_capacity(BLOCK);
        let read =
            |e: std::io::Error| bad(format!("cannot be read or decompressed: {e}; get the archive again"));
        (&mut source).take(BLOCK as u64).read_to_end(&mut header).map_err(read)?;
        if header.len() < BLOCK || header.iter().all(|&b| b == 0) {
            let missing: Vec<&str> =
                wanted.iter().zip(&found).filter(|(_, f)| f.is_none()).map(|(w, _)| *w).collect();
            return Err(bad(format!(
                "ends without {}; it is truncated or another archive",
                missing.join(", ")
            )));
        }
        let size = octal(&header[124..136])
            .ok_or_else(|| bad("is not a tar archive (a header's size field is broken)".into()))?;
        let path = header[..100].split(|&b| b == 0).next().unwrap_or_default();
        let path = String::from_utf8_lossy(path);
        let base = path.rsplit('/').next().unwrap_or_default();
        let padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
        let regular = matches!(header[156], b'0' | 0);
        match wanted.iter().position(|&w| w == base) {
            Some(i) if regular && found[i].is_none() => {
                if size > limit {
                    return Err(bad(format!("{base} claims {size} bytes, more than the {limit} expected")));
                }
                let mut data = Vec::new();
                (&mut source).take(size).read_to_end(&mut data).map_err(read)?;
                if (data.len() as u64) < size {
                    return Err(bad(format!("is truncated within {base}; get the archive again")));
                }
                found[i] = Some(data);
                skip(&mut source, padding).map_err(read)?;
            }
            _ => skip(&mut source, size.saturating_add(padding)).map_err(read)?,
        }
    }
    Ok(found.into_iter().flatten().collect())
}

fn skip(source: &mut impl Read, count: u64) -> std::io::Result<()> {
    std::io::copy(&mut source.take(count), &mut std::io::sink()).map(|_| ())
}

fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?;
    u64::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, data: &[u8]) -> Vec<u8> {
        let mut h = vec![0u8; BLOCK];
        h[..path.len()].copy_from_slice(path.as_bytes());
        h[124..135].copy_from_slice(format!("{:011o}", data.len()).as_bytes());
        h[156] = b'0';
        h.extend_from_slice(data);
        h.resize(h.len().next_multiple_of(BLOCK), 0);
        h
    }

    #[test]
    fn takes_files_by_base_name_in_the_order_asked() {
        let mut tar = entry("d/a.bin", b"AAA");
        tar.extend(entry("d/skip", &[7; 700]));
        tar.extend(entry("d/b.bin", &[1; 513]));
        tar.extend([0; 1024]);
        let files = extract(&tar[..], "t.tar", &["b.bin", "a.bin"], 1 << 20).unwrap();
        assert_eq!(files, [vec![1; 513], b"AAA".to_vec()]);
        let e = extract(&tar[..], "t.tar", &["c.bin"], 1 << 20).unwrap_err().to_string();
        assert_eq!(e, "t.tar: ends without c.bin; it is truncated or another archive");
        for cut in 0..tar.len() {
            let _ = extract(&tar[..cut], "t.tar", &["b.bin"], 1 << 20);
        }
        assert!(extract(&tar[..], "t", &["b.bin"], 100).unwrap_err().to_string().contains("more than"));
    }
}
