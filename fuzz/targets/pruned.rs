//! A pruned file, opened, and every tensor of it restored by rows.

#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use cdi_prune::reader::PrunedReader;

/// The most elements that are restored: a small file may stand for a large tensor.
const MOST: usize = 1 << 16;

fn path() -> &'static PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| tempfile::tempdir_in("/dev/shm").unwrap().keep().join("x.safetensors"))
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fs::write(path(), bytes).unwrap();
    let Ok(file) = PrunedReader::open(path(), None) else { return };
    for (name, dtype, shape) in file.tensors() {
        let matrix = shape.matrix();
        if shape.elements() > MOST {
            continue;
        }
        let mut all = vec![0; shape.elements() * dtype.bitsize() / 8];
        file.read_rows(name, 0..matrix.rows, &mut all).unwrap();
        if dtype.bitsize() >= 8 && matrix.rows > 1 {
            // A row alone is what it is among the others.
            let width = matrix.cols * dtype.bitsize() / 8;
            let mut one = vec![1; width];
            file.read_rows(name, matrix.rows - 1..matrix.rows, &mut one).unwrap();
            assert_eq!(one, all[all.len() - width..]);
        }
    }
});
