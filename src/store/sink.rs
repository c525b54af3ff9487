//! The interface of a destination for outputs.

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::checkpoint::{CheckpointError, Identity};
use crate::digest;

/// A destination for the outputs of a run, which become visible there all together or not at all. Paths are
/// those in the config. Implementations: [`Destination`](super::Destination), which is files on a disk
/// ([`LocalSink`](super::LocalSink)) and objects in stores, and memory ([`MemorySink`](super::MemorySink)).
///
/// The order of calls: [`Self::claim`]; then, for each output, its drafts, and for a checkpoint
/// [`Self::begin`] before them; at the end [`Self::commit`], once. Dropping a sink releases the outputs that
/// it has claimed. Dropping a draft leaves nothing behind.
///
/// Errors name the path that they are about. They leave the visible files as they were.
pub trait Sink: fmt::Debug + Send + Sync {
    /// Completes or removes what a killed run has left of any of `outputs`, depending on how far that run had
    /// come. Then takes the exclusive right to write `anchor`, one of the outputs. No file in `inputs` is
    /// replaced, neither now nor later when another killed run is completed.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`](crate::checkpoint::ErrorKind::InUse) if another run writes an output;
    /// [`ErrorKind::UnfinishedInput`](crate::checkpoint::ErrorKind::UnfinishedInput).
    fn claim(
        &mut self,
        anchor: Option<&Path>,
        outputs: &[&Path],
        inputs: BTreeSet<Identity>,
    ) -> Result<(), CheckpointError>;

    /// Begins a checkpoint of one or more files: takes the right to write `output`, whatever names its files
    /// will have. Returns its real path, with links resolved. The key stands for everything that determines
    /// the bytes. With a key, [`Self::resume`] finds what a killed run has finished under the same key.
    /// Without a key, or under another one, that is discarded.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`](crate::checkpoint::ErrorKind::InUse); errors for a path that cannot be an output.
    fn begin(&mut self, output: &Path, key: Option<&str>) -> Result<PathBuf, CheckpointError>;

    /// Creates a draft of `length` zero bytes, which grows if more is written. As far as the destination can
    /// tell, there is space for `room` bytes in total.
    ///
    /// # Errors
    /// [`ErrorKind::NoSpace`](crate::checkpoint::ErrorKind::NoSpace);
    /// [`ErrorKind::InUse`](crate::checkpoint::ErrorKind::InUse); errors for a path that cannot be an output.
    fn create(&mut self, path: &Path, length: u64, room: u64) -> Result<Box<dyn Draft>, CheckpointError>;

    /// The draft at this path that a killed run finished ([`Draft::finish`]) under the key given to
    /// [`Self::begin`], if it has this length, begins with `header` and has not changed since.
    /// `None` if there is none, which is the default.
    ///
    /// # Errors
    /// Errors of reading it.
    fn resume(
        &mut self,
        path: &Path,
        length: u64,
        header: &[u8],
    ) -> Result<Option<Box<dyn Draft>>, CheckpointError> {
        let _ = (path, length, header);
        Ok(None)
    }

    /// Whether [`Self::resume`] finds files without a key: files that other processes have finished for this
    /// one.
    fn has_finished(&self) -> bool {
        false
    }

    /// Whether this output is sent away from this machine. Then a run does not look for what another
    /// one has finished, and finishes each file ([`Draft::finish`]) when it is complete, without a
    /// key too: that sends it.
    fn is_distant(&self, output: &Path) -> bool {
        let _ = output;
        false
    }

    /// Every visible file of the checkpoint `output`, in any form: a single file, an index,
    /// any number of shards.
    fn forms(&self, output: &Path) -> Vec<PathBuf>;

    /// Makes drafts visible in this order, each replacing what is there, and removes the files in `stale`.
    ///
    /// The commit is atomic, even for concurrent readers and if the process is killed. An error
    /// leaves everything as it was. The commit of a killed process is completed by the next
    /// [`Self::claim`] of any of the outputs. On return, the files are as safe from a power failure
    /// as the destination can make them.
    ///
    /// # Errors
    /// [`ErrorKind::Mixed`](crate::checkpoint::ErrorKind::Mixed) if the destination could not put everything
    /// back; it names the files that stay.
    ///
    /// # Panics
    /// If a draft belongs to another kind of sink.
    fn commit(&mut self, drafts: Vec<Box<dyn Draft>>, stale: Vec<PathBuf>) -> Result<(), CheckpointError>;
}

/// An output that is being written. It is not visible until its sink commits it. Dropping it before that
/// leaves nothing behind.
pub trait Draft: Any + fmt::Debug + Send + Sync {
    /// Its final path, with links resolved.
    fn path(&self) -> &Path;

    /// Its length in bytes.
    ///
    /// # Errors
    /// Errors of the system.
    fn size(&self) -> io::Result<u64>;

    /// Fills `bytes` with the data from `offset` on, as last written.
    ///
    /// # Errors
    /// Errors of the system; [`io::ErrorKind::UnexpectedEof`] beyond the end.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at this offset, in any order and from any thread. If two threads write to the
    /// same position at the same time, the result is what one of them wrote.
    ///
    /// # Errors
    /// Errors of the system, such as a full disk.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Marks the draft as complete, after which nothing may be written to it, and makes it safe on disk. If
    /// its output was begun with a key, a later run can resume it if this one is killed.
    ///
    /// # Errors
    /// Errors of the system.
    fn finish(&self) -> Result<(), CheckpointError>;

    /// A writer from beginning to end.
    fn stream(&self) -> Box<dyn Write + '_>;

    /// Its SHA-256, if that was computed and nothing has been written since.
    fn known_sha256(&self) -> Option<String> {
        None
    }
}

/// SHA-256 and length in bytes of a draft.
pub(crate) fn hash(draft: &dyn Draft) -> io::Result<(String, u64)> {
    if let Some(sha256) = draft.known_sha256() {
        return Ok((sha256, draft.size()?));
    }
    digest::of_reader(Reading { draft, at: 0, size: draft.size()? })
}

/// A reader of a draft from beginning to end.
struct Reading<'a> {
    draft: &'a dyn Draft,
    at: u64,
    size: u64,
}

impl Read for Reading<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let length = (bytes.len() as u64).min(self.size - self.at) as usize;
        self.draft.read_at(self.at, &mut bytes[..length])?;
        self.at += length as u64;
        Ok(length)
    }
}

/// A writer of a draft from beginning to end.
pub(super) struct Appending<'a> {
    draft: &'a dyn Draft,
    at: u64,
}

impl<'a> Appending<'a> {
    /// Of this draft.
    pub fn to(draft: &'a dyn Draft) -> Self {
        Self { draft, at: 0 }
    }
}

impl Write for Appending<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.draft.write_at(self.at, bytes)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
