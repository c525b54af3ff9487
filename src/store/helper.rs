//! Opens helper files defensively: anyone who can write to an output's folder could have put something else
//! under an expected name.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

use crate::checkpoint::{CheckpointError, ErrorKind};

/// Maximum size of a journal in bytes.
const LONGEST: u64 = 64 << 20;

/// Creates a file that does not exist yet. Links are not followed.
pub(super) fn create(at: &Path) -> io::Result<File> {
    options().create_new(true).open(at)
}

/// Opens a file that an earlier run left. It must be a regular file of this user without other names. The
/// inner `Err` says what it is instead.
pub(super) fn open(at: &Path, most: u64) -> io::Result<Result<File, String>> {
    // Checked before opening, because opening a device may have an effect, and again afterwards, because it
    // may be another file by then.
    if let Err(why) = check(&fs::symlink_metadata(at)?, most) {
        return Ok(Err(why));
    }
    let file = options().open(at)?;
    Ok(check(&file.metadata()?, most).map(|()| file))
}

/// Like [`open`], for a journal.
pub(super) fn open_journal(at: &Path) -> io::Result<Result<File, String>> {
    open(at, LONGEST)
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;

        use rustix::fs::OFlags;
        options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
    }
    options
}

/// Checks what a helper file must be.
fn check(metadata: &Metadata, most: u64) -> Result<(), String> {
    if let Some(kind) = irregular(metadata) {
        return Err(kind.to_owned());
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        if metadata.nlink() > 1 {
            return Err(format!("a file with {} names", metadata.nlink()));
        }
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(format!("a file of another user ({})", metadata.uid()));
        }
    }
    if metadata.len() > most {
        return Err(format!("a file of {} bytes", metadata.len()));
    }
    Ok(())
}

/// What something is, if it is not a regular file.
pub(super) fn irregular(metadata: &Metadata) -> Option<&'static str> {
    let kind = metadata.file_type();
    if kind.is_file() {
        return None;
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() {
            return Some("a pipe");
        }
        if kind.is_char_device() || kind.is_block_device() {
            return Some("a device");
        }
        if kind.is_socket() {
            return Some("a socket");
        }
    }
    Some(if kind.is_dir() {
        "a folder"
    } else if kind.is_symlink() {
        "a symbolic link"
    } else {
        "no regular file"
    })
}

/// Opens and locks a journal. Creates it if it does not exist; the flag says whether it did. `path` is the
/// output that it belongs to.
pub(super) fn lock(at: &Path, path: &Path) -> Result<(File, bool), CheckpointError> {
    loop {
        let (file, made) = match create(at) {
            Ok(file) => (file, true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match open_journal(at) {
                Ok(Ok(file)) => (file, false),
                Ok(Err(why)) => return Err(CheckpointError::new(at, ErrorKind::BadHelper(why))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(CheckpointError::io(at, "open")(error)),
            },
            Err(error) => return Err(CheckpointError::io(path, "create")(error)),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(CheckpointError::new(path, ErrorKind::InUse(holder(&file))));
            }
            // Without locks, only the file's name protects the output.
            Err(TryLockError::Error(error)) if no_locks(&error) => {}
            Err(TryLockError::Error(error)) => return Err(CheckpointError::io(path, "lock")(error)),
        }
        // Another run may have removed the file between opening and locking.
        if same_file(&file, at) {
            return Ok((file, made));
        }
    }
}

/// Whether this is the error of a file system without locks, such as NFS without its lock daemon or Lustre
/// mounted without `flock`.
fn no_locks(error: &io::Error) -> bool {
    #[cfg(unix)]
    {
        use rustix::io::Errno;
        let none = [Errno::NOLCK, Errno::NOSYS, Errno::OPNOTSUPP, Errno::NOTSUP];
        if none.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error())) {
            return true;
        }
    }
    error.kind() == io::ErrorKind::Unsupported
}

#[cfg(unix)]
pub(super) fn same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
pub(super) fn same_file(_: &File, path: &Path) -> bool {
    path.exists()
}

/// The id of the process that holds the lock, if the system reports it.
fn holder(file: &File) -> Option<u32> {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::MetadataExt;
        let inode = format!(":{}", file.metadata().ok()?.ino());
        // Example: `1: FLOCK  ADVISORY  WRITE 4242 fe:00:1234 0 EOF`
        let locks = fs::read_to_string("/proc/locks").ok()?;
        let line = locks.lines().find(|line| line.split_whitespace().any(|word| word.ends_with(&inode)))?;
        line.split_whitespace().nth(4)?.parse().ok()
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = file;
        None
    }
}
