//! Checks that the parts of an encoded tensor are consistent, on all workers.

use crate::blocks::{self, Block, Reads};
use crate::checkpoint::{Mapped, TensorRef};
use crate::prelude::*;
use crate::sparse::bitmask::{BitmaskError, CheckedRun};
use crate::sparse::csr::{self, CsrError};
use crate::sparse::offsets::Offsets;
use crate::tensor::Matrix;
use crate::workers::Workers;

/// Checks a bitmask against its row offsets, if it has any, and the number of values. Returns the number of
/// values stored before each block, and then their total.
pub(super) fn check_bitmask(
    workers: &impl Workers,
    matrix: Matrix,
    mask: Mapped<'_>,
    row_offsets: &TensorRef<'_>,
    stored: usize,
) -> Result<Vec<usize>, BitmaskError> {
    let all = Offsets::new(row_offsets.bytes(), row_offsets.dtype);
    // Bytes of an offset; 0 if there are none.
    let size = if all.count() > 0 { row_offsets.dtype.bitsize() / 8 } else { 0 };
    let blocks: Vec<Block> = blocks::cut(0, matrix).collect();
    let offsets = |block: &Block| {
        let rows = if block.whole_rows(matrix) { block.len / matrix.cols } else { 1 };
        let rows = if block.column(matrix) > 0 { 0 } else { rows };
        let first = block.row(matrix);
        row_offsets.data.part(size * first..size * (first + rows))
    };
    let bits = |block: &Block| mask.part(block.mask_bytes(matrix));
    let runs: Result<Vec<CheckedRun>, BitmaskError> = blocks::for_each(
        workers,
        &blocks,
        |_| (),
        |block| Reads { mapped: [Some(bits(block)), Some(offsets(block)), None, None], ..Reads::default() },
        || (),
        |(), block| {
            let (row, cols) = (block.row(matrix), block.columns(matrix));
            let ends_rows = block.column(matrix) + cols == matrix.cols;
            let part = offsets(block);
            let offsets = Offsets::new(part.bytes(), row_offsets.dtype);
            Ok(CheckedRun::new(matrix, row, cols, ends_rows, bits(block).bytes(), offsets))
        },
    );
    let mut runs = runs?;
    if blocks.is_empty() {
        // Rows without columns: only their offsets can be wrong.
        runs.push(CheckedRun::new(matrix, 0, 0, false, &[], Offsets::new(&[], row_offsets.dtype)));
        if let Some((row, got)) = all.iter().enumerate().find(|(_, offset)| *offset != 0) {
            return Err(BitmaskError::RowOffset { row, expected: 0, got });
        }
    }
    let mut before = CheckedRun::join(&runs, stored)?;
    before.push(stored);
    Ok(before)
}

/// Checks the rows and columns of a CSR tensor against each other and against the number of values. Nothing
/// is kept for its blocks, because there may be more blocks than the file has bytes.
pub(super) fn check_csr(
    workers: &impl Workers,
    matrix: Matrix,
    crow: Offsets<'_>,
    indices: Mapped<'_>,
    stored: usize,
) -> Result<(), CsrError> {
    const RUN: usize = 1 << 16;
    csr::check_rows(crow, stored)?;
    let runs: Vec<(usize, usize)> =
        (0..stored).step_by(RUN).map(|from| (from, (from + RUN).min(stored))).collect();
    let size = csr::index_size(matrix);
    let found: Vec<Result<(), CsrError>> = blocks::for_each(
        workers,
        &runs,
        |_| (),
        |(from, to)| Reads::of(indices.part(from * size..to * size)),
        || (),
        |(), (from, to)| Ok::<_, CsrError>(csr::check_columns(crow, indices.bytes(), matrix, *from, *to)),
    )?;
    // Reports the first error in order, whichever worker was first to find one.
    found.into_iter().collect()
}
