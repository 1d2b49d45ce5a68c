//! Convolution.
pub(crate) mod taps;
