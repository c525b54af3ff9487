//! Small files that describe what is large: each is answered soon and in little memory, read from the
//! kernel's own count of the process's peak. The bounds are generous ones; the numbers beside them are what
//! it took before they were kept.
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cdi_prune::reader::{Limits, PrunedReader};
use miniz_oxide::deflate::compress_to_vec;

/// What the program answered, and what it took.
struct Answer {
    code: Option<i32>,
    stderr: String,
    peak: u64,
}

/// Runs the program in `dir`. Where it takes longer than any of these files is worth, or more than
/// 3 GiB, it is killed.
fn ask(dir: &Path, args: &[&str]) -> Answer {
    let mut child = Command::new(env!("CARGO_BIN_EXE_cdi-prune"))
        .args(args)
        .arg("--quiet")
        .current_dir(dir)
        .stdout(File::create(dir.join("stdout")).unwrap())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let begun = Instant::now();
    let mut peak = 0;
    let code = loop {
        let now = fs::read_to_string(&status).ok().as_deref().and_then(high_water);
        peak = peak.max(now.unwrap_or(0) / 1024);
        if let Some(code) = child.try_wait().unwrap() {
            break code.code();
        }
        if begun.elapsed() > Duration::from_secs(60) || peak > 3 << 10 {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{args:?}: still at it after {:?}, with {peak} MiB", begun.elapsed());
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    Answer { code, stderr, peak }
}

fn high_water(status: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[track_caller]
fn refused(dir: &Path, args: &[&str], most: u64, message: &str) {
    let answer = ask(dir, args);
    assert_eq!(answer.code, Some(1), "{args:?}: {}", answer.stderr);
    assert!(answer.stderr.contains(message), "{args:?}: {}", answer.stderr);
    assert!(answer.peak <= most, "{args:?}: {} MiB", answer.peak);
}

/// A file of this header, and as many bytes of zeros, which take no room.
fn write(path: &Path, header: &str, data: u64) {
    let mut file = File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len(8 + header.len() as u64 + data).unwrap();
}

/// A pruned file with one tensor `w` in csr, of which nothing is stored.
fn csr(rows: u64, cols: u64, init: &str) -> Vec<u8> {
    let index = if cols <= 1 << 16 { "U16" } else { "I32" };
    let metadata = format!(
        r#"{{"version":1,"noise_version":1,"kind":"pruned","seed":1,"tensors":[{{"name":"w","dtype":"F32","shape":[{rows},{cols}],"format":"csr","fill":"init","layer_id":0,"init":{{"mode":"{init}"}},"layout":"out_in","decay":1.0}}]}}"#
    );
    let end = 16 + 8 * (rows + 1);
    let header = format!(
        r#"{{"__metadata__":{{"cdi_prune":{}}},"w.shape":{{"dtype":"I64","shape":[2],"data_offsets":[0,16]}},"w.crow_indices":{{"dtype":"I64","shape":[{}],"data_offsets":[16,{end}]}},"w.col_indices":{{"dtype":"{index}","shape":[0],"data_offsets":[{end},{end}]}},"w.values":{{"dtype":"F32","shape":[0],"data_offsets":[{end},{end}]}}}}"#,
        serde_json::Value::from(metadata),
        rows + 1
    );
    let mut file = [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
    file.extend([rows.to_le_bytes(), cols.to_le_bytes()].concat());
    file.resize(file.len() + 8 * (rows as usize + 1), 0);
    file
}

fn config(dir: &Path, trained: &str) {
    let text = format!(
        "seed: 1
rules: [{{match: '*', init: {{mode: zeros}}}}]
trained: {{path: {trained}}}
analyze: {{threshold: 0, report: {{json: r.json, html: r.html}}}}
prune: {{output: p.safetensors, criterion: magnitude, target: {{sparsity: 0.5}}, structure: rows}}
"
    );
    fs::write(dir.join("x.yaml"), text).unwrap();
}

fn scratch() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    (dir, path)
}

#[test]
fn tensors_of_which_nothing_is_stored() {
    let (_keep, dir) = scratch();
    let restore = ["restore", "a.safetensors", "-o", "b.safetensors"];
    // 2^50 columns: an allocation of 128 GiB, which fails. 2^44: 2057 MiB.
    for cols in [1u64 << 50, 1 << 44] {
        fs::write(dir.join("a.safetensors"), csr(1, cols, "zeros")).unwrap();
        let message = format!(
            "a.safetensors: tensor `w`: its `cdi_prune` metadata is wrong: csr cannot have {cols} columns, \
             more than 2147483648"
        );
        refused(&dir, &restore, 64, &message);
    }
    // As wide as can be, and many rows: 1029 MiB, and then there was no room on the disk either.
    fs::write(dir.join("a.safetensors"), csr(4_000, 1 << 31, "zeros")).unwrap();
    refused(&dir, &restore, 64, "b.safetensors: 34359738368096 bytes are needed here, but only ");
    // Drawn all at once, 27 GiB.
    fs::write(dir.join("a.safetensors"), csr(60_000, 60_000, "orthogonal")).unwrap();
    refused(
        &dir,
        &restore,
        64,
        "a.safetensors: tensor `w`: drawing its initial values, which is done all at once, takes 28800000000 \
         bytes, more than the limit of 4294967296; even a small file can describe a tensor of this size: \
         raise the limit only for a file that you trust (`restore --max-memory`, or `Limits::bytes`)",
    );
    fs::write(dir.join("a.safetensors"), csr(64, 64, "orthogonal")).unwrap();
    let memory = |most: &'static str| [&restore as &[&str], &["--max-memory", most]].concat();
    refused(&dir, &memory("32767"), 64, "takes 32768 bytes, more than the limit of 32767");
    assert_eq!(ask(&dir, &memory("32768")).code, Some(0));
}

#[test]
fn a_reader_keeps_its_limits() {
    let error =
        |file: Vec<u8>, limits| PrunedReader::from_bytes_within(file, None, limits).unwrap_err().to_string();
    let limits = Limits { elements: 1_000_000, bytes: 4_000_000 };
    assert_eq!(
        error(csr(1000, 1001, "zeros"), limits),
        "in memory: tensor `w`: has 1001000 elements, more than the limit of 1000000; even a small file can \
         describe a tensor of this size: raise the limit only for a file that you trust (`Limits::elements`)"
    );
    let whole = error(csr(1000, 1000, "orthogonal"), limits);
    assert!(whole.contains("takes 8000000 bytes, more than the limit of 4000000"), "{whole}");
    // By default a device opens what is as wide as can be, gets rows of it that it has memory for, and
    // is refused the rest.
    let file = PrunedReader::from_bytes(csr(2, 1 << 31, "ones"), None).unwrap();
    assert_eq!(
        file.read_to_vec("w").unwrap_err().to_string(),
        "tensor `w` has 17179869184 bytes, more than the limit of 4294967296 (`Limits::bytes`); read it by \
         rows, or into your own memory"
    );
    // Rows that are cut into blocks, of the library that keeps nothing for them.
    let file = PrunedReader::from_bytes_within(csr(3, 200_000, "ones"), None, limits).unwrap();
    let ones: Vec<u8> = 1.0f32.to_le_bytes().repeat(200_000);
    let mut row = vec![0; 800_000];
    file.read_rows("w", 1..2, &mut row).unwrap();
    assert!(row == ones);
    assert_eq!(file.read_to_vec("w").unwrap(), ones.repeat(3));
}

#[test]
fn headers_that_are_long() {
    let (_keep, dir) = scratch();
    let inspect = ["inspect", "a.safetensors"];
    // 5 million dimensions: 10 s and 320 MiB, and as many of them in the message.
    let dims = "1,".repeat(5_000_000);
    let header = format!(r#"{{"a":{{"dtype":"U8","shape":[{dims}1],"data_offsets":[0,1]}}}}"#);
    write(&dir.join("a.safetensors"), &header, 1);
    let message = "a.safetensors: not a safetensors header: tensor `a`: a shape of more dimensions than the \
                   limit of 64 at line 1 column 158";
    refused(&dir, &inspect, 64, message);
    // A million keys: 130 MiB.
    let keys: Vec<String> = (0..1_000_000).map(|n| format!(r#""{n}":"""#)).collect();
    write(&dir.join("a.safetensors"), &format!(r#"{{"__metadata__":{{{}}}}}"#, keys.join(",")), 0);
    refused(
        &dir,
        &inspect,
        64,
        "not a safetensors header: `__metadata__`: more than 65536 keys at line 1 column ",
    );
    // In the description of a pruned tensor.
    let described = String::from_utf8_lossy(&csr(1, 1, "zeros")[8..]).replace(r#"\"shape\":[1,1]"#, &{
        let mut many = r#"\"shape\":["#.to_owned();
        many.push_str(&dims[..2 * 100_000]);
        many + "1]"
    });
    let header = &described[..described.rfind('}').unwrap() + 1];
    write(&dir.join("a.safetensors"), header, 32);
    let message = "its `cdi_prune` metadata cannot be read: a shape of more dimensions than the limit of 64";
    refused(&dir, &["restore", "a.safetensors", "-o", "b.safetensors"], 64, message);
}

/// A file with a compressed description and nothing else.
fn described(dir: &Path, json: &str) {
    let deflated = STANDARD.encode(compress_to_vec(json.as_bytes(), 6));
    let header = format!(r#"{{"__metadata__":{{"cdi_prune":"deflate:{deflated}"}}}}"#);
    assert!(header.len() < 1 << 18);
    write(&dir.join("a.safetensors"), &header, 0);
}

#[test]
fn descriptions_that_inflate() {
    let (_keep, dir) = scratch();
    let restore = ["restore", "a.safetensors", "-o", "b.safetensors"];
    // 100 MiB in 136 kB.
    described(&dir, &" ".repeat(100 << 20));
    let message = "a.safetensors: its `cdi_prune` metadata cannot be read: it inflates to more than the 16777216 \
                   bytes allowed";
    refused(&dir, &restore, 64, message);
    // As many tensors as can be.
    let tensor = r#"{"name":"","dtype":"U8","shape":[],"format":"base"}"#;
    let all = vec![tensor; (1 << 24) / (tensor.len() + 1) - 2].join(",");
    let json = format!(r#"{{"version":1,"noise_version":1,"kind":"pruned","seed":1,"tensors":[{all}]}}"#);
    described(&dir, &json);
    let message = "it is, or begins from, a tensor of the file's base, which is not described";
    refused(&dir, &restore, 160, message);
}

#[test]
fn many_tensors() {
    let (_keep, dir) = scratch();
    // 200,000 of them: 118 MiB.
    let mut header = String::from("{");
    for n in 0..200_000 {
        let (from, to) = (16 * n, 16 * n + 16);
        let comma = if n > 0 { "," } else { "" };
        write!(
            header,
            r#"{comma}"layers.{n}.weight":{{"dtype":"F32","shape":[2,2],"data_offsets":[{from},{to}]}}"#
        )
        .unwrap();
    }
    write(&dir.join("a.safetensors"), &(header + "}"), 16 * 200_000);
    let answer = ask(&dir, &["inspect", "a.safetensors", "--format", "json"]);
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    assert!(answer.peak <= 90, "{} MiB", answer.peak);
    // As a table: 390 MiB.
    let table = ask(&dir, &["inspect", "a.safetensors"]);
    assert!(table.code == Some(0) && table.peak <= 160, "{} MiB", table.peak);
    let lines = fs::read_to_string(dir.join("stdout")).unwrap();
    assert!(lines.ends_with("200,000 tensors in 1 file, 3,200,000 bytes of data.\n"));
    assert_eq!(ask(&dir, &["inspect", "a.safetensors", "--format", "json"]).code, Some(0));
    let printed: serde_json::Value = serde_json::from_slice(&fs::read(dir.join("stdout")).unwrap()).unwrap();
    assert_eq!(printed["tensors"].as_array().unwrap().len(), 200_000);
    assert_eq!(printed["tensors"][7]["zeros"], 1.0);
}

#[test]
fn an_index_of_shards_that_are_not_there() {
    let (_keep, dir) = scratch();
    let index = |shards: usize| {
        let entries: Vec<String> = (0..shards).map(|n| format!(r#""t{n}":"s{n}.safetensors""#)).collect();
        let text = format!(r#"{{"weight_map":{{{}}}}}"#, entries.join(","));
        fs::write(dir.join("x.safetensors.index.json"), text).unwrap();
    };
    // A million: 14 s and 200 MiB.
    index(1_000_000);
    let begun = Instant::now();
    let message = "x.safetensors.index.json: shards in the index are missing (at least 100): `s0.safetensors`, \
                   `s1.safetensors`, `s2.safetensors` and 97 more; put them into the folder of the index";
    refused(&dir, &["inspect", "x.safetensors.index.json"], 100, message);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    index(3);
    let message = "x.safetensors.index.json: shards in the index are missing (3): `s0.safetensors`, `s1.safetensors`, \
                   `s2.safetensors`; put them into the folder of the index";
    refused(&dir, &["inspect", "x.safetensors.index.json"], 64, message);
}

#[test]
fn tensors_without_weights() {
    let (_keep, dir) = scratch();
    // Rows without columns were counted one by one, without end; columns of no row had 2^55
    // bytes of bits allocated.
    for shape in [[1u64 << 58, 0], [0, 1 << 58]] {
        let header = format!(r#"{{"w":{{"dtype":"F32","shape":{shape:?},"data_offsets":[0,0]}}}}"#);
        write(&dir.join("a.safetensors"), &header, 0);
        config(&dir, "a.safetensors");
        for args in [
            ["inspect", "a.safetensors"].as_slice(),
            &["analyze", "x.yaml"],
            &["run", "x.yaml"],
            &["run", "x.yaml", "--set", "prune.structure=columns"],
            &["run", "x.yaml", "--set", "prune={output: p.safetensors, format: dense}"],
        ] {
            let answer = ask(&dir, args);
            assert_eq!(answer.code, Some(0), "{shape:?} {args:?}: {}", answer.stderr);
            assert!(answer.peak <= 64, "{shape:?} {args:?}: {} MiB", answer.peak);
        }
    }
}

#[test]
fn one_row_of_very_many_columns() {
    let (_keep, dir) = scratch();
    // 2^28 columns, of which only the last is not 0: 290 MiB at a byte and a bit for each.
    let header = r#"{"w":{"dtype":"BF16","shape":[1,268435456],"data_offsets":[0,536870912]}}"#;
    write(&dir.join("a.safetensors"), header, 536_870_910);
    File::options().append(true).open(dir.join("a.safetensors")).unwrap().write_all(&[0x80, 0x3F]).unwrap();
    config(&dir, "a.safetensors");
    let answer = ask(&dir, &["analyze", "x.yaml", "--set", "analyze.report={json: r.json}"]);
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    assert!(answer.peak <= 128, "{} MiB", answer.peak);
    let report: serde_json::Value = serde_json::from_slice(&fs::read(dir.join("r.json")).unwrap()).unwrap();
    let tensor = &report["tensors"][0];
    for (key, value) in [
        ("sleeping_weights", 268_435_455),
        ("sleeping_columns", 268_435_455),
        ("sleeping_inputs", 268_435_455),
        ("sleeping_outputs", 0),
        ("sleeping_rows", 0),
    ] {
        assert_eq!(tensor[key], value, "{key}");
    }
}

#[test]
fn files_without_a_length() {
    let (_keep, dir) = scratch();
    // The whole address space, 8 bytes a page, in a file of 0 bytes: read until memory ended.
    let empty =
        "/proc/self/pagemap: not a safetensors file: 0 bytes, shorter than the 8 bytes of a header length";
    refused(&dir, &["inspect", "/proc/self/pagemap"], 64, empty);
    refused(&dir, &["inspect", "/proc/self/pagemap", "--no-mmap"], 64, empty);
}

#[test]
fn an_initial_checkpoint_beyond_any_disk() {
    let (_keep, dir) = scratch();
    // 2^58 elements of 64 bits are 2^64 bits: counted as no bytes, of which the first write left its tensor.
    // Eight of them are 2^64 bytes.
    for (tensors, bytes) in [("a: {shape: [288230376151711744], dtype: f64}", "2305843009213694"), {
        let all = (0..8).map(|n| format!("a{n}: {{shape: [288230376151711744], dtype: f64}}"));
        (&*all.collect::<Vec<_>>().join(", ").leak(), "18446744073709551615 ")
    }] {
        let text = format!(
            "seed: 1\nmodel: {{tensors: {{{tensors}}}}}\nrules: [{{match: '*', init: {{mode: ones}}}}]\n\
             init: {{output: i.safetensors}}\n"
        );
        fs::write(dir.join("x.yaml"), text).unwrap();
        refused(&dir, &["init", "x.yaml"], 64, &format!("i.safetensors: {bytes}"));
        let answer = ask(&dir, &["init", "x.yaml"]);
        assert!(answer.stderr.contains(" bytes are needed here, but only "), "{}", answer.stderr);
    }
    // Rank is a matter of the config.
    let dims = vec!["1"; 65].join(", ");
    let text = format!("seed: 1\nmodel: {{tensors: {{a: [{dims}]}}}}\ninit: {{output: i.safetensors}}\n");
    fs::write(dir.join("x.yaml"), text).unwrap();
    let answer = ask(&dir, &["init", "x.yaml"]);
    assert_eq!(answer.code, Some(2));
    assert!(answer.stderr.contains("a shape of at most 64 dimensions"), "{}", answer.stderr);
}
