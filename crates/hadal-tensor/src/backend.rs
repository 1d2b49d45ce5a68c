//! The device that runs plans.

use hadal_core::ops::Backend;

/// The backend in use.
pub(crate) fn get() -> &'static dyn Backend {
    &hadal_cpu::Cpu
}
