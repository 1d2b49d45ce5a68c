//! hadal-train

pub mod files;
pub mod plot;
