//! The models, a file each: paper, figure, shapes, number of parameters, struct, constructor, forward.
//!
//! A model here names no device, no optimizer and no data set. [`build`] makes one by name; adding a
//! model touches two files, its own and `registry.rs`.

pub mod lenet;
pub mod linear_regression;
pub mod mlp;
mod registry;
pub mod softmax_regression;

pub use lenet::LeNet;
pub use linear_regression::LinearRegression;
pub use mlp::Mlp;
pub use registry::{ModelInfo, ModelOptions, Output, build, model, models, nearest};
pub use softmax_regression::SoftmaxRegression;
