//! What each model is trained with when nothing else is said.

/// Settings of a model that differ from [`Config::default`](super::Config::default), which is LeNet's.
/// A model without a recipe takes LeNet's settings.
pub fn recipe(model: &str) -> &'static [(&'static str, &'static str)] {
    match hadal_zoo::model(model).map_or(model, |m| m.name) {
        "mlp" => &[("epochs", "10"), ("lr", "0.005")],
        "softmax-regression" => &[("epochs", "10"), ("lr", "0.005"), ("augment", "none")],
        // d2l 3.5: SGD at 0.03, batches of 10, three epochs, on its synthetic line.
        "linear-regression" => &[
            ("data", "linear"),
            ("optimizer", "sgd"),
            ("lr", "0.03"),
            ("batch-size", "10"),
            ("epochs", "3"),
            ("schedule", "constant"),
            ("augment", "none"),
        ],
        _ => &[],
    }
}
