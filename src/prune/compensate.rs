//! Rounding that compensates its errors. When a weight is rounded, the weights of the same row that are not
//! rounded yet move so that the outputs of the layer change as little as possible, given the second moments
//! of its inputs. This is "Optimal Brain Quantizer" in the order that all rows share: Frantar, Ashkboos,
//! Hoefler and Alistarh, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
//! Transformers", 2022.
//!
//! Let `H = XᵀX` be the second moments and `e` the rounding errors of a row. The layer's outputs change by
//! `X e`, whose squared length is `e H eᵀ = |e R|²` for the upper triangular `R` with `H = R Rᵀ`. Component
//! `j` of `e R` depends on the errors up to `j` only. So each weight in turn is rounded not from its own
//! value but from the one that would make its component 0. The inverse of `H`, which the paper works with, is
//! not needed.
//!
//! All sums have a fixed order, so that the result does not depend on the number of threads.

use crate::workers::Workers;

/// The share of the mean second moment that is added to each, as in the paper.
const DAMPING: f64 = 0.01;
/// Number of columns that are factored together.
const PANEL: usize = 64;
/// Number of partial sums of a scalar product.
const LANES: usize = 8;

/// Why second moments cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum MomentsError {
    /// One is NaN or infinite.
    #[error("element [{row}, {column}] is {value}")]
    NotFinite {
        /// Where.
        row: usize,
        /// Where.
        column: usize,
        /// The value.
        value: f64,
    },
    /// Two that should be the same differ.
    #[error(
        "element [{row}, {column}] is {value}, but element [{column}, {row}] is {other}; sums of products of \
         inputs are symmetric"
    )]
    NotSymmetric {
        /// Row of the first, column of the second.
        row: usize,
        /// Column of the first, row of the second.
        column: usize,
        /// The first.
        value: f64,
        /// The second.
        other: f64,
    },
    /// They are not sums of products: some combination of inputs would have a negative square.
    #[error("it is not positive semidefinite, as sums of products of inputs are (input {input})")]
    Indefinite {
        /// The input at which this was noticed.
        input: usize,
    },
}

/// The factored second moments of a layer's inputs.
#[derive(Debug)]
pub struct Moments {
    /// The inputs in the order in which their weights are rounded: by falling second moment.
    order: Vec<usize>,
    /// Number of inputs, at the beginning of the order, that were ever different from 0.
    live: usize,
    /// Rows of `Rᵀ`, for the inputs in this order: row `j` has `j + 1` elements.
    rows: Vec<Vec<f64>>,
}

impl Moments {
    /// From the second moments of `inputs` inputs: a matrix of `inputs * inputs` elements.
    ///
    /// # Errors
    /// [`MomentsError`].
    ///
    /// # Panics
    /// If there are not that many elements.
    pub fn new(moments: &[f64], inputs: usize, workers: &impl Workers) -> Result<Self, MomentsError> {
        assert_eq!(moments.len(), inputs * inputs, "second moments of each pair of inputs");
        check(moments, inputs)?;
        let of = |input: usize| moments[input * inputs + input];
        let mut order: Vec<usize> = (0..inputs).collect();
        order.sort_by(|a, b| of(*b).total_cmp(&of(*a)).then(a.cmp(b)));
        let live = order.iter().take_while(|input| of(**input) > 0.0).count();
        let mean = order[..live].iter().map(|input| of(*input)).sum::<f64>() / live.max(1) as f64;
        // Lower Cholesky factor of the moments with the last input first. Turned round, it is R.
        let last_first: Vec<usize> = order[..live].iter().rev().copied().collect();
        let row = |(n, input): (usize, &usize)| -> Vec<f64> {
            let mut row: Vec<f64> =
                last_first[..=n].iter().map(|other| moments[input * inputs + other]).collect();
            row[n] += DAMPING * mean;
            row
        };
        let mut lower: Vec<Vec<f64>> = last_first.iter().enumerate().map(row).collect();
        factor(&mut lower, workers).map_err(|place| MomentsError::Indefinite { input: last_first[place] })?;
        // R[i][j] = L[live - 1 - i][live - 1 - j] for i <= j.
        let transposed = |j: usize| (0..=j).map(|i| lower[live - 1 - i][live - 1 - j]).collect();
        Ok(Self { rows: (0..live).map(transposed).collect(), order, live })
    }

    /// Number of inputs.
    pub fn inputs(&self) -> usize {
        self.order.len()
    }

    /// Bytes of memory that they take.
    pub fn bytes(&self) -> usize {
        self.rows.iter().map(|row| size_of_val(&**row)).sum::<usize>() + size_of_val(&*self.order)
    }

    /// Rounds a row of weights in place. `round` rounds the weight of the input with this index, given the
    /// value that makes up for the errors so far; or `None` if the input is always 0, so that its weight does
    /// not matter. `errors` is a buffer.
    pub fn round_row(
        &self,
        weights: &mut [f64],
        errors: &mut Vec<f64>,
        mut round: impl FnMut(usize, Option<f64>) -> f64,
    ) {
        errors.clear();
        for (&input, row) in self.order.iter().zip(&self.rows) {
            let before = errors.len();
            let wanted = weights[input] + dot(errors, &row[..before]) / row[before];
            let rounded = round(input, Some(wanted));
            let error = weights[input] - rounded;
            // A weight that is not finite stays as it is, and others cannot make up for it.
            errors.push(if error.is_finite() { error } else { 0.0 });
            weights[input] = rounded;
        }
        for &input in &self.order[self.live..] {
            weights[input] = round(input, None);
        }
    }
}

/// How far two elements that should be the same may differ, in units of their inputs' moments: as much as
/// sums in binary32 in different orders do.
const ASYMMETRY: f64 = 1e-3;

fn check(moments: &[f64], inputs: usize) -> Result<(), MomentsError> {
    if let Some(n) = moments.iter().position(|value| !value.is_finite()) {
        return Err(MomentsError::NotFinite { row: n / inputs, column: n % inputs, value: moments[n] });
    }
    for row in 0..inputs {
        let own = moments[row * inputs + row];
        if own < 0.0 {
            return Err(MomentsError::Indefinite { input: row });
        }
        for column in 0..row {
            let (value, other) = (moments[row * inputs + column], moments[column * inputs + row]);
            let scale = (own * moments[column * inputs + column]).sqrt();
            if (value - other).abs() > ASYMMETRY * scale {
                return Err(MomentsError::NotSymmetric { row, column, value, other });
            }
        }
    }
    Ok(())
}

/// Replaces the lower half of a symmetric matrix by its Cholesky factor. The error is the row at which the
/// matrix turned out not to be positive definite.
fn factor(rows: &mut [Vec<f64>], workers: &impl Workers) -> Result<(), usize> {
    for first in (0..rows.len()).step_by(PANEL) {
        let rest = &mut rows[first..];
        let (panel, below) = rest.split_at_mut(PANEL.min(rest.len()));
        for n in 0..panel.len() {
            let (done, row) = panel.split_at_mut(n);
            let row = &mut row[0];
            solve(done, first, row);
            let own = row[first + n] - dot(&row[..first + n], &row[..first + n]);
            if own.is_nan() || own <= 0.0 {
                return Err(first + n);
            }
            row[first + n] = own.sqrt();
        }
        let panel = &*panel;
        workers.each(below, || (), |(), row| solve(panel, first, row));
    }
    Ok(())
}

/// Computes the elements of a row of the factor in the columns of these rows, which are done and begin at
/// row `first`.
fn solve(done: &[Vec<f64>], first: usize, row: &mut [f64]) {
    for (column, other) in (first..).zip(done) {
        row[column] = (row[column] - dot(&row[..column], &other[..column])) / other[column];
    }
}

/// A scalar product, as eight sums of every eighth product that are added up at the end.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (eights, rest) = a.as_chunks::<LANES>();
    let (other_eights, other_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in eights.iter().zip(other_eights) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    for (lane, (a, b)) in rest.iter().zip(other_rest).enumerate() {
        sums[lane] += a * b;
    }
    let [a, b, c, d, e, f, g, h] = sums;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workers::{Alone, Pool, Threads};

    /// Inputs that depend on each other, and their second moments.
    fn sample(inputs: usize, samples: usize) -> (Vec<Vec<f64>>, Vec<f64>) {
        let mut state = 7u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f64 / (1u64 << 24) as f64 - 0.5
        };
        let mut x = Vec::new();
        for _ in 0..samples {
            let common = next();
            x.push((0..inputs).map(|n| if n % 7 == 3 { 0.0 } else { common + 0.3 * next() }).collect());
        }
        let product = |i: usize, j: usize| x.iter().map(|x: &Vec<f64>| x[i] * x[j]).sum();
        let moments = (0..inputs * inputs).map(|n| product(n / inputs, n % inputs)).collect();
        (x, moments)
    }

    fn change(x: &[Vec<f64>], a: &[f64], b: &[f64]) -> f64 {
        let of = |x: &Vec<f64>| x.iter().zip(a.iter().zip(b)).map(|(x, (a, b))| x * (a - b)).sum::<f64>();
        x.iter().map(of).map(|d| d * d).sum()
    }

    #[test]
    fn outputs_change_less_than_with_rounding_to_nearest() {
        let (inputs, step) = (150, 0.1);
        let (x, moments) = sample(inputs, 400);
        let moments = Moments::new(&moments, inputs, &Alone).unwrap();
        assert_eq!((moments.inputs(), moments.live), (150, 129));
        let weights: Vec<f64> = (0..inputs).map(|n| libm::sin(n as f64 * 0.7) * 0.2).collect();
        let nearest: Vec<f64> = weights.iter().map(|w| (w / step).round() * step).collect();
        let mut rounded = weights.clone();
        let to_step = |w: f64| (w / step).round() * step;
        moments.round_row(&mut rounded, &mut Vec::new(), |_, w| w.map_or(7.0, to_step));
        for (input, w) in rounded.iter().enumerate() {
            assert!(if input % 7 == 3 { *w == 7.0 } else { (to_step(*w) - w).abs() < 1e-12 });
        }
        let (of_nearest, of_rounded) = (change(&x, &weights, &nearest), change(&x, &weights, &rounded));
        assert!(of_rounded < 0.35 * of_nearest, "{of_rounded} and {of_nearest}");
    }

    /// A matrix and its factor, worked out by hand: with equal moments, the order is that of the inputs.
    #[test]
    fn the_factor_of_a_small_matrix() {
        let mut rows = vec![vec![4.0], vec![2.0, 5.0], vec![6.0, 5.0, 26.0]];
        factor(&mut rows, &Alone).unwrap();
        assert_eq!(rows, [vec![2.0], vec![1.0, 2.0], vec![3.0, 1.0, 4.0]]);
        assert_eq!(factor(&mut [vec![1.0], vec![2.0, 1.0]], &Alone), Err(1));
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        let (_, moments) = sample(200, 300);
        let bits = |moments: Moments| -> Vec<u64> {
            moments.rows.iter().flatten().map(|element| element.to_bits()).collect()
        };
        let alone = bits(Moments::new(&moments, 200, &Alone).unwrap());
        for threads in [2, 3, 8] {
            let pool = Pool::new(threads).unwrap();
            assert!(alone == bits(pool.run(|| Moments::new(&moments, 200, &Threads)).unwrap()));
        }
    }

    #[test]
    fn moments_that_cannot_be_are_refused() {
        let new = |moments: [f64; 4]| Moments::new(&moments, 2, &Alone).map(drop).map_err(|e| e.to_string());
        assert_eq!(new([1.0, 0.5, 0.5, 1.0]), Ok(()));
        assert_eq!(new([0.0; 4]), Ok(()));
        assert_eq!(new([1.0, f64::NAN, 0.5, 1.0]), Err("element [0, 1] is NaN".to_owned()));
        let symmetric =
            "element [1, 0] is 0.6, but element [0, 1] is 0.5; sums of products of inputs are symmetric";
        assert_eq!(new([1.0, 0.5, 0.6, 1.0]), Err(symmetric.to_owned()));
        let indefinite = |input| {
            Err(format!("it is not positive semidefinite, as sums of products of inputs are (input {input})"))
        };
        assert_eq!(new([1.0, 2.0, 2.0, 1.0]), indefinite(0));
        assert_eq!(new([1.0, 0.0, 0.0, -1.0]), indefinite(1));
    }
}
