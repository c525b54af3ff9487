//! A shard index beside two shards, a link that leaves the folder, and a file outside.

#![no_main]

mod peak;

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use cdi_prune::checkpoint::Checkpoint;

fn folder() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let top = tempfile::tempdir_in("/dev/shm").unwrap().keep();
        let shard = |name: &str| {
            let mut header = format!(r#"{{"{name}":{{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}}}"#).into_bytes();
            header.resize(header.len().next_multiple_of(8), b' ');
            [&(header.len() as u64).to_le_bytes(), header.as_slice(), b"ab"].concat()
        };
        let inside = top.join("inside");
        fs::create_dir(&inside).unwrap();
        fs::write(inside.join("1.safetensors"), shard("a")).unwrap();
        fs::write(inside.join("2.safetensors"), shard("b")).unwrap();
        fs::write(top.join("3.safetensors"), shard("c")).unwrap();
        std::os::unix::fs::symlink("../3.safetensors", inside.join("3.safetensors")).unwrap();
        inside
    })
}

libfuzzer_sys::fuzz_target!(|index: &[u8]| {
    let path = folder().join("x.safetensors.index.json");
    fs::write(&path, index).unwrap();
    if let Ok(checkpoint) = peak::bounded(index, 1 << 16, || Checkpoint::open(&path)) {
        assert!(checkpoint.tensor("c").is_none(), "left the folder");
        for (_, tensor) in checkpoint.tensors() {
            assert_eq!(tensor.bytes(), b"ab");
        }
    }
});
