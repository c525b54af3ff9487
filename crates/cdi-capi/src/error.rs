//! What a function returns, and the text of an error.

use alloc::string::String;
use core::ffi::c_char;
use core::fmt;

use cdi_core::reader::{OpenError, RowsError};

/// Size of an error's text in bytes, with the zero at its end.
pub const CDI_MESSAGE: usize = 512;

/// What a function returns. These values never change; later versions may add some.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum cdi_status {
    /// Success.
    CDI_OK = 0,
    /// A wrong argument: a null pointer, a text that is not UTF-8, an index, a name or rows that do not
    /// exist, a buffer of another size or misaligned, or a type that cannot hold the tensor's values.
    CDI_ARGUMENT = 1,
    /// The file cannot be read, is invalid or damaged, exceeds the limits, or needs a (different) base.
    CDI_FILE = 2,
    /// A bug in this library. Close the handles that were passed, and do not use them for anything else.
    CDI_INTERNAL = 3,
}

/// The text of an error, in memory that the caller provides. A function writes it only if it returns
/// something other than CDI_OK.
#[repr(C)]
pub struct cdi_error {
    /// One line of UTF-8 that ends with a zero. A longer text is cut off.
    pub message: [c_char; CDI_MESSAGE],
}

/// An error on its way to C.
#[derive(Debug)]
pub struct Failure {
    status: cdi_status,
    message: String,
}

impl Failure {
    pub fn argument(message: impl fmt::Display) -> Self {
        Self { status: cdi_status::CDI_ARGUMENT, message: alloc::format!("{message}") }
    }

    pub fn null(name: &str) -> Self {
        Self::argument(format_args!("{name} is NULL"))
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        Self { status: cdi_status::CDI_FILE, message: alloc::format!("{error}") }
    }
}

impl From<RowsError> for Failure {
    fn from(error: RowsError) -> Self {
        let status = match error {
            RowsError::Code { .. } | RowsError::TooLarge { .. } | RowsError::NoMemory { .. } => {
                cdi_status::CDI_FILE
            }
            _ => cdi_status::CDI_ARGUMENT,
        };
        Self { status, message: alloc::format!("{error}") }
    }
}

/// Does `work` and tells C the outcome. `error` comes from C: NULL, or memory for a `cdi_error`, which may be
/// uninitialised.
pub fn report(error: *mut cdi_error, work: impl FnOnce() -> Result<(), Failure>) -> cdi_status {
    match caught(work) {
        Ok(()) => cdi_status::CDI_OK,
        Err(Failure { status, message }) => {
            if !error.is_null() {
                // SAFETY: the contract of the crate.
                unsafe { write_message(error, &message) };
            }
            status
        }
    }
}

/// A panic must not unwind into C. In a build with `panic = "abort"`, it ends the program instead.
#[cfg(feature = "std")]
fn caught(work: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    // Whatever a panic leaves half done is in handles that must not be used any more.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let message = "a bug in cdi-prune; please report it".into();
        Err(Failure { status: cdi_status::CDI_INTERNAL, message })
    })
}

/// Without the standard library, the panic handler ends the program.
#[cfg(not(feature = "std"))]
fn caught(work: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    work()
}

/// # Safety
/// `error` points to memory for a `cdi_error`, which may be uninitialised.
unsafe fn write_message(error: *mut cdi_error, message: &str) {
    let room = message.len().min(CDI_MESSAGE - 1);
    // Characters stay whole.
    let end = (0..=room).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
    let to = error.cast::<u8>();
    for (n, byte) in message.bytes().take(end).enumerate() {
        // Names of tensors may contain line breaks and zeros.
        let byte = if byte.is_ascii_control() { b' ' } else { byte };
        // SAFETY: `n` is less than CDI_MESSAGE, and the text is all that a `cdi_error` consists of.
        unsafe { to.add(n).write(byte) };
    }
    // SAFETY: as above.
    unsafe { to.add(end).write(0) };
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_status() {
        let mut error = cdi_error { message: [1; CDI_MESSAGE] };
        assert_eq!(report(&mut error, || panic!("of this test")), cdi_status::CDI_INTERNAL);
        let text = error.message.iter().take_while(|byte| **byte != 0).map(|byte| *byte as u8 as char);
        assert_eq!(text.collect::<String>(), "a bug in cdi-prune; please report it");
        assert_eq!(report(core::ptr::null_mut(), || panic!("of this test")), cdi_status::CDI_INTERNAL);
    }
}
