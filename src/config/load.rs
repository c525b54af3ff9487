//! Loads settings from a file.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::error::{ConfigError, ConfigErrorKind, Place};
use super::path::KeyPath;
use super::resolve;
use super::settings::Settings;
use super::source::Source;
use super::typed::read;
use super::unused::unused;
use crate::place;

/// Maximum size of a config in bytes.
const LONGEST: u64 = 64 << 20;

impl Settings {
    /// Reads the config file and applies the overrides, each `KEY=VALUE` as for `--set`.
    ///
    /// # Errors
    /// [`ConfigError`], also if the file cannot be read.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self, ConfigError> {
        let error = |place, kind| ConfigError { place, kind: Box::new(kind) };
        let bytes = place::read(path, LONGEST)
            .map_err(|e| error(Place::File(path.to_owned()), ConfigErrorKind::Unreadable(e)))?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Self::parse(text, path, overrides),
            Err(e) => {
                let valid = String::from_utf8_lossy(&bytes[..e.valid_up_to()]);
                let last = valid.rsplit('\n').next().unwrap_or_default();
                let (line, column) = (valid.matches('\n').count() + 1, last.chars().count() + 1);
                Err(error(Place::Position { file: path.to_owned(), line, column }, ConfigErrorKind::NotUtf8))
            }
        }
    }

    /// Like [`Self::load`], for the text of a config. Errors name `path`, and relative paths are relative to
    /// its folder; nothing is read from there.
    ///
    /// # Errors
    /// [`ConfigError`], except those of reading the file.
    pub fn parse(text: &str, path: &Path, overrides: &[String]) -> Result<Self, ConfigError> {
        let (source, tree) = Source::new(text, path, overrides)?;
        let config_sha256 = digest(text, overrides);
        let settings = read(&tree, &KeyPath::root())
            .and_then(|config| resolve::settings(config, &source, config_sha256))
            .map_err(|problem| source.problem(problem))?;
        let drawn = resolve::draws(&settings).is_some();
        for (text, path) in source.override_paths() {
            if let Some(why) = unused(path, &tree, &settings, drawn) {
                let kind = ConfigErrorKind::BadOverride(format!("this has no effect: {why}"));
                return Err(ConfigError { place: Place::Override(text.to_owned()), kind: Box::new(kind) });
            }
        }
        Ok(settings)
    }
}

fn digest(text: &str, overrides: &[String]) -> String {
    let mut hasher = Sha256::new_with_prefix(text.as_bytes());
    for text in overrides {
        hasher.update(b"\n--set ");
        hasher.update(text.as_bytes());
    }
    crate::digest::hex(hasher)
}
