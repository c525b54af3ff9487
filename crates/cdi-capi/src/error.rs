//! What a function returns, and the text of an error.

use core::ffi::c_char;
use core::fmt::{self, Write};

/// Bytes of the text of an error, with the zero at its end.
pub const CDI_MESSAGE: usize = 512;

/// What a function returns. Later versions may add values.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum cdi_status {
    /// Done.
    CDI_OK = 0,
    /// An argument cannot be: a null pointer, a text that is not UTF-8, an index or rows that do not exist, a
    /// buffer of another size, a type that does not hold the values.
    CDI_ARGUMENT = 1,
    /// The file cannot be read, is invalid, exceeds the limits, or needs another base.
    CDI_FILE = 2,
    /// An error inside this library, after which its handles must not be used.
    CDI_INTERNAL = 3,
}

/// The text of an error, in memory of the caller. Every function that takes one accepts NULL, and sets it
/// only when it returns something else than CDI_OK.
#[repr(C)]
pub struct cdi_error {
    /// UTF-8 in one line, with a zero at its end; the beginning of a text that is too long.
    pub message: [c_char; CDI_MESSAGE],
}

/// What goes wrong, on its way out.
#[derive(Debug)]
pub struct Failure {
    status: cdi_status,
    message: alloc::string::String,
}

impl Failure {
    pub fn argument(message: impl fmt::Display) -> Self {
        Self { status: cdi_status::CDI_ARGUMENT, message: alloc::format!("{message}") }
    }

    pub fn file(message: impl fmt::Display) -> Self {
        Self { status: cdi_status::CDI_FILE, message: alloc::format!("{message}") }
    }
}

/// Does `work`, and tells C how it went.
pub fn report(error: *mut cdi_error, work: impl FnOnce() -> Result<(), Failure>) -> cdi_status {
    let failure = match caught(work) {
        Ok(()) => return cdi_status::CDI_OK,
        Err(failure) => failure,
    };
    // SAFETY: the caller gives NULL or a `cdi_error` that may be written.
    if let Some(error) = unsafe { error.as_mut() } {
        let mut text = Text { to: &mut error.message, len: 0 };
        let _ = text.write_str(&failure.message);
    }
    failure.status
}

/// A panic must not unwind into C. Without the standard library, the firmware's handler decides what it does.
#[cfg(feature = "std")]
pub fn caught(work: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    // What a panic leaves half done is not looked at again, as the header says.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let message = "an error inside cdi-prune; please report it".into();
        Err(Failure { status: cdi_status::CDI_INTERNAL, message })
    })
}

#[cfg(not(feature = "std"))]
pub fn caught(work: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    work()
}

/// Text that ends with a zero.
struct Text<'a> {
    to: &'a mut [c_char; CDI_MESSAGE],
    len: usize,
}

impl Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = CDI_MESSAGE - 1 - self.len;
        // Cut between characters.
        let end = (0..=room.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        for byte in text[..end].bytes() {
            // A name may hold line breaks and zeros; a message is one line of text.
            self.to[self.len] = if byte < b' ' { b' ' } else { byte } as c_char;
            self.len += 1;
        }
        self.to[self.len] = 0;
        Ok(())
    }
}
