//! A share as a small bar of eighths of a character.

const CELLS: usize = 8;
const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
const TRACK: char = '·';

/// The bar of a percentage. Whatever is above 0 shows, and only the whole fills it.
pub fn bar(percentage: f64) -> String {
    let steps = CELLS * 8;
    let filled = match (percentage / 100.0 * steps as f64).round() as usize {
        0 if percentage > 0.0 => 1,
        n if n >= steps && percentage < 100.0 => steps - 1,
        n => n.min(steps),
    };
    let mut bar = "█".repeat(filled / 8);
    if !filled.is_multiple_of(8) {
        bar.push(EIGHTHS[filled % 8]);
    }
    bar.extend(std::iter::repeat_n(TRACK, CELLS - filled.div_ceil(8)));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_share() {
        let bars = [0.0, 0.001, 1.5625, 23.6, 50.0, 58.2, 99.99, 100.0].map(bar);
        assert_eq!(
            bars,
            ["········", "▏·······", "▏·······", "█▉······", "████····", "████▋···", "███████▉", "████████"]
        );
    }
}
