//! Durations as people write them.

use std::time::Duration;

/// A duration that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a duration: expected a number of seconds above 0, or a number with ms, s, m or h, such \
     as 90s or 1.5h"
)]
pub struct DurationError {
    /// What was written.
    pub text: String,
}

/// The units. Of two with the same ending, the longer comes first.
const UNITS: [(&str, f64); 4] = [("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];

/// Parses a duration: a decimal number and a unit, optionally with spaces between. Units: `ms`, `s` (or
/// none), `m`, `h`. More than 0, at most a hundred years.
///
/// # Errors
/// [`DurationError`] for any other text.
///
/// ```
/// use std::time::Duration;
/// use cdi_prune::config::parse_duration;
/// assert_eq!(parse_duration("1.5h"), Ok(Duration::from_secs(5400)));
/// assert_eq!(parse_duration("90"), parse_duration("90 s"));
/// assert!(parse_duration("0s").is_err() && parse_duration("1 day").is_err());
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let error = || DurationError { text: text.to_owned() };
    let trimmed = text.trim();
    let (number, unit) = UNITS
        .iter()
        .find_map(|(name, seconds)| trimmed.strip_suffix(name).map(|number| (number.trim_end(), *seconds)))
        .unwrap_or((trimmed, 1.0));
    let is_decimal = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let seconds = number.parse::<f64>().ok().filter(|_| is_decimal).map(|number| number * unit);
    let in_range = seconds.filter(|s| *s > 0.0 && *s <= 100.0 * 366.0 * 86400.0);
    in_range.and_then(|s| Duration::try_from_secs_f64(s).ok()).filter(|d| !d.is_zero()).ok_or_else(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        let texts = ["250ms", "2s", "2", "0.5 m", " 1h ", "876000h"];
        let millis = texts.map(|text| parse_duration(text).unwrap().as_millis());
        assert_eq!(millis, [250, 2000, 2000, 30_000, 3_600_000, 876_000 * 3_600_000]);
        for text in
            ["", "s", "-1s", "0", "1e3", "inf", "nan", "1d", "1h30m", "1e-12", "0.0000000001", "879000h"]
        {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert_eq!(
            parse_duration("1d").unwrap_err().to_string(),
            "`1d` is not a duration: expected a number of seconds above 0, or a number with ms, s, m or h, \
             such as 90s or 1.5h"
        );
    }
}
