//! Tensors in files: safetensors, npy and npz, each with the one error type [`FileError`].
//!
//! `hadal-io` knows bytes only; here they become tensors. Writing is atomic: after a crash or on a
//! full disk there is either the old file or the new one.

use hadal_io::{IoError, RawTensor, RawView, npy, safetensors};
use hadal_tensor::Tensor;
use std::collections::BTreeMap;
use std::path::Path;

/// What can go wrong between a tensor and a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file: missing, damaged, unwritable, ….
    #[error(transparent)]
    Io(#[from] IoError),
    /// The tensor: its evaluation failed.
    #[error("cannot save tensor {name:?}: {source}")]
    Tensor {
        /// The tensor's name in the file.
        name: String,
        /// Its error.
        source: hadal_tensor::Error,
    },
}

/// This module's result.
pub type Result<T, E = FileError> = std::result::Result<T, E>;

/// A tensor's content as files hold it; evaluates.
///
/// # Errors
/// Any error on the tensor's way here.
pub fn to_raw(tensor: &Tensor) -> hadal_tensor::Result<RawTensor> {
    tensor.checked()?;
    Ok(RawTensor { dtype: tensor.dtype(), shape: tensor.dims().to_vec(), data: tensor.to_bytes()? })
}

/// The tensor that a file's content is. One whose bytes do not fit its shape is poisoned; the
/// readers of `hadal-io` give none such.
pub fn from_raw(raw: &RawTensor) -> Tensor {
    Tensor::from_bytes(&raw.data, raw.shape.as_slice(), raw.dtype)
}

fn raws<N: AsRef<str>>(tensors: &[(N, Tensor)]) -> Result<Vec<RawTensor>> {
    let all: Vec<&Tensor> = tensors.iter().map(|(_, t)| t).collect();
    let named = |name: &str, source| FileError::Tensor { name: name.to_owned(), source };
    for (name, t) in tensors {
        t.checked().map_err(|e| named(name.as_ref(), e))?;
    }
    // One plan for all of them: what they share is computed once.
    hadal_tensor::eval(&all).map_err(|e| named(tensors.first().map_or("", |(n, _)| n.as_ref()), e))?;
    tensors.iter().map(|(name, t)| to_raw(t).map_err(|e| named(name.as_ref(), e))).collect()
}

fn views<'a, N: AsRef<str>>(
    tensors: &'a [(N, Tensor)],
    raws: &'a [RawTensor],
) -> Vec<(&'a str, RawView<'a>)> {
    tensors.iter().zip(raws).map(|((name, _), raw)| (name.as_ref(), raw.view())).collect()
}

fn tensors(raws: Vec<(String, RawTensor)>) -> Vec<(String, Tensor)> {
    raws.into_iter().map(|(name, raw)| (name, from_raw(&raw))).collect()
}

/// Writes tensors by name, in this order, into a safetensors file; evaluates them.
///
/// ```
/// use hadal_tensor::Tensor;
/// use hadal_train::files::{load_safetensors, save_safetensors};
/// # let dir = std::env::temp_dir().join(format!("hadal-doc-files-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir).unwrap();
/// # let path = dir.join("x.safetensors");
/// let x = Tensor::new([[1.0f32, 2.0], [3.0, 4.0]]);
/// save_safetensors(&path, &[("x", x.t())], &[("made_by", "me")])?;
/// let back = load_safetensors(&path)?;
/// assert_eq!(back[0].0, "x");
/// assert_eq!(back[0].1.to_vec::<f32>().unwrap(), [1.0, 3.0, 2.0, 4.0]);
/// # std::fs::remove_dir_all(&dir).unwrap();
/// # Ok::<(), hadal_train::files::FileError>(())
/// ```
///
/// # Errors
/// A poisoned tensor, a name given twice, a file that cannot be written.
pub fn save_safetensors<N: AsRef<str>>(
    path: impl AsRef<Path>,
    tensors: &[(N, Tensor)],
    metadata: &[(&str, &str)],
) -> Result<()> {
    let raws = raws(tensors)?;
    let metadata: BTreeMap<String, String> =
        metadata.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
    Ok(safetensors::write(path, &views(tensors, &raws), &metadata)?)
}

/// Reads all tensors of a safetensors file, in the header's order.
///
/// # Errors
/// [`IoError`] naming the rule that the file breaks.
pub fn load_safetensors(path: impl AsRef<Path>) -> Result<Vec<(String, Tensor)>> {
    Ok(tensors(safetensors::read(path)?.tensors))
}

/// Writes one tensor as NumPy's npy; evaluates it. NumPy has no bf16: cast it first.
///
/// # Errors
/// A poisoned tensor, bf16, a file that cannot be written.
pub fn save_npy(path: impl AsRef<Path>, tensor: &Tensor) -> Result<()> {
    let raw = to_raw(tensor).map_err(|source| FileError::Tensor { name: "array".into(), source })?;
    Ok(npy::write(path, raw.view())?)
}

/// Reads NumPy's npy.
///
/// # Errors
/// [`IoError`] naming what is wrong with the file.
pub fn load_npy(path: impl AsRef<Path>) -> Result<Tensor> {
    Ok(from_raw(&npy::read(path)?))
}

/// Writes tensors by name as NumPy's npz; evaluates them. With `compress` as `savez_compressed`.
///
/// # Errors
/// As [`save_npy`]; a name given twice.
pub fn save_npz<N: AsRef<str>>(
    path: impl AsRef<Path>,
    tensors: &[(N, Tensor)],
    compress: bool,
) -> Result<()> {
    let raws = raws(tensors)?;
    Ok(npy::write_npz(path, &views(tensors, &raws), compress)?)
}

/// Reads NumPy's npz: arrays by name, in the archive's order.
///
/// # Errors
/// [`IoError`] naming what is wrong with the file.
pub fn load_npz(path: impl AsRef<Path>) -> Result<Vec<(String, Tensor)>> {
    Ok(tensors(npy::read_npz(path)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hadal_tensor::DType;

    #[test]
    fn every_dtype_goes_there_and_back() {
        let dir = tempfile::tempdir().unwrap();
        let x = Tensor::new([[1.5f32, -2.0], [0.0, 4.0]]);
        let dtypes =
            [DType::F32, DType::F64, DType::F16, DType::I64, DType::I32, DType::U8, DType::Bool, DType::BF16];
        let all: Vec<(String, Tensor)> =
            dtypes.iter().map(|&d| (d.to_string(), x.abs().cast(d).t())).collect();
        let path = dir.path().join("all.safetensors");
        save_safetensors(&path, &all, &[]).unwrap();
        let same = |a: &[(String, Tensor)], b: &[(String, Tensor)]| {
            assert_eq!(a.len(), b.len());
            for ((n, t), (m, u)) in a.iter().zip(b) {
                assert_eq!((n, t.dtype(), t.dims()), (m, u.dtype(), u.dims()));
                assert_eq!(t.to_bytes().unwrap(), u.to_bytes().unwrap(), "{n}");
            }
        };
        let mut back = load_safetensors(&path).unwrap();
        back.sort_by_key(|(n, _)| all.iter().position(|(m, _)| m == n));
        same(&all, &back);
        let numpy = &all[..7];
        let path = dir.path().join("all.npz");
        save_npz(&path, numpy, true).unwrap();
        same(numpy, &load_npz(&path).unwrap());
        let path = dir.path().join("x.npy");
        save_npy(&path, &x).unwrap();
        assert_eq!(load_npy(&path).unwrap().to_vec::<f32>().unwrap(), [1.5, -2.0, 0.0, 4.0]);
    }

    #[test]
    fn a_poisoned_tensor_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        save_safetensors(&path, &[("x", Tensor::new([1.0f32]))], &[]).unwrap();
        let before = std::fs::read(&path).unwrap();
        let bad = Tensor::new([1.0f32]).reshape([3]);
        let e = save_safetensors(&path, &[("bad", bad)], &[]).unwrap_err().to_string();
        assert!(e.starts_with("cannot save tensor \"bad\": reshape: "), "{e}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}
