//! The vectors of coded tensors in tests/vectors, of which its README tells: made here, and read from there.
//! `CDI_PRUNE_WRITE_VECTORS=1 cargo test --test stages vectors` writes them anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use cdi_core::internal::blocks;
use cdi_core::internal::codec::{
    BlockInput, EncoderScratch, Form, KEPT, Lines, Model, PRUNED, PRUNED_TO_INITIAL, TensorEncoder,
    nearest_step,
};
use cdi_core::internal::sparse::FileMetadata;
use cdi_prune::reader::PrunedReader;
use cdi_prune::tensor::{Dtype, FloatDtype, Matrix};
use serde_json::{Value, json};

use crate::common::{digest, encode, root};

/// A tensor of a vector file.
struct Vector {
    name: &'static str,
    dtype: Dtype,
    shape: Vec<usize>,
    model: Model,
    lines: Lines,
    values: Vec<u8>,
    /// The tensor in the base, and the factor of the prediction.
    base: Vec<u8>,
    factor: f64,
    /// The symbols of pruned elements, what they take, and the factor of initial values for them.
    pruned: Vec<u8>,
    fill: &'static str,
    decay: f64,
    /// Whether it is the base's tensor itself.
    in_base: bool,
}

/// What every tensor has unless it says otherwise.
fn vector(name: &'static str, dtype: Dtype, shape: &[usize], model: Model, values: Vec<u8>) -> Vector {
    let (shape, lines) = (shape.to_vec(), Lines { rows: true, columns: true });
    let (base, pruned, fill) = (Vec::new(), Vec::new(), "zero");
    Vector {
        name,
        dtype,
        shape,
        model,
        lines,
        values,
        base,
        factor: 1.0,
        pruned,
        fill,
        decay: 1.0,
        in_base: false,
    }
}

impl Vector {
    fn matrix(&self) -> Matrix {
        let rows = if self.shape.len() > 1 { self.shape[0] } else { 1 };
        Matrix { rows, cols: self.shape.iter().product::<usize>() / rows }
    }

    fn scaled(&self, factor: f64) -> Vec<u8> {
        match FloatDtype::of(self.dtype) {
            Some(float) if factor != 1.0 => scaled(float, &self.base, |_, value| value * factor),
            _ => self.base.clone(),
        }
    }

    fn is_difference(&self) -> bool {
        self.model.is_difference()
    }

    /// The values as they are stored: rounded to steps in the model that does so.
    fn stored(&self) -> Vec<u8> {
        let (Model::Steps { step, .. }, Some(float)) = (self.model, FloatDtype::of(self.dtype)) else {
            return self.values.clone();
        };
        let mut predictions = vec![0.0; self.values.len() / float.size()];
        if self.is_difference() {
            float.decode(&self.scaled(self.factor), &mut predictions);
        }
        let round = |n, value| nearest_step(float, step, value, predictions[n]).unwrap_or(value);
        scaled(float, &self.values, round)
    }

    fn code(&self) -> Vec<u8> {
        let (form, matrix) = (Form::of(self.dtype).unwrap(), self.matrix());
        let prediction = if self.is_difference() { self.scaled(self.factor) } else { Vec::new() };
        let mut encoder = TensorEncoder::new(form, matrix, self.model, self.lines);
        let mut scratch = EncoderScratch::default();
        let all: Vec<_> = blocks::cut(0, matrix).collect();
        let input = |block: &blocks::Block| {
            let bytes = block.bytes(form.size());
            let prediction = prediction.get(bytes.clone()).unwrap_or_default();
            let pruned = self.pruned.get(block.start..block.start + block.len).unwrap_or_default();
            BlockInput { values: &self.values[bytes], prediction, pruned }
        };
        all.iter().for_each(|block| encoder.measure(block, input(block), &mut scratch));
        encoder.classify();
        all.iter().for_each(|block| encoder.count(block, input(block), &mut scratch));
        encoder.cut();
        let (mut lengths, mut code) = (Vec::new(), Vec::new());
        for block in &all {
            let before = code.len();
            encoder.encode(block, input(block), &mut scratch, &mut code);
            lengths.push((code.len() - before) as u32);
        }
        [encoder.head(&lengths), code].concat()
    }

    /// Its description, which names the file `base`; if that is empty, the base that all tensors have.
    fn described(&self, base: &str) -> Value {
        let mut description = json!({
            "name": self.name, "dtype": self.dtype.to_string(), "shape": self.shape, "format": "coded",
        });
        if self.in_base {
            description["format"] = json!("base");
        } else if base.is_empty() {
            description["init"] = json!("base");
        } else if !self.base.is_empty() {
            description["init"] = json!({"from": base, "sha256": digest(&self.base)});
        }
        if self.is_difference() && !self.in_base {
            description["prediction"] = json!(self.factor);
        }
        if self.fill != "zero" {
            description["fill"] = json!(self.fill);
            description["decay"] = json!(self.decay);
        }
        description
    }

    /// The elements that a decoder gives.
    fn decoded(&self) -> Vec<u8> {
        let size = Form::of(self.dtype).unwrap().size();
        let filled = self.scaled(self.decay);
        let element = |(n, value): (usize, &[u8])| match (self.pruned.get(n), self.fill) {
            (None | Some(&KEPT), _) => value.to_vec(),
            (Some(&PRUNED), "zero" | "nearest") => vec![0; size],
            _ => filled[n * size..(n + 1) * size].to_vec(),
        };
        self.stored().chunks(size).enumerate().flat_map(element).collect()
    }
}

/// Values, changed and rounded to their type.
fn scaled(float: FloatDtype, bytes: &[u8], change: impl Fn(usize, f64) -> f64) -> Vec<u8> {
    let mut values = vec![0.0; bytes.len() / float.size()];
    float.decode(bytes, &mut values);
    values.iter_mut().enumerate().for_each(|(n, value)| *value = change(n, *value));
    let mut out = vec![0; bytes.len()];
    float.encode(&values, &mut out);
    out
}

/// Numbers about 0, the same everywhere; those of a row are of another size than those of the next.
fn numbers(float: FloatDtype, (rows, columns): (usize, usize), seed: u64) -> Vec<u8> {
    let count = rows * columns;
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / f64::from(1 << 24) - 0.5
    };
    let values: Vec<f64> =
        (0..count).map(|n| (next() + next() + next()) * f64::from(1 << (n / columns % 5)) / 64.0).collect();
    let mut out = vec![0; count * float.size()];
    float.encode(&values, &mut out);
    out
}

const FLOATS: [(&str, Dtype, u16); 4] = [
    ("f64", Dtype::F64, 4090),
    ("f32", Dtype::F32, 506),
    ("f16", Dtype::F16, 60),
    ("bf16", Dtype::BF16, 506),
];

/// Model 0.
fn values() -> Vec<Vector> {
    let of = |dtype, rows, columns| numbers(FloatDtype::of(dtype).unwrap(), (rows, columns), 1);
    let mut all: Vec<Vector> = FLOATS
        .iter()
        .map(|&(name, dtype, top)| vector(name, dtype, &[16, 24], Model::Value { top }, of(dtype, 16, 24)))
        .collect();
    let small = || of(Dtype::F32, 16, 24);
    let value = Model::Value { top: 506 };
    all.push(Vector {
        lines: Lines::default(),
        ..vector("one_table", Dtype::F32, &[16, 24], value, small())
    });
    all.push(vector("eight_lanes", Dtype::F32, &[64, 10, 7], value, of(Dtype::F32, 64, 70)));
    let mut low_bits = small();
    // Every second row is of bf16 values.
    low_bits
        .chunks_mut(2 * 24 * 4)
        .for_each(|rows| rows[..96].chunks_mut(4).for_each(|value| value[..2].fill(0)));
    all.push(vector("low_bits", Dtype::F32, &[16, 24], value, low_bits));
    let special =
        [0.0, -0.0, f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-45, -1e-38, f32::MAX, 3.0];
    let special = special.iter().flat_map(|value| value.to_le_bytes()).collect();
    all.push(vector("special", Dtype::F32, &[10], Model::Value { top: 512 }, special));
    all.push(vector("zeros", Dtype::F16, &[3, 5], Model::Value { top: 0 }, vec![0; 30]));
    all
}

/// Model 1: of each type over a base times 0.9; a base alone; and one that all elements equal.
fn differences() -> Vec<Vector> {
    let over = |name, dtype, shape: &[usize], factor: f64, step: f64| {
        let float = FloatDtype::of(dtype).unwrap();
        let base = numbers(float, (shape[0], shape[1]), 2);
        let moved = |n, value: f64| value * factor + if n % 3 == 0 { step * value } else { 0.0 };
        let values = scaled(float, &base, moved);
        Vector { base, factor, ..vector(name, dtype, shape, Model::Difference, values) }
    };
    let mut all: Vec<Vector> =
        FLOATS.iter().map(|&(name, dtype, _)| over(name, dtype, &[16, 24], 0.9, 0.01)).collect();
    all.push(over("eight_lanes", Dtype::F32, &[64, 70], 1.0, 1e-4));
    all.push(over("equal", Dtype::BF16, &[64, 70], 1.0, 0.0));
    all.push(Vector { in_base: true, ..over("in_base", Dtype::F32, &[3, 5], 1.0, 0.0) });
    all
}

/// Pruned elements in models 0 and 1, with each fill.
fn pruned() -> Vec<Vector> {
    let of = |name, fill, model, factor: f64| {
        let base = numbers(FloatDtype::F32, (16, 24), 3);
        let values =
            scaled(FloatDtype::F32, &base, |n, value| 0.875 * value + f64::from(n as u32 % 7) / 4096.0);
        let symbols =
            if fill == "nearest" { [KEPT, PRUNED, PRUNED_TO_INITIAL] } else { [KEPT, PRUNED, PRUNED] };
        let pruned = (0..384).map(|n| symbols[n * n % 5 % 3]).collect();
        let decay = 0.875;
        let base = if fill == "zero" && model != Model::Difference { Vec::new() } else { base };
        Vector { base, factor, pruned, fill, decay, ..vector(name, Dtype::F32, &[16, 24], model, values) }
    };
    let value = Model::Value { top: 506 };
    vec![
        of("zero", "zero", value, 1.0),
        of("zero_over", "zero", Model::Difference, 0.875),
        of("init", "init", value, 1.0),
        of("init_over", "init", Model::Difference, 0.875),
        of("nearest", "nearest", value, 1.0),
        of("nearest_over", "nearest", Model::Difference, 1.0),
    ]
}

/// Models 2 and 3.
fn bytes() -> Vec<Vector> {
    let types = [
        ("bool", "bool_over", Dtype::BOOL),
        ("f8", "f8_over", Dtype::F8_E4M3),
        ("u16", "u16_over", Dtype::U16),
        ("i32", "i32_over", Dtype::I32),
        ("i64", "i64_over", Dtype::I64),
    ];
    let mut all = Vec::new();
    for (name, over, dtype) in types {
        let size = Form::of(dtype).unwrap().size();
        let noise = numbers(FloatDtype::F64, (30, 40), 4);
        let mut base = vec![0.0; 1200];
        FloatDtype::F64.decode(&noise, &mut base);
        let integer = |n: usize| {
            if dtype == Dtype::BOOL { i64::from(base[n] > 0.0) } else { (base[n] * 3000.0) as i64 }
        };
        let of = |step: &dyn Fn(usize) -> i64| -> Vec<u8> {
            (0..1200).flat_map(|n| (integer(n) + step(n)).to_le_bytes()[..size].to_vec()).collect()
        };
        let (base, moved) = (of(&|_| 0), of(&|n| [0, 1, 0, -1, 0][n % 5] * i64::from(dtype != Dtype::BOOL)));
        all.push(vector(name, dtype, &[30, 40], Model::Bytes { difference: false }, moved.clone()));
        let model = Model::Bytes { difference: true };
        all.push(Vector { base, ..vector(over, dtype, &[30, 40], model, moved) });
    }
    // Floats of few values, in eight lanes.
    let few = numbers(FloatDtype::F32, (1, 5), 5);
    let values = (0..2100).flat_map(|n| few[n * n % 5 * 4..][..4].to_vec()).collect();
    all.push(vector("few", Dtype::F32, &[30, 70], Model::Bytes { difference: false }, values));
    all
}

/// Models 4 and 5: of each type, with one lane and eight, with numbers of steps of any length, with values
/// that are stored unchanged, and with pruned elements.
fn steps() -> Vec<Vector> {
    let over = |name, dtype, shape: &[usize], step: f64| {
        let float = FloatDtype::of(dtype).unwrap();
        let base = numbers(float, (shape[0], shape[1]), 6);
        let values = scaled(float, &base, |n, value| 0.9 * value + f64::from(n as u32 % 11) / 1024.0);
        let model = Model::Steps { step, difference: true };
        Vector { base, factor: 0.9, ..vector(name, dtype, shape, model, values) }
    };
    let alone = |name, dtype, step: f64| {
        let model = Model::Steps { step, difference: false };
        Vector { base: Vec::new(), factor: 1.0, model, ..over(name, dtype, &[16, 24], step) }
    };
    let mut all: Vec<Vector> =
        FLOATS.iter().map(|&(name, dtype, _)| over(name, dtype, &[16, 24], 0.003)).collect();
    all.push(alone("zero", Dtype::F32, 0.01));
    all.push(alone("zero_bf16", Dtype::BF16, 0.01));
    all.push(over("eight_lanes", Dtype::F32, &[64, 70], 0.01));
    // Numbers of steps of up to 31 bits, and values beyond.
    all.push(alone("long", Dtype::F64, 1e-10));
    let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, -0.0, 1e-45, 0.25];
    let special = special.iter().flat_map(|value| value.to_le_bytes()).collect();
    all.push(vector("special", Dtype::F32, &[7], Model::Steps { step: 0.125, difference: false }, special));
    let pruned = (0..384).map(|n| [KEPT, PRUNED, PRUNED_TO_INITIAL][n * n % 5 % 3]).collect();
    let nearest = over("nearest", Dtype::F32, &[16, 24], 0.01);
    all.push(Vector { pruned, fill: "nearest", decay: 0.875, ..nearest });
    all
}

/// Rows longer than a block, most of whose elements are equal.
fn rows() -> Vec<Vector> {
    let mut values = vec![0; 2 * 2 * 65_540];
    values.iter_mut().step_by(997).for_each(|byte| *byte = 0x3C);
    let bytes = values[..65_600].to_vec();
    vec![
        vector("value", Dtype::F16, &[2, 65_540], Model::Value { top: 60 }, values),
        vector("bytes", Dtype::U8, &[1, 65_600], Model::Bytes { difference: false }, bytes),
    ]
}

/// A safetensors file of these tensors.
fn file(metadata: Value, tensors: Vec<(String, String, Vec<usize>, Vec<u8>)>) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    if metadata != Value::Null {
        header.insert("__metadata__".to_owned(), metadata);
    }
    for (name, dtype, shape, bytes) in tensors {
        let offsets = [data.len(), data.len() + bytes.len()];
        header.insert(name, json!({"dtype": dtype, "shape": shape, "data_offsets": offsets}));
        data.extend(bytes);
    }
    encode(&header.into(), &data)
}

/// The names of the vector files, each with its tensors. `plain` is in the form of earlier releases: its
/// description is not compressed, and each code is a tensor.
fn all() -> [(&'static str, Vec<Vector>); 7] {
    [
        ("values", values()),
        ("differences", differences()),
        ("pruned", pruned()),
        ("bytes", bytes()),
        ("steps", steps()),
        ("rows", rows()),
        ("plain", pruned().into_iter().take(2).collect()),
    ]
}

/// The files of these tensors, in the folder of the vectors.
fn files(name: &str, vectors: &[Vector]) -> Vec<(String, Vec<u8>)> {
    let base_name = format!("{name}.base.safetensors");
    // The base of all tensors, or of each.
    let of_all = name == "differences";
    let base_of_each = if of_all { "" } else { &base_name };
    let described: Vec<Value> = vectors.iter().map(|vector| vector.described(base_of_each)).collect();
    let mut described =
        json!({"version": 1, "noise_version": 1, "kind": "pruned", "seed": 0, "tensors": described});
    if of_all {
        let digests: String = vectors.iter().map(|vector| digest(&vector.base)).collect();
        described["base"] = json!({"from": base_name, "sha256": digest(digests.as_bytes())});
    }
    let codes: Vec<(&str, Vec<u8>)> =
        vectors.iter().filter(|vector| !vector.in_base).map(|vector| (vector.name, vector.code())).collect();
    let dense = |vector: &Vector, bytes| {
        (vector.name.to_owned(), vector.dtype.to_string(), vector.shape.clone(), bytes)
    };
    let part = |name: String, code: Vec<u8>| (name, "U8".to_owned(), vec![code.len()], code);
    let coded = if name == "plain" {
        let parts = codes.into_iter().map(|(name, code)| part(format!("{name}.codes"), code));
        file(json!({"cdi_prune": described.to_string()}), parts.collect())
    } else {
        let mut described: FileMetadata = serde_json::from_value(described).unwrap();
        for tensor in &mut described.tensors {
            let code = codes.iter().find(|(name, _)| *name == tensor.name);
            tensor.code = code.map(|(_, code)| code.len() as u64);
        }
        let shared = codes.into_iter().flat_map(|(_, code)| code).collect();
        let metadata = described.into_map(&BTreeMap::new());
        file(json!(metadata), vec![part("cdi_prune.codes".to_owned(), shared)])
    };
    let mut files = vec![(format!("{name}.safetensors"), coded)];
    let base: Vec<_> = vectors.iter().filter(|vector| !vector.base.is_empty()).collect();
    if !base.is_empty() {
        let tensors = base.iter().map(|vector| dense(vector, vector.base.clone())).collect();
        files.push((base_name, file(Value::Null, tensors)));
    }
    if name == "rows" {
        let digests =
            vectors.iter().map(|vector| format!("{}  {}\n", digest(&vector.decoded()), vector.name));
        files.push((format!("{name}.sha256"), digests.collect::<String>().into_bytes()));
        return files;
    }
    let decoded = vectors.iter().map(|vector| dense(vector, vector.decoded())).collect();
    files.push((format!("{name}.decoded.safetensors"), file(Value::Null, decoded)));
    files
}

fn folder() -> PathBuf {
    root().join("tests/vectors")
}

/// The encoder still writes these bytes. A change of them is a change of what `pack` writes.
#[test]
fn vectors_are_what_is_written() {
    for (name, vectors) in all() {
        for (name, bytes) in files(name, &vectors) {
            let path = folder().join(&name);
            if std::env::var_os("CDI_PRUNE_WRITE_VECTORS").is_some() {
                fs::write(&path, &bytes).unwrap();
            }
            assert!(fs::read(&path).unwrap() == bytes, "{name} is not what is written today");
        }
    }
}

#[test]
fn vectors_are_read() {
    for (name, vectors) in all() {
        let path = |kind: &str| folder().join(format!("{name}{kind}.safetensors"));
        let base = path(".base");
        let coded = PrunedReader::open(&path(""), base.exists().then_some(base.as_path())).unwrap();
        if name == "rows" {
            let digests =
                vectors.iter().map(|v| digest(&coded.read_to_vec(v.name).unwrap()) + "  " + v.name + "\n");
            assert_eq!(
                digests.collect::<String>(),
                fs::read_to_string(folder().join("rows.sha256")).unwrap()
            );
            continue;
        }
        let decoded = PrunedReader::open(&path(".decoded"), None).unwrap();
        for vector in &vectors {
            let expected = decoded.read_to_vec(vector.name).unwrap();
            assert!(coded.read_to_vec(vector.name).unwrap() == expected, "{name}: {}", vector.name);
            assert_eq!(coded.tensor(vector.name), decoded.tensor(vector.name));
        }
        assert_eq!(coded.tensors().count(), vectors.len());
    }
}

/// The vectors have all that the format can say.
#[test]
fn vectors_have_everything() {
    let files = all();
    let heads: Vec<(String, Vec<u8>)> = files
        .iter()
        .flat_map(|(name, vectors)| vectors.iter().map(move |v| (format!("{name}/{}", v.name), v)))
        .filter(|(_, vector)| !vector.in_base)
        .map(|(name, vector)| (name, vector.code()))
        .collect();
    let has = |what: &str, is: &dyn Fn(&[u8]) -> bool| {
        let names: Vec<&str> = heads.iter().filter(|(_, code)| is(code)).map(|(name, _)| &**name).collect();
        assert!(!names.is_empty(), "none has {what}");
    };
    // The bytes of a head behind its model and, in model 0, `top`.
    let flags = |code: &[u8]| if code[1] == 0 { code[4] } else { code[2] };
    let tables = |code: &[u8]| if code[1] == 0 { code[5] } else { code[3] };
    for model in 0..4 {
        has(&format!("model {model}"), &|code| code[1] == model);
    }
    for bit in 0..3 {
        has(&format!("flag {bit}"), &|code| flags(code) >> bit & 1 == 1);
    }
    has("one table in model 0", &|code| code[1] == 0 && tables(code) == 1);
    for model in 0..4 {
        has(&format!("two tables in model {model}"), &|code| code[1] == model && tables(code) > 1);
    }
    // The length of its only block, at the end of its head.
    has("a difference without bytes", &|code| code[1] == 1 && code.ends_with(&[0; 4]));
}
