//! Files on disk.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::content::Content;
use super::error::CheckpointError;
use super::file_name::FileName;
use super::source::{Identity, Source};
use crate::place;
use crate::positioned::read_exact_at;
use crate::prelude::*;
use crate::regular_file;

/// A regular file. It must not change: data that another program writes to it may or may not be seen, and if
/// it becomes shorter while it is mapped, the process ends with a SIGBUS.
#[derive(Debug)]
pub struct LocalFile {
    name: FileName,
    file: File,
    size: u64,
}

impl LocalFile {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// [`super::ErrorKind::Io`], also for anything that is not a regular file, because pipes and
    /// devices have no end.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let file = regular_file::open(path).map_err(CheckpointError::io(path, "open"))?;
        let size = file.limit();
        Ok(Self { name: path.into(), file: file.into_inner(), size })
    }
}

impl Source for LocalFile {
    fn name(&self) -> &FileName {
        &self.name
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), CheckpointError> {
        read_exact_at(&self.file, bytes, offset).map_err(CheckpointError::io(&self.name, "read"))
    }

    fn identity(&self) -> Option<Identity> {
        #[cfg(unix)]
        if let Ok(metadata) = self.file.metadata() {
            use std::os::unix::fs::MetadataExt;
            return Some(Identity::Inode(metadata.dev(), metadata.ino()));
        }
        Some(identity(&self.name))
    }

    /// An empty file cannot be mapped. It gives an empty slice.
    fn into_content(self: Box<Self>, mmap: bool) -> Result<Content, CheckpointError> {
        if mmap && self.size > 0 {
            return Content::map(&self.file).map_err(CheckpointError::io(&self.name, "map"));
        }
        let mut bytes = Vec::new();
        let mut file = (&self.file).take(self.size);
        file.read_to_end(&mut bytes).map_err(CheckpointError::io(&self.name, "read"))?;
        Ok(bytes.into())
    }
}

/// The identity of the file at `path`, which need not exist. That of an object in a store is its URL.
pub fn identity(path: &Path) -> Identity {
    if let Some(url) = place::normal(path) {
        return Identity::Path(url);
    }
    #[cfg(unix)]
    if let Ok(metadata) = fs::metadata(path) {
        use std::os::unix::fs::MetadataExt;
        return Identity::Inode(metadata.dev(), metadata.ino());
    }
    Identity::Path(resolve(path))
}

/// The path with links resolved in the part that exists, and the rest appended.
fn resolve(path: &Path) -> PathBuf {
    if let Ok(real) = place::canonical(path) {
        return real;
    }
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => resolve(parent).join(name),
        _ => absolute,
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::MemoryFile;
    use super::*;

    #[test]
    fn sources_give_the_same_bytes_whatever_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..100_000u32).map(|n| (n / 7) as u8).collect();
        let path = dir.path().join("a");
        fs::write(&path, &content).unwrap();
        let local = || Box::new(LocalFile::open(&path).unwrap()) as Box<dyn Source>;
        let memory = || Box::new(MemoryFile::new("a", content.clone())) as Box<dyn Source>;
        for source in [&local as &dyn Fn() -> Box<dyn Source>, &memory] {
            let mut part = [0; 5];
            source().read_at(99_995, &mut part).unwrap();
            assert_eq!((source().size(), part), (100_000, [205, 205, 205, 205, 205]));
            for mmap in [true, false] {
                assert!(source().into_content(mmap).unwrap().bytes() == content);
            }
        }
    }

    /// A source that implements only the required methods.
    #[derive(Debug)]
    struct Distant(LocalFile);

    impl Source for Distant {
        fn name(&self) -> &FileName {
            self.0.name()
        }

        fn size(&self) -> u64 {
            self.0.size()
        }

        fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), CheckpointError> {
            self.0.read_at(offset, bytes)
        }

        fn identity(&self) -> Option<Identity> {
            None
        }
    }

    #[test]
    fn a_source_that_cannot_be_mapped_is_read_piece_by_piece() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let content: Vec<u8> = (0..9 << 20).map(|n: u32| (n / 5) as u8).collect();
        fs::write(&path, &content).unwrap();
        let source = Box::new(Distant(LocalFile::open(&path).unwrap()));
        assert!(source.into_content(true).unwrap().bytes() == content);
        // A file that has become shorter is an error.
        let source = Box::new(Distant(LocalFile::open(&path).unwrap()));
        fs::write(&path, &content[1..]).unwrap();
        let error = source.into_content(true).unwrap_err().to_string();
        assert!(error.ends_with("a: cannot read: failed to fill whole buffer"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn one_file_has_one_identity_by_whatever_name() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b, link, none] = ["a", "b", "link", "none"].map(|name| dir.path().join(name));
        fs::write(&a, "1").unwrap();
        fs::write(&b, "1").unwrap();
        std::os::unix::fs::symlink("a", &link).unwrap();
        let opened = |path| LocalFile::open(path).unwrap().identity().unwrap();
        assert_eq!((opened(&a), identity(&a)), (opened(&link), identity(&link)));
        assert!(opened(&a) == identity(&link) && opened(&a) != opened(&b));
        assert_eq!(identity(&none), Identity::Path(dir.path().canonicalize().unwrap().join("none")));
        // An open file keeps its identity.
        let before = opened(&a);
        fs::rename(&b, &a).unwrap();
        assert_ne!(before, identity(&a));
        assert_eq!(MemoryFile::new("a", &b"1"[..]).identity(), None);
    }
}
