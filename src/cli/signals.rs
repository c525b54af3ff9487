//! What a signal that ends the program ends first.

/// From now on SIGINT and SIGTERM end the evaluation command that is running, then the program as they would have. SIGHUP is left alone:
/// `nohup` has it ignored.
#[cfg(unix)]
pub fn watch() -> std::io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            cdi_prune::tune::stop_running();
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    });
    Ok(())
}

#[cfg(not(unix))]
pub fn watch() -> std::io::Result<()> {
    Ok(())
}
