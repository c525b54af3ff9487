//! Reads pruned, packed and ordinary safetensors files from C. The header is `include/cdi_prune.h`, the guide
//! `docs/c.md`.
//!
//! - No state outside the handles, no threads, and no text but in the caller's `cdi_error`.
//! - A handle of a tensor keeps its file, so the two may be closed in any order.
//! - A file may be used by several threads at the same time, a handle of a tensor by one at a time.

#![cfg_attr(not(feature = "std"), no_std)]
#![allow(non_camel_case_types, reason = "the names of C")]

extern crate alloc;

mod error;
mod file;
mod tensor;

pub use error::{CDI_MESSAGE, cdi_error, cdi_status};
#[cfg(feature = "std")]
pub use file::cdi_open;
pub use file::{
    cdi_close, cdi_count, cdi_dtype, cdi_file, cdi_find, cdi_info, cdi_inspect, cdi_limits, cdi_open_memory,
};
pub use tensor::{cdi_read_f32, cdi_read_f64, cdi_read_rows, cdi_tensor, cdi_tensor_close, cdi_tensor_open};

/// The version of this library, `major.minor.patch`, as a text that stays valid.
#[unsafe(no_mangle)]
pub extern "C" fn cdi_version() -> *const core::ffi::c_char {
    const VERSION: &core::ffi::CStr =
        match core::ffi::CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
            Ok(version) => version,
            Err(_) => c"",
        };
    VERSION.as_ptr()
}
