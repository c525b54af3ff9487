//! Pruned tensors into their parts: kept values gathered and cast, pruned places filled, block by block.

use super::blocks::{self, BLOCK_ELEMENTS, Block, Reads};
use super::compare::Masks;
use super::encoder::{Encoder, PIECE};
use super::error::Error;
use super::origin::{Action, Tensor};
use super::progress::Progress;
use super::prune::PrunedResult;
use super::resolve::Resolved;
use super::survey::Judgement;
use crate::bits;
use crate::checkpoint::{CheckpointError, Mapped};
use crate::config::PruneSettings;
use crate::init::Initial;
use crate::sparse::{Fill, Format, bitmask, csr, fillmask, suffixes};
use crate::store::{CheckpointWriter, Slot};
use crate::tensor::{FloatDtype, Matrix, cast};

struct Job<'a> {
    matrix: Matrix,
    /// The trained tensor's type.
    dtype: FloatDtype,
    /// The type of the values written.
    written: FloatDtype,
    trained: Mapped<'a>,
    /// Start of its mask in the spool.
    mask_at: u64,
    /// Initial values, where pruned places take them here or may take them at restore.
    initial: Option<Initial<'a>>,
    from: Option<(Mapped<'a>, FloatDtype)>,
    decay: f64,
    nearest: bool,
    target: Target,
}

enum Target {
    Dense(Slot),
    Bitmask { mask: Slot, values: Slot, row_offsets: Slot, fill: Option<Slot> },
    Csr { crow: Slot, columns: Slot, values: Slot, fill: Option<Slot> },
}

impl Job<'_> {
    fn reads(&self, block: &Block) -> Reads<'_> {
        let trained = self.trained.part(block.bytes(self.dtype.size()));
        let initial = self.initial.as_ref().and(self.from);
        let initial = initial.map(|(from, dtype)| from.part(block.bytes(dtype.size())));
        let whole = self.initial.as_ref().and_then(Initial::whole);
        Reads { mapped: [Some(trained), initial, None, None], whole, ..Reads::of(trained) }
    }
}

/// A byte that two blocks share: each gives its own bits.
struct Edge {
    slot: Slot,
    at: u64,
    bits: u8,
}

/// What a block leaves to be put together in order.
#[derive(Default)]
struct Left {
    overflowed: u64,
    edges: Vec<Edge>,
}

/// What pruned tensors are written from, and where to.
pub(super) struct Encoding<'a> {
    pub resolved: &'a Resolved<'a>,
    pub judgement: &'a Judgement,
    pub prune: &'a PruneSettings,
    pub masks: &'a Masks,
    pub writer: &'a CheckpointWriter,
    pub progress: &'a dyn Progress,
}

/// Writes the pruned tensors whose places `here` takes, and notes in `results` how many values were cast beyond their type's
/// range.
pub(super) fn encode_pruned(
    encoding: &Encoding<'_>,
    results: &mut [PrunedResult],
    here: impl Fn(usize) -> bool,
) -> Result<(), Error> {
    let Encoding { resolved, judgement, prune, masks, writer, progress } = *encoding;
    let (checkpoint, tensors) = resolved.trained()?;
    let mut jobs: Vec<Option<Job<'_>>> = Vec::with_capacity(tensors.len());
    for (n, ((name, tensor), (_, data))) in tensors.iter().zip(checkpoint.tensors()).enumerate() {
        let (Action::Prune, Some(dtype), true) =
            (tensor.action, FloatDtype::of(tensor.dtype), here(n) && !results[n].smaller)
        else {
            jobs.push(None);
            continue;
        };
        let format = results[n].format;
        let takes = match prune.fill {
            Fill::Zero => false,
            Fill::Init => format == Format::Dense,
            Fill::Nearest => true,
        };
        jobs.push(Some(Job {
            matrix: tensor.shape.matrix(),
            dtype,
            written: prune.dtype.unwrap_or(dtype),
            trained: data.data,
            mask_at: masks.starts[n],
            initial: if takes { resolved.initial(name, tensor) } else { None },
            from: resolved.initial_data(name, tensor),
            decay: judgement.tensors[n].decay,
            nearest: prune.fill == Fill::Nearest,
            target: target(name, tensor, format, prune.fill, masks.stored[n], writer)?,
        }));
    }
    let blocks: Vec<(Block, usize)> =
        masks.blocks.iter().filter(|(block, _)| jobs[block.tensor].is_some()).copied().collect();
    let left = blocks::for_each(
        &blocks,
        progress,
        |(block, _)| jobs[block.tensor].as_ref().map(|job| job.reads(block)).unwrap_or_default(),
        Scratch::default,
        |scratch, (block, before)| match &jobs[block.tensor] {
            Some(job) => encode_block(job, block, *before, masks, writer, scratch),
            None => Ok(Left::default()),
        },
    )?;
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

/// The places of a tensor's parts, of which those that no block writes are written here.
fn target(
    name: &str,
    tensor: &Tensor,
    format: Format,
    fill: Fill,
    stored: usize,
    writer: &CheckpointWriter,
) -> Result<Target, CheckpointError> {
    let suffixes = suffixes(format);
    let part = |n: usize| writer.slot(&format!("{name}{}", suffixes[n]));
    let matrix = tensor.shape.matrix();
    if format == Format::Dense {
        return Ok(Target::Dense(writer.slot(name)));
    }
    let shape: Vec<u8> = tensor.shape.dims().iter().flat_map(|d| (*d as i64).to_le_bytes()).collect();
    writer.write_at(part(0), 0, &shape)?;
    let fill = (fill == Fill::Nearest).then(|| part(4));
    let target = match format {
        Format::Csr => Target::Csr { crow: part(1), columns: part(2), values: part(3), fill },
        _ => Target::Bitmask { mask: part(1), values: part(2), row_offsets: part(3), fill },
    };
    let offsets = match target {
        Target::Csr { crow, .. } => {
            writer.write_at(crow, 8 * matrix.rows as u64, &(stored as u64).to_le_bytes())?;
            Some(crow)
        }
        Target::Bitmask { row_offsets, .. } => Some(row_offsets),
        Target::Dense(_) => None,
    };
    if let (Some(offsets), 0) = (offsets, matrix.cols) {
        // Rows without columns have no block to write their offsets.
        let zeros = vec![0; 8 * matrix.rows.min(BLOCK_ELEMENTS)];
        for row in (0..matrix.rows).step_by(BLOCK_ELEMENTS) {
            let rows = BLOCK_ELEMENTS.min(matrix.rows - row);
            writer.write_at(offsets, 8 * row as u64, &zeros[..8 * rows])?;
        }
    }
    Ok(target)
}

#[derive(Default)]
struct Scratch {
    mask: Vec<u8>,
    encoder: Encoder,
    nearer: Nearer,
    /// Kept values in the trained type, and in the type written.
    kept: Vec<u8>,
    values: Vec<u8>,
    out: Vec<u8>,
}

/// Which places of a block take their initial value: one bit an element, without regard to rows.
#[derive(Default)]
struct Nearer {
    trained: Vec<f64>,
    initial: Vec<f64>,
    bits: Vec<u8>,
}

impl Nearer {
    fn find(&mut self, trained: &[u8], initial: &[u8], dtype: FloatDtype) -> &[u8] {
        let Self { trained: w, initial: w0, bits } = self;
        let size = dtype.size();
        bits.clear();
        bits.resize((trained.len() / size).div_ceil(8), 0);
        let pieces = trained.chunks(PIECE * size).zip(initial.chunks(PIECE * size));
        for ((trained, initial), bits) in pieces.zip(bits.chunks_mut(PIECE / 8)) {
            w.resize(trained.len() / size, 0.0);
            w0.resize(trained.len() / size, 0.0);
            dtype.decode(trained, w);
            dtype.decode(initial, w0);
            for (n, (w, w0)) in w.iter().zip(&*w0).enumerate() {
                bits[n / 8] |= u8::from(fillmask::takes_initial(*w, *w0)) << (n % 8);
            }
        }
        bits
    }
}

fn encode_block(
    job: &Job<'_>,
    block: &Block,
    before: usize,
    masks: &Masks,
    writer: &CheckpointWriter,
    scratch: &mut Scratch,
) -> Result<Left, CheckpointError> {
    let Scratch { mask, encoder, nearer, kept, values, out } = scratch;
    let places = block.mask_bytes(job.matrix);
    mask.resize(places.len(), 0);
    masks.spool.read(job.mask_at + places.start as u64, mask)?;
    let trained = job.trained.part(block.bytes(job.dtype.size())).bytes();
    let columns = block.columns(job.matrix);
    let size = job.written.size();

    bitmask::gather(trained, columns, mask, job.dtype, kept);
    values.clear();
    let mut left = Left { overflowed: cast(kept, job.dtype, job.written, values), ..Left::default() };
    let initial = job
        .initial
        .as_ref()
        .map(|initial| encoder.encode(initial, block.start, block.len, job.dtype, job.decay));
    let takes = match &initial {
        Some(initial) if job.nearest => Some(nearer.find(trained, initial, job.dtype)),
        _ => None,
    };
    let fill_bits = |slot: &Option<Slot>, left: &mut Left, out: &mut Vec<u8>| match (slot, takes) {
        (Some(slot), Some(takes)) => {
            let first = block.start - before;
            fillmask::gather(takes, mask, columns, first, out);
            write_fill(*slot, first, out, left, writer)
        }
        _ => Ok(()),
    };
    match &job.target {
        Target::Dense(slot) => {
            out.clear();
            match initial {
                Some(initial) => {
                    if let Some(takes) = takes {
                        fillmask::clear_unless(takes, job.dtype.size(), initial);
                    }
                    cast(initial, job.dtype, job.written, out);
                }
                None => out.resize(block.len * size, 0),
            }
            bitmask::scatter(values, columns, mask, job.written, out);
            writer.write_at(*slot, block.bytes(size).start as u64, out)?;
        }
        Target::Bitmask { mask: mask_slot, values: values_slot, row_offsets, fill } => {
            writer.write_at(*mask_slot, places.start as u64, mask)?;
            writer.write_at(*values_slot, (before * size) as u64, values)?;
            fill_bits(fill, &mut left, out)?;
            write_offsets(job, block, before, mask, *row_offsets, writer, out)?;
        }
        Target::Csr { crow, columns: columns_slot, values: values_slot, fill } => {
            out.clear();
            csr::columns(mask, job.matrix, columns, block.column(job.matrix), out);
            writer.write_at(*columns_slot, (before * csr::index_size(job.matrix)) as u64, out)?;
            writer.write_at(*values_slot, (before * size) as u64, values)?;
            fill_bits(fill, &mut left, out)?;
            write_offsets(job, block, before, mask, *crow, writer, out)?;
        }
    }
    Ok(left)
}

/// The stored values before each row that begins in the block.
fn write_offsets(
    job: &Job<'_>,
    block: &Block,
    before: usize,
    mask: &[u8],
    slot: Slot,
    writer: &CheckpointWriter,
    out: &mut Vec<u8>,
) -> Result<(), CheckpointError> {
    if block.column(job.matrix) > 0 {
        return Ok(());
    }
    out.clear();
    let mut offset = before as u64;
    let rows = if block.whole_rows(job.matrix) { block.len / job.matrix.cols } else { 1 };
    for row in mask.chunks(block.columns(job.matrix).div_ceil(8)).take(rows) {
        out.extend(offset.to_le_bytes());
        offset += bits::count(row);
    }
    writer.write_at(slot, 8 * block.row(job.matrix) as u64, out)
}

/// Writes the bits of a block's pruned places, which begin at bit `first`: whole bytes at once, while those at either end,
/// which another block may share, are left.
fn write_fill(
    slot: Slot,
    first: usize,
    bits: &[u8],
    left: &mut Left,
    writer: &CheckpointWriter,
) -> Result<(), CheckpointError> {
    let at = first as u64 / 8;
    let [begin, .., end] = bits else {
        left.edges.extend(bits.first().map(|bits| Edge { slot, at, bits: *bits }));
        return Ok(());
    };
    writer.write_at(slot, at + 1, &bits[1..bits.len() - 1])?;
    left.edges.push(Edge { slot, at, bits: *begin });
    left.edges.push(Edge { slot, at: at + bits.len() as u64 - 1, bits: *end });
    Ok(())
}
