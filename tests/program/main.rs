//! The program as a person or a script meets it: its commands, its words, its exit codes, and what it takes
//! in time and memory; and everything in the repository that people copy.

#[path = "../common/mod.rs"]
mod common;

mod arrows;
mod ci_example;
mod compare;
mod config_errors;
mod delta;
mod docs_yaml;
mod errors;
mod gates;
#[cfg(target_os = "linux")]
mod hostile;
mod manifest;
mod matrix;
#[cfg(target_os = "linux")]
mod memory;
mod new;
mod parts;
mod shipped;
mod terminal;
// Its commands are those of a POSIX shell.
#[cfg(unix)]
mod tune;
#[cfg(unix)]
mod tune_steps;
