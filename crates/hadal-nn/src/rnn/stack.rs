//! What the three recurrent layers share: layers on top of each other, each in one or both directions.

use crate::layers::wrong;
use crate::{Ctx, Dropout, Forward, Init, Module, Walk};
use hadal_core::{DType, ErrorKind, Tag};
use hadal_tensor::{Key, Param, Recurrent, RecurrentCell, Tensor};

/// Parameters of one cell.
#[derive(Debug)]
pub(super) struct Weights {
    pub w_ih: Param,
    pub w_hh: Param,
    /// Of input and state.
    pub biases: Option<(Param, Param)>,
    /// Of the projection.
    pub w_hr: Option<Param>,
}

/// Sizes of one cell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub cell: RecurrentCell,
    pub input: usize,
    pub hidden: usize,
    /// 0 for none.
    pub proj: usize,
    pub bias: bool,
}

impl Sizes {
    /// Of the state that goes round.
    pub fn state(&self) -> usize {
        if self.proj > 0 { self.proj } else { self.hidden }
    }
}

impl Weights {
    /// Uniform in ±1/√hidden (PyTorch's default), each parameter from a stream of its own.
    pub fn new(s: Sizes, key: Key, dtype: DType) -> Weights {
        let bound = 1.0 / (s.hidden.max(1) as f64).sqrt();
        let param = |stream: u64, shape: &[usize]| {
            Param::new(Tensor::uniform(shape, dtype, key.split(stream), -bound, bound))
        };
        let rows = s.cell.gates() * s.hidden;
        Weights {
            w_ih: param(0, &[rows, s.input]),
            w_hh: param(1, &[rows, s.state()]),
            biases: s.bias.then(|| (param(2, &[rows]), param(3, &[rows]))),
            w_hr: (s.proj > 0).then(|| param(4, &[s.proj, s.hidden])),
        }
    }
    /// In PyTorch's order, `suffix` behind each name.
    pub fn visit(&self, walk: &mut Walk<'_>, suffix: &str) {
        walk.field(&format!("weight_ih{suffix}"), &self.w_ih);
        walk.field(&format!("weight_hh{suffix}"), &self.w_hh);
        if let Some((ih, hh)) = &self.biases {
            walk.field(&format!("bias_ih{suffix}"), ih);
            walk.field(&format!("bias_hh{suffix}"), hh);
        }
        if let Some(w) = &self.w_hr {
            walk.field(&format!("weight_hr{suffix}"), w);
        }
    }
    /// The bias of a [`Recurrent`]: both in one, as far as they are added to the same sum.
    pub fn bias(&self, cell: RecurrentCell, hidden: usize) -> Option<Tensor> {
        let (ih, hh) = self.biases.as_ref()?;
        let (ih, hh) = (ih.get(), hh.get());
        if cell != RecurrentCell::Gru {
            return Some(ih + hh);
        }
        let first = |b: &Tensor| b.narrow(0, 0, 2 * hidden);
        let last = |b: &Tensor| b.narrow(0, 2 * hidden, hidden);
        Some(Tensor::cat(&[&(first(&ih) + first(&hh)), &last(&ih), &last(&hh)], 0))
    }
}

/// Output, last states and last cells.
pub(super) type Outcome = (Tensor, Tensor, Option<Tensor>);

/// The layers.
#[derive(Debug)]
pub(super) struct Stack {
    tag: Tag,
    name: &'static str,
    pub sizes: Sizes,
    pub num_layers: usize,
    pub bidirectional: bool,
    pub dropout: f64,
    pub batch_first: bool,
    key: Key,
    dtype: DType,
    weights: Vec<Weights>,
}

impl Stack {
    pub fn new(name: &'static str, cell: RecurrentCell, init: &Init, input: usize, hidden: usize) -> Stack {
        let stack = Stack {
            tag: Tag::new(name),
            name,
            sizes: Sizes { cell, input, hidden, proj: 0, bias: true },
            num_layers: 1,
            bidirectional: false,
            dropout: 0.0,
            batch_first: false,
            key: init.next_key(),
            dtype: init.param_dtype(),
            weights: Vec::new(),
        };
        stack.change(|_| ())
    }
    /// Changes options; parameters that remain keep their beginning.
    pub fn change(mut self, f: impl FnOnce(&mut Stack)) -> Stack {
        f(&mut self);
        let directions = self.directions();
        self.weights = (0..self.num_layers * directions)
            .map(|i| {
                let layer = i / directions;
                let input = if layer == 0 { self.sizes.input } else { directions * self.sizes.state() };
                // A layer's streams stay its own when a second direction is added.
                let key = self.key.split((2 * layer + i % directions) as u64);
                Weights::new(Sizes { input, ..self.sizes }, key, self.dtype)
            })
            .collect();
        self
    }
    fn directions(&self) -> usize {
        if self.bidirectional { 2 } else { 1 }
    }

    /// The first thing that is wrong about options and input.
    #[track_caller]
    fn check(&self, x: &Tensor, lengths: Option<&Tensor>) -> Option<Tensor> {
        let (s, name) = (self.sizes, self.name);
        let bad = |kind, message: String, help: &str| Some(wrong(kind, name, message, &[x], help));
        if s.hidden == 0 || self.num_layers == 0 {
            let message = format!("hidden_size {} and num_layers {}", s.hidden, self.num_layers);
            return bad(ErrorKind::Value, message, "both are at least 1");
        }
        if s.proj >= s.hidden && s.proj > 0 {
            let message = format!("proj_size {} for hidden_size {}", s.proj, s.hidden);
            return bad(ErrorKind::Value, message, "a projection is smaller than hidden_size; 0 is none");
        }
        if !(0.0..=1.0).contains(&self.dropout) {
            return bad(ErrorKind::Value, format!("a dropout of {}", self.dropout), "it is from 0 to 1");
        }
        let order = if self.batch_first { "[n, t, input_size]" } else { "[t, n, input_size]" };
        let help = format!("the input is {order}, or [t, input_size] without a batch");
        if !(2..=3).contains(&x.rank()) {
            let message = format!("the input has {} dimensions, 2 or 3 are needed", x.rank());
            return bad(ErrorKind::Shape, message, &help);
        }
        if x.dims().last() != Some(&s.input) {
            let size = x.size(-1);
            let message = format!("the input's last size is {size}, input_size is {}", s.input);
            return bad(ErrorKind::Shape, message, &help);
        }
        if lengths.is_some() && x.rank() == 2 {
            return bad(ErrorKind::Shape, "lengths for an input without a batch".into(), &help);
        }
        None
    }

    /// Runs all layers. States are `[num_layers·directions, n, size]`, without `n` where the input has no
    /// batch.
    #[track_caller]
    pub fn run(
        &self,
        x: &Tensor,
        state: Option<(&Tensor, Option<&Tensor>)>,
        lengths: Option<&Tensor>,
        cx: &Ctx,
    ) -> Outcome {
        let _layer = cx.enter(&self.tag);
        let all = |t: Tensor| (t.clone(), t.clone(), self.sizes.cell.has_cell().then_some(t));
        if x.is_poisoned() {
            return all(x.clone());
        }
        if let Some(bad) = self.check(x, lengths) {
            return all(bad);
        }
        let single = x.rank() == 2;
        let mut x = match (single, self.batch_first) {
            (true, _) => x.unsqueeze(1),
            (_, true) => x.transpose(0, 1),
            _ => x.clone(),
        };
        let (directions, s) = (self.directions(), self.sizes);
        let count = self.weights.len();
        let state = match state {
            None => None,
            Some((h, c)) => {
                let batched = |t: &Tensor| if single && t.rank() == 2 { t.unsqueeze(1) } else { t.clone() };
                let (h, c) = (batched(h), c.map(batched));
                let n = x.size(1);
                for (what, t, size) in [("state", Some(&h), s.state()), ("cell", c.as_ref(), s.hidden)] {
                    if let Some(t) = t
                        && t.dims() != [count, n, size]
                    {
                        let message =
                            format!("the initial {what} is {}, [{count}, {n}, {size}] is needed", t.shape());
                        let help = "states are [num_layers·directions, n, size], in batch_first too";
                        return all(wrong(ErrorKind::Shape, self.name, message, &[&x, t], help));
                    }
                }
                Some((h, c))
            }
        };
        let (mut states, mut cells) = (Vec::new(), Vec::new());
        for (layer, weights) in self.weights.chunks(directions).enumerate() {
            if layer > 0 && self.dropout > 0.0 && cx.is_train() {
                x = Dropout::new(self.dropout).forward(&x, cx);
            }
            let mut outputs = Vec::new();
            for (direction, w) in weights.iter().enumerate() {
                let gates = x.matmul(&w.w_ih.get().t());
                let (w_hh, bias) = (w.w_hh.get(), w.bias(s.cell, s.hidden));
                let w_hr = w.w_hr.as_ref().map(Param::get);
                let at = |t: &Tensor| t.select(0, (layer * directions + direction) as isize);
                let first = state.as_ref().map(|(h, c)| (at(h), c.as_ref().map(at)));
                let mut r = Recurrent::new(s.cell, &w_hh).reverse(direction == 1);
                if let Some(b) = &bias {
                    r = r.bias(b);
                }
                if let Some(w) = &w_hr {
                    r = r.projection(w);
                }
                if let Some((h, c)) = &first {
                    r = r.initial(h, c.as_ref());
                }
                if let Some(l) = lengths {
                    r = r.lengths(l);
                }
                let out = r.forward(&gates);
                outputs.push(out.output);
                states.push(out.state);
                cells.extend(out.cell);
            }
            x = match &outputs[..] {
                [one] => one.clone(),
                both => Tensor::cat(&both.iter().collect::<Vec<_>>(), -1),
            };
        }
        let output = match (single, self.batch_first) {
            (true, _) => x.squeeze(1),
            (_, true) => x.transpose(0, 1),
            _ => x,
        };
        let stacked = |parts: &[Tensor]| {
            let all = Tensor::stack(&parts.iter().collect::<Vec<_>>(), 0);
            if single { all.squeeze(1) } else { all }
        };
        (output, stacked(&states), s.cell.has_cell().then(|| stacked(&cells)))
    }
}

impl Module for Stack {
    fn visit(&self, walk: &mut Walk<'_>) {
        walk.field("tag", &self.tag);
        let directions = self.directions();
        for (i, w) in self.weights.iter().enumerate() {
            let reverse = if i % directions == 1 { "_reverse" } else { "" };
            w.visit(walk, &format!("_l{}{reverse}", i / directions));
        }
    }
}
