//! The allocator: a room of fixed size inside the initial memory, and only then more memory.
//!
//! Owns the heap. A memory that grows changes the host's page tables twice, when it grows and when its place is made
//! ready for the next session, and each time all of the host's threads have to hear of it. The room is large enough for
//! a usual session, so it never grows; what is not used of it costs nothing. It fails as every allocator does: the
//! program ends, here by a trap.
#![allow(unsafe_code, reason = "an allocator; each argument stands beside its block")]

use core::alloc::{GlobalAlloc, Layout};
use core::arch::wasm32;
use core::cell::{Cell, UnsafeCell};
use core::ptr;

use dlmalloc::{Allocator, Dlmalloc};

/// Octets. The largest single thing is the input of one call, 64 KiB as the host reads it.
const ROOM: usize = 256 * 1024;

/// A page of WebAssembly, octets.
const PAGE: usize = 64 * 1024;

#[repr(align(4096))]
struct Room(UnsafeCell<[u8; ROOM]>);

// SAFETY: without threads there is nobody to share it with; the component has none.
unsafe impl Sync for Room {}

static ROOM_INSIDE: Room = Room(UnsafeCell::new([0; ROOM]));

/// Where the heap gets its memory from.
struct Source {
    taken: Cell<bool>,
}

// SAFETY: what `alloc` returns is zeroed, writable, at least as large as wanted, and handed out once: the room because
// `taken` remembers it, pages because `memory.grow` makes new ones. Nothing is ever taken back.
unsafe impl Allocator for Source {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        if size <= ROOM && !self.taken.replace(true) {
            return (ROOM_INSIDE.0.get().cast(), ROOM, 0);
        }
        let pages = size.div_ceil(PAGE);
        match wasm32::memory_grow(0, pages) {
            usize::MAX => (ptr::null_mut(), 0, 0),
            before => ((before * PAGE) as *mut u8, pages * PAGE, 0),
        }
    }

    fn remap(&self, _: *mut u8, _: usize, _: usize, _: bool) -> *mut u8 {
        ptr::null_mut()
    }

    fn free_part(&self, _: *mut u8, _: usize, _: usize) -> bool {
        false
    }

    fn free(&self, _: *mut u8, _: usize) -> bool {
        false
    }

    fn can_release_part(&self, _: u32) -> bool {
        false
    }

    fn allocates_zeros(&self) -> bool {
        true
    }

    fn page_size(&self) -> usize {
        PAGE
    }
}

struct Heap(UnsafeCell<Dlmalloc<Source>>);

// SAFETY: as for `Room`.
unsafe impl Sync for Heap {}

#[global_allocator]
static HEAP: Heap = Heap(UnsafeCell::new(Dlmalloc::new_with_allocator(Source { taken: Cell::new(false) })));

// SAFETY: dlmalloc keeps the contract of `GlobalAlloc` if its own is kept: the arguments are handed on as they are, and
// the exclusive borrow ends before the call returns; without threads, interrupts or callbacks no other can begin meanwhile.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe { (*self.0.get()).malloc(layout.size(), layout.align()) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        unsafe { (*self.0.get()).calloc(layout.size(), layout.align()) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        unsafe { (*self.0.get()).free(memory, layout.size(), layout.align()) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        unsafe { (*self.0.get()).realloc(memory, layout.size(), layout.align(), size) }
    }
}
