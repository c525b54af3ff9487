//! Work in blocks. A block is a run of elements of one tensor: some whole rows, or a part of one row.
//!
//! Blocks depend only on the shape of the tensor, and results are returned and merged in block order.
//! Therefore, the number of workers never affects the result.

use crate::checkpoint::{Mapped, read_ahead, release};
use crate::init::{Initial, Whole};
use crate::lock::Spare;
use crate::prelude::*;
use crate::tensor::Matrix;
use crate::workers::Workers;

/// Maximum number of elements of a block. A multiple of 16, so that a part of a row begins at a byte of its
/// bitmask and at a pair of draws.
pub const BLOCK_ELEMENTS: usize = 1 << 16;

/// A run of elements of one tensor in storage order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Index of the tensor in the list of the caller.
    pub tensor: usize,
    /// First element.
    pub start: usize,
    /// Number of elements, at least 1.
    pub len: usize,
}

impl Block {
    /// The bytes of the block within the data of its tensor; `size` is the number of bytes of an element.
    pub fn bytes(&self, size: usize) -> core::ops::Range<usize> {
        self.start * size..(self.start + self.len) * size
    }

    /// Row of the first element.
    pub fn row(&self, matrix: Matrix) -> usize {
        self.start / matrix.cols
    }

    /// Column of the first element; 0 unless the block is a later part of a row.
    pub fn column(&self, matrix: Matrix) -> usize {
        self.start % matrix.cols
    }

    /// Whether the block holds whole rows.
    pub fn whole_rows(&self, matrix: Matrix) -> bool {
        self.column(matrix) == 0 && self.len >= matrix.cols
    }

    /// The bytes of the block within the bitmask of its tensor.
    pub fn mask_bytes(&self, matrix: Matrix) -> core::ops::Range<usize> {
        let width = matrix.mask_row_bytes();
        let start = self.row(matrix) * width + self.column(matrix) / 8;
        let len = if self.whole_rows(matrix) { self.len / matrix.cols * width } else { self.len.div_ceil(8) };
        start..start + len
    }

    /// Number of columns: those of a whole row, or of the part of a row.
    pub fn columns(&self, matrix: Matrix) -> usize {
        matrix.cols.min(self.len)
    }
}

/// Divides a tensor into blocks, in storage order. `tensor` is its index in the list of the caller.
pub fn cut(tensor: usize, matrix: Matrix) -> impl Iterator<Item = Block> {
    let Matrix { rows, cols } = matrix;
    let rows_at_once = BLOCK_ELEMENTS.checked_div(cols).unwrap_or(0);
    // Blocks are cut from lines, each a whole tensor of short rows, or one long row.
    let (line, lines, step) =
        if rows_at_once > 0 { (rows * cols, 1, rows_at_once * cols) } else { (cols, rows, BLOCK_ELEMENTS) };
    // A file can declare any number of rows without columns, because they take no bytes.
    let lines = if cols == 0 { 0 } else { lines };
    (0..lines).flat_map(move |n| {
        (0..line).step_by(step.max(1)).map(move |at| Block {
            tensor,
            start: n * line + at,
            len: step.min(line - at),
        })
    })
}

/// The data that an item of work reads.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reads<'a> {
    /// Its share of the progress, in bytes.
    pub bytes: u64,
    /// Parts of mapped files.
    pub mapped: [Option<Mapped<'a>>; 4],
    /// Initial values that can only be generated as a whole.
    pub whole: Option<&'a Whole>,
}

impl<'a> Reads<'a> {
    /// An item that reads one part of a file. The size of the part is its share of the progress.
    pub fn of(part: Mapped<'a>) -> Self {
        Self { bytes: part.len() as u64, mapped: [Some(part), None, None, None], whole: None }
    }

    /// Adds the source of a block's initial values.
    ///
    /// # Panics
    /// If the values are read from a file and the item already reads four parts.
    #[must_use]
    pub fn and_initial(mut self, initial: &'a Initial<'_>, block: &Block) -> Self {
        match initial {
            Initial::Generated { generator, .. } => self.whole = generator.whole(),
            Initial::Stored { data, dtype, .. } => {
                let free = self.mapped.iter_mut().find(|part| part.is_none());
                *free.expect("an item reads four parts at the most") =
                    Some(data.part(block.bytes(dtype.size())));
            }
        }
        self
    }

    fn is_distant(&self) -> bool {
        self.mapped.iter().flatten().any(|part| part.is_distant())
    }

    fn mapped_bytes(&self) -> usize {
        self.mapped.iter().flatten().map(|part| part.len()).sum()
    }
}

/// Bytes of mapped files that may be read, per worker, before their memory is released. Large enough that
/// waiting for the last worker costs little time, small compared with the memory of the program.
const WINDOW_PER_WORKER: usize = 8 << 20;
const LARGEST_WINDOW: usize = 128 << 20;
/// Maximum number of items in a window, per worker. Results of very small items take more memory than what
/// they read.
const ITEMS_PER_WORKER: usize = 1 << 12;

/// Bytes in stores that are read before they are needed. At 1 GB/s and 100 ms until an answer begins, as much
/// is on its way.
const AHEAD: usize = 128 << 20;

/// Runs `work` on every item (a block, or a block with additional data), shared among `workers`,
/// each with its own scratch space, which holds what earlier items left there. The results are in
/// the order of the items.
///
/// The memory of the mapped files that the items read is released after use. Initial values that can only be
/// generated as a whole are generated before the first item that needs them, and released after the last; the
/// items of one such tensor must be consecutive. `advance` receives each item's share of the progress.
///
/// # Errors
/// Of the errors that occurred, that of the first item in order.
pub fn for_each<'a, T, S, R, E>(
    workers: &impl Workers,
    items: &[T],
    advance: impl Fn(u64) + Sync + Send,
    reads: impl Fn(&T) -> Reads<'a> + Sync + Send,
    scratch: impl Fn() -> S + Sync + Send,
    work: impl Fn(&mut S, &T) -> Result<R, E> + Sync + Send,
) -> Result<Vec<R>, E>
where
    T: Sync,
    S: Send,
    R: Send,
    E: Send,
{
    let spare = Spare::default();
    let window = (WINDOW_PER_WORKER * workers.count()).min(LARGEST_WINDOW);
    let most = ITEMS_PER_WORKER * workers.count();
    let mut results = Vec::with_capacity(items.len());
    let mut rest = items;
    // Matrices that the last item needed, and that later items may need too.
    let mut held: Option<&Whole> = None;
    while !rest.is_empty() {
        let mut bytes = 0;
        let mut last = held;
        let mut distant = false;
        let mut fits = |item: &T| {
            let reads = reads(item);
            distant |= reads.is_distant();
            bytes += reads.mapped_bytes();
            if let Some(whole) = reads.whole.filter(|whole| !same(last, Some(whole))) {
                bytes += whole.bytes();
                last = Some(whole);
            }
            bytes <= window
        };
        let (now, later) = rest.split_at(rest.iter().take(most).take_while(|item| fits(item)).count().max(1));
        now.iter().filter_map(|item| reads(item).whole).for_each(|whole| whole.prepare_on(workers));
        if distant {
            read_ahead(coming(rest, &reads));
        }
        let results_of = workers.map(
            now,
            || spare.take(&scratch),
            |scratch, item| {
                let result = work(scratch, item)?;
                advance(reads(item).bytes);
                Ok(result)
            },
        );
        results.extend(results_of?);
        release(now.iter().flat_map(|item| reads(item).mapped).flatten());
        held = later.first().and_then(|item| reads(item).whole);
        now.iter()
            .filter_map(|item| reads(item).whole)
            .filter(|whole| !same(held, Some(whole)))
            .for_each(Whole::release);
        rest = later;
    }
    Ok(results)
}

/// What the first of these items read, up to [`AHEAD`] bytes.
fn coming<'a, T>(items: &[T], reads: &impl Fn(&T) -> Reads<'a>) -> impl Iterator<Item = Mapped<'a>> {
    let mut bytes = 0;
    let read = items.iter().map(reads).take_while(move |reads| {
        bytes += reads.mapped_bytes();
        bytes <= AHEAD
    });
    read.flat_map(|reads| reads.mapped).flatten()
}

fn same(a: Option<&Whole>, b: Option<&Whole>) -> bool {
    a.map(core::ptr::from_ref) == b.map(core::ptr::from_ref)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cuts(rows: usize, cols: usize) -> Vec<(usize, usize)> {
        cut(0, Matrix { rows, cols }).map(|b| (b.start, b.len)).collect()
    }

    #[test]
    fn short_rows_go_together_long_ones_in_parts() {
        assert_eq!(cuts(5, 20_000), [(0, 60_000), (60_000, 40_000)]);
        assert_eq!(cuts(2, 70_000), [(0, 65_536), (65_536, 4_464), (70_000, 65_536), (135_536, 4_464)]);
        assert_eq!(cuts(1, 65_536), [(0, 65_536)]);
        assert_eq!(cuts(0, 5), []);
        assert_eq!(cuts(5, 0), []);
        assert_eq!(cuts(1 << 60, 0), []);
    }

    #[test]
    fn masks_of_blocks_tile_the_mask() {
        for matrix in [Matrix { rows: 7, cols: 20_001 }, Matrix { rows: 3, cols: 70_001 }] {
            let mut end = 0;
            for block in cut(0, matrix) {
                let mask = block.mask_bytes(matrix);
                assert_eq!(mask.start, end);
                end = mask.end;
            }
            assert_eq!(end, matrix.mask_bytes());
        }
    }
}
