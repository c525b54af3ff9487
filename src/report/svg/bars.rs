//! How much of each tensor sleeps, through the depth of the model.

use super::plot::{Plot, at, compared, label, line, rect, subject};
use crate::report::{Report, ReportTensor};
use crate::text::page::percent;
use crate::text::shortened;
use crate::text::thousands;

/// The bar of one tensor: sleeping from the left, changed after it; a strip below says how many weights are
/// zero, of either kind. Its coordinates are those of its own box.
pub(in crate::report) fn bar(tensor: &ReportTensor, (width, height): (f64, f64)) -> String {
    let strip = (height / 5.0).round();
    let mut out = String::new();
    let tall = height - strip - 1.0;
    let asleep = share_of_width(tensor.changes.sleeping_weights, tensor.total_weights, width);
    rect(&mut out, "awake", (asleep, 0.0), (width - asleep, tall));
    rect(&mut out, "sleep", (0.0, 0.0), (asleep, tall));
    let zero = share_of_width(tensor.zeros, tensor.total_weights, width);
    rect(&mut out, "track", (0.0, height - strip), (width, strip));
    rect(&mut out, "zero", (0.0, height - strip), (zero, strip));
    out
}

/// A bar of sleeping and changed weights alone.
pub(in crate::report) fn share_bar(asleep: u64, of: u64, (width, height): (f64, f64)) -> String {
    let mut out = String::new();
    let asleep = share_of_width(Some(asleep), of, width);
    rect(&mut out, "awake", (asleep, 0.0), (width - asleep, height));
    rect(&mut out, "sleep", (0.0, 0.0), (asleep, height));
    out
}

/// What is more than nothing can be seen.
fn share_of_width(n: Option<u64>, of: u64, width: f64) -> f64 {
    match n {
        None | Some(0) => 0.0,
        Some(n) if n == of => width,
        Some(n) => (width * (n as f64 / of as f64)).clamp(width / 400.0, width * (1.0 - 1.0 / 400.0)),
    }
}

/// Every compared tensor, as a file.
pub(super) fn all(report: &Report) -> Plot {
    const NAME: f64 = 250.0;
    const BAR: f64 = 480.0;
    const NUMBERS: f64 = 190.0;
    const ROW: f64 = 22.0;
    const TOP: f64 = 84.0;
    let order = compared(report);
    let mut body = String::new();
    label(
        &mut body,
        "heading",
        "start",
        (16.0, 26.0),
        "Sleeping and changed weights over the depth of the \
                                                        model",
    );
    label(&mut body, "", "start", (16.0, 45.0), subject(report, order.len()));
    let left = 16.0 + NAME;
    let legend = [
        ("sleep", "asleep", 70.0),
        ("awake", "awakened", 84.0),
        ("zero", "trained value is 0 (thin strip)", 0.0),
    ];
    let mut x = left;
    for (class, words, width) in legend {
        rect(&mut body, class, (x, 58.0), (10.0, 10.0));
        label(&mut body, "", "start", (x + 15.0, 67.0), words);
        x += width;
    }
    let bottom = TOP + ROW * order.len() as f64;
    for n in 0..=4 {
        let x = left + BAR * f64::from(n) / 4.0;
        line(&mut body, "grid", (x, TOP - 6.0), (x, bottom));
        label(&mut body, "", "middle", (x, bottom + 16.0), format_args!("{} %", n * 25));
    }
    label(&mut body, "", "middle", (left + BAR / 2.0, bottom + 33.0), "share of the tensor's weights");
    for (row, n) in order.iter().enumerate() {
        let tensor = &report.tensors[*n];
        let y = TOP + ROW * row as f64;
        label(&mut body, "name", "end", (left - 10.0, y + 12.0), shortened(&tensor.name, 38));
        let bar = bar(tensor, (BAR, 15.0));
        body.push_str(&format!("<g transform=\"translate({} {})\">{bar}</g>\n", at(left), at(y)));
        let asleep = tensor.changes.sleeping_weights.unwrap_or(0);
        let share = tensor.changes.sleeping_percentage.unwrap_or(0.0);
        let words =
            format!("{} · {} of {}", percent(share), thousands(asleep), thousands(tensor.total_weights));
        label(&mut body, "", "start", (left + BAR + 10.0, y + 12.0), words);
    }
    let title = "Shares of sleeping, awakened and zero weights of each tensor".to_owned();
    Plot { width: left + BAR + NUMBERS, height: bottom + 46.0, title, body }
}
