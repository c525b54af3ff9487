//! Memory use stays the same at any size of checkpoint, mapped pages counted: read from the kernel's own
//! count of the process's peak.
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Largest resident set of the program so far, in MiB, as it says itself at its end.
fn peak(dir: &Path, args: &[&str]) -> u64 {
    let mut child = Command::new(env!("CARGO_BIN_EXE_cdi-prune"))
        .args(args)
        .arg("--quiet")
        .current_dir(dir)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // The count is gone with the process, so it is read while that runs; a peak never sinks.
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let code = loop {
        if let Some(line) = fs::read_to_string(&status).ok().as_deref().and_then(high_water) {
            peak = peak.max(line);
        }
        if let Some(code) = child.try_wait().unwrap() {
            break code;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    assert!(code.success(), "{args:?}");
    assert!(peak > 0, "{args:?} was never seen");
    peak / 1024
}

fn high_water(status: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn a_checkpoint_many_times_larger_than_the_limit() {
    // 320 MiB in one tensor; with all of its pages kept, each stage but `init` would peak above that.
    const LIMIT: u64 = 100;
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::write(
        dir.join("x.yaml"),
        "seed: 1
model: {tensors: {w: [20480, 4096]}}
rules: [{match: w, init: {mode: uniform, low: 0, high: 1}}]
init: {output: init.safetensors}
trained: {path: trained.safetensors}
analyze: {threshold: 0.25, report: {json: report.json}}
prune: {output: pruned.safetensors, format: bitmask, fill: init, any_start: true}
",
    )
    .unwrap();
    let at_init = peak(dir, &["init", "x.yaml"]);
    assert!(at_init <= LIMIT, "init: {at_init} MiB");
    // The noise of another seed is a trained checkpoint that has moved almost everywhere.
    fs::rename(dir.join("init.safetensors"), dir.join("trained.safetensors")).unwrap();
    for args in [
        ["analyze", "x.yaml", "--set", "seed=2"].as_slice(),
        &["prune", "x.yaml", "--set", "seed=2"],
        &["run", "x.yaml", "--set", "seed=2"],
        // Ranked, with the bins of a histogram and the candidates of its last bin in memory.
        &[
            "run",
            "x.yaml",
            "--set",
            "prune={output: a, criterion: movement, target: {sparsity: 0.7}, scope: global}",
        ],
        &["run", "x.yaml", "--set", "prune={output: a, criterion: magnitude, target: {bytes: 100MB}}"],
        &[
            "run",
            "x.yaml",
            "--set",
            "prune={output: a, criterion: magnitude, structure: rows, target: {keep: 9}}",
        ],
        &["restore", "pruned.safetensors", "-o", "back.safetensors"],
        &["inspect", "pruned.safetensors"],
    ] {
        let peak = peak(dir, args);
        assert!(peak <= LIMIT, "{args:?}: {peak} MiB");
    }
}
