//! Reading checkpoints.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use cdi_prune::pipeline::{self, Error, Progress, RestoreOptions};
use cdi_prune::reader::PrunedReader;
use numpy::{PyArray1, PyArrayMethods, PyReadwriteArray1};
use pyo3::prelude::*;

use crate::errors::Failure;
use crate::work::{caught, detached};

/// An open checkpoint: pruned, packed, initial or ordinary; one file, shards, or a folder of either.
#[pyclass(frozen, module = "cdi_prune._native")]
pub struct File(pub PrunedReader);

#[pymethods]
impl File {
    #[new]
    #[pyo3(signature = (path, base=None, max_memory=None))]
    fn new(py: Python<'_>, path: PathBuf, base: Option<PathBuf>, max_memory: Option<u64>) -> PyResult<Self> {
        detached(py, None, |_| {
            let options = RestoreOptions { base: base.as_deref(), max_memory, ..RestoreOptions::default() };
            Ok(Self(pipeline::open(&path, options)?))
        })
    }

    /// Name, type and shape of every tensor, in name order.
    fn tensors(&self) -> Vec<(String, String, Vec<usize>)> {
        let row = |(name, dtype, shape): (&str, safetensors::Dtype, &cdi_prune::tensor::Shape)| {
            (name.to_owned(), dtype.to_string(), shape.dims().to_vec())
        };
        self.0.tensors().map(row).collect()
    }

    fn metadata(&self) -> BTreeMap<String, String> {
        self.0.metadata().clone()
    }

    /// Restores each tensor into the array of bytes beside its name.
    #[pyo3(signature = (tensors, progress=None))]
    fn load(
        &self,
        py: Python<'_>,
        tensors: Vec<(String, Bound<'_, PyArray1<u8>>)>,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let (names, arrays): (Vec<String>, Vec<_>) = tensors.into_iter().unzip();
        let mut borrowed = arrays.iter().map(|array| array.try_readwrite()).collect::<Result<Vec<_>, _>>()?;
        let slices = borrowed.iter_mut().map(slice).collect::<PyResult<Vec<&mut [u8]>>>()?;
        let wanted = names.iter().map(String::as_str).zip(slices).collect();
        detached(py, progress, |progress| Ok(pipeline::load(&self.0, wanted, progress)?))
    }

    /// Restores rows of the matrix view, of which a vector is one, into an array of bytes.
    fn rows(
        &self,
        py: Python<'_>,
        name: &str,
        from: usize,
        to: usize,
        out: &Bound<'_, PyArray1<u8>>,
    ) -> PyResult<()> {
        let mut out = out.try_readwrite()?;
        let out = slice(&mut out)?;
        if out.len() <= RUN {
            let read = || self.0.read_rows(name, from..to, out);
            return py.detach(|| caught(read)).map_err(|failure| failure.raise(py));
        }
        detached(py, None, |progress| read_in_runs(&self.0, name, from..to, out, progress))
    }
}

/// Bytes of rows that are restored at once. What is no longer is not worth another thread.
const RUN: usize = 1 << 24;

/// Restores rows run by run, so that the work can be stopped between two runs.
fn read_in_runs(
    file: &PrunedReader,
    name: &str,
    rows: Range<usize>,
    out: &mut [u8],
    progress: &dyn Progress,
) -> Result<(), Failure> {
    let mut reader = file.tensor_reader(name)?;
    let width = (out.len() / rows.len().max(1)).max(1);
    let step = (RUN / width).max(1);
    for (from, out) in rows.clone().step_by(step).zip(out.chunks_mut(step * width)) {
        if progress.cancelled() {
            return Err(Error::Cancelled.into());
        }
        reader.read_rows(from..rows.end.min(from + step), out)?;
    }
    Ok(())
}

fn slice<'a>(array: &'a mut PyReadwriteArray1<'_, u8>) -> PyResult<&'a mut [u8]> {
    Ok(array.as_slice_mut()?)
}
