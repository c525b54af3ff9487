//! Names of a checkpoint's files, and of the helper files beside an output while it is written.
//!
//! All forms of one checkpoint (the single file, its shards and their index) are one family and share one
//! journal. Helper files are called `.NAME.cdi-prune-journal`, `.NAME.RUN.cdi-prune-tmp` and
//! `.NAME.RUN.cdi-prune-old`; RUN is a run's random id.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::digest;
use crate::place;

/// Ending of an output's journal.
pub(super) const JOURNAL: &str = ".cdi-prune-journal";
/// Ending of a file that is being written.
pub(super) const TEMPORARY: &str = ".cdi-prune-tmp";
/// Ending of the second name of an old file while it is being replaced.
pub(super) const OLD: &str = ".cdi-prune-old";
/// Ending of the lists of finished shards that earlier versions wrote.
const RESUME: &str = ".cdi-prune-resume";

const SINGLE: &str = ".safetensors";
const INDEX: &str = ".safetensors.index.json";

/// Number of characters in a run's id.
pub(super) const RUN_LENGTH: usize = 32;

/// The folder that contains `path`; `.` if the path names none.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether this is the name of a helper file of this tool.
pub fn is_helper(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let endings = [JOURNAL, TEMPORARY, OLD, RESUME];
    name.starts_with(b".") && endings.iter().any(|ending| name.ends_with(ending.as_bytes()))
}

/// Whether the text has the format of a run's id.
pub(super) fn is_run(text: &[u8]) -> bool {
    text.len() == RUN_LENGTH && text.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// `model.safetensors` → `model`.
fn stem(output: &Path) -> OsString {
    let name = output.file_name().unwrap_or_default();
    name.as_encoded_bytes().strip_suffix(SINGLE.as_bytes()).map_or_else(|| name.to_owned(), text)
}

/// Path of shard `n`, counted from 0, of a checkpoint with this name.
pub(super) fn shard_path(output: &Path, n: usize, of: usize) -> PathBuf {
    let mut name = stem(output);
    name.push(format!("-{:05}-of-{of:05}{SINGLE}", n + 1));
    output.with_file_name(name)
}

/// Path of the index of a sharded checkpoint with this name: `model.safetensors.index.json`.
pub fn index_path(output: &Path) -> PathBuf {
    let mut name = stem(output);
    name.push(INDEX);
    output.with_file_name(name)
}

/// The path to open for a checkpoint written to `output`: the index if it has shards.
pub fn entry_path(output: &Path) -> PathBuf {
    let index = index_path(output);
    if place::is_file(&index) { index } else { output.to_owned() }
}

/// All existing files of a checkpoint with this name, in any form: the single file, an index,
/// any number of shards.
pub fn forms(output: &Path) -> Vec<PathBuf> {
    let is_folder =
        |path: &Path| !place::is_distant(path) && path.symlink_metadata().is_ok_and(|m| m.is_dir());
    let mut found: Vec<PathBuf> = place::list(folder_of(output))
        .into_iter()
        .flatten()
        .map(|name| output.with_file_name(name))
        .filter(|path| is_form(path, output) && !is_folder(path))
        .collect();
    found.sort();
    found
}

/// Whether this is the name of an index of shards.
#[cfg(feature = "object-store")]
pub(super) fn is_index(path: &Path) -> bool {
    split(path.file_name().unwrap_or_default()).1 == INDEX.as_bytes()
}

/// Whether this is the name of a shard.
#[cfg(feature = "object-store")]
pub(super) fn is_shard(path: &Path) -> bool {
    let (_, suffix) = split(path.file_name().unwrap_or_default());
    suffix.starts_with(b"-")
}

/// Whether the file of this name is a form of that checkpoint, assuming that both are in one folder.
pub(super) fn is_form(path: &Path, output: &Path) -> bool {
    let (stem, suffix) = split(path.file_name().unwrap_or_default());
    let index = index_path(output);
    path.file_name() == output.file_name()
        || stem == split(index.file_name().unwrap_or_default()).0 && !suffix.is_empty()
}

/// The other existing files of the checkpoints that these files belong to: an index or shards left by an
/// earlier form of the same output, which would be read in its place.
pub fn stale_beside(written: &[PathBuf]) -> Vec<PathBuf> {
    let mut stale = Vec::new();
    for path in written {
        let (stem, suffix) = split(path.file_name().unwrap_or_default());
        if !suffix.is_empty() {
            let mut name = text(stem);
            name.push(SINGLE);
            stale.extend(forms(&path.with_file_name(name)));
        }
    }
    stale.retain(|path| !written.contains(path));
    stale.sort();
    stale.dedup();
    stale
}

/// Splits a file's name into its stem and the ending that makes it one of a checkpoint's forms. The ending is
/// empty for other names.
fn split(name: &OsStr) -> (&[u8], &[u8]) {
    let name = name.as_encoded_bytes();
    if name.ends_with(INDEX.as_bytes()) {
        return name.split_at(name.len() - INDEX.len());
    }
    let Some(stem) = name.strip_suffix(SINGLE.as_bytes()) else { return (name, &[]) };
    // `-00001-of-00002`, parsed from its end.
    let number = |text: &[u8]| text.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    let of = stem.len() - number(stem);
    let shard = stem[..of].strip_suffix(b"-of-").filter(|_| stem.len() - of >= 5).and_then(|before| {
        let digits = number(before);
        before[..before.len() - digits].strip_suffix(b"-").filter(|_| digits >= 5)
    });
    name.split_at(shard.map_or(stem.len(), <[u8]>::len))
}

/// Path of the journal of the output that a file belongs to.
pub(super) fn journal_of(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(family(path.file_name().unwrap_or_default()));
    name.push(JOURNAL);
    path.with_file_name(name)
}

/// The name that all forms of one output share, short enough for endings to be added.
fn family(name: &OsStr) -> OsString {
    let (stem, suffix) = split(name);
    let mut family = short(stem);
    if !suffix.is_empty() {
        family.push(SINGLE);
    }
    family
}

/// The path `.NAME.RUN` plus this ending, beside `path`.
pub(super) fn helper(path: &Path, run: &str, ending: &str) -> PathBuf {
    let (stem, suffix) = split(path.file_name().unwrap_or_default());
    let mut name = OsString::from(".");
    name.push(short(stem));
    name.push(text(suffix));
    name.push(".");
    name.push(run);
    name.push(ending);
    path.with_file_name(name)
}

/// Whether a file of this name is a temporary file, or a second name of an old file, of the
/// output with this journal.
pub(super) fn is_temporary_of(name: &OsStr, journal: &Path) -> bool {
    let Some(rest) = name.as_encoded_bytes().strip_prefix(b".") else { return false };
    let ending = [TEMPORARY, OLD, RESUME].into_iter().find_map(|e| rest.strip_suffix(e.as_bytes()));
    let Some(rest) = ending else { return false };
    // In earlier versions, the name had no run id.
    let base = match rest.len().checked_sub(RUN_LENGTH + 1).map(|at| rest.split_at(at)) {
        Some((base, run)) if run[0] == b'.' && is_run(&run[1..]) => base,
        _ => rest,
    };
    let (stem, suffix) = split_bytes(base);
    let mut own = text(stem);
    if !suffix.is_empty() {
        own.push(SINGLE);
    }
    let mut wanted = OsString::from(".");
    wanted.push(own);
    wanted.push(JOURNAL);
    Some(wanted.as_os_str()) == journal.file_name()
}

/// A stem shortened for use in helper names: file systems limit names to 255 bytes.
fn short(stem: &[u8]) -> OsString {
    const MOST: usize = 140;
    if stem.len() <= MOST {
        return text(stem);
    }
    let lossy = String::from_utf8_lossy(stem);
    let end = (0..=100).rev().find(|end| lossy.is_char_boundary(*end)).unwrap_or_default();
    OsString::from(format!("{}~{}", &lossy[..end], &digest::of_pieces([stem])[..16]))
}

fn split_bytes(name: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let name = text(name);
    let (stem, suffix) = split(&name);
    (stem.to_vec(), suffix.to_vec())
}

#[cfg(unix)]
fn text(bytes: impl AsRef<[u8]>) -> OsString {
    <OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(bytes.as_ref()).to_owned()
}

#[cfg(not(unix))]
fn text(bytes: impl AsRef<[u8]>) -> OsString {
    String::from_utf8_lossy(bytes.as_ref()).into_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(name: &str) -> String {
        journal_of(Path::new(name)).display().to_string()
    }

    #[test]
    fn all_forms_of_an_output_have_one_journal() {
        for name in ["p.safetensors", "p.safetensors.index.json", "p-00001-of-00002.safetensors"] {
            assert_eq!(journal(name), ".p.safetensors.cdi-prune-journal");
        }
        assert_eq!(journal("a/p-100000-of-200000.safetensors"), "a/.p.safetensors.cdi-prune-journal");
        // Names that only look like shards.
        assert_eq!(journal("p-0001-of-00002.safetensors"), ".p-0001-of-00002.safetensors.cdi-prune-journal");
        assert_eq!(journal("p00001-of-00002.safetensors"), ".p00001-of-00002.safetensors.cdi-prune-journal");
        assert_eq!(journal("p"), ".p.cdi-prune-journal");
        // Without the usual ending, the whole name is the stem of shards and index.
        assert_eq!(index_path(Path::new("p.bin")), Path::new("p.bin.safetensors.index.json"));
        assert_eq!(shard_path(Path::new("p.bin"), 1, 3), Path::new("p.bin-00002-of-00003.safetensors"));
        assert_eq!(journal("p.bin-00002-of-00003.safetensors"), journal("p.bin.safetensors.index.json"));
    }

    #[test]
    fn temporary_files_belong_to_one_output() {
        let run = "0123456789abcdef0123456789abcdef";
        let belongs =
            |name: &str, output: &str| is_temporary_of(OsStr::new(name), Path::new(&journal(output)));
        for name in ["p.safetensors", "p.safetensors.index.json", "p-00001-of-00002.safetensors"] {
            let temporary = helper(Path::new(name), run, TEMPORARY);
            assert_eq!(temporary, Path::new(&format!(".{name}.{run}.cdi-prune-tmp")));
            assert!(is_helper(&temporary) && belongs(&temporary.display().to_string(), "p.safetensors"));
            // From earlier versions.
            assert!(belongs(&format!(".{name}.cdi-prune-old"), "p.safetensors"));
            for other in ["p-2.safetensors", "p.safetensors.safetensors", "p", "p.json"] {
                assert!(!belongs(&temporary.display().to_string(), other), "{other}");
            }
        }
        assert!(!belongs(".p.safetensors.cdi-prune-journal", "p.safetensors"));
        assert!(!is_helper(Path::new("p.cdi-prune-tmp")) && !is_helper(Path::new(".p.safetensors")));
    }

    #[test]
    fn helper_files_of_long_names_have_shorter_ones() {
        let long = |last: char| format!("{}{last}.safetensors", "é".repeat(120));
        let (a, b) = (long('a'), long('b'));
        let run = "0".repeat(RUN_LENGTH);
        let temporary = helper(Path::new(&a), &run, TEMPORARY);
        assert!(temporary.as_os_str().len() < 200, "{}", temporary.display());
        assert!(is_temporary_of(temporary.as_os_str(), &journal_of(Path::new(&a))));
        assert!(!is_temporary_of(temporary.as_os_str(), &journal_of(Path::new(&b))));
    }
}
