//! Models by name.

use crate::MODELS;
use hadal_core::{Error, ErrorKind, Result};
use hadal_nn::{Init, Layer};
use serde::{Deserialize, Serialize};

/// What a model's output means, which decides the loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// `[n, classes]` unnormalised log-probabilities.
    Logits,
    /// `[n, outputs]` numbers.
    Values,
}

/// Sizes that a model is built for. A model takes from them what it has a use for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelOptions {
    /// Channels of the images; the number of features where there are no images.
    pub in_channels: usize,
    /// Height of the images in pixels, 1 where there are none.
    pub height: usize,
    /// Width of the images in pixels, 1 where there are none.
    pub width: usize,
    /// Classes, or numbers to predict.
    pub classes: usize,
    /// Sizes of hidden layers.
    pub hidden: Vec<usize>,
}

impl Default for ModelOptions {
    /// Grey images of 28 × 28 pixels in 10 classes; one hidden layer of 256.
    fn default() -> Self {
        Self { in_channels: 1, height: 28, width: 28, classes: 10, hidden: vec![256] }
    }
}

impl ModelOptions {
    /// Values of a sample.
    pub fn features(&self) -> usize {
        self.in_channels * self.height * self.width
    }

    fn check(&self) -> Result<()> {
        let sizes = [self.in_channels, self.height, self.width, self.classes];
        let all = sizes.iter().chain(&self.hidden);
        // No machine holds a layer that wide; the product of two of them must not overflow.
        let limit = 1 << 28;
        if all.clone().any(|&n| n == 0 || n > limit)
            || self.in_channels.saturating_mul(self.height).saturating_mul(self.width) > limit
        {
            let message = format!(
                "a model for {} x {} x {} values in {} classes, hidden layers {:?}",
                self.in_channels, self.height, self.width, self.classes, self.hidden
            );
            return Err(Error::new(ErrorKind::Value, "build", message)
                .help("every size must be at least 1, and a layer at most 2^28 wide"));
        }
        Ok(())
    }
}

/// A model that can be built by name.
#[derive(Clone, Copy)]
pub struct ModelInfo {
    /// The name to ask for.
    pub name: &'static str,
    /// One line about it.
    pub about: &'static str,
    /// What its output means.
    pub output: Output,
    /// Builds it.
    pub build: fn(&ModelOptions, &Init) -> Result<Box<dyn Layer>>,
    /// The sizes it is known for.
    pub options: fn() -> ModelOptions,
}

impl std::fmt::Debug for ModelInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ModelInfo({})", self.name)
    }
}

/// All models, in the order of the book.
pub fn models() -> &'static [ModelInfo] {
    MODELS
}

/// A model by name (case and `_` for `-` do not matter).
///
/// # Errors
/// There is none of that name; the nearest one is offered.
pub fn model(name: &str) -> Result<&'static ModelInfo> {
    let wanted = name.trim().to_lowercase().replace('_', "-");
    if let Some(m) = MODELS.iter().find(|m| m.name == wanted) {
        return Ok(m);
    }
    let names: Vec<&str> = MODELS.iter().map(|m| m.name).collect();
    let near = nearest(&wanted, &names).map(|n| format!(" (did you mean '{n}'?)")).unwrap_or_default();
    Err(Error::new(ErrorKind::Value, "model", format!("there is no model named '{name}'{near}"))
        .help(format!("known are {}", names.join(", "))))
}

/// Builds a model by name.
///
/// ```
/// use hadal_nn::{Init, Module};
/// let net = hadal_zoo::build("lenet", &Default::default(), &Init::new(0))?;
/// assert_eq!(net.num_parameters(), 61_706);
/// let e = hadal_zoo::build("lenett", &Default::default(), &Init::new(0)).err().unwrap();
/// assert!(e.to_string().starts_with("model: there is no model named 'lenett' (did you mean 'lenet'?)"));
/// # Ok::<(), hadal_core::Error>(())
/// ```
///
/// # Errors
/// An unknown name, or sizes that the model cannot be built for.
pub fn build(name: &str, options: &ModelOptions, init: &Init) -> Result<Box<dyn Layer>> {
    let info = model(name)?;
    options.check()?;
    (info.build)(options, init)
}

/// The name nearest to a misspelt one, if one is near: at most half of its letters differ.
pub fn nearest<'a>(wanted: &str, names: &[&'a str]) -> Option<&'a str> {
    let (d, name) = names.iter().map(|n| (distance(n, wanted), *n)).min()?;
    (d * 2 <= name.len()).then_some(name)
}

/// Levenshtein's distance over bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use hadal_nn::Ctx;
    use hadal_tensor::{DType, Tensor};

    #[test]
    fn every_model_maps_its_own_sizes() {
        for m in models() {
            let o = (m.options)();
            let net = build(m.name, &o, &Init::new(0)).unwrap();
            let x = Tensor::zeros([3, o.in_channels, o.height, o.width], DType::F32);
            let y = net.forward(&x, &Ctx::eval());
            assert_eq!(y.dims(), [3, o.classes], "{}", m.name);
            y.eval().unwrap();
        }
    }

    #[test]
    fn sizes_that_cannot_be_are_errors() {
        for o in [
            ModelOptions { classes: 0, ..Default::default() },
            ModelOptions { hidden: vec![0], ..Default::default() },
            ModelOptions { in_channels: usize::MAX, ..Default::default() },
        ] {
            assert!(build("mlp", &o, &Init::new(0)).is_err(), "{o:?}");
        }
        let none = ModelOptions { classes: 0, ..Default::default() };
        assert_eq!(
            build("mlp", &none, &Init::new(0)).err().unwrap().message(),
            "a model for 1 x 28 x 28 values in 0 classes, hidden layers [256]"
        );
        let small = ModelOptions { height: 11, ..Default::default() };
        let e = build("lenet", &small, &Init::new(0)).err().unwrap();
        assert!(e.to_string().contains("at least 12 x 12"), "{e}");
        let ok = ModelOptions { height: 12, width: 12, ..Default::default() };
        assert!(build("lenet", &ok, &Init::new(0)).is_ok());
    }

    #[test]
    fn names_are_forgiving_but_not_guessed() {
        assert_eq!(model("Softmax_Regression").unwrap().name, "softmax-regression");
        assert!(!model("xyz").unwrap_err().to_string().contains("did you mean"));
    }
}
