//! Work in blocks on the threads of the current pool, with progress and cancellation.

pub use cdi_core::internal::blocks::{BLOCK_ELEMENTS, Block, Reads, cut};

use super::error::Error;
use super::progress::Progress;
use crate::workers::Threads;

/// `for_each` of the core on those threads. `progress` is told of each finished item, and asked
/// whether to continue.
///
/// # Errors
/// [`Error::Cancelled`], and the errors of `work`.
pub fn for_each<'a, T, S, R, E>(
    items: &[T],
    progress: &dyn Progress,
    reads: impl Fn(&T) -> Reads<'a> + Sync + Send,
    scratch: impl Fn() -> S + Sync + Send,
    work: impl Fn(&mut S, &T) -> Result<R, E> + Sync + Send,
) -> Result<Vec<R>, Error>
where
    T: Sync,
    S: Send,
    R: Send,
    E: Into<Error>,
{
    let advance = |bytes| progress.advance(bytes);
    let work = |scratch: &mut S, item: &T| match progress.cancelled() {
        true => Err(Error::Cancelled),
        false => work(scratch, item).map_err(Into::into),
    };
    cdi_core::internal::blocks::for_each(&Threads, items, advance, reads, scratch, work)
}
