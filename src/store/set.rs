//! The outputs of one run, which become visible all together or not at all.

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::destination::Destination;
use super::sink::{Draft, Sink};
use crate::checkpoint::{CheckpointError, Identity, identity};

/// Outputs that become visible together, in the order in which they were added.
#[derive(Debug)]
pub struct OutputSet {
    drafts: Vec<Box<dyn Draft>>,
    /// Files of other forms of the same outputs, to be removed.
    stale: Vec<PathBuf>,
    /// Dropped after the drafts, so that the claims are released last.
    sink: Box<dyn Sink>,
}

impl Default for OutputSet {
    /// An empty set of files that go where their paths say ([`Destination`]).
    fn default() -> Self {
        Self::on(Box::new(Destination::default()))
    }
}

impl OutputSet {
    /// An empty set of outputs that are written through this sink.
    pub fn on(sink: Box<dyn Sink>) -> Self {
        Self { drafts: Vec::new(), stale: Vec::new(), sink }
    }

    /// An empty set of files that go where their paths say, for a run with the output `anchor` and these
    /// `inputs`. Whatever an earlier run left unfinished is completed or discarded first. No other run with
    /// this anchor can begin until the set is dropped.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`] if another run has claimed the output;
    /// [`ErrorKind::BadHelper`]; [`ErrorKind::Io`].
    ///
    /// [`ErrorKind::InUse`]: crate::checkpoint::ErrorKind::InUse
    /// [`ErrorKind::BadHelper`]: crate::checkpoint::ErrorKind::BadHelper
    /// [`ErrorKind::Io`]: crate::checkpoint::ErrorKind::Io
    pub fn open<'p>(
        anchor: &Path,
        inputs: impl IntoIterator<Item = &'p Path>,
    ) -> Result<Self, CheckpointError> {
        let mut set = Self::default();
        set.claim(Some(anchor), &[], inputs.into_iter().map(identity).collect())?;
        Ok(set)
    }

    /// Completes or discards what a killed run has begun of these outputs, and of the other outputs it
    /// had, so that either all old files or all new files are visible. None of `inputs` is replaced.
    ///
    /// # Errors
    /// Those of [`Self::open`], and
    /// [`ErrorKind::UnfinishedInput`](crate::checkpoint::ErrorKind::UnfinishedInput).
    pub fn recover<'p, 'o>(
        outputs: impl IntoIterator<Item = &'o Path>,
        inputs: impl IntoIterator<Item = &'p Path>,
    ) -> Result<(), CheckpointError> {
        let outputs: Vec<&Path> = outputs.into_iter().collect();
        Self::default().claim(None, &outputs, inputs.into_iter().map(identity).collect())
    }

    /// Calls [`Sink::claim`].
    ///
    /// # Errors
    /// Those of [`Sink::claim`].
    pub fn claim(
        &mut self,
        anchor: Option<&Path>,
        outputs: &[&Path],
        inputs: BTreeSet<Identity>,
    ) -> Result<(), CheckpointError> {
        self.sink.claim(anchor, outputs, inputs)
    }

    /// The sink that the outputs are written through.
    pub(super) fn sink(&mut self) -> &mut dyn Sink {
        &mut *self.sink
    }

    /// Adds a draft. Drafts are renamed in the order in which they were added.
    pub(super) fn add(&mut self, draft: Box<dyn Draft>) {
        self.drafts.push(draft);
    }

    /// Adds a small text file.
    ///
    /// # Errors
    /// Those of creating and writing a file.
    pub fn add_text(&mut self, path: &Path, text: &str) -> Result<(), CheckpointError> {
        self.add_bytes(path, text.as_bytes()).map(drop)
    }

    /// Adds a small file with this content. Returns its path with links resolved.
    ///
    /// # Errors
    /// Those of creating and writing a file.
    pub fn add_bytes(&mut self, path: &Path, bytes: &[u8]) -> Result<PathBuf, CheckpointError> {
        self.add_with(path, |file| file.write_all(bytes))
    }

    /// Adds a file that `write` writes piece by piece, so that it is never in memory as a whole. Returns its
    /// path with links resolved.
    ///
    /// # Errors
    /// Those of creating and writing a file.
    pub fn add_with(
        &mut self,
        path: &Path,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<PathBuf, CheckpointError> {
        let draft = self.sink.create(path, 0, 0)?;
        let mut stream = BufWriter::with_capacity(1 << 20, draft.stream());
        write(&mut stream).and_then(|()| stream.flush()).map_err(CheckpointError::io(path, "write"))?;
        drop(stream);
        let path = draft.path().to_owned();
        self.add(draft);
        Ok(path)
    }

    /// Marks a file to be removed on commit, if it exists.
    pub(super) fn remove(&mut self, path: PathBuf) {
        self.stale.push(path);
    }

    /// The files added so far.
    pub fn files(&self) -> impl ExactSizeIterator<Item = &dyn Draft> {
        self.drafts.iter().map(|draft| &**draft)
    }

    /// Makes everything visible. Returns the paths of the files.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::checkpoint::ErrorKind::Io): everything is as it was before.
    /// [`ErrorKind::Mixed`](crate::checkpoint::ErrorKind::Mixed): that could not be restored.
    pub fn commit(mut self) -> Result<Vec<PathBuf>, CheckpointError> {
        let paths: Vec<PathBuf> = self.files().map(|file| file.path().to_owned()).collect();
        if !paths.is_empty() {
            self.sink.commit(std::mem::take(&mut self.drafts), std::mem::take(&mut self.stale))?;
        }
        Ok(paths)
    }
}
