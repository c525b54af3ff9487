//! Bits of many elements, least significant first: bit `n % 8` of byte `n / 8` is element `n`.

/// Packs 0/1 flags, one byte each, into bits; those beyond the last flag become 0.
///
/// # Panics
/// If `bits` has fewer bytes than the flags fill.
pub fn pack(flags: &[u8], bits: &mut [u8]) {
    let (whole, rest) = flags.as_chunks::<8>();
    let (bytes, last) = bits.split_at_mut(whole.len());
    for (byte, flags) in bytes.iter_mut().zip(whole) {
        // Gathers the lowest bit of eight bytes: bit 8k moves to bit 56 + k, and no two products meet.
        *byte = (u64::from_le_bytes(*flags).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8;
    }
    if !rest.is_empty() {
        last[0] = rest.iter().enumerate().fold(0, |byte, (n, flag)| byte | (flag << n));
    }
}

/// Bits that are set.
#[inline(always)]
pub fn count(bits: &[u8]) -> u64 {
    let (words, rest) = bits.as_chunks::<8>();
    let words = words.iter().map(|word| u64::from(u64::from_le_bytes(*word).count_ones())).sum::<u64>();
    words + rest.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>()
}

/// Rows of `cols` elements each, padded to a byte, from the bits of as many elements without padding.
///
/// # Panics
/// If `rows` holds more elements than `bits`.
pub fn split_rows(bits: &[u8], cols: usize, rows: &mut [u8]) {
    if cols.is_multiple_of(8) {
        rows.copy_from_slice(&bits[..rows.len()]);
        return;
    }
    let width = cols.div_ceil(8);
    for (n, row) in rows.chunks_exact_mut(width).enumerate() {
        let (first, shift) = (n * cols / 8, n * cols % 8);
        for (b, byte) in row.iter_mut().enumerate() {
            let next = bits.get(first + b + 1).copied().unwrap_or(0);
            let two = u16::from_le_bytes([bits[first + b], next]);
            *byte = (two >> shift) as u8;
        }
        row[width - 1] &= (1 << (cols % 8)) - 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::*;

    #[test]
    fn flags_are_packed_least_significant_bit_first() {
        let mut bits = [0xFF; 2];
        pack(&[1, 0, 0, 0, 0, 0, 0, 1, 0, 1, 1], &mut bits);
        assert_eq!(bits, [0b1000_0001, 0b0000_0110]);
        assert_eq!(count(&bits), 4);
        for n in 0..=255u8 {
            let flags: Vec<u8> = (0..8).map(|bit| n >> bit & 1).collect();
            pack(&flags, &mut bits[..1]);
            assert_eq!(bits[0], n);
        }
        assert_eq!(count(&[0xFF; 19]), 152);
    }

    #[test]
    fn rows_are_cut_from_a_run_of_bits() {
        for cols in [1, 3, 7, 8, 9, 16, 19, 64] {
            let rows = 11;
            let flags: Vec<u8> = (0..rows * cols).map(|n| u8::from(n * n % 7 < 3)).collect();
            let mut bits = vec![0; flags.len().div_ceil(8)];
            pack(&flags, &mut bits);
            let width = usize::div_ceil(cols, 8);
            let mut expected = vec![0; rows * width];
            for (flags, row) in flags.chunks(cols).zip(expected.chunks_mut(width)) {
                pack(flags, row);
            }
            let mut split = vec![0xFF; rows * width];
            split_rows(&bits, cols, &mut split);
            assert_eq!(split, expected, "{cols}");
        }
    }
}
