//! What every part of Hadal agrees on: dtypes, shapes and layouts, buffers, errors, the table of
//! pointwise operations, the primitive operations of the graph, scalar math and the trait a device
//! implements. This crate knows no device and no tensor.

mod buffer;
mod dtype;
mod error;
mod layout;
pub mod math;
pub mod ops;
mod scalar;

pub use buffer::{ALIGN, Buffer, MemoryStats, Storage, Working, memory_stats, reset_peak, trim_memory};
pub use dtype::{Category, DType, Element};
pub use error::{Error, ErrorKind, Result, Tag};
pub use half;
pub use layout::{Layout, Shape, Strides};
pub use scalar::Scalar;
pub use smallvec;
