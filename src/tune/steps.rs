//! The search for lengths of steps: first one length for all tensors, then each tensor's own.

use std::collections::BTreeMap;

use super::points::Part;
use crate::codec::Over;

/// Powers of two, times the root mean square of the weights, that are tried first.
const OCTAVES: std::ops::RangeInclusive<i32> = -5..=4;
/// The shortest step that is tried if no longer one is within the allowed drop: this power of two.
const SHORTEST: i32 = -16;
/// Factors by which steps are changed, in turn: 2, its root, and so on.
const FACTORS: [f64; 4] = [2.0, ROOT, 1.189_207_115_002_721, 1.090_507_732_665_257_7];
const ROOT: f64 = std::f64::consts::SQRT_2;
/// Number of tensors whose steps may be made longer, and of those whose steps may be made shorter in
/// exchange, that are combined.
const EXCHANGED: usize = 4;
/// Losses below this share of the allowed drop count as this much, when savings are weighed against them.
const GRAIN: f64 = 1.0 / 16.0;

/// How the values of a tensor, or of several tensors together, are rounded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coordinate {
    /// Length of a step: positive, finite, with three significant decimal digits.
    pub step: f64,
    /// From where steps are counted.
    pub over: Over,
}

/// What is searched.
#[derive(Clone, Debug, PartialEq)]
pub struct Space {
    /// For each coordinate, the root mean square of its weights and what the config says about the start of
    /// its steps, which varies only if that is `Auto`.
    pub coordinates: Vec<(f64, Over)>,
    /// The root mean square of all weights.
    pub common: f64,
    /// How much worse than the original the metric may be.
    pub max_drop: f64,
}

/// The result of a trial.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Size of the file.
    pub bytes: u64,
    /// How much worse than the original the metric is.
    pub drop: f64,
}

/// Searches for the smallest file within the allowed drop.
///
/// 1. One length for all coordinates: powers of two times the root mean square, then two finer steps around
///    the longest that is within the drop. Again with steps counted from zero, and with lengths in
///    proportion to each coordinate's root mean square.
/// 2. From the best of these, one coordinate at a time: its step is multiplied by a factor. All coordinates
///    are tried; those that save bytes within the drop are applied together, or as many as stay within it,
///    ranked by the bytes that they save for what they lose. When none is left, exchanges are tried: one step
///    longer, and another or all others shorter; then steps counted from elsewhere. When nothing helps, the
///    factor is replaced by its root; after the fourth, the search ends.
///
/// `ask` gets settings to be tried, each with a value for every coordinate. It returns their results, or the
/// results of the first ones only to end the search. No settings are asked for twice. Returns whether the
/// search was completed.
///
/// # Errors
/// The first error of `ask`.
pub fn search_steps<E>(
    space: &Space,
    ask: impl FnMut(Part, &[Vec<Coordinate>]) -> Result<Vec<Measured>, E>,
) -> Result<bool, E> {
    let mut search = Search { space, ask, known: BTreeMap::new(), best: None, ended: false };
    search.lines()?;
    search.each()?;
    Ok(!search.ended)
}

type Setting = Vec<Coordinate>;

struct Search<'a, A> {
    space: &'a Space,
    ask: A,
    known: BTreeMap<Vec<(u64, u8)>, Measured>,
    /// The smallest within the drop.
    best: Option<(Setting, Measured)>,
    ended: bool,
}

/// A change of one coordinate of the best setting, and what it came to.
type Move = (usize, Coordinate, Measured);

impl<A, E> Search<'_, A>
where
    A: FnMut(Part, &[Setting]) -> Result<Vec<Measured>, E>,
{
    /// Tries settings. The result of each, as far as it is known when the search has ended.
    fn measure(&mut self, part: Part, settings: &[Setting]) -> Result<Vec<Option<Measured>>, E> {
        let mut new: Vec<Setting> = Vec::new();
        for setting in settings {
            if !self.known.contains_key(&key(setting)) && !new.contains(setting) {
                new.push(setting.clone());
            }
        }
        if !new.is_empty() && !self.ended {
            let found = (self.ask)(part, &new)?;
            self.ended = found.len() < new.len();
            for (setting, found) in new.into_iter().zip(found) {
                self.known.insert(key(&setting), found);
                let smaller = |best: &Measured| (found.bytes, found.drop) < (best.bytes, best.drop);
                if self.within(found) && self.best.as_ref().is_none_or(|(_, best)| smaller(best)) {
                    self.best = Some((setting, found));
                }
            }
        }
        Ok(settings.iter().map(|setting| self.known.get(&key(setting)).copied()).collect())
    }

    fn within(&self, found: Measured) -> bool {
        found.drop <= self.space.max_drop
    }

    /// The first part.
    fn lines(&mut self) -> Result<(), E> {
        let Space { ref coordinates, common, .. } = *self.space;
        let free = coordinates.iter().any(|(_, over)| *over == Over::Auto);
        self.line(Part::Common, |scale, (_, over)| Coordinate { step: short(common * scale), over: *over })?;
        if free {
            self.line(Part::CommonFromZero, |scale, (_, over)| {
                let over = if *over == Over::Auto { Over::Zero } else { *over };
                Coordinate { step: short(common * scale), over }
            })?;
        }
        if coordinates.len() > 1 {
            self.line(Part::Proportional, |scale, (own, over)| Coordinate {
                step: short(own * scale),
                over: *over,
            })?;
        }
        Ok(())
    }

    /// Settings that a single scale determines.
    fn line(&mut self, part: Part, at: impl Fn(f64, &(f64, Over)) -> Coordinate) -> Result<(), E> {
        let coordinates = &self.space.coordinates;
        let setting = |scale: f64| coordinates.iter().map(|one| at(scale, one)).collect::<Setting>();
        let mut longest = None;
        let mut try_all = |this: &mut Self, scales: &[f64]| {
            let settings: Vec<Setting> = scales.iter().map(|scale| setting(*scale)).collect();
            let found = this.measure(part, &settings)?;
            for (scale, found) in scales.iter().zip(found) {
                if found.is_some_and(|found| this.within(found)) && longest.is_none_or(|old| old < *scale) {
                    longest = Some(*scale);
                }
            }
            Ok::<_, E>(longest)
        };
        let octaves: Vec<f64> = OCTAVES.map(power).collect();
        let mut found = try_all(self, &octaves)?;
        if self.best.is_none() {
            let mut exponent = *OCTAVES.start();
            while found.is_none() && exponent > SHORTEST && !self.ended {
                exponent -= 1;
                found = try_all(self, &[power(exponent)])?;
            }
        }
        let Some(octave) = found else { return Ok(()) };
        // Half an octave longer, and one and a half: the metric may fluctuate.
        let Some(longest) = try_all(self, &[octave * ROOT, octave * 2.0 * ROOT])? else { return Ok(()) };
        try_all(self, &[longest * FACTORS[2]]).map(drop)
    }

    /// The second part.
    fn each(&mut self) -> Result<(), E> {
        for factor in FACTORS {
            loop {
                let before = self.best.clone();
                self.lengthen(factor)?;
                if self.best == before {
                    self.exchange(factor)?;
                }
                if self.best == before {
                    self.restart()?;
                }
                if self.best == before || self.ended {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Makes steps longer, as long as that saves bytes.
    fn lengthen(&mut self, factor: f64) -> Result<(), E> {
        while let Some((best, before)) = self.best.clone().filter(|_| !self.ended) {
            let moves = self.moves(&best, scaled(&best, factor))?;
            self.together(&best, before, &moves)?;
            if self.best.as_ref().is_some_and(|(_, now)| *now == before) {
                break;
            }
        }
        Ok(())
    }

    /// Tries changes of one coordinate.
    fn moves(&mut self, from: &Setting, changes: Vec<(usize, Coordinate)>) -> Result<Vec<Move>, E> {
        let settings: Vec<Setting> = changes.iter().map(|change| with(from, &[*change])).collect();
        let found = self.measure(Part::Each, &settings)?;
        let known = changes.into_iter().zip(found);
        Ok(known.filter_map(|((n, coordinate), found)| Some((n, coordinate, found?))).collect())
    }

    /// Applies the moves that save bytes within the drop together: all, or else the better half of them, and
    /// so on.
    fn together(&mut self, from: &Setting, before: Measured, moves: &[Move]) -> Result<(), E> {
        let saves = |found: Measured| before.bytes.saturating_sub(found.bytes) as f64;
        let worth = |found: Measured| {
            let lost = (found.drop - before.drop).max(self.space.max_drop * GRAIN).max(f64::MIN_POSITIVE);
            saves(found) / lost
        };
        let mut good: Vec<&Move> =
            moves.iter().filter(|(_, _, found)| self.within(*found) && found.bytes < before.bytes).collect();
        good.sort_by(|a, b| worth(b.2).total_cmp(&worth(a.2)));
        let mut count = good.len();
        while count > 1 && !self.ended {
            let changes: Vec<(usize, Coordinate)> = good[..count].iter().map(|one| (one.0, one.1)).collect();
            let found = self.measure(Part::Each, &[with(from, &changes)])?[0];
            if found.is_some_and(|found| self.within(found)) {
                break;
            }
            count /= 2;
        }
        Ok(())
    }

    /// Makes some step longer, and another or all others shorter, so that the file becomes smaller.
    fn exchange(&mut self, factor: f64) -> Result<(), E> {
        let Some((best, before)) = self.best.clone() else { return Ok(()) };
        let by_size = |mut moves: Vec<Move>| {
            moves.sort_by_key(|(_, _, found)| found.bytes);
            moves.truncate(EXCHANGED);
            moves
        };
        let longer = by_size(self.moves(&best, scaled(&best, factor))?);
        let shorter = by_size(self.moves(&best, scaled(&best, 1.0 / factor))?);
        let pairs = longer.iter().flat_map(|a| shorter.iter().map(move |b| (a, b)));
        let saves = |(a, b): &(&Move, &Move)| a.0 != b.0 && a.2.bytes + b.2.bytes < 2 * before.bytes;
        let pairs = pairs.filter(saves).map(|(a, b)| with(&best, &[(a.0, a.1), (b.0, b.1)]));
        // Where one tensor has most of the bytes, finer steps everywhere else cost little.
        let finer = [1, 2, 4].map(|times| (0..times).fold(1.0, |divisor, _| divisor * factor));
        let groups = longer.iter().flat_map(|a| finer.map(|divisor| (a, divisor))).map(|(a, divisor)| {
            let all: Setting = scaled(&best, 1.0 / divisor).into_iter().map(|(_, one)| one).collect();
            with(&all, &[(a.0, a.1)])
        });
        let settings: Vec<Setting> = pairs.chain(groups).collect();
        self.measure(Part::Each, &settings).map(drop)
    }

    /// Counts steps from elsewhere, where the config leaves that open.
    fn restart(&mut self) -> Result<(), E> {
        let Some((best, before)) = self.best.clone() else { return Ok(()) };
        let free = best.iter().enumerate().filter(|(n, _)| self.space.coordinates[*n].1 == Over::Auto);
        let others = free.flat_map(|(n, now)| {
            let others = [Over::Auto, Over::Zero, Over::Initial].into_iter().filter(|over| *over != now.over);
            others.map(move |over| (n, Coordinate { over, ..*now }))
        });
        let moves = self.moves(&best, others.collect())?;
        self.together(&best, before, &moves)
    }
}

/// The changes that multiply the step of each coordinate by a factor.
fn scaled(setting: &Setting, factor: f64) -> Vec<(usize, Coordinate)> {
    let changed = |now: &Coordinate| Coordinate { step: short(now.step * factor), ..*now };
    setting.iter().map(changed).enumerate().collect()
}

fn with(from: &Setting, changes: &[(usize, Coordinate)]) -> Setting {
    let mut setting = from.clone();
    changes.iter().for_each(|(n, coordinate)| setting[*n] = *coordinate);
    setting
}

fn key(setting: &Setting) -> Vec<(u64, u8)> {
    setting.iter().map(|Coordinate { step, over }| (step.to_bits(), *over as u8)).collect()
}

/// Two to this power.
fn power(exponent: i32) -> f64 {
    let one = if exponent < 0 { 0.5 } else { 2.0 };
    (0..exponent.abs()).fold(1.0, |power: f64, _| power * one)
}

/// Rounded to three significant decimal digits, so that a step can be copied from a report into a config. 1
/// if it would not be a step.
fn short(step: f64) -> f64 {
    let short = format!("{step:.2e}").parse().unwrap_or(step);
    if short > 0.0 && f64::is_finite(short) { short } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// Tensors with a number of weights, and how much the metric suffers from their rounding. The size is
    /// that of whole numbers of steps with a normal distribution, about; counted from initial values, a
    /// quarter of that spread.
    const TENSORS: [(f64, f64, f64); 4] =
        [(60_000.0, 0.05, 1.0), (2_000.0, 0.2, 8.0), (300.0, 0.3, 100.0), (60.0, 0.01, 0.1)];

    fn model(setting: &[Coordinate]) -> Measured {
        let (mut bits, mut drop) = (400.0, 0.0);
        for ((count, spread, loss), Coordinate { step, over }) in TENSORS.iter().zip(setting) {
            let spread = if *over == Over::Zero { *spread } else { spread / 4.0 };
            let ratio = 4.0 * spread / step;
            bits += count * 0.5 * libm::log(1.0 + ratio * ratio);
            drop += loss * step * step;
        }
        Measured { bytes: (bits / 8.0) as u64, drop }
    }

    fn space() -> Space {
        let coordinates = TENSORS.iter().map(|(_, spread, _)| (*spread, Over::Auto)).collect();
        Space { coordinates, common: 0.06, max_drop: 0.05 }
    }

    /// What was tried, and whether the search was completed; at most `most` settings are tried.
    fn run(space: &Space, most: usize) -> (Vec<(Part, Setting, Measured)>, bool) {
        let mut tried = Vec::new();
        let complete = search_steps(space, |part, settings| {
            let settings = settings.iter().take(most - tried.len());
            let found: Vec<Measured> = settings.clone().map(|setting| model(setting)).collect();
            tried.extend(settings.zip(&found).map(|(setting, found)| (part, setting.clone(), *found)));
            Ok::<_, Infallible>(found)
        });
        (tried, complete.unwrap_or_else(|e| match e {}))
    }

    fn smallest(tried: &[(Part, Setting, Measured)], max_drop: f64) -> u64 {
        tried
            .iter()
            .filter(|(_, _, found)| found.drop <= max_drop)
            .map(|(_, _, found)| found.bytes)
            .min()
            .unwrap()
    }

    #[test]
    fn each_tensor_gets_its_step() {
        let (tried, complete) = run(&space(), 10_000);
        assert!(complete);
        let of_lines: Vec<_> = tried.iter().filter(|(part, ..)| *part != Part::Each).cloned().collect();
        // The same from another program: the best of the three lines, which is one step of 0.0214 for all;
        // and the least size for any four steps, by Lagrange multipliers, which is 871.
        assert_eq!(smallest(&of_lines, 0.05), 7_767);
        let best = smallest(&tried, 0.05);
        assert!((871..900).contains(&best), "{best}");
        assert!(tried.len() < 400, "{}", tried.len());
        // Nothing twice, and every step as short as a person would write it.
        for (n, (_, setting, _)) in tried.iter().enumerate() {
            assert!(tried[..n].iter().all(|(_, other, _)| other != setting));
            assert!(setting.iter().all(|one| format!("{:.2e}", one.step).parse() == Ok(one.step)));
        }
    }

    #[test]
    fn a_search_that_is_ended_keeps_what_it_has() {
        for most in [1, 10, 13, 50, 100] {
            let (tried, complete) = run(&space(), most);
            assert_eq!((tried.len(), complete), (most, false));
        }
    }

    #[test]
    fn what_the_config_says_of_the_start_stays() {
        let mut space = space();
        for (n, over) in [Over::Zero, Over::Initial, Over::Zero, Over::Initial].into_iter().enumerate() {
            space.coordinates[n].1 = over;
        }
        let (tried, _) = run(&space, 10_000);
        assert!(tried.iter().all(|(part, ..)| *part != Part::CommonFromZero));
        let given = |(_, setting, _): &(Part, Setting, Measured)| {
            setting.iter().zip(&space.coordinates).all(|(one, (_, over))| one.over == *over)
        };
        assert!(tried.iter().all(given));
    }

    /// Where even short steps lose too much, shorter ones are tried, and at last the search gives up.
    #[test]
    fn shorter_steps_are_tried_where_none_is_within() {
        let tight = Space { max_drop: 1e-6, ..space() };
        let (tried, complete) = run(&tight, 10_000);
        assert!(complete && tried.iter().any(|(_, _, found)| found.drop <= 1e-6));
        let never = Space { max_drop: -1.0, ..space() };
        let (tried, complete) = run(&never, 10_000);
        // Ten octaves and eleven shorter ones on each of three lines.
        assert_eq!((tried.len(), complete), (63, true));
    }

    #[test]
    fn steps_are_short_numbers() {
        assert_eq!([0.123456, 9.996, 1e-300].map(short), [0.123, 10.0, 1e-300]);
        assert_eq!([0.0, f64::NAN, f64::INFINITY, -1.0].map(short), [1.0; 4]);
        assert_eq!([-2, 0, 3].map(power), [0.25, 1.0, 8.0]);
    }
}
