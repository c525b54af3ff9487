//! The search for the smallest file: what it finds, what it asks the user's command, and everything the
//! command can do wrong. The commands are those of a POSIX shell.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use cdi_prune::config::Settings;
use serde_json::{Value, json};

use crate::common::{Ran, Scratch};

/// Weights of growing size, none of whose bytes is 0.
fn weights(n: u16) -> Vec<u8> {
    (0..n).flat_map(|i| [0x11, 1 + (i % 100) as u8, 1 + (i / 100) as u8, 0x3f]).collect()
}

/// Prints how many bytes of the file are not 0: 4 fewer for each weight that is. Keeps a line for
/// each call, and the file.
const COUNT: &str = "#!/bin/sh\n\
    LC_ALL=C\n\
    export LC_ALL\n\
    cksum < \"$1\" >> calls\n\
    cp \"$1\" last.safetensors\n\
    echo \"bytes: $(tr -d '\\000' < \"$1\" | wc -c)\"\n";

/// The command as YAML.
const COMMAND: &str = "[sh, count.sh, '{checkpoint}']";

/// Two thousand weights and ten that are kept, in the folder `c`, with this in `tune`.
fn scratch(command: &str, tune: &str) -> Scratch {
    let s = Scratch::new();
    let config = format!(
        "seed: 1\n\
         rules: [{{match: '**', init: {{mode: constant, value: 0.0625}}}}]\n\
         trained: {{path: trained.safetensors}}\n\
         analyze: {{report: {{json: r.json, markdown: r.md, html: r.html, svg: plots}}}}\n\
         prune: {{output: p.safetensors, criterion: magnitude, rules: [{{match: b, keep: true}}]}}\n\
         tune: {{command: {command}, {tune}}}\n"
    );
    s.write("c/x.yaml", config);
    s.write("c/count.sh", COUNT);
    s.safetensors(
        "c/trained.safetensors",
        &[("a", "F32", &[100, 20], weights(2000)), ("b", "F32", &[10], weights(10))],
    );
    s
}

fn run(s: &Scratch) -> Ran {
    s.run(&["run", "c/x.yaml"])
}

fn report(s: &Scratch) -> Value {
    serde_json::from_slice(&fs::read(s.path("c/r.json")).unwrap()).unwrap()
}

/// The calls of [`COUNT`], each a checksum of the file.
fn calls(s: &Scratch) -> Vec<String> {
    let text = fs::read_to_string(s.path("c/calls")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn is_distinct(calls: &[String]) -> bool {
    calls.iter().collect::<BTreeSet<_>>().len() == calls.len()
}

/// 740 weights may go: 2960 bytes.
const BUDGET: &str = "better: higher, max_drop: 2960, sparsity: [0, 1], tolerance: 0.0005";

#[test]
fn the_smallest_file_within_the_drop_is_written() {
    let s = scratch(COMMAND, BUDGET);
    let ran = run(&s);
    assert_eq!(ran.code, 0, "{ran:?}");
    let tune = &report(&s)["tune"];
    let original = tune["original_metric"].as_f64().unwrap();
    let points = tune["points"].as_array().unwrap();
    let best = &points[tune["winner"].as_u64().unwrap() as usize];
    let keys = ["criterion", "structure", "scope", "fill", "metric", "drop", "within"];
    assert_eq!(
        keys.map(|key| best[key].clone()),
        [
            json!("magnitude"),
            json!("unstructured"),
            json!("tensor"),
            json!("zero"),
            json!(original - 2960.0),
            json!(2960.0),
            json!(true)
        ]
    );
    // 740 of the 2010 weights.
    assert_eq!(best["sparsity"], json!(740.0 / 2010.0));
    // 0 and 1; halving 1 eleven times comes below 0.0005.
    assert_eq!((points.len(), tune["complete"].clone()), (13, json!(true)));
    assert_eq!([&points[0], &points[1]].map(|p| p["target_sparsity"].clone()), [json!(0.0), json!(1.0)]);
    let written = fs::read(s.path("c/p.safetensors")).unwrap();
    assert_eq!(best["bytes"], json!(written.len()));
    assert!(
        points.iter().all(|p| p["within"] == json!(false) || p["bytes"].as_u64() >= best["bytes"].as_u64())
    );
    // The file is what the report says elsewhere too, and restores to what was evaluated.
    assert_eq!(report(&s)["tensors"][0]["pruned_weights"], json!(740));
    assert_eq!(s.run(&["restore", "c/p.safetensors", "-o", "d.safetensors"]).code, 0);
    let dense = fs::read(s.path("d.safetensors")).unwrap();
    let not_zero = dense.iter().filter(|byte| **byte != 0).count();
    assert_eq!(best["metric"], json!(not_zero as f64));
    assert!(
        ran.stdout.contains(&format!(
            "Tuned: magnitude, tensor, unstructured, fill zero, sparsity 0.370117: metric {}, 2960 worse \
             than the original's {original} (at most 2960 worse). The smallest of 13 tried that is within \
             the limit.\n",
            original - 2960.0
        )),
        "{ran:?}"
    );
    // The headline is the file that was chosen, here and in the reports.
    let share = format!("{:.1}", 100.0 * written.len() as f64 / tune["original_bytes"].as_f64().unwrap());
    let count = |n: u64| cdi_prune::text::thousands(n);
    let headline = format!(
        "The tuned file has {} bytes, {share} % of the original {}; its metric is {}, 2960 worse than the original's {original}.",
        count(written.len() as u64),
        count(tune["original_bytes"].as_u64().unwrap()),
        original - 2960.0
    );
    assert_eq!(ran.stdout.lines().next().unwrap(), headline);
    let page = fs::read_to_string(s.path("c/r.html")).unwrap();
    assert!(page.contains(&format!("<h1 id=\"summary-title\">{}</h1>", headline.replace('\'', "&#39;"))));
    let markdown = fs::read_to_string(s.path("c/r.md")).unwrap();
    assert!(markdown.starts_with(&format!("# cdi-prune report\n\n**{headline} ")), "{markdown}");
    // Each step is another number of weights; the original is the file of sparsity 0.
    assert!(is_distinct(&calls(&s)), "{:?}", calls(&s));
    assert_eq!(calls(&s).len(), 13);
    let left: Vec<String> = s.files().into_keys().filter(|file| file.contains(".tune/")).collect();
    assert_eq!(left, ["c/p.safetensors.tune/evaluations.json"]);
}

#[test]
fn candidates_are_dense_checkpoints_of_the_trained_names() {
    let s = scratch(COMMAND, "better: higher, max_drop: 0, sparsity: [0.5, 0.5], fills: [init]");
    let ran = run(&s);
    // What was evaluated last is half initial values, which have zero bytes: too far.
    assert_eq!(ran.code, 1, "{ran:?}");
    let inspected = s.run(&["inspect", "c/last.safetensors", "--format", "json"]);
    let names: Value = serde_json::from_str(&inspected.stdout).unwrap();
    assert_eq!(
        [&names["tensors"][0], &names["tensors"][1]].map(|t| t["name"].clone()),
        [json!("a"), json!("b")]
    );
    let file = fs::read(s.path("c/last.safetensors")).unwrap();
    let expected =
        [0.0625f32.to_le_bytes().repeat(1000), weights(2000)[4000..].to_vec(), weights(10)].concat();
    assert!(file.ends_with(&expected));
}

#[test]
fn every_report_has_the_curve() {
    let s = scratch(COMMAND, &format!("{BUDGET}, fills: [zero, init], max_evaluations: 6"));
    let ran = s.run(&["run", "c/x.yaml", "--threads", "1"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let tune = &report(&s)["tune"];
    assert_eq!(tune["complete"], json!(false));
    assert!(ran.stdout.contains("; `max_evaluations` ended the search.\n"), "{ran:?}");
    let markdown = fs::read_to_string(s.path("c/r.md")).unwrap();
    assert!(markdown.contains("## Accuracy and size\n"), "{markdown}");
    assert!(markdown.contains("\nMeasured by `sh count.sh {checkpoint}`.\n"), "{markdown}");
    let rows = markdown.lines().filter(|line| line.starts_with("| magnitude | tensor | unstructured | "));
    let points = tune["points"].as_array().unwrap().len();
    // The winner's row is bold.
    assert_eq!(rows.count(), points - 1);
    assert!(markdown.contains(" | **written** |\n"), "{markdown}");
    let html = fs::read_to_string(s.path("c/r.html")).unwrap();
    let svg = fs::read_to_string(s.path("c/plots/tune.svg")).unwrap();
    for text in [&html, &svg] {
        let (begin, end) =
            (text.find("<polyline class=\"k0 curve\"").unwrap(), text.find("class=\"ring\"").unwrap());
        assert_eq!(text[begin..end].matches("<circle class=\"k").count(), points);
        assert!(text.contains("magnitude, tensor, unstructured, fill init"));
    }
    assert!(html.contains("<tr class=\"chosen\">"));
    // The same bytes at another number of threads, and nothing evaluated again.
    let (files, asked) = (s.files(), calls(&s).len());
    assert_eq!(asked, 6);
    assert_eq!(s.run(&["run", "c/x.yaml", "--threads", "3"]).code, 0);
    assert!(s.files() == files);
}

#[test]
fn an_interrupted_search_goes_on() {
    let s = scratch(
        "[sh, -c, 'test -e go || test $(wc -l < calls) -lt 4 || exit 7; sh count.sh $1', x, '{checkpoint}']",
        BUDGET,
    );
    s.write("c/calls", "");
    let ran = run(&s);
    assert_eq!((ran.code, calls(&s).len()), (1, 4), "{ran:?}");
    assert!(!s.path("c/p.safetensors").exists());
    // What failed stays for its command to be run by hand.
    assert!(s.path("c/p.safetensors.tune/candidate.safetensors").exists());
    s.write("c/go", "");
    let ran = run(&s);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(calls(&s).len(), 13);
    assert!(is_distinct(&calls(&s)));
    // As if it had gone through at once.
    let at_once = scratch(
        "[sh, -c, 'test -e go || test $(wc -l < calls) -lt 4 || exit 7; sh count.sh $1', x, '{checkpoint}']",
        BUDGET,
    );
    at_once.write("c/go", "");
    assert_eq!(run(&at_once).code, 0);
    for file in ["c/r.json", "c/p.safetensors", "c/r.html"] {
        assert!(fs::read(s.path(file)).unwrap() == fs::read(at_once.path(file)).unwrap(), "{file}");
    }
    // Another command knows nothing of these.
    assert_eq!(s.run(&["run", "c/x.yaml", "--set", "tune.command=[sh, ./count.sh, '{checkpoint}']"]).code, 0);
    assert_eq!(calls(&s).len(), 26);
}

#[test]
fn lower_may_be_better() {
    // Zero bytes: as many as weights went, times 4, and those of the header.
    let command =
        "[sh, -c, 'echo loss=$(($(wc -c < $1) - $(tr -d \"\\000\" < $1 | wc -c)))', x, '{checkpoint}']";
    let s = scratch(command, "better: lower, max_drop: 4000, sparsity: [0, 1]");
    let ran = run(&s);
    assert_eq!(ran.code, 0, "{ran:?}");
    let tune = &report(&s)["tune"];
    let best = &tune["points"][tune["winner"].as_u64().unwrap() as usize];
    assert_eq!((best["drop"].clone(), best["sparsity"].clone()), (json!(4000.0), json!(1000.0 / 2010.0)));
}

#[test]
fn a_structure_of_n_of_m_is_one_point() {
    let s = scratch(
        COMMAND,
        "better: higher, max_drop: 4000, structures: [{n: 1, m: 2}, rows], scopes: [global], tolerance: 0.05",
    );
    let ran = run(&s);
    assert_eq!(ran.code, 0, "{ran:?}");
    let tune = &report(&s)["tune"];
    let points = tune["points"].as_array().unwrap();
    let of_m: Vec<&Value> = points.iter().filter(|p| p["structure"] == json!("1:2")).collect();
    assert_eq!(of_m.len(), 1);
    assert_eq!((of_m[0]["target_sparsity"].clone(), of_m[0]["within"].clone()), (Value::Null, json!(true)));
    assert_eq!(tune["points"][tune["winner"].as_u64().unwrap() as usize]["within"], json!(true));
}

/// A rule's own target stays.
#[test]
fn only_what_has_no_target_of_its_own_is_varied() {
    let s = scratch(COMMAND, "better: higher, max_drop: 100000, sparsity: [0.2, 0.4]");
    let config = fs::read_to_string(s.path("c/x.yaml")).unwrap();
    let rules = "rules: [{match: b, target: {sparsity: 0.5}}]";
    s.write("c/x.yaml", config.replace("rules: [{match: b, keep: true}]", rules));
    let ran = run(&s);
    assert_eq!(ran.code, 0, "{ran:?}");
    let pruned = [0, 1].map(|n| report(&s)["tensors"][n]["pruned_weights"].clone());
    assert_eq!(pruned, [json!(800), json!(5)]);
}

#[test]
fn the_gate_takes_the_winners_drop() {
    let s = scratch(COMMAND, BUDGET);
    let ran = s.run(&[
        "run",
        "c/x.yaml",
        "--set",
        "gates.max_metric_drop=2959.5",
        "--set",
        "gates.min_sparsity=0.3",
    ]);
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.stdout.contains("Gate FAILED: max_metric_drop: 2960, limit at most 2959.5.\n"), "{ran:?}");
    assert!(s.path("c/p.safetensors").exists());
    assert_eq!(report(&s)["gates"][1]["measured"], json!(2960.0));
}

/// The command alone prunes by searching too; `analyze` does not.
#[test]
fn which_commands_search() {
    let s = scratch(COMMAND, BUDGET);
    assert_eq!(s.run(&["analyze", "c/x.yaml"]).code, 0);
    assert_eq!((calls(&s).len(), report(&s)["tune"].clone()), (0, Value::Null));
    fs::remove_file(s.path("c/r.json")).unwrap();
    assert_eq!(s.run(&["prune", "c/x.yaml"]).code, 0);
    assert_eq!((calls(&s).len(), s.path("c/r.json").exists()), (13, false));
}

#[test]
fn without_a_trained_checkpoint_nothing_is_tried() {
    let s = scratch(COMMAND, BUDGET);
    fs::remove_file(s.path("c/trained.safetensors")).unwrap();
    s.write(
        "c/x.yaml",
        fs::read_to_string(s.path("c/x.yaml")).unwrap() + "model: {tensors: {a: [100, 20], b: [10]}}\n",
    );
    assert_eq!((run(&s).code, calls(&s).len()), (3, 0));
}

#[test]
fn nothing_within_the_drop() {
    let s = scratch(COMMAND, "better: higher, max_drop: 10, sparsity: [0.1, 0.9], fills: [init, zero]");
    let ran = run(&s);
    assert_eq!(ran.code, 1, "{ran:?}");
    let message = ran.stderr.lines().last().unwrap();
    let expected = regex::Regex::new(
        "^error: c/x.yaml: no pruned file that `tune` tried is within 10 of the original's metric, [0-9]+; \
         the closest has [0-9]+, which is [0-9]+ worse \\(magnitude, tensor, unstructured, fill init, \
         sparsity 0.1; [0-9]+ bytes\\); lower the first value of `tune.sparsity`, or raise `tune.max_drop`$",
    );
    assert!(expected.unwrap().is_match(message), "{message}");
    assert!(!s.path("c/p.safetensors").exists());
}

/// What a command does, and what is said of it after its path is taken out.
#[track_caller]
fn fails(script: &str, tune: &str, expected: &str) {
    let command = format!("[sh, -c, {}, x, '{{checkpoint}}']", json!(script));
    let s = scratch(&command, &format!("better: higher, max_drop: 1{tune}"));
    let ran = run(&s);
    assert_eq!(ran.code, 1, "{ran:?}");
    let (_, message) = ran.stderr.split_once("error: ").unwrap();
    let quoted = format!(
        "  sh -c '{}' x DIR/c/p.safetensors.tune/candidate.safetensors\n",
        script.replace('\'', "'\\''")
    );
    let text = message.replacen(&quoted, "", 1);
    assert_eq!(text, format!("the evaluation command {expected}\n"));
    assert_ne!(text, message);
    assert!(!s.path("c/p.safetensors").exists() && !s.path("c/r.json").exists());
}

#[test]
fn a_command_that_fails() {
    fails(
        "echo 0.5; echo oh >&2; echo no >&2; exit 3",
        "",
        "ended with exit status: 3\n  in the folder DIR/c\n  its standard output ends with\n  | 0.5\n  its standard error ends \
         with\n  | oh\n  | no",
    );
    fails(
        "kill -9 $$",
        "",
        "ended with signal: 9 (SIGKILL)\n  in the folder DIR/c\n  its standard output is empty\n  its standard error is empty",
    );
}

#[test]
fn a_command_that_prints_no_metric() {
    let empty = "\n  in the folder DIR/c\n  its standard output is empty\n  its standard error is empty";
    let no_number = "printed no number on standard output, where the last number is the metric";
    fails("exit 0", "", &format!("{no_number}{empty}"));
    fails(
        "seq 1 20 | sed 's/^/line-/'; echo 0.5 >&2",
        "",
        &format!(
            "{no_number}\n  in the folder DIR/c\n  its standard output ends with{}\n  its standard error ends with\n  | 0.5",
            (9..21).map(|n| format!("\n  | line-{n}")).collect::<String>()
        ),
    );
    fails(
        "echo 'loss: NaN'",
        "",
        "printed `NaN` as its last number on standard output, expected a finite number\n  in the folder DIR/c\n  \
         its standard output ends with\n  | loss: NaN\n  its standard error is empty",
    );
}

#[test]
fn a_command_that_cannot_be_started() {
    let s = scratch("[./nowhere, '{checkpoint}']", "better: higher, max_drop: 1");
    let ran = run(&s);
    let expected = "error: the evaluation command cannot be started: No such file or directory (os error 2)\n  ./nowhere \
                    DIR/c/p.safetensors.tune/candidate.safetensors\n  in the folder DIR/c\n";
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.ends_with(expected), "{ran:?}");
}

/// It is killed with whatever it has started: what would come three seconds later never does.
#[test]
fn a_command_that_hangs() {
    let s = scratch(
        "[sh, -c, '(sleep 3; echo > alive) & echo 1; sleep 1000', x, '{checkpoint}']",
        "better: higher, max_drop: 1, timeout: 1s",
    );
    let ran = run(&s);
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.contains("the evaluation command was killed after 1 s, the limit of `tune.timeout`\n"),
        "{ran:?}"
    );
    thread::sleep(Duration::from_secs(4));
    assert!(!s.path("c/alive").exists());
}

/// The terminal's interrupt, which does not reach the command itself, ends it too.
#[test]
fn an_interrupt_ends_the_command() {
    let s = scratch(
        "[sh, -c, 'echo > begun; sleep 2; echo > alive', x, '{checkpoint}']",
        "better: higher, max_drop: 1",
    );
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_cdi-prune"))
        .args(["run", "c/x.yaml", "--quiet"])
        .current_dir(s.path(""))
        .spawn()
        .unwrap();
    while !s.path("c/begun").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it had begun");
        thread::sleep(Duration::from_millis(10));
    }
    let kill = format!("kill -INT {}", child.id());
    assert!(std::process::Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    thread::sleep(Duration::from_secs(3));
    assert!(!s.path("c/alive").exists());
}

/// Nobody waits for what a command leaves behind, though it holds its output open.
#[test]
fn what_a_command_leaves_running_is_killed() {
    let s = scratch(
        "[sh, -c, 'sleep 100000 & (sleep 2; echo > alive) & echo 1', x, '{checkpoint}']",
        "better: higher, max_drop: 1",
    );
    assert_eq!(run(&s).code, 0);
    thread::sleep(Duration::from_secs(3));
    assert!(!s.path("c/alive").exists());
}

#[test]
fn a_cache_that_is_none() {
    let s = scratch(COMMAND, &format!("{BUDGET}, cache: kept"));
    s.write("c/kept/evaluations.json", "[]");
    let ran = run(&s);
    let expected = "error: DIR/c/kept/evaluations.json: not a cache file of `tune` (line 1: invalid length \
                    0, expected struct Form with 2 elements at line 1 column 2); delete it to evaluate every \
                    file again\n";
    assert_eq!((ran.code, ran.stderr.as_str()), (1, expected));
}

/// The search removes its own files, and so no other may have their names.
#[test]
fn a_cache_in_the_way() {
    let s = scratch(COMMAND, &format!("{BUDGET}, cache: ."));
    fs::rename(s.path("c/trained.safetensors"), s.path("c/candidate.safetensors")).unwrap();
    let ran = s.run(&["run", "c/x.yaml", "--set", "trained.path=candidate.safetensors"]);
    let expected = "error: `trained.path` and a file in `tune.cache` are the same file (c/./candidate.safetensors): an output must \
                    not replace an input or another output; give one of them another path\n";
    assert_eq!((ran.code, ran.stderr.as_str()), (2, expected));
    assert!(s.path("c/candidate.safetensors").exists());
}

/// What no file can be made with is found before anything is evaluated.
#[test]
fn recipes_that_the_tensors_do_not_fit() {
    let s = scratch(COMMAND, "better: higher, max_drop: 1, structures: [rows, {n: 1, m: 3}]");
    let ran = run(&s);
    assert_eq!((ran.code, calls(&s).len()), (2, 0));
    assert!(ran.stderr.contains("tensor `a` has 20 inputs, which is not a multiple of 3"), "{ran:?}");
}

#[test]
fn the_plan_says_what_will_be_tried() {
    let s = scratch(COMMAND, &format!("{BUDGET}, fills: [zero, init], steps: 4"));
    let ran = s.run(&["plan", "c/x.yaml"]);
    let expected = "\nTune: at most 29 evaluations (higher is better, at most 2960 worse), sparsity 0 to 1 in 4 even steps, then \
                    to 5e-4, of\n  magnitude, tensor, unstructured, fill zero\n  magnitude, tensor, unstructured, fill init\nby sh \
                    count.sh {checkpoint}\n";
    assert_eq!((ran.code, calls(&s).len()), (0, 0));
    assert!(ran.stdout.ends_with(expected), "{ran:?}");
    for command in ["run", "prune", "analyze"] {
        let dry = s.run(&[command, "c/x.yaml", "--dry-run"]);
        assert_eq!((dry.code, &dry.stdout), (0, &ran.stdout), "{command}");
    }
    assert_eq!(calls(&s).len(), 0);
}

/// One candidate is written, restored and evaluated; nothing is left of it.
#[test]
fn the_plan_times_a_candidate() {
    let time = |s: &Scratch, expected: &str| {
        let before = s.files().into_keys().collect::<Vec<_>>();
        let ran = s.run(&["plan", "c/x.yaml", "--time"]);
        let expected = regex::Regex::new(expected).unwrap();
        assert!(ran.code == 0 && expected.is_match(&ran.stderr), "{ran:?}");
        let made = |name: &String| !before.contains(name);
        s.files().into_keys().filter(made).collect::<Vec<_>>()
    };
    const TAKES: &str = "tune: a candidate takes [0-9.e-]+ s to be written, restored and evaluated; ";
    let s = scratch(COMMAND, &format!("{BUDGET}, fills: [zero, init], steps: 4"));
    let made = time(&s, &format!("{TAKES}29 of them take up to [0-9.e-]+ s\n$"));
    assert_eq!((calls(&s).len(), made), (1, vec!["c/calls".to_owned(), "c/last.safetensors".to_owned()]));
    let s = scratch(COMMAND, &format!("{BUDGET}, steps: 4, jobs: 3, max_evaluations: 5"));
    let several = ", and less with 3 evaluations at a time\n$";
    time(&s, &format!("{TAKES}5 of them take up to [0-9.e-]+ s{several}"));
    // A config without a search; a command that fails.
    s.write("c/y.yaml", "seed: 1\nmodel: {tensors: {a: [2]}}\nrules: [{match: a, init: zeros}]\n");
    let ran = s.run(&["plan", "c/y.yaml", "--time"]);
    assert!(ran.code == 0 && ran.stderr.ends_with("nothing is timed: the config has no `tune`\n"), "{ran:?}");
    let ran = s.run(&["plan", "c/x.yaml", "--time", "--set", "tune.command=['false', '{checkpoint}']"]);
    assert!(
        ran.code == 1 && ran.stderr.contains("the evaluation command ended with exit status: 1\n"),
        "{ran:?}"
    );
}

/// The message about `tune: …` on the third line of a config.
#[track_caller]
fn error(prune: &str, tune: &str) -> String {
    let text = format!("{{seed: 1, trained: {{path: t}},\nprune: {{output: p{prune}}},\ntune: {tune}}}\n");
    let error = Settings::parse(&text, Path::new("x.yaml"), &[]).unwrap_err().to_string();
    error.strip_prefix("x.yaml:").unwrap_or_else(|| panic!("{error}")).to_owned()
}

#[test]
fn configs_that_cannot_be() {
    let base = "command: [e, '{checkpoint}'], better: higher, max_drop: 1";
    let after = |tune: &str| error("", &format!("{{{base}, {tune}}}"));
    for (got, expected) in [
        (error("", "{}"), "3:1: missing key `command` in `tune`"),
        (
            error("", "{command: [], better: higher, max_drop: 1}"),
            "3:17: `tune.command`: expected a program and its arguments, with {checkpoint} in at least one \
             of them, got no program",
        ),
        (
            error("", "{command: [e], better: higher, max_drop: 1}"),
            "3:17: `tune.command`: expected a program and its arguments, with {checkpoint} in at least one \
             of them, got none with it",
        ),
        (
            error("", "{command: e x, better: higher, max_drop: 1}"),
            "3:17: `tune.command`: expected a list, got the text `e x`",
        ),
        (error("", "{command: [e, '{checkpoint}'], max_drop: 1}"), "3:1: missing key `better` in `tune`"),
        (
            error("", "{command: [e, '{checkpoint}'], better: more, max_drop: 1}"),
            "3:46: `tune.better` cannot be `more`; the values are higher, lower",
        ),
        (
            error("", "{command: [e, '{checkpoint}'], better: lower, max_drop: -1}"),
            "3:63: `tune.max_drop`: expected a finite number of at least 0, got -1",
        ),
        (
            error(", target: {sparsity: 0.5}", &format!("{{{base}}}")),
            "2:28: `prune.target`: expected no target together with `tune`, which searches for the sparsity, \
             got one",
        ),
        (
            after("timeout: 1d"),
            "3:76: `tune.timeout`: expected a number of seconds above 0, or a number with ms, s, m or h, such \
          as 90s or 1.5h, got the text `1d`",
        ),
        (
            after("sparsity: [0.5, 0.1]"),
            "3:77: `tune.sparsity`: expected [least, largest] from 0 to 1, got [0.5, 0.1]",
        ),
        (after("steps: 0"), "3:74: `tune.steps`: expected a whole number from 1 to 1000000, got 0"),
        (after("tolerance: 0"), "3:78: `tune.tolerance`: expected a number above 0 and at most 1, got 0"),
        (
            after("max_evaluations: 1"),
            "3:84: `tune.max_evaluations`: expected a whole number from 2 to 1000000, got 1",
        ),
        (after("criteria: []"), "3:77: `tune.criteria`: expected at least one value, got an empty list"),
        (
            after("criteria: [magnitude, slepping]"),
            "3:1: `tune` would try settings that exclude each other: `prune.criterion` cannot be `slepping` \
             (did you mean `sleeping`?); the values are sleeping, magnitude, movement, magnitude_increase, \
             nearest, random",
        ),
        (
            after("scopes: [row], structures: [rows]"),
            "3:1: `tune` would try settings that exclude each other: `prune.structure`: expected \
             unstructured with `scope: row`, got another structure",
        ),
    ] {
        assert_eq!(got, expected);
    }
    let alone = |text: &str| Settings::parse(text, Path::new("x.yaml"), &[]).unwrap_err().to_string();
    assert_eq!(
        alone(&format!("{{seed: 1, trained: {{path: t}}, tune: {{{base}}}}}")),
        "x.yaml:1:31: `tune` needs the key `prune`, which the config does not have"
    );
    assert_eq!(
        alone(&format!("{{seed: 1, prune: {{output: p}}, tune: {{{base}}}}}")),
        "x.yaml:1:31: `tune` needs the key `trained`, which the config does not have"
    );
}

/// A search is taken up from its report: the run is done again with what it chose.
#[test]
fn verify_does_a_tuned_run_again() {
    let s = scratch(COMMAND, BUDGET);
    let manifest = ["--set", "manifest=m.json"];
    assert_eq!(s.run(&[&["run", "c/x.yaml"][..], &manifest].concat()).code, 0);
    let asked = calls(&s).len();
    let ran = s.run(&["verify", "c/m.json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.stdout.ends_with(
            "The run was repeated from the inputs: the same outputs, byte for byte, the same results of 0 \
             gates, and the same counts of 2 tensors.\n\
             Not checked: the metrics from the command of `tune`, and therefore its choice.\n"
        ),
        "{ran:?}"
    );
    assert_eq!(calls(&s).len(), asked);
    // Without the report nobody knows what was chosen.
    let config = fs::read_to_string(s.path("c/x.yaml")).unwrap();
    s.write("c/x.yaml", config.replace("json: r.json, ", ""));
    assert_eq!(s.run(&[&["run", "c/x.yaml"][..], &manifest].concat()).code, 0);
    let ran = s.run(&["verify", "c/m.json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.stdout.contains(
            "The run was not repeated: the choice of `tune` depends on the evaluation command, and there \
             is no JSON report to read it from.\n\
             Not checked: "
        ),
        "{ran:?}"
    );
}
