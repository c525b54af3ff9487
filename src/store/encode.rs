//! Writes the header of a file. The same tensors always give the same bytes.

use std::collections::BTreeMap;
use std::ops::Range;

use safetensors::Dtype;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::tensor::Shape;

/// One entry of a header. Offsets count from the end of the header.
#[derive(Clone)]
pub(super) struct OutEntry<'a> {
    pub name: &'a str,
    pub dtype: Dtype,
    pub shape: &'a Shape,
    pub offsets: Range<u64>,
}

/// More bytes than most entries take without their names.
const ENTRY: usize = 128;

/// The bytes of a file before its data: the length, JSON with sorted keys, and spaces up to a
/// multiple of 8 bytes. The entries come in name order.
pub(super) fn encode_entries<'a>(
    metadata: &BTreeMap<String, String>,
    entries: impl Iterator<Item = OutEntry<'a>> + Clone,
) -> Vec<u8> {
    // Room for all of it, with four quotes or backslashes before each eight characters of metadata, because
    // growing leaves holes as large as the header. Room that stays empty takes no memory.
    let names: usize = entries.clone().map(|entry| entry.name.len() + ENTRY).sum();
    let values: usize = metadata.values().map(|value| value.len() + value.len() / 2).sum();
    let mut out = Vec::with_capacity(names + values + ENTRY);
    out.resize(8, 0);
    write_object(&mut out, metadata, entries).expect("strings and integers always serialise");
    out.resize(out.len().next_multiple_of(8), b' ');
    let length = out.len() as u64 - 8;
    out[..8].copy_from_slice(&length.to_le_bytes());
    out
}

fn write_object<'a>(
    out: &mut Vec<u8>,
    metadata: &BTreeMap<String, String>,
    entries: impl Iterator<Item = OutEntry<'a>>,
) -> serde_json::Result<()> {
    #[derive(Serialize)]
    struct Tensor<'a> {
        dtype: Dtype,
        shape: &'a [usize],
        data_offsets: [u64; 2],
    }
    const METADATA: &str = "__metadata__";
    let mut json = serde_json::Serializer::new(out);
    let mut object = json.serialize_map(None)?;
    let mut metadata = Some(metadata).filter(|metadata| !metadata.is_empty());
    for OutEntry { name, dtype, shape, offsets } in entries {
        if name > METADATA
            && let Some(metadata) = metadata.take()
        {
            object.serialize_entry(METADATA, metadata)?;
        }
        let data_offsets = [offsets.start, offsets.end];
        object.serialize_entry(name, &Tensor { dtype, shape: shape.dims(), data_offsets })?;
    }
    if let Some(metadata) = metadata {
        object.serialize_entry(METADATA, metadata)?;
    }
    object.end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Header;

    #[test]
    fn written_bytes_are_canonical() {
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        let (matrix, scalar) = (Shape::new(vec![2, 3]).unwrap(), Shape::new(vec![]).unwrap());
        let encode = |metadata| {
            let entries = [
                OutEntry { name: "a", dtype: Dtype::BF16, shape: &scalar, offsets: 24..26 },
                OutEntry { name: "b", dtype: Dtype::F32, shape: &matrix, offsets: 0..24 },
            ];
            encode_entries(metadata, entries.into_iter())
        };
        let bytes = encode(&metadata);
        let json = "{\"__metadata__\":{\"format\":\"pt\"},\
                    \"a\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[24,26]},\
                    \"b\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]}} ";
        assert_eq!(bytes[..8], (json.len() as u64).to_le_bytes());
        assert_eq!(std::str::from_utf8(&bytes[8..]).unwrap(), json);
        let whole = [bytes.as_slice(), &[0; 26]].concat();
        let header = Header::parse(&whole).unwrap();
        assert_eq!(header.metadata, metadata);
        assert_eq!(header.tensors["b"].bytes, bytes.len()..bytes.len() + 24);
        assert_eq!(encode(&header.metadata), bytes);
        // The reference implementation reads the same.
        assert_eq!(safetensors::SafeTensors::deserialize(&whole).unwrap().len(), 2);
    }
}
