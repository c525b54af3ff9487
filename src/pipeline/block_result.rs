//! The results of a block, in a form that can be stored, sent and merged.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::blocks::Block;
use super::findings::BlockFindings;
use crate::prune::{InQuestion, Narrowing};

/// Version of the serialised form of a [`BlockResult`].
pub const BLOCK_RESULT_VERSION: u32 = 1;

/// The results of one block of a trained checkpoint. [`super::BlockPass`] computes and merges them.
///
/// They can be serialised with [`serde`]; as JSON, they are one line of text. Reals are written as their
/// bits, so that the merged result has the same bits wherever the blocks were computed. Results of another
/// version are refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockResult {
    // First, so that another version is detected before anything else is read.
    #[serde(deserialize_with = "known_version")]
    version: u32,
    pub(super) place: BlockPlace,
    pub(super) found: Found,
}

/// Identifies a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BlockPlace {
    /// Digest of the config.
    pub config_sha256: String,
    /// Its number in [`super::BlockPass::blocks`].
    pub number: usize,
    /// The tensor.
    pub tensor: String,
    /// First element of the block within the tensor, in storage order.
    pub start: usize,
    /// Number of elements.
    pub len: usize,
}

/// The kind of result, and the result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Found {
    /// The weights compared with their initial values.
    Comparison(Box<BlockFindings>),
    /// The keys of the scores of the weights.
    Keys(BlockKeys),
}

/// The keys of the scores of a block's weights, as far as a selection needs them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockKeys {
    /// The number of keys in each bin of the [`Narrowing`]: bins that are not empty, with their counts.
    pub counts: Vec<(u32, u64)>,
    /// The number of undecided keys, and the smallest and largest of them.
    pub in_question: InQuestion,
    /// The undecided keys in storage order, if requested.
    pub keys: Option<Vec<u64>>,
}

impl BlockResult {
    pub(super) fn new(config_sha256: &str, number: usize, tensor: &str, block: &Block, found: Found) -> Self {
        let (start, len) = (block.start, block.len);
        let place = BlockPlace {
            config_sha256: config_sha256.to_owned(),
            number,
            tensor: tensor.to_owned(),
            start,
            len,
        };
        Self { version: BLOCK_RESULT_VERSION, place, found }
    }

    /// The number of the block in [`super::BlockPass::blocks`].
    pub fn number(&self) -> usize {
        self.place.number
    }

    /// The tensor of the block.
    pub fn tensor(&self) -> &str {
        &self.place.tensor
    }

    /// The keys of its scores, if this is a result of a ranking.
    pub fn keys(&self) -> Option<&BlockKeys> {
        match &self.found {
            Found::Keys(keys) => Some(keys),
            Found::Comparison(_) => None,
        }
    }
}

impl BlockKeys {
    /// Adds keys that are undecided, or in a bin. With `all`, the undecided keys are listed one by one.
    pub(super) fn count(&mut self, narrowing: &Narrowing, keys: &[u64], all: bool, bins: &mut [[u64; 2]]) {
        narrowing.count(keys, bins);
        narrowing.survey(keys, &mut self.in_question);
        if all {
            narrowing.collect(keys, self.keys.get_or_insert_default());
        }
    }

    /// Adds the counts to a histogram with [`Narrowing::bins`] bins, the form that
    /// [`Narrowing::narrow`] takes.
    ///
    /// # Panics
    /// If the histogram has fewer bins.
    pub fn add_to(&self, histogram: &mut [[u64; 2]]) {
        for (bin, count) in &self.counts {
            histogram[*bin as usize][0] += count;
        }
    }
}

fn known_version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        BLOCK_RESULT_VERSION => Ok(BLOCK_RESULT_VERSION),
        got => Err(D::Error::custom(format!(
            "a block result with version {got}; this version reads {BLOCK_RESULT_VERSION}"
        ))),
    }
}
