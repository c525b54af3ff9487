//! Files in an object store.

use std::io;

use cdi_objects::{Location, Object, RANGE};

use super::content::Content;
use super::distant::Distant;
use super::error::CheckpointError;
use super::file_name::FileName;
use super::source::{Identity, Source};
use crate::prelude::*;

/// A file in a store that was found, but not read.
#[derive(Debug)]
pub struct DistantFile {
    name: FileName,
    object: Object,
}

impl DistantFile {
    /// Finds these files, all at the same time.
    pub fn find_all(paths: &[FileName]) -> Vec<Result<Self, CheckpointError>> {
        let location = |path: &FileName| Location::of(path).expect("a path in a store");
        let locations: Vec<Location> = paths.iter().map(location).collect();
        let named = |(object, name): (io::Result<Object>, &FileName)| match object {
            Ok(object) => Ok(Self { name: name.clone(), object }),
            Err(error) => Err(CheckpointError::io(name, "open")(error)),
        };
        Object::find_all(&locations).into_iter().zip(paths).map(named).collect()
    }
}

impl Source for DistantFile {
    fn name(&self) -> &FileName {
        &self.name
    }

    fn size(&self) -> u64 {
        self.object.size()
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), CheckpointError> {
        let wrong = |error| CheckpointError::io(&self.name, "read")(error);
        for (n, piece) in bytes.chunks_mut(RANGE as usize).enumerate() {
            let start = offset + n as u64 * RANGE;
            piece.copy_from_slice(&self.object.read(start..start + piece.len() as u64).map_err(wrong)?);
        }
        Ok(())
    }

    fn identity(&self) -> Option<Identity> {
        Some(super::local::identity(&self.name))
    }

    /// Whether files are mapped makes no difference: nobody else has the temporary file.
    fn into_content(self: Box<Self>, _mmap: bool) -> Result<Content, CheckpointError> {
        let Self { name, object } = *self;
        Distant::new(name, object).map(Content::from)
    }
}
