//! The models that are measured, as a user writes them.

pub mod bert;
mod deep;
mod gpt;
mod mlp;
mod mobilenet;
mod resnet;
mod transformer;

pub use bert::Bert;
pub use deep::Deep;
pub use gpt::Gpt;
pub use mlp::Mlp;
pub use mobilenet::MobileNetV2;
pub use resnet::ResNet18;
