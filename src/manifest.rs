//! The manifest: the files that a run read and wrote, with digests, so that anyone can check them later.
//!
//! ```
//! use cdi_prune::config::Settings;
//! use cdi_prune::manifest::Manifest;
//! use cdi_prune::pipeline::{Resolved, Silent, Stages, run};
//!
//! let folder = tempfile::tempdir()?;
//! let config = "
//! seed: 42
//! model: {tensors: {fc1.weight: [64, 128]}}
//! rules: [{match: fc1.weight, init: he}]
//! init: {output: init.safetensors}
//! manifest: manifest.json
//! ";
//! let settings = Settings::parse(config, &folder.path().join("config.yaml"), &[])?;
//! # std::fs::write(folder.path().join("config.yaml"), config)?;
//! run(&Resolved::new(&settings)?, Stages::All, &Silent, |_| {})?;
//!
//! let text = std::fs::read(folder.path().join("manifest.json"))?;
//! let manifest = Manifest::parse(&text)?;
//! assert!(manifest.is_intact(&text));
//! let output = &manifest.outputs[0];
//! assert_eq!((output.role.as_str(), output.path.as_str()), ("init.output", "init.safetensors"));
//! assert_eq!(output.size, std::fs::metadata(folder.path().join(&output.path))?.len());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::digest;
use crate::gates::GateResult;
use crate::noise::NOISE_VERSION;
use crate::place;
use crate::store::Decided;

/// Version of this form.
pub const VERSION: u32 = 1;

/// What a run read and wrote. The same run gives the same bytes: there are no times, host names or
/// absolute paths in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`VERSION`].
    pub version: u32,
    /// Version of the tool.
    pub tool_version: String,
    /// Version of the noise function.
    pub noise_version: u32,
    /// Version of the config's form: 1.
    pub config_version: u32,
    /// As in the report: SHA-256 of the config's bytes, followed, for each override, by a line with it.
    pub config_sha256: String,
    /// The overrides of the command line, in order.
    pub overrides: Vec<String>,
    /// The seed, reduced to 64 bits.
    pub seed: u64,
    /// Every file that was read: the config first.
    pub inputs: Vec<FileEntry>,
    /// Every file that was written, in the order in which they got their names.
    pub outputs: Vec<FileEntry>,
    /// The gates as they were found.
    pub gates: Vec<GateResult>,
    /// The trained checkpoint's tensors in name order; empty where there was none.
    pub tensors: Vec<TensorEntry>,
    /// SHA-256 of the text without this key, [`Self::digest`]; `None` in manifests of releases that wrote
    /// none. [`Self::text`] fills it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_sha256: Option<String>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// What it is for: the config's key that names it, `config`, `base`, `scores`, or
    /// `beside` for small files of the model.
    pub role: String,
    /// Its path, with `/`, relative to the manifest's folder.
    pub path: String,
    /// Its length in bytes.
    pub size: u64,
    /// SHA-256 in lower-case hexadecimal.
    pub sha256: String,
    /// The ETag of an input in an object store. An object with the same ETag and size is not read again only
    /// to find its SHA-256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
}

impl FileEntry {
    /// What of it decides about outputs, if it is an input.
    pub(crate) fn decides(&self) -> (&str, u64, &str) {
        (&self.role, self.size, &self.sha256)
    }
}

/// What became of one tensor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorEntry {
    /// Its name.
    pub name: String,
    /// Number of weights, 0 for types that pass through.
    pub total_weights: u64,
    /// Those awake; `null` where it was not compared.
    pub changed_weights: Option<u64>,
    /// Those asleep; `null` where it was not compared.
    pub sleeping_weights: Option<u64>,
    /// Places pruned; `null` without pruning.
    pub pruned_weights: Option<u64>,
}

/// A file that is no manifest of this version.
#[derive(Debug, thiserror::Error)]
pub enum ManifestProblem {
    /// Not the expected JSON.
    #[error("not a manifest of cdi-prune (line {line}: {message})")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// In the parser's words.
        message: String,
    },
    /// Made by a version that this one does not understand.
    #[error("a manifest with {what} {got}; this version reads {expected}")]
    Version {
        /// Which version.
        what: &'static str,
        /// The one in the file.
        got: u32,
        /// The one understood.
        expected: u32,
    },
}

impl Manifest {
    /// Reads a manifest's text.
    ///
    /// # Errors
    /// [`ManifestProblem`].
    pub fn parse(text: &[u8]) -> Result<Self, ManifestProblem> {
        /// What tells a later form, whatever else is in it.
        #[derive(Deserialize)]
        struct Versions {
            version: u32,
            noise_version: u32,
        }
        let syntax = |error: serde_json::Error| ManifestProblem::Syntax {
            line: error.line(),
            message: error.to_string(),
        };
        let Versions { version, noise_version } = serde_json::from_slice(text).map_err(syntax)?;
        for (what, got, expected) in
            [("version", version, VERSION), ("noise version", noise_version, NOISE_VERSION)]
        {
            if got != expected {
                return Err(ManifestProblem::Version { what, got, expected });
            }
        }
        serde_json::from_slice(text).map_err(syntax)
    }

    /// What the run went by.
    pub(crate) fn decided(&self) -> Decided<'_> {
        Decided {
            tool_version: &self.tool_version,
            noise_version: self.noise_version,
            config_sha256: &self.config_sha256,
            seed: self.seed,
        }
    }

    /// The key of the run's outputs ([`Decided::key`]).
    pub(crate) fn key(&self) -> String {
        self.decided().key(self.inputs.iter().map(FileEntry::decides), "")
    }

    /// Its text with its digest, and a line feed at the end.
    pub fn text(&self) -> String {
        Self { manifest_sha256: Some(self.digest()), ..self.clone() }.written()
    }

    /// SHA-256 of its text without the digest.
    pub fn digest(&self) -> String {
        let bare = Self { manifest_sha256: None, ..self.clone() };
        digest::of_pieces([bare.written().as_bytes()])
    }

    /// Whether `text`, which gave this manifest, is its text but for white space, and has the digest that it
    /// says. That tells of an accident; who alters it on purpose can write another digest.
    pub fn is_intact(&self, text: &[u8]) -> bool {
        without_space(text) == without_space(self.written().as_bytes())
            && self.manifest_sha256.as_ref().is_none_or(|listed| *listed == self.digest())
    }

    fn written(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("strings and numbers always serialise");
        text.push('\n');
        text
    }
}

/// JSON without the white space between its parts.
fn without_space(json: &[u8]) -> Vec<u8> {
    let (mut quoted, mut escaped) = (false, false);
    let mut stays = |byte: &u8| {
        let stays = quoted || !byte.is_ascii_whitespace();
        quoted ^= *byte == b'"' && !escaped;
        escaped = quoted && *byte == b'\\' && !escaped;
        stays
    };
    json.iter().copied().filter(|byte| stays(byte)).collect()
}

/// `path` as seen from `folder`, with `/`; both are absolute and without links. As it is where they
/// have no root in common.
pub(crate) fn relative(path: &Path, folder: &Path) -> String {
    // A store knows no `..`.
    if place::is_distant(path) || place::is_distant(folder) {
        return path.strip_prefix(folder).unwrap_or(path).to_string_lossy().into_owned();
    }
    let (parts, base): (Vec<_>, Vec<_>) = (path.components().collect(), folder.components().collect());
    let common = parts.iter().zip(&base).take_while(|(a, b)| a == b).count();
    if common == 0 {
        return path.to_string_lossy().into_owned();
    }
    let up = std::iter::repeat_n("..".to_owned(), base.len() - common);
    let down = parts[common..].iter().map(|part| part.as_os_str().to_string_lossy().into_owned());
    up.chain(down).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_seen_from_the_manifest() {
        let seen = |path: &str| relative(Path::new(path), Path::new("/a/b/out"));
        assert_eq!(seen("/a/b/out/x.json"), "x.json");
        assert_eq!(seen("/a/b/in/y/x.json"), "../in/y/x.json");
        assert_eq!(seen("/c"), "../../../c");
    }

    #[test]
    fn other_versions_are_told_by_name() {
        let error = |text: &str| Manifest::parse(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(
            error(r#"{"version": 2, "noise_version": 1, "new": 0}"#),
            "a manifest with version 2; this version reads 1"
        );
        assert_eq!(
            error(r#"{"version": 1, "noise_version": 7}"#),
            "a manifest with noise version 7; this version reads 1"
        );
        assert_eq!(
            error("{\n}"),
            "not a manifest of cdi-prune (line 2: missing field `version` at line 2 column 1)"
        );
    }
}
