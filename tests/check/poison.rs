//! An allocator that overwrites what is freed, so that a late look at it does not find what was
//! there.

use std::alloc::{GlobalAlloc, Layout, System};

/// The system's allocator, with freed memory overwritten.
struct Poisoning;

// SAFETY: passes every call on to the system's allocator, which keeps the contract; writes only to
// a block that the caller gives up.
#[expect(unsafe_code, reason = "an allocator is unsafe by its trait")]
unsafe impl GlobalAlloc for Poisoning {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the block is the caller's until it is freed, and so long.
        unsafe { at.write_bytes(0xa5, layout.size()) };
        // SAFETY: the caller's.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Poisoning = Poisoning;
