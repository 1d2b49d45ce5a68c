//! Sorting and choosing. Positions are computed too; only the values are compared, since equals may come in any
//! order.

use super::{Row, Workload};
use crate::fill::data;
use hadal_tensor::{Tensor, eval};

pub const ROWS: &[Row] = &[
    ("sort_1048576", || {
        let x = data("x", [1 << 20]);
        ordered(move || x.sort(0, false))
    }),
    ("sort_1024x1024", || {
        let x = data("x", [1024, 1024]);
        ordered(move || x.sort(-1, false))
    }),
    ("topk50_64x32000", || {
        let x = data("x", [64, 32_000]);
        ordered(move || x.topk(50, -1, true))
    }),
];

fn ordered(f: impl Fn() -> (Tensor, Tensor) + 'static) -> Workload {
    Workload::new(move || {
        let (values, places) = f();
        eval(&[&values, &places]).map_err(|e| e.to_string())?;
        Ok(vec![values])
    })
}
