//! Codes and decodes tensors, and checks that damaged codes are refused.

use super::choose::scaled;
use super::encoder::{KEPT, Lines};
use super::levels::Classes;
use super::*;
use crate::blocks;
use crate::dispatch::InstructionSet;
use crate::prelude::*;
use crate::tensor::{FloatDtype, Matrix};

/// Codes a tensor block by block, with the model that suits it best.
pub fn code(
    dtype: FloatDtype,
    matrix: Matrix,
    values: &[u8],
    initial: &[u8],
    pruned: &[u8],
) -> (Choice, Vec<u8>) {
    let choice = choose(&whole(dtype, matrix, values, initial, pruned), &mut EncoderScratch::default());
    (choice, code_as(choice, dtype, matrix, values, initial, pruned))
}

/// A sample that is a whole tensor.
fn whole<'a>(
    dtype: FloatDtype,
    matrix: Matrix,
    values: &'a [u8],
    initial: &'a [u8],
    pruned: &'a [u8],
) -> Sample<'a> {
    let filled = Filled::Otherwise;
    Sample { dtype, matrix, values, initial, pruned, filled, scale: 1.0, share: 1.0, described: 0.0 }
}

/// Codes a tensor with this model.
fn code_as(
    choice: Choice,
    dtype: FloatDtype,
    matrix: Matrix,
    values: &[u8],
    initial: &[u8],
    pruned: &[u8],
) -> Vec<u8> {
    let prediction =
        if choice.model.is_difference() { scaled(dtype, initial, choice.scale) } else { Vec::new() };
    code_over(choice, dtype.into(), matrix, values, &prediction, pruned)
}

/// Checks that every instruction set of this processor gives the same bytes.
fn code_over(
    choice: Choice,
    form: Form,
    matrix: Matrix,
    values: &[u8],
    prediction: &[u8],
    pruned: &[u8],
) -> Vec<u8> {
    let on = |set| code_on(set, choice, form, matrix, values, prediction, pruned);
    let code = on(InstructionSet::PORTABLE);
    for set in InstructionSet::available() {
        assert!(on(set) == code, "{set:?} {form:?} {matrix:?} {choice:?}");
    }
    code
}

fn code_on(
    set: InstructionSet,
    choice: Choice,
    form: Form,
    matrix: Matrix,
    values: &[u8],
    prediction: &[u8],
    pruned: &[u8],
) -> Vec<u8> {
    let mut encoder = TensorEncoder::new(form, matrix, choice.model, choice.lines);
    let mut scratch = EncoderScratch::on(set);
    let inputs: Vec<_> = blocks::cut(0, matrix)
        .map(|block| {
            let bytes = block.bytes(form.size());
            let input = BlockInput {
                values: &values[bytes.clone()],
                prediction: prediction.get(bytes).unwrap_or_default(),
                pruned: pruned.get(block.start..block.start + block.len).unwrap_or_default(),
            };
            (block, input)
        })
        .collect();
    for (block, input) in &inputs {
        encoder.measure(block, *input, &mut scratch);
    }
    encoder.classify();
    for (block, input) in &inputs {
        encoder.count(block, *input, &mut scratch);
    }
    encoder.cut();
    let (mut lengths, mut blocks) = (Vec::new(), Vec::new());
    for (block, input) in &inputs {
        let before = blocks.len();
        encoder.encode(block, *input, &mut scratch, &mut blocks);
        lengths.push((blocks.len() - before) as u32);
    }
    let mut code = encoder.head(&lengths);
    code.extend(blocks);
    code
}

/// Decodes a whole tensor, on every instruction set of this processor.
fn decode(
    form: impl Into<Form>,
    matrix: Matrix,
    code: &[u8],
    prediction: &[u8],
    fill: &[u8],
    pruned: Option<u8>,
) -> Result<Vec<u8>, CodeError> {
    let form = form.into();
    let on = |set| decode_on(set, form, matrix, code, prediction, fill, pruned);
    let decoded = on(InstructionSet::PORTABLE);
    for set in InstructionSet::available() {
        assert!(on(set) == decoded, "{set:?} {form:?} {matrix:?}");
    }
    decoded
}

fn decode_on(
    set: InstructionSet,
    form: Form,
    matrix: Matrix,
    code: &[u8],
    prediction: &[u8],
    fill: &[u8],
    pruned: Option<u8>,
) -> Result<Vec<u8>, CodeError> {
    let head = Head::read(code, form, matrix, pruned)?;
    let mut out = vec![0xAA; matrix.rows * matrix.cols * form.size()];
    let mut decoder = BlockDecoder::on(set);
    for (number, block) in blocks::cut(0, matrix).enumerate() {
        let bytes = block.bytes(form.size());
        let values = BlockValues {
            prediction: if head.is_difference() { &prediction[bytes.clone()] } else { &[] },
            pruned: fill.get(bytes.clone()).unwrap_or_default(),
            initial: prediction.get(bytes.clone()).unwrap_or_default(),
        };
        decoder.decode(&head, code, (number, &block), values, &mut out[bytes])?;
    }
    Ok(out)
}

/// Pseudorandom numbers that are the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 16 ^ self.0 >> 40
    }

    /// Approximately normal, in steps of 2^-16: multiplied by a factor of few bits, its
    /// low bits would repeat.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| (self.next() & 0xFFFF) as f64 / 65536.0).sum::<f64>() - 6.0
    }
}

fn encoded(dtype: FloatDtype, values: &[f64]) -> Vec<u8> {
    let mut out = vec![0; values.len() * dtype.size()];
    dtype.encode(values, &mut out);
    out
}

const DTYPES: [FloatDtype; 4] = [FloatDtype::F64, FloatDtype::F32, FloatDtype::F16, FloatDtype::Bf16];

#[test]
fn every_value_comes_back_in_every_model() {
    let special = [0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e-45, -6e-8, 1e300, 3.4e38, 1.0];
    for (rows, cols) in [(1, 1), (1, 10), (3, 4), (40, 100), (70, 1000), (2, 66_000), (200, 1)] {
        let matrix = Matrix { rows, cols };
        let mut random = Random(rows as u64);
        let w0: Vec<f64> = (0..rows * cols).map(|_| random.normal() * 0.05).collect();
        let mut w: Vec<f64> = w0
            .iter()
            .enumerate()
            .map(|(n, w0)| if n % 5 == 0 { *w0 } else { w0 * 0.9 + random.normal() * 0.001 })
            .collect();
        for (n, special) in special.iter().enumerate() {
            let at = (n * 37) % w.len();
            w[at] = *special;
        }
        for dtype in DTYPES {
            let (values, initial) = (encoded(dtype, &w), encoded(dtype, &w0));
            for lines in [(false, false), (true, false), (false, true), (true, true)] {
                let lines = Lines { rows: lines.0, columns: lines.1 };
                for (model, scale) in [
                    (Model::Value { top: 3 }, 1.0),
                    (Model::Value { top: if dtype == FloatDtype::F64 { 4100 } else { 60 } }, 1.0),
                    (Model::Difference, 1.0),
                    (Model::Difference, 0.9),
                ] {
                    let choice = Choice { model, scale, lines, bits: 0.0 };
                    let code = code_as(choice, dtype, matrix, &values, &initial, &[]);
                    let prediction = scaled(dtype, &initial, scale);
                    let got = decode(dtype, matrix, &code, &prediction, &[], None);
                    assert_eq!(got.as_ref(), Ok(&values), "{dtype} {matrix:?} {choice:?}");
                }
            }
            let (choice, code) = code(dtype, matrix, &values, &initial, &[]);
            let prediction = scaled(dtype, &initial, choice.scale);
            assert_eq!(decode(dtype, matrix, &code, &prediction, &[], None).as_ref(), Ok(&values));
        }
    }
}

/// Steps from a prediction and from zero, of all types: each restored value is the nearest number of steps
/// away, special values are unchanged, and coding what was restored gives the same bytes again.
#[test]
fn steps_come_back() {
    let special = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 3.0e38, -65504.0, 1e300];
    for (rows, cols) in [(1, 1), (1, 10), (40, 100), (70, 1000), (2, 66_000)] {
        let matrix = Matrix { rows, cols };
        let mut random = Random(rows as u64);
        let w0: Vec<f64> = (0..rows * cols).map(|_| random.normal() * 0.05).collect();
        let mut w: Vec<f64> = w0.iter().map(|w0| w0 * 0.9 + random.normal() * 0.01).collect();
        for (n, special) in special.iter().enumerate() {
            let at = (n * 37) % w.len();
            w[at] = *special;
        }
        for dtype in DTYPES {
            let (values, initial) = (encoded(dtype, &w), encoded(dtype, &w0));
            for (step, scale) in [(0.004, Some(0.9)), (0.004, None), (1e-6, Some(1.0)), (1e-12, None)] {
                let model = Model::Steps { step, difference: scale.is_some() };
                let lines = Lines { rows: rows > 40, columns: true };
                let choice = Choice { model, scale: scale.unwrap_or(1.0), lines, bits: 0.0 };
                let code = code_as(choice, dtype, matrix, &values, &initial, &[]);
                let prediction = scaled(dtype, &initial, choice.scale);
                let got = decode(dtype, matrix, &code, &prediction, &[], None).unwrap();
                let (mut old, mut new) = (vec![0.0; w.len()], vec![0.0; w.len()]);
                dtype.decode(&values, &mut old);
                dtype.decode(&got, &mut new);
                for (n, (old, new)) in old.iter().zip(&new).enumerate() {
                    // Half a step, and half of the distance to the next value of the type.
                    let most = 0.5 * step + new.abs() * [0.0, 6e-8, 5e-4, 4e-3][dtype as usize] + 1e-7;
                    let same = old.to_bits() == new.to_bits();
                    assert!(same || (old - new).abs() <= most, "{dtype} {choice:?} {n}: {old} {new}");
                }
                let again = code_as(choice, dtype, matrix, &got, &initial, &[]);
                assert!(again == code, "{dtype} {choice:?}");
            }
        }
    }
}

/// Steps are counted from whatever gives the fewest bytes, unless the caller says from what.
#[test]
fn steps_over_initial_values_or_zero() {
    let matrix = Matrix { rows: 64, cols: 256 };
    let mut random = Random(13);
    let w0: Vec<f64> = (0..64 * 256).map(|_| random.normal() * 0.05).collect();
    for (moved, over_initial) in [(0.01, true), (1.0, false)] {
        let w: Vec<f64> =
            w0.iter().map(|w0| 0.8 * w0 * f64::from(moved < 0.5) + random.normal() * moved).collect();
        let (values, initial) = (encoded(FloatDtype::F32, &w), encoded(FloatDtype::F32, &w0));
        let sample = Sample { described: 800.0, ..whole(FloatDtype::F32, matrix, &values, &initial, &[]) };
        let chosen = |over| choose_steps(&sample, 0.01, over, &mut EncoderScratch::default());
        let steps = |difference| Model::Steps { step: 0.01, difference };
        assert_eq!(chosen(Over::Auto).model, steps(over_initial));
        assert_eq!(chosen(Over::Initial).model, steps(true));
        assert_eq!(chosen(Over::Zero).model, steps(false));
        let alone = Sample { initial: &[], ..sample };
        assert_eq!(
            choose_steps(&alone, 0.01, Over::Initial, &mut EncoderScratch::default()).model,
            steps(false)
        );
        if over_initial {
            assert!((chosen(Over::Auto).scale - 0.8).abs() < 0.01);
            assert!(chosen(Over::Auto).bits < 0.7 * chosen(Over::Zero).bits);
        }
    }
}

/// Pruned elements take their fill or their initial value, and all others are restored exactly.
#[test]
fn pruned_places_take_what_fills_them() {
    let matrix = Matrix { rows: 40, cols: 100 };
    let mut random = Random(7);
    let w0: Vec<f64> = (0..4000).map(|_| random.normal() * 0.05).collect();
    let w: Vec<f64> = w0.iter().map(|w0| w0 + random.normal() * 0.01).collect();
    let (values, initial) = (encoded(FloatDtype::F32, &w), encoded(FloatDtype::F32, &w0));
    let places: Vec<u8> = (0..4000).map(|n| [KEPT, PRUNED, KEPT, PRUNED_TO_INITIAL][n % 4]).collect();
    let fill = encoded(FloatDtype::F32, &[0.25; 4000]);
    for initial_known in [false, true] {
        let start = if initial_known { &initial[..] } else { &[] };
        let (choice, code) = code(FloatDtype::F32, matrix, &values, start, &places);
        assert_eq!(choice.model == Model::Difference, initial_known);
        let prediction =
            if initial_known { scaled(FloatDtype::F32, &initial, choice.scale) } else { initial.clone() };
        let got =
            decode(FloatDtype::F32, matrix, &code, &prediction, &fill, Some(PRUNED_TO_INITIAL)).unwrap();
        for (n, got) in got.as_chunks::<4>().0.iter().enumerate() {
            let of = [&values, &fill, &values, &prediction][n % 4];
            assert_eq!(got, &of[4 * n..4 * n + 4], "{n}");
        }
        // A tensor that cannot have such elements.
        for allowed in [None, Some(PRUNED)] {
            let refused = Head::read(&code, FloatDtype::F32, matrix, allowed).map(drop);
            assert!(matches!(refused, Err(CodeError::Table(_))), "{refused:?}");
        }
    }
}

/// A few bytes must not cause large allocations: the number of lines with classes is limited.
#[test]
fn classes_without_bound_are_refused() {
    for (rows, refused) in [(1usize << 20, false), ((1 << 20) + 1, true)] {
        let classes = Classes { base: 3, above: (0..rows).map(|row| u8::from(row % 9 == 0)).collect() };
        // Version, the difference model, classes of rows, one table.
        let mut code = vec![1, 1, 1, 1];
        classes.write(&mut code);
        // Only symbol 2, and blocks without bytes.
        code.extend([2, 2]);
        code.resize(code.len() + 4 * rows.div_ceil(1024), 0);
        let head = Head::read(&code, FloatDtype::F32, Matrix { rows, cols: 64 }, None).map(drop);
        assert_eq!(head, if refused { Err(CodeError::Classes("rows")) } else { Ok(()) });
    }
    let none = Head::read(&[1, 1, 0, 1, 2, 2], FloatDtype::F32, Matrix { rows: 1 << 40, cols: 64 }, None);
    assert_eq!(none.map(drop), Err(CodeError::Truncated));
}

/// The values of some rows were once stored in fewer bits: their low bits are zero and take no space.
#[test]
fn low_bits_that_are_zero_take_nothing() {
    let matrix = Matrix { rows: 64, cols: 256 };
    let mut random = Random(3);
    let w: Vec<f64> = (0..64 * 256).map(|_| random.normal() * 0.0531415926).collect();
    let mut values = encoded(FloatDtype::F32, &w);
    let (_, all) = code(FloatDtype::F32, matrix, &values, &[], &[]);
    for (n, bytes) in values.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        // Every second row has bf16 values; one row is zero except for one value.
        match n / 256 {
            5 => *bytes = if n % 256 == 9 { 1f32.to_le_bytes() } else { [0; 4] },
            row if row % 2 == 0 => bytes[..2].fill(0),
            _ => {}
        }
    }
    let (choice, some) = code(FloatDtype::F32, matrix, &values, &[], &[]);
    assert_eq!(decode(FloatDtype::F32, matrix, &some, &[], &[], None).as_ref(), Ok(&values), "{choice:?}");
    // Saves two bytes for each value of 32 rows, and all but half a byte for each value of one more row. The
    // classes take some of this back.
    assert!(some.len() + 2 * 32 * 256 + 3 * 256 < all.len() + 256, "{} of {}", some.len(), all.len());
}

/// Distances of every length and both signs, which vector instructions could get wrong.
#[test]
fn differences_of_every_length_come_back() {
    let matrix = Matrix { rows: 64, cols: 1000 };
    let mut random = Random(11);
    for dtype in DTYPES {
        let (size, bits) = (dtype.size(), 8 * dtype.size() as u32);
        let (mut values, mut initial) = (Vec::new(), Vec::new());
        for _ in 0..matrix.rows * matrix.cols {
            let start = random.next() << 32 ^ random.next();
            let distance =
                (random.next() << 32 ^ random.next()) >> (64 - bits) >> (random.next() % u64::from(bits));
            let value = if random.next().is_multiple_of(2) {
                start.wrapping_add(distance)
            } else {
                start.wrapping_sub(distance)
            };
            initial.extend(&start.to_le_bytes()[..size]);
            values.extend(&value.to_le_bytes()[..size]);
        }
        for model in [Model::Difference, Model::Value { top: 200 }] {
            let choice = Choice { model, scale: 1.0, lines: Lines { rows: true, columns: true }, bits: 0.0 };
            let code = code_as(choice, dtype, matrix, &values, &initial, &[]);
            assert!(
                decode(dtype, matrix, &code, &initial, &[], None).as_ref() == Ok(&values),
                "{dtype} {model:?}"
            );
        }
    }
}

/// Bytes of all element sizes, with and without a base, in blocks of several rows and of a part of a row.
#[test]
fn bytes_come_back() {
    let lines = Lines::default();
    let choice = |difference| Choice { model: Model::Bytes { difference }, scale: 1.0, lines, bits: 0.0 };
    for (rows, cols) in [(1, 1), (3, 5), (70, 1000), (2, 66_000)] {
        let matrix = Matrix { rows, cols };
        for bits in [8, 16, 32, 64] {
            let form = Form { bits, mantissa: 0 };
            let mut random = Random(u64::from(bits) + rows as u64);
            let (mut values, mut base) = (Vec::new(), Vec::new());
            for n in 0..rows * cols {
                let start = random.next() << 32 ^ random.next();
                // Differences of every length and sign, many of them 0, some across the largest number.
                let few = (random.normal() * 3.0) as i64 * (n % 3) as i64 * i64::from(n % 50 != 0);
                let d = few << (n % 30);
                base.extend(&start.to_le_bytes()[..form.size()]);
                values.extend(&start.wrapping_add(d as u64).to_le_bytes()[..form.size()]);
            }
            let alone = code_over(choice(false), form, matrix, &values, &[], &[]);
            assert!(
                decode(form, matrix, &alone, &[], &[], None).as_ref() == Ok(&values),
                "{form:?} {matrix:?}"
            );
            let over = code_over(choice(true), form, matrix, &values, &base, &[]);
            assert!(
                decode(form, matrix, &over, &base, &[], None).as_ref() == Ok(&values),
                "{form:?} {matrix:?}"
            );
            if rows == 70 {
                let tried =
                    choose_bytes(form, matrix, (&values, &base), (1.0, 0.0), &mut EncoderScratch::default());
                assert_eq!(tried.model, Model::Bytes { difference: true }, "{form:?}");
                assert!(over.len() < alone.len(), "{form:?}: {} and {}", over.len(), alone.len());
            }
        }
    }
}

/// Each byte costs the bits that it needs at its position in the element: 8, 3 and 0 bits here, with
/// no table for zeros.
#[test]
fn each_byte_has_its_own_table() {
    let matrix = Matrix { rows: 64, cols: 1024 };
    let mut random = Random(17);
    let values: Vec<u8> =
        (0..64 * 1024).flat_map(|_| [random.next() as u8, 7 * (random.next() % 8) as u8, 0, 0]).collect();
    let form = Form { bits: 32, mantissa: 0 };
    let choice = choose_bytes(form, matrix, (&values, &[]), (1.0, 0.0), &mut EncoderScratch::default());
    let code = code_over(choice, form, matrix, &values, &[], &[]);
    let least = 64 * 1024 * 11 / 8;
    assert!((least..least + 700).contains(&code.len()), "{} of {least}", code.len());
}

/// Only floats with few distinct values are coded as bytes.
#[test]
fn floats_of_few_values() {
    let matrix = Matrix { rows: 64, cols: 256 };
    let mut random = Random(5);
    let few: Vec<f64> = (0..7).map(|_| random.normal() * 0.0531415926).collect();
    let w: Vec<f64> = (0..64 * 256).map(|_| few[random.next() as usize % 7]).collect();
    let values = encoded(FloatDtype::F32, &w);
    let (choice, coded) = code(FloatDtype::F32, matrix, &values, &[], &[]);
    assert_eq!(choice.model, Model::Bytes { difference: false });
    assert_eq!(decode(FloatDtype::F32, matrix, &coded, &[], &[], None).as_ref(), Ok(&values));
    let many: Vec<f64> = (0..64 * 256).map(|_| random.normal() * 0.0531415926).collect();
    let (choice, _) = code(FloatDtype::F32, matrix, &encoded(FloatDtype::F32, &many), &[], &[]);
    assert!(matches!(choice.model, Model::Value { .. }), "{choice:?}");
}

/// Types that are not floating point have no magnitudes, and codes of bytes do not skip low
/// bits that are zero.
#[test]
fn models_that_a_type_cannot_have() {
    let matrix = Matrix { rows: 1, cols: 2 };
    let read = |code: &[u8], form: Form| Head::read(code, form, matrix, None).map(drop);
    let integers = Form { bits: 32, mantissa: 0 };
    let model = |got| Err(CodeError::Unknown { what: "the model", got });
    assert_eq!(read(&[1, 0, 9, 0, 0, 1, 2, 2, 0, 0, 0, 0], integers), model(0));
    assert_eq!(read(&[1, 1, 0, 1, 2, 2, 0, 0, 0, 0], integers), model(1));
    assert_eq!(read(&[1, 4, 0, 1, 2, 2, 0, 0, 0, 0], integers), model(4));
    assert_eq!(read(&[1, 5, 0, 1, 2, 2, 0, 0, 0, 0], integers), model(5));
    for code in [2, 3] {
        // Only symbol 0, which is a byte and does not stand for a pruned element.
        assert_eq!(read(&[1, code, 0, 1, 0, 0, 0, 0, 0, 0], integers), Ok(()));
        let flags = Err(CodeError::Unknown { what: "the classes' flag", got: 4 });
        assert_eq!(read(&[1, code, 4, 1, 0, 0, 0, 0, 0, 0], integers), flags);
    }
}
