//! Files and folders, on this machine or in an object store: what is there, and small ones as a whole.
//!
//! A path in a store is written as its URL: `s3://BUCKET/KEY`, `gs://BUCKET/KEY`, `az://CONTAINER/KEY`. A URL
//! `file:///PATH` is the path on this machine, see [`plain`].

use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::prelude::*;
use crate::regular_file;

#[cfg(feature = "object-store")]
use cdi_objects::{Location, Object};

/// Whether a path is one in an object store.
pub fn is_distant(path: &Path) -> bool {
    let Some(text) = path.to_str() else { return false };
    // One slash is what some programs leave of two.
    ["s3:/", "gs:/", "az:/"].iter().any(|scheme| text.starts_with(scheme))
}

/// The path that a URL `file:///PATH` or `file://localhost/PATH` stands for; other paths as they are.
pub fn plain(path: &Path) -> Cow<'_, Path> {
    let rest = path.to_str().and_then(|text| text.strip_prefix("file:/"));
    let Some(rest) = rest else { return path.into() };
    let rest = rest.strip_prefix("/localhost/").unwrap_or(rest).trim_start_matches('/');
    Path::new("/").join(percent_decoded(rest)).into()
}

/// A URL's text with `%20` and the like as the characters that they stand for.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| *first == b'%').and_then(|two| core::str::from_utf8(two).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// `path` as seen from `folder`: as it is, if it is absolute or in a store.
pub fn join(folder: &Path, path: &Path) -> PathBuf {
    let path = plain(path);
    if is_distant(&path) { path.into_owned() } else { folder.join(path) }
}

/// The error of a build without object stores.
#[cfg(not(feature = "object-store"))]
pub fn no_stores() -> io::Error {
    let message = "this build reads no object stores: copy the file to a disk first, or build with the feature \
                   `object-store`";
    io::Error::new(io::ErrorKind::Unsupported, message)
}

/// Where a path in a store is.
#[cfg(feature = "object-store")]
pub fn location(path: &Path) -> Location {
    Location::of(path).expect("a path in a store")
}

/// Length in bytes of the file at `path`.
///
/// # Errors
/// [`io::ErrorKind::NotFound`]; those of the system or the store.
pub fn size(path: &Path) -> io::Result<u64> {
    if is_distant(path) {
        #[cfg(feature = "object-store")]
        return Ok(Object::find(&location(path))?.size());
        #[cfg(not(feature = "object-store"))]
        return Err(no_stores());
    }
    let metadata = fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(metadata.len())
}

/// Whether there is a file at `path`. An error counts as none.
pub fn is_file(path: &Path) -> bool {
    if is_distant(path) { size(path).is_ok() } else { path.is_file() }
}

/// Whether there is anything at `path`: on this machine, a link that leads nowhere is something.
pub fn exists(path: &Path) -> bool {
    if is_distant(path) { size(path).is_ok() } else { path.symlink_metadata().is_ok() }
}

/// Whether a path says itself that it is one of a folder.
pub fn ends_in_slash(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b"/")
}

/// Whether there is a folder at `path`. Stores have none: what ends in a slash is one, and so is what other
/// names begin with.
pub fn is_folder(path: &Path) -> bool {
    if !is_distant(path) {
        return path.is_dir();
    }
    ends_in_slash(path) || (!is_file(path) && list(path).is_ok_and(|names| !names.is_empty()))
}

/// Names of what is in a folder, in no particular order. In a store, only those of files.
///
/// # Errors
/// Those of the system or the store.
pub fn list(folder: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    if is_distant(folder) {
        #[cfg(feature = "object-store")]
        return Ok(cdi_objects::list(&location(folder))?.into_iter().map(|(name, _)| name.into()).collect());
        #[cfg(not(feature = "object-store"))]
        return Err(no_stores());
    }
    fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect()
}

/// All bytes of a regular file that has at most `most`.
///
/// # Errors
/// [`io::ErrorKind::FileTooLarge`]; those of the system or the store.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    if is_distant(path) {
        #[cfg(feature = "object-store")]
        return Object::find(&location(path))?.read_all(most);
        #[cfg(not(feature = "object-store"))]
        return Err(no_stores());
    }
    regular_file::read(path, most)
}

/// The absolute path with links resolved. URLs are as they are, with two slashes.
///
/// # Errors
/// Those of the system, on this machine.
pub fn canonical(path: &Path) -> io::Result<PathBuf> {
    match normal(path) {
        Some(url) => Ok(url),
        None => fs::canonicalize(path),
    }
}

/// The URL of a path in a store, as it is usually written, without a slash at its end.
pub fn normal(path: &Path) -> Option<PathBuf> {
    let (scheme, rest) = path.to_str().filter(|_| is_distant(path))?.split_once(":/")?;
    Some(format!("{scheme}://{}", rest.trim_matches('/')).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_files_are_paths() {
        for (url, path) in [
            ("file:///a/b", "/a/b"),
            ("file://localhost/a/b", "/a/b"),
            ("file:/a/b", "/a/b"),
            ("file:///a%20b/%C3%A9", "/a b/é"),
            ("file:///100%/%zz", "/100%/%zz"),
            ("a/file:///b", "a/file:///b"),
            ("s3://b/k", "s3://b/k"),
        ] {
            assert_eq!(plain(Path::new(url)), Path::new(path), "{url}");
        }
    }

    #[cfg(not(feature = "object-store"))]
    #[test]
    fn without_the_feature_urls_are_errors_that_say_so() {
        let words = "this build reads no object stores: copy the file to a disk first, or build with the feature \
                     `object-store`";
        let path = Path::new("s3://b/model.safetensors");
        assert_eq!(size(path).unwrap_err().to_string(), words);
        assert_eq!(read(path, 9).unwrap_err().to_string(), words);
        assert!(!exists(path) && !is_folder(path));
        let error = crate::checkpoint::Checkpoint::open(path).unwrap_err();
        assert_eq!(error.to_string(), format!("s3://b/model.safetensors: cannot open: {words}"));
    }

    #[test]
    fn paths_are_relative_to_a_folder_unless_they_are_urls() {
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        assert_eq!(text(join(Path::new("a"), Path::new("b"))), "a/b");
        assert_eq!(text(join(Path::new("a"), Path::new("s3://b/k"))), "s3://b/k");
        assert_eq!(text(join(Path::new("a"), Path::new("file:///b"))), "/b");
        assert_eq!(text(join(Path::new("s3://b/k"), Path::new("c"))), "s3://b/k/c");
        assert_eq!(text(normal(Path::new("s3:/b/k/")).unwrap()), "s3://b/k");
        assert_eq!(normal(Path::new("b/k")), None);
        assert!(!is_distant(Path::new("./s3://b")) && is_distant(Path::new("az://c/k")));
    }
}
