//! The header that is checked in is the one that cbindgen makes of the sources.
//! `CDI_PRUNE_WRITE_HEADER=1` writes it.

use std::path::Path;

#[test]
fn the_header_is_that_of_the_sources() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    let bindings = cbindgen::Builder::new().with_crate(root).with_config(config).generate().unwrap();
    let mut made = Vec::new();
    bindings.write(&mut made);
    let (file, made) = (root.join("include/cdi_prune.h"), String::from_utf8(made).unwrap());
    if std::env::var_os("CDI_PRUNE_WRITE_HEADER").is_some() {
        std::fs::write(&file, &made).unwrap();
    }
    let checked_in = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(made == checked_in, "run this test with CDI_PRUNE_WRITE_HEADER=1 and check the difference in");
}
