//! Text from outside (names, paths) as it may be shown.

/// Whether a terminal or a reader of lines would obey a character instead of showing it: control characters,
/// and those that turn the direction of a line or break it unseen.
pub fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{ffff}')
        || matches!(c, '\u{e0000}'..='\u{e0fff}')
}

/// A name, a path or any other text from outside, on one line and with nothing in it that a terminal or a
/// workflow's log would obey. What is printable already stays as it is.
pub fn printable(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            // GitHub Actions takes `##[error]` for a command anywhere in a line.
            '[' if out.ends_with("##") => out.extend(c.escape_unicode()),
            c if is_unseen(c) => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

/// At most `most` characters of a name, its middle left out.
pub fn shortened(name: &str, most: usize) -> String {
    let count = name.chars().count();
    if count <= most {
        return name.to_owned();
    }
    let head = most / 2;
    let tail = most - head - 1;
    name.chars().take(head).chain(['…']).chain(name.chars().skip(count - tail)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_get_no_orders() {
        assert_eq!(printable("a\u{1b}[31m.weight\n"), "a\\u{1b}[31m.weight\\n");
        assert_eq!(printable("é##[error]\u{202e}x\u{9b}"), "é##\\u{5b}error]\\u{202e}x\\u{9b}");
        let printed = printable("\r\n::error::\u{2028}##[x]");
        assert_eq!(printable(&printed), printed);
    }
}
