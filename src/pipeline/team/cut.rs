//! Which part of a run does which tensors.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::pipeline::error::Error;
use crate::pipeline::origin::{Action, Tensor};
use crate::pipeline::resolve::Resolved;
use crate::pipeline::same::{is_constant, same_bytes};

/// The tensors of a model and of its trained checkpoint, divided into parts of about the same bytes.
///
/// A tensor is never divided, so that all sums over it are added up in one place. Neighbours in name order,
/// the order of the tensors in output files, stay together, so that most shards are one part's. Tensors whose
/// decisions depend on each other go to one part: copies of a tensor, and the layers of chains.
#[derive(Clone, Debug)]
pub struct Cut {
    of: BTreeMap<String, usize>,
    parts: Vec<PartSize>,
}

/// The size of a part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PartSize {
    /// Number of tensors.
    pub tensors: usize,
    /// Their bytes in the trained checkpoint; those of the model where there is none.
    pub bytes: u64,
}

impl Cut {
    /// Into this many parts.
    ///
    /// # Errors
    /// [`Error::TrainedMissing`] never; errors of the config's chains.
    pub(in crate::pipeline) fn new(resolved: &Resolved<'_>, parts: usize) -> Result<Self, Error> {
        let trained = resolved.trained.as_ref();
        let all: BTreeMap<&String, &Tensor> =
            resolved.model.iter().chain(trained.into_iter().flatten()).collect();
        let size = |tensor: &Tensor| (tensor.shape.elements() * tensor.dtype.bitsize() / 8) as u64;
        // Empty tensors count too, so that their number is divided as well.
        let total: u64 = all.values().map(|tensor| size(tensor) + 1).sum();
        let together = together(resolved)?;
        let mut of: BTreeMap<String, usize> = BTreeMap::new();
        let mut sizes = vec![PartSize::default(); parts];
        let mut before = 0;
        for (name, tensor) in all {
            let bytes = size(tensor);
            let middle = u128::from(before) + u128::from(bytes + 1) / 2;
            let own = (middle * parts as u128 / u128::from(total.max(1))) as usize;
            let first = together.get(name.as_str()).and_then(|first| of.get(*first));
            let part = first.copied().unwrap_or(own.min(parts - 1));
            sizes[part].tensors += 1;
            sizes[part].bytes += bytes;
            of.insert(name.clone(), part);
            before += bytes + 1;
        }
        Ok(Self { of, parts: sizes })
    }

    /// The part that does this tensor, from 0.
    pub fn part_of(&self, name: &str) -> usize {
        self.of.get(name).copied().unwrap_or(0)
    }

    /// The sizes of the parts.
    pub fn parts(&self) -> &[PartSize] {
        &self.parts
    }
}

/// For each tensor that must be in the part of another one before it, that one.
fn together<'a>(resolved: &'a Resolved<'_>) -> Result<BTreeMap<&'a str, &'a str>, Error> {
    let mut found = BTreeMap::new();
    let (Ok((checkpoint, tensors)), Some(prune)) = (resolved.trained(), &resolved.settings.prune) else {
        return Ok(found);
    };
    // Copies, as `select::ties` finds them; more of them than those do no harm.
    let mut firsts: BTreeMap<(&[usize], &[u8]), Vec<&str>> = BTreeMap::new();
    for (name, tensor) in tensors.iter().filter(|(_, tensor)| tensor.action == Action::Prune) {
        let Some(data) = checkpoint.tensor(name) else { continue };
        let beginning = data.data.part(0..data.data.len().min(64)).bytes();
        let alike = firsts.entry((tensor.shape.dims(), beginning)).or_default();
        let copied = alike.iter().find(|first| {
            let first = checkpoint.tensor(first).expect("one of its own names");
            first.dtype == data.dtype && same_bytes(&first, &data) && !is_constant(&data)
        });
        match copied {
            Some(first) => {
                found.insert(name.as_str(), *first);
            }
            None => alike.push(name),
        }
    }
    for names in &prune.tied {
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        names.sort_unstable();
        if let [first, rest @ ..] = &names[..] {
            let first = found.get(first).copied().unwrap_or(first);
            found.extend(rest.iter().map(|name| (*name, first)));
        }
    }
    // Units are removed from several layers at once: all of them in one part.
    let layers: Vec<&str> = prune.chains.iter().flat_map(|chain| &chain.layers).map(String::as_str).collect();
    let of_chain = |name: &&String| {
        let layer = name.rsplit_once('.').map(|(layer, _)| layer);
        layer.is_some_and(|layer| layers.contains(&layer))
    };
    let mut chained = tensors.keys().filter(of_chain).map(String::as_str);
    if let Some(first) = chained.next() {
        let first = found.get(first).copied().unwrap_or(first);
        found.extend(chained.map(|name| (name, first)));
    }
    Ok(found)
}
