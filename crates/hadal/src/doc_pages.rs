//! The pages under `docs/` and the README as documentation tests: every Rust block in them is
//! compiled and run. This module exists only then.

macro_rules! pages {
    ($($name:ident $path:literal;)*) => { $(
        #[doc = include_str!(concat!("../../../", $path))]
        mod $name {}
    )* };
}

pages! {
    readme "README.md";
    tensors "docs/guide/01-tensors.md";
    autodiff "docs/guide/02-autodiff.md";
    models "docs/guide/03-models.md";
    training "docs/guide/04-training.md";
    data "docs/guide/05-data.md";
    errors "docs/guide/06-errors-and-debugging.md";
    command_line "docs/guide/07-command-line.md";
    profiling "docs/guide/08-profiling.md";
    inference "docs/guide/09-inference.md";
    pytorch "docs/pytorch.md";
    adding_an_operation "docs/adding-an-operation.md";
    adding_a_layer "docs/adding-a-layer.md";
    adding_a_model "docs/adding-a-model.md";
    architecture "docs/design/architecture.md";
    decisions "docs/design/decisions.md";
    spike "docs/design/spike.md";
}
