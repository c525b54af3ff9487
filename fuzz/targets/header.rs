//! A safetensors file's header, from the file's bytes.

#![no_main]

mod peak;

use cdi_core::internal::checkpoint::Header;
use cdi_prune::tensor::MAX_RANK;

libfuzzer_sys::fuzz_target!(|file: &[u8]| {
    let parsed = peak::bounded(file, 1 << 16, || Header::parse(file));
    if let Err(error) = &parsed {
        // A message may name a shape, but not one without end.
        assert!(error.to_string().len() <= 4096 + 2 * file.len());
    }
    if let Ok(header) = parsed {
        assert!(header.tensors.values().all(|tensor| tensor.shape.rank() <= MAX_RANK));
        // What is accepted lies within the file, without a gap or a byte in two tensors.
        let mut places: Vec<_> = header.tensors.iter().map(|(_, info)| info.bytes.clone()).collect();
        places.sort_by_key(|place| (place.start, place.end));
        for pair in places.windows(2) {
            assert_eq!(pair[0].end, pair[1].start);
        }
        assert!(places.last().is_none_or(|last| last.end == file.len()));
    }
});
