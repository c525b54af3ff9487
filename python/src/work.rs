//! Long work: without the GIL, ended by Ctrl-C, and with progress.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use cdi_prune::pipeline::Progress;
use pyo3::prelude::*;

use crate::errors::Failure;

/// How often Python is asked for signals, and told of the progress.
const TURN: Duration = Duration::from_millis(50);

/// What the working threads say of their progress, and whether they go on.
#[derive(Default)]
pub struct Watch {
    stop: AtomicBool,
    done: AtomicU64,
    /// The stage and its bytes; empty between stages.
    stage: Mutex<(&'static str, u64)>,
}

impl Progress for Watch {
    fn begin(&self, stage: &'static str, bytes: u64) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = (stage, bytes);
        self.done.store(0, Ordering::Relaxed);
    }

    fn advance(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    fn end(&self) {}

    fn cancelled(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

impl Watch {
    /// Calls `progress(stage, done, total)`, in bytes.
    fn tell(&self, py: Python<'_>, progress: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let (stage, total) = *self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(progress), false) = (progress, stage.is_empty()) {
            progress.call1((stage, self.done.load(Ordering::Relaxed).min(total), total))?;
        }
        py.check_signals()
    }
}

/// Does `work` on another thread, while this one looks for Ctrl-C and calls `progress`. An exception of
/// either stops the work, and is raised when it has stopped.
pub fn detached<R: Send>(
    py: Python<'_>,
    progress: Option<&Bound<'_, PyAny>>,
    work: impl FnOnce(&dyn Progress) -> Result<R, Failure> + Send,
) -> PyResult<R> {
    let watch = Watch::default();
    let (sender, receiver) = mpsc::channel();
    // The channel is this thread's alone, but asked without the GIL.
    let receiver = Mutex::new(receiver);
    thread::scope(|scope| {
        let watch = &watch;
        scope.spawn(move || {
            let _ = sender.send(work(watch));
        });
        let mut interrupted = None;
        loop {
            let result =
                py.detach(|| receiver.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(TURN));
            match result {
                Ok(result) => {
                    if let Some(error) = interrupted {
                        return Err(error);
                    }
                    watch.tell(py, progress)?;
                    return result.map_err(|failure| failure.raise(py));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(pyo3::exceptions::PyRuntimeError::new_err(
                        "cdi_prune stopped at an internal error; its message is on standard error",
                    ));
                }
                Err(RecvTimeoutError::Timeout) if interrupted.is_some() => {}
                Err(RecvTimeoutError::Timeout) => {
                    if let Err(error) = watch.tell(py, progress) {
                        watch.stop.store(true, Ordering::Relaxed);
                        cdi_prune::tune::stop_running();
                        interrupted = Some(error);
                    }
                }
            }
        }
    })
}
