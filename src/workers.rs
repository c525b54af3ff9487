//! Who does the work: the module of this name of [`cdi_core`], and threads.

pub use cdi_core::workers::*;
use rayon::prelude::*;

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
