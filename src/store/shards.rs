//! Which tensor goes into which file, and at which position.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use safetensors::Dtype;

use super::encode::{OutEntry, encode_entries};
use super::group::Group;
use crate::checkpoint::TensorSpec;
use crate::sparse::SHARED_CODES;
use crate::tensor::Shape;

/// Divides the groups, in their order, into files of at most `max` bytes of data. A group larger than that
/// gets a file of its own. No file is without data: an index, which lists tensors, would not name it.
pub(super) fn divide(groups: &[Group], max: Option<u64>) -> Vec<&[Group]> {
    let mut files = Vec::new();
    let mut start = 0;
    let mut size = 0u64;
    for (n, group) in groups.iter().enumerate() {
        let bytes = group.bytes();
        if size > 0 && bytes > 0 && max.is_some_and(|max| size.saturating_add(bytes) > max) {
            files.push(&groups[start..n]);
            (start, size) = (n, 0);
        }
        size = size.saturating_add(bytes);
    }
    files.push(&groups[start..]);
    files
}

/// Decides which codes share a tensor, and so a header entry: all small ones, if the groups make a single
/// file, there are at least two, and the name of the tensor is not taken.
pub fn share_codes(groups: &mut [Group], max: Option<u64>) {
    let is_taken = |group: &Group| {
        group.name == SHARED_CODES || group.tensors.iter().any(|tensor| tensor.name == SHARED_CODES)
    };
    if groups.iter().filter(|group| group.is_small_code()).count() >= 2
        && divide(groups, max).len() == 1
        && !groups.iter().any(is_taken)
    {
        groups.iter_mut().for_each(|group| group.shared = group.is_small_code());
    }
}

/// The header bytes of a file, its length in bytes, and the positions of the data of its tensors.
pub(super) struct FileLayout<'a> {
    pub header: Vec<u8>,
    pub length: u64,
    pub places: Places<'a>,
}

/// Where the data of each tensor begins.
pub(super) struct Places<'a> {
    /// Each tensor, `None` for the one that codes share, with its position after the header.
    tensors: Vec<(Option<&'a TensorSpec>, u64)>,
    /// The codes that share a tensor.
    codes: Vec<&'a TensorSpec>,
    /// Length of the header.
    header: u64,
}

impl<'a> Places<'a> {
    /// Per tensor and shared code, the position of its data in the file and its length in bytes.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, u64, u64)> {
        self.tensors.iter().flat_map(move |(tensor, start)| {
            let parts = tensor.as_ref().map_or(&*self.codes, std::slice::from_ref);
            parts.iter().scan(self.header.saturating_add(*start), |start, part| {
                let place = (part.name.as_str(), *start, part.bytes());
                *start = start.saturating_add(part.bytes());
                Some(place)
            })
        })
    }
}

/// Lays out one file: types with larger elements first, and tensors of one type in name order. So every
/// tensor is aligned to its element type, although the format allows no gaps. Codes that share a tensor lie
/// in it in the order of the groups.
pub(super) fn lay_out<'a>(groups: &'a [Group], metadata: &BTreeMap<String, String>) -> FileLayout<'a> {
    let (shared, own): (Vec<&Group>, Vec<&Group>) = groups.iter().partition(|group| group.shared);
    let codes: Vec<&TensorSpec> = shared.into_iter().flat_map(|group| &group.tensors).collect();
    let together = together(&codes);
    // `None` is the one that codes share.
    let mut tensors: Vec<(Option<&TensorSpec>, u64)> =
        own.into_iter().flat_map(|group| &group.tensors).map(|tensor| (Some(tensor), 0)).collect();
    tensors.extend((!codes.is_empty()).then_some((None, 0)));
    let spec = |(tensor, _): &(Option<&'a TensorSpec>, u64)| tensor.unwrap_or(&together);
    // Groups come in name order, and so do those of their parts that have types of the same size: sorting
    // these compares few names.
    let bits = |tensor: &(Option<&'a TensorSpec>, u64)| spec(tensor).dtype.bitsize();
    tensors.sort_by_key(|tensor| Reverse(bits(tensor)));
    for tensors in tensors.chunk_by_mut(|a, b| bits(a) == bits(b)) {
        tensors.sort_by(|a, b| spec(a).name.cmp(&spec(b).name));
    }
    let mut end = 0u64;
    for tensor in &mut tensors {
        tensor.1 = end;
        end = end.saturating_add(spec(tensor).bytes());
    }
    let mut by_name: Vec<usize> = (0..tensors.len()).collect();
    by_name.sort_by(|a, b| spec(&tensors[*a]).name.cmp(&spec(&tensors[*b]).name));
    let entries = by_name.iter().map(|n| {
        let (tensor, start) = (spec(&tensors[*n]), tensors[*n].1);
        let TensorSpec { name, dtype, shape } = tensor;
        OutEntry { name, dtype: *dtype, shape, offsets: start..start.saturating_add(tensor.bytes()) }
    });
    let header = encode_entries(metadata, entries);
    let places = Places { tensors, codes, header: header.len() as u64 };
    FileLayout { length: places.header.saturating_add(end), header, places }
}

/// The tensor that these codes share.
fn together(codes: &[&TensorSpec]) -> TensorSpec {
    let bytes = codes.iter().map(|code| code.shape.elements()).sum();
    let shape = Shape::new(vec![bytes]).expect("codes lie in memory or in a file");
    TensorSpec { name: SHARED_CODES.to_owned(), dtype: Dtype::U8, shape }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

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
        // Tensors that are only in a base.
        let mut groups = groups;
        groups[0].tensors.clear();
        groups[2].tensors.clear();
        groups[3].tensors.clear();
        let sizes: Vec<usize> = divide(&groups, Some(3)).iter().map(|file| file.len()).collect();
        assert_eq!(sizes, [4]);
    }

    #[test]
    fn data_is_aligned_to_its_elements() {
        let groups = [group("a", Dtype::U8, 3), group("b", Dtype::BF16, 3), group("c", Dtype::I64, 1)];
        let layout = lay_out(&groups, &BTreeMap::new());
        let data = layout.header.len() as u64;
        assert_eq!(data % 8, 0);
        assert_eq!(
            layout.places.iter().collect::<Vec<_>>(),
            [("c", data, 8), ("b", data + 8, 6), ("a", data + 14, 3)]
        );
        assert_eq!(layout.length, data + 17);
    }

    #[test]
    fn small_codes_share_a_tensor() {
        let code = |name: &str, bytes| Group::new(name, vec![codec::part(name, bytes)]);
        let large = 1 << 16;
        let groups = vec![
            code("a", 3),
            code("a.b", 5),
            code("big", large),
            group("c", Dtype::U8, 2),
            code("d", large - 1),
            group("w", Dtype::F32, 1),
        ];
        let shared = |mut groups: Vec<Group>, max| -> Vec<String> {
            share_codes(&mut groups, max);
            groups.into_iter().filter(|group| group.shared).map(|group| group.name).collect()
        };
        assert_eq!(shared(groups.clone(), None), ["a", "a.b", "d"]);
        assert_eq!(shared(groups.clone(), Some(1 << 20)), ["a", "a.b", "d"]);
        // Not in several files, not one alone, and not under a name that a tensor has.
        assert_eq!(shared(groups.clone(), Some(1 << 16)), [""; 0]);
        assert_eq!(shared(groups[2..].to_vec(), None), [""; 0]);
        for taken in [group(SHARED_CODES, Dtype::F32, 1), code(SHARED_CODES, 9), code("cdi_prune", large)] {
            assert_eq!(shared([&groups[..], &[taken]].concat(), None), [""; 0]);
        }

        let mut groups = groups;
        share_codes(&mut groups, None);
        let layout = lay_out(&groups, &BTreeMap::new());
        let (data, large) = (layout.header.len() as u64, large as u64);
        // In the order of the tensors, between the other tensors of the type.
        let codes = data + 4 + large + 2;
        assert_eq!(
            layout.places.iter().collect::<Vec<_>>(),
            [
                ("w", data, 4),
                ("big.codes", data + 4, large),
                ("c", data + 4 + large, 2),
                ("a.codes", codes, 3),
                ("a.b.codes", codes + 3, 5),
                ("d.codes", codes + 8, large - 1),
            ]
        );
        assert_eq!(layout.length, codes + 8 + large - 1);
        let json = String::from_utf8(layout.header).unwrap();
        let entry = format!(
            r#""cdi_prune.codes":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}}"#,
            large + 7,
            4 + large + 2,
            4 + large + 2 + large + 7
        );
        assert!(json.contains(&entry) && json.matches("dtype").count() == 4, "{json}");
    }
}
