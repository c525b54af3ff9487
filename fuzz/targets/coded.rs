//! One coded tensor: the first bytes say what its description says, the others are its code.
//! Decoded whole, and by rows.

#![no_main]

mod peak;

use std::borrow::Cow;

use cdi_prune::reader::{PrunedReader, RowsError};
use sha2::{Digest, Sha256};

/// What a thread's buffers take: some words for each element of a block.
const BUFFERS: usize = 16 << 20;
const MOST: usize = 1 << 17;

const TYPES: [(&str, usize); 10] = [
    ("F32", 4),
    ("BF16", 2),
    ("F16", 2),
    ("F64", 8),
    ("U8", 1),
    ("F8_E4M3", 1),
    ("I16", 2),
    ("U32", 4),
    ("I64", 8),
    ("C64", 8),
];

/// A file with one tensor.
fn file(metadata: &str, name: &str, dtype: &str, shape: &str, bytes: &[u8]) -> Vec<u8> {
    let header = format!(
        r#"{{"__metadata__":{{"cdi_prune":"{}"}},"{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,{}]}}}}"#,
        metadata.replace('"', "\\\""),
        bytes.len(),
    );
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), bytes].concat()
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((&[dtype, rows, cols, more, options], code)) = input.split_first_chunk::<5>() else { return };
    let (dtype, size) = TYPES[usize::from(dtype) % TYPES.len()];
    // The highest bit of `more` makes long rows of it.
    let cols = usize::from(cols) | usize::from(more & 0x7F) << 8 | usize::from(more >> 7) << 16;
    let rows = usize::from(rows).min(MOST / cols.max(1));
    let (shape, bytes) = (format!("[{rows},{cols}]"), rows * cols * size);
    let base_bytes = if options & 2 == 0 { 0 } else { bytes };
    let base: Vec<u8> = (0..base_bytes).map(|n| (n * n / 7) as u8).collect();
    let init = match options & 3 {
        0 => String::new(),
        1 => r#","layer_id":3,"init":{"mode":"uniform","low":-1.0,"high":1.0}"#.to_owned(),
        _ => {
            let sha256: String = Sha256::digest(&base).iter().map(|byte| format!("{byte:02x}")).collect();
            format!(r#","init":{{"from":"b","sha256":"{sha256}"}}"#)
        }
    };
    let prediction = ["", r#","prediction":0.9"#, r#","prediction":1.0"#, ""][usize::from(options >> 2 & 3)];
    let fill = ["zero", "init", "nearest", "zero"][usize::from(options >> 4 & 3)];
    let metadata = format!(
        r#"{{"version":1,"noise_version":1,"kind":"pruned","seed":1,"tensors":[{{"name":"w","dtype":"{dtype}","shape":{shape},"format":"coded","fill":"{fill}","decay":0.5{init}{prediction}}}]}}"#
    );
    let whole = file(&metadata, "w.codes", "U8", &format!("[{}]", code.len()), code);
    let base = (options & 2 != 0).then(|| Cow::Owned(file("", "w", dtype, &shape, &base)));
    peak::bounded(input, BUFFERS + 4 * bytes, || read(whole, base, cols * size));
});

fn read(file: Vec<u8>, base: Option<Cow<'static, [u8]>>, width: usize) {
    let Ok(file) = PrunedReader::from_bytes(file, base) else { return };
    let all = match file.read_to_vec("w") {
        Ok(all) => all,
        Err(error) => return assert!(matches!(error, RowsError::Code { .. }), "{error}"),
    };
    let rows = if width == 0 { 0 } else { all.len() / width };
    if rows > 1 {
        // A row alone is what it is among the others.
        let mut one = vec![1; width];
        file.read_rows("w", rows - 1..rows, &mut one).unwrap();
        assert_eq!(one, all[all.len() - width..]);
    }
}
