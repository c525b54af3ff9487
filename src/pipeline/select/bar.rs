//! A single progress bar for all passes of a selection, whose number is not known in advance.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::pipeline::progress::Progress;

/// Shows consecutive passes as one stage.
pub(super) struct OneBar<'a> {
    progress: &'a dyn Progress,
    /// The remaining part of the bar. If there are more passes than expected, the bar stays full.
    left: AtomicU64,
}

impl<'a> OneBar<'a> {
    /// Begins a stage that will read about this many bytes.
    pub fn begin(stage: &'static str, bytes: u64, progress: &'a dyn Progress) -> Self {
        progress.begin(stage, bytes);
        Self { progress, left: AtomicU64::new(bytes) }
    }

    /// Fills the bar, and ends the stage.
    pub fn finish(&self) {
        self.advance(u64::MAX);
        self.progress.end();
    }
}

impl Progress for OneBar<'_> {
    fn begin(&self, _: &'static str, _: u64) {}

    fn advance(&self, bytes: u64) {
        let take = |left: u64| Some(left - left.min(bytes));
        let before = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).unwrap_or(0);
        self.progress.advance(before.min(bytes));
    }

    fn end(&self) {}

    fn note(&self, line: &str) {
        self.progress.note(line);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Records all calls.
    #[derive(Default)]
    struct Asked(Mutex<Vec<String>>);

    impl Progress for Asked {
        fn begin(&self, stage: &'static str, bytes: u64) {
            self.0.lock().unwrap().push(format!("begin {stage} {bytes}"));
        }

        fn advance(&self, bytes: u64) {
            self.0.lock().unwrap().push(bytes.to_string());
        }

        fn end(&self) {
            self.0.lock().unwrap().push("end".to_owned());
        }
    }

    #[test]
    fn the_bar_is_one_and_ends_full() {
        let asked = Asked::default();
        for passes in [&[30u64][..], &[30, 60, 70]] {
            let whole = OneBar::begin("select", 100, &asked);
            for bytes in passes {
                Progress::begin(&whole, "select", *bytes);
                whole.advance(*bytes);
                Progress::end(&whole);
            }
            whole.finish();
        }
        let said = asked.0.into_inner().unwrap().join(", ");
        assert_eq!(said, "begin select 100, 30, 70, end, begin select 100, 30, 60, 10, 0, end");
    }
}
