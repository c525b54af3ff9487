//! What several threads may hold and change; without the standard library, what parts of one thread do.

#[cfg(not(feature = "std"))]
pub use alloc::rc::Rc as Shared;
#[cfg(feature = "std")]
pub use alloc::sync::Arc as Shared;

#[cfg(feature = "std")]
use std::sync::{Mutex, MutexGuard, PoisonError};

#[cfg(not(feature = "std"))]
use core::cell::{RefCell, RefMut};
#[cfg(not(feature = "std"))]
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

#[cfg(feature = "std")]
use crate::prelude::*;

/// A value that is changed by one at a time.
#[cfg(feature = "std")]
#[derive(Debug, Default)]
pub struct Lock<T>(Mutex<T>);

#[cfg(feature = "std")]
impl<T> Lock<T> {
    pub fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    /// Holds the value. A panic while another held it leaves what was there before.
    pub fn hold(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A value that is changed by one at a time.
#[cfg(not(feature = "std"))]
#[derive(Debug, Default)]
pub struct Lock<T>(RefCell<T>);

#[cfg(not(feature = "std"))]
impl<T> Lock<T> {
    pub fn new(value: T) -> Self {
        Self(RefCell::new(value))
    }

    pub fn hold(&self) -> RefMut<'_, T> {
        self.0.borrow_mut()
    }

    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }
}

/// Things that are used again: buffers, which cost less if they were made for work of the same kind before.
/// Without the standard library, things are always new.
#[derive(Debug)]
pub struct Spare<T> {
    #[cfg(feature = "std")]
    free: Lock<Vec<T>>,
    #[cfg(not(feature = "std"))]
    free: PhantomData<fn() -> T>,
}

// `Default` for things that have none.
impl<T> Default for Spare<T> {
    fn default() -> Self {
        Self { free: Default::default() }
    }
}

impl<T> Spare<T> {
    /// One that is free, as it was left, or else a new one.
    pub fn take(&self, new: impl FnOnce() -> T) -> Taken<'_, T> {
        #[cfg(feature = "std")]
        let own = self.free.hold().pop().unwrap_or_else(new);
        #[cfg(not(feature = "std"))]
        let own = new();
        Taken { spare: self, own: Some(own) }
    }
}

/// One of [`Spare`], which becomes free when this is dropped.
#[derive(Debug)]
pub struct Taken<'s, T> {
    #[cfg_attr(not(feature = "std"), expect(dead_code, reason = "nothing becomes free"))]
    spare: &'s Spare<T>,
    /// There until this is dropped.
    own: Option<T>,
}

impl<T> Deref for Taken<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.own.as_ref().expect("there until this is dropped")
    }
}

impl<T> DerefMut for Taken<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.own.as_mut().expect("there until this is dropped")
    }
}

#[cfg(feature = "std")]
impl<T> Drop for Taken<'_, T> {
    fn drop(&mut self) {
        self.spare.free.hold().extend(self.own.take());
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_taken_again_as_it_was_left() {
        let spare = Spare::default();
        let (mut first, second) = (spare.take(Vec::new), spare.take(Vec::new));
        first.push(7);
        drop(first);
        assert_eq!(*spare.take(|| panic!("there is a free one")), [7]);
        drop(second);
        assert_eq!(spare.free.hold().len(), 2);
    }
}
