//! The analysis of one weight, and of one matrix in memory.

use cdi_core::internal::blocks::{Block, cut};
use ndarray::{Array2, ArrayView2, Axis};

use super::{Comparison, DeltaStats, Threshold};
use crate::init::{Generator, prepare_until};
use crate::tensor::FloatDtype;
use crate::workers::{Stop, Stopped, Threads, Workers};

/// `(changed, delta)` of one weight stored in F32. `delta = trained - initial`, exactly; the weight has
/// changed if `|delta|` is above the threshold or NaN.
pub fn check_weight_changed(trained: f32, initial: f32, threshold: Threshold) -> (bool, f64) {
    let (w, w0) = (f64::from(trained), f64::from(initial));
    let mut changed = [0];
    Comparison::new(threshold, 1.0, FloatDtype::F32).compare(&trained.to_le_bytes(), &mut [w0], &mut changed);
    (changed == [1], w - w0)
}

/// Result of [`analyze_weight_matrix`].
#[derive(Clone, Debug, PartialEq)]
pub struct WeightAnalysis {
    /// Counts and sums.
    pub stats: DeltaStats,
    /// True for every weight that has changed.
    pub awakened: Array2<bool>,
    /// Rows (output neurons) in which every weight sleeps.
    pub sleeping_rows: usize,
    /// Columns (inputs) in which every weight sleeps.
    pub sleeping_columns: usize,
}

/// Compares a trained F32 matrix with its initial values, which `initial` generates, on all threads. Sums
/// have the bits of the report's.
///
/// # Panics
/// If the matrix is not of the generator's shape.
pub fn analyze_weight_matrix(
    trained: ArrayView2<'_, f32>,
    initial: &Generator,
    threshold: Threshold,
) -> WeightAnalysis {
    analyze_weight_matrix_until(trained, initial, threshold, &|| false).expect("nothing stops it")
}

/// Like [`analyze_weight_matrix`], unless it is to stop.
///
/// # Errors
/// [`Stopped`].
///
/// # Panics
/// If the matrix is not of the generator's shape.
pub fn analyze_weight_matrix_until(
    trained: ArrayView2<'_, f32>,
    initial: &Generator,
    threshold: Threshold,
    stop: Stop<'_>,
) -> Result<WeightAnalysis, Stopped> {
    let matrix = initial.matrix();
    assert_eq!(
        trained.dim(),
        (matrix.rows, matrix.cols),
        "a matrix of another shape than its initial values"
    );
    prepare_until(initial, stop)?;
    let weights = trained.as_standard_layout();
    let weights = weights.as_slice().expect("the standard layout is contiguous");
    let comparison = Comparison::new(threshold, 1.0, FloatDtype::F32);
    let blocks: Vec<Block> = cut(0, matrix).collect();
    let compared = Threads.map(&blocks, Scratch::default, |scratch, block| {
        if stop() {
            return Err(Stopped);
        }
        let weights = &weights[block.start..block.start + block.len];
        Ok(scratch.compare(&comparison, weights, initial, block.start))
    })?;
    let mut stats = DeltaStats::default();
    let mut awakened = Vec::with_capacity(weights.len());
    for (found, awake) in compared {
        stats.merge(&found);
        awakened.extend(awake);
    }
    let awakened = Array2::from_shape_vec(trained.dim(), awakened).expect("as many flags as weights");
    let asleep = |axis: Axis| {
        awakened.axis_iter(axis).filter(|line| !line.is_empty() && !line.iter().any(|awake| *awake)).count()
    };
    let (sleeping_rows, sleeping_columns) = (asleep(Axis(0)), asleep(Axis(1)));
    Ok(WeightAnalysis { stats, awakened, sleeping_rows, sleeping_columns })
}

/// Memory for the comparison of one block, used again for the next one.
#[derive(Default)]
struct Scratch {
    trained: Vec<u8>,
    initial: Vec<f64>,
    changed: Vec<u8>,
}

impl Scratch {
    /// Compares the weights from element `start` on. Returns counts and sums, and which weights have changed.
    fn compare(
        &mut self,
        comparison: &Comparison,
        weights: &[f32],
        initial: &Generator,
        start: usize,
    ) -> (DeltaStats, Vec<bool>) {
        self.trained.clear();
        self.trained.extend(weights.iter().flat_map(|w| w.to_le_bytes()));
        self.initial.resize(weights.len(), 0.0);
        initial.fill(start, &mut self.initial);
        FloatDtype::F32.round_slice(&mut self.initial);
        self.changed.resize(weights.len().div_ceil(8), 0);
        let stats = comparison.compare(&self.trained, &mut self.initial, &mut self.changed);
        let awake = (0..weights.len()).map(|n| self.changed[n / 8] >> (n % 8) & 1 == 1);
        (stats, awake.collect())
    }
}

/// True for every weight of the matrix that differs from its initial value, which `initial` generates.
///
/// # Panics
/// If the matrix is not of the generator's shape.
pub fn awakened_mask(
    trained: ArrayView2<'_, f32>,
    initial: &Generator,
    threshold: Threshold,
) -> Array2<bool> {
    analyze_weight_matrix(trained, initial, threshold).awakened
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::init::{SchemeParams, init_matrix};
    use crate::tensor::{Layout, Shape};
    use crate::workers::Pool;

    const DIMS: (usize, usize) = (300, 1000);

    /// A matrix of which every third row has changed by 0.5, and its initial values.
    fn matrix() -> (Array2<f32>, Generator) {
        let he = SchemeParams::named("he").scheme().unwrap();
        let mut trained = init_matrix(42, 7, DIMS, &he).unwrap();
        trained.rows_mut().into_iter().step_by(3).for_each(|mut row| row += 0.5);
        let shape = Shape::new(vec![DIMS.0, DIMS.1]).unwrap();
        (trained, Generator::new(42, 7, &he, &shape, Layout::OutIn))
    }

    #[test]
    fn threads_and_the_order_in_memory_change_nothing() {
        let (trained, initial) = matrix();
        let analyze = |view| analyze_weight_matrix(view, &initial, Threshold::default());
        let alone = Pool::new(1).unwrap().run(|| analyze(trained.view()));
        assert_eq!((alone.stats.total, alone.stats.changed), (300_000, 100_000));
        assert_eq!((alone.sleeping_rows, alone.sleeping_columns), (200, 0));
        assert!(alone.awakened[(297, 999)] && !alone.awakened[(298, 0)]);
        assert_eq!(Pool::new(3).unwrap().run(|| analyze(trained.view())), alone);
        let columns = trained.t().as_standard_layout().into_owned();
        assert_eq!(analyze(columns.t()), alone);
    }

    #[test]
    fn an_analysis_can_be_stopped() {
        let (trained, initial) = matrix();
        let asked = AtomicUsize::new(0);
        let stop = || asked.fetch_add(1, Ordering::Relaxed) >= 2;
        let found = analyze_weight_matrix_until(trained.view(), &initial, Threshold::default(), &stop);
        assert_eq!(found, Err(Stopped));
    }
}
