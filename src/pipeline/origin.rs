//! What the config says about one tensor: where its initial values come from, and what pruning does with it.

use safetensors::Dtype;

use crate::config::InitSource;
use crate::init::{Generator, Scheme, slice_shape};
use crate::tensor::{FloatDtype, Layout, Shape};

/// A tensor and what the config says about it.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Element type.
    pub dtype: Dtype,
    /// Shape.
    pub shape: Shape,
    /// What makes its initial value; `None` for types that are passed through.
    pub origin: Option<Origin>,
    /// What pruning does with it, where it stands in the trained checkpoint.
    pub action: Action,
}

/// What makes a tensor's initial value.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The pattern that matched.
    pub rule: String,
    /// Index of the rule.
    pub rule_index: usize,
    /// The layer id, for values that a scheme makes.
    pub layer: Option<u64>,
    /// Which dimensions are outputs and inputs.
    pub layout: Layout,
    /// Whether the tensor's name told it, where the config does not.
    pub layout_told: bool,
    /// Scheme, other checkpoint, or not known.
    pub source: InitSource,
    /// The slices of a fused tensor, in whose place its own layer id and scheme do not count; empty for most.
    pub slices: Vec<Slice>,
    /// The type in which the initial checkpoint stores the tensor, where it does not hold all values of the
    /// trained one's: the values that training started from have then been rounded to it first.
    pub stored_as: Option<FloatDtype>,
}

/// A slice of a fused tensor: a tensor of its own as far as its initial values go.
#[derive(Clone, Debug)]
pub struct Slice {
    /// Its name in the config.
    pub name: String,
    /// Outputs.
    pub size: usize,
    /// The layer id of its noise.
    pub layer: u64,
    /// What makes it.
    pub scheme: Scheme,
}

/// What pruning does with a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Weights of it are pruned.
    Prune,
    /// A rule keeps it, it is too small, or nothing is known to prune it by.
    Keep,
    /// Not a floating-point type: copied byte for byte.
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
    /// The layout that its rule gives it.
    pub fn layout(&self) -> Layout {
        self.origin.as_ref().map(|origin| origin.layout).unwrap_or_default()
    }
}

impl Origin {
    /// What draws the initial values of a tensor of this shape.
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

    /// The initial value in words: a mode with its parameters, `from FILE` or `none`.
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
