//! What several threads may hold and change; without the standard library, what parts of one thread do.

#[cfg(not(feature = "std"))]
pub use alloc::rc::Rc as Shared;
#[cfg(feature = "std")]
pub use alloc::sync::Arc as Shared;

#[cfg(feature = "std")]
use std::sync::{Mutex, MutexGuard, PoisonError};

#[cfg(not(feature = "std"))]
use core::cell::{RefCell, RefMut};

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
