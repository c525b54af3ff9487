//! The headers of files with coded tensors: compressed descriptions, and codes that share a tensor.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cdi_prune::checkpoint::Checkpoint;
use cdi_prune::reader::PrunedReader;
use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::decompress_to_vec;
use serde_json::{Value, json};

use crate::common::{Scratch, Tensor, codes, description, f32s, succeeds};

/// A checkpoint whose tensors of the same names have these many elements, all of them small numbers.
fn checkpoint(s: &Scratch, sizes: &[(&'static str, usize)]) {
    let shapes: Vec<[usize; 1]> = sizes.iter().map(|(_, size)| [*size]).collect();
    let tensor = |((name, size), shape): (&(&'static str, usize), &'static [usize])| -> Tensor<'static> {
        let values: Vec<f32> = (0..*size).map(|n| ((n * n * 31 + size) % 1009) as f32 / 4096.0).collect();
        (name, "F32", shape, f32s(&values))
    };
    let shapes: &'static [[usize; 1]] = shapes.leak();
    let all: Vec<Tensor<'static>> = sizes.iter().zip(shapes.iter().map(|s| &s[..])).map(tensor).collect();
    s.safetensors("m.safetensors", &all);
}

/// Four tensors, of which one has a code of its own.
const SIZES: [(&str, usize); 4] = [("a.b", 900), ("a", 1000), ("large", 60_000), ("z", 500)];

fn names(s: &Scratch, name: &str) -> Vec<String> {
    let file = Checkpoint::open(&s.path(name)).unwrap();
    file.tensors().map(|(name, _)| name.to_owned()).collect()
}

/// The value of the key in the file's header.
fn value(s: &Scratch, name: &str) -> String {
    Checkpoint::open(&s.path(name)).unwrap().metadata()[0]["cdi_prune"].clone()
}

fn comes_back(s: &Scratch, name: &str) {
    succeeds(s, &["unpack", name, "-o", "back.safetensors", "--quiet"]);
    let [back, whole] =
        ["back.safetensors", "m.safetensors"].map(|name| Checkpoint::open(&s.path(name)).unwrap());
    assert!(back.tensors().zip(whole.tensors()).all(|(a, b)| a.0 == b.0 && a.1.bytes() == b.1.bytes()));
}

#[test]
fn small_codes_share_a_tensor() {
    let s = Scratch::new();
    checkpoint(&s, &SIZES);
    succeeds(&s, &["pack", "m.safetensors", "-o", "p.safetensors", "--quiet"]);
    assert_eq!(names(&s, "p.safetensors"), ["cdi_prune.codes", "large.codes"]);
    let all = codes(&s.path("p.safetensors"));
    // In the order of the names of the tensors, not of those with a suffix.
    assert_eq!(all.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["a", "a.b", "large", "z"]);
    assert!(all.iter().all(|(name, code)| code[0] == 1 && (code.len() >= 1 << 16) == (name == "large")));
    comes_back(&s, "p.safetensors");
    let file = PrunedReader::open(&s.path("p.safetensors"), None).unwrap();
    assert_eq!(file.tensors().map(|(name, ..)| name).collect::<Vec<_>>(), ["a", "a.b", "large", "z"]);
    // Listed like codes that have a tensor each.
    let listed = s.run(&["inspect", "p.safetensors", "--format", "json"]).stdout;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let rows = listed["tensors"].as_array().unwrap();
    for (row, name) in rows.iter().zip(["a.b", "a", "large", "z"]) {
        let code = &all.iter().find(|(of, _)| of == name).unwrap().1;
        assert_eq!((&row["name"], &row["bytes"]), (&json!(format!("{name}.codes")), &json!(code.len())));
        assert_eq!(row["code"]["tensor"], name);
    }
    assert_eq!(rows.len(), 4);
}

#[test]
fn where_no_codes_share_a_tensor() {
    let s = Scratch::new();
    let pack = |sizes: &[(&'static str, usize)], more: &[&str]| {
        checkpoint(&s, sizes);
        succeeds(&s, &[&["pack", "m.safetensors", "-o", "p.safetensors", "--quiet"], more].concat());
    };
    // One alone.
    pack(&SIZES[1..3], &[]);
    assert_eq!(names(&s, "p.safetensors"), ["a.codes", "large.codes"]);
    comes_back(&s, "p.safetensors");
    // A tensor of the checkpoint has the name, or a code of its own would have it.
    for taken in ["cdi_prune.codes", "cdi_prune"] {
        pack(&[("a", 1000), ("b", 900), (taken, 60_000)], &[]);
        assert_eq!(names(&s, "p.safetensors"), ["a.codes", "b.codes", &*format!("{taken}.codes")]);
        comes_back(&s, "p.safetensors");
        // A tensor whose code is worth it only without a header entry of its own.
        pack(&[("a", 1000), ("b", 20)], &[]);
        assert_eq!(names(&s, "p.safetensors"), ["cdi_prune.codes"]);
        pack(&[("a", 1000), ("b", 20), (taken, 60_000)], &[]);
        assert_eq!(names(&s, "p.safetensors"), ["a.codes", "b", &*format!("{taken}.codes")]);
        comes_back(&s, "p.safetensors");
    }
    // Several files.
    pack(&SIZES, &["--max-shard-size", "4kB"]);
    let index = "p.safetensors.index.json";
    assert_eq!(names(&s, index), ["a.b.codes", "a.codes", "large.codes", "z.codes"]);
    comes_back(&s, index);
}

/// The value of the key, from the JSON of the description.
fn compressed(json: &str) -> String {
    format!("deflate:{}", STANDARD.encode(compress_to_vec(json.as_bytes(), 6)))
}

#[test]
fn the_description_is_compressed_where_that_is_shorter() {
    let s = Scratch::new();
    checkpoint(&s, &SIZES);
    succeeds(&s, &["pack", "m.safetensors", "-o", "p.safetensors", "--quiet"]);
    let short = value(&s, "p.safetensors");
    let deflated = STANDARD.decode(short.strip_prefix("deflate:").unwrap()).unwrap();
    let json = String::from_utf8(decompress_to_vec(&deflated).unwrap()).unwrap();
    let described: Value = serde_json::from_str(&json).unwrap();
    let lengths: Vec<(&Value, usize)> = described["tensors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| (&t["code"], t.as_object().unwrap().len()))
        .collect();
    assert!(lengths.iter().all(|(code, keys)| *keys == if code.is_null() { 4 } else { 5 }), "{json}");
    assert!(short.len() < json.len() * 3 / 4, "{json} {short}");
    // Either form, however it was compressed, is read.
    for value in [json.clone(), compressed(&json)] {
        s.tamper("p.safetensors", |header, _| {
            assert_eq!(description(header), json);
            header["__metadata__"]["cdi_prune"] = value.into();
        });
        comes_back(&s, "p.safetensors");
        assert_eq!(s.run(&["pack", "p.safetensors", "-o", "q.safetensors"]).code, 1);
    }
    // Without coded tensors, there is JSON.
    checkpoint(&s, &[("b", 1)]);
    succeeds(&s, &["pack", "m.safetensors", "-o", "p.safetensors", "--quiet"]);
    assert!(value(&s, "p.safetensors").starts_with('{'));
}

/// Changes a packed file of the tensors above, and expects this message from what restores it.
fn refuses(change: impl FnOnce(&mut Value, &mut Vec<u8>), message: &str) {
    let s = Scratch::new();
    checkpoint(&s, &SIZES);
    succeeds(&s, &["pack", "m.safetensors", "-o", "p.safetensors", "--quiet"]);
    s.tamper("p.safetensors", change);
    let ran = s.run(&["restore", "p.safetensors", "-o", "back.safetensors"]);
    assert_eq!((ran.code, ran.stderr), (1, format!("error: p.safetensors: {message}\n")));
    assert!(!s.path("back.safetensors").exists());
    // What only lists the tensors is not stopped.
    assert_eq!(s.run(&["inspect", "p.safetensors"]).code, 0);
}

#[test]
fn compressed_descriptions_that_cannot_be_read() {
    let refuses_value = |value: &dyn Fn(String) -> String, message: &str| {
        let message = format!("its `cdi_prune` metadata cannot be read: {message}");
        refuses(
            |header, _| header["__metadata__"]["cdi_prune"] = value(description(header)).into(),
            &message,
        );
    };
    let cut = |json: String| compressed(&json)[..100].to_owned();
    refuses_value(&|json| cut(json)[..99].to_owned(), "its base64 is invalid or cut off");
    refuses_value(&cut, "its deflated data are cut off");
    refuses_value(
        &|json| compressed(&json).replace("deflate:", "deflate:\n"),
        "its base64 is invalid or cut off",
    );
    refuses_value(&|_| "deflate:".to_owned(), "its deflated data are cut off");
    refuses_value(
        &|_| format!("deflate:{}", STANDARD.encode([0b111, 0, 0])),
        "its deflated data are invalid",
    );
    let longer = |json: String| [&compress_to_vec(json.as_bytes(), 6)[..], b"more"].concat();
    refuses_value(
        &|json| format!("deflate:{}", STANDARD.encode(longer(json))),
        "4 bytes follow its deflated data",
    );
    refuses_value(&|_| compressed("{"), "EOF while parsing an object at line 1 column 1");
    refuses_value(
        &|json| compressed(&format!("{json}{}", " ".repeat(1 << 24))),
        "it inflates to more than the 16777216 bytes allowed",
    );
}

#[test]
fn shared_codes_that_cannot_be() {
    let redescribed = |from: &str, to: &str, message: &str| {
        let change = |header: &mut Value, _: &mut Vec<u8>| {
            let json = description(header);
            assert_eq!(json.matches(from).count(), 1, "{json}");
            header["__metadata__"]["cdi_prune"] = compressed(&json.replace(from, to)).into();
        };
        refuses(change, message);
    };
    let wrong = |tensor: &str, problem: &str| {
        format!("tensor `{tensor}`: its `cdi_prune` metadata is wrong: {problem}")
    };
    let s = Scratch::new();
    checkpoint(&s, &SIZES);
    succeeds(&s, &["pack", "m.safetensors", "-o", "p.safetensors", "--quiet"]);
    let lengths: BTreeMap<String, usize> =
        codes(&s.path("p.safetensors")).into_iter().map(|(name, code)| (name, code.len())).collect();
    let (a, z) = (lengths["a"], lengths["z"]);
    let sum = a + lengths["a.b"] + z;
    let said = |described: &str| {
        format!(
            "the codes in `cdi_prune.codes` have {described} bytes according to their descriptions, but it has {sum}"
        )
    };
    let code = |length: usize| format!(r#""code":{length}"#);
    redescribed(&code(a), &code(a + 1), &said(&(sum + 1).to_string()));
    redescribed(&code(z), &code(z - 1), &said(&(sum - 1).to_string()));
    redescribed(&code(a), r#""code":18446744073709551615"#, &said("18446744073709551615"));
    // Without a length, a tensor has a code of its own.
    redescribed(&format!(",{}", code(a)), "", &said(&(sum - a).to_string()));
    redescribed(
        r#""name":"large","#,
        &format!(r#""name":"large",{},"#, code(0)),
        &wrong("large", "its code is in `cdi_prune.codes`, but there is also a tensor `large.codes`"),
    );
    redescribed(
        r#""name":"z","dtype":"F32","shape":[500],"format":"coded""#,
        r#""name":"z","dtype":"F32","shape":[500],"format":"dense""#,
        &wrong("z", "it has a `code`, but its format is `dense`"),
    );
    refuses(
        |header, _| header["cdi_prune.codes"]["shape"] = json!([1, sum]),
        &format!("tensor `a`: its part `cdi_prune.codes` is U8 [1, {sum}], expected U8 [count]"),
    );
    refuses(
        |header, _| header["cdi_prune.codes"]["dtype"] = "I8".into(),
        &format!("tensor `a`: its part `cdi_prune.codes` is I8 [{sum}], expected U8 [count]"),
    );
    let renamed = |header: &mut Value, _: &mut Vec<u8>| {
        let shared = header.as_object_mut().unwrap().remove("cdi_prune.codes").unwrap();
        header["other"] = shared;
    };
    refuses(renamed, "tensor `a`: its part `cdi_prune.codes` is missing");
}

/// A file that is one of several has no shared codes.
#[test]
fn shards_share_no_codes() {
    let s = Scratch::new();
    checkpoint(&s, &SIZES);
    succeeds(&s, &["pack", "m.safetensors", "-o", "p-00001-of-00002.safetensors", "--quiet"]);
    s.safetensors("p-00002-of-00002.safetensors", &[("other", "F32", &[1], f32s(&[1.0]))]);
    let (one, two) = ("p-00001-of-00002.safetensors", "p-00002-of-00002.safetensors");
    let index = json!({"weight_map": {"cdi_prune.codes": one, "large.codes": one, "other": two}});
    s.write("p.safetensors.index.json", index.to_string());
    let ran = s.run(&["restore", "p.safetensors.index.json", "-o", "back.safetensors"]);
    assert_eq!(
        (ran.code, ran.stderr.as_str()),
        (
            1,
            "error: p.safetensors.index.json: tensor `a`: its `cdi_prune` metadata is wrong: a file that is one of \
             several shards has no `cdi_prune.codes`\n"
        )
    );
}
