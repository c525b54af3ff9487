//! The bar of every tensor, through the depth of the model.

use super::{BAR_LEGEND, MOST_TENSORS, code, largest, only_largest, titled};
use crate::report::escape::escape;
use crate::report::svg::{at, bar, compared};
use crate::report::{Report, ReportTensor, share};
use crate::text::page::percent;
use crate::text::shortened;
use crate::text::thousands;

/// With more tensors than this the bars come as columns, and one by one only on request.
const MOST_ROWS: usize = 48;

pub(super) fn section(report: &Report) -> String {
    let order = compared(report);
    if order.is_empty() {
        return String::new();
    }
    let tensors: Vec<&ReportTensor> = order.iter().map(|n| &report.tensors[*n]).collect();
    let shown = largest(report, order.clone(), MOST_TENSORS);
    let rows: String = shown.iter().map(|n| row(&report.tensors[*n])).collect();
    let rows = format!("<ol class=\"bars\">\n{rows}</ol>\n");
    let mut text = "<p class=\"note\">In the order of the model, as far as names show it: by number, with \
                    embeddings first, and final norms and heads last. Each bar represents all weights of a \
                    tensor.</p>\n"
        .to_owned();
    text += BAR_LEGEND;
    if tensors.len() > MOST_ROWS {
        text += &columns(&tensors);
        text += &format!(
            "<details>\n<summary>{} {} tensors, one by one</summary>\n{}{rows}</details>\n",
            if shown.len() == tensors.len() { "All" } else { "The largest" },
            shown.len(),
            only_largest(shown.len(), tensors.len()),
        );
    } else {
        text += &rows;
    }
    titled("layers", "Over the depth of the model", &text)
}

fn row(tensor: &ReportTensor) -> String {
    let (width, height) = (1000.0, 15.0);
    let asleep = tensor.changes.sleeping_weights.unwrap_or(0);
    let share = percent(tensor.changes.sleeping_percentage.unwrap_or(0.0));
    let (asleep, all) = (thousands(asleep), thousands(tensor.total_weights));
    format!(
        "<li data-name=\"{}\">{}<svg class=\"bar\" viewBox=\"0 0 {} {}\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"{share} asleep\">{}</svg><span><b>{share}</b> {asleep} of {all}</span></li>\n",
        escape(&tensor.name),
        code(&tensor.name),
        at(width),
        at(height),
        bar(tensor, (width, height)),
    )
}

/// One column a tensor, for models whose rows would fill many screens; of very many one for as many
/// neighbours as it takes.
fn columns(tensors: &[&ReportTensor]) -> String {
    let (mut shares, mut zeros) = (String::new(), String::new());
    let groups: Vec<&[&ReportTensor]> = tensors.chunks(tensors.len().div_ceil(MOST_TENSORS)).collect();
    for (n, group) in groups.iter().enumerate() {
        let x = n as f64 * 10.0;
        let (asleep, zero, name) = match group {
            [tensor] => (
                tensor.changes.sleeping_percentage.unwrap_or(0.0),
                100.0 * tensor.zero_share.unwrap_or(0.0),
                escape(&tensor.name),
            ),
            _ => {
                let sum = |of: fn(&ReportTensor) -> Option<u64>| group.iter().filter_map(|t| of(t)).sum();
                let weights = sum(|t| Some(t.total_weights));
                let ends = [group.first(), group.last()].into_iter().flatten().map(|t| escape(&t.name));
                (
                    100.0 * share(sum(|t| t.changes.sleeping_weights), weights),
                    100.0 * share(sum(|t| t.zeros), weights),
                    ends.collect::<Vec<_>>().join(" … "),
                )
            }
        };
        let column = |into: &mut String, class: &str, rest: &str, share: f64| {
            *into += &format!(
                "<g><title>{name}: {} {}</title><rect class=\"{rest}\" x=\"{x}\" y=\"0\" width=\"9\" height=\"100\"/>\
                 <rect class=\"{class}\" x=\"{x}\" y=\"{}\" width=\"9\" height=\"{}\"/></g>\n",
                percent(share),
                if class == "zero" { "zero" } else { "asleep" },
                at(100.0 - share),
                at(share),
            );
        };
        column(&mut shares, "sleep", "awake", asleep);
        column(&mut zeros, "zero", "track", zero);
    }
    let (first, last) = (tensors.first().map_or("", |t| &t.name), tensors.last().map_or("", |t| &t.name));
    let picture = |class: &str, what: &str, body: &str| {
        format!(
            "<svg class=\"{class}\" viewBox=\"0 0 {} 100\" preserveAspectRatio=\"none\" role=\"img\" \
             aria-label=\"{what} of {} tensors\">\n{body}</svg>\n",
            groups.len() * 10,
            tensors.len(),
        )
    };
    format!(
        "<figure class=\"depth\">\n<div class=\"scale\" aria-hidden=\"true\"><span>100 %</span><span>50 %</span><span>0 %</span></div>\n\
         {}<div class=\"scale\" aria-hidden=\"true\"><span>zero</span></div>\n{}\
         <figcaption><span>{}</span><span>depth →</span><span>{}</span></figcaption>\n</figure>\n",
        picture("shares", "Sleeping share", &shares),
        picture("zeros", "Share of zeros", &zeros),
        code(&shortened(first, 34)),
        code(&shortened(last, 34)),
    )
}
