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
use std::iter;
use std::sync::{Mutex, PoisonError};

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
        // A few items at a time, for balance, and so that small ones do not wait for each other. Rayon's
        // iterators would make scratch space anew several times per thread, and new memory is slow.
        let threads = self.count().min(items.len());
        let few = (items.len() / (16 * threads.max(1))).clamp(1, 64);
        let rest = Mutex::new(items.chunks_mut(few));
        let next = || rest.lock().unwrap_or_else(PoisonError::into_inner).next();
        let run = || {
            let Some(first) = next() else { return };
            let mut scratch = scratch();
            for items in iter::once(first).chain(iter::from_fn(next)) {
                items.iter_mut().for_each(|item| work(&mut scratch, item));
            }
        };
        rayon::in_place_scope(|scope| {
            (1..threads).for_each(|_| scope.spawn(|_| run()));
            run();
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn each_item_is_worked_on_once_with_scratch_space_made_once_per_thread() {
        let pool = Pool::new(3).expect("three threads");
        for len in [0, 1, 2, 3, 47, 1000, 10_000] {
            let made = AtomicUsize::new(0);
            let mut items: Vec<usize> = (0..len).collect();
            let scratch = || made.fetch_add(1, Ordering::Relaxed);
            pool.run(|| Threads.each(&mut items, scratch, |_, item| *item = 2 * *item + 1));
            assert!(items.iter().enumerate().all(|(n, item)| *item == 2 * n + 1), "{len} items");
            assert!(made.load(Ordering::Relaxed) <= 3, "{len} items");
        }
    }
}
