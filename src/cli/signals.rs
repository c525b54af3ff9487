//! Signals: what ends the program, and what it does first.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use super::out;

/// From now on:
/// - SIGINT and SIGTERM end the evaluation command that is running and cancel the stages, which remove their
///   temporary files; then the program ends with exit code 130 or 143. Where something takes longer than
///   [`PATIENCE`], the temporary files are removed from under it. Outputs that are just getting their names
///   get them all first. SIGHUP is left alone: `nohup` has it ignored.
/// - SIGBUS, which comes where a mapped file has become shorter, ends it with a message and exit code 1.
/// - SIGXFSZ does nothing, so that a file that grows too large is an error of the write.
#[cfg(unix)]
pub fn watch() -> io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
    signal_hook::flag::register(SIGXFSZ, std::sync::Arc::new(AtomicBool::new(false)))?;
    bus::watch()?;
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    let (done, when_done) = mpsc::channel();
    let _ = DONE.set(done);
    std::thread::Builder::new().spawn(move || {
        if let Some(signal) = signals.forever().next() {
            RECEIVED.store(true, Ordering::Relaxed);
            cdi_prune::tune::stop_running();
            let _ = when_done.recv_timeout(PATIENCE);
            cdi_prune::store::abandon();
            let name = if signal == SIGINT { "SIGINT" } else { "SIGTERM" };
            out::say_error(&format!("ended by {name}"), 128 + signal);
            signal_hook::low_level::exit(128 + signal);
        }
    })?;
    Ok(())
}

#[cfg(not(unix))]
pub fn watch() -> io::Result<()> {
    Ok(())
}

/// How long the stages have to stop by themselves.
const PATIENCE: Duration = Duration::from_secs(2);

static RECEIVED: AtomicBool = AtomicBool::new(false);
static DONE: OnceLock<mpsc::Sender<()>> = OnceLock::new();

/// Whether a signal has come that ends the program.
pub fn received() -> bool {
    RECEIVED.load(Ordering::Relaxed)
}

/// The command is over. Where a signal has come, the program ends here as that wants it, whatever
/// the command came to.
pub fn over() {
    if let (true, Some(done)) = (received(), DONE.get()) {
        let _ = done.send(());
        loop {
            std::thread::park();
        }
    }
}

/// A mapped page that is not there any more. Reading it cannot go on, so all that is left is to say why.
#[cfg(unix)]
#[allow(unsafe_code, reason = "a signal handler")]
mod bus {
    use std::io;
    use std::mem::MaybeUninit;
    use std::ptr;

    use super::out;

    pub fn watch() -> io::Result<()> {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: all zeros are a valid `sigaction`: no flags, no signal blocked, the default action.
        let action = unsafe { action.assume_init_mut() };
        action.sa_flags = libc::SA_SIGINFO;
        let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = say_so;
        action.sa_sigaction = handler as libc::sighandler_t;
        // SAFETY: the action is complete, and its handler is sound (below).
        match unsafe { libc::sigaction(libc::SIGBUS, action, ptr::null_mut()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Calls nothing but `write` and `_exit`, which a handler may, and reads a table without
    /// locks. Does not return.
    extern "C" fn say_so(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: with SA_SIGINFO the system passes a valid pointer, and SIGBUS carries an address.
        let address = unsafe { (*info).si_addr() }.addr();
        // As long as the system lets a path be.
        let mut path = [0; 4096];
        let file = cdi_core::internal::checkpoint::file_at(address, &mut path).unwrap_or(b"a mapped file");
        let json = out::is_json();
        let write = |text: &[u8]| {
            // SAFETY: the pointer and the length are of one slice.
            unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
        };
        write(if json { br#"{"level":"ERROR","fields":{"message":""# } else { b"error: " });
        // A path may hold what a terminal obeys or JSON has no room for.
        for byte in file.chunks(1) {
            write(if matches!(byte, [..0x20 | b'"' | b'\\' | 0x7F]) { b"?" } else { byte });
        }
        write(
            b": the file became shorter, or could not be read, while it was mapped; run again when the file \
              is complete, or use `--no-mmap`",
        );
        write(if json { b"\",\"exit_code\":1}}\n" } else { b"\n" });
        // SAFETY: ends the process without running anything else of it.
        unsafe { libc::_exit(1) }
    }
}
