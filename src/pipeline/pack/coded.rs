//! Coded tensors that are ready to be written to a file.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use crate::codec::CODES;
use crate::pipeline::blocks::{self, Reads};
use crate::pipeline::codes::Coded;
use crate::pipeline::copy::PIECE;
use crate::pipeline::error::Error;
use crate::pipeline::plan::Codes;
use crate::pipeline::progress::Progress;
use crate::pipeline::spool::Spool;
use crate::store::CheckpointWriter;

/// The coded tensors of a file, by name, and the spool with the blocks of those that this process writes.
pub(in crate::pipeline) struct CodedTensors<'a> {
    tensors: BTreeMap<&'a str, Coded>,
    spool: Option<Arc<Spool>>,
}

impl<'a> CodedTensors<'a> {
    pub fn new(tensors: BTreeMap<&'a str, Coded>, spool: Option<Arc<Spool>>) -> Self {
        Self { tensors, spool }
    }

    pub fn get(&self, name: &str) -> Option<&Coded> {
        self.tensors.get(name)
    }

    /// Forgets all tensors but these.
    pub fn retain(&mut self, names: &BTreeSet<&str>) {
        self.tensors.retain(|name, _| names.contains(name));
    }

    /// Writes the code of a tensor, if it is coded.
    pub fn write(
        &self,
        name: &str,
        writer: &CheckpointWriter<'_>,
        progress: &dyn Progress,
    ) -> Result<Option<&Coded>, Error> {
        let (Some(found), Some(spool)) = (self.get(name), &self.spool) else { return Ok(None) };
        let slot = writer.slot(&format!("{name}{CODES}"));
        writer.write_at(slot, 0, &found.head)?;
        let (start, end) = (found.blocks.start, found.blocks.end);
        let pieces: Vec<Range<u64>> =
            (start..end).step_by(PIECE).map(|at| at..end.min(at + PIECE as u64)).collect();
        let counted = |piece: &Range<u64>| Reads { bytes: piece.end - piece.start, ..Reads::default() };
        blocks::for_each(&pieces, progress, counted, Vec::new, |bytes, piece| {
            bytes.resize((piece.end - piece.start) as usize, 0);
            spool.read(piece.start, bytes)?;
            writer.write_at(slot, found.head.len() as u64 + piece.start - start, bytes)
        })?;
        Ok(Some(found))
    }
}

impl Codes for CodedTensors<'_> {
    fn of(&self, _: usize, name: &str, _: usize) -> Option<(u64, Option<f64>)> {
        self.get(name).map(|found| (found.bytes(), found.prediction()))
    }
}
