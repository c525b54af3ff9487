//! Tables and names in GitHub-flavoured Markdown.

use std::fmt::Write as _;

use crate::text::is_unseen;

/// Title, verdict and warnings, which are Markdown already.
pub fn opening(title: &str, verdict: &str, warnings: &[String]) -> String {
    let mut text = format!("# {title}\n\n**{verdict}**\n\n");
    for warning in warnings {
        let _ = writeln!(text, "- **Warning:** {warning}");
    }
    if !warnings.is_empty() {
        text.push('\n');
    }
    text
}

/// A table's columns: title, and whether it holds numbers.
pub type Columns<'a> = [(&'a str, bool)];

/// The table; cells are Markdown already.
pub fn table(columns: &Columns<'_>, rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let titles: Vec<&str> = columns.iter().map(|(title, _)| *title).collect();
    let rules: Vec<&str> = columns.iter().map(|(_, number)| if *number { "---:" } else { "---" }).collect();
    let mut text = format!("| {} |\n| {} |\n", titles.join(" | "), rules.join(" | "));
    for cells in rows {
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text
}

/// A name of any characters as code, in a table or outside.
pub fn code(name: &str) -> String {
    let plain = |c: char| !matches!(c, '|' | '`' | '\\') && !is_unseen(c);
    if !name.is_empty() && name.trim() == name && name.chars().all(plain) {
        return format!("`{name}`");
    }
    // A code span shows the rest as it is; these characters would end it, its cell or its line.
    let mut text = String::from("<code>");
    for c in name.chars() {
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' => text.push(c),
            c if is_unseen(c) => text.extend(c.escape_default().map(entity)),
            c => text.push_str(&entity(c)),
        }
    }
    text + "</code>"
}

fn entity(c: char) -> String {
    format!("&#{};", u32::from(c))
}

/// Plain text in a cell.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' => {
                out.push('\\');
                out.push(c);
            }
            c if is_unseen(c) => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_cell() {
        assert_eq!(code("h.*.attn_x.<b>weight"), "`h.*.attn_x.<b>weight`");
        assert_eq!(code("a|b"), "<code>a&#124;b</code>");
        assert_eq!(code("a`b<i>"), "<code>a&#96;b&#60;i&#62;</code>");
        assert_eq!(code("a\\"), "<code>a&#92;</code>");
        assert_eq!(code("a\nb"), "<code>a&#92;&#110;b</code>");
        assert_eq!(code(" a"), "<code>&#32;a</code>");
        assert_eq!(code(""), "<code></code>");
        assert_eq!(plain("from a_b|c<d>.safetensors"), "from a\\_b\\|c&lt;d&gt;.safetensors");
    }
}
