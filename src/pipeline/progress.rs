//! Progress of long operations.

/// Receives the progress of the stages. Called from many threads.
pub trait Progress: Sync {
    /// A stage begins, and will process this many bytes.
    fn begin(&self, stage: &'static str, bytes: u64);
    /// This many more bytes are done.
    fn advance(&self, bytes: u64);
    /// The stage has ended.
    fn end(&self);
    /// A message to show between stages.
    fn note(&self, _line: &str) {}
    /// Whether to stop. Every stage asks before each block. If so, it ends with [`super::Error::Cancelled`]
    /// and leaves no files.
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
