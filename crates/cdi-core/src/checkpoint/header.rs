//! The header of a safetensors file: 8 bytes of length, a JSON object, then the tensors' bytes.
//!
//! Parsing is a chain of checks that trusts no number in the file. The reader of the crate `safetensors` is
//! not used, because it accepts duplicate names and does not report which tensor is wrong. Writing is
//! canonical: sorted keys, one spelling, padded with spaces to a multiple of 8 bytes, so that equal
//! contents give equal bytes.
//!
//! Source of the format: <https://github.com/huggingface/safetensors#format>.

use alloc::collections::BTreeMap;
use core::fmt;
use core::ops::Range;

use safetensors::Dtype;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use super::by_name::{by_name, sort_by_name};
use crate::prelude::*;
use crate::tensor::{Dims, Shape, ShapeError};

/// The largest header that readers of the format accept, in bytes.
const MAX_HEADER: u64 = 100_000_000;

/// Maximum number of keys in `__metadata__`. A key takes ten times as much memory as in the file, and no
/// program writes more than a few.
const MAX_METADATA: usize = 1 << 16;

/// A tensor in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Element type.
    pub dtype: Dtype,
    /// Shape.
    pub shape: Shape,
    /// The range of its bytes, from the beginning of the file.
    pub bytes: Range<usize>,
}

/// A checked header: all ranges lie in the file, they follow each other without gap or overlap, and each has
/// the length that the tensor's type and shape require.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The free-form `__metadata__`.
    pub metadata: BTreeMap<String, String>,
    /// The tensors by name.
    pub tensors: BTreeMap<String, TensorInfo>,
}

/// Why bytes are not a valid safetensors file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The file is too short even for the length of a header.
    #[error("not a safetensors file: {0} bytes, shorter than the 8 bytes of a header length")]
    TooShort(usize),
    /// The header is longer than readers accept.
    #[error("not a safetensors file: its header would have {0} bytes, more than the {MAX_HEADER} allowed")]
    TooLong(u64),
    /// The file ends inside the header.
    #[error(
        "truncated: the header should have {expected} bytes, but the file has only {got} after the \
             header length"
    )]
    HeaderTruncated {
        /// Length of the header in bytes, as stated in the file.
        expected: u64,
        /// Bytes of the header that the file has.
        got: usize,
    },
    /// The header is not valid JSON, or not of the form of a header.
    #[error("not a safetensors header: {0}")]
    Json(String),
    /// A shape is too large for this machine.
    #[error("tensor `{name}`: {error}")]
    Shape {
        /// The tensor.
        name: String,
        /// What is wrong with its shape.
        error: ShapeError,
    },
    /// Offsets overlap, leave a gap or are out of order.
    #[error(
        "tensor `{name}`: its data begins at offset {got}, expected {expected}, the end of the previous \
         tensor"
    )]
    Offset {
        /// The tensor.
        name: String,
        /// The offset at which it should begin.
        expected: usize,
        /// The offset in the header.
        got: usize,
    },
    /// A length does not match type and shape.
    #[error("tensor `{name}`: {got} bytes of data, expected {expected} for {dtype} {shape}")]
    Length {
        /// The tensor.
        name: String,
        /// Its type.
        dtype: Dtype,
        /// Its shape.
        shape: Shape,
        /// Length in bytes according to type and shape.
        expected: usize,
        /// Length in bytes according to the header.
        got: usize,
    },
    /// A tensor of a type smaller than a byte does not fill whole bytes.
    #[error("tensor `{name}`: {dtype} {shape} does not fill whole bytes")]
    PartByte {
        /// The tensor.
        name: String,
        /// Its type.
        dtype: Dtype,
        /// Its shape.
        shape: Shape,
    },
    /// The file is shorter or longer than its header says.
    #[error("{}: the header describes a file of {expected} bytes, but it has {got}", if got < expected { "truncated" } else { "trailing bytes" })]
    FileLength {
        /// Length in bytes according to the header.
        expected: usize,
        /// Actual length in bytes.
        got: usize,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTensor {
    dtype: Dtype,
    #[serde(deserialize_with = "checked")]
    shape: Result<Shape, ShapeError>,
    data_offsets: (usize, usize),
}

/// A shape. One that is too large does not make the JSON wrong.
fn checked<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Result<Shape, ShapeError>, D::Error> {
    Dims::deserialize(deserializer).map(|dims| Shape::new(dims.0))
}

/// The header's JSON. Tensors are in the order of the file, in a list: it takes less memory than a map.
#[derive(Default)]
struct RawHeader {
    metadata: BTreeMap<String, String>,
    tensors: Vec<(String, RawTensor)>,
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = RawHeader;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
                let mut header = RawHeader::default();
                let mut metadata_seen = false;
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        header.metadata = map
                            .next_value::<UniqueStrings>()
                            .map_err(|e| de::Error::custom(format_args!("`__metadata__`: {e}")))?
                            .0;
                        if core::mem::replace(&mut metadata_seen, true) {
                            return Err(de::Error::custom("`__metadata__` occurs twice"));
                        }
                    } else {
                        let tensor = map
                            .next_value::<RawTensor>()
                            .map_err(|e| de::Error::custom(format_args!("tensor `{name}`: {e}")))?;
                        header.tensors.push((name, tensor));
                    }
                }
                Ok(header)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// An object of strings in which no key occurs twice, however it is escaped.
struct UniqueStrings(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for UniqueStrings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = UniqueStrings;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UniqueStrings, A::Error> {
                let mut strings = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, String>()? {
                    if strings.insert(key.clone(), value).is_some() {
                        return Err(de::Error::custom(format_args!("`{key}` occurs twice")));
                    }
                    if strings.len() > MAX_METADATA {
                        return Err(de::Error::custom(format_args!("more than {MAX_METADATA} keys")));
                    }
                }
                Ok(UniqueStrings(strings))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

impl Header {
    /// Number of bytes of the header of a file that begins with these bytes and has `file_len` in total,
    /// including those that give its length.
    pub fn bytes_of(beginning: &[u8], file_len: usize) -> Result<usize, HeaderError> {
        let (length, _) = beginning.split_first_chunk::<8>().ok_or(HeaderError::TooShort(file_len))?;
        let length = u64::from_le_bytes(*length);
        if length > MAX_HEADER {
            return Err(HeaderError::TooLong(length));
        }
        // At most MAX_HEADER, so the sum cannot overflow.
        let end = 8 + length as usize;
        if end > file_len {
            return Err(HeaderError::HeaderTruncated { expected: length, got: file_len - 8 });
        }
        Ok(end)
    }

    /// Parses and checks the header of a whole file.
    pub fn parse(file: &[u8]) -> Result<Self, HeaderError> {
        let end = Self::bytes_of(file, file.len())?;
        Self::parse_beginning(&file[..end], file.len())
    }

    /// Parses and checks the header of a file with `file_len` bytes, of which these
    /// [`Self::bytes_of`] are the first.
    pub fn parse_beginning(header: &[u8], file_len: usize) -> Result<Self, HeaderError> {
        let json = &header[8..];
        let raw: RawHeader = serde_json::from_slice(json).map_err(|e| HeaderError::Json(e.to_string()))?;
        let tensors = place(raw.tensors, header.len(), file_len)?;
        Ok(Self { metadata: raw.metadata, tensors })
    }
}

/// Checks that no name occurs twice and that the tensors fill the file from `data_start` to its end. Converts
/// offsets to positions in the file.
fn place(
    mut raw: Vec<(String, RawTensor)>,
    data_start: usize,
    file_len: usize,
) -> Result<BTreeMap<String, TensorInfo>, HeaderError> {
    sort_by_name(&mut raw);
    if let Some(pair) = raw.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(HeaderError::Json(format!("`{}` occurs twice", pair[0].0)));
    }
    let checked =
        raw.into_iter().map(|(name, RawTensor { dtype, shape, data_offsets: (from, to) })| match shape {
            Ok(shape) => Ok((name, TensorInfo { dtype, shape, bytes: from..to })),
            Err(error) => Err(HeaderError::Shape { name, error }),
        });
    let mut tensors: Vec<(String, TensorInfo)> = checked.collect::<Result<_, _>>()?;
    // If tensors begin at the same offset, empty ones come first, in name order.
    let offsets =
        |(n, (_, tensor)): (usize, &(String, TensorInfo))| (tensor.bytes.start, tensor.bytes.end, n);
    let mut in_order: Vec<(usize, usize, usize)> = tensors.iter().enumerate().map(offsets).collect();
    in_order.sort_unstable();
    let mut end = 0usize;
    for (_, _, n) in in_order {
        let (name, TensorInfo { dtype, shape, bytes }) = &mut tensors[n];
        let (from, to) = (bytes.start, bytes.end);
        if from != end {
            return Err(HeaderError::Offset { name: name.clone(), expected: end, got: from });
        }
        let Some(expected) = shape.bytes(dtype.bitsize()) else {
            return Err(HeaderError::PartByte { name: name.clone(), dtype: *dtype, shape: shape.clone() });
        };
        let got = to.saturating_sub(from);
        if got != expected {
            return Err(HeaderError::Length {
                name: name.clone(),
                dtype: *dtype,
                shape: shape.clone(),
                expected,
                got,
            });
        }
        end = to;
        // Ranges beyond the end of the file are refused below, before they are used.
        *bytes = data_start.saturating_add(from)..data_start.saturating_add(to);
    }
    let expected = data_start.saturating_add(end);
    if expected != file_len {
        return Err(HeaderError::FileLength { expected, got: file_len });
    }
    // They are already in name order.
    Ok(by_name(tensors.into_iter()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(json: &str, data: usize) -> Vec<u8> {
        let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
        bytes.extend(json.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    }

    fn error(json: &str, data: usize) -> String {
        Header::parse(&file(json, data)).unwrap_err().to_string()
    }

    #[test]
    fn empty_tensors_scalars_and_unaligned_headers_are_valid() {
        let json = r#"{"s":{"dtype":"F64","shape":[],"data_offsets":[0,8]},"z":{"dtype":"F32","shape":[0,3],"data_offsets":[0,0]},"f4":{"dtype":"F4","shape":[4],"data_offsets":[8,10]}}"#;
        assert_eq!(Header::parse(&file(json, 10)).unwrap().tensors.len(), 3);
        assert_eq!(Header::parse(&file("{}", 0)).unwrap(), Header::default());
    }

    #[test]
    fn each_defect_is_named() {
        assert_eq!(
            Header::parse(&[1, 2]).unwrap_err().to_string(),
            "not a safetensors file: 2 bytes, shorter than the 8 bytes of a header length"
        );
        assert_eq!(
            Header::parse(b"\xff\xff\xff\xff\xff\xff\xff\xff").unwrap_err().to_string(),
            "not a safetensors file: its header would have 18446744073709551615 bytes, more than the 100000000 allowed"
        );
        assert_eq!(
            Header::parse(b"\x09\0\0\0\0\0\0\0{}").unwrap_err().to_string(),
            "truncated: the header should have 9 bytes, but the file has only 2 after the header length"
        );
        assert_eq!(
            error("[]", 0),
            "not a safetensors header: invalid type: sequence, expected an object of tensors at line 1 column 0"
        );
        let t = |shape: &str, from: usize, to: usize| {
            format!(r#"{{"dtype":"F32","shape":{shape},"data_offsets":[{from},{to}]}}"#)
        };
        assert_eq!(
            error(&format!(r#"{{"a":{},"\u0061":{}}}"#, t("[1]", 0, 4), t("[1]", 4, 8)), 8),
            "not a safetensors header: `a` occurs twice"
        );
        assert_eq!(
            error(r#"{"__metadata__":{"k":"1","k":"2"}}"#, 0),
            "not a safetensors header: `__metadata__`: `k` occurs twice at line 1 column 33"
        );
        let keys: Vec<String> = (0..=1 << 16).map(|n| format!(r#""{n}":"""#)).collect();
        assert_eq!(
            error(&format!(r#"{{"__metadata__":{{{}}}}}"#, keys.join(",")), 0),
            "not a safetensors header: `__metadata__`: more than 65536 keys at line 1 column 709814"
        );
        assert_eq!(
            error(&format!(r#"{{"a":{}}}"#, t(&format!("[{}1]", "1,".repeat(64)), 0, 4)), 4),
            "not a safetensors header: tensor `a`: a shape of more dimensions than the limit of 64 at line 1 \
             column 159"
        );
        assert_eq!(
            error(&format!(r#"{{"a":{}}}"#, t("[1]", 4, 8)), 8),
            "tensor `a`: its data begins at offset 4, expected 0, the end of the previous tensor"
        );
        assert_eq!(
            error(&format!(r#"{{"a":{},"b":{}}}"#, t("[2]", 0, 8), t("[1]", 4, 8)), 8),
            "tensor `b`: its data begins at offset 4, expected 8, the end of the previous tensor"
        );
        assert_eq!(
            error(&format!(r#"{{"a":{}}}"#, t("[3]", 0, 8)), 8),
            "tensor `a`: 8 bytes of data, expected 12 for F32 [3]"
        );
        assert_eq!(
            error(&format!(r#"{{"a":{}}}"#, t("[2]", 8, 0)), 8),
            "tensor `a`: its data begins at offset 8, expected 0, the end of the previous tensor"
        );
        assert_eq!(
            error(&format!(r#"{{"a":{}}}"#, t("[4611686018427387904,4]", 0, 8)), 8),
            "tensor `a`: shape [4611686018427387904, 4] has more elements than this machine can address"
        );
        assert_eq!(
            error(r#"{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}}"#, 1),
            "tensor `a`: F4 [3] does not fill whole bytes"
        );
        let one = format!(r#"{{"a":{}}}"#, t("[2]", 0, 8));
        assert_eq!(error(&one, 7), "truncated: the header describes a file of 70 bytes, but it has 69");
        assert_eq!(error(&one, 9), "trailing bytes: the header describes a file of 70 bytes, but it has 71");
        assert!(
            error(r#"{"a":{"dtype":"F33","shape":[3],"data_offsets":[0,1]}}"#, 1)
                .starts_with("not a safetensors header: tensor `a`: unknown variant `F33`, expected one of")
        );
    }
}
