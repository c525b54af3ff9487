//! The settings that decide which weights are pruned.

use std::fmt;
use std::path::{Path, PathBuf};

/// Ranking criterion: the weights with the smallest scores are pruned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Criterion {
    /// `|w - s * w0|`, where `s` is the decay factor of the layer.
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
    /// Random scores, from the noise function.
    Random,
    /// Scores from a file, or magnitudes times norms of the inputs from a file.
    Scores(PathBuf),
}

impl Criterion {
    /// The criteria that need no file, with their names, in the order of the documentation.
    pub const WORDS: [(&'static str, Self); 6] = [
        ("sleeping", Self::Sleeping),
        ("magnitude", Self::Magnitude),
        ("movement", Self::Movement),
        ("magnitude_increase", Self::MagnitudeIncrease),
        ("nearest", Self::Nearest),
        ("random", Self::Random),
    ];

    /// Whether the criterion compares weights with their initial values.
    pub fn needs_initial(&self) -> bool {
        matches!(self, Self::Sleeping | Self::Movement | Self::MagnitudeIncrease | Self::Nearest)
    }

    /// Whether the threshold of the analysis applies to its scores.
    pub fn takes_threshold(&self) -> bool {
        matches!(self, Self::Sleeping | Self::Nearest)
    }
}

impl fmt::Display for Criterion {
    /// The name of the criterion, or `scores of FILE` with the name of the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Scores(path) = self {
            return write!(f, "scores of {}", Path::new(path.file_name().unwrap_or_default()).display());
        }
        let word = Self::WORDS.iter().find(|(_, criterion)| criterion == self).map(|(word, _)| *word);
        f.write_str(word.unwrap_or_default())
    }
}

/// How many of the ranked weights, or groups of weights, are pruned.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Target {
    /// All within the threshold of the analysis.
    #[default]
    Threshold,
    /// This share, 0 … 1; or several shares, from the first tensor to the last.
    Sparsity(Vec<f64>),
    /// All except this many.
    Keep(u64),
    /// As many as needed for the file to have at most this many bytes.
    Bytes(u64),
}

/// Which weights are ranked together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// The weights of a tensor.
    #[default]
    Tensor,
    /// The weights of all tensors with the same criterion, target and structure.
    Global,
    /// The weights of an output; for a vector, all.
    Row,
}

impl Scope {
    /// Name in configs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tensor => "tensor",
            Self::Global => "global",
            Self::Row => "row",
        }
    }
}

/// Which weights are pruned together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Structure {
    /// Each weight alone.
    #[default]
    Unstructured,
    /// `n` of every `m` neighbours are kept.
    OfM {
        /// Number of weights kept.
        n: usize,
        /// Number of neighbours.
        m: usize,
        /// Direction of the neighbours.
        along: Along,
        /// Whether tensors whose inputs `m` does not divide are left unchanged instead of refused.
        where_divisible: bool,
    },
    /// All weights of one output; a vector is one row.
    Rows,
    /// All weights of one input at one kernel element; for a vector, each weight.
    Columns,
    /// All weights of one output.
    Filters,
    /// All weights of one input channel.
    Channels,
    /// Blocks of rows by columns within one expert; those at the edges may be smaller.
    Block {
        /// Rows per block.
        rows: usize,
        /// Columns per block.
        columns: usize,
    },
}

/// Direction of the neighbours in `n` of `m`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Along {
    /// The input channels of an output at one kernel element; for a matrix, the inputs.
    #[default]
    InputChannels,
    /// The inputs of an output with their kernel elements, in storage order.
    Inputs,
    /// The columns of the matrix view (the first dimension by the rest), whatever they represent.
    Columns,
}

impl fmt::Display for Structure {
    /// `2:4`, `rows`, `4x4 blocks`.
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

/// All settings that decide which weights of a tensor are pruned.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Ranking criterion.
    pub criterion: Criterion,
    /// How many weights are pruned.
    pub target: Target,
    /// Which weights are ranked together.
    pub scope: Scope,
    /// Which weights are pruned together.
    pub structure: Structure,
    /// Tensors with fewer elements are kept.
    pub min_elements: u64,
    /// With a global scope, the smallest share of the tensor that is pruned, 0 … 1.
    pub floor: f64,
    /// With a global scope, the largest share of the tensor that is pruned, 0 … 1.
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
    /// Whether the result is exactly the mask of the comparison: the weights within the threshold.
    pub fn is_threshold_of_weights(&self) -> bool {
        (&self.criterion, &self.target, self.structure)
            == (&Criterion::Sleeping, &Target::Threshold, Structure::Unstructured)
    }

    /// Whether the size of the file decides how many weights are pruned.
    pub fn counts_bytes(&self) -> bool {
        matches!(self.target, Target::Bytes(_)) && !matches!(self.structure, Structure::OfM { .. })
    }

    /// Whether what is pruned of a tensor depends on other tensors: because they are ranked together, or
    /// because the size of the file decides.
    pub fn needs_other_tensors(&self) -> bool {
        match (self.structure, self.scope) {
            (Structure::OfM { .. }, _) => false,
            _ if self.target == Target::Threshold => false,
            (Structure::Unstructured, Scope::Row) => false,
            (_, Scope::Global) => true,
            _ => self.counts_bytes(),
        }
    }

    /// Whether tensors with these two decisions are ranked together under a global scope.
    pub fn shares_pool(&self, other: &Self) -> bool {
        (&self.criterion, &self.target, self.scope, self.structure)
            == (&other.criterion, &other.target, other.scope, other.structure)
    }
}
