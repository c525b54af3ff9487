//! The sink that sends each output where its path says: to a disk, or to an object store.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::place;

#[cfg(feature = "object-store")]
use super::distant::{DistantSink, is_of_store};
use super::local::LocalSink;
use super::sink::{Draft, Sink};
use crate::checkpoint::{CheckpointError, Identity};

/// Files on a disk and objects in a store. Those on a disk become visible last: where they tell of the
/// others, as a manifest does, those are there.
#[derive(Debug, Default)]
pub struct Destination {
    local: LocalSink,
    #[cfg(feature = "object-store")]
    distant: DistantSink,
}

/// The error of a path in a store, in a build without stores.
#[cfg(not(feature = "object-store"))]
fn no_stores(path: &Path) -> CheckpointError {
    CheckpointError::io(path, "write")(place::no_stores())
}

impl Destination {
    /// The sink that this path leads to.
    fn sink_of(&mut self, path: &Path) -> Result<&mut dyn Sink, CheckpointError> {
        if place::is_distant(path) {
            #[cfg(feature = "object-store")]
            return Ok(&mut self.distant);
            #[cfg(not(feature = "object-store"))]
            return Err(no_stores(path));
        }
        Ok(&mut self.local)
    }

    /// A draft that is the file `from`, which must have this length and begin with this header, and which
    /// nobody writes any more.
    pub(super) fn take_over(
        &mut self,
        path: &Path,
        from: &Path,
        expected: (u64, &[u8]),
    ) -> Result<Box<dyn Draft>, CheckpointError> {
        if place::is_distant(path) {
            #[cfg(feature = "object-store")]
            return self.distant.take_over(path, from, expected);
            #[cfg(not(feature = "object-store"))]
            return Err(no_stores(path));
        }
        self.local.take_over(path, from, expected)
    }
}

impl Sink for Destination {
    fn claim(
        &mut self,
        anchor: Option<&Path>,
        outputs: &[&Path],
        inputs: BTreeSet<Identity>,
    ) -> Result<(), CheckpointError> {
        let here: Vec<&Path> = outputs.iter().copied().filter(|path| !place::is_distant(path)).collect();
        self.local.claim(anchor.filter(|path| !place::is_distant(path)), &here, inputs)
    }

    fn begin(&mut self, output: &Path, key: Option<&str>) -> Result<PathBuf, CheckpointError> {
        self.sink_of(output)?.begin(output, key)
    }

    fn create(&mut self, path: &Path, length: u64, room: u64) -> Result<Box<dyn Draft>, CheckpointError> {
        self.sink_of(path)?.create(path, length, room)
    }

    fn resume(
        &mut self,
        path: &Path,
        length: u64,
        header: &[u8],
    ) -> Result<Option<Box<dyn Draft>>, CheckpointError> {
        self.sink_of(path)?.resume(path, length, header)
    }

    fn is_distant(&self, output: &Path) -> bool {
        place::is_distant(output)
    }

    fn forms(&self, output: &Path) -> Vec<PathBuf> {
        self.local.forms(output)
    }

    fn commit(&mut self, drafts: Vec<Box<dyn Draft>>, stale: Vec<PathBuf>) -> Result<(), CheckpointError> {
        #[cfg(feature = "object-store")]
        let (drafts, stale) = {
            let (there, here): (Vec<_>, Vec<_>) = drafts.into_iter().partition(|draft| is_of_store(&**draft));
            let (stale_there, stale): (Vec<_>, Vec<_>) =
                stale.into_iter().partition(|path| place::is_distant(path));
            self.distant.commit(there, stale_there)?;
            (here, stale)
        };
        self.local.commit(drafts, stale)
    }
}
