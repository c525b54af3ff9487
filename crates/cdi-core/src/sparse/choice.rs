//! Selects the smallest encoding of a tensor, by exact size.

use super::metadata::SHARED_LIMIT;
use super::parts::{EncodingParts, Parts};
use super::settings::Format;
use super::{bitmask, csr, fillmask, offsets};
use crate::checkpoint::TensorSpec;
use crate::codec;
use crate::prelude::*;
use crate::tensor::{FloatDtype, Shape};

/// The tensors that encode `name` with `stored` values of type `dtype` kept, in their order in the file. If
/// pruned elements take the `nearest` value, the last one is the fill mask. For [`Format::Coded`], `stored`
/// is the size of the code in bytes.
pub fn parts(
    format: Format,
    name: &str,
    dtype: FloatDtype,
    shape: &Shape,
    stored: usize,
    nearest: bool,
) -> Vec<TensorSpec> {
    let encoding = match format {
        Format::Dense => {
            return vec![TensorSpec { name: name.to_owned(), dtype: dtype.dtype(), shape: shape.clone() }];
        }
        Format::Bitmask => EncodingParts::Bitmask(bitmask::parts(name, dtype, shape, stored)),
        Format::Csr => EncodingParts::Csr(csr::parts(name, dtype, shape, stored)),
        Format::Coded => return vec![codec::part(name, stored)],
        Format::Base => return Vec::new(),
    };
    let fill = nearest.then(|| fillmask::part(name, shape.elements() - stored));
    Parts { encoding, fill }.into_vec()
}

/// The suffixes of an encoding's parts; `None` for formats that have no parts.
pub fn suffixes(format: Format, nearest: bool) -> Option<Parts<&'static str>> {
    let encoding = match format {
        Format::Bitmask => EncodingParts::Bitmask(bitmask::SUFFIXES),
        Format::Csr => EncodingParts::Csr(csr::SUFFIXES),
        Format::Dense | Format::Coded | Format::Base => return None,
    };
    Some(Parts { encoding, fill: nearest.then_some(fillmask::SUFFIX) })
}

/// The encoding with the smallest data and header entries if `stored` values are kept. Dense unless another
/// one is certain to be smaller, so that choosing never makes a file larger than an all-dense one.
/// `longest_offset` is an upper bound of all offsets in the file. `coded` is the size of the code in bytes,
/// or `None` if the tensor cannot be coded, and whether a small code needs no header entry of its own.
pub fn smallest(
    (name, dtype, shape): (&str, FloatDtype, &Shape),
    stored: usize,
    nearest: bool,
    (coded, shares): (Option<usize>, bool),
    longest_offset: u64,
) -> Format {
    // Four header entries take more bytes than this, whatever the names. This bound saves the exact sums for
    // the many small tensors of a checkpoint.
    const LEAST_ENTRIES: u64 = 4 * 48;
    let matrix = shape.matrix();
    let size = dtype.size();
    let offset = offsets::size(stored);
    let mask = (matrix.mask_bytes() + offset * bitmask::offset_rows(matrix, stored) + stored * size) as u64;
    let csr = (offset * (matrix.rows + 1) + stored * (size + csr::index_size(matrix))) as u64;
    let most_dense = (shape.elements() * size + 6 * name.len() + 20 * shape.rank() + 100) as u64;
    let least = LEAST_ENTRIES + mask.min(csr);
    let is_shared = |code: usize| shares && (code as u64) < SHARED_LIMIT;
    let entry = |code: usize| if is_shared(code) { 0 } else { LEAST_ENTRIES / 4 };
    if coded.map_or(least, |coded| least.min(entry(coded) + coded as u64)) >= most_dense {
        return Format::Dense;
    }
    let digits = longest_offset.max(1).ilog10() as usize + 1;
    // Offsets are not known yet: the shortest possible ones are assumed for dense, the longest for the
    // others. Encodings are compared with equally long offsets. The format's name counts too, because it is
    // part of the metadata.
    let bytes = |format: Format, digits| {
        let stored = if format == Format::Coded { coded.unwrap_or_default() } else { stored };
        if format == Format::Coded && is_shared(stored) {
            return stored as u64;
        }
        let parts = parts(format, name, dtype, shape, stored, nearest);
        let tensors: u64 = parts.iter().map(|part| part.bytes() + header_entry_bytes(part, digits)).sum();
        tensors + format.name().len() as u64
    };
    let possible = [Format::Bitmask, Format::Csr, Format::Coded].into_iter().filter(|format| match format {
        Format::Csr => csr::can_hold(matrix),
        Format::Coded => coded.is_some(),
        _ => true,
    });
    let (least, format) = possible
        .map(|format| (bytes(format, digits), format))
        .min_by_key(|(bytes, _)| *bytes)
        .expect("a bitmask can always be had");
    // The header is padded to 8 bytes.
    if least + 8 < bytes(Format::Dense, 1) { format } else { Format::Dense }
}

/// Bytes of a tensor's entry in the header's JSON if its offsets have this many digits.
fn header_entry_bytes(tensor: &TensorSpec, digits: usize) -> u64 {
    let name = serde_json::to_string(&tensor.name).expect("strings always serialise").len();
    let dtype = tensor.dtype.to_string().len();
    let dims = tensor.shape.dims();
    let shape = dims.iter().map(|d| d.to_string().len()).sum::<usize>() + dims.len().saturating_sub(1);
    let fixed = r#":{"dtype":"","shape":[],"data_offsets":[,]},"#.len();
    (name + dtype + shape + fixed + 2 * digits) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(dims: &[usize], stored: usize) -> Format {
        choose_of(dims, stored, None)
    }

    fn choose_of(dims: &[usize], stored: usize, coded: Option<usize>) -> Format {
        let shape = Shape::new(dims.to_vec()).unwrap();
        smallest(("fc1.weight", FloatDtype::F32, &shape), stored, false, (coded, false), 1_000_000)
    }

    #[test]
    fn a_code_pays_when_it_is_the_smallest() {
        // 8 KiB of mask, 256 bytes of row offsets and 200,000 bytes of values, with three more entries.
        assert_eq!(choose_of(&[64, 1024], 50_000, Some(208_000)), Format::Coded);
        assert_eq!(choose_of(&[64, 1024], 50_000, Some(210_000)), Format::Bitmask);
        assert_eq!(choose_of(&[64, 1024], 65_536, Some(262_100)), Format::Coded);
        assert_eq!(choose_of(&[64, 1024], 65_536, Some(262_140)), Format::Dense);
    }

    #[test]
    fn bitmask_pays_when_enough_is_pruned() {
        assert_eq!(choose(&[64, 1024], 50_000), Format::Bitmask);
        assert_eq!(choose(&[64, 1024], 65_536), Format::Dense);
        // 8 KiB of mask and 256 bytes of row offsets are as large as 2112 values; the header entries are
        // as large as 70 more.
        assert_eq!(choose(&[64, 1024], 65_536 - 2_166), Format::Dense);
        assert_eq!(choose(&[64, 1024], 65_536 - 2_206), Format::Bitmask);
        // The entries of a tiny tensor cost more than they save, even if none of its values are stored.
        assert_eq!(choose(&[10], 0), Format::Dense);
    }
}
