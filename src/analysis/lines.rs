//! Rows (output neurons) and columns (inputs) of a tensor's matrix in which every weight sleeps.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::bits;
use crate::tensor::{Layout, Matrix, Shape};

/// The columns of one tensor in which some weight has changed, collected by any number of threads. It is a
/// bitmask like that of a row, combined with each row by OR, so that the order does not matter.
#[derive(Debug)]
pub struct AwakeColumns {
    columns: usize,
    bits: Box<[AtomicU8]>,
}

impl AwakeColumns {
    /// No column has changed. For a vector, or a matrix with one row, nothing is stored: its columns are its
    /// weights. Neither is it for a tensor without weights, which may have more columns than fit into memory.
    pub fn new(shape: &Shape) -> Self {
        let matrix = shape.matrix();
        let own = match shape.rank() {
            0 | 1 => false,
            2 => matrix.rows > 1 && matrix.cols > 0,
            _ => shape.elements() > 0,
        };
        let bytes = if own { matrix.mask_row_bytes() } else { 0 };
        Self { columns: matrix.cols, bits: std::iter::repeat_with(|| AtomicU8::new(0)).take(bytes).collect() }
    }

    /// Marks the columns, from `8 * first_byte` on, whose bit is set in any row of `mask`. Each row has
    /// `width` bytes. `together` is scratch space.
    pub fn wake(&self, first_byte: usize, mask: &[u8], width: usize, together: &mut Vec<u8>) {
        if self.bits.is_empty() || width == 0 {
            return;
        }
        // The rows are combined first, so that the shared bits are accessed once.
        together.clear();
        together.resize(width, 0);
        for row in mask.chunks(width) {
            for (all, row) in together.iter_mut().zip(row) {
                *all |= row;
            }
        }
        for (shared, new) in self.bits[first_byte..].iter().zip(together) {
            // Most columns are marked early. Reading before writing keeps the cache line shared.
            if *new & !shared.load(Ordering::Relaxed) != 0 {
                shared.fetch_or(*new, Ordering::Relaxed);
            }
        }
    }

    /// Number of columns in which every weight sleeps, for a tensor with these counts.
    pub fn sleeping(&self, matrix: Matrix, sleeping_weights: u64) -> u64 {
        match matrix.rows {
            0 => 0,
            _ if self.bits.is_empty() => sleeping_weights,
            _ => {
                let awake: u64 =
                    self.bits.iter().map(|b| u64::from(b.load(Ordering::Relaxed).count_ones())).sum();
                self.columns as u64 - awake
            }
        }
    }

    /// The numbers of outputs and of inputs in which every weight sleeps. If the layout stores outputs or
    /// inputs as rows, their number is `sleeping_rows`; if each is one column, `sleeping_columns`. `None`
    /// below two dimensions, and if by their roles they are neither rows nor columns: then
    /// [`super::AwakeUnits`] has them. The inputs of a convolution are its channels, the outputs its filters.
    pub fn sleeping_outputs_and_inputs(
        &self,
        shape: &Shape,
        layout: Layout,
        sleeping_rows: u64,
        sleeping_columns: u64,
    ) -> Option<(u64, u64)> {
        let asleep = |group: usize, place: &dyn Fn(usize) -> usize, groups: usize| {
            // Without weights, nothing can sleep.
            if shape.elements() == 0 {
                return 0;
            }
            // One bit per column.
            let mut awake = vec![0u8; groups.div_ceil(8)];
            for column in (0..self.columns).filter(|column| self.is_awake(*column)) {
                let group = place(column) / group;
                awake[group / 8] |= 1 << (group % 8);
            }
            groups as u64 - bits::count(&awake)
        };
        match (shape.dims(), layout) {
            ([] | [_], _) | (_, Layout::Roles(_)) => None,
            ([_, _], Layout::OutIn) => Some((sleeping_rows, sleeping_columns)),
            ([_, _], Layout::InOut) => Some((sleeping_columns, sleeping_rows)),
            ([_, inputs, field @ ..], Layout::OutIn) => {
                let receptive = field.iter().product::<usize>().max(1);
                Some((sleeping_rows, asleep(receptive, &|column| column, *inputs)))
            }
            ([.., inputs, outputs], Layout::InOut) => Some((
                asleep(1, &|column| column % outputs, *outputs),
                asleep(*outputs, &|column| column % (inputs * outputs), *inputs),
            )),
        }
    }

    fn is_awake(&self, column: usize) -> bool {
        self.bits.get(column / 8).is_some_and(|byte| byte.load(Ordering::Relaxed) >> (column % 8) & 1 == 1)
    }
}

/// Counts the sleeping rows of a tensor from the numbers of changed weights in its runs, in order. A run
/// consists of whole rows, or is a part of one row.
#[derive(Debug, Default)]
pub struct SleepingRows {
    count: u64,
    /// Changed weights in the current row, while it is incomplete.
    changed: u64,
    columns_seen: usize,
}

impl SleepingRows {
    /// Adds a run of whole rows, of which this many sleep.
    pub fn whole(&mut self, sleeping: u64) {
        self.count += sleeping;
    }

    /// Adds a part of a row.
    pub fn part(&mut self, matrix: Matrix, columns: usize, changed: u64) {
        self.changed += changed;
        self.columns_seen += columns;
        if self.columns_seen == matrix.cols {
            self.count += u64::from(self.changed == 0);
            (self.changed, self.columns_seen) = (0, 0);
        }
    }

    /// Number of rows in which every weight sleeps.
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
        let columns = AwakeColumns::new(&shape(&[3, 10]));
        let mut scratch = vec![0xFF];
        columns.wake(0, &[0b0000_0001, 0, 0b0000_0101, 0], 2, &mut scratch);
        columns.wake(1, &[0b10], 1, &mut scratch);
        assert_eq!(columns.sleeping(matrix, 0), 7);
        let vector = Matrix { rows: 1, cols: 10 };
        let columns = AwakeColumns::new(&shape(&[10]));
        columns.wake(0, &[0xFF, 0x03], 2, &mut scratch);
        assert_eq!(columns.sleeping(vector, 4), 4);
    }

    #[test]
    fn channels_sleep_where_all_of_their_columns_do() {
        let mut scratch = Vec::new();
        // Two filters of three channels, 2 x 2: columns 0 to 3 are channel 0.
        let dims = shape(&[2, 3, 2, 2]);
        let columns = AwakeColumns::new(&dims);
        columns.wake(0, &[0b0010_0000, 0b0000], 2, &mut scratch);
        assert_eq!(columns.sleeping_outputs_and_inputs(&dims, Layout::OutIn, 1, 7), Some((1, 2)));
        // The same bits of [2, 2, 3 in, 1 out] and of [1, 3, 2 in, 2 out].
        let dims = shape(&[2, 4, 3, 1]);
        assert_eq!(columns.sleeping_outputs_and_inputs(&dims, Layout::InOut, 9, 7), Some((0, 2)));
        let dims = shape(&[1, 3, 2, 2]);
        // Column 5 = (1, 0 in, 1 out).
        assert_eq!(columns.sleeping_outputs_and_inputs(&dims, Layout::InOut, 9, 7), Some((1, 1)));
        let dims = shape(&[4, 12]);
        assert_eq!(columns.sleeping_outputs_and_inputs(&dims, Layout::InOut, 3, 11), Some((11, 3)));
        assert_eq!(columns.sleeping_outputs_and_inputs(&shape(&[12]), Layout::OutIn, 0, 0), None);
        let empty = shape(&[2, 3, 0]);
        assert_eq!(
            AwakeColumns::new(&empty).sleeping_outputs_and_inputs(&empty, Layout::OutIn, 0, 0),
            Some((0, 0))
        );
    }

    #[test]
    fn no_memory_for_columns_that_hold_nothing_or_are_told_by_the_weights() {
        let empty = [vec![0, 1 << 58], vec![1 << 58, 0], vec![1 << 30, 0, 1 << 28]];
        for dims in empty.iter().chain([&vec![1, 1 << 40]]) {
            assert_eq!(AwakeColumns::new(&shape(dims)).bits.len(), 0, "{dims:?}");
        }
        let wide = shape(&[1, 1 << 40]);
        let columns = AwakeColumns::new(&wide);
        let sleeping = columns.sleeping(wide.matrix(), 5);
        assert_eq!(sleeping, 5);
        assert_eq!(columns.sleeping_outputs_and_inputs(&wide, Layout::OutIn, 0, sleeping), Some((0, 5)));
        assert_eq!(columns.sleeping_outputs_and_inputs(&wide, Layout::InOut, 0, sleeping), Some((5, 0)));
        let none = shape(&[1 << 30, 0, 1 << 28]);
        let columns = AwakeColumns::new(&none);
        assert_eq!(columns.sleeping_outputs_and_inputs(&none, Layout::OutIn, 0, 0), Some((0, 0)));
    }

    fn shape(dims: &[usize]) -> Shape {
        Shape::new(dims.to_vec()).unwrap()
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
