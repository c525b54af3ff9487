//! The hot loops, each on every instruction set of this processor: `cargo bench -p benches --bench kernels`.
//! Each is first checked against one value at a time.

use std::hint::black_box;

use cdi_core::internal::blocks;
use cdi_core::internal::codec::{
    BlockDecoder, BlockInput, BlockValues, Choice, EncoderScratch, Head, Lines, Model, TensorEncoder,
};
use cdi_core::internal::dispatch::InstructionSet;
use cdi_core::internal::init::Fill;
use cdi_core::internal::noise::block::{Gaussians, Uniforms};
use cdi_core::internal::sparse::bitmask;
use cdi_core::internal::tensor::{Decode, Encode};
use cdi_prune::analysis::{Comparison, Tally, Threshold};
use cdi_prune::init::{Generator, SchemeParams};
use cdi_prune::noise::{gaussian_at, uniform_at};
use cdi_prune::reader::PrunedReader;
use cdi_prune::tensor::{FloatDtype, Layout, Matrix, Shape};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Values that stay in the fastest memory, as in the real program.
const LEN: usize = 1024;

fn generator(dims: &[usize]) -> Generator {
    let shape = Shape::new(dims.to_vec()).unwrap();
    Generator::new(1, 2, &SchemeParams::named("he").scheme().unwrap(), &shape, Layout::OutIn)
}

fn noise(c: &mut Criterion) {
    let mut out = vec![0.0; LEN];
    let mut group = c.benchmark_group("noise");
    group.throughput(Throughput::Elements(LEN as u64));
    for set in InstructionSet::available() {
        set.run(Gaussians { key: 5, j0: 3, out: &mut out });
        assert!(out.iter().zip(3..).all(|(x, j)| x.to_bits() == gaussian_at(5, j).to_bits()));
        group.bench_function(BenchmarkId::new("gaussian", set.name()), |b| {
            b.iter(|| set.run(Gaussians { key: black_box(5), j0: 0, out: black_box(&mut out) }));
        });
        set.run(Uniforms { key: 5, j0: 3, out: &mut out });
        assert!(out.iter().zip(3..).all(|(x, j)| x.to_bits() == uniform_at(5, j).to_bits()));
        group.bench_function(BenchmarkId::new("uniform", set.name()), |b| {
            b.iter(|| set.run(Uniforms { key: black_box(5), j0: 0, out: black_box(&mut out) }));
        });
    }
    for (name, generator) in
        [("he, rows of 4096", generator(&[64, 4096])), ("he, rows of 27", generator(&[4096, 27]))]
    {
        for set in InstructionSet::available() {
            set.run(Fill { generator: &generator, start: 5000, out: &mut out });
            let cols = generator.matrix().cols;
            let alone = |n: usize| generator.weight_at(n / cols, n % cols).to_bits();
            assert!(out.iter().zip(5000..).all(|(x, n)| x.to_bits() == alone(n)));
            group.bench_function(BenchmarkId::new(name, set.name()), |b| {
                b.iter(|| {
                    set.run(Fill { generator: &generator, start: black_box(4096), out: black_box(&mut out) })
                });
            });
        }
    }
}

fn types(c: &mut Criterion) {
    let mut values = vec![0.0; LEN];
    generator(&[64, 4096]).fill(0, &mut values);
    let mut group = c.benchmark_group("types");
    group.throughput(Throughput::Elements(LEN as u64));
    for dtype in [FloatDtype::F32, FloatDtype::F16, FloatDtype::Bf16] {
        let mut bytes = vec![0; LEN * dtype.size()];
        let mut back = vec![0.0; LEN];
        for set in InstructionSet::available() {
            set.run(Encode { dtype, xs: &values, out: &mut bytes });
            set.run(Decode { dtype, bytes: &bytes, out: &mut back });
            assert!(back.iter().zip(&values).all(|(back, x)| *back == dtype.round(*x)));
            group.bench_function(BenchmarkId::new(format!("encode {dtype}"), set.name()), |b| {
                b.iter(|| set.run(Encode { dtype, xs: black_box(&values), out: black_box(&mut bytes) }));
            });
        }
    }
}

fn comparison(c: &mut Criterion) {
    let mut initial = vec![0.0; LEN];
    generator(&[64, 4096]).fill(0, &mut initial);
    FloatDtype::F32.round_slice(&mut initial);
    let moved: Vec<f64> = initial.iter().enumerate().map(|(n, x)| x + f64::from(n % 3 == 0)).collect();
    let mut trained = vec![0; 4 * LEN];
    FloatDtype::F32.encode(&moved, &mut trained);
    let mut bits = vec![0; LEN / 8];
    let mut group = c.benchmark_group("compare");
    group.throughput(Throughput::Elements(LEN as u64));
    for threshold in [Threshold::Absolute(1e-3), Threshold::Relative(1e-3), Threshold::Ulps(1)] {
        let by = Comparison::new(threshold, 1.0, FloatDtype::F32);
        for set in InstructionSet::available() {
            let mut tally = Tally::default();
            tally.add_on(set, &by, &trained, &mut initial, &mut bits);
            assert_eq!(tally.stats().changed, LEN.div_ceil(3) as u64);
            group.bench_function(BenchmarkId::new(threshold.to_string(), set.name()), |b| {
                b.iter(|| tally.add_on(set, &by, black_box(&trained), &mut initial, black_box(&mut bits)));
            });
        }
    }
    group.finish();
    let mut stored = Vec::new();
    bitmask::gather(&trained, LEN, &bits, FloatDtype::F32, &mut stored);
    assert_eq!(stored.len(), 4 * LEN.div_ceil(3));
    let mut group = c.benchmark_group("bitmask");
    group.throughput(Throughput::Elements(LEN as u64));
    group.bench_function("gather a third", |b| {
        b.iter(|| bitmask::gather(black_box(&trained), LEN, black_box(&bits), FloatDtype::F32, &mut stored));
    });
    let mut dense = vec![0; 4 * LEN];
    bitmask::scatter(&stored, LEN, &bits, FloatDtype::F32, &mut dense);
    assert!(dense.as_chunks::<12>().0.iter().zip(trained.as_chunks::<12>().0).all(|(d, t)| d[..4] == t[..4]));
    group.bench_function("scatter a third", |b| {
        b.iter(|| bitmask::scatter(black_box(&stored), LEN, black_box(&bits), FloatDtype::F32, &mut dense));
    });
}

/// A file of one tensor of F32, `n` by `n`, all of it pruned to initial values.
fn all_pruned(n: usize, mode: &str) -> Vec<u8> {
    let description = format!(
        r#"{{"version":1,"noise_version":1,"kind":"pruned","seed":1,"tensors":[{{"name":"w","dtype":"F32",
        "shape":[{n},{n}],"format":"bitmask","fill":"init","layer_id":2,"init":{{"mode":"{mode}"}}}}]}}"#
    );
    let (shape, offsets, end) = (16, 16 + 8 * n, 16 + 8 * n + n * n / 8);
    let header = serde_json::json!({
        "__metadata__": {"cdi_prune": description},
        "w.shape": {"dtype": "I64", "shape": [2], "data_offsets": [0, shape]},
        "w.row_offsets": {"dtype": "I64", "shape": [n], "data_offsets": [shape, offsets]},
        "w.compressed": {"dtype": "F32", "shape": [0], "data_offsets": [offsets, offsets]},
        "w.bitmask": {"dtype": "U8", "shape": [n, n / 8], "data_offsets": [offsets, end]},
    })
    .to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.bytes());
    file.extend([n as u64; 2].iter().flat_map(|size| size.to_le_bytes()));
    file.resize(8 + header.len() + end, 0);
    file
}

/// One row of a pruned tensor, alone and through a handle that has read another before.
fn rows(c: &mut Criterion) {
    const N: usize = 512;
    let mut group = c.benchmark_group("rows");
    group.throughput(Throughput::Elements(N as u64));
    for mode in ["he", "orthogonal"] {
        let file = PrunedReader::from_bytes(all_pruned(N, mode), None).unwrap();
        let whole = file.read_to_vec("w").unwrap();
        let mut row = vec![0; 4 * N];
        group.bench_function(BenchmarkId::new(mode, "alone"), |b| {
            b.iter(|| file.read_rows("w", black_box(7..8), &mut row).unwrap());
        });
        let mut handle = file.tensor_reader("w").unwrap();
        handle.read_rows(0..1, &mut row).unwrap();
        group.bench_function(BenchmarkId::new(mode, "through a handle"), |b| {
            b.iter(|| handle.read_rows(black_box(7..8), &mut row).unwrap());
        });
        assert_eq!(row, whole[7 * 4 * N..8 * 4 * N]);
    }
}

/// A tensor of F32 coded as values, as differences and in steps: all passes of the encoder, and the decoder.
fn codec(c: &mut Criterion) {
    const MATRIX: Matrix = Matrix { rows: 1024, cols: 512 };
    let (mut initial, mut moved) = (vec![0.0; 1024 * 512], vec![0.0; 1024 * 512]);
    let set = InstructionSet::PORTABLE;
    set.run(Gaussians { key: 7, j0: 0, out: &mut initial });
    set.run(Gaussians { key: 8, j0: 0, out: &mut moved });
    moved.iter_mut().zip(&initial).for_each(|(moved, initial)| *moved = 0.9 * initial + 0.01 * *moved);
    let bytes = |values: &[f64]| {
        let mut out = vec![0; 4 * values.len()];
        FloatDtype::F32.encode(values, &mut out);
        out
    };
    let (values, initial) = (bytes(&moved), bytes(&initial));
    let cut: Vec<_> = blocks::cut(0, MATRIX).collect();
    let mut group = c.benchmark_group("codec");
    group.throughput(Throughput::Bytes(values.len() as u64)).sample_size(20);
    let models = [
        ("values", Model::Value { top: 520 }),
        ("differences", Model::Difference),
        ("steps", Model::Steps { step: 0.05, difference: true }),
    ];
    for (name, model) in models {
        let choice = Choice { model, scale: 1.0, lines: Lines { rows: true, columns: true }, bits: 0.0 };
        let prediction = if model.is_difference() { &initial[..] } else { &[] };
        let input = |range: std::ops::Range<usize>| BlockInput {
            values: &values[range.clone()],
            prediction: prediction.get(range).unwrap_or_default(),
            pruned: &[],
        };
        let encode = || {
            let mut encoder = TensorEncoder::new(FloatDtype::F32, MATRIX, choice.model, choice.lines);
            let mut scratch = EncoderScratch::default();
            let mut each = |pass: &mut dyn FnMut(&blocks::Block, BlockInput<'_>, &mut EncoderScratch)| {
                cut.iter().for_each(|block| pass(block, input(block.bytes(4)), &mut scratch));
            };
            each(&mut |block, input, scratch| encoder.measure(block, input, scratch));
            encoder.classify();
            each(&mut |block, input, scratch| encoder.count(block, input, scratch));
            encoder.cut();
            let (mut code, mut lengths) = (Vec::new(), Vec::new());
            each(&mut |block, input, scratch| {
                let before = code.len();
                encoder.encode(block, input, scratch, &mut code);
                lengths.push((code.len() - before) as u32);
            });
            [encoder.head(&lengths), code].concat()
        };
        group.bench_function(BenchmarkId::new("encode", name), |b| b.iter(|| black_box(encode())));
        let code = encode();
        let head = Head::read(&code, FloatDtype::F32, MATRIX, None).unwrap();
        let mut out = vec![0; values.len()];
        let mut decoder = BlockDecoder::default();
        let mut decode = |out: &mut [u8]| {
            for (n, block) in cut.iter().enumerate() {
                let given =
                    BlockValues { prediction: input(block.bytes(4)).prediction, ..Default::default() };
                decoder.decode(&head, &code, (n, block), given, &mut out[block.bytes(4)]).unwrap();
            }
        };
        decode(&mut out);
        assert!(!model.is_exact() || out == values);
        group.bench_function(BenchmarkId::new("decode", name), |b| b.iter(|| decode(black_box(&mut out))));
    }
}

criterion_group!(benches, noise, types, comparison, rows, codec);
criterion_main!(benches);
