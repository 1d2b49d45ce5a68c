//! The machinery all optimizers share: parameter groups, weight decay, state by parameter name, and a
//! step that updates in place.

use crate::rules::{Rule, Slots, StepInfo};
use hadal_core::{Error, ErrorKind, Result, Shape};
use hadal_nn::{Grads, Module};
use hadal_tensor::{Tensor, eval, no_grad};
use std::collections::BTreeMap;

/// Options of a group of parameters; what is `None` is the optimizer's.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GroupOptions {
    /// Factor on the learning rate.
    pub lr_scale: Option<f64>,
    /// Weight decay.
    pub weight_decay: Option<f64>,
    /// Factor on the absolute value of weights in the penalty (L1).
    pub l1: Option<f64>,
}

type Matcher = Box<dyn Fn(&str, &Shape) -> bool + Send>;

/// An update rule with its state.
///
/// ```
/// use hadal_nn::{Backward, Ctx, Forward, Init, Linear};
/// use hadal_optim::{AdamW, GroupOptions, Optimizer};
/// use hadal_tensor::{DType, Tensor};
/// let mut model = Linear::new(&Init::new(0), 3, 1);
/// // No decay on biases, norms and other vectors.
/// let mut opt = Optimizer::new(AdamW::new(1e-2))
///     .group(|_, shape| shape.rank() < 2, GroupOptions { weight_decay: Some(0.0), ..Default::default() });
/// let x = Tensor::ones([4, 3], DType::F32);
/// let loss = model.forward(&x, &Ctx::eval()).square().mean(..);
/// let grads = loss.backward(&model)?;
/// opt.step(&mut model, &grads)?;
/// # Ok::<(), hadal_core::Error>(())
/// ```
pub struct Optimizer {
    rule: Box<dyn Rule>,
    lr: f64,
    groups: Vec<(Matcher, GroupOptions)>,
    defaults: GroupOptions,
    steps: u64,
    state: BTreeMap<String, ParamState>,
}

/// What an optimizer remembers about a parameter.
struct ParamState {
    /// Updates this parameter has had.
    steps: u64,
    slots: Slots,
}

/// An optimizer's state, to be saved: tensors as `parameter.slot`, and numbers.
#[derive(Clone, Debug, Default)]
pub struct OptimizerState {
    /// The rule's name; state of another rule is refused.
    pub rule: String,
    /// The learning rate now.
    pub lr: f64,
    /// Steps taken.
    pub steps: u64,
    /// Per parameter: its steps and the rule's running product (NAdam).
    pub numbers: BTreeMap<String, (u64, f64)>,
    /// Moments and the like.
    pub tensors: Vec<(String, Tensor)>,
}

impl Optimizer {
    /// An optimizer with this rule.
    pub fn new(rule: impl Rule + 'static) -> Optimizer {
        Optimizer {
            lr: rule.lr(),
            rule: Box::new(rule),
            groups: Vec::new(),
            defaults: GroupOptions::default(),
            steps: 0,
            state: BTreeMap::new(),
        }
    }
    /// Parameters for which the rule on name and shape holds get these options. The first group that
    /// matches counts.
    pub fn group(
        mut self,
        matches: impl Fn(&str, &Shape) -> bool + Send + 'static,
        options: GroupOptions,
    ) -> Self {
        self.groups.push((Box::new(matches), options));
        self
    }
    /// Adds `l1·sign(w)` to gradients: a penalty on absolute values.
    pub fn l1(mut self, l1: f64) -> Self {
        self.defaults.l1 = Some(l1);
        self
    }
    /// The learning rate of the next step.
    pub fn lr(&self) -> f64 {
        self.lr
    }
    /// Sets the learning rate of the next step, as a schedule does.
    pub fn set_lr(&mut self, lr: f64) {
        self.lr = lr;
    }
    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }
    /// The rule's name: `AdamW`.
    pub fn name(&self) -> &'static str {
        self.rule.name()
    }

    /// Computes loss and gradients and updates the parameters, in place where nobody else holds them.
    ///
    /// # Errors
    /// Whatever the evaluation of loss and gradients returns: then no parameter has changed.
    pub fn step<M: Module + ?Sized>(&mut self, _model: &mut M, grads: &Grads) -> Result<()> {
        grads.eval()?;
        self.apply(grads)
    }

    /// The update alone, for gradients that are computed already.
    pub fn apply(&mut self, grads: &Grads) -> Result<()> {
        let mut updates = Vec::new();
        for e in grads.entries() {
            let Some(grad) = &e.grad else { continue };
            if e.param.is_frozen() {
                continue;
            }
            let shape = e.param.shape();
            if *grad.shape() != shape {
                return Err(Error::new(
                    ErrorKind::Shape,
                    "step",
                    format!("the gradient of {} has another shape", e.name),
                )
                .operand(&shape, e.param.dtype())
                .operand(grad.shape(), grad.dtype()));
            }
            if let Some(slots) = self.state.get(&e.name).map(|s| &s.slots.tensors)
                && let Some(odd) = slots.iter().find(|t| *t.shape() != shape)
            {
                return Err(Error::new(
                    ErrorKind::Shape,
                    "step",
                    format!("the state of {} has another shape", e.name),
                )
                .operand(&shape, e.param.dtype())
                .operand(odd.shape(), odd.dtype())
                .help("the optimizer's state was loaded from another model"));
            }
            updates.push((e, grad.detach(), self.options_of(&e.name, &shape)));
        }
        self.steps += 1;
        let mut results: Vec<Tensor> = Vec::new();
        let mut places = Vec::new();
        no_grad(|| {
            for (e, grad, options) in updates {
                let rule = &*self.rule;
                let old = e.param.take();
                let state = self
                    .state
                    .entry(e.name.clone())
                    .or_insert_with(|| ParamState { steps: 0, slots: rule.start(&old) });
                state.steps += 1;
                let info = StepInfo { lr: self.lr * options.lr_scale.unwrap_or(1.0), step: state.steps };
                let decay = options.weight_decay.unwrap_or(rule.weight_decay());
                let mut g = if rule.maximize() { -grad } else { grad };
                if let Some(l1) = options.l1.filter(|l| *l != 0.0) {
                    g = g + old.sign() * l1;
                }
                let mut p = old;
                if decay != 0.0 {
                    if rule.decoupled() {
                        p = &p * (1.0 - info.lr * decay);
                    } else {
                        g = g + &p * decay;
                    }
                }
                let new = rule.update(&p, &g, &mut state.slots, &info);
                places.push((e, results.len(), state.slots.tensors.len()));
                results.push(new);
                results.append(&mut state.slots.tensors);
            }
        });
        let outcome = eval(&results.iter().collect::<Vec<_>>());
        for (e, at, slots) in places {
            e.param.set(results[at].clone());
            if let Some(s) = self.state.get_mut(&e.name) {
                s.slots.tensors = results[at + 1..at + 1 + slots].to_vec();
            }
        }
        outcome.map_err(|err| err.help("parameters may be updated in part: continue from a checkpoint"))
    }

    fn options_of(&self, name: &str, shape: &Shape) -> GroupOptions {
        let own =
            self.groups.iter().find(|(m, _)| m(name, shape)).map_or(GroupOptions::default(), |(_, o)| *o);
        GroupOptions {
            lr_scale: own.lr_scale.or(self.defaults.lr_scale),
            weight_decay: own.weight_decay.or(self.defaults.weight_decay),
            l1: own.l1.or(self.defaults.l1),
        }
    }

    /// Everything needed to go on later with the same bits.
    pub fn state(&self) -> OptimizerState {
        let mut tensors = Vec::new();
        let mut numbers = BTreeMap::new();
        for (name, s) in &self.state {
            numbers.insert(name.clone(), (s.steps, s.slots.product));
            for (slot, t) in self.rule.slots().iter().zip(&s.slots.tensors) {
                tensors.push((format!("{name}.{slot}"), t.clone()));
            }
        }
        OptimizerState { rule: self.rule.name().to_owned(), lr: self.lr, steps: self.steps, numbers, tensors }
    }

    /// Goes on from a saved state.
    ///
    /// # Errors
    /// The state is of another rule, or a tensor is missing; nothing is changed then.
    pub fn load_state(&mut self, saved: &OptimizerState) -> Result<()> {
        let fail = |m: String| Err(Error::new(ErrorKind::Value, "load_state", m));
        if saved.rule != self.rule.name() {
            return fail(format!("the state is of {}, this optimizer is {}", saved.rule, self.rule.name()));
        }
        let mut state = BTreeMap::new();
        for (name, &(steps, product)) in &saved.numbers {
            let mut tensors = Vec::new();
            for slot in self.rule.slots() {
                let key = format!("{name}.{slot}");
                match saved.tensors.iter().find(|(n, _)| *n == key) {
                    Some((_, t)) => tensors.push(t.materialize()?),
                    None => return fail(format!("{key} is missing")),
                }
            }
            state.insert(name.clone(), ParamState { steps, slots: Slots { tensors, product } });
        }
        self.lr = saved.lr;
        self.steps = saved.steps;
        self.state = state;
        Ok(())
    }
}
