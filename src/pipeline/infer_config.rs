//! The command `new`: a starting config for a checkpoint, which is checked against it.

use std::fs;
use std::path::{Component, Path, PathBuf};

use cdi_core::internal::base_tensor;

use super::error::{Error, RuleProblem, caught};
use super::outputs::{check_distinct, check_outputs};
use super::prune::in_parts;
use super::resolve::{Resolved, refuse_pruned};
use super::same::{is_constant, same_bytes};
use super::wrappers::Strip;
use crate::checkpoint::{Checkpoint, OpenOptions};
use crate::config::{ConfigErrorKind, Settings};
use crate::infer::{Inference, Purpose, Surroundings};
use crate::place;
use crate::sparse::FileMetadata;
use crate::store::{compressed, create_parent};
use crate::tensor::Shape;

/// Name of the config file if the config is only printed.
const FILE: &str = "config.yaml";

/// Maximum number of corrections of the config; after that, it has no initial values.
const ATTEMPTS: usize = 100;

/// Infers a config, which `plan` accepts, from the names, shapes and types of a checkpoint's tensors.
/// Relative paths in it are relative to the folder of the file `config`, which is created, or to the current
/// folder if there is no file. The base in `purpose`, if any, is a path like `path`.
///
/// # Errors
/// If the checkpoint or the base cannot be read, is a pruned file, or has no weights; if the base has none of
/// the checkpoint's tensors; if a path is not UTF-8; if `config` is a file of either.
pub fn infer_config(
    path: &Path,
    config: Option<&Path>,
    purpose: &Purpose,
    options: OpenOptions,
) -> Result<String, Error> {
    caught(|| {
        let mut checkpoint = Checkpoint::open_with(path, options)?;
        refuse_pruned(&checkpoint)?;
        let made_by = checkpoint.metadata().iter().find_map(|map| FileMetadata::find(map)?.ok());
        in_parts(&checkpoint, compressed(&checkpoint), false)?;
        if !checkpoint.tensors().any(|(_, tensor)| tensor.float().is_some()) {
            return Err(Error::NoWeights { path: path.to_owned(), tensors: checkpoint.len() });
        }
        let file = config.unwrap_or(Path::new(FILE));
        if config.is_some() {
            let inputs = checkpoint.files().map(|file| ("the checkpoint", file));
            check_distinct(inputs, [("the config", file)])?;
            // A relative path out of a folder needs the folder to exist.
            create_parent(file)?;
        }
        let base = match purpose {
            Purpose::Finetune { base } => Some(Checkpoint::open_with(Path::new(base), options)?),
            _ => None,
        };
        if let (Some(base), Some(_)) = (&base, config) {
            check_distinct(base.files().map(|file| ("the base", file)), [("the config", file)])?;
        }
        let seed = made_by.map(|made_by| made_by.seed);
        let around = surroundings(&mut checkpoint, seed, (path, config), purpose)?;
        let tensors = checkpoint.tensors().map(|(name, tensor)| (name, tensor.dtype, tensor.shape));
        let mut inference = Inference::new(tensors, |a, b| same(&checkpoint, a, b));
        match (&around.purpose, &base) {
            (Purpose::Magnitude, _) => inference.without_initial(),
            (Purpose::Finetune { base: from }, Some(base)) => {
                let has = |name: &str, shape: &Shape| base_tensor(base, name, shape).is_ok();
                if !inference.from_base(from, has) {
                    return Err(Error::NothingOfBase { path: path.to_owned(), base: base.path().to_owned() });
                }
            }
            _ => {}
        }
        mended(inference, around, file, options)
    })
}

/// The parts of the config other than its rules. Removes the names that wrappers have inserted from the
/// checkpoint's tensor names.
fn surroundings(
    checkpoint: &mut Checkpoint,
    seed: Option<u64>,
    (path, config): (&Path, Option<&Path>),
    purpose: &Purpose,
) -> Result<Surroundings, Error> {
    let purpose = match purpose {
        Purpose::Finetune { base } => Purpose::Finetune { base: from_config(Path::new(base), config)? },
        other => other.clone(),
    };
    let from_config = from_config(path, config)?;
    // The initial checkpoint has the names of its skeleton.
    let strip = if purpose == Purpose::Init { Strip::default() } else { Strip::of(checkpoint) };
    checkpoint.strip_components(&strip.components)?;
    checkpoint.strip_prefixes(&strip.prefixes)?;
    let trained = match seed {
        // This is an initial checkpoint; the trained one will have another name.
        Some(_) => free(config.unwrap_or(Path::new(FILE)), "trained", ".safetensors"),
        None => from_config.clone(),
    };
    Ok(Surroundings {
        checkpoint: text(path)?,
        name: stem(path),
        purpose,
        like: strip.is_empty().then_some(from_config),
        trained,
        strip: strip.components,
        strip_prefix: strip.prefixes,
        seed,
        sharded: checkpoint.files().count() > 1,
        ..Surroundings::default()
    })
}

/// The config, corrected where it does not fit the checkpoint.
fn mended(
    mut inference: Inference<'_>,
    mut around: Surroundings,
    file: &Path,
    options: OpenOptions,
) -> Result<String, Error> {
    for _ in 0..ATTEMPTS {
        let config = inference.config(&around);
        match fits(&config, file, options) {
            Ok(()) => return Ok(config),
            Err(Error::SameFile { .. }) => around.outputs = free(file, &around.outputs, ""),
            Err(error) => {
                let tensors = offending(&error);
                // One after the other, because each gets its own rule.
                if !tensors.iter().fold(false, |changed, tensor| inference.set_apart(tensor) | changed) {
                    break;
                }
            }
        }
    }
    inference.give_up();
    let config = inference.config(&around);
    fits(&config, file, options).map(|()| config)
}

/// The name for outputs: the file name without the endings of checkpoints, or the name of the folder.
fn stem(path: &Path) -> String {
    let whole = fs::canonicalize(path).ok().filter(|_| path.file_name().is_none());
    let name =
        whole.as_deref().unwrap_or(path).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let stem = name.split_once(".safetensors").map_or(name, |(stem, _)| stem);
    let stem = if stem.is_empty() || stem.starts_with('.') { "model" } else { stem };
    stem.to_owned()
}

/// Checks the config: it must be valid, fit the checkpoint, and none of its outputs may be an input.
fn fits(config: &str, file: &Path, options: OpenOptions) -> Result<(), Error> {
    let settings = Settings::parse(config, file, &[])?;
    let resolved = match Resolved::with(&settings, options) {
        // That of an initial checkpoint is yet to come.
        Err(Error::TrainedMissing { .. }) => return Ok(()),
        resolved => resolved?,
    };
    check_outputs(resolved.inputs(), &resolved.outputs())
}

/// The tensors whose rules an error concerns.
fn offending(error: &Error) -> Vec<String> {
    match error {
        Error::Mismatch(mismatch) => mismatch.unmatched.clone(),
        Error::Config(error) => match &*error.kind {
            ConfigErrorKind::Stage(problem) => match problem.downcast_ref::<RuleProblem>() {
                Some(RuleProblem::Unmatched { tensors, .. }) => tensors.clone(),
                Some(
                    RuleProblem::Layer { tensor, .. }
                    | RuleProblem::Shape { tensor, .. }
                    | RuleProblem::Slices { tensor, .. }
                    | RuleProblem::Roles { tensor, .. }
                    | RuleProblem::NoWeight { tensor, .. },
                ) => vec![tensor.clone()],
                Some(RuleProblem::SameLayer { first, second, .. }) => vec![first.clone(), second.clone()],
                _ => Vec::new(),
            },
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// Whether two tensors of the same type and shape have the same bytes, and are not
/// constant, as in a skeleton.
fn same(checkpoint: &Checkpoint, a: &str, b: &str) -> bool {
    let (Some(a), Some(b)) = (checkpoint.tensor(a), checkpoint.tensor(b)) else { return false };
    same_bytes(&a, &b) && !is_constant(&a)
}

/// The path of the checkpoint as written in a config in this file.
fn from_config(path: &Path, config: Option<&Path>) -> Result<String, Error> {
    let folder = config.and_then(Path::parent).filter(|folder| *folder != Path::new(""));
    let Some(folder) = folder.filter(|_| path.is_relative() && !place::is_distant(path)) else {
        return text(path);
    };
    // Links in both folders must be resolved, because `..` leads out of the target of a link. The checkpoint
    // itself may be a link, such as into a cache, and keeps its name.
    let whole = || fs::canonicalize(path);
    let place = match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if parent == Path::new("") => fs::canonicalize(".").map(|p| p.join(name)),
        (Some(parent), Some(name)) => fs::canonicalize(parent).map(|parent| parent.join(name)),
        _ => whole(),
    };
    match (fs::canonicalize(folder), place) {
        (Ok(folder), Ok(place)) => text(&relative(&place, &folder)),
        _ => text(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned())),
    }
}

/// The relative path from a folder to another path, both absolute and without links or dots.
fn relative(place: &Path, folder: &Path) -> PathBuf {
    let common = place.components().zip(folder.components()).take_while(|(a, b)| a == b).count();
    if common == 0 {
        return place.to_owned();
    }
    let up = folder.components().skip(common).map(|_| Component::ParentDir);
    let way: PathBuf = up.chain(place.components().skip(common)).collect();
    if way == Path::new("") { PathBuf::from(".") } else { way }
}

fn text(path: &Path) -> Result<String, Error> {
    path.to_str().map(str::to_owned).ok_or_else(|| Error::PathNotUtf8 { path: path.to_owned() })
}

/// An unused name in the folder of the config: `stem` and `end`, with a number between them if necessary.
fn free(config: &Path, stem: &str, end: &str) -> String {
    let is_free = |name: &String| config.with_file_name(name).symlink_metadata().is_err();
    let numbered = (2..u64::MAX).map(|n| format!("{stem}-{n}{end}"));
    std::iter::once(format!("{stem}{end}")).chain(numbered).find(is_free).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Inference is not known to give rise to any of these; that it could not be mended if it did must not be
    /// the first that is heard of it.
    #[test]
    fn errors_name_the_tensors_to_set_apart() {
        for (rules, tensors) in [
            ("[{match: b, init: he}, {match: c, init: he}]", &["a"][..]),
            ("[{match: '**', init: he, layer: 1}]", &["a", "b"]),
            ("[{match: '*', init: he, layer: {by: 1}}]", &["a"]),
            ("[{match: b, init: dirac}, {match: '*', init: he}]", &["b"]),
            ("[{match: c, init: {mode: torch_default, fan_in_of: d}}, {match: '*', init: he}]", &["c"]),
            ("[{match: '*', init: he, layout: [expert, out, in]}]", &["a"]),
            ("[{match: d, init: he}, {match: '*', init: he}]", &[]),
            ("[{match: '[', init: he}]", &[]),
        ] {
            let config =
                format!("seed: 1\nmodel: {{tensors: {{a: [2, 2], b: [2, 2], c: [2]}}}}\nrules: {rules}\n");
            let error = fits(&config, Path::new("x.yaml"), OpenOptions::default()).unwrap_err();
            assert_eq!(offending(&error), tensors, "{error}");
        }
    }

    #[test]
    fn the_way_to_a_place() {
        let way = |place: &str, folder: &str| relative(Path::new(place), Path::new(folder));
        assert_eq!(way("/a/b/m", "/a/c/d"), Path::new("../../b/m"));
        assert_eq!(way("/a/m", "/a"), Path::new("m"));
        assert_eq!(way("/a", "/a"), Path::new("."));
        assert_eq!(way("/a", "/a/b"), Path::new(".."));
    }
}
