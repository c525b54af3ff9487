//! SHA-256 in lower-case hexadecimal.

#[cfg(feature = "std")]
use std::io;
#[cfg(feature = "std")]
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::checkpoint::{Mapped, read_ahead, release};
#[cfg(feature = "std")]
use crate::place;
use crate::prelude::*;
#[cfg(feature = "std")]
use crate::regular_file;

/// Number of bytes of a file that are digested before their memory is given back.
const PIECE: usize = 8 << 20;
/// Number of pieces that are read from a store before they are needed.
const AHEAD: usize = 8;

/// Of a part of a file, whose memory is given back on the way.
pub fn of_mapped(data: Mapped<'_>) -> String {
    let mut sha256 = Sha256::new();
    let mut coming = data.chunks(PIECE);
    read_ahead(coming.by_ref().take(AHEAD));
    for part in data.chunks(PIECE) {
        read_ahead(coming.next());
        sha256.update(part.bytes());
        release([part]);
    }
    hex(sha256)
}

/// Of these pieces, one after the other.
pub fn of_pieces(pieces: impl IntoIterator<Item: AsRef<[u8]>>) -> String {
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

/// Of a regular file on this machine or in a store, and its length.
///
/// # Errors
/// Those of the system or the store.
#[cfg(feature = "std")]
pub fn of_file(path: &Path) -> io::Result<(String, u64)> {
    if place::is_distant(path) {
        #[cfg(feature = "object-store")]
        {
            let object = cdi_objects::Object::find(&place::location(path))?;
            let mut sha256 = Sha256::new();
            object.read_in_order(|piece| sha256.update(piece))?;
            return Ok((hex(sha256), object.size()));
        }
        #[cfg(not(feature = "object-store"))]
        return Err(place::no_stores());
    }
    of_reader(regular_file::open(path)?)
}

/// Of what has been taken in.
pub fn hex(sha256: Sha256) -> String {
    sha256.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
