//! Files on a disk, which become visible all together or not at all.
//!
//! Every file is written and synced under its temporary name. Then the journal of the first output gets a
//! list of all files, and the journals of the others refer to it. Every file is renamed to its final
//! name, the folders are synced, and the journals are removed. If an error occurs, the old files are put
//! back. If the process is killed, the journals remain, and the next run that has any of the outputs
//! completes the commit.

use std::any::Any;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::claim::{Claim, Claims};
use super::cleanup::hold;
use super::finish::Inputs;
use super::journal::{Entry, Line, Naming, Place};
use super::names::{self, OLD, folder_of, index_path};
use super::paths::{check_output, check_space, create_parent, relative, sync_folder, through_link};
use super::sink::{Draft, Sink};
use super::staged::{Earlier, Staged, put_aside};
use crate::checkpoint::{CheckpointError, ErrorKind};

/// Outputs in local folders. On a disk that keeps everything that was synced, a power failure is no worse
/// than a killed process.
#[derive(Debug, Default)]
pub struct LocalSink {
    claims: Claims,
}

impl LocalSink {
    fn claimed(&mut self, path: &Path) -> Result<Arc<Claim>, CheckpointError> {
        check_output(path)?;
        self.claims.of(&through_link(path))
    }

    /// A draft that is the file `from`, which must have this length and begin with this header, and which
    /// nobody writes any more.
    pub(super) fn take_over(
        &mut self,
        path: &Path,
        from: &Path,
        expected: (u64, &[u8]),
    ) -> Result<Box<dyn Draft>, CheckpointError> {
        let claim = self.claimed(path)?;
        Ok(Box::new(Staged::take_over(claim, path, from, expected)?))
    }
}

impl Sink for LocalSink {
    fn claim(
        &mut self,
        anchor: Option<&Path>,
        outputs: &[&Path],
        inputs: Inputs,
    ) -> Result<(), CheckpointError> {
        for output in outputs {
            let path = through_link(output);
            if Claim::left_behind(&path) {
                Claim::take(&path, &inputs)?;
            }
        }
        self.claims.inputs = inputs;
        anchor.map_or(Ok(()), |anchor| self.claimed(anchor).map(drop))
    }

    /// Symbolic links are followed.
    fn begin(&mut self, output: &Path, key: Option<&str>) -> Result<PathBuf, CheckpointError> {
        check_output(output)?;
        let output = through_link(output);
        create_parent(&output)?;
        self.claimed(&index_path(&output))?.begin(key)?;
        Ok(output)
    }

    fn create(&mut self, path: &Path, length: u64, room: u64) -> Result<Box<dyn Draft>, CheckpointError> {
        let claim = self.claimed(path)?;
        claim.begin(None)?;
        let staged = Staged::create(claim, path)?;
        if room > 0 {
            check_space(path, room)?;
        }
        if length > 0 {
            staged.set_length(length)?;
        }
        Ok(Box::new(staged))
    }

    fn resume(
        &mut self,
        path: &Path,
        length: u64,
        header: &[u8],
    ) -> Result<Option<Box<dyn Draft>>, CheckpointError> {
        let claim = self.claimed(path)?;
        let adopted = Staged::adopt(claim, path, length, header);
        Ok(adopted?.map(|staged| Box::new(staged) as Box<dyn Draft>))
    }

    fn forms(&self, output: &Path) -> Vec<PathBuf> {
        names::forms(output)
    }

    fn commit(&mut self, drafts: Vec<Box<dyn Draft>>, stale: Vec<PathBuf>) -> Result<(), CheckpointError> {
        let staged = |draft: Box<dyn Draft>| {
            *(draft as Box<dyn Any>).downcast::<Staged>().expect("drafts of this kind of sink")
        };
        // Fields are dropped in their order: the journals must go last.
        let set = Set {
            files: drafts.into_iter().map(staged).collect(),
            stale,
            claims: std::mem::take(&mut self.claims),
        };
        set.commit()
    }
}

/// Files to be renamed to their final names.
struct Set {
    files: Vec<Staged>,
    /// Files to be removed.
    stale: Vec<PathBuf>,
    claims: Claims,
}

impl Set {
    fn commit(mut self) -> Result<(), CheckpointError> {
        self.files.iter().for_each(|file| self.claims.add(file.claim()));
        let Some(first) = self.files.first() else { return Ok(()) };
        let (path, anchor) = (first.path().to_owned(), first.claim().clone());
        self.stale.retain(|path| path.symlink_metadata().is_ok());
        for file in &self.files {
            file.sync()?;
        }
        // A single rename is atomic by itself.
        let written = if self.files.len() + self.stale.len() > 1 {
            self.write_journals(&anchor).map_err(CheckpointError::io(&path, "finish"))
        } else {
            Ok(())
        };
        let result = written.and_then(|()| self.rename_all(&anchor.run()));
        // While this journal exists, the next run completes the commit of a killed process. The other
        // journals only refer to it.
        anchor.forget();
        result
    }

    /// Writes the journal at `anchor` and the references to it, each on disk before the next step needs it.
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
            let size = file.size()?;
            Ok::<_, io::Error>(Entry { path: place(file.path())?, run: file.claim().run(), size })
        };
        anchor.note(&Line::Files {
            files: self.files.iter().map(entry).collect::<io::Result<_>>()?,
            remove: self.stale.iter().map(|path| place(path)).collect::<io::Result<_>>()?,
        })?;
        anchor.sync()?;
        sync_folder(folder)
    }

    /// Renames all files to their final names. After an error, the old files are put back if possible.
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

    /// Puts the old files back, and reports which new files stay.
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
