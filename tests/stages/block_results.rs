//! What blocks find, computed apart: in any order, in several processes, as text in between.

use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use cdi_prune::config::Settings;
use cdi_prune::pipeline::{BlockPass, BlockResult, Resolved, Silent, Stages, run};
use cdi_prune::prune::{Narrowing, Step, Ties};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::common::{Scratch, succeeds};

/// Long rows and many short ones, roles in another order, a tensor that is drawn whole, one from a base, one
/// of which nothing is known, and a vector.
const CONFIG: &str = "
seed: 9
model:
  tensors:
    a.long: [3, 70001]
    b.short: {shape: [9001, 19], dtype: f64}
    c.experts: {shape: [2, 40, 50], dtype: bf16}
    d.orthogonal: [300, 200]
    e.base: [70, 33]
    f.unknown: [400]
    g.vector: {shape: [150001], dtype: f16}
rules:
  - {match: a.long, init: he}
  - {match: b.short, init: xavier}
  - {match: c.experts, init: lecun, layout: [expert, in, out]}
  - {match: d.orthogonal, init: orthogonal}
  - {match: e.base, init: {from: base.safetensors}}
  - {match: f.unknown, init: none}
  - {match: g.vector, init: {mode: normal, std: 0.5}}
init: {output: init.safetensors}
trained: {path: trained.safetensors}
analyze: {threshold: auto, decay: auto, report: {json: report.json}}
prune: {output: pruned.safetensors, criterion: magnitude, scope: global, target: {sparsity: 0.37}}
";

/// A checkpoint with some of everything: weights that sleep, that moved, that are no numbers, and
/// zeros of either sign.
fn scratch() -> Scratch {
    let s = Scratch::new();
    let base: Vec<u8> = (0..70 * 33).flat_map(|n| (n as f32 * 0.001).to_le_bytes()).collect();
    s.safetensors("base.safetensors", &[("e.base", "F32", &[70, 33], base)]);
    s.write("x.yaml", CONFIG);
    let unknown: Vec<u8> = (0..400).flat_map(|n| ((n % 7) as f32 - 3.0).to_le_bytes()).collect();
    // Training in our stead.
    s.write(
        "first.yaml",
        CONFIG.replace("    f.unknown: [400]\n", "").replace("  - {match: f.unknown, init: none}\n", ""),
    );
    assert_eq!(s.run(&["init", "first.yaml"]).code, 0);
    let file = fs::read(s.path("init.safetensors")).unwrap();
    let (length, rest) = file.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let header: Value = serde_json::from_slice(header).unwrap();
    let mut tensors = vec![("f.unknown".to_owned(), "F32".to_owned(), vec![400], unknown)];
    for (name, entry) in header.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__") {
        let number = |value: &Value| value.as_u64().unwrap() as usize;
        let [from, to] = [0, 1].map(|n| number(&entry["data_offsets"][n]));
        let mut bytes = data[from..to].to_vec();
        let dtype = entry["dtype"].as_str().unwrap();
        let size = if dtype == "F64" {
            8
        } else if dtype == "F32" {
            4
        } else {
            2
        };
        for (n, value) in bytes.chunks_mut(size).enumerate() {
            match n % 977 {
                5 => value.fill(0xFF),
                6 => value.fill(0),
                7 => value[size - 1] ^= 0x80,
                k if k % 3 == 0 => value[size - 2] ^= 0x15,
                _ => {}
            }
        }
        let shape = entry["shape"].as_array().unwrap().iter().map(number).collect();
        tensors.push((name.clone(), dtype.to_owned(), shape, bytes));
    }
    let tensors: Vec<_> =
        tensors.iter().map(|(n, d, s, b)| (n.as_str(), d.as_str(), s.as_slice(), b.clone())).collect();
    s.safetensors("trained.safetensors", &tensors);
    s
}

/// Which blocks this process computes, and of which config: said to [`worker`] by these variables.
const CONFIG_FILE: &str = "CDI_PRUNE_TEST_CONFIG";
const SHARE: &str = "CDI_PRUNE_TEST_SHARE";

/// No test of its own: another process, which computes every third block.
#[test]
fn worker() {
    let (Ok(config), Ok(share)) = (std::env::var(CONFIG_FILE), std::env::var(SHARE)) else { return };
    let share: usize = share.parse().unwrap();
    let settings = Settings::load(Path::new(&config), &[]).unwrap();
    let resolved = Resolved::new(&settings).unwrap();
    let pass = BlockPass::new(&resolved).unwrap();
    for block in (0..pass.blocks()).rev().filter(|block| block % 3 == share) {
        println!("\nRESULT {}", serde_json::to_string(&pass.compare(block).unwrap()).unwrap());
    }
}

fn computed_elsewhere(config: &Path, share: usize) -> Vec<BlockResult> {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "block_results::worker", "--nocapture"])
        .env(CONFIG_FILE, config)
        .env(SHARE, share.to_string())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .filter_map(|line| line.strip_prefix("RESULT "))
        .map(|json| serde_json::from_str(json).unwrap())
        .collect()
}

fn digest(report: &cdi_prune::report::Report) -> String {
    let json = cdi_prune::report::json(report);
    Sha256::digest(json.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn three_processes_give_the_report_of_one_run() {
    let s = scratch();
    let config = s.path("x.yaml");
    let settings = Settings::load(&config, &[]).unwrap();
    let resolved = Resolved::new(&settings).unwrap();
    let report = run(&resolved, Stages::Analyze, &Silent, |_| {}).unwrap().report.unwrap();
    let pass = BlockPass::new(&resolved).unwrap();

    let mut results: Vec<BlockResult> =
        [2, 0, 1].into_iter().flat_map(|share| computed_elsewhere(&config, share)).collect();
    assert_eq!(results.len(), pass.blocks());
    results.sort_by_key(BlockResult::number);
    let merged = pass.merge(results).unwrap();
    assert_eq!(digest(&merged), digest(&report));
    // It has everything in it that could differ.
    let of = |name: &str| merged.tensors.iter().find(|t| t.name == name).unwrap();
    assert!(of("a.long").not_finite > Some(0) && of("a.long").changes.sleeping_weights > Some(0));
    assert!(of("c.experts").sleeping_outputs.is_some() && of("d.orthogonal").evidence.is_some());
    assert_eq!((of("f.unknown").changes.changed_weights, of("f.unknown").zeros), (None, Some(57)));
}

#[test]
fn a_result_comes_back_bit_for_bit() {
    let s = scratch();
    let settings = Settings::load(&s.path("x.yaml"), &[]).unwrap();
    let resolved = Resolved::new(&settings).unwrap();
    let pass = BlockPass::new(&resolved).unwrap();
    for block in 0..pass.blocks() {
        let found = pass.compare(block).unwrap();
        let text = serde_json::to_string(&found).unwrap();
        assert_eq!(serde_json::from_str::<BlockResult>(&text).unwrap(), found);
    }
    // What decimal digits could not say: infinities, NaN with its payload, the sign of zero.
    let mut json = serde_json::to_value(pass.compare(0).unwrap()).unwrap();
    for bits in ["7ff0000000000000", "fff8000000000001", "8000000000000000", "3fb999999999999a"] {
        json["found"]["comparison"]["stats"]["sum"] = bits.into();
        let back: BlockResult = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(serde_json::to_value(&back).unwrap(), json);
    }
}

#[test]
fn other_versions_and_other_results_are_refused() {
    let s = scratch();
    let settings = Settings::load(&s.path("x.yaml"), &[]).unwrap();
    let resolved = Resolved::new(&settings).unwrap();
    let pass = BlockPass::new(&resolved).unwrap();
    let all: Vec<BlockResult> = (0..pass.blocks()).map(|block| pass.compare(block).unwrap()).collect();
    let json = serde_json::to_value(&all[0]).unwrap();
    assert_eq!(json["version"], cdi_prune::pipeline::BLOCK_RESULT_VERSION);
    let read =
        |json: Value| serde_json::from_str::<BlockResult>(&json.to_string()).map_err(|e| e.to_string());
    let wrong = |change: &dyn Fn(&mut Value)| {
        let mut json = json.clone();
        change(&mut json);
        read(json).unwrap_err()
    };
    // A later version may have keys that this one does not know: its number is what is told.
    let error = wrong(&|json| {
        json["version"] = 2.into();
        json["more"] = true.into();
    });
    assert!(error.starts_with("a block result with version 2; this version reads 1"), "{error}");
    let error = wrong(&|json| json["found"]["comparison"]["stats"]["sum"] = "12".into());
    assert!(error.starts_with("`12` is not 16 hexadecimal digits"), "{error}");
    let error = wrong(&|json| json["found"]["comparison"]["changed"] = "0g".into());
    assert!(error.starts_with("bytes that are not hexadecimal digits"), "{error}");
    let error = wrong(&|json| json["found"]["comparison"]["counts"] = json!([[1 << 20, 1]]));
    assert!(error.starts_with("there is no counter 1048576"), "{error}");

    let merge = |results: Vec<BlockResult>| pass.merge(results).unwrap_err().to_string();
    let mut swapped = all.clone();
    swapped.swap(0, 1);
    let order =
        "the result of block 1 where that of block 0 is next: merge them all, in the order of their numbers";
    assert_eq!(merge(swapped), order);
    assert_eq!(merge(all[..2].to_vec()), format!("2 block results for {} blocks", all.len()));
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut json = json.clone();
        change(&mut json);
        merge(vec![read(json).unwrap()])
    };
    let other = "the result of block 0, of tensor `a.long`, is not of this config and checkpoint";
    assert_eq!(changed(&|json| json["place"]["config_sha256"] = "".into()), other);
    assert_eq!(changed(&|json| json["place"]["len"] = 1.into()), other);
    assert_eq!(changed(&|json| json["found"]["comparison"]["changed"] = "00".into()), other);
    let keys = pass.rank(0, &Narrowing::new(1, 10), false).unwrap().unwrap();
    assert_eq!(merge(vec![keys]), "the result of block 0 is of another question: it compares nothing");
}

/// A selection over all tensors whose passes are answered block by block, question and answers as text.
#[test]
fn a_selection_over_keys_that_others_counted() {
    let s = scratch();
    let settings = Settings::load(&s.path("x.yaml"), &[]).unwrap();
    let resolved = Resolved::new(&settings).unwrap();
    let pass = BlockPass::new(&resolved).unwrap();
    let ask = |narrowing: &Narrowing, all: bool| -> Vec<BlockResult> {
        let asked = serde_json::to_string(narrowing).unwrap();
        let narrowing: Narrowing = serde_json::from_str(&asked).unwrap();
        let answers = (0..pass.blocks()).rev().filter_map(|block| pass.rank(block, &narrowing, all).unwrap());
        let sent: Vec<String> = answers.map(|answer| serde_json::to_string(&answer).unwrap()).collect();
        let mut read: Vec<BlockResult> =
            sent.iter().map(|json| serde_json::from_str(json).unwrap()).collect();
        read.sort_by_key(BlockResult::number);
        read
    };
    let every = ask(&Narrowing::new(1, 10), true);
    let keys_of = |result: &BlockResult| result.keys().unwrap().keys.clone().unwrap();
    let weights: u64 =
        run(&resolved, Stages::Analyze, &Silent, |_| {}).unwrap().report.unwrap().totals.total_weights;
    let count = (0.37 * weights as f64).round_ties_even() as u64;
    let mut enough = |pruned: &[u64]| Ok::<_, Infallible>(pruned[0] >= count);
    let mut narrowing = Narrowing::new(1, 12);
    let cut = loop {
        let mut histogram = vec![[0; 2]; narrowing.bins()];
        ask(&narrowing, false).iter().for_each(|result| result.keys().unwrap().add_to(&mut histogram));
        match narrowing.narrow(&histogram, &mut enough).unwrap() {
            Step::Among(few) if few <= 5000 => {
                let found: Vec<Vec<u64>> = ask(&narrowing, true).iter().map(keys_of).collect();
                break narrowing.finish(Ties::Keys(&found), |_| 0, &mut enough).unwrap();
            }
            step => assert!(matches!(step, Step::Among(_)), "{step:?}"),
        }
    };
    let outcome = run(&resolved, Stages::Prune, &Silent, |_| {}).unwrap();
    for tensor in &outcome.report.unwrap().tensors {
        let blocks = every.iter().enumerate().filter(|(_, result)| result.tensor() == tensor.name);
        let goes = blocks.map(|(at, result)| {
            let mut limits = cut.of_block(at);
            keys_of(result).iter().filter(|key| limits.goes(**key)).count() as u64
        });
        assert_eq!(Some(goes.sum()), tensor.pruned_weights, "{}", tensor.name);
    }
    let wrong = serde_json::from_str::<Narrowing>(r#"{"lowest": 5, "highest": 4, "bits": 10, "below": [0]}"#);
    assert_eq!(wrong.unwrap_err().to_string(), "keys in question that no selection has");
    succeeds(&s, &["analyze", "x.yaml"]);
}
