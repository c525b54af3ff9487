//! A delta over a base that stays the same: read through the reader of packed files, and
//! applied without writing.

#![no_main]

mod peak;

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use cdi_prune::pipeline::{ApplyOptions, Silent, apply};
use cdi_prune::reader::{Limits, PrunedReader};

const BASE: &[u8] = include_bytes!("../../tests/vectors/delta.base.safetensors");
/// A small file may stand for a large tensor.
const LIMITS: Limits = Limits { elements: 1 << 34, bytes: 1 << 20 };
/// What a thread's buffers take, for each of two deltas: some words for each element of a block.
const BUFFERS: usize = 48 << 20;

fn paths() -> &'static [PathBuf; 2] {
    static PATHS: OnceLock<[PathBuf; 2]> = OnceLock::new();
    PATHS.get_or_init(|| {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap().keep();
        fs::write(folder.join("base.safetensors"), BASE).unwrap();
        ["base.safetensors", "x.safetensors"].map(|name| folder.join(name))
    })
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let [base, delta] = paths();
    fs::write(delta, bytes).unwrap();
    peak::bounded(bytes, BUFFERS, || {
        let Ok(file) = PrunedReader::open_within(delta, Some(base), LIMITS) else {
            // Whatever else it is.
            let _ = apply_it(1);
            return;
        };
        let size = |(_, dtype, shape): (&str, cdi_prune::tensor::Dtype, &cdi_prune::tensor::Shape)| {
            shape.bytes(dtype.bitsize()).unwrap_or(usize::MAX)
        };
        let sizes = file.tensors().map(size);
        if sizes.fold(0, usize::saturating_add) > 1 << 24 {
            return;
        }
        let names: Vec<String> = file.tensors().map(|(name, ..)| name.to_owned()).collect();
        let read = names.iter().all(|name| file.read_to_vec(name).is_ok());
        // What it gives is what it says, and then every tensor can be read.
        if apply_it(1) {
            assert!(read);
        }
        apply_it(2);
    });
});

fn apply_it(times: usize) -> bool {
    let [base, delta] = paths();
    let deltas = vec![delta.clone(); times];
    let options = ApplyOptions { dry_run: true, ..ApplyOptions::default() };
    apply(base, &deltas, Some(delta), &options, &Silent).is_ok()
}
