//! The matrix that is looked at, and its weights in blocks.

use std::ops::Range;

use rayon::prelude::*;

use crate::init::{FanIn, Generator, Scheme, ShapeMismatch, Whole};
use crate::tensor::{FloatDtype, Layout, Matrix, Shape};
use crate::workers::Threads;

/// The most weights that are looked at: they are regenerated several times, in a minute or so.
pub const MOST_WEIGHTS: usize = 1 << 31;

/// The most bytes of a matrix that can only be made whole, the orthogonal ones, and then is held in memory.
pub const MOST_WHOLE_BYTES: usize = 1 << 29;

/// Weights of a block.
const BLOCK: usize = 1 << 16;

/// One tensor, read as a matrix: everything that its weights follow from.
#[derive(Clone, Debug)]
pub struct Subject {
    seed: u64,
    layer: u64,
    scheme: Scheme,
    shape: Shape,
    layout: Layout,
    dtype: FloatDtype,
    generator: Generator,
}

/// A matrix that cannot be looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// No weight at all.
    #[error("shape {0} has no weights")]
    Empty(Shape),
    /// Too many of them.
    #[error("shape {shape} has {weights} weights, more than the limit of {MOST_WEIGHTS} (2^31)")]
    TooLarge {
        /// The shape.
        shape: Shape,
        /// How many.
        weights: usize,
    },
    /// Too many of a scheme that makes them all at once.
    #[error(
        "the weights of `{mode}` are generated all at once, and for shape {shape} would take {bytes} bytes \
         of memory, more than the limit of {MOST_WHOLE_BYTES} (512 MiB)"
    )]
    TooLargeWhole {
        /// Canonical mode.
        mode: String,
        /// The shape.
        shape: Shape,
        /// Bytes.
        bytes: usize,
    },
    /// A scheme for other shapes.
    #[error(transparent)]
    Shape(#[from] ShapeMismatch),
    /// A fan-in that only a checkpoint would tell.
    #[error("`fan_in_of` refers to `{0}`, but there is no other tensor here: set `fan_in` instead")]
    FanInOf(String),
}

/// A place outside the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no weight at ({row}, {column}): the matrix is {rows} x {cols}, its rows are 0 to {}, its columns 0 to {}",
    rows - 1,
    cols - 1
)]
pub struct Outside {
    /// Row asked for.
    pub row: usize,
    /// Column asked for.
    pub column: usize,
    /// Rows there are.
    pub rows: usize,
    /// Columns there are.
    pub cols: usize,
}

impl Subject {
    /// The tensor of this shape with the noise of a layer, stored in this type.
    ///
    /// # Errors
    /// [`SubjectError`], before a weight is made.
    pub fn new(
        (seed, layer): (u64, u64),
        scheme: Scheme,
        (shape, layout): (Shape, Layout),
        dtype: FloatDtype,
    ) -> Result<Self, SubjectError> {
        let weights = shape.elements();
        if weights == 0 {
            return Err(SubjectError::Empty(shape));
        }
        if weights > MOST_WEIGHTS {
            return Err(SubjectError::TooLarge { shape, weights });
        }
        if let Scheme::TorchDefault { fan_in: FanIn::Of(tensor) } = scheme {
            return Err(SubjectError::FanInOf(tensor));
        }
        scheme.check_shape(&shape, layout)?;
        let generator = Generator::new(seed, layer, &scheme, &shape, layout);
        if let Some(bytes) = generator.whole().map(Whole::bytes).filter(|bytes| *bytes > MOST_WHOLE_BYTES) {
            return Err(SubjectError::TooLargeWhole { mode: scheme.params().mode, shape, bytes });
        }
        Ok(Self { seed, layer, scheme, shape, layout, dtype, generator })
    }

    /// The seed, reduced to 64 bits.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The layer id.
    pub fn layer(&self) -> u64 {
        self.layer
    }

    /// What makes the weights.
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// The tensor's shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Which dimensions the fans are taken from.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The type that the weights are stored in.
    pub fn dtype(&self) -> FloatDtype {
        self.dtype
    }

    /// The tensor's matrix view.
    pub fn matrix(&self) -> Matrix {
        self.generator.matrix()
    }

    /// Number of weights, 1 or more.
    pub fn weights(&self) -> usize {
        self.shape.elements()
    }

    /// A generator that shares nothing with the one in use here.
    pub(super) fn fresh_generator(&self) -> Generator {
        Generator::new(self.seed, self.layer, &self.scheme, &self.shape, self.layout)
    }

    /// Whether there is a weight at this place.
    ///
    /// # Errors
    /// [`Outside`] the matrix.
    pub fn check(&self, row: usize, column: usize) -> Result<(), Outside> {
        let Matrix { rows, cols } = self.matrix();
        if row < rows && column < cols { Ok(()) } else { Err(Outside { row, column, rows, cols }) }
    }

    /// One weight, in binary64 before rounding.
    ///
    /// # Errors
    /// [`Outside`] the matrix.
    pub fn weight_at(&self, row: usize, column: usize) -> Result<f64, Outside> {
        self.check(row, column)?;
        self.prepare();
        Ok(self.generator.weight_at(row, column))
    }

    /// The weights of the first rows and columns, as stored.
    pub fn corner(&self, rows: usize, cols: usize) -> Vec<Vec<f64>> {
        self.prepare();
        let Matrix { rows: all_rows, cols: all_cols } = self.matrix();
        let stored = |i, j| self.dtype.round(self.generator.weight_at(i, j));
        let row = |i| (0..cols.min(all_cols)).map(|j| stored(i, j)).collect();
        (0..rows.min(all_rows)).map(row).collect()
    }

    /// All weights as stored, in storage order. They must fit into memory.
    pub(super) fn stored(&self) -> Vec<f64> {
        let mut weights = vec![0.0; self.weights()];
        self.fill(0, &mut weights);
        self.dtype.round_slice(&mut weights);
        weights
    }

    /// Fills `out` with the weights `start, start + 1, …` in storage order, before rounding, on all threads.
    pub(super) fn fill(&self, start: usize, out: &mut [f64]) {
        self.prepare();
        let blocks = out.par_chunks_mut(BLOCK).enumerate();
        blocks.for_each(|(n, block)| self.generator.fill(start + n * BLOCK, block));
    }

    /// What `work` makes of each block of weights, before rounding, in the blocks' order. The blocks follow
    /// from the number of weights alone, so that whoever merges results in their order gets the same bits on
    /// any number of threads.
    pub(super) fn blocks<R: Send>(&self, work: impl Fn(&mut [f64]) -> R + Sync + Send) -> Vec<R> {
        self.prepare();
        let starts: Vec<usize> = (0..self.weights()).step_by(BLOCK).collect();
        let one = |buffer: &mut Vec<f64>, start: &usize| {
            let Range { start, end } = *start..self.weights().min(start + BLOCK);
            buffer.resize(end - start, 0.0);
            self.generator.fill(start, buffer);
            work(buffer)
        };
        starts.par_iter().map_init(Vec::new, one).collect()
    }

    fn prepare(&self) {
        self.generator.whole().into_iter().for_each(|whole| whole.prepare_on(&Threads));
    }
}
