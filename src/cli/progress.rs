//! A progress bar on standard error.

use std::io::IsTerminal;
use std::sync::Mutex;

use cdi_prune::pipeline::Progress;
use indicatif::{ProgressBar, ProgressStyle};

use super::global::{Global, LogFormat};
use super::signals;

/// Shows one bar per stage; none where standard error is no terminal or nobody wants it.
pub struct Bar {
    shown: bool,
    bar: Mutex<ProgressBar>,
}

impl Bar {
    /// As the options say: lines of JSON have none between them.
    pub fn of(global: &Global) -> Self {
        let wanted = !global.quiet && !global.no_progress && global.log_format == LogFormat::Text;
        Self { shown: wanted && std::io::stderr().is_terminal(), bar: Mutex::new(ProgressBar::hidden()) }
    }

    fn with(&self, act: impl FnOnce(&mut ProgressBar)) {
        // A thread that panicked while holding the bar has nothing that could be half done.
        act(&mut self.bar.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }
}

impl Progress for Bar {
    fn begin(&self, stage: &'static str, bytes: u64) {
        if !self.shown {
            return;
        }
        let style =
            ProgressStyle::with_template("{msg:8} [{bar:32}] {bytes}/{total_bytes} {bytes_per_sec} {eta}")
                .expect("the template is a literal")
                .progress_chars("=> ");
        let bar = ProgressBar::new(bytes).with_style(style).with_message(stage);
        // No ticker: that would be a thread, and one that cannot start is a panic there.
        bar.tick();
        self.with(|current| *current = bar);
    }

    fn advance(&self, bytes: u64) {
        if self.shown {
            self.with(|bar| bar.inc(bytes));
        }
    }

    fn note(&self, line: &str) {
        tracing::info!("{line}");
    }

    fn cancelled(&self) -> bool {
        signals::received()
    }

    fn end(&self) {
        self.with(|bar| bar.finish_and_clear());
    }
}
