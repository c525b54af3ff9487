//! Text from a checkpoint or a config within HTML and XML, and bytes as text.

use sha2::{Digest, Sha256};

use crate::text::is_unseen;

/// Safe as content and as a quoted attribute, of HTML and of XML. Control characters, which XML has not,
/// and those that turn the direction of a line or break it unseen, are written as their numbers: a name
/// looks like what it is.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if is_unseen(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// Standard base64 with padding.
pub(super) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let group = three.iter().fold(0u32, |group, byte| group << 8 | u32::from(*byte));
        let group = group << (8 * (3 - three.len()));
        for n in 0..4 {
            if n <= three.len() {
                out.push(char::from(DIGITS[(group >> (18 - 6 * n) & 63) as usize]));
            } else {
                out.push('=');
            }
        }
    }
    out
}

/// What a content security policy calls an inline script or style of this text.
pub(super) fn policy_hash(text: &str) -> String {
    format!("'sha256-{}'", base64(&Sha256::digest(text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_markup_is_text() {
        assert_eq!(
            escape("a</script><b c='d' e=\"f\">&"),
            "a&lt;/script&gt;&lt;b c=&#39;d&#39; e=&quot;f&quot;&gt;&amp;"
        );
        assert_eq!(
            escape("\0\u{1b}[1m \u{2028}\u{202e}é\u{ffff}"),
            "\\u{0}\\u{1b}[1m \\u{2028}\\u{202e}é\\u{ffff}"
        );
    }

    /// The vectors of RFC 4648.
    #[test]
    fn base64_of_every_remainder() {
        let encoded = ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|text| base64(text.as_bytes()));
        assert_eq!(encoded, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]);
        assert_eq!(base64(&[0xFB, 0xFF, 0xBF]), "+/+/");
    }

    #[test]
    fn policy_hashes_are_those_of_the_standard() {
        // By `printf 'doSomething();' | openssl dgst -sha256 -binary | base64`.
        assert_eq!(policy_hash("doSomething();"), "'sha256-RFWPLDbv2BY+rCkDzsE+0fr8ylGr2R2faWMhq4lfEQc='");
    }
}
