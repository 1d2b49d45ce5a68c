//! A model as a table of its layers, read out of the graph of a forward pass that is never computed.

use hadal_nn::{Ctx, Forward, Module, Visitor, Walk};
use hadal_tensor::{Param, Result, Shape, Tag, Tensor, TraceNode, no_grad, trace};
use std::fmt;

/// A step of a model's forward pass: a layer, or operations between layers.
#[derive(Clone, Debug, PartialEq)]
pub struct SummaryRow {
    /// The layer's path in the model; empty between layers.
    pub name: String,
    /// The layer's type (`Conv2d`), or the operations (`sigmoid, avg_pool`).
    pub kind: String,
    /// Shape of what it gives.
    pub output: Shape,
    /// Learnable values of its own; 0 for a layer that runs a second time.
    pub parameters: usize,
    /// Arithmetic operations; a multiplication with its addition counts 2.
    pub flops: u64,
}

/// A model's layers and totals.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// In the order in which they run.
    pub rows: Vec<SummaryRow>,
    /// Shape of the input that the shapes and FLOPs are for.
    pub input: Shape,
    /// Shape of the output.
    pub output: Shape,
    /// Learnable values, tied ones once.
    pub parameters: usize,
    /// Learnable values that training leaves alone.
    pub frozen: usize,
    /// Bytes of all parameters.
    pub parameter_bytes: usize,
    /// Values that are kept, but not learned (running statistics).
    pub buffers: usize,
    /// Arithmetic operations of the forward pass in evaluation mode.
    pub flops: u64,
}

/// A table: layer, type, output, parameters and FLOPs of each step, and the totals.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cells = vec![["layer", "type", "output", "parameters", "FLOPs"].map(str::to_owned)];
        cells.extend(self.rows.iter().map(|r| {
            let parameters = r.parameters.to_string();
            [r.name.clone(), r.kind.clone(), r.output.to_string(), parameters, r.flops.to_string()]
        }));
        let wide = |column: usize| cells.iter().map(|c| c[column].chars().count()).max().unwrap_or(0);
        let [a, b, c, d, e] = [0, 1, 2, 3, 4].map(wide);
        for [layer, kind, output, parameters, flops] in &cells {
            writeln!(f, "{layer:a$}  {kind:b$}  {output:c$}  {parameters:>d$}  {flops:>e$}")?;
        }
        write!(
            f,
            "{} parameters ({} frozen), {} FLOPs for an input of {}",
            self.parameters, self.frozen, self.flops, self.input
        )
    }
}

#[derive(Default)]
struct Layers {
    /// Path and learnable values of each layer that has a tag.
    own: Vec<(String, usize)>,
    seen: Vec<Param>,
}

impl Visitor for Layers {
    fn layer(&mut self, path: &str, _tag: &Tag) {
        self.own.push((path.to_owned(), 0));
    }
    fn param(&mut self, path: &str, param: &Param) {
        if self.seen.iter().any(|p| p.same(param)) {
            return;
        }
        self.seen.push(param.clone());
        let layer = path.rfind('.').map_or("", |dot| &path[..dot]);
        if let Some((_, n)) = self.own.iter_mut().rev().find(|(p, _)| p == layer) {
            *n += param.shape().numel();
        }
    }
}

/// Reads the layers of `model` out of a forward pass for an input of this shape. Computes nothing.
///
/// ```
/// use hadal::prelude::*;
/// let net = hadal::zoo::LeNet::new(&Init::new(0), 10);
/// let s = hadal::summary(&net, &Tensor::zeros([1, 1, 28, 28], DType::F32))?;
/// assert_eq!((s.parameters, s.output.dims()), (61_706, &[1, 10][..]));
/// let conv = &s.rows[0];
/// assert_eq!((conv.name.as_str(), conv.kind.as_str(), conv.parameters), ("conv1", "Conv2d", 156));
/// assert!(s.to_string().contains("61706 parameters (0 frozen)"));
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// The forward pass is not possible for this input.
pub fn summary<M: Module + Forward + ?Sized>(model: &M, input: &Tensor) -> Result<Summary> {
    model.name_layers();
    let output = no_grad(|| model.forward(input, &Ctx::eval()));
    let nodes = trace(&output)?;
    let mut layers = Layers::default();
    Walk::run(model, &mut layers);
    let mut rows: Vec<SummaryRow> = Vec::new();
    let mut segment: Vec<&TraceNode> = Vec::new();
    let mut close = |segment: &mut Vec<&TraceNode>| {
        if let Some(row) = row(segment, &nodes, &mut layers.own) {
            rows.push(row);
        }
        segment.clear();
    };
    for node in &nodes {
        if matches!(node.op, "parameter" | "tensor" | "full") {
            continue;
        }
        let key = |n: &TraceNode| (n.layer.clone(), n.layer_type);
        if segment.last().is_some_and(|before| key(before) != key(node)) {
            close(&mut segment);
        }
        segment.push(node);
    }
    close(&mut segment);
    let parameters = model.parameters();
    let count = |frozen: bool| -> usize {
        parameters.iter().filter(|(_, p)| !frozen || p.is_frozen()).map(|(_, p)| p.shape().numel()).sum()
    };
    Ok(Summary {
        flops: rows.iter().map(|r| r.flops).sum(),
        rows,
        input: input.shape().clone(),
        output: output.shape().clone(),
        parameters: count(false),
        frozen: count(true),
        parameter_bytes: parameters.iter().map(|(_, p)| p.shape().numel() * p.dtype().size()).sum(),
        buffers: model.buffers().iter().map(|(_, s)| s.get().numel()).sum(),
    })
}

/// A row for consecutive nodes of one layer; `None` when they are only views between layers.
fn row(segment: &[&TraceNode], all: &[TraceNode], own: &mut [(String, usize)]) -> Option<SummaryRow> {
    // Views behind the work, such as a flatten, do not belong to it.
    let last = segment.iter().rev().find(|n| !is_view(n)).or(segment.last())?;
    let flops = segment.iter().map(|n| n.flops).sum();
    let Some(kind) = last.layer_type else {
        let kind = operations(segment, all);
        return (!kind.is_empty()).then(|| SummaryRow {
            name: String::new(),
            kind,
            output: last.shape.clone(),
            parameters: 0,
            flops,
        });
    };
    let name = last.layer.clone().unwrap_or_default();
    // The first run of a layer takes its parameters; a second one shows none.
    let parameters = own.iter_mut().find(|(p, _)| *p == name).map_or(0, |(_, n)| std::mem::take(n));
    Some(SummaryRow { name, kind: kind.to_owned(), output: last.shape.clone(), parameters, flops })
}

fn is_view(n: &TraceNode) -> bool {
    matches!(n.op, "reshape" | "permute" | "expand" | "slice" | "unfold" | "contiguous" | "cast")
}

/// The names of the operations between layers, without what only belongs to another one's
/// composition: views, scaling by a number, the gather of a maximum pool.
fn operations(segment: &[&TraceNode], all: &[TraceNode]) -> String {
    let constant = |n: &TraceNode| n.inputs.iter().any(|&i| all[i].op == "full");
    let mut names: Vec<&str> = Vec::new();
    for n in segment.iter().filter(|n| !is_view(n)) {
        let scaling = constant(n) && matches!(n.op, "mul" | "div" | "add" | "sub");
        let of_pool = n.op == "gather" && names.last() == Some(&"max_pool");
        if !scaling && !of_pool {
            names.push(n.op);
        }
    }
    if names.is_empty() {
        names.extend(segment.iter().filter(|n| !is_view(n)).map(|n| n.op));
    }
    names.join(", ")
}
