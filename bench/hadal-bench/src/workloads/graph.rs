//! The cost of the graph: operations on almost nothing, and graphs that are not run.

use super::{Row, Workload};
use crate::fill::{data, index};
use hadal_nn::{Backward, Ctx, Forward, Init, loss::cross_entropy};
use hadal_tensor::{Tensor, plan_summary};
use hadal_zoo::LeNet;

pub const ROWS: &[Row] = &[
    ("small_graph", || {
        let x = data("x", [4]);
        Workload::forward(move || additions(&x))
    }),
    // The same graph built and dropped, and planned in between.
    ("graph_build", || {
        let x = data("x", [4]);
        let run = move || {
            std::hint::black_box(additions(&x));
            Ok(Vec::new())
        };
        Workload { nodes: Some(100), ..Workload::new(run) }
    }),
    ("graph_cost", || {
        let x = data("x", [4]);
        planned(move || Ok(vec![additions(&x)]))
    }),
    // A whole training step's graph, forward and backward, planned and not run.
    ("lenet_graph_cost", || {
        let model = LeNet::new(&Init::new(0), 10);
        let (x, y) = (data("x", [256, 1, 28, 28]), index("y", [256], 10));
        planned(move || {
            let loss = cross_entropy(&model.forward(&x, &Ctx::train_without_key()), &y);
            let grads = loss.backward(&model).map_err(|e| e.to_string())?;
            Ok(grads.entries().iter().filter_map(|e| e.grad.clone()).chain([loss]).collect())
        })
    }),
];

/// 100 additions, one after another.
fn additions(x: &Tensor) -> Tensor {
    let mut y = x + x;
    for _ in 1..100 {
        y = &y + x;
    }
    y
}

/// Builds, plans and drops a graph.
fn planned(build: impl Fn() -> Result<Vec<Tensor>, String> + 'static) -> Workload {
    let plan = move || {
        let roots = build()?;
        plan_summary(&roots.iter().collect::<Vec<_>>()).map_err(|e| e.to_string())
    };
    let nodes = plan().map(|p| p.nodes).ok();
    Workload { nodes, ..Workload::new(move || plan().map(|_| Vec::new())) }
}
