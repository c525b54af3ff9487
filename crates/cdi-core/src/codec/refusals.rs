//! Tests what a decoder refuses, with codes made by hand: one for each reason listed in
//! docs/format.md, with its message.

use super::frequency;
use super::levels::Classes;
use super::rawbits::BitWriter;
use super::*;
use crate::blocks;
use crate::prelude::*;
use crate::tensor::{FloatDtype, Matrix};

const F32: Form = Form { bits: 32, mantissa: 23 };
const I32: Form = Form { bits: 32, mantissa: 0 };

/// A code of one block, for elements in one row.
struct Code {
    model: Vec<u8>,
    flags: u8,
    count: u8,
    classes: Vec<u8>,
    thresholds: Vec<u8>,
    tables: Vec<u8>,
    lengths: Vec<u32>,
    block: Vec<u8>,
}

/// Differences that are all 0: a table of symbol 2 alone, and a block without bytes.
fn sound() -> Code {
    Code {
        model: vec![1],
        flags: 0,
        count: 1,
        classes: Vec::new(),
        thresholds: Vec::new(),
        tables: vec![2, 2],
        lengths: vec![0],
        block: Vec::new(),
    }
}

/// The same code with these tables and this block.
fn block(tables: Vec<u8>, block: Vec<u8>) -> Code {
    Code { lengths: vec![block.len() as u32], tables, block, ..sound() }
}

impl Code {
    fn bytes(&self) -> Vec<u8> {
        let lengths: Vec<u8> = self.lengths.iter().flat_map(|length| length.to_le_bytes()).collect();
        let parts = [
            &[1][..],
            &self.model,
            &[self.flags, self.count],
            &self.classes,
            &self.thresholds,
            &self.tables,
            &lengths,
            &self.block,
        ];
        parts.concat()
    }
}

/// A table with these frequencies of these symbols.
fn table(frequencies: &[(usize, u16)]) -> Vec<u8> {
    let mut all = [0; 256];
    frequencies.iter().for_each(|(symbol, frequency)| all[*symbol] = *frequency);
    let (mut bits, mut out) = (BitWriter::default(), Vec::new());
    frequency::write(&all, &mut bits);
    bits.finish(&mut out);
    out
}

/// Decodes a row of `cols` elements whose predictions are 0. The error is the message.
fn decode(bytes: &[u8], form: Form, cols: usize) -> Result<Vec<u8>, String> {
    let matrix = Matrix { rows: 1, cols };
    let head = Head::read(bytes, form, matrix, None).map_err(|error| error.to_string())?;
    let mut out = vec![0; cols * form.size()];
    let prediction = vec![0; out.len()];
    let mut decoder = BlockDecoder::default();
    for (number, block) in blocks::cut(0, matrix).enumerate() {
        let values =
            BlockValues { prediction: &prediction[block.bytes(form.size())], ..BlockValues::default() };
        let part = &mut out[block.bytes(form.size())];
        decoder.decode(&head, bytes, (number, &block), values, part).map_err(|error| error.to_string())?;
    }
    Ok(out)
}

#[track_caller]
fn refused(code: &Code, cols: usize, message: &str) {
    assert_eq!(decode(&code.bytes(), F32, cols), Err(message.to_owned()));
}

#[track_caller]
fn read(code: &Code, cols: usize) {
    assert_eq!(decode(&code.bytes(), F32, cols).map(|out| out.len()), Ok(4 * cols));
}

#[test]
fn heads() {
    read(&sound(), 3);
    let whole = sound().bytes();
    for length in 0..whole.len() {
        // Bits past the end are read as zeros, which are not a valid table.
        let table = "table 0 is not a valid frequency table for this tensor";
        let message = if [4, 5].contains(&length) { table } else { "the head is cut off" };
        assert_eq!(decode(&whole[..length], F32, 3), Err(message.to_owned()), "{length}");
    }
    let mut version = whole.clone();
    version[0] = 2;
    let message = "unknown code version 2; a later version of cdi-prune wrote it";
    assert_eq!(decode(&version, F32, 3), Err(message.to_owned()));
    refused(&Code { model: vec![6], ..sound() }, 3, "the model is 6, which is invalid");
    for step in [0.0, -1.0, f64::INFINITY, f64::NAN] {
        let model = [&[4][..], &step.to_le_bytes()].concat();
        let message = format!("its step is {step}, which is not a positive number");
        refused(&Code { model, ..sound() }, 3, &message);
    }
    for model in [0, 1, 4, 5] {
        let message = format!("the model is {model}, which is invalid");
        let code = Code { model: vec![model], ..sound() }.bytes();
        assert_eq!(decode(&code, I32, 3), Err(message));
    }
    refused(&Code { flags: 8, ..sound() }, 3, "the classes' flag is 8, which is invalid");
    for model in [1, 2, 3] {
        // The classes have a base and no code, so they would be valid in the value model.
        let code = Code { model: vec![model], flags: 4, classes: vec![0, 0, 0], ..sound() };
        refused(&code, 3, "the classes' flag is 4, which is invalid");
    }
    refused(&Code { count: 0, ..sound() }, 3, "the number of tables is 0, which is invalid");
    // A code that cannot have the lengths of all blocks is refused before anything else of it is read.
    let message = "table 0 is not a valid frequency table for this tensor";
    refused(&Code { tables: vec![2, 1], ..sound() }, 3, message);
    let short = Code { tables: vec![2, 1], ..sound() };
    refused(&short, 3 * blocks::BLOCK_ELEMENTS, "the head is cut off");
    let many = Code {
        count: 17,
        thresholds: [&[0, 0][..], &[1; 15]].concat(),
        tables: [2; 2 * 17].to_vec(),
        ..sound()
    };
    refused(&many, 3, "the number of tables is 17, which is invalid");
    let most =
        Code { count: 16, thresholds: many.thresholds[1..].to_vec(), tables: [2; 32].to_vec(), ..sound() };
    read(&most, 3);
}

#[test]
fn classes_and_thresholds() {
    let low_bits = |base: i16| {
        let classes = [&base.to_le_bytes()[..], &[0]].concat();
        Code { model: vec![0, 9, 0], flags: 4, classes, tables: vec![3, 3], ..sound() }
    };
    read(&low_bits(0), 3);
    read(&low_bits(21), 3);
    refused(&low_bits(22), 3, "the classes of low bits are damaged");
    refused(&low_bits(-1), 3, "the classes of low bits are damaged");

    let columns = |classes: Vec<u8>| Code { flags: 2, classes, ..sound() };
    let mut good = Vec::new();
    Classes { base: 5, above: vec![0, 3, 0, 0, 1, 0, 0, 0] }.write(&mut good);
    read(&columns(good.clone()), 8);
    let damaged = "the classes of columns are damaged";
    // A different number of columns, an extra byte, and codes that should not be there at all.
    refused(&columns(good.clone()), 9, damaged);
    let mut longer = good.clone();
    longer[2] += 1;
    longer.push(0);
    refused(&columns(longer), 8, damaged);
    refused(&columns(vec![5, 0, 2, 7, 7]), 8, damaged);
    refused(&columns(vec![5, 0, 1, 7]), 8, damaged);
    // A table of one symbol, and a state that comes to rest: a code of classes that are all equal.
    refused(&columns(vec![5, 0, 6, 7, 7, 0, 0, 1, 0]), 8, damaged);

    let thresholds = |thresholds: &[u8]| {
        let count = thresholds.len() as u8;
        Code { count, thresholds: thresholds.to_vec(), tables: [2, 2].repeat(count.into()), ..sound() }
    };
    let wrong = "a threshold of levels is 0, which is invalid";
    read(&thresholds(&[0, 0, 1, 254]), 3);
    refused(&thresholds(&[0, 0, 0]), 3, wrong);
    refused(&thresholds(&[0, 0, 1, 255]), 3, wrong);
    refused(&thresholds(&[0xFF, 0x7F, 1]), 3, wrong);
}

#[test]
fn tables() {
    let with = |tables: Vec<u8>| Code { tables, ..sound() };
    let wrong = "table 0 is not a valid frequency table for this tensor";
    // The last symbol of a 32-bit type is that of 32-bit differences: 6 + 4 (32 - 3) + 3.
    read(&with(vec![2, 2]), 3);
    refused(&with(vec![126, 126]), 3, wrong);
    refused(&with(vec![3, 2]), 3, wrong);
    // Symbols 0 and 1 stand for pruned elements.
    refused(&with(vec![0, 0]), 3, wrong);
    refused(&with(vec![1, 1]), 3, wrong);
    // A frequency of 2049, coded as `m + 1` = 2050 in 12 bits after 11 zeros, exceeds the total.
    let (mut bits, mut out) = (BitWriter::default(), Vec::new());
    for (value, count) in [(2, 8), (3, 8), (1 << 11, 12), (2050 - 2048, 11)] {
        bits.put(value, count);
    }
    bits.finish(&mut out);
    refused(&with(out.clone()), 3, wrong);
    // Padding after the tables: the last bits of their last byte.
    let mut padded = table(&[(2, 1024), (3, 1024)]);
    let last = padded.len() - 1;
    padded[last] |= 0x80;
    refused(&block(padded, vec![0, 0, 1, 0]), 0x1000 - 1, wrong);
}

#[test]
fn blocks_of_bytes_that_do_not_come_out() {
    let lengths = |lengths: &[u32]| Code { lengths: lengths.to_vec(), ..sound() };
    refused(&lengths(&[1]), 3, "its block lengths add up to 1 bytes, but there are 0");
    let more = Code { block: vec![0], ..sound() };
    refused(&more, 3, "its block lengths add up to 0 bytes, but there are 1");

    let damaged = "block 0 is damaged";
    let certain = |bytes: &[u8]| block(vec![2, 2], bytes.to_vec());
    read(&certain(&[0, 0, 1, 0]), 3);
    // An initial state that is too small, although a word of 0 would bring it to its final value.
    refused(&certain(&[1, 0, 0, 0, 0, 0]), 3, damaged);
    // A state that does not end at its smallest value.
    refused(&certain(&[1, 0, 1, 0]), 3, damaged);
    refused(&certain(&[0, 0, 1]), 3, damaged);
    // An extra word.
    refused(&certain(&[0, 0, 1, 0, 0, 0]), 3, damaged);
    // Symbol 2 has only slot 0. Coding it twice gives a word of 0, which must not be missing.
    let rare = |bytes: &[u8]| block(table(&[(2, 1), (3, 2047)]), bytes.to_vec());
    read(&rare(&[0, 0, 0x40, 0, 0, 0]), 2);
    refused(&rare(&[0, 0, 0x40, 0]), 2, damaged);
    // Symbol 10 has one remaining bit: here 0, then zeros that pad the byte.
    let bit = |bytes: &[u8]| block(vec![10, 10], bytes.to_vec());
    read(&bit(&[0, 0, 1, 0, 0]), 1);
    refused(&bit(&[0, 0, 1, 0]), 1, damaged);
    refused(&bit(&[0, 0, 1, 0, 0, 0]), 1, damaged);
    refused(&bit(&[0, 0, 1, 0, 2]), 1, damaged);
}

/// The same with several lanes: words are also missing in the middle.
#[test]
fn lanes_that_do_not_come_out() {
    let values: Vec<u8> = (0..5000u32).flat_map(|n| (n * n % 7).to_le_bytes()).collect();
    let matrix = Matrix { rows: 1, cols: 5000 };
    let mut encoder = TensorEncoder::new(FloatDtype::F32, matrix, Model::Difference, Lines::default());
    let (mut scratch, mut bytes) = (EncoderScratch::default(), Vec::new());
    let block = blocks::cut(0, matrix).next().unwrap();
    let input = BlockInput { values: &values, prediction: &[0; 20_000], pruned: &[] };
    encoder.measure(&block, input, &mut scratch);
    encoder.classify();
    encoder.count(&block, input, &mut scratch);
    encoder.cut();
    encoder.encode(&block, input, &mut scratch, &mut bytes);
    let code = |bytes: &[u8]| [&encoder.head(&[bytes.len() as u32])[..], bytes].concat();
    assert_eq!(decode(&code(&bytes), F32, 5000).as_ref(), Ok(&values));
    for changed in [&bytes[..31], &bytes[..400], &bytes[2..], &[&bytes[..], &[0]].concat()] {
        assert_eq!(decode(&code(changed), F32, 5000), Err("block 0 is damaged".to_owned()));
    }
}
