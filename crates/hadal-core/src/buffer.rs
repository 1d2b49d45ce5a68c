//! Memory of tensors: 64-byte aligned blocks from a pool that keeps what it has.
//!
//! The first touch of fresh memory runs at a fifteenth of memory bandwidth on a typical machine, and
//! allocators give large blocks back to the system at once. So freed blocks are kept by size class
//! and handed out again; all but small ones lie on huge pages. Blocks are always initialised
//! memory (zeroed when fresh, old contents when reused), so reading one is never undefined.

use crate::DType;
use std::alloc::{Layout as AllocLayout, handle_alloc_error};
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use system::{heap_alloc, heap_free, system_alloc, system_free};

mod system;

/// Alignment of every buffer: a cache line and an AVX-512 vector.
pub const ALIGN: usize = 64;
/// Whether every buffer is an allocation of its own of just its length, for `cargo xtask sanitize`: in a
/// larger block, or one that is used again, a sanitizer cannot see that memory is left or used too late.
const EXACT: bool = cfg!(hadal_exact);
/// Four classes per power of two: at most a quarter of a block is unused.
const CLASSES: usize = 4 * usize::BITS as usize;

/// An element type whose every bit pattern is valid: what buffers can be viewed as.
///
/// Truth values are viewed as `u8` that are 0 or 1.
pub trait Storage: bytemuck::Pod + Send + Sync + 'static {}
impl Storage for f32 {}
impl Storage for f64 {}
impl Storage for half::f16 {}
impl Storage for half::bf16 {}
impl Storage for i64 {}
impl Storage for i32 {}
impl Storage for u8 {}
impl Storage for u64 {}

/// Runs a block with `$t` bound to the storage type of a dtype (`u8` for bool).
#[macro_export]
macro_rules! dispatch_storage {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            $crate::DType::F32 => {
                type $t = f32;
                $body
            }
            $crate::DType::F64 => {
                type $t = f64;
                $body
            }
            $crate::DType::F16 => {
                type $t = $crate::half::f16;
                $body
            }
            $crate::DType::BF16 => {
                type $t = $crate::half::bf16;
                $body
            }
            $crate::DType::I64 => {
                type $t = i64;
                $body
            }
            $crate::DType::I32 => {
                type $t = i32;
                $body
            }
            $crate::DType::U8 | $crate::DType::Bool => {
                type $t = u8;
                $body
            }
        }
    };
}

/// A block of memory. Dropping it gives it back to the pool.
pub struct Buffer {
    ptr: NonNull<u8>,
    /// Bytes asked for.
    len: usize,
    /// Bytes of the block: the size of its class.
    cap: usize,
}

// SAFETY: a Buffer owns its block exclusively, like a Box<[u8]>.
unsafe impl Send for Buffer {}
// SAFETY: shared access only reads.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// A block of at least `len` bytes with unspecified contents.
    ///
    /// Ends the process as `Vec` does when there is no memory; [`Buffer::try_new`] does not.
    pub fn new(len: usize) -> Buffer {
        Buffer::try_new(len).unwrap_or_else(|| handle_alloc_error(AllocLayout::new::<[u8; ALIGN]>()))
    }

    /// A block of at least `len` bytes with unspecified contents; `None` when there is no memory.
    pub fn try_new(len: usize) -> Option<Buffer> {
        let (buffer, fresh) = Buffer::uncounted(len)?;
        FRESH.fetch_add(fresh, Relaxed);
        PEAK.fetch_max(LIVE.fetch_add(buffer.cap, Relaxed) + buffer.cap, Relaxed);
        Some(buffer)
    }

    /// A block that no figure knows yet, and how many bytes of it come from the system.
    fn uncounted(len: usize) -> Option<(Buffer, usize)> {
        if len > isize::MAX as usize / 4 {
            return None;
        }
        if EXACT {
            let cap = len.max(1);
            return Some((Buffer { ptr: heap_alloc(cap)?, len, cap }, cap));
        }
        let (class, cap) = class_of(len);
        let (ptr, fresh) = match take(class) {
            Some(ptr) => (ptr, 0),
            None => (system_alloc(cap)?, cap),
        };
        Some((Buffer { ptr, len, cap }, fresh))
    }

    /// A block for `n` elements of a dtype; `None` when there is no memory.
    pub fn for_elements(n: usize, dtype: DType) -> Option<Buffer> {
        Buffer::try_new(n.checked_mul(dtype.size())?)
    }

    /// A block filled from a slice.
    pub fn from_slice<T: bytemuck::NoUninit>(data: &[T]) -> Buffer {
        let bytes: &[u8] = bytemuck::cast_slice(data);
        let mut b = Buffer::new(bytes.len());
        b.bytes_mut().copy_from_slice(bytes);
        b
    }

    /// Bytes asked for.
    pub fn len(&self) -> usize {
        self.len
    }
    /// Whether no bytes were asked for.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// Bytes of the block that a buffer of `len` bytes gets.
    pub fn capacity_for(len: usize) -> usize {
        class_of(len).1
    }
    /// Bytes the block really has; another use may [`resize`](Buffer::resize) into them.
    pub fn capacity(&self) -> usize {
        self.cap
    }
    /// Uses the block for another length; false when it is too small.
    pub fn resize(&mut self, len: usize) -> bool {
        let fits = len <= self.cap;
        if fits {
            self.len = len;
        }
        fits
    }
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: ptr is valid for cap >= len initialised bytes while self lives.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }
    /// The bytes, for writing.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; exclusive through &mut self.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len) }
    }
    /// The contents as elements; a rest that is no whole element is left out.
    pub fn as_slice<T: Storage>(&self) -> &[T] {
        // SAFETY: the block is 64-byte aligned and initialised, T is plain old data.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr().cast(), self.len / size_of::<T>()) }
    }
    /// The contents as elements, for writing.
    pub fn as_mut_slice<T: Storage>(&mut self) -> &mut [T] {
        // SAFETY: as in `as_slice`; exclusive through &mut self.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr().cast(), self.len / size_of::<T>()) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        LIVE.fetch_sub(self.cap, Relaxed);
        release(self.ptr, self.cap);
    }
}

/// A block of the pool for the inside of a kernel. [`memory_stats`] does not count it: how many there are at
/// once depends on how many threads happen to run.
pub struct Working(ManuallyDrop<Buffer>);

impl Working {
    /// A block of at least `len` bytes with unspecified contents. Ends the process as `Vec` does when there is
    /// no memory.
    pub fn new(len: usize) -> Working {
        let block = Buffer::uncounted(len);
        let (buffer, _) = block.unwrap_or_else(|| handle_alloc_error(AllocLayout::new::<[u8; ALIGN]>()));
        Working(ManuallyDrop::new(buffer))
    }
    /// The bytes.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.bytes_mut()
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        release(self.0.ptr, self.0.cap);
    }
}

fn release(ptr: NonNull<u8>, cap: usize) {
    if EXACT { heap_free(ptr, cap) } else { give(ptr, cap) }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} bytes)", self.len)
    }
}

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static FRESH: AtomicUsize = AtomicUsize::new(0);
static POOL: Mutex<Pool> = Mutex::new(Pool { free: [const { Vec::new() }; CLASSES], cached: 0 });

struct Pool {
    free: [Vec<Block>; CLASSES],
    cached: usize,
}
struct Block(NonNull<u8>);
// SAFETY: a free block belongs to the pool alone.
unsafe impl Send for Block {}

/// Class number and block size for a length: sizes 64·(4..8)/4·2^k.
fn class_of(len: usize) -> (usize, usize) {
    let units = len.div_ceil(ALIGN).max(1);
    if units <= 4 {
        return (units - 1, units * ALIGN);
    }
    let log = (units - 1).ilog2() as usize; // units in (2^log, 2^(log+1)]
    let step = 1usize << (log - 2);
    let k = (units - (1 << log)).div_ceil(step); // 1..=4
    let cap = ((1usize << log) + k * step).saturating_mul(ALIGN);
    (4 * (log - 1) + k - 1, cap)
}

fn take(class: usize) -> Option<NonNull<u8>> {
    let mut pool = POOL.lock().unwrap_or_else(|e| e.into_inner());
    let ptr = pool.free[class].pop()?.0;
    pool.cached -= size_of_class(class);
    Some(ptr)
}

fn size_of_class(class: usize) -> usize {
    if class < 4 {
        return (class + 1) * ALIGN;
    }
    let (log, k) = (class / 4 + 1, class % 4 + 1);
    ((1usize << log) + k * (1 << (log - 2))) * ALIGN
}

fn give(ptr: NonNull<u8>, cap: usize) {
    let (class, _) = class_of(cap);
    let mut victims = Vec::new();
    {
        let mut pool = POOL.lock().unwrap_or_else(|e| e.into_inner());
        pool.free[class].push(Block(ptr));
        pool.cached += cap;
        // A bound on free memory: programs whose sizes drift would otherwise collect blocks of every
        // size. Twice the peak, because a steady step uses blocks of many sizes one after the other,
        // and all of them together are more than what is in use at once. The largest go first.
        let limit = 2 * PEAK.load(Relaxed) + (64 << 20);
        let mut c = CLASSES;
        while pool.cached > limit && c > 0 {
            c -= 1;
            while pool.cached > limit && c != class {
                let Some(b) = pool.free[c].pop() else { break };
                let size = size_of_class(c);
                pool.cached -= size;
                victims.push((b, size));
            }
        }
    }
    for (b, size) in victims {
        system_free(b.0, size);
    }
}

/// Figures of the pool, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryStats {
    /// In use by tensors now.
    pub live: usize,
    /// Most ever in use at once since start or [`reset_peak`].
    pub peak: usize,
    /// Free blocks kept for reuse.
    pub cached: usize,
    /// Taken from the system since the start; constant in a steady training step.
    pub fresh: usize,
}

/// Memory in use now, at its peak, kept for reuse, and taken from the system so far.
pub fn memory_stats() -> MemoryStats {
    let cached = POOL.lock().unwrap_or_else(|e| e.into_inner()).cached;
    MemoryStats { live: LIVE.load(Relaxed), peak: PEAK.load(Relaxed), cached, fresh: FRESH.load(Relaxed) }
}

/// Starts a new measurement of the peak at what is in use now.
pub fn reset_peak() {
    PEAK.store(LIVE.load(Relaxed), Relaxed);
}

/// Gives all free blocks back to the system.
pub fn trim_memory() {
    let mut all = Vec::new();
    {
        let mut pool = POOL.lock().unwrap_or_else(|e| e.into_inner());
        for (c, list) in pool.free.iter_mut().enumerate() {
            all.extend(list.drain(..).map(|b| (b, size_of_class(c))));
        }
        pool.cached = 0;
    }
    for (b, size) in all {
        system_free(b.0, size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_cover_and_waste_at_most_a_quarter() {
        for len in (0..100_000).chain([1 << 20, (1 << 20) + 1, 5 << 20, (3 << 30) + 7]) {
            let (class, cap) = class_of(len);
            assert!(cap >= len);
            assert_eq!(size_of_class(class), cap, "len {len}");
            assert_eq!(class_of(cap), (class, cap));
            assert!(cap <= len + len / 4 + ALIGN, "len {len} cap {cap}");
        }
    }

    #[test]
    fn working_memory_is_the_pools_and_is_not_counted() {
        // A size that no other test asks for.
        let len = 77 << 20;
        drop(Buffer::new(len));
        let before = memory_stats();
        let mut w = Working::new(len);
        assert_eq!((w.bytes_mut().len(), w.bytes_mut().as_ptr() as usize % ALIGN), (len, 0));
        w.bytes_mut()[len - 1] = 1;
        if !EXACT {
            let now = memory_stats();
            assert!(now.cached < before.cached, "it came from the pool");
            assert!(now.live < len && before.live < len);
        }
    }

    #[test]
    fn a_freed_block_is_handed_out_again_and_large_ones_are_aligned() {
        let a = Buffer::new(3 << 20);
        assert_eq!(a.capacity() == a.len(), EXACT || a.capacity() == 3 << 20);
        let p = a.bytes().as_ptr() as usize;
        assert_eq!(p % ALIGN, 0);
        drop(a);
        let b = Buffer::new((3 << 20) - 5);
        assert_eq!(b.bytes().as_ptr() as usize % ALIGN, 0);
        assert_eq!(b.len(), (3 << 20) - 5);
    }
}
