//! Work in blocks whose progress is shown.

use super::error::Error;
use super::progress::Progress;
pub use crate::blocks::{BLOCK_ELEMENTS, Block, Reads, cut};

/// [`crate::blocks::for_each`], which tells `progress` of each item that is done, and asks it whether to go on.
///
/// # Errors
/// [`Error::Cancelled`], and those of `work`.
pub fn for_each<'a, T, S, R, E>(
    items: &[T],
    progress: &dyn Progress,
    reads: impl Fn(&T) -> Reads<'a> + Sync + Send,
    scratch: impl Fn() -> S + Sync + Send,
    work: impl Fn(&mut S, &T) -> Result<R, E> + Sync + Send,
) -> Result<Vec<R>, Error>
where
    T: Sync,
    R: Send,
    E: Into<Error>,
{
    let advance = |bytes| progress.advance(bytes);
    crate::blocks::for_each(items, advance, reads, scratch, |scratch, item| match progress.cancelled() {
        true => Err(Error::Cancelled),
        false => work(scratch, item).map_err(Into::into),
    })
}
