//! The same bits with the standard library and without it: run with default features and with none.

use cdi_core::reader::PrunedReader;
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
