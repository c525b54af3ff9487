//! What all processes of a run in parts have in common: the cut, the folder, and what is in it.

use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::cut::Cut;
use super::file::{self, Origin, Place};
use super::steps::refuse_tune;
use crate::digest;
use crate::noise::NOISE_VERSION;
use crate::pipeline::error::{Error, PartsProblem, Step};
use crate::pipeline::masks::SavedMasks;
use crate::pipeline::resolve::Resolved;
use crate::store::create_parent;

/// What all processes of a run in parts have in common.
pub(super) struct Seat {
    pub folder: PathBuf,
    pub cut: Cut,
    pub origin: Origin,
}

/// What a part tells all others about a step.
#[derive(Serialize, Deserialize)]
pub(super) struct Told<P> {
    pub results: P,
    pub masks: Option<SavedMasks>,
    /// What else it keeps for later steps.
    pub kept: Vec<String>,
}

/// What a part may keep for later steps besides masks.
pub(in crate::pipeline) const CODES: &str = "codes";

impl Seat {
    pub fn new(resolved: &Resolved<'_>, parts: usize, folder: &Path) -> Result<Self, Error> {
        let settings = resolved.settings;
        refuse_tune(settings)?;
        if resolved.trained.is_some() {
            resolved.open_files_of_pruning()?;
        }
        let folder = folder.join(format!("of-{parts:05}"));
        create_parent(&folder)?;
        let origin = Origin {
            tool: env!("CARGO_PKG_VERSION").to_owned(),
            noise: NOISE_VERSION,
            config: settings.config_sha256.clone(),
            seed: settings.seed,
            inputs: inputs(resolved),
            parts,
        };
        Ok(Self { folder, cut: Cut::new(resolved, parts)?, origin })
    }

    pub fn prefix((name, number): Step) -> String {
        format!("{number}-{name}")
    }

    pub fn at(&self, step: Step, rest: &str) -> PathBuf {
        self.folder.join(format!("{}.{rest}", Self::prefix(step)))
    }

    pub fn part(&self, step: Step, part: usize) -> PathBuf {
        self.at(step, &format!("part-{part:05}"))
    }

    pub fn state(&self, step: Step, part: usize, what: &str) -> PathBuf {
        self.at(step, &format!("part-{part:05}.{what}"))
    }

    pub fn finished(&self) -> PathBuf {
        self.folder.join("finished.json")
    }

    pub fn place(&self, (name, step): Step, part: usize) -> Place<'_> {
        Place { origin: &self.origin, part, step, name }
    }

    /// Whether the parts of a step were merged, of the same run.
    pub fn is_merged(&self, step: Step) -> bool {
        self.is_noted(&self.at(step, "merged"))
    }

    /// Notes that the parts of a step were merged.
    pub fn mark(&self, step: Step) -> Result<(), Error> {
        self.note(&self.at(step, "merged"))
    }

    /// Writes a small file that stands for something done of this run.
    pub fn note(&self, path: &Path) -> Result<(), Error> {
        let text = serde_json::to_string(&self.origin).expect("words and numbers");
        file::put(path, &[text.as_bytes(), b"\n"])
    }

    /// Whether such a file is there, of this run and no other.
    pub fn is_noted(&self, path: &Path) -> bool {
        let origin = fs::read(path).ok().and_then(|text| serde_json::from_slice::<Origin>(&text).ok());
        origin.as_ref() == Some(&self.origin)
    }

    pub fn read<P: DeserializeOwned>(&self, step: Step, part: usize) -> Result<Option<Told<P>>, Error> {
        file::read(&self.part(step, part), self.place(step, part))
    }

    /// What all parts have told about a step.
    pub fn read_all<P: DeserializeOwned>(&self, step: Step) -> Result<Vec<Told<P>>, Error> {
        let of = self.origin.parts;
        let mut all = Vec::with_capacity(of);
        let mut missing = Vec::new();
        for part in 1..=of {
            match self.read(step, part)? {
                Some(told) => all.push(told),
                None => missing.push(part),
            }
        }
        match missing.is_empty() {
            true => Ok(all),
            false => Err(PartsProblem::Missing { step, missing, of }.of(&self.folder)),
        }
    }

    /// Whether something is not there any more that a part has kept.
    pub fn has_lost<P>(&self, told: &Told<P>, step: Step, number: usize) -> bool {
        let is_lost = |what: &str| !self.state(step, number, what).exists();
        (told.masks.is_some() && is_lost("masks")) || told.kept.iter().any(|what| is_lost(what))
    }
}

/// Bytes of a sample of a file, and number of samples.
const SAMPLE: u64 = 4096;
const SAMPLES: u64 = 64;

/// SHA-256 of what identifies the inputs: the role and the length of each file, and samples of its content,
/// evenly spread from its beginning, where the header is, to its end. Training changes every sample.
fn inputs(resolved: &Resolved<'_>) -> String {
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    for (kind, checkpoint) in resolved.checkpoints() {
        for n in 0..checkpoint.shards().count() {
            let data = checkpoint.whole_file(n);
            let bytes = data.len() as u64;
            pieces.push(format!("\n{} {bytes}\n", kind.role()).into_bytes());
            let last = bytes.saturating_sub(SAMPLE);
            for sample in 0..SAMPLES {
                let start = (u128::from(last) * u128::from(sample) / u128::from(SAMPLES - 1)) as usize;
                let end = (start as u64 + SAMPLE).min(bytes) as usize;
                pieces.push(data.part(start..end).bytes().to_vec());
            }
        }
    }
    digest::of_pieces(pieces.iter().map(Vec::as_slice))
}
