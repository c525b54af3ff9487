//! Recognises files that are not safetensors by their first bytes, so that the error can tell the user what
//! to do.

use core::fmt;

/// A format of files that users may take for a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// The pointer that Git LFS stores in place of a large file.
    LfsPointer,
    /// A zip file of `torch.save`.
    Torch,
    /// A pickle: from an older `torch.save`, or any Python object.
    Pickle,
    /// A web page or other XML text, usually from a failed download.
    Markup,
    /// A llama.cpp model.
    Gguf,
    /// An ONNX model.
    Onnx,
    /// HDF5, as written by Keras and `h5py`.
    Hdf5,
    /// A zip file of Keras.
    Keras,
    /// A single NumPy array.
    Npy,
    /// A zip file of NumPy arrays.
    Npz,
    /// Another zip file.
    Zip,
    /// A compressed file, with the program that decompresses it.
    Packed(&'static str),
    /// A `tar` archive.
    Tar,
    /// The file in which macOS keeps attributes of another file on foreign file systems.
    AppleDouble,
    /// JSON without the header length before it.
    Json,
    /// A part of a checkpoint from `torch.distributed.checkpoint`.
    Distributed,
}

/// The first bytes of compressed files, with the program that decompresses them.
const PACKED: [(&[u8], &str); 4] = [
    (b"\x1f\x8b\x08", "gunzip"),
    (b"\x28\xb5\x2f\xfd", "unzstd"),
    (b"\xfd7zXZ\0", "unxz"),
    (b"BZh", "bunzip2"),
];

impl Foreign {
    /// The format of a file, from its first bytes; `None` if it may be a safetensors file.
    pub fn of(file: &[u8]) -> Option<Self> {
        // A length below 2^32 and a brace: a safetensors file, even if damaged. Such a length may look like
        // the opcodes of a pickle.
        if file.get(4..9).is_some_and(|bytes| bytes == b"\0\0\0\0{") {
            return None;
        }
        let begins = |magic: &[u8]| file.starts_with(magic);
        if begins(b"version https://git-lfs.github.com/spec/") {
            return Some(Self::LfsPointer);
        }
        if begins(b"PK\x03\x04") {
            return Some(Self::of_zip(file));
        }
        for (magic, found) in [
            (&b"GGUF"[..], Self::Gguf),
            (b"\x89HDF\r\n\x1a\n", Self::Hdf5),
            (b"\x93NUMPY", Self::Npy),
            (b"\0\x05\x16\x07", Self::AppleDouble),
        ] {
            if begins(magic) {
                return Some(found);
            }
        }
        if let Some((_, program)) = PACKED.iter().find(|(magic, _)| begins(magic)) {
            return Some(Self::Packed(program));
        }
        if file.get(257..262) == Some(b"ustar") {
            return Some(Self::Tar);
        }
        match file {
            // The opcode PROTO with an existing protocol version, then an opcode that can
            // begin a Python object.
            [0x80, 2..=5, b'}' | b']' | b'(' | b'c' | b'q' | b'X' | 0x8a | 0x8c | 0x95, ..] => {
                Some(Self::Pickle)
            }
            // Field 1, the version of the format, then one of the fields 2 to 8 of the model: names, the
            // graph, operator sets.
            [0x08, 1..=32, 0x12 | 0x1a | 0x22 | 0x28 | 0x32 | 0x3a | 0x42, ..] => Some(Self::Onnx),
            _ => Self::of_text(file),
        }
    }

    /// Determines the kind of a zip file from the name of its first member.
    fn of_zip(file: &[u8]) -> Self {
        let length = file.get(26..28).map_or(0, |b| usize::from(u16::from_le_bytes([b[0], b[1]])));
        let name = file.get(30..30 + length).unwrap_or_default();
        let ends = |end: &[u8]| name.ends_with(end);
        if ends(b".npy") {
            Self::Npz
        } else if ends(b"/data.pkl")
            || ends(b"/constants.pkl")
            || ends(b"/.format_version")
            || ends(b"/version")
        {
            Self::Torch
        } else if name == b"metadata.json" || name == b"config.json" {
            Self::Keras
        } else {
            Self::Zip
        }
    }

    fn of_text(file: &[u8]) -> Option<Self> {
        let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
        let file = file[..file.len().min(512)].trim_ascii_start();
        let begins = |tag: &[u8]| file.get(..tag.len()).is_some_and(|b| b.eq_ignore_ascii_case(tag));
        if [&b"<!doctype"[..], b"<html", b"<?xml", b"<error", b"<head"].into_iter().any(begins) {
            return Some(Self::Markup);
        }
        // The brace of an object, then the quote of its first key or its closing brace.
        let rest = file.strip_prefix(b"{")?.trim_ascii_start();
        matches!(rest.first(), Some(b'"' | b'}')).then_some(Self::Json)
    }

    /// The format that a file's extension indicates, if it is one of these.
    pub fn by_name(name: &str) -> Option<Self> {
        let (_, ending) = name.rsplit_once('.')?;
        Some(match ending.to_ascii_lowercase().as_str() {
            "bin" | "pt" | "pth" | "ckpt" => Self::Torch,
            "pkl" | "pickle" => Self::Pickle,
            "gguf" => Self::Gguf,
            "onnx" => Self::Onnx,
            "h5" | "hdf5" => Self::Hdf5,
            "keras" => Self::Keras,
            "npy" => Self::Npy,
            "npz" => Self::Npz,
            _ => return None,
        })
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const RESAVE: &str =
            "load it with `torch.load` and save its tensors with `safetensors.torch.save_file`";
        match self {
            Self::LfsPointer => {
                f.write_str("a Git LFS pointer, not the file itself; fetch the file with `git lfs pull`")
            }
            Self::Torch => write!(f, "a file of `torch.save`, not safetensors; {RESAVE}"),
            Self::Pickle => write!(f, "a Python pickle from an older `torch.save`, not safetensors; {RESAVE}"),
            Self::Markup => f.write_str(
                "a web page or another text with tags, probably from a failed download; download the file \
                 again",
            ),
            Self::Gguf => f.write_str(
                "a GGUF model, in which most weights are quantised; use the safetensors checkpoint that it \
                 was made from",
            ),
            Self::Onnx => {
                f.write_str("an ONNX model, not safetensors; use the checkpoint that it was exported from")
            }
            Self::Hdf5 => f.write_str(
                "an HDF5 file, such as a Keras `.h5` file, not safetensors; read its arrays with `h5py` and \
                 save them with `safetensors.numpy.save_file`",
            ),
            Self::Keras => f.write_str(
                "a model file of Keras, not safetensors; load the model and save its weights with \
                 `safetensors.numpy.save_file`",
            ),
            Self::Npy => f.write_str(
                "a NumPy array, not safetensors; load it with `numpy.load` and save it with `safetensors.numpy.save_file`",
            ),
            Self::Npz => f.write_str(
                "an archive of NumPy arrays, not safetensors; load it with `numpy.load` and save them with \
                 `safetensors.numpy.save_file`",
            ),
            Self::Zip => f.write_str("a zip archive, not safetensors; unpack it"),
            Self::Packed(program) => write!(f, "a compressed file; unpack it with `{program}`"),
            Self::Tar => f.write_str("a tar archive, not safetensors; unpack it"),
            Self::AppleDouble => f.write_str(
                "an AppleDouble file, in which macOS stores attributes of another file; give the path of the \
                 file without `._`",
            ),
            Self::Distributed => f.write_str(
                "a part of a checkpoint of `torch.distributed.checkpoint`, not safetensors; convert it to \
                 one file with `python3 -m torch.distributed.checkpoint.format_utils dcp_to_torch`, and save \
                 its tensors with `safetensors.torch.save_file`",
            ),
            Self::Json => f.write_str(
                "a JSON text, not safetensors; the name of a shard index ends in `.json`",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_safetensors_file_is_not_taken_for_another_kind() {
        // Header lengths whose bytes are the beginning of a pickle (0x0280 = 640), an ONNX
        // model or a bzip2 file.
        for start in [&b"\x80\x02\0\0\0\0\0\0{\"a\""[..], b"\x08\x07\x12\0\0\0\0\0{}", b"BZh\0\0\0\0\0{"] {
            assert_eq!(Foreign::of(start), None, "{start:?}");
        }
        assert_eq!(Foreign::of(b""), None);
        assert_eq!(Foreign::of(b"\x80\x02"), None);
        assert_eq!(Foreign::of(&[0; 600]), None);
    }
}
