//! A pruned file, opened, and every tensor of it restored by rows.

#![no_main]

mod peak;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cdi_prune::reader::{Limits, PrunedReader, RowsError};

/// A small file may stand for a large tensor.
const LIMITS: Limits = Limits { elements: 1 << 34, bytes: 1 << 16 };
/// What a thread's buffers take: some words for each element of a block.
const BUFFERS: usize = 16 << 20;

fn path() -> &'static PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| tempfile::tempdir_in("/dev/shm").unwrap().keep().join("x.safetensors"))
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fs::write(path(), bytes).unwrap();
    peak::bounded(bytes, BUFFERS, || read(path()));
});

fn read(path: &Path) {
    let Ok(file) = PrunedReader::open_within(path, None, LIMITS) else { return };
    for (name, dtype, shape) in file.tensors() {
        let matrix = shape.matrix();
        let all = match file.read_to_vec(name) {
            Ok(all) => all,
            Err(error) => {
                // Nothing but the limit is in the way, and it is not; or a code that only
                // decoding finds wrong.
                assert!(match error {
                    RowsError::TooLarge { bytes, limit, .. } => bytes > limit,
                    RowsError::Code { .. } => true,
                    _ => false,
                });
                continue;
            }
        };
        assert!(all.len() as u64 <= LIMITS.bytes);
        if dtype.bitsize() >= 8 && matrix.rows > 1 {
            // A row alone is what it is among the others.
            let width = matrix.cols * dtype.bitsize() / 8;
            let mut one = vec![1; width];
            file.read_rows(name, matrix.rows - 1..matrix.rows, &mut one).unwrap();
            assert_eq!(one, all[all.len() - width..]);
        }
    }
}
