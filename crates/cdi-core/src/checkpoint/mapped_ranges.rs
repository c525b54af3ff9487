//! The address ranges of mapped files, in a form that a signal handler can read: without locks or allocation.
//!
//! Each mapped file has a slot, which holds a pointer to its range and path. Unmapping the file empties the
//! slot, waits until nobody reads the table, and then frees what the slot pointed to. Readers are counted for
//! this; later readers find the slot empty.

use core::ops::Range;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::path::Path;

use crate::prelude::*;

/// Maximum number of files in the table. More can be mapped, but [`file_at`] does not find them.
const FILES: usize = 1024;

static MAPPED: Table = Table::new();

/// The address range and the path of a mapped file.
struct Mapping {
    addresses: Range<usize>,
    path: Box<[u8]>,
}

/// The mapped files.
struct Table {
    slots: [AtomicPtr<Mapping>; FILES],
    /// Number of threads and signal handlers that are reading the table.
    readers: AtomicUsize,
}

/// Adds a file with its addresses to the table. Returns its slot, or `None` if the table is full.
pub(super) fn note(path: &Path, bytes: &[u8]) -> Option<usize> {
    MAPPED.note(path, bytes)
}

/// Empties a slot.
pub(super) fn forget(at: usize) {
    MAPPED.forget(at);
}

/// The path of the file that is mapped at this address, if it is in the table. It is written to `path`, and
/// cut off if that is too short. Signal handlers may call this.
pub fn file_at(address: usize, path: &mut [u8]) -> Option<&[u8]> {
    MAPPED.find(address, path)
}

impl Table {
    const fn new() -> Self {
        Self { slots: [const { AtomicPtr::new(ptr::null_mut()) }; FILES], readers: AtomicUsize::new(0) }
    }

    fn note(&self, path: &Path, bytes: &[u8]) -> Option<usize> {
        let start = bytes.as_ptr().addr();
        let path = path.to_string_lossy().into_owned().into_bytes().into_boxed_slice();
        let mapping = Box::into_raw(Box::new(Mapping { addresses: start..start + bytes.len(), path }));
        let take = |slot: &AtomicPtr<Mapping>| {
            slot.compare_exchange(ptr::null_mut(), mapping, Ordering::SeqCst, Ordering::Relaxed).is_ok()
        };
        let at = self.slots.iter().position(take);
        if at.is_none() {
            // SAFETY: it comes from `Box::into_raw` above and is in no slot.
            drop(unsafe { Box::from_raw(mapping) });
        }
        at
    }

    fn forget(&self, at: usize) {
        let mapping = self.slots[at].swap(ptr::null_mut(), Ordering::SeqCst);
        // Readers that are counted from here on find the slot empty, because all these operations have
        // one order (SeqCst).
        while self.readers.load(Ordering::SeqCst) > 0 {
            std::thread::yield_now();
        }
        if !mapping.is_null() {
            // SAFETY: it comes from `Box::into_raw` in `note`. The swap removed it from its only slot, and
            // all readers that could have seen it there have finished.
            drop(unsafe { Box::from_raw(mapping) });
        }
    }

    fn find<'p>(&self, address: usize, path: &'p mut [u8]) -> Option<&'p [u8]> {
        self.readers.fetch_add(1, Ordering::SeqCst);
        let holds = |mapping: &&Mapping| {
            // The mapping extends to the end of its last page, whatever the page size.
            let end = mapping.addresses.end.next_multiple_of(1 << 16);
            (mapping.addresses.start..end).contains(&address)
        };
        // SAFETY: null, or from `Box::into_raw` in `note` and not freed while a reader is counted.
        let mappings = self.slots.iter().filter_map(|slot| unsafe { slot.load(Ordering::SeqCst).as_ref() });
        // If pages are smaller, another file may begin before that end.
        let found = mappings.filter(holds).max_by_key(|mapping| mapping.addresses.start);
        let length = found.map(|mapping| {
            let length = mapping.path.len().min(path.len());
            path[..length].copy_from_slice(&mapping.path[..length]);
            length
        });
        self.readers.fetch_sub(1, Ordering::SeqCst);
        length.map(|length| &path[..length])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Table {
        fn used(&self) -> usize {
            self.slots.iter().filter(|slot| !slot.load(Ordering::SeqCst).is_null()).count()
        }
    }

    #[test]
    fn every_slot_is_free_again() {
        let table = Table::new();
        let bytes = vec![0; 3 << 16];
        let start = bytes.as_ptr().addr();
        assert_eq!(table.used(), 0);
        // More files than there are slots, but not all at once.
        for turn in 0..40 {
            let notes: Vec<usize> = (0..100)
                .map(|n| table.note(Path::new(&format!("{turn}/{n}")), &bytes[n << 8..][..1 << 8]).unwrap())
                .collect();
            assert_eq!(table.used(), 100);
            let (mut path, mut short) = ([0; 32], [0; 3]);
            let name = format!("{turn}/0");
            assert_eq!(table.find(start + (7 << 8), &mut path), Some(format!("{turn}/7").as_bytes()));
            assert_eq!(table.find(start, &mut path), Some(name.as_bytes()));
            assert_eq!(table.find(start, &mut short), Some(&name.as_bytes()[..name.len().min(3)]));
            assert_eq!(table.find(start - (1 << 17), &mut path), None);
            notes.into_iter().for_each(|at| table.forget(at));
            assert_eq!((table.used(), table.find(start, &mut path)), (0, None));
        }
    }

    #[test]
    fn files_without_a_slot_are_not_found() {
        let table = Table::new();
        let notes: Vec<_> = (0..FILES).map(|_| table.note(Path::new("one"), &[]).unwrap()).collect();
        assert_eq!((table.note(Path::new("more"), &[]), table.used()), (None, FILES));
        notes.into_iter().for_each(|at| table.forget(at));
        assert_eq!(table.used(), 0);
    }

    #[test]
    fn a_path_is_whole_whoever_forgets_it_meanwhile() {
        let table = Table::new();
        let bytes = [0; 64];
        std::thread::scope(|scope| {
            for n in 0..2 {
                let (table, bytes) = (&table, &bytes);
                scope.spawn(move || {
                    let path = format!("a rather long path number {n}");
                    for _ in 0..2000 {
                        table.forget(table.note(Path::new(&path), bytes).unwrap());
                    }
                });
            }
            for _ in 0..2000 {
                let mut path = [0; 64];
                if let Some(path) = table.find(bytes.as_ptr().addr(), &mut path) {
                    assert!(path.starts_with(b"a rather long path number "), "{path:?}");
                }
            }
        });
        assert_eq!(table.used(), 0);
    }
}
