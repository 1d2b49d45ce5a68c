//! Fused programs against a naive interpreter, and against themselves: fused and unfused, on 1, 2
//! and 4 threads, on all instruction sets.

mod formulas;
mod fusion;
mod invalid;
mod layouts;
mod ops;
mod reductions;
mod support;
