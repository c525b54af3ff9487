//! Ties, prefixes, files of this tool, odd names, and where the config goes.

use std::fs;

use proptest::prelude::*;

use super::{Form, checkpoint, planned, values, zoo};
use crate::common::{Scratch, f32s, succeeds};

/// Runs the program, which must fail so and leave every file as it was.
#[track_caller]
fn fails(s: &Scratch, args: &[&str], code: i32, message: &str) {
    let before = s.files();
    let ran = s.run(args);
    assert_eq!((ran.code, ran.stderr.as_str()), (code, format!("error: {message}\n").as_str()), "{ran:?}");
    assert_eq!(ran.stdout, "");
    assert!(s.files() == before, "files before: {:?}, after: {:?}", before.keys(), s.files().keys());
}

fn form(name: &str, shape: &[usize]) -> Form {
    (name.to_owned(), shape.to_vec())
}

/// A perceptron whose names have this prefix.
fn perceptron(s: &Scratch, file: &str, prefix: &str) {
    let forms =
        [("fc1.weight", &[3, 4][..]), ("fc1.bias", &[3]), ("fc2.weight", &[2, 3]), ("fc2.bias", &[2])]
            .map(|(name, shape)| form(&format!("{prefix}{name}"), shape));
    checkpoint(s, file, &forms);
}

// Ties.

/// A table and a head with these values.
fn table_and_head(table: Vec<u8>, head: Vec<u8>) -> Scratch {
    let s = Scratch::new();
    s.safetensors(
        "m.safetensors",
        &[
            ("model.embed_tokens.weight", "F32", &[4, 2], table),
            ("lm_head.weight", "F32", &[4, 2], head),
            ("other.weight", "F32", &[2, 4], values("other", &[2, 4])),
        ],
    );
    s
}

#[test]
fn tied_heads_share_a_layer() {
    let same = values("wte", &[4, 2]);
    let p = planned(&table_and_head(same.clone(), same.clone()), "m.safetensors");
    p.says(&[
        "  - match: [model.embed_tokens.weight, lm_head.weight]",
        "    layer: 0",
        "    init: {mode: normal, std: 0.02}",
        "    shared: true",
    ]);
    p.layer("model.embed_tokens.weight", 0);
    p.layer("lm_head.weight", 0);
    p.layer("other.weight", 1);

    let s = table_and_head(same.clone(), values("head", &[4, 2]));
    let p = planned(&s, "m.safetensors");
    assert!(!p.config.contains("shared"), "{}", p.config);
    // In a skeleton of zeros everything is equal, which says nothing.
    let p = planned(&table_and_head(f32s(&[0.0; 8]), f32s(&[0.0; 8])), "m.safetensors");
    assert!(!p.config.contains("shared"), "{}", p.config);
}

/// T5 stores its table up to four times; without numbers for the others the tied ones still have one.
#[test]
fn tables_that_are_stored_often() {
    let s = Scratch::new();
    let forms = zoo::t5();
    let tables =
        ["shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"];
    let tensors: Vec<_> = forms
        .iter()
        .map(|(name, shape)| {
            let content = if tables.contains(&name.as_str()) { "table" } else { name.as_str() };
            (name.as_str(), "F32", shape.as_slice(), values(content, shape))
        })
        .collect();
    s.safetensors("t5.safetensors", &tensors);
    let p = planned(&s, "t5.safetensors");
    tables.iter().for_each(|name| p.layer(name, 0));
    // The head of a tied model is the table, and starts as one.
    p.is("lm_head.weight", "normal(std=1)");
}

// Prefixes.

#[test]
fn prefixes_of_wrappers_are_taken_off() {
    for (prefix, written) in [
        ("module.", r#"["module."]"#),
        ("_orig_mod.", r#"["_orig_mod."]"#),
        ("_orig_mod.module.", r#"["module.", "_orig_mod."]"#),
    ] {
        let s = Scratch::new();
        perceptron(&s, "m.safetensors", prefix);
        let p = planned(&s, "m.safetensors");
        let written = written.replace('"', "");
        p.says(&["trained:", "  path: m.safetensors", &format!("  strip_prefix: {written}")]);
        // A model of the names with their prefix would not be the trained one.
        assert!(!p.config.contains("\nmodel:") && !p.config.contains("\ninit:"), "{}", p.config);
        assert!(p.config.contains("#   model: {like: plain.safetensors}"), "{}", p.config);
        p.layer("fc2.weight", 2);
        p.is("fc2.bias", "torch_default(fan_in=3)");
        succeeds(&s, &["run", "model.yaml"]);
    }
}

#[test]
fn prefixes_that_tell_tensors_apart_stay() {
    let s = Scratch::new();
    checkpoint(
        &s,
        "m.safetensors",
        &[form("module.a.weight", &[2, 2]), form("module.module.a.weight", &[2, 2])],
    );
    let p = planned(&s, "m.safetensors");
    assert!(!p.config.contains("strip_prefix"), "{}", p.config);
    checkpoint(&s, "n.safetensors", &[form("module.a.weight", &[2, 2]), form("b.weight", &[2, 2])]);
    assert!(!planned(&s, "n.safetensors").config.contains("strip_prefix"));
}

// Files of this tool.

/// A config that initialises and prunes a perceptron.
fn made_by_the_tool() -> Scratch {
    let s = Scratch::new();
    perceptron(&s, "m.safetensors", "");
    s.write(
        "x.yaml",
        "seed: -7\nmodel: {like: m.safetensors}\nrules: [{match: '**', init: he}]\n\
         init: {output: init.safetensors}\ntrained: {path: m.safetensors}\nprune: {output: pruned.safetensors}\n",
    );
    succeeds(&s, &["init", "x.yaml"]);
    succeeds(&s, &["prune", "x.yaml"]);
    s
}

#[test]
fn initial_checkpoints_say_their_seed() {
    let s = made_by_the_tool();
    let p = planned(&s, "init.safetensors");
    assert!(
        p.config.contains("The checkpoint is an initial checkpoint written by cdi-prune."),
        "{}",
        p.config
    );
    // -7 as an unsigned number of 64 bits.
    p.says(&["seed: 18446744073709551609"]);
    p.says(&["  like: init.safetensors"]);
    p.says(&["  path: trained.safetensors"]);
    let ran = s.run(&["run", "model.yaml"]);
    assert_eq!(ran.code, 3, "training is still to come: {ran:?}");
    // A file of that name may be anything.
    s.write("trained.safetensors", "");
    planned(&s, "init.safetensors").says(&["  path: trained-2.safetensors"]);
}

#[test]
fn pruned_files_are_refused() {
    let s = made_by_the_tool();
    fails(
        &s,
        &["new", "pruned.safetensors"],
        1,
        "pruned.safetensors: this is a pruned file of cdi-prune, not a trained checkpoint; convert it with \
         `cdi-prune restore pruned.safetensors -o dense.safetensors`",
    );
    succeeds(&s, &["restore", "pruned.safetensors", "-o", "dense.safetensors"]);
    planned(&s, "dense.safetensors");
}

// Odd tensors.

#[test]
fn scalars_and_empty_tensors() {
    let s = Scratch::new();
    let forms = [
        form("logit_scale", &[]),
        form("weight", &[]),
        form("bias", &[]),
        form("a.weight", &[0]),
        form("b.weight", &[0, 4]),
        form("b.bias", &[0]),
        form("c.weight", &[4, 0]),
        form("c.bias", &[4]),
        form("emb.weight", &[0, 0]),
        form("head.weight", &[0, 0]),
        form("lstm.weight_hh_l0", &[4, 0]),
        form("r6.weight", &[1, 1, 1, 1, 1, 1]),
    ];
    checkpoint(&s, "m.safetensors", &forms);
    let p = planned(&s, "m.safetensors");
    p.is("logit_scale", "none");
    p.is("weight", "none");
    p.is("bias", "zeros");
    p.is("b.bias", "torch_default(fan_in=4)");
    // No bound follows from a fan-in of 0.
    p.is("c.bias", "zeros");
    p.is("lstm.weight_hh_l0", "none");
    succeeds(&s, &["run", "model.yaml"]);
}

#[test]
fn names_may_hold_any_characters() {
    let s = Scratch::new();
    let names = [
        "",
        "*",
        "**",
        "a*b.weight",
        "[0].weight",
        "[1].weight",
        "re:x.weight",
        "re:y.weight",
        "{a,b}.weight",
        "a?.weight",
        r"a\b.weight",
        "a b.weight",
        "é.weight",
        "日本.0.weight",
        "日本.1.weight",
        "\n",
        "line\nend.weight",
        "\u{85}x",
        "\u{2028}",
        "#x",
        "- y",
        "null",
        "true",
        "1",
        "01",
        "7.weight",
        "07.weight",
        "'q'",
        "\"q\"",
        "tab\t",
        "😀.bias",
        "*.bias",
        "a*b.bias",
        "..",
        ".",
        "/",
        "x:",
        "x: y",
        "&a",
        "%",
        "@a",
        "`",
        "~",
    ];
    let forms: Vec<Form> = names.iter().map(|name| form(name, &[3, 3])).collect();
    checkpoint(&s, "m.safetensors", &forms);
    let p = planned(&s, "m.safetensors");
    assert_eq!(p.rows.len(), names.len());
    for name in names.iter().filter(|name| name.ends_with(".weight")) {
        p.is(name, "torch_default");
    }
    succeeds(&s, &["run", "model.yaml"]);
}

/// `01` and `1` are one number: such names keep the ids of their hashes.
#[test]
fn numbers_that_are_no_numbers_of_blocks() {
    let s = Scratch::new();
    let names =
        ["h.1.weight", "h.01.weight", "v20240101.w.weight", "v20240102.w.weight", "x.0.weight", "x.y.weight"];
    let forms: Vec<Form> = names.iter().map(|name| form(name, &[3, 3])).collect();
    checkpoint(&s, "m.safetensors", &forms);
    let p = planned(&s, "m.safetensors");
    p.says(&["  - match: \"h.*.weight\"", "    init: torch_default"]);
    p.says(&["  - match: \"v*.w.weight\"", "    init: torch_default"]);
    p.layer("x.0.weight", 0);
}

/// A glob's star takes words too; where that would be wrong, a regular expression takes numbers only.
#[test]
fn a_word_where_others_have_a_number() {
    let s = Scratch::new();
    let forms = [form("h.0.weight", &[3, 3]), form("h.1.weight", &[3, 3]), form("h.x.weight", &[3, 3])];
    checkpoint(&s, "m.safetensors", &forms);
    let p = planned(&s, "m.safetensors");
    p.says(&[
        r"  - match: 're:^h\.([0-9]+)\.weight$'",
        "    layer: {base: 10, step: 1, by: 1}",
        "    init: torch_default",
        "  - match: h.x.weight",
        "    layer: 0",
    ]);
    p.layer("h.1.weight", 11);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever tensors there are, the config fits them.
    #[test]
    fn any_checkpoint(
        tensors in prop::collection::btree_map(names(), prop::collection::vec(0usize..4, 0..5), 1..40)
    ) {
        let s = Scratch::new();
        let forms: Vec<Form> = tensors.into_iter().collect();
        checkpoint(&s, "m.safetensors", &forms);
        prop_assume!(forms.iter().any(|(name, _)| !name.ends_with("num_batches_tracked")));
        let p = planned(&s, "m.safetensors");
        prop_assert!(p.rows.len() == forms.len());
        prop_assert!(!p.config.contains("match: \"**\"\n"), "{}", p.config);
    }
}

/// Names of up to four parts out of those that mean something, with separators and odd
/// characters between them.
fn names() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "weight",
        "bias",
        "0",
        "1",
        "12",
        "01",
        "h",
        "layers",
        "norm",
        "norm1",
        "ln",
        "bn2",
        "emb",
        "wte",
        "lm_head",
        "fc1",
        "fc2",
        "conv1",
        "qkv",
        "in_proj_weight",
        "out_proj",
        "kernel",
        "scale",
        "gamma",
        "beta",
        "lora_A",
        "lora_B",
        "running_mean",
        "weight_hh_l0",
        "weight_ih_l0",
        "bias_hh_l0",
        "embedding",
        "module",
        "_orig_mod",
        "*",
        "[x]",
        "{a",
        "",
        "re:",
        "c_attn",
        "c_proj",
        "pos_embed",
        "a b",
        "\n",
    ]);
    let separator = prop::sample::select(vec![".", ".", ".", "/", ""]);
    prop::collection::vec((part, separator), 1..5).prop_map(|parts| {
        let joined: String = parts.iter().map(|(part, separator)| format!("{part}{separator}")).collect();
        joined.trim_end_matches(['.', '/']).to_owned()
    })
}

// Where it goes.

#[test]
fn output_into_a_file() {
    let s = Scratch::new();
    perceptron(&s, "runs/last/m.safetensors", "");
    let ran = succeeds(&s, &["new", "runs/last/m.safetensors", "-o", "configs/deep/m.yaml"]);
    assert_eq!(
        (ran.stdout.as_str(), ran.stderr.as_str()),
        ("", "config: configs/deep/m.yaml; every `init` in it is a guess, so check it\n")
    );
    let config = fs::read_to_string(s.path("configs/deep/m.yaml")).unwrap();
    assert!(config.contains("\n  like: ../../runs/last/m.safetensors "), "{config}");
    succeeds(&s, &["plan", "configs/deep/m.yaml"]);

    fails(
        &s,
        &["new", "runs/last/m.safetensors", "-o", "configs/deep/m.yaml"],
        2,
        "configs/deep/m.yaml: this file exists already; choose another name, or use `--force` to replace it",
    );
    s.write("configs/deep/m.yaml", "old");
    let ran = succeeds(&s, &["new", "runs/last", "--output", "configs/deep/m.yaml", "--force", "--quiet"]);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
    let config = fs::read_to_string(s.path("configs/deep/m.yaml")).unwrap();
    assert!(config.contains("\n  like: ../../runs/last "), "{config}");
    succeeds(&s, &["plan", "configs/deep/m.yaml"]);

    // An absolute path stays one.
    let absolute = s.path("runs/last/m.safetensors").display().to_string();
    succeeds(&s, &["new", &absolute, "-o", "configs/b.yaml"]);
    let config = fs::read_to_string(s.path("configs/b.yaml")).unwrap();
    assert!(config.contains(&format!("\n  like: {absolute} ")), "{config}");
    succeeds(&s, &["plan", "configs/b.yaml"]);
}

#[test]
fn force_needs_an_output() {
    let s = Scratch::new();
    let ran = s.run(&["new", "m.safetensors", "--force"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("--output <FILE>"), "{ran:?}");
}

/// The folder in which the checkpoint is, links on the way, and a checkpoint that is a link itself,
/// as in the Hub's cache.
#[cfg(unix)]
#[test]
fn paths_lead_from_where_the_config_is() {
    use std::os::unix::fs::symlink;
    let s = Scratch::new();
    perceptron(&s, "blobs/0123", "");
    fs::create_dir_all(s.path("models/a")).unwrap();
    symlink("../../blobs/0123", s.path("models/a/m.safetensors")).unwrap();
    fs::create_dir_all(s.path("far/away/configs")).unwrap();
    symlink("far/away/configs", s.path("configs")).unwrap();
    for (config, like) in [
        ("models/a/x.yaml", "m.safetensors"),
        ("models/x.yaml", "a/m.safetensors"),
        ("./x.yaml", "models/a/m.safetensors"),
        ("configs/x.yaml", "../../../models/a/m.safetensors"),
    ] {
        succeeds(&s, &["new", "models/a/m.safetensors", "-o", config]);
        let text = fs::read_to_string(s.path(config)).unwrap();
        assert!(text.contains(&format!("\n  like: {like} ")), "{text}");
        succeeds(&s, &["plan", config]);
    }
}

#[test]
fn outputs_keep_clear_of_the_checkpoint() {
    let s = Scratch::new();
    perceptron(&s, "out/init/init.safetensors", "");
    let p = planned(&s, "out/init/init.safetensors");
    p.says(&["  output: out-2/init/init.safetensors"]);
    succeeds(&s, &["run", "model.yaml"]);
    let file = s.path("out/init/init.safetensors").display().to_string();
    fails(
        &s,
        &["new", &file, "-o", &file, "--force"],
        2,
        "the checkpoint and the config are the same file (DIR/out/init/init.safetensors): an output must not replace an input or \
          another output; give one of them another path",
    );
}

/// A checkpoint in shards has its outputs in shards; the index and the folder name it as well.
#[test]
fn sharded_checkpoints() {
    let s = Scratch::new();
    checkpoint(&s, "m/model-00001-of-00002.safetensors", &[form("fc1.weight", &[3, 4])]);
    checkpoint(&s, "m/model-00002-of-00002.safetensors", &[form("fc2.weight", &[2, 3])]);
    s.write(
        "m/model.safetensors.index.json",
        r#"{"weight_map": {"fc1.weight": "model-00001-of-00002.safetensors", "fc2.weight": "model-00002-of-00002.safetensors"}}"#,
    );
    for (name, outputs) in [("m", "m"), ("m/model.safetensors.index.json", "model")] {
        let p = planned(&s, name);
        p.says(&[&format!("  like: {name}")]);
        p.says(&[&format!("  output: out/{outputs}/init.safetensors"), "  max_shard_size: 5GB"]);
    }
}

/// The order of tensors in the file and the number of threads do not show.
#[test]
fn the_same_text_always() {
    let s = Scratch::new();
    let mut forms = zoo::mobilenet_v2();
    checkpoint(&s, "m.safetensors", &forms);
    let first = succeeds(&s, &["new", "m.safetensors"]).stdout;
    forms.reverse();
    checkpoint(&s, "m.safetensors", &forms);
    assert_eq!(succeeds(&s, &["new", "m.safetensors", "--threads", "1"]).stdout, first);
}

#[test]
fn checkpoints_that_cannot_be() {
    let s = Scratch::new();
    s.write("empty.safetensors", "");
    s.safetensors("images.safetensors", &[("x", "U8", &[2], vec![1, 2]), ("y", "I64", &[], vec![0; 8])]);
    fails(
        &s,
        &["new", "missing.safetensors"],
        1,
        "missing.safetensors: cannot open: No such file or directory (os error 2)",
    );
    fails(
        &s,
        &["new", "empty.safetensors", "-o", "configs/x.yaml"],
        1,
        "empty.safetensors: not a safetensors file: 0 bytes, shorter than the 8 bytes of a header length",
    );
    fails(
        &s,
        &["new", "images.safetensors", "-o", "configs/x.yaml"],
        1,
        "images.safetensors: none of its 2 tensors is F64, F32, F16 or BF16, so there is nothing to initialise, compare or \
         prune",
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_path_that_no_text_can_hold() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let s = Scratch::new();
    perceptron(&s, "m.safetensors", "");
    let name = OsStr::from_bytes(b"m\xff.safetensors");
    fs::rename(s.path("m.safetensors"), s.path("").join(name)).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_cdi-prune"))
        .arg("new")
        .arg(name)
        .current_dir(s.path(""))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "error: m\\u{fffd}.safetensors: this path is not UTF-8, so a config cannot contain it; rename the \
         file\n"
    );
}
