//! Writes pruned tensors in their encodings, block by block: kept values are gathered and cast,
//! pruned weights filled.

use super::blocks::{self, BLOCK_ELEMENTS, Block};
use super::error::Error;
use super::masks::Masks;
use super::nearer::Nearer;
use super::outcome::PrunedResult;
use super::progress::Progress;
use super::task::{ByTensor, Tasks, TensorTask};
use crate::bits;
use crate::checkpoint::CheckpointError;
use crate::config::PruneSettings;
use crate::encoder::Encoder;
use crate::sparse::{
    CsrParts, EncodingParts, Fill, Format, Parts, bitmask, csr, fillmask, offsets, suffixes,
};
use crate::store::{CheckpointWriter, Failed, Gathered, Slot};
use crate::tensor::{FloatDtype, Matrix, cast};

/// A tensor to be written in its encoding.
struct Encoded<'a> {
    task: &'a TensorTask<'a>,
    /// The type of the values written.
    written: FloatDtype,
    /// Whether pruned weights get initial values, now or possibly when restoring.
    takes: bool,
    nearest: bool,
    target: Target,
    /// Bytes of a row offset; 0 if none are written.
    offset_size: usize,
}

/// The destination of the tensor.
enum Target {
    Dense(Slot),
    Parts(Parts<Slot>),
}

/// A byte that is shared by two blocks; each contributes its own bits.
struct Edge {
    slot: Slot,
    at: u64,
    bits: u8,
}

/// Results of a block that must be combined in order.
#[derive(Default)]
struct Left {
    overflowed: u64,
    edges: Vec<Edge>,
}

/// The inputs and the destination of pruned tensors.
pub(super) struct Encoding<'a> {
    pub tasks: &'a Tasks<'a>,
    pub prune: &'a PruneSettings,
    pub masks: &'a Masks,
    pub writer: &'a CheckpointWriter<'a>,
    pub progress: &'a dyn Progress,
}

/// Writes the pruned tensors for which `here` is true. Records in `results` how many values were beyond the
/// range of the type that they were cast to.
pub(super) fn encode_pruned(
    encoding: &Encoding<'_>,
    results: &mut [PrunedResult],
    here: impl Fn(usize) -> bool,
) -> Result<(), Error> {
    let Encoding { tasks, prune, masks, writer, progress } = *encoding;
    let mut encoded = Vec::with_capacity(tasks.tensors());
    let failed = Failed::default();
    let mut out = Gathered::new(writer, &failed);
    for (n, result) in results.iter().enumerate() {
        let apart = result.smaller || result.format == Format::Coded;
        let task = tasks.get(n).filter(|task| task.decision.is_some() && here(n) && !apart);
        let one = |task| Encoded::new(task, prune, result.format, masks.stored_of(n), (writer, &mut out));
        encoded.push(task.map(one).transpose()?);
    }
    drop(out);
    let encoded: ByTensor<Encoded<'_>> = encoded.into_iter().collect();
    let of_here = |(block, _): &&(Block, usize)| encoded.get(block.tensor).is_some();
    let blocks: Vec<(Block, usize)> = masks.blocks().iter().filter(of_here).copied().collect();
    let left = blocks::for_each(
        &blocks,
        progress,
        |(block, _)| encoded[block].task.reads_with(block, encoded[block].takes),
        || (Scratch::default(), Gathered::new(writer, &failed)),
        |(scratch, out), (block, before)| encode_block(&encoded[block], block, *before, masks, scratch, out),
    )?;
    failed.check()?;
    let mut edges: Vec<Edge> = Vec::new();
    for ((block, _), left) in blocks.iter().zip(left) {
        results[block.tensor].overflowed += left.overflowed;
        for edge in left.edges {
            match edges.last_mut() {
                Some(last) if (last.slot, last.at) == (edge.slot, edge.at) => last.bits |= edge.bits,
                _ => edges.push(edge),
            }
        }
    }
    for Edge { slot, at, bits } in edges {
        writer.write_at(slot, at, &[bits])?;
    }
    Ok(())
}

impl<'a> Encoded<'a> {
    fn new(
        task: &'a TensorTask<'a>,
        prune: &PruneSettings,
        format: Format,
        stored: usize,
        to: (&CheckpointWriter<'_>, &mut Gathered<'_>),
    ) -> Result<Self, CheckpointError> {
        let takes = match prune.fill {
            Fill::Zero => false,
            Fill::Init => format == Format::Dense,
            Fill::Nearest => true,
        };
        Ok(Self {
            task,
            written: prune.dtype.unwrap_or(task.dtype),
            takes,
            nearest: prune.fill == Fill::Nearest,
            offset_size: offset_size(format, stored),
            target: target(task, format, prune.fill, stored, to)?,
        })
    }
}

fn offset_size(format: Format, stored: usize) -> usize {
    if format == Format::Bitmask && stored == 0 { 0 } else { offsets::size(stored) }
}

/// The destinations of a tensor's parts. Parts that no block writes are written here.
fn target(
    task: &TensorTask<'_>,
    format: Format,
    fill: Fill,
    stored: usize,
    (writer, out): (&CheckpointWriter<'_>, &mut Gathered<'_>),
) -> Result<Target, CheckpointError> {
    let TensorTask { name, shape, matrix, .. } = *task;
    let Some(suffixes) = suffixes(format, fill == Fill::Nearest) else {
        return Ok(Target::Dense(writer.slot(name)));
    };
    let parts = suffixes.map(|suffix| writer.slot(&format!("{name}{suffix}")));
    let encoding = &parts.encoding;
    let shape: Vec<u8> = shape.dims().iter().flat_map(|d| (*d as i64).to_le_bytes()).collect();
    out.write_at(*encoding.shape(), 0, &shape)?;
    let size = offset_size(format, stored);
    if let EncodingParts::Csr(CsrParts { row_offsets, .. }) = encoding {
        let end = (stored as u64).to_le_bytes();
        out.write_at(*row_offsets, (size * matrix.rows) as u64, &end[..size])?;
    }
    if matrix.cols == 0 && size > 0 {
        // Rows without columns have no blocks, so their offsets are written here.
        let zeros = vec![0; size * matrix.rows.min(BLOCK_ELEMENTS)];
        for row in (0..matrix.rows).step_by(BLOCK_ELEMENTS) {
            let rows = BLOCK_ELEMENTS.min(matrix.rows - row);
            out.write_at(*encoding.row_offsets(), (size * row) as u64, &zeros[..size * rows])?;
        }
    }
    Ok(Target::Parts(parts))
}

#[derive(Default)]
struct Scratch {
    mask: Vec<u8>,
    encoder: Encoder,
    nearer: Nearer,
    /// Kept values in the trained type; `values` holds them in the written type.
    kept: Vec<u8>,
    values: Vec<u8>,
    bytes: Vec<u8>,
}

fn encode_block(
    encoded: &Encoded<'_>,
    block: &Block,
    before: usize,
    masks: &Masks,
    scratch: &mut Scratch,
    out: &mut Gathered<'_>,
) -> Result<Left, CheckpointError> {
    let Scratch { mask, encoder, nearer, kept, values, bytes } = scratch;
    let Encoded { task, written, .. } = encoded;
    let TensorTask { matrix, dtype, .. } = **task;
    masks.read(block, matrix, mask)?;
    let trained = task.values(block).bytes();
    let columns = block.columns(matrix);
    let size = written.size();

    bitmask::gather(trained, columns, mask, dtype, kept);
    values.clear();
    let mut left = Left { overflowed: cast(kept, dtype, *written, values), ..Left::default() };
    let decay = task.calibration.decay;
    let initial = task.initial.as_ref().filter(|_| encoded.takes);
    let initial = initial.map(|initial| encoder.encode(initial, block.start, block.len, dtype, decay));
    let takes = match &initial {
        Some(initial) if encoded.nearest => Some(nearer.find(trained, initial, dtype)),
        _ => None,
    };
    match &encoded.target {
        Target::Dense(slot) => {
            bytes.clear();
            match initial {
                Some(initial) => {
                    if let Some(takes) = takes {
                        fillmask::clear_unless(takes, dtype.size(), initial);
                    }
                    cast(initial, dtype, *written, bytes);
                }
                None => bytes.resize(block.len * size, 0),
            }
            bitmask::scatter(values, columns, mask, *written, bytes);
            out.write_at(*slot, block.bytes(size).start as u64, bytes)?;
        }
        Target::Parts(Parts { encoding, fill }) => {
            write_places(encoding, matrix, block, before, mask, (out, bytes))?;
            out.write_at(*encoding.values(), (before * size) as u64, values)?;
            if let (Some(slot), Some(takes)) = (fill, takes) {
                let first = block.start - before;
                fillmask::gather(takes, mask, columns, first, bytes);
                write_fill(*slot, first, bytes, &mut left, out)?;
            }
            let offsets = (*encoding.row_offsets(), encoded.offset_size);
            write_offsets(matrix, block, before, mask, offsets, (out, bytes))?;
        }
    }
    Ok(left)
}

/// Writes the positions of the block's kept values: their mask bits, or their column indices.
fn write_places(
    encoding: &EncodingParts<Slot>,
    matrix: Matrix,
    block: &Block,
    before: usize,
    mask: &[u8],
    (out, bytes): (&mut Gathered<'_>, &mut Vec<u8>),
) -> Result<(), CheckpointError> {
    match encoding {
        EncodingParts::Bitmask(parts) => {
            out.write_at(parts.mask, block.mask_bytes(matrix).start as u64, mask)
        }
        EncodingParts::Csr(parts) => {
            bytes.clear();
            csr::columns(mask, matrix, block.columns(matrix), block.column(matrix), bytes);
            out.write_at(parts.columns, (before * csr::index_size(matrix)) as u64, bytes)
        }
    }
}

/// Writes the number of kept values before each row that begins in the block.
fn write_offsets(
    matrix: Matrix,
    block: &Block,
    before: usize,
    mask: &[u8],
    (slot, size): (Slot, usize),
    (out, bytes): (&mut Gathered<'_>, &mut Vec<u8>),
) -> Result<(), CheckpointError> {
    if block.column(matrix) > 0 || size == 0 {
        return Ok(());
    }
    bytes.clear();
    let mut offset = before as u64;
    let rows = if block.whole_rows(matrix) { block.len / matrix.cols } else { 1 };
    for row in mask.chunks(block.columns(matrix).div_ceil(8)).take(rows) {
        bytes.extend_from_slice(&offset.to_le_bytes()[..size]);
        offset += bits::count(row);
    }
    out.write_at(slot, (size * block.row(matrix)) as u64, bytes)
}

/// Writes the fill bits of a block's pruned weights, which begin at bit `first`. Whole bytes are written at
/// once. The first and last byte may be shared with other blocks, so they are left for later.
fn write_fill(
    slot: Slot,
    first: usize,
    bits: &[u8],
    left: &mut Left,
    out: &mut Gathered<'_>,
) -> Result<(), CheckpointError> {
    let at = first as u64 / 8;
    let [begin, .., end] = bits else {
        left.edges.extend(bits.first().map(|bits| Edge { slot, at, bits: *bits }));
        return Ok(());
    };
    out.write_at(slot, at + 1, &bits[1..bits.len() - 1])?;
    left.edges.push(Edge { slot, at, bits: *begin });
    left.edges.push(Edge { slot, at: at + bits.len() as u64 - 1, bits: *end });
    Ok(())
}
