//! Progress of long work, for display.

/// Told about the stages and how much of each is done. Called from many threads.
pub trait Progress: Sync {
    /// A stage begins, which will go through this many bytes.
    fn begin(&self, stage: &'static str, bytes: u64);
    /// So many more bytes are done.
    fn advance(&self, bytes: u64);
    /// The stage is over.
    fn end(&self);
    /// Something worth a line between stages.
    fn note(&self, _line: &str) {}
    /// Whether to stop. Every stage asks before each block; where it is so, it ends with
    /// [`super::Error::Cancelled`], and leaves no file behind.
    fn cancelled(&self) -> bool {
        false
    }
}

/// Shows nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _stage: &'static str, _bytes: u64) {}
    fn advance(&self, _bytes: u64) {}
    fn end(&self) {}
}
