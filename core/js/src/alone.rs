//! What the standard library would bring along: an allocator, and the end of a panic.
//!
//! Without it nothing formats a message that nobody would see, which is a tenth of what pages fetch. A panic is a trap:
//! `hermetic.js` makes an `EngineFault` of it.

use core::panic::PanicInfo;

#[global_allocator]
static MEMORY: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}
