//! The search: sparsities on several lines, first evenly spaced, then bisecting where each line
//! exceeds the allowed drop.

/// The lines to search.
#[derive(Clone, Debug, PartialEq)]
pub struct Lines {
    /// Whether each line is a range of sparsities; otherwise it has a single point.
    pub ranged: Vec<bool>,
    /// Smallest sparsity, 0 … 1.
    pub low: f64,
    /// Largest sparsity, not below `low`.
    pub high: f64,
    /// Number of equal steps from the smallest to the largest sparsity, 1 or more. The end points of the
    /// steps are tried on every line.
    pub steps: u32,
    /// A line is done when its largest sparsity within the allowed drop and the next larger one tried are at
    /// most this far apart. Above 0.
    pub tolerance: f64,
}

impl Lines {
    /// The sparsities that are tried on every ranged line, in increasing order.
    pub fn grid(&self) -> Vec<f64> {
        let Self { low, high, steps, .. } = self;
        if low == high {
            return vec![*low];
        }
        let at = |n: u32| low + (high - low) * f64::from(n) / f64::from(*steps);
        (0..*steps).map(at).chain([*high]).collect()
    }

    /// Maximum number of points tried on all lines together.
    pub fn most_points(&self) -> u64 {
        let mut width = (self.high - self.low) / f64::from(self.steps);
        let mut halvings = 0;
        while width > self.tolerance {
            width /= 2.0;
            halvings += 1;
        }
        let of_range = self.grid().len() as u64 + halvings;
        self.ranged.iter().map(|ranged| if *ranged { of_range } else { 1 }).sum()
    }
}

/// Tries points on the lines. First come the sparsities of the grid, each on all lines. Then, in each round,
/// every line tries the midpoint between its largest sparsity within the allowed drop and the next larger one
/// tried. A line needs no midpoints if none of its points is within the allowed drop, or if its largest
/// sparsity is.
///
/// `ask` gets points to be tried, each with the index of its line and a sparsity (`None` for a line with a
/// single point). It returns for each whether it is within the allowed drop, or for the first ones only to
/// end the search. Returns whether the search was completed.
///
/// # Errors
/// The first error of `ask`.
pub fn search<E>(
    lines: &Lines,
    mut ask: impl FnMut(&[(usize, Option<f64>)]) -> Result<Vec<bool>, E>,
) -> Result<bool, E> {
    // Per line, the largest sparsity within the allowed drop and the smallest tried one above it.
    let mut brackets: Vec<(Option<f64>, f64)> = vec![(None, lines.high); lines.ranged.len()];
    let mut points = Vec::new();
    for (n, sparsity) in lines.grid().into_iter().enumerate() {
        let here = lines.ranged.iter().enumerate().filter(|(_, ranged)| **ranged || n == 0);
        points.extend(here.map(|(line, ranged)| (line, ranged.then_some(sparsity))));
    }
    let found = ask(&points)?;
    if found.len() < points.len() {
        return Ok(false);
    }
    for ((line, sparsity), within) in points.into_iter().zip(found) {
        let (Some(sparsity), (largest, next)) = (sparsity, &mut brackets[line]) else { continue };
        if within {
            (*largest, *next) = (Some(sparsity), sparsity);
        } else if *largest == Some(*next) {
            *next = sparsity;
        }
    }
    loop {
        let middle = |(line, bracket): (usize, &(Option<f64>, f64))| {
            let (largest, next) = (bracket.0?, bracket.1);
            let middle = largest + (next - largest) / 2.0;
            let open = next - largest > lines.tolerance && middle > largest && middle < next;
            open.then_some((line, Some(middle)))
        };
        let points: Vec<(usize, Option<f64>)> = brackets.iter().enumerate().filter_map(middle).collect();
        if points.is_empty() {
            return Ok(true);
        }
        let found = ask(&points)?;
        if found.len() < points.len() {
            return Ok(false);
        }
        for ((line, sparsity), within) in points.into_iter().zip(found) {
            let (Some(middle), (largest, next)) = (sparsity, &mut brackets[line]) else { continue };
            if within { *largest = Some(middle) } else { *next = middle }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn lines(ranged: &[bool], steps: u32) -> Lines {
        Lines { ranged: ranged.to_vec(), low: 0.0, high: 1.0, steps, tolerance: 0.125 }
    }

    /// Returns the points tried and whether the search was completed. `within` decides which points are
    /// within the allowed drop; at most `most` points are tried.
    fn tried(lines: &Lines, most: usize, within: impl Fn(usize, f64) -> bool) -> (Vec<(usize, f64)>, bool) {
        let mut tried = Vec::new();
        let done = search(lines, |points| {
            let points = points.iter().map(|(line, sparsity)| (*line, sparsity.unwrap_or(-1.0)));
            let points: Vec<(usize, f64)> = points.take(most - tried.len()).collect();
            let found = points.iter().map(|(line, sparsity)| within(*line, *sparsity)).collect();
            tried.extend(points);
            Ok::<_, Infallible>(found)
        });
        (tried, done.unwrap_or_else(|e| match e {}))
    }

    #[test]
    fn a_line_is_bisected_to_the_tolerance() {
        let (points, done) = tried(&lines(&[true], 1), 100, |_, s| s <= 0.7);
        assert_eq!(points, [0.0, 1.0, 0.5, 0.75, 0.625].map(|s| (0, s)));
        assert!(done);
        assert_eq!(lines(&[true], 1).most_points(), 5);
    }

    #[test]
    fn lines_take_turns() {
        let (points, done) = tried(&lines(&[true, true, false], 2), 100, |line, s| match line {
            0 => s <= 0.1,
            _ => s <= 0.8,
        });
        let expected = [
            (0, 0.0),
            (1, 0.0),
            (2, -1.0),
            (0, 0.5),
            (1, 0.5),
            (0, 1.0),
            (1, 1.0),
            (0, 0.25),
            (1, 0.75),
            (0, 0.125),
            (1, 0.875),
        ];
        assert_eq!(points, expected);
        assert!(done);
        assert_eq!(lines(&[true, true, false], 2).most_points(), 11);
    }

    #[test]
    fn what_leaves_no_room_is_not_bisected() {
        for within in [true, false] {
            let (points, done) = tried(&lines(&[true], 2), 100, |_, _| within);
            assert_eq!((points.len(), done), (3, true));
        }
    }

    /// The metric is worse in the middle: the largest sparsity within the allowed drop counts,
    /// whatever happens below it.
    #[test]
    fn a_line_that_comes_back_is_followed_from_its_last_place_within() {
        let (points, _) = tried(&lines(&[true], 4), 100, |_, s| !(0.2..0.6).contains(&s) && s < 0.9);
        let sparsities: Vec<f64> = points.iter().map(|(_, s)| *s).collect();
        assert_eq!(sparsities, [0.0, 0.25, 0.5, 0.75, 1.0, 0.875]);
    }

    #[test]
    fn a_search_that_is_ended() {
        let (points, done) = tried(&lines(&[true, true], 1), 5, |_, s| s <= 0.7);
        assert_eq!((points.len(), done), (5, false));
    }

    #[test]
    fn one_sparsity_is_one_point() {
        let line = Lines { low: 0.5, high: 0.5, ..lines(&[true], 3) };
        assert_eq!(tried(&line, 100, |_, _| true), (vec![(0, 0.5)], true));
        assert_eq!(line.most_points(), 1);
    }

    #[test]
    fn the_smallest_tolerance_ends() {
        let line = Lines { tolerance: f64::MIN_POSITIVE, ..lines(&[true], 1) };
        let (points, done) = tried(&line, 10_000, |_, s| s <= 0.3);
        assert!(done && points.len() < 100, "{}", points.len());
    }
}
