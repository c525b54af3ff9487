//! What the Rust standard library would provide, from C instead: memory from `malloc`, and `abort` for a
//! panic. The crate `libc` does not declare these functions for microcontrollers.

use core::alloc::{GlobalAlloc, Layout};
use core::ffi::c_void;
use core::panic::PanicInfo;

unsafe extern "C" {
    fn malloc(size: usize) -> *mut c_void;
    fn aligned_alloc(alignment: usize, size: usize) -> *mut c_void;
    fn free(memory: *mut c_void);
    fn abort() -> !;
}

/// Every `malloc` aligns to at least this: two pointers, as common C libraries do.
const MALLOC_ALIGN: usize = 2 * size_of::<usize>();

struct Malloc;

// SAFETY: these functions of C return memory of the requested size and alignment or null, and `free` takes
// what either of them returned.
unsafe impl GlobalAlloc for Malloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let memory = if layout.align() <= MALLOC_ALIGN {
            // SAFETY: any size is allowed.
            unsafe { malloc(layout.size()) }
        } else {
            // SAFETY: the alignment is a power of two, and the size a multiple of it, as C11 requires.
            unsafe { aligned_alloc(layout.align(), layout.pad_to_align().size()) }
        };
        memory.cast()
    }

    unsafe fn dealloc(&self, memory: *mut u8, _: Layout) {
        // SAFETY: the caller passes what `alloc` returned.
        unsafe { free(memory.cast()) }
    }
}

#[global_allocator]
static MALLOC: Malloc = Malloc;

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    // SAFETY: it may be called at any time.
    unsafe { abort() }
}

/// The precompiled `core` refers to this function on targets that can unwind. It is never called, because
/// a panic aborts.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
