//! The proof behind an automatic threshold: how far the weights' ratios to their initial values
//! lie from the factor.

use super::plot::{Plot, at, label, line, rect, subject};
use crate::analysis::{Evidence, RatioHistogram, Threshold};
use crate::report::Report;
use crate::text::page::{power, real};

const WIDTH: f64 = 410.0;
const HEIGHT: f64 = 236.0;
const LEFT: f64 = 44.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 26.0;
const FLOOR: f64 = HEIGHT - 44.0;
const SLOT: f64 = 20.0;
/// Bins in which there are live weights only, if they are dense enough: from 10^-3.5 to 10^-2.5.
const LIVE: std::ops::Range<usize> = 22..26;

/// The counts of rho on a logarithmic axis, the threshold, and what live weights alone would look like.
pub(in crate::report) fn evidence(evidence: &Evidence) -> Plot {
    let RatioHistogram { zero, below, above, counts, .. } = &evidence.histogram;
    let most = counts.iter().chain([zero, below, above]).copied().max().unwrap_or(0).max(9);
    let decades = libm::log10(most as f64 + 1.0).ceil();
    let height = |n: f64| (FLOOR - TOP) * libm::log10(n + 1.0) / decades;
    let mut body = String::new();
    for decade in 0..=decades as i32 {
        let y = FLOOR - height(libm::exp10(f64::from(decade)) - if decade == 0 { 1.0 } else { 0.0 });
        line(&mut body, if decade == 0 { "axis" } else { "grid" }, (LEFT, y), (WIDTH - RIGHT, y));
        let words = if decade == 0 { "0".to_owned() } else { power(decade) };
        label(&mut body, "", "end", (LEFT - 5.0, y + 3.5), words);
    }
    label(&mut body, "", "start", (2.0, 12.0), "weights (log scale)");
    let places = Places::of(&evidence.histogram);
    let limit = Limit::of(evidence);
    let mut column = |class, x: f64, width: f64, n: u64| {
        if n > 0 {
            let height = height(n as f64).max(1.0);
            rect(&mut body, class, (x, FLOOR - height), (width, height));
        }
    };
    column(limit.class(f64::NEG_INFINITY), LEFT + 4.0, SLOT - 6.0, *zero);
    column(limit.class(-300.0), places.below, SLOT - 6.0, *below);
    for (n, count) in counts.iter().enumerate() {
        let upper = places.first + places.step * (n + 1) as f64;
        column(limit.class(upper), places.of_bin(n) + 0.5, places.bin - 1.0, *count);
    }
    column(limit.class(f64::INFINITY), places.above, SLOT - 6.0, *above);
    live_line(&mut body, evidence, &places, height);
    label_axis(&mut body, &places, counts.len());
    if let Some(x) = limit.x(&places) {
        line(&mut body, "limit", (x, TOP - 8.0), (x, FLOOR));
        let words = match evidence.threshold {
            Threshold::Relative(x) if x > 0.0 => format!("threshold {}", real(x)),
            _ => "threshold 0".to_owned(),
        };
        let (anchor, x) = if x > WIDTH / 2.0 { ("end", x - 5.0) } else { ("start", x + 5.0) };
        label(&mut body, "limit-text", anchor, (x, TOP - 2.0), words);
    }
    let title = format!(
        "Histogram of the distance of {} weights from {} times their initial values",
        evidence.weights,
        real(evidence.decay)
    );
    Plot { width: WIDTH, height: HEIGHT, title, body }
}

/// Types of two bytes are too coarse for live weights to lie on a line.
pub(in crate::report) fn has_live_line(evidence: &Evidence) -> bool {
    matches!(evidence.dtype.as_str(), "f32" | "f64")
}

/// The line that live weights follow on their own: their number grows with the width of the bins.
fn live_line(body: &mut String, evidence: &Evidence, places: &Places, height: impl Fn(f64) -> f64) {
    let counts = &evidence.histogram.counts;
    let (Some(bins), true) = (counts.get(LIVE), has_live_line(evidence)) else {
        return;
    };
    let edge = |n: usize| libm::exp10(places.first + places.step * n as f64);
    let density = bins.iter().sum::<u64>() as f64 / (edge(LIVE.end) - edge(LIVE.start));
    let expected = |n: usize| density * (edge(n + 1) - edge(n));
    let points: Vec<(f64, f64)> = (0..LIVE.end + 2)
        .filter(|n| expected(*n) >= 0.2)
        .map(|n| (places.of_bin(n) + places.bin / 2.0, FLOOR - height(expected(n))))
        .collect();
    let path: Vec<String> = points.iter().map(|(x, y)| format!("{},{}", at(*x), at(*y))).collect();
    if let (Some((x, y)), true) = (points.last(), points.len() > 1) {
        body.push_str(&format!("<polyline class=\"live\" points=\"{}\"/>", path.join(" ")));
        label(body, "", "end", (x - 6.0, y - 4.0), "live weights");
    }
}

fn label_axis(body: &mut String, places: &Places, bins: usize) {
    let middle = (SLOT - 6.0) / 2.0;
    label(body, "", "middle", (LEFT + 4.0 + middle, FLOOR + 14.0), "0");
    label(body, "", "middle", (places.below + middle, FLOOR + 14.0), "<");
    label(body, "", "middle", (places.above + middle, FLOOR + 14.0), ">");
    for n in (0..=bins).step_by(4) {
        let exponent = (places.first + places.step * n as f64) as i32;
        let x = places.of_bin(n);
        line(body, "axis", (x, FLOOR), (x, FLOOR + 3.0));
        if (exponent % 2 == 0) == (places.first as i32 % 2 == 0) || bins < 16 {
            label(body, "", "middle", (x, FLOOR + 15.0), power(exponent));
        }
    }
    label(body, "", "middle", ((LEFT + WIDTH - RIGHT) / 2.0, FLOOR + 34.0), "ρ = |w / (s · w₀) − 1|");
}

struct Places {
    below: f64,
    bins: f64,
    bin: f64,
    first: f64,
    step: f64,
    above: f64,
}

impl Places {
    fn of(histogram: &RatioHistogram) -> Self {
        let bins = LEFT + 16.0 + 2.0 * SLOT;
        let above = WIDTH - RIGHT - SLOT + 5.0;
        let bin = (above - 4.0 - bins) / histogram.counts.len().max(1) as f64;
        Self { below: LEFT + 5.0 + SLOT, bins, bin, first: histogram.first, step: histogram.step, above }
    }

    fn of_bin(&self, n: usize) -> f64 {
        self.bins + self.bin * n as f64
    }
}

/// Where sleeping ends.
enum Limit {
    /// Nowhere begun.
    Nothing,
    /// At exactly the expected value.
    Zero,
    /// At this logarithm of rho.
    At(f64),
    /// Depends on where a weight's type rounds.
    Rounded,
}

impl Limit {
    fn of(evidence: &Evidence) -> Self {
        match evidence.threshold {
            _ if !evidence.found => Self::Nothing,
            Threshold::Relative(x) if x > 0.0 => Self::At(libm::log10(x)),
            Threshold::Ulps(_) if evidence.decay != 1.0 => Self::Rounded,
            Threshold::Nothing => Self::Nothing,
            _ => Self::Zero,
        }
    }

    fn class(&self, upper: f64) -> &'static str {
        match self {
            Self::Nothing => "awake",
            Self::Zero if upper == f64::NEG_INFINITY => "sleep",
            Self::Zero => "awake",
            Self::At(limit) if upper <= limit + 1e-9 => "sleep",
            Self::At(_) => "awake",
            // Half a step of bf16 at the most.
            Self::Rounded if upper <= -2.25 => "sleep",
            Self::Rounded => "awake",
        }
    }

    fn x(&self, places: &Places) -> Option<f64> {
        match self {
            Self::Nothing | Self::Rounded => None,
            Self::Zero => Some(LEFT + SLOT + 1.5),
            Self::At(limit) => Some(places.bins + places.bin * (limit - places.first) / places.step),
        }
    }
}

/// Every piece of evidence, as a file.
pub(super) fn all(report: &Report) -> Plot {
    const HEAD: f64 = 60.0;
    const ROW: f64 = HEIGHT + 40.0;
    let mut body = String::new();
    label(&mut body, "heading", "start", (16.0, 26.0), "Evidence for threshold and decay");
    label(&mut body, "", "start", (16.0, 45.0), subject(report, super::compared(report).len()));
    for (n, found) in report.evidence.iter().enumerate() {
        let y = HEAD + ROW * n as f64;
        let (dtype, decay) = (&found.dtype, real(found.decay));
        let words = if found.found {
            format!("{dtype}: weights at {decay} times their initial values")
        } else {
            format!("{dtype}: nothing stands out, so no weight counts as sleeping")
        };
        label(&mut body, "name", "start", (16.0, y + 12.0), words);
        evidence(found).put(&mut body, 8.0, y + 22.0);
    }
    let height = HEAD + ROW * report.evidence.len() as f64;
    Plot { width: WIDTH + 16.0, height, title: "Evidence of sleeping weights".to_owned(), body }
}
