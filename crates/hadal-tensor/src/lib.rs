//! Tensors, automatic differentiation, and the planner that runs the graph.
//!
//! Start at [`Tensor`]. Gradients are in [`grad`] and [`vjp`]; what learns and what is remembered in
//! [`Param`] and [`State`]; switches ([`no_grad`], [`eager`], [`strict`], [`unfused`],
//! [`check_finite`], [`checkpoint`]) are functions that run a closure.

mod autodiff;
mod backend;
mod compiled;
mod idmap;
mod nodes;
mod operand;
mod ops;
mod plan;
mod print;
mod scope;
mod state;
mod tensor;
mod trace;

pub use autodiff::{checkpoint, grad, vjp, vjp_or_none};
pub use compiled::Compiled;
pub use hadal_core::ops::RecurrentCell;
pub use hadal_core::{
    DType, Element, Error, ErrorKind, MemoryStats, Result, Scalar, Shape, Tag, memory_stats, reset_peak,
    trim_memory,
};
pub use hadal_cpu::ceiling::{Ceilings, measure as measure_ceilings};
pub use hadal_cpu::conv::set_winograd;
pub use hadal_cpu::simd::{Level as SimdLevel, level as simd_level};
pub use hadal_cpu::threads::{set_threads, threads};
pub use operand::{Dims, Operand, ShapeArg, Sizes};
pub use ops::conv::{ConvOptions, Padding, Spatial};
pub use ops::create::{Key, Nested};
pub use ops::movement::PadMode;
pub use ops::pool::PoolOptions;
pub use ops::recurrent::{Recurrent, RecurrentStates};
pub use ops::view::Slice;
pub use plan::{
    Evaluation, PlanCacheStats, PlanSummary, Profile, Work, plan_cache_stats, plan_summary, profile,
    without_plan_cache,
};
pub use scope::{
    CallerGuard, Phase, TagGuard, check_finite, eager, enter, from_here, in_phase, no_grad, strict, unfused,
};
pub use state::{Param, State};
pub use tensor::{Tensor, eval, eval_and_release};
pub use trace::{TraceNode, trace};

pub use ops::einsum::*;
