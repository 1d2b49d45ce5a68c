//! The safetensors format: an 8-byte length, a JSON header, then the tensors' bytes.
//!
//! Source: <https://github.com/huggingface/safetensors#format>. The rules that are checked on
//! reading, each with its own message: the header's length (at most 100 MB and inside the file);
//! JSON that starts with `{`, without duplicate names; `__metadata__` maps strings to strings; every
//! tensor's offsets lie in the file, in order, without overlap or hole, up to the last byte; and
//! every size is what dtype and shape say.
//!
//! Written files list the tensors in the given order. Their bytes are laid out by descending
//! element size (in the given order within one size), as the reference implementation does, so
//! that every tensor is aligned for a reader that maps the file. Equal input gives equal bytes.
//!
//! [`write_sealed`] adds a digest of the whole file to the metadata; reading such a file whole checks it.

use crate::error::{IN_MEMORY, IoError, Problem, Result};
use crate::files::open_regular;
use crate::raw::{RawTensor, RawView, byte_count, check_bools, shape_text};
use crate::{seal, write_atomic};
use hadal_core::DType;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const READ: &str = "read safetensors file";
const WRITE: &str = "write safetensors file";
/// The reference implementation's limit on the header.
const MAX_HEADER: u64 = 100_000_000;
const METADATA_KEY: &str = "__metadata__";

/// What the header says about one tensor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Name.
    pub name: String,
    /// The dtype as the file spells it: `F32`, `BF16`, ….
    pub dtype_name: String,
    /// The dtype, or `None` where Hadal has none for it (`U16`, `F8_E4M3`, …).
    pub dtype: Option<DType>,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// Position of the first byte, counted from the start of the file.
    pub offset: u64,
    /// Number of bytes.
    pub bytes: u64,
}

/// A file's header: all that can be known without reading the tensors.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Header {
    /// The tensors, in the order in which the header lists them.
    pub entries: Vec<Entry>,
    /// The free-form text under `__metadata__`.
    pub metadata: BTreeMap<String, String>,
}

/// A file's whole content.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SafeTensors {
    /// The tensors, in the order in which the header lists them.
    pub tensors: Vec<(String, RawTensor)>,
    /// The free-form text under `__metadata__`.
    pub metadata: BTreeMap<String, String>,
}

impl SafeTensors {
    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<&RawTensor> {
        self.tensors.iter().find(|(n, _)| n == name).map(|(_, t)| t)
    }
}

/// Reads the header only: names, dtypes, shapes, metadata. Checks every rule of the format that
/// can be checked without the tensors' bytes.
///
/// # Errors
/// [`IoError`] naming the rule that is broken.
pub fn inspect(path: impl AsRef<Path>) -> Result<Header> {
    Ok(SafeFile::open(path)?.header)
}

/// Reads a whole file.
///
/// ```
/// # fn main() -> hadal_io::Result<()> {
/// # let dir = std::env::temp_dir().join(format!("hadal-doc-st-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir).unwrap();
/// # let path = dir.join("model.safetensors");
/// use hadal_io::{DType, RawTensor, safetensors};
/// let weight = RawTensor { dtype: DType::U8, shape: vec![2, 2], data: vec![1, 2, 3, 4] };
/// let metadata = [("format".to_string(), "pt".to_string())].into();
/// safetensors::write(&path, &[("fc.weight", weight.view())], &metadata)?;
/// let file = safetensors::read(&path)?;
/// assert_eq!(file.get("fc.weight"), Some(&weight));
/// assert_eq!(file.metadata["format"], "pt");
/// # std::fs::remove_dir_all(&dir).unwrap();
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`IoError::Format`] naming the broken rule, [`IoError::Unsupported`] naming the tensor and the
/// dtype that Hadal does not have, [`IoError::Os`] when the file cannot be read.
pub fn read(path: impl AsRef<Path>) -> Result<SafeTensors> {
    let path = path.as_ref();
    let (mut file, len) = open_regular(path, READ)?;
    read_from(&mut file, len).map_err(|p| p.at(READ, path))
}

/// Reads a whole file out of memory; see [`read`].
///
/// # Errors
/// As [`read`]; the path in the error is `(bytes in memory)`.
pub fn from_bytes(bytes: &[u8]) -> Result<SafeTensors> {
    read_from(&mut { bytes }, bytes.len() as u64).map_err(|p| p.at(READ, IN_MEMORY))
}

/// A file whose header has been read and checked, for reading some of its tensors.
#[derive(Debug)]
pub struct SafeFile {
    file: File,
    path: PathBuf,
    header: Header,
}

impl SafeFile {
    /// Opens a file and checks its header.
    ///
    /// # Errors
    /// As [`inspect`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let (mut file, len) = open_regular(path, READ)?;
        let (header, _) = read_header(&mut file, len).map_err(|p| p.at(READ, path))?;
        Ok(SafeFile { file, path: path.to_path_buf(), header })
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Reads one tensor. A digest of the whole file cannot be checked so.
    ///
    /// # Errors
    /// [`IoError::Argument`] when there is no tensor of that name; else as [`read`].
    pub fn tensor(&mut self, name: &str) -> Result<RawTensor> {
        let Some(entry) = self.header.entries.iter().find(|e| e.name == name) else {
            return Err(Problem::argument(
                format!("it has no tensor {name:?}"),
                "list its tensors with `hadal inspect`",
            )
            .at(READ, &self.path));
        };
        let r = self
            .file
            .seek(SeekFrom::Start(entry.offset))
            .map_err(Problem::from)
            .and_then(|_| read_tensor(&mut self.file, entry));
        r.map_err(|p| p.at(READ, &self.path))
    }
}

/// Writes a file atomically: `tensors` in this order, `metadata` sorted by key.
///
/// # Errors
/// [`IoError::Argument`] when a name is given twice or reserved, or when a tensor's bytes do not
/// match its shape; [`IoError::Os`] when writing fails, with the old file intact.
pub fn write(
    path: impl AsRef<Path>,
    tensors: &[(&str, RawView<'_>)],
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let path = path.as_ref();
    let built = seal::refuse(metadata).and_then(|()| build_header(tensors, metadata));
    let (header, order) = built.map_err(|p| p.at(WRITE, path))?;
    write_atomic(path, |w| write_to(w, &header, &order, tensors))
}

/// Writes a file as [`write`](fn@write) does, with a digest of all its bytes in the metadata (under
/// `hadal.digest` and `hadal.sha256`): [`read`] and [`from_bytes`] then notice any damage. For other
/// programs it is an ordinary safetensors file. The digest costs one pass over the bytes at 2 GB/s:
/// 64 MiB are written in 70 ms instead of 38 and read in 73 instead of 36 (one Zen 4 core with SHA
/// instructions, best of 7; `cost_of_the_digest` in the tests).
///
/// # Errors
/// As [`write`](fn@write); metadata that has those keys already.
pub fn write_sealed(
    path: impl AsRef<Path>,
    tensors: &[(&str, RawView<'_>)],
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let path = path.as_ref();
    let built = seal::refuse(metadata).and_then(|()| build_header(tensors, &seal::blank(metadata)));
    let (mut header, order) = built.map_err(|p| p.at(WRITE, path))?;
    seal::close(&mut header, order.iter().map(|&i| tensors[i].1.data));
    write_atomic(path, |w| write_to(w, &header, &order, tensors))
}

/// The bytes that [`write`](fn@write) would write.
///
/// # Errors
/// As [`write`](fn@write), without the system's errors.
pub fn to_bytes(tensors: &[(&str, RawView<'_>)], metadata: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let built = seal::refuse(metadata).and_then(|()| build_header(tensors, metadata));
    let (header, order) = built.map_err(|p| p.at(WRITE, IN_MEMORY))?;
    let mut out = Vec::new();
    write_to(&mut out, &header, &order, tensors).map_err(|e| IoError::os(WRITE, IN_MEMORY, e))?;
    Ok(out)
}

fn write_to(
    w: &mut dyn Write,
    header: &[u8],
    order: &[usize],
    tensors: &[(&str, RawView<'_>)],
) -> std::io::Result<()> {
    w.write_all(&(header.len() as u64).to_le_bytes())?;
    w.write_all(header)?;
    order.iter().try_for_each(|&i| w.write_all(tensors[i].1.data))
}

/// The format's name of a dtype.
fn name_of(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "F32",
        DType::F64 => "F64",
        DType::F16 => "F16",
        DType::BF16 => "BF16",
        DType::I64 => "I64",
        DType::I32 => "I32",
        DType::U8 => "U8",
        DType::Bool => "BOOL",
    }
}

/// Bytes of one element for the format's dtypes, ours or not.
fn size_of_name(name: &str) -> Option<usize> {
    Some(match name {
        "BOOL" | "U8" | "I8" | "F8_E4M3" | "F8_E5M2" | "F8_E8M0" | "F8_E4M3FNUZ" | "F8_E5M2FNUZ" => 1,
        "U16" | "I16" | "F16" | "BF16" => 2,
        "U32" | "I32" | "F32" => 4,
        "U64" | "I64" | "F64" | "C64" => 8,
        _ => return None,
    })
}

/// The JSON header (padded to a multiple of 8 with spaces) and the order of the tensors' bytes.
fn build_header(
    tensors: &[(&str, RawView<'_>)],
    metadata: &BTreeMap<String, String>,
) -> Result<(Vec<u8>, Vec<usize>), Problem> {
    let mut names = BTreeSet::new();
    for (name, t) in tensors {
        if *name == METADATA_KEY {
            return Err(Problem::argument(
                format!("a tensor is named {METADATA_KEY:?}, which the format reserves"),
                "rename it",
            ));
        }
        if !names.insert(*name) {
            return Err(Problem::argument(
                format!("two tensors are named {name:?}"),
                "give each its own name",
            ));
        }
        t.check(name)?;
    }
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(tensors[i].1.dtype.size()));
    let mut begin = vec![0u64; tensors.len()];
    let mut at = 0u64;
    for &i in &order {
        begin[i] = at;
        at += tensors[i].1.data.len() as u64;
    }

    let json = |s: &str| serde_json::Value::from(s).to_string();
    let mut parts = Vec::with_capacity(tensors.len() + 1);
    if !metadata.is_empty() {
        let pairs: Vec<String> = metadata.iter().map(|(k, v)| format!("{}:{}", json(k), json(v))).collect();
        parts.push(format!("{}:{{{}}}", json(METADATA_KEY), pairs.join(",")));
    }
    for (&(name, t), &begin) in tensors.iter().zip(&begin) {
        let dims: Vec<String> = t.shape.iter().map(|d| d.to_string()).collect();
        parts.push(format!(
            "{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{begin},{}]}}",
            json(name),
            name_of(t.dtype),
            dims.join(","),
            begin + t.data.len() as u64
        ));
    }
    let mut header = format!("{{{}}}", parts.join(",")).into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    if header.len() as u64 > MAX_HEADER {
        return Err(Problem::argument(
            format!("the header would have {} bytes, more than the format's {MAX_HEADER}", header.len()),
            "write fewer tensors or less metadata into one file",
        ));
    }
    Ok((header, order))
}

fn read_from(r: &mut impl Read, len: u64) -> Result<SafeTensors, Problem> {
    let (header, json) = read_header(r, len)?;
    let mut check = seal::Check::of(&json, &header.metadata)?;
    let Header { entries, mut metadata } = header;
    // What a damaged header says of dtypes must not be told before the damage.
    if check.is_none() {
        entries.iter().try_for_each(|e| dtype_of(e).map(|_| ()))?;
    }
    // The bytes come in the order of their offsets, which need not be the header's order.
    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.sort_by_key(|&i| (entries[i].offset, entries[i].bytes));
    let mut slots: Vec<Vec<u8>> = vec![Vec::new(); entries.len()];
    for i in order {
        let data = read_bytes(r, &entries[i])?;
        if let Some(check) = &mut check {
            check.update(&data);
        }
        slots[i] = data;
    }
    check.map_or(Ok(()), seal::Check::finish)?;
    seal::strip(&mut metadata);
    let whole = |(e, data): (Entry, Vec<u8>)| Ok((e.name.clone(), typed(e, data)?));
    let tensors = entries.into_iter().zip(slots).map(whole).collect::<Result<_, Problem>>()?;
    Ok(SafeTensors { tensors, metadata })
}

fn read_tensor(r: &mut impl Read, entry: &Entry) -> Result<RawTensor, Problem> {
    dtype_of(entry)?;
    let data = read_bytes(r, entry)?;
    typed(entry.clone(), data)
}

fn read_bytes(r: &mut impl Read, entry: &Entry) -> Result<Vec<u8>, Problem> {
    // `read_header` has found these bytes inside the file, so this asks for no more than that.
    let mut data = vec![0; entry.bytes as usize];
    r.read_exact(&mut data)?;
    Ok(data)
}

fn dtype_of(entry: &Entry) -> Result<DType, Problem> {
    entry.dtype.ok_or_else(|| {
        let known: Vec<&str> = DType::ALL.into_iter().map(name_of).collect();
        Problem::unsupported(
            format!("tensor {:?} is of dtype {}, which Hadal does not have", entry.name, entry.dtype_name),
            format!("convert it to one of {} first", known.join(", ")),
        )
    })
}

fn typed(entry: Entry, data: Vec<u8>) -> Result<RawTensor, Problem> {
    let dtype = dtype_of(&entry)?;
    check_bools(&entry.name, dtype, &data)?;
    Ok(RawTensor { dtype, shape: entry.shape, data })
}

/// The checked header, and its JSON as it is in the file.
fn read_header(r: &mut impl Read, file_len: u64) -> Result<(Header, Vec<u8>), Problem> {
    if file_len < 8 {
        return Err(Problem::truncated(format!(
            "it has {file_len} bytes, fewer than the 8 of the header's length"
        )));
    }
    let mut eight = [0; 8];
    r.read_exact(&mut eight)?;
    let header_len = u64::from_le_bytes(eight);
    if header_len > MAX_HEADER {
        return Err(Problem::damaged(format!(
            "the header's length is {header_len} bytes, more than the format's {MAX_HEADER}"
        )));
    }
    let rest = file_len - 8;
    if header_len > rest {
        return Err(Problem::truncated(format!(
            "the header's length is {header_len} bytes, but only {rest} follow"
        )));
    }
    let mut json = vec![0; header_len as usize];
    r.read_exact(&mut json)?;
    if json.first() != Some(&b'{') {
        return Err(Problem::damaged("the header does not start with `{`"));
    }
    let raw = parse_json(&json)?;
    let entries = check_entries(raw.entries, 8 + header_len, rest - header_len)?;
    Ok((Header { entries, metadata: raw.metadata }, json))
}

#[derive(Deserialize)]
#[serde(expecting = "an object with dtype, shape and data_offsets")]
struct RawEntry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

#[derive(Default)]
struct RawHeader {
    entries: Vec<(String, RawEntry)>,
    metadata: BTreeMap<String, String>,
}

/// Parses the header, keeping the order of the tensors and refusing duplicate names, which a map
/// would swallow.
fn parse_json(json: &[u8]) -> Result<RawHeader, Problem> {
    let inside = RefCell::new(None);
    let mut de = serde_json::Deserializer::from_slice(json);
    HeaderSeed { inside: &inside }.deserialize(&mut de).and_then(|h| de.end().map(|()| h)).map_err(|e| {
        Problem::damaged(match inside.into_inner() {
            Some(name) if name == METADATA_KEY => {
                format!("{METADATA_KEY:?} does not map strings to strings: {e}")
            }
            Some(name) => format!("the header's entry of tensor {name:?}: {e}"),
            None => format!("the header is not a JSON object: {e}"),
        })
    })
}

/// Remembers which entry is being parsed, for the error message.
struct HeaderSeed<'a> {
    inside: &'a RefCell<Option<String>>,
}

impl<'de> DeserializeSeed<'de> for HeaderSeed<'_> {
    type Value = RawHeader;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<RawHeader, D::Error> {
        d.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for HeaderSeed<'_> {
    type Value = RawHeader;
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object of tensors")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
        let mut header = RawHeader::default();
        let mut names = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            *self.inside.borrow_mut() = Some(name.clone());
            if !names.insert(name.clone()) {
                return Err(A::Error::custom("the name occurs twice"));
            }
            if name == METADATA_KEY {
                header.metadata = map.next_value()?;
            } else {
                let entry = map.next_value()?;
                header.entries.push((name, entry));
            }
            *self.inside.borrow_mut() = None;
        }
        Ok(header)
    }
}

/// Checks offsets, sizes and coverage. `data_at` is where the tensors' bytes start in the file and
/// `data_len` how many there are.
fn check_entries(raw: Vec<(String, RawEntry)>, data_at: u64, data_len: u64) -> Result<Vec<Entry>, Problem> {
    let mut order: Vec<usize> = (0..raw.len()).collect();
    order.sort_by_key(|&i| raw[i].1.data_offsets);
    let mut at = 0;
    let mut before: Option<&str> = None;
    for &i in &order {
        let (name, (begin, end)) = (raw[i].0.as_str(), raw[i].1.data_offsets);
        if end < begin {
            return Err(Problem::damaged(format!("tensor {name:?} ends at {end}, before its begin {begin}")));
        }
        if end > data_len {
            return Err(Problem::truncated(format!(
                "tensor {name:?} ends at {end}, but only {data_len} bytes of data are there"
            )));
        }
        if begin != at {
            let what = match before {
                Some(other) if begin < at => format!("tensors {other:?} and {name:?} overlap"),
                Some(other) => {
                    format!("{} bytes between tensors {other:?} and {name:?} belong to none", begin - at)
                }
                None => format!("the {begin} bytes before tensor {name:?} belong to none"),
            };
            return Err(Problem::damaged(what));
        }
        at = end;
        before = Some(name);
    }
    if at != data_len {
        return Err(Problem::damaged(format!("the last {} bytes belong to no tensor", data_len - at)));
    }
    raw.into_iter().map(|(name, e)| check_entry(name, e, data_at)).collect()
}

fn check_entry(name: String, e: RawEntry, data_at: u64) -> Result<Entry, Problem> {
    let (begin, end) = e.data_offsets;
    let bytes = end - begin;
    let shape: Option<Vec<usize>> = e.shape.iter().map(|&d| usize::try_from(d).ok()).collect();
    let dtype = DType::ALL.into_iter().find(|&d| name_of(d) == e.dtype);
    if let Some(size) = size_of_name(&e.dtype) {
        let wanted = shape.as_ref().and_then(|s| byte_count(s, size));
        if wanted.map(|w| w as u64) != Some(bytes) {
            let needs = wanted.map_or("more bytes than can be counted".to_string(), |w| format!("{w} bytes"));
            return Err(Problem::damaged(format!(
                "tensor {name:?} of dtype {} and shape {} needs {needs}, but its offsets give it {bytes}",
                e.dtype,
                shape_text(&e.shape)
            )));
        }
    }
    let Some(shape) = shape else {
        return Err(Problem::damaged(format!(
            "tensor {name:?} has the shape {}, which cannot be counted",
            shape_text(&e.shape)
        )));
    };
    Ok(Entry { name, dtype_name: e.dtype, dtype, shape, offset: data_at + begin, bytes })
}
