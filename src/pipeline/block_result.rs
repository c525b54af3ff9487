//! What a block finds, as a value that can be kept, sent and merged.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::blocks::Block;
use super::findings::BlockFindings;
use crate::prune::{InQuestion, Narrowing};

/// Version of the serialised form of a [`BlockResult`].
pub const BLOCK_RESULT_VERSION: u32 = 1;

/// What one block of a trained checkpoint finds, to be merged with what the others find: [`super::BlockPass`]
/// makes and merges it.
///
/// It can be serialised by [`serde`]; as JSON it is text of one line. Reals are written as their bits,
/// so that the merged result is the same to the bit, wherever the blocks were computed. A result of
/// another version is refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockResult {
    // First, so that another version is told before anything else of it is looked at.
    #[serde(deserialize_with = "known_version")]
    version: u32,
    pub(super) place: BlockPlace,
    pub(super) found: Found,
}

/// Which block it is, of what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BlockPlace {
    /// Digest of the config.
    pub config_sha256: String,
    /// The block's place in [`super::BlockPass::blocks`].
    pub number: usize,
    /// The tensor.
    pub tensor: String,
    /// Its first element of the block, in storage order.
    pub start: usize,
    /// Elements.
    pub len: usize,
}

/// What was asked, and found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Found {
    /// The weights beside their initial values.
    Comparison(Box<BlockFindings>),
    /// The keys of the weights' scores.
    Keys(BlockKeys),
}

/// The keys of the scores of a block's weights, as far as a selection asks for them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockKeys {
    /// How many keys each bin of the [`Narrowing`] has: the bins that have one, and their counts.
    pub counts: Vec<(u32, u64)>,
    /// Of the keys in question, how many there are, and the least and the largest of them.
    pub in_question: InQuestion,
    /// The keys in question, in the order of storage, where they are asked for.
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

    /// The block's number in [`super::BlockPass::blocks`].
    pub fn number(&self) -> usize {
        self.place.number
    }

    /// The tensor that it is of.
    pub fn tensor(&self) -> &str {
        &self.place.tensor
    }

    /// The keys of its scores, where these were asked for.
    pub fn keys(&self) -> Option<&BlockKeys> {
        match &self.found {
            Found::Keys(keys) => Some(keys),
            Found::Comparison(_) => None,
        }
    }
}

impl BlockKeys {
    /// Adds keys that are in question, or in a bin. `all` asks for those in question one by one.
    pub(super) fn count(&mut self, narrowing: &Narrowing, keys: &[u64], all: bool, bins: &mut [[u64; 2]]) {
        narrowing.count(keys, bins);
        narrowing.survey(keys, &mut self.in_question);
        if all {
            narrowing.collect(keys, self.keys.get_or_insert_default());
        }
    }

    /// Adds these counts to a histogram of [`Narrowing::bins`] bins, as [`Narrowing::narrow`] takes it.
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
