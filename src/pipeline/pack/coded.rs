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
use crate::store::{CheckpointWriter, Failed, Gathered, Slot};

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

    /// Writes the codes of these tensors, leaving out those that are not coded.
    pub fn write<'n>(
        &self,
        names: impl Iterator<Item = &'n str>,
        writer: &CheckpointWriter<'_>,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let Some(spool) = &self.spool else { return Ok(()) };
        let mut pieces = Vec::new();
        for name in names {
            let Some(Coded { head, blocks: Range { start, end }, .. }) = self.get(name) else { continue };
            let slot = writer.slot(&format!("{name}{CODES}"));
            pieces.push(CodePiece { slot, at: 0, head, blocks: *start..(*end).min(start + PIECE as u64) });
            pieces.extend((*start..*end).step_by(PIECE).skip(1).map(|from| CodePiece {
                slot,
                at: head.len() as u64 + from - start,
                head: &[],
                blocks: from..(*end).min(from + PIECE as u64),
            }));
        }
        let failed = Failed::default();
        let counted = |piece: &CodePiece<'_>| Reads { bytes: piece.len() as u64, ..Reads::default() };
        let scratch = || (Vec::new(), Gathered::new(writer, &failed));
        blocks::for_each(&pieces, progress, counted, scratch, |(bytes, out), piece| {
            bytes.clear();
            bytes.extend_from_slice(piece.head);
            bytes.resize(piece.len(), 0);
            spool.read(piece.blocks.start, &mut bytes[piece.head.len()..])?;
            out.write_at(piece.slot, piece.at, bytes)
        })?;
        Ok(failed.check()?)
    }
}

/// A part of a code.
struct CodePiece<'c> {
    slot: Slot,
    /// Its position in the code.
    at: u64,
    /// What precedes the blocks, in the first piece.
    head: &'c [u8],
    /// The rest of it, in the spool.
    blocks: Range<u64>,
}

impl CodePiece<'_> {
    fn len(&self) -> usize {
        self.head.len() + (self.blocks.end - self.blocks.start) as usize
    }
}

impl Codes for CodedTensors<'_> {
    fn of(&self, _: usize, name: &str, _: usize) -> Option<(u64, Option<f64>)> {
        self.get(name).map(|found| (found.bytes(), found.prediction()))
    }
}
