//! Coded tensors that are ready to be written to a file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::codec::CODES;
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
        let mut at = found.blocks.start;
        let mut piece = Vec::new();
        while at < found.blocks.end {
            piece.resize((found.blocks.end - at).min(PIECE as u64) as usize, 0);
            spool.read(at, &mut piece)?;
            writer.write_at(slot, found.head.len() as u64 + at - found.blocks.start, &piece)?;
            at += piece.len() as u64;
            progress.advance(piece.len() as u64);
        }
        Ok(Some(found))
    }
}

impl Codes for CodedTensors<'_> {
    fn of(&self, _: usize, name: &str, _: usize) -> Option<(u64, Option<f64>)> {
        self.get(name).map(|found| (found.bytes(), found.prediction()))
    }
}
