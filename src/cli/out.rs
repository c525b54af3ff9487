//! Output of the program: standard output, standard error, the log. Tensor names, paths and config text are
//! escaped, so that a terminal or the log of a workflow shows them and does not interpret them.

use crate::place;
use std::borrow::Cow;
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use cdi_prune::gates::GateResult;
use cdi_prune::report::gate_words;
use cdi_prune::text::{is_unseen, printable};
use serde::Serialize;
use serde_json::json;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use super::failure::{Failure, Result};
use super::global::{Global, LogFormat};

/// Whether standard error is lines of JSON. Read by a signal handler.
static JSON: AtomicBool = AtomicBool::new(false);

/// Whether standard error is lines of JSON.
pub fn is_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

/// Has it be lines of JSON from now on.
pub fn in_json() {
    JSON.store(true, Ordering::Relaxed);
    std::panic::set_hook(Box::new(|panic| say_error(&panic.to_string(), 101)));
}

/// Starts the log.
pub fn start_log(global: &Global) {
    // Retries of requests to stores are told to those who ask for them (CDI_PRUNE_LOG=info).
    let level = if global.quiet { "error" } else { "info,object_store=off" };
    let filter =
        tracing_subscriber::EnvFilter::try_from_env("CDI_PRUNE_LOG").unwrap_or_else(|_| level.into());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Lines).with_target(false);
    match global.log_format {
        // A line of text is for a person, who needs neither a clock nor a level.
        LogFormat::Text => log.without_time().with_level(false).with_ansi(false).init(),
        LogFormat::Json => log.json().init(),
    }
}

/// Standard error for whole lines, as the log writes them.
struct Lines;

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let shown = if is_json() { json_clean(text) } else { printable(text).into() };
        writeln!(io::stderr(), "{shown}")?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Says why the program ends.
pub fn say(failure: &Failure) {
    // That training has to come first is no error.
    if failure.code == 3 {
        return say_line("INFO", "", &failure.message, 3);
    }
    say_error(&failure.message, failure.code.into());
}

/// Says that an error ends the program.
pub fn say_error(message: &str, code: i32) {
    say_line("ERROR", "error: ", message, code);
}

fn say_line(level: &str, prefix: &str, message: &str, code: i32) {
    let line = if is_json() {
        let mut time = String::new();
        let _ = SystemTime.format_time(&mut Writer::new(&mut time));
        let fields = json!({"message": message, "exit_code": code});
        json_clean(&json!({"timestamp": time, "level": level, "fields": fields}).to_string()).into_owned()
    } else {
        format!("{prefix}{}", message.lines().map(printable).collect::<Vec<_>>().join("\n"))
    };
    // Nobody may be there to read it.
    let _ = writeln!(io::stderr(), "{line}");
}

/// Gates for who reads the log as JSON; elsewhere they are in the tables.
pub fn log_gates(results: &[GateResult]) {
    for result in results.iter().filter(|_| is_json()) {
        let (gate, words) = (result.gate.name(), gate_words(result));
        let (limit, measured) = (result.limit.as_f64(), result.measured.as_f64());
        if result.passed {
            tracing::info!(gate, limit, measured, passed = true, "Gate passed: {words}");
        } else {
            tracing::error!(gate, limit, measured, passed = false, "Gate FAILED: {words}");
        }
    }
}

/// Prints text of one or more lines. A closed pipe (`| head`) is the reader's decision, not a failure.
pub fn print(text: &str) -> Result {
    write_out(&clean(text))
}

/// Prints a value as JSON, piece by piece: it may be long.
pub fn print_json(value: &impl Serialize) -> Result {
    let mut out = Cleaned(io::BufWriter::new(io::stdout().lock()));
    let written = serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::from);
    told(written.and_then(|()| writeln!(out)).and_then(|()| out.flush()))
}

/// Where the writer of JSON writes to, which hands on whole pieces of strings.
struct Cleaned<W>(W);

impl<W: Write> Write for Cleaned<W> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        match std::str::from_utf8(piece) {
            Ok(text) => self.0.write_all(json_clean(text).as_bytes())?,
            Err(_) => self.0.write_all(piece)?,
        }
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Prints JSON that is text already.
pub fn print_json_text(text: &str) -> Result {
    write_out(&json_clean(text))
}

fn write_out(text: &str) -> Result {
    told(writeln!(io::stdout().lock(), "{text}"))
}

fn told(written: io::Result<()>) -> Result {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::from(error).context("cannot write to standard output").into())
        }
        _ => Ok(()),
    }
}

/// A path as a person would write it: `configs/../out/a` is `out/a`. For the eye only: beyond a link it may
/// not be the same file.
pub fn shown(path: &Path) -> String {
    if let Some(url) = place::normal(path) {
        return printable(&url.display().to_string());
    }
    let mut short = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir
            && matches!(short.components().next_back(), Some(Component::Normal(_)))
        {
            short.pop();
        } else {
            short.push(part);
        }
    }
    printable(&short.display().to_string())
}

/// Text whose line breaks and colours are the program's own: all else that a terminal would
/// obey is written out.
fn clean(text: &str) -> Cow<'_, str> {
    if !text.contains(odd) && !text.contains(COMMAND) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        match c {
            '\n' => out.push(c),
            '\u{1b}' if is_colour(&text[at + 1..]) => out.push(c),
            '[' if out.ends_with("##") => out.extend(c.escape_unicode()),
            c if is_unseen(c) => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out.into()
}

/// What GitHub Actions takes for the beginning of a command, anywhere in a line.
const COMMAND: &str = "##[";

/// What is no line break of the program's own.
fn odd(c: char) -> bool {
    is_unseen(c) && c != '\n'
}

/// Whether what follows an escape is `[`, numbers and `m`.
fn is_colour(rest: &str) -> bool {
    let end =
        rest.strip_prefix('[').map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';'));
    end.is_some_and(|end| end.starts_with('m'))
}

/// JSON in which every such character is written as its number; what is left of them stands between values.
fn json_clean(json: &str) -> Cow<'_, str> {
    if !json.contains(odd) && !json.contains(COMMAND) {
        return json.into();
    }
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if odd(c) || (c == '[' && out.ends_with("##")) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out += &format!("\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_colours_and_line_breaks_pass() {
        let text = "a\u{1b}[1;31mb\u{1b}[0m\n\u{1b}]0;x\u{7}\u{202e}\u{1b}[2J\r\u{9b}m";
        assert_eq!(clean(text), "a\u{1b}[1;31mb\u{1b}[0m\n\\u{1b}]0;x\\u{7}\\u{202e}\\u{1b}[2J\\r\\u{9b}m");
        assert_eq!(
            (clean("## [##[x]"), json_clean("[\"##[x\"]")),
            ("## [##\\u{5b}x]".into(), "[\"##\\u005bx\"]".into())
        );
        assert_eq!(json_clean("{\n\"a\u{2028}\u{e0001}\"}"), "{\n\"a\\u2028\\udb40\\udc01\"}");
    }
}
