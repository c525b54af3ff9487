//! The report as a page and as plots: what is in it, what of it is safe, the same bytes on any thread count,
//! and the values behind the heat maps. What a browser makes of it is tested in tests/python.

use std::collections::BTreeSet;
use std::fs;

use regex::Regex;

use crate::common::{Scratch, Tensor, digest, f32s, root};

/// A config that compares tensors starting at zero, so that |delta| is |trained|.
fn config(tensors: &str, analyze: &str) -> String {
    format!(
        "seed: 1\nmodel: {{tensors: {{{tensors}}}}}\nrules: [{{match: '**', init: zeros}}]\ntrained: {{path: trained.safetensors}}\n\
         analyze: {{{analyze}, report: {{html: report.html, svg: plots}}}}\n"
    )
}

#[track_caller]
fn analyze(s: &Scratch) -> String {
    let config = s.path("x.yaml").display().to_string();
    let ran = s.run(&["analyze", &config]);
    assert_eq!(ran.code, 0, "{ran:?}");
    fs::read_to_string(s.path("report.html")).unwrap()
}

/// The decoded bytes of the page's attributes of this name, in order.
fn bytes_of(page: &str, attribute: &str) -> Vec<Vec<u8>> {
    let pattern = Regex::new(&format!("{attribute}=\"([A-Za-z0-9+/=]*)\"")).unwrap();
    pattern.captures_iter(page).map(|found| decode(&found[1])).collect()
}

fn decode(text: &str) -> Vec<u8> {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::new();
    for four in text.trim_end_matches('=').as_bytes().chunks(4) {
        let bits = four.iter().fold(0, |bits, c| bits << 6 | DIGITS.find(char::from(*c)).unwrap() as u32)
            << (6 * (4 - four.len()));
        out.extend(&bits.to_be_bytes()[1..four.len()]);
    }
    out
}

#[test]
fn cells_are_mean_changes_and_sleeping_shares() {
    let s = Scratch::new();
    s.write("x.yaml", config("w: [2, 4], z: [3]", "threshold: 0.25, decay: none"));
    let w = [1.0, 0.1, 0.01, 0.0, f32::NAN, -0.5, 0.25, f32::INFINITY];
    s.safetensors(
        "trained.safetensors",
        &[("w", "F32", &[2, 4], f32s(&w)), ("z", "F32", &[3], f32s(&[0.0; 3]))],
    );
    let page = analyze(&s);
    // 20 log10(|w|) + 200, rounded: -0.5 gives 193.98, 0.25 gives 187.96; 255 is not finite.
    assert_eq!(bytes_of(&page, "data-levels"), [vec![200, 180, 160, 0, 255, 194, 188, 255], vec![0, 0, 0]]);
    // Fifteenths: each cell is one weight.
    assert_eq!(bytes_of(&page, "data-asleep"), [vec![0, 15, 15, 15, 0, 0, 15, 0], vec![15, 15, 15]]);
}

/// One row of the matrix a row of cells, the mean of neighbouring columns a cell; computed in NumPy: rows
/// `(2 k + 1) * 200 // 192`, columns from `600 c // 256` on, `20 log10(mean) + 200` rounded, and
/// fifteenths of `|w| <= 0.25`.
#[test]
fn large_tensors_are_reduced() {
    let s = Scratch::new();
    s.write("x.yaml", config("w: [200, 600]", "threshold: 0.25"));
    let w: Vec<f32> = (0..200 * 600)
        .map(|n| (n / 600, n % 600))
        .map(|(i, j)| if (300..360).contains(&j) { 0.0 } else { ((i * 7 + j * 3) % 64) as f32 / 64.0 })
        .collect();
    s.safetensors("trained.safetensors", &[("w", "F32", &[200, 600], f32s(&w))]);
    let page = analyze(&s);
    let [levels] = &bytes_of(&page, "data-levels")[..] else { panic!("one map expected") };
    assert_eq!(levels.len(), 96 * 256);
    assert_eq!(levels[..8], [182, 187, 191, 193, 195, 197, 198, 199]);
    assert_eq!(digest(levels), "bc26bd996a7b419e0e1401fdb039369e48f306129605b2ccb881d44b1e23dd4f");
    let [asleep] = &bytes_of(&page, "data-asleep")[..] else { panic!("one map expected") };
    assert_eq!(digest(asleep), "c26d97e243829df0be486529eeaac6896c7cfc5619a201ba561e93656af25449");
    assert!(page.contains("600 inputs, 2 or 3 to a cell"));
    assert!(page.contains("96 of 200 outputs, evenly spaced"));
    assert!(page.contains("Large tensors are reduced, here to at most 96 rows of 256 cells."));
}

/// The decay factor is on the initial value before the difference is taken.
#[test]
fn cells_know_the_decay() {
    let s = Scratch::new();
    let config =
        config("w: [1, 4]", "threshold: 0, decay: 0.5").replace("init: zeros", "init: ones, layout: in_out");
    s.write("x.yaml", config);
    s.safetensors("trained.safetensors", &[("w", "F32", &[1, 4], f32s(&[0.5, 1.5, 0.4, 1.0]))]);
    let page = analyze(&s);
    // |w - 0.5|: 0, 1, 0.1 (0.4 in F32 is a little more), 0.5.
    assert_eq!(bytes_of(&page, "data-levels"), [vec![0, 200, 180, 194]]);
    assert_eq!(bytes_of(&page, "data-asleep"), [vec![15, 0, 0, 0]]);
    assert!(page.contains("4 outputs →"), "the columns of an in_out matrix are its outputs");
}

const REAL: [(&str, &str); 4] = [
    ("quickstart", "22.7 % of the weights are sleeping."),
    ("mlp", "42.3 % of the weights are sleeping."),
    ("cnn", "0.9 % of the weights are sleeping."),
    ("transformer", "7.0 % of the weights are sleeping."),
];

/// A shipped config's page and plots, threshold and decay found by itself.
fn real(s: &Scratch, name: &str, out: &str, threads: &str) {
    let config = root().join("configs").join(format!("{name}.yaml")).display().to_string();
    let report = format!(
        "analyze.report={{html: {html}, svg: {svg}}}",
        html = s.path(&format!("{out}.html")).display(),
        svg = s.path(out).display()
    );
    let sets = ["analyze.threshold=auto", "analyze.decay=auto", &report];
    let mut args = vec!["--threads", threads, "analyze", &config];
    args.extend(sets.iter().flat_map(|set| ["--set", set]));
    let ran = s.run(&args);
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn real_checkpoints_on_any_number_of_threads() {
    for (name, verdict) in REAL {
        let s = Scratch::new();
        // The same names, as the config's digest covers the overrides.
        real(&s, name, "out", "1");
        let one = s.files();
        real(&s, name, "out", "2");
        assert!(one == s.files(), "{name}");
        let page = String::from_utf8(one["out.html"].clone()).unwrap();
        assert!(page.contains(&format!("<h1 id=\"summary-title\">{verdict}</h1>")), "{name}");
        for id in ["summary", "proof", "layers", "table", "maps"] {
            assert_eq!(page.matches(&format!("id=\"{id}\"")).count(), 1, "{name}: {id}");
        }
        for file in ["layers.svg", "delta_histograms.svg", "evidence.svg"] {
            assert!(one.contains_key(&format!("out/{file}")), "{name}: {file}");
        }
        let maps = one.keys().filter(|file| file.starts_with("out/heatmap_")).count();
        assert_eq!(maps, page.matches("<canvas").count(), "{name}");
    }
}

/// No address but the name of SVG in files, no way to load anything, and nothing of this machine.
#[test]
fn nothing_is_loaded_from_anywhere() {
    let s = Scratch::new();
    real(&s, "quickstart", "out", "2");
    for (file, bytes) in s.files() {
        let text = String::from_utf8(bytes).unwrap();
        let text = if file.ends_with(".svg") {
            let name = "xmlns=\"http://www.w3.org/2000/svg\"";
            assert_eq!(text.matches(name).count(), 1, "{file}");
            text.replace(name, "")
        } else {
            assert_eq!(text.matches("Content-Security-Policy").count(), 1);
            text.replace("http-equiv", "")
        };
        for word in
            ["://", "http", "url(h", "@import", "fetch(", "XMLHttp", "<link rel=\"s", "<iframe", "<object"]
        {
            assert!(!text.contains(word), "{file} has {word}");
        }
        assert!(!text.contains(&s.path("").display().to_string()), "{file} has a path");
        assert!(!text.contains(root().to_str().unwrap()), "{file} has a path");
    }
    let page = fs::read_to_string(s.path("out.html")).unwrap();
    assert!(page.contains("default-src 'none'; img-src data:; style-src 'sha256-"));
    assert!(!page.contains("unsafe-inline"));
}

const EVIL: [&str; 6] = [
    "</script><script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "line\u{2028}separator\u{202e}backwards",
    "</title></style>]]><!--",
    "&amp;`${1}`",
    "tab\there\u{1}",
];

#[test]
fn names_are_text_wherever_they_stand() {
    let s = Scratch::new();
    // The rules are enough to know the checkpoint's tensors by.
    let rule = "init: {mode: normal, std: 0}";
    let config =
        config("", "threshold: 0").replace("model: {tensors: {}}\n", "").replace("init: zeros", rule);
    s.write("x.yaml", config);
    let tensors: Vec<Tensor<'_>> = EVIL
        .iter()
        .map(|name| (*name, "F32", &[2, 3][..], f32s(&[0.0, 0.0, 1.0, 0.0, f32::NAN, 2.0])))
        .collect();
    s.safetensors("trained.safetensors", &tensors);
    let page = analyze(&s);
    check_markup(&page);
    assert_eq!(page.matches("<script").count(), 1);
    assert_eq!(page.matches("</script").count(), 1);
    assert_eq!(page.matches("</style").count(), 1);
    assert!(page.contains("data-name=\"&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;\""));
    assert!(page.contains("data-name=\"&quot;&#39;&gt;&lt;img src=x onerror=alert(1)&gt;\""));
    assert!(page.contains("data-name=\"&amp;amp;`${1}`\""));
    // Characters that no one sees are written as their numbers, in files as well.
    assert!(page.contains("line\\u{2028}separator\\u{202e}backwards"));
    let files = s.files();
    let mut plots = 0;
    for (file, bytes) in files.iter().filter(|(file, _)| file.starts_with("plots/")) {
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(!text.contains(['\u{2028}', '\u{202e}', '\u{1}', '\t']), "{file}");
        check_markup(&text);
        let plain = |c: char| c.is_ascii_alphanumeric() || "._~-".contains(c);
        assert!(file["plots/".len()..].chars().all(plain), "{file}");
        plots += 1;
    }
    // Layers, histograms, and a map each; no evidence, as nothing was to be found out.
    assert_eq!(plots, 2 + EVIL.len());
}

/// Every tag is one of ours, and none carries code or style.
fn check_markup(text: &str) {
    const ELEMENTS: &str = "a article body b button canvas caption code dd defs details div dl doctype dt fieldset \
        figcaption figure footer g h1 h2 h3 head header html i image input label legend li line lineargradient link main meta \
        nav noscript ol p polyline rect script section small span stop style summary svg table tbody td text tfoot th thead \
        title tr ul wbr";
    let known: BTreeSet<&str> = ELEMENTS.split_whitespace().collect();
    // The script's own text is no markup.
    let script = Regex::new("(?s)<script>.*</script>").unwrap();
    let text = script.replace(text, "");
    let tag = Regex::new("<[!/]?([A-Za-z][A-Za-z0-9]*)((?:\\s+[\\w:-]+(?:=\"[^\"<>]*\")?|\\s+html)*)\\s*/?>")
        .unwrap();
    let mut end = 0;
    let quoted = Regex::new("\"[^\"]*\"").unwrap();
    let code = Regex::new("\\s(on\\w+|style|srcdoc|src)=").unwrap();
    for found in tag.captures_iter(&text) {
        let whole = found.get(0).unwrap();
        assert!(!text[end..whole.start()].contains('<'), "{:?}", &text[end..whole.start()]);
        end = whole.end();
        assert!(known.contains(found[1].to_lowercase().as_str()), "{}", &found[1]);
        let names = quoted.replace_all(&found[2], "").into_owned();
        assert!(!code.is_match(&names), "{}", whole.as_str());
    }
    assert!(!text[end..].contains('<'));
}

/// As many tensors as a wide model has: grouped by kind, smaller maps, and the page says so.
#[test]
fn many_tensors_are_grouped_and_reduced() {
    let s = Scratch::new();
    let names: Vec<String> = (0..90).map(|n| format!("h.{n}.weight")).collect();
    let list: Vec<String> = names.iter().map(|name| format!("{name}: [96, 256]")).collect();
    s.write("x.yaml", config(&list.join(", "), "threshold: 0"));
    let weights = f32s(&vec![1.0; 96 * 256]);
    let tensors: Vec<Tensor<'_>> =
        names.iter().map(|name| (name.as_str(), "F32", &[96, 256][..], weights.clone())).collect();
    s.safetensors("trained.safetensors", &tensors);
    let page = analyze(&s);
    // 90 maps of 48 x 128 cells are 552,960; of 64 x 160 they would be more than 700,000.
    assert!(page.contains("here to at most 48 rows of 128 cells."));
    assert_eq!(
        bytes_of(&page, "data-levels").iter().map(Vec::len).collect::<BTreeSet<_>>(),
        [48 * 128].into()
    );
    assert!(page.contains("h.<wbr>*.<wbr>weight</code><span>90 tensors, 2,211,840 weights</span>"));
    assert!(page.contains("All 90 tensors, one by one"));
    // Numbers count up, in the bars as in the table.
    let second = page.find("data-name=\"h.2.weight\"").unwrap();
    assert!(second < page.find("data-name=\"h.10.weight\"").unwrap());
    assert!(page.len() < 3_000_000, "{}", page.len());
}

#[test]
fn a_model_in_which_nothing_sleeps_is_told_why() {
    let s = Scratch::new();
    let config = config("w: [64, 64]", "threshold: auto").replace("init: zeros", "init: ones");
    s.write("x.yaml", config);
    // Live weights: as many to every unit of rho.
    let w: Vec<f32> = (0..4096).map(|n| 1.0 + (n as f32 + 0.5) / 4096.0).collect();
    s.safetensors("trained.safetensors", &[("w", "F32", &[64, 64], f32s(&w))]);
    let page = analyze(&s);
    assert!(page.contains("<h1 id=\"summary-title\">No weight can be called sleeping.</h1>"));
    assert!(page.contains("Among 4,096 weights of type f32, none stand out as untouched."));
    assert!(page.contains("None found"));
}

#[test]
fn nothing_to_compare_is_a_page_too() {
    let s = Scratch::new();
    s.write("x.yaml", config("w: [2]", "threshold: 0").replace("init: zeros", "init: none"));
    s.safetensors(
        "trained.safetensors",
        &[("w", "F32", &[2], f32s(&[1.0, 2.0])), ("n", "I64", &[1], vec![0; 8])],
    );
    let page = analyze(&s);
    check_markup(&page);
    assert!(page.contains("Nothing was compared: no rule gives an initial value."));
    assert!(!page.contains("<canvas"));
    assert_eq!(page.matches("<tr data-name").count(), 2);
}

/// `prune` alone writes no report, and so looks at no heat map.
#[test]
fn pruning_alone_draws_nothing() {
    let s = Scratch::new();
    s.write("x.yaml", config("w: [2]", "threshold: 0") + "prune: {output: pruned.safetensors}\n");
    s.safetensors("trained.safetensors", &[("w", "F32", &[2], f32s(&[1.0, 2.0]))]);
    let config = s.path("x.yaml").display().to_string();
    assert_eq!(s.run(&["prune", &config]).code, 0);
    assert_eq!(
        s.files().into_keys().collect::<Vec<_>>(),
        ["pruned.safetensors", "trained.safetensors", "x.yaml"]
    );
}

#[track_caller]
fn fails(report: &str, code: i32, message: &str) {
    let s = Scratch::new();
    let config = config("w: [2]", "threshold: 0").replace("{html: report.html, svg: plots}", report);
    s.write("x.yaml", config);
    s.write("a_file", "");
    s.safetensors("trained.safetensors", &[("w", "F32", &[2], f32s(&[1.0, 2.0]))]);
    let before = s.files();
    let config = s.path("x.yaml").display().to_string();
    let ran = s.run(&["analyze", &config]);
    assert_eq!((ran.stderr, ran.code), (format!("error: {message}\n"), code));
    assert!(before == s.files());
}

#[test]
fn what_can_be_wrong_with_the_outputs() {
    fails(
        "{json: r, html: r}",
        2,
        "DIR/x.yaml:5:49: `analyze.report.html` writes the same file as `analyze.report.json`: DIR/r",
    );
    fails(
        "{html: r, svg: r}",
        2,
        "DIR/x.yaml:5:48: `analyze.report.svg` writes the same file as `analyze.report.html`: DIR/r",
    );
    fails(
        "{html: plots/layers.svg, svg: plots}",
        2,
        "`analyze.report.html` and a file of `analyze.report.svg` are the same file (DIR/plots/layers.svg): an output must \
         not replace an input or another output; give one of them another path",
    );
    fails(
        "{csv: plots/heatmap_w.svg, svg: plots}",
        2,
        "`analyze.report.csv` and a file of `analyze.report.svg` are the same file (DIR/plots/heatmap_w.svg): an output must \
         not replace an input or another output; give one of them another path",
    );
    fails(
        "{html: trained.safetensors}",
        2,
        "`trained.path` and `analyze.report.html` are the same file (DIR/trained.safetensors): an output must not replace \
         an input or another output; give one of them another path",
    );
    fails("{html: [r]}", 2, "DIR/x.yaml:5:40: `analyze.report.html`: expected text, got a list");
    fails(
        "{htm: r}",
        2,
        "DIR/x.yaml:5:34: unknown key `htm` in `analyze.report` (did you mean `html`?); the keys are json, csv, markdown, \
         html, svg",
    );
    fails("{svg: a_file}", 1, "DIR/a_file: cannot create the folder: File exists (os error 17)");
    fails("{html: a_file/r}", 1, "DIR/a_file: cannot create the folder: File exists (os error 17)");
}

/// 116 layers of 256 experts with three weights each, and 175 others: the page of such a model has
/// the largest tensors.
#[test]
fn the_page_of_89_263_tensors_is_below_10_mb() {
    let s = Scratch::new();
    let mut names: Vec<String> =
        (0..175).map(|n| format!("model.layers.{n}.post_attention_layernorm.weight")).collect();
    for (layer, expert) in (0..116).flat_map(|layer| (0..256).map(move |expert| (layer, expert))) {
        for kind in ["gate", "up", "down"] {
            names.push(format!("model.layers.{layer}.mlp.experts.{expert}.{kind}_proj.weight"));
        }
    }
    assert_eq!(names.len(), 89_263);
    s.write(
        "x.yaml",
        "seed: 1
rules: [{match: '**', init: he}]
trained: {path: trained.safetensors}
analyze: {threshold: 0, report: {html: report.html}}
",
    );
    let bytes = f32s(&[0.5, 0.0, 0.25, 1.0, 0.5, 0.5, 0.5, 2.0]);
    let tensors: Vec<Tensor<'_>> =
        names.iter().map(|name| (name.as_str(), "F32", &[2, 4][..], bytes.clone())).collect();
    s.safetensors("trained.safetensors", &tensors);
    let page = analyze(&s);
    assert!(page.len() < 10_000_000, "{}", page.len());
    let said = "Of 89,263 tensors, only the 2,000 with the most weights are shown; the JSON and CSV reports \
                contain all.";
    // In the bars and in the table.
    assert_eq!(page.matches(said).count(), 2);
    assert_eq!(page.matches("<tr data-name=").count(), 2000);
    assert!(page.contains("Cards are shown for the 1000 largest of 89,263 tensors."), "cards");
}
