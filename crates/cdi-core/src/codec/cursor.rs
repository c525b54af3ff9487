//! Reads and writes numbers as bytes.

use super::error::CodeError;
use crate::prelude::*;

/// Reads numbers from bytes.
#[derive(Debug)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub fn take(&mut self, len: usize) -> Result<&'a [u8], CodeError> {
        let end = self.at.checked_add(len).ok_or(CodeError::Truncated)?;
        let taken = self.bytes.get(self.at..end).ok_or(CodeError::Truncated)?;
        self.at = end;
        Ok(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], CodeError> {
        self.take(N)?.try_into().map_err(|_| CodeError::Truncated)
    }

    pub fn byte(&mut self) -> Result<u8, CodeError> {
        Ok(self.array::<1>()?[0])
    }

    /// Number of bytes read.
    pub fn at(&self) -> usize {
        self.at
    }

    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// A number stored in seven bits per byte, lowest first. All bytes but the last have
    /// their highest bit set.
    pub fn number(&mut self) -> Result<u64, CodeError> {
        let mut number = 0;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(CodeError::Truncated)
    }
}

/// Appends a number in the form that [`Cursor::number`] reads.
pub fn write_number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
