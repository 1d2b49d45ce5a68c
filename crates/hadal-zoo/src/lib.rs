//! The models, a file each: paper, figure, shapes, number of parameters, struct, constructor, forward.
//!
//! A model here names no device, no optimizer and no data set. [`build`] makes one by name. Adding a
//! model touches two files: its own, and one line of the list in this one.

mod registry;

pub use registry::{ModelInfo, ModelOptions, Output, build, model, models, nearest};

/// Declares each model's file, exports its struct, and enters its `INFO` into the registry.
macro_rules! models {
    ($($file:ident: $name:ident,)*) => {
        $(
            pub mod $file;
            pub use $file::$name;
        )*
        static MODELS: &[ModelInfo] = &[$($file::INFO),*];
    };
}

// In the order of the book.
models! {
    linear_regression: LinearRegression,
    softmax_regression: SoftmaxRegression,
    mlp: Mlp,
    lenet: LeNet,
}
