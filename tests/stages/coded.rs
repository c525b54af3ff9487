//! Pruned files whose tensors are coded: what comes back, how large they are, and that a wanted size is kept.
//! Sizes and digests were written by this program; what the bytes mean, the decoder in `tests/python` shows,
//! which was written from docs/format.md.

use std::fs;

use cdi_prune::reader::PrunedReader;
use serde_json::Value;

use crate::common::{Scratch, codes, f32s, root, rows_through_a_handle, shipped_config, succeeds};

/// A shipped network (272,512 bytes) that is pruned as `prune` says.
fn shipped(prune: &str) -> Scratch {
    let s = Scratch::new();
    let mut config = shipped_config(&root().join("examples/data/mlp_pad_sgd"));
    config["analyze"] = serde_json::json!({"threshold": 0, "report": {"json": "report.json"}});
    config["prune"] = serde_json::from_str(prune).unwrap();
    config["prune"]["output"] = "pruned.safetensors".into();
    s.write("x.yaml", config.to_string());
    s
}

fn size(s: &Scratch) -> u64 {
    fs::metadata(s.path("pruned.safetensors")).unwrap().len()
}

fn digest(s: &Scratch) -> String {
    crate::common::digest(&fs::read(s.path("pruned.safetensors")).unwrap())
}

fn restored(s: &Scratch, more: &[&str]) -> Vec<u8> {
    let args = ["restore", "pruned.safetensors", "-o", "dense.safetensors", "--quiet"];
    succeeds(s, &[&args[..], more].concat());
    fs::read(s.path("dense.safetensors")).unwrap()
}

fn pruned_weights(s: &Scratch) -> u64 {
    let report: Value = serde_json::from_slice(&fs::read(s.path("report.json")).unwrap()).unwrap();
    report["totals"]["pruned_weights"].as_u64().unwrap()
}

/// The settings, the bytes of a bitmask file and of a coded one, and the latter's digest.
const FILES: [(&str, u64, u64, &str); 4] = [
    (
        r#"{"fill": "init"}"#,
        222_442,
        171_811,
        "cc2933c8a5fe9f1bc184f0a0bd2510daf9a5ed028c536998e8a789f24d4b0f4e",
    ),
    (
        r#"{"criterion": "magnitude", "target": {"sparsity": 0.5}, "scope": "global"}"#,
        148_190,
        94_769,
        "5f20b60a8e41e32b3d2d175af5c08eb2ee31b247bbd057fc8075bf246e2ab992",
    ),
    (
        r#"{"criterion": "magnitude", "target": {"sparsity": 0.7}, "fill": "nearest", "dtype": "f16"}"#,
        59_521,
        36_445,
        "20cbfe32ae1bfb5bf934f1fe4941c7fc4fd141c5895f5fb6b6ce4bae20141506",
    ),
    (
        r#"{"criterion": "magnitude", "target": {"sparsity": 0.5}, "structure": "rows"}"#,
        148_402,
        92_386,
        "e3bd82de50077981843600cb9988c23b47ab43a7902e5e7cae348d96ba5c64f1",
    ),
];

#[test]
fn the_same_bytes_on_every_processor_and_the_same_weights_as_in_a_bitmask() {
    for (prune, bitmask, coded, sha256) in FILES {
        let s = shipped(prune);
        succeeds(&s, &["run", "x.yaml", "--quiet", "--set", "prune.format=bitmask"]);
        let dense = restored(&s, &[]);
        assert_eq!(size(&s), bitmask, "{prune}");
        for (threads, set) in [("1", "portable"), ("2", ""), ("3", "")] {
            let variables: &[(&str, &str)] = if set.is_empty() { &[] } else { &[("CDI_PRUNE_ISA", set)] };
            let args = ["run", "x.yaml", "--quiet", "--threads", threads, "--set", "prune.format=coded"];
            assert_eq!(s.run_with(variables, &args).code, 0);
            assert_eq!((size(&s), digest(&s).as_str()), (coded, sha256), "{prune} {threads} {set}");
        }
        assert!(restored(&s, &[]) == dense, "{prune}");
        let file = PrunedReader::open(&s.path("pruned.safetensors"), None).unwrap();
        let names: Vec<String> = file.tensors().map(|(name, ..)| name.to_owned()).collect();
        for name in names {
            rows_through_a_handle(&file, &name, &file.read_to_vec(&name).unwrap());
        }
        drop(file);
        // In shards, one a tensor.
        succeeds(&s, &["run", "x.yaml", "--quiet", "--set", "prune.max_shard_size=10kB"]);
        let args = ["restore", "pruned.safetensors.index.json", "-o", "dense.safetensors", "--quiet"];
        succeeds(&s, &args);
        assert!(fs::read(s.path("dense.safetensors")).unwrap() == dense, "{prune} in shards");
    }
}

#[test]
fn auto_is_never_larger_than_any_other() {
    for (prune, ..) in FILES {
        let s = shipped(prune);
        let sizes = ["auto", "coded", "sparse", "bitmask", "csr", "dense"].map(|format| {
            succeeds(&s, &["run", "x.yaml", "--quiet", "--set", &format!("prune.format={format}")]);
            size(&s)
        });
        // But for the digits of offsets, which it leaves room for.
        assert!(sizes.iter().all(|size| sizes[0] <= *size + 32), "{prune}: {sizes:?}");
        assert!(sizes[1] < sizes[2] * 4 / 5, "{prune}: {sizes:?}");
    }
}

#[test]
fn a_wanted_size_is_kept_and_used() {
    for scope in ["global", "tensor"] {
        for limit in [40_000u64, 120_000, 171_000] {
            let s = shipped(r#"{"criterion": "magnitude"}"#);
            let target = format!("prune.target={{bytes: {limit}}}");
            let scope = format!("prune.scope={scope}");
            succeeds(&s, &["run", "x.yaml", "--quiet", "--set", &target, "--set", &scope]);
            let bytes = size(&s);
            assert!(bytes <= limit && bytes > limit * 98 / 100, "{bytes} of {limit}");
            assert!(pruned_weights(&s) > 0);
        }
    }
    // Where everything fits nothing goes.
    let s = shipped(r#"{"criterion": "magnitude", "target": {"bytes": 180000}, "scope": "global"}"#);
    succeeds(&s, &["run", "x.yaml", "--quiet"]);
    assert_eq!((pruned_weights(&s), size(&s)), (0, 171_704));
    // Where not even nothing but zeros fits, the size that these have is said.
    let ran = s.run(&["run", "x.yaml", "--quiet", "--set", "prune.target={bytes: 300}"]);
    assert_eq!(ran.code, 1);
    assert_eq!(
        ran.stderr,
        "error: pruned.safetensors: even with everything pruned that can be pruned, the file would have 416 bytes, \
         more than the 300 of `prune.target`; raise the target, or keep fewer tensors\n"
    );
}

#[test]
fn kept_tensors_are_coded_unless_the_config_says_otherwise() {
    let s = shipped(
        r#"{"criterion": "magnitude", "target": {"sparsity": 0.5}, "rules": [{"match": "fc1.*", "keep": true}]}"#,
    );
    let coded = |s: &Scratch| {
        let codes = codes(&s.path("pruned.safetensors"));
        codes.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    succeeds(&s, &["run", "x.yaml", "--quiet", "--set", "prune.format=coded"]);
    let all = ["fc1.bias", "fc1.weight", "fc2.bias", "fc2.weight", "fc3.bias", "fc3.weight"];
    assert_eq!(coded(&s), all);
    let dense = restored(&s, &[]);
    succeeds(
        &s,
        &["run", "x.yaml", "--quiet", "--set", "prune.format=coded", "--set", "prune.code_kept=false"],
    );
    assert_eq!(coded(&s), all[2..]);
    assert!(restored(&s, &[]) == dense);
    let ran = s.run(&["run", "x.yaml", "--set", "prune.code_kept=true", "--set", "prune.format=csr"]);
    assert_eq!(
        (ran.code, ran.stderr.as_str()),
        (
            2,
            "error: --set prune.code_kept=true: `prune.code_kept`: expected no `code_kept` unless `format` is \
             `auto` or `coded`, got one\n"
        )
    );
}

/// Tensors that are not floating point are coded by their bytes: alone, or as differences to a base's
/// where one is needed anyway. Those of less than a byte, and those that `code_kept: false` leaves
/// alone, stay as they are.
#[test]
fn tensors_of_other_types_are_coded_too() {
    let s = Scratch::new();
    let n = 40 * 500u64;
    let base = |factor: u64| (0..n).map(move |n| (n * n * factor % 1009) as i64 - 504);
    let bytes = |values: &mut dyn Iterator<Item = i64>, size: usize| -> Vec<u8> {
        values.flat_map(|value| value.to_le_bytes()[..size].to_vec()).collect()
    };
    let write = |name: &str, step: i64| {
        let moved = |(n, value)| value + if n % 10 == 0 { step } else { 0 };
        let weights: Vec<f32> = base(31).map(|w| w as f32 / 4096.0 * (1.0 + step as f32 * 1e-4)).collect();
        s.safetensors(
            name,
            &[
                ("f4", "F4", &[40, 500], bytes(&mut base(3).take(10_000), 1)),
                ("f8", "F8_E4M3", &[40, 500], bytes(&mut base(5).map(|v| v & 0x3F), 1)),
                ("ids", "I64", &[20_000], bytes(&mut base(7).enumerate().map(moved), 8)),
                ("tiny", "I32", &[2], vec![7; 8]),
                ("w", "F32", &[40, 500], f32s(&weights)),
            ],
        );
    };
    write("base.safetensors", 0);
    write("trained.safetensors", 1);
    s.write(
        "x.yaml",
        "rules: [{match: '**', init: {from: base.safetensors}}]\n\
         trained: {path: trained.safetensors}\n\
         analyze: {report: {json: report.json}}\n\
         prune: {output: pruned.safetensors, criterion: magnitude, target: {sparsity: 0.5}, any_start: true}\n\
         manifest: manifest.json\n",
    );
    // Each part of the file that is no whole tensor, with its model and its bytes.
    let coded = || -> Vec<(String, u8, usize)> {
        let codes = crate::common::codes(&s.path("pruned.safetensors"));
        codes.into_iter().map(|(name, code)| (name, code[1], code.len())).collect()
    };
    let run = |keys: &[&str]| {
        let sets: Vec<&str> = keys.iter().flat_map(|key| ["--set", key]).collect();
        succeeds(&s, &[&["run", "x.yaml", "--quiet"], &sets[..]].concat());
    };
    let codes = |all: &[(&str, u8, usize)]| -> Vec<(String, u8, usize)> {
        all.iter().map(|(name, model, bytes)| ((*name).to_owned(), *model, *bytes)).collect()
    };
    run(&["prune.code_kept=false"]);
    let dense = restored(&s, &[]);
    assert_eq!(coded(), codes(&[("w", 0, 32_726)]));
    run(&[]);
    assert_eq!(coded(), codes(&[("f8", 2, 15_018), ("ids", 2, 39_949), ("tiny", 2, 10), ("w", 0, 32_726)]));
    assert!(restored(&s, &[]) == dense);
    let report: Value = serde_json::from_slice(&fs::read(s.path("report.json")).unwrap()).unwrap();
    let actions: Vec<&Value> = report["tensors"].as_array().unwrap().iter().map(|t| &t["action"]).collect();
    assert_eq!(actions, ["passed_through", "passed_through", "passed_through", "passed_through", "pruned"]);
    succeeds(&s, &["verify", "manifest.json", "--quiet"]);
    // With a base that is needed anyway, they begin from it too.
    run(&["prune.format=coded"]);
    assert_eq!(coded(), codes(&[("f8", 3, 10), ("ids", 3, 1_210), ("tiny", 2, 10), ("w", 1, 264)]));
    assert!(restored(&s, &["--base", "base.safetensors"]) == dense);
    succeeds(&s, &["verify", "manifest.json", "--quiet"]);
    assert_eq!(digest(&s), "d57588023dab7b0b941d501fe2ee9a5ddae8a43c34acb9a4a5fb34d9ed4b3365");
    // A size is kept with them, too.
    run(&["prune.target={bytes: 80000}"]);
    assert!(size(&s) <= 80_000 && size(&s) > 79_000, "{}", size(&s));
    for format in ["sparse", "bitmask", "csr", "dense"] {
        run(&[&format!("prune.format={format}")]);
        assert_eq!(coded(), codes(&[]), "{format}");
        assert!(restored(&s, &[]) == dense, "{format}");
    }
}

/// A model that was trained from a base, and pruned to zeros: what needs no base to be restored is not made
/// to need one, unless `coded` was asked for.
#[test]
fn a_base_is_needed_only_where_it_was_asked_for() {
    let s = Scratch::new();
    let base: Vec<f32> = (0..20_000u64).map(|n| ((n * n * 31 % 1009) as f32 - 504.5) / 4096.0).collect();
    let trained: Vec<f32> = base.iter().enumerate().map(|(n, w)| w * (1.0 + (n % 7) as f32 * 1e-4)).collect();
    s.safetensors("base.safetensors", &[("w", "F32", &[100, 200], f32s(&base))]);
    s.safetensors("trained.safetensors", &[("w", "F32", &[100, 200], f32s(&trained))]);
    s.write(
        "x.yaml",
        "rules: [{match: w, init: {from: base.safetensors}}]\n\
         trained: {path: trained.safetensors}\n\
         prune: {output: pruned.safetensors, criterion: magnitude, target: {sparsity: 0.3}}\n",
    );
    succeeds(&s, &["run", "x.yaml", "--quiet"]);
    let (alone, dense) = (size(&s), restored(&s, &[]));
    succeeds(&s, &["run", "x.yaml", "--quiet", "--set", "prune.format=coded"]);
    assert!(size(&s) < alone * 3 / 4, "{} {alone}", size(&s));
    let ran = s.run(&["restore", "pruned.safetensors", "-o", "dense.safetensors", "--quiet"]);
    assert_eq!(
        (ran.code, ran.stderr.as_str()),
        (
            1,
            "error: pruned.safetensors: tensor `w` needs the values of another checkpoint (`base.safetensors` \
             when this was written): give it with `--base FILE`\n"
        )
    );
    assert!(restored(&s, &["--base", "base.safetensors"]) == dense);
    // With initial values in pruned places the base is needed in any case, and used.
    succeeds(&s, &["run", "x.yaml", "--quiet", "--set", "prune.fill=init"]);
    assert!(size(&s) < alone * 3 / 4, "{} {alone}", size(&s));
}

#[test]
fn a_run_with_coded_tensors_can_be_verified() {
    let s = shipped(r#"{"criterion": "magnitude", "target": {"bytes": 100000}, "fill": "nearest"}"#);
    let mut config: Value = serde_json::from_slice(&fs::read(s.path("x.yaml")).unwrap()).unwrap();
    config["manifest"] = "manifest.json".into();
    s.write("x.yaml", config.to_string());
    succeeds(&s, &["run", "x.yaml", "--quiet"]);
    succeeds(&s, &["verify", "manifest.json", "--quiet"]);
    succeeds(&s, &["verify", "manifest.json", "--quiet", "--sample", "200"]);
}

/// What `plan` says of each tensor: the least bytes that it can have in the pruned file.
fn planned(s: &Scratch, sets: &[&str]) -> Vec<(String, u64)> {
    let plan = succeeds(s, &[&["plan", "x.yaml", "--format", "json"], sets].concat()).stdout;
    let rows: Vec<Value> = serde_json::from_str(&plan).unwrap();
    let least =
        |row: &Value| (row["name"].as_str().unwrap().to_owned(), row["smallest_bytes"].as_u64().unwrap());
    rows.iter().map(least).collect()
}

/// The bytes of each of these tensors in the pruned file.
fn in_file(s: &Scratch, planned: &[(String, u64)]) -> Vec<(String, u64)> {
    let found = succeeds(s, &["inspect", "pruned.safetensors", "--format", "json"]).stdout;
    let found: Value = serde_json::from_str(&found).unwrap();
    let is_part = |part: &str, name: &str| {
        part.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    // A part belongs to the tensor with the longest name.
    let of = |part: &str| planned.iter().map(|(name, _)| name).filter(|name| is_part(part, name)).max();
    let bytes = |name: &String| {
        let parts = found["tensors"].as_array().unwrap().iter();
        let parts = parts.filter(|part| of(part["name"].as_str().unwrap()) == Some(name));
        parts.map(|part| part["bytes"].as_u64().unwrap()).sum()
    };
    planned.iter().map(|(name, _)| (name.clone(), bytes(name))).collect()
}

/// The smallest files that there can be: all weights are pruned, and values that are kept are all alike.
#[test]
fn the_least_bytes_that_plan_shows_are_nearly_reached() {
    let s = Scratch::new();
    let alike = || f32s(&[0.0; 300]);
    s.safetensors(
        "trained.safetensors",
        &[
            ("a", "F32", &[3, 100], f32s(&(0..300).map(|n| n as f32).collect::<Vec<_>>())),
            ("bits", "F4", &[600], vec![0; 300]),
            ("code", "F32", &[300], alike()),
            ("code.codes", "F32", &[1], vec![0; 4]),
            ("ids", "I64", &[2, 70_000], vec![0; 1_120_000]),
            ("kept", "F32", &[300], alike()),
            ("none", "F32", &[0, 7], Vec::new()),
        ],
    );
    let config = "rules: [{match: '**', init: none}]\ntrained: {path: trained.safetensors}\n";
    s.write("x.yaml", config);
    // Without `prune`, every tensor as it is.
    let bytes = |all: &[(String, u64)]| all.iter().map(|(_, bytes)| *bytes).collect::<Vec<_>>();
    assert_eq!(bytes(&planned(&s, &[])), [1200, 300, 1200, 4, 1_120_000, 1200, 0]);
    let plan = succeeds(&s, &["plan", "x.yaml"]).stdout;
    assert!(plan.ends_with("\n7 tensors, 1,123,904 bytes dense.\n"), "{plan}");
    let prune = "prune: {output: pruned.safetensors, criterion: magnitude, target: {sparsity: 1}, rules: \
                 [{match: ['code', 'code.codes', kept, none], keep: true}]}\n";
    s.write("x.yaml", format!("{config}{prune}"));
    for (set, least) in [
        // Two rows of 70,000 are four blocks. A code of values has two bytes more, those for `top`. A code
        // that shares its header entry may be longer than the data.
        ("prune.format=auto", [10, 300, 1200, 4, 22, 10, 0]),
        ("prune.format=coded", [10, 300, 1200, 4, 22, 10, 0]),
        ("prune.code_kept=false", [10, 300, 1200, 4, 1_120_000, 1200, 0]),
        // The rank, and four row offsets of four bytes.
        ("prune.format=sparse", [32, 300, 1200, 4, 1_120_000, 1200, 0]),
        ("prune.format=csr", [32, 300, 1200, 4, 1_120_000, 1200, 0]),
        // The rank, and 13 bytes for each row.
        ("prune.format=bitmask", [55, 300, 1200, 4, 1_120_000, 1200, 0]),
        ("prune.format=dense", [1200, 300, 1200, 4, 1_120_000, 1200, 0]),
    ] {
        let sets = ["--set", set];
        let planned = planned(&s, &sets);
        assert_eq!(bytes(&planned), least, "{set}");
        succeeds(&s, &[&["run", "x.yaml", "--quiet"], &sets[..]].concat());
        let found = bytes(&in_file(&s, &planned));
        let more: Vec<u64> = found.iter().zip(least).map(|(found, least)| found - least).collect();
        match set {
            "prune.format=auto" | "prune.format=coded" => assert_eq!(more, [2, 0, 0, 8, 0, 2, 0], "{set}"),
            "prune.code_kept=false" => assert_eq!(more, [2, 0, 0, 0, 0, 0, 0], "{set}"),
            _ => assert_eq!(more, [0; 7], "{set}"),
        }
    }
    let said = "\n7 tensors, 1,123,904 bytes dense; at least 1,546 bytes of data in the pruned file.\n";
    let plan = succeeds(&s, &["plan", "x.yaml"]).stdout;
    assert!(plan.ends_with(said), "{plan}");
}

#[test]
fn no_file_has_less_than_plan_says() {
    for (prune, set) in [
        (r#"{"values": {"step": 0.04}}"#, "prune.format=auto"),
        (r#"{"values": {"step": {"bits": 1}}}"#, "prune.format=coded"),
        (r#"{"values": {"exact": true}}"#, "prune.rules=[{match: 'fc1.*', keep: true}]"),
        (r#"{"criterion": "magnitude", "target": {"sparsity": 0.99}, "fill": "nearest"}"#, "prune.dtype=f16"),
        (r#"{"criterion": "magnitude", "target": {"sparsity": 0.99}}"#, "prune.format=sparse"),
        (
            r#"{"criterion": "magnitude", "target": {"sparsity": 0.99}, "structure": "rows", "remove": true,
                "chains": [{"layers": ["fc1", "fc2", "fc3"], "activation": "relu"}]}"#,
            "prune.dtype=bf16",
        ),
    ] {
        let s = shipped(prune);
        let sets = ["--set", set];
        let planned = planned(&s, &sets);
        succeeds(&s, &[&["run", "x.yaml", "--quiet"], &sets[..]].concat());
        for ((name, found), (_, least)) in in_file(&s, &planned).iter().zip(&planned) {
            assert!(found >= least, "{prune} {set}: {name} has {found} bytes, not at least {least}");
        }
    }
}
