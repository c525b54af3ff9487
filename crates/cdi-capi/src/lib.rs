//! The C library: opens pruned, packed and ordinary safetensors files, describes their tensors, and restores
//! rows of them into memory of the caller. The header is `include/cdi_prune.h`, the guide `docs/c.md`.
//!
//! The library starts no threads, prints nothing unless it panics, and has no state outside its handles but a
//! table of the files that are mapped. A tensor's handle keeps its file open, so the two may be closed in any
//! order.
//!
//! # Safety
//! All functions have the same contract, which the header states for C: a pointer is NULL or valid for what
//! the function does with it, texts end with a zero, handles have not been closed, and a tensor's handle is
//! used by one thread at a time. Everything else is checked.
//!
//! # Features
//! | feature | default | adds |
//! | --- | --- | --- |
//! | `std` | yes | `cdi_open`: files on disk, shards and folders; files that several threads may share; panics that become `CDI_INTERNAL` |
//! | `simd` | yes | loops for AVX2 and AVX-512, used where the processor has them |
//! | `bare` | no | without `std`: an allocator that calls C's `malloc`, and a panic handler that calls `abort`, so that a static library can be built |

#![cfg_attr(not(feature = "std"), no_std)]
#![allow(non_camel_case_types, reason = "the names of C")]
#![allow(clippy::missing_safety_doc, reason = "one contract for all functions: see the page of the crate")]

extern crate alloc;

#[cfg(all(feature = "bare", not(feature = "std")))]
mod bare;
mod error;
mod file;
mod tensor;

use core::ffi::{CStr, c_char};

pub use error::{CDI_MESSAGE, cdi_error, cdi_status};
#[cfg(feature = "std")]
pub use file::cdi_open;
pub use file::{
    cdi_close, cdi_count, cdi_dtype, cdi_file, cdi_find, cdi_info, cdi_inspect, cdi_limits, cdi_open_memory,
};
pub use tensor::{cdi_read_f32, cdi_read_f64, cdi_read_rows, cdi_tensor, cdi_tensor_close, cdi_tensor_open};

/// The version of this library, `major.minor.patch`. The text is static.
#[unsafe(no_mangle)]
pub extern "C" fn cdi_version() -> *const c_char {
    const VERSION: &CStr =
        match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
            Ok(version) => version,
            Err(_) => panic!("a version has no zeros"),
        };
    VERSION.as_ptr()
}
