//! Checks of output paths, and folders for outputs.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::helper::irregular;
use super::names::{folder_of, is_helper};
use crate::checkpoint::{CheckpointError, ErrorKind};
use crate::place;

/// Creates the parent folder of `path`.
pub fn create_parent(path: &Path) -> Result<(), CheckpointError> {
    match path.parent().filter(|_| !place::is_distant(path)) {
        Some(parent) if parent.as_os_str() != OsStr::new("") => {
            fs::create_dir_all(parent).map_err(CheckpointError::io(parent, "create the folder"))
        }
        _ => Ok(()),
    }
}

/// Refuses to begin if `needed` bytes do not fit on the file system of `path`.
///
/// # Errors
/// [`super::ErrorKind::NoSpace`].
pub fn check_space(path: &Path, needed: u64) -> Result<(), CheckpointError> {
    #[cfg(unix)]
    {
        // A file system that does not report its free space is not treated as full.
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

/// Waits until changes of names in a folder are on disk.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    match fs::File::open(folder)?.sync_all() {
        // Some file systems cannot sync a folder.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        result => result,
    }
}

/// Follows symbolic links, even one whose target does not exist yet, so that the target is written and not
/// the link replaced. Any other path stays as the user wrote it.
pub fn through_link(path: &Path) -> PathBuf {
    steps(path).pop().unwrap_or_else(|| path.to_owned())
}

/// The path, then each target of its links in turn; only the path itself if the links never end.
fn steps(path: &Path) -> Vec<PathBuf> {
    let mut steps = vec![path.to_owned()];
    // Linux follows at most 40 links.
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

/// Refuses paths that cannot be an output. An output is written beside its destination and renamed when it is
/// complete, which would replace a device or a pipe by a file. A folder at this path is reported later, when
/// the output is written.
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

/// Refuses a name reserved for this tool's helper files, which are created and removed at will.
///
/// # Errors
/// [`ErrorKind::HelperName`].
pub fn check_name(path: &Path) -> Result<(), CheckpointError> {
    if is_helper(path) { Err(CheckpointError::new(path, ErrorKind::HelperName)) } else { Ok(()) }
}

/// Whether this is a path such as `/dev/stdout`, `/dev/fd/1` or `/proc/self/fd/1`. What is open there may be
/// a regular file, which must not be replaced.
fn is_stream(path: &Path) -> bool {
    let parts: Vec<_> = path.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
    matches!(parts[..], ["/", "dev", "stdin" | "stdout" | "stderr"] | ["/", "dev", "fd", ..])
        || matches!(parts[..], ["/", "proc", ref rest @ ..] if rest.contains(&"fd"))
}

/// `path` relative to `folder`, with links resolved in both.
pub(super) fn relative(path: &Path, folder: &Path) -> io::Result<PathBuf> {
    let (parent, folder) = (fs::canonicalize(folder_of(path))?, fs::canonicalize(folder)?);
    let (parts, base): (Vec<_>, Vec<_>) = (parent.components().collect(), folder.components().collect());
    let common = parts.iter().zip(&base).take_while(|(a, b)| a == b).count();
    let mut seen: PathBuf = std::iter::repeat_n("..", base.len() - common).collect();
    seen.extend(&parts[common..]);
    seen.push(path.file_name().unwrap_or_default());
    Ok(seen)
}
