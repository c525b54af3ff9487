//! The metric against the size of the file, for every point that `tune` tried.

use super::plot::{Plot, at, label, line};
use crate::report::tune::{by_recipe, number, tune_words};
use crate::text::significant;
use crate::tune::{Better, TuneReport, front};

const WIDTH: f64 = 760.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 30.0;
const FLOOR: f64 = 330.0;
const LEGEND_LINE: f64 = 18.0;
/// Colours before they come again.
const COLOURS: usize = 8;

/// A line for each recipe through its points, filled where within the drop; of a search for steps one line,
/// through the points that nothing beats; what may be dropped; a ring around the winner.
pub(in crate::report) fn tune(tune: &TuneReport) -> Plot {
    let recipes = by_recipe(tune);
    let limit = match tune.better {
        Better::Higher => tune.original_metric - tune.max_drop,
        Better::Lower => tune.original_metric + tune.max_drop,
    };
    let most = tune.points.iter().map(|p| p.bytes).chain([tune.original_bytes, 1]).max().unwrap_or(1) as f64;
    let metrics = tune.points.iter().map(|p| p.metric).chain([tune.original_metric, limit]);
    let (low, high) = metrics.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), m| (a.min(m), b.max(m)));
    let (low, high) = if low < high { (low, high) } else { (low - 1.0, high + 1.0) };
    // Far apart their difference overflows: half of each is taken.
    let part = |m: f64| (m / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0);
    let sizes = Axis::of(tune, most);
    let x = |bytes: f64| LEFT + 6.0 + (WIDTH - RIGHT - LEFT - 12.0) * sizes.part(bytes);
    let y = |metric: f64| FLOOR - 8.0 - (FLOOR - TOP - 16.0) * part(metric);

    let mut body = String::new();
    for tick in ticks(low, high, 6) {
        line(&mut body, "grid", (LEFT, y(tick)), (WIDTH - RIGHT, y(tick)));
        label(&mut body, "", "end", (LEFT - 6.0, y(tick) + 3.5), significant(tick, 4));
    }
    for tick in sizes.ticks() {
        line(&mut body, "axis", (x(tick), FLOOR), (x(tick), FLOOR + 4.0));
        label(&mut body, "", "middle", (x(tick), FLOOR + 16.0), size(tick));
    }
    line(&mut body, "axis", (LEFT, FLOOR), (WIDTH - RIGHT, FLOOR));
    let better = format!("metric ({} is better)", tune.better.name());
    label(&mut body, "", "start", (4.0, 14.0), better);
    label(&mut body, "", "end", (WIDTH - RIGHT, FLOOR + 32.0), "size of the pruned file");

    line(&mut body, "limit", (LEFT, y(limit)), (WIDTH - RIGHT, y(limit)));
    let words = format!("original {}, at most {} worse", number(tune.original_metric), number(tune.max_drop));
    // On the side of the line where the curves are not.
    let above = if tune.better == Better::Higher { y(limit) - 5.0 } else { y(limit) + 13.0 };
    label(&mut body, "limit-text", "start", (LEFT + 6.0, above), words);

    for (n, (_, places)) in recipes.iter().enumerate() {
        let points: Vec<(f64, f64)> = places
            .iter()
            .map(|place| (x(tune.points[*place].bytes as f64), y(tune.points[*place].metric)))
            .collect();
        if !sizes.logarithmic {
            body += &polyline(&format!("k{} curve", n % COLOURS), &points);
        }
        for ((x, y), place) in points.iter().zip(places) {
            let class = if tune.points[*place].within { "" } else { " far" };
            body += &circle(&format!("k{}{class}", n % COLOURS), (*x, *y), 3.5);
        }
    }
    if sizes.logarithmic {
        // Of hundreds of points, those that nothing beats.
        let front = front(&tune.points).into_iter().map(|place| &tune.points[place]);
        let front: Vec<(f64, f64)> = front.map(|point| (x(point.bytes as f64), y(point.metric))).collect();
        body += &polyline("k0 curve", &front);
    }
    if let Some(best) = tune.points.get(tune.winner) {
        body += &circle("ring", (x(best.bytes as f64), y(best.metric)), 8.0);
    }
    for (n, (recipe, _)) in recipes.iter().enumerate() {
        let at_y = FLOOR + 50.0 + LEGEND_LINE * n as f64;
        body += &circle(&format!("k{}", n % COLOURS), (LEFT + 8.0, at_y), 3.5);
        label(&mut body, "name", "start", (LEFT + 20.0, at_y + 4.0), recipe);
    }
    let height = FLOOR + 50.0 + LEGEND_LINE * recipes.len() as f64;
    let title = format!("Metric against bytes of {} pruned files. {}", tune.points.len(), tune_words(tune));
    Plot { width: WIDTH, height, title, body }
}

fn polyline(class: &str, points: &[(f64, f64)]) -> String {
    let points: Vec<String> = points.iter().map(|(x, y)| format!("{},{}", at(*x), at(*y))).collect();
    format!("<polyline class=\"{class}\" points=\"{}\"/>", points.join(" "))
}

/// The axis of sizes: from 0, or, for a search for steps, whose files differ by orders of magnitude,
/// logarithmic from the smallest.
struct Axis {
    logarithmic: bool,
    least: f64,
    most: f64,
}

impl Axis {
    fn of(tune: &TuneReport, most: f64) -> Self {
        let logarithmic = tune.points.iter().any(|point| point.steps.is_some());
        let least = tune.points.iter().map(|point| point.bytes).min().unwrap_or(1).max(1) as f64;
        Self { logarithmic: logarithmic && least < most, least, most }
    }

    /// The place of a size on the axis, 0 … 1.
    fn part(&self, bytes: f64) -> f64 {
        let Self { logarithmic, least, most } = *self;
        // The same function on every machine.
        if logarithmic { libm::log(bytes / least) / libm::log(most / least) } else { bytes / most }
    }

    /// On a logarithmic axis 1, 2 and 5 times powers of ten.
    fn ticks(&self) -> Vec<f64> {
        if !self.logarithmic {
            return ticks(0.0, self.most, 6);
        }
        let powers = (0..19u32).map(|n| 10u64.pow(n) as f64);
        let all = powers.flat_map(|power| [power, 2.0 * power, 5.0 * power]);
        all.filter(|tick| (self.least..=self.most).contains(tick)).collect()
    }
}

fn circle(class: &str, (x, y): (f64, f64), radius: f64) -> String {
    format!("<circle class=\"{class}\" cx=\"{}\" cy=\"{}\" r=\"{}\"/>", at(x), at(y), at(radius))
}

/// Round numbers of a range: 1, 2, 5 or 10 times a power of ten apart, about so many of them.
fn ticks(low: f64, high: f64, about: u32) -> Vec<f64> {
    let raw = high / f64::from(about) - low / f64::from(about);
    let text = format!("{raw:e}");
    let Some((mantissa, exponent)) = text.split_once('e') else { return Vec::new() };
    let mantissa: f64 = mantissa.parse().unwrap_or(1.0);
    let digit = match mantissa {
        ..1.5 => 1,
        ..3.5 => 2,
        ..7.5 => 5,
        _ => 10,
    };
    // Multiplied out in decimal, so that 3 steps of 0.1 are 0.3.
    let of = |n: i64| format!("{}e{exponent}", n * digit).parse::<f64>().unwrap_or(f64::NAN);
    let first = (low / of(1)).ceil();
    if !first.is_finite() || first.abs() > 1e15 {
        return vec![low, high];
    }
    (first as i64..).map(of).take_while(|tick| *tick <= high).take(50).collect()
}

fn size(bytes: f64) -> String {
    match bytes {
        0.0 => "0".to_owned(),
        ..1e4 => format!("{bytes} B"),
        ..1e7 => format!("{} kB", significant(bytes / 1e3, 4)),
        ..1e10 => format!("{} MB", significant(bytes / 1e6, 4)),
        _ => format!("{} GB", significant(bytes / 1e9, 4)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        assert_eq!(ticks(28.9, 87.6, 6), [30.0, 40.0, 50.0, 60.0, 70.0, 80.0]);
        assert_eq!(ticks(0.0, 272_040.0, 6), [0.0, 5e4, 1e5, 1.5e5, 2e5, 2.5e5]);
        assert_eq!(ticks(-0.25, 0.31, 6), [-0.2, -0.1, 0.0, 0.1, 0.2, 0.3]);
        assert_eq!(ticks(-1e308, 1e308, 2), [-1e308, 0.0, 1e308]);
        assert_eq!(ticks(1.0, 1.0 + f64::EPSILON, 6), [1.0, 1.0 + f64::EPSILON]);
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(
            [0.0, 500.0, 5e4, 2.5e7, 5e9, 2e11].map(size),
            ["0", "500 B", "50 kB", "25 MB", "5000 MB", "200 GB"]
        );
    }
}
