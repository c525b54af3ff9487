//! Two reports side by side: of one training at two steps, of two recipes, and of what cannot be compared.

use std::fs;

use serde_json::{Value, json};

use crate::common::{Ran, Scratch, f32s, root, shipped_config};

const CONFIG: &str = "\
seed: 1
rules: [{match: '**', init: {from: base.safetensors}}]
trained: {path: trained.safetensors}
analyze: {threshold: 0, report: {json: r.json}}
";

#[track_caller]
fn succeeds(s: &Scratch, args: &[&str]) -> Ran {
    let ran = s.run(args);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    ran
}

/// Writes the report of a checkpoint with these tensors, all of two rows; `more` are arguments.
fn report(s: &Scratch, file: &str, tensors: &[(&str, &[f32])], more: &[&str]) {
    let shapes: Vec<[usize; 2]> = tensors.iter().map(|(_, values)| [2, values.len() / 2]).collect();
    let of = |values: &dyn Fn(&[f32]) -> Vec<f32>| -> Vec<_> {
        let each = tensors.iter().zip(&shapes);
        each.map(|((name, now), shape)| (*name, "F32", &shape[..], f32s(&values(now)))).collect()
    };
    // Every weight starts at its number, from 1.
    s.safetensors("base.safetensors", &of(&|now| (1..=now.len()).map(|n| n as f32).collect()));
    s.safetensors("trained.safetensors", &of(&|now| now.to_vec()));
    s.write("x.yaml", CONFIG);
    let to = format!("analyze.report.json={file}");
    succeeds(s, &[&["analyze", "x.yaml", "--quiet", "--set", &to], more].concat());
}

/// One training at two steps. `a`: 4 of 6 sleep, then 1; |delta| 0.5 and 1, then five times
/// 1; `b` stays as it is.
fn steps() -> Scratch {
    let s = Scratch::new();
    let b: &[f32] = &[1.0, 2.0, 3.0, 5.0];
    report(&s, "1.json", &[("a", &[1.5, 2.0, 3.0, 4.0, 5.0, 7.0]), ("b", b)], &[]);
    report(&s, "2.json", &[("a", &[2.0, 3.0, 4.0, 5.0, 6.0, 6.0]), ("b", b)], &[]);
    s
}

/// Means of |delta| go from 1.5 / 6 to 5 / 6, in all from 2.5 / 10 to 6 / 10; deviations of `a` are
/// NumPy's 1.8653 and 1.4907.
#[test]
fn progress_in_a_table() {
    let s = steps();
    assert_eq!(
        succeeds(&s, &["compare", "1.json", "2.json"]).stdout,
        "\
┌──────────────────────────────────────────────────────────────────────────────┐
│ tensor  weights  sleeping         more  mean |delta|  max |delta|        std │
│                     % old   new  awake     new / old    new / old  new / old │
╞══════════════════════════════════════════════════════════════════════════════╡
│ a             6      66.7  16.7     +3          3.33         1.00       0.80 │
│ b             4      75.0  75.0      0          1.00         1.00       1.00 │
│ total        10      70.0  40.0     +3          2.40         1.00          - │
└──────────────────────────────────────────────────────────────────────────────┘
3 more weights are awake than before: 70.0 % slept, now 40.0 %; mean |delta| is 2.4 times as large.
"
    );
    assert_eq!(
        succeeds(&s, &["compare", "2.json", "2.json"]).stdout.lines().last(),
        Some("Nothing changed in 2 tensors in both reports: 40.0 % of the weights sleep.")
    );
    assert_eq!(
        succeeds(&s, &["compare", "2.json", "1.json"]).stdout.lines().last(),
        Some(
            "3 fewer weights are awake than before: 40.0 % slept, now 70.0 %; mean |delta| is 0.417 times as large."
        )
    );
}

#[test]
fn progress_in_markdown() {
    let s = steps();
    let expected = "\
# cdi-prune compare

**3 more weights are awake than before: 70.0 % slept, now 40.0 %; mean |delta| is 2.4 times as large.**

| tensor | weights | sleeping %, old | new | more awake | mean \\|delta\\|, new / old | max \\|delta\\|, new / old | std, new / old |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| `a` | 6 | 66.7 | 16.7 | +3 | 3.33 | 1.00 | 0.80 |
| `b` | 4 | 75.0 | 75.0 | 0 | 1.00 | 1.00 | 1.00 |
| **total** | **10** | **70.0** | **40.0** | **+3** | **2.40** | **1.00** |  |
";
    let ran = succeeds(&s, &["compare", "1.json", "2.json", "--format", "markdown"]);
    assert_eq!(ran.stdout, expected);
    // The same in a file, whose folder is made.
    let ran = s.run(&["compare", "1.json", "2.json", "--format", "markdown", "-o", "out/c.md"]);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "", "comparison: out/c.md\n"));
    assert_eq!(fs::read_to_string(s.path("out/c.md")).unwrap(), expected);
}

/// Deviations are those of `sqrt(sum(w²) / n - (sum(w) / n)²)` in Python.
#[test]
fn progress_in_json() {
    let s = steps();
    let ran = succeeds(&s, &["compare", "1.json", "2.json", "--format", "json"]);
    let mut found: Value = serde_json::from_str(&ran.stdout).unwrap();
    for side in ["old", "new"] {
        // Of the config with its override, which differs in the report's name.
        assert_eq!(found[side]["config_sha256"].as_str().unwrap().len(), 64);
        found[side]["config_sha256"] = json!("");
    }
    let figures = |sleeping: u64, percentage: f64, mean: f64, std: f64| {
        json!({
            "shape": [2, 3], "dtype": "F32", "total_weights": 6, "sleeping_weights": sleeping,
            "sleeping_percentage": percentage, "mean_delta": mean, "max_delta": 1.0, "std": std,
            "threshold": 0.0, "decay": 1.0, "not_finite": 0,
        })
    };
    let b = json!({
        "shape": [2, 2], "dtype": "F32", "total_weights": 4, "sleeping_weights": 3,
        "sleeping_percentage": 75.0, "mean_delta": 0.25, "max_delta": 1.0, "std": 1.479_019_945_774_904,
        "threshold": 0.0, "decay": 1.0, "not_finite": 0,
    });
    let same = json!({"mean_delta": 1.0, "max_delta": 1.0, "std": 1.0});
    let std = 1.490_711_984_999_860_7;
    assert_eq!(
        found,
        json!({
            "version": 1,
            "verdict": "3 more weights are awake than before: 70.0 % slept, now 40.0 %; mean |delta| is 2.4 times as large.",
            "warnings": [],
            "totals": {
                "name": "total", "tensors": 2, "weights": 10, "sleeping_percentage": [70.0, 40.0],
                "awakened": 3, "mean_delta": 2.4, "max_delta": 1.0, "std": null, "decay": [1.0, 1.0],
            },
            "old": {"seed": 1, "noise_version": 1, "config_sha256": ""},
            "new": {"seed": 1, "noise_version": 1, "config_sha256": ""},
            "comparable": true,
            "only_in_old": [],
            "only_in_new": [],
            "tensors": [
                {
                    "name": "a", "differs": [], "comparable": true,
                    "old": figures(4, 66.666_666_666_666_66, 0.25, 1.865_252_440_466_616_2),
                    "new": figures(1, 16.666_666_666_666_664, 0.833_333_333_333_333_4, std),
                    "awakened": 3,
                    "ratio": {
                        "mean_delta": 3.333_333_333_333_333_5,
                        "max_delta": 1.0,
                        "std": 0.799_201_198_003_494_1,
                    },
                },
                {
                    "name": "b", "differs": [], "comparable": true, "old": b, "new": b, "awakened": 0,
                    "ratio": same,
                },
            ],
        })
    );
}

/// What is printed below the table.
fn words(s: &Scratch, old: &str, new: &str) -> Vec<String> {
    let ran = succeeds(s, &["compare", old, new]);
    ran.stdout.lines().filter(|line| !line.starts_with(['┌', '│', '╞', '└'])).map(str::to_owned).collect()
}

#[test]
fn counts_by_different_measures_are_not_compared() {
    let s = Scratch::new();
    let now: &[(&str, &[f32])] =
        &[("a", &[1.5, 2.0, 3.0, 4.0]), ("b", &[1.0, 2.0]), ("c", &[1.0, 3.0]), ("d", &[1.0, 2.0])];
    report(&s, "0.json", now, &[]);
    report(&s, "1.json", now, &["--set", "analyze.threshold=0.5"]);
    report(&s, "2.json", now, &["--set", "analyze.decay=0.5"]);
    assert_eq!(
        words(&s, "0.json", "1.json"),
        [
            "WARNING: Thresholds differ, so the counts of sleeping weights cannot be compared: a (0, now 0.5), b (0, now 0.5), \
             c (0, now 0.5) and 1 more.",
            "80.0 % of the weights slept, now 90.0 %, but by different thresholds or decay factors: the \
             counts cannot be compared.",
        ]
    );
    assert_eq!(
        words(&s, "0.json", "2.json"),
        [
            "WARNING: Decay factors differ, so the counts of sleeping weights cannot be compared: a (1, now 0.5), b (1, now \
             0.5), c (1, now 0.5) and 1 more.",
            "80.0 % of the weights slept, now 0.0 %, but by different thresholds or decay factors: the \
             counts cannot be compared.",
        ]
    );
    let ran = succeeds(&s, &["compare", "0.json", "2.json", "--format", "json"]);
    let found: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&found["comparable"], &found["totals"]["awakened"]), (&json!(false), &Value::Null));
    assert_eq!(found["tensors"][0]["differs"], json!(["decay"]));
    assert_eq!(found["tensors"][0]["awakened"], Value::Null);
    // One measure by another name.
    report(&s, "3.json", now, &["--set", "analyze.threshold={relative: 0}"]);
    assert_eq!(
        words(&s, "0.json", "3.json"),
        ["Nothing changed in 4 tensors in both reports: 80.0 % of the weights sleep."]
    );
}

/// The two runs of a shipped network, the second with weight decay: the weights tell both factors, and what
/// sleeps is in both what training did not touch. 15,442 and 15,522: see `verdicts.rs`.
#[test]
fn counts_that_the_weights_told_are_compared() {
    let s = Scratch::new();
    for (folder, file) in [("examples/data/mlp_pad_sgd", "1.json"), ("tests/data/mlp_pad_sgdm_wd", "2.json")]
    {
        let mut config = shipped_config(&root().join(folder));
        config["analyze"] = json!({"threshold": "auto", "decay": "auto", "report": {"json": file}});
        s.write("x.yaml", config.to_string());
        succeeds(&s, &["analyze", "x.yaml", "--quiet"]);
    }
    let ran = succeeds(&s, &["compare", "1.json", "2.json"]);
    assert_eq!(
        ran.stdout,
        "\
┌───────────────────────────────────────────────────────────────────────────────────────────────────┐
│ tensor      weights  sleeping         more  mean |delta|  max |delta|        std  decay           │
│                         % old   new  awake     new / old    new / old  new / old    old       new │
╞═══════════════════════════════════════════════════════════════════════════════════════════════════╡
│ fc1.bias         64       0.0   0.0      0          1.48         1.35       1.54      1         1 │
│ fc1.weight   65,536      23.6  23.7    -79          1.52         1.96       0.98      1  0.392205 │
│ fc2.bias         32       0.0   0.0      0          1.80         2.19       1.64      1         1 │
│ fc2.weight    2,048       0.0  <0.1     -1          1.65         1.82       0.76      1  0.392205 │
│ fc3.bias         10       0.0   0.0      0          1.33         1.46       1.37      1         1 │
│ fc3.weight      320       0.0   0.0      0          1.55         1.36       0.91      1  0.392205 │
│ total        68,010      22.7  22.8    -80          1.53         1.36          -      1         - │
└───────────────────────────────────────────────────────────────────────────────────────────────────┘
80 fewer weights are awake than before: 22.7 % slept, now 22.8 %; mean |delta| is 1.53 times as large.
"
    );
}

/// A report with one value changed.
fn tamper(s: &Scratch, from: &str, to: &str, pointer: &str, value: Value) {
    let mut report: Value = serde_json::from_slice(&fs::read(s.path(from)).unwrap()).unwrap();
    *report.pointer_mut(pointer).unwrap() = value;
    s.write(to, report.to_string());
}

#[test]
fn what_stands_in_the_way_is_named() {
    let s = Scratch::new();
    let a: &[f32] = &[1.5, 2.0, 3.0, 4.0];
    report(&s, "1.json", &[("a", a), ("b|\u{7}", a), ("c", a), ("gone", a)], &[]);
    report(
        &s,
        "2.json",
        &[("a", a), ("b|\u{7}", &[1.5, 2.0]), ("c", &[1.5, 2.0, 3.0, f32::NAN]), ("new", a)],
        &[],
    );
    tamper(&s, "2.json", "2.json", "/seed", json!(2));
    tamper(&s, "2.json", "2.json", "/noise_version", json!(2));
    tamper(&s, "2.json", "2.json", "/tensors/0/dtype", json!("B\u{1b}F"));
    tamper(&s, "2.json", "2.json", "/tensors/0/init", json!("ones"));
    assert_eq!(
        words(&s, "1.json", "2.json"),
        [
            "WARNING: Noise versions differ, 1 and 2, so the initial weights differ.",
            "WARNING: Seeds differ, 1 and 2, so the initial weights differ: these are two runs, not two \
             steps of one run.",
            "WARNING: Shapes differ, so their values are not compared: b|\\u{7} (2x2, now 2x1).",
            "WARNING: Types differ: a (F32, now B\\u{1b}F).",
            "WARNING: Initial values differ: a.",
            "WARNING: Only in the old report: gone.",
            "WARNING: Only in the new report: new.",
            "WARNING: NaN or infinite weights: 0, now 1.",
            // `a` and `c`: 6 of 8 slept, now 5. The mean of |delta| is 1 / 8, then 1 / 7.
            "1 more weight is awake than before: 75.0 % slept, now 62.5 %; mean |delta| is 1.14 times as large.",
        ]
    );
    let ran = succeeds(&s, &["compare", "1.json", "2.json", "--format", "markdown"]);
    assert!(
        ran.stdout.contains(
            "- **Warning:** Shapes differ, so their values are not compared: \
             <code>b&#124;&#92;&#117;&#123;&#55;&#125;</code> (2x2, now 2x1).\n"
        ),
        "{}",
        ran.stdout
    );
    report(&s, "3.json", &[("other", a)], &[]);
    assert_eq!(
        words(&s, "1.json", "3.json"),
        [
            "WARNING: Only in the old report: a, b|\\u{7}, c and 1 more.",
            "WARNING: Only in the new report: other.",
            "No tensor is in both reports."
        ]
    );
}

#[test]
fn tensors_without_initial_values_have_no_counts() {
    let s = Scratch::new();
    s.safetensors("trained.safetensors", &[("a", "F32", &[2], f32s(&[1.0, 2.0]))]);
    s.write(
        "x.yaml",
        "{seed: 1, rules: [{match: a, init: none}], trained: {path: trained.safetensors}, analyze: {report: {json: r.json}}}",
    );
    succeeds(&s, &["analyze", "x.yaml", "--quiet"]);
    assert_eq!(
        words(&s, "r.json", "r.json"),
        ["No tensor was compared with initial values in both reports."]
    );
}

#[test]
fn many_tensors_are_grouped() {
    let s = Scratch::new();
    let names: Vec<String> = (0..50).map(|n| format!("h.{n}.w")).collect();
    let steps: [&[f32]; 2] = [&[1.0, 2.0], &[2.0, 2.0]];
    for (step, file) in steps.iter().zip(["1.json", "2.json"]) {
        let mut tensors: Vec<(&str, &[f32])> = names.iter().map(|name| (name.as_str(), *step)).collect();
        tensors.push(("z", &[3.0, 2.0]));
        report(&s, file, &tensors, &[]);
    }
    // 50 of 102 weights moved by 1 between the two, one by 2 before both: the mean of
    // |delta| goes from 2 to 52.
    assert_eq!(
        succeeds(&s, &["compare", "1.json", "2.json"]).stdout,
        "\
┌──────────────────────────────────────────────────────────────────────────────────┐
│ tensor      weights  sleeping         more  mean |delta|  max |delta|        std │
│                         % old   new  awake     new / old    new / old  new / old │
╞══════════════════════════════════════════════════════════════════════════════════╡
│ h.*.w (50)      100     100.0  50.0    +50             -            -       0.00 │
│ z                 2      50.0  50.0      0          1.00         1.00       1.00 │
│ total           102      99.0  50.0    +50         26.00         1.00          - │
└──────────────────────────────────────────────────────────────────────────────────┘
51 tensors in 2 rows, with `*` for the numbers in their names. Values are those of the sums; std is the \
farthest from 1. Use --full to list every tensor.
50 more weights are awake than before: 99.0 % slept, now 50.0 %; mean |delta| is 26 times as large.
"
    );
    let full = succeeds(&s, &["compare", "1.json", "2.json", "--full"]).stdout;
    assert_eq!(full.lines().count(), 2 + 3 + 51 + 1 + 1, "{full}");
    let markdown = succeeds(&s, &["compare", "1.json", "2.json", "--format", "markdown"]).stdout;
    assert!(markdown.contains("\n<details>\n<summary>All 51 tensors</summary>\n\n| tensor |"), "{markdown}");
}

#[track_caller]
fn fails(s: &Scratch, args: &[&str], code: i32, message: &str) {
    let before = s.files();
    let ran = s.run(args);
    assert_eq!(ran.stderr, format!("error: {message}\n"), "{ran:?}");
    assert_eq!((ran.code, ran.stdout.as_str()), (code, ""));
    assert!(s.files() == before, "a file was made, changed or lost");
}

#[test]
fn files_that_are_no_reports() {
    let s = steps();
    let fails = |file: &str, message: &str| {
        fails(&s, &["compare", "1.json", file], 1, &format!("{file}{message}"));
        self::fails(&s, &["compare", file, "1.json"], 1, &format!("{file}{message}"));
    };
    fails("none.json", ": cannot read: No such file or directory (os error 2)");
    s.write("a.json", "{\n  \"version\": 1,\n  oops\n}");
    fails("a.json", ":3:3: not JSON: key must be a string; use a report written with `analyze.report.json`");
    s.write("b.json", &fs::read(s.path("1.json")).unwrap()[..100]);
    fails(
        "b.json",
        ":5:47: not JSON: EOF while parsing a string; use a report written with `analyze.report.json`",
    );
    fails(
        "trained.safetensors",
        ":1:1: not JSON: expected value; use a report written with `analyze.report.json`",
    );
    s.write("c.json", "[1]");
    fails(
        "c.json",
        ": not a report of cdi-prune: it has no `version`; use a report written with `analyze.report.json`",
    );
    s.write("d.json", "{\"version\": 1, \"weight_map\": {}}");
    fails(
        "d.json",
        ": not a report of cdi-prune: it has no `noise_version`; use a report written with \
         `analyze.report.json`",
    );
    for (value, shown) in [(json!(2), "2"), (json!("1"), "\"1\"")] {
        tamper(&s, "1.json", "e.json", "/version", value);
        fails("e.json", &format!(": report version {shown}, but this version reads 1"));
    }
    tamper(&s, "1.json", "f.json", "/tensors/1/shape", json!("2x2"));
    fails(
        "f.json",
        ": not a report of cdi-prune: `tensors[1].shape`: invalid type: string \"2x2\", expected a sequence",
    );
    tamper(&s, "1.json", "g.json", "/tensors", json!([{"name": "a"}]));
    fails("g.json", ": not a report of cdi-prune: `tensors[0]`: missing field `dtype`");
    tamper(&s, "1.json", "h.json", "/tensors/1/name", json!("a"));
    fails("h.json", ": tensor `a` is listed twice");
    tamper(&s, "1.json", "i.json", "/tensors/0/sleeping_weights", json!(7));
    fails("i.json", ": tensor `a` cannot have 7 of its 6 weights counted");
    tamper(&s, "1.json", "j.json", "/tensors/1/total_weights", json!(u64::MAX));
    fails("j.json", ": tensor `b` cannot have 18446744073709551615 weights");
}

#[test]
fn outputs_and_usage() {
    let s = steps();
    fails(
        &s,
        &["compare", "1.json", "2.json", "-o", "./2.json"],
        2,
        "the new report and the output are the same file (./2.json): an output must not replace an input or another output; \
         give one of them another path",
    );
    fails(
        &s,
        &["compare", "1.json", "1.json", "-o", "1.json"],
        2,
        "the new report and the output are the same file (1.json): an output must not replace an input or another output; \
         give one of them another path",
    );
    let ran = s.run(&["compare", "1.json", "2.json", "-o", "1.json/c.md"]);
    assert_eq!((ran.code, ran.stderr.contains("1.json: cannot create the folder: ")), (1, true), "{ran:?}");
    for args in [&["compare", "1.json"][..], &["compare", "1.json", "2.json", "--format", "csv"]] {
        assert_eq!(s.run(args).code, 2);
    }
}
