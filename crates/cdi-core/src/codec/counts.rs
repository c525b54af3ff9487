//! Counts symbols by level, and finds the thresholds and tables that code them in the fewest bits.

use super::elements::CHUNK;
use super::frequency::{self, Histogram};
use super::levels::MOST_TABLES;
use super::rans::{TOTAL, Table};
use super::symbol::Symbols;

use crate::prelude::*;

/// Number of distinct levels.
const LEVELS: usize = 192;

/// How often each symbol occurs at each level.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// The lowest level. Symbols at lower levels are counted here, those above the highest
    /// level at the highest.
    first: i32,
    /// The levels from the lowest to the highest that occur.
    counts: Vec<Histogram>,
    /// The number of the first of these among all levels.
    low: usize,
    /// While few symbols are counted, each of them in place of all histograms: the number of its level, then
    /// itself in the lowest byte. The histograms of a small tensor would take longer than the tensor.
    few: Vec<u32>,
}

/// How many symbols are kept instead of being counted.
const FEW: usize = 1024;

/// Thresholds with their tables.
#[derive(Debug, Default)]
pub struct Tables {
    pub thresholds: Vec<i16>,
    pub tables: Vec<Table>,
}

impl Counts {
    /// Empty counts, for levels around `middle`.
    pub fn new(middle: i32) -> Self {
        Self { first: middle - LEVELS as i32 / 2, ..Self::default() }
    }

    /// Makes room for the levels from one number to another.
    fn cover(&mut self, least: usize, most: usize) {
        if self.counts.is_empty() {
            self.low = least;
        }
        if least < self.low {
            self.counts.splice(0..0, (least..self.low).map(|_| [0; 256]));
            self.low = least;
        }
        let len = self.counts.len().max(most + 1 - self.low);
        self.counts.resize(len, [0; 256]);
    }

    /// Counts each symbol at its level.
    #[inline(always)]
    pub fn add(&mut self, levels: &[i32], symbols: &[u8]) {
        let first = self.first;
        // The number of a level among all levels.
        let number = |level: i32| (level - first).clamp(0, LEVELS as i32 - 1) as u32;
        if self.counts.is_empty() && self.few.len() + symbols.len() <= FEW {
            let place = |(level, symbol): (&i32, &u8)| number(*level) << 8 | u32::from(*symbol);
            self.few.extend(levels.iter().zip(symbols).map(place));
            return;
        }
        self.count_few();
        let (mut least, mut most) = (i32::MAX, i32::MIN);
        for level in levels {
            (least, most) = (least.min(*level), most.max(*level));
        }
        if levels.is_empty() {
            return;
        }
        self.cover(number(least) as usize, number(most) as usize);
        let (low, counts) = (self.low as u32, self.counts.as_flattened_mut());
        let mut places = [0; CHUNK];
        for (levels, symbols) in levels.chunks(CHUNK).zip(symbols.chunks(CHUNK)) {
            for (place, (level, symbol)) in places.iter_mut().zip(levels.iter().zip(symbols)) {
                *place = (number(*level) - low) << 8 | u32::from(*symbol);
            }
            for place in &places[..symbols.len()] {
                counts[*place as usize] += 1;
            }
        }
    }

    /// Counts the symbols that were few.
    fn count_few(&mut self) {
        for place in core::mem::take(&mut self.few) {
            let number = (place >> 8) as usize;
            self.cover(number, number);
            self.counts[number - self.low][(place & 0xFF) as usize] += 1;
        }
    }

    /// Adds other counts, of levels around the same middle, and empties them.
    pub fn take(&mut self, other: &mut Self) {
        self.count_few();
        other.count_few();
        if other.counts.is_empty() {
            return;
        }
        self.cover(other.low, other.low + other.counts.len() - 1);
        let own = &mut self.counts[other.low - self.low..];
        for (own, other) in own.as_flattened_mut().iter_mut().zip(other.counts.as_flattened()) {
            *own += *other;
        }
        other.counts.clear();
    }

    /// Makes these counts empty ones, around the same middle as others.
    pub fn start_like(&mut self, other: &Self) {
        (self.first, self.low) = (other.first, other.low);
        self.counts.clear();
        self.few.clear();
    }

    /// Total number of remaining bits of all symbols.
    pub fn rest(&self, symbols: &Symbols) -> u64 {
        let of = |symbol: usize| u64::from(symbols.count(symbol as u8));
        let rest = |histogram: &Histogram| {
            histogram.iter().enumerate().map(|(symbol, n)| u64::from(*n) * of(symbol)).sum::<u64>()
        };
        let few: u64 = self.few.iter().map(|place| of((place & 0xFF) as usize)).sum();
        few + self.counts.iter().map(rest).sum::<u64>()
    }

    /// Joins neighbouring levels while this does not add bits, or while there are too many runs.
    fn runs(&self) -> Runs {
        let mut runs = Runs::default();
        if self.few.is_empty() {
            for (level, histogram) in (self.first + self.low as i32..).zip(&self.counts) {
                let symbols = (0..=u8::MAX).zip(histogram).filter(|(_, n)| **n > 0);
                runs.add(level, symbols.map(|(symbol, n)| (symbol, *n)));
            }
        } else {
            let mut places = self.few.clone();
            places.sort_unstable();
            for places in places.chunk_by(|a, b| a >> 8 == b >> 8) {
                let equal = places.chunk_by(|a, b| a == b);
                let level = self.first + (places[0] >> 8) as i32;
                runs.add(level, equal.map(|equal| (equal[0] as u8, equal.len() as u32)));
            }
        }
        let mut gains: Vec<f64> = (1..runs.runs.len()).map(|n| runs.gain(n - 1)).collect();
        loop {
            let best = (0..gains.len()).min_by(|a, b| gains[*a].total_cmp(&gains[*b]));
            let Some(n) = best.filter(|n| gains[*n] <= 0.0 || runs.runs.len() > MOST_TABLES) else { break };
            gains.remove(n);
            runs.join(n);
            if n > 0 {
                gains[n - 1] = runs.gain(n - 1);
            }
            if n < gains.len() {
                gains[n] = runs.gain(n);
            }
        }
        runs
    }

    /// Estimated bits of the symbols, and of the tables.
    pub fn estimate(&self) -> (f64, f64) {
        self.runs()
            .runs
            .iter()
            .fold((0.0, 0.0), |(symbols, tables), run| (symbols + run.bits.symbols, tables + run.bits.table))
    }

    /// The thresholds and tables that give the fewest bits.
    pub fn cut(&self) -> Tables {
        let runs = self.runs();
        let mut cut = Tables::default();
        let mut add = |level: Option<i32>, histogram: &Histogram| {
            let frequencies = frequency::frequencies(histogram);
            cut.tables.push(Table::new(&frequencies).expect("made to sum to the total"));
            cut.thresholds.extend(level.map(|level| level as i16));
        };
        for (n, run) in runs.runs.iter().enumerate() {
            let mut histogram = [0; 256];
            runs.of(run).iter().for_each(|(symbol, n)| histogram[usize::from(*symbol)] = *n);
            add((n > 0).then_some(run.level), &histogram);
        }
        if runs.runs.is_empty() {
            add(None, &[0; 256]);
        }
        cut
    }
}

/// A symbol and how often it occurs, at least once.
type Occurrences = (u8, u32);

/// Runs of levels, each of which shares a table. A small tensor has few symbols, far apart, and many levels:
/// so symbols that do not occur are left out, and all runs share their memory.
#[derive(Debug, Default)]
struct Runs {
    runs: Vec<Run>,
    /// The symbols of the runs, in their order, with room where runs were joined.
    symbols: Vec<Occurrences>,
    /// The symbols of two runs.
    both: Vec<Occurrences>,
}

#[derive(Debug)]
struct Run {
    /// The first of these levels.
    level: i32,
    /// Where the symbols that occur begin, ascending, and how many there are.
    start: usize,
    len: usize,
    /// How often they occur, all together.
    sum: u64,
    bits: Bits,
}

/// Estimated bits: of the symbols of a run, by their own entropy, and of the table for them.
#[derive(Clone, Copy, Debug, Default)]
struct Bits {
    symbols: f64,
    table: f64,
}

impl Bits {
    fn estimate(counts: &[Occurrences], sum: u64) -> Self {
        let share = |n: u32| (u64::from(n) * u64::from(TOTAL)).div_ceil(sum) as u16;
        let shares = counts.iter().map(|(symbol, n)| (*symbol, share(*n)));
        // The constant covers the threshold that is stored with the table.
        let table = frequency::golomb_bits(shares) as f64 + 24.0;
        Self { symbols: frequency::entropy(counts.iter().map(|(_, n)| *n), sum), table }
    }
}

impl Runs {
    /// Adds a run, if any symbols occur.
    fn add(&mut self, level: i32, symbols: impl Iterator<Item = Occurrences>) {
        let start = self.symbols.len();
        self.symbols.extend(symbols);
        let own = &self.symbols[start..];
        if !own.is_empty() {
            let sum = own.iter().map(|(_, n)| u64::from(*n)).sum();
            let bits = Bits::estimate(own, sum);
            self.runs.push(Run { level, start, len: own.len(), sum, bits });
        }
    }

    fn of(&self, run: &Run) -> &[Occurrences] {
        &self.symbols[run.start..run.start + run.len]
    }

    /// Puts the symbols of a run and of the next one into `both`. Returns how often they
    /// occur, and their bits.
    fn both(&mut self, n: usize) -> (u64, Bits) {
        let mut both = core::mem::take(&mut self.both);
        both.clear();
        let (run, next) = (&self.runs[n], &self.runs[n + 1]);
        let (mut own, mut others) = (self.of(run), self.of(next));
        while let (Some((a, n)), Some((b, m))) = (own.first(), others.first()) {
            both.push((*a.min(b), if a <= b { *n } else { 0 } + if b <= a { *m } else { 0 }));
            (own, others) = (&own[usize::from(a <= b)..], &others[usize::from(b <= a)..]);
        }
        both.extend_from_slice(own);
        both.extend_from_slice(others);
        let sum = run.sum + next.sum;
        let bits = Bits::estimate(&both, sum);
        self.both = both;
        (sum, bits)
    }

    /// The change in bits if a run is joined with the next one.
    fn gain(&mut self, n: usize) -> f64 {
        let (_, Bits { symbols, table }) = self.both(n);
        let (own, next) = (self.runs[n].bits, self.runs[n + 1].bits);
        symbols + table - own.symbols - own.table - next.symbols - next.table
    }

    /// Joins a run with the next one.
    fn join(&mut self, n: usize) {
        let (sum, bits) = self.both(n);
        self.runs.remove(n + 1);
        let run = &mut self.runs[n];
        (run.len, run.sum, run.bits) = (self.both.len(), sum, bits);
        self.symbols[run.start..run.start + run.len].copy_from_slice(&self.both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_symbols_give_the_tables_of_their_histograms() {
        let levels: Vec<i32> = (0..900).map(|n| n * n % 61 - 30).collect();
        let symbols: Vec<u8> = (0..900).map(|n| (n * n % 7 + n % 5 * 40) as u8).collect();
        let (mut few, mut counted) = (Counts::new(0), Counts::new(0));
        for counts in [&mut few, &mut counted] {
            for (levels, symbols) in levels.chunks(300).zip(symbols.chunks(300)) {
                counts.add(levels, symbols);
            }
        }
        assert!(few.counts.is_empty());
        counted.count_few();
        assert!(counted.few.is_empty());
        assert_eq!(few.estimate(), counted.estimate());
        let (few, counted) = (few.cut(), counted.cut());
        assert_eq!((few.thresholds, few.tables), (counted.thresholds, counted.tables));
    }

    #[test]
    fn counts_of_several_threads_are_those_of_one() {
        let levels: Vec<i32> = (0..5000).map(|n| n % 50).collect();
        let symbols: Vec<u8> = (0..5000).map(|n| (n % 90) as u8).collect();
        let (mut all, mut sum, mut part) = (Counts::new(20), Counts::new(20), Counts::default());
        all.add(&levels, &symbols);
        for range in [0..2000, 2000..2100, 2100..5000] {
            part.start_like(&sum);
            part.add(&levels[range.clone()], &symbols[range]);
            sum.take(&mut part);
        }
        assert_eq!((sum.low, &sum.counts), (all.low, &all.counts));
    }
}
