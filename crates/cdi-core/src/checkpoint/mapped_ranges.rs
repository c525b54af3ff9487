//! The address ranges of mapped files, in a form that a signal handler may read: without locks and without
//! allocation.

use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::path::Path;

/// Files beyond these are mapped all the same, and not found by [`file_at`].
const FILES: usize = 1024;

struct Place {
    start: AtomicUsize,
    end: AtomicUsize,
    /// The path's bytes, never freed, with their number.
    path: AtomicPtr<u8>,
    length: AtomicUsize,
}

static PLACES: [Place; FILES] = [const {
    Place {
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        path: AtomicPtr::new(ptr::null_mut()),
        length: AtomicUsize::new(0),
    }
}; FILES];

/// Notes that these addresses are of this file. Gives the number under which that is noted.
pub(super) fn note(path: &Path, bytes: &[u8]) -> Option<usize> {
    let start = bytes.as_ptr().addr();
    let at = PLACES.iter().position(|place| {
        place.start.compare_exchange(0, start, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    })?;
    let text: &'static mut [u8] = path.to_string_lossy().into_owned().into_bytes().leak();
    PLACES[at].length.store(text.len(), Ordering::Release);
    PLACES[at].path.store(text.as_mut_ptr(), Ordering::Release);
    PLACES[at].end.store(start + bytes.len(), Ordering::Release);
    Some(at)
}

/// Forgets a note.
pub(super) fn forget(at: usize) {
    PLACES[at].end.store(0, Ordering::Release);
    PLACES[at].start.store(0, Ordering::Release);
}

/// The path of the file that is mapped at this address, if it is one of them. For signal handlers too.
pub fn file_at(address: usize) -> Option<&'static [u8]> {
    let place = PLACES.iter().find(|place| {
        (place.start.load(Ordering::Acquire)..place.end.load(Ordering::Acquire).next_multiple_of(1 << 16))
            .contains(&address)
    })?;
    let (path, length) = (place.path.load(Ordering::Acquire), place.length.load(Ordering::Acquire));
    // SAFETY: both are of one leaked allocation: they are stored before `end`, which made the
    // range hold the address.
    (!path.is_null()).then(|| unsafe { std::slice::from_raw_parts(path, length) })
}
