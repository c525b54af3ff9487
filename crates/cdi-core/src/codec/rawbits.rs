//! Bits stored one after the other. The first bit is the lowest bit of the first byte.

use core::hint::select_unpredictable;

use crate::prelude::*;

/// Appends bits to bytes.
#[derive(Debug, Default)]
pub struct BitWriter {
    bytes: Vec<u8>,
    /// Bits that do not fill eight bytes yet, and their number.
    pending: u64,
    len: u32,
}

impl BitWriter {
    /// Appends the lowest `count` bits of `value`. The other bits must be 0.
    #[inline(always)]
    pub fn put(&mut self, value: u64, count: u32) {
        debug_assert!(count == 64 || value >> count == 0);
        self.pending |= value << self.len;
        let len = self.len + count;
        if len >= 64 {
            self.bytes.extend_from_slice(&self.pending.to_le_bytes());
            // The bits that did not fit. Two shifts, because a shift by 64 would overflow.
            self.pending = value >> 1 >> (63 - self.len);
        }
        self.len = len % 64;
    }

    /// Appends several values, each with its count as for [`Self::put`]: those of elements of `SIZE` bytes,
    /// at most 32 bits or as many as an element has. There may be more counts than values.
    #[inline(always)]
    pub fn put_all<const SIZE: usize>(&mut self, values: &[u64], counts: &[u8]) {
        let counts = &counts[..values.len()];
        if counts.iter().fold(0, |any, count| any | count) == 0 {
            return;
        }
        // Bytes are written eight at a time whether they are full or not: what does not
        // count is written over.
        let mut at = self.bytes.len();
        self.bytes.resize(at + SIZE.max(4) * values.len() + 16, 0);
        let (mut pending, mut len) = (self.pending, self.len);
        let mut put = |value: u64, count: u32| {
            pending |= value << len;
            self.bytes[at..at + 8].copy_from_slice(&pending.to_le_bytes());
            let next = len + count;
            let full = next >= 64;
            pending = select_unpredictable(full, value >> 1 >> (63 - len), pending);
            at += select_unpredictable(full, 8, 0);
            len = next % 64;
        };
        if SIZE > 4 {
            for (value, count) in values.iter().zip(counts) {
                put(*value, u32::from(*count));
            }
        } else {
            // Two together have at most 64 bits. They are put as one, which is half of the steps that
            // wait for the one before.
            let (pairs, last) = values.as_chunks::<2>();
            let (counts, last_count) = counts.as_chunks::<2>();
            for ([first, second], [count, next]) in pairs.iter().zip(counts) {
                put(first | second << count, u32::from(*count) + u32::from(*next));
            }
            for (value, count) in last.iter().zip(last_count) {
                put(*value, u32::from(*count));
            }
        }
        self.bytes.truncate(at);
        (self.pending, self.len) = (pending, len);
    }

    /// Pads the last byte with zeros, appends all bytes to `out` and starts anew.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.bytes);
        out.extend(&self.pending.to_le_bytes()[..self.len.div_ceil(8) as usize]);
        (self.pending, self.len) = (0, 0);
    }
}

/// Reads bits. Past the end, they are zeros.
#[derive(Debug)]
pub struct BitReader<'a> {
    bytes: &'a [u8],
    /// Number of bits read.
    at: usize,
}

impl<'a> BitReader<'a> {
    /// A reader that starts at the first bit.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next `count` bits, at most 64.
    #[inline(always)]
    pub fn take(&mut self, count: u32) -> u64 {
        if count > 56 {
            let low = self.take_few(32);
            return low | self.take_few(count - 32) << 32;
        }
        self.take_few(count)
    }

    /// The next `count` bits, at most 56.
    #[inline(always)]
    pub fn take_few(&mut self, count: u32) -> u64 {
        let word = match self.bytes.get(self.at / 8..).and_then(<[u8]>::first_chunk::<8>) {
            Some(word) => u64::from_le_bytes(*word),
            None => self.last(),
        };
        let value = word >> (self.at % 8) & ((1 << count) - 1);
        self.at += count as usize;
        value
    }

    /// Takes the remaining bits of several elements of `SIZE` bytes; for each, at most 32 bits or as many as
    /// an element has. There may be more places in `out` than counts.
    #[inline(always)]
    pub fn take_all<const SIZE: usize>(&mut self, counts: &[u8], out: &mut [u64]) {
        if counts.iter().fold(0, |any, count| any | count) == 0 {
            out.iter_mut().zip(counts).for_each(|(out, _)| *out = 0);
            return;
        }
        for (out, count) in out.iter_mut().zip(counts) {
            let count = u32::from(*count);
            *out = if SIZE > 4 { self.take(count) } else { self.take_few(count) };
        }
    }

    /// The bytes from here on, if there are fewer than eight.
    #[cold]
    fn last(&self) -> u64 {
        let mut word = [0; 8];
        let rest = self.bytes.get(self.at / 8..).unwrap_or_default();
        word[..rest.len()].copy_from_slice(rest);
        u64::from_le_bytes(word)
    }

    /// Number of bytes read, including a partial last one. `None` if there are fewer, or if the last one is
    /// not padded with zeros.
    pub fn bytes_read(&self) -> Option<usize> {
        let begun = self.bytes.get(..self.at.div_ceil(8))?;
        let is_clear = self.at.is_multiple_of(8) || begun[self.at / 8] >> (self.at % 8) == 0;
        is_clear.then_some(begun.len())
    }

    /// Whether only the padding of the last byte is left, and is all zeros.
    pub fn at_end(&self) -> bool {
        self.bytes_read() == Some(self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of these counts, with as many bits.
    fn values(counts: &[u8]) -> Vec<u64> {
        let mixed = |n: usize| (n as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let value = |(n, count): (usize, &u8)| if *count == 0 { 0 } else { mixed(n) >> (64 - count) };
        counts.iter().enumerate().map(value).collect()
    }

    fn check<const SIZE: usize>(counts: &[u8]) {
        let values = values(counts);
        // From each number of pending bits, alone and together.
        for before in 0..64 {
            let (mut one, mut all) = (BitWriter::default(), BitWriter::default());
            one.put(0, before);
            all.put(0, before);
            values.iter().zip(counts).for_each(|(value, count)| one.put(*value, (*count).into()));
            all.put_all::<SIZE>(&values, counts);
            // What follows must fit as well.
            one.put(5, 3);
            all.put(5, 3);
            let (mut expected, mut got) = (Vec::new(), Vec::new());
            one.finish(&mut expected);
            all.finish(&mut got);
            assert_eq!(got, expected, "{SIZE} bytes, {before} bits before");
            let mut bits = BitReader::new(&got);
            bits.take(before);
            let mut back = vec![7; counts.len()];
            bits.take_all::<SIZE>(counts, &mut back);
            assert_eq!((back, bits.take(3)), (values.clone(), 5), "{SIZE} bytes, {before} bits before");
            assert!(bits.at_end());
        }
    }

    #[test]
    fn many_values_are_written_and_read_as_one_by_one() {
        let counts = |most: u8, len: usize| -> Vec<u8> {
            (0..len).map(|n| (n * n % (usize::from(most) + 1)) as u8).collect()
        };
        for len in [0, 1, 2, 3, 64, 65] {
            check::<2>(&counts(32, len));
            check::<4>(&counts(32, len));
            check::<8>(&counts(64, len));
            check::<4>(&vec![32; len]);
            check::<8>(&vec![64; len]);
            check::<4>(&vec![0; len]);
        }
    }
}
