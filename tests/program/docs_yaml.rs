//! Every block of YAML in README.md and docs/ is what it says: a config, or a part of one,
//! that the program takes.
//!
//! A block is completed to a whole config ([`complete`]), gets checkpoints with the tensors that it needs,
//! and is planned; where it has a trained checkpoint and no search, it is run as well. What a block needs
//! stands in a comment right before it:
//!
//! - nothing: the tensors are those of `model.tensors`, or else those of [`TENSORS`] that the
//!   block's rules match;
//! - `<!-- yaml: for h.0.attn.weight [64, 64], h.0.attn.bias [64] -->`: these tensors, all of type F32;
//! - `<!-- yaml: not run: it is the output of … -->`: not a config to copy, for the reason given.

use std::fs;

use cdi_prune::rules::Pattern;
use serde_yaml::{Mapping, Value};

use crate::common::{Scratch, Tensor, f32s, root};

/// A network with a bit of everything that examples speak of.
const TENSORS: &[(&str, &[usize])] = &[
    ("fc1.weight", &[32, 64]),
    ("fc1.bias", &[32]),
    ("fc2.weight", &[16, 32]),
    ("fc2.bias", &[16]),
    ("fc3.weight", &[8, 16]),
    ("fc3.bias", &[8]),
    ("conv1.weight", &[8, 4, 3, 3]),
    ("bn1.weight", &[8]),
    ("bn1.bias", &[8]),
    ("bn1.running_mean", &[8]),
    ("bn1.running_var", &[8]),
    ("embed.weight", &[96, 32]),
    ("blocks.0.norm1.weight", &[32]),
    ("blocks.0.norm1.bias", &[32]),
    ("blocks.0.attn.q.weight", &[32, 32]),
    ("blocks.0.attn.k.weight", &[32, 32]),
    ("blocks.0.attn.v.weight", &[32, 32]),
    ("blocks.0.mlp.up.weight", &[64, 32]),
    ("blocks.0.mlp.down.weight", &[32, 64]),
];

/// A block, and the lines of the page that are before it.
struct Block {
    page: String,
    line: usize,
    /// What the comment before it says after `yaml:`.
    comment: Option<String>,
    text: String,
}

fn pages() -> Vec<(String, String)> {
    let mut names: Vec<String> = fs::read_dir(root().join("docs"))
        .unwrap()
        .map(|entry| format!("docs/{}", entry.unwrap().file_name().into_string().unwrap()))
        .filter(|name| name.ends_with(".md"))
        .collect();
    names.push("README.md".to_owned());
    names.sort();
    names.into_iter().map(|name| (name.clone(), fs::read_to_string(root().join(name)).unwrap())).collect()
}

fn blocks(page: &str, text: &str) -> Vec<Block> {
    let lines: Vec<&str> = text.lines().collect();
    let mut blocks = Vec::new();
    for (n, line) in lines.iter().enumerate() {
        // A fence may be indented, in a list.
        let Some(indent) = line.find("```").filter(|at| line[..*at].trim().is_empty()) else { continue };
        if !matches!(line.trim(), "```yaml" | "```yml") {
            continue;
        }
        let end = lines[n + 1..].iter().position(|line| line.trim() == "```");
        let end = n + 1 + end.unwrap_or_else(|| panic!("{page}:{}: the block does not end", n + 1));
        let inner =
            lines[n + 1..end].iter().map(|line| line.get(indent..).unwrap_or_default().to_owned() + "\n");
        let before = lines[..n].iter().rev().find(|line| !line.trim().is_empty());
        let comment = before
            .and_then(|line| line.trim().strip_prefix("<!-- yaml:")?.strip_suffix("-->"))
            .map(|comment| comment.trim().to_owned());
        blocks.push(Block { page: page.to_owned(), line: n + 1, comment, text: inner.collect() });
    }
    blocks
}

fn key(text: &str) -> Value {
    Value::from(text)
}

fn value(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap()
}

/// A whole config: a list is one of rules, and what is missing of a part is put before it.
fn complete(found: Value) -> Mapping {
    let mut config = match found {
        Value::Sequence(rules) => Mapping::from_iter([(key("rules"), Value::Sequence(rules))]),
        Value::Mapping(config) => config,
        other => panic!("neither a list nor a mapping: {other:?}"),
    };
    // Whatever has rules and says where its tensors are is whole.
    let whole =
        config.contains_key("rules") && (config.contains_key("model") || config.contains_key("trained"));
    if whole {
        return config;
    }
    let missing = |config: &mut Mapping, name: &str, text: &str| {
        if !config.contains_key(name) {
            config.insert(key(name), value(text));
        }
    };
    missing(&mut config, "seed", "1");
    missing(&mut config, "trained", "{path: trained.safetensors}");
    // Those that the rules of a part leave over have no known start.
    missing(&mut config, "rules", "[{match: '**', init: {mode: normal, std: 0.02}}]");
    if let Some(Value::Sequence(rules)) = config.get_mut("rules") {
        rules.push(value("{match: '**', init: none, optional: true}"));
    }
    let metric = config.get("gates").is_some_and(|gates| gates.get("max_metric_drop").is_some());
    if metric {
        missing(&mut config, "tune", "{command: [eval, '{checkpoint}'], better: higher, max_drop: 0.1}");
    }
    if config.contains_key("gates") || config.contains_key("tune") {
        missing(&mut config, "prune", "{output: pruned.safetensors}");
    }
    if !["init", "analyze", "prune"].iter().any(|stage| config.contains_key(stage)) {
        config.insert(key("analyze"), value("{}"));
    }
    config
}

/// The tensors that a comment lists.
fn listed(comment: &str) -> Vec<(String, Vec<usize>)> {
    let tensors = comment.split_inclusive(']').map(|tensor| tensor.trim_matches([' ', ',', ']']));
    tensors
        .map(|tensor| {
            let (name, shape) =
                tensor.split_once('[').unwrap_or_else(|| panic!("NAME [SHAPE], not {tensor}"));
            let dims = shape.split(',').map(str::trim).filter(|dim| !dim.is_empty());
            (name.trim().to_owned(), dims.map(|dim| dim.parse().unwrap()).collect())
        })
        .collect()
}

/// The patterns of the rules that a config begins with.
fn patterns(config: &Mapping) -> Vec<Pattern> {
    let rules = config.get("rules").and_then(Value::as_sequence).into_iter().flatten();
    let mut patterns = Vec::new();
    for rule in rules {
        let texts = match rule.get("match") {
            Some(Value::Sequence(list)) => list.clone(),
            Some(one) => vec![one.clone()],
            None => Vec::new(),
        };
        patterns.extend(texts.iter().filter_map(|text| Pattern::new(text.as_str()?).ok()));
    }
    patterns
}

/// Every checkpoint that a config reads.
fn inputs(at: &Value, files: &mut Vec<String>) {
    match at {
        Value::Mapping(map) => {
            for (name, value) in map {
                match (name.as_str(), value) {
                    (Some("like" | "from" | "path" | "scores"), Value::String(file)) => {
                        files.push(file.clone())
                    }
                    _ => inputs(value, files),
                }
            }
        }
        Value::Sequence(list) => list.iter().for_each(|value| inputs(value, files)),
        _ => {}
    }
}

fn write_checkpoint(s: &Scratch, file: &str, tensors: &[(String, Vec<usize>)]) {
    let values =
        |n: usize| f32s(&(0..n).map(|i| ((i * 7919 + 13) % 1009) as f32 / 1009.0).collect::<Vec<_>>());
    let tensors: Vec<Tensor<'_>> = tensors
        .iter()
        .map(|(name, shape)| (name.as_str(), "F32", shape.as_slice(), values(shape.iter().product())))
        .collect();
    let file =
        if file.ends_with(".safetensors") { file.to_owned() } else { format!("{file}/model.safetensors") };
    s.safetensors(&file, &tensors);
}

/// What is wrong with a block, `None` where all is well.
fn fault(block: &Block) -> Option<String> {
    let comment = block.comment.as_deref().unwrap_or_default();
    if let Some(reason) = comment.strip_prefix("not run:") {
        return (reason.trim().len() < 10).then(|| "say why it is not run".to_owned());
    }
    let tensors = match comment.strip_prefix("for ") {
        Some(list) => Some(listed(list)),
        None if comment.is_empty() => None,
        None => return Some(format!("`{comment}` is neither `for …` nor `not run: …`")),
    };
    let found = match serde_yaml::from_str(&block.text) {
        Ok(found) => found,
        Err(error) => return Some(format!("it is not YAML: {error}")),
    };
    let config = complete(found);
    let s = Scratch::new();
    let own_tensors = config.get("model").is_some_and(|model| model.get("tensors").is_some());
    let mut files = Vec::new();
    inputs(&Value::Mapping(config.clone()), &mut files);
    if tensors.is_some() || !own_tensors {
        let rules = patterns(&config);
        let some = TENSORS.iter().filter(|(name, _)| rules.iter().any(|rule| rule.is_match(name)));
        let tensors = tensors
            .unwrap_or_else(|| some.map(|(name, shape)| ((*name).to_owned(), shape.to_vec())).collect());
        files.iter().for_each(|file| write_checkpoint(&s, file, &tensors));
    } else {
        files.clear();
    }
    // What stands in the page is what is read, where it is whole, so that places in errors are the page's.
    let text = match serde_yaml::from_str::<Value>(&block.text) {
        Ok(Value::Mapping(own)) if own == config => block.text.clone(),
        _ => serde_yaml::to_string(&config).unwrap(),
    };
    s.write("block.yaml", &text);
    // Made-up weights did not start from the values of any rule.
    let start: &[&str] = match config.contains_key("prune") {
        true => &["--set", "prune.any_start=true"],
        false => &[],
    };
    let run = |command: &str, allowed: &[i32]| {
        let ran = s.run(&[&[command, "block.yaml"], start].concat());
        (!allowed.contains(&ran.code)).then(|| {
            format!(
                "`{command}` ends with code {}: {}\n--- as it was tried:\n{text}",
                ran.code,
                ran.stderr.trim()
            )
        })
    };
    let staged = ["init", "analyze", "prune"].iter().any(|stage| config.contains_key(stage));
    let runs = staged && !files.is_empty() && !config.contains_key("tune") && config.contains_key("trained");
    // A gate that the made-up weights do not pass is no fault of the page.
    run("plan", &[0]).or_else(|| if runs { run("run", &[0, 4]) } else { None })
}

#[test]
fn every_block_of_yaml_is_taken() {
    let mut faults = Vec::new();
    let mut tried = 0;
    for (page, text) in pages() {
        for block in blocks(&page, &text) {
            tried += 1;
            if let Some(fault) = fault(&block) {
                faults.push(format!("{}:{}: {fault}", block.page, block.line));
            }
        }
    }
    assert!(tried >= 8, "only {tried} blocks were found");
    assert!(
        faults.is_empty(),
        "{}\n\nA block must work as it stands, or as part of a config; the comments of \
         tests/program/docs_yaml.rs say how it is completed, and how a page says which tensors it is for, or \
         that it is not a config to copy.",
        faults.join("\n\n")
    );
}

/// The test would not be worth much if it took anything.
#[test]
fn what_is_wrong_is_found() {
    let page = |text: &str| {
        blocks("x.md", text).iter().map(|block| fault(block).unwrap_or_default()).collect::<Vec<_>>()
    };
    let cases = [
        ("```yaml\nprune: {output: p.safetensors, rules: [{match: '**.bias', keep: true}]}\n```\n", ""),
        (
            "```yaml\nprune: {output: p.safetensors, rules: [{match: 'c*.bias', keep: true}]}\n```\n",
            "matches no tensor",
        ),
        ("```yaml\nprune: {output: p.safetensors, format: csv}\n```\n", "cannot be `csv`"),
        ("<!-- yaml: for a.b [4, 4] -->\n\n```yaml\n- {match: a.*, init: he}\n```\n", ""),
        ("<!-- yaml: for a.b [4, 4] -->\n```yaml\n- {match: c.*, init: he}\n```\n", "matches no tensor"),
        ("<!-- yaml: not run: the output of another program -->\n```yaml\n- …: [\n```\n", ""),
        ("<!-- yaml: not run: -->\n```yaml\nseed: 1\n```\n", "say why"),
        ("<!-- yaml: skip -->\n```yaml\nseed: 1\n```\n", "neither"),
        ("  ```yaml\n  seed: [\n  ```\n", "not YAML"),
        (
            "```yaml\nseed: 1\nmodel: {tensors: {a: [2, 2]}}\nrules: [{match: b, init: he}]\n```\n",
            "no rule matches `a`",
        ),
    ];
    for (text, expected) in cases {
        let found = page(text);
        assert_eq!(found.len(), 1, "{text}");
        assert!(
            if expected.is_empty() { found[0].is_empty() } else { found[0].contains(expected) },
            "{text}: {}",
            found[0]
        );
    }
}

/// The catalogue of keys in docs/interface.md says that it is one.
#[test]
fn the_catalogue_says_what_it_is() {
    let (page, text) = pages().into_iter().find(|(page, _)| page == "docs/interface.md").unwrap();
    let catalogue = &blocks(&page, &text)[0];
    assert!(catalogue.text.starts_with("version: 1\n"));
    assert!(catalogue.comment.as_deref().is_some_and(|comment| comment.contains("catalogue")));
    let before: Vec<&str> = text.lines().take(catalogue.line).collect();
    assert!(before.iter().rev().take(8).any(|line| !line.starts_with("<!--") && line.contains("catalogue")));
}
