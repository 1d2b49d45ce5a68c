//! The machinery all optimizers share: parameter groups, weight decay, state by parameter name, and a
//! step that updates in place.

use crate::rules::{Rule, Slots, StepInfo};
use hadal_core::{Error, ErrorKind, Result, Shape};
use hadal_nn::{Grads, Module};
use hadal_tensor::{Phase, Tensor, eval, in_phase, no_grad};
use std::collections::BTreeMap;

/// Options of a group of parameters; what is `None` is the optimizer's.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GroupOptions {
    /// Factor on the learning rate. A schedule moves the optimizer's rate, and this with it.
    pub lr_scale: Option<f64>,
    /// Weight decay.
    pub weight_decay: Option<f64>,
    /// Factor on the absolute value of weights in the penalty (L1).
    pub l1: Option<f64>,
}

type Matcher = Box<dyn Fn(&str, &Shape) -> bool + Send>;

/// An update rule with its state.
///
/// Parameters of a half dtype are updated in f32: moments are f32, the gradient is widened first, and the
/// new weight is rounded once. A step smaller than the distance of neighbouring half numbers is then still
/// lost; [`master_weights`](Optimizer::master_weights) keeps what rounding takes away.
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
    groups: Vec<Group>,
    momentum: Option<f64>,
    master: bool,
    defaults: GroupOptions,
    steps: u64,
    state: BTreeMap<String, ParamState>,
}

struct Group {
    matches: Matcher,
    options: GroupOptions,
    /// A rule of its own.
    rule: Option<Box<dyn Rule>>,
}

/// What an optimizer remembers about a parameter.
struct ParamState {
    /// Updates this parameter has had.
    steps: u64,
    slots: Slots,
    /// The weight in f32, where it is kept.
    master: Option<Tensor>,
}

/// An optimizer's own rule, its groups and its defaults.
struct Choice<'a> {
    rule: &'a dyn Rule,
    groups: &'a [Group],
    defaults: GroupOptions,
}

impl<'a> Choice<'a> {
    /// The rule and options of a parameter.
    fn of(&self, name: &str, shape: &Shape) -> (&'a dyn Rule, GroupOptions) {
        let group = self.groups.iter().find(|g| (g.matches)(name, shape));
        let mut options = group.map_or(GroupOptions::default(), |g| g.options);
        options.l1 = options.l1.or(self.defaults.l1);
        match group.and_then(|g| g.rule.as_deref()) {
            Some(rule) => {
                // At the rule's own rate as long as the optimizer is at its first.
                options.lr_scale = Some(rule.common().lr / self.rule.common().lr);
                (rule, options)
            }
            None => (self.rule, options),
        }
    }
}

/// The name under which the f32 weight of a half parameter is saved.
const MASTER: &str = "master_weight";

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
            lr: rule.common().lr,
            rule: Box::new(rule),
            groups: Vec::new(),
            momentum: None,
            master: false,
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
        self.groups.push(Group { matches: Box::new(matches), options, rule: None });
        self
    }
    /// Parameters for which the condition on name and shape holds are updated by a rule of their own: other
    /// momentum, betas, decay, or another algorithm. Its learning rate keeps its ratio to the optimizer's
    /// when a schedule moves that. The first group that matches counts.
    ///
    /// ```
    /// use hadal_optim::{AdamW, Optimizer, Sgd};
    /// let opt = Optimizer::new(AdamW::new(1e-3)).group_rule(|name, _| name.starts_with("head."), Sgd::new(1e-1).momentum(0.9));
    /// assert_eq!(opt.lr(), 1e-3);
    /// ```
    pub fn group_rule(
        mut self,
        matches: impl Fn(&str, &Shape) -> bool + Send + 'static,
        rule: impl Rule + 'static,
    ) -> Self {
        let options = GroupOptions::default();
        self.groups.push(Group { matches: Box::new(matches), options, rule: Some(Box::new(rule)) });
        self
    }
    /// Keeps each half parameter (f16, bf16) in f32 too, 4 bytes an element more. Updates are added to that
    /// copy and the parameter is its rounded value, so that many small steps add up. Where the parameter was
    /// changed from outside (loaded, set), the copy follows it.
    pub fn master_weights(mut self, keep: bool) -> Self {
        self.master = keep;
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
    /// Sets the momentum of the next steps, for rules with betas the first of them; `None` is the rule's own.
    /// For a schedule such as [`Schedule::momentum`](crate::Schedule::momentum); not part of the state.
    pub fn set_momentum(&mut self, momentum: Option<f64>) {
        self.momentum = momentum;
    }
    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }
    /// The rule's name: `AdamW`.
    pub fn name(&self) -> &'static str {
        self.rule.common().name
    }

    /// Computes loss and gradients and updates the parameters, in place where nobody else holds them.
    ///
    /// # Errors
    /// Gradients of another model (looked for at the first step); whatever the evaluation of loss and
    /// gradients returns. Then no parameter has changed.
    pub fn step<M: Module + ?Sized>(&mut self, model: &mut M, grads: &Grads) -> Result<()> {
        if self.steps == 0 {
            let own = model.parameters();
            if let Some(e) = grads.entries().iter().find(|e| !own.iter().any(|(_, p)| p.same(&e.param))) {
                let message = format!("{} of these gradients is no parameter of the model", e.name);
                return Err(Error::new(ErrorKind::State, "step", message)
                    .help("give step the model that backward was given"));
            }
        }
        grads.eval()?;
        self.apply(grads)
    }

    /// The update alone, for gradients that are computed already.
    pub fn apply(&mut self, grads: &Grads) -> Result<()> {
        in_phase(Phase::Optimizer, || self.update(grads))
    }

    fn update(&mut self, grads: &Grads) -> Result<()> {
        let choice = Choice { rule: &*self.rule, groups: &self.groups, defaults: self.defaults };
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
            let (rule, options) = choice.of(&e.name, &shape);
            if let Some(state) = self.state.get(&e.name) {
                let slots = &state.slots.tensors;
                if slots.len() != rule.slots().len() {
                    let message = format!("the state of {} is not one of {}", e.name, rule.common().name);
                    return Err(Error::new(ErrorKind::State, "step", message)
                        .help("give the optimizer the groups it had when the state was saved"));
                }
                if let Some(odd) = slots.iter().chain(&state.master).find(|t| *t.shape() != shape) {
                    let message = format!("the state of {} has another shape", e.name);
                    return Err(Error::new(ErrorKind::Shape, "step", message)
                        .operand(&shape, e.param.dtype())
                        .operand(odd.shape(), odd.dtype())
                        .help("the optimizer's state was loaded from another model"));
                }
            }
            // What is built from it below lets no gradient through anyway.
            let grad = if grad.is_evaluated() { grad.clone() } else { grad.detach() };
            updates.push((e, grad, rule, options));
        }
        self.steps += 1;
        let mut results: Vec<Tensor> = Vec::new();
        let mut places = Vec::new();
        no_grad(|| {
            for (e, grad, rule, options) in updates {
                let common = rule.common();
                let dtype = e.param.dtype();
                let wide = dtype.compute();
                let mut p = e.param.take().cast(wide);
                let state = self.state.entry(e.name.clone()).or_insert_with(|| ParamState {
                    steps: 0,
                    slots: rule.start(&p),
                    master: None,
                });
                state.steps += 1;
                // A state of an earlier version, or of the same model in another dtype.
                for t in &mut state.slots.tensors {
                    *t = t.cast(wide);
                }
                if let Some(master) = state.master.take().filter(|_| self.master && wide != dtype) {
                    // The copy counts while it still rounds to the parameter.
                    p = master.cast(dtype).cast(wide).eq(&p).where_(&master, &p);
                }
                let lr = self.lr * options.lr_scale.unwrap_or(1.0);
                let info = StepInfo { lr, step: state.steps, momentum: self.momentum };
                let decay = options.weight_decay.unwrap_or(common.weight_decay);
                let grad = grad.cast(wide);
                let mut g = if common.maximize { -grad } else { grad };
                if let Some(l1) = options.l1.filter(|l| *l != 0.0) {
                    g = g + p.sign() * l1;
                }
                if decay != 0.0 {
                    if common.decoupled {
                        p = &p * (1.0 - info.lr * decay);
                    } else {
                        g = g + &p * decay;
                    }
                }
                let new = rule.update(&p, &g, &mut state.slots, &info);
                let (at, slots) = (results.len(), state.slots.tensors.len());
                results.push(new.cast(dtype));
                results.append(&mut state.slots.tensors);
                let master = self.master && wide != dtype;
                if master {
                    results.push(new);
                }
                places.push((e, at, slots, master));
            }
        });
        let outcome = eval(&results.iter().collect::<Vec<_>>());
        for (e, at, slots, master) in places {
            e.param.set(results[at].clone());
            if let Some(s) = self.state.get_mut(&e.name) {
                s.slots.tensors = results[at + 1..at + 1 + slots].to_vec();
                s.master = master.then(|| results[at + 1 + slots].clone());
            }
        }
        outcome.map_err(|err| err.help("parameters may be updated in part: continue from a checkpoint"))
    }

    fn rules(&self) -> impl Iterator<Item = &dyn Rule> {
        std::iter::once(&*self.rule).chain(self.groups.iter().filter_map(|g| g.rule.as_deref()))
    }

    /// Everything needed to go on later with the same bits.
    pub fn state(&self) -> OptimizerState {
        let choice = Choice { rule: &*self.rule, groups: &self.groups, defaults: self.defaults };
        let mut tensors = Vec::new();
        let mut numbers = BTreeMap::new();
        for (name, s) in &self.state {
            numbers.insert(name.clone(), (s.steps, s.slots.product));
            let shape = s.slots.tensors.first().or(s.master.as_ref()).map(|t| t.shape().clone());
            let (rule, _) = choice.of(name, &shape.unwrap_or_default());
            for (slot, t) in rule.slots().iter().zip(&s.slots.tensors) {
                tensors.push((format!("{name}.{slot}"), t.clone()));
            }
            if let Some(master) = &s.master {
                tensors.push((format!("{name}.{MASTER}"), master.clone()));
            }
        }
        OptimizerState {
            rule: self.rule.common().name.to_owned(),
            lr: self.lr,
            steps: self.steps,
            numbers,
            tensors,
        }
    }

    /// Goes on from a saved state.
    ///
    /// # Errors
    /// The state is of another rule, or a tensor is missing; nothing is changed then.
    pub fn load_state(&mut self, saved: &OptimizerState) -> Result<()> {
        let fail = |m: String| Err(Error::new(ErrorKind::Value, "load_state", m));
        if saved.rule != self.rule.common().name {
            return fail(format!(
                "the state is of {}, this optimizer is {}",
                saved.rule,
                self.rule.common().name
            ));
        }
        let mut state = BTreeMap::new();
        for (name, &(steps, product)) in &saved.numbers {
            // `parameter.slot`; what has a further dot is of another parameter.
            let own: BTreeMap<&str, &Tensor> = saved
                .tensors
                .iter()
                .filter_map(|(n, t)| Some((n.strip_prefix(name.as_str())?.strip_prefix('.')?, t)))
                .filter(|(slot, _)| !slot.contains('.'))
                .collect();
            let count = own.len() - usize::from(own.contains_key(MASTER));
            // The rule that remembers just this; a step checks that it is the parameter's.
            let mut rules = self.rules();
            let fits =
                |r: &&dyn Rule| r.slots().len() == count && r.slots().iter().all(|s| own.contains_key(s));
            let Some(rule) = rules.find(fits) else {
                let wanted: Vec<&str> =
                    self.rule.slots().iter().copied().filter(|s| !own.contains_key(s)).collect();
                return fail(match wanted.first() {
                    Some(slot) => format!("{name}.{slot} is missing"),
                    None => format!("the state of {name} is of other options than this optimizer's"),
                });
            };
            let tensors = rule
                .slots()
                .iter()
                .filter_map(|s| own.get(s))
                .map(|t| t.materialize())
                .collect::<Result<_>>()?;
            let master = own.get(MASTER).map(|t| t.materialize()).transpose()?;
            state.insert(name.clone(), ParamState { steps, slots: Slots { tensors, product }, master });
        }
        self.lr = saved.lr;
        self.steps = saved.steps;
        self.state = state;
        Ok(())
    }
}
