//! Names that PyTorch's wrappers insert into tensor names.

use std::collections::BTreeSet;

use crate::checkpoint::{Checkpoint, without_components};

/// Prefixes that DataParallel and `torch.compile` add to every name of a model.
const PREFIXES: [&str; 2] = ["module.", "_orig_mod."];

/// Names that `torch.compile`, FSDP and activation checkpointing give to a wrapped module, at any depth.
const ANYWHERE: [&str; 3] = ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"];

/// Additional names of the DataParallel wrapper.
const MODULE: &str = "module";

/// The wrapper names among the components of a tensor name, except the last.
pub(super) fn wrappers_in(name: &str) -> Vec<&'static str> {
    let Some((modules, _)) = name.rsplit_once('.') else { return Vec::new() };
    let has = |wrapper: &str| modules.split('.').any(|part| part == wrapper);
    ANYWHERE.into_iter().chain([MODULE]).filter(|wrapper| has(wrapper)).collect()
}

/// The parts of tensor names that a config must remove.
#[derive(Debug, Default)]
pub(super) struct Strip {
    /// The value of `trained.strip`.
    pub components: Vec<String>,
    /// The value of `trained.strip_prefix`.
    pub prefixes: Vec<String>,
}

impl Strip {
    /// For a checkpoint of possibly wrapped modules: prefixes, if every weight has one, and wrapper names
    /// anywhere. Nothing whose removal would make two names equal.
    pub fn of(checkpoint: &Checkpoint) -> Self {
        let prefixes = prefixes(checkpoint);
        let without_prefixes = |mut name| {
            while let Some(rest) = prefixes.iter().find_map(|prefix| str::strip_prefix(name, prefix.as_str()))
            {
                name = rest;
            }
            name
        };
        let names = || checkpoint.tensors().map(|(name, _)| without_prefixes(name));
        let inside: BTreeSet<&str> = names().flat_map(wrappers_in).filter(|name| *name != MODULE).collect();
        let mut short = BTreeSet::new();
        if inside.is_empty()
            || !names().all(|n| short.insert(without_components(n, |part| inside.contains(part))))
        {
            return Self { components: Vec::new(), prefixes };
        }
        let taken = |prefix: &String| inside.contains(prefix.trim_end_matches('.'));
        Self {
            prefixes: prefixes.iter().filter(|prefix| !taken(prefix)).cloned().collect(),
            components: inside.into_iter().map(str::to_owned).collect(),
        }
    }

    /// Whether nothing is removed.
    pub fn is_empty(&self) -> bool {
        self.components.is_empty() && self.prefixes.is_empty()
    }
}

/// The wrapper prefixes, if every weight has one and the names remain distinct without them.
fn prefixes(checkpoint: &Checkpoint) -> Vec<String> {
    let wrapper = |name: &str| PREFIXES.into_iter().find(|prefix| name.starts_with(prefix));
    let mut floats = checkpoint.tensors().filter(|(_, tensor)| tensor.float().is_some());
    if !floats.all(|(name, _)| wrapper(name).is_some()) {
        return Vec::new();
    }
    let mut found = BTreeSet::new();
    let mut short = BTreeSet::new();
    for (mut name, _) in checkpoint.tensors() {
        while let Some(prefix) = wrapper(name) {
            found.insert(prefix);
            name = &name[prefix.len()..];
        }
        if !short.insert(name) {
            return Vec::new();
        }
    }
    PREFIXES.iter().filter(|prefix| found.contains(*prefix)).map(|prefix| (*prefix).to_owned()).collect()
}
