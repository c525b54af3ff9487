//! Versions of a model in memory, written one after the other while it trains.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::create::{DeltaOptions, delta_between};
use super::versions_write::{VersionOptions, full_version, version_between};
use crate::checkpoint::Checkpoint;
use crate::pipeline::error::{Error, caught};
use crate::pipeline::outcome::Written;
use crate::pipeline::progress::Progress;

/// How versions are written.
#[derive(Clone, Debug)]
pub enum PublishForm {
    /// Deltas of this program, `weight_v000001.safetensors`.
    Coded(DeltaOptions),
    /// Folders for serving engines, `weight_v000001/`.
    Version(VersionOptions),
}

/// Writes versions. It keeps the last one.
#[derive(Debug)]
pub struct Publisher {
    folder: PathBuf,
    last: Checkpoint,
    number: u64,
    form: PublishForm,
    full_every: Option<u64>,
}

/// A version that was written.
#[derive(Clone, Debug, Serialize)]
pub struct Published {
    /// Its files.
    #[serde(flatten)]
    pub written: Written,
    /// Its number.
    pub number: u64,
    /// Whether it is a full checkpoint.
    pub full: bool,
    /// Number of tensors that changed.
    pub changed: usize,
}

impl Publisher {
    /// A publisher for this folder. `last` is the version with this number, which receivers have. With
    /// `full_every`, versions whose number is a multiple of it are full checkpoints.
    pub fn new(
        folder: &Path,
        last: Checkpoint,
        number: u64,
        form: PublishForm,
        full_every: Option<u64>,
    ) -> Self {
        Self { folder: folder.to_owned(), last, number, form, full_every }
    }

    /// The number of the last version.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Writes the next version. After an error, the last one is as it was.
    ///
    /// # Errors
    /// Those of [`super::delta`] and [`super::version`].
    pub fn publish(&mut self, new: Checkpoint, progress: &dyn Progress) -> Result<Published, Error> {
        caught(|| {
            let number = self.number + 1;
            let full = self.full_every.is_some_and(|every| every > 0 && number.is_multiple_of(every));
            let name = format!("weight_v{number:06}");
            let output = self.folder.join(&name);
            let (written, changed) = match &self.form {
                PublishForm::Version(options) if full => {
                    let written = full_version(&new, number, &output, options.max_shard_size, progress)?;
                    (written, new.len())
                }
                PublishForm::Version(options) => {
                    let numbers = [self.number, number];
                    let made = version_between(&self.last, &new, numbers, &output, options, progress)?;
                    let changed = made.written.tensors;
                    (made.written, changed)
                }
                PublishForm::Coded(options) => {
                    let output = self.folder.join(format!("{name}.safetensors"));
                    let made = delta_between(&mut self.last, &new, &output, options, progress)?;
                    let changed = made.tensors.iter().filter(|tensor| tensor.changed != Some(0)).count();
                    (made.written, changed)
                }
            };
            let full = full && matches!(self.form, PublishForm::Version(_));
            (self.last, self.number) = (new, number);
            Ok(Published { written, number, full, changed })
        })
    }
}
