//! The evidence for the threshold.

use super::titled;
use crate::analysis::Evidence;
use crate::report::Report;
use crate::report::condition::on_page;
use crate::report::escape::escape;
use crate::report::narrative::explain;
use crate::report::svg;
use crate::text::page::factor;

pub(super) fn section(report: &Report) -> String {
    if report.totals.compared_weights == 0 {
        return String::new();
    }
    if report.evidence.is_empty() {
        let text = "<p>The config gives both the threshold and the decay factor, so nothing had to be found out. With \
                    <code>threshold: auto</code> and <code>decay: auto</code> the weights themselves are asked, and what \
                    they say is shown here.</p>\n";
        return titled("proof", "Evidence", text);
    }
    let mut text =
        "<p class=\"note\">Each weight w is compared with s times its initial value w₀. Untouched \
                    weights are at ρ ≈ 0; live weights spread over all of ρ. A peak on the left, separated \
                    from the live weights by a valley, proves that weights are sleeping.</p>\n"
            .to_owned();
    for evidence in &report.evidence {
        text += &piece(evidence);
    }
    titled("proof", "Evidence", &text)
}

fn piece(evidence: &Evidence) -> String {
    let words: String =
        explain(evidence).iter().map(|sentence| format!("<p>{}</p>\n", escape(sentence))).collect();
    let (class, verdict) = if evidence.found { ("found", "Found") } else { ("none", "None found") };
    let mut legend = String::new();
    if evidence.found {
        legend += "<li><i class=\"sleep\"></i>counted as sleeping</li><li><i class=\"awake\"></i>live</li>";
    } else {
        legend += "<li><i class=\"awake\"></i>live, or indistinguishable from live</li>";
    }
    if svg::has_live_line(evidence) {
        legend += "<li><i class=\"dots\"></i>expected for live weights alone</li>";
    }
    format!(
        "<div class=\"card proof\">\n<figure>\n{}\n<ul class=\"legend\">{legend}</ul>\n</figure>\n<div>\n\
         <h3>{verdict} <span class=\"badge {class}\">{}</span></h3>\n\
         <dl class=\"pairs\"><div><dt>factor s</dt><dd>{}</dd></div><div><dt>threshold</dt><dd>{}</dd></div></dl>\n\
         {words}</div>\n</div>\n",
        svg::evidence(evidence).inline(),
        escape(&evidence.dtype),
        factor(evidence.decay),
        escape(&on_page(&evidence.threshold)),
    )
}
