//! Names of files in messages.

use core::fmt;
#[cfg(feature = "std")]
use std::path::{Path, PathBuf};

#[cfg(feature = "std")]
type Inner = PathBuf;
#[cfg(not(feature = "std"))]
type Inner = alloc::string::String;

/// The name of a file in messages: its path or, for bytes in memory, any name. With the feature `std`, it
/// dereferences to a [`Path`](std::path::Path).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(Inner);

impl From<&str> for FileName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[cfg(feature = "std")]
        return self.0.display().fmt(f);
        #[cfg(not(feature = "std"))]
        self.0.fmt(f)
    }
}

#[cfg(feature = "std")]
impl From<&Path> for FileName {
    fn from(path: &Path) -> Self {
        Self(path.into())
    }
}

#[cfg(feature = "std")]
impl From<PathBuf> for FileName {
    fn from(path: PathBuf) -> Self {
        Self(path)
    }
}

#[cfg(feature = "std")]
impl From<&PathBuf> for FileName {
    fn from(path: &PathBuf) -> Self {
        Self(path.clone())
    }
}

#[cfg(feature = "std")]
impl From<FileName> for PathBuf {
    fn from(name: FileName) -> Self {
        name.0
    }
}

#[cfg(feature = "std")]
impl core::ops::Deref for FileName {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

#[cfg(feature = "std")]
impl AsRef<Path> for FileName {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}
