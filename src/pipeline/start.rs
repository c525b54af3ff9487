//! Whether the trained checkpoint started from the config's initial values, by the results of the comparison.

use super::compare::ComparedTensor;
use super::error::Error;
use super::origin::Origin;
use super::resolve::Resolved;
use crate::analysis::{StartKind, StartTensor, started_here};
use crate::config::{InitSource, PruneSettings};
use crate::noise::NOISE_VERSION;
use crate::report::Start;
use crate::sparse::{FileMetadata, Fill};

/// Findings about the start.
pub(super) struct Told {
    /// For the checkpoint.
    pub start: Start,
    /// For its tensors, in name order.
    pub tensors: Vec<Option<bool>>,
}

impl Told {
    /// From the sums over weights and initial values, and the metadata of the trained file.
    pub fn new(resolved: &Resolved<'_>, compared: &[ComparedTensor]) -> Result<Self, Error> {
        let (checkpoint, tensors) = resolved.trained()?;
        let seen: Vec<StartTensor> = tensors
            .values()
            .zip(compared)
            .map(|(tensor, found)| StartTensor {
                kind: tensor.origin.as_ref().map_or(StartKind::Fixed, kind),
                weights: found.stats.finite,
                cosine: found.moments.spreads(found.stats.finite).cosine.filter(|_| found.compared),
            })
            .collect();
        let found = started_here(&seen);
        let name = |n: usize| tensors.keys().nth(n).cloned();
        let mut start = Start::new(found.whole.map(|(told, n)| (told, n.and_then(name))));
        let own = checkpoint.metadata().iter().find_map(|map| FileMetadata::find(map)?.ok());
        if let Some(own) = own {
            start.file_seed = Some(own.seed).filter(|seed| *seed != resolved.settings.seed);
            start.file_noise_version = Some(own.noise_version).filter(|version| *version != NOISE_VERSION);
        }
        let tensors = found.tensors.iter().map(|told| told.and_then(|told| told.here())).collect();
        Ok(Self { start, tensors })
    }

    /// Why pruned weights must not be replaced by initial values, in words, if the checkpoint did
    /// not start from them.
    pub fn forbids(&self, prune: &PruneSettings) -> Option<String> {
        self.start.words().filter(|_| prune.fill == Fill::Init && !prune.any_start)
    }
}

fn kind(origin: &Origin) -> StartKind {
    let random = match &origin.source {
        InitSource::From(_) => return StartKind::Stored,
        InitSource::Scheme(_) if !origin.slices.is_empty() => {
            origin.slices.iter().any(|slice| slice.scheme.is_random())
        }
        InitSource::Scheme(scheme) => scheme.is_random(),
        InitSource::None => false,
    };
    if random { StartKind::Drawn } else { StartKind::Fixed }
}
