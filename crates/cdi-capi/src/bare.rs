//! What the Rust standard library would provide, from C instead: memory from `malloc`, and `abort` for a
//! panic. The crate `libc` does not declare these functions for microcontrollers.

use core::alloc::{GlobalAlloc, Layout};
use core::ffi::c_void;
use core::panic::PanicInfo;
use core::ptr::null_mut;

unsafe extern "C" {
    fn malloc(size: usize) -> *mut c_void;
    fn free(memory: *mut c_void);
    fn abort() -> !;
}

/// Every `malloc` aligns to at least this: two pointers, as common C libraries do.
const MALLOC_ALIGN: usize = 2 * size_of::<usize>();

/// C's `malloc`. Its `aligned_alloc` is missing on microcontrollers, so a stricter alignment, which hardly
/// anything needs, is found within a larger piece of memory. The piece's address is kept before the result.
struct Malloc;

// SAFETY: `malloc` returns memory of the requested size, aligned to MALLOC_ALIGN, or null, and `free` takes
// what it returned.
unsafe impl GlobalAlloc for Malloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        if align <= MALLOC_ALIGN {
            // SAFETY: any size is allowed.
            return unsafe { malloc(size) }.cast();
        }
        let Some(larger) = size.checked_add(align) else { return null_mut() };
        // SAFETY: as above. The result begins at least MALLOC_ALIGN, so a pointer, behind the beginning of
        // the piece, and `size` bytes before its end, since both alignments are powers of two.
        unsafe {
            let piece = malloc(larger).cast::<u8>();
            if piece.is_null() {
                return piece;
            }
            let result = piece.add(align - piece.addr() % align);
            result.cast::<*mut u8>().sub(1).write(piece);
            result
        }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller passes what `alloc` returned for this layout.
        unsafe {
            let piece =
                if layout.align() <= MALLOC_ALIGN { memory } else { memory.cast::<*mut u8>().sub(1).read() };
            free(piece.cast());
        }
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
