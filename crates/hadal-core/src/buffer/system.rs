//! Where blocks come from: the heap, or mappings on huge pages, of which smaller blocks share one.
//!
//! Walking over blocks of some hundred kilobytes costs a page fault for each 4 KiB the first time, and later
//! misses of the table of pages. An AdamW step over one tensor of 100 MB took 18.7 ms where one over a
//! hundred of 1 MB, on small pages, took 28.

use super::ALIGN;
use std::alloc::{Layout as AllocLayout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

#[cfg(not(all(unix, not(miri))))]
pub(super) use heap_alloc as system_alloc;
#[cfg(not(all(unix, not(miri))))]
pub(super) use heap_free as system_free;
#[cfg(all(unix, not(miri)))]
pub(super) use pages::{system_alloc, system_free};

pub(super) fn heap_alloc(cap: usize) -> Option<NonNull<u8>> {
    let layout = AllocLayout::from_size_align(cap, ALIGN).ok()?;
    // SAFETY: the layout's size is never zero (classes start at 64 bytes).
    NonNull::new(unsafe { alloc_zeroed(layout) })
}

pub(super) fn heap_free(ptr: NonNull<u8>, cap: usize) {
    // SAFETY: the block was allocated by `heap_alloc` with this size and alignment.
    unsafe { dealloc(ptr.as_ptr(), AllocLayout::from_size_align_unchecked(cap, ALIGN)) }
}

#[cfg(all(unix, not(miri)))]
mod pages {
    use super::{ALIGN, heap_alloc, heap_free};
    use std::ptr::NonNull;
    use std::sync::Mutex;

    /// The size of a huge page. From this size on, blocks have a mapping of their own.
    const HUGE: usize = 2 << 20;
    /// Smaller blocks come from the heap.
    const SMALL: usize = 32 << 10;
    /// Bytes of a mapping that blocks share. Only what is touched takes memory, a huge page at a time.
    const SLAB: usize = 16 << 20;

    pub(in crate::buffer) fn system_alloc(cap: usize) -> Option<NonNull<u8>> {
        match cap {
            ..SMALL => heap_alloc(cap),
            SMALL..HUGE => slabs().alloc(cap),
            _ => map(cap),
        }
    }

    pub(in crate::buffer) fn system_free(ptr: NonNull<u8>, cap: usize) {
        match cap {
            ..SMALL => heap_free(ptr, cap),
            SMALL..HUGE => slabs().free(ptr, cap),
            _ => unmap(ptr, cap),
        }
    }

    /// A zeroed block with a mapping of its own, aligned to a huge page.
    fn map(cap: usize) -> Option<NonNull<u8>> {
        // Room to align the block; what is cut off is given back.
        let want = cap.checked_add(2 * HUGE)?;
        // SAFETY: an anonymous private mapping has no preconditions; the result is checked. The parts
        // unmapped lie inside the mapping just made and outside the block returned.
        unsafe {
            let p = libc::mmap(
                std::ptr::null_mut(),
                want,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            if p == libc::MAP_FAILED {
                return None;
            }
            let start = p as usize;
            let aligned = start.next_multiple_of(HUGE);
            let end = aligned + round_to_page(cap);
            if aligned > start {
                libc::munmap(p, aligned - start);
            }
            if start + want > end {
                libc::munmap(end as *mut libc::c_void, start + want - end);
            }
            #[cfg(target_os = "linux")]
            libc::madvise(aligned as *mut libc::c_void, cap, libc::MADV_HUGEPAGE);
            NonNull::new(aligned as *mut u8)
        }
    }

    fn unmap(ptr: NonNull<u8>, cap: usize) {
        // SAFETY: blocks of this size came from `map` with this rounded length.
        unsafe {
            libc::munmap(ptr.as_ptr().cast(), round_to_page(cap));
        }
    }

    fn round_to_page(x: usize) -> usize {
        // 64 KiB covers every page size in use; mapping lengths are rounded up by the kernel anyway.
        x.next_multiple_of(64 << 10)
    }

    /// The mappings that blocks share, oldest first.
    struct Slabs(Vec<Slab>);

    struct Slab {
        start: NonNull<u8>,
        holes: Holes,
    }
    // SAFETY: what lies in a hole belongs to the slabs alone, the rest to whoever has the block.
    unsafe impl Send for Slab {}

    static SLABS: Mutex<Slabs> = Mutex::new(Slabs(Vec::new()));

    fn slabs() -> std::sync::MutexGuard<'static, Slabs> {
        // A panic cannot leave the list half changed: nothing in here panics between changes.
        SLABS.lock().unwrap_or_else(|e| e.into_inner())
    }

    impl Slabs {
        /// A block in the first hole that is large enough. Its contents are zero, or what a block before
        /// left there.
        fn alloc(&mut self, cap: usize) -> Option<NonNull<u8>> {
            let found = self.0.iter_mut().find_map(|s| Some((s.start, s.holes.take(cap)?)));
            let (start, at) = match found {
                Some(found) => found,
                None => {
                    let start = map(SLAB)?;
                    let mut holes = Holes::new(SLAB);
                    let at = holes.take(cap)?;
                    self.0.push(Slab { start, holes });
                    (start, at)
                }
            };
            // SAFETY: the hole lies inside the slab.
            Some(unsafe { start.add(at) })
        }

        /// Takes a block back; a slab without blocks goes back to the system.
        fn free(&mut self, ptr: NonNull<u8>, cap: usize) {
            let inside = |s: &Slab| (ptr.addr().get()).wrapping_sub(s.start.addr().get()) < SLAB;
            let Some(i) = self.0.iter().position(inside) else { return };
            let slab = &mut self.0[i];
            slab.holes.give(ptr.addr().get() - slab.start.addr().get(), cap);
            if slab.holes.len == SLAB {
                let slab = self.0.remove(i);
                unmap(slab.start, SLAB);
            }
        }
    }

    /// The free parts of a slab.
    struct Holes {
        /// Starts and lengths, in order, no two of them neighbours.
        parts: Vec<(usize, usize)>,
        /// Bytes in all.
        len: usize,
    }

    impl Holes {
        fn new(len: usize) -> Holes {
            Holes { parts: vec![(0, len)], len }
        }

        /// The place of a part of `cap` bytes, a multiple of [`ALIGN`].
        fn take(&mut self, cap: usize) -> Option<usize> {
            debug_assert!(cap.is_multiple_of(ALIGN));
            let i = self.parts.iter().position(|p| p.1 >= cap)?;
            let (start, len) = self.parts[i];
            if len == cap {
                self.parts.remove(i);
            } else {
                self.parts[i] = (start + cap, len - cap);
            }
            self.len -= cap;
            Some(start)
        }

        fn give(&mut self, start: usize, cap: usize) {
            self.len += cap;
            let i = self.parts.partition_point(|p| p.0 < start);
            let (mut start, mut end) = (start, start + cap);
            let mut joined = i..i;
            if let Some(&(next, len)) = self.parts.get(i).filter(|p| p.0 == end) {
                end = next + len;
                joined.end += 1;
            }
            if let Some(&(before, _)) =
                i.checked_sub(1).map(|k| &self.parts[k]).filter(|p| p.0 + p.1 == start)
            {
                start = before;
                joined.start -= 1;
            }
            self.parts.splice(joined, [(start, end - start)]);
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn holes_join_and_are_used_again() {
            let mut h = Holes::new(1024);
            let at: Vec<usize> = [256, 128, 512, 64].map(|cap| h.take(cap).unwrap()).to_vec();
            assert_eq!(at, [0, 256, 384, 896]);
            assert_eq!((h.take(128), h.len), (None, 64));
            h.give(256, 128);
            assert_eq!(h.take(64), Some(256));
            h.give(256, 64);
            h.give(896, 64);
            assert_eq!(h.parts, [(256, 128), (896, 128)]);
            h.give(384, 512);
            assert_eq!(h.parts, [(256, 768)]);
            h.give(0, 256);
            assert_eq!((h.parts.as_slice(), h.len), (&[(0, 1024)][..], 1024));
        }

        #[test]
        fn blocks_of_a_slab_are_apart_and_go_back() {
            let mut slabs = Slabs(Vec::new());
            let caps = [SMALL, 5 * SMALL, HUGE - ALIGN, 3 * SMALL];
            let mut blocks = Vec::new();
            for i in 0..40 {
                let cap = caps[i % 4];
                let p = slabs.alloc(cap).unwrap();
                assert!(p.addr().get().is_multiple_of(ALIGN));
                // SAFETY: the block is `cap` bytes of this test alone.
                let block = unsafe { std::slice::from_raw_parts_mut(p.as_ptr(), cap) };
                assert!(block.iter().all(|&b| b == 0));
                block.fill(i as u8 + 1);
                blocks.push((p, cap));
            }
            for (i, &(p, cap)) in blocks.iter().enumerate() {
                // SAFETY: as above.
                let block = unsafe { std::slice::from_raw_parts(p.as_ptr(), cap) };
                assert!(block.iter().all(|&b| b == i as u8 + 1));
            }
            assert!(slabs.0.len() > 1);
            for (p, cap) in blocks {
                slabs.free(p, cap);
            }
            assert!(slabs.0.is_empty());
        }
    }
}
