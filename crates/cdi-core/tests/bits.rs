//! The same bits with the standard library and without it: run with default features and with none.

use cdi_core::reader::PrunedReader;
use cdi_core::tensor::{Element, bf16, f16};
use sha2::{Digest, Sha256};

/// A safetensors file of one bitmask tensor of F32 all of whose places are pruned, to the
/// initial values of a scheme.
fn all_pruned(dims: &[usize], init: &str) -> Vec<u8> {
    let (rows, cols) = (dims[0], dims[1..].iter().product::<usize>());
    let description = format!(
        r#"{{"version":1,"noise_version":1,"kind":"pruned","seed":42,"tensors":[{{"name":"w","dtype":"F32",
        "shape":{dims:?},"format":"bitmask","fill":"init","layer_id":7,"init":{init}}}]}}"#
    );
    let mask = rows * cols.div_ceil(8);
    let (shape_end, offsets_end) = (8 * dims.len(), 8 * dims.len() + 8 * rows);
    let header = serde_json::json!({
        "__metadata__": {"cdi_prune": description},
        "w.shape": {"dtype": "I64", "shape": [dims.len()], "data_offsets": [0, shape_end]},
        "w.row_offsets": {"dtype": "I64", "shape": [rows], "data_offsets": [shape_end, offsets_end]},
        "w.compressed": {"dtype": "F32", "shape": [0], "data_offsets": [offsets_end, offsets_end]},
        "w.bitmask": {
            "dtype": "U8",
            "shape": [rows, cols.div_ceil(8)],
            "data_offsets": [offsets_end, offsets_end + mask],
        },
    })
    .to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.bytes());
    file.extend(dims.iter().flat_map(|size| (*size as u64).to_le_bytes()));
    file.resize(file.len() + 8 * rows + mask, 0);
    file
}

/// Each scheme that takes a square root or rounds up on the way.
#[test]
fn initial_values_are_pinned() {
    let digests = [
        (&[40, 30][..], r#"{"mode":"he"}"#),
        (&[40, 30], r#"{"mode":"xavier","distribution":"uniform"}"#),
        (&[40, 30], r#"{"mode":"lecun","distribution":"trunc_normal"}"#),
        (&[8, 6, 3, 3], r#"{"mode":"he","zero_mean":true,"nonlinearity":"tanh"}"#),
        (&[40, 30], r#"{"mode":"orthogonal"}"#),
        (&[8, 6, 3, 3], r#"{"mode":"delta_orthogonal"}"#),
        (&[41, 30], r#"{"mode":"sparse","sparsity":0.33}"#),
    ]
    .map(|(dims, init)| {
        let file = PrunedReader::from_bytes(all_pruned(dims, init), None).unwrap();
        let digest = Sha256::digest(file.read_to_vec("w").unwrap());
        digest[..8].iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    });
    assert_eq!(
        digests,
        [
            "bbe5667b9eadb1a2",
            "10ca832a00123f1c",
            "85180ba03aadcaa4",
            "261aa005a5a43e81",
            "2f8b56f4b3b6a66e",
            "c740d09634dbd5fd",
            "582ece4021d2b6a2"
        ]
    );
}

/// A safetensors file of one tensor `w` of shape `[2, 2]`, not encoded.
fn plain(dtype: &str, data: &[u8]) -> Vec<u8> {
    let w = serde_json::json!({"dtype": dtype, "shape": [2, 2], "data_offsets": [0, data.len()]});
    let header = serde_json::json!({"w": w}).to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// Elements are the bytes of the same rows, or the same numbers in a type that holds them.
#[test]
fn rows_are_read_as_elements() {
    let file = PrunedReader::from_bytes(all_pruned(&[40, 30], r#"{"mode":"he"}"#), None).unwrap();
    let mut bytes = vec![0; 4 * 30 * 3];
    file.read_rows("w", 5..8, &mut bytes).unwrap();
    let stored: Vec<f32> = bytes.as_chunks().0.iter().map(|x| f32::from_le_bytes(*x)).collect();
    let mut elements = vec![0f32; 30 * 3];
    file.read_elements("w", 5..8, &mut elements).unwrap();
    assert_eq!(elements, stored);
    let mut wide = vec![0f64; 30 * 3];
    let mut handle = file.tensor_reader("w").unwrap();
    handle.read_elements(5..8, &mut wide).unwrap();
    assert!(wide.iter().zip(&stored).all(|(wide, x)| *wide == f64::from(*x)));

    let data: Vec<u8> = [0x3C01_u16, 0x8001, 0x7BFF, 0x0000].iter().flat_map(|x| x.to_le_bytes()).collect();
    let file = PrunedReader::from_bytes(plain("F16", &data), None).unwrap();
    let mut half = [f16::ZERO; 2];
    file.read_elements("w", 1..2, &mut half).unwrap();
    assert_eq!(half.map(f16::to_bits), [0x7BFF, 0]);
    let mut single = [0f32; 4];
    file.read_elements("w", 0..2, &mut single).unwrap();
    assert_eq!(single, [1.000_976_6, -5.960_464_5e-8, 65_504.0, 0.0]);
}

#[test]
fn elements_that_cannot_be_had_are_refused() {
    fn refused<E: Element>(file: &PrunedReader, elements: usize) -> String {
        file.read_elements("w", 0..2, &mut vec![E::default(); elements]).unwrap_err().to_string()
    }
    let halves = PrunedReader::from_bytes(plain("F16", &[0; 8]), None).unwrap();
    let integers = PrunedReader::from_bytes(plain("I64", &[0; 32]), None).unwrap();
    assert_eq!(
        refused::<bf16>(&halves, 4),
        "tensor `w` is F16, whose values do not all fit into elements of type bf16; request a type that holds \
         them, or read its bytes"
    );
    assert_eq!(
        refused::<f64>(&integers, 4),
        "tensor `w` is I64, whose values do not all fit into elements of type f64; request a type that holds \
         them, or read its bytes"
    );
    assert_eq!(
        refused::<f16>(&halves, 3),
        "the requested rows of tensor `w` have 4 elements, but the slice has 3"
    );
}
