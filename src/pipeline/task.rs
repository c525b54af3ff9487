//! One tensor of a trained checkpoint, with everything needed for a pass over its weights.

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

/// A floating-point tensor, with its initial values and the decision about it.
#[derive(Debug)]
pub(super) struct TensorTask<'a> {
    /// Its index in name order, which is also [`Block::tensor`] of its blocks.
    pub n: usize,
    pub name: &'a str,
    pub shape: &'a Shape,
    pub matrix: Matrix,
    pub layout: Layout,
    pub dtype: FloatDtype,
    pub trained: Mapped<'a>,
    /// `None` if its initial values are unknown.
    pub initial: Option<Initial<'a>>,
    /// The settings for pruning it; `None` if it is kept.
    pub decision: Option<&'a Decision>,
    /// Decay factor and threshold.
    pub calibration: Calibration,
}

impl<'a> TensorTask<'a> {
    /// A tensor without a config, with its initial values if they are known; `None` if it is not a
    /// floating-point tensor.
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

    /// The trained weights of a block, as stored.
    pub fn values(&self, block: &Block) -> Mapped<'a> {
        self.trained.part(block.bytes(self.dtype.size()))
    }

    /// The data that a block reads: the trained weights, and the source of its initial values.
    pub fn reads(&self, block: &Block) -> Reads<'_> {
        self.reads_with(block, self.initial.is_some())
    }

    /// The same, for a pass that does not always need initial values.
    pub fn reads_with(&self, block: &Block, initial: bool) -> Reads<'_> {
        let reads = Reads::of(self.values(block));
        match self.initial.as_ref().filter(|_| initial) {
            Some(initial) => reads.and_initial(initial, block),
            None => reads,
        }
    }

    /// Fills `out` with the initial values from this element on, rounded to the stored type.
    ///
    /// # Panics
    /// If they are unknown.
    pub fn fill(&self, start: usize, out: &mut [f64]) {
        let initial = self.initial.as_ref().expect("asked only of tensors that are compared");
        initial.fill(start, Some(self.dtype), out);
    }

    /// Generates initial values that can only be generated as a whole, for passes that process single blocks.
    pub fn prepare(&self, workers: &impl Workers) {
        self.initial
            .as_ref()
            .and_then(Initial::whole)
            .into_iter()
            .for_each(|whole| whole.prepare_on(workers));
    }

    /// How many initial values to generate at once in a run of `len`.
    pub fn piece(&self, len: usize) -> usize {
        self.initial.as_ref().map_or(PIECE, |initial| encoder::piece(initial, len))
    }

    /// The comparison of its weights with their initial values.
    pub fn comparison(&self) -> Comparison {
        Comparison::new(self.calibration.threshold, self.calibration.decay, self.dtype)
    }

    /// Whether exactly the sleeping weights are to be pruned.
    pub fn pruned_by_comparison(&self) -> bool {
        self.decision.is_some_and(Decision::is_threshold_of_weights)
    }
}

/// The tasks of a trained checkpoint: one for each of its floating-point tensors.
pub(super) type Tasks<'a> = ByTensor<TensorTask<'a>>;

impl<'a> Tasks<'a> {
    /// The calibration of each tensor.
    pub fn calibrations(&self) -> ByTensor<Calibration> {
        self.filter_map(|task| Some(task.calibration))
    }

    /// From the config. Decay or threshold that are to be inferred are not set yet.
    ///
    /// # Errors
    /// [`Error::TrainedMissing`] if there is no trained checkpoint yet.
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

/// Values for some tensors, by the index of the tensor in name order, which its task and
/// its blocks also have.
#[derive(Debug)]
pub(super) struct ByTensor<T>(Vec<Option<T>>);

impl<T> ByTensor<T> {
    /// Number of tensors, with or without a value.
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

    /// The values of all tensors, in order.
    pub fn into_iter(self) -> impl Iterator<Item = Option<T>> {
        self.0.into_iter()
    }

    /// Maps the values.
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

/// The value for the tensor of a block.
impl<T> Index<&Block> for ByTensor<T> {
    type Output = T;

    fn index(&self, block: &Block) -> &T {
        self.get(block.tensor).expect("blocks are cut of the tensors that have it")
    }
}
