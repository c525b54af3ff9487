//! Names: of a checkpoint's files, and of the helper files that stand beside an output while it is written.
//!
//! All forms of one checkpoint, the single file, its shards and their index, are one family, and have one
//! journal. Helper files are called `.NAME.cdi-prune-journal`, `.NAME.RUN.cdi-prune-tmp` and
//! `.NAME.RUN.cdi-prune-old`, where RUN is a run's random id.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use crate::digest;

/// Of what is said about an output while a run is at it.
pub(super) const JOURNAL: &str = ".cdi-prune-journal";
/// Of a file that is being written.
pub(super) const TEMPORARY: &str = ".cdi-prune-tmp";
/// Of what stood in its place, while it is being replaced.
pub(super) const OLD: &str = ".cdi-prune-old";
/// Of the lists of finished shards of earlier versions.
const RESUME: &str = ".cdi-prune-resume";

const SINGLE: &str = ".safetensors";
const INDEX: &str = ".safetensors.index.json";

/// The length of a run's id.
pub(super) const RUN_LENGTH: usize = 32;

/// The folder that `path` lies in; `.` where it names none.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether a file of this name is one that this tool makes for itself.
pub fn is_helper(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let endings = [JOURNAL, TEMPORARY, OLD, RESUME];
    name.starts_with(b".") && endings.iter().any(|ending| name.ends_with(ending.as_bytes()))
}

/// Whether this is the form of a run's id.
pub(super) fn is_run(text: &[u8]) -> bool {
    text.len() == RUN_LENGTH && text.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// `model.safetensors` → `model`.
fn stem(output: &Path) -> OsString {
    let name = output.file_name().unwrap_or_default();
    name.as_encoded_bytes().strip_suffix(SINGLE.as_bytes()).map_or_else(|| name.to_owned(), text)
}

/// Where shard `n`, from 0, of a checkpoint of this name lies.
pub(super) fn shard_path(output: &Path, n: usize, of: usize) -> PathBuf {
    let mut name = stem(output);
    name.push(format!("-{:05}-of-{of:05}{SINGLE}", n + 1));
    output.with_file_name(name)
}

/// Where the index of a sharded checkpoint of this name lies: `model.safetensors.index.json`.
pub fn index_path(output: &Path) -> PathBuf {
    let mut name = stem(output);
    name.push(INDEX);
    output.with_file_name(name)
}

/// What a checkpoint that was written to `output` is opened by: in shards it has an index.
pub fn entry_path(output: &Path) -> PathBuf {
    let index = index_path(output);
    if index.exists() { index } else { output.to_owned() }
}

/// All files that are there of a checkpoint of this name, in whatever form: the single file, an index,
/// shards of any number.
pub fn forms(output: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder_of(output))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| output.with_file_name(entry.file_name()))
        .filter(|path| is_form(path, output))
        .filter(|path| path.symlink_metadata().is_ok_and(|m| !m.is_dir()))
        .collect();
    found.sort();
    found
}

/// Whether the file of this name is a form of that checkpoint, if both are in one folder.
pub(super) fn is_form(path: &Path, output: &Path) -> bool {
    let (stem, suffix) = split(path.file_name().unwrap_or_default());
    let index = index_path(output);
    path.file_name() == output.file_name()
        || stem == split(index.file_name().unwrap_or_default()).0 && !suffix.is_empty()
}

/// What else there is of the checkpoints that these files belong to: an index or shards that an earlier form
/// of the same output has left, and that are read in place of it.
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

/// A file's name without and with what makes it one of a checkpoint's forms; nothing of the
/// kind in other names.
fn split(name: &OsStr) -> (&[u8], &[u8]) {
    let name = name.as_encoded_bytes();
    if name.ends_with(INDEX.as_bytes()) {
        return name.split_at(name.len() - INDEX.len());
    }
    let Some(stem) = name.strip_suffix(SINGLE.as_bytes()) else { return (name, &[]) };
    // `-00001-of-00002`, from its end.
    let number = |text: &[u8]| text.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    let of = stem.len() - number(stem);
    let shard = stem[..of].strip_suffix(b"-of-").filter(|_| stem.len() - of >= 5).and_then(|before| {
        let digits = number(before);
        before[..before.len() - digits].strip_suffix(b"-").filter(|_| digits >= 5)
    });
    name.split_at(shard.map_or(stem.len(), <[u8]>::len))
}

/// Where the journal lies of the output that a file belongs to.
pub(super) fn journal_of(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(family(path.file_name().unwrap_or_default()));
    name.push(JOURNAL);
    path.with_file_name(name)
}

/// A name that all forms of one output have in common, short enough for more to be added to it.
fn family(name: &OsStr) -> OsString {
    let (stem, suffix) = split(name);
    let mut family = short(stem);
    if !suffix.is_empty() {
        family.push(SINGLE);
    }
    family
}

/// `.NAME.RUN` with this ending, beside `path`.
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

/// Whether a file of this name is a temporary one, or a second name of an old one, of the output
/// that has this journal.
pub(super) fn is_temporary_of(name: &OsStr, journal: &Path) -> bool {
    let Some(rest) = name.as_encoded_bytes().strip_prefix(b".") else { return false };
    let ending = [TEMPORARY, OLD, RESUME].into_iter().find_map(|e| rest.strip_suffix(e.as_bytes()));
    let Some(rest) = ending else { return false };
    // Earlier versions had no run in it.
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

/// A stem as helper files have it: a system's names end at 255 bytes.
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
        // Names that only look like it.
        assert_eq!(journal("p-0001-of-00002.safetensors"), ".p-0001-of-00002.safetensors.cdi-prune-journal");
        assert_eq!(journal("p00001-of-00002.safetensors"), ".p00001-of-00002.safetensors.cdi-prune-journal");
        assert_eq!(journal("p"), ".p.cdi-prune-journal");
        // A checkpoint without the usual ending has shards and an index with it.
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
            // Of earlier versions.
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
