//! Selection and coding together. The size of a coded tensor is known only after coding, so for a target file
//! size, selection and coding are repeated until the size fits.

use super::coding::Coding;
use super::error::Error;
use super::expected::Expected;
use super::masks::Masks;
use super::origin::Action;
use super::pack::{Bytes, CodedTensors, Floats, Pruning, Rounding, ToCode, check_calibrations, code_all};
use super::plan::{Codes, FilePlan, NoCodes, may_be_coded};
use super::progress::Progress;
use super::remove::Removal;
use super::resolve::Resolved;
use super::select::select;
use super::spool::Spool;
use super::task::Tasks;
use crate::config::{FormatChoice, InitSource, PruneSettings};
use crate::prune::{Decision, Target};
use crate::sparse::{Fill, Format};

/// Number of rounds of the search, after which the best file so far is selected again.
const ROUNDS: usize = 8;
/// The search ends if the file has at least this share of the allowed size.
const CLOSE: f64 = 0.998;

/// The result of selection and coding, ready to be written.
pub(super) struct Selected<'a> {
    pub removal: Removal,
    /// The coded tensors; `None` if coding is not allowed.
    pub coded: Option<CodedTensors<'a>>,
}

impl Selected<'_> {
    /// The sizes of the coded tensors.
    pub fn codes(&self) -> &dyn Codes {
        self.coded.as_ref().map_or(&NoCodes, |coded| coded as &dyn Codes)
    }
}

/// The inputs of a selection.
struct Selection<'a> {
    resolved: &'a Resolved<'a>,
    tasks: &'a Tasks<'a>,
    prune: &'a PruneSettings,
    progress: &'a dyn Progress,
}

/// Finds the masks of all tensors to be pruned, and codes what may be coded.
///
/// # Errors
/// Errors of the selection, such as [`Error::TooLarge`], and errors of the temporary file.
pub(super) fn select_and_code<'a>(
    resolved: &'a Resolved<'_>,
    tasks: &'a Tasks<'a>,
    prune: &'a PruneSettings,
    masks: &mut Masks,
    progress: &'a dyn Progress,
) -> Result<Selected<'a>, Error> {
    check_calibrations(resolved, prune, tasks)?;
    let selection = Selection { resolved, tasks, prune, progress };
    let limit = tasks.iter().filter_map(|task| task.decision).find_map(limit);
    match limit.filter(|_| prune.format.codes()) {
        Some(limit) => selection.within(limit, masks),
        None => {
            select(resolved, tasks, prune, (&NoCodes, None), masks, progress)?;
            selection.finish(masks)
        }
    }
}

/// The target size of the file in bytes, if the decision about a tensor sets one.
fn limit(decision: &Decision) -> Option<u64> {
    match decision.target {
        Target::Bytes(limit) if decision.counts_bytes() => Some(limit),
        _ => None,
    }
}

impl<'a> Selection<'a> {
    /// The tensors that may be coded, with these masks.
    fn may_be_coded<'m>(
        &'m self,
        masks: &'m Masks,
        removal: Option<&Removal>,
    ) -> Result<Vec<ToCode<'m>>, Error>
    where
        'a: 'm,
    {
        let Self { resolved, tasks, prune, .. } = *self;
        let (checkpoint, tensors) = resolved.trained()?;
        // A tensor that does not need the base otherwise must not start to need it, unless the config asks
        // for that: by the fill, by the format, or because it asks for nothing but coding.
        let asked =
            prune.fill != Fill::Zero || prune.format == FormatChoice::Fixed(Format::Coded) || prune.keep;
        let mut all = Vec::new();
        for (n, ((name, tensor), (_, trained))) in tensors.iter().zip(checkpoint.tensors()).enumerate() {
            let pruned = tensor.action == Action::Prune;
            if removal.is_some_and(|removal| removal.of(n).is_some())
                || !may_be_coded(prune, tensors, name, tensor)
            {
                continue;
            }
            let Some(task) = tasks.get(n) else {
                let base = resolved.base_of_bytes(name, tensor).filter(|_| asked).map(|(_, base)| base);
                all.extend(Bytes::new((n, name), trained, base, Coding::ELSEWHERE).map(ToCode::Bytes));
                continue;
            };
            let from_base = |source: &InitSource| matches!(source, InitSource::From(_));
            let stored = tensor.origin.as_ref().is_some_and(|origin| from_base(&origin.source));
            let steps = prune.steps(name).map(|steps| Rounding::new(resolved, task, &steps)).transpose()?;
            all.push(ToCode::Floats(Floats {
                task,
                rounding: steps,
                written: prune.dtype.filter(|_| pruned).unwrap_or(task.dtype),
                pruning: pruned.then_some(Pruning { masks, fill: prune.fill }),
                predicts: !stored || asked || steps.is_some(),
                described: Coding::ELSEWHERE,
            }));
        }
        Ok(all)
    }

    /// Codes the tensors that may be coded, with the current masks.
    fn finish(&self, masks: &Masks) -> Result<Selected<'a>, Error> {
        let Self { resolved, prune, progress, .. } = *self;
        let removal = Removal::find(resolved, prune, masks)?;
        if !prune.format.codes() {
            return Ok(Selected { removal, coded: None });
        }
        let tensors = self.may_be_coded(masks, Some(&removal))?;
        let spool = Spool::beside(&prune.output)?;
        let coded = code_all("code", &tensors, &spool, progress)?;
        let (_, all) = resolved.trained()?;
        let names = tensors.iter().filter_map(|tensor| all.get_key_value(tensor.name()));
        let coded = names.map(|(name, _)| name.as_str()).zip(coded).collect();
        let coded = CodedTensors::new(coded, spool);
        Ok(Selected { removal, coded: Some(coded) })
    }

    /// Selects and codes so that the file has at most `limit` bytes, and not much less. Each selection uses
    /// expected sizes; its limit is adjusted until the actual size fits.
    fn within(&self, limit: u64, masks: &mut Masks) -> Result<Selected<'a>, Error> {
        let expected = Expected::new(&self.may_be_coded(masks, None)?, self.tasks.tensors())?;
        let mut search = Search::new(limit);
        loop {
            let (selected, bytes) = self.try_limit(&mut search, &expected, masks)?;
            match search.next(bytes) {
                Next::Done => return Ok(selected),
                Next::Try => {}
                Next::Never => {
                    return Err(Error::TooLarge { output: self.prune.output.clone(), limit, least: bytes });
                }
            }
        }
    }

    /// Selects by expected sizes and codes. Returns the size of the file in bytes.
    fn try_limit(
        &self,
        search: &mut Search,
        expected: &Expected,
        masks: &mut Masks,
    ) -> Result<(Selected<'a>, u64), Error> {
        let Self { resolved, tasks, prune, progress } = *self;
        let mut select = |limit| select(resolved, tasks, prune, (expected, Some(limit)), masks, progress);
        match select(search.now) {
            // Everything is pruned; the actual size may be smaller than expected.
            Err(Error::TooLarge { least, .. }) => {
                search.least(least);
                select(least)?;
            }
            done => done?,
        }
        let selected = self.finish(masks)?;
        let mut plan = FilePlan::new(resolved, tasks, prune, Some(&selected.removal), selected.codes())?;
        let bytes = plan.bytes(&masks.stored())?;
        Ok((selected, bytes))
    }
}

/// Searches for the limit of the selection that gives a file of the wanted actual size.
struct Search {
    limit: u64,
    /// The limit of the current selection.
    now: u64,
    /// Below this limit, there is nothing left to prune.
    least: u64,
    /// The limit and actual size of the largest file that fits and of the smallest file that does not.
    fits: Option<(u64, u64)>,
    exceeds: Option<(u64, u64)>,
    /// The limit and actual size of the last round.
    last: Option<(u64, u64)>,
    rounds: usize,
}

enum Next {
    /// The size of the file fits.
    Done,
    /// Another limit must be tried.
    Try,
    /// Even the smallest file is too large.
    Never,
}

impl Search {
    fn new(limit: u64) -> Self {
        Self { limit, now: limit, least: 0, fits: None, exceeds: None, last: None, rounds: 0 }
    }

    /// Raises the limit to `least`, because smaller limits are impossible.
    fn least(&mut self, least: u64) {
        (self.now, self.least) = (least, least);
    }

    /// Takes the actual size at the current limit, and returns what to do next.
    fn next(&mut self, bytes: u64) -> Next {
        let (now, fits) = (self.now, bytes <= self.limit);
        let is_same = |other: &Option<(u64, u64)>| other.is_some_and(|(_, known)| known == bytes);
        if !fits && now <= self.least {
            return Next::Never;
        }
        self.rounds += 1;
        // The size is close enough, or the best file so far was selected again.
        if fits && (bytes as f64 >= CLOSE * self.limit as f64 || is_same(&self.fits)) {
            return Next::Done;
        }
        let better = |old: Option<(u64, u64)>| match old {
            Some((_, known)) if (known > bytes) == fits => old,
            _ => Some((now, bytes)),
        };
        if fits {
            self.fits = better(self.fits)
        } else {
            self.exceeds = better(self.exceeds)
        }
        let line = self.last.replace((now, bytes)).and_then(|last| self.through(last, (now, bytes)));
        self.now = match (self.fits, self.exceeds) {
            (Some((by, _)), Some(_)) if self.rounds >= ROUNDS => by,
            (Some((low, _)), Some((high, _))) => {
                let between = line.filter(|by| (low + 1..high).contains(by)).unwrap_or(low.midpoint(high));
                // Limits cannot be closer.
                if between == low || between == high { low } else { between }
            }
            _ => {
                let scaled = (now as f64 * self.limit as f64 / bytes.max(1) as f64) as u64;
                line.filter(|by| (scaled / 2..=2 * scaled).contains(by)).unwrap_or(scaled).max(self.least)
            }
        };
        Next::Try
    }

    /// The limit with the wanted size, by linear interpolation through two limits with their sizes.
    fn through(&self, a: (u64, u64), b: (u64, u64)) -> Option<u64> {
        let [(xa, ya), (xb, yb)] = [a, b].map(|(x, y)| (x as f64, y as f64));
        let wanted = self.limit as f64 * (1.0 + CLOSE) / 2.0;
        let x = xb + (wanted - yb) * (xb - xa) / (yb - ya);
        (x.is_finite() && x > 0.0).then_some(x as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The limits that are tried, and the final size, if a file selected with a limit has
    /// the size `real(limit)`.
    fn tried(limit: u64, least: u64, real: impl Fn(u64) -> u64) -> (Vec<u64>, Option<u64>) {
        let mut search = Search::new(limit);
        let mut tried = Vec::new();
        loop {
            if search.now < least {
                search.least(least);
            }
            tried.push(search.now);
            assert!(tried.len() < 40, "{tried:?}");
            match search.next(real(search.now)) {
                Next::Done => return (tried, Some(real(search.now))),
                Next::Never => return (tried, None),
                Next::Try => {}
            }
        }
    }

    #[test]
    fn a_size_is_found_in_few_rounds() {
        // Actual files a tenth smaller than expected, and a fifth larger.
        let (rounds, bytes) = tried(1_000_000, 0, |limit| limit * 9 / 10);
        assert_eq!((rounds, bytes), (vec![1_000_000, 1_111_111], Some(999_999)));
        let (rounds, bytes) = tried(1_000_000, 0, |limit| limit * 6 / 5);
        assert_eq!((rounds, bytes), (vec![1_000_000, 833_333], Some(999_999)));
        // A part of the file cannot be made smaller.
        let (rounds, bytes) = tried(1_000_000, 0, |limit| 300_000 + limit * 4 / 5);
        assert!(rounds.len() <= 5 && bytes.is_some_and(|bytes| (998_000..=1_000_000).contains(&bytes)));
    }

    #[test]
    fn a_search_ends() {
        // Everything fits without pruning.
        assert_eq!(tried(1_000, 0, |limit| limit.min(400)).1, Some(400));
        // Pruning everything is not enough.
        assert_eq!(tried(1_000, 5_000, |limit| limit), (vec![5_000], None));
        // Pruning everything is enough, although it was not expected to be.
        assert_eq!(tried(1_000, 5_000, |limit| limit / 10).1, Some(1_000));
        // Sizes in steps: the largest that fits.
        let (rounds, bytes) = tried(1_000_000, 0, |limit| limit / 300_000 * 300_000);
        assert!(rounds.len() <= ROUNDS + 1);
        assert_eq!(bytes, Some(900_000));
    }
}
