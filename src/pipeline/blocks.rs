//! Work in blocks whose progress is shown.

use super::progress::Progress;
pub use crate::blocks::{BLOCK_ELEMENTS, Block, Reads, cut};

/// [`crate::blocks::for_each`], which tells `progress` of each item that is done.
pub fn for_each<'a, T, S, R, E>(
    items: &[T],
    progress: &dyn Progress,
    reads: impl Fn(&T) -> Reads<'a> + Sync + Send,
    scratch: impl Fn() -> S + Sync + Send,
    work: impl Fn(&mut S, &T) -> Result<R, E> + Sync + Send,
) -> Result<Vec<R>, E>
where
    T: Sync,
    R: Send,
    E: Send,
{
    crate::blocks::for_each(items, |bytes| progress.advance(bytes), reads, scratch, work)
}
