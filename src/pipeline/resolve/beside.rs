//! The small files of a model, beside the trained checkpoint and beside the pruned one.

use std::collections::BTreeSet;
use std::path::Path;

use crate::config::{FormatChoice, Settings};
use crate::sparse::{Fill, Format};
use crate::store::{README, SmallFile, folder_of, with_readme};

/// The names of the small files beside the pruned checkpoint.
pub(super) fn names_out<'f>(settings: &Settings, files: &'f [SmallFile]) -> BTreeSet<&'f str> {
    files.iter().map(|file| file.name.as_str()).chain(has_readme(settings).then_some(README)).collect()
}

/// The small files beside the pruned checkpoint, with their contents.
pub(super) fn files_out(settings: &Settings, files: &[SmallFile]) -> Vec<SmallFile> {
    let files = files.to_vec();
    let Some(prune) = settings.prune.as_ref().filter(|_| has_readme(settings)) else { return files };
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let base = settings.base().filter(|_| prune.fill != Fill::Zero).map(name);
    with_readme(files, folder_of(&prune.output), &name(&prune.output), base.as_deref())
}

/// Whether the folder of the pruned checkpoint gets a README that explains how to restore it.
fn has_readme(settings: &Settings) -> bool {
    let dense = FormatChoice::Fixed(Format::Dense);
    settings.prune.as_ref().is_some_and(|prune| prune.folder && prune.format != dense)
}
