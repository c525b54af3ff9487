//! Threads of the caller. This crate starts none, and shares work among those that it is given: [`Workers`].
//!
//! ```
//! use cdi_core::init::{Generator, SchemeParams};
//! use cdi_core::tensor::{Layout, Shape};
//! use cdi_core::workers::{Alone, Workers};
//!
//! /// Up to this many threads for each call.
//! struct Scoped(usize);
//!
//! impl Workers for Scoped {
//!     fn count(&self) -> usize {
//!         self.0
//!     }
//!
//!     fn each<T: Send, S>(
//!         &self,
//!         items: &mut [T],
//!         scratch: impl Fn() -> S + Sync + Send,
//!         work: impl Fn(&mut S, &mut T) + Sync + Send,
//!     ) {
//!         let share = items.len().div_ceil(self.0).max(1);
//!         std::thread::scope(|scope| {
//!             for items in items.chunks_mut(share) {
//!                 scope.spawn(|| Alone.each(items, &scratch, &work));
//!             }
//!         });
//!     }
//! }
//!
//! let orthogonal = SchemeParams::named("orthogonal").scheme()?;
//! let generator = || {
//!     let shape = Shape::new(vec![96, 64]).expect("a small shape");
//!     Generator::new(1, 0, &orthogonal, &shape, Layout::OutIn)
//! };
//! let (one, several) = (generator(), generator());
//! several.whole().expect("orthogonal weights are drawn as a whole").prepare_on(&Scoped(4));
//! // The number of workers never changes a value.
//! assert_eq!(several.weight_at(95, 63), one.weight_at(95, 63));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
