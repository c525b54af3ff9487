//! The program's face: what leaves it for a terminal or a log, whatever names and paths hold; the widths of
//! its tables; its help.

use std::fs;

use serde_json::Value;

use crate::common::{Ran, Scratch, Tensor, f32s};

/// A name that ends a line, begins a workflow command, colours a terminal, titles its window and turns
/// the line's direction.
const NAME: &str = "a\n::error title=x::y\r##[error]\u{1b}[31m\u{1b}]0;t\u{7}\u{202e}\u{2028}.weight";
/// The same as it is shown.
const SHOWN: &str = r"a\n::error title=x::y\r##\u{5b}error]\u{1b}[31m\u{1b}]0;t\u{7}\u{202e}\u{2028}.weight";

fn weight(name: &str) -> Tensor<'_> {
    (name, "F32", &[2, 4], f32s(&[1.0, 2.0, f32::NAN, 4.0, 5.0, 6.0, 7.0, 8.0]))
}

/// A config about a tensor of that name, and its trained checkpoint.
fn hostile() -> Scratch {
    let s = Scratch::new();
    s.safetensors("t.safetensors", &[weight(NAME)]);
    configure(&s, "t.safetensors", "p.safetensors", "gates: {finite: true, max_output_bytes: 10}");
    s
}

fn configure(s: &Scratch, trained: &str, output: &str, gates: &str) {
    let text = |text: &str| serde_json::to_string(text).unwrap();
    s.write(
        "x.yaml",
        format!(
            "seed: 1\nrules: [{{match: '**', init: none, optional: true}}]\ntrained: {{path: {}}}\nanalyze: {{report: {{json: r.json}}}}\n\
             prune: {{output: {}, criterion: magnitude, target: {{sparsity: 0.5}}}}\n{gates}\n",
            text(trained),
            text(output)
        ),
    );
}

/// A line without the sequences that set colours.
fn uncoloured(line: &str) -> String {
    let mut parts = line.split("\u{1b}[");
    let mut plain = parts.next().unwrap().to_owned();
    for part in parts {
        let (_, rest) = part.split_once('m').unwrap();
        plain += if part.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').starts_with('m') {
            rest
        } else {
            panic!("{line:?}")
        };
    }
    plain
}

/// Nothing that a terminal or a workflow's log would obey but the program's own line breaks,
/// colours and annotations.
#[track_caller]
fn is_safe(ran: &Ran) {
    for line in ran.stdout.lines().chain(ran.stderr.lines()) {
        let plain = uncoloured(line);
        let own =
            plain.starts_with("::error title=cdi-prune") || plain.starts_with("::warning title=cdi-prune");
        assert!(own || !plain.trim_start().starts_with("::"), "{line:?}");
        assert!(!plain.contains("##["), "{line:?}");
        let odd = |c: char| c.is_control() || matches!(c, '\u{202e}' | '\u{2028}');
        assert!(!plain.contains(odd), "{line:?}");
    }
}

#[test]
fn names_are_shown_and_not_obeyed() {
    let s = hostile();
    let safe = |args: &[&str], code: i32, shown: bool| {
        let ran = s.run(args);
        is_safe(&ran);
        assert_eq!(ran.code, code, "{args:?} {ran:?}");
        assert_eq!(shown, ran.stdout.contains(SHOWN) || ran.stderr.contains(SHOWN), "{args:?} {ran:?}");
        ran
    };
    safe(&["inspect", "t.safetensors"], 0, true);
    safe(&["plan", "x.yaml", "--color", "always"], 0, true);
    safe(&["run", "x.yaml", "--full", "--color", "always"], 4, true);
    let ran = safe(&["run", "x.yaml", "--full", "--format", "github"], 4, true);
    assert!(
        ran.stdout.contains(&format!("::error title=cdi-prune%3A finite failed::finite, {SHOWN}: 1 not"))
    );
    safe(&["compare", "r.json", "r.json", "--full"], 0, true);
    // JSON and Markdown have their own way to write them.
    for format in ["json", "markdown"] {
        safe(&["compare", "r.json", "r.json", "--format", format], 0, false);
    }
    let inspected = safe(&["inspect", "t.safetensors", "--format", "json"], 0, false);
    let inspected: Value = serde_json::from_str(&inspected.stdout).unwrap();
    assert_eq!(inspected["tensors"][0]["name"], NAME);
    // Errors that quote tensors, patterns, config text and overrides.
    safe(&["run", "x.yaml", "--set", "rules=[{match: b, init: none}]"], 1, true);
    safe(&["run", "x.yaml", "--set", &format!("prune.rules=[{{match: {NAME:?}, keep: 1}}]")], 2, true);
    safe(&["run", "x.yaml", "--set", &format!("{NAME}=1")], 2, true);
    safe(&["run", "x.yaml", &format!("--threads={NAME}")], 2, true);
    safe(&["run", "x.yaml", NAME], 2, true);
    // As a key of the config; YAML takes U+2028 for a line break.
    let key = serde_json::to_string(&NAME.replace('\u{2028}', "")).unwrap();
    s.write("x.yaml", fs::read_to_string(s.path("x.yaml")).unwrap() + &format!("{key}: 1\n"));
    let ran = s.run(&["plan", "x.yaml"]);
    is_safe(&ran);
    assert!(ran.code == 2 && ran.stderr.contains(&SHOWN.replace(r"\u{2028}", "")), "{ran:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn paths_are_shown_and_not_obeyed() {
    let s = hostile();
    let file = NAME.replace("title=x::y", "x");
    let shown = SHOWN.replace("title=x::y", "x");
    s.safetensors(&file, &[weight("w")]);
    configure(&s, &file, &format!("{file}.safetensors"), "manifest: m.json");
    for (args, code) in [
        (&["run", "x.yaml"][..], 0),
        (&["restore", &format!("{file}.safetensors"), "-o", &format!("{file}.dense")], 0),
        (&["verify", &format!("{file}.json")], 1),
        (&["inspect", &format!("{file}.none")], 1),
        (&["plan", &format!("{file}.none")], 2),
        (&["new", &file, "-o", &format!("{file}.yaml")], 0),
        (&["new", &file, "-o", &format!("{file}.yaml")], 2),
    ] {
        let ran = s.run(args);
        is_safe(&ran);
        assert_eq!(ran.code, code, "{args:?} {ran:?}");
        assert!((ran.stdout + &ran.stderr).contains(&shown), "{args:?}");
    }
    fs::remove_file(s.path(&file)).unwrap();
    for (args, code) in [(["verify", "m.json"], 0), (["run", "x.yaml"], 3)] {
        let ran = s.run(&args);
        is_safe(&ran);
        assert_eq!(ran.code, code, "{args:?} {ran:?}");
        assert!((ran.stdout + &ran.stderr).contains(&shown), "{args:?}");
    }
}

/// Each line of standard error as JSON: level, message, exit code.
#[track_caller]
fn log(ran: &Ran) -> Vec<(String, String, Option<i64>)> {
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let fields = &line["fields"];
        (text(&line["level"]), text(&fields["message"]), fields["exit_code"].as_i64())
    };
    ran.stderr.lines().map(line).collect()
}

#[test]
fn every_line_of_a_json_log_is_json() {
    let s = hostile();
    let logged = |args: &[&str], code: i32| {
        let ran = s.run(&[args, &["--log-format", "json"]].concat());
        assert_eq!(ran.code, code, "{ran:?}");
        log(&ran)
    };
    let error = |message: &str, code: i32| ("ERROR".to_owned(), message.to_owned(), Some(i64::from(code)));
    assert_eq!(
        logged(&["inspect", "none.safetensors"], 1),
        [error("none.safetensors: cannot open: No such file or directory (os error 2)", 1)]
    );
    assert_eq!(
        logged(&["run", "x.yaml", "--set", "prune.target={sparsity: 2}"], 2),
        [error(
            "--set prune.target={sparsity: 2}: `prune.target.sparsity`: expected a number from 0 to 1, got 2",
            2
        )]
    );
    let gates = logged(&["run", "x.yaml"], 4);
    let words: Vec<_> = gates.iter().map(|(level, message, _)| (level.as_str(), message.as_str())).collect();
    let finite = format!("finite, {SHOWN}: 1 not finite, limit at most 0");
    let bytes = gates[1].1.strip_prefix("Gate FAILED: ").unwrap();
    assert!(bytes.starts_with("max_output_bytes: "), "{bytes}");
    assert_eq!(words[0], ("INFO", "report: r.json"));
    assert_eq!(words[2], ("ERROR", format!("Gate FAILED: {finite}").as_str()));
    assert_eq!(
        gates[3],
        error(&format!("2 of 2 gates failed; all outputs were written:\n  {bytes}\n  {finite}"), 4)
    );
    assert_eq!(gates.len(), 4);
    // What clap says, before and after the flag is read.
    for args in [
        &["run", "--thread", "2"][..],
        &["prun"],
        &["run"],
        &["restore", "a", "-o", "b", "--max-shard-size", "5G"],
    ] {
        let said = logged(args, 2);
        assert_eq!((said.len(), said[0].0.as_str(), said[0].2), (1, "ERROR", Some(2)), "{said:?}");
    }
    // Training has to come first: that is no error.
    fs::remove_file(s.path("t.safetensors")).unwrap();
    let said = logged(&["run", "x.yaml"], 3);
    assert_eq!((said.len(), said[0].0.as_str(), said[0].2), (1, "INFO", Some(3)), "{said:?}");
    assert_eq!(logged(&["schema"], 0), []);
}

#[test]
#[cfg(unix)]
fn threads_that_cannot_start_are_an_error() {
    let s = hostile();
    for (threads, said) in [("1025", "1025 is not in 1..=1024"), ("100000", "100000 is not in 1..=1024")] {
        let ran = s.run(&["inspect", "t.safetensors", "--threads", threads]);
        assert_eq!(ran.code, 2);
        assert!(
            ran.stderr
                .starts_with(&format!("error: invalid value '{threads}' for '--threads <N>': {said}\n"))
        );
    }
    // 1024 stacks do not fit into 400 MB of address space, with the flag or with rayon's own variable.
    for threads in ["--threads 1024", ""] {
        let command = format!(
            "ulimit -v 400000; exec {} inspect t.safetensors {threads}",
            env!("CARGO_BIN_EXE_cdi-prune")
        );
        let run = || {
            let output = std::process::Command::new("sh")
                .args(["-c", &command])
                .env("RAYON_NUM_THREADS", "4000")
                .current_dir(s.path(""))
                .output()
                .unwrap();
            (output.status, String::from_utf8(output.stderr).unwrap())
        };
        // Rarely, what does not fit is the signal stack of a thread that has just started: a panic of the
        // standard library, which nothing can turn into an error.
        let (status, said) =
            (0..5).map(|_| run()).find(|(_, said)| !said.contains("stack_overflow.rs")).unwrap();
        assert!(said.starts_with("error: cannot start 1024 threads: "), "{said}");
        assert!(said.ends_with("; use fewer with `--threads`\n"), "{said}");
        assert_eq!(status.code(), Some(1));
    }
}

/// A model with long names, compared and pruned.
fn long_names() -> Scratch {
    let s = Scratch::new();
    let names =
        ["q_proj", "o_proj"].map(|kind| format!("model.language_model.layers.0.self_attn.{kind}.weight"));
    let tensors: Vec<Tensor<'_>> =
        names.iter().map(|name| (name.as_str(), "F32", &[64, 64][..], f32s(&[0.25; 4096]))).collect();
    s.safetensors("t.safetensors", &tensors);
    s.write(
        "x.yaml",
        "seed: 1\nrules: [{match: '**', init: he}]\ntrained: {path: t.safetensors}\nanalyze: {report: {json: r.json}}\n\
         prune: {output: p.safetensors, criterion: magnitude, target: {sparsity: 0.5}}\n",
    );
    s
}

const LEFT_OUT: &str = "Left out to fit 80 columns: ";

#[test]
fn tables_fit_the_terminal() {
    let s = long_names();
    let table = |args: &[&str], columns: &str| {
        let variables = [("COLUMNS", columns)];
        let ran = s.run_with(if columns.is_empty() { &[] } else { &variables }, args);
        assert_eq!(ran.code, 0, "{ran:?}");
        let frame = |line: &&str| line.starts_with(['┌', '│', '╞', '└']);
        let widest = ran.stdout.lines().filter(frame).map(|line| line.chars().count()).max().unwrap();
        let left_out =
            ran.stdout.lines().find(|line| line.starts_with("Left out")).unwrap_or_default().to_owned();
        (widest, left_out)
    };
    s.run(&["run", "x.yaml"]);
    let run = ["analyze", "x.yaml"];
    let compare = ["compare", "r.json", "r.json"];
    let (plan, inspect) = (["plan", "x.yaml"], ["inspect", "t.safetensors"]);
    for columns in [80, 60, 40] {
        for args in [&run[..], &compare, &plan, &inspect] {
            let (widest, said) = table(args, &columns.to_string());
            assert!(widest <= columns, "{args:?}: {widest}");
            assert!(
                args == inspect || said.starts_with(&format!("Left out to fit {columns} columns: ")),
                "{said}"
            );
        }
    }
    let said = |args: &[&str]| table(args, "80").1.strip_prefix(LEFT_OUT).map(str::to_owned);
    assert_eq!(
        said(&run).unwrap(),
        "shape, outputs asleep, inputs asleep, P50 |delta|, P99 |delta|, max |delta|, std now / start. Use \
         --full to show all."
    );
    assert_eq!(said(&plan).unwrap(), "type, shape, rule, layer id, dense bytes. Use --full to show all.");
    assert_eq!(said(&inspect).unwrap(), "type. Use --full to show all.");
    // As wide as it takes: with --full; and of what one looks a name up in, where no width is known.
    for args in [&run[..], &compare, &plan, &inspect] {
        let full = table(&[args, &["--full"]].concat(), "40");
        assert!(full.0 > 80 && full.1.is_empty(), "{args:?} {full:?}");
    }
    assert_eq!(table(&plan, ""), table(&[&plan[..], &["--full"]].concat(), ""));
    // In a log a table is 120 columns wide, whatever the machine.
    let (widest, said) = table(&run, "");
    assert!(widest <= 120 && said.starts_with("Left out to fit 120 columns: "), "{widest} {said}");
    for more in [
        &["--rows", "64", "--cols", "64"][..],
        &["--compare-modes"],
        &["--show-dist", "--at", "1,1"],
        &["--test-repro"],
    ] {
        let (widest, _) = table(&[&["matrix"], more].concat(), "80");
        assert!(widest <= 80, "{more:?}: {widest}");
    }
    // What is no width is none.
    assert_eq!(table(&run, "wide"), table(&run, ""));
}

#[test]
fn help_is_short_or_long() {
    let s = Scratch::new();
    let commands = [
        "",
        "run",
        "init",
        "analyze",
        "prune",
        "plan",
        "restore",
        "pack",
        "inspect",
        "matrix",
        "new",
        "compare",
        "schema",
        "completions",
        "verify",
    ];
    for command in commands {
        let help = |flag: &str| {
            let args = [command, flag];
            let ran = s.run(&args[usize::from(command.is_empty())..]);
            assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
            ran.stdout
        };
        let (short, long) = (help("-h"), help("--help"));
        assert!(short.contains("\nGlobal: --threads N, --quiet, --no-progress, "), "{short}");
        assert!(!short.contains("Example") && !short.contains("--follow-links\n"), "{short}");
        assert!(long.contains(if command.is_empty() { "Exit codes:" } else { "Example" }), "{long}");
        assert!(long.contains("--follow-links\n") && !long.contains("Global: "), "{long}");
        assert!(short.len() < long.len(), "{command}");
    }
}
