//! Reports that people look at: tables, warnings, verdicts, Markdown and CSV, from checkpoints small enough
//! to count by hand, and from the shipped ones.

use crate::common::{Ran, Scratch, Tensor, f32s, succeeds};

/// Four rows of six weights that start at 1 … 24. Training added 1, but row 1 and the columns 2 and 5 sleep
/// whole, and so do (0, 0) and (3, 1) by themselves: 6 + 2 * 3 + 2 = 14.
fn matrix() -> (Tensor<'static>, Tensor<'static>) {
    let start: Vec<f32> = (1..=24).map(|n| n as f32).collect();
    let sleeps = |row: usize, column: usize| {
        row == 1 || column == 2 || column == 5 || [(0, 0), (3, 1)].contains(&(row, column))
    };
    let trained: Vec<f32> =
        start.iter().enumerate().map(|(n, w)| w + if sleeps(n / 6, n % 6) { 0.0 } else { 1.0 }).collect();
    (("a.weight", "F32", &[4, 6], f32s(&start)), ("a.weight", "F32", &[4, 6], f32s(&trained)))
}

/// A convolution of 2 filters over 3 channels with kernels of 2 x 2, in PyTorch's order. Channel 1 sleeps
/// whole: 2 * 4 weights; and so does the first weight of all by itself.
fn out_in() -> (Tensor<'static>, Tensor<'static>) {
    let start: Vec<f32> = (1..=24).map(|n| n as f32).collect();
    let trained: Vec<f32> =
        (0..24).map(|n| start[n] + if n / 4 % 3 == 1 || n == 0 { 0.0 } else { 1.0 }).collect();
    (("b.conv", "F32", &[2, 3, 2, 2], f32s(&start)), ("b.conv", "F32", &[2, 3, 2, 2], f32s(&trained)))
}

/// The same in Keras' order, height, width, channels, filters. Channel 2 sleeps whole, 4 * 2 weights, and
/// filter 1, 4 * 3 weights, of which 4 are the channel's too; and so does the first weight by itself: 17.
fn in_out() -> (Tensor<'static>, Tensor<'static>) {
    let start: Vec<f32> = (1..=24).map(|n| n as f32).collect();
    let trained: Vec<f32> =
        (0..24).map(|n| start[n] + if n / 2 % 3 == 2 || n % 2 == 1 || n == 0 { 0.0 } else { 1.0 }).collect();
    (("c.kernel", "F32", &[2, 2, 3, 2], f32s(&start)), ("c.kernel", "F32", &[2, 2, 3, 2], f32s(&trained)))
}

/// A checkpoint that starts from another one, so that every number is known.
fn scratch(tensors: Vec<(Tensor<'_>, Tensor<'_>)>) -> Scratch {
    let s = Scratch::new();
    let (base, trained): (Vec<_>, Vec<_>) = tensors.into_iter().unzip();
    s.safetensors("base.safetensors", &base);
    s.safetensors("trained.safetensors", &trained);
    s.write(
        "x.yaml",
        "seed: 1\n\
         rules:\n\
         \x20 - {match: '**.kernel', init: {from: base.safetensors}, layout: in_out, optional: true}\n\
         \x20 - {match: '**', init: {from: base.safetensors}}\n\
         trained: {path: trained.safetensors}\n\
         analyze: {threshold: 0, report: {json: r.json, csv: r.csv, markdown: r.md}}\n\
         prune: {output: pruned.safetensors, fill: zero, format: sparse}\n",
    );
    s
}

fn text(s: &Scratch, file: &str) -> String {
    std::fs::read_to_string(s.path(file)).unwrap()
}

/// 14, 9 and 17 of the sleeping weights lie where the functions above say; means, deviations and the share of
/// the squared norm from NumPy.
#[test]
fn the_table_of_a_run() {
    let s = scratch(vec![matrix(), out_in(), in_out()]);
    let ran = succeeds(&s, &["run", "x.yaml"]);
    assert_eq!(
        ran.stdout,
        "\
┌───────────────────────────────────────────────────────────────────────────────────────────────────────────────────┐
│ tensor    shape    weights  sleeping     %            outputs  inputs      P50      P99      max  std now  pruned │
│                                                        asleep  asleep  |delta|  |delta|  |delta|  / start         │
╞═══════════════════════════════════════════════════════════════════════════════════════════════════════════════════╡
│ a.weight  4x6           24        14  58.3  ████▋···        1       2        0   1.00e0   1.00e0     1.01      14 │
│ b.conv    2x3x2x2       24         9  37.5  ███·····        0       1   1.00e0   1.00e0   1.00e0     1.01       9 │
│ c.kernel  2x2x3x2       24        17  70.8  █████▋··        1       1        0   1.00e0   1.00e0     1.00      17 │
│ total                   72        40  55.6  ████▌···        2       4                     1.00e0               40 │
└───────────────────────────────────────────────────────────────────────────────────────────────────────────────────┘
WARNING: Set to zero: 40 weights by sleeping, none of them changed by training; this removes 49.3 % of the squared \
norm of the pruned tensors. 4 sleep outside inputs and outputs whose weights all sleep, so something may read them. \
Measure the model, or use `fill: init`.
40 of 72 weights (55.6 %) are sleeping: they still have exactly their initial value.
Pruned file: pruned.safetensors, 1,448 bytes, 287.3 % of the trained file's 504.
"
    );
    let report: serde_json::Value = serde_json::from_str(&text(&s, "r.json")).unwrap();
    let scattered: Vec<u64> =
        (0..3).map(|n| report["tensors"][n]["sleeping_scattered"].as_u64().unwrap()).collect();
    assert_eq!((report["fill"].as_str(), scattered), (Some("zero"), vec![2, 1, 1]));
}

/// Which weights went by magnitude, NumPy says too: the 12 smallest of each tensor.
#[test]
fn what_other_criteria_zero_is_said() {
    let s = scratch(vec![matrix(), out_in()]);
    let by_magnitude = ["--set", "prune.criterion=magnitude", "--set", "prune.target={sparsity: 0.5}"];
    let run = |more: &[&str]| -> (Ran, serde_json::Value) {
        let ran = succeeds(&s, &[&["run", "x.yaml"], &by_magnitude[..], more].concat());
        (ran, serde_json::from_str(&text(&s, "r.json")).unwrap())
    };
    let warning = |ran: &Ran| ran.stdout.lines().find(|line| line.starts_with("WARNING")).map(str::to_owned);
    let (ran, report) = run(&[]);
    assert_eq!(
        warning(&ran).unwrap(),
        "WARNING: Set to zero: 24 weights by magnitude, 10 of them changed by training; this removes 13.7 % \
         of the squared norm of the pruned tensors. Up to 3 sleep outside inputs and outputs whose weights \
         all sleep, so something may read them. Measure the model, or use `fill: init`."
    );
    let keys = |at: &serde_json::Value| {
        ["criterion", "pruned_changed_weights", "pruned_norm_share"].map(|key| at[key].to_string())
    };
    assert_eq!(keys(&report["tensors"][0]), ["\"magnitude\"", "3", "0.1303088803088803"]);
    assert_eq!(keys(&report["tensors"][1]), ["\"magnitude\"", "7", "0.14285714285714285"]);
    assert_eq!(keys(&report["totals"]), ["null", "10", "0.1366625369293815"]);
    let files =
        ["trained.safetensors", "pruned.safetensors"].map(|file| s.path(file).metadata().unwrap().len());
    let totals = &report["totals"];
    assert_eq!([&totals["trained_bytes"], &totals["pruned_bytes"]].map(|n| n.as_u64().unwrap()), files);
    assert_eq!(totals["pruned_bytes_share"].as_f64().unwrap(), files[1] as f64 / files[0] as f64);
    let share = format!("Pruned file: {} bytes, ", cdi_prune::text::thousands(files[1]));
    assert!(
        text(&s, "r.md").contains(&format!("\n{share}"))
            && text(&s, "r.md").contains("24 weights by `magnitude`, 10")
    );

    // A tensor by another criterion; one of which nothing is known.
    let rules = "prune.rules=[{match: b.conv, criterion: sleeping, target: threshold}]";
    let unknown = "rules=[{match: a.weight, init: none}, {match: '**', init: {from: base.safetensors}}]";
    let (ran, report) = run(&["--set", rules, "--set", unknown]);
    assert_eq!(
        warning(&ran).unwrap(),
        "WARNING: Set to zero: 12 weights by magnitude, and it is unknown which of them training changed; 9 \
         weights by sleeping, none of them changed by training; this removes 21.2 % of the squared norm of \
         the pruned tensors. 1 sleeps outside inputs and outputs whose weights all sleep, so something may \
         read it. Measure the model, or use `fill: init`."
    );
    assert_eq!(report["tensors"][0]["pruned_changed_weights"], serde_json::Value::Null);
    // Nothing is zeroed by another fill.
    let (ran, report) = run(&["--set", "prune.fill=init"]);
    assert_eq!((warning(&ran), &report["totals"]["pruned_changed_weights"]), (None, &serde_json::json!(10)));
}

#[test]
fn colour_is_for_terminals() {
    let s = scratch(vec![matrix()]);
    let plain = succeeds(&s, &["analyze", "x.yaml"]).stdout;
    assert!(!plain.contains('\u{1b}'));
    assert_eq!(succeeds(&s, &["analyze", "x.yaml", "--color", "never"]).stdout, plain);
    let colored = succeeds(&s, &["analyze", "x.yaml", "--color", "always"]).stdout;
    // The bar in bright cyan, and nothing but styles between the two.
    assert!(colored.contains("\u{1b}[38;5;14m████▋···"), "{colored:?}");
    let mut rest = colored.as_str();
    let mut without = String::new();
    while let Some((before, style)) = rest.split_once("\u{1b}[") {
        without.push_str(before);
        rest = style.split_once('m').unwrap().1;
    }
    assert_eq!(without + rest, plain);
}

#[test]
fn initial_fill_needs_no_warning() {
    let s = scratch(vec![matrix()]);
    let ran = succeeds(&s, &["run", "x.yaml", "--set", "prune.fill=init"]);
    assert!(!ran.stdout.contains("WARNING"), "{}", ran.stdout);
}

/// Two of sixteen weights NaN and one infinite; 16 weights that shrank to a twentieth, 16 that grew
/// twentyfold; one tensor gone to zero, one that never left it.
#[test]
fn warnings() {
    let start: Vec<f32> = (1..=16).map(|n| n as f32).collect();
    let times = |x: f32| -> Vec<f32> { start.iter().map(|w| w * x).collect() };
    let mut broken = start.clone();
    (broken[2], broken[3], broken[9]) = (f32::NAN, f32::NAN, f32::NEG_INFINITY);
    let zeros = vec![0.0; 16];
    let tensors: [(&str, &[f32], &[f32]); 6] = [
        ("a", &start, &broken),
        ("b\u{1b}[31m", &start, &times(0.05)),
        ("c", &start, &times(20.0)),
        ("d", &start, &times(-20.0)),
        ("e", &start, &zeros),
        ("f", &zeros, &zeros),
    ];
    let shape: &[usize] = &[4, 4];
    let tensors =
        tensors.map(|(name, then, now)| ((name, "F32", shape, f32s(then)), (name, "F32", shape, f32s(now))));
    let s = scratch(tensors.into());
    let ran = succeeds(&s, &["analyze", "x.yaml"]);
    let lines: Vec<&str> = ran.stdout.lines().skip_while(|line| !line.starts_with('└')).skip(1).collect();
    assert_eq!(
        lines,
        [
            "WARNING: 2 NaN and 1 infinite in a.",
            "WARNING: Vanishing: the standard deviation fell below a tenth of the initial one in b\\u{1b}[31m (x 0.05), e (x 0).",
            "WARNING: Exploding: the standard deviation grew to more than ten times the initial one in c (x 20), d (x 20).",
            "WARNING: Every weight is zero in e, f (as initialised).",
            // 13 of `a` did not move.
            "29 of 96 weights (30.2 %) are sleeping: they still have exactly their initial value.",
        ]
    );
    // No tensor's name may do anything to the terminal, in the table either.
    assert!(!ran.stdout.contains('\u{1b}'));
    let markdown = text(&s, "r.md");
    assert!(
        markdown.contains(
            "- **Warning:** Vanishing: the standard deviation fell below a tenth of the initial one in \
             <code>b&#92;&#117;&#123;&#49;&#98;&#125;&#91;31m</code> (x 0.05), `e` (x 0).\n"
        ),
        "{markdown}"
    );
}

/// 44 layers of a model, of which the last is asleep, and two tensors more.
fn deep() -> Scratch {
    let names: Vec<String> = (0..44).map(|n| format!("h.{n}.mlp.weight")).collect();
    let start = [1.0, 2.0, 3.0, 4.0];
    let moved = [1.5, 2.5, 3.5, 5.0];
    let shape: &[usize] = &[2, 2];
    let mut tensors: Vec<(Tensor<'_>, Tensor<'_>)> = Vec::new();
    for (n, name) in names.iter().enumerate() {
        let now = if n == 43 { start } else { moved };
        tensors.push(((name, "F32", shape, f32s(&start)), (name, "F32", shape, f32s(&now))));
    }
    tensors.push((("lnf.weight", "F32", &[4], f32s(&start)), ("lnf.weight", "F32", &[4], f32s(&moved))));
    tensors.push((("steps", "I64", &[1], vec![0; 8]), ("steps", "I64", &[1], vec![0; 8])));
    scratch(tensors)
}

#[test]
fn many_tensors_are_grouped() {
    let s = deep();
    let grouped = succeeds(&s, &["analyze", "x.yaml"]).stdout;
    // Every weight moved by 0.5 but one in four, which moved by 1: the standard deviation went
    // from sqrt(1.25) to sqrt(1.671875), which is 1.1565 times as large. Quantiles are known to
    // 1 / 64 of their value.
    assert_eq!(
        grouped,
        "\
┌─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────┐
│ tensor               shape  weights  sleeping    %       of a            outputs  inputs      P50      P99  std now │
│                                                        tensor             asleep  asleep  |delta|  |delta|  / start │
╞═════════════════════════════════════════════════════════════════════════════════════════════════════════════════════╡
│ h.*.mlp.weight (44)  2x2        176         4  2.3  0.0…100.0  ▏·······        2       2  5.04e-1  5.07e-1     1.16 │
│ lnf.weight           4            4         0  0.0             ········        -       -  5.04e-1  5.07e-1     1.16 │
│ steps                1            1         -    -             I64             -       -        -        -        - │
│ total                           180         4  2.2             ▏·······        2       2                            │
└─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────┘
46 tensors in 3 rows, with `*` for the numbers in their names. Counts are sums; P50, P99 and max are the largest; std is the \
farthest from 1. Use --full to list every tensor.
Left out to fit 120 columns: max |delta|. Use --full to show all.
4 of 180 weights (2.2 %) are sleeping: they still have exactly their initial value.
"
    );
    let full = succeeds(&s, &["analyze", "x.yaml", "--full"]).stdout;
    let lines: Vec<&str> = full.lines().collect();
    // Two lines of titles, three of borders, 46 tensors, totals, the verdict.
    assert_eq!(lines.len(), 2 + 3 + 46 + 1 + 1, "{full}");
    // Name order is that of bytes.
    assert!(lines[4].contains(" h.0.mlp.weight ") && lines[5].contains(" h.1.mlp.weight "), "{full}");
    assert!(lines[6].contains(" h.10.mlp.weight "), "{full}");
    assert!(lines[1].contains(" max "), "{full}");
}

#[test]
fn markdown_groups_many_tensors_and_folds_all_of_them() {
    let s = deep();
    succeeds(&s, &["analyze", "x.yaml"]);
    let markdown = text(&s, "r.md");
    let (above, below) = markdown.split_once("<details>\n<summary>All 46 tensors</summary>\n\n").unwrap();
    assert_eq!(
        above,
        "\
# cdi-prune report

**4 of 180 weights (2.2 %) are sleeping: they still have exactly their initial value.**

| tensor | shape | init | weights | sleeping | sleeping % | of a tensor | outputs asleep | inputs asleep | P50 \\|delta\\| | P99 \\|delta\\| | max \\|delta\\| | std now / start | zeros |
| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| `h.*.mlp.weight` (44) | 2x2 | from base.safetensors | 176 | 4 | 2.3 | 0.0 … 100.0 | 2 | 2 | 5.04e-1 | 5.07e-1 | 1.00e0 | 1.16 | 0 |
| `lnf.weight` | 4 | from base.safetensors | 4 | 0 | 0.0 |  |  |  | 5.04e-1 | 5.07e-1 | 1.00e0 | 1.16 | 0 |
| `steps` | 1 | I64 | 1 |  |  |  |  |  |  |  |  |  |  |
| **total** |  |  | **180** | **4** | **2.2** |  | **2** | **2** |  |  | **1.00e0** |  | **0** |

A row for several tensors shows their number after the name, with `*` for the numbers in the name. Counts are sums, \"of a tensor\" is the range from the smallest to the largest share, P50 and P99 are the largest, and the standard deviation is the one that changed most.

"
    );
    // Titles, a rule, 46 tensors, totals.
    assert_eq!(below.lines().filter(|line| line.starts_with('|')).count(), 2 + 46 + 1);
    assert!(
        below.contains(
            "| `h.43.mlp.weight` | 2x2 | from base.safetensors | 4 | 4 | 100.0 | 2 | 2 | 0 | 0 | 0 |"
        )
    );
    assert!(below.contains("\n</details>\n\nSeed 1, noise version 1, config SHA-256 `"));
}

#[test]
fn names_of_any_characters_stay_in_their_cells() {
    let values = || f32s(&[1.0, 2.0]);
    let names = ["a|b", "a,\"b\"", "<script>`x`", "line\nfeed"];
    let shape: &[usize] = &[2];
    let s =
        scratch(names.map(|name| ((name, "F32", shape, values()), (name, "F32", shape, values()))).into());
    let ran = succeeds(&s, &["analyze", "x.yaml"]);
    assert!(ran.stdout.contains("│ line\\nfeed   2 "), "{}", ran.stdout);
    let markdown = text(&s, "r.md");
    let cells = |line: &str| line.trim_matches('|').split(" | ").next().unwrap().trim().to_owned();
    let found: Vec<String> = markdown.lines().filter(|line| line.contains("from base")).map(cells).collect();
    assert_eq!(
        found,
        [
            "<code>&#60;script&#62;&#96;x&#96;</code>",
            "`a,\"b\"`",
            "<code>a&#124;b</code>",
            "<code>line&#92;&#110;feed</code>"
        ]
    );
    let csv = text(&s, "r.csv");
    let starts: Vec<&str> =
        ["<script>`x`,,F32,2,", "\"a,\"\"b\"\"\",,F32,2,", "a|b,,F32,2,", "\"line\nfeed\",,F32,2,"].into();
    for start in starts {
        assert!(csv.contains(&format!("\r\n{start}")), "{csv:?}");
    }
}

/// Every column in its order, and the figures of [`matrix`], which NumPy gives too (to the
/// last digit or but one).
#[test]
fn csv_has_a_row_for_each_tensor_and_a_column_for_each_figure() {
    let s = scratch(vec![matrix(), (("steps", "I64", &[1], vec![0; 8]), ("steps", "I64", &[1], vec![0; 8]))]);
    succeeds(&s, &["run", "x.yaml", "--set", "analyze.threshold={relative: 0.5}"]);
    let csv = text(&s, "r.csv");
    let lines: Vec<&str> = csv.split("\r\n").collect();
    assert_eq!(
        lines,
        [
            "name,layer_id,dtype,shape,init,rule,total_weights,changed_weights,sleeping_weights,changed_percentage,\
             sleeping_percentage,mean_delta,max_delta,rms_delta,mean_delta_changed,threshold,threshold.relative,\
             threshold.ulps,decay,evidence,own_evidence,sleeping_rows,sleeping_columns,zeros,not_finite,\
             sleeping_outputs,sleeping_inputs,sleeping_scattered,nan_share,infinite_share,zero_share,\
             delta_quantiles.p50,delta_quantiles.p90,delta_quantiles.p99,delta_over_std.p50,delta_over_std.p90,\
             delta_over_std.p99,std,initial_std,std_ratio,norm_change,cosine,centred_cosine,started_here,action,criterion,\
             pruned_weights,pruned_changed_weights,pruned_norm_share,sparsity,overflowed_weights,totals.trained_bytes,\
             totals.pruned_bytes,totals.pruned_bytes_share",
            // Weights of 2 and more that moved by 1 sleep at this threshold: all.
            "a.weight,,F32,4x6,from base.safetensors,**,24,0,24,0.0,100.0,0.4166666666666667,1.0,0.6454972243679028,\
             ,,0.5,,1.0,,,4,6,0,0,4,6,0,0.0,0.0,0.0,0.0,1.0,1.0,0.0,0.14446302370292305,0.14446302370292305,\
             6.999503950677903,6.922186552431729,1.0111695051354854,0.028174526596947455,0.999393579423867,\
             0.9975534735284163,true,pruned,sleeping,24,0,1.0,1.0,,240,632,2.6333333333333333",
            "steps,,I64,1,,,1,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,passed_through,,0,,,0.0,,240,632,2.6333333333333333",
            "",
        ]
    );
    let columns = lines[0].split(',').count();
    assert!(lines[1..3].iter().all(|line| line.split(',').count() == columns));
}
