//! Selection and coding together. The size of a coded tensor is known only after coding, so for a target file
//! size, selection and coding are repeated until the size fits.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::codes::{CodeKey, Coded};
use super::coding::Coding;
use super::error::{Error, PartsProblem};
use super::expected::Expected;
use super::masks::Masks;
use super::origin::Action;
use super::pack::{Bytes, CodedTensors, Floats, Pruning, Rounding, ToCode, check_calibrations, code_all};
use super::plan::{Codes, FilePlan, NoCodes, initial_values, may_be_coded};
use super::progress::Progress;
use super::remove::Removal;
use super::resolve::Resolved;
use super::select::{Marking, select_together};
use super::spool::Spool;
use super::task::Tasks;
use super::team::{CODES, Changes, Team, names};
use crate::config::{FormatChoice, InitSource, PruneSettings};
use crate::prune::{Decision, Target};
use crate::sparse::{Fill, Format, InitialValues};

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
    team: &'a Team,
    progress: &'a dyn Progress,
}

/// Finds the masks of all tensors to be pruned whose selection looks at several tensors, and codes what may
/// be coded. `coded` is what the processes have found already, if nothing else decides about it.
///
/// # Errors
/// Errors of the selection, such as [`Error::TooLarge`], and errors of the temporary file.
pub(super) fn select_and_code<'a>(
    resolved: &'a Resolved<'_>,
    tasks: &'a Tasks<'a>,
    prune: &'a PruneSettings,
    (team, coded): (&'a Team, Vec<CodedPart>),
    masks: &mut Masks,
    progress: &'a dyn Progress,
) -> Result<Selected<'a>, Error> {
    check_calibrations(resolved, prune, tasks, |name| team.owns(name))?;
    let selection = Selection { resolved, tasks, prune, team, progress };
    let limit = tasks.iter().filter_map(|task| task.decision).find_map(limit);
    match limit.filter(|_| prune.format.codes()) {
        Some(limit) => selection.within(limit, masks),
        None => {
            if !coded.is_empty() {
                return selection.take(names::COMPARE, coded, None);
            }
            let marking = select_together(resolved, tasks, prune, (&NoCodes, None), team, masks, progress)?;
            selection.finish(marking, masks)
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

    /// Whether there is anything to do before the file is planned.
    fn is_coded(&self) -> bool {
        self.prune.format.codes() || !self.prune.chains.is_empty()
    }

    /// Writes the last masks, finds the units to remove, and codes the tensors that may be coded.
    fn finish(&self, marking: Option<Marking<'a>>, masks: &mut Masks) -> Result<Selected<'a>, Error> {
        let Self { tasks, team, progress, .. } = *self;
        if !self.is_coded() && marking.is_none() {
            return Ok(Selected { removal: Removal::default(), coded: None });
        }
        let step = if self.is_coded() { names::CODE } else { names::MARK };
        let changes = if marking.is_some() { Changes::Masks } else { Changes::Nothing };
        let mut own_spool = None;
        let done = team.step_of_masks(step, (masks, tasks, changes), |masks| {
            if let Some(marking) = marking {
                marking.mark(|name| team.owns(name), masks, progress)?;
            }
            self.find(step, masks, &mut own_spool)
        })?;
        self.take(step, done, own_spool)
    }

    /// Finds the units to remove, and codes the tensors that may be coded, of this process, in this step.
    fn find(
        &self,
        step: &'static str,
        masks: &Masks,
        own_spool: &mut Option<Arc<Spool>>,
    ) -> Result<CodedPart, Error> {
        let Self { resolved, prune, team, .. } = *self;
        let removal = Removal::find(resolved, |name| team.owns(name), prune, masks)?;
        let coded = prune.format.codes().then(|| self.code(step, masks, &removal, own_spool)).transpose()?;
        Ok(CodedPart { removal, coded: coded.unwrap_or_default() })
    }

    /// Takes in what all processes have found in this step.
    fn take(
        &self,
        step: &'static str,
        done: Vec<CodedPart>,
        mut own_spool: Option<Arc<Spool>>,
    ) -> Result<Selected<'a>, Error> {
        let Self { resolved, prune, team, .. } = *self;
        let mut removal = Removal::default();
        let mut coded = Vec::new();
        let (_, all) = resolved.trained()?;
        for part in done {
            removal.add(part.removal);
            let CodedHere { tensors, bases, sha256 } = part.coded;
            resolved.know_base_digests(bases);
            for (name, tensor) in tensors {
                let Some((name, _)) = all.get_key_value(&name) else { continue };
                if own_spool.is_none() && team.owns(name) {
                    let kept = team.state(step, CODES);
                    own_spool = kept.map(|path| open_codes(&path, &sha256)).transpose()?.map(Arc::new);
                }
                coded.push((name.as_str(), tensor));
            }
        }
        let codes = prune.format.codes();
        Ok(Selected {
            removal,
            coded: codes.then(|| CodedTensors::new(coded.into_iter().collect(), own_spool)),
        })
    }

    /// Codes those tensors that this process owns.
    fn code(
        &self,
        step: &'static str,
        masks: &Masks,
        removal: &Removal,
        own_spool: &mut Option<Arc<Spool>>,
    ) -> Result<CodedHere, Error> {
        let Self { resolved, prune, team, progress, .. } = *self;
        let mut tensors = self.may_be_coded(masks, Some(removal))?;
        tensors.retain(|tensor| team.owns(tensor.name()));
        let names: Vec<String> = tensors.iter().map(|tensor| tensor.name().to_owned()).collect();
        let here =
            |coded| CodedHere { tensors: names.into_iter().zip(coded).collect(), ..CodedHere::default() };
        if let Some(kept) = resolved.kept().filter(|_| team.is_alone()) {
            let keys: Vec<Option<CodeKey>> = tensors.iter().map(ToCode::key).collect();
            let code = |numbers: &[usize], to: (&Spool, u64)| {
                let tensors: Vec<ToCode<'_>> = numbers.iter().map(|n| tensors[*n]).collect();
                code_all("code", &tensors, to, progress)
            };
            let (coded, spool) = kept.codes(keys, || Ok(team.spool(&prune.output)?), code)?;
            *own_spool = Some(spool);
            return Ok(here(coded));
        }
        let mut spool = team.spool(&prune.output)?;
        let (coded, _) = code_all("code", &tensors, (&spool, 0), progress)?;
        let mut here = here(coded);
        if let Some(path) = team.state(step, CODES) {
            here.sha256 = spool.keep(&path)?;
            let predicted = |(_, coded): &&(String, Coded)| coded.prediction().is_some();
            let predicted = here.tensors.iter().filter(predicted).map(|(name, _)| name.as_str());
            here.bases = digests_of_bases(resolved, predicted)?;
        }
        *own_spool = Some(Arc::new(spool));
        Ok(here)
    }

    /// Selects and codes so that the file has at most `limit` bytes, and not much less. Each selection uses
    /// expected sizes; its limit is adjusted until the actual size fits.
    fn within(&self, limit: u64, masks: &mut Masks) -> Result<Selected<'a>, Error> {
        let expected = Expected::new(&self.may_be_coded(masks, None)?, self.tasks.tensors(), self.team)?;
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
        let Self { resolved, tasks, prune, team, progress } = *self;
        let mut select =
            |limit| select_together(resolved, tasks, prune, (expected, Some(limit)), team, masks, progress);
        let marking = match select(search.now) {
            // Everything is pruned; the actual size may be smaller than expected.
            Err(Error::TooLarge { least, .. }) => {
                search.least(least);
                select(least)?
            }
            done => done?,
        };
        let selected = self.finish(marking, masks)?;
        let mut plan = FilePlan::new(resolved, tasks, prune, Some(&selected.removal), selected.codes())?;
        let bytes = plan.bytes(&masks.stored())?;
        Ok((selected, bytes))
    }
}

/// What a process finds before the file is planned, if it needs nothing from others for that.
///
/// # Errors
/// As [`select_and_code`].
pub(super) fn code_at_once(
    resolved: &Resolved<'_>,
    tasks: &Tasks<'_>,
    prune: &PruneSettings,
    team: &Team,
    masks: &Masks,
    progress: &dyn Progress,
) -> Result<Option<CodedPart>, Error> {
    let selection = Selection { resolved, tasks, prune, team, progress };
    if !selection.is_coded()
        || tasks.iter().filter_map(|task| task.decision).any(Decision::needs_other_tensors)
    {
        return Ok(None);
    }
    check_calibrations(resolved, prune, tasks, |name| team.owns(name))?;
    selection.find(names::COMPARE, masks, &mut None).map(Some)
}

/// What a process has found before the file is planned.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct CodedPart {
    removal: Removal,
    coded: CodedHere,
}

/// The tensors that a process has coded.
#[derive(Default, Serialize, Deserialize)]
struct CodedHere {
    tensors: Vec<(String, Coded)>,
    /// SHA-256 of the bases of those that are predicted from them.
    bases: BTreeMap<String, String>,
    /// SHA-256 of their blocks, if these are kept for another process.
    sha256: String,
}

/// The blocks of codes that another process of the same part has kept.
fn open_codes(path: &Path, sha256: &str) -> Result<Spool, Error> {
    let spool = Spool::kept(path)?;
    match spool.digest()? == sha256 {
        true => Ok(spool),
        false => {
            let _ = std::fs::remove_file(path);
            Err(PartsProblem::Kept.of(path))
        }
    }
}

/// SHA-256 of the bases of these tensors, by name, of those that have one.
pub(super) fn digests_of_bases<'n>(
    resolved: &Resolved<'_>,
    tensors: impl Iterator<Item = &'n str>,
) -> Result<BTreeMap<String, String>, Error> {
    let (_, all) = resolved.trained()?;
    let mut found = BTreeMap::new();
    for name in tensors {
        let tensor = &all[name];
        let has_base = match &tensor.origin {
            Some(origin) => matches!(origin.source, InitSource::From(_)),
            None => resolved.base_of_bytes(name, tensor).is_some(),
        };
        if !has_base {
            continue;
        }
        if let InitialValues::Stored { sha256, .. } = initial_values(resolved, name, tensor)? {
            found.insert(name.to_owned(), sha256);
        }
    }
    Ok(found)
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
