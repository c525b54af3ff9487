//! SHA-256 in lower-case hexadecimal.

#[cfg(feature = "std")]
use std::io;

use sha2::{Digest, Sha256};

use crate::checkpoint::{Mapped, release};
use crate::prelude::*;

/// Of a part of a file, whose memory is given back on the way.
pub fn of_mapped(data: Mapped<'_>) -> String {
    let mut sha256 = Sha256::new();
    for part in data.chunks(8 << 20) {
        sha256.update(part.bytes());
        release([part]);
    }
    hex(sha256)
}

/// Of these pieces, one after the other.
pub fn of_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut sha256 = Sha256::new();
    pieces.into_iter().for_each(|piece| sha256.update(piece));
    hex(sha256)
}

/// Of all that comes, and how many bytes that were.
#[cfg(feature = "std")]
pub fn of_reader(mut reader: impl io::Read) -> io::Result<(String, u64)> {
    let mut sha256 = Sha256::new();
    let mut piece = vec![0; 1 << 18];
    let mut length = 0;
    loop {
        match reader.read(&mut piece) {
            Ok(0) => return Ok((hex(sha256), length)),
            Ok(n) => {
                sha256.update(&piece[..n]);
                length += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Of what has been taken in.
pub fn hex(sha256: Sha256) -> String {
    sha256.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
