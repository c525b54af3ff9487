//! The matrix to inspect, and its weights in blocks.

use std::ops::Range;

use rayon::prelude::*;

use crate::init::{FanIn, Generator, Scheme, ShapeMismatch, Whole};
use crate::tensor::{FloatDtype, Layout, Matrix, Shape};
use crate::workers::Threads;

/// Maximum number of weights of a matrix to inspect. They are regenerated several times, which
/// takes about a minute.
pub const MOST_WEIGHTS: usize = 1 << 31;

/// Maximum size in bytes of a matrix that can only be generated as a whole (an orthogonal one),
/// which is kept in memory.
pub const MOST_WHOLE_BYTES: usize = 1 << 29;

/// Number of weights of a block.
const BLOCK: usize = 1 << 16;

/// A tensor viewed as a matrix, with everything that determines its weights.
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

/// Why a matrix cannot be inspected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// It has no weights.
    #[error("shape {0} has no weights")]
    Empty(Shape),
    /// It has too many weights.
    #[error("shape {shape} has {weights} weights, more than the limit of {MOST_WEIGHTS} (2^31)")]
    TooLarge {
        /// The shape.
        shape: Shape,
        /// Number of weights.
        weights: usize,
    },
    /// It is too large for a scheme that generates all weights at once.
    #[error(
        "the weights of `{mode}` are generated all at once, and for shape {shape} would take {bytes} bytes \
         of memory, more than the limit of {MOST_WHOLE_BYTES} (512 MiB)"
    )]
    TooLargeWhole {
        /// The canonical mode of the scheme.
        mode: String,
        /// The shape.
        shape: Shape,
        /// Its size in bytes.
        bytes: usize,
    },
    /// The scheme does not support this shape.
    #[error(transparent)]
    Shape(#[from] ShapeMismatch),
    /// The fan-in is that of another tensor, which only exists in a checkpoint.
    #[error("`fan_in_of` refers to `{0}`, but there is no other tensor here: set `fan_in` instead")]
    FanInOf(String),
}

/// A row or column outside the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no weight at ({row}, {column}): the matrix is {rows} x {cols}, its rows are 0 to {}, its columns 0 to {}",
    rows - 1,
    cols - 1
)]
pub struct Outside {
    /// The requested row.
    pub row: usize,
    /// The requested column.
    pub column: usize,
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
}

impl Subject {
    /// The tensor of this shape with the noise of a layer, stored in this type.
    ///
    /// # Errors
    /// [`SubjectError`]; it is returned before any weight is generated.
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

    /// The scheme of the weights.
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// The tensor's shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The layout, which says which dimensions the fans are computed from.
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

    /// A generator that shares no state with the one used here.
    pub(super) fn fresh_generator(&self) -> Generator {
        Generator::new(self.seed, self.layer, &self.scheme, &self.shape, self.layout)
    }

    /// Checks that the matrix has this row and column.
    ///
    /// # Errors
    /// [`Outside`] if it does not.
    pub fn check(&self, row: usize, column: usize) -> Result<(), Outside> {
        let Matrix { rows, cols } = self.matrix();
        if row < rows && column < cols { Ok(()) } else { Err(Outside { row, column, rows, cols }) }
    }

    /// One weight, in binary64 before rounding.
    ///
    /// # Errors
    /// [`Outside`] if the matrix does not have this row and column.
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

    /// Calls `work` with each block of weights, before rounding, and returns the results in block order. The
    /// division into blocks depends only on the number of weights. So results that are merged in order have
    /// the same bits for any number of threads.
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
