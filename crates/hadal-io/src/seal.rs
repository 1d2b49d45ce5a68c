//! A digest in a safetensors file's own metadata, so that damage anywhere in the file is noticed.
//!
//! Two keys: `hadal.digest` names the method, `hadal.sha256` has the SHA-256 of the whole file (length,
//! header, tensors) in which its own 64 digits are zeros. It is in the file itself, not beside it: the two
//! could not be replaced in one step. One damaged byte can spoil one of the keys, not both, so a sealed
//! file cannot pass for one without a seal. Other readers see two more strings in the metadata.

use crate::error::Problem;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

const MARK: &str = "hadal.digest";
const METHOD: &str = "sha256";
const SUM: &str = "hadal.sha256";
const DIGITS: usize = 64;
/// What stands before the digits in a header as it is written: JSON without spaces.
const BEFORE: &[u8] = b"\"hadal.sha256\":\"";
const HINT: &str = "the disk or a copy has damaged it: take an earlier checkpoint or a backup (a file edited on \
                    purpose must lose hadal.digest and hadal.sha256 from its metadata)";

/// Refuses metadata that has a seal of its own.
pub(crate) fn refuse(metadata: &BTreeMap<String, String>) -> Result<(), Problem> {
    match [MARK, SUM].into_iter().find(|k| metadata.contains_key(*k)) {
        Some(key) => Err(Problem::argument(
            format!("the metadata has the key {key:?}, which is reserved for the file's digest"),
            "leave it out: a digest is of one file only",
        )),
        None => Ok(()),
    }
}

/// The metadata with room for a seal.
pub(crate) fn blank(metadata: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut metadata = metadata.clone();
    metadata.insert(MARK.into(), METHOD.into());
    metadata.insert(SUM.into(), "0".repeat(DIGITS));
    metadata
}

/// Takes the seal out of what was read.
pub(crate) fn strip(metadata: &mut BTreeMap<String, String>) {
    metadata.remove(MARK);
    metadata.remove(SUM);
}

/// Puts the digest of header and tensors into a header made with [`blank`] metadata.
pub(crate) fn close<'a>(header: &mut [u8], data: impl Iterator<Item = &'a [u8]>) {
    let Some(at) = digits(header) else { return };
    let mut hasher = Sha256::new();
    hasher.update((header.len() as u64).to_le_bytes());
    hasher.update(&*header);
    data.for_each(|bytes| hasher.update(bytes));
    header[at..at + DIGITS].copy_from_slice(hex(hasher).as_bytes());
}

/// Where the digits are in a header.
fn digits(header: &[u8]) -> Option<usize> {
    // Inside a JSON string a quote has a backslash, so this is found nowhere else.
    let at = header.windows(BEFORE.len()).position(|w| w == BEFORE)? + BEFORE.len();
    (header.get(at + DIGITS) == Some(&b'"')).then_some(at)
}

fn hex(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

/// Compares a file with its seal while it is read.
pub(crate) struct Check {
    expected: String,
    hasher: Sha256,
}

impl Check {
    /// Begins with the header; `None` for a file without a seal.
    pub fn of(header: &[u8], metadata: &BTreeMap<String, String>) -> Result<Option<Check>, Problem> {
        let damaged = |what: String| Err(Problem::format(what, HINT));
        let (mark, expected) = match (metadata.get(MARK), metadata.get(SUM)) {
            (None, None) => return Ok(None),
            (Some(mark), Some(sum)) => (mark, sum),
            (mark, _) => {
                let (has, lacks) = if mark.is_some() { (MARK, SUM) } else { (SUM, MARK) };
                return damaged(format!("its metadata has {has} but not {lacks}"));
            }
        };
        if mark != METHOD {
            return damaged(format!("its digest is by a method {mark:?}, only {METHOD:?} is known"));
        }
        let Some(at) = digits(header) else {
            return damaged(format!("its {SUM} does not have {DIGITS} digits"));
        };
        let mut hasher = Sha256::new();
        hasher.update((header.len() as u64).to_le_bytes());
        hasher.update(&header[..at]);
        hasher.update([b'0'; DIGITS]);
        hasher.update(&header[at + DIGITS..]);
        Ok(Some(Check { expected: expected.clone(), hasher }))
    }

    /// Takes the next bytes of the file in.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// Whether all that was read is what was written.
    pub fn finish(self) -> Result<(), Problem> {
        let found = hex(self.hasher);
        if found == self.expected {
            return Ok(());
        }
        let start = |s: &str| s.get(..12).unwrap_or(s).to_owned();
        Err(Problem::format(
            format!(
                "its content is not what was written: the SHA-256 is {}…, it should be {}…",
                start(&found),
                start(&self.expected)
            ),
            HINT,
        ))
    }
}
