//! How a checkpoint is opened.

/// How a checkpoint is opened. Options belong to one call, so a program can open one checkpoint in one way
/// and the next one in another.
///
/// ```
/// use cdi_core::checkpoint::OpenOptions;
/// // Of a folder that other programs write to, in a cache that consists of links.
/// let options = OpenOptions::default().mmap(false).follow_links(true);
/// assert!(options.follow_links && !options.mmap);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    /// Whether shards may be links out of the folder of their index, as in caches of downloaded
    /// models. Default: no.
    pub follow_links: bool,
    /// Whether files are mapped. If not, each file is read into memory as a whole when it is opened. Later
    /// changes to the file then do no harm, but memory use grows with its size. Default: yes.
    pub mmap: bool,
    /// Maximum length of an index, in bytes. Default: 512 MiB, enough for about four million tensors.
    pub index_bytes: u64,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { follow_links: false, mmap: true, index_bytes: 1 << 29 }
    }
}

impl OpenOptions {
    /// Sets whether shards may be links out of the folder.
    #[must_use]
    pub fn follow_links(self, follow_links: bool) -> Self {
        Self { follow_links, ..self }
    }

    /// Sets whether files are mapped.
    #[must_use]
    pub fn mmap(self, mmap: bool) -> Self {
        Self { mmap, ..self }
    }

    /// Sets the maximum length of an index, in bytes.
    #[must_use]
    pub fn index_bytes(self, index_bytes: u64) -> Self {
        Self { index_bytes, ..self }
    }
}
