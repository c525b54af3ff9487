//! A safetensors file's header, from the file's bytes.

#![no_main]

use cdi_prune::checkpoint::Header;

libfuzzer_sys::fuzz_target!(|file: &[u8]| {
    if let Ok(header) = Header::parse(file) {
        // What is accepted lies within the file, without a gap or a byte in two tensors.
        let mut places: Vec<_> = header.tensors.iter().map(|(_, info)| info.bytes.clone()).collect();
        places.sort_by_key(|place| (place.start, place.end));
        for pair in places.windows(2) {
            assert_eq!(pair[0].end, pair[1].start);
        }
        assert!(places.last().is_none_or(|last| last.end == file.len()));
    }
});
