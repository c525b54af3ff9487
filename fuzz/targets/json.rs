//! Reports and manifests, as `compare` and `verify` read them.

#![no_main]

use cdi_prune::manifest::Manifest;
use cdi_prune::report;

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    if let Ok(manifest) = Manifest::parse(text) {
        assert!(Manifest::parse(manifest.text().as_bytes()).is_ok_and(|again| again == manifest));
    }
    if let Ok(report) = report::parse(text) {
        let _ = (report::json(&report), report::csv(&report), report::markdown(&report));
    }
});
