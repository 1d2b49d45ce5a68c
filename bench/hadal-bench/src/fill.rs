//! Data, weights and the summaries that are compared, as tensors.

#[path = "../../peers/fill.rs"]
mod rule;

use hadal_nn::{Module, init};
use hadal_tensor::{DType, Tensor};
pub use rule::{UNIT, indices, parameter, values};
use serde_json::Value;

/// A tensor of variance one.
pub fn data(name: &str, shape: impl AsRef<[usize]>) -> Tensor {
    let shape = shape.as_ref();
    Tensor::from_vec(values(name, shape.iter().product(), UNIT), shape)
}

/// A parameter without a model.
pub fn weight(name: &str, shape: impl AsRef<[usize]>) -> Tensor {
    Tensor::from_vec(parameter(name, shape.as_ref()), shape.as_ref())
}

/// Whole numbers below `n`.
pub fn index(name: &str, shape: impl AsRef<[usize]>, n: u32) -> Tensor {
    let shape = shape.as_ref();
    Tensor::from_vec(indices(name, shape.iter().product(), n), shape)
}

/// The model with the weights and running statistics that all contenders give it.
pub fn filled<M: Module>(model: M) -> M {
    init::apply(&model, |name, p| Some(weight(name, p.get().dims())));
    for (name, state) in model.buffers().into_iter().filter(|(name, _)| name.contains("running")) {
        state.update(weight(&name, state.get().dims()));
    }
    model
}

/// What is compared of an output.
pub fn summary(output: &Tensor) -> Result<Value, String> {
    let values: Vec<f32> = output.cast(DType::F32).to_vec().map_err(|e| e.to_string())?;
    serde_json::from_str(&rule::summary(&values)).map_err(|e| e.to_string())
}
