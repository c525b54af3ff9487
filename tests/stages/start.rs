//! Where a checkpoint started: told by its weights, where the config says otherwise; and which values a
//! start in other types is.

use std::fs;

use serde_json::{Value, json};

use crate::common::{Ran, Scratch, f32s, root, shipped_config};

/// A checkpoint of 65,536 weights that start normal with the seed 5, of which every second one moves by 0.01;
/// a bias that starts at 0 and stays there. `extra` ends the config.
fn scratch(extra: &str) -> Scratch {
    let s = Scratch::new();
    s.write("x.yaml", format!("{}{extra}", model("normal, std: 0.02")));
    initial(&s, "trained.safetensors", &[]);
    s.tamper("trained.safetensors", |header, data| {
        header.as_object_mut().unwrap().remove("__metadata__").unwrap();
        for weight in data.as_chunks_mut::<4>().0.iter_mut().step_by(2) {
            let w = f32::from_le_bytes(*weight);
            *weight = (if w == 0.0 { w } else { w + 0.01 }).to_le_bytes();
        }
    });
    s
}

fn model(init: &str) -> String {
    format!(
        "seed: 5\n\
         model: {{tensors: {{a.weight: [256, 256], b.weight: [64, 64], c.bias: [256]}}}}\n\
         rules: [{{match: '*.weight', init: {{mode: {init}}}}}, {{match: c.bias, init: zeros}}]\n\
         trained: {{path: trained.safetensors}}\n\
         analyze: {{report: {{json: r.json, csv: r.csv, markdown: r.md, html: r.html}}}}\n"
    )
}

/// Writes an initial checkpoint by the config with these settings.
#[track_caller]
fn initial(s: &Scratch, file: &str, set: &[&str]) {
    let output = format!("init={{output: {file}}}");
    let mut args = vec!["init", "x.yaml", "--set", &output, "--set", "trained.path=later.safetensors"];
    set.iter().for_each(|set| args.extend(["--set", set]));
    let ran = s.run(&args);
    assert_eq!(ran.code, 0, "{ran:?}");
}

/// Analyses with these settings.
#[track_caller]
fn analyze(s: &Scratch, set: &[&str]) -> (Ran, Value) {
    let mut args = vec!["analyze", "x.yaml"];
    set.iter().for_each(|set| args.extend(["--set", set]));
    let ran = s.run(&args);
    assert!(ran.code == 0 || ran.code == 4, "{ran:?}");
    (ran, serde_json::from_slice(&fs::read(s.path("r.json")).unwrap()).unwrap())
}

fn last(ran: &Ran) -> &str {
    ran.stdout.lines().last().unwrap()
}

/// All but that on the bias of zeros.
fn warnings(ran: &Ran) -> Vec<&str> {
    let zeros = "WARNING: Every weight is zero in c.bias (as initialised).";
    ran.stdout.lines().filter(|line| line.starts_with("WARNING") && *line != zeros).collect()
}

/// The cosine is NumPy's, the mean of those of `a.weight` and `b.weight` by their weights; chance
/// 3 / sqrt(69,630 + 9).
const ELSEWHERE: &str = "This checkpoint does not seem to have started from these initial values (cosine \
                         0.0015 over 69,632 weights; chance allows 0.011): check seed, layer ids and init.";

#[test]
fn a_wrong_seed_is_told_everywhere() {
    let s = scratch("");
    let (ran, report) = analyze(&s, &["seed=6"]);
    let said = last(&ran);
    // 256 biases of 0 are where they started.
    assert_eq!(said, format!("{ELSEWHERE} 256 of 69,888 weights (0.4 %) are within the threshold of them."));
    assert_eq!(warnings(&ran), Vec::<&str>::new());
    let start = &report["start"];
    assert_eq!(
        (&start["started_here"], &start["weights"], &start["tensor"]),
        (&json!(false), &json!(69_632), &Value::Null)
    );
    // 3 / sqrt(69,632 - 2 + 9), and 5 + 100 / 69,632 likewise.
    let near = |key: &str, x: f64| (start[key].as_f64().unwrap() - x).abs() < 1e-15;
    assert!(
        near("chance", 0.011_368_286_019_609_576) && near("significant", 0.018_950_406_628_505_09),
        "{start}"
    );
    let here: Vec<&Value> = (0..3).map(|n| &report["tensors"][n]["started_here"]).collect();
    assert_eq!(here, [&json!(false), &json!(false), &Value::Null]);

    assert!(fs::read_to_string(s.path("r.md")).unwrap().contains(&format!("**{ELSEWHERE} 256 of ")));
    let html = fs::read_to_string(s.path("r.html")).unwrap();
    assert!(html.contains(
        "<h1 id=\"summary-title\">This checkpoint does not seem to have started from these initial \
         values.</h1>"
    ));
    assert!(html.contains(&format!("<p class=\"lead\">{ELSEWHERE} 256 of ")), "{html}");
    let csv = fs::read_to_string(s.path("r.csv")).unwrap();
    let column = csv.lines().next().unwrap().split(',').position(|title| title == "started_here").unwrap();
    assert_eq!(csv.lines().nth(1).unwrap().split(',').nth(column).unwrap(), "false");
    let github = s.run(&["analyze", "x.yaml", "--set", "seed=6", "--format", "github"]);
    assert!(
        github.stdout.contains(&format!("\n::warning title=cdi-prune::{ELSEWHERE}\n")),
        "{}",
        github.stdout
    );
}

#[test]
fn the_right_seed_is_confirmed() {
    let s = scratch("");
    let (ran, report) = analyze(&s, &[]);
    assert_eq!(
        last(&ran),
        "35,072 of 69,888 weights (50.2 %) are sleeping: they still have exactly their initial value."
    );
    // Every second weight is 0.01 off, half of a standard deviation: 1 / sqrt(1 + 0.25 / 4).
    assert!((report["start"]["cosine"].as_f64().unwrap() - 0.970_14).abs() < 1e-3, "{}", report["start"]);
    let here: Vec<&Value> = (0..3).map(|n| &report["tensors"][n]["started_here"]).collect();
    assert_eq!(here, [&json!(true), &json!(true), &Value::Null]);
}

#[test]
fn a_gate_asks_for_the_start() {
    let s = scratch("gates: {started_here: true}\n");
    let (right, report) = analyze(&s, &[]);
    assert_eq!((right.code, &report["gates"][0]["passed"]), (0, &json!(true)));
    assert!(last(&right).starts_with("Gate passed: started_here: 0.97"), "{right:?}");
    let (wrong, report) = analyze(&s, &["seed=6"]);
    assert_eq!(wrong.code, 4, "{wrong:?}");
    assert!(wrong.stderr.ends_with("\n  started_here: 0.001473, limit at least 0.01895\n"), "{wrong:?}");
    assert_eq!(
        report["gates"],
        json!([{"gate": "started_here", "patterns": null, "tensor": null,
                "limit": report["start"]["significant"], "measured": report["start"]["cosine"],
                "passed": false}])
    );
    // Of nothing but constants no seed can be told.
    let (untold, report) = analyze(&s, &["rules=[{match: '**', init: zeros}]"]);
    assert_eq!((untold.code, &report["start"]["started_here"]), (4, &Value::Null));
    assert!(untold.stderr.ends_with("\n  started_here: 0, limit at least 1\n"), "{untold:?}");
    assert!(
        last(&analyze(&s, &["rules=[{match: '**', init: zeros}]", "gates={finite: true}"]).0)
            .contains("finite")
    );
}

#[test]
fn initial_values_of_another_start_are_not_filled_in() {
    let s = scratch("prune: {output: p.safetensors, fill: init}\nmanifest: m.json\n");
    let refused = s.run(&["run", "x.yaml", "--set", "seed=6"]);
    let error = refused.stderr.lines().last().unwrap();
    assert_eq!(
        (refused.code, error),
        (
            1,
            "error: trained.safetensors: this checkpoint does not seem to have started from these initial \
             values (cosine 0.0015 over 69,632 weights; chance allows 0.011): check seed, layer ids and \
             init; `prune.fill: init` would restore values that the weights never had, so nothing was \
             pruned; set `prune.any_start: true` to prune anyway"
        )
    );
    // The reports say it too. What is left undone has no manifest that would call it done.
    assert!(last(&refused).starts_with(ELSEWHERE), "{refused:?}");
    let report: Value = serde_json::from_slice(&fs::read(s.path("r.json")).unwrap()).unwrap();
    assert_eq!((&report["fill"], &report["totals"]["pruned_bytes"]), (&Value::Null, &Value::Null));
    assert!(!s.path("p.safetensors").exists() && !s.path("m.json").exists());
    let pruned = s.run(&["prune", "x.yaml", "--set", "seed=6"]);
    assert!(pruned.code == 1 && pruned.stderr.lines().last() == Some(error), "{pruned:?}");
    assert!(!s.path("p.safetensors").exists());
    let told = s.run(&["run", "x.yaml", "--set", "seed=6", "--set", "prune.any_start=true"]);
    assert_eq!(told.code, 0, "{told:?}");
    assert!(s.path("p.safetensors").exists() && s.path("m.json").exists());
    let verified = s.run(&["verify", "m.json"]);
    assert_eq!(verified.code, 0, "{verified:?}");
    for ok in [&["run", "x.yaml"][..], &["prune", "x.yaml", "--set", "seed=6", "--set", "prune.fill=zero"]] {
        let ran = s.run(ok);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
}

#[test]
fn a_tensor_from_elsewhere_is_named() {
    let s = scratch("");
    let (ran, report) = analyze(
        &s,
        &[
            "rules=[{match: a.weight, init: {mode: normal, std: 0.02}}, {match: b.weight, layer: 7, init: he}, {match: c.bias, init: zeros}]",
        ],
    );
    assert_eq!(report["start"]["started_here"], true);
    let [warning] = warnings(&ran)[..] else { panic!("{ran:?}") };
    let (head, tail) = warning.split_once(" (cosine ").unwrap();
    assert_eq!(
        head,
        "WARNING: Some tensors do not seem to have started from these initial values, although \
                      others did: b.weight"
    );
    assert!(
        tail.ends_with(" over 4,096 weights; chance allows 0.047). Check their layer ids and init."),
        "{warning}"
    );
    let html = fs::read_to_string(s.path("r.html")).unwrap();
    assert!(html.contains("<dt>Other start</dt><dd>Some tensors do not seem to have"), "{html}");
}

/// `uniform` over 0 … 1: any weights with a mean have a large cosine with that.
#[test]
fn means_are_no_likeness() {
    let s = Scratch::new();
    s.write("x.yaml", model("uniform, low: 0, high: 1"));
    initial(&s, "trained.safetensors", &["seed=9"]);
    let (ran, report) = analyze(&s, &[]);
    let a = &report["tensors"][0];
    // (1 / 2)² / (1 / 3)
    assert!((a["cosine"].as_f64().unwrap() - 0.75).abs() < 0.01, "{a}");
    assert_eq!((&a["started_here"], &report["start"]["started_here"]), (&json!(false), &json!(false)));
    assert!(
        last(&ran).starts_with("This checkpoint does not seem to have started from these initial values ("),
        "{ran:?}"
    );
    let (_, report) = analyze(&s, &["seed=9"]);
    assert_eq!(report["start"]["started_here"], true);
}

#[test]
fn the_files_own_seed_is_said() {
    let s = Scratch::new();
    s.write("x.yaml", model("normal, std: 0.02"));
    initial(&s, "trained.safetensors", &["seed=9"]);
    let (ran, report) = analyze(&s, &[]);
    assert_eq!(warnings(&ran), ["WARNING: The trained checkpoint's metadata has seed 9 (the config has 5)."]);
    assert_eq!(
        (&report["start"]["file_seed"], &report["start"]["file_noise_version"]),
        (&json!(9), &Value::Null)
    );
    s.tamper("trained.safetensors", |header, _| {
        let text = header["__metadata__"]["cdi_prune"].as_str().unwrap();
        header["__metadata__"]["cdi_prune"] =
            text.replace("\"noise_version\":1", "\"noise_version\":2").into();
    });
    let (ran, report) = analyze(&s, &["seed=9"]);
    assert_eq!(
        warnings(&ran),
        ["WARNING: The trained checkpoint's metadata has noise version 2 (this tool uses 1)."]
    );
    assert_eq!(
        (&report["start"]["file_seed"], &report["start"]["file_noise_version"]),
        (&Value::Null, &json!(2))
    );
    assert_eq!(report["start"]["started_here"], true);
}

#[test]
fn a_wrong_base_is_told_too() {
    let s = scratch("");
    initial(&s, "right.safetensors", &[]);
    initial(&s, "wrong.safetensors", &["seed=6"]);
    let (right, report) = analyze(&s, &["rules=[{match: '**', init: {from: right.safetensors}}]"]);
    assert_eq!(report["start"]["started_here"], true, "{right:?}");
    let (wrong, report) = analyze(&s, &["rules=[{match: '**', init: {from: wrong.safetensors}}]"]);
    assert_eq!(report["start"]["started_here"], false);
    // Two trained checkpoints may be alike by that much.
    assert!(last(&wrong).starts_with(
        "This checkpoint does not seem to have started from these initial values (cosine 0.001 over 69,632 \
         weights; chance allows 0.10)"
    ));
}

/// The standard deviation of a guess is no start to hold anything against.
#[test]
fn a_guess_explodes_nothing() {
    let s = Scratch::new();
    s.write("x.yaml", model("normal, std: 10"));
    initial(&s, "trained.safetensors", &[]);
    // Any other program's file.
    s.tamper("trained.safetensors", |header, _| drop(header.as_object_mut().unwrap().remove("__metadata__")));
    let made = s.run(&["new", "trained.safetensors", "-o", "guess.yaml"]);
    assert_eq!(made.code, 0, "{made:?}");
    let ran = s.run(&["analyze", "guess.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("does not seem to have started") && !ran.stdout.contains("xplod"), "{ran:?}");
    // From a start that is confirmed it does.
    let mut x = fs::read_to_string(s.path("x.yaml")).unwrap();
    x = x.replace("std: 10", "std: 0.1");
    s.write("x.yaml", x);
    let ran = analyze(&s, &[]).0;
    assert!(ran.stdout.contains("WARNING: Exploding: "), "{ran:?}");
    assert!(fs::read_to_string(s.path("r.html")).unwrap().contains("Exploding"));
}

/// Of checkpoints that were really trained from the seed 42 each tensor that can tell does, also after long
/// training with decay; with another seed none.
#[test]
fn the_shipped_checkpoints_started_at_42() {
    for folder in [
        "examples/data/mlp_pad_sgd",
        "examples/data/mlp_bf16_sgd",
        "tests/data/mlp_pad_sgdm_wd",
        "tests/data/byte_lm_adamw",
        "tests/data/cnn_adamw",
    ] {
        let folder = root().join(folder);
        let s = Scratch::new();
        for seed in [42, 1, 2, 3, 4, 5] {
            let mut config = shipped_config(&folder);
            config["seed"] = json!(seed);
            config["analyze"] = json!({"report": {"json": "r.json"}});
            s.write("x.yaml", config.to_string());
            let (_, report) = analyze(&s, &[]);
            assert_eq!(report["start"]["started_here"], seed == 42, "{} {seed}", folder.display());
            for tensor in report["tensors"].as_array().unwrap() {
                let told = &tensor["started_here"];
                let may = tensor["centred_cosine"].is_number();
                let expected = if seed == 42 { *told == json!(true) || !may } else { *told != json!(true) };
                assert!(expected, "{} {seed} {tensor}", folder.display());
            }
        }
    }
}

/// What a loader makes of an initial checkpoint in one type that is trained in another, untouched: every
/// weight sleeps, and comes back as it was. (Of BF16 weights in F16, 8,355 were found before.)
#[test]
fn initial_values_go_through_both_types() {
    for (model, trained) in
        [("bf16", "F16"), ("f16", "BF16"), ("bf16", "F32"), ("f16", "F32"), ("f32", "F16"), ("f64", "BF16")]
    {
        let s = Scratch::new();
        s.write(
            "x.yaml",
            format!(
                "seed: 5\n\
                 model: {{tensors: {{w: [256, 256]}}, dtype: {model}}}\n\
                 rules: [{{match: w, init: {{mode: normal, std: 0.02}}}}]\n\
                 init: {{output: i.safetensors}}\n\
                 trained: {{path: t.safetensors}}\n\
                 analyze: {{report: {{json: r.json}}}}\n\
                 prune: {{output: p.safetensors, fill: init, format: bitmask}}\n"
            ),
        );
        assert_eq!(s.run(&["init", "x.yaml"]).code, 0);
        let file = fs::read(s.path("i.safetensors")).unwrap();
        let data = &file[file.len()
            - 65_536
                * if model == "f64" {
                    8
                } else if model == "f32" {
                    4
                } else {
                    2
                }..];
        s.safetensors("t.safetensors", &[("w", trained, &[256, 256], loaded(data, model, trained))]);
        let ran = s.run(&["run", "x.yaml"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let report: Value = serde_json::from_slice(&fs::read(s.path("r.json")).unwrap()).unwrap();
        let found = (&report["tensors"][0]["sleeping_weights"], &report["tensors"][0]["max_delta"]);
        assert_eq!(found, (&json!(65_536), &json!(0.0)), "{model} {trained}");
        restored(&s, None);
    }
}

/// Restores `p.safetensors` and holds the tensor's bytes against those of the trained file.
#[track_caller]
fn restored(s: &Scratch, base: Option<&str>) {
    let mut args = vec!["restore", "p.safetensors", "-o", "back.safetensors"];
    args.extend(base.iter().flat_map(|base| ["--base", base]));
    let ran = s.run(&args);
    assert_eq!(ran.code, 0, "{ran:?}");
    let [trained, back] = ["t.safetensors", "back.safetensors"].map(|name| {
        let file = fs::read(s.path(name)).unwrap();
        let (length, rest) = file.split_first_chunk::<8>().unwrap();
        rest[usize::try_from(u64::from_le_bytes(*length)).unwrap()..].to_vec()
    });
    assert!(trained == back, "restored another tensor");
}

/// The elements as `.to(dtype)` of a tensor library gives them, by the crate `half`.
fn loaded(data: &[u8], from: &str, to: &str) -> Vec<u8> {
    use cdi_prune::tensor::{bf16, f16};
    let values: Vec<f32> = match from {
        "bf16" => data.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
        "f16" => data.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
        "f32" => data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        _ => data.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
    };
    match to {
        "BF16" => values.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect(),
        "F16" => values.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect(),
        _ => f32s(&values),
    }
}

/// The same of values from another checkpoint; and a file of an earlier release, which named the
/// type and did not round.
#[test]
fn stored_values_go_through_both_types_too() {
    let s = Scratch::new();
    let values: Vec<f32> = (0..1024).map(|n| 1.0 + n as f32 / 1024.0).collect();
    s.safetensors("base.safetensors", &[("w", "F32", &[32, 32], f32s(&values))]);
    let rounded = loaded(&loaded(&f32s(&values), "f32", "BF16"), "bf16", "F32");
    s.safetensors("t.safetensors", &[("w", "F32", &[32, 32], rounded)]);
    s.write(
        "x.yaml",
        "seed: 5\n\
         model: {tensors: {w: [32, 32]}, dtype: bf16}\n\
         rules: [{match: w, init: {from: base.safetensors}}]\n\
         trained: {path: t.safetensors}\n\
         analyze: {report: {json: r.json}}\n\
         prune: {output: p.safetensors, fill: init, format: bitmask}\n",
    );
    let ran = s.run(&["run", "x.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let report: Value = serde_json::from_slice(&fs::read(s.path("r.json")).unwrap()).unwrap();
    assert_eq!(report["tensors"][0]["sleeping_weights"], 1024);
    restored(&s, Some("base.safetensors"));

    s.tamper("p.safetensors", |header, _| {
        let text = header["__metadata__"]["cdi_prune"].as_str().unwrap();
        let mut made: Value = serde_json::from_str(text).unwrap();
        let tensor = made["tensors"][0].as_object_mut().unwrap();
        let dtype = tensor["init"].as_object_mut().unwrap().remove("initial_dtype").unwrap();
        assert_eq!(dtype, "bf16");
        tensor.insert("initial_dtype".to_owned(), dtype);
        header["__metadata__"]["cdi_prune"] = made.to_string().into();
    });
    s.safetensors("t.safetensors", &[("w", "F32", &[32, 32], f32s(&values))]);
    restored(&s, Some("base.safetensors"));
}
