//! Bytes in a store that cannot be read when they are needed.
//!
//! Most code takes bytes for granted, because those of a mapped file are there. An error of a store therefore
//! unwinds, like a panic without a message, up to the nearest [`catch`]. No code ever sees other bytes than
//! those of the file, and nothing is written meanwhile but what its destructors remove.

use super::error::CheckpointError;
#[cfg(feature = "std")]
use crate::prelude::*;

/// What unwinds.
#[cfg(feature = "std")]
struct Unreadable(CheckpointError);

/// Ends the work of the nearest [`catch`] with this error.
#[cfg(feature = "std")]
pub(super) fn give_up(error: CheckpointError) -> ! {
    std::panic::resume_unwind(Box::new(Unreadable(error)))
}

/// Without files, bytes are in memory.
#[cfg(not(feature = "std"))]
pub(super) fn give_up(error: CheckpointError) -> ! {
    unreachable!("{error}")
}

/// Does `work`. If bytes in a store that it needs cannot be read, it ends, and this returns the error. The
/// functions of the crate `cdi-prune` do this themselves; a program that reads tensors of a
/// [`Checkpoint`](super::Checkpoint) in a store must, or it ends as with a panic. Files on disk and in memory
/// need no such care.
///
/// ```
/// use cdi_core::checkpoint::{Checkpoint, catch};
///
/// let header = br#"{"w":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}"#;
/// let file = [&(header.len() as u64).to_le_bytes()[..], header, &[1, 2]].concat();
/// let checkpoint = Checkpoint::from_bytes("w.safetensors", file.into())?;
/// let sum = catch(|| checkpoint.tensor("w").unwrap().bytes().iter().sum::<u8>())?;
/// assert_eq!(sum, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`ErrorKind::Io`](super::ErrorKind::Io).
#[cfg(feature = "std")]
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, CheckpointError> {
    // What `work` leaves half done is dropped or, in the caller's hands, as after an error that it returns.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).map_err(|panic| {
        match panic.downcast::<Unreadable>() {
            Ok(unreadable) => unreadable.0,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
