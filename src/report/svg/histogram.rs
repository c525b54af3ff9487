//! How |delta| is distributed: one small plot a tensor, all on one axis.

use super::plot::{Plot, compared, label, line, rect, subject};
use crate::analysis::{DeltaHistogram, Threshold};
use crate::report::{Report, ReportTensor};
use crate::text::page::power;
use crate::text::shortened;

/// The axis of |delta| that all tensors share: whole decades.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::report) struct Axis {
    first: i32,
    last: i32,
    /// Whether some tensor has values below or above all bins.
    below: bool,
    above: bool,
}

impl Axis {
    /// As long as the values of all tensors ask for.
    pub fn of(report: &Report) -> Self {
        let all = || report.tensors.iter().filter_map(|t| t.drift.delta_histogram.as_ref());
        let filled = || all().filter(|h| !h.counts.is_empty());
        let first = filled().map(|h| h.first.floor() as i32).min().unwrap_or(-4);
        let last = filled().map(|h| end(h).ceil() as i32).max().unwrap_or(0);
        let (below, above) = (all().any(|h| h.below > 0), all().any(|h| h.above > 0));
        Self { first, last: last.max(first + 1), below, above }
    }
}

/// Decimal logarithm of the last edge.
fn end(histogram: &DeltaHistogram) -> f64 {
    histogram.first + histogram.step * histogram.counts.len() as f64
}

const WIDTH: f64 = 340.0;
const HEIGHT: f64 = 162.0;
const LEFT: f64 = 38.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 20.0;
const FLOOR: f64 = HEIGHT - 36.0;
/// A place beside the axis: for exactly 0, and for values beyond the bins.
const SLOT: f64 = 15.0;

/// One tensor's histogram; `None` where it was not compared.
pub(in crate::report) fn delta_histogram(tensor: &ReportTensor, axis: Axis) -> Option<Plot> {
    let histogram = tensor.drift.delta_histogram.as_ref()?;
    let DeltaHistogram { zero, below, above, counts, .. } = histogram;
    let total = (zero + below + above + counts.iter().sum::<u64>()).max(1) as f64;
    let most = counts.iter().chain([zero, below, above]).copied().max().unwrap_or(0) as f64 / total;
    let (top, ticks) = ceiling(100.0 * most);
    let height = |n: u64| (FLOOR - TOP) * (100.0 * n as f64 / total) / top;
    let places = Places::of(axis);
    let mut body = String::new();
    for tick in ticks {
        let y = FLOOR - (FLOOR - TOP) * tick / top;
        line(&mut body, if tick == 0.0 { "axis" } else { "grid" }, (LEFT, y), (WIDTH - RIGHT, y));
        label(&mut body, "", "end", (LEFT - 5.0, y + 3.5), format_args!("{tick} %"));
    }
    label(&mut body, "", "start", (2.0, 9.0), "share of the weights");
    let class = Classes::of(tensor);
    let mut column = |class: &str, x: f64, width: f64, n: u64| {
        if n > 0 {
            // At least a line, however few.
            let height = height(n).max(1.0);
            rect(&mut body, class, (x, FLOOR - height), (width, height));
        }
    };
    column(class.zero, places.zero, SLOT - 5.0, *zero);
    column(class.others(f64::NEG_INFINITY), places.below, SLOT - 5.0, *below);
    for (n, count) in counts.iter().enumerate() {
        let edge = histogram.first + histogram.step * n as f64;
        let width = places.decade * histogram.step;
        column(class.others(edge + histogram.step), places.of_power(edge) + 0.4, width - 0.8, *count);
    }
    column(class.others(f64::INFINITY), places.above, SLOT - 5.0, *above);
    axis_labels(&mut body, axis, &places);
    if let Some(limit) = class.limit.filter(|x| (f64::from(axis.first)..=f64::from(axis.last)).contains(x)) {
        let x = places.of_power(limit);
        line(&mut body, "limit", (x, TOP - 4.0), (x, FLOOR));
        let (anchor, x) = if x > WIDTH / 2.0 { ("end", x - 4.0) } else { ("start", x + 4.0) };
        label(&mut body, "limit-text", anchor, (x, TOP + 4.0), "threshold");
    }
    let title = format!("Histogram of |Δ| of {}", tensor.name);
    Some(Plot { width: WIDTH, height: HEIGHT, title, body })
}

fn axis_labels(body: &mut String, axis: Axis, places: &Places) {
    let middle = (SLOT - 5.0) / 2.0;
    label(body, "", "middle", (places.zero + middle, FLOOR + 13.0), "0");
    if axis.below {
        label(body, "", "middle", (places.below + middle, FLOOR + 13.0), "<");
    }
    if axis.above {
        label(body, "", "middle", (places.above + middle, FLOOR + 13.0), ">");
    }
    let every = ((axis.last - axis.first) as f64 / 6.0).ceil().max(1.0) as i32;
    for exponent in axis.first..=axis.last {
        let x = places.of_power(f64::from(exponent));
        line(body, "axis", (x, FLOOR), (x, FLOOR + 3.0));
        if (exponent - axis.last) % every == 0 {
            label(body, "", "middle", (x, FLOOR + 14.0), power(exponent));
        }
    }
    let middle = (places.of_power(f64::from(axis.first)) + places.of_power(f64::from(axis.last))) / 2.0;
    label(body, "", "middle", (middle, FLOOR + 30.0), "|Δ|, in units of the weights");
}

/// Where things stand on the axis.
struct Places {
    zero: f64,
    below: f64,
    bins: f64,
    decade: f64,
    first: i32,
    above: f64,
}

impl Places {
    fn of(axis: Axis) -> Self {
        let below = LEFT + 4.0 + SLOT;
        let bins = below + 14.0 + if axis.below { SLOT } else { 0.0 };
        let end = WIDTH - RIGHT - if axis.above { SLOT + 4.0 } else { 0.0 };
        let decade = (end - bins) / f64::from(axis.last - axis.first);
        Self { zero: LEFT + 4.0, below, bins, decade, first: axis.first, above: end + 5.0 }
    }

    fn of_power(&self, power: f64) -> f64 {
        self.bins + self.decade * (power - f64::from(self.first))
    }
}

/// Whether sleeping weights and others lie in the same bins, as far as the threshold tells.
pub(in crate::report) fn is_mixed(tensor: &ReportTensor) -> bool {
    Classes::of(tensor).unlimited == "mixed"
}

/// Which of the bins hold sleeping weights.
struct Classes {
    zero: &'static str,
    /// Logarithm of the threshold where it is one for all weights.
    limit: Option<f64>,
    /// What the bins hold where it is not.
    unlimited: &'static str,
}

impl Classes {
    fn of(tensor: &ReportTensor) -> Self {
        let asleep = tensor.changes.sleeping_weights.unwrap_or(0);
        let decays = tensor.decay.is_some_and(|decay| decay != 1.0);
        let (limit, unlimited) = match tensor.threshold {
            _ if asleep == 0 => (None, "awake"),
            _ if asleep == tensor.total_weights => (None, "sleep"),
            Some(Threshold::Absolute(x)) if x > 0.0 => (Some(libm::log10(x)), "awake"),
            Some(Threshold::Relative(x)) if x > 0.0 => (None, "mixed"),
            Some(Threshold::Ulps(n)) if n > 0 || decays => (None, "mixed"),
            _ => (None, "awake"),
        };
        let nothing = matches!(tensor.threshold, None | Some(Threshold::Nothing));
        Self { zero: if nothing { "awake" } else { "sleep" }, limit, unlimited }
    }

    /// Of values up to this power of ten.
    fn others(&self, end: f64) -> &'static str {
        match self.limit {
            Some(limit) if end <= limit + 1e-9 => "sleep",
            _ => self.unlimited,
        }
    }
}

/// A round number above a percentage, and the ticks up to it.
fn ceiling(most: f64) -> (f64, Vec<f64>) {
    let (top, step) =
        [(5.0, 1.0), (10.0, 5.0), (20.0, 10.0), (30.0, 10.0), (40.0, 20.0), (60.0, 20.0), (80.0, 20.0)]
            .into_iter()
            .find(|(top, _)| most <= *top)
            .unwrap_or((100.0, 50.0));
    let ticks = (0..=(top / step) as i32).map(|n| f64::from(n) * step).collect();
    (top, ticks)
}

/// Every compared tensor, as a file.
pub(super) fn all(report: &Report) -> Plot {
    const COLUMNS: usize = 3;
    const CELL: f64 = WIDTH + 16.0;
    const ROW: f64 = HEIGHT + 30.0;
    const HEAD: f64 = 84.0;
    let axis = Axis::of(report);
    let order = compared(report);
    let mut body = String::new();
    label(&mut body, "heading", "start", (16.0, 26.0), "How far the weights moved: histograms of |Δ|");
    label(&mut body, "", "start", (16.0, 45.0), subject(report, order.len()));
    let mut x = 16.0;
    for (class, words, width) in [
        ("sleep", "asleep", 70.0),
        ("awake", "awakened", 84.0),
        ("mixed", "either, because the threshold differs per weight", 0.0),
    ] {
        rect(&mut body, class, (x, 56.0), (10.0, 10.0));
        label(&mut body, "", "start", (x + 15.0, 65.0), words);
        x += width;
    }
    for (place, n) in order.iter().enumerate() {
        let tensor = &report.tensors[*n];
        let x = 16.0 + CELL * (place % COLUMNS) as f64;
        let y = HEAD + ROW * (place / COLUMNS) as f64;
        label(&mut body, "name", "start", (x + 2.0, y + 6.0), shortened(&tensor.name, 46));
        if let Some(plot) = delta_histogram(tensor, axis) {
            plot.put(&mut body, x, y + 12.0);
        }
    }
    let (columns, rows) = (order.len().clamp(1, COLUMNS), order.len().div_ceil(COLUMNS));
    let width = (16.0 + CELL * columns as f64).max(440.0);
    let height = HEAD + ROW * rows as f64;
    Plot { width, height, title: "Histograms of |Δ| of each tensor".to_owned(), body }
}
