//! Rows (output neurons) and columns (inputs) of a tensor's matrix in which every weight sleeps.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::tensor::Matrix;

/// The columns of one tensor in which some weight has changed, gathered from any number of threads: a bitmask like a
/// row's, into which rows are or-ed, which gives the same in any order.
#[derive(Debug)]
pub struct AwakeColumns {
    columns: usize,
    bits: Box<[AtomicU8]>,
}

impl AwakeColumns {
    /// All columns asleep. A matrix of one row needs no set of its own: its columns are its weights.
    pub fn new(matrix: Matrix) -> Self {
        let bytes = if matrix.rows > 1 { matrix.mask_row_bytes() } else { 0 };
        Self { columns: matrix.cols, bits: std::iter::repeat_with(|| AtomicU8::new(0)).take(bytes).collect() }
    }

    /// Marks the columns from `8 * first_byte` on whose bit is set in any of the rows of `mask`, each `width` bytes wide.
    /// `together` is scratch space.
    pub fn wake(&self, first_byte: usize, mask: &[u8], width: usize, together: &mut Vec<u8>) {
        if self.bits.is_empty() || width == 0 {
            return;
        }
        // The rows first among themselves: one look at the shared bits for all of them.
        together.clear();
        together.resize(width, 0);
        for row in mask.chunks(width) {
            for (all, row) in together.iter_mut().zip(row) {
                *all |= row;
            }
        }
        for (shared, new) in self.bits[first_byte..].iter().zip(together) {
            // Most columns wake early: looking before writing keeps the cache line shared.
            if *new & !shared.load(Ordering::Relaxed) != 0 {
                shared.fetch_or(*new, Ordering::Relaxed);
            }
        }
    }

    /// Columns whose every weight sleeps, for a tensor with these counts.
    pub fn sleeping(&self, matrix: Matrix, sleeping_weights: u64) -> u64 {
        match matrix.rows {
            0 => 0,
            1 => sleeping_weights,
            _ => {
                let awake: u64 =
                    self.bits.iter().map(|b| u64::from(b.load(Ordering::Relaxed).count_ones())).sum();
                self.columns as u64 - awake
            }
        }
    }
}

/// Counts the sleeping rows of a tensor from the changed weights of its runs, in order. A run holds whole rows, or a
/// part of one.
#[derive(Debug, Default)]
pub struct SleepingRows {
    count: u64,
    /// Changed weights of the row begun, while it is incomplete.
    changed: u64,
    columns_seen: usize,
}

impl SleepingRows {
    /// A run of whole rows, of which this many sleep.
    pub fn whole(&mut self, sleeping: u64) {
        self.count += sleeping;
    }

    /// A part of a row, in order.
    pub fn part(&mut self, matrix: Matrix, columns: usize, changed: u64) {
        self.changed += changed;
        self.columns_seen += columns;
        if self.columns_seen == matrix.cols {
            self.count += u64::from(self.changed == 0);
            (self.changed, self.columns_seen) = (0, 0);
        }
    }

    /// Rows whose every weight sleeps.
    pub fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_wake_from_any_row() {
        let matrix = Matrix { rows: 3, cols: 10 };
        let columns = AwakeColumns::new(matrix);
        let mut scratch = vec![0xFF];
        columns.wake(0, &[0b0000_0001, 0, 0b0000_0101, 0], 2, &mut scratch);
        columns.wake(1, &[0b10], 1, &mut scratch);
        assert_eq!(columns.sleeping(matrix, 0), 7);
        let vector = Matrix { rows: 1, cols: 10 };
        let columns = AwakeColumns::new(vector);
        columns.wake(0, &[0xFF, 0x03], 2, &mut scratch);
        assert_eq!(columns.sleeping(vector, 4), 4);
    }

    #[test]
    fn rows_may_come_whole_or_in_parts() {
        let matrix = Matrix { rows: 3, cols: 10 };
        let mut rows = SleepingRows::default();
        rows.part(matrix, 6, 0);
        rows.part(matrix, 4, 1);
        rows.part(matrix, 6, 0);
        rows.part(matrix, 4, 0);
        rows.whole(1);
        assert_eq!(rows.count(), 2);
    }
}
