//! The command-line program.

use std::process::ExitCode;

fn main() -> ExitCode {
    cdi_prune::cli::program(std::env::args_os().collect())
}
