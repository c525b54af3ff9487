//! Workers: the module with this name in [`cdi_core`], and threads.
//!
//! ```
//! use cdi_prune::workers::{Pool, Threads, Workers};
//!
//! let pool = Pool::new(2)?;
//! let mut items = [1, 2, 3];
//! pool.run(|| {
//!     assert_eq!(Threads.count(), 2);
//!     // Each thread has scratch space of its own, which is empty here.
//!     Threads.each(&mut items, || (), |(), item| *item *= 10);
//! });
//! assert_eq!(items, [10, 20, 30]);
//! # Ok::<(), cdi_prune::workers::PoolError>(())
//! ```

pub use cdi_core::workers::*;
use rayon::prelude::*;

/// Threads that work for whoever calls [`Pool::run`], and end with the pool. Without one, work is done by
/// rayon's global threads.
#[derive(Debug)]
pub struct Pool(rayon::ThreadPool);

/// Threads that could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {threads} thread{}: {reason}", if *.threads == 1 { "" } else { "s" })]
pub struct PoolError {
    /// How many.
    pub threads: usize,
    /// Why not, in the system's words.
    pub reason: String,
}

impl Pool {
    /// Starts this many threads.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn new(threads: usize) -> Result<Self, PoolError> {
        // As much as the main thread has: whole commands run on them.
        let builder = rayon::ThreadPoolBuilder::new().num_threads(threads).stack_size(8 << 20);
        builder.build().map(Self).map_err(|error| PoolError { threads, reason: error.to_string() })
    }

    /// Does `work` on these threads, and everything that it shares out among several.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.0.install(work)
    }
}

/// Asked before each item of long work whether to stop. Once it has returned true, it must keep doing so.
pub type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

/// Work that ended early, because its [`Stop`] said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stopped")]
pub struct Stopped;

/// [`Threads`] that leave all further items out once they are to stop. What was being computed is then
/// incomplete, and must be thrown away.
pub(crate) struct Stoppable<'a>(pub Stop<'a>);

impl Workers for Stoppable<'_> {
    fn count(&self) -> usize {
        Threads.count()
    }

    fn each<T: Send, S>(
        &self,
        items: &mut [T],
        scratch: impl Fn() -> S + Sync + Send,
        work: impl Fn(&mut S, &mut T) + Sync + Send,
    ) {
        Threads.each(items, scratch, |scratch, item| {
            if !(self.0)() {
                work(scratch, item);
            }
        });
    }
}

/// The threads of the current pool.
#[derive(Clone, Copy, Debug, Default)]
pub struct Threads;

impl Workers for Threads {
    fn count(&self) -> usize {
        rayon::current_num_threads()
    }

    fn each<T: Send, S>(
        &self,
        items: &mut [T],
        scratch: impl Fn() -> S + Sync + Send,
        work: impl Fn(&mut S, &mut T) + Sync + Send,
    ) {
        items.par_iter_mut().for_each_init(scratch, work);
    }
}
