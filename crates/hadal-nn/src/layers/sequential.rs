//! Layers one after the other.

use crate::{Ctx, Forward, Layer, Module, Walk};
use hadal_core::Tag;
use hadal_tensor::Tensor;

/// Layers applied one after the other, named `0`, `1`, … as in PyTorch, or by names of their own.
///
/// The [`seq!`](crate::seq) macro makes one:
///
/// ```
/// use hadal_nn::{Ctx, Dropout, Forward, Init, Linear, Module, ReLU, seq};
/// use hadal_tensor::{DType, Tensor};
/// let init = Init::new(0);
/// let mut net = seq![Linear::new(&init, 4, 8), ReLU::new(), Dropout::new(0.1)];
/// net.push(Linear::new(&init, 8, 2));
/// assert_eq!(net.forward(&Tensor::ones([3, 4], DType::F32), &Ctx::eval()).dims(), [3, 2]);
/// let names: Vec<_> = net.parameters().into_iter().map(|(name, _)| name).collect();
/// assert_eq!(names, ["0.weight", "0.bias", "3.weight", "3.bias"]);
///
/// let named = seq!["hidden" => Linear::new(&init, 4, 8), "act" => ReLU::new(), "out" => Linear::new(&init, 8, 2)];
/// assert_eq!(named.parameters()[2].0, "out.weight");
/// ```
#[derive(Default)]
pub struct Sequential {
    layers: Vec<(String, Box<dyn Layer>)>,
}

impl Sequential {
    /// No layers yet: hands its input on.
    pub fn new() -> Sequential {
        Sequential::default()
    }
    /// Adds a layer under the next number.
    pub fn push(&mut self, layer: impl Layer + 'static) -> &mut Self {
        self.push_named(self.layers.len().to_string(), layer)
    }
    /// Adds a layer under a name. Parameters of two layers of one name would be saved under one name,
    /// so give each its own.
    pub fn push_named(&mut self, name: impl Into<String>, layer: impl Layer + 'static) -> &mut Self {
        self.layers.push((name.into(), Box::new(layer)));
        self
    }
    /// Number of layers.
    pub fn len(&self) -> usize {
        self.layers.len()
    }
    /// Whether there are no layers.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }
    /// A layer by position.
    pub fn get(&self, index: usize) -> Option<&dyn Layer> {
        self.layers.get(index).map(|(_, layer)| &**layer)
    }
    /// The layers in order, with their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &dyn Layer)> {
        self.layers.iter().map(|(name, layer)| (name.as_str(), &**layer))
    }
}

impl FromIterator<Box<dyn Layer>> for Sequential {
    fn from_iter<I: IntoIterator<Item = Box<dyn Layer>>>(layers: I) -> Self {
        Sequential { layers: layers.into_iter().enumerate().map(|(i, l)| (i.to_string(), l)).collect() }
    }
}

impl Module for Sequential {
    fn visit(&self, walk: &mut Walk<'_>) {
        for (name, layer) in &self.layers {
            walk.field(name, layer);
        }
    }
}

impl Forward for Sequential {
    #[track_caller]
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let _line = hadal_tensor::from_here();
        self.layers.iter().fold(x.clone(), |x, (_, layer)| layer.forward(&x, cx))
    }
}

impl std::fmt::Debug for Sequential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.layers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_tuple("Sequential").field(&names).finish()
    }
}

/// A [`Sequential`] of layers: `seq![a, b, c]`, or with names `seq!["first" => a, "second" => b]`.
#[macro_export]
macro_rules! seq {
    ($($name:literal => $layer:expr),+ $(,)?) => {{
        let mut layers = $crate::Sequential::new();
        $(layers.push_named($name, $layer);)+
        layers
    }};
    ($($layer:expr),* $(,)?) => {{
        #[allow(unused_mut)]
        let mut layers = $crate::Sequential::new();
        $(layers.push($layer);)*
        layers
    }};
}

type Function = Box<dyn Fn(&Tensor, &Ctx) -> Tensor + Send + Sync>;

/// A function as a layer, for what has no parameters.
///
/// ```
/// use hadal_nn::{Ctx, Forward, Lambda};
/// use hadal_tensor::Tensor;
/// let double = Lambda::new(|x| x * 2.0);
/// assert_eq!(double.forward(&Tensor::new([3.0f32]), &Ctx::eval()).item::<f32>().unwrap(), 6.0);
/// ```
#[derive(Module)]
pub struct Lambda {
    tag: Tag,
    #[module(skip)]
    f: Function,
}

impl Lambda {
    /// A layer from a function of the input.
    pub fn new(f: impl Fn(&Tensor) -> Tensor + Send + Sync + 'static) -> Lambda {
        Lambda::with_ctx(move |x, _| f(x))
    }
    /// A layer from a function of the input and the context.
    pub fn with_ctx(f: impl Fn(&Tensor, &Ctx) -> Tensor + Send + Sync + 'static) -> Lambda {
        Lambda { tag: Tag::new("Lambda"), f: Box::new(f) }
    }
}

impl Forward for Lambda {
    fn forward(&self, x: &Tensor, cx: &Ctx) -> Tensor {
        let _layer = cx.enter(&self.tag);
        (self.f)(x, cx)
    }
}

impl std::fmt::Debug for Lambda {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lambda")
    }
}
