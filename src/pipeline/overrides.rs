//! Overrides of keys that a command does not use.

use super::run::Stages;
use crate::config::{ConfigError, ConfigErrorKind, KeyPath, Place, Settings, Step};

/// Refuses an override (`--set`) of a key that these stages do not use. Outputs of other stages may be
/// overridden, because every command checks that no two outputs are the same file.
///
/// # Errors
/// An error of the config for the first such key.
pub fn overrides_are_read(settings: &Settings, stages: Stages) -> Result<(), ConfigError> {
    let command = match stages {
        Stages::All => return Ok(()),
        Stages::Init => "init",
        Stages::Analyze => "analyze",
        Stages::Prune => "prune",
    };
    for (text, path) in settings.source.override_paths() {
        if let Some(section) = unread(path, stages) {
            let words = format!("this has no effect: `{command}` does not use `{section}`; leave it out");
            let kind = Box::new(ConfigErrorKind::BadOverride(words));
            return Err(ConfigError { place: Place::Override(text.to_owned()), kind });
        }
    }
    Ok(())
}

/// The key, if the stages do not use it.
fn unread(path: &KeyPath, stages: Stages) -> Option<String> {
    let key = |n: usize| match path.steps().get(n) {
        Some(Step::Key(key)) => key.as_str(),
        _ => "",
    };
    // An override of a whole section includes the paths of its outputs.
    let (section, inner) = (key(0), key(1));
    let names_files = inner.is_empty() || ["output", "report", "cache"].contains(&inner);
    let unread = match stages {
        Stages::All => false,
        Stages::Init => {
            section == "gates" || (["analyze", "prune", "tune"].contains(&section) && !names_files)
        }
        Stages::Analyze => ["init", "prune", "tune"].contains(&section) && !names_files,
        Stages::Prune => section == "init" && !names_files,
    };
    unread.then(|| if inner.is_empty() { section.to_owned() } else { format!("{section}.{inner}") })
}
