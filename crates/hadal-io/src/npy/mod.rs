//! NumPy's npy and npz files.
//!
//! Source: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>. Reads versions
//! 1 to 3, C and Fortran order, little and big endian; the result is always little-endian C order.
//! Writes version 1 (2 where the header is too long), byte for byte what `numpy.save` writes.
//!
//! NumPy has no bf16: such a tensor has to be converted before it is written.

mod header;

use crate::error::{IN_MEMORY, Problem, Result};
use crate::files::{open_regular, read_whole};
use crate::raw::{RawTensor, RawView, byte_count, check_bools, shape_text};
use crate::write_atomic;
use hadal_core::DType;
use header::{Header, build_header};
use std::io::{Cursor, Read, Seek, Write};
use std::path::Path;
use zip::result::ZipError;
use zip::write::SimpleFileOptions;

const READ: &str = "read npy file";
const WRITE: &str = "write npy file";
const READ_NPZ: &str = "read npz file";
const WRITE_NPZ: &str = "write npz file";

/// What [`read_npz`] unpacks at most, in bytes: a small compressed file can claim, and hold, a
/// thousand times its size.
pub const NPZ_LIMIT_BYTES: u64 = 16 << 30;

/// Reads an npy file.
///
/// ```
/// # fn main() -> hadal_io::Result<()> {
/// # let dir = std::env::temp_dir().join(format!("hadal-doc-npy-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir).unwrap();
/// # let path = dir.join("x.npy");
/// use hadal_io::{DType, RawTensor, npy};
/// let x = RawTensor { dtype: DType::U8, shape: vec![3], data: vec![7, 8, 9] };
/// npy::write(&path, x.view())?;
/// assert_eq!(npy::read(&path)?, x);
/// # std::fs::remove_dir_all(&dir).unwrap();
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`Format`](crate::IoError::Format) for a file that is not npy, is truncated or has bytes left over;
/// [`Unsupported`](crate::IoError::Unsupported) for a dtype that Hadal does not have.
pub fn read(path: impl AsRef<Path>) -> Result<RawTensor> {
    let path = path.as_ref();
    let bytes = read_whole(path, READ, u64::MAX)?;
    parse(&bytes).map_err(|p| p.at(READ, path))
}

/// Reads an npy file out of memory.
///
/// # Errors
/// As [`read`].
pub fn from_bytes(bytes: &[u8]) -> Result<RawTensor> {
    parse(bytes).map_err(|p| p.at(READ, IN_MEMORY))
}

/// Writes an npy file atomically.
///
/// # Errors
/// [`Unsupported`](crate::IoError::Unsupported) for bf16, [`Argument`](crate::IoError::Argument) when the bytes do not match the shape,
/// [`Os`](crate::IoError::Os) when writing fails.
pub fn write(path: impl AsRef<Path>, tensor: RawView<'_>) -> Result<()> {
    let path = path.as_ref();
    let header = header_for("array", tensor).map_err(|p| p.at(WRITE, path))?;
    write_atomic(path, |w| {
        w.write_all(&header)?;
        w.write_all(tensor.data)
    })
}

/// The bytes that [`write`](fn@write) would write.
///
/// # Errors
/// As [`write`](fn@write).
pub fn to_bytes(tensor: RawView<'_>) -> Result<Vec<u8>> {
    let mut bytes = header_for("array", tensor).map_err(|p| p.at(WRITE, IN_MEMORY))?;
    bytes.extend_from_slice(tensor.data);
    Ok(bytes)
}

/// Reads an npz file: its arrays with their names (without `.npy`), in the archive's order.
///
/// # Errors
/// As [`read`], with the member's name; [`Unsupported`](crate::IoError::Unsupported) for encrypted members, other
/// compressions than deflate, and more than [`NPZ_LIMIT_BYTES`] in all.
pub fn read_npz(path: impl AsRef<Path>) -> Result<Vec<(String, RawTensor)>> {
    let path = path.as_ref();
    let (file, _) = open_regular(path, READ_NPZ)?;
    parse_npz(std::io::BufReader::new(file), NPZ_LIMIT_BYTES).map_err(|p| p.at(READ_NPZ, path))
}

/// Reads an npz file out of memory, unpacking at most `limit` bytes.
///
/// # Errors
/// As [`read_npz`].
pub fn npz_from_bytes(bytes: &[u8], limit: u64) -> Result<Vec<(String, RawTensor)>> {
    parse_npz(Cursor::new(bytes), limit).map_err(|p| p.at(READ_NPZ, IN_MEMORY))
}

/// Writes an npz file atomically, as `numpy.savez` (or, compressed, `numpy.savez_compressed`)
/// does. Equal input gives equal bytes.
///
/// # Errors
/// As [`write`](fn@write), and [`Argument`](crate::IoError::Argument) when a name is given twice.
pub fn write_npz(path: impl AsRef<Path>, tensors: &[(&str, RawView<'_>)], compress: bool) -> Result<()> {
    let path = path.as_ref();
    let bytes = build_npz(tensors, compress).map_err(|p| p.at(WRITE_NPZ, path))?;
    write_atomic(path, |w| w.write_all(&bytes))
}

/// NumPy's type codes of our dtypes, without the byte order.
fn code_of(dtype: DType) -> Option<&'static str> {
    Some(match dtype {
        DType::F32 => "f4",
        DType::F64 => "f8",
        DType::F16 => "f2",
        DType::I64 => "i8",
        DType::I32 => "i4",
        DType::U8 => "u1",
        DType::Bool => "b1",
        DType::BF16 => return None,
    })
}

fn header_for(name: &str, tensor: RawView<'_>) -> Result<Vec<u8>, Problem> {
    tensor.check(name)?;
    let Some(code) = code_of(tensor.dtype) else {
        return Err(Problem::unsupported(
            format!("{name:?} is of dtype {}, which NumPy does not have", tensor.dtype),
            "convert it to f32 first, or save it as safetensors",
        ));
    };
    Ok(build_header(code, tensor.dtype.size(), tensor.shape))
}

/// The dtype of a `descr` such as `<f4`, and whether its bytes are big endian.
fn dtype_of(descr: &str) -> Option<(DType, bool)> {
    let (order, code) = (descr.get(..1)?, descr.get(1..)?);
    let dtype = DType::ALL.into_iter().find(|&d| code_of(d) == Some(code))?;
    match (order, dtype.size()) {
        ("|", 1) | ("<", _) | ("=", 1) => Some((dtype, false)),
        (">", _) => Some((dtype, true)),
        _ => None,
    }
}

fn parse(bytes: &[u8]) -> Result<RawTensor, Problem> {
    let (header, body) = header::split(bytes)?;
    let plan = Plan::new(header)?;
    let have = body.len();
    if have < plan.bytes {
        return Err(Problem::truncated(format!(
            "an array of dtype {} and shape {} needs {} bytes, but only {have} follow the header",
            plan.dtype,
            shape_text(&plan.shape),
            plan.bytes
        )));
    }
    if have > plan.bytes {
        return Err(Problem::damaged(format!("{} bytes are left over after the array", have - plan.bytes)));
    }
    plan.finish(body.to_vec())
}

/// What the header asks for, checked.
struct Plan {
    dtype: DType,
    big_endian: bool,
    fortran: bool,
    shape: Vec<usize>,
    bytes: usize,
}

impl Plan {
    fn new(header: Header) -> Result<Plan, Problem> {
        let Some((dtype, big_endian)) = dtype_of(&header.descr) else {
            let known: Vec<&str> = DType::ALL.into_iter().filter_map(code_of).collect();
            return Err(Problem::unsupported(
                format!("its dtype is {:?}, which Hadal does not have", header.descr),
                format!("convert it to one of {} with NumPy's astype first", known.join(", ")),
            ));
        };
        let Some(bytes) = byte_count(&header.shape, dtype.size()) else {
            return Err(Problem::damaged(format!(
                "an array of shape {} has more bytes than can be counted",
                shape_text(&header.shape)
            )));
        };
        Ok(Plan { dtype, big_endian, fortran: header.fortran_order, shape: header.shape, bytes })
    }

    /// Brings the elements into little-endian C order.
    fn finish(self, mut data: Vec<u8>) -> Result<RawTensor, Problem> {
        let size = self.dtype.size();
        if self.big_endian && size > 1 {
            data.chunks_exact_mut(size).for_each(|e| e.reverse());
        }
        // One dimension is the same in both orders.
        if self.fortran && self.shape.len() > 1 {
            data = fortran_to_c(&data, &self.shape, size);
        }
        check_bools("array", self.dtype, &data)?;
        Ok(RawTensor { dtype: self.dtype, shape: self.shape, data })
    }
}

/// Reorders from first-index-fastest to last-index-fastest.
fn fortran_to_c(data: &[u8], shape: &[usize], size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len());
    if data.is_empty() {
        return out;
    }
    // Bytes between neighbours along each dimension in the Fortran-ordered source.
    let mut strides = Vec::with_capacity(shape.len());
    let mut step = size;
    for &d in shape {
        strides.push(step);
        step *= d;
    }
    let mut index = vec![0; shape.len()];
    let mut at = 0;
    loop {
        out.extend_from_slice(&data[at..at + size]);
        // Counts up like an odometer, last index fastest.
        let mut d = shape.len();
        loop {
            if d == 0 {
                return out;
            }
            d -= 1;
            index[d] += 1;
            at += strides[d];
            if index[d] < shape[d] {
                break;
            }
            at -= strides[d] * shape[d];
            index[d] = 0;
        }
    }
}

fn zip_problem(e: ZipError) -> Problem {
    match e {
        ZipError::Io(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            Problem::truncated("the zip archive ends too soon")
        }
        // The decompressor reports bad data as an I/O error.
        ZipError::Io(e) => Problem::damaged(format!("the zip archive: {e}")),
        ZipError::UnsupportedArchive(what) => Problem::unsupported(
            format!("the zip archive: {what}"),
            "save it again with numpy.savez or numpy.savez_compressed",
        ),
        e => Problem::damaged(format!("the zip archive: {e}")),
    }
}

fn parse_npz<R: Read + Seek>(r: R, limit: u64) -> Result<Vec<(String, RawTensor)>, Problem> {
    let mut zip = zip::ZipArchive::new(r).map_err(zip_problem)?;
    let mut out = Vec::new();
    let mut left = limit;
    for i in 0..zip.len() {
        let mut member = zip.by_index(i).map_err(zip_problem)?;
        let name = member.name().map_err(zip_problem)?.into_owned();
        let Some(key) = name.strip_suffix(".npy") else {
            return Err(Problem::unsupported(
                format!("its member {name:?} is not an npy file"),
                "save it again with numpy.savez",
            ));
        };
        let mut bytes = Vec::new();
        // The buffer grows with what is really there; the sizes that the archive states are not
        // trusted. One byte more than allowed tells "too much" from "just enough".
        member
            .by_ref()
            .take(left.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|e| zip_problem(e.into()).inside(&format!("member {name:?}")))?;
        if bytes.len() as u64 > left {
            return Err(Problem::unsupported(
                format!("its arrays have more than {limit} bytes in all"),
                "split the file",
            ));
        }
        left -= bytes.len() as u64;
        let tensor = parse(&bytes).map_err(|p| p.inside(&format!("member {name:?}")))?;
        out.push((key.to_string(), tensor));
    }
    Ok(out)
}

fn build_npz(tensors: &[(&str, RawView<'_>)], compress: bool) -> Result<Vec<u8>, Problem> {
    let method = if compress { zip::CompressionMethod::Deflated } else { zip::CompressionMethod::Stored };
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (i, (name, tensor)) in tensors.iter().enumerate() {
        if tensors[..i].iter().any(|(other, _)| other == name) {
            return Err(Problem::argument(
                format!("two arrays are named {name:?}"),
                "give each its own name",
            ));
        }
        let header = header_for(name, *tensor)?;
        // Without a time, so that equal content gives equal bytes.
        let options = SimpleFileOptions::default()
            .compression_method(method)
            .last_modified_time(zip::DateTime::default())
            .large_file(tensor.data.len() as u64 > u64::from(u32::MAX) / 2);
        zip.start_file(format!("{name}.npy"), options).map_err(zip_problem)?;
        zip.write_all(&header)?;
        zip.write_all(tensor.data)?;
    }
    Ok(zip.finish().map_err(zip_problem)?.into_inner())
}
