//! What can be an output, and folders for outputs.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::helper::irregular;
use super::names::{folder_of, is_helper};
use crate::checkpoint::{CheckpointError, ErrorKind};

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
                return Err(CheckpointError::new(path, ErrorKind::NoSpace { needed, free }));
            }
        }
    }
    let _ = (path, needed);
    Ok(())
}

/// Waits until the names in a folder are safe.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    match fs::File::open(folder)?.sync_all() {
        // Some file systems have nothing to sync here.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        result => result,
    }
}

/// A link is written through, not replaced, even one that leads to nothing yet. Any other path stays
/// as its user wrote it.
pub fn through_link(path: &Path) -> PathBuf {
    steps(path).pop().unwrap_or_else(|| path.to_owned())
}

/// A path, and where its links lead one after the other; the path alone where they never end.
fn steps(path: &Path) -> Vec<PathBuf> {
    let mut steps = vec![path.to_owned()];
    // As many links as Linux follows.
    for _ in 0..40 {
        let at = &steps[steps.len() - 1];
        match fs::read_link(at) {
            Ok(target) => {
                let next = at.parent().unwrap_or(Path::new("")).join(target);
                steps.push(next);
            }
            Err(_) => return steps,
        }
    }
    vec![path.to_owned()]
}

/// Refuses what no output can be: it is written beside its place and gets its name when it is complete, which
/// would put a file where a device or a pipe was. That a folder is in the way is said when it is written.
///
/// # Errors
/// [`ErrorKind::NoFile`], [`ErrorKind::HelperName`].
pub fn check_output(path: &Path) -> Result<(), CheckpointError> {
    let wrong = |kind| Err(CheckpointError::new(path, kind));
    let steps = steps(path);
    let end = &steps[steps.len() - 1];
    if end.file_name().is_some_and(|name| name == "-") || steps.iter().any(|step| is_stream(step)) {
        return wrong(ErrorKind::NoFile("an open stream"));
    }
    check_name(path)?;
    check_name(end)?;
    match end.symlink_metadata() {
        Ok(metadata) if !metadata.is_dir() => {
            irregular(&metadata).map_or(Ok(()), |kind| wrong(ErrorKind::NoFile(kind)))
        }
        _ => Ok(()),
    }
}

/// Refuses a name that this tool gives its helper files, which come and go.
///
/// # Errors
/// [`ErrorKind::HelperName`].
pub fn check_name(path: &Path) -> Result<(), CheckpointError> {
    if is_helper(path) { Err(CheckpointError::new(path, ErrorKind::HelperName)) } else { Ok(()) }
}

/// `/dev/stdout`, `/dev/fd/1`, `/proc/self/fd/1`: what is open there may be a regular file, and
/// is not to be replaced.
fn is_stream(path: &Path) -> bool {
    let parts: Vec<_> = path.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
    matches!(parts[..], ["/", "dev", "stdin" | "stdout" | "stderr"] | ["/", "dev", "fd", ..])
        || matches!(parts[..], ["/", "proc", ref rest @ ..] if rest.contains(&"fd"))
}

/// `path` as seen from `folder`, links resolved in both.
pub(super) fn relative(path: &Path, folder: &Path) -> io::Result<PathBuf> {
    let (parent, folder) = (fs::canonicalize(folder_of(path))?, fs::canonicalize(folder)?);
    let (parts, base): (Vec<_>, Vec<_>) = (parent.components().collect(), folder.components().collect());
    let common = parts.iter().zip(&base).take_while(|(a, b)| a == b).count();
    let mut seen: PathBuf = std::iter::repeat_n("..", base.len() - common).collect();
    seen.extend(&parts[common..]);
    seen.push(path.file_name().unwrap_or_default());
    Ok(seen)
}
