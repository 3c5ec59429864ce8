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
