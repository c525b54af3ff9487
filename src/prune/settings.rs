//! The choices that a config makes about what is pruned.

use std::fmt;
use std::path::{Path, PathBuf};

/// By what weights are ranked: those of the smallest score go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Criterion {
    /// `|w - s * w0|`, `s` being the layer's decay factor.
    #[default]
    Sleeping,
    /// `|w|`.
    Magnitude,
    /// `|w - w0|`.
    Movement,
    /// `|w| - |w0|`.
    MagnitudeIncrease,
    /// The smaller of `|w|` and `|w - s * w0|`.
    Nearest,
    /// Noise.
    Random,
    /// Scores of a file, or magnitudes times the norms of inputs that it holds.
    Scores(PathBuf),
}

impl Criterion {
    /// Words for those that need no file, in the order of the documentation.
    pub const WORDS: [(&'static str, Self); 6] = [
        ("sleeping", Self::Sleeping),
        ("magnitude", Self::Magnitude),
        ("movement", Self::Movement),
        ("magnitude_increase", Self::MagnitudeIncrease),
        ("nearest", Self::Nearest),
        ("random", Self::Random),
    ];

    /// Whether it compares weights with their initial values.
    pub fn needs_initial(&self) -> bool {
        matches!(self, Self::Sleeping | Self::Movement | Self::MagnitudeIncrease | Self::Nearest)
    }

    /// Whether the analysis' threshold says something about its scores.
    pub fn takes_threshold(&self) -> bool {
        matches!(self, Self::Sleeping | Self::Nearest)
    }
}

impl fmt::Display for Criterion {
    /// The word, or `scores of FILE`, by the file's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Scores(path) = self {
            return write!(f, "scores of {}", Path::new(path.file_name().unwrap_or_default()).display());
        }
        let word = Self::WORDS.iter().find(|(_, criterion)| criterion == self).map(|(word, _)| *word);
        f.write_str(word.unwrap_or_default())
    }
}

/// How many of what is ranked go: weights, or what the structure puts together.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Target {
    /// All within the analysis' threshold.
    #[default]
    Threshold,
    /// This share, 0 … 1; of several, one per tensor along the depth.
    Sparsity(Vec<f64>),
    /// All but so many.
    Keep(u64),
    /// As many as it takes for the file to have no more bytes than this.
    Bytes(u64),
}

/// What is ranked with each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// The weights of a tensor.
    #[default]
    Tensor,
    /// Those of all tensors with the same criterion, target and structure.
    Global,
    /// Those of an output; of a vector, all.
    Row,
}

impl Scope {
    /// As the config spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tensor => "tensor",
            Self::Global => "global",
            Self::Row => "row",
        }
    }
}

/// What goes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Structure {
    /// Each weight by itself.
    #[default]
    Unstructured,
    /// `n` of every `m` neighbours are kept.
    OfM {
        /// Kept.
        n: usize,
        /// Neighbours.
        m: usize,
        /// What they are neighbours along.
        along: Along,
        /// Whether tensors that `m` does not divide are left as they are, rather than refused.
        where_divisible: bool,
    },
    /// What belongs to one output; a vector is one row.
    Rows,
    /// What belongs to one input at one kernel place; of a vector, each element.
    Columns,
    /// What belongs to one output.
    Filters,
    /// What belongs to one input channel.
    Channels,
    /// Blocks of rows by columns of one expert; those at its edges may be smaller.
    Block {
        /// Rows of a block.
        rows: usize,
        /// Columns of a block.
        columns: usize,
    },
}

/// What the `m` of `n` of `m` are neighbours along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Along {
    /// The input channels of an output at one kernel place; of a matrix, its inputs.
    #[default]
    InputChannels,
    /// The inputs of an output with their kernel places, in the order in which they are stored.
    Inputs,
    /// The columns of the matrix view (first dimension by the rest), whatever they are.
    Columns,
}

impl fmt::Display for Structure {
    /// As in `2:4`, `rows`, `4x4 blocks`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unstructured => f.write_str("unstructured"),
            Self::OfM { n, m, .. } => write!(f, "{n}:{m}"),
            Self::Rows => f.write_str("rows"),
            Self::Columns => f.write_str("columns"),
            Self::Filters => f.write_str("filters"),
            Self::Channels => f.write_str("channels"),
            Self::Block { rows, columns } => write!(f, "{rows}x{columns} blocks"),
        }
    }
}

/// Everything that decides which places of a tensor go.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// By what they are ranked.
    pub criterion: Criterion,
    /// How many go.
    pub target: Target,
    /// What is ranked with each other.
    pub scope: Scope,
    /// What goes together.
    pub structure: Structure,
    /// Tensors of fewer elements are kept.
    pub min_elements: u64,
    /// With a global scope, the least share of the tensor that goes, 0 … 1.
    pub floor: f64,
    /// With a global scope, the largest share of the tensor that goes, 0 … 1.
    pub ceiling: f64,
}

impl Default for Decision {
    fn default() -> Self {
        Self {
            criterion: Criterion::default(),
            target: Target::default(),
            scope: Scope::default(),
            structure: Structure::default(),
            min_elements: 0,
            floor: 0.0,
            ceiling: 1.0,
        }
    }
}

impl Decision {
    /// Whether the comparison's own masks, of what is within the threshold, are what is asked for.
    pub fn is_threshold_of_weights(&self) -> bool {
        (&self.criterion, &self.target, self.structure)
            == (&Criterion::Sleeping, &Target::Threshold, Structure::Unstructured)
    }

    /// Whether the size of the file says how many go.
    pub fn counts_bytes(&self) -> bool {
        matches!(self.target, Target::Bytes(_)) && !matches!(self.structure, Structure::OfM { .. })
    }

    /// Whether tensors with these two decisions are ranked together under a global scope.
    pub fn shares_pool(&self, other: &Self) -> bool {
        (&self.criterion, &self.target, self.scope, self.structure)
            == (&other.criterion, &other.target, other.scope, other.structure)
    }
}
