//! Runs in parts on the command line: what each command prints, its exit codes, and what engines tell it.

use serde_json::Value;

use crate::common::{Ran, Scratch, f32s, succeeds};

const CONFIG: &str = "seed: 1
rules: [{match: '**', init: zeros}]
trained: {path: trained.safetensors}
analyze: {threshold: 0.25, report: {json: report.json}}
prune: {output: pruned.safetensors, format: bitmask}
gates: {}
";

fn scratch() -> Scratch {
    let s = Scratch::new();
    let values = |n: usize, by: f32| f32s(&(0..n).map(|i| i as f32 * by % 1.0).collect::<Vec<_>>());
    s.safetensors(
        "trained.safetensors",
        &[
            ("a", "F32", &[8, 4], values(32, 0.37)),
            ("b", "F32", &[10, 4], values(40, 0.61)),
            ("c", "F32", &[28], values(28, 0.83)),
        ],
    );
    s.write("x.yaml", CONFIG.replace("gates: {}\n", ""));
    s
}

#[track_caller]
fn fails(ran: &Ran, code: i32, message: &str) {
    assert_eq!((ran.code, ran.stderr.trim_end()), (code, message), "{ran:?}");
}

#[test]
fn from_the_plan_to_the_outputs() {
    let s = scratch();
    let plan = succeeds(&s, &["plan", "x.yaml", "--parts", "2", "--color", "never"]).stdout;
    assert!(plan.contains("│ 1/2         1    128 │\n│ 2/2         2    272 │"), "{plan}");
    assert!(
        plan.ends_with(
            "The largest part has 272 bytes, 136.0 % of the mean.\n\
             2 steps, each of them all parts and a merge: compare, write.\n"
        ),
        "{plan}"
    );
    let plan = succeeds(&s, &["plan", "x.yaml", "--parts", "2", "--format", "json"]).stdout;
    let plan: Value = serde_json::from_str(&plan).unwrap();
    assert_eq!((&plan["steps"][0], &plan["parts"][1]["bytes"]), (&"compare".into(), &272.into()));

    let printed = |args: &[&str]| succeeds(&s, args).stdout;
    fails(
        &s.run(&["merge", "x.yaml", "--parts", "2"]),
        1,
        "error: .pruned.safetensors.cdi-prune-parts/of-00002: there is no part of step 1 (`compare`) yet; run all 2 \
         parts, `cdi-prune run CONFIG --part I/2`, then merge again",
    );
    assert_eq!(printed(&["run", "x.yaml", "--part", "1/2"]), "Step 1 (`compare`): part 1 of 2 is done.\n");
    fails(
        &s.run(&["merge", "x.yaml", "--parts", "2"]),
        1,
        "error: .pruned.safetensors.cdi-prune-parts/of-00002: of the 2 parts of step 1 (`compare`), \
         2 is missing; run it again, then merge again",
    );
    assert_eq!(printed(&["run", "x.yaml", "--part", "2/2"]), "Step 1 (`compare`): part 2 of 2 is done.\n");
    assert_eq!(
        printed(&["run", "x.yaml", "--part", "2/2"]),
        "Step 1 (`compare`): part 2 of 2 was done before. It goes on when all parts are done and merged: \
         `cdi-prune merge`.\n"
    );
    assert_eq!(
        printed(&["merge", "x.yaml", "--parts", "2"]),
        "Step 1 (`compare`) is merged. Run all 2 parts again for step 2 (`write`).\n"
    );
    // An engine may do a merge again that was killed when it was done.
    let json = printed(&["merge", "x.yaml", "--parts", "2", "--format", "json"]);
    assert_eq!(json, "{\n  \"finished\": false,\n  \"merged\": \"compare\",\n  \"next\": \"write\"\n}\n");
    for part in ["1/2", "2/2"] {
        assert_eq!(printed(&["run", "x.yaml", "--part", part, "--quiet"]), "");
    }
    let alone = scratch();
    let expected = succeeds(&alone, &["run", "x.yaml"]).stdout;
    assert_eq!(printed(&["merge", "x.yaml", "--parts", "2"]), expected);
    for file in ["pruned.safetensors", "report.json"] {
        assert!(s.files()[file] == alone.files()[file], "{file}");
    }
    let nothing = "Nothing to do: the run is finished, and its outputs are there.\n";
    assert_eq!(printed(&["merge", "x.yaml", "--parts", "2"]), nothing);
    assert_eq!(printed(&["run", "x.yaml", "--part", "1/2"]), nothing);
    let json = printed(&["merge", "x.yaml", "--parts", "2", "--format", "json"]);
    assert_eq!(json, "{\n  \"finished\": true,\n  \"merged\": null,\n  \"next\": null\n}\n");
}

#[test]
fn a_merge_ends_like_a_run() {
    let s = scratch();
    s.write("x.yaml", CONFIG.replace("gates: {}", "gates: {max_output_bytes: 10}"));
    for _ in 0..2 {
        succeeds(&s, &["run", "x.yaml", "--part", "1/1"]);
        let ran = s.run(&["merge", "x.yaml", "--parts", "1"]);
        if ran.code == 0 {
            continue;
        }
        assert_eq!(ran.code, 4, "{ran:?}");
        assert!(s.path("pruned.safetensors").exists());
        return;
    }
    panic!("no gate has failed");
}

#[test]
fn before_training_the_initial_checkpoint_is_written_in_parts() {
    let s = scratch();
    let config =
        format!("{CONFIG}model: {{like: trained.safetensors}}\ninit: {{output: init.safetensors}}\n");
    let config = config.replace("gates: {}\n", "").replace("path: trained", "path: later");
    s.write("x.yaml", &config);
    for part in ["1/2", "2/2"] {
        succeeds(&s, &["run", "x.yaml", "--part", part]);
    }
    let ran = s.run(&["merge", "x.yaml", "--parts", "2"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stderr.contains("initial checkpoint: init.safetensors, 3 tensors"), "{}", ran.stderr);
    let alone = scratch();
    alone.write("x.yaml", config);
    assert_eq!(alone.run(&["run", "x.yaml"]).code, 3);
    assert!(s.files()["init.safetensors"] == alone.files()["init.safetensors"]);
}

#[test]
fn engines_name_the_part() {
    let s = scratch();
    let slurm =
        [("SLURM_ARRAY_TASK_ID", "4"), ("SLURM_ARRAY_TASK_MIN", "3"), ("SLURM_ARRAY_TASK_COUNT", "2")];
    let ran = s.run_with(&slurm, &["run", "x.yaml", "--part", "auto"]);
    assert_eq!(ran.stdout, "Step 1 (`compare`): part 2 of 2 is done.\n", "{ran:?}");
    let kubernetes = [("JOB_COMPLETION_INDEX", "0")];
    let ran = s.run_with(&kubernetes, &["run", "x.yaml", "--parts", "2"]);
    assert_eq!(ran.stdout, "Step 1 (`compare`): part 1 of 2 is done.\n", "{ran:?}");
    fails(
        &s.run(&["run", "x.yaml", "--parts", "2"]),
        2,
        "error: neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX is set: this is no task of a Slurm \
         array, and no pod of a Kubernetes Indexed Job; name the part: --part I/N",
    );
    fails(
        &s.run_with(&kubernetes, &["run", "x.yaml", "--part", "auto"]),
        2,
        "error: a Kubernetes Job does not say how many completions it has; add --parts N",
    );
    fails(
        &s.run_with(&slurm, &["run", "x.yaml", "--parts", "16"]),
        2,
        "error: the Slurm array has 2 tasks, and --parts says 16; to run only some of the parts, name \
         each: --part $SLURM_ARRAY_TASK_ID/16",
    );
}

#[test]
fn wrong_usage() {
    let s = scratch();
    for (args, word) in [
        (&["run", "x.yaml", "--part", "0/4"][..], "expected I/N with 1 ≤ I ≤ N ≤ 10000"),
        (&["run", "x.yaml", "--part", "5/4"], "expected I/N"),
        (&["run", "x.yaml", "--part", "1/2", "--force"], "cannot be used with"),
        (&["run", "x.yaml", "--part", "1/2", "--dry-run"], "cannot be used with"),
        (&["run", "x.yaml", "--parts-folder", "there"], "required"),
        (&["merge", "x.yaml"], "--parts <N>"),
        (&["merge", "x.yaml", "--parts", "0"], "expected a number of parts from 1 to 10000"),
        (&["plan", "x.yaml", "--parts", "2", "--time"], "cannot be used with"),
    ] {
        let ran = s.run(args);
        assert!(ran.code == 2 && ran.stderr.contains(word), "{args:?}: {ran:?}");
    }
    let ran = s.run(&["run", "x.yaml", "--part", "1/2", "--parts", "3"]);
    fails(&ran, 2, "error: --part names 2 parts, and --parts 3");
    s.write(
        "tune.yaml",
        format!(
            "{CONFIG}tune: {{search: {{sparsity: [0.5]}}, command: 'true', cache: cache, max_drop: 1}}\n"
        ),
    );
    assert_eq!(s.run(&["run", "tune.yaml", "--part", "1/2"]).code, 2);
}

#[test]
fn parts_of_other_runs_are_named() {
    let s = scratch();
    for part in ["1/2", "2/2"] {
        succeeds(&s, &["run", "x.yaml", "--part", part]);
    }
    let merge = ["merge", "x.yaml", "--parts", "2", "--set", "analyze.threshold=0.5"];
    fails(
        &s.run(&merge),
        1,
        "error: .pruned.safetensors.cdi-prune-parts/of-00002/1-compare.part-00001: made with another \
         config or other `--set` overrides; give all parts and the merge the same, and run this part again",
    );
    s.tamper("trained.safetensors", |_, data| data[0] ^= 1);
    fails(
        &s.run(&["merge", "x.yaml", "--parts", "2"]),
        1,
        "error: .pruned.safetensors.cdi-prune-parts/of-00002/1-compare.part-00001: made from other \
         input files than those that the config names now; run this part again, once all parts read the same files",
    );
    // A folder of one's own.
    for part in ["1/2", "2/2"] {
        succeeds(&s, &["run", "x.yaml", "--part", part, "--parts-folder", "there"]);
    }
    succeeds(&s, &["merge", "x.yaml", "--parts", "2", "--parts-folder", "there"]);
    assert!(s.path("there/of-00002/1-compare.merged").exists());
}
