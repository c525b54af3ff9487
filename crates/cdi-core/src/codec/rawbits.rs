//! Bits stored one after the other. The first bit is the lowest bit of the first byte.

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
