//! The command-line program: parse, call, print the error, exit code.

use std::process::ExitCode;

mod cli;

fn main() -> ExitCode {
    match cli::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            cli::out::say(&failure);
            ExitCode::from(failure.code)
        }
    }
}
