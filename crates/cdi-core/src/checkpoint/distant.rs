//! The content of a file in an object store: read in ranges, when they are needed or a little before, into a
//! temporary file that is mapped.
//!
//! The temporary file has no name, so the system removes it when the process ends, however it ends. Content
//! is read once: the second pass over a checkpoint finds it there. It therefore needs as much space in the
//! folder of temporary files (`TMPDIR`) as is read of all open checkpoints.

use core::ops::Range;
use std::fs::File;
use std::io;
use std::process;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use cdi_objects::{Object, RANGE};
use memmap2::{Mmap, MmapOptions};

use super::error::{CheckpointError, ErrorKind};
use super::file_name::FileName;
use crate::positioned::write_all_at;
use crate::prelude::*;

/// Bytes that are read or not read as a whole. Neighbouring ones are read in one request.
const PIECE: usize = 1 << 18;
/// Alignment in the temporary file: a multiple of every page size.
const PAGES: u64 = 1 << 16;

/// The content of a file in a store.
#[derive(Debug)]
pub struct Distant {
    shared: Arc<Shared>,
    map: Option<Mmap>,
}

/// What the threads that read it share.
#[derive(Debug)]
struct Shared {
    name: FileName,
    object: Object,
    file: Arc<File>,
    /// Its position in the temporary file.
    at: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    pieces: Vec<Piece>,
    /// The process that reads them.
    process: u32,
    /// Why nothing more is read.
    failed: Option<(io::ErrorKind, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Absent,
    Coming,
    Here,
}

impl Distant {
    /// That of this object, which has this name in messages.
    pub fn new(name: FileName, object: Object) -> Result<Self, CheckpointError> {
        let size = object.size();
        let no_file = |error: io::Error| {
            let folder = std::env::temp_dir();
            CheckpointError::io(&folder, "create a temporary file here")(error)
        };
        let (file, at) = reserve(size).map_err(no_file)?;
        let pieces = vec![Piece::Absent; (size as usize).div_ceil(PIECE)];
        let map = if size == 0 {
            None
        } else {
            // SAFETY: nobody else has this file. What is written to it goes to pieces that no slice refers
            // to, because slices are made of pieces that are here, which are written once.
            let map = unsafe { MmapOptions::new().offset(at).len(size as usize).map(&*file) };
            Some(map.map_err(no_file)?)
        };
        let state = Mutex::new(State { pieces, process: process::id(), failed: None });
        Ok(Self { shared: Arc::new(Shared { name, object, file, at, state, changed: Condvar::new() }), map })
    }

    pub fn len(&self) -> usize {
        self.shared.object.size() as usize
    }

    pub fn tag(&self) -> Option<&str> {
        self.shared.object.tag()
    }

    pub fn map(&self) -> Option<&Mmap> {
        self.map.as_ref()
    }

    /// A range of the content. Waits until it is here.
    pub fn part(&self, range: Range<usize>) -> Result<&[u8], CheckpointError> {
        assert!(range.start <= range.end && range.end <= self.len(), "a part beyond its file");
        let Some(map) = self.map.as_ref().filter(|_| !range.is_empty()) else { return Ok(&[]) };
        self.read_ahead(range.clone());
        let shared = &*self.shared;
        let pieces = pieces(&range);
        let mut state = shared.lock();
        while state.failed.is_none() && state.pieces[pieces.clone()].iter().any(|piece| *piece != Piece::Here)
        {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some((kind, message)) = &state.failed {
            let error = io::Error::new(*kind, message.clone());
            return Err(CheckpointError::new(shared.name.clone(), ErrorKind::Io { action: "read", error }));
        }
        drop(state);
        // SAFETY: within the mapping. The pieces are here, so nobody writes to them any more. The slice is
        // not made of one of the whole mapping, other parts of which are being written.
        Ok(unsafe { core::slice::from_raw_parts(map.as_ptr().add(range.start), range.len()) })
    }

    /// Begins to read the pieces of a range that nobody has begun to read.
    pub fn read_ahead(&self, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        let mut begun: Vec<Range<usize>> = Vec::new();
        let mut state = self.shared.lock();
        if state.failed.is_some() {
            return;
        }
        for n in pieces(&range) {
            if state.pieces[n] != Piece::Absent {
                continue;
            }
            state.pieces[n] = Piece::Coming;
            match begun.last_mut() {
                Some(run) if run.end == n && run.len() * PIECE < RANGE as usize => run.end = n + 1,
                _ => begun.push(n..n + 1),
            }
        }
        drop(state);
        begun.into_iter().for_each(|run| Shared::fetch(&self.shared, run));
    }
}

/// The pieces that a range touches.
fn pieces(range: &Range<usize>) -> Range<usize> {
    range.start / PIECE..range.end.div_ceil(PIECE)
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // What was coming when the process was forked comes to its parent. That has the same content, so both
        // may write it to the same place.
        if state.process != process::id() {
            state.process = process::id();
            state
                .pieces
                .iter_mut()
                .filter(|piece| **piece == Piece::Coming)
                .for_each(|piece| *piece = Piece::Absent);
        }
        state
    }

    /// Reads these pieces on another thread.
    fn fetch(this: &Arc<Self>, run: Range<usize>) {
        let bytes = (run.start * PIECE) as u64..((run.end * PIECE) as u64).min(this.object.size());
        let shared = Arc::clone(this);
        let at = this.at + bytes.start;
        let own = run.clone();
        let begun = this.object.fetch(bytes, move |read| {
            let written = read.and_then(|content| {
                write_all_at(&shared.file, &content, at).map_err(|error| {
                    let folder = std::env::temp_dir();
                    let message = format!(
                        "{error} in {}: the content of objects is kept there; choose another folder with TMPDIR",
                        folder.display()
                    );
                    io::Error::new(error.kind(), message)
                })
            });
            shared.end(own, written);
        });
        if let Err(error) = begun {
            this.end(run, Err(error));
        }
    }

    fn end(&self, run: Range<usize>, result: io::Result<()>) {
        let mut state = self.lock();
        match result {
            Ok(()) => state.pieces[run].fill(Piece::Here),
            Err(error) => {
                state.failed.get_or_insert((error.kind(), error.to_string()));
            }
        }
        drop(state);
        self.changed.notify_all();
    }
}

impl Drop for Shared {
    /// Gives the space in the temporary file back, where the system can.
    fn drop(&mut self) {
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::{FallocateFlags, fallocate};
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            let _ = fallocate(&*self.file, flags, self.at, self.object.size().max(1));
        }
    }
}

/// The temporary file of this process.
struct Temporary {
    process: u32,
    file: Arc<File>,
    end: u64,
}

/// One for all objects: a model may have more shards than a process may have open files.
static TEMPORARY: Mutex<Option<Temporary>> = Mutex::new(None);

/// Room for `size` bytes in the temporary file, and where.
fn reserve(size: u64) -> io::Result<(Arc<File>, u64)> {
    let mut temporary = TEMPORARY.lock().unwrap_or_else(PoisonError::into_inner);
    // After a fork, both processes would write to the same places.
    if temporary.as_ref().is_none_or(|temporary| temporary.process != process::id()) {
        let file = Arc::new(tempfile::tempfile()?);
        *temporary = Some(Temporary { process: process::id(), file, end: 0 });
    }
    let Temporary { file, end, .. } = temporary.as_mut().expect("set above");
    let at = *end;
    let new_end = (at + size).next_multiple_of(PAGES);
    file.set_len(new_end)?;
    *end = new_end;
    Ok((file.clone(), at))
}
