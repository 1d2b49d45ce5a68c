//! What a model is: a struct whose parts can be visited by name.

use hadal_core::{Error, ErrorKind, Result, Tag};
use hadal_tensor::{Param, State, Tensor};

/// A layer or model: something with named parameters and buffers.
///
/// Derive it. Names are field names joined by dots, as in PyTorch: `encoder.layers.3.fc1.weight`.
///
/// ```
/// use hadal_nn::{Init, Linear, Module};
/// #[derive(Module)]
/// struct Mlp { hidden: Linear, out: Linear }
/// let init = Init::new(0);
/// let mlp = Mlp { hidden: Linear::new(&init, 4, 8), out: Linear::new(&init, 8, 2) };
/// let names: Vec<_> = mlp.parameters().into_iter().map(|(name, _)| name).collect();
/// assert_eq!(names, ["hidden.weight", "hidden.bias", "out.weight", "out.bias"]);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a Module",
    note = "derive it with #[derive(Module)], or mark the field with #[module(skip)] if it holds nothing learned"
)]
pub trait Module {
    /// Visits every parameter, buffer and layer, in order.
    fn visit(&self, walk: &mut Walk<'_>);

    /// All parameters with their names, tied ones once under their first name.
    fn parameters(&self) -> Vec<(String, Param)> {
        let mut found = Collect::default();
        Walk::run(self, &mut found);
        found.once()
    }

    /// All buffers (running statistics and the like) with their names.
    fn buffers(&self) -> Vec<(String, State)> {
        let mut found = Collect::default();
        Walk::run(self, &mut found);
        found.states
    }

    /// Layers that wait for their first input to know their size, as errors name them. A forward pass on
    /// zeros of the input's shape, never evaluated, is enough to settle them.
    fn uninitialized(&self) -> Vec<String> {
        let mut found = Collect::default();
        Walk::run(self, &mut found);
        found.uninitialized
    }

    /// Tells every layer its name, so that errors can say it. Training does this by itself.
    fn name_layers(&self) {
        Walk::run(self, &mut Collect::default());
    }

    /// Number of learnable values, tied ones counted once.
    fn num_parameters(&self) -> usize {
        self.parameters().iter().map(|(_, p)| p.shape().numel()).sum()
    }

    /// Makes training leave all parameters alone, or not.
    fn freeze(&self, frozen: bool) {
        for (_, p) in self.parameters() {
            p.freeze(frozen);
        }
    }

    /// Parameters and buffers by name, in order, tied ones under each of their names: what is saved.
    fn state_dict(&self) -> Vec<(String, Tensor)> {
        let mut found = Collect::default();
        Walk::run(self, &mut found);
        found.all
    }

    /// Sets parameters and buffers by name.
    ///
    /// # Errors
    /// One error that lists all missing, unexpected and misshapen tensors; nothing is changed then. Also
    /// an error if a layer waits for its first input.
    /// With `strict` false missing and unexpected ones are let pass.
    fn load_state_dict(&self, tensors: &[(String, Tensor)], strict: bool) -> Result<()> {
        let mut found = Collect::default();
        Walk::run(self, &mut found);
        found.complete("load_state_dict")?;
        let (mut missing, mut misshapen) = (Vec::new(), Vec::new());
        let mut changes = Vec::new();
        for (i, (name, now)) in found.all.iter().enumerate() {
            match tensors.iter().find(|(n, _)| n == name) {
                Some((_, new)) if new.shape() == now.shape() => {
                    new.checked()?;
                    changes.push((i, new.cast(now.dtype())));
                }
                Some((_, new)) => {
                    misshapen.push(format!("{name} is {} here, {} there", now.shape(), new.shape()))
                }
                None => missing.push(name.clone()),
            }
        }
        let unexpected: Vec<String> = tensors
            .iter()
            .filter(|(n, _)| !found.all.iter().any(|(m, _)| m == n))
            .map(|(n, _)| n.clone())
            .collect();
        let mut problems = Vec::new();
        if strict && !missing.is_empty() {
            problems.push(format!("missing: {}", missing.join(", ")));
        }
        if strict && !unexpected.is_empty() {
            problems.push(format!("unexpected: {}", unexpected.join(", ")));
        }
        if !misshapen.is_empty() {
            problems.push(format!("misshapen: {}", misshapen.join("; ")));
        }
        if !problems.is_empty() {
            return Err(Error::new(ErrorKind::Value, "load_state_dict", problems.join("\n  "))
                .help("check that the file belongs to this model and its options (classes, width, depth)"));
        }
        let leaves: Vec<(usize, Tensor)> =
            changes.into_iter().map(|(i, t)| Ok((i, t.materialize()?))).collect::<Result<_>>()?;
        for (i, leaf) in leaves {
            match &found.cells[i] {
                Cell::Param(p) => p.set(leaf),
                Cell::State(s) => s.set(leaf)?,
            }
        }
        Ok(())
    }
}

/// A walk over a model that knows where it is.
pub struct Walk<'a> {
    path: String,
    visitor: &'a mut dyn Visitor,
}

/// What to do at each stop of a walk. Methods not written do nothing.
pub trait Visitor {
    /// A parameter.
    fn param(&mut self, _path: &str, _param: &Param) {}
    /// A buffer.
    fn state(&mut self, _path: &str, _state: &State) {}
    /// A layer, before its parameters if its tag comes first.
    fn layer(&mut self, _path: &str, _tag: &Tag) {}
    /// A layer that has no parameters before its first input.
    fn uninitialized(&mut self, _path: &str, _tag: &Tag) {}
}

impl<'a> Walk<'a> {
    /// Walks a model with a visitor.
    pub fn run<M: Module + ?Sized>(model: &M, visitor: &'a mut dyn Visitor) {
        model.visit(&mut Walk { path: String::new(), visitor });
    }
    /// Visits a field.
    pub fn field(&mut self, name: &str, part: &(impl Module + ?Sized)) {
        let before = self.path.len();
        if before > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        part.visit(self);
        self.path.truncate(before);
    }
    /// Reports the layer that is being visited as one that waits for its first input.
    pub fn uninitialized(&mut self, tag: &Tag) {
        self.visitor.uninitialized(&self.path, tag);
    }
}

impl Module for Param {
    fn visit(&self, walk: &mut Walk<'_>) {
        walk.visitor.param(&walk.path, self);
    }
}
impl Module for State {
    fn visit(&self, walk: &mut Walk<'_>) {
        walk.visitor.state(&walk.path, self);
    }
}
/// A layer's tag is named after the layer, not after the field that holds it.
impl Module for Tag {
    fn visit(&self, walk: &mut Walk<'_>) {
        let layer = walk.path.rfind('.').map_or("", |dot| &walk.path[..dot]);
        self.name(layer);
        walk.visitor.layer(layer, self);
    }
}
impl<M: Module> Module for Option<M> {
    fn visit(&self, walk: &mut Walk<'_>) {
        if let Some(m) = self {
            m.visit(walk);
        }
    }
}
impl<M: Module + ?Sized> Module for Box<M> {
    fn visit(&self, walk: &mut Walk<'_>) {
        (**self).visit(walk);
    }
}
impl<M: Module + ?Sized> Module for std::sync::Arc<M> {
    fn visit(&self, walk: &mut Walk<'_>) {
        (**self).visit(walk);
    }
}
impl<M: Module> Module for [M] {
    fn visit(&self, walk: &mut Walk<'_>) {
        for (i, m) in self.iter().enumerate() {
            walk.field(&i.to_string(), m);
        }
    }
}
impl<M: Module> Module for Vec<M> {
    fn visit(&self, walk: &mut Walk<'_>) {
        self.as_slice().visit(walk);
    }
}
impl<M: Module, const N: usize> Module for [M; N] {
    fn visit(&self, walk: &mut Walk<'_>) {
        self.as_slice().visit(walk);
    }
}
macro_rules! nothing_learned {
    ($($t:ty),*) => { $(impl Module for $t { fn visit(&self, _: &mut Walk<'_>) {} })* };
}
nothing_learned!(
    (),
    bool,
    u8,
    u32,
    u64,
    usize,
    i32,
    i64,
    isize,
    f32,
    f64,
    String,
    &'static str,
    hadal_core::DType,
    hadal_core::Shape,
    hadal_tensor::ConvOptions,
    hadal_tensor::PoolOptions,
    hadal_tensor::Padding,
    hadal_tensor::Spatial
);

enum Cell {
    Param(Param),
    State(State),
}

#[derive(Default)]
struct Collect {
    params: Vec<(String, Param)>,
    states: Vec<(String, State)>,
    all: Vec<(String, Tensor)>,
    cells: Vec<Cell>,
    uninitialized: Vec<String>,
}

impl Collect {
    /// The parameters, tied ones once under their first name.
    fn once(self) -> Vec<(String, Param)> {
        let mut once: Vec<(String, Param)> = Vec::new();
        for (name, p) in self.params {
            if !once.iter().any(|(_, q)| q.same(&p)) {
                once.push((name, p));
            }
        }
        once
    }

    /// An error if a layer waits for its first input.
    fn complete(&self, op: &'static str) -> Result<()> {
        if self.uninitialized.is_empty() {
            return Ok(());
        }
        let message = format!("no parameters yet: {}", self.uninitialized.join(", "));
        Err(Error::new(ErrorKind::State, op, message).help(
            "these layers learn their size from the first input: run model.forward once, for example on \
             Tensor::zeros of the input's shape with Ctx::eval(); nothing is computed for it",
        ))
    }
}

/// All parameters, tied ones once; an error if a layer of the model waits for its first input.
pub(crate) fn complete_parameters<M: Module + ?Sized>(
    model: &M,
    op: &'static str,
) -> Result<Vec<(String, Param)>> {
    let mut found = Collect::default();
    Walk::run(model, &mut found);
    found.complete(op)?;
    Ok(found.once())
}

impl Visitor for Collect {
    fn param(&mut self, path: &str, p: &Param) {
        self.params.push((path.to_owned(), p.clone()));
        self.all.push((path.to_owned(), p.get()));
        self.cells.push(Cell::Param(p.clone()));
    }
    fn state(&mut self, path: &str, s: &State) {
        self.states.push((path.to_owned(), s.clone()));
        self.all.push((path.to_owned(), s.get()));
        self.cells.push(Cell::State(s.clone()));
    }
    fn uninitialized(&mut self, _path: &str, tag: &Tag) {
        self.uninitialized.push(tag.to_string());
    }
}
