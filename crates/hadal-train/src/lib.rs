//! hadal-train

pub mod plot;
