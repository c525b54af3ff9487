//! The search for steps: what it finds, what confirms it, and what can go wrong. The commands are those of a
//! POSIX shell.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use cdi_prune::config::Settings;
use serde_json::{Value, json};

use crate::common::{Ran, Scratch};

/// Prints the sum of squares of what the weights of a file differ from those of the first file that it was
/// called with; each of the second tensor's counts as much as ten. `$2` is a factor.
const LOSS: &str = "#!/bin/sh\n\
    LC_ALL=C\n\
    export LC_ALL\n\
    n=$(od -An -tu8 -N8 \"$1\")\n\
    echo \"$1\" >> calls\n\
    od -An -v -tf4 -j $((8 + n)) \"$1\" | tr -s ' ' '\\n' | grep . > now.$$\n\
    test -e first || cp now.$$ first\n\
    paste now.$$ first |\n\
    awk -v f=\"${2:-1}\" '{d = $1 - $2; s += d * d * (NR > 600 ? 10 : 1)} END {printf \"loss %.7f\\n\", f * s}'\n\
    rm now.$$\n";

/// The original is evaluated first, and alone.
const COMMAND: &str = "[sh, loss.sh, '{checkpoint}']";

/// What is searched.
const STEPS: &str = "values: {step: auto}";

fn floats(count: u32, scale: f32) -> Vec<u8> {
    // Numbers without a pattern that a coder would find.
    let one = |n: u32| ((n * n * 37 + n * 11) % 211) as f32 - 105.0;
    (0..count).flat_map(|n| (one(n) * scale).to_le_bytes()).collect()
}

/// Two tensors of 600 and 200 weights, and ten weights that are kept, in the folder `c`.
fn scratch(prune: &str, tune: &str) -> Scratch {
    let s = Scratch::new();
    let config = format!(
        "seed: 1\n\
         rules: [{{match: '**', init: zeros}}]\n\
         trained: {{path: trained.safetensors}}\n\
         analyze: {{report: {{json: r.json, markdown: r.md, html: r.html, svg: plots}}}}\n\
         prune: {{output: p.safetensors, rules: [{{match: c, keep: true}}], {prune}}}\n\
         tune: {{command: {COMMAND}, better: lower, {tune}}}\n"
    );
    s.write("c/x.yaml", config);
    s.write("c/loss.sh", LOSS);
    s.safetensors(
        "c/trained.safetensors",
        &[
            ("a", "F32", &[30, 20], floats(600, 0.01)),
            ("b", "F32", &[10, 20], floats(200, 0.001)),
            ("c", "F32", &[10], floats(10, 0.5)),
        ],
    );
    s
}

fn run(s: &Scratch, more: &[&str]) -> Ran {
    s.run(&[&["run", "c/x.yaml"][..], more].concat())
}

fn report(s: &Scratch) -> Value {
    serde_json::from_slice(&fs::read(s.path("c/r.json")).unwrap()).unwrap()
}

fn winner(tune: &Value) -> &Value {
    &tune["points"][tune["winner"].as_u64().unwrap() as usize]
}

#[test]
fn each_tensor_gets_a_step_that_a_config_can_have() {
    let s = scratch(STEPS, "max_drop: 2");
    let ran = run(&s, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let tune = &report(&s)["tune"];
    let points = tune["points"].as_array().unwrap();
    let best = winner(tune);
    assert_eq!(
        (&tune["complete"], &best["within"], &best["criterion"]),
        (&json!(true), &json!(true), &json!("none"))
    );
    assert!(best["drop"].as_f64().unwrap() <= 2.0);
    let within = points.iter().filter(|point| point["within"] == json!(true));
    assert_eq!(within.clone().map(|point| point["bytes"].as_u64().unwrap()).min(), best["bytes"].as_u64());
    let written = fs::read(s.path("c/p.safetensors")).unwrap();
    assert_eq!(best["bytes"], json!(written.len()));
    // Smaller than with any one step.
    let of_part = |part: &str| {
        let points = within.clone().filter(|point| point["steps"]["part"] == json!(part));
        points.map(|point| point["bytes"].as_u64().unwrap()).min().unwrap()
    };
    assert!(of_part("each") < of_part("common"), "{} {}", of_part("each"), of_part("common"));
    // The first points are powers of two times the root mean square of all 800 weights.
    let first: Vec<f64> =
        points[..10].iter().map(|point| point["steps"]["shortest"].as_f64().unwrap()).collect();
    assert!(first.windows(2).all(|pair| (pair[1] / pair[0] - 2.0).abs() < 0.02), "{first:?}");
    // The steps of what was written, in a config without a search, give the same file.
    let steps = best["steps"]["tensors"].as_array().unwrap();
    assert_eq!(steps.iter().map(|one| one["name"].clone()).collect::<Vec<_>>(), ["a", "b"]);
    let rules: String = steps
        .iter()
        .map(|one| {
            format!(", {{match: {}, values: {{step: {}, over: {}}}}}", one["name"], one["step"], one["over"])
        })
        .collect();
    let config = fs::read_to_string(s.path("c/x.yaml")).unwrap();
    let (before, _) = config.split_once("tune:").unwrap();
    s.write(
        "c/y.yaml",
        before.replace("{match: c, keep: true}", &format!("{{match: c, keep: true}}{rules}")),
    );
    assert_eq!(s.run(&["prune", "c/y.yaml", "--set", "prune.output=q.safetensors"]).code, 0);
    assert!(fs::read(s.path("c/q.safetensors")).unwrap() == written);
    // What other points had is in the report for those that nothing beats, and no others.
    let with_steps = points.iter().filter(|point| point["steps"].get("tensors").is_some()).count();
    assert!((5..60).contains(&with_steps), "{with_steps}");
}

#[test]
fn the_reports_show_what_nothing_beats() {
    let s = scratch(STEPS, "max_drop: 2, max_evaluations: 40");
    let ran = run(&s, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let tune = &report(&s)["tune"];
    assert_eq!(tune["complete"], json!(false));
    assert!(
        ran.stdout.contains("that is within the limit; `max_evaluations` ended the search.\n"),
        "{ran:?}"
    );
    // One more, because nothing is evaluated twice.
    assert_eq!(fs::read_to_string(s.path("c/calls")).unwrap().lines().count(), 40);
    let markdown = fs::read_to_string(s.path("c/r.md")).unwrap();
    let count = tune["points"].as_array().unwrap().len();
    for text in [
        format!("Of the {count} tried, those that no other beats in both size and metric:"),
        "| steps | length | bytes | metric | worse by | result |".to_owned(),
        "| tensor | step | over | at start | std of change / std |".to_owned(),
        " | **written** |".to_owned(),
    ] {
        assert!(markdown.contains(&text), "{text}: {markdown}");
    }
    assert!(!markdown.contains("| criterion |"));
    let svg = fs::read_to_string(s.path("c/plots/tune.svg")).unwrap();
    // One line, on a logarithmic axis.
    assert_eq!(svg.matches("<polyline").count(), 1);
    assert!(
        [">1 kB<", ">2 kB<"]
            .iter()
            .all(|tick| svg.contains(&tick.replace("1 kB", "1000 B").replace("2 kB", "2000 B"))),
        "{svg}"
    );
    let html = fs::read_to_string(s.path("c/r.html")).unwrap();
    assert!(html.contains("The steps of the file that was written:"));
}

/// The same at any number of commands at a time; and they do run at the same time.
#[test]
fn jobs_change_nothing_but_the_time() {
    let one = scratch(STEPS, "max_drop: 2, max_evaluations: 30");
    let three = scratch(STEPS, "max_drop: 2, max_evaluations: 30, jobs: 3");
    // What a killed search with more jobs has left.
    three.write("c/p.safetensors.tune/candidate-64.pruned.safetensors", "");
    let [a, b] = [&one, &three].map(|s| {
        let ran = run(s, &[]);
        assert_eq!(ran.code, 0, "{ran:?}");
        (report(s)["tune"].clone(), fs::read(s.path("c/p.safetensors")).unwrap())
    });
    assert!(a == b);
    let calls = fs::read_to_string(three.path("c/calls")).unwrap();
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    for call in calls.lines() {
        *names.entry(call.rsplit('/').next().unwrap()).or_default() += 1;
    }
    assert_eq!(
        names.keys().copied().collect::<Vec<_>>(),
        ["candidate-2.safetensors", "candidate-3.safetensors", "candidate.safetensors"]
    );
    assert_eq!(names.values().sum::<usize>(), 30);
    // Nothing stays but the measurements.
    let left = three.files().into_keys().filter(|file| file.contains(".tune/")).collect::<Vec<_>>();
    assert_eq!(left, ["c/p.safetensors.tune/evaluations.json"]);
}

/// By a command that finds three times the loss, the smallest files lose too much.
#[test]
fn what_is_not_confirmed_is_not_written() {
    let s = scratch(STEPS, "max_drop: 2, confirm: [sh, loss.sh, '{checkpoint}', '3']");
    let ran = run(&s, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let tune = &report(&s)["tune"];
    let found = &tune["confirmation"];
    assert_eq!(found["command"], json!(["sh", "loss.sh", "{checkpoint}", "3"]));
    assert_eq!(found["original_metric"], json!(0.0));
    let points = found["points"].as_array().unwrap();
    let (last, refused) = points.split_last().unwrap();
    assert!(!refused.is_empty() && refused.iter().all(|point| point["within"] == json!(false)));
    assert_eq!((&last["within"], &last["point"]), (&json!(true), &tune["winner"]));
    let best = winner(tune);
    let tripled = 3.0 * best["metric"].as_f64().unwrap();
    assert!((last["metric"].as_f64().unwrap() - tripled).abs() < 1e-6 && tripled <= 2.0);
    assert_eq!(best["bytes"], json!(fs::read(s.path("c/p.safetensors")).unwrap().len()));
    // From the smallest on, each larger than the one before.
    let bytes =
        |point: &Value| tune["points"][point["point"].as_u64().unwrap() as usize]["bytes"].as_u64().unwrap();
    assert!(points.windows(2).all(|pair| bytes(&pair[0]) < bytes(&pair[1])));
    let counted = if refused.len() == 1 {
        "1 smaller file".to_owned()
    } else {
        format!("{} smaller files", refused.len())
    };
    assert!(
        ran.stdout.contains(&format!(
            "that is within the limit, after {counted} that other data did not confirm.\n"
        )),
        "{ran:?}"
    );
    assert!(ran.stdout.lines().next().unwrap().contains(" On other data it is "), "{ran:?}");
    let markdown = fs::read_to_string(s.path("c/r.md")).unwrap();
    assert_eq!(markdown.matches("| not confirmed |").count(), refused.len());
    assert!(markdown.contains(" Confirmed by `sh loss.sh {checkpoint} 3`.\n"));
    // It is done again from its report, without either command.
    let asked = fs::read_to_string(s.path("c/calls")).unwrap();
    assert_eq!(run(&s, &["--set", "manifest=m.json"]).code, 0);
    let ran = s.run(&["verify", "c/m.json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(fs::read_to_string(s.path("c/calls")).unwrap(), asked);
}

#[test]
fn nothing_is_confirmed() {
    let s = scratch(
        STEPS,
        "max_drop: 2, max_evaluations: 12, confirm: [sh, -c, 'test -e c && echo 9 || { echo 1 > c; echo 1; }', x, '{checkpoint}']",
    );
    let ran = run(&s, &[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let expected = regex::Regex::new(
        "^error: c/x.yaml: none of [0-9]+ files that `tune.confirm` measured is within 2 of the original's metric by that command, 1; \
         the closest has 9, which is 8 worse \\(one step for all tensors: [0-9.]+; [0-9]+ bytes\\); evaluate on more data in \
         `tune.command`, or raise `tune.max_drop`$",
    );
    let message = ran.stderr.lines().last().unwrap();
    assert!(expected.unwrap().is_match(message), "{message}");
    assert!(!s.path("c/p.safetensors").exists() && !s.path("c/r.json").exists());
}

#[test]
fn a_metric_that_does_not_depend_on_the_file() {
    let s = scratch(STEPS, "max_drop: 2");
    let ran = run(&s, &["--set", "tune.command=[sh, -c, echo 0.25, x, '{checkpoint}']"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let expected = "error: c/x.yaml: `tune.command` printed 0.25 for each of 11 checkpoints, from the original to one whose weights \
                    are hardly more than their starting points; check that it evaluates the file `{checkpoint}`, and that \
                    training changed its metric";
    assert_eq!(ran.stderr.lines().last().unwrap(), expected);
    assert!(!s.path("c/p.safetensors").exists());
}

#[test]
fn nothing_within_the_drop() {
    let s = scratch(STEPS, "max_drop: 0");
    let ran = run(
        &s,
        &[
            "--set",
            "tune.command=[sh, -c, 'test -e c && echo 9 || { echo 1 > c; echo 1; }', x, '{checkpoint}']",
        ],
    );
    assert_eq!(ran.code, 1, "{ran:?}");
    let message = ran.stderr.lines().last().unwrap();
    let expected = regex::Regex::new(
        "^error: c/x.yaml: no pruned file that `tune` tried is within 0 of the original's metric, 1; the closest has 9, \
         which is 8 worse \\(one step for all tensors: [0-9.]+; [0-9]+ bytes\\); raise `tune.max_drop`$",
    );
    assert!(expected.unwrap().is_match(message), "{message}");
    assert!(!s.path("c/p.safetensors").exists());
}

/// Pruning as the config says, and steps for what is kept.
#[test]
fn pruned_weights_have_no_steps() {
    let s = scratch(
        &format!("{STEPS}, criterion: magnitude, structure: {{n: 2, m: 4}}"),
        "max_drop: 200, max_evaluations: 14",
    );
    let ran = run(&s, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = report(&s);
    assert_eq!(
        [0, 1, 2].map(|n| report["tensors"][n]["pruned_weights"].clone()),
        [json!(300), json!(100), json!(0)]
    );
    let best = winner(&report["tune"]);
    assert_eq!(
        (&best["criterion"], &best["structure"], &best["sparsity"]),
        (&json!("magnitude"), &json!("2:4"), &json!(400.0 / 810.0))
    );
    assert!(
        ran.stdout.contains("Tuned: one step for all tensors, magnitude, tensor, 2:4, fill zero: "),
        "{ran:?}"
    );
    assert!(
        fs::read_to_string(s.path("c/r.md"))
            .unwrap()
            .contains("| steps | length | criterion | scope | structure | fill | sparsity |")
    );
}

/// A rule's own step stays, and so does its start.
#[test]
fn only_what_is_left_open_is_searched() {
    let s = scratch("values: {step: auto, over: zero}", "max_drop: 500, max_evaluations: 20");
    let config = fs::read_to_string(s.path("c/x.yaml")).unwrap();
    let rules = "rules: [{match: b, values: {step: 0.02}}, {match: c, keep: true}]";
    s.write("c/x.yaml", config.replace("rules: [{match: c, keep: true}]", rules));
    let ran = run(&s, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = report(&s);
    assert_eq!(report["tensors"][1]["rounding"]["step"], json!(0.02));
    let points = report["tune"]["points"].as_array().unwrap();
    assert!(points.iter().all(|point| point["steps"]["part"] != json!("common_from_zero")));
    let steps = &winner(&report["tune"])["steps"]["tensors"];
    assert_eq!(
        (&steps[0]["name"], &steps[0]["over"], &steps[1]),
        (&json!("a"), &json!("zero"), &Value::Null)
    );
}

/// The search for a sparsity opens a file of scores again for what it has chosen.
#[test]
fn a_tuned_criterion_may_read_scores() {
    let s = scratch("criterion: {scores: scores.safetensors}", "max_drop: 1000, max_evaluations: 4");
    s.safetensors(
        "c/scores.safetensors",
        &[("a", "F32", &[30, 20], floats(600, 1.0)), ("b", "F32", &[10, 20], floats(200, 1.0))],
    );
    let ran = run(&s, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("Tuned: scores of scores.safetensors, "), "{ran:?}");
}

#[test]
fn the_plan_says_what_will_be_tried() {
    let s = scratch(STEPS, "max_drop: 2, jobs: 4, confirm: [sh, loss.sh, '{checkpoint}', '3']");
    let expected = "\nTune: some 40 evaluations, then 20 to 70 for each tensor (lower is better, at most 2 worse): one step for \
                    all tensors, counted from their initial values and from zero, and in proportion to their weights; then \
                    a step for each tensor\nby sh loss.sh {checkpoint}, 4 at a time\nconfirmed by sh loss.sh {checkpoint} 3\n";
    let ran = s.run(&["plan", "c/x.yaml"]);
    assert!(ran.code == 0 && ran.stdout.ends_with(expected), "{ran:?}");
    assert!(!s.path("c/calls").exists());
    let ran = s.run(&["plan", "c/x.yaml", "--time"]);
    let expected = "tune: a candidate takes [0-9.e-]+ s to be written, restored and evaluated; 100 of them take \
                    [0-9.e-]+ s, and less with 4 evaluations at a time\n$";
    assert!(ran.code == 0 && regex::Regex::new(expected).unwrap().is_match(&ran.stderr), "{ran:?}");
    assert_eq!(fs::read_to_string(s.path("c/calls")).unwrap().lines().count(), 1);
}

/// All commands that run at the same time end with the program.
#[test]
fn an_interrupt_ends_all_commands() {
    let s = scratch(STEPS, "max_drop: 2, jobs: 2");
    let script = "test -e first || { echo > first; echo 1; exit; }; echo >> begun; sleep 2; echo > alive";
    let command = format!("tune.command=[sh, -c, '{script}', x, '{{checkpoint}}']");
    let mut child = Command::new(env!("CARGO_BIN_EXE_cdi-prune"))
        .args(["run", "c/x.yaml", "--quiet", "--set", &command])
        .current_dir(s.path(""))
        .spawn()
        .unwrap();
    while fs::read_to_string(s.path("c/begun")).map_or(0, |text| text.lines().count()) < 2 {
        assert!(child.try_wait().unwrap().is_none(), "it ended before both had begun");
        thread::sleep(Duration::from_millis(10));
    }
    let kill = format!("kill -INT {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    thread::sleep(Duration::from_secs(3));
    assert!(!s.path("c/alive").exists());
}

#[test]
fn configs_that_cannot_be() {
    let error = |prune: &str, tune: &str| {
        let text = format!(
            "{{seed: 1, trained: {{path: t}},\nprune: {{output: p{prune}}},\ntune: {{command: [e, '{{checkpoint}}'], better: lower, \
             max_drop: 1, {tune}}}}}\n"
        );
        let error = Settings::parse(&text, Path::new("x.yaml"), &[]).unwrap_err().to_string();
        error.strip_prefix("x.yaml:").unwrap_or_else(|| panic!("{error}")).to_owned()
    };
    let auto = ", values: {step: auto}";
    for (got, expected) in [
        (
            error(auto, "criteria: [magnitude]"),
            "3:76: `tune.criteria`: expected no such key together with `prune.values.step: auto`, with which `tune` searches \
             for the lengths of steps; everything else is as `prune` says, got one",
        ),
        (
            error(auto, "sparsity: [0, 1]"),
            "3:76: `tune.sparsity`: expected no such key together with `prune.values.step: auto`, with which `tune` searches \
             for the lengths of steps; everything else is as `prune` says, got one",
        ),
        (error(auto, "jobs: 0"), "3:72: `tune.jobs`: expected a whole number from 1 to 64, got 0"),
        (error(auto, "jobs: 65"), "3:72: `tune.jobs`: expected a whole number from 1 to 64, got 65"),
        (
            error(auto, "confirm: [e]"),
            "3:75: `tune.confirm`: expected a program and its arguments, with {checkpoint} in at least one of them, got none \
             with it",
        ),
        (
            error(", values: {step: 0.1}, target: {sparsity: 0.5}", "jobs: 1"),
            "2:49: `prune.target`: expected no target together with `tune`, which searches for the sparsity, got one",
        ),
    ] {
        assert_eq!(got, expected);
    }
    // With open steps, what is pruned stays as it is.
    let text = "{seed: 1, trained: {path: t}, prune: {output: p, values: {step: auto}, target: {sparsity: 0.5}}, tune: {command: \
                [e, '{checkpoint}'], better: lower, max_drop: 1}}";
    Settings::parse(text, Path::new("x.yaml"), &[]).unwrap();
}
