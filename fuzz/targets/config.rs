//! A config's text, and what says where it is wrong.

#![no_main]

use cdi_prune::config::Settings;

libfuzzer_sys::fuzz_target!(|text: &str| {
    match Settings::parse(text, "x.yaml".as_ref(), &[]) {
        Ok(settings) => assert_eq!(settings.source.text(), text),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
