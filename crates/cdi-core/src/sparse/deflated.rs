//! The short form of a description: its JSON deflated, in base64.

use alloc::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

use crate::prelude::*;

/// What a description in the short form begins with. No JSON begins so.
const PREFIX: &str = "deflate:";

/// Maximum bytes of JSON in the short form, those of some 100,000 tensors. A byte of deflated data can stand
/// for a thousand, and a tensor takes five times as much memory as in its JSON.
const MAX_JSON: usize = 1 << 24;

/// The level of compression. The bytes of written files depend on it.
const LEVEL: u8 = 9;

/// Why a description cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DescriptionError {
    /// It is not the JSON of a description.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// It begins like the short form, but base64 does not follow.
    #[error("its base64 is invalid or cut off")]
    Base64,
    /// Something else than deflated data is in the base64.
    #[error("its deflated data are invalid")]
    Deflate,
    /// The deflated data have no end.
    #[error("its deflated data are cut off")]
    CutOff,
    /// Bytes follow the deflated data.
    #[error("{0} bytes follow its deflated data")]
    Trailing(usize),
    /// It is too large.
    #[error("it inflates to more than the {MAX_JSON} bytes allowed")]
    TooLong,
}

/// The short form of this JSON, or the JSON if that takes fewer bytes in a header.
pub(super) fn shorter(json: String) -> String {
    if json.len() > MAX_JSON {
        return json;
    }
    let short = format!("{PREFIX}{}", STANDARD.encode(compress_to_vec(json.as_bytes(), LEVEL)));
    // Each quotation mark of the JSON is escaped.
    let escaped = serde_json::to_string(&json).map_or(usize::MAX, |escaped| escaped.len() - 2);
    if short.len() < escaped { short } else { json }
}

/// The JSON of a description in either form.
pub(super) fn json(text: &str) -> Result<Cow<'_, [u8]>, DescriptionError> {
    let Some(base64) = text.strip_prefix(PREFIX) else { return Ok(Cow::Borrowed(text.as_bytes())) };
    let deflated = STANDARD.decode(base64).map_err(|_| DescriptionError::Base64)?;
    inflate(&deflated).map(Cow::Owned)
}

fn inflate(deflated: &[u8]) -> Result<Vec<u8>, DescriptionError> {
    let mut state = Box::<DecompressorOxide>::default();
    // Most descriptions become a fifth of their size or less.
    let mut out = vec![0; (8 * deflated.len()).clamp(64, MAX_JSON)];
    let (mut read, mut written) = (0, 0);
    loop {
        let flags = TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
        let (status, taken, given) = decompress(&mut state, &deflated[read..], &mut out, written, flags);
        (read, written) = (read + taken, written + given);
        match status {
            TINFLStatus::Done if read < deflated.len() => {
                return Err(DescriptionError::Trailing(deflated.len() - read));
            }
            TINFLStatus::Done => {
                out.truncate(written);
                return Ok(out);
            }
            TINFLStatus::HasMoreOutput if out.len() == MAX_JSON => return Err(DescriptionError::TooLong),
            TINFLStatus::HasMoreOutput => out.resize((2 * out.len()).min(MAX_JSON), 0),
            TINFLStatus::NeedsMoreInput | TINFLStatus::FailedCannotMakeProgress => {
                return Err(DescriptionError::CutOff);
            }
            _ => return Err(DescriptionError::Deflate),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        let json = json(text).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(json.into_owned()).unwrap())
    }

    fn deflated(bytes: &[u8]) -> String {
        format!("{PREFIX}{}", STANDARD.encode(bytes))
    }

    #[test]
    fn the_short_form_is_taken_where_it_is_shorter() {
        // Three bytes in, and with their quotation marks escaped five.
        assert_eq!(shorter(r#""a""#.to_owned()), r#""a""#);
        let long: String = (0..2000).map(|n| format!(r#"{{"name":"layers.{n}.bias"}},"#)).collect();
        let short = shorter(long.clone());
        assert!(short.starts_with(PREFIX) && 6 * short.len() < long.len(), "{}", short.len());
        assert_eq!(read(&short).unwrap(), long);
        assert_eq!(read(&long).unwrap(), long);
    }

    /// Another version of the crate that compresses must not write other bytes.
    #[test]
    fn the_bytes_of_the_short_form_are_a_contract() {
        let json = r#"{"name":"a.weight","shape":[10,20]},{"name":"b.weight","shape":[10,20]}"#;
        let short = shorter(json.repeat(3));
        assert_eq!(
            short,
            "deflate:zcwhCgAhEEbhu/x5WNyNexUxjCBqUAQFw+DdtRjt1sfHE2RODj/46S760ECogctK+lX0KTNItrFHI1dtJg=="
        );
    }

    #[test]
    fn each_defect_is_named() {
        let whole = compress_to_vec(b"{\"a\": 1}", LEVEL);
        assert_eq!(read(&deflated(&whole)).unwrap(), "{\"a\": 1}");
        let error = |text: &str| read(text).unwrap_err();
        let text = deflated(&whole);
        for wrong in
            [&text[..text.len() - 1], "deflate:a", "deflate:Z=", "deflate:Zh==", "deflate:Z g=", "deflate:Zg"]
        {
            assert_eq!(error(wrong), "its base64 is invalid or cut off", "{wrong}");
        }
        // A block of a type that does not exist.
        assert_eq!(error(&deflated(&[0b111])), "its deflated data are invalid");
        for length in 0..whole.len() {
            assert_eq!(error(&deflated(&whole[..length])), "its deflated data are cut off", "{length}");
        }
        let more = [&whole[..], &[0, 0]].concat();
        assert_eq!(error(&deflated(&more)), "2 bytes follow its deflated data");
    }

    #[test]
    fn what_inflates_without_end_is_refused() {
        let at_most = compress_to_vec(&vec![b' '; MAX_JSON], 6);
        assert_eq!(inflate(&at_most).unwrap().len(), MAX_JSON);
        let bomb = compress_to_vec(&vec![b' '; MAX_JSON + 1], 6);
        assert!(bomb.len() < MAX_JSON / 500);
        assert_eq!(
            inflate(&bomb).unwrap_err().to_string(),
            "it inflates to more than the 16777216 bytes allowed"
        );
    }
}
