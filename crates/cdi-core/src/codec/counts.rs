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
    /// The levels from the lowest to the highest that occur: a small tensor has few, and the rest would take
    /// longer than the tensor.
    counts: Vec<Histogram>,
    /// The number of the first of these among all levels.
    low: usize,
}

/// Thresholds with their tables.
#[derive(Debug, Default)]
pub struct Tables {
    pub thresholds: Vec<i16>,
    pub tables: Vec<Table>,
}

impl Counts {
    /// Empty counts, for levels around `middle`.
    pub fn new(middle: i32) -> Self {
        Self { first: middle - LEVELS as i32 / 2, counts: Vec::new(), low: 0 }
    }

    /// The number of a level among all levels.
    fn number(&self, level: i32) -> usize {
        (level - self.first).clamp(0, LEVELS as i32 - 1) as usize
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
        let (mut least, mut most) = (i32::MAX, i32::MIN);
        for level in levels {
            (least, most) = (least.min(*level), most.max(*level));
        }
        if levels.is_empty() {
            return;
        }
        self.cover(self.number(least), self.number(most));
        let (low, counts) = (self.low as u32, self.counts.as_flattened_mut());
        let mut places = [0; CHUNK];
        for (levels, symbols) in levels.chunks(CHUNK).zip(symbols.chunks(CHUNK)) {
            for (place, (level, symbol)) in places.iter_mut().zip(levels.iter().zip(symbols)) {
                let number = (*level - self.first).clamp(0, LEVELS as i32 - 1) as u32;
                *place = (number - low) << 8 | u32::from(*symbol);
            }
            for place in &places[..symbols.len()] {
                counts[*place as usize] += 1;
            }
        }
    }

    /// Adds other counts, of levels around the same middle, and empties them.
    pub fn take(&mut self, other: &mut Self) {
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
    }

    /// Total number of remaining bits of all symbols.
    pub fn rest(&self, symbols: &Symbols) -> u64 {
        let of = |symbol: usize| u64::from(symbols.count(symbol as u8));
        let rest = |histogram: &Histogram| {
            histogram.iter().enumerate().map(|(symbol, n)| u64::from(*n) * of(symbol)).sum::<u64>()
        };
        self.counts.iter().map(rest).sum()
    }

    /// Joins neighbouring levels while this does not add bits, or while there are too many runs.
    fn runs(&self) -> Vec<Run> {
        let levels = (self.first + self.low as i32..).zip(&self.counts);
        let mut runs: Vec<Run> = levels.filter_map(|(level, histogram)| Run::new(level, histogram)).collect();
        let mut joins: Vec<(f64, Run)> = runs.windows(2).map(|pair| pair[0].join(&pair[1])).collect();
        loop {
            let best = (0..joins.len()).min_by(|a, b| joins[*a].0.total_cmp(&joins[*b].0));
            let Some(n) = best.filter(|n| joins[*n].0 <= 0.0 || runs.len() > MOST_TABLES) else { break };
            runs[n] = joins.remove(n).1;
            runs.remove(n + 1);
            if n > 0 {
                joins[n - 1] = runs[n - 1].join(&runs[n]);
            }
            if n < joins.len() {
                joins[n] = runs[n].join(&runs[n + 1]);
            }
        }
        runs
    }

    /// Estimated bits of the symbols, and of the tables.
    pub fn estimate(&self) -> (f64, f64) {
        self.runs()
            .iter()
            .fold((0.0, 0.0), |(symbols, tables), run| (symbols + run.symbols, tables + run.table))
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
        for (n, run) in runs.iter().enumerate() {
            add((n > 0).then_some(run.level), &run.histogram);
        }
        if runs.is_empty() {
            add(None, &[0; 256]);
        }
        cut
    }
}

/// A run of levels that share a table.
#[derive(Clone, Debug)]
struct Run {
    /// The first of these levels.
    level: i32,
    histogram: Histogram,
    /// The first and the last symbol that occur.
    first: usize,
    last: usize,
    /// Estimated bits: of the symbols, by their own entropy, and of the table for them.
    symbols: f64,
    table: f64,
}

impl Run {
    /// `None` if no symbol occurs.
    fn new(level: i32, histogram: &Histogram) -> Option<Self> {
        let first = histogram.iter().position(|n| *n > 0)?;
        let last = histogram.iter().rposition(|n| *n > 0)?;
        let mut run = Self { level, histogram: *histogram, first, last, symbols: 0.0, table: 0.0 };
        run.estimate();
        Some(run)
    }

    /// The change in bits if this run is joined with the next one, and the joined run.
    fn join(&self, next: &Self) -> (f64, Self) {
        let mut run = self.clone();
        (run.first, run.last) = (self.first.min(next.first), self.last.max(next.last));
        for n in next.first..=next.last {
            run.histogram[n] += next.histogram[n];
        }
        run.estimate();
        (run.symbols + run.table - self.symbols - self.table - next.symbols - next.table, run)
    }

    fn estimate(&mut self) {
        let counts = &self.histogram[self.first..=self.last];
        let sum: u64 = counts.iter().map(|n| u64::from(*n)).sum();
        self.symbols = frequency::entropy(counts);
        let share = |n: &u32| (u64::from(*n) * u64::from(TOTAL)).div_ceil(sum) as u16;
        // The constant covers the threshold that is stored with the table.
        self.table = frequency::golomb_bits(counts[..counts.len() - 1].iter().map(share)) as f64 + 24.0;
    }
}
