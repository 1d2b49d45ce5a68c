//! Making nodes and getting rid of them.
//!
//! A step of training makes the same few hundred nodes again and again, all at once, and drops them all at
//! once, which allocators are slow at. So a thread keeps nodes that are done with.

use crate::plan::Mark;
use crate::scope::{Region, phase};
use crate::tensor::{Inputs, Node, State, Tensor, Value};
use hadal_core::ops::Op;
use hadal_core::{DType, Shape, Tag};
use std::cell::RefCell;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// Nodes that a thread keeps: 300 bytes each.
const KEPT: usize = 1024;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

thread_local! {
    static FREE: RefCell<Vec<Arc<Node>>> = const { RefCell::new(Vec::new()) };
    static GRAVEYARD: RefCell<Graveyard> =
        const { RefCell::new(Graveyard { busy: false, waiting: Vec::new() }) };
}

/// Inputs of dropped nodes, waiting to be dropped in turn: a chain of a million nodes must not recurse a
/// million deep.
struct Graveyard {
    busy: bool,
    waiting: Vec<Inputs>,
}

/// What a new node is made of.
pub(crate) struct Made {
    pub op: Op,
    pub shape: Shape,
    pub dtype: DType,
    pub tracked: bool,
    pub stop: bool,
    pub tag: Option<Tag>,
    pub location: &'static Location<'static>,
    pub region: Option<Arc<Region>>,
    pub inputs: Inputs,
    pub value: Option<Value>,
}

impl Made {
    /// The node, younger than all others.
    #[inline]
    pub fn node(self) -> Tensor {
        let id = NEXT_ID.fetch_add(1, Relaxed);
        // The thread-local is gone while a thread shuts down.
        let kept = FREE.try_with(|free| free.borrow_mut().pop()).ok().flatten();
        if let Some(mut node) = kept
            && let Some(n) = Arc::get_mut(&mut node)
        {
            n.id = id;
            n.op = self.op;
            n.shape = self.shape;
            n.dtype = self.dtype;
            n.tracked = self.tracked;
            n.stop = self.stop;
            n.tag = self.tag;
            n.phase = phase();
            n.location = self.location;
            n.region = self.region;
            *n.cut.get_mut() = false;
            let state = n.state.get_mut().unwrap_or_else(PoisonError::into_inner);
            state.inputs = self.inputs;
            state.value = self.value;
            return Tensor(node);
        }
        Tensor(Arc::new(Node {
            id,
            op: self.op,
            shape: self.shape,
            dtype: self.dtype,
            tracked: self.tracked,
            stop: self.stop,
            tag: self.tag,
            phase: phase(),
            location: self.location,
            region: self.region,
            cut: AtomicBool::new(false),
            mark: Mark::default(),
            state: Mutex::new(State { inputs: self.inputs, value: self.value }),
        }))
    }
}

impl Drop for Tensor {
    #[inline]
    fn drop(&mut self) {
        if Arc::strong_count(&self.0) == 1 {
            retire(&mut self.0);
        }
    }
}

/// Empties a node whose last handle is about to go, and keeps it.
fn retire(node: &mut Arc<Node>) {
    let Some(n) = Arc::get_mut(node) else { return };
    n.op = Op::Leaf;
    n.tag = None;
    n.region = None;
    let state = n.state.get_mut().unwrap_or_else(PoisonError::into_inner);
    state.value = None;
    let inputs = std::mem::take(&mut state.inputs);
    let _ = FREE.try_with(|free| {
        let mut free = free.borrow_mut();
        if free.len() < KEPT {
            free.push(node.clone());
        }
    });
    bury(inputs);
}

/// Drops node inputs without recursion.
pub(crate) fn bury(inputs: Inputs) {
    if inputs.is_empty() {
        return;
    }
    // The thread-local is gone while a thread shuts down: then plain drops must do.
    let first = GRAVEYARD.try_with(|g| {
        let mut g = g.borrow_mut();
        if g.busy {
            g.waiting.push(inputs);
            return None;
        }
        g.busy = true;
        Some(inputs)
    });
    let Ok(Some(mut next)) = first else { return };
    loop {
        drop(next);
        let popped = GRAVEYARD.with_borrow_mut(|g| {
            let inputs = g.waiting.pop();
            g.busy = inputs.is_some();
            inputs
        });
        match popped {
            Some(n) => next = n,
            None => return,
        }
    }
}
