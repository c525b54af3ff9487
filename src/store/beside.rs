//! The small files beside a checkpoint that turn it into a model: its configuration, its tokenizer and
//! its own code. They are copied to where the weights are written, so that a program that loads a
//! whole folder finds them.

use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;

use crate::place;
use cdi_core::internal::leads_out;

use super::names::folder_of;
use crate::checkpoint::{CheckpointError, ErrorKind, Identity, OpenOptions, identity};

/// A small file beside a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmallFile {
    /// Its file name.
    pub name: String,
    /// Its path.
    pub path: PathBuf,
    /// Its contents at the destination. For a README that this tool wrote, only the model's own part.
    pub bytes: Vec<u8>,
}

/// Maximum size of all of them together, in bytes.
const MOST: u64 = 64 << 20;

/// Files whose presence shows that a folder holds a model, not unrelated files.
const MODEL: [&str; 2] = ["config.json", ADAPTER];
const ADAPTER: &str = "adapter_config.json";

/// Endings of configurations, tokenizers, templates, code and documentation.
const ENDINGS: [&str; 12] =
    ["json", "txt", "model", "tiktoken", "jinja", "py", "md", "spm", "bpe", "vocab", "codes", "jsonl"];

/// Name of the page that model hubs show for a folder.
pub const README: &str = "README.md";

/// First line of a README that this tool wrote.
const OURS: &str = "<!-- cdi-prune: a pruned checkpoint -->\n";
/// Last line of this tool's part, if the model has a README of its own.
const THEIRS: &str = "<!-- cdi-prune: the model's own README follows -->\n";

/// Whether a file of this name is a small file of a model. An index of weights is not: it would refer to
/// weights that are not there.
fn is_small(name: &str) -> bool {
    let index = name.ends_with(".index.json") || name.contains(".safetensors.index.");
    let ending = name.rsplit_once('.').is_some_and(|(_, ending)| ENDINGS.contains(&ending));
    let terms = ["LICENSE", "LICENCE", "NOTICE"].contains(&name);
    !name.starts_with('.') && !index && (ending || terms)
}

/// The small files in the folder of the checkpoint opened at `path`, in name order. Empty if the path is not
/// a folder and no model configuration lies beside it. Files in `except` are left out. Links may lead out of
/// the folder if those of its shards may.
///
/// # Errors
/// [`ErrorKind::SmallLink`], [`ErrorKind::SmallTooLarge`], [`ErrorKind::Io`].
pub fn beside(
    checkpoint: &Path,
    except: &BTreeSet<Identity>,
    options: OpenOptions,
) -> Result<Vec<SmallFile>, CheckpointError> {
    let folder = if place::is_folder(checkpoint) { checkpoint } else { folder_of(checkpoint) };
    if folder != checkpoint && !MODEL.iter().any(|name| place::is_file(&folder.join(name))) {
        return Ok(Vec::new());
    }
    let mut names = BTreeSet::new();
    for name in place::list(folder).map_err(CheckpointError::io(folder, "list"))? {
        names.extend(name.into_string().ok().filter(|name| is_small(name)));
    }
    let mut files = Vec::new();
    let mut left = MOST;
    for name in names {
        let path = folder.join(&name);
        if !place::is_file(&path) || except.contains(&identity(&path)) {
            continue;
        }
        if let (false, Some(to)) = (options.follow_links, leads_out(folder, &name)) {
            return Err(CheckpointError::new(folder, ErrorKind::SmallLink { name, to }));
        }
        let length = place::size(&path).map_err(CheckpointError::io(&path, "read"))?;
        if length > left {
            return Err(CheckpointError::new(folder, ErrorKind::SmallTooLarge { name, limit: MOST }));
        }
        let mut bytes = place::read(&path, left).map_err(CheckpointError::io(&path, "read"))?;
        left -= bytes.len() as u64;
        if name == README && bytes.starts_with(OURS.as_bytes()) {
            let ends = bytes.windows(THEIRS.len()).position(|part| part == THEIRS.as_bytes());
            let Some(at) = ends else { continue };
            bytes.drain(..at + THEIRS.len());
        }
        files.push(SmallFile { name, path, bytes });
    }
    Ok(files)
}

/// The file name that a program loading such a folder looks for: the one of transformers, or of diffusers or
/// PEFT if the configuration is theirs.
pub fn weights_name(files: &[SmallFile]) -> &'static str {
    let find = |name: &str| files.iter().find(|file| file.name == name);
    match find("config.json") {
        Some(config) => {
            let config: Option<serde_json::Value> = serde_json::from_slice(&config.bytes).ok();
            let diffusers = config.is_some_and(|config| config.get("_diffusers_version").is_some());
            if diffusers { "diffusion_pytorch_model.safetensors" } else { "model.safetensors" }
        }
        None if find(ADAPTER).is_some() => "adapter_model.safetensors",
        None => "model.safetensors",
    }
}

/// Adds a README before the other files. It says what the weights in this file are and that they must be
/// restored. `base` is the checkpoint that is needed to restore them.
pub fn with_readme(
    mut files: Vec<SmallFile>,
    folder: &Path,
    weights: &str,
    base: Option<&str>,
) -> Vec<SmallFile> {
    let with_base = if base.is_some() { " --base BASE" } else { "" };
    let mut text = format!(
        "{OURS}# A pruned checkpoint\n\n\
         `{weights}` contains the pruned weights in the format of `cdi-prune`. `from_pretrained` does not \
         look for this name,\n\
         because a program that skipped the tensors it does not know would start from random weights.\n\
         Restore the checkpoint into another folder first:\n\n\
         ```sh\n\
         cdi-prune restore THIS_FOLDER -o RESTORED/{with_base}\n\
         ```\n\n"
    );
    if let Some(base) = base {
        text += &format!(
            "`BASE` is the checkpoint that the weights started from; it was `{base}` when this file was \
             written.\n\n"
        );
    }
    text += "This writes the full weights and copies the small files of this folder, so that \
             `from_pretrained(\"RESTORED\")`\n\
             can load the model.\n";
    let mut bytes = text.into_bytes();
    if let Some(at) = files.iter().position(|file| file.name == README) {
        bytes.extend(THEIRS.as_bytes());
        bytes.extend(files.remove(at).bytes);
    }
    files.insert(0, SmallFile { name: README.to_owned(), path: folder.join(README), bytes });
    files
}

/// Whether a path denotes a folder because it ends in a slash.
pub fn names_folder(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().last().is_some_and(|last| std::path::is_separator(char::from(*last)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_small_files() {
        for name in [
            "config.json",
            "merges.txt",
            "tokenizer.model",
            "modeling_x.py",
            "LICENSE",
            "chat_template.jinja",
        ] {
            assert!(is_small(name), "{name}");
        }
        for name in [
            "model.safetensors",
            "model.safetensors.index.json",
            "model.safetensors.index.fp16.json",
            "pytorch_model.bin.index.json",
            "pytorch_model.bin",
            "training_args.bin",
            ".gitattributes",
            "._config.json",
            "events.out",
        ] {
            assert!(!is_small(name), "{name}");
        }
    }

    #[test]
    fn folders_are_named_by_a_slash() {
        assert!(names_folder(Path::new("a/")));
        assert!(
            !names_folder(Path::new("a")) && !names_folder(Path::new("a/b")) && !names_folder(Path::new(""))
        );
    }
}
