//! Reads the folders of versions, one over the other.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::chain::FormOf;
use super::making::{Making, Place};
use super::versions::{Meta, index_of, meta};
use crate::checkpoint::{Checkpoint, OpenOptions, TensorRef};
use crate::pipeline::blocks::{self, Reads};
use crate::pipeline::error::{DeltaProblem, Error};
use crate::pipeline::plan::other_metadata;
use crate::pipeline::progress::Progress;
use crate::pipeline::resolve::refuse_pruned;
use crate::tensor::Dtype;

/// Whether these are folders of versions, rather than deltas of this program.
pub(super) fn are_versions(deltas: &[PathBuf]) -> bool {
    deltas.iter().any(|path| meta(path).is_some())
}

/// A version that is open.
#[derive(Debug)]
struct Version {
    meta: Meta,
    files: Checkpoint,
    checksums: BTreeMap<String, String>,
}

/// A base, and versions over it.
#[derive(Debug)]
pub(super) struct Versions {
    base: Checkpoint,
    versions: Vec<Version>,
    names: [String; 2],
}

impl Versions {
    /// Opens a base and the versions over it. A full version among them begins the chain anew.
    pub fn open(base: &Path, deltas: &[PathBuf], options: OpenOptions) -> Result<Self, Error> {
        let mut base = base.to_owned();
        let mut first = 0;
        for (n, path) in deltas.iter().enumerate() {
            match meta(path) {
                Some(meta) if meta.get("delta_encoding").is_none() => (base, first) = (path.clone(), n + 1),
                Some(_) => {}
                None => {
                    let problem =
                        "it is not the folder of a version, as the others are: its index has no `version`";
                    return Err(DeltaProblem::Version(problem.to_owned()).of(path));
                }
            }
        }
        let mut current = meta(&base).and_then(|meta| Some(meta.get("version")?.as_str()?.to_owned()));
        let name = current.clone().unwrap_or_else(|| "unknown".to_owned());
        let checkpoint = Checkpoint::open_with(&base, options)?;
        refuse_pruned(&checkpoint)?;
        let mut versions: Vec<Version> = Vec::new();
        for path in &deltas[first..] {
            let wrong = |problem: String| DeltaProblem::Version(problem).of(path);
            let meta: Meta = serde_json::from_value(meta(path).unwrap_or_default())
                .map_err(|e| wrong(format!("the `metadata` of its index: {e}")))?;
            if let Some(current) = current.filter(|current| *current != meta.base_version) {
                return Err(wrong(format!(
                    "it applies to version {}, but what comes before it is version {current}; versions are given in \
                     their order, without gaps",
                    meta.base_version
                )));
            }
            current = Some(meta.version.clone());
            let files = Checkpoint::open_with(&index_of(path), options)?;
            let checksums = other_metadata(&files);
            for (tensor, found) in files.tensors() {
                let wrong = |problem: String| {
                    DeltaProblem::VersionTensor { tensor: tensor.to_owned(), problem }.of(path)
                };
                if found.dtype != Dtype::U8 || found.shape.rank() != 1 {
                    return Err(wrong(format!(
                        "expected U8 with one dimension, got {} {}",
                        found.dtype, found.shape
                    )));
                }
                if !checksums.contains_key(tensor) {
                    return Err(wrong("its file has no checksum of it".to_owned()));
                }
                if checkpoint.tensor(tensor).is_none() {
                    return Err(wrong("the base has no such tensor".to_owned()));
                }
            }
            versions.push(Version { meta, files, checksums });
        }
        let last = current.unwrap_or_else(|| "unknown".to_owned());
        Ok(Self { base: checkpoint, versions, names: [name, last] })
    }

    /// The bytes of a tensor of the last version.
    fn read<'s>(
        &self,
        name: &str,
        tensor: &TensorRef<'_>,
        [out, difference]: &'s mut [Vec<u8>; 2],
    ) -> Result<&'s [u8], Error> {
        out.clear();
        out.extend_from_slice(tensor.bytes());
        for version in &self.versions {
            let Some(code) = version.files.tensor(name) else { continue };
            let wrong = |problem: String| {
                DeltaProblem::VersionTensor { tensor: name.to_owned(), problem }.of(version.files.path())
            };
            let encoding = version.meta.delta_encoding;
            difference.clear();
            // What a few bytes decompress to may be of any length: no more is read than there can be.
            let most = encoding.most(out.len()) as u64;
            zstd::stream::Decoder::new(code.bytes())
                .and_then(|decoder| decoder.take(most + 1).read_to_end(difference))
                .map_err(|e| wrong(format!("its difference cannot be decompressed: {e}")))?;
            encoding.apply(difference, out).map_err(wrong)?;
            let (format, expected) = (version.meta.checksum_format, &version.checksums[name]);
            let got = format.of(out);
            if got != expected.to_ascii_lowercase() {
                return Err(wrong(format!(
                    "its {format} is {got} after version {}, expected {expected}: the base is another version, or the \
                     difference is damaged; nothing was written",
                    version.meta.version
                )));
            }
        }
        Ok(out)
    }
}

impl Making for Versions {
    fn base(&self) -> &Checkpoint {
        &self.base
    }

    fn inputs(&self) -> Vec<&Path> {
        self.versions.iter().flat_map(|version| version.files.files()).collect()
    }

    fn tensors(&self) -> BTreeMap<&str, FormOf<'_>> {
        self.base.tensors().map(|(name, tensor)| (name, (tensor.dtype, tensor.shape))).collect()
    }

    fn in_base<'n>(&'n self, name: &'n str) -> Option<&'n str> {
        self.versions.iter().all(|version| version.files.tensor(name).is_none()).then_some(name)
    }

    fn source<'n>(&'n self, name: &'n str) -> &'n str {
        name
    }

    fn metadata(&self) -> BTreeMap<String, String> {
        other_metadata(&self.base)
    }

    fn states(&self) -> [String; 2] {
        self.names.clone()
    }

    fn make(&self, place: &Place<'_>, progress: &dyn Progress) -> Result<usize, Error> {
        let all: Vec<(&str, TensorRef<'_>)> = self.base.tensors().collect();
        let same: BTreeSet<&str> =
            all.iter().map(|(name, _)| *name).filter(|name| self.in_base(name).is_some()).collect();
        progress.begin("apply", all.iter().map(|(_, tensor)| tensor.data.len() as u64).sum());
        blocks::for_each(
            &all,
            progress,
            |(_, tensor)| Reads::of(tensor.data),
            <[Vec<u8>; 2]>::default,
            |buffers, (name, tensor)| {
                let bytes =
                    if same.contains(name) { tensor.bytes() } else { self.read(name, tensor, buffers)? };
                if let Some((writer, slot)) = place(name) {
                    writer.write_at(slot, 0, bytes)?;
                }
                Ok::<_, Error>(())
            },
        )?;
        progress.end();
        Ok(same.len())
    }
}
