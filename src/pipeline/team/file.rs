//! The file of one part of a step: a line of JSON that says what it belongs to, the results, and a SHA-256 of
//! both.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::checkpoint::CheckpointError;
use crate::digest;
use crate::pipeline::error::{Error, PartsProblem};
use crate::regular_file;
use crate::store::folder_of;

/// Version of the format.
const VERSION: u32 = 1;
/// The word that a file begins with.
const FORMAT: &str = "cdi-prune part";
/// Number of bytes of the digest at the end, in hexadecimal, and of the longest first line.
const DIGEST: usize = 64;
const LONGEST_LINE: u64 = 4096;

/// What a part belongs to, and must have in common with all others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origin {
    /// Version of the tool, and of the noise function.
    pub tool: String,
    pub noise: u32,
    /// SHA-256 of the config with its overrides, and the seed.
    pub config: String,
    pub seed: u64,
    /// SHA-256 of what identifies the inputs.
    pub inputs: String,
    /// Number of parts.
    pub parts: usize,
}

impl Origin {
    /// In which respect a file differs from this.
    fn differs(&self, other: &Self) -> Option<PartsProblem> {
        if (&self.tool, self.noise) != (&other.tool, other.noise) {
            return Some(PartsProblem::Tool(other.tool.clone()));
        }
        if (&self.config, self.seed) != (&other.config, other.seed) {
            return Some(PartsProblem::Config);
        }
        if self.inputs != other.inputs {
            return Some(PartsProblem::Inputs);
        }
        let words = |parts: usize| format!("a part of {parts}");
        let (expected, got) = (words(self.parts), words(other.parts));
        (self.parts != other.parts).then_some(PartsProblem::Place { expected, got })
    }
}

/// The first line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    format: String,
    version: u32,
    #[serde(flatten)]
    origin: Origin,
    /// Number of the part and of the step, from 1, and the name of the step.
    part: usize,
    step: usize,
    name: String,
    /// Bytes of the results.
    bytes: u64,
}

/// Where a file belongs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub origin: &'a Origin,
    /// Of the part, from 1.
    pub part: usize,
    /// Of the step, from 1.
    pub step: usize,
    pub name: &'static str,
}

impl Place<'_> {
    fn words(part: usize, step: usize, name: &str) -> String {
        format!("part {part} of step {step} (`{name}`)")
    }
}

/// Writes the file of a part. It appears as a whole, or not at all.
pub(super) fn write(path: &Path, place: Place<'_>, results: &impl Serialize) -> Result<(), Error> {
    let results = postcard::to_stdvec(results).expect("results have lengths");
    let line = Line {
        format: FORMAT.to_owned(),
        version: VERSION,
        origin: place.origin.clone(),
        part: place.part,
        step: place.step,
        name: place.name.to_owned(),
        bytes: results.len() as u64,
    };
    let mut line = serde_json::to_string(&line).expect("words and numbers");
    line.push('\n');
    let sha256 = digest::of_pieces([line.as_bytes(), &results]);
    put(path, &[line.as_bytes(), &results, sha256.as_bytes()])
}

/// Writes a small file, which appears as a whole, or not at all, whoever else writes it.
pub(super) fn put(path: &Path, pieces: &[&[u8]]) -> Result<(), Error> {
    let write = || {
        let mut file = tempfile::NamedTempFile::new_in(folder_of(path))?;
        pieces.iter().try_for_each(|piece| file.write_all(piece))?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error).map(drop)
    };
    write().map_err(CheckpointError::io(path, "write")).map_err(Error::from)
}

/// Reads the file of a part. `None` if there is none. A file is read into memory only once its first line
/// fits and says how long it is.
pub(super) fn read<R: DeserializeOwned>(path: &Path, place: Place<'_>) -> Result<Option<R>, Error> {
    let wrong = |problem: PartsProblem| problem.of(path);
    let unreadable = |error| CheckpointError::io(path, "read")(error);
    if fs::symlink_metadata(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        return Ok(None);
    }
    let mut file = regular_file::open(path).map_err(unreadable)?;
    let got = file.limit();
    let mut all = Vec::new();
    file.by_ref().take(LONGEST_LINE).read_to_end(&mut all).map_err(unreadable)?;
    let end = all.iter().position(|byte| *byte == b'\n').ok_or_else(|| wrong(PartsProblem::NotAPart))?;
    let line = serde_json::from_slice::<serde_json::Value>(&all[..end]).ok();
    let line = line.filter(|line| line["format"] == FORMAT).ok_or_else(|| wrong(PartsProblem::NotAPart))?;
    if line["version"] != VERSION {
        let version = line["version"].as_u64().and_then(|version| u32::try_from(version).ok());
        return Err(wrong(PartsProblem::Version(version.unwrap_or(u32::MAX))));
    }
    let line: Line = serde_json::from_value(line).map_err(|_| wrong(PartsProblem::NotAPart))?;
    if let Some(problem) = place.origin.differs(&line.origin) {
        return Err(wrong(problem));
    }
    if (line.part, line.step, line.name.as_str()) != (place.part, place.step, place.name) {
        let expected = Place::words(place.part, place.step, place.name);
        let got = Place::words(line.part, line.step, &line.name);
        return Err(wrong(PartsProblem::Place { expected, got }));
    }
    let expected = (end as u64 + 1).saturating_add(line.bytes).saturating_add(DIGEST as u64);
    if got != expected {
        return Err(wrong(PartsProblem::Length { expected, got }));
    }
    file.read_to_end(&mut all).map_err(unreadable)?;
    if all.len() as u64 != expected {
        return Err(wrong(PartsProblem::Length { expected, got: all.len() as u64 }));
    }
    let (content, sha256) = all.split_at(all.len() - DIGEST);
    if digest::of_pieces([content]).as_bytes() != sha256 {
        return Err(wrong(PartsProblem::Damaged));
    }
    match postcard::take_from_bytes(&content[end + 1..]) {
        Ok((results, [])) => Ok(Some(results)),
        _ => Err(wrong(PartsProblem::Damaged)),
    }
}
