//! Runs the user's evaluation command.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::metric::{Metric, last_number};
use crate::text::printable;

/// Placeholder for the checkpoint's path in an argument.
pub const PLACE: &str = "{checkpoint}";
/// The metric is searched in this many bytes at the end of the output.
const READ: u64 = 1 << 20;
/// Maximum number of lines of output that an error shows, from its end.
const SHOWN: usize = 12;

/// Why an evaluation command gave no metric.
#[derive(Debug)]
pub struct EvaluationError {
    /// The command in shell syntax.
    pub command: String,
    /// The working directory of the command.
    pub folder: String,
    /// What went wrong.
    pub problem: EvaluationProblem,
    /// The last lines of its standard output and its standard error.
    pub tail: [Vec<String>; 2],
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum EvaluationProblem {
    /// It could not be started.
    #[error("cannot be started: {0}")]
    Start(io::Error),
    /// It exited with an error.
    #[error("ended with {}", .0)]
    Status(ExitStatus),
    /// It exceeded the time limit and was killed, with all processes of its group.
    #[error("was killed after {} s, the limit of `tune.timeout`", .0.as_secs_f64())]
    Timeout(Duration),
    /// It printed no number.
    #[error("printed no number on standard output, where the last number is the metric")]
    NoNumber,
    /// The last number it printed is not finite.
    #[error("printed `{0}` as its last number on standard output, expected a finite number")]
    NotFinite(String),
    /// Its output could not be stored or read, or waiting for it failed.
    #[error("cannot be run: {0}")]
    Io(io::Error),
}

impl std::error::Error for EvaluationError {}

impl fmt::Display for EvaluationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { problem, tail, .. } = self;
        // All line breaks belong to this message, none to the quoted text.
        let (command, folder) = (printable(&self.command), printable(&self.folder));
        let problem = printable(&problem.to_string());
        write!(f, "the evaluation command {problem}\n  {command}\n  in the folder {folder}")?;
        if matches!(self.problem, EvaluationProblem::Start(_)) {
            return Ok(());
        }
        for (name, lines) in ["standard output", "standard error"].iter().zip(tail) {
            match lines.as_slice() {
                [] => write!(f, "\n  its {name} is empty")?,
                [..] => write!(f, "\n  its {name} ends with")?,
            }
            for line in lines {
                write!(f, "\n  | {}", printable(line))?;
            }
        }
        Ok(())
    }
}

/// Runs the command in the folder, without a shell and without input. `{checkpoint}` in its arguments is
/// replaced by the path. The metric is the last number on its standard output ([`last_number`]). When the
/// command ends or the time limit is reached, all remaining processes of its process group are killed.
///
/// # Errors
/// [`EvaluationError`].
pub fn evaluate(
    command: &[String],
    checkpoint: &Path,
    folder: &Path,
    timeout: Duration,
) -> Result<f64, EvaluationError> {
    let arguments: Vec<OsString> = command.iter().map(|a| with_path(a, checkpoint)).collect();
    let fail = |problem, tail| EvaluationError {
        command: arguments.iter().map(|a| quoted(a)).collect::<Vec<_>>().join(" "),
        folder: folder.display().to_string(),
        problem,
        tail,
    };
    let io = |error| fail(EvaluationProblem::Io(error), Default::default());
    // Files instead of pipes: a surviving process may keep them open without blocking this one.
    let mut outputs = [tempfile::tempfile().map_err(io)?, tempfile::tempfile().map_err(io)?];
    let [out, err] = [outputs[0].try_clone().map_err(io)?, outputs[1].try_clone().map_err(io)?];
    let mut process = Command::new(program(&arguments, folder));
    process.args(arguments.iter().skip(1)).current_dir(folder);
    process.stdin(Stdio::null()).stdout(out).stderr(err);
    group::own(&mut process);
    let mut child = {
        // Locked until the process group is known, so that [`stop_running`] waits for it.
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let child = process.spawn().map_err(|e| fail(EvaluationProblem::Start(e), Default::default()))?;
        running.push(child.id());
        child
    };
    let status = wait(&mut child, timeout).map_err(io)?;
    let [printed, complained] = &mut outputs;
    let printed = end(printed).map_err(io)?;
    let tail = |complained: &str| [last_lines(&printed), last_lines(complained)];
    let problem = match status {
        None => EvaluationProblem::Timeout(timeout),
        Some(status) if !status.success() => EvaluationProblem::Status(status),
        Some(_) => match last_number(&printed) {
            Metric::Finite(metric) => return Ok(metric),
            Metric::NotFinite(word) => EvaluationProblem::NotFinite(word.to_owned()),
            Metric::Missing => EvaluationProblem::NoNumber,
        },
    };
    Err(fail(problem, tail(&end(complained).map_err(io)?)))
}

/// The process ids of the running commands, which are also those of their process groups.
static RUNNING: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// Kills the running commands, if any, with every process of their groups. They have process groups of their
/// own, so Ctrl-C in a terminal does not reach them. A program that ends on a signal must call this first.
pub fn stop_running() {
    for id in RUNNING.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        group::kill(id);
    }
}

/// Kills what is left of the group of a command, unless [`stop_running`] has done so.
fn stop(id: u32) {
    let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(place) = running.iter().position(|other| *other == id) {
        group::kill(running.swap_remove(place));
    }
}

/// Waits for the command; `None` if the time limit was reached. All processes of the group have
/// ended when this returns.
fn wait(child: &mut Child, timeout: Duration) -> io::Result<Option<ExitStatus>> {
    let begun = Instant::now();
    loop {
        let ended = group::has_ended(child)?;
        let elapsed = begun.elapsed();
        let left = timeout.saturating_sub(elapsed);
        if ended || left.is_zero() {
            // Before the process is reaped, so that its id cannot have been reused.
            stop(child.id());
            // For systems without process groups; elsewhere it is dead already.
            let _ = child.kill();
            let status = child.wait()?;
            return Ok(ended.then_some(status));
        }
        // A sixteenth is lost at most, or a millisecond, and no command is looked at all the time.
        let pause = (elapsed / 16).clamp(Duration::from_millis(1), Duration::from_millis(50));
        thread::sleep(pause.min(left));
    }
}

/// Process groups, so that child processes of a killed command do not survive it.
#[cfg(unix)]
mod group {
    use std::io;
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command};

    use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

    pub fn own(command: &mut Command) {
        command.process_group(0);
    }

    /// Whether the process has ended. The process is not reaped, so its id and its group's
    /// id cannot be reused.
    pub fn has_ended(child: &mut Child) -> io::Result<bool> {
        let Some(pid) = pid(child.id()) else { return Ok(true) };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        match waitid(WaitId::Pid(pid), options) {
            Ok(status) => Ok(status.is_some()),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Kills the remaining processes of the group.
    pub fn kill(id: u32) {
        if let Some(pid) = pid(id) {
            // An error means that no process of the group is left, which is fine.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }

    fn pid(id: u32) -> Option<Pid> {
        i32::try_from(id).ok().and_then(Pid::from_raw)
    }
}

#[cfg(not(unix))]
mod group {
    use std::io;
    use std::process::{Child, Command};

    pub fn own(_: &mut Command) {}

    pub fn has_ended(child: &mut Child) -> io::Result<bool> {
        child.try_wait().map(|status| status.is_some())
    }

    pub fn kill(_: u32) {}
}

/// A program path with several components is relative to the folder, like the paths in the arguments.
fn program(arguments: &[OsString], folder: &Path) -> OsString {
    let Some(program) = arguments.first() else { return OsString::new() };
    let path = Path::new(program);
    if path.components().count() > 1 { folder.join(path).into_os_string() } else { program.clone() }
}

fn with_path(argument: &str, checkpoint: &Path) -> OsString {
    let mut out = OsString::new();
    for (n, part) in argument.split(PLACE).enumerate() {
        if n > 0 {
            out.push(checkpoint);
        }
        out.push(part);
    }
    out
}

/// The last part of a file.
fn end(file: &mut File) -> io::Result<String> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(READ)))?;
    let mut bytes = Vec::new();
    file.take(READ).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last lines of an output for an error message, without control characters and with long lines cut.
fn last_lines(text: &str) -> Vec<String> {
    const LONGEST: usize = 200;
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let shown = lines.iter().skip(lines.len().saturating_sub(SHOWN));
    shown
        .map(|line| {
            let line: String = line.chars().filter(|c| !c.is_control() || *c == '\t').collect();
            match line.char_indices().nth(LONGEST) {
                Some((at, _)) => format!("{}…", &line[..at]),
                None => line,
            }
        })
        .collect()
}

/// Quotes an argument as a shell requires it.
pub(crate) fn quoted(argument: &OsStr) -> String {
    let text = argument.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "_./:=@%+,-".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}
