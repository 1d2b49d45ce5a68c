//! Files: safetensors, npy/npz, TensorBoard event files, images, JSON lines, and atomic writing.
//!
//! Everything here works on plain bytes ([`RawTensor`]), knows no device and no graph. Three rules
//! hold for every reader: no input makes it panic; no length found in a file is trusted before it
//! has been compared with the bytes that are there, so that a few hostile bytes cannot ask for
//! gigabytes; and an error names the file, what was being done, what is wrong, and what to do
//! ([`IoError`]). Writers of whole files are atomic ([`write_atomic`]): after a crash or on a full
//! disk there is either the old file or the new one.

pub mod atomic;
mod error;
mod files;
pub mod image;
pub mod jsonl;
pub mod npy;
mod raw;
pub mod safetensors;
mod seal;
pub mod tensorboard;

pub use atomic::write_atomic;
pub use error::{IoError, Result};
pub use hadal_core::DType;
pub use image::Image;
pub use raw::{RawTensor, RawView};
