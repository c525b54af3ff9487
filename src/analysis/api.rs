//! The analysis of one weight, and of one matrix in memory.

use ndarray::{Array2, ArrayView2, Axis};

use super::{Comparison, DeltaStats, Threshold};
use crate::init::Generator;
use crate::tensor::FloatDtype;

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

/// Compares a trained F32 matrix with its initial values, which `initial` generates.
///
/// # Panics
/// If the matrix is not of the generator's shape.
pub fn analyze_weight_matrix(
    trained: ArrayView2<'_, f32>,
    initial: &Generator,
    threshold: Threshold,
) -> WeightAnalysis {
    let matrix = initial.matrix();
    assert_eq!(
        trained.dim(),
        (matrix.rows, matrix.cols),
        "a matrix of another shape than its initial values"
    );
    let weights: Vec<u8> = trained.iter().flat_map(|w| w.to_le_bytes()).collect();
    let mut starts = vec![0.0; trained.len()];
    initial.fill(0, &mut starts);
    FloatDtype::F32.round_slice(&mut starts);
    let mut changed = vec![0; trained.len().div_ceil(8)];
    let stats = Comparison::new(threshold, 1.0, FloatDtype::F32).compare(&weights, &mut starts, &mut changed);
    let awake = |n: usize| changed[n / 8] >> (n % 8) & 1 == 1;
    let awakened = Array2::from_shape_vec(trained.dim(), (0..trained.len()).map(awake).collect())
        .expect("as many flags as weights");
    let asleep = |axis: Axis| {
        awakened.axis_iter(axis).filter(|line| !line.is_empty() && !line.iter().any(|awake| *awake)).count()
    };
    let (sleeping_rows, sleeping_columns) = (asleep(Axis(0)), asleep(Axis(1)));
    WeightAnalysis { stats, awakened, sleeping_rows, sleeping_columns }
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
