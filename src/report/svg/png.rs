//! A PNG of red, green and blue, stored without compression: pictures of a few thousand points need no more.

/// Rows of `width` points.
pub(super) fn png(width: usize, pixels: &[[u8; 3]]) -> Vec<u8> {
    let height = pixels.len() / width.max(1);
    let mut raw = Vec::with_capacity(height * (3 * width + 1));
    for row in pixels.chunks(width.max(1)) {
        // No filter.
        raw.push(0);
        raw.extend(row.as_flattened());
    }
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut header = Vec::new();
    header.extend((width as u32).to_be_bytes());
    header.extend((height as u32).to_be_bytes());
    // Eight bits, true colour, and the only methods there are.
    header.extend([8, 2, 0, 0, 0]);
    chunk(&mut out, b"IHDR", &header);
    chunk(&mut out, b"IDAT", &zlib(&raw));
    chunk(&mut out, b"IEND", &[]);
    out
}

fn chunk(out: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) {
    out.extend((data.len() as u32).to_be_bytes());
    let start = out.len();
    out.extend(kind);
    out.extend(data);
    out.extend(crc32(&out[start..]).to_be_bytes());
}

/// RFC 1950 around stored blocks of RFC 1951.
fn zlib(raw: &[u8]) -> Vec<u8> {
    let mut out = vec![0x78, 0x01];
    let blocks = raw.len().div_ceil(0xFFFF).max(1);
    for n in 0..blocks {
        let block = &raw[n * 0xFFFF..raw.len().min((n + 1) * 0xFFFF)];
        let len = block.len() as u16;
        out.push(u8::from(n + 1 == blocks));
        out.extend(len.to_le_bytes());
        out.extend((!len).to_le_bytes());
        out.extend(block);
    }
    out.extend(adler32(raw).to_be_bytes());
    out
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 },
        )
    })
}

fn adler32(bytes: &[u8]) -> u32 {
    let (a, b) = bytes.iter().fold((1u32, 0u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65521;
        (a, (b + a) % 65521)
    });
    b << 16 | a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_of_the_standards() {
        // Of the catalogues of such sums: the check value of CRC-32, and Adler-32 of "Wikipedia".
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(adler32(b"Wikipedia"), 0x11E6_0398);
    }

    #[test]
    fn data_over_a_block_is_stored_in_several() {
        let raw = vec![7; 0x1_0001];
        let zlib = zlib(&raw);
        assert_eq!(zlib.len(), 2 + 5 + 0xFFFF + 5 + 2 + 4);
        assert_eq!(zlib[2..7], [0, 0xFF, 0xFF, 0, 0]);
        assert_eq!(zlib[7 + 0xFFFF..][..5], [1, 2, 0, 0xFD, 0xFF]);
    }
}
