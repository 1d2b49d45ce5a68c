//! Operations, a file per class: methods, shape rules and gradients together.

pub(crate) mod attention;
pub(crate) mod compose;
pub(crate) mod conv;
pub(crate) mod create;
pub(crate) mod einsum;
pub(crate) mod index;
pub(crate) mod matmul;
pub(crate) mod movement;
pub(crate) mod operators;
pub(crate) mod place;
pub(crate) mod pointwise;
pub(crate) mod pool;
pub(crate) mod recurrent;
pub(crate) mod reduce;
pub(crate) mod rows;
pub(crate) mod select;
pub(crate) mod sort;
pub(crate) mod view;
