//! What a place to write to has to do.

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::checkpoint::{CheckpointError, Identity};
use crate::digest;

/// A place for the outputs of a run, which become visible there together or not at all. Its paths are those
/// that the config names. Files on a disk are one ([`LocalSink`](super::LocalSink)), memory is another
/// ([`MemorySink`](super::MemorySink)).
///
/// The order of calls: [`Self::claim`]; for each output its drafts, of a checkpoint behind [`Self::begin`];
/// at the end [`Self::commit`], once. A sink that is dropped gives up the outputs that it has claimed, and a
/// draft that is dropped leaves nothing behind.
///
/// Errors name the path that they are about, and leave whatever is visible as it was.
pub trait Sink: fmt::Debug + Send + Sync {
    /// Has what a run that was killed has left of any of `outputs` completed or removed, whichever that run
    /// had come to; then takes the right to write `anchor`, one of them, which one sink at a time has. No
    /// file of `inputs` is replaced, neither now nor later on behalf of a killed run.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`](crate::checkpoint::ErrorKind::InUse) where another run writes an output;
    /// [`ErrorKind::UnfinishedInput`](crate::checkpoint::ErrorKind::UnfinishedInput).
    fn claim(
        &mut self,
        anchor: Option<&Path>,
        outputs: &[&Path],
        inputs: BTreeSet<Identity>,
    ) -> Result<(), CheckpointError>;

    /// Begins a checkpoint of one file or several: takes the right to write `output`, under whatever names
    /// its files will have. Returns where it really lies, links followed. With a key, which stands for all
    /// that decides about the bytes, [`Self::resume`] finds what a killed run has finished under the same
    /// one; without, or under another, that is gone.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`](crate::checkpoint::ErrorKind::InUse); what no output can be.
    fn begin(&mut self, output: &Path, key: Option<&str>) -> Result<PathBuf, CheckpointError>;

    /// A new draft of `length` bytes, all 0, which grows where more is written. Of `room` bytes in all it is
    /// sure that they fit, as far as the place can tell.
    ///
    /// # Errors
    /// [`ErrorKind::NoSpace`](crate::checkpoint::ErrorKind::NoSpace);
    /// [`ErrorKind::InUse`](crate::checkpoint::ErrorKind::InUse); what no output can be.
    fn create(&mut self, path: &Path, length: u64, room: u64) -> Result<Box<dyn Draft>, CheckpointError>;

    /// The draft of this path that a killed run has finished ([`Draft::finish`]) under the key that
    /// [`Self::begin`] was given, if it is as long as that, begins with `header` and has not changed since.
    ///
    /// # Errors
    /// What refused to read it. That there is none is no error.
    fn resume(
        &mut self,
        path: &Path,
        length: u64,
        header: &[u8],
    ) -> Result<Option<Box<dyn Draft>>, CheckpointError>;

    /// Every file that is visible of the checkpoint `output`, in whatever form: a single file, an index, any
    /// number of shards.
    fn forms(&self, output: &Path) -> Vec<PathBuf>;

    /// Makes drafts visible, in this order, each in place of what is there, and removes the files `stale`.
    ///
    /// All of it or nothing, whoever reads and whenever the process is killed: an error leaves everything as
    /// it was, and what a killed process has not done to the end is done by the next [`Self::claim`] of any
    /// of the outputs. When it returns, everything is as safe from a power cut as the place can make it.
    ///
    /// # Errors
    /// [`ErrorKind::Mixed`](crate::checkpoint::ErrorKind::Mixed) where a place that lacks something could not
    /// put everything back; it names what stays.
    ///
    /// # Panics
    /// If a draft is of another kind of sink.
    fn commit(&mut self, drafts: Vec<Box<dyn Draft>>, stale: Vec<PathBuf>) -> Result<(), CheckpointError>;
}

/// An output that is being written, and that nobody sees until its sink commits it. Dropped before, it leaves
/// nothing behind.
pub trait Draft: Any + fmt::Debug + Send + Sync {
    /// Where it will be, links followed.
    fn path(&self) -> &Path;

    /// Its length in bytes.
    ///
    /// # Errors
    /// What the system says.
    fn size(&self) -> io::Result<u64>;

    /// Fills `bytes` with those from `offset` on: those written last.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::UnexpectedEof`] beyond the end.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at this offset. Any order, any thread; what is written twice at once is one or
    /// the other.
    ///
    /// # Errors
    /// What the system says, such as that the disk is full.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Says that it is complete. It is safe from now on, and where its output was begun with a key, a run
    /// after a killed one can take it over.
    ///
    /// # Errors
    /// What the system says.
    fn finish(&self) -> Result<(), CheckpointError>;

    /// To write it from its beginning to its end.
    fn stream(&self) -> Box<dyn Write + '_>;
}

/// SHA-256 and length of a draft.
pub(crate) fn hash(draft: &dyn Draft) -> io::Result<(String, u64)> {
    digest::of_reader(Reading { draft, at: 0, size: draft.size()? })
}

/// A draft, read from its beginning to its end.
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
