//! Deltas between versions. Results are JSON.

use std::path::PathBuf;
use std::sync::Mutex;

use cdi_prune::checkpoint::{Checkpoint, OpenOptions};
use cdi_prune::pipeline::{
    self, ApplyOptions, Checksum, DeltaOptions, Encoding, Error, PublishForm, SquashOptions, VersionOptions,
};
use numpy::{PyArrayMethods, PyReadonlyArray1};
use pyo3::prelude::*;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

use crate::errors::Failure;
use crate::save::{Tensor, spec};
use crate::work::detached;

/// The form, and the checksum.
type Form = (String, String);

/// The encoding of a form for serving engines; `None` for the default form.
fn encoding(form: &str) -> Result<Option<Encoding>, Failure> {
    match form {
        "coded" => Ok(None),
        "xor-zstd" => Ok(Some(Encoding::Xor)),
        "overwrite-zstd" => Ok(Some(Encoding::Overwrite)),
        other => Err(Failure::Value(format!(
            "form {other:?}: expected \"coded\", \"xor-zstd\" or \"overwrite-zstd\""
        ))),
    }
}

fn options(encoding: Encoding, checksum: &str) -> Result<VersionOptions, Failure> {
    let checksum: Checksum = serde_json::from_value(Value::from(checksum)).map_err(|_| {
        Failure::Value(format!("checksum {checksum:?}: expected \"xxh3-128\", \"blake3\" or \"adler32\""))
    })?;
    Ok(VersionOptions { checksum, ..VersionOptions::new(encoding) })
}

/// Writes what changed from one checkpoint to another.
#[pyfunction]
#[pyo3(signature = (base, new, output, form, map, number=None, max_shard_size=None, progress=None))]
#[allow(clippy::too_many_arguments, reason = "those of the Python function")]
pub fn delta(
    py: Python<'_>,
    base: PathBuf,
    new: PathBuf,
    output: PathBuf,
    form: Form,
    map: Vec<(String, String)>,
    number: Option<u64>,
    max_shard_size: Option<u64>,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<String> {
    detached(py, progress, |progress| {
        let Some(encoding) = encoding(&form.0)? else {
            let options = DeltaOptions { map, max_shard_size, ..DeltaOptions::default() };
            return Ok(json!(pipeline::delta(&base, &new, &output, &options, progress)?).to_string());
        };
        let options = VersionOptions { version: number, max_shard_size, ..options(encoding, &form.1)? };
        Ok(json!(pipeline::version(&base, &new, &output, &options, progress)?).to_string())
    })
}

/// Applies deltas, in place if there is no output.
#[pyfunction]
#[pyo3(signature = (base, deltas, output=None, dry_run=false, max_shard_size=None, progress=None))]
pub fn apply(
    py: Python<'_>,
    base: PathBuf,
    deltas: Vec<PathBuf>,
    output: Option<PathBuf>,
    dry_run: bool,
    max_shard_size: Option<u64>,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<String> {
    detached(py, progress, |progress| {
        let options = ApplyOptions { max_shard_size, dry_run, ..ApplyOptions::default() };
        Ok(json!(pipeline::apply(&base, &deltas, output.as_deref(), &options, progress)?).to_string())
    })
}

/// Makes one delta of several.
#[pyfunction]
#[pyo3(signature = (deltas, output, base=None, max_shard_size=None, progress=None))]
pub fn squash(
    py: Python<'_>,
    deltas: Vec<PathBuf>,
    output: PathBuf,
    base: Option<PathBuf>,
    max_shard_size: Option<u64>,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<String> {
    detached(py, progress, |progress| {
        let options = SquashOptions { base: base.as_deref(), max_shard_size, ..SquashOptions::default() };
        Ok(json!(pipeline::squash(&deltas, &output, &options, progress)?).to_string())
    })
}

/// Versions of a model in memory.
#[pyclass(frozen, module = "cdi_prune._native")]
pub struct Publisher(Mutex<pipeline::Publisher>);

#[pymethods]
impl Publisher {
    /// `last` is a checkpoint, or its tensors.
    #[new]
    fn new(
        py: Python<'_>,
        folder: PathBuf,
        last: (Option<PathBuf>, Vec<Tensor<'_>>),
        number: u64,
        form: Form,
        full_every: Option<u64>,
    ) -> PyResult<Self> {
        let last = match last {
            (Some(path), _) => detached(py, None, |_| {
                let checkpoint = Checkpoint::open_with(&path, OpenOptions::default());
                Ok(checkpoint.map_err(Error::from)?)
            })?,
            (None, tensors) => in_memory(py, &tensors)?,
        };
        let form = || -> Result<PublishForm, Failure> {
            Ok(match encoding(&form.0)? {
                None => PublishForm::Coded(DeltaOptions::default()),
                Some(encoding) => PublishForm::Version(options(encoding, &form.1)?),
            })
        };
        let form = form().map_err(|failure| failure.raise(py))?;
        Ok(Self(Mutex::new(pipeline::Publisher::new(&folder, last, number, form, full_every))))
    }

    /// The number of the last version.
    fn number(&self, py: Python<'_>) -> u64 {
        py.detach(|| self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).number())
    }

    #[pyo3(signature = (tensors, progress=None))]
    fn publish(
        &self,
        py: Python<'_>,
        tensors: Vec<Tensor<'_>>,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<String> {
        let new = in_memory(py, &tensors)?;
        detached(py, progress, |progress| {
            let mut publisher = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            Ok(json!(publisher.publish(new, progress)?).to_string())
        })
    }
}

/// A checkpoint in memory with a copy of these tensors.
fn in_memory(py: Python<'_>, tensors: &[Tensor<'_>]) -> PyResult<Checkpoint> {
    let borrowed = tensors
        .iter()
        .map(|(.., bytes)| bytes.try_readonly())
        .collect::<Result<Vec<PyReadonlyArray1<'_, u8>>, _>>()?;
    let mut views = Vec::new();
    for ((name, dtype, dims, _), bytes) in tensors.iter().zip(&borrowed) {
        let wrong = |problem| Failure::Value(problem).raise(py);
        let spec = spec(name, dtype, dims).map_err(wrong)?;
        let view = TensorView::new(spec.dtype, dims.clone(), bytes.as_slice()?)
            .map_err(|error| wrong(format!("tensor `{name}`: {error}")))?;
        views.push((name.as_str(), view));
    }
    py.detach(|| {
        let bytes = safetensors::serialize(views, None).map_err(|e| Failure::Value(e.to_string()))?;
        let checkpoint = Checkpoint::from_bytes("the tensors given", bytes.into());
        checkpoint.map_err(|e| Failure::from(Error::from(e)))
    })
    .map_err(|failure: Failure| failure.raise(py))
}
