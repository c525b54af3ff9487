//! Heat maps of |delta|: a small separate pass over the few rows that they show, only if they are requested.

use std::collections::BTreeMap;

use super::blocks::{self, Block};
use super::error::Error;
use super::progress::Progress;
use super::task::{Tasks, TensorTask};
use crate::analysis::{Cell, Grid, HeatMap, Tally};

/// A tensor with a heat map.
struct Drawn<'a> {
    task: &'a TensorTask<'a>,
    grid: Grid,
}

/// Cells of one row that are computed together.
struct Run {
    /// The weights of the cells.
    block: Block,
    cells: std::ops::Range<usize>,
}

/// The heat maps of the trained checkpoint's tensors, in name order: one for each tensor that is compared and
/// not empty, as large as the number of tensors allows. `cells` has the cells of each, by the index of the
/// tensor.
pub(super) fn heat_maps(tasks: &Tasks<'_>, mut cells: BTreeMap<usize, Vec<Cell>>) -> Vec<Option<HeatMap>> {
    let mut maps: Vec<Option<HeatMap>> = vec![None; tasks.tensors()];
    for Drawn { task, grid } in drawn(tasks) {
        let cells = cells.remove(&task.n).filter(|cells| cells.len() == grid.cells());
        maps[task.n] = cells.map(|cells| HeatMap { grid, layout: task.layout, cells });
    }
    maps
}

/// The cells of the heat maps of those tensors that `owns` names, by the index of the tensor.
///
/// # Errors
/// None of its own.
pub(super) fn draw(
    tasks: &Tasks<'_>,
    owns: impl Fn(&str) -> bool,
    progress: &dyn Progress,
) -> Result<BTreeMap<usize, Vec<Cell>>, Error> {
    let drawn: Vec<Drawn<'_>> = drawn(tasks).into_iter().filter(|drawn| owns(drawn.task.name)).collect();
    let cells = cells(&drawn, progress)?;
    Ok(drawn.iter().map(|drawn| drawn.task.n).zip(cells).collect())
}

/// The tensors with a heat map.
fn drawn<'a>(tasks: &'a Tasks<'_>) -> Vec<Drawn<'a>> {
    let compared: Vec<&TensorTask<'_>> =
        tasks.iter().filter(|task| task.initial.is_some() && task.elements() > 0).collect();
    let matrices: Vec<_> = compared.iter().map(|task| task.matrix).collect();
    let grids = Grid::of_all(&matrices).into_iter().zip(compared);
    grids.filter_map(|(grid, task)| Some(Drawn { task, grid: grid? })).collect()
}

/// The cells of every map.
fn cells(drawn: &[Drawn<'_>], progress: &dyn Progress) -> Result<Vec<Vec<Cell>>, Error> {
    let of = |(at, drawn): (usize, &Drawn<'_>)| {
        runs(drawn.task.n, drawn.grid).map(move |run| (at, run)).collect::<Vec<_>>()
    };
    let work: Vec<(usize, Run)> = drawn.iter().enumerate().flat_map(of).collect();
    let bytes = |(at, run): &(usize, Run)| (run.block.len * drawn[*at].task.dtype.size()) as u64;
    progress.begin("heat maps", work.iter().map(bytes).sum());
    let cells: Vec<Vec<Cell>> = blocks::for_each(
        &work,
        progress,
        |(at, run)| drawn[*at].task.reads(&run.block),
        Scratch::default,
        |scratch, (at, run)| {
            let drawn = &drawn[*at];
            let row = run.block.start - run.block.column(drawn.grid.matrix);
            Ok::<_, Error>(run.cells.clone().map(|n| cell(drawn, row, n, scratch)).collect())
        },
    )?;
    progress.end();
    let mut all: Vec<Vec<Cell>> = drawn.iter().map(|of| Vec::with_capacity(of.grid.cells())).collect();
    for ((at, _), cells) in work.iter().zip(cells) {
        all[*at].extend(cells);
    }
    Ok(all)
}

/// The runs of cells of tensor number `tensor`, in order: whole rows, or as many cells of a row as fit into a
/// block, but at least one.
fn runs(tensor: usize, grid: Grid) -> impl Iterator<Item = Run> {
    let widest = grid.matrix.cols.div_ceil(grid.columns);
    let at_once = (blocks::BLOCK_ELEMENTS / widest).clamp(1, grid.columns);
    (0..grid.rows).flat_map(move |n| {
        let row = grid.row(n) * grid.matrix.cols;
        (0..grid.columns).step_by(at_once).map(move |first| {
            let cells = first..(first + at_once).min(grid.columns);
            let (start, end) = (grid.columns_of(first).start, grid.columns_of(cells.end - 1).end);
            Run { block: Block { tensor, start: row + start, len: end - start }, cells }
        })
    })
}

#[derive(Default)]
struct Scratch {
    initial: Vec<f64>,
    changed: Vec<u8>,
}

/// Cell `n` of the row whose first element is `row`.
fn cell(drawn: &Drawn<'_>, row: usize, n: usize, scratch: &mut Scratch) -> Cell {
    let Scratch { initial, changed } = scratch;
    let Drawn { task, grid } = drawn;
    let (size, comparison) = (task.dtype.size(), task.comparison());
    let columns = grid.columns_of(n);
    let start = row + columns.start;
    let block = Block { tensor: task.n, start, len: columns.len() };
    let piece = task.piece(block.len).min(blocks::BLOCK_ELEMENTS);
    initial.resize(piece, 0.0);
    changed.resize(piece.div_ceil(8), 0);
    let mut tally = Tally::default();
    for (n, bytes) in task.values(&block).bytes().chunks(piece * size).enumerate() {
        let len = bytes.len() / size;
        let initial = &mut initial[..len];
        task.fill(start + n * piece, initial);
        tally.add(&comparison, bytes, initial, &mut changed[..len.div_ceil(8)]);
    }
    Cell::new(&tally.stats())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Matrix;

    fn cut(rows: usize, cols: usize, most: (usize, usize)) -> Vec<(usize, usize, std::ops::Range<usize>)> {
        let grid = Grid::new(Matrix { rows, cols }, most);
        runs(0, grid).map(|run| (run.block.start, run.block.len, run.cells)).collect()
    }

    #[test]
    fn rows_go_whole_long_ones_in_runs_of_cells() {
        assert_eq!(cut(4, 10, (2, 5)), [(10, 10, 0..5), (30, 10, 0..5)]);
        assert_eq!(
            cut(1, 200_000, (9, 4)),
            [(0, 50_000, 0..1), (50_000, 50_000, 1..2), (100_000, 50_000, 2..3), (150_000, 50_000, 3..4)]
        );
        assert_eq!(cut(1, 100_000, (9, 4)), [(0, 50_000, 0..2), (50_000, 50_000, 2..4)]);
        // A cell larger than a block.
        assert_eq!(cut(1, 200_000, (1, 2)), [(0, 100_000, 0..1), (100_000, 100_000, 1..2)]);
    }
}
