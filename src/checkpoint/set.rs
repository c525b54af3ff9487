//! The outputs of one run, which become visible together or not at all.
//!
//! Every file is written and synced under its temporary name. Then a journal that lists them is written and synced, every
//! file gets its name, the folders are synced, and the journal goes. An error on the way puts everything back; a process
//! that is killed on the way leaves the journal, and the next run that has the same first output goes on from it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::CheckpointError;
use super::paths::{create_parent, folder_of};
use super::resume::Finishes;
use super::staged::{OLD, Staged, beside, is_temporary_of, lock, through_link};
use super::unfinished::{Unfinished, hold};

/// Outputs that become visible together, in the order in which they were added.
#[derive(Debug, Default)]
pub struct OutputSet {
    /// Locked from the beginning, so that one run at a time is at these outputs.
    journal: Option<JournalFile>,
    files: Vec<Staged>,
    /// What other forms of the same outputs left, to be removed.
    stale: Vec<PathBuf>,
    /// Lists of finished shards, of no use once these have their names.
    finishes: Vec<Finishes>,
}

/// `.NAME.cdi-prune-journal` beside an output: empty while the run works, the journal while its outputs get their names.
#[derive(Debug)]
struct JournalFile {
    path: PathBuf,
    file: File,
    _unfinished: Unfinished,
}

impl Drop for JournalFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Journal {
    /// Version of this form: 1.
    version: u32,
    files: Vec<Entry>,
    remove: Vec<PathBuf>,
}

/// A file that was complete under its temporary name when the journal was written.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    temporary: PathBuf,
    path: PathBuf,
    size: u64,
    /// Its inode, which renaming keeps; 0 where there are none.
    inode: u64,
}

const JOURNAL: &str = "cdi-prune-journal";

impl OutputSet {
    /// An empty set for the outputs of a run of which `anchor` is one, after whatever an earlier run has left half done is
    /// finished or forgotten. No other run with this anchor can begin until it is dropped.
    ///
    /// # Errors
    /// [`super::ErrorKind::InUse`] where another one lives; [`super::ErrorKind::Io`].
    pub fn open(anchor: &Path) -> Result<Self, CheckpointError> {
        create_parent(anchor)?;
        let path = through_link(anchor);
        let at = beside(&path, JOURNAL);
        let file = lock(&at, &path)?;
        finish(&file);
        let journal = JournalFile { _unfinished: Unfinished::new(&at), path: at, file };
        journal.file.set_len(0).map_err(CheckpointError::io(&path, "create"))?;
        Ok(Self { journal: Some(journal), ..Self::default() })
    }

    /// Finishes, or forgets, what a killed run with this anchor has begun, so that its outputs are the old ones or the new
    /// ones.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn recover(anchor: &Path) -> Result<(), CheckpointError> {
        let at = beside(&through_link(anchor), JOURNAL);
        if at.exists() { Self::open(anchor).map(drop) } else { Ok(()) }
    }

    /// Adds a file. It is renamed after those that are there already.
    pub fn add(&mut self, file: Staged) {
        self.files.push(file);
    }

    /// Adds a small text.
    ///
    /// # Errors
    /// Those of [`Staged::create`] and of writing.
    pub fn add_text(&mut self, path: &Path, text: &str) -> Result<(), CheckpointError> {
        let staged = Staged::create(path)?;
        let mut file = staged.file();
        file.write_all(text.as_bytes()).map_err(CheckpointError::io(path, "write"))?;
        self.add(staged);
        Ok(())
    }

    /// Keeps a list of finished shards until these have their names.
    pub(super) fn hold(&mut self, finishes: Finishes) {
        self.finishes.push(finishes);
    }

    /// Has this file removed when the others get their names, if it is there.
    pub fn remove(&mut self, path: PathBuf) {
        self.stale.push(path);
    }

    /// The files so far.
    pub fn files(&self) -> &[Staged] {
        &self.files
    }

    /// Makes everything visible. Returns the paths of the files.
    ///
    /// # Errors
    /// [`super::ErrorKind::Io`]; everything is as it was before then.
    pub fn commit(mut self) -> Result<Vec<PathBuf>, CheckpointError> {
        let paths: Vec<PathBuf> = self.files.iter().map(|file| file.path().to_owned()).collect();
        if paths.is_empty() {
            return Ok(paths);
        }
        self.stale.retain(|path| path.symlink_metadata().is_ok());
        for file in &self.files {
            file.sync()?;
        }
        if let ([_], []) = (&self.files[..], &self.stale[..]) {
            // One rename is all or nothing by itself.
            let result = self.rename_all(&mut hold());
            self.forget_old();
            return result.map(|()| paths);
        }
        if self.journal.is_none() {
            self.journal = Self::open(&paths[0])?.journal.take();
        }
        self.write_journal().map_err(CheckpointError::io(&paths[0], "finish"))?;
        let result = self.rename_all(&mut hold());
        // While the journal stands, a killed process is made up for; what was put back needs none.
        if result.is_ok() {
            self.forget_old();
        }
        result.map(|()| paths)
    }

    fn write_journal(&mut self) -> io::Result<()> {
        let entry = |file: &Staged| {
            let metadata = file.file().metadata()?;
            let (temporary, path) =
                (std::path::absolute(file.temporary())?, std::path::absolute(file.path())?);
            Ok(Entry { temporary, path, size: metadata.len(), inode: inode(&metadata) })
        };
        let journal = Journal {
            version: 1,
            files: self.files.iter().map(entry).collect::<io::Result<_>>()?,
            remove: self.stale.iter().map(std::path::absolute).collect::<io::Result<_>>()?,
        };
        let text = serde_json::to_string(&journal).map_err(io::Error::other)?;
        let Some(JournalFile { path, file, .. }) = &mut self.journal else { return Ok(()) };
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        sync_folder(path)
    }

    /// Gives all files their names; after an error all have their old ones.
    fn rename_all(&mut self, unfinished: &mut BTreeSet<PathBuf>) -> Result<(), CheckpointError> {
        // Hard links, so that no output is ever missing.
        for path in self.files.iter().map(Staged::path).chain(self.stale.iter().map(PathBuf::as_path)) {
            let old = beside(path, OLD);
            let _ = fs::remove_file(&old);
            let _ = fs::hard_link(path, &old);
        }
        let mut error = None;
        for file in &mut self.files {
            if let Err(e) = file.rename(unfinished) {
                error = Some(CheckpointError::io(file.path(), "finish")(e));
                break;
            }
        }
        if error.is_none() {
            error = self.stale.iter().find_map(|path| match fs::remove_file(path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Some(CheckpointError::io(path, "remove")(e)),
                _ => None,
            });
        }
        if error.is_none() {
            error = self
                .folders()
                .into_iter()
                .find_map(|path| sync_folder(&path).map_err(CheckpointError::io(&path, "finish")).err());
        }
        match error {
            None => Ok(()),
            Some(error) => {
                self.put_back();
                Err(error)
            }
        }
    }

    fn put_back(&mut self) {
        for file in &self.files {
            let old = beside(file.path(), OLD);
            if file.named() {
                if old.exists() {
                    let _ = fs::rename(&old, file.path());
                } else {
                    let _ = fs::remove_file(file.path());
                }
            } else {
                let _ = fs::remove_file(&old);
            }
        }
        for path in &self.stale {
            let old = beside(path, OLD);
            if path.exists() {
                let _ = fs::remove_file(&old);
            } else {
                let _ = fs::rename(&old, path);
            }
        }
    }

    fn forget_old(&self) {
        for path in self.files.iter().map(Staged::path).chain(self.stale.iter().map(PathBuf::as_path)) {
            let _ = fs::remove_file(beside(path, OLD));
        }
    }

    /// One output of every folder that has any.
    fn folders(&self) -> Vec<PathBuf> {
        let mut seen = BTreeSet::new();
        let paths = self.files.iter().map(Staged::path);
        paths.filter(|path| seen.insert(path.parent())).map(Path::to_owned).collect()
    }
}

/// Does what a journal says, if it is one. Half a journal, or none, means that nothing was renamed: what was there is
/// untouched.
fn finish(file: &File) {
    let journal = io::read_to_string(file).ok().and_then(|text| serde_json::from_str::<Journal>(&text).ok());
    if let Some(journal) = journal.filter(|journal| journal.version == 1) {
        journal.complete();
    }
}

impl Journal {
    /// Renames what is still under its temporary name and is the file that was journalled. What else a file of this name
    /// might ask for is not done.
    fn complete(&self) {
        for entry in self.files.iter().filter(|entry| is_temporary_of(&entry.temporary, &entry.path)) {
            let is = |path: &Path| {
                path.symlink_metadata()
                    .is_ok_and(|m| m.is_file() && m.len() == entry.size && inode(&m) == entry.inode)
            };
            if is(&entry.temporary) {
                let _ = fs::rename(&entry.temporary, &entry.path);
            }
            let _ = fs::remove_file(beside(&entry.path, OLD));
            let _ = sync_folder(&entry.path);
        }
        let beside_a_file =
            |path: &&PathBuf| self.files.iter().any(|entry| entry.path.parent() == path.parent());
        let checkpoint = |path: &&PathBuf| {
            let name = path.to_string_lossy();
            name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json")
        };
        for path in self.remove.iter().filter(beside_a_file).filter(checkpoint) {
            let _ = fs::remove_file(path);
            let _ = fs::remove_file(beside(path, OLD));
        }
    }
}

#[cfg(unix)]
fn inode(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &fs::Metadata) -> u64 {
    0
}

/// Waits until the names in an output's folder are safe.
fn sync_folder(path: &Path) -> io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    match File::open(folder_of(path))?.sync_all() {
        // Some file systems have nothing to sync here.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        result => result,
    }
}
