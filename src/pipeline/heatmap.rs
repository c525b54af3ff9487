//! The heat maps of |delta|: a small pass of its own over the few rows that they show, run only where they are asked for.

use super::blocks::{self, Block, Reads};
use super::encoder;
use super::error::Error;
use super::progress::Progress;
use super::resolve::Resolved;
use super::survey::Judgement;
use crate::analysis::{Cell, Comparison, Grid, HeatMap, Tally};
use crate::checkpoint::Mapped;
use crate::init::Initial;
use crate::tensor::{FloatDtype, Layout};

struct Job<'a> {
    grid: Grid,
    layout: Layout,
    dtype: FloatDtype,
    trained: Mapped<'a>,
    initial: Initial<'a>,
    from: Option<(Mapped<'a>, FloatDtype)>,
    comparison: Comparison,
}

/// Cells of one row that are computed together.
struct Run {
    /// Their weights.
    block: Block,
    cells: std::ops::Range<usize>,
}

/// The maps of the trained checkpoint's tensors in name order: one for each that is compared and has a weight, as large as
/// their number allows.
///
/// # Errors
/// [`Error::TrainedMissing`] where there is no trained checkpoint yet.
pub fn heat_maps(
    resolved: &Resolved<'_>,
    judgement: &Judgement,
    progress: &dyn Progress,
) -> Result<Vec<Option<HeatMap>>, Error> {
    let (checkpoint, tensors) = resolved.trained()?;
    let mut maps: Vec<Option<HeatMap>> = vec![None; tensors.len()];
    let mut compared = Vec::new();
    for (n, ((name, tensor), (_, data))) in tensors.iter().zip(checkpoint.tensors()).enumerate() {
        if let (Some(dtype), Some(initial)) = (FloatDtype::of(tensor.dtype), resolved.initial(name, tensor))
            && tensor.shape.elements() > 0
        {
            compared.push((n, name, tensor, data.data, dtype, initial));
        }
    }
    let matrices: Vec<_> = compared.iter().map(|(_, _, tensor, ..)| tensor.shape.matrix()).collect();
    let mut jobs = Vec::new();
    let mut places = Vec::new();
    for (grid, (n, name, tensor, trained, dtype, initial)) in
        Grid::of_all(&matrices).into_iter().zip(compared)
    {
        let Some(grid) = grid else { continue };
        let decided = &judgement.tensors[n];
        jobs.push(Job {
            grid,
            layout: tensor.layout(),
            dtype,
            trained,
            initial,
            from: resolved.initial_data(name, tensor),
            comparison: Comparison::new(decided.threshold, decided.decay, dtype),
        });
        places.push(n);
    }
    for ((job, place), cells) in jobs.iter().zip(places).zip(draw(&jobs, progress)?) {
        maps[place] = Some(HeatMap { grid: job.grid, layout: job.layout, cells });
    }
    Ok(maps)
}

/// The cells of every job.
fn draw(jobs: &[Job<'_>], progress: &dyn Progress) -> Result<Vec<Vec<Cell>>, Error> {
    let work: Vec<Run> = jobs.iter().enumerate().flat_map(|(n, job)| runs(n, job.grid)).collect();
    let bytes = |run: &Run| (run.block.len * jobs[run.block.tensor].dtype.size()) as u64;
    progress.begin("heat maps", work.iter().map(bytes).sum());
    let cells: Vec<Vec<Cell>> = blocks::for_each(
        &work,
        progress,
        |Run { block, .. }| {
            let job = &jobs[block.tensor];
            let trained = job.trained.part(block.bytes(job.dtype.size()));
            let from = job.from.map(|(from, dtype)| from.part(block.bytes(dtype.size())));
            Reads {
                mapped: [Some(trained), from, None, None],
                whole: job.initial.whole(),
                ..Reads::of(trained)
            }
        },
        Scratch::default,
        |scratch, run| {
            let job = &jobs[run.block.tensor];
            let row = run.block.start - run.block.column(job.grid.matrix);
            Ok::<_, Error>(run.cells.clone().map(|n| cell(job, row, n, scratch)).collect())
        },
    )?;
    progress.end();
    let mut all: Vec<Vec<Cell>> = jobs.iter().map(|job| Vec::with_capacity(job.grid.cells())).collect();
    for (run, cells) in work.iter().zip(cells) {
        all[run.block.tensor].extend(cells);
    }
    Ok(all)
}

/// The runs of cells of tensor number `tensor`, in order: whole rows, or as many cells of one as a block may hold; one cell
/// if it has more weights than that.
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
fn cell(job: &Job<'_>, row: usize, n: usize, scratch: &mut Scratch) -> Cell {
    let Scratch { initial, changed } = scratch;
    let size = job.dtype.size();
    let columns = job.grid.columns_of(n);
    let start = row + columns.start;
    let block = Block { tensor: 0, start, len: columns.len() };
    let piece = encoder::piece(&job.initial, block.len).min(blocks::BLOCK_ELEMENTS);
    initial.resize(piece, 0.0);
    changed.resize(piece.div_ceil(8), 0);
    let mut tally = Tally::default();
    for (n, bytes) in job.trained.part(block.bytes(size)).bytes().chunks(piece * size).enumerate() {
        let len = bytes.len() / size;
        let initial = &mut initial[..len];
        job.initial.fill(start + n * piece, Some(job.dtype), initial);
        tally.add(&job.comparison, bytes, initial, &mut changed[..len.div_ceil(8)]);
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
        // A cell of more than a block.
        assert_eq!(cut(1, 200_000, (1, 2)), [(0, 100_000, 0..1), (100_000, 100_000, 1..2)]);
    }
}
