//! Initial values, and matrices compared with them.

use cdi_prune::analysis::{Threshold, WeightAnalysis, analyze_weight_matrix_until};
use cdi_prune::init::{Generator, Scheme, SchemeParams, fill_elements_until};
use cdi_prune::tensor::{Element, Layout, Shape, bf16, f16};
use half::slice::HalfBitsSliceExt;
use numpy::{PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray2};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::Failure;
use crate::work::detached;

/// The standard normal draw at (layer, i, j): `docs/noise.md`.
#[pyfunction]
pub fn gaussian(seed: u64, layer: u64, i: u64, j: u64) -> f64 {
    cdi_prune::noise::gaussian(seed, layer, i, j)
}

/// A scheme, given as JSON, as `init` of a config takes it.
fn parse(text: &str) -> Result<Scheme, String> {
    let params: SchemeParams = match serde_json::from_str(text).map_err(|error| error.to_string())? {
        serde_json::Value::String(mode) => SchemeParams::named(&mode),
        value => serde_json::from_value(value).map_err(|error| error.to_string())?,
    };
    params.scheme().map_err(|error| error.to_string())
}

/// The initial values of one tensor.
#[pyclass(frozen, module = "cdi_prune._native")]
pub struct Initial {
    generator: Generator,
    elements: usize,
}

#[pymethods]
impl Initial {
    #[new]
    fn new(
        py: Python<'_>,
        seed: u64,
        layer: u64,
        scheme: &str,
        dims: Vec<usize>,
        in_out: bool,
    ) -> PyResult<Self> {
        let make = || {
            let (scheme, shape) = (parse(scheme)?, Shape::new(dims).map_err(|error| error.to_string())?);
            let layout = if in_out { Layout::InOut } else { Layout::OutIn };
            scheme.check_shape(&shape, layout).map_err(|error| error.to_string())?;
            let generator = Generator::new(seed, layer, &scheme, &shape, layout);
            Ok(Self { generator, elements: shape.elements() })
        };
        make().map_err(|problem: String| Failure::Value(problem).raise(py))
    }

    /// The weight at this row and column of the matrix view, before it is rounded to a type.
    fn at(&self, py: Python<'_>, i: usize, j: usize) -> PyResult<f64> {
        let matrix = self.generator.matrix();
        if i >= matrix.rows || j >= matrix.cols {
            let (rows, cols) = (matrix.rows, matrix.cols);
            let problem = format!("weight ({i}, {j}) is outside the matrix of {rows} x {cols}");
            return Err(Failure::Value(problem).raise(py));
        }
        Ok(self.generator.weight_at(i, j))
    }

    fn fill_f64(&self, py: Python<'_>, out: &Bound<'_, PyArray1<f64>>) -> PyResult<()> {
        self.fill(py, out, |out: &mut [f64]| out)
    }

    fn fill_f32(&self, py: Python<'_>, out: &Bound<'_, PyArray1<f32>>) -> PyResult<()> {
        self.fill(py, out, |out: &mut [f32]| out)
    }

    /// Values of F16 as their bits.
    fn fill_f16(&self, py: Python<'_>, out: &Bound<'_, PyArray1<u16>>) -> PyResult<()> {
        self.fill(py, out, |bits: &mut [u16]| bits.reinterpret_cast_mut::<f16>())
    }

    /// Values of BF16 as their bits.
    fn fill_bf16(&self, py: Python<'_>, out: &Bound<'_, PyArray1<u16>>) -> PyResult<()> {
        self.fill(py, out, |bits: &mut [u16]| bits.reinterpret_cast_mut::<bf16>())
    }

    /// Compares a matrix with its initial values: counts, and which weights have changed.
    fn compare<'py>(
        &self,
        py: Python<'py>,
        trained: PyReadonlyArray2<'py, f32>,
        threshold: f64,
    ) -> PyResult<(Bound<'py, PyDict>, Bound<'py, PyArray2<bool>>)> {
        let view = trained.as_array();
        let matrix = self.generator.matrix();
        let problem = if view.dim() != (matrix.rows, matrix.cols) {
            Some(format!("the weights are {:?}, expected {:?}", view.dim(), (matrix.rows, matrix.cols)))
        } else if !(threshold >= 0.0 && threshold.is_finite()) {
            Some(format!("threshold {threshold}: expected a finite number of at least 0"))
        } else {
            None
        };
        if let Some(problem) = problem {
            return Err(Failure::Value(problem).raise(py));
        }
        let threshold = Threshold::Absolute(threshold);
        let analysis = detached(py, None, |progress| {
            let stop = || progress.cancelled();
            Ok(analyze_weight_matrix_until(view, &self.generator, threshold, &stop)?)
        })?;
        let counts = counts(py, &analysis)?;
        Ok((counts, PyArray2::from_owned_array(py, analysis.awakened)))
    }
}

impl Initial {
    fn fill<T: numpy::Element, E: Element + Send>(
        &self,
        py: Python<'_>,
        out: &Bound<'_, PyArray1<T>>,
        as_elements: impl FnOnce(&mut [T]) -> &mut [E],
    ) -> PyResult<()> {
        let mut out = out.try_readwrite()?;
        let out = as_elements(out.as_slice_mut()?);
        self.fits(py, out.len())?;
        detached(py, None, |progress| {
            Ok(fill_elements_until(&self.generator, out, &|| progress.cancelled())?)
        })
    }

    fn fits(&self, py: Python<'_>, got: usize) -> PyResult<()> {
        if got == self.elements {
            return Ok(());
        }
        let problem = format!("an array of {got} elements for {} initial values", self.elements);
        Err(Failure::Value(problem).raise(py))
    }
}

fn counts<'py>(py: Python<'py>, analysis: &WeightAnalysis) -> PyResult<Bound<'py, PyDict>> {
    let stats = &analysis.stats;
    let dict = PyDict::new(py);
    dict.set_item("total_weights", stats.total)?;
    dict.set_item("changed_weights", stats.changed)?;
    dict.set_item("sleeping_weights", stats.sleeping())?;
    dict.set_item("changed_percentage", 100.0 * stats.changed as f64 / stats.total.max(1) as f64)?;
    dict.set_item("mean_delta", stats.sum / stats.finite.max(1) as f64)?;
    dict.set_item("max_delta", stats.max)?;
    dict.set_item("not_finite", stats.not_finite)?;
    dict.set_item("zeros", stats.zeros)?;
    dict.set_item("sleeping_rows", analysis.sleeping_rows)?;
    dict.set_item("sleeping_columns", analysis.sleeping_columns)?;
    Ok(dict)
}
