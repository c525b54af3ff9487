//! Work in blocks, on the threads of the current pool.

pub use cdi_core::internal::blocks::{BLOCK_ELEMENTS, Block, Reads, cut};

use crate::workers::Threads;

/// `for_each` of the core on them.
pub fn for_each<'a, T, S, R, E>(
    items: &[T],
    advance: impl Fn(u64) + Sync + Send,
    reads: impl Fn(&T) -> Reads<'a> + Sync + Send,
    scratch: impl Fn() -> S + Sync + Send,
    work: impl Fn(&mut S, &T) -> Result<R, E> + Sync + Send,
) -> Result<Vec<R>, E>
where
    T: Sync,
    R: Send,
    E: Send,
{
    cdi_core::internal::blocks::for_each(&Threads, items, advance, reads, scratch, work)
}
