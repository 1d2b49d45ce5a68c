//! Asking a training run to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Asks a trainer to save and stop after the step it is at; from another thread or a signal handler.
#[derive(Clone, Debug, Default)]
pub struct StopHandle(Arc<AtomicBool>);

impl StopHandle {
    /// A handle that has not asked yet.
    pub fn new() -> Self {
        Self::default()
    }
    /// Asks.
    pub fn stop(&self) {
        self.0.store(true, Relaxed);
    }
    /// Whether somebody asked.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Relaxed)
    }
}
