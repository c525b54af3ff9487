//! The settings of one tensor: the source of its initial values, and what pruning does with it.

use safetensors::Dtype;

use crate::config::InitSource;
use crate::init::{Generator, Scheme, slice_shape};
use crate::tensor::{FloatDtype, Layout, Shape};

/// A tensor and its settings.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Element type.
    pub dtype: Dtype,
    /// Shape.
    pub shape: Shape,
    /// Source of its initial values; `None` for types that are passed through.
    pub origin: Option<Origin>,
    /// What pruning does with it, if it is in the trained checkpoint.
    pub action: Action,
}

/// Source of a tensor's initial values.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The pattern that matched.
    pub rule: String,
    /// Index of the rule.
    pub rule_index: usize,
    /// The layer id, for values that are drawn.
    pub layer: Option<u64>,
    /// Which dimensions are outputs and inputs.
    pub layout: Layout,
    /// Whether the layout was recognised by the name of the tensor, because the config gives none.
    pub layout_told: bool,
    /// Scheme, another checkpoint, or unknown.
    pub source: InitSource,
    /// The slices of a fused tensor, which replace its own layer id and scheme; usually empty.
    pub slices: Vec<Slice>,
    /// The type in which the initial checkpoint stores the tensor, if it cannot hold all values of the
    /// trained type. The values that training started from were then rounded to it first.
    pub stored_as: Option<FloatDtype>,
}

/// A slice of a fused tensor, initialised like a separate tensor.
#[derive(Clone, Debug)]
pub struct Slice {
    /// Its name in the config.
    pub name: String,
    /// Number of outputs.
    pub size: usize,
    /// The layer id of its noise.
    pub layer: u64,
    /// Its scheme.
    pub scheme: Scheme,
}

/// What pruning does with a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Its weights are pruned.
    Prune,
    /// It is kept: by a rule, because it is too small, or because the criterion cannot be applied.
    Keep,
    /// It is not of a floating-point type, and copied byte for byte.
    PassThrough,
}

impl Action {
    /// The name used in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prune => "pruned",
            Self::Keep => "kept",
            Self::PassThrough => "passed_through",
        }
    }
}

impl Tensor {
    /// The layout from its rule.
    pub fn layout(&self) -> Layout {
        self.origin.as_ref().map(|origin| origin.layout).unwrap_or_default()
    }
}

impl Origin {
    /// The generator of the initial values for a tensor of this shape.
    pub(super) fn generator(&self, seed: u64, scheme: &Scheme, shape: &Shape) -> Generator {
        let layout = self.layout;
        if self.slices.is_empty() {
            return Generator::new(seed, self.layer.unwrap_or_default(), scheme, shape, layout);
        }
        let slice = |slice: &Slice| {
            let shape = slice_shape(shape, layout, slice.size);
            (slice.size, Generator::new(seed, slice.layer, &slice.scheme, &shape, layout))
        };
        Generator::sliced(shape, layout, self.slices.iter().map(slice).collect())
    }

    /// The initial values in words: a mode with its parameters, `from FILE` or `none`.
    pub fn init_text(&self) -> String {
        match &self.source {
            InitSource::Scheme(_) if !self.slices.is_empty() => {
                let slice = |slice: &Slice| format!("{}: {} {}", slice.name, slice.scheme, slice.layer);
                format!("[{}]", self.slices.iter().map(slice).collect::<Vec<_>>().join(", "))
            }
            InitSource::Scheme(scheme) => scheme.to_string(),
            InitSource::From(path) => {
                format!("from {}", path.file_name().unwrap_or(path.as_os_str()).to_string_lossy())
            }
            InitSource::None => "none".to_owned(),
        }
    }
}
