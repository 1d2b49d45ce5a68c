//! The CPU backend: kernels by class, slices in, slices out.
//!
//! [`Cpu`] implements [`hadal_core::ops::Backend`]. Work is cut into tasks by shapes alone, so results
//! are bit-identical for any number of threads ([`threads::set_threads`]).

mod args;
mod attention;
mod backend;
mod cache;
mod chunks;
mod create;
mod glue;
mod index;
mod movement;
mod normal;
mod philox;
mod random;
mod recurrent;
mod reduce_arg;
mod rows;
mod scan;
mod sort;
mod strided;
mod sum;

pub mod ceiling;
pub mod conv;
pub mod gemm;
pub mod pool;
pub mod program;
mod scratch;
pub mod simd;
pub mod threads;
mod vector;

pub use backend::Cpu;
