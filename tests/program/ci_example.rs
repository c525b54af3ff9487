//! The example workflow is YAML of the form that GitHub Actions reads, and what it runs works.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::common::{Scratch, root};

fn workflow() -> Value {
    serde_yaml::from_str(&fs::read_to_string(root().join("examples/ci/compression.yml")).unwrap()).unwrap()
}

fn steps(workflow: &Value) -> &Vec<Value> {
    let jobs = workflow["jobs"].as_object().unwrap();
    assert_eq!(jobs.keys().collect::<Vec<_>>(), ["compress"]);
    workflow["jobs"]["compress"]["steps"].as_array().unwrap()
}

/// A checkout of the example, with the artifact that the training job uploaded.
fn checkout() -> Scratch {
    let s = Scratch::new();
    s.write("examples/ci/model.yaml", fs::read(root().join("examples/ci/model.yaml")).unwrap());
    let trained = fs::read(root().join("examples/data/mlp_pad_sgd/trained.safetensors")).unwrap();
    s.write("examples/ci/trained/model.safetensors", trained);
    s.write("tmp/keep", "");
    s
}

/// A script in the folder, as a step runs it.
fn sh(s: &Scratch, script: &str) -> (String, i32) {
    let program = Path::new(env!("CARGO_BIN_EXE_cdi-prune")).parent().unwrap();
    let path = std::env::join_paths(
        std::iter::once(program.to_owned())
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    );
    let output = Command::new("sh")
        .args(["-e", "-c", script])
        .current_dir(s.path(""))
        .env("PATH", path.unwrap())
        .env("GITHUB_STEP_SUMMARY", s.path("summary.md"))
        .env("RUNNER_TEMP", s.path("tmp"))
        .env_remove("CDI_PRUNE_LOG")
        .output()
        .unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.code().unwrap())
}

#[test]
fn every_step_runs() {
    let (s, workflow) = (checkout(), workflow());
    let mut commands = 0;
    for step in steps(&workflow) {
        let Some(script) = step["run"].as_str().filter(|script| !script.starts_with("cargo install")) else {
            assert!(step["uses"].is_string() || step["run"].is_string(), "{step}");
            continue;
        };
        let (stdout, code) = sh(&s, script);
        assert_eq!(code, 0, "{script}\n{stdout}");
        commands += script.matches("cdi-prune ").count();
        if script.contains("--format github") {
            assert_eq!(
                stdout.lines().filter(|line| line.starts_with("::notice title=")).count(),
                5,
                "{stdout}"
            );
        }
    }
    assert_eq!(commands, 4);
    assert!(fs::read_to_string(s.path("summary.md")).unwrap().contains("## Gates"));
    assert!(s.path("tmp/restored.safetensors").exists());
    let upload = steps(&workflow).last().unwrap();
    assert!(upload["uses"].as_str().unwrap().starts_with("actions/upload-artifact@"));
    let paths: Vec<&str> = upload["with"]["path"].as_str().unwrap().lines().collect();
    assert_eq!(paths.len(), 3);
    for path in paths {
        assert!(s.path(path).exists(), "{path}");
    }
}

#[test]
fn a_failed_gate_fails_its_step() {
    let s = checkout();
    let workflow = workflow();
    let compress = steps(&workflow)
        .iter()
        .find_map(|step| step["run"].as_str().filter(|script| script.contains("--format github")));
    let script = format!("{} --set gates.max_output_bytes=100kB", compress.unwrap().trim());
    let (stdout, code) = sh(&s, &script);
    assert_eq!(code, 4, "{stdout}");
    assert!(
        stdout.contains("\n::error title=cdi-prune%3A max_output_bytes failed::max_output_bytes: "),
        "{stdout}"
    );
    assert!(s.path("examples/ci/out/pruned.safetensors").exists());
}
