//! Long work: without the GIL, ended by Ctrl-C, and with progress.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;
use std::{process, thread};

use cdi_prune::checkpoint::catch;
use cdi_prune::pipeline::Progress;
use cdi_prune::workers::{Pool, PoolError};
use pyo3::exceptions::PyRuntimeError;
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

/// Threads for one call, where the usual ones are missing: they belong to the process that first worked, and
/// a fork (of `multiprocessing`, or of the workers of PyTorch's `DataLoader`) does not take them along, so
/// that a child would wait for them forever. None in the process that has them.
fn own_pool() -> Result<Option<Pool>, PoolError> {
    // Set with the GIL held, as forks are made, so that no child finds it half set.
    static FIRST: OnceLock<u32> = OnceLock::new();
    if *FIRST.get_or_init(process::id) == process::id() {
        return Ok(None);
    }
    Pool::new(thread::available_parallelism().map_or(1, usize::from)).map(Some)
}

/// Does `work`, which may read what is in an object store.
pub fn caught<R, E: Into<Failure>>(work: impl FnOnce() -> Result<R, E>) -> Result<R, Failure> {
    catch(work).map_err(Failure::from)?.map_err(E::into)
}

/// Does `work` on another thread, while this one looks for Ctrl-C and calls `progress`. An exception of
/// either stops the work, and is raised when it has stopped.
pub fn detached<R: Send>(
    py: Python<'_>,
    progress: Option<&Bound<'_, PyAny>>,
    work: impl FnOnce(&dyn Progress) -> Result<R, Failure> + Send,
) -> PyResult<R> {
    let pool = own_pool().map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
    let watch = Watch::default();
    let (sender, receiver) = mpsc::channel();
    // The channel is this thread's alone, but asked without the GIL.
    let receiver = Mutex::new(receiver);
    thread::scope(|scope| {
        let watch = &watch;
        let worker = scope.spawn(move || {
            let work = || caught(|| work(watch));
            let _ = sender.send(match pool {
                Some(pool) => pool.run(work),
                None => work(),
            });
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
                    // Otherwise the scope panics as well.
                    let _ = worker.join();
                    return Err(PyRuntimeError::new_err(
                        "cdi_prune stopped at an internal error; its message is on standard error",
                    ));
                }
                // At every turn, since a command may have started after the last one.
                Err(RecvTimeoutError::Timeout) if interrupted.is_some() => cdi_prune::tune::stop_running(),
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
