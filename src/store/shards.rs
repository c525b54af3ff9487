//! Which tensor goes into which file, and at which position.

use std::collections::BTreeMap;

use super::encode::{OutEntry, encode_entries};
use super::group::Group;
use crate::checkpoint::TensorSpec;

/// Divides the groups, in their order, into files of at most `max` bytes of data. A group larger than that
/// gets a file of its own.
pub(super) fn divide(groups: &[Group], max: Option<u64>) -> Vec<&[Group]> {
    let mut files = Vec::new();
    let mut start = 0;
    let mut size = 0u64;
    for (n, group) in groups.iter().enumerate() {
        let bytes = group.bytes();
        if n > start && max.is_some_and(|max| size.saturating_add(bytes) > max) {
            files.push(&groups[start..n]);
            (start, size) = (n, 0);
        }
        size = size.saturating_add(bytes);
    }
    files.push(&groups[start..]);
    files
}

/// The header bytes of a file and, per tensor, the position of its data in the file and its length in bytes.
pub(super) struct FileLayout<'a> {
    pub header: Vec<u8>,
    pub places: Vec<(&'a str, u64, u64)>,
    pub length: u64,
}

/// Lays out one file: types with larger elements first, and tensors of one type in name order. So every
/// tensor is aligned to its element type, although the format allows no gaps.
pub(super) fn lay_out<'a>(groups: &'a [Group], metadata: &BTreeMap<String, String>) -> FileLayout<'a> {
    let mut tensors: Vec<&TensorSpec> = groups.iter().flat_map(|g| &g.tensors).collect();
    tensors.sort_by(|a, b| b.dtype.bitsize().cmp(&a.dtype.bitsize()).then_with(|| a.name.cmp(&b.name)));
    let mut end = 0u64;
    let mut offsets = Vec::with_capacity(tensors.len());
    for tensor in &tensors {
        let start = end;
        end = end.saturating_add(tensor.bytes());
        offsets.push(start..end);
    }
    let entries = tensors.iter().zip(&offsets).map(|(t, offsets)| OutEntry {
        name: &t.name,
        dtype: t.dtype,
        shape: &t.shape,
        offsets: offsets.clone(),
    });
    let header = encode_entries(metadata, entries);
    let data = header.len() as u64;
    let places = tensors
        .iter()
        .zip(&offsets)
        .map(|(t, o)| (t.name.as_str(), data.saturating_add(o.start), o.end - o.start))
        .collect();
    FileLayout { header, places, length: data.saturating_add(end) }
}

#[cfg(test)]
mod tests {
    use safetensors::Dtype;

    use super::*;
    use crate::tensor::Shape;

    fn group(name: &str, dtype: Dtype, elements: usize) -> Group {
        let shape = Shape::new(vec![elements]).unwrap();
        Group::single(TensorSpec { name: name.to_owned(), dtype, shape })
    }

    #[test]
    fn shards_are_filled_in_order_and_never_split_a_group() {
        let groups = [
            group("a", Dtype::U8, 6),
            group("b", Dtype::U8, 4),
            group("c", Dtype::U8, 1),
            group("d", Dtype::U8, 50),
        ];
        let names = |max| -> Vec<Vec<String>> {
            divide(&groups, max).iter().map(|f| f.iter().map(|g| g.name.clone()).collect()).collect()
        };
        assert_eq!(names(None), [["a", "b", "c", "d"]]);
        assert_eq!(names(Some(10)), [vec!["a", "b"], vec!["c"], vec!["d"]]);
        assert_eq!(divide(&[], Some(10)), [&[] as &[Group]]);
    }

    #[test]
    fn data_is_aligned_to_its_elements() {
        let groups = [group("a", Dtype::U8, 3), group("b", Dtype::BF16, 3), group("c", Dtype::I64, 1)];
        let layout = lay_out(&groups, &BTreeMap::new());
        let data = layout.header.len() as u64;
        assert_eq!(data % 8, 0);
        assert_eq!(layout.places, [("c", data, 8), ("b", data + 8, 6), ("a", data + 14, 3)]);
        assert_eq!(layout.length, data + 17);
    }
}
