//! What is found in a folder, what is no checkpoint of weights, and what names are called:
//! before any weight is read.

use std::fs;

use cdi_core::internal::checkpoint::file_at;
use cdi_prune::checkpoint::{Checkpoint, ErrorKind, OpenOptions};

use crate::common::{Scratch, Tensor, f32s, succeeds};

/// A weight of two by two.
fn weight(name: &str) -> Tensor<'_> {
    (name, "F32", &[2, 2], f32s(&[1.0, -2.0, 3.0, 4.0]))
}

/// A part of zeros.
fn part<'a>(name: &'a str, dtype: &'a str, shape: &'a [usize]) -> Tensor<'a> {
    let size = match dtype {
        "U8" | "I8" | "F8_E4M3" => 1,
        "F16" | "BF16" | "U16" => 2,
        "I64" => 8,
        _ => 4,
    };
    (name, dtype, shape, vec![0; shape.iter().product::<usize>() * size])
}

const PRUNE: &str = "prune: {output: p.safetensors, criterion: magnitude, target: {sparsity: 0.5}}\n";

/// A config that prunes what is there by magnitude.
fn config(s: &Scratch, trained: &str, more: &str) {
    s.write(
        "x.yaml",
        format!("seed: 1\nrules: [{{match: '**', init: none}}]\ntrained: {trained}\n{PRUNE}{more}"),
    );
}

#[track_caller]
fn fails(s: &Scratch, args: &[&str], message: &str) {
    let before = s.files();
    let ran = s.run(args);
    assert_eq!((ran.code, ran.stderr.as_str()), (1, format!("error: {message}\n").as_str()));
    assert!(s.files() == before, "{:?}", s.files().keys());
}

/// The names that `inspect` lists.
#[track_caller]
fn names(s: &Scratch, path: &str) -> Vec<String> {
    let list: serde_json::Value =
        serde_json::from_str(&succeeds(s, &["inspect", path, "--format", "json"]).stdout).unwrap();
    list["tensors"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap().to_owned()).collect()
}

// Files that are no safetensors.

/// A zip whose only member has this name; enough of one to be known by.
fn zip(member: &str) -> Vec<u8> {
    let mut bytes = b"PK\x03\x04\x00\x00\x08\x08\x00\x00\x00\x00\x00\x00".to_vec();
    bytes.resize(26, 0);
    bytes.extend(u16::try_from(member.len()).unwrap().to_le_bytes());
    bytes.extend([0, 0]);
    bytes.extend(member.as_bytes());
    bytes.resize(bytes.len() + 40, 7);
    bytes
}

#[test]
fn other_files_are_called_what_they_are() {
    const TORCH: &str = "load it with `torch.load` and save its tensors with `safetensors.torch.save_file`";
    let numpy = "`safetensors.numpy.save_file`";
    let mut tar = vec![b'a'; 600];
    tar[257..262].copy_from_slice(b"ustar");
    for (bytes, said) in [
        // As Git LFS's specification has it.
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n".to_vec(),
            "a Git LFS pointer, not the file itself; fetch the file with `git lfs pull`".to_owned(),
        ),
        // As torch.save writes it: since 1.6, and before.
        (zip("archive/data.pkl"), format!("a file of `torch.save`, not safetensors; {TORCH}")),
        (
            b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.".to_vec(),
            format!("a Python pickle from an older `torch.save`, not safetensors; {TORCH}"),
        ),
        // pickle.dumps({"a": 1}) of Python 3.12.
        (
            b"\x80\x04\x95\x0a\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x01a\x94K\x01s.".to_vec(),
            format!("a Python pickle from an older `torch.save`, not safetensors; {TORCH}"),
        ),
        (
            b"\n<!DOCTYPE html><html><body>404</body></html>".to_vec(),
            "a web page or another text with tags, probably from a failed download; download the file again".to_owned(),
        ),
        (
            b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>".to_vec(),
            "a web page or another text with tags, probably from a failed download; download the file again".to_owned(),
        ),
        (
            b"GGUF\x03\0\0\0\x10\0\0\0\0\0\0\0".to_vec(),
            "a GGUF model, in which most weights are quantised; use the safetensors checkpoint that it was \
             made from".to_owned(),
        ),
        // ir_version 8, producer_name "pytorch".
        (
            b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:\x00".to_vec(),
            "an ONNX model, not safetensors; use the checkpoint that it was exported from".to_owned(),
        ),
        (
            b"\x89HDF\r\n\x1a\n\0\0\0\0\0\x08\x08\0".to_vec(),
            format!("an HDF5 file, such as a Keras `.h5` file, not safetensors; read its arrays with `h5py` \
                     and save them with {numpy}"),
        ),
        (
            zip("metadata.json"),
            format!("a model file of Keras, not safetensors; load the model and save its weights with {numpy}"),
        ),
        (
            b"\x93NUMPY\x01\0v\0{'descr': '<f4'".to_vec(),
            format!("a NumPy array, not safetensors; load it with `numpy.load` and save it with {numpy}"),
        ),
        (
            zip("arr_0.npy"),
            format!("an archive of NumPy arrays, not safetensors; load it with `numpy.load` and save them with {numpy}"),
        ),
        (zip("a.txt"), "a zip archive, not safetensors; unpack it".to_owned()),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec(), "a compressed file; unpack it with `gunzip`".to_owned()),
        (b"\x28\xb5\x2f\xfd\x04\0\x01\0\0".to_vec(), "a compressed file; unpack it with `unzstd`".to_owned()),
        (tar, "a tar archive, not safetensors; unpack it".to_owned()),
        (
            b"\0\x05\x16\x07\0\x02\0\0Mac OS X        ".to_vec(),
            "an AppleDouble file, in which macOS stores attributes of another file; give the path of the \
             file without `._`".to_owned(),
        ),
        (
            b"{\n  \"hidden_size\": 8}".to_vec(),
            "a JSON text, not safetensors; the name of a shard index ends in `.json`".to_owned(),
        ),
    ] {
        let s = Scratch::new();
        s.write("m.safetensors", bytes);
        fails(&s, &["inspect", "m.safetensors"], &format!("m.safetensors: {said}"));
        fails(&s, &["new", "m.safetensors"], &format!("m.safetensors: {said}"));
        fails(&s, &["restore", "m.safetensors", "-o", "d.safetensors"], &format!("m.safetensors: {said}"));
        config(&s, "{path: m.safetensors}", "");
        let config = s.path("x.yaml").display().to_string();
        fails(&s, &["prune", &config], &format!("DIR/m.safetensors: {said}"));
    }
}

#[test]
fn a_pointer_in_place_of_an_index_or_a_shard() {
    let s = Scratch::new();
    let pointer = "version https://git-lfs.github.com/spec/v1\n";
    let said = "a Git LFS pointer, not the file itself; fetch the file with `git lfs pull`";
    s.write("m.safetensors.index.json", pointer);
    fails(&s, &["inspect", "m.safetensors.index.json"], &format!("m.safetensors.index.json: {said}"));
    s.write("m.safetensors.index.json", r#"{"weight_map": {"a": "one.safetensors"}}"#);
    s.write("one.safetensors", pointer);
    fails(&s, &["inspect", "m.safetensors.index.json"], &format!("one.safetensors: {said}"));
}

#[test]
fn folders_with_weights_in_another_form() {
    let none = "f: the folder contains no .safetensors file and no *.safetensors.index.json";
    for (name, said) in [
        ("config.json", ""),
        (
            "pytorch_model.bin",
            "; pytorch_model.bin is a file of `torch.save`, not safetensors; load it with `torch.load` and save its \
             tensors with `safetensors.torch.save_file`",
        ),
        (
            "model.gguf",
            "; model.gguf is a GGUF model, in which most weights are quantised; use the safetensors \
             checkpoint that it was made from",
        ),
        (
            "__0_0.distcp",
            "; __0_0.distcp is a part of a checkpoint of `torch.distributed.checkpoint`, not safetensors; \
             convert it to one file with `python3 -m torch.distributed.checkpoint.format_utils \
             dcp_to_torch`, and save its tensors with `safetensors.torch.save_file`",
        ),
    ] {
        let s = Scratch::new();
        s.write(&format!("f/{name}"), "x");
        fails(&s, &["inspect", "f"], &format!("{none}{said}"));
    }
}

// Folders.

#[test]
fn shards_without_an_index() {
    let s = Scratch::new();
    s.safetensors("f/model-00001-of-00002.safetensors", &[weight("a.weight")]);
    fails(
        &s,
        &["inspect", "f"],
        "f: the folder has no index and only 1 of the 2 shards of a checkpoint; missing: \
         model-00002-of-00002.safetensors",
    );
    s.safetensors("f/model-00002-of-00002.safetensors", &[weight("a.weight")]);
    fails(
        &s,
        &["inspect", "f"],
        "f: tensor `a.weight` is in two shards, `model-00001-of-00002.safetensors` and \
         `model-00002-of-00002.safetensors`, and there is no index to choose one",
    );
    s.safetensors("f/model-00002-of-00002.safetensors", &[weight("b.weight")]);
    assert_eq!(names(&s, "f"), ["a.weight", "b.weight"]);
    // Every command reads them, and a manifest lists each.
    config(&s, "{path: f}", "manifest: m.json\n");
    succeeds(&s, &["run", "x.yaml"]);
    let manifest = fs::read_to_string(s.path("m.json")).unwrap();
    assert!(manifest.contains("f/model-00001-of-00002.safetensors"), "{manifest}");
    succeeds(&s, &["verify", "m.json"]);
    // One shard by its name is what it is.
    assert_eq!(names(&s, "f/model-00001-of-00002.safetensors"), ["a.weight"]);
    // Beside a whole file nobody knows which is meant.
    s.safetensors("f/model.safetensors", &[weight("a.weight")]);
    fails(
        &s,
        &["inspect", "f"],
        "f: the folder contains several checkpoints (model-*-of-00002.safetensors, model.safetensors): give \
         the path of one of them",
    );
}

#[test]
fn many_missing_shards_are_counted() {
    let s = Scratch::new();
    s.safetensors("f/model-00003-of-00020.safetensors", &[weight("a.weight")]);
    let missing: Vec<String> = [1, 2, 4, 5, 6, 7, 8, 9, 10, 11]
        .iter()
        .map(|n| format!("model-{n:05}-of-00020.safetensors"))
        .collect();
    let message = format!(
        "f: the folder has no index and only 1 of the 20 shards of a checkpoint; missing: {} and 9 more",
        missing.join(", ")
    );
    fails(&s, &["inspect", "f"], &message);
}

#[cfg(unix)]
#[test]
fn shards_without_an_index_that_are_links_out_of_the_folder() {
    let s = Scratch::new();
    s.safetensors("f/model-00001-of-00002.safetensors", &[weight("a.weight")]);
    s.safetensors("blob", &[weight("b.weight")]);
    std::os::unix::fs::symlink("../blob", s.path("f/model-00002-of-00002.safetensors")).unwrap();
    fails(
        &s,
        &["inspect", "f"],
        "f: the shard `model-00002-of-00002.safetensors` is a link out of its folder, to DIR/blob; use \
         `--follow-links` to allow this",
    );
    succeeds(&s, &["inspect", "f", "--follow-links"]);
}

/// The path that is noted for the place where this tensor's bytes are.
fn noted(checkpoint: &Checkpoint, tensor: &str) -> Option<Vec<u8>> {
    let mut path = [0; 4096];
    file_at(checkpoint.tensor(tensor).unwrap().bytes().as_ptr().addr(), &mut path).map(<[u8]>::to_vec)
}

#[cfg(unix)]
#[test]
fn each_checkpoint_is_opened_in_its_own_way() {
    let s = Scratch::new();
    s.safetensors("f/model-00001-of-00002.safetensors", &[weight("a.weight")]);
    s.safetensors("blob", &[weight("b.weight")]);
    std::os::unix::fs::symlink("../blob", s.path("f/model-00002-of-00002.safetensors")).unwrap();
    let open = |options| Checkpoint::open_with(&s.path("f"), options);
    let options = OpenOptions::default();
    let mapped = open(options.follow_links(true)).unwrap();
    let read = open(options.follow_links(true).mmap(false)).unwrap();
    // What one was told is nothing to the next.
    let refused = open(options).unwrap_err().kind;
    assert!(matches!(refused, ErrorKind::ShardLink { .. }), "{refused}");
    let shard = s.path("f/model-00001-of-00002.safetensors").into_os_string().into_encoded_bytes();
    assert_eq!((noted(&mapped, "a.weight"), noted(&read, "a.weight")), (Some(shard), None));
    assert!(mapped.tensor("b.weight").unwrap().bytes() == weight("").3);
    // Whatever becomes of a file, what was read into memory stays.
    drop(mapped);
    s.write("f/model-00001-of-00002.safetensors", "");
    s.write("blob", "");
    for name in ["a.weight", "b.weight"] {
        assert!(read.tensor(name).unwrap().bytes() == weight("").3);
    }
}

#[test]
fn a_file_that_is_closed_makes_room_for_another() {
    let s = Scratch::new();
    let path = s.path("m.safetensors");
    s.safetensors("m.safetensors", &[weight("a.weight")]);
    // The table of mapped files, which a signal handler reads, has 1024 places.
    for _ in 0..3000 {
        let checkpoint = Checkpoint::open(&path).unwrap();
        assert_eq!(noted(&checkpoint, "a.weight").as_deref(), Some(path.as_os_str().as_encoded_bytes()));
    }
}

#[test]
fn an_index_is_as_long_as_the_options_say() {
    let s = Scratch::new();
    s.safetensors("m.safetensors", &[weight("a.weight")]);
    s.write("m.safetensors.index.json", r#"{"weight_map": {"a.weight": "m.safetensors"}}"#);
    let open = |bytes| {
        Checkpoint::open_with(&s.path("m.safetensors.index.json"), OpenOptions::default().index_bytes(bytes))
    };
    assert_eq!(open(45).unwrap().len(), 1);
    let error = open(44).unwrap_err().to_string();
    assert!(
        error.ends_with("index.json: cannot read: more than 44 bytes, too many for a file of this kind"),
        "{error}"
    );
}

#[test]
fn what_macos_leaves_is_no_model() {
    let s = Scratch::new();
    s.safetensors("f/model.safetensors", &[weight("a.weight")]);
    s.write("f/._model.safetensors", b"\0\x05\x16\x07\0\x02\0\0");
    s.write("f/._model.safetensors.index.json", b"\0\x05\x16\x07\0\x02\0\0");
    assert_eq!(names(&s, "f"), ["a.weight"]);
}

#[test]
fn variants() {
    let map = r#"{"weight_map": {"b.weight": "diffusion_pytorch_model.fp16-00001-of-00001.safetensors"}}"#;
    for index in [
        "diffusion_pytorch_model.fp16.safetensors.index.json",
        "diffusion_pytorch_model.safetensors.index.fp16.json",
    ] {
        let s = Scratch::new();
        s.write(&format!("f/{index}"), map);
        s.safetensors("f/diffusion_pytorch_model.fp16-00001-of-00001.safetensors", &[weight("b.weight")]);
        assert_eq!(names(&s, "f"), ["b.weight"]);
        // A whole file of another name is not the index's business, as before; another variant is.
        s.safetensors("f/adapter.safetensors", &[weight("c.weight")]);
        assert_eq!(names(&s, "f"), ["b.weight"]);
        s.safetensors("f/diffusion_pytorch_model.safetensors", &[weight("a.weight")]);
        let mut both = [index, "diffusion_pytorch_model.safetensors"];
        both.sort_unstable();
        let said = format!(
            "f: the folder contains several checkpoints ({}): give the path of one of them",
            both.join(", ")
        );
        fails(&s, &["inspect", "f"], &said);
        assert_eq!(names(&s, &format!("f/{index}")), ["b.weight"]);
    }
    let s = Scratch::new();
    s.safetensors("f/model.fp16.safetensors", &[weight("a.weight")]);
    assert_eq!(names(&s, "f"), ["a.weight"]);
    s.safetensors("f/model.safetensors", &[weight("a.weight")]);
    let said = "f: the folder contains several checkpoints (model.fp16.safetensors, model.safetensors): give \
                the path of one of them";
    fails(&s, &["inspect", "f"], said);
}

// Weights in parts.

/// The parts of a weight in each form, with what the message calls the form, the first of the
/// names and the way out.
fn forms() -> Vec<(Vec<Tensor<'static>>, &'static str, &'static str)> {
    vec![
        (
            vec![
                part("l.qweight", "I32", &[4, 8]),
                part("l.qzeros", "I32", &[1, 1]),
                part("l.scales", "F16", &[1, 8]),
                part("l.g_idx", "I32", &[32]),
            ],
            "`l` is compressed as GPTQ or AWQ, in the parts `l.g_idx`, `l.qweight`, `l.qzeros`, `l.scales`",
            QUANTIZED,
        ),
        (
            vec![
                part("l.qweight", "I32", &[8, 4]),
                part("l.qzeros", "I32", &[1, 1]),
                part("l.scales", "F16", &[1, 8]),
            ],
            "`l` is compressed as GPTQ or AWQ, in the parts `l.qweight`, `l.qzeros`, `l.scales`",
            QUANTIZED,
        ),
        (
            vec![
                part("l.weight", "U8", &[32, 1]),
                part("l.weight.absmax", "F32", &[1]),
                part("l.weight.quant_map", "F32", &[16]),
                part("l.weight.quant_state.bitsandbytes__nf4", "U8", &[80]),
            ],
            "`l.weight` is compressed as bitsandbytes (4 bits), in the parts `l.weight`, `l.weight.absmax`, \
             `l.weight.quant_map`, `l.weight.quant_state.bitsandbytes__nf4`",
            QUANTIZED,
        ),
        (
            vec![
                part("l.weight", "I8", &[4, 4]),
                part("l.SCB", "F32", &[4]),
                part("l.weight_format", "U8", &[]),
            ],
            "`l` is compressed as bitsandbytes (8 bits), in the parts `l.SCB`, `l.weight`, `l.weight_format`",
            QUANTIZED,
        ),
        (
            vec![
                part("l.weight_packed", "I32", &[4, 1]),
                part("l.weight_scale", "BF16", &[4, 1]),
                part("l.weight_shape", "I64", &[2]),
            ],
            "`l` is compressed as compressed-tensors (packed integers), in the parts `l.weight_packed`, `l.weight_scale`, \
             `l.weight_shape`",
            QUANTIZED,
        ),
        (
            vec![part("l.weight", "F8_E4M3", &[4, 4]), part("l.weight_scale_inv", "F32", &[1, 1])],
            "`l` is compressed as numbers of 8 bits or less with scales, in the parts `l.weight`, `l.weight_scale_inv`",
            QUANTIZED,
        ),
        (
            vec![
                part("l.weight", "U32", &[4, 1]),
                part("l.scales", "F16", &[4, 1]),
                part("l.biases", "F16", &[4, 1]),
            ],
            "`l` is compressed as MLX, in the parts `l.biases`, `l.scales`, `l.weight`",
            QUANTIZED,
        ),
        (
            vec![part("l_blocks", "U8", &[2, 2, 16]), part("l_scales", "F32", &[2, 2])],
            "`l` is compressed as blocks with scales, as of MXFP4, in the parts `l_blocks`, `l_scales`",
            QUANTIZED,
        ),
        (
            vec![
                part("l.weight.bitmask", "U8", &[2, 1]),
                part("l.weight.compressed", "F32", &[3]),
                part("l.weight.row_offsets", "I64", &[2]),
                part("l.weight.shape", "I64", &[2]),
            ],
            "`l.weight` is compressed as a bitmask, in the parts `l.weight.bitmask`, `l.weight.compressed`, \
             `l.weight.row_offsets`, `l.weight.shape`",
            "decompress it with compressed-tensors, or, if `cdi-prune` wrote it, `restore` the original \
             file: this copy has lost its `__metadata__`",
        ),
        (
            vec![
                part("l.weight.crow_indices", "I64", &[3]),
                part("l.weight.col_indices", "U16", &[3]),
                part("l.weight.values", "F32", &[3]),
            ],
            "`l.weight` is compressed as compressed rows (CSR), in the parts `l.weight.col_indices`, \
             `l.weight.crow_indices`, `l.weight.values`",
            "if `cdi-prune` wrote it, `restore` the original file: this copy has lost its `__metadata__`",
        ),
    ]
}

const QUANTIZED: &str = "use the checkpoint from before quantisation, or dequantise this one first";

#[test]
fn parts_of_compressed_weights_are_not_pruned() {
    for (parts, said, way_out) in forms() {
        let s = Scratch::new();
        let all: Vec<Tensor<'_>> = parts.iter().cloned().chain([weight("norm.weight")]).collect();
        s.safetensors("m.safetensors", &all);
        config(&s, "{path: m.safetensors}", "");
        let x = s.path("x.yaml").display().to_string();
        let said = format!("{said}, which are not weights to compare or prune; {way_out}");
        fails(
            &s,
            &["prune", &x],
            &format!(
                "DIR/m.safetensors: {said}; to prune only the other tensors, keep the parts with a rule in \
                 `prune.rules`"
            ),
        );
        fails(&s, &["new", "m.safetensors"], &format!("m.safetensors: {said}"));
        assert_eq!(names(&s, "m.safetensors").len(), parts.len() + 1);
        // The way out that keeps them.
        s.write(
            "x.yaml",
            fs::read_to_string(s.path("x.yaml")).unwrap().replace(
                "target:",
                "rules: [{match: ['l.*', 'l.weight.*', 'l_*'], keep: true, optional: true}], target:",
            ),
        );
        succeeds(&s, &["prune", "x.yaml"]);
        // What is without one of its parts is nothing that anybody reads so: pruned as any tensor.
        for (left, _) in parts.iter().enumerate() {
            let s = Scratch::new();
            let some = parts.iter().enumerate().filter(|(n, _)| *n == left).map(|(_, part)| part.clone());
            s.safetensors("m.safetensors", &some.chain([weight("norm.weight")]).collect::<Vec<_>>());
            config(&s, "{path: m.safetensors}", "");
            succeeds(&s, &["prune", "x.yaml"]);
        }
    }
}

#[test]
fn names_of_parts_with_types_of_weights_are_weights() {
    let s = Scratch::new();
    let all = [
        "l.qweight",
        "l.qzeros",
        "l.scales",
        "l.weight",
        "l.weight_scale",
        "l.biases",
        "l.bitmask",
        "l.compressed",
    ];
    s.safetensors("m.safetensors", &all.map(weight));
    config(&s, "{path: m.safetensors}", "");
    succeeds(&s, &["prune", "x.yaml"]);
    succeeds(&s, &["new", "m.safetensors"]);
}

#[test]
fn a_pruned_file_saved_again_by_another_program_is_known_by_its_parts() {
    let s = Scratch::new();
    s.safetensors("m.safetensors", &[weight("a.weight"), weight("b.weight")]);
    config(&s, "{path: m.safetensors}", "");
    succeeds(&s, &["prune", "x.yaml", "--set", "prune.format=bitmask"]);
    fs::rename(s.path("p.safetensors"), s.path("m.safetensors")).unwrap();
    s.tamper("m.safetensors", |header, _| {
        header.as_object_mut().unwrap().remove("__metadata__");
    });
    let x = s.path("x.yaml").display().to_string();
    fails(
        &s,
        &["prune", &x],
        "DIR/m.safetensors: `a.weight` (and 1 more like it) is compressed as a bitmask, in the parts \
         `a.weight.bitmask`, `a.weight.compressed`, `a.weight.row_offsets`, `a.weight.shape`, which are not \
         weights to compare or prune; decompress it with compressed-tensors, or, if `cdi-prune` wrote it, \
         `restore` the original file: this copy has lost its `__metadata__`; to prune only the other \
         tensors, keep the parts with a rule in `prune.rules`",
    );
}

// Names with wrappers in them.

const RULES: &str = "seed: 1\nmodel: {tensors: {blocks.0.a.weight: [2, 2], head.weight: [2, 2]}}\n\
                     rules: [{match: 'blocks.*.a.weight', init: he}, {match: head.weight, init: he}]\n";

#[test]
fn names_of_wrappers_are_taken_out_wherever_they_stand() {
    for (names, strip) in [
        (["blocks.0._orig_mod.a.weight", "head.weight"], "strip: [_orig_mod]"),
        (["blocks.0._orig_mod.a.weight", "head.weight"], "strip: _orig_mod"),
        (
            [
                "_fsdp_wrapped_module.blocks.0._fsdp_wrapped_module._checkpoint_wrapped_module.a.weight",
                "_fsdp_wrapped_module.head.weight",
            ],
            "strip: [_fsdp_wrapped_module, _checkpoint_wrapped_module]",
        ),
        (
            ["module.blocks.0._orig_mod.a.weight", "module.head.weight"],
            "strip: [_orig_mod], strip_prefix: module.",
        ),
    ] {
        let s = Scratch::new();
        s.safetensors("m.safetensors", &names.map(weight));
        s.write(
            "x.yaml",
            format!(
                "{RULES}trained: {{path: m.safetensors, {strip}}}\nanalyze: {{report: {{json: r.json}}}}\n"
            ),
        );
        succeeds(&s, &["run", "x.yaml"]);
        let report: serde_json::Value = serde_json::from_slice(&fs::read(s.path("r.json")).unwrap()).unwrap();
        let found: Vec<_> = report["tensors"].as_array().unwrap().iter().map(|t| t["name"].clone()).collect();
        assert_eq!(found, ["blocks.0.a.weight", "head.weight"]);
    }
}

#[test]
fn an_error_says_that_names_differ_by_wrappers() {
    let s = Scratch::new();
    s.safetensors(
        "m.safetensors",
        &["blocks.0._orig_mod.a.weight", "_fsdp_wrapped_module.head.weight"].map(weight),
    );
    s.write("x.yaml", format!("{RULES}trained: {{path: m.safetensors}}\nanalyze: {{}}\n"));
    let x = s.path("x.yaml").display().to_string();
    fails(
        &s,
        &["run", &x],
        "DIR/m.safetensors: the trained checkpoint does not fit the config: no rule matches \
         `_fsdp_wrapped_module.head.weight`, `blocks.0._orig_mod.a.weight` (add a rule; use `init: none` if \
         the initial value is not known); missing there, although the model has them: `blocks.0.a.weight`, \
         `head.weight`; its tensor names contain names of wrappers: `trained.strip: [_fsdp_wrapped_module, \
         _orig_mod]` removes them",
    );
    // Without a model the rules tell.
    s.write(
        "x.yaml",
        format!("{}trained: {{path: m.safetensors}}\nanalyze: {{}}\n", RULES.replace("model:", "# model:")),
    );
    let ran = s.run(&["run", &x]);
    assert!(
        ran.stderr.ends_with("`trained.strip: [_fsdp_wrapped_module, _orig_mod]` removes them\n"),
        "{ran:?}"
    );
    // Names that fit no better without them get no such hint.
    s.safetensors(
        "m.safetensors",
        &["blocks.0._orig_mod.z.weight", "blocks.0.a.weight", "head.weight"].map(weight),
    );
    assert!(!s.run(&["run", &x]).stderr.contains("wrappers"));
}

#[test]
fn names_that_become_one_without_a_wrapper() {
    let s = Scratch::new();
    s.safetensors("m.safetensors", &["a._orig_mod.weight", "a.weight"].map(weight));
    config(&s, "{path: m.safetensors, strip: _orig_mod}", "");
    let x = s.path("x.yaml").display().to_string();
    fails(
        &s,
        &["prune", &x],
        "DIR/m.safetensors: tensors `a._orig_mod.weight` and `a.weight` are both called `a.weight` once `strip` is applied",
    );
}

#[test]
fn what_is_stripped_is_a_name_without_dots() {
    let s = Scratch::new();
    s.safetensors("m.safetensors", &[weight("a.weight")]);
    for (strip, line) in [("module.", "\"module.\""), ("''", "\"\"")] {
        config(&s, &format!("{{path: m.safetensors, strip: {strip}}}"), "");
        let ran = s.run(&["prune", "x.yaml"]);
        assert_eq!(ran.code, 2);
        let said = format!(
            "`trained.strip`: expected a name without dots, which is removed together with the dot after it, got {line}
"
        );
        assert!(ran.stderr.ends_with(&said), "{}", ran.stderr);
    }
}

#[test]
fn new_suggests_what_to_take_out() {
    let s = Scratch::new();
    let names =
        ["module.blocks.0._orig_mod.a.weight", "module.blocks.1._orig_mod.a.weight", "module.head.weight"];
    s.safetensors("m.safetensors", &names.map(weight));
    let ran = succeeds(&s, &["new", "m.safetensors", "-o", "n.yaml"]);
    let text = fs::read_to_string(s.path("n.yaml")).unwrap();
    assert!(text.contains("\n  strip: [_orig_mod]\n  strip_prefix: [module.]\n"), "{text}{ran:?}");
    assert!(!text.contains("wrapped") && !text.contains("\nmodel:"), "{text}");
    succeeds(&s, &["run", "n.yaml"]);
    // Not where that would make one name of two.
    s.safetensors("m.safetensors", &["a._orig_mod.weight", "a.weight"].map(weight));
    let ran = succeeds(&s, &["new", "m.safetensors"]);
    assert!(!ran.stdout.contains("strip"), "{}", ran.stdout);
}

// Folders that hold a model.

const CONFIG_JSON: &str = "{\"model_type\": \"gpt2\"}";
const README: &str = "---\nlicense: mit\n---\n# My model\n";

/// A folder as `save_pretrained` writes it, and a config that prunes it into another one.
fn model(prune: &str) -> Scratch {
    let s = Scratch::new();
    s.safetensors("m/model.safetensors", &[weight("a.weight"), weight("b.weight")]);
    s.write("m/config.json", CONFIG_JSON);
    s.write("m/tokenizer.json", "{}");
    s.write("m/merges.txt", "a b\n");
    s.write("m/tokenizer.model", [0u8, 159, 146, 150]);
    s.write("m/modeling_mine.py", "pass\n");
    s.write("m/LICENSE", "MIT\n");
    s.write("m/README.md", README);
    // None of these is for a program that loads the model.
    s.write("m/training_args.bin", "x");
    s.write("m/pytorch_model.bin.index.json", "{}");
    s.write("m/._config.json", "x");
    s.write("m/.gitattributes", "x");
    s.write("m/runs/events.json", "x");
    s.write(
        "x.yaml",
        format!(
            "seed: 1\nrules: [{{match: '**', init: none}}]\ntrained: {{path: m}}\nmanifest: manifest.json\n\
             prune: {{output: p/, criterion: magnitude, target: {{sparsity: 0.5}}, {prune}}}\n"
        ),
    );
    s
}

const SMALL: [&str; 7] = [
    "LICENSE",
    "README.md",
    "config.json",
    "merges.txt",
    "modeling_mine.py",
    "tokenizer.json",
    "tokenizer.model",
];

/// The names in a folder, sorted.
fn listed(s: &Scratch, folder: &str) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(s.path(folder))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn and(names: &[&str], more: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = names.iter().chain(more).map(|name| (*name).to_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_model_is_pruned_into_a_folder_and_restored_as_it_was() {
    let s = model("format: bitmask");
    let ran = succeeds(&s, &["run", "x.yaml"]);
    assert!(ran.stdout.contains("Pruned file: p/pruned.safetensors with 7 small files, "), "{}", ran.stdout);
    // No name that transformers looks for: model.safetensors, pytorch_model.bin, tf_model.h5,
    // flax_model.msgpack, an index.
    assert_eq!(listed(&s, "p"), and(&SMALL, &["pruned.safetensors"]));
    let readme = fs::read_to_string(s.path("p/README.md")).unwrap();
    assert_eq!(
        readme,
        format!(
            "<!-- cdi-prune: a pruned checkpoint -->\n\
             # A pruned checkpoint\n\n\
             `pruned.safetensors` contains the pruned weights in the format of `cdi-prune`. \
             `from_pretrained` does not look for this name,\n\
             because a program that skipped the tensors it does not know would start from random weights.\n\
             Restore the checkpoint into another folder first:\n\n\
             ```sh\n\
             cdi-prune restore THIS_FOLDER -o RESTORED/\n\
             ```\n\n\
             This writes the full weights and copies the small files of this folder, so that \
             `from_pretrained(\"RESTORED\")`\n\
             can load the model.\n\
             <!-- cdi-prune: the model's own README follows -->\n\
             {README}"
        )
    );
    // The manifest has each of them, as input and as output.
    let manifest = fs::read_to_string(s.path("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let files = |key: &str, role: &str| -> Vec<String> {
        let all = manifest[key].as_array().unwrap().iter().filter(|entry| entry["role"] == role);
        all.map(|entry| entry["path"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(files("inputs", "beside"), SMALL.map(|name| format!("m/{name}")));
    assert_eq!(files("outputs", "prune.output").len(), 8);
    succeeds(&s, &["verify", "manifest.json"]);
    // What was done is not done again, until one of them changes.
    assert!(succeeds(&s, &["run", "x.yaml"]).stdout.starts_with("Nothing to do"));
    let before = s.files();
    succeeds(&s, &["run", "x.yaml", "--force", "--threads", "3"]);
    assert!(s.files() == before);
    s.write("m/tokenizer.json", "{ }");
    assert!(!succeeds(&s, &["run", "x.yaml"]).stdout.starts_with("Nothing to do"));
    assert_eq!(fs::read(s.path("p/tokenizer.json")).unwrap(), b"{ }");

    let ran = succeeds(&s, &["restore", "p", "-o", "r/"]);
    assert!(
        ran.stderr.starts_with("restored: r/model.safetensors with 7 small files, 2 tensors"),
        "{}",
        ran.stderr
    );
    assert_eq!(listed(&s, "r"), and(&SMALL, &["model.safetensors"]));
    for name in SMALL {
        assert_eq!(
            fs::read(s.path(&format!("r/{name}"))).unwrap(),
            fs::read(s.path(&format!("m/{name}"))).unwrap()
        );
    }
    assert_eq!(names(&s, "r"), ["a.weight", "b.weight"]);
    // A folder that is there needs no slash, and a pruned file no folder of its own.
    fs::create_dir(s.path("q")).unwrap();
    succeeds(&s, &["restore", "p/pruned.safetensors", "-o", "q", "--max-shard-size", "20"]);
    let shards = [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    ];
    assert_eq!(listed(&s, "q"), and(&SMALL, &shards));
    // A file as output is a file, as ever.
    succeeds(&s, &["restore", "p", "-o", "one/model.safetensors"]);
    assert_eq!(listed(&s, "one"), ["model.safetensors"]);
}

#[test]
fn a_dense_folder_is_a_model_as_it_stands() {
    let s = model("format: dense");
    succeeds(&s, &["run", "x.yaml"]);
    assert_eq!(listed(&s, "p"), and(&SMALL, &["model.safetensors"]));
    assert_eq!(fs::read_to_string(s.path("p/README.md")).unwrap(), README);
}

#[test]
fn a_model_without_a_readme_gets_none_back() {
    let s = model("format: csr, max_shard_size: 60");
    fs::remove_file(s.path("m/README.md")).unwrap();
    succeeds(&s, &["run", "x.yaml"]);
    let shards = [
        "pruned-00001-of-00002.safetensors",
        "pruned-00002-of-00002.safetensors",
        "pruned.safetensors.index.json",
    ];
    assert_eq!(listed(&s, "p"), and(&SMALL, &shards));
    succeeds(&s, &["restore", "p", "-o", "r/"]);
    let without: Vec<&str> = SMALL.into_iter().filter(|name| *name != "README.md").collect();
    assert_eq!(listed(&s, "r"), and(&without, &["model.safetensors"]));
}

#[test]
fn weights_are_called_what_the_models_library_looks_for() {
    for (config, text, weights) in [
        ("config.json", CONFIG_JSON, "model.safetensors"),
        (
            "config.json",
            r#"{"_class_name": "UNet", "_diffusers_version": "0.30.0"}"#,
            "diffusion_pytorch_model.safetensors",
        ),
        ("adapter_config.json", "{}", "adapter_model.safetensors"),
    ] {
        let s = model("format: bitmask");
        fs::remove_file(s.path("m/config.json")).unwrap();
        s.write(&format!("m/{config}"), text);
        succeeds(&s, &["run", "x.yaml"]);
        succeeds(&s, &["restore", "p", "-o", "r/"]);
        assert!(listed(&s, "r").contains(&weights.to_owned()), "{:?}", listed(&s, "r"));
    }
}

#[test]
fn a_folder_whose_pruned_places_need_a_base_says_so() {
    let s = model("format: bitmask");
    s.safetensors("base.safetensors", &[weight("a.weight"), weight("b.weight")]);
    let config = fs::read_to_string(s.path("x.yaml")).unwrap();
    s.write(
        "x.yaml",
        config
            .replace("init: none", "init: {from: base.safetensors}")
            .replace("format:", "fill: init, format:"),
    );
    succeeds(&s, &["run", "x.yaml"]);
    let readme = fs::read_to_string(s.path("p/README.md")).unwrap();
    assert!(
        readme.contains(
            "\n\
             cdi-prune restore THIS_FOLDER -o RESTORED/ --base BASE\n\
             ```\n\n\
             `BASE` is the checkpoint that the weights started from; it was `base.safetensors` when this \
             file was written.\n"
        ),
        "{readme}"
    );
    succeeds(&s, &["restore", "p", "-o", "r/", "--base", "base.safetensors"]);
    // Half of the places were pruned, and the base has there what was trained: data is all behind the header.
    let data = |name: &str| {
        let bytes = fs::read(s.path(name)).unwrap();
        let header = usize::try_from(u64::from_le_bytes(*bytes.first_chunk().unwrap())).unwrap();
        bytes[8 + header..].to_vec()
    };
    assert_eq!(data("r/model.safetensors"), data("m/model.safetensors"));
}

#[test]
fn a_checkpoint_that_lies_about_takes_nothing_with_it() {
    let s = model("format: bitmask");
    // No folder was named, and what lies there is no model.
    fs::remove_file(s.path("m/config.json")).unwrap();
    succeeds(&s, &["run", "x.yaml", "--set", "trained.path=m/model.safetensors"]);
    assert_eq!(listed(&s, "p"), ["README.md", "pruned.safetensors"]);
}

#[test]
fn reports_of_the_run_are_no_part_of_the_model() {
    let s = model("format: bitmask");
    let more = "analyze: {report: {json: m/report.json, markdown: m/report.md}}\n";
    s.write("x.yaml", fs::read_to_string(s.path("x.yaml")).unwrap() + more);
    succeeds(&s, &["run", "x.yaml"]);
    succeeds(&s, &["run", "x.yaml", "--force"]);
    assert_eq!(listed(&s, "p"), and(&SMALL, &["pruned.safetensors"]));
    succeeds(&s, &["verify", "manifest.json"]);
}

#[test]
fn small_files_that_are_large_or_links_are_refused() {
    let s = model("format: bitmask");
    let x = s.path("x.yaml").display().to_string();
    // A file with a hole, so that it takes no room.
    fs::File::create(s.path("m/vocab.json")).unwrap().set_len((64 << 20) - 40).unwrap();
    let ran = s.run(&["prune", &x]);
    assert_eq!(
        (ran.code, ran.stderr.as_str()),
        (
            1,
            "error: DIR/m: the files to copy with the weights, including `vocab.json`, have more than \
             67108864 bytes in total; move those that the model does not need out of the folder, or write a \
             file instead of a folder\n"
        )
    );
    fs::remove_file(s.path("m/vocab.json")).unwrap();
    #[cfg(unix)]
    {
        s.write("blob", "{}");
        fs::remove_file(s.path("m/tokenizer.json")).unwrap();
        std::os::unix::fs::symlink("../blob", s.path("m/tokenizer.json")).unwrap();
        fails(
            &s,
            &["prune", &x],
            "DIR/m: `tokenizer.json`, which would be copied with the weights, is a link out of the folder, \
             to DIR/blob; use `--follow-links` to allow this",
        );
        assert!(!s.path("p").exists());
        succeeds(&s, &["prune", "x.yaml", "--follow-links"]);
        assert!(s.path("p/tokenizer.json").symlink_metadata().unwrap().is_file());
    }
}

#[test]
fn a_folder_as_output_needs_its_slash() {
    let s = model("format: bitmask");
    fs::create_dir(s.path("out")).unwrap();
    let x = s.path("x.yaml").display().to_string();
    let ran = s.run(&["run", &x, "--set", "prune.output=out"]);
    assert_eq!(
        (ran.code, ran.stderr.as_str()),
        (
            2,
            "error: DIR/out: `prune.output` is a folder; give the path of a file, or end it with a slash to \
             write the checkpoint and the small files of its model into the folder\n"
        )
    );
    succeeds(&s, &["run", "x.yaml", "--set", "prune.output=out/"]);
    assert_eq!(listed(&s, "out"), and(&SMALL, &["pruned.safetensors"]));
}

#[test]
fn a_folder_is_not_pruned_or_restored_into_itself() {
    let s = model("format: bitmask");
    let x = s.path("x.yaml").display().to_string();
    let before = s.files();
    let ran = s.run(&["prune", &x, "--set", "prune.output=m/"]);
    assert_eq!(
        (ran.code, ran.stderr.as_str()),
        (
            2,
            "error: a file beside `trained.path` and a file of `prune.output` are the same file (DIR/m/LICENSE): an output \
             must not replace an input or another output; give one of them another path\n"
        )
    );
    assert!(s.files() == before);
    succeeds(&s, &["run", "x.yaml"]);
    let before = s.files();
    let ran = s.run(&["restore", "p", "-o", "p"]);
    assert_eq!(
        (ran.code, ran.stderr.as_str()),
        (
            2,
            "error: the file to restore or its base and the output are the same file (p/LICENSE): an output must not \
             replace an input or another output; give one of them another path\n"
        )
    );
    assert!(s.files() == before);
}
