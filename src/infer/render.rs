//! The config as text.

use std::collections::BTreeSet;

use super::family::{Family, IN_OUT, OUT_IN, Topic};
use super::group::{Layer, Rule};
use super::head::head as about;
use super::inference::Inference;
use super::purpose::Purpose;
use super::surroundings::Surroundings;
use super::yaml::yaml;
use crate::text::{counted, thousands};

/// The column at which comments beside keys begin, where there is room.
const COMMENT: usize = 40;
/// The longest line that a list of patterns may make.
const WIDTH: usize = 110;

/// A config in the making.
struct Text(String);

impl Text {
    fn line(&mut self, line: &str) {
        self.0 += line;
        self.0.push('\n');
    }

    /// A line with a comment beside it.
    fn noted(&mut self, line: &str, comment: &str) {
        let blanks = COMMENT.saturating_sub(line.chars().count()).max(2);
        self.line(&format!("{line}{:blanks$}# {comment}", ""));
    }
}

impl Inference<'_> {
    /// The config, as YAML.
    pub fn config(&self, surroundings: &Surroundings) -> String {
        let mut text = Text(String::new());
        head(&mut text, self, surroundings);
        // Without `model` there is no place for the layout of all.
        let in_out = surroundings.like.is_some() && self.family.in_out();
        if surroundings.purpose.draws() {
            model(&mut text, surroundings, in_out);
        }
        rules(&mut text, self, surroundings.purpose.draws(), in_out);
        stages(&mut text, self, surroundings);
        text.0
    }
}

fn head(text: &mut Text, inference: &Inference<'_>, around: &Surroundings) {
    for line in about(inference, around) {
        text.line(format!("# {line}").trim_end());
    }
    text.line("# `cdi-prune plan` shows what this config does with each tensor.");
    text.line("version: 1");
    match around.seed {
        _ if !around.purpose.draws() => {}
        Some(seed) => text.noted(&format!("seed: {seed}"), "that of the initial checkpoint"),
        None => text.noted("seed: 42", "any number; initial weights depend only on this and the layer ids"),
    }
    text.line("");
}

fn model(text: &mut Text, around: &Surroundings, in_out: bool) {
    match &around.like {
        Some(like) => {
            text.line("model:");
            text.noted(&format!("  like: {}", yaml(like)), "only names, shapes and types are used");
            if in_out {
                text.noted("  layout: in_out", "kernels are [..., in, out]");
            }
        }
        None => {
            text.line(
                "# No initial checkpoint is written, because its tensor names would have the prefix, \
                       as in this checkpoint. To write",
            );
            text.line("# one, save the model without its wrapper, and add");
            text.line("#   model: {like: plain.safetensors}");
            text.line(&format!("#   init: {{output: {}}}", around.output("init.safetensors")));
        }
    }
    text.line("");
}

fn rules(text: &mut Text, inference: &Inference<'_>, drawn: bool, in_out: bool) {
    if inference.rules.is_empty() {
        return;
    }
    text.line(if drawn {
        "# The first rule that matches applies. `layer` selects a tensor's noise; without it, the hash of \
         its name does."
    } else {
        "# The first rule that matches applies."
    });
    text.line("rules:");
    let mut topic = None;
    let mut explained = false;
    for (n, rule) in inference.rules.iter().enumerate() {
        if topic.replace(rule.start.topic) != Some(rule.start.topic) {
            if n > 0 {
                text.line("");
            }
            for line in heading(rule.start.topic, &inference.family) {
                text.line(&format!("  # {line}"));
            }
        }
        patterns(text, "  ", &rule.patterns, &shapes(inference, rule));
        match rule.layer {
            Layer::Auto => {}
            Layer::Id(id) => text.line(&format!("    layer: {id}")),
            Layer::By { base, step } => {
                let layer = format!("    layer: {{base: {base}, step: {step}, by: 1}}");
                if explained {
                    text.line(&layer);
                } else {
                    text.noted(&layer, &formula(base, step));
                }
                explained = true;
            }
        }
        text.line(&format!("    init: {}", rule.start.init));
        let usual = if in_out { IN_OUT } else { OUT_IN };
        if rule.start.topic.is_random() && rule.start.layout != usual {
            text.line(&format!("    layout: {}", rule.start.layout));
        }
        if rule.tied {
            text.noted("    shared: true", "stored more than once with the same bytes (tied)");
        }
        if rule.start.fused {
            // A rule's `slices` would stand here.
            text.noted("    # slices: [q, k, v]", "fused; add this to initialise each part separately");
        }
    }
    text.line("");
}

/// What `{base, step, by: 1}` means, in words.
fn formula(base: u64, step: u64) -> String {
    let base = if base == 0 { String::new() } else { format!("{base} + ") };
    let step = if step == 1 { String::new() } else { format!("{step} * ") };
    format!("{base}{step}the number matched by the star")
}

/// What a topic's rules are about, and what the guess is.
fn heading(topic: Topic, family: &Family) -> Vec<&'static str> {
    let torch = matches!(family, Family::Torch | Family::ResNet);
    match topic {
        Topic::Embedding if torch => vec!["Embeddings: PyTorch's are normal(0, 1)."],
        Topic::Embedding => vec!["Embeddings."],
        Topic::Norm => vec!["Scales of norms."],
        Topic::Slope => vec!["Slopes of PReLU: PyTorch's default."],
        Topic::Statistic => {
            vec!["Running statistics, which are not weights: not initialised, not compared, kept."]
        }
        Topic::Buffer => vec!["Computed, not learnt: not initialised, not compared, kept."],
        Topic::Unknown => vec![
            "Unknown initialisers: not initialised, not compared, kept. Edit this rule if you know them.",
        ],
        Topic::Any => vec!["No initial values are needed."],
        Topic::NotInBase => {
            vec![
                "Not in the base, or with another shape there: not compared, kept. Edit this rule if you \
                 know their initialisers.",
            ]
        }
        Topic::Base => vec!["All others start as in the base."],
        Topic::LoraB => {
            vec!["Low-rank adapters: B is zero, so that training starts from the unchanged model …"]
        }
        Topic::LoraA => vec!["… and A is drawn as in PEFT."],
        Topic::Recurrent => vec![
            "Recurrent layers: PyTorch's default, uniform on ±1/sqrt(hidden size), for weights and biases.",
        ],
        Topic::Weight if *family == Family::Torch => {
            vec!["Weights: PyTorch's default for Linear and Conv layers, uniform on ±1/sqrt(fan_in)."]
        }
        Topic::Weight => vec!["Weights."],
        Topic::Zero => vec!["Biases that start at zero."],
        Topic::OneBias => {
            vec!["The one bias with PyTorch's default, uniform on ±1/sqrt(fan_in) of its weight."]
        }
        Topic::Bias => {
            vec!["Biases: PyTorch's default, uniform on ±1/sqrt(fan_in) of the corresponding weight."]
        }
    }
}

/// `12 of [768, 2304]`, or how many there are.
fn shapes(inference: &Inference<'_>, rule: &Rule) -> String {
    let shapes: BTreeSet<&[usize]> = rule.members.iter().map(|i| inference.tensors[*i].1.dims()).collect();
    match (shapes.first(), rule.members.len()) {
        (Some(shape), 1) => format!("{shape:?}"),
        (Some(shape), n) if shapes.len() == 1 => format!("{} of {shape:?}", thousands(n as u64)),
        (_, n) => counted(n as u64, "tensor"),
    }
}

/// `- match: …`, on one line where that is short.
fn patterns(text: &mut Text, indent: &str, patterns: &[String], comment: &str) {
    let all: Vec<String> = patterns.iter().map(|p| yaml(p)).collect();
    let one = match all.as_slice() {
        [one] => one.clone(),
        _ => format!("[{}]", all.join(", ")),
    };
    let line = format!("{indent}- match: {one}");
    if all.len() == 1 || line.chars().count() <= WIDTH {
        text.noted(&line, comment);
    } else {
        text.noted(&format!("{indent}- match:"), comment);
        all.iter().for_each(|pattern| text.line(&format!("{indent}    - {pattern}")));
    }
}

fn stages(text: &mut Text, inference: &Inference<'_>, around: &Surroundings) {
    let purpose = &around.purpose;
    if around.like.is_some() && purpose.draws() {
        text.line("init:");
        let file = around.output("init.safetensors");
        text.noted(&format!("  output: {file}"), "start training from this file");
        if around.sharded {
            text.line("  max_shard_size: 5GB");
        }
        if purpose.prunes() {
            text.line("");
        }
    }
    if purpose.prunes() {
        trained(text, around);
        text.line("");
        analyze(text, around);
        text.line("");
        prune(text, inference, around);
    }
}

fn trained(text: &mut Text, around: &Surroundings) {
    text.line("trained:");
    let what = match around.purpose {
        Purpose::Finetune { .. } => "the fine-tuned checkpoint",
        Purpose::Magnitude => "the checkpoint to prune",
        _ => "edit: the checkpoint after training",
    };
    text.noted(&format!("  path: {}", yaml(&around.trained)), what);
    for (key, names) in [("strip", &around.strip), ("strip_prefix", &around.strip_prefix)] {
        if !names.is_empty() {
            let names: Vec<String> = names.iter().map(|name| yaml(name)).collect();
            text.line(&format!("  {key}: [{}]", names.join(", ")));
        }
    }
}

fn analyze(text: &mut Text, around: &Surroundings) {
    text.line("analyze:");
    if around.purpose != Purpose::Magnitude {
        text.noted("  threshold: auto", "inferred from the weights; 0: exactly the initial value");
        text.noted("  decay: auto", "also inferred: the factor of weight decay");
    }
    text.line("  report:");
    for (key, file) in [("json", "report.json"), ("csv", "report.csv"), ("markdown", "report.md")] {
        text.line(&format!("    {key}: {}", around.output(file)));
    }
    text.noted(&format!("    html: {}", around.output("report.html")), "tables and plots for the browser");
}

fn prune(text: &mut Text, inference: &Inference<'_>, around: &Surroundings) {
    text.line("prune:");
    text.line(&format!("  output: {}", around.output("pruned.safetensors")));
    match around.purpose {
        Purpose::Magnitude => {
            text.noted("  criterion: magnitude", "prune the smallest weights");
            text.noted("  target: {sparsity: 0.5}", "edit: share of each tensor; then evaluate the model");
            text.line("  fill: zero");
        }
        Purpose::Finetune { .. } => {
            text.noted("  fill: init", "the base's values, restored by `cdi-prune restore --base`");
        }
        _ => text.noted("  fill: init", "regenerated by `cdi-prune restore`; `zero` changes the network"),
    }
    text.noted("  format: auto", "the smallest format for each tensor");
    if around.sharded {
        text.line("  max_shard_size: 5GB");
    }
    let kept = [
        (&inference.unknown, "not weights, or unknown: kept under any criterion"),
        (&inference.keep, "few and sensitive"),
    ];
    for (n, (list, why)) in kept.iter().filter(|(list, _)| !list.is_empty()).enumerate() {
        if n == 0 {
            text.line("  rules:");
        }
        patterns(text, "    ", list, why);
        text.line("      keep: true");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_leave_out_what_does_nothing() {
        assert_eq!(formula(10, 20), "10 + 20 * the number matched by the star");
        assert_eq!(formula(0, 1), "the number matched by the star");
    }
}
