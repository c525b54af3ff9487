//! Completes the commit of a killed run, in the next run that has any of its outputs.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::helper::{self, same_file};
use super::journal::{Entry, Notes, Place};
use super::names::{self, TEMPORARY, folder_of, index_path, is_helper, journal_of};
use super::paths::sync_folder;
use crate::checkpoint::{CheckpointError, ErrorKind, Identity, identity};

/// Files that the current run reads, which must not be replaced.
pub(super) type Inputs = BTreeSet<Identity>;

/// Completes the commit that the notes of a dead run describe, if it had come that far. `claim` does the same
/// for another journal.
pub(super) fn finish(
    at: &Path,
    file: &File,
    notes: &Notes,
    inputs: &Inputs,
    claim: &dyn Fn(&Path) -> Result<(), CheckpointError>,
) -> Result<(), CheckpointError> {
    if let Some((files, remove)) = &notes.files {
        let journal = Journal { at, file, notes, inputs };
        return journal.complete(files, remove, claim);
    }
    let Some(naming) = &notes.naming else { return Ok(()) };
    let Some(other) = naming.journal.from(folder_of(at)).filter(|other| is_helper(other)) else {
        return Ok(());
    };
    // If the journal is gone, or now another run's, that commit was completed.
    let alive = helper::open_journal(&other).is_ok_and(|opened| {
        opened.is_ok_and(|file| Notes::read(&file).is_ok_and(|n| n.run == naming.run && n.files.is_some()))
    });
    if alive { claim(&other) } else { Ok(()) }
}

/// A journal that has a `files` line.
struct Journal<'a> {
    at: &'a Path,
    file: &'a File,
    notes: &'a Notes,
    inputs: &'a Inputs,
}

impl Journal<'_> {
    fn complete(
        &self,
        files: &[Entry],
        remove: &[Place],
        claim: &dyn Fn(&Path) -> Result<(), CheckpointError>,
    ) -> Result<(), CheckpointError> {
        let folder = folder_of(self.at);
        let mut entries = Vec::new();
        for entry in files {
            entries.extend(
                entry
                    .path
                    .from(folder)
                    .filter(|path| self.vouched(path, &entry.run))
                    .map(|path| (path, entry)),
            );
        }
        let gone: Vec<PathBuf> = remove
            .iter()
            .filter_map(|place| place.from(folder))
            .filter(|path| self.of_an_output(path, &entries))
            .collect();
        for path in entries.iter().map(|(path, _)| path).chain(&gone) {
            if self.inputs.contains(&identity(path)) {
                return Err(CheckpointError::new(self.at, ErrorKind::UnfinishedInput(path.clone())));
            }
        }
        for (path, entry) in &entries {
            give_name(path, entry)?;
        }
        for path in &gone {
            match replaceable(path).and_then(|()| fs::remove_file(path)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(CheckpointError::io(path, "remove")(error));
                }
                _ => {}
            }
        }
        let folders: BTreeSet<&Path> = entries.iter().map(|(path, _)| folder_of(path)).collect();
        for folder in folders {
            sync_folder(folder).map_err(CheckpointError::io(folder, "finish"))?;
        }
        // The commit is complete: from now on, the journals of the other outputs lead to an empty one.
        self.file.set_len(0).map_err(CheckpointError::io(self.at, "finish"))?;
        let others: BTreeSet<PathBuf> = entries.iter().map(|(path, _)| journal_of(path)).collect();
        for other in
            others.iter().filter(|other| other.symlink_metadata().is_ok() && !same_file(self.file, other))
        {
            let _ = claim(other);
        }
        Ok(())
    }

    /// Whether the output's own journal confirms that this journal speaks for it. Without this check, a
    /// journal could have any user's file replaced, and a journal copied with its folder could replace files
    /// of the original folder.
    fn vouched(&self, path: &Path, run: &str) -> bool {
        let own = journal_of(path);
        if is_helper(path) {
            return false;
        }
        if same_file(self.file, &own) {
            return run == self.notes.run;
        }
        let Ok(Ok(file)) = helper::open_journal(&own) else { return false };
        let Ok(notes) = Notes::read(&file) else { return false };
        let leads_here = notes.naming.is_some_and(|naming| {
            naming.run == self.notes.run
                && naming.journal.from(folder_of(&own)).is_some_and(|other| same_file(self.file, &other))
        });
        leads_here && notes.run == run
    }

    /// Whether this path is another form of an output that the journal speaks for.
    fn of_an_output(&self, path: &Path, entries: &[(PathBuf, &Entry)]) -> bool {
        let journals = [journal_of(path), journal_of(&index_path(path))];
        !is_helper(path)
            && entries.iter().all(|(entry, _)| entry != path)
            && entries.iter().any(|(entry, _)| journals.contains(&journal_of(entry)))
    }
}

/// Renames a file to its final name, if that has not been done yet.
fn give_name(path: &Path, entry: &Entry) -> Result<(), CheckpointError> {
    let io = |error| CheckpointError::io(path, "finish")(error);
    let temporary = names::helper(path, &entry.run, TEMPORARY);
    match helper::open(&temporary, entry.size) {
        Ok(Ok(file)) if file.metadata().is_ok_and(|m| m.len() == entry.size) => {
            replaceable(path).map_err(io)?;
            fs::rename(&temporary, path).map_err(io)?;
        }
        // It has its final name already.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Ok(Ok(_)) => {
            return Err(CheckpointError::new(&temporary, ErrorKind::BadHelper("cut short".to_owned())));
        }
        Ok(Err(why)) => return Err(CheckpointError::new(&temporary, ErrorKind::BadHelper(why))),
        Err(error) => return Err(io(error)),
    }
    Ok(())
}

/// Checks that a regular file or nothing is at this path, so that it may be replaced or removed.
fn replaceable(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(metadata) if !metadata.is_file() => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
