//! One tensor of a trained checkpoint, with everything that a pass over its weights needs.

use std::ops::Index;

use super::blocks::{self, Block, Reads};
use super::error::Error;
use super::origin::Action;
use super::resolve::Resolved;
use crate::analysis::{Calibration, Comparison, Threshold};
use crate::checkpoint::{Mapped, TensorRef};
use crate::encoder::{self, PIECE};
use crate::init::Initial;
use crate::prune::Decision;
use crate::tensor::{Axes, FloatDtype, Layout, Matrix, Shape};
use crate::workers::Workers;

/// A floating-point tensor, what it started from, and what is to become of it.
#[derive(Debug)]
pub(super) struct TensorTask<'a> {
    /// Its place among the tensors in name order, which is [`Block::tensor`] of its blocks.
    pub n: usize,
    pub name: &'a str,
    pub shape: &'a Shape,
    pub matrix: Matrix,
    pub layout: Layout,
    pub dtype: FloatDtype,
    pub trained: Mapped<'a>,
    /// `None` where its initial values are not known.
    pub initial: Option<Initial<'a>>,
    /// What decides which of its places are pruned; `None` where it is kept.
    pub decision: Option<&'a Decision>,
    /// The factor on its initial values, and when a weight of it sleeps.
    pub calibration: Calibration,
}

impl<'a> TensorTask<'a> {
    /// A tensor that no config says anything about, with its initial values where they are known; `None` for
    /// one that is no floating-point tensor.
    pub fn unruled(
        n: usize,
        name: &'a str,
        tensor: TensorRef<'a>,
        initial: Option<Initial<'a>>,
    ) -> Option<Self> {
        Some(Self {
            n,
            name,
            shape: tensor.shape,
            matrix: tensor.shape.matrix(),
            layout: Layout::default(),
            dtype: tensor.float()?,
            trained: tensor.data,
            initial,
            decision: None,
            calibration: Calibration {
                decay: 1.0,
                threshold: Threshold::default(),
                evidence: None,
                own: false,
            },
        })
    }

    /// Its blocks, in storage order.
    pub fn blocks(&self) -> impl Iterator<Item = Block> + use<> {
        blocks::cut(self.n, self.matrix)
    }

    pub fn elements(&self) -> usize {
        self.shape.elements()
    }

    pub fn axes(&self) -> Axes {
        Axes::new(self.shape, self.layout)
    }

    /// The trained weights of a block, as they are stored.
    pub fn values(&self, block: &Block) -> Mapped<'a> {
        self.trained.part(block.bytes(self.dtype.size()))
    }

    /// What a block goes through: the trained weights, and whatever its initial values are made from.
    pub fn reads(&self, block: &Block) -> Reads<'_> {
        self.reads_with(block, self.initial.is_some())
    }

    /// The same, for a pass that looks at initial values only where it says so.
    pub fn reads_with(&self, block: &Block, initial: bool) -> Reads<'_> {
        let reads = Reads::of(self.values(block));
        match self.initial.as_ref().filter(|_| initial) {
            Some(initial) => reads.and_initial(initial, block),
            None => reads,
        }
    }

    /// Fills `out` with the initial values from this place on, rounded to the stored type.
    ///
    /// # Panics
    /// Where they are not known.
    pub fn fill(&self, start: usize, out: &mut [f64]) {
        let initial = self.initial.as_ref().expect("asked only of tensors that are compared");
        initial.fill(start, Some(self.dtype), out);
    }

    /// Makes what of its initial values can only be made as a whole: for blocks that are
    /// looked at one by one.
    pub fn prepare(&self, workers: &impl Workers) {
        self.initial
            .as_ref()
            .and_then(Initial::whole)
            .into_iter()
            .for_each(|whole| whole.prepare_on(workers));
    }

    /// How many initial values to regenerate at once in a run of `len`.
    pub fn piece(&self, len: usize) -> usize {
        self.initial.as_ref().map_or(PIECE, |initial| encoder::piece(initial, len))
    }

    /// How its weights are compared with their initial values.
    pub fn comparison(&self) -> Comparison {
        Comparison::new(self.calibration.threshold, self.calibration.decay, self.dtype)
    }

    /// Whether the places to be pruned are those that the comparison finds asleep.
    pub fn pruned_by_comparison(&self) -> bool {
        self.decision.is_some_and(Decision::is_threshold_of_weights)
    }
}

/// The tasks of a trained checkpoint: one for each of its floating-point tensors.
pub(super) type Tasks<'a> = ByTensor<TensorTask<'a>>;

impl<'a> Tasks<'a> {
    /// From the config: where it leaves decay or threshold to the weights, there is none yet.
    ///
    /// # Errors
    /// [`Error::TrainedMissing`] where there is no trained checkpoint yet.
    pub fn new(resolved: &'a Resolved<'_>) -> Result<Self, Error> {
        let (checkpoint, tensors) = resolved.trained()?;
        let settings = resolved.settings;
        let task = |(n, ((name, tensor), (_, data)))| {
            let (n, name, tensor): (usize, &'a String, &'a super::Tensor) = (n, name, tensor);
            let prune = settings.prune.as_ref().filter(|_| tensor.action == Action::Prune);
            Some(TensorTask {
                n,
                name,
                shape: &tensor.shape,
                matrix: tensor.shape.matrix(),
                layout: tensor.layout(),
                dtype: FloatDtype::of(tensor.dtype)?,
                trained: data,
                initial: resolved.initial(name, tensor),
                decision: prune.and_then(|prune| prune.decision(name)),
                calibration: Calibration {
                    decay: resolved.decay(tensor).unwrap_or(1.0),
                    threshold: settings.analyze.threshold.unwrap_or_default(),
                    evidence: None,
                    own: false,
                },
            })
        };
        let data = checkpoint.tensors().map(|(name, tensor)| (name, tensor.data));
        Ok(tensors.iter().zip(data).enumerate().map(task).collect())
    }
}

/// Something of each tensor that has it, by the tensor's place in name order: that of its
/// task, and of its blocks.
#[derive(Debug)]
pub(super) struct ByTensor<T>(Vec<Option<T>>);

impl<T> ByTensor<T> {
    /// Tensors, whether they have it or not.
    pub fn tensors(&self) -> usize {
        self.0.len()
    }

    pub fn get(&self, n: usize) -> Option<&T> {
        self.0.get(n)?.as_ref()
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flatten()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut().flatten()
    }

    /// Something else of those that have this.
    pub fn filter_map<'s, U>(&'s self, of: impl FnMut(&'s T) -> Option<U>) -> ByTensor<U> {
        let mut of = of;
        self.0.iter().map(|one| one.as_ref().and_then(&mut of)).collect()
    }
}

impl<T> FromIterator<Option<T>> for ByTensor<T> {
    fn from_iter<I: IntoIterator<Item = Option<T>>>(all: I) -> Self {
        Self(all.into_iter().collect())
    }
}

/// What the tensor of a block has.
impl<T> Index<&Block> for ByTensor<T> {
    type Output = T;

    fn index(&self, block: &Block) -> &T {
        self.get(block.tensor).expect("blocks are cut of the tensors that have it")
    }
}
