//! Serialised forms that preserve every bit of a value.

/// A real as the sixteen hexadecimal digits of its bits. Unlike decimal digits, these preserve infinities,
/// NaN and the sign of zero in every format.
pub(crate) mod real {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(x: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:016x}", x.to_bits()))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bits = u64::from_str_radix(&text, 16).ok().filter(|_| text.len() == 16);
        let expected = || Error::custom(format!("`{text}` is not 16 hexadecimal digits"));
        bits.map(f64::from_bits).ok_or_else(expected)
    }
}

/// Bytes as hexadecimal digits, two each.
pub(crate) mod bytes {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        let digit = |n: u8| char::from(b"0123456789abcdef"[usize::from(n)]);
        serializer.serialize_str(
            &bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect::<String>(),
        )
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
        let pairs = text.as_bytes().as_chunks::<2>();
        let bytes =
            pairs.0.iter().map(|[a, b]| Some(digit(*a)? << 4 | digit(*b)?)).collect::<Option<Vec<u8>>>();
        bytes
            .filter(|_| pairs.1.is_empty())
            .ok_or_else(|| Error::custom("bytes that are not hexadecimal digits"))
    }
}
