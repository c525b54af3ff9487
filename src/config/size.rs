//! Sizes in bytes as people write them.

/// A size that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a size: expected a whole number of bytes above 0, such as 10MB (10^6), 10MiB (2^20) or \
     5GB"
)]
pub struct SizeError {
    /// What was written.
    pub text: String,
}

/// The units. Of two with the same ending, the longer comes first.
const UNITS: [(&str, u64); 10] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

/// Parses a size: a decimal number and a unit, optionally with spaces between. Units: none or `B`; `kB`
/// (or `KB`), `MB`, `GB`, `TB`, which are powers of 1000; `KiB`, `MiB`, `GiB`, `TiB`, powers of 1024.
/// Returns bytes, more than 0.
///
/// # Errors
/// [`SizeError`] for any other text, and for 0, sizes that do not fit 64 bits, and fractions of a byte.
///
/// ```
/// use cdi_prune::config::parse_size;
/// assert_eq!(parse_size("1.5GB"), Ok(1_500_000_000));
/// assert_eq!(parse_size("4 MiB"), Ok(4 << 20));
/// assert!(parse_size("0.5B").is_err());
/// ```
pub fn parse_size(text: &str) -> Result<u64, SizeError> {
    bytes(text.trim()).filter(|n| *n > 0).ok_or_else(|| SizeError { text: text.to_owned() })
}

fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = UNITS
        .iter()
        .find_map(|(name, unit)| text.strip_suffix(name).map(|number| (number.trim_end(), *unit)))
        .unwrap_or((text, 1));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) {
        return None;
    }
    // In whole numbers throughout, so that 4.35kB is 4350 bytes and rounding cannot hide a fraction of a
    // byte.
    let fraction = fraction.trim_end_matches('0');
    let scale = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let scaled = digits.checked_mul(u128::from(unit))?;
    if scaled % scale == 0 { u64::try_from(scaled / scale).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_exact() {
        for (text, expected) in [
            ("10MB", 10_000_000),
            ("10MiB", 10 << 20),
            ("5GB", 5_000_000_000),
            ("1.5GB", 1_500_000_000),
            ("4.35kB", 4350),
            ("1.5KiB", 1536),
            ("0.5 TiB", 1 << 39),
            ("123", 123),
            ("7 B", 7),
            ("2.0B", 2),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_size(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "",
            "MB",
            "0",
            "0MB",
            "-1",
            "+1",
            "1.2345kB",
            "0.3B",
            "1e6",
            "5 gigs",
            "5Gb",
            ".5GB",
            "5.GB",
            "18446744073709551616",
            "99999999TB",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert_eq!(
            parse_size("5 gigs").unwrap_err().to_string(),
            "`5 gigs` is not a size: expected a whole number of bytes above 0, such as 10MB (10^6), 10MiB \
             (2^20) or 5GB"
        );
    }
}
