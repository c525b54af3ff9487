//! Whether two paths are one file, and folders for outputs.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::error::CheckpointError;

/// What two paths to one file have in common, whether it exists or not.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Identity {
    /// An existing file's device and inode: the same through hard links and symbolic links.
    Inode(u64, u64),
    /// The absolute path, links resolved as far as it exists.
    Path(PathBuf),
}

/// The identity of the file at `path`, existing or not.
pub fn identity(path: &Path) -> Identity {
    #[cfg(unix)]
    if let Ok(metadata) = fs::metadata(path) {
        use std::os::unix::fs::MetadataExt;
        return Identity::Inode(metadata.dev(), metadata.ino());
    }
    Identity::Path(resolve(path))
}

/// Links resolved in the part of the path that exists, the rest appended.
fn resolve(path: &Path) -> PathBuf {
    if let Ok(real) = fs::canonicalize(path) {
        return real;
    }
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => resolve(parent).join(name),
        _ => absolute,
    }
}

/// The folder that `path` lies in; `.` where it names none.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes the folder that `path` is to lie in.
pub fn create_parent(path: &Path) -> Result<(), CheckpointError> {
    match path.parent() {
        Some(parent) if parent.as_os_str() != OsStr::new("") => {
            fs::create_dir_all(parent).map_err(CheckpointError::io(parent, "create the folder"))
        }
        _ => Ok(()),
    }
}

/// Refuses to begin what will not fit where `path` is to lie.
///
/// # Errors
/// [`super::ErrorKind::NoSpace`].
pub fn check_space(path: &Path, needed: u64) -> Result<(), CheckpointError> {
    #[cfg(unix)]
    {
        // A file system that does not tell is none that is full.
        if let Ok(found) = rustix::fs::statvfs(folder_of(path)) {
            let free = found.f_bavail.saturating_mul(found.f_frsize);
            if found.f_blocks > 0 && free < needed {
                return Err(CheckpointError::new(path, super::ErrorKind::NoSpace { needed, free }));
            }
        }
    }
    let _ = (path, needed);
    Ok(())
}
