//! The points that a search has tried, and the one that is written.

use super::trials::{Candidate, Made, Trials};
use crate::config::{PruneSettings, Settings, TuneSettings};
use crate::pipeline::error::Error;
use crate::pipeline::progress::Progress;
use crate::text::{significant, thousands};
use crate::tune::{Confirmation, Confirmed, TunePoint, TuneReport, front, winner};

/// The points tried, each with the settings that made it.
pub(super) struct Points<'a> {
    settings: &'a Settings,
    pub tune: &'a TuneSettings,
    pub original: Made,
    progress: &'a dyn Progress,
    points: Vec<TunePoint>,
    prunes: Vec<PruneSettings>,
}

impl<'a> Points<'a> {
    pub fn new(
        settings: &'a Settings,
        tune: &'a TuneSettings,
        original: Made,
        progress: &'a dyn Progress,
    ) -> Self {
        Self { settings, tune, original, progress, points: Vec::new(), prunes: Vec::new() }
    }

    /// Tries settings, each with its point before it is measured. Returns the new points; fewer than asked
    /// for if `max_evaluations` is reached.
    pub fn evaluate(
        &mut self,
        trials: &mut Trials<'_>,
        tried: Vec<(PruneSettings, TunePoint)>,
    ) -> Result<&[TunePoint], Error> {
        let candidate = |(prune, point): &(PruneSettings, TunePoint)| Candidate {
            prune: prune.clone(),
            what: point.words(),
        };
        let candidates: Vec<Candidate> = tried.iter().map(candidate).collect();
        let all = trials.evaluate(&candidates)?;
        let first = self.points.len();
        for (made, (prune, point)) in all.into_iter().zip(tried) {
            let Made { bytes, sparsity, metric } = made;
            let drop = self.tune.better.drop(self.original.metric, metric);
            let within = drop <= self.tune.max_drop;
            let point = TunePoint { bytes, sparsity, metric, drop, within, ..point };
            self.progress.note(&format!(
                "tune: {}: {} bytes, metric {}, {}",
                point.words(),
                thousands(bytes),
                significant(metric, 6),
                if within { "within" } else { "too far" }
            ));
            self.points.push(point);
            self.prunes.push(prune);
        }
        Ok(&self.points[first..])
    }

    /// The metrics so far.
    pub fn metrics(&self) -> impl Iterator<Item = f64> {
        self.points.iter().map(|point| point.metric)
    }

    /// The settings of the smallest point within the limit, confirmed if that is wanted, and the report.
    pub fn finish(
        mut self,
        complete: bool,
        trials: &mut Trials<'_>,
        original: Candidate,
    ) -> Result<(PruneSettings, TuneReport), Error> {
        let Some(best) = winner(&self.points) else { return Err(self.nothing_within()) };
        let confirmation = match &self.tune.confirm {
            Some(command) => Some(self.confirm(command, best, trials, original)?),
            None => None,
        };
        let confirmed = confirmation.as_ref().and_then(|found| found.points.last());
        let winner = confirmed.map_or(best, |confirmed| confirmed.point);
        let front = front(&self.points);
        for (n, point) in self.points.iter_mut().enumerate() {
            if let Some(steps) = point.steps.as_mut().filter(|_| n != winner && !front.contains(&n)) {
                steps.tensors.clear();
            }
        }
        let report = TuneReport {
            command: self.tune.command.clone(),
            better: self.tune.better,
            max_drop: self.tune.max_drop,
            original_metric: self.original.metric,
            original_bytes: self.original.bytes,
            complete,
            points: self.points,
            winner,
            confirmation,
        };
        Ok((self.prunes.swap_remove(winner), report))
    }

    /// Measures the winner with another command. As long as that finds too much lost, the next larger
    /// point that nothing beats in both size and drop follows; then, by halving, the smallest of the
    /// others that is confirmed.
    fn confirm(
        &self,
        command: &[String],
        winner: usize,
        trials: &mut Trials<'_>,
        original: Candidate,
    ) -> Result<Confirmation, Error> {
        let original_metric = trials.confirm(original, command)?.metric;
        let mut found = Confirmation { command: command.to_vec(), original_metric, points: Vec::new() };
        let mut measure = |point: usize| {
            let one = self.confirm_one(command, point, original_metric, trials)?;
            let within = one.within;
            found.points.push(one);
            Ok::<_, Error>(within)
        };
        let bytes = |n: &usize| self.points[*n].bytes;
        let within = |n: &usize| self.points[*n].within && bytes(n) >= bytes(&winner) && *n != winner;
        let front = [winner].into_iter().chain(front(&self.points).into_iter().filter(within));
        let mut largest = 0;
        for point in front {
            if measure(point)? {
                return Ok(found);
            }
            largest = largest.max(bytes(&point));
        }
        let mut rest: Vec<usize> =
            (0..self.points.len()).filter(|n| within(n) && bytes(n) > largest).collect();
        rest.sort_by_key(bytes);
        // The smallest place that is confirmed is in this range.
        let (mut low, mut high) = (0, rest.len().saturating_sub(1));
        let confirmed = match rest.last() {
            Some(last) => measure(*last)?,
            None => false,
        };
        while confirmed && low < high {
            let middle = low.midpoint(high);
            if measure(rest[middle])? { high = middle } else { low = middle + 1 }
        }
        if confirmed {
            // The one that is written comes last.
            found.points.sort_by_key(|one| (one.point == rest[high], self.points[one.point].bytes));
            return Ok(found);
        }
        let nearest = found.points.iter().min_by(|a, b| a.drop.total_cmp(&b.drop));
        Err(Error::NotConfirmed {
            file: self.settings.source.file().to_owned(),
            max_drop: self.tune.max_drop,
            tried: found.points.len(),
            original: original_metric,
            nearest: nearest.map(|nearest| Box::new((self.points[nearest.point].clone(), nearest.clone()))),
        })
    }

    fn confirm_one(
        &self,
        command: &[String],
        point: usize,
        original_metric: f64,
        trials: &mut Trials<'_>,
    ) -> Result<Confirmed, Error> {
        let what = format!("{}, to confirm", self.points[point].words());
        let metric = trials.confirm(Candidate { prune: self.prunes[point].clone(), what }, command)?.metric;
        let drop = self.tune.better.drop(original_metric, metric);
        let within = drop <= self.tune.max_drop;
        self.progress.note(&format!(
            "tune: {}: by `confirm` metric {} (the original {}), {}",
            self.points[point].words(),
            significant(metric, 6),
            significant(original_metric, 6),
            if within { "within" } else { "too far" }
        ));
        Ok(Confirmed { point, metric, drop, within })
    }

    /// No point is within the limit.
    fn nothing_within(&self) -> Error {
        let nearest = self.points.iter().min_by(|a, b| a.drop.total_cmp(&b.drop));
        Error::NothingWithin {
            file: self.settings.source.file().to_owned(),
            max_drop: self.tune.max_drop,
            original: self.original.metric,
            nearest: nearest.cloned().map(Box::new),
        }
    }

    /// The metric is the same for all.
    pub fn same_metric(&self) -> Error {
        Error::SameMetric {
            file: self.settings.source.file().to_owned(),
            metric: self.original.metric,
            tried: self.points.len() + 1,
        }
    }
}
