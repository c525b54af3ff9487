//! Writing checkpoints.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cdi_prune::checkpoint::TensorSpec;
use cdi_prune::pipeline;
use cdi_prune::tensor::Shape;
use numpy::{PyArray1, PyArrayMethods, PyReadonlyArray1};
use pyo3::prelude::*;

use crate::errors::Failure;
use crate::work::detached;

/// Name, type, shape, and bytes.
pub type Tensor<'py> = (String, String, Vec<usize>, Bound<'py, PyArray1<u8>>);

/// Writes tensors, each a name, a type, a shape and an array of its bytes, to an ordinary
/// checkpoint. Returns the files.
#[pyfunction]
#[pyo3(signature = (path, tensors, metadata, max_shard_size=None, progress=None))]
pub fn save(
    py: Python<'_>,
    path: PathBuf,
    tensors: Vec<Tensor<'_>>,
    metadata: BTreeMap<String, String>,
    max_shard_size: Option<u64>,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<Vec<PathBuf>> {
    let mut specs = Vec::new();
    let mut borrowed: Vec<PyReadonlyArray1<'_, u8>> = Vec::new();
    for (name, dtype, dims, bytes) in &tensors {
        specs.push(spec(name, dtype, dims).map_err(|problem| Failure::Value(problem).raise(py))?);
        borrowed.push(bytes.try_readonly()?);
    }
    let slices = borrowed.iter().map(|bytes| Ok(bytes.as_slice()?)).collect::<PyResult<Vec<&[u8]>>>()?;
    let all = specs.into_iter().zip(slices).collect();
    detached(py, progress, |progress| {
        Ok(pipeline::save(&path, all, metadata, max_shard_size, progress)?.files)
    })
}

/// What an array of bytes stands for. The error says what is wrong.
pub fn spec(name: &str, dtype: &str, dims: &[usize]) -> Result<TensorSpec, String> {
    let quoted = serde_json::Value::from(dtype);
    let dtype = serde_json::from_value(quoted).map_err(|_| format!("tensor `{name}`: no type {dtype}"))?;
    let shape = Shape::new(dims.to_vec()).map_err(|error| format!("tensor `{name}`: {error}"))?;
    Ok(TensorSpec { name: name.to_owned(), dtype, shape })
}
