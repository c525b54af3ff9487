//! Text within a YAML file.

use std::fmt::Write as _;

/// A text as a YAML scalar on one line, quoted where it could be read as anything else.
pub(super) fn yaml(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-');
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '/')
        || text.strip_prefix("..").or(text.strip_prefix('.')).is_some_and(|rest| rest.starts_with('/'));
    let words = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "none", "auto"];
    if begins && text.chars().all(plain) && !words.contains(&text.to_ascii_lowercase().as_str()) {
        return text.to_owned();
    }
    if text.contains('\\') && text.chars().all(|c| c == ' ' || c.is_ascii_graphic()) {
        // No backslash has to be doubled here.
        return format!("'{}'", text.replace('\'', "''"));
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            _ if c.is_alphanumeric() => out.push(c),
            // Others may be line ends, or unseen, or not allowed.
            _ => {
                let _ = write!(out, "\\U{:08X}", c as u32);
            }
        }
    }
    out + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_are_read_as_they_were() {
        for (text, written) in [
            ("h.0.weight", "h.0.weight"),
            ("../out/a-b.safetensors", "../out/a-b.safetensors"),
            ("h.*.weight", "\"h.*.weight\""),
            ("null", "\"null\""),
            ("0", "\"0\""),
            ("-a", "\"-a\""),
            ("a b", "\"a b\""),
            ("", "\"\""),
            (r"a\[0\]'s", r"'a\[0\]''s'"),
            ("a\n#\u{2028}\u{7f}\u{1F600}é", "\"a\\U0000000A#\\U00002028\\U0000007F\\U0001F600é\""),
            ("a\\\t\"", "\"a\\\\\\U00000009\\\"\""),
        ] {
            assert_eq!(yaml(text), written);
            assert_eq!(serde_yaml::from_str::<String>(written).unwrap(), text);
        }
    }
}
