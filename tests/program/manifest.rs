//! The manifest, `verify`, and runs that have nothing to do.

use std::fs;

use cdi_prune::checkpoint::OpenOptions;
use cdi_prune::manifest::Manifest;
use cdi_prune::pipeline::{Silent, verify};

use crate::common::{Scratch, root};

/// The shipped network in a folder of its own, with everything that a run can write.
fn scratch(prune: &str) -> Scratch {
    let s = Scratch::new();
    fs::create_dir_all(s.path("in")).unwrap();
    fs::copy(root().join("examples/data/mlp_pad_sgd/trained.safetensors"), s.path("in/trained.safetensors"))
        .unwrap();
    configure(&s, prune);
    s
}

fn configure(s: &Scratch, prune: &str) {
    let config = format!(
        "version: 1
seed: 42
model: {{tensors: {{fc1.weight: [64, 1024], fc1.bias: [64], fc2.weight: [32, 64], fc2.bias: [32], fc3.weight: [10, 32], fc3.bias: [10]}}}}
rules: [{{match: fc1.weight, layer: 0, init: he}}, {{match: fc2.weight, layer: 1, init: he}}, {{match: fc3.weight, layer: 2, init: he}}, {{match: '*.bias', init: zeros}}]
init: {{output: out/init.safetensors, max_shard_size: 200kB}}
trained: {{path: in/trained.safetensors}}
analyze: {{threshold: 0, report: {{json: out/report.json, svg: out/plots}}}}
prune:
  output: out/pruned.safetensors
  {}
manifest: proof/manifest.json
",
        prune.replace('\n', "\n  ")
    );
    s.write("x.yaml", config);
}

fn ran(s: &Scratch, args: &[&str]) -> String {
    let ran = s.run(args);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran.stdout
}

fn manifest(s: &Scratch) -> Manifest {
    Manifest::parse(&fs::read(s.path("proof/manifest.json")).unwrap()).unwrap()
}

fn fails(s: &Scratch, args: &[&str], message: &str) {
    let ran = s.run(args);
    assert_eq!((ran.code, ran.stderr.as_str()), (1, format!("error: {message}\n").as_str()));
}

const VERIFY: [&str; 2] = ["verify", "proof/manifest.json"];

#[test]
fn lists_every_file_and_tensor() {
    let s = scratch("fill: init");
    ran(&s, &["run", "x.yaml", "--threads", "1"]);
    let text = fs::read(s.path("proof/manifest.json")).unwrap();
    let manifest = manifest(&s);
    let inputs: Vec<_> = manifest.inputs.iter().map(|e| (e.role.as_str(), e.path.as_str(), e.size)).collect();
    assert_eq!(
        inputs,
        [
            ("config", "../x.yaml", fs::metadata(s.path("x.yaml")).unwrap().len()),
            ("trained.path", "../in/trained.safetensors", 272_512)
        ]
    );
    // As sha256sum prints it of the shipped file.
    assert_eq!(manifest.inputs[1].sha256, "05962dfc395de5bcb13e1dec45d0a8e53d066e4655b2a06e9afa19372f6676f7");
    let outputs: Vec<_> = manifest.outputs.iter().map(|e| (e.role.as_str(), e.path.as_str())).collect();
    assert_eq!(
        outputs[..7],
        [
            ("init.output", "../out/init-00001-of-00003.safetensors"),
            ("init.output", "../out/init-00002-of-00003.safetensors"),
            ("init.output", "../out/init-00003-of-00003.safetensors"),
            ("init.output", "../out/init.safetensors.index.json"),
            ("prune.output", "../out/pruned.safetensors"),
            ("analyze.report", "../out/report.json"),
            ("analyze.report", "../out/plots/layers.svg"),
        ]
    );
    assert_eq!(outputs.len(), 14);
    let weight = manifest.tensors.iter().find(|t| t.name == "fc1.weight").unwrap();
    // The counts of the quick start's table.
    assert_eq!(
        (weight.total_weights, weight.changed_weights, weight.sleeping_weights, weight.pruned_weights),
        (65_536, Some(50_094), Some(15_442), Some(15_442))
    );
    ran(&s, &["run", "x.yaml", "--threads", "3", "--force"]);
    assert_eq!(fs::read(s.path("proof/manifest.json")).unwrap(), text);
    assert!(!String::from_utf8(text).unwrap().contains(s.path("").to_str().unwrap()));
}

#[test]
fn a_run_that_was_done_is_not_done_again() {
    let s = scratch("fill: init");
    ran(&s, &["run", "x.yaml"]);
    let before = s.files();
    let said = "Nothing to do: according to proof/manifest.json, this config has produced these 14 outputs \
                from these inputs, and they are unchanged. Use `--force` to run anyway.\n";
    assert_eq!(ran(&s, &["run", "x.yaml"]), said);
    assert_eq!(ran(&s, &["run", "x.yaml", "--quiet"]), "");
    // An output, an input, the config, an override, the manifest: each is noticed, and the run
    // gives the same again.
    for file in ["out/report.json", "out/pruned.safetensors", "proof/manifest.json"] {
        let mut bytes = before[file].clone();
        *bytes.last_mut().unwrap() ^= 1;
        s.write(file, bytes);
        assert_ne!(ran(&s, &["run", "x.yaml"]), said, "{file}");
        assert_eq!(s.files(), before);
    }
    fs::remove_file(s.path("out/plots/layers.svg")).unwrap();
    assert_ne!(ran(&s, &["run", "x.yaml"]), said);
    assert_eq!(s.files(), before);
    assert_ne!(ran(&s, &["run", "x.yaml", "--set", "analyze.threshold=1e-6"]), said);
    s.tamper("in/trained.safetensors", |_, data| data[0] ^= 1);
    assert_ne!(ran(&s, &["run", "x.yaml"]), said);
    configure(&s, "fill: zero");
    assert_ne!(ran(&s, &["run", "x.yaml"]), said);
    assert_eq!(ran(&s, &["run", "x.yaml"]), said);
    // Gates are held up again.
    let config = fs::read_to_string(s.path("x.yaml")).unwrap();
    s.write("x.yaml", config + "gates: {min_sparsity: 0.5}\n");
    for _ in 0..2 {
        let again = s.run(&["run", "x.yaml"]);
        assert_eq!(again.code, 4, "{}", again.stderr);
    }
}

#[test]
fn verify_makes_the_pruned_file_anew() {
    for prune in [
        "fill: init",
        "fill: zero\nformat: csr\ncriterion: magnitude\ntarget: {sparsity: 0.5}\nscope: global",
        "criterion: nearest\ntarget: {sparsity: 0.4}\ndtype: bf16\nmax_shard_size: 100kB",
        "criterion: magnitude\nstructure: rows\ntarget: {sparsity: 0.3}\nremove: true\n\
         chains: [{layers: [fc1, fc2, fc3], activation: relu}]\nrules: [{match: 'fc3.*', keep: true}]",
    ] {
        let s = scratch(prune);
        ran(&s, &["run", "x.yaml"]);
        let before = s.files();
        let said = ran(&s, &VERIFY);
        assert!(
            said.ends_with(
                "The run was repeated from the inputs: the same outputs, byte for byte, the same results of 0 \
                 gates, and the same counts of 6 tensors.\n"
            ),
            "{said}"
        );
        let said = ran(&s, &["verify", "proof/manifest.json", "--sample", "60"]);
        let rows = if prune.contains("remove") { "Restored 0 rows of" } else { "Restored 60 rows of" };
        assert!(said.contains(rows), "{said}");
        assert_eq!(s.files(), before, "{prune}");
    }
}

/// A manifest that fits a file which the inputs do not give.
fn forge(s: &Scratch, file: &str) {
    let bytes = fs::read(s.path(file)).unwrap();
    let mut manifest = manifest(s);
    let entry = manifest.outputs.iter_mut().find(|e| e.path.ends_with(file)).unwrap();
    entry.size = bytes.len() as u64;
    let sum = std::process::Command::new("sha256sum").arg(s.path(file)).output().unwrap().stdout;
    entry.sha256 = String::from_utf8(sum).unwrap()[..64].to_owned();
    s.write("proof/manifest.json", manifest.text());
}

#[test]
fn verify_names_the_first_difference() {
    let s = scratch("fill: zero\nformat: dense");
    ran(&s, &["run", "x.yaml"]);
    let good = s.files();
    s.tamper("out/pruned.safetensors", |header, data| {
        // fc2.weight, row 1, column 2.
        let start = header["fc2.weight"]["data_offsets"][0].as_u64().unwrap() as usize;
        data[start + 4 * 66..start + 4 * 67].copy_from_slice(&0.5f32.to_le_bytes());
    });
    let digest = |file: &str| {
        let sum = std::process::Command::new("sha256sum").arg(s.path(file)).output().unwrap().stdout;
        String::from_utf8(sum).unwrap()[..64].to_owned()
    };
    let (was, is) = (
        manifest(&s).outputs.iter().find(|e| e.role == "prune.output").unwrap().sha256.clone(),
        digest("out/pruned.safetensors"),
    );
    fails(
        &s,
        &VERIFY,
        &format!(
            "proof/manifest.json: the output proof/../out/pruned.safetensors has SHA-256 {is}, expected {was}"
        ),
    );
    forge(&s, "out/pruned.safetensors");
    let weight =
        "tensor `fc2.weight` of the pruned checkpoint, row 1, column 2: 5e-1, expected -1.754494309425354e-1";
    fails(&s, &VERIFY, &format!("proof/manifest.json: {weight}"));
    let sampled = s.run(&["verify", "proof/manifest.json", "--sample", "1000"]);
    assert_eq!(
        sampled.stderr,
        format!("error: out/pruned.safetensors: {weight}\n").replace("out/", "proof/../out/")
    );
    for (file, bytes) in &good {
        s.write(file, bytes);
    }
    // Counts that are not those of the inputs.
    let mut wrong = manifest(&s);
    wrong.tensors[1].pruned_weights = Some(15_443);
    s.write("proof/manifest.json", wrong.text());
    fails(
        &s,
        &VERIFY,
        "proof/manifest.json: tensor `fc1.weight`: the inputs give 50094, 15442, 15442, of 65536, the \
         manifest has 50094, 15442, 15443, of 65536 (awake, asleep, pruned, total)",
    );
    let mut fewer = manifest(&s);
    fewer.tensors.pop();
    fewer.tensors[1].pruned_weights = Some(15_442);
    s.write("proof/manifest.json", fewer.text());
    fails(&s, &VERIFY, "proof/manifest.json: the manifest counts 5 tensors, the inputs have 6");
    // An input less than the config reads.
    s.write("proof/manifest.json", &good["proof/manifest.json"]);
    let mut unlisted = manifest(&s);
    unlisted.inputs.pop();
    s.write("proof/manifest.json", unlisted.text());
    fails(&s, &VERIFY, "proof/manifest.json: the config reads different inputs from those in the manifest");
}

#[test]
fn no_bit_of_a_manifest_is_another_one() {
    let s = scratch("fill: init");
    let config = fs::read_to_string(s.path("x.yaml")).unwrap();
    s.write("x.yaml", config + "gates: {min_sparsity: 0.2, finite: true}\n");
    ran(&s, &["run", "x.yaml"]);
    let path = s.path("proof/manifest.json");
    let good = fs::read(&path).unwrap();
    for bit in 0..8 * good.len() {
        let mut other = good.clone();
        other[bit / 8] ^= 1 << (bit % 8);
        let intact = Manifest::parse(&other).is_ok_and(|manifest| manifest.is_intact(&other));
        assert!(!intact, "bit {} of byte {}", bit % 8, bit / 8);
        // One bit of each sixteenth byte through the whole command.
        if bit % 129 == 0 {
            fs::write(&path, &other).unwrap();
            assert!(
                verify(&path, None, OpenOptions::default(), &Silent).is_err(),
                "bit {} of byte {}",
                bit % 8,
                bit / 8
            );
        }
    }
    // A key more than a manifest has, at every depth; a version that is not read.
    let text = String::from_utf8(good.clone()).unwrap();
    for (from, to) in [
        ("\"seed\"", "\"x\": 1, \"seed\""),
        ("\"role\"", "\"x\": 1, \"role\""),
        ("\"patterns\"", "\"x\": null, \"patterns\""),
        ("\"total_weights\"", "\"x\": 1, \"total_weights\""),
        ("\"seed\": 42", "\"seed\": 42, \"seed\": 42"),
    ] {
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        assert!(verify(&path, None, OpenOptions::default(), &Silent).is_err(), "{to}");
    }
    // The same content in other white space is the same manifest; so is one of a release that wrote no
    // digest, which is said.
    fs::write(&path, text.replace('\n', " ")).unwrap();
    assert_eq!(verify(&path, None, OpenOptions::default(), &Silent).unwrap().unchecked, Vec::<String>::new());
    let (bare, _) = text.split_once(",\n  \"manifest_sha256\"").unwrap();
    let digest = manifest(&s).manifest_sha256.unwrap();
    fs::write(&path, format!("{bare}\n}}\n")).unwrap();
    let sum = std::process::Command::new("sha256sum").arg(&path).output().unwrap().stdout;
    assert_eq!(String::from_utf8(sum).unwrap()[..64], digest);
    assert!(
        ran(&s, &VERIFY).ends_with(
            "Not checked: the manifest's own digest, because earlier versions did not write it.\n"
        )
    );
}

type Forgery = (&'static str, fn(&mut Manifest));

/// What a manifest cannot say even with a digest that fits: each of its statements is derived again.
#[test]
fn verify_derives_every_statement() {
    let s = scratch("fill: init");
    let config = fs::read_to_string(s.path("x.yaml")).unwrap();
    s.write("x.yaml", config + "gates: {min_sparsity: 0.2}\n");
    ran(&s, &["run", "x.yaml"]);
    let good = s.files();
    let said = ran(&s, &["run", "x.yaml"]);
    assert!(said.starts_with("Nothing to do"));
    let inputs = "the config reads different inputs from those in the manifest";
    let gates =
        "the inputs give the gates: min_sparsity: 0.2271, limit at least 0.2 (passed); the manifest has: ";
    let forgeries: [Forgery; 14] = [
        ("the manifest has seed 43, the config gives 42", |m| m.seed = 43),
        ("the manifest has config_version 2, the config gives 1", |m| m.config_version = 2),
        (inputs, |m| m.inputs[0].role = "base".to_owned()),
        (inputs, |m| m.inputs[1].role = "model.like".to_owned()),
        (inputs, |m| m.inputs[1].path = "../in/trained.safetensorr".to_owned()),
        (inputs, |m| m.inputs.push(m.inputs[1].clone())),
        (
            "the manifest lists analyze.report ../out/pruned.safetensors where the run writes prune.output \
             ../out/pruned.safetensors",
            |m| m.outputs[4].role = "analyze.report".to_owned(),
        ),
        (
            "the manifest does not list ../out/init-00001-of-00003.safetensors, which the run writes as init.output",
            |m| m.outputs.clear(),
        ),
        ("the manifest does not list ../out/report.json, which the run writes as analyze.report", |m| {
            m.outputs.remove(5);
        }),
        (
            "the manifest lists ../out/report.json as analyze.report, which the run does not write, or not twice",
            |m| m.outputs.push(m.outputs[5].clone()),
        ),
        (
            "the manifest lists init.output ../out/init-00002-of-00003.safetensors where the run writes init.output \
          ../out/init-00001-of-00003.safetensors",
            |m| m.outputs.swap(0, 1),
        ),
        (gates, |m| m.gates[0].passed = false),
        (gates, |m| m.gates.clear()),
        ("the manifest counts 0 tensors, the inputs have 6", |m| m.tensors.clear()),
    ];
    for (message, forge) in forgeries {
        s.write("proof/manifest.json", &good["proof/manifest.json"]);
        let mut forged = manifest(&s);
        forge(&mut forged);
        s.write("proof/manifest.json", forged.text());
        let found = s.run(&VERIFY);
        assert_eq!(found.code, 1, "{message}: {}", found.stdout);
        assert!(
            found.stderr.starts_with(&format!("error: proof/manifest.json: {message}")),
            "{message}: {}",
            found.stderr
        );
        // What an altered manifest says of a run is no ground not to do it. (Counts and gates are not derived
        // for that: an altered one has another digest.)
        if !message.contains("tensors, the inputs")
            && message != gates
            && !message.contains("where the run writes init")
        {
            assert_ne!(s.run(&["run", "x.yaml"]).stdout, said, "{message}");
            assert_eq!(s.files(), good, "{message}");
        }
    }
    // Without its digest renewed, nothing that is altered is taken for done.
    let text = String::from_utf8(good["proof/manifest.json"].clone()).unwrap();
    for (from, to) in [
        ("\"seed\": 42", "\"seed\": 43"),
        ("\"prune.output\"", "\"init.output\""),
        ("\"pruned_weights\": 15442", "\"pruned_weights\": 15443"),
        ("\"passed\": true", "\"passed\": false"),
    ] {
        assert!(text.contains(from));
        s.write("proof/manifest.json", text.replacen(from, to, 1));
        fails(
            &s,
            &VERIFY,
            "proof/manifest.json: the manifest was changed after it was written: it does not match its own \
             SHA-256",
        );
        assert_ne!(s.run(&["run", "x.yaml"]).stdout, said, "{to}");
        assert_eq!(s.files(), good);
    }
    // Every output is made anew, not the pruned checkpoint alone.
    s.tamper("out/init-00001-of-00003.safetensors", |_, data| data[0] ^= 1);
    forge(&s, "out/init-00001-of-00003.safetensors");
    fails(
        &s,
        &VERIFY,
        "proof/manifest.json: the inputs give different bytes for \
         proof/../out/init-00001-of-00003.safetensors",
    );
    s.write("out/init-00001-of-00003.safetensors", &good["out/init-00001-of-00003.safetensors"]);
    s.write("proof/manifest.json", &good["proof/manifest.json"]);
    s.write("out/report.json", [&good["out/report.json"][..], b" "].concat());
    forge(&s, "out/report.json");
    fails(&s, &VERIFY, "proof/manifest.json: the inputs give different bytes for proof/../out/report.json");
}

#[test]
fn an_initial_checkpoint_alone_is_listed_and_verified() {
    let s = Scratch::new();
    s.write(
        "x.yaml",
        "seed: 1\nmodel: {tensors: {w: [8, 8]}}\nrules: [{match: w, init: he}]\ninit: {output: i.safetensors}\n\
         manifest: m.json\n",
    );
    ran(&s, &["run", "x.yaml"]);
    let manifest = Manifest::parse(&fs::read(s.path("m.json")).unwrap()).unwrap();
    let outputs: Vec<_> = manifest.outputs.iter().map(|e| (e.role.as_str(), e.path.as_str())).collect();
    assert_eq!(outputs, [("init.output", "i.safetensors")]);
    assert!(ran(&s, &["verify", "m.json"]).contains("the same outputs, byte for byte"));
    assert!(ran(&s, &["run", "x.yaml"]).starts_with("Nothing to do"));
    fs::remove_file(s.path("x.yaml")).unwrap();
    assert!(ran(&s, &["verify", "m.json"]).ends_with(
        "Inputs that do not exist: x.yaml.\n\
         The run was not repeated: the config does not exist.\n\
         Not checked: seed and overrides; whether the inputs give exactly these outputs; gates; counts of \
         tensors.\n"
    ));
}

#[test]
fn files_that_are_gone_or_changed() {
    let s = scratch("fill: init");
    ran(&s, &["run", "x.yaml"]);
    let good = s.files();
    s.write("out/report.json", "{}");
    fails(
        &s,
        &VERIFY,
        &format!(
            "proof/manifest.json: the output proof/../out/report.json has 2 bytes, expected {}",
            good["out/report.json"].len()
        ),
    );
    fs::remove_file(s.path("out/report.json")).unwrap();
    fails(&s, &VERIFY, "proof/manifest.json: the output proof/../out/report.json is missing");
    fs::create_dir(s.path("out/report.json")).unwrap();
    assert_eq!(s.run(&VERIFY).code, 1);
    fs::remove_dir(s.path("out/report.json")).unwrap();
    s.write("out/report.json", &good["out/report.json"]);
    // An input that changed is a difference, one that is gone is said.
    let mut trained = good["in/trained.safetensors"].clone();
    *trained.last_mut().unwrap() ^= 1;
    s.write("in/trained.safetensors", &trained);
    assert!(
        s.run(&VERIFY).stderr.starts_with(
            "error: proof/manifest.json: the input proof/../in/trained.safetensors has SHA-256 "
        )
    );
    fs::remove_file(s.path("in/trained.safetensors")).unwrap();
    let said = ran(&s, &VERIFY);
    assert!(
        said.ends_with(
            "Inputs that do not exist: proof/../in/trained.safetensors.\n\
             The run was not repeated: some inputs do not exist.\n\
             Not checked: whether the inputs give exactly these outputs; gates; counts of tensors.\n"
        ),
        "{said}"
    );
    // The config with another override than the manifest's.
    s.write("in/trained.safetensors", &good["in/trained.safetensors"]);
    let mut other = manifest(&s);
    other.overrides.push("seed=43".to_owned());
    s.write("proof/manifest.json", other.text());
    let ran = s.run(&VERIFY);
    assert!(
        ran.stderr.starts_with("error: proof/manifest.json: config and overrides have SHA-256 "),
        "{}",
        ran.stderr
    );
}

#[test]
fn files_that_are_no_manifest() {
    let s = Scratch::new();
    fails(&s, &["verify", "m.json"], "m.json: cannot read: No such file or directory (os error 2)");
    s.write("m.json", "[]");
    fails(
        &s,
        &["verify", "m.json"],
        "m.json: not a manifest of cdi-prune (line 1: invalid length 0, expected struct Versions with 2 elements at line 1 \
         column 2)",
    );
    s.write("m.json", "{\"version\": 2, \"noise_version\": 1}");
    fails(&s, &["verify", "m.json"], "m.json: a manifest with version 2; this version reads 1");
    fails(&s, &["verify", "."], ".: cannot read: is a directory");
    // Deep nesting is refused, not followed.
    s.write("m.json", format!("{{\"version\": 1, \"noise_version\": 1, \"x\": {}", "[".repeat(100_000)));
    assert_eq!(s.run(&["verify", "m.json"]).code, 1);
}
