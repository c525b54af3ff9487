//! The outputs of one run, which become visible together or not at all.
//!
//! Every file is written and synced under its temporary name. Then the journal of the first output lists them
//! all, those of the others lead to it, every file gets its name, the folders are synced, and the journals
//! go. An error on the way puts everything back; a process that is killed on the way leaves the journals, and
//! the next run that has any of the outputs goes on from them.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::claim::{Claim, Claims};
use super::cleanup::hold;
use super::finish::Inputs;
use super::journal::{Entry, Line, Naming, Place};
use super::names::{self, OLD, folder_of};
use super::paths::{check_output, relative, sync_folder, through_link};
use super::staged::{Earlier, Staged, put_aside};
use crate::checkpoint::{CheckpointError, ErrorKind};

/// Outputs that become visible together, in the order in which they were added.
#[derive(Debug, Default)]
pub struct OutputSet {
    files: Vec<Staged>,
    /// What other forms of the same outputs left, to be removed.
    stale: Vec<PathBuf>,
    /// Dropped after the files: their journals go last.
    claims: Claims,
}

impl OutputSet {
    /// An empty set for the outputs of a run of which `anchor` is one and which reads `inputs`, after
    /// whatever an earlier run has left half done is finished or forgotten. No other run with this anchor can
    /// begin until it is dropped.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`] where another one lives; [`ErrorKind::BadHelper`]; [`ErrorKind::Io`].
    pub fn open<'p>(
        anchor: &Path,
        inputs: impl IntoIterator<Item = &'p Path>,
    ) -> Result<Self, CheckpointError> {
        let mut set = Self::default();
        set.claims.inputs = identities(inputs);
        set.claim(anchor)?;
        Ok(set)
    }

    /// Finishes, or forgets, what a killed run has begun of these outputs and of the others that it had, so
    /// that they are the old ones or the new ones. A run that reads `inputs` has none of them replaced.
    ///
    /// # Errors
    /// As [`Self::open`]; [`ErrorKind::UnfinishedInput`].
    pub fn recover<'p, 'o>(
        outputs: impl IntoIterator<Item = &'o Path>,
        inputs: impl IntoIterator<Item = &'p Path>,
    ) -> Result<(), CheckpointError> {
        let inputs: Inputs = identities(inputs);
        for output in outputs {
            let path = through_link(output);
            if Claim::left_behind(&path) {
                Claim::take(&path, &inputs)?;
            }
        }
        Ok(())
    }

    /// The right to write this output.
    pub(super) fn claim(&mut self, path: &Path) -> Result<Arc<Claim>, CheckpointError> {
        check_output(path)?;
        self.claims.of(&through_link(path))
    }

    /// Begins an empty file that is to be called `path`.
    pub(super) fn create(&mut self, path: &Path) -> Result<Staged, CheckpointError> {
        let claim = self.claim(path)?;
        claim.begin(None)?;
        Staged::create(claim, path)
    }

    /// Adds a file. It is renamed after those that are there already.
    pub(super) fn add(&mut self, file: Staged) {
        self.claims.add(file.claim());
        self.files.push(file);
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
        let staged = self.create(path)?;
        let mut file = BufWriter::with_capacity(1 << 20, staged.file());
        write(&mut file).and_then(|()| file.flush()).map_err(CheckpointError::io(path, "write"))?;
        drop(file);
        let path = staged.path().to_owned();
        self.add(staged);
        Ok(path)
    }

    /// Has this file removed when the others get their names, if it is there.
    pub(super) fn remove(&mut self, path: PathBuf) {
        self.stale.push(path);
    }

    /// The files so far.
    pub fn files(&self) -> &[Staged] {
        &self.files
    }

    /// Makes everything visible. Returns the paths of the files.
    ///
    /// # Errors
    /// [`ErrorKind::Io`], and everything is as it was before then; [`ErrorKind::Mixed`] where it cannot be.
    pub fn commit(mut self) -> Result<Vec<PathBuf>, CheckpointError> {
        let paths: Vec<PathBuf> = self.files.iter().map(|file| file.path().to_owned()).collect();
        let Some(first) = self.files.first() else { return Ok(paths) };
        let anchor = first.claim().clone();
        self.stale.retain(|path| path.symlink_metadata().is_ok());
        for file in &self.files {
            file.sync()?;
        }
        // One rename is all or nothing by itself.
        let written = if self.files.len() + self.stale.len() > 1 {
            self.write_journals(&anchor).map_err(CheckpointError::io(&paths[0], "finish"))
        } else {
            Ok(())
        };
        let result = written.and_then(|()| self.rename_all(&anchor.run()));
        // While the journal stands, a killed process is made up for; the others only lead to it.
        anchor.forget();
        result.map(|()| paths)
    }

    /// The journal at `anchor`, and what leads to it; each safe before the next is needed.
    fn write_journals(&self, anchor: &Arc<Claim>) -> io::Result<()> {
        let folder = folder_of(anchor.at());
        let mut folders = BTreeSet::new();
        for claim in self.claims.begun().filter(|claim| !Arc::ptr_eq(claim, anchor)) {
            let journal = Place::of(&relative(anchor.at(), folder_of(claim.at()))?);
            claim.note(&Line::Naming(Naming { journal, run: anchor.run() }))?;
            claim.sync()?;
            folders.insert(folder_of(claim.at()));
        }
        folders.remove(folder);
        folders.into_iter().try_for_each(sync_folder)?;
        let place = |path: &Path| Ok::<_, io::Error>(Place::of(&relative(path, folder)?));
        let entry = |file: &Staged| {
            let size = file.file().metadata()?.len();
            Ok::<_, io::Error>(Entry { path: place(file.path())?, run: file.claim().run(), size })
        };
        anchor.note(&Line::Files {
            files: self.files.iter().map(entry).collect::<io::Result<_>>()?,
            remove: self.stale.iter().map(|path| place(path)).collect::<io::Result<_>>()?,
        })?;
        anchor.sync()?;
        sync_folder(folder)
    }

    /// Gives all files their names; after an error all have their old ones, where that can be.
    fn rename_all(&mut self, run: &str) -> Result<(), CheckpointError> {
        let unfinished = &mut hold();
        self.files.iter_mut().for_each(Staged::put_aside);
        let stale: Vec<(PathBuf, PathBuf, Earlier)> = std::mem::take(&mut self.stale)
            .into_iter()
            .map(|path| {
                let old = names::helper(&path, run, OLD);
                let earlier = put_aside(&path, &old);
                (path, old, earlier)
            })
            .collect();
        let result = self.give_names(&stale, unfinished);
        if let Err((path, action, error)) = result {
            let stay = self.put_back(&stale, unfinished);
            return Err(if stay.is_empty() {
                CheckpointError::io(&path, action)(error)
            } else {
                CheckpointError::new(&path, ErrorKind::Mixed { action, error, stay })
            });
        }
        self.files.iter().for_each(Staged::forget_old);
        for (_, old, _) in &stale {
            let _ = fs::remove_file(old);
        }
        Ok(())
    }

    fn give_names(
        &mut self,
        stale: &[(PathBuf, PathBuf, Earlier)],
        unfinished: &mut BTreeSet<PathBuf>,
    ) -> Result<(), (PathBuf, &'static str, io::Error)> {
        for file in &mut self.files {
            file.rename(unfinished).map_err(|error| (file.path().to_owned(), "finish", error))?;
        }
        for (path, ..) in stale {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err((path.clone(), "remove", error));
                }
                _ => {}
            }
        }
        let mut seen = BTreeSet::new();
        for path in self.files.iter().map(Staged::path).filter(|path| seen.insert(folder_of(path))) {
            sync_folder(folder_of(path)).map_err(|error| (path.to_owned(), "finish", error))?;
        }
        Ok(())
    }

    /// Says which new files stay.
    fn put_back(
        &mut self,
        stale: &[(PathBuf, PathBuf, Earlier)],
        unfinished: &mut BTreeSet<PathBuf>,
    ) -> Vec<PathBuf> {
        for (path, old, _) in stale.iter().filter(|(.., earlier)| *earlier == Earlier::Aside) {
            let _ = if path.exists() { fs::remove_file(old) } else { fs::rename(old, path) };
        }
        let stay = self
            .files
            .iter_mut()
            .filter_map(|file| (!file.put_back(unfinished)).then(|| file.path().to_owned()));
        stay.collect()
    }
}

fn identities<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Inputs {
    paths.into_iter().map(super::paths::identity).collect()
}
