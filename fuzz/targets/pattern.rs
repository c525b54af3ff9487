//! A pattern and a name, parted by a line feed.

#![no_main]

use cdi_prune::rules::Pattern;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let (pattern, name) = text.split_once('\n').unwrap_or((text, "blocks.0.attn.q.weight"));
    if let Ok(pattern) = Pattern::new(pattern) {
        let _ = pattern.captures(name).map(|found| found.get(1).map(str::len));
    }
});
