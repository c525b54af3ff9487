//! |delta| of a cell as one of 256 levels, and the colours that levels have on paper.

use crate::analysis::{Cell, HeatMap};

/// Levels of a decade: one is 12 % more than the one before it.
pub(super) const PER_DECADE: i32 = 20;
/// The level of 1. Level 1 is 1.1e-10, level 254 is 501.
pub(super) const OF_ONE: i32 = 200;
/// Exactly 0.
const ZERO: u8 = 0;
/// Some delta of the cell is NaN or infinite.
pub(super) const NOT_FINITE: u8 = 255;
/// Sleeping shares are told apart to a fifteenth: 0 is none of the weights, 15 all.
pub(super) const ALL_ASLEEP: u8 = 15;

/// The level of a cell's mean |delta|.
pub(super) fn level(cell: &Cell) -> u8 {
    if !cell.finite {
        return NOT_FINITE;
    }
    if cell.mean == 0.0 {
        return ZERO;
    }
    let steps = (libm::log10(cell.mean) * f64::from(PER_DECADE)).round() as i32;
    (steps + OF_ONE).clamp(1, i32::from(NOT_FINITE) - 1) as u8
}

/// The sleeping share in fifteenths: 0 only for none, 15 only for all.
pub(super) fn asleep(cell: &Cell) -> u8 {
    match cell.asleep {
        0.0 => 0,
        1.0 => ALL_ASLEEP,
        share => ((share * f32::from(ALL_ASLEEP)).round() as u8).clamp(1, ALL_ASLEEP - 1),
    }
}

/// The levels between which colours change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scale {
    pub low: u8,
    pub high: u8,
}

impl Scale {
    /// For all maps together: within it lie the cells of each that change, but for their outermost
    /// hundredths, so that no small tensor is all of one colour because a large one changed less or more.
    /// From one to four decades.
    pub fn of<'m>(maps: impl IntoIterator<Item = &'m HeatMap>) -> Self {
        let ends = maps.into_iter().filter_map(|map| {
            let live = map.cells.iter().filter(|cell| cell.asleep < 1.0).map(level);
            let mut live: Vec<u8> = live.filter(|level| !matches!(*level, ZERO | NOT_FINITE)).collect();
            live.sort_unstable();
            let outside = live.len() / 100;
            Some((*live.get(outside)?, *live.get(live.len() - 1 - outside)?))
        });
        let (low, high) = ends.fold((u8::MAX, 0), |(low, high), (l, h)| (low.min(l), high.max(h)));
        const LEAST: u8 = PER_DECADE as u8;
        if low > high {
            return Self { low: OF_ONE as u8 - 4 * LEAST, high: OF_ONE as u8 };
        }
        let high = high.max(1 + LEAST);
        Self { low: low.clamp(high.saturating_sub(4 * LEAST).max(1), high - LEAST), high }
    }

    /// Whole powers of ten in it with their place, 0 … 1.
    pub fn ticks(self) -> Vec<(i32, f64)> {
        let (low, high) = (i32::from(self.low), i32::from(self.high));
        let span = f64::from(high - low);
        (-15..15)
            .map(|power| (power, power * PER_DECADE + OF_ONE))
            .filter(|(_, level)| (low..=high).contains(level))
            .map(|(power, level)| (power, f64::from(level - low) / span))
            .collect()
    }

    /// The colour of a cell on white paper, as the page has it in its light form.
    pub fn colour(self, cell: &Cell) -> [u8; 3] {
        let level = level(cell);
        if level == NOT_FINITE {
            return NOT_FINITE_COLOUR;
        }
        let place = f64::from(level.saturating_sub(self.low)) / f64::from(self.high - self.low);
        mix(ramp(place.min(1.0)), ASLEEP_COLOUR, f64::from(asleep(cell)) / f64::from(ALL_ASLEEP))
    }
}

/// From small to large: one hue, evenly darker by eye, told apart by the colour-blind. The
/// page's style has the same.
pub(super) const RAMP: [[u8; 3]; 6] = [
    [0xFF, 0xF3, 0xDC],
    [0xFB, 0xD3, 0x8D],
    [0xF2, 0xA5, 0x41],
    [0xD9, 0x72, 0x1A],
    [0xA3, 0x46, 0x0C],
    [0x5E, 0x23, 0x08],
];
/// Cells in which every weight sleeps.
pub(super) const ASLEEP_COLOUR: [u8; 3] = [0x2C, 0x5A, 0xA0];
/// Cells with a weight that is no number.
pub(super) const NOT_FINITE_COLOUR: [u8; 3] = [0xE0, 0x20, 0xC0];

fn ramp(place: f64) -> [u8; 3] {
    let at = place * (RAMP.len() - 1) as f64;
    let n = (at as usize).min(RAMP.len() - 2);
    mix(RAMP[n], RAMP[n + 1], at - n as f64)
}

fn mix(a: [u8; 3], b: [u8; 3], part: f64) -> [u8; 3] {
    std::array::from_fn(|n| (f64::from(a[n]) * (1.0 - part) + f64::from(b[n]) * part).round() as u8)
}

/// `#RRGGBB`.
pub(super) fn hex([r, g, b]: [u8; 3]) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Grid;
    use crate::tensor::{Layout, Matrix};

    fn cell(mean: f64, asleep: f32) -> Cell {
        Cell { mean, asleep, finite: true }
    }

    #[test]
    fn levels_of_cells() {
        // 20 log10(x) + 200, rounded.
        let means = [0.0, 1e-300, 1e-10, 1.1e-10, 1e-4, 1.12e-4, 1.0, 500.0, 1e9];
        assert_eq!(means.map(|mean| level(&cell(mean, 0.0))), [0, 1, 1, 1, 120, 121, 200, 254, 254]);
        assert_eq!(level(&Cell { mean: 1.0, asleep: 0.0, finite: false }), 255);
        let shares = [0.0, 0.001, 0.1, 0.5, 0.999, 1.0];
        assert_eq!(shares.map(|share| asleep(&cell(1.0, share))), [0, 1, 2, 8, 14, 15]);
    }

    #[test]
    fn a_scale_holds_every_map_but_its_outermost_hundredths() {
        let map = |means: &[f64]| {
            let grid = Grid::new(Matrix { rows: 1, cols: means.len() }, (1, usize::MAX));
            HeatMap { grid, layout: Layout::OutIn, cells: means.iter().map(|m| cell(*m, 0.0)).collect() }
        };
        let mut means = vec![1e-2; 300];
        means[..8].copy_from_slice(&[1e-9, 1e-9, 1e-9, 1e-4, 1.0, 1.0, 1.0, 1.0]);
        assert_eq!(Scale::of(&[map(&means)]), Scale { low: 120, high: 200 });
        means[7] = 1e-2;
        assert_eq!(Scale::of(&[map(&means)]), Scale { low: 120, high: 160 });
        // A small tensor that changed more.
        assert_eq!(Scale::of(&[map(&means), map(&[1e-1])]), Scale { low: 120, high: 180 });
        // One decade at least, four at most.
        assert_eq!(Scale::of(&[map(&[1e-3])]), Scale { low: 120, high: 140 });
        assert_eq!(Scale::of(&[map(&[1e-300])]), Scale { low: 1, high: 21 });
        assert_eq!(Scale::of(&[map(&[1e-8, 1.0])]), Scale { low: 120, high: 200 });
        // What sleeps, is 0 or no number has no part in it.
        let odd = [cell(1.0, 1.0), cell(0.0, 0.0), Cell { mean: 1.0, asleep: 0.0, finite: false }];
        let odd = HeatMap { cells: odd.to_vec(), ..map(&[0.0; 3]) };
        assert_eq!(Scale::of(&[odd]), Scale { low: 120, high: 200 });
        assert_eq!(Scale { low: 110, high: 160 }.ticks(), [(-4, 0.2), (-3, 0.6), (-2, 1.0)]);
    }

    #[test]
    fn colours_go_from_light_to_dark_and_to_blue() {
        let scale = Scale { low: 100, high: 200 };
        assert_eq!(hex(scale.colour(&cell(1e-9, 0.0))), "#fff3dc");
        assert_eq!(hex(scale.colour(&cell(1.0, 0.0))), "#5e2308");
        assert_eq!(hex(scale.colour(&cell(0.0, 1.0))), "#2c5aa0");
        // A fifth of the way is the second of six colours.
        assert_eq!(hex(scale.colour(&cell(1e-4, 0.0))), "#fbd38d");
        assert_eq!(hex(scale.colour(&Cell { mean: 1.0, asleep: 0.0, finite: false })), "#e020c0");
        // 7.5 fifteenths are 8: the lightest colour mixed with blue, (255 * 7 + 44 * 8) / 15 of red.
        assert_eq!(hex(scale.colour(&cell(1e-9, 0.5))), "#8ea1bc");
    }
}
