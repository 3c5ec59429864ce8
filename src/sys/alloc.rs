//! The global allocator: the system's, with every block zeroed before it is given back.
//! It must never forward `realloc`: the system's own would free the old block unwiped.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};

/// The system allocator, wiping on free.
///
/// `realloc` is the trait's default on purpose: a new block, a copy, and the old one through `dealloc`.
#[derive(Debug)]
pub struct WipingAllocator;

// SAFETY: every block comes from `System` and goes back to it with the layout it came with; the wipe stays inside it.
unsafe impl GlobalAlloc for WipingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is passed on as it is.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is passed on as it is.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller gives up `block`, which is `layout.size()` bytes of ours until `System.dealloc`.
        unsafe {
            wipe(block, layout.size());
            System.dealloc(block, layout);
        }
    }
}

/// Gives free pages back to the kernel, those between blocks in use too: malloc_trim(3). By itself glibc gives back only
/// what lies at the very end of the heap.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it touches nothing but the allocator's own free blocks, under the allocator's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Zeroes `size` bytes in a way that the compiler can't leave out as dead stores before a free.
///
/// # Safety
/// `block` must be valid for writes of `size` bytes.
#[inline]
pub(super) unsafe fn wipe(block: *mut u8, size: usize) {
    // SAFETY: the caller's promise; the empty asm only makes the address escape.
    unsafe {
        std::ptr::write_bytes(block, 0, size);
        std::arch::asm!("/* {0} */", in(reg) block, options(nostack, preserves_flags));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freed_block_holds_nothing_of_its_owner() {
        let layout = Layout::from_size_align(4096, 16).unwrap();
        // SAFETY: a block of 4096 bytes, wiped as `dealloc` does and looked at before it goes back.
        unsafe {
            let block = WipingAllocator.alloc(layout);
            block.write_bytes(0xA5, 4096);
            wipe(block, 4096);
            assert!(std::slice::from_raw_parts(block, 4096).iter().all(|byte| *byte == 0));
            WipingAllocator.dealloc(block, layout);
        }
    }

    #[cfg(not(feature = "leaky-allocator"))]
    #[test]
    fn a_vector_that_grew_left_no_copy_behind() {
        use std::os::unix::fs::FileExt;
        let memory = std::fs::File::open("/proc/self/mem").unwrap();
        // Above glibc's threshold the old block would be unmapped: stay below.
        let mut grows = vec![0xA5_u8; 2048];
        let old = grows.as_ptr() as u64;
        grows.extend_from_slice(&[0xA5; 8192]);
        if grows.as_ptr() as u64 == old {
            return;
        }
        let mut left = [0; 2048];
        memory.read_exact_at(&mut left, old).unwrap();
        // The allocator's own links take the first bytes of a free block.
        assert!(!left.windows(64).any(|part| part == [0xA5; 64]));
    }
}
