//! What the Python package `cdi_prune` is made of: thin functions over the library, with plain arguments. The
//! package's modules check what users give, allocate arrays, and document everything.

use std::ffi::OsString;
use std::process::ExitCode;

use pyo3::prelude::*;

mod delta;
mod errors;
mod file;
mod noise;
mod parts;
mod runs;
mod save;
mod work;

#[pymodule]
mod _native {
    #[pymodule_export]
    use super::delta::{Publisher, apply, delta, squash};
    #[pymodule_export]
    use super::file::File;
    #[pymodule_export]
    use super::noise::{Initial, gaussian};
    #[pymodule_export]
    use super::parts::{merge, plan_parts, run_part};
    #[pymodule_export]
    use super::program;
    #[pymodule_export]
    use super::runs::{compare, initial, inspect, pack, plan, restore, run, unpack, verify};
    #[pymodule_export]
    use super::save::save;
}

/// The command-line program with these arguments, the first of which is its name. Returns the exit code.
#[pyfunction]
fn program(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    let code = py.detach(|| cdi_prune::cli::program(arguments));
    // An exit code tells no number; the program's own are these.
    (0..=u8::MAX).find(|n| code == ExitCode::from(*n)).unwrap_or(1)
}
