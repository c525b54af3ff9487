//! Opens only regular files: anything else at a path may block or never end.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use crate::prelude::*;

/// Opens a regular file, which is read up to the length that it has now: some of what the system shows as a
/// file (`/proc`) has no length, and no end either. Asked what it is before it is opened, as opening a pipe
/// waits for whoever writes into it.
pub fn open(path: &Path) -> io::Result<io::Take<File>> {
    let metadata = fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    Ok(file.take(length))
}

/// Reads a regular file of at most `most` bytes.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut file = open(path)?;
    if file.limit() > most {
        let message = format!("more than {most} bytes, too many for a file of this kind");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_length_is_not_read() {
        // A gigabyte and more, of every process, in a file of 0 bytes.
        assert_eq!(read(Path::new("/proc/self/pagemap"), 1 << 16).unwrap(), b"");
        let mut nothing = Vec::new();
        assert_eq!(open(Path::new("/proc/self/maps")).unwrap().read_to_end(&mut nothing).unwrap(), 0);
    }
}
