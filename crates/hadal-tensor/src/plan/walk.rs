//! Walks over the graph that number the nodes they meet.

use super::{Exclusive, exclusive};
use crate::Tensor;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Where the last walk that met a node has put it: the number of the walk, and the node's number in it.
/// A table beside the graph would cost more than the walk.
#[derive(Default)]
pub struct Mark {
    walk: AtomicU64,
    number: AtomicU32,
}

/// A walk. One at a time: it holds the lock of the graph, so that edges stay and marks are its own.
pub struct Walk {
    number: u64,
    _graph: Exclusive,
}

static WALKS: AtomicU64 = AtomicU64::new(0);

impl Walk {
    /// Waits until no other walk is on its way.
    pub fn begin() -> Walk {
        let graph = exclusive();
        Walk { number: WALKS.fetch_add(1, Relaxed) + 1, _graph: graph }
    }
    /// Whether the walk has not met this node.
    pub fn is_new(&self, t: &Tensor) -> bool {
        t.0.mark.walk.load(Relaxed) != self.number
    }
    /// Numbers a node.
    pub fn number(&self, t: &Tensor, number: u32) {
        t.0.mark.walk.store(self.number, Relaxed);
        t.0.mark.number.store(number, Relaxed);
    }
    /// The number of a node that the walk has met.
    pub fn number_of(&self, t: &Tensor) -> Option<u32> {
        (!self.is_new(t)).then(|| t.0.mark.number.load(Relaxed))
    }
}
