//! A pass over a trained checkpoint in blocks that can be computed anywhere, in any order.

use super::block_result::{BlockKeys, BlockResult, Found};
use super::blocks::Block;
use super::calibrate::{Calibrated, calibrate};
use super::compare::{Total, merge};
use super::error::{BlockProblem, Error};
use super::findings::{BlockFindings, Buffers};
use super::gates::check_gates;
use super::progress::Silent;
use super::resolve::Resolved;
use super::select::{ScoreBuffers, Scorer};
use super::start::Told;
use super::summarise::{Findings, summarise, trained_bytes};
use super::task::TensorTask;
use super::team::Team;
use crate::prune::Narrowing;
use crate::report::Report;
use crate::workers::Threads;

/// A trained checkpoint, divided into blocks. Each block can be processed alone ([`Self::compare`],
/// [`Self::rank`]): on any thread, in any process, on any machine that has the config and its files. Merging
/// the results in block order ([`Self::merge`]) gives the same report, bit for bit, as a single run.
///
/// ```
/// use cdi_prune::config::Settings;
/// use cdi_prune::pipeline::{BlockPass, BlockResult, Resolved, Silent, Stages, run};
///
/// # let folder = tempfile::tempdir()?;
/// # let file = folder.path().join("config.yaml");
/// # let data = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/mlp_pad_sgd");
/// # std::fs::write(&file, format!(
/// #     "seed: 1\nrules: [{{match: '**', init: he}}]\n\
/// #      trained: {{path: {data}/trained.safetensors}}\nanalyze: {{}}\n"
/// # ))?;
/// let settings = Settings::load(&file, &[])?;
/// let resolved = Resolved::new(&settings)?;
/// let pass = BlockPass::new(&resolved)?;
///
/// // The blocks in any order, and each result sent as text.
/// let mut sent: Vec<String> = Vec::new();
/// for block in (0..pass.blocks()).rev() {
///     sent.push(serde_json::to_string(&pass.compare(block)?)?);
/// }
///
/// let mut results = sent.iter().map(|text| serde_json::from_str(text)).collect::<Result<Vec<BlockResult>, _>>()?;
/// results.sort_by_key(BlockResult::number);
/// let report = pass.merge(results)?;
/// let outcome = run(&resolved, Stages::Analyze, &Silent, |_| {})?;
/// assert_eq!(Some(report), outcome.report);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct BlockPass<'r> {
    resolved: &'r Resolved<'r>,
    calibrated: Calibrated<'r>,
    blocks: Vec<Block>,
}

impl<'r> BlockPass<'r> {
    /// Divides the trained checkpoint of a config. If decay or threshold are to be inferred from the weights,
    /// this is done first, from a sample that is the same everywhere.
    ///
    /// # Errors
    /// [`Error::TrainedMissing`] if there is no trained checkpoint; errors in the scores of `prune`.
    pub fn new(resolved: &'r Resolved<'_>) -> Result<Self, Error> {
        resolved.open_files_of_pruning()?;
        let calibrated = calibrate(resolved, &Team::alone(), &Silent)?;
        let blocks = calibrated.tasks.iter().flat_map(TensorTask::blocks).collect();
        Ok(Self { resolved, calibrated, blocks })
    }

    /// Number of blocks. They are numbered from 0, by tensors in name order, and in storage
    /// order within a tensor.
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Compares the weights of a block with their initial values.
    ///
    /// # Errors
    /// [`Error::Block`] if there is no such block.
    pub fn compare(&self, number: usize) -> Result<BlockResult, Error> {
        let (task, block) = self.at(number)?;
        let mut findings = BlockFindings::default();
        findings.find(task, block, false, &mut Buffers::default());
        Ok(self.result(number, task, block, Found::Comparison(Box::new(findings))))
    }

    /// Determines the keys of the scores by which the weights of a block are ranked for pruning: their counts
    /// in the bins of the current selection, and with `all`, each undecided key. `None` if the tensor of the
    /// block is not pruned, or not by a ranking.
    ///
    /// # Errors
    /// [`Error::Block`] if there is no such block; scores from a file that are not finite.
    pub fn rank(
        &self,
        number: usize,
        narrowing: &Narrowing,
        all: bool,
    ) -> Result<Option<BlockResult>, Error> {
        let (task, block) = self.at(number)?;
        let Some(decision) = task.decision.filter(|_| !task.pruned_by_comparison()) else { return Ok(None) };
        let scorer = Scorer::new(self.resolved, task, decision)?;
        let mut bins = vec![[0; 2]; narrowing.bins()];
        let mut keys = BlockKeys::default();
        scorer.keys(block.start, block.len, &mut ScoreBuffers::default(), |piece| {
            keys.count(narrowing, piece, all, &mut bins);
        })?;
        let counts = bins.iter().map(|[even, odd]| even + odd).enumerate().filter(|(_, count)| *count > 0);
        keys.counts = counts.map(|(bin, count)| (bin as u32, count)).collect();
        Ok(Some(self.result(number, task, block, Found::Keys(keys))))
    }

    /// Merges the comparisons of all blocks, in block order, into the report that `analyze` writes.
    ///
    /// # Errors
    /// [`Error::Block`] if they are not in order, or not from this config and checkpoint.
    pub fn merge(&self, results: impl IntoIterator<Item = BlockResult>) -> Result<Report, Error> {
        let tasks = &self.calibrated.tasks;
        let totals = tasks.filter_map(|task| Some(Total::new(task)));
        let mut ordered = Vec::with_capacity(self.blocks.len());
        let mut rows = Default::default();
        for result in results {
            let number = ordered.len();
            if result.number() != number {
                return Err(BlockProblem::Order { expected: number, got: result.number() }.into());
            }
            let (task, block) = self.at(number)?;
            let Found::Comparison(found) = &result.found else {
                return Err(BlockProblem::NoComparison { number }.into());
            };
            let own = self.result(number, task, block, Found::Keys(BlockKeys::default())).place;
            if own != result.place || !found.fits(task, block) {
                return Err(BlockProblem::Other { number, tensor: result.place.tensor }.into());
            }
            ordered.push(totals[block].take(block, found, None, &mut rows)?);
        }
        let (expected, got) = (self.blocks.len(), ordered.len());
        if got < expected {
            return Err(BlockProblem::Missing { expected, got }.into());
        }
        let compared: Vec<_> = merge(totals, &self.blocks, &ordered).map(Option::unwrap_or_default).collect();
        let (checkpoint, tensors) = self.resolved.trained()?;
        let (settings, trained_bytes) = (self.resolved.settings, trained_bytes(checkpoint));
        let told = Told::new(self.resolved, &compared)?;
        let (calibrations, evidence) = (tasks.calibrations(), self.calibrated.evidence.clone());
        let found = Findings { calibrations, evidence, compared, told, pruned: None, trained_bytes };
        let mut report = summarise(settings, tensors, found);
        report.gates = check_gates(&settings.gates, &report, None, None);
        Ok(report)
    }

    fn at(&self, number: usize) -> Result<(&TensorTask<'r>, &Block), Error> {
        let (expected, got) = (self.blocks.len(), number);
        let block = self.blocks.get(number).ok_or(BlockProblem::Order { expected, got })?;
        let task = &self.calibrated.tasks[block];
        task.prepare(&Threads);
        Ok((task, block))
    }

    fn result(&self, number: usize, task: &TensorTask<'_>, block: &Block, found: Found) -> BlockResult {
        BlockResult::new(&self.resolved.settings.config_sha256, number, task.name, block, found)
    }
}
