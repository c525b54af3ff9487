//! The command `matrix`, whole: what it prints, what it writes, and what it refuses.
//!
//! Values, figures and digests are those of an independent program: Python 3.11 with integers and `math` for
//! the noise, NumPy 2.3 for rounding and singular values, SciPy 1.16 for distributions and the
//! Kolmogorov-Smirnov distance.

use std::fs;

use cdi_core::internal::dispatch::{InstructionSet, VARIABLE};
use serde_json::{Value, json};

use crate::common::{Ran, Scratch, root};

/// Small enough to be compared whole: `he` of 3 by 8.
const SMALL: [&str; 7] = ["matrix", "--layer", "3", "--rows", "3", "--cols", "8"];
/// `kaiming_uniform_` of 2 by 3.
const UNIFORM: [&str; 11] =
    ["matrix", "--seed", "7", "--layer", "9", "--rows", "2", "--cols", "3", "--mode", "kaiming_uniform_"];

fn run(args: &[&str], more: &[&str]) -> Ran {
    Scratch::new().run(&[args, more].concat())
}

#[track_caller]
fn succeeds(args: &[&str], more: &[&str]) -> String {
    let ran = run(args, more);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    ran.stdout
}

fn look(args: &[&str], more: &[&str]) -> Value {
    serde_json::from_str(&succeeds(args, &[more, &["--format", "json"]].concat())).unwrap()
}

fn figure<'v>(look: &'v Value, statistic: &str) -> &'v Value {
    let figures = look["figures"].as_array().unwrap();
    figures.iter().find(|f| f["statistic"] == statistic).unwrap_or(&Value::Null)
}

#[track_caller]
fn contains(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
}

#[test]
fn the_corner_and_the_figures() {
    let expected = "\
he of 3x8, f32, seed 42, layer 3; fan_in 8, fan_out 3.
┌─────────────────────────────────────────────────────────────────────────────┐
│             0          1           2          3           4           5   … │
╞═════════════════════════════════════════════════════════════════════════════╡
│ 0    0.040224   1.107478   -0.470309   0.641472   -0.740403    0.831321   … │
│ 1   -0.301582   0.420643   -0.623803   0.110222    0.224549   -0.376624   … │
│ 2    0.694028   0.043370    1.217247   0.105227   -0.305425   -0.135861   … │
└─────────────────────────────────────────────────────────────────────────────┘
┌─────────────────────────────────────────────────────────────────────────┐
│ figure                 found    expected   allowed                      │
╞═════════════════════════════════════════════════════════════════════════╡
│ mean               7.0012e-2           0   ± 4.0825e-1               ok │
│ std                5.6283e-1   5.0000e-1   ± 2.8868e-1               ok │
│ min                -1.1781e0           -   -2.3014e0 to -2.0882e-1   ok │
│ max                 1.2172e0           -   2.0882e-1 to 2.3014e0     ok │
│ zeros                      0           0   exactly 0                 ok │
│ KS distance        1.4874e-1           -   up to 4.5520e-1           ok │
│ condition number   2.2049750           -                                │
└─────────────────────────────────────────────────────────────────────────┘
All statistics are as expected. Fewer than one in a thousand correct matrices exceed the allowed ranges by chance.
";
    assert_eq!(succeeds(&SMALL, &[]), expected);
    assert_eq!(succeeds(&SMALL, &["--mode", "kaiming_normal_", "--seed", "42", "--dtype", "f32"]), expected);
}

#[test]
fn without_flags_and_terminal_defaults_apply() {
    let text = succeeds(&["matrix"], &[]);
    contains(
        &text,
        &[
            "he of 64x64, f32, seed 42, layer 0; fan_in 64, fan_out 64.\n",
            "│ …           …           …",
            "│ mean                1.5343e-3           0   ± 1.1049e-2                ok │",
            "│ std                 1.7545e-1   1.7678e-1   ± 7.8125e-3                ok │",
            "│ min                -7.1959e-1           -   -9.8595e-1 to -4.9819e-1   ok │",
            "│ max                 6.3903e-1           -   4.9819e-1 to 9.8595e-1     ok │",
            "│ KS distance         1.0648e-2           -   up to 3.4844e-2            ok │",
            "│ condition number     1.0147e3           -                                 │",
        ],
    );
    assert_eq!(text.lines().count(), 24, "{text}");
    // NumPy's condition number, to the digits that both are sure of.
    let found = figure(&look(&["matrix"], &[]), "condition number")["found"].as_f64().unwrap();
    assert!((found / 1014.6513961687518 - 1.0).abs() < 1e-12, "{found:?}");
}

#[test]
fn a_large_matrix_is_never_printed_whole() {
    let text = succeeds(&["matrix", "--rows", "1500", "--cols", "2000"], &["--show-dist"]);
    assert!(text.lines().count() < 60 && text.lines().all(|line| line.chars().count() < 120), "{text}");
    contains(&text, &["not computed above 2^20 weights", "The KS distance is computed from 1,04"]);
}

#[test]
fn the_distribution_with_the_exact_one_beside_it() {
    let text = succeeds(&SMALL, &["--show-dist"]);
    contains(
        &text,
        &[
            "│               -1.7500e0         0     0.000     0.023   │                                        │",
            "│  -1.2500e0    -1.0833e0         1     4.167     0.892   ██│███████                               │",
            "│ -4.1667e-1   -2.5000e-1         4    16.667    10.621   █████████████████████████│██████████████ │",
            "│ -8.3333e-2    8.3333e-2         3    12.500    13.237   ██████████████████████████████  │        │",
            "│   1.0833e0     1.2500e0         2     8.333     0.892   ██│█████████████████                     │",
            "│   1.7500e0                      0     0.000     0.023   │                                        │",
            "Bars: found. Strokes: the exact distribution.",
        ],
    );
    let bins = look(&SMALL, &["--show-dist"])["histogram"].clone();
    let bins = bins.as_array().unwrap();
    let counts: Vec<u64> = bins.iter().map(|bin| bin["weights"].as_u64().unwrap()).collect();
    assert_eq!(counts, [0, 0, 0, 0, 1, 0, 0, 2, 1, 4, 1, 3, 4, 2, 1, 2, 1, 0, 2, 0, 0, 0, 0]);
    let exact: f64 = bins.iter().map(|bin| bin["exact"].as_f64().unwrap()).sum();
    assert!((exact - 1.0).abs() < 1e-14, "{exact}");
    // A distribution with ends has no bins beyond them.
    let uniform = look(&UNIFORM, &["--show-dist"]);
    let bins = uniform["histogram"].as_array().unwrap();
    assert_eq!(bins.len(), 21);
    assert_eq!(bins[20]["high"], json!(3f64.sqrt() * (2.0f64 / 3.0).sqrt()));
    // Two values, or one, are no distribution.
    let eye = look(&["matrix", "--mode", "eye", "--rows", "3", "--cols", "3"], &["--show-dist"]);
    let bin = |value: f64, weights: u64, share: f64| -> Value {
        json!({"low": value, "high": value, "weights": weights, "share": share, "exact": null})
    };
    assert_eq!(eye["histogram"], json!([bin(0.0, 6, 6.0 / 9.0), bin(1.0, 3, 3.0 / 9.0)]));
    let zeros = look(&["matrix", "--mode", "zeros", "--rows", "3", "--cols", "3"], &["--show-dist"]);
    assert_eq!(zeros["histogram"], json!([bin(0.0, 9, 1.0)]));
}

#[test]
fn one_weight_with_its_draws() {
    // The weight and its gaussian differ from Python's in the last bit, as the platform's logarithm does.
    let expected = "
The weight at (2, 5):
┌────────────────────────────────────────────────────────────────────────┐
│                                             value   bits               │
╞════════════════════════════════════════════════════════════════════════╡
│ row key                                             0xeaa5c89fd05ab3ee │
│ draw 4, u1                     0.7997265962567046   0xccbae1d8a9f82da1 │
│ draw 5, u2                     0.5666132253948168   0x910d90788d43c05a │
│ sqrt(-2 ln u1) sin(2 pi u2)   -0.2717222225831692                      │
│ weight                        -0.1358611112915846   0xbfc163e59ae5d54f │
│ stored as f32                         -0.13586111   0xbe0b1f2d         │
└────────────────────────────────────────────────────────────────────────┘
";
    assert!(succeeds(&SMALL, &["--at", "2,5"]).ends_with(expected));
    let weight = look(&SMALL, &["--at", "1,6"])["weight"].clone();
    assert_eq!((&weight["row_key"], &weight["noise"]), (&json!("0x5d396f908f79bb0b"), &json!("cosine")));
    assert_eq!(weight["draws"][0]["index"], 6);
    assert_eq!(weight["draws"][1]["bits"], "0x7c55401d0f4a70ce");
    assert_eq!(weight["stored_bits"], "0xbea8ed9a");
    let weight = look(&UNIFORM, &["--at", "1,2"])["weight"].clone();
    let expected = json!({
        "row": 1, "column": 2, "row_key": "0x6e2ef9b1e15f09d7", "noise": "uniform",
        "draws": [{"index": 2, "bits": "0x6541fe51ddca5c2c", "uniform": 0.3955382299298347}],
        "drawn": 0.3955382299298347,
        "weight": -0.29546250396545526, "weight_bits": "0xbfd2e8db8fee7528",
        "stored": -0.2954624891281128, "stored_bits": "0xbe9746dc",
    });
    assert_eq!(weight, expected);
    contains(
        &succeeds(&UNIFORM, &["--at", "1,2"]),
        &["│ draw 2, u         0.3955382299298347   0x6541fe51ddca5c2c │"],
    );
    for (mode, noise) in [("zeros", "fixed"), ("eye", "fixed"), ("orthogonal", "whole")] {
        let weight = look(&["matrix", "--mode", mode, "--at", "3,3"], &[])["weight"].clone();
        assert_eq!(
            (&weight["noise"], &weight["draws"], &weight["drawn"]),
            (&json!(noise), &json!([]), &Value::Null)
        );
    }
    contains(
        &succeeds(&["matrix", "--mode", "zeros", "--at", "3,3"], &[]),
        &["\nNothing is drawn for this weight.\n"],
    );
    let whole = succeeds(&["matrix", "--orthogonal", "--at", "3,3"], &[]);
    contains(&whole, &["\nThis weight has no draws of its own: all weights are generated together.\n"]);
}

#[test]
fn the_reproduction_has_no_difference() {
    let text = succeeds(&SMALL, &["--test-repro", "--threads", "2"]);
    contains(
        &text,
        &[
            "│ in blocks, one thread, again                            0                    0   ok │",
            "│ in blocks, all threads (2)                              0                    0   ok │",
            "│ element by element, one thread                          0                    0   ok │",
            "│ element by element, all threads (2)                     0                    0   ok │",
            "\n83f1c162e05a40e39340721cc065d4a73b030a82d6f8ab8d0fd9a78c0f18b588\n",
        ],
    );
    let digest = |args: &[&str]| look(args, &["--test-repro"])["reproduction"]["sha256"].clone();
    let default = "30876aeb40e4f4acdd9ecc8fc763a1108dd72556f4bdb27941b89f00c71ac905";
    assert_eq!(digest(&["matrix"]), default);
    for args in [
        &["matrix", "--orthogonal", "--rows", "90", "--cols", "70"][..],
        &["matrix", "--shape", "8,4,3,3", "--mode", "{mode: he, zero_mean: true}", "--dtype", "f16"],
        &["matrix", "--shape", "8,4,3,3", "--mode", "delta_orthogonal"],
        &["matrix", "--mode", "{mode: sparse, sparsity: 0.3}"],
        &["matrix", "--mode", "lecun_normal", "--rows", "1", "--cols", "200000"],
        &["matrix", "--mode", "eye"],
    ] {
        let ways = look(args, &["--test-repro"])["reproduction"]["ways"].clone();
        let ways = ways.as_array().unwrap();
        assert!(ways.len() >= 4);
        for way in ways {
            assert_eq!((&way["differing"], &way["largest"]), (&json!(0), &json!(0.0)), "{args:?} {way}");
        }
    }
}

#[test]
fn nothing_depends_on_threads_or_instruction_set() {
    let scratch = Scratch::new();
    for args in [
        &["matrix", "--rows", "300", "--cols", "500", "--show-dist", "--save", "m.npy"][..],
        &["matrix", "--rows", "300", "--cols", "200", "--orthogonal", "--dtype", "f64", "--save", "m.csv"],
        &["matrix", "--rows", "1100", "--cols", "1000", "--mode", "he_normal", "--save", "m.safetensors"],
        &["matrix", "--rows", "200", "--cols", "100", "--compare-modes"],
    ] {
        let mut first = None;
        for set in InstructionSet::available() {
            for threads in ["1", "2", "3"] {
                let args = [args, &["--format", "json", "--quiet", "--threads", threads]].concat();
                let ran = scratch.run_with(&[(VARIABLE, set.name())], &args);
                assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
                let now = (ran.stdout, scratch.files());
                assert!(*first.get_or_insert_with(|| now.clone()) == now, "{args:?} {set:?}");
            }
        }
    }
}

#[test]
fn modes_side_by_side() {
    let expected = "\
he, xavier, lecun of 32x128, f32, seed 42, layer 0; fan_in 128, fan_out 32.
┌────────────────────────────────────────────────────────────────────────┐
│ figure                     he            xavier             lecun      │
╞════════════════════════════════════════════════════════════════════════╡
│ mean                2.7400e-3   ok    2.4508e-3   ok    1.9375e-3   ok │
│ std                 1.2494e-1   ok    1.1175e-1   ok    8.8345e-2   ok │
│ std expected        1.2500e-1         1.1180e-1         8.8388e-2      │
│ min                -4.0511e-1   ok   -3.6234e-1   ok   -2.8646e-1   ok │
│ max                 4.5045e-1   ok    4.0290e-1   ok    3.1852e-1   ok │
│ zeros                       0   ok            0   ok            0   ok │
│ KS distance         1.4840e-2   ok    1.4840e-2   ok    1.4840e-2   ok │
│ condition number    3.0714695         3.0714695         3.0714695      │
└────────────────────────────────────────────────────────────────────────┘
";
    assert_eq!(succeeds(&["matrix", "--rows", "32", "--cols", "128", "--compare-modes"], &[]), expected);
    let looks = look(&["matrix", "--compare-modes", "--gain", "2"], &[]);
    let names: Vec<&Value> = looks.as_array().unwrap().iter().map(|look| &look["init"]).collect();
    assert_eq!(names, ["he(gain=2)", "xavier(gain=2)", "lecun(gain=2)"]);
    assert_eq!(figure(&looks[2], "std")["expected"], 0.25);
    let large = succeeds(&["matrix", "--rows", "1100", "--cols", "1000", "--compare-modes"], &[]);
    assert_eq!(large.lines().last(), Some("The condition number is not computed above 2^20 weights."));
}

#[test]
fn gain_orthogonal_layout_and_shape() {
    let text = succeeds(&["matrix", "--orthogonal", "--gain", "1.5", "--rows", "12", "--cols", "4"], &[]);
    contains(
        &text,
        &[
            "orthogonal(gain=1.5) of 12x4, f32, seed 42, layer 0; fan_in 4, fan_out 12.\n",
            // 1.5 / sqrt(12), the kurtosis of a sphere of 12 dimensions, 36/14; twice the unit
            // roundoff 2^-24 times 1.5².
            "│ std                 4.2372e-1   4.3301e-1   ± 1.5670e-1       ok │",
            "│ off orthogonal      1.3609e-7           0   up to 2.6822e-7   ok │",
        ],
    );
    let std = |args: &[&str]| figure(&look(&[&["matrix"], args].concat(), &[]), "std")["expected"].clone();
    // sqrt(2 / fan_in): the last dimension but one in the layout in_out.
    let tall = ["--rows", "2", "--cols", "8"];
    assert_eq!(std(&tall), 0.5);
    assert_eq!(std(&[&tall[..], &["--layout", "in_out"]].concat()), 1.0);
    assert_eq!(std(&[&tall[..], &["--gain", "-3"]].concat()), 1.5);
    // A gain of the mapping gives way.
    assert_eq!(std(&[&tall[..], &["--mode", "{mode: he, gain: 7}", "--gain", "3"]].concat()), 1.5);
    let conv =
        succeeds(&["matrix", "--shape", "16,8,3,3", "--mode", "delta_orthogonal", "--dtype", "f64"], &[]);
    contains(
        &conv,
        &[
            "delta_orthogonal of 16x8x3x3, read as 16 x 72, f64, seed",
            "│ zeros                   1,024       1,024   exactly 1,024      ok │",
            "│ off orthogonal",
        ],
    );
    let in_out =
        succeeds(&["matrix", "--shape", "3x3x8x16", "--mode", "delta_orthogonal", "--layout", "in_out"], &[]);
    contains(
        &in_out,
        &[
            "delta_orthogonal of 3x3x8x16 in_out, read as 3 x 384, f32",
            "condition number    1.0000000   1.0000000   up to 1.0000003",
        ],
    );
    contains(
        &succeeds(&["matrix", "--shape", "7"], &[]),
        &["he of 7, read as 1 x 7, f32, seed 42, layer 0; fan_in 7, fan_out 7.\n"],
    );
}

#[test]
fn seeds_and_layers_of_every_size() {
    let first = |args: &[&str]| {
        let corner = look(&[&["matrix", "--rows", "1", "--cols", "2"], args].concat(), &[])["corner"].clone();
        corner[0][0].as_f64().unwrap() as f32
    };
    assert_eq!(first(&["--seed", "-1"]), -2.3427784);
    assert_eq!(first(&["--seed", "18446744073709551615"]), -2.3427784);
    assert_eq!(first(&["--layer", "18446744073709551615"]), 0.2800394);
}

#[test]
fn modes_without_a_distribution_say_so() {
    let zeros = succeeds(&["matrix", "--mode", "zeros", "--rows", "2", "--cols", "3"], &[]);
    contains(
        &zeros,
        &[
            "│ 0   0   0   0 │",
            "│ std                    0          -                                        │",
            "│ condition number       -          -   infinite: the matrix is singular     │",
            "zeros draws nothing: its weights are fixed, so there is no distribution to compare them with.\n",
        ],
    );
    let dirac = succeeds(&["matrix", "--mode", "dirac", "--shape", "4,4,3,3"], &[]);
    contains(&dirac, &["dirac draws nothing: its weights are fixed", "condition number   1.0000000"]);
    let kernels = ["matrix", "--shape", "4,4,3,3", "--mode", "{mode: uniform, zero_mean: true}"];
    contains(
        &succeeds(&kernels, &[]),
        &["No exact distribution is known for the weights of uniform(low=0, high=1, zero_mean=true).\n"],
    );
    for mode in ["zeros", "eye"] {
        let look = look(&["matrix", "--mode", mode], &[]);
        let marks = look["figures"].as_array().unwrap().iter().map(|figure| &figure["ok"]);
        assert!(marks.into_iter().all(Value::is_null));
    }
}

#[test]
fn what_is_off_is_marked() {
    // Beyond the largest binary16. Nothing failed: the exit code is 0.
    let text = succeeds(&["matrix", "--dtype", "f16", "--gain", "1e6"], &[]);
    contains(
        &text,
        &[
            "│ std                 3.8394e4   1.7678e5   ± 7.8125e3                   OFF │",
            "│ max                 6.5504e4          -   exactly inf                  OFF │",
            "│ not finite             2,920          -   up to 0                      OFF │",
            "│ condition number           -          -   not all weights are finite       │",
            "\nOFF: std, min, max, not finite. Fewer than one in a thousand",
        ],
    );
    let colored = succeeds(&["matrix", "--dtype", "f16", "--gain", "1e6", "--color", "always"], &[]);
    // Red and green.
    contains(&colored, &["\u{1b}[38;5;9m", "\u{1b}[38;5;10m"]);
    let plain = succeeds(&["matrix", "--color", "never"], &[]);
    assert!(!plain.contains('\u{1b}'));
}

#[test]
fn files_hold_the_stored_weights() {
    let scratch = Scratch::new();
    let save = |file: &str, more: &[&str]| {
        let ran = scratch.run(&[&UNIFORM[..], &["--save", file], more].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        let bytes = fs::read(scratch.path(file)).unwrap();
        assert_eq!(ran.stderr, format!("saved: {file}, 6 weights, {} bytes\n", bytes.len()));
        bytes
    };
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    assert_eq!(
        text(save("w.csv", &["--dtype", "f64"])),
        "0.14321823094300057,-0.451908520755506,-0.41410440495915046\n\
         -1.3860227142899477,0.7098004793251862,-0.29546250396545526\n"
    );
    assert_eq!(
        text(save("w.csv", &[])),
        "0.14321823,-0.45190853,-0.4141044\n-1.3860227,0.7098005,-0.2954625\n"
    );
    assert_eq!(
        text(save("new/folder/w.CSV", &["--dtype", "bf16"])),
        "0.14355469,-0.45117188,-0.4140625\n-1.3828125,0.7109375,-0.29492188\n"
    );
    // `numpy.lib.format.write_array(…, version=(1, 0))`.
    let header = |dict: &str| format!("{dict:117}\n").into_bytes();
    let npy = |dict: &str| [b"\x93NUMPY\x01\x00v\x00".to_vec(), header(dict)].concat();
    let (head, data) = (
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"),
        hex("cda7123e8e60e7be7e05d4be3169b1bf7cb5353fdc4697be"),
    );
    assert_eq!(save("w.npy", &[]), [head, data.clone()].concat());
    let head = npy("{'descr': '<f2', 'fortran_order': False, 'shape': (2, 3), }");
    assert_eq!(save("w.npy", &["--dtype", "f16"]), [head, hex("95303bb7a0b68bbdae39bab4")].concat());

    let bytes = save("w.safetensors", &["--dtype", "bf16"]);
    let (header, data) = safetensors(&bytes);
    assert_eq!(data, hex("133ee7bed4beb1bf363f97be"));
    let tensor = json!({"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]});
    assert_eq!(header["weight"], tensor);
    let metadata = json!({
        "format": "pt",
        "cdi_prune": r#"{"version":1,"noise_version":1,"kind":"initial","seed":7}"#,
        "layer_id": "9",
        "init": r#"{"mode":"he","distribution":"uniform"}"#,
        "layout": "out_in",
    });
    assert_eq!(header["__metadata__"], metadata);
    assert_eq!(
        safetensors(&save("w.safetensors", &[])).1,
        hex("cda7123e8e60e7be7e05d4be3169b1bf7cb5353fdc4697be")
    );
    let ran = scratch.run(&["inspect", "w.safetensors"]);
    contains(&ran.stdout, &["│ weight  F32   2x3"]);
}

#[test]
fn shapes_are_kept_in_files() {
    let scratch = Scratch::new();
    let save = |shape: &str, file: &str| {
        let ran = scratch
            .run(&["matrix", "--shape", shape, "--mode", "ones", "--dtype", "f64", "--save", file, "-q"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        fs::read(scratch.path(file)).unwrap()
    };
    let has = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(has(&save("1,2,3", "a.npy"), "'descr': '<f8', 'fortran_order': False, 'shape': (1, 2, 3), }"));
    assert!(has(&save("6", "a.npy"), "'shape': (6,), }"));
    assert_eq!(safetensors(&save("1,2,3", "a.safetensors")).0["weight"]["shape"], json!([1, 2, 3]));
    assert_eq!(save("2,1,2", "a.csv"), b"1.0,1.0\n1.0,1.0\n");
    let one = scratch.run(&["matrix", "--shape", "1", "--mode", "ones", "--save", "a.csv"]);
    assert_eq!(one.stderr, "saved: a.csv, 1 weight, 4 bytes\n");
    // Larger than what is encoded at once.
    assert_eq!(save("3,400000", "b.npy").len(), 128 + 8 * 1_200_000);
    assert_eq!(save("3,400000", "b.csv").len(), 4 * 1_200_000);
    assert_eq!(safetensors(&save("3,400000", "b.safetensors")).1.len(), 8 * 1_200_000);
    // An index of the name's shards would be read in place of the file.
    let mut names: Vec<String> = scratch.files().into_keys().collect();
    names.sort();
    assert_eq!(names, ["a.csv", "a.npy", "a.safetensors", "b.csv", "b.npy", "b.safetensors"]);
}

fn hex(digits: &str) -> Vec<u8> {
    (0..digits.len()).step_by(2).map(|n| u8::from_str_radix(&digits[n..n + 2], 16).unwrap()).collect()
}

/// Header and data.
fn safetensors(bytes: &[u8]) -> (Value, Vec<u8>) {
    let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    (serde_json::from_slice(header).unwrap(), data.to_vec())
}

/// It fails so, with exit code 2, and writes nothing.
#[track_caller]
fn refuses(args: &[&str], message: &str) {
    let scratch = Scratch::new();
    let ran = scratch.run(&[&["matrix"], args].concat());
    // What follows is clap's usage.
    let first = ran.stderr.split("\n\n").next().unwrap_or_default().trim_end();
    assert_eq!(
        (ran.code, ran.stdout.as_str(), first),
        (2, "", format!("error: {message}").as_str()),
        "{ran:?}"
    );
    assert!(scratch.files().is_empty());
}

const MODES: &str = "he, xavier, lecun, attention, variance_scaling, torch_default, normal, trunc_normal, uniform, sparse, \
                     constant, zeros, ones, eye, dirac, orthogonal, delta_orthogonal";

#[test]
fn modes_are_refused_in_the_words_of_a_config() {
    let mode = |text: &str, message: &str| refuses(&["--mode", text], &format!("--mode: {message}"));
    let unknown = format!("unknown initialisation mode `hee` (did you mean `he`?); the modes are {MODES}");
    mode("hee", &unknown);
    mode("{mode: hee, std: 1}", &unknown);
    refuses(&["--mode", "hee", "--gain", "2"], &format!("--mode: {unknown}"));
    mode(
        "{mode: normal, sdt: 1}",
        "unknown key `sdt` (did you mean `std`?); the keys are mode, distribution, fan, gain, nonlinearity, a, scale, \
         d_model, fan_in, fan_in_of, mean, std, depth, low, high, value, groups, sparsity, zero_mean",
    );
    mode("{mode: normal, std: x}", "`std`: expected a number, got the text `x`");
    mode("{mode: normal, std: -1}", "`std` is -1, expected a finite number of at least 0");
    mode(
        "{mode: he, fan: on}",
        "`fan` cannot be `on` (did you mean `in`?); the values are fan_in, in, fan_out, out, avg, fan_avg",
    );
    mode("{mode: he, std: 1}", "`std` does not apply to initialisation mode `he`");
    mode("{mode: he, mode: he}", "duplicate key `mode`");
    mode("{std: 1}", "missing key `mode`");
    mode("{mode: normal", "not valid YAML: did not find expected ',' or '}', while parsing a flow mapping");
    mode("constant", "initialisation mode `constant` needs a `value`");
    let expected = |got: &str| format!("`mode`: expected a mode or {{mode: …}}, got {got}");
    mode("3", &expected("3"));
    mode("[he]", &expected("a list"));
    mode("", &expected("nothing"));
    mode("~", &expected("nothing"));
    mode("none", &expected("none, which generates nothing"));
    mode("{from: a.safetensors}", &expected("{from: …}, which generates nothing"));
    refuses(
        &["--mode", "zeros", "--gain", "2"],
        "--mode: `gain` does not apply to initialisation mode `zeros`",
    );
    refuses(&["--orthogonal", "--gain", "nan"], "--orthogonal: `gain` is NaN, expected a finite number");
    refuses(
        &["--compare-modes", "--gain", "inf"],
        "--compare-modes: `gain` is inf, expected a finite number",
    );
    refuses(
        &["--mode", "{mode: he, zero_mean: true}", "--layout", "in_out"],
        "--mode: `zero_mean` needs the layout out_in: in an in_out tensor, convolution kernels are not \
         contiguous",
    );
}

#[test]
fn modes_and_shapes_that_do_not_go_together() {
    refuses(
        &["--mode", "dirac"],
        "`dirac` needs three to five dimensions; its shape is [64, 64]; use --shape for another shape",
    );
    refuses(&["--mode", "eye", "--shape", "2,3,4"], "`eye` needs two dimensions; its shape is [2, 3, 4]");
    refuses(
        &["--orthogonal", "--shape", "9"],
        "`orthogonal` needs at least two dimensions; its shape is [9]",
    );
    refuses(
        &["--mode", "{mode: torch_default, fan_in_of: '*.weight'}"],
        "`fan_in_of` refers to `*.weight`, but there is no other tensor here: set `fan_in` instead",
    );
}

#[test]
fn matrices_that_are_too_large() {
    refuses(
        &["--rows", "65536", "--cols", "32769"],
        "shape [65536, 32769] has 2147549184 weights, more than the limit of 2147483648 (2^31)",
    );
    refuses(
        &["--rows", "18446744073709551615", "--cols", "3"],
        "shape [18446744073709551615, 3] has more elements than this machine can address",
    );
    refuses(
        &["--orthogonal", "--rows", "9000", "--cols", "9000", "--save", "a.npy"],
        "the weights of `orthogonal` are generated all at once, and for shape [9000, 9000] would take \
         648000000 bytes of memory, more than the limit of 536870912 (512 MiB)",
    );
    // Of this only the middle of the kernels, one weight in nine, is made all at once.
    refuses(
        &["--mode", "delta_orthogonal", "--shape", "9000,9000,3,3"],
        "the weights of `delta_orthogonal` are generated all at once, and for shape [9000, 9000, 3, 3] would \
         take 648000000 bytes of memory, more than the limit of 536870912 (512 MiB)",
    );
}

#[test]
fn places_and_files_that_cannot_be() {
    let outside = "the matrix is 3 x 8, its rows are 0 to 2, its columns 0 to 7";
    let size = ["--rows", "3", "--cols", "8"];
    for (at, place) in
        [("3,0", "(3, 0)"), ("0,8", "(0, 8)"), ("18446744073709551615,0", "(18446744073709551615, 0)")]
    {
        // Nothing is saved either.
        let args = [&size[..], &["--at", at, "--save", "a.npy"]].concat();
        refuses(&args, &format!("--at: there is no weight at {place}: {outside}"));
    }
    refuses(&["--save", "out/a.npz"], "out/a.npz: the file name must end in .npy, .safetensors or .csv");
    refuses(&["--save", "npy"], "npy: the file name must end in .npy, .safetensors or .csv");
    refuses(
        &["--save", "a.npy", "--dtype", "bf16"],
        "a.npy: NumPy's format has no bf16; save the matrix as .safetensors, or use another --dtype",
    );
}

#[test]
fn files_that_cannot_be_written() {
    for file in ["a.npy", "a.csv", "a.safetensors"] {
        let scratch = Scratch::new();
        scratch.write("taken", "a file, not a folder");
        let path = format!("taken/{file}");
        let ran = scratch.run(&["matrix", "--save", &path]);
        assert_eq!(ran.stderr, "error: taken: cannot create the folder: File exists (os error 17)\n");
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
        assert_eq!(scratch.files().len(), 1);
    }
}

#[test]
fn flags_that_cannot_be_read() {
    let invalid = |flag: &str, value: &str, name: &str, expected: &str| {
        refuses(
            &[flag, value],
            &format!("invalid value '{value}' for '{flag} <{name}>': expected {expected}"),
        );
    };
    let seed = "a whole number from -2^63 to 2^64-1";
    invalid("--seed", "18446744073709551616", "N", seed);
    invalid("--seed", "-9223372036854775809", "N", seed);
    invalid("--seed", "x", "N", seed);
    for value in ["-1", "18446744073709551616"] {
        invalid("--layer", value, "N", "a whole number from 0 to 2^64-1");
    }
    for value in ["0", "-1", "1.5", "18446744073709551616"] {
        invalid("--rows", value, "N", "a whole number of at least 1");
        invalid("--cols", value, "N", "a whole number of at least 1");
    }
    for value in ["3,0", "", "3,,3"] {
        invalid("--shape", value, "D0,D1,…", "whole numbers of at least 1, such as 64,32,3,3");
    }
    invalid("--gain", "x", "X", "a number");
    for value in ["3", "3,", "3,4,5", "-1,2", "a,b"] {
        let args = [&format!("--at={value}")[..]];
        let expected = "expected a row and a column, counted from 0, such as 3,5";
        refuses(&args, &format!("invalid value '{value}' for '--at <I,J>': {expected}"));
    }
    refuses(
        &["--dtype", "f8"],
        "invalid value 'f8' for '--dtype <DTYPE>'\n  [possible values: f64, f32, f16, bf16]",
    );
    refuses(
        &["--layout", "io"],
        "invalid value 'io' for '--layout <LAYOUT>'\n  [possible values: out_in, in_out]",
    );
    for (flags, first, second) in [
        (&["--mode", "he", "--orthogonal"][..], "--mode <MODE>", "--orthogonal"),
        (&["--shape", "3,3", "--rows", "3"], "--shape <D0,D1,…>", "--rows <N>"),
        (&["--shape", "3,3", "--cols", "3"], "--shape <D0,D1,…>", "--cols <N>"),
        (&["--compare-modes", "--mode", "he"], "--compare-modes", "--mode <MODE>"),
        (&["--compare-modes", "--orthogonal"], "--compare-modes", "--orthogonal"),
        (&["--compare-modes", "--show-dist"], "--compare-modes", "--show-dist"),
        (&["--compare-modes", "--test-repro"], "--compare-modes", "--test-repro"),
        (&["--compare-modes", "--at", "0,0"], "--compare-modes", "--at <I,J>"),
        (&["--compare-modes", "--save", "a.npy"], "--compare-modes", "--save <FILE>"),
    ] {
        refuses(flags, &format!("the argument '{first}' cannot be used with '{second}'"));
    }
}

#[test]
fn help_has_examples_that_work() {
    let help = succeeds(&["matrix", "--help"], &[]);
    let examples: Vec<&str> =
        help.lines().filter_map(|line| line.strip_prefix("  cdi-prune matrix")).collect();
    assert_eq!(examples.len(), 6, "{help}");
    for example in examples {
        // Words, but for one in quotes.
        let (plain, quoted) = match example.split_once('\'') {
            Some((before, after)) => (before, after.split_once('\'')),
            None => (example, None),
        };
        let mut args = vec!["matrix"];
        args.extend(plain.split_whitespace());
        if let Some((quoted, after)) = quoted {
            args.push(quoted);
            args.extend(after.split_whitespace());
        }
        let ran = Scratch::new().run(&args);
        assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
        assert!(!ran.stdout.contains("OFF"), "{args:?}: {ran:?}");
    }
}

#[test]
fn the_page_shows_what_is_printed() {
    let page = fs::read_to_string(root().join("docs/matrix.md")).unwrap();
    let blocks: Vec<&str> = page.split("```text\n$ cdi-prune ").skip(1).collect();
    assert_eq!(blocks.len(), 4);
    for block in blocks {
        let (command, shown) = block.split_once("```").unwrap().0.split_once('\n').unwrap();
        let printed = succeeds(&command.split(' ').collect::<Vec<_>>(), &[]);
        // A line of dots stands for what is left out.
        for part in shown.split("…\n").filter(|part| part.lines().count() > 1) {
            assert!(printed.contains(part.trim_end_matches('\n')), "{command}: no {part} in {printed}");
        }
    }
}
