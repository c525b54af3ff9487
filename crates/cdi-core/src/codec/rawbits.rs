//! Bits one after the other, the first one in the lowest bit of the first byte.

use crate::prelude::*;

/// Appends bits to bytes.
#[derive(Debug, Default)]
pub struct BitWriter {
    bytes: Vec<u8>,
    /// Bits that do not fill a byte yet, fewer than 8 between calls.
    pending: u128,
    len: u32,
}

impl BitWriter {
    /// Appends the lowest `count` bits of `value`, which has no others.
    #[inline(always)]
    pub fn put(&mut self, value: u64, count: u32) {
        debug_assert!(count == 64 || value >> count == 0);
        self.pending |= u128::from(value) << self.len;
        self.len += count;
        if self.len >= 64 {
            self.bytes.extend((self.pending as u64).to_le_bytes());
            self.pending >>= 64;
            self.len -= 64;
        }
    }

    /// Fills the last byte with zeros and appends all of them to `out`; begins anew.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.bytes);
        out.extend(&self.pending.to_le_bytes()[..self.len.div_ceil(8) as usize]);
        (self.pending, self.len) = (0, 0);
    }
}

/// Reads bits; behind the end there are zeros.
#[derive(Debug)]
pub struct BitReader<'a> {
    bytes: &'a [u8],
    /// Bits read.
    at: usize,
}

impl<'a> BitReader<'a> {
    /// From the first bit on.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next `count` bits, 64 at the most.
    #[inline(always)]
    pub fn take(&mut self, count: u32) -> u64 {
        if count > 56 {
            let low = self.take(32);
            return low | self.take(count - 32) << 32;
        }
        let byte = self.at / 8;
        let word = match self.bytes.get(byte..).and_then(<[u8]>::first_chunk::<8>) {
            Some(word) => u64::from_le_bytes(*word),
            None => {
                let mut word = [0; 8];
                let rest = self.bytes.get(byte..).unwrap_or_default();
                word[..rest.len()].copy_from_slice(rest);
                u64::from_le_bytes(word)
            }
        };
        let value = word >> (self.at % 8) & ((1 << count) - 1);
        self.at += count as usize;
        value
    }

    /// Bytes begun.
    pub fn bytes_read(&self) -> usize {
        self.at.div_ceil(8)
    }

    /// Whether just the bits that fill the last byte are left, and are zeros.
    pub fn at_end(&self) -> bool {
        self.bytes_read() == self.bytes.len()
            && (self.at.is_multiple_of(8) || self.bytes[self.bytes.len() - 1] >> (self.at % 8) == 0)
    }
}
