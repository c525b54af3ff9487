//! The outputs of one run, which become visible together or not at all.

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::local::LocalSink;
use super::sink::{Draft, Sink};
use crate::checkpoint::{CheckpointError, Identity, identity};

/// Outputs that become visible together, in the order in which they were added.
#[derive(Debug)]
pub struct OutputSet {
    drafts: Vec<Box<dyn Draft>>,
    /// What other forms of the same outputs left, to be removed.
    stale: Vec<PathBuf>,
    /// Dropped after the drafts: the outputs are given up last.
    sink: Box<dyn Sink>,
}

impl Default for OutputSet {
    /// An empty set of local files.
    fn default() -> Self {
        Self::on(Box::new(LocalSink::default()))
    }
}

impl OutputSet {
    /// An empty set of outputs in this place.
    pub fn on(sink: Box<dyn Sink>) -> Self {
        Self { drafts: Vec::new(), stale: Vec::new(), sink }
    }

    /// An empty set for the outputs of a run of which `anchor` is one and which reads `inputs`, after
    /// whatever an earlier run has left half done is finished or forgotten. No other run with this anchor can
    /// begin until it is dropped. All are local files.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`] where another one lives; [`ErrorKind::BadHelper`]; [`ErrorKind::Io`].
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

    /// Finishes, or forgets, what a killed run has begun of these outputs and of the others that it had, so
    /// that they are the old ones or the new ones. A run that reads `inputs` has none of them replaced. All
    /// are local files.
    ///
    /// # Errors
    /// As [`Self::open`];
    /// [`ErrorKind::UnfinishedInput`](crate::checkpoint::ErrorKind::UnfinishedInput).
    pub fn recover<'p, 'o>(
        outputs: impl IntoIterator<Item = &'o Path>,
        inputs: impl IntoIterator<Item = &'p Path>,
    ) -> Result<(), CheckpointError> {
        let outputs: Vec<&Path> = outputs.into_iter().collect();
        Self::default().claim(None, &outputs, inputs.into_iter().map(identity).collect())
    }

    /// As [`Sink::claim`].
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

    /// Where the outputs go.
    pub(super) fn sink(&mut self) -> &mut dyn Sink {
        &mut *self.sink
    }

    /// Adds a draft. It is renamed after those that are there already.
    pub(super) fn add(&mut self, draft: Box<dyn Draft>) {
        self.drafts.push(draft);
    }

    /// Adds a small text.
    ///
    /// # Errors
    /// Those of beginning a file and of writing.
    pub fn add_text(&mut self, path: &Path, text: &str) -> Result<(), CheckpointError> {
        self.add_bytes(path, text.as_bytes()).map(drop)
    }

    /// Adds a small file of these bytes. Returns its path, links followed.
    ///
    /// # Errors
    /// Those of beginning a file and of writing.
    pub fn add_bytes(&mut self, path: &Path, bytes: &[u8]) -> Result<PathBuf, CheckpointError> {
        self.add_with(path, |file| file.write_all(bytes))
    }

    /// Adds a file that `write` writes piece by piece, so that it need not be in memory as a whole. Returns
    /// its path, links followed.
    ///
    /// # Errors
    /// Those of beginning a file and of writing.
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

    /// Has this file removed when the others get their names, if it is there.
    pub(super) fn remove(&mut self, path: PathBuf) {
        self.stale.push(path);
    }

    /// The files so far.
    pub fn files(&self) -> impl ExactSizeIterator<Item = &dyn Draft> {
        self.drafts.iter().map(|draft| &**draft)
    }

    /// Makes everything visible. Returns the paths of the files.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::checkpoint::ErrorKind::Io), and everything is as it was before then;
    /// [`ErrorKind::Mixed`](crate::checkpoint::ErrorKind::Mixed) where it cannot be.
    pub fn commit(mut self) -> Result<Vec<PathBuf>, CheckpointError> {
        let paths: Vec<PathBuf> = self.files().map(|file| file.path().to_owned()).collect();
        if !paths.is_empty() {
            self.sink.commit(std::mem::take(&mut self.drafts), std::mem::take(&mut self.stale))?;
        }
        Ok(paths)
    }
}
