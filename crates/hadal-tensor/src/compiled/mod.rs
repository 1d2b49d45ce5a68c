//! Functions of tensors that are planned once: see [`Compiled`].

mod fold;

use crate::plan::{Fixed, PlanSummary, copy, evaluate_only};
use crate::tensor::Value;
use crate::{Tensor, no_grad, scope};
use hadal_core::ops::Op;
use hadal_core::{DType, Error, ErrorKind, Result, Scalar, Shape};

/// A function of tensors that was planned once, for inputs of these shapes and dtypes: what is constant in
/// it is computed, batch norms are taken into the convolutions before them, weights are in the form that
/// kernels work with, and each run takes the same steps in the same memory. Nothing is planned and, but for
/// the results, nothing allocated in a run.
///
/// Models have a method for it: `model.compile(&example)?` (`hadal_nn::Forward::compile`).
///
/// - It is a snapshot: what happens to the model afterwards (a training step, loaded weights) is not seen.
/// - No gradients flow through it.
/// - It is for one shape. For several batch sizes compile several; parameters are shared among them, forms
///   of weights are not.
/// - The function is called once, with inputs that have no values. What it decides by looking at shapes is
///   decided for good; if it asks for a value that depends on an input, it gets an error.
/// - Several threads may run it at the same time; each run beyond the first takes memory of its own.
///
/// # Differences to the uncompiled function
/// A convolution followed by scales and shifts of its channels, such as a batch norm, becomes one
/// convolution with scaled weights: products `w·s` are worked out in f64 and rounded once. So sums are
/// those of other numbers in the last bit, and results differ as sums in another order would: by at most
/// `(k + 4) eps Σ|w s x|` for sums of `k` products. Everything else has the same bits as uncompiled.
///
/// ```
/// use hadal_tensor::{Compiled, DType, Tensor};
/// let w = Tensor::ones([3, 2], DType::F32);
/// let net = Compiled::new(&[&Tensor::zeros([4, 3], DType::F32)], |x| vec![x[0].matmul(&w).relu()])?;
/// let y = net.run(&[&Tensor::ones([4, 3], DType::F32)])?;
/// assert_eq!(y[0].to_vec::<f32>()?, [3.0; 8]);
/// let wrong = net.run(&[&Tensor::ones([5, 3], DType::F32)]).unwrap_err();
/// assert!(wrong.to_string().starts_with("compiled: input 0 is [5, 3] f32, the example was [4, 3] f32"));
/// # Ok::<(), hadal_tensor::Error>(())
/// ```
pub struct Compiled {
    inputs: Vec<(Shape, DType)>,
    dtypes: Vec<DType>,
    plan: Fixed,
}

impl Compiled {
    /// Plans `f` for inputs like the examples, and runs it on them once.
    ///
    /// # Errors
    /// Those of the examples, of `f`'s graph, and of running it on the examples.
    pub fn new(examples: &[&Tensor], f: impl FnOnce(&[Tensor]) -> Vec<Tensor>) -> Result<Compiled> {
        for e in examples {
            e.checked()?;
        }
        let inputs: Vec<Tensor> =
            examples.iter().map(|e| Tensor::placeholder(e.shape().clone(), e.dtype())).collect();
        let roots = no_grad(|| f(&inputs));
        if let Some(e) = scope::take_deferred() {
            return Err(e);
        }
        for r in &roots {
            r.checked()?;
        }
        settle(&inputs, &roots)?;
        let roots = no_grad(|| fold::folded(&inputs, roots))?;
        settle(&inputs, &roots)?;
        let compiled = Compiled {
            inputs: examples.iter().map(|e| (e.shape().clone(), e.dtype())).collect(),
            dtypes: roots.iter().map(Tensor::dtype).collect(),
            plan: Fixed::new(&inputs, &roots),
        };
        drop(roots);
        compiled.run(examples)?;
        Ok(compiled)
    }

    /// The function's results for these inputs.
    ///
    /// # Errors
    /// An input has another shape or dtype than its example, or there is another number of them; those of
    /// the inputs; those only data can show.
    #[track_caller]
    pub fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        if inputs.len() != self.inputs.len() {
            let message =
                format!("{} inputs were given, the examples were {}", inputs.len(), self.inputs.len());
            return Err(self.fail(ErrorKind::Value, message, "give one tensor for each example"));
        }
        let mut values = Vec::with_capacity(inputs.len());
        for (i, (t, (shape, dtype))) in inputs.iter().zip(&self.inputs).enumerate() {
            t.checked()?;
            if t.shape() != shape || t.dtype() != *dtype {
                let kind = if t.shape() == shape { ErrorKind::DType } else { ErrorKind::Shape };
                let (is, was) = (t.dtype(), dtype);
                let message = format!("input {i} is {} {is}, the example was {shape} {was}", t.shape());
                let help = "a compiled function is for one shape and dtype: compile another one for these";
                return Err(self.fail(kind, message, help));
            }
            let value = t.force()?;
            values.push(match value.layout.is_contiguous() {
                true => value,
                false => copy("compiled", &value, t.dtype())?,
            });
        }
        let results = self.plan.run(values)?;
        Ok(results.into_iter().zip(&self.dtypes).map(|(v, &d)| Tensor::from_value(v, d, false)).collect())
    }

    #[track_caller]
    fn fail(&self, kind: ErrorKind, message: String, help: &str) -> Error {
        Error::new(kind, "compiled", message).help(help).at(std::panic::Location::caller(), None)
    }

    /// What it runs: for tests and the curious.
    pub fn summary(&self) -> PlanSummary {
        self.plan.summary()
    }
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiled").field("inputs", &self.inputs).finish_non_exhaustive()
    }
}

/// Everything behind tensors and they themselves, oldest first.
pub(crate) fn nodes_behind(roots: &[Tensor]) -> Vec<Tensor> {
    let mut seen = crate::idmap::IdMap::<()>::default();
    let mut found = Vec::new();
    let mut stack: Vec<Tensor> = roots.to_vec();
    while let Some(t) = stack.pop() {
        if seen.insert(t.0.id, ()).is_some() {
            continue;
        }
        if !t.is_evaluated() {
            stack.extend(t.0.inputs());
        }
        found.push(t);
    }
    // Inputs are older than what is made of them.
    found.sort_unstable_by_key(|t| t.0.id);
    found
}

/// For each of these nodes, which are all that stand behind some, whether it depends on an input.
fn dependent(nodes: &[Tensor], inputs: &[Tensor]) -> Vec<bool> {
    let mut depends = crate::idmap::IdMap::<()>::default();
    for t in inputs {
        depends.insert(t.0.id, ());
    }
    let of = |t: &Tensor| {
        let yes = depends.contains_key(&t.0.id) || t.0.inputs().iter().any(|i| depends.contains_key(&i.0.id));
        if yes {
            depends.insert(t.0.id, ());
        }
        yes
    };
    nodes.iter().map(of).collect()
}

/// Computes what does not depend on the inputs, as far as something that does reads it.
fn settle(inputs: &[Tensor], roots: &[Tensor]) -> Result<()> {
    let nodes = nodes_behind(roots);
    let depends = dependent(&nodes, inputs);
    let mut wanted = crate::idmap::IdMap::<()>::default();
    for (t, _) in nodes.iter().zip(&depends).filter(|(_, d)| **d) {
        t.0.with_inputs(|all| wanted.extend(all.iter().map(|i| (i.0.id, ()))));
    }
    for r in roots {
        wanted.insert(r.0.id, ());
    }
    let constants = nodes.iter().zip(&depends).filter(|(t, d)| {
        // Numbers that programs hold as immediates stay such.
        !**d && wanted.contains_key(&t.0.id) && filled_with(t, true).is_none()
    });
    let constants: Vec<&Tensor> = constants.map(|(t, _)| t).collect();
    evaluate_only(&constants)
}

/// The value of a constant.
fn constant(t: &Tensor) -> Option<Value> {
    t.0.value()
}

/// The number that a tensor is filled with: made so, or a view (or `casts`, if those count) of one.
fn filled_with(t: &Tensor, casts: bool) -> Option<Scalar> {
    let mut t = t.clone();
    loop {
        match &t.0.op {
            &Op::Fill(s) => return Some(s.cast(t.dtype())),
            op if op.is_view() || (casts && matches!(op, Op::Cast)) => {
                let source = t.0.inputs().first().cloned()?;
                t = source;
            }
            _ => return None,
        }
    }
}
