//! Tensors with orthonormal rows or columns. Their weights depend on each other, so they are generated
//! together.

use super::householder::Columns;
use crate::lock::{Lock, Shared};
use crate::prelude::*;
use crate::tensor::{Axes, Layout, Role, Shape};
use crate::workers::{Alone, Workers};

/// The orthogonal matrices of a tensor: one, or one for each slice. Their elements cannot be generated one by
/// one. A matrix is generated when one of its weights is first requested, and kept until [`Whole::release`].
#[derive(Clone, Debug)]
pub struct Whole(Vec<Shared<Orthogonal>>);

impl Whole {
    pub(super) fn new(matrix: Shared<Orthogonal>) -> Self {
        Self(vec![matrix])
    }

    /// The matrices of all slices of a tensor; `None` if there are none.
    pub(super) fn join<'w>(slices: impl Iterator<Item = &'w Self>) -> Option<Self> {
        let all: Vec<_> = slices.flat_map(|whole| whole.0.iter().cloned()).collect();
        (!all.is_empty()).then_some(Self(all))
    }

    /// Bytes of memory that the matrices occupy once they are generated.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|matrix| 8 * matrix.rows * matrix.cols).sum()
    }

    /// Generates the matrices now, on the calling thread, unless they exist.
    pub fn prepare(&self) {
        self.prepare_on(&Alone);
    }

    /// Like [`Self::prepare`], with the work shared among workers.
    pub fn prepare_on(&self, workers: &impl Workers) {
        self.prepare_if(workers, || true);
    }

    /// Like [`Self::prepare_on`], with workers that may have left work out: what they made is kept if it is
    /// `complete`, which is asked afterwards.
    pub fn prepare_if(&self, workers: &impl Workers, complete: impl Fn() -> bool) {
        self.0.iter().for_each(|matrix| matrix.prepare(workers, &complete));
    }

    /// Frees the memory, unless a [`TensorReader`](crate::reader::TensorReader) still needs it. The matrices
    /// are generated again if a weight is requested.
    pub fn release(&self) {
        self.0.iter().for_each(|matrix| matrix.made.hold().release());
    }

    /// Keeps the matrices, once generated, until the last holder is dropped.
    pub(crate) fn hold(&self) -> Held {
        self.0.iter().for_each(|matrix| matrix.made.hold().holders += 1);
        Held(self.clone())
    }
}

/// Keeps the matrices of a [`Whole`] while it lives.
#[derive(Debug)]
pub(crate) struct Held(Whole);

impl Held {
    /// [`Whole::prepare`].
    pub fn prepare(&self) {
        self.0.prepare();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for matrix in &self.0.0 {
            let mut made = matrix.made.hold();
            made.holders -= 1;
            made.release();
        }
    }
}

/// A matrix, if it has been generated.
#[derive(Debug, Default)]
struct Made {
    columns: Option<Shared<Columns>>,
    /// How many holders need it to stay.
    holders: usize,
}

impl Made {
    fn release(&mut self) {
        if self.holders == 0 {
            self.columns = None;
        }
    }
}

/// A matrix with orthonormal rows or columns, as a tensor.
#[derive(Debug)]
pub(super) struct Orthogonal {
    layer_key: u64,
    gain: f64,
    /// The matrix, with orthonormal rows or columns, whichever are fewer.
    rows: usize,
    cols: usize,
    place: Place,
    made: Lock<Made>,
}

/// Which element of the tensor each element of the matrix, in storage order, is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The same element.
    Same,
    /// Element `middle` of its convolution kernel, `[…, kernel]`; the rest of the kernel is 0.
    InKernel { kernel: usize, middle: usize },
    /// The same with `[kernel, …]`.
    AcrossKernels { middle: usize },
    /// The matrix is `[out, rest]`, or `[out, in]` at element `middle` of each kernel, and the tensor is
    /// stored in another order.
    Apart { axes: Axes, middle: Option<usize> },
}

impl Orthogonal {
    /// `[out, rest]` or `[rest, out]`, by the layout.
    pub(super) fn full(layer_key: u64, gain: f64, shape: &Shape, layout: Layout) -> Self {
        let cols = match layout {
            Layout::OutIn => shape.matrix().cols,
            Layout::InOut => shape.dims().last().copied().unwrap_or(1),
            Layout::Roles(_) => {
                let axes = Axes::new(shape, layout);
                let rest = axes.inputs * axes.kernel;
                match axes.stride(Role::Out) {
                    1 => axes.outputs,
                    stride if stride == rest => rest,
                    _ => {
                        let place = Place::Apart { axes, middle: None };
                        let made = Lock::default();
                        return Self { layer_key, gain, rows: axes.outputs, cols: rest, place, made };
                    }
                }
            }
        };
        let rows = shape.elements().checked_div(cols).unwrap_or(0);
        Self { layer_key, gain, rows, cols, place: Place::Same, made: Lock::default() }
    }

    /// `[out, in]` or `[in, out]`, by the layout, in the middle of the kernel. The shape must be one that
    /// [`super::Scheme::check_shape`] accepts.
    pub(super) fn delta(layer_key: u64, gain: f64, shape: &Shape, layout: Layout) -> Self {
        let axes = Axes::new(shape, layout);
        let (kernel, middle) = (axes.kernel, axes.middle[0]);
        let (place, rows, cols) = match layout {
            Layout::OutIn => (Place::InKernel { kernel, middle }, axes.outputs, axes.inputs),
            Layout::InOut => (Place::AcrossKernels { middle }, axes.inputs, axes.outputs),
            Layout::Roles(_) => (Place::Apart { axes, middle: Some(middle) }, axes.outputs, axes.inputs),
        };
        Self { layer_key, gain, rows, cols, place, made: Lock::default() }
    }

    fn prepare(&self, workers: &impl Workers, complete: impl Fn() -> bool) {
        if self.made.hold().columns.is_none() {
            // Not under the lock: this thread may take over work of another that waits for it.
            let made = Shared::new(self.make(workers));
            if complete() {
                self.made.hold().columns.get_or_insert(made);
            }
        }
    }

    /// Fills `out` with the tensor's elements `start, start + 1, …`.
    pub(super) fn fill(&self, start: usize, out: &mut [f64]) {
        let columns = {
            let mut made = self.made.hold();
            // On this thread alone: see `prepare`.
            Shared::clone(made.columns.get_or_insert_with(|| Shared::new(self.make(&Alone))))
        };
        match self.place {
            Place::Same => self.fill_matrix(&columns, start, out),
            Place::InKernel { kernel, middle } => {
                for (e, x) in (start..).zip(out) {
                    *x = if e % kernel == middle { self.element(&columns, e / kernel) } else { 0.0 };
                }
            }
            Place::AcrossKernels { middle } => {
                let len = self.rows * self.cols;
                for (e, x) in (start..).zip(out) {
                    *x = if e / len == middle { self.element(&columns, e % len) } else { 0.0 };
                }
            }
            Place::Apart { axes, middle } => {
                for (e, x) in (start..).zip(out) {
                    let [_, output, input, kernel] = axes.split(e);
                    *x = match middle {
                        None => self.element(&columns, output * self.cols + input * axes.kernel + kernel),
                        Some(middle) if kernel == middle => {
                            self.element(&columns, output * self.cols + input)
                        }
                        Some(_) => 0.0,
                    };
                }
            }
        }
    }

    fn fill_matrix(&self, columns: &Columns, start: usize, mut out: &mut [f64]) {
        let (mut i, mut j) = (start / self.cols.max(1), start % self.cols.max(1));
        while !out.is_empty() {
            let (part, rest) = out.split_at_mut(out.len().min(self.cols - j));
            if self.rows < self.cols {
                for (j, x) in (j..).zip(part) {
                    *x = columns.at(j, i);
                }
            } else {
                columns.copy_row(i, j, part);
            }
            (i, j, out) = (i + 1, 0, rest);
        }
    }

    fn element(&self, columns: &Columns, n: usize) -> f64 {
        let (i, j) = (n / self.cols, n % self.cols);
        if self.rows < self.cols { columns.at(j, i) } else { columns.at(i, j) }
    }

    fn make(&self, workers: &impl Workers) -> Columns {
        let size = (self.rows.max(self.cols), self.rows.min(self.cols));
        Columns::new(self.layer_key, size, self.gain, workers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::{Generator, SchemeParams};

    #[test]
    fn what_is_made_stays_while_somebody_needs_it() {
        let scheme = SchemeParams::named("orthogonal").scheme().unwrap();
        let generator = Generator::new(1, 2, &scheme, &Shape::new(vec![5, 3]).unwrap(), Layout::OutIn);
        let whole = generator.whole().unwrap();
        let is_made = || whole.0[0].made.hold().columns.is_some();
        generator.weight_at(1, 1);
        assert!(is_made());
        whole.release();
        assert!(!is_made());
        let (first, second) = (whole.hold(), whole.hold());
        first.prepare();
        whole.release();
        assert!(is_made());
        drop(first);
        assert!(is_made());
        drop(second);
        assert!(!is_made());
    }
}
