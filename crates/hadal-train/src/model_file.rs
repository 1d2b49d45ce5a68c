//! Weights with what is needed to use them: model, sizes, classes, normalisation.

use crate::files::{from_raw, to_raw};
use crate::{DataInfo, Result, TrainError};
use hadal_io::safetensors;
use hadal_io::{RawTensor, RawView};
use hadal_nn::{Init, Layer, Module};
use hadal_tensor::{DType, Tensor};
use hadal_zoo::ModelOptions;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Under this key the file's metadata has a [`ModelFile`] as JSON.
pub(crate) const KEY: &str = "hadal";

/// What a weights file says about its model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelFile {
    /// The model's name.
    pub model: String,
    /// The sizes it was built for.
    pub options: ModelOptions,
    /// The data it was trained on.
    pub data: DataInfo,
    /// Updates it has had.
    pub step: u64,
}

impl ModelFile {
    pub(crate) fn from_json(text: &str, path: &Path) -> Result<ModelFile> {
        serde_json::from_str(text)
            .map_err(|e| TrainError::run(path, format!("its description of the model cannot be read: {e}")))
    }
}

/// Tensors as bytes, to be written.
pub(crate) fn raw(tensors: &[(String, Tensor)]) -> Result<Vec<(String, RawTensor)>> {
    tensors.iter().map(|(name, t)| Ok((name.clone(), to_raw(t)?))).collect()
}

/// Tensors from bytes that were read.
pub(crate) fn tensors(raw: impl IntoIterator<Item = (String, RawTensor)>) -> Vec<(String, Tensor)> {
    raw.into_iter().map(|(n, t)| (n, from_raw(&t))).collect()
}

/// Writes tensors and metadata atomically, with a digest by which damage is noticed on reading.
pub(crate) fn write(
    path: &Path,
    raw: &[(String, RawTensor)],
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let views: Vec<(&str, RawView<'_>)> = raw.iter().map(|(n, t)| (n.as_str(), t.view())).collect();
    Ok(safetensors::write_sealed(path, &views, metadata)?)
}

/// Text of a value that always has a JSON form.
pub(crate) fn json(value: &impl Serialize, path: &Path) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|e| TrainError::run(path, format!("the state has no JSON form: {e}")))
}

/// Writes a model's weights, with names and layouts as PyTorch has them, and what describes it.
///
/// # Errors
/// The file cannot be written; the one that was there before is intact.
pub fn save_model(path: &Path, model: &dyn Layer, about: &ModelFile) -> Result<()> {
    let raw = raw(&model.state_dict())?;
    let metadata = [("format".to_owned(), "pt".to_owned()), (KEY.to_owned(), json(about, path)?)].into();
    write(path, &raw, &metadata)
}

/// Builds the model that a file describes and gives it the file's weights.
///
/// # Errors
/// The file cannot be read, was not written by [`save_model`], or its tensors are not the model's.
pub fn load_model(path: &Path) -> Result<(Box<dyn Layer>, ModelFile)> {
    let file = safetensors::read(path)?;
    let Some(text) = file.metadata.get(KEY) else {
        return Err(TrainError::run(
            path,
            "the file does not say which model its weights are of; only files that training wrote can be opened \
             without building the model first (load others with load_state_dict)",
        ));
    };
    let about = ModelFile::from_json(text, path)?;
    let dtype = file.tensors.first().map_or(DType::F32, |(_, t)| t.dtype);
    let model = hadal_zoo::build(&about.model, &about.options, &Init::new(0).dtype(dtype))?;
    model.name_layers();
    model.load_state_dict(&tensors(file.tensors), true)?;
    Ok((model, about))
}
