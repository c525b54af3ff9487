//! A scratch folder with small hand-written checkpoints, and the program run in it.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cdi_core::internal::sparse::FileMetadata;
use cdi_prune::checkpoint::Checkpoint;
use cdi_prune::reader::PrunedReader;
use cdi_prune::sparse::Format;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Name, type, shape and bytes of a tensor.
pub type Tensor<'a> = (&'a str, &'a str, &'a [usize], Vec<u8>);

/// A folder that is gone when dropped.
pub struct Scratch {
    _dir: TempDir,
    path: PathBuf,
}

/// What a run of the program gave; the scratch folder is called `DIR` in its texts.
#[derive(Debug)]
pub struct Ran {
    pub stdout: String,
    pub stderr: String,
    pub code: i32,
}

impl Scratch {
    pub fn new() -> Self {
        let dir = TempDir::new().unwrap();
        // Some systems reach their temporary folder through a link.
        let path = dir.path().canonicalize().unwrap();
        Self { _dir: dir, path }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Writes a safetensors file.
    pub fn safetensors(&self, name: &str, tensors: &[Tensor<'_>]) {
        let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
        for (tensor, dtype, shape, bytes) in tensors {
            let start = data.len();
            data.extend(bytes);
            let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": [start, data.len()]});
            header.insert((*tensor).to_owned(), entry);
        }
        self.write(name, encode(&header.into(), &data));
    }

    /// Changes a safetensors file's header and data.
    pub fn tamper(&self, name: &str, change: impl FnOnce(&mut Value, &mut Vec<u8>)) {
        let file = fs::read(self.path(name)).unwrap();
        let (length, rest) = file.split_first_chunk::<8>().unwrap();
        let (header, data) = rest.split_at(usize::try_from(u64::from_le_bytes(*length)).unwrap());
        let (mut header, mut data) = (serde_json::from_slice(header).unwrap(), data.to_vec());
        change(&mut header, &mut data);
        self.write(name, encode(&header, &data));
    }

    /// Every file below the folder with its bytes.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        self.collect(&self.path, &mut files);
        files
    }

    fn collect(&self, folder: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.collect(&path, files);
            } else {
                let name = path.strip_prefix(&self.path).unwrap().display().to_string();
                files.insert(name, fs::read(&path).unwrap());
            }
        }
    }

    /// Runs the program in the folder.
    pub fn run(&self, args: &[&str]) -> Ran {
        self.run_with(&[], args)
    }

    /// Runs the program in the folder with these environment variables.
    pub fn run_with(&self, variables: &[(&str, &str)], args: &[&str]) -> Ran {
        let output = Command::new(env!("CARGO_BIN_EXE_cdi-prune"))
            .args(args)
            .current_dir(&self.path)
            .env_remove("CDI_PRUNE_LOG")
            .env_remove("CDI_PRUNE_ISA")
            .env_remove("COLUMNS")
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        let dir = self.path.display().to_string();
        let text = |bytes| String::from_utf8(bytes).unwrap().replace(&dir, "DIR");
        Ran { stdout: text(output.stdout), stderr: text(output.stderr), code: output.status.code().unwrap() }
    }
}

/// Runs the program in the folder; it must succeed.
#[track_caller]
pub fn succeeds(s: &Scratch, args: &[&str]) -> Ran {
    let ran = s.run(args);
    assert_eq!(ran.code, 0, "{ran:?}");
    ran
}

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What an independent program says of a checkpoint in `examples/data` or `tests/data`.
pub fn facts(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("facts.json")).unwrap()).unwrap()
}

/// The beginning of a config for that checkpoint, as JSON, which is YAML too.
pub fn shipped_config(folder: &Path) -> Value {
    let facts = facts(folder);
    json!({
        "seed": facts["seed"],
        "model": {
            "tensors": facts["shapes"],
            "dtype": if folder.ends_with("mlp_bf16_sgd") { "bf16" } else { "f32" },
        },
        "rules": facts["rules"],
        "trained": {"path": folder.join("trained.safetensors")},
    })
}

pub fn encode(header: &Value, data: &[u8]) -> Vec<u8> {
    let mut text = header.to_string();
    while !text.len().is_multiple_of(8) {
        text.push(' ');
    }
    [&(text.len() as u64).to_le_bytes(), text.as_bytes(), data].concat()
}

/// The bytes of F32 values.
pub fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// A handle on a tensor gives the rows that `read_rows` gives, and that these bytes have,
/// whichever were read before.
pub fn rows_through_a_handle(file: &PrunedReader, name: &str, bytes: &[u8]) {
    let mut handle = file.tensor_reader(name).unwrap();
    let (rows, width) = (handle.shape().matrix().rows, handle.row_bytes());
    assert_eq!(bytes.len(), rows * width);
    let steps = (0..rows).chain((0..rows).rev()).chain((0..rows).map(|n| n * 37 % rows));
    for (n, from) in steps.enumerate() {
        let to = (from + n % 5).min(rows);
        let (mut out, mut alone) = (vec![0xAA; (to - from) * width], vec![0x55; (to - from) * width]);
        handle.read_rows(from..to, &mut out).unwrap();
        assert!(out == bytes[from * width..to * width], "{name} {from}..{to}");
        if n % 11 == 0 {
            file.read_rows(name, from..to, &mut alone).unwrap();
            assert!(out == alone, "{name} {from}..{to}");
        }
    }
    let error = handle.read_rows(0..rows + 1, &mut []).unwrap_err();
    let expected = format!("tensor `{name}` has {rows} rows, but 0..{} were requested", rows + 1);
    assert_eq!(error.to_string(), expected);
}

/// The JSON of a file's description, in whichever form the file has it.
pub fn description(header: &Value) -> String {
    let metadata: BTreeMap<String, String> = serde_json::from_value(header["__metadata__"].clone()).unwrap();
    serde_json::to_string(&FileMetadata::find(&metadata).unwrap().unwrap()).unwrap()
}

/// The code of each coded tensor of a file, by the tensor's name and in the order of the descriptions.
pub fn codes(path: &Path) -> Vec<(String, Vec<u8>)> {
    let file = Checkpoint::open(path).unwrap();
    let described = FileMetadata::find(&file.metadata()[0]).unwrap().unwrap();
    let bytes = |name: &str| file.tensor(name).unwrap().bytes();
    let mut at = 0;
    let code = |(name, length): (String, Option<u64>)| {
        let Some(length) = length else { return (name.clone(), bytes(&format!("{name}.codes")).to_vec()) };
        at += length as usize;
        (name, bytes("cdi_prune.codes")[at - length as usize..at].to_vec())
    };
    let coded = described.tensors.into_iter().filter(|tensor| tensor.format == Format::Coded);
    coded.map(|tensor| (tensor.name, tensor.code)).map(code).collect()
}

/// SHA-256 of bytes, in lower-case hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
