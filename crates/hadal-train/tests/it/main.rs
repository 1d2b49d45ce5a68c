//! The trainer from outside, on small data.

mod failures;
mod predict;
mod resume;
mod support;
mod training;
