//! What is timed. Each workload is prepared once; its outputs are computed and dropped every time.
//!
//! Shapes and data are those of `bench/peers/README.md`, so that the outputs of all contenders can be compared.

mod convolution;
mod elementwise;
mod graph;
mod inference;
mod ordering;
mod product;
mod training;

use hadal_tensor::{Tensor, eval, no_grad, vjp};

/// A name and how the workload is prepared.
pub type Row = (&'static str, fn() -> Workload);

/// All rows, in the order of reports.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    let parts = [
        product::ROWS,
        elementwise::ROWS,
        ordering::ROWS,
        convolution::ROWS,
        inference::ROWS,
        training::ROWS,
        graph::ROWS,
    ];
    parts.into_iter().flatten()
}

/// Prepares a workload.
pub fn prepare(name: &str) -> Result<Workload, String> {
    let row = rows().find(|row| row.0 == name).ok_or("unknown workload")?;
    Ok((row.1)())
}

/// The least that a workload has to do.
#[derive(Clone, Copy)]
pub enum Work {
    /// Additions and multiplications in f32.
    Flops(f64),
    /// The same in bf16, where processors may be faster.
    Bf16Flops(f64),
    /// Bytes, each input and each output once.
    Bytes(f64),
}

/// One repetition: computes and returns the outputs.
pub type Run = Box<dyn FnMut() -> Result<Vec<Tensor>, String>>;

/// A prepared workload.
pub struct Workload {
    /// What is timed.
    pub run: Run,
    /// What it has to do, where that is known.
    pub work: Option<Work>,
    /// Nodes of the graph, where the cost of a node is the point.
    pub nodes: Option<usize>,
}

impl Workload {
    fn new(run: impl FnMut() -> Result<Vec<Tensor>, String> + 'static) -> Workload {
        Workload { run: Box::new(run), work: None, nodes: None }
    }

    /// Evaluates what `f` builds, without gradients.
    fn forward(f: impl Fn() -> Tensor + 'static) -> Workload {
        Workload::new(move || {
            let y = no_grad(&f);
            y.eval().map_err(|e| e.to_string())?;
            Ok(vec![y])
        })
    }

    /// Evaluates `f(inputs)` and its gradients by all inputs for this cotangent. Outputs: first the value.
    fn both(inputs: Vec<Tensor>, cotangent: Tensor, f: impl Fn(&[Tensor]) -> Tensor + 'static) -> Workload {
        let inputs: Vec<Tensor> = inputs.iter().map(Tensor::requires_grad).collect();
        Workload::new(move || {
            let y = f(&inputs);
            let grads = gradients(&y, &cotangent, &inputs)?;
            let all: Vec<Tensor> = std::iter::once(y).chain(grads).collect();
            eval(&all.iter().collect::<Vec<_>>()).map_err(|e| e.to_string())?;
            Ok(all)
        })
    }

    /// Evaluates only the gradients.
    fn backward(
        inputs: Vec<Tensor>,
        cotangent: Tensor,
        f: impl Fn(&[Tensor]) -> Tensor + 'static,
    ) -> Workload {
        let inputs: Vec<Tensor> = inputs.iter().map(Tensor::requires_grad).collect();
        Workload::new(move || {
            let grads = gradients(&f(&inputs), &cotangent, &inputs)?;
            eval(&grads.iter().collect::<Vec<_>>()).map_err(|e| e.to_string())?;
            Ok(grads)
        })
    }

    fn flops(self, n: f64) -> Workload {
        Workload { work: Some(Work::Flops(n)), ..self }
    }

    fn bf16_flops(self, n: f64) -> Workload {
        Workload { work: Some(Work::Bf16Flops(n)), ..self }
    }

    /// Reads and writes so many f32 numbers.
    fn moves(self, numbers: usize) -> Workload {
        Workload { work: Some(Work::Bytes(4.0 * numbers as f64)), ..self }
    }
}

fn gradients(y: &Tensor, cotangent: &Tensor, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    vjp(y, cotangent, &inputs.iter().collect::<Vec<_>>()).map_err(|e| e.to_string())
}
