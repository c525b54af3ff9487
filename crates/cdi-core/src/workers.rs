//! Who does the work: this crate starts no threads, and shares work among those that it is given.

use core::sync::atomic::{AtomicBool, Ordering};

use crate::prelude::*;

/// Several workers at once, or one alone: [`Alone`]. What comes of the work never depends
/// on how many they are.
pub trait Workers: Sync {
    /// How many work at once, 1 or more.
    fn count(&self) -> usize;

    /// Calls `work` once with each item, at the same time with as many as there are workers, each of which
    /// has made scratch space of its own; comes back when all is done.
    fn each<T: Send, S>(
        &self,
        items: &mut [T],
        scratch: impl Fn() -> S + Sync + Send,
        work: impl Fn(&mut S, &mut T) + Sync + Send,
    );

    /// What `work` makes of each item, in the order of the items.
    ///
    /// # Errors
    /// The first in that order of the errors there were. Items that nobody has begun when there
    /// is one are left out.
    fn map<T: Sync, S, R: Send, E: Send>(
        &self,
        items: &[T],
        scratch: impl Fn() -> S + Sync + Send,
        work: impl Fn(&mut S, &T) -> Result<R, E> + Sync + Send,
    ) -> Result<Vec<R>, E> {
        let failed = AtomicBool::new(false);
        let mut slots: Vec<(&T, Option<Result<R, E>>)> = items.iter().map(|item| (item, None)).collect();
        self.each(&mut slots, scratch, |scratch, (item, slot)| {
            if !failed.load(Ordering::Relaxed) {
                let result = work(scratch, item);
                if result.is_err() {
                    failed.store(true, Ordering::Relaxed);
                }
                *slot = Some(result);
            }
        });
        // Where one is left out there is an error, though perhaps behind it.
        let (mut results, mut error) = (Vec::with_capacity(slots.len()), None);
        for (_, slot) in slots {
            match slot {
                Some(Ok(result)) => results.push(result),
                Some(Err(first)) => error = error.or(Some(first)),
                None => {}
            }
        }
        error.map_or(Ok(results), Err)
    }
}

/// The calling thread alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Workers for Alone {
    fn count(&self) -> usize {
        1
    }

    fn each<T: Send, S>(
        &self,
        items: &mut [T],
        scratch: impl Fn() -> S + Sync + Send,
        work: impl Fn(&mut S, &mut T) + Sync + Send,
    ) {
        let mut scratch = scratch();
        items.iter_mut().for_each(|item| work(&mut scratch, item));
    }
}
