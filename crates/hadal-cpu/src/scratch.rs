//! Per-thread working memory that is kept between calls.
//!
//! The first touch of fresh pages costs an order of magnitude more than a pass over warm memory, so
//! packing buffers are handed back to their thread and used again. Large ones come from the pool of
//! tensors instead: one that a thread kept would be memory that nobody else can use.

use bytemuck::Pod;
use hadal_core::Working;
use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::cell::RefCell;
use std::marker::PhantomData;
use std::ptr::NonNull;

/// Alignment: a cache line, and the widest vector.
const ALIGN: usize = 64;
/// Buffers a thread keeps for later.
const KEEP: usize = 12;
/// Bytes from which on a buffer is shared: more than a quarter of a second-level cache would not stay
/// in one until its next use.
const SHARED: usize = 256 << 10;

struct Block {
    ptr: NonNull<u8>,
    bytes: usize,
}

impl Block {
    fn new(bytes: usize) -> Block {
        // A power of two grows rarely and fits the next, slightly different, request.
        let bytes = bytes.max(4096).checked_next_power_of_two().unwrap_or(bytes);
        let layout = Layout::from_size_align(bytes, ALIGN).unwrap_or(Layout::new::<u8>());
        // SAFETY: the layout has a size above zero.
        let ptr = unsafe { alloc_zeroed(layout) };
        match NonNull::new(ptr) {
            Some(ptr) if layout.size() == bytes => Block { ptr, bytes },
            _ => handle_alloc_error(layout),
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Ok(layout) = Layout::from_size_align(self.bytes, ALIGN) {
            // SAFETY: allocated in `new` with this very layout.
            unsafe { std::alloc::dealloc(self.ptr.as_ptr(), layout) }
        }
    }
}

/// Where the memory comes from.
enum Memory {
    /// This thread's store.
    Own(Block),
    /// The pool of all tensors.
    Pool(Working),
}

impl Memory {
    fn of(bytes: usize) -> Memory {
        if bytes >= SHARED || cfg!(hadal_exact) {
            return Memory::Pool(Working::new(bytes));
        }
        let found = FREE.with_borrow_mut(|free| {
            let best = (0..free.len()).filter(|&i| free[i].bytes >= bytes).min_by_key(|&i| free[i].bytes);
            best.map(|i| free.swap_remove(i))
        });
        Memory::Own(found.unwrap_or_else(|| Block::new(bytes)))
    }
    fn ptr(&mut self) -> *mut u8 {
        match self {
            Memory::Own(block) => block.ptr.as_ptr(),
            Memory::Pool(working) => working.bytes_mut().as_mut_ptr(),
        }
    }
}

thread_local! {
    static FREE: RefCell<Vec<Block>> = const { RefCell::new(Vec::new()) };
}

/// Working memory for `len` elements, 64-byte aligned, holding whatever its last user left (always
/// initialised). Goes back to the dropping thread's store, or to the pool.
pub(crate) struct Scratch<T: Pod> {
    memory: Option<Memory>,
    len: usize,
    kind: PhantomData<T>,
}

impl<T: Pod> Scratch<T> {
    /// The smallest kept buffer that is large enough, or a new one.
    pub fn new(len: usize) -> Self {
        let memory = Memory::of(len.saturating_mul(size_of::<T>()));
        Scratch { memory: Some(memory), len, kind: PhantomData }
    }
    fn ptr(&mut self) -> *mut T {
        self.memory.as_mut().map_or(NonNull::dangling().as_ptr(), |m| m.ptr().cast())
    }
    /// The elements.
    pub fn slice(&mut self) -> &mut [T] {
        // SAFETY: the memory holds `len` elements at an alignment of 64, was initialised when it was
        // allocated and has since held only `Pod` values without padding; it is owned by `self`.
        unsafe { std::slice::from_raw_parts_mut(self.ptr(), self.len) }
    }
}

impl<T: Pod> Drop for Scratch<T> {
    fn drop(&mut self) {
        if let Some(Memory::Own(block)) = self.memory.take() {
            // The store is gone while its thread ends; the block is then simply freed.
            let _ = FREE.try_with(|free| {
                let mut free = free.borrow_mut();
                if free.len() >= KEEP
                    && let Some(i) = (0..free.len()).min_by_key(|&i| free[i].bytes)
                {
                    free.swap_remove(i);
                }
                free.push(block);
            });
        }
    }
}
