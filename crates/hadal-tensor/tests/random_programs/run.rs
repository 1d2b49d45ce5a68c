//! Runs a program in one of several ways.

use super::build::build;
use super::naive;
use super::program::{Program, Region, Spec};
use super::value::Val;
use hadal_tensor::*;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    Lazy,
    Unfused,
    Eager,
    /// Lazily, planned anew in every evaluation.
    Anew,
}

fn within<R>(mode: Mode, f: impl FnOnce() -> R) -> R {
    match mode {
        Mode::Lazy => f(),
        Mode::Unfused => unfused(f),
        Mode::Eager => eager(f),
        Mode::Anew => without_plan_cache(f),
    }
}

/// Bits of every element; every NaN is one.
fn bits(t: &Tensor) -> std::result::Result<Vec<u64>, String> {
    fn of<T: Element>(t: &Tensor, f: impl Fn(T) -> u64) -> std::result::Result<Vec<u64>, String> {
        Ok(t.to_vec::<T>().map_err(|e| e.to_string())?.into_iter().map(f).collect())
    }
    match t.dtype() {
        DType::F64 => of::<f64>(t, |v| if v.is_nan() { f64::NAN.to_bits() } else { v.to_bits() }),
        DType::F32 => of::<f32>(t, |v| if v.is_nan() { f32::NAN.to_bits() } else { v.to_bits() } as u64),
        DType::F16 => of::<half::f16>(t, |v| if v.is_nan() { 0x7e00 } else { v.to_bits() } as u64),
        DType::BF16 => of::<half::bf16>(t, |v| if v.is_nan() { 0x7fc0 } else { v.to_bits() } as u64),
        DType::I64 => of::<i64>(t, |v| v as u64),
        DType::I32 => of::<i32>(t, |v| v as u64),
        DType::U8 => of::<u8>(t, |v| v as u64),
        DType::Bool => of::<bool>(t, |v| v as u64),
    }
}

fn number(d: DType, bits: u64) -> f64 {
    match d {
        DType::F64 => f64::from_bits(bits),
        DType::F32 => f32::from_bits(bits as u32) as f64,
        DType::F16 => half::f16::from_bits(bits as u16).to_f64(),
        DType::BF16 => half::bf16::from_bits(bits as u16).to_f64(),
        DType::I64 => bits as i64 as f64,
        DType::I32 => bits as u32 as i32 as f64,
        _ => bits as f64,
    }
}

/// What was read, by step; `None` for steps whose value nobody kept or that have none.
pub struct Outcome {
    steps: Vec<Option<(DType, Vec<u64>)>>,
    problem: Option<String>,
}

impl Outcome {
    pub fn same(&self, other: &Outcome, p: &Program) -> std::result::Result<(), String> {
        if let Some(e) = self.problem.as_ref().or(other.problem.as_ref()) {
            return Err(e.clone());
        }
        for (i, (a, b)) in self.steps.iter().zip(&other.steps).enumerate() {
            let (Some((d, a)), Some((_, b))) = (a, b) else { continue };
            if let Some(k) = (0..a.len().max(b.len())).find(|&k| a.get(k) != b.get(k)) {
                let show = |v: &[u64]| v.get(k).map(|&v| format!("{:?} ({v:#x})", number(*d, v)));
                let (a, b, spec) = (show(a), show(b), &p.steps[i].spec);
                let mut spec = format!("{spec:?}");
                spec.truncate(100);
                return Err(format!("step %{i} {spec}, element {k}: {a:?} eagerly, {b:?} here"));
            }
        }
        Ok(())
    }

    /// Whether every value lies in the reference's interval.
    pub fn within(&self, reference: &[Val]) -> std::result::Result<(), String> {
        for (i, v) in reference.iter().enumerate() {
            let Some((d, got)) = self.steps.get(i).and_then(Option::as_ref) else { continue };
            for (k, &b) in got.iter().enumerate() {
                let x = number(*d, b);
                if !(x >= v.lo[k] && x <= v.hi[k]) {
                    return Err(format!(
                        "step %{i}, element {k}: {x:?} is not in {:?}..={:?}",
                        v.lo[k], v.hi[k]
                    ));
                }
            }
        }
        Ok(())
    }

    /// Gradients that are not zero.
    pub fn flowing(&self) -> usize {
        self.steps.iter().flatten().filter(|(_, v)| v.iter().any(|&b| b != 0)).count()
    }
}

impl Program {
    pub fn reference(&self) -> Vec<Val> {
        let mut vals: Vec<Val> = Vec::new();
        for s in &self.steps {
            let args: Vec<&Val> = s.args.iter().map(|&a| &vals[a]).collect();
            let v = naive::run(&s.spec, &args);
            vals.push(v);
        }
        vals
    }

    /// The last step that reads each step.
    fn last_uses(&self) -> Vec<usize> {
        let mut last = vec![0; self.steps.len()];
        for (i, s) in self.steps.iter().enumerate() {
            last[i] = last[i].max(i);
            s.args.iter().for_each(|&a| last[a] = i);
        }
        last
    }

    /// Builds all steps; `keep` says which handles stay until the end.
    fn build(
        &self,
        tracked: bool,
        keep: &[bool],
        mut each: impl FnMut(usize, &Tensor),
    ) -> Vec<Option<Tensor>> {
        let mut nodes: Vec<Option<Tensor>> = vec![None; self.steps.len()];
        let last = self.last_uses();
        let mut one = |i: usize| {
            let s = &self.steps[i];
            let args: Vec<Tensor> =
                s.args.iter().map(|&a| nodes[a].clone().expect("kept while used")).collect();
            let mut t = build(&s.spec, &args.iter().collect::<Vec<_>>());
            if tracked && matches!(s.spec, Spec::Leaf(..)) && t.dtype().is_float() {
                t = t.requires_grad();
            }
            drop(args);
            each(i, &t);
            nodes[i] = Some(t);
            if self.drop_early {
                for &a in s.args.iter().chain([&i]).filter(|&&a| last[a] == i && !keep[a]) {
                    nodes[a] = None;
                }
            }
        };
        let mut i = 0;
        while i < self.steps.len() {
            match self.regions.iter().find(|r| r.0 == i) {
                Some(&(start, end, kind)) => {
                    let all = || (start..end).for_each(&mut one);
                    match kind {
                        Region::NoGrad => no_grad(all),
                        Region::Checkpoint => checkpoint(all),
                    }
                    i = end;
                }
                None => {
                    one(i);
                    i += 1;
                }
            }
        }
        for (node, _) in nodes.iter_mut().zip(keep).filter(|(_, keep)| !**keep) {
            *node = None;
        }
        nodes
    }
}

/// Values of roots and held steps; of all steps when eager.
pub fn values(p: &Program, mode: Mode, threads: usize) -> Outcome {
    set_threads(threads);
    let mut problem = None;
    let mut keep = vec![mode == Mode::Eager; p.steps.len()];
    p.roots.iter().chain(&p.held).for_each(|&i| keep[i] = true);
    let steps = within(mode, || {
        let mut first: Vec<(usize, Vec<u64>)> = Vec::new();
        let nodes = p.build(false, &keep, |i, t| {
            if p.early.contains(&i) {
                match t.eval().map_err(|e| e.to_string()).and_then(|()| bits(t)) {
                    Ok(b) if keep[i] => first.push((i, b)),
                    Ok(_) => {}
                    Err(e) => problem = Some(e),
                }
            }
        });
        let roots: Vec<&Tensor> = p.roots.iter().filter_map(|&r| nodes[r].as_ref()).collect();
        let evaluated = if p.together { eval(&roots) } else { roots.iter().try_for_each(|r| r.eval()) };
        if let Err(e) = evaluated {
            problem = Some(e.to_string());
        }
        let steps: Vec<Option<(DType, Vec<u64>)>> = nodes
            .iter()
            .map(|t| {
                let t = t.as_ref()?;
                match bits(t) {
                    Ok(b) => Some((t.dtype(), b)),
                    Err(e) => {
                        problem = Some(e);
                        None
                    }
                }
            })
            .collect();
        for (i, before) in first {
            if steps[i].as_ref().is_some_and(|(_, now)| *now != before) {
                problem = Some(format!("step %{i} was held and has changed"));
            }
        }
        // A leaf holds what it was given.
        for (i, s) in p.steps.iter().enumerate() {
            if let (Spec::Leaf(_, d, data), Some((_, now))) = (&s.spec, &steps[i]) {
                let same = |(&b, &v): (&u64, &f64)| number(*d, b) == v || v.is_nan();
                if !now.iter().zip(data).all(same) && d.is_float() {
                    problem = Some(format!("leaf %{i} was held and has changed"));
                }
            }
        }
        steps
    });
    Outcome { steps, problem }
}

/// Gradients by all float leaves of a weighted sum of the float roots.
pub fn gradients(p: &Program, mode: Mode, threads: usize) -> std::result::Result<Outcome, String> {
    set_threads(threads);
    within(mode, || {
        let mut keep = vec![false; p.steps.len()];
        p.roots.iter().for_each(|&r| keep[r] = true);
        let is_input = |i: usize| matches!(&p.steps[i].spec, Spec::Leaf(_, d, _) if d.is_float());
        (0..p.steps.len()).filter(|&i| is_input(i)).for_each(|i| keep[i] = true);
        let mut problem = None;
        let nodes = p.build(true, &keep, |i, t| {
            if p.early.contains(&i)
                && let Err(e) = t.eval()
            {
                problem = Some(e.to_string());
            }
        });
        let mut loss = Tensor::full((), 0.0).cast(DType::F64);
        for &r in &p.roots {
            let Some(t) = nodes[r].as_ref().filter(|t| t.dtype().is_float()) else { continue };
            let w = Tensor::uniform(t.shape(), t.dtype(), Key::new(r as u64), 0.5, 1.5);
            loss = loss + (t * w).sum(..).cast(DType::F64);
        }
        let inputs: Vec<usize> = (0..p.steps.len()).filter(|&i| is_input(i)).collect();
        let xs: Vec<&Tensor> = inputs.iter().filter_map(|&i| nodes[i].as_ref()).collect();
        let grads = vjp_or_none(&loss, &Tensor::ones_like(&loss), &xs).map_err(|e| e.to_string())?;
        let found: Vec<&Tensor> = grads.iter().flatten().collect();
        eval(&found).map_err(|e| e.to_string())?;
        let mut steps = vec![None; p.steps.len()];
        for (&i, g) in inputs.iter().zip(&grads) {
            if let Some(g) = g {
                steps[i] = Some((g.dtype(), bits(g)?));
            }
        }
        Ok(Outcome { steps, problem })
    })
}
