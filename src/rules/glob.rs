//! Translates a glob over dotted names into a regular expression.

use super::fault::PatternFault;

/// The regular expression, anchored at both ends, that matches what `glob` matches; every run of stars is a
/// capture group, in the order in which they stand.
///
/// # Errors
/// The first fault; positions are characters of the glob, counted from 1.
pub(super) fn to_regex(glob: &str) -> Result<String, PatternFault> {
    let chars: Vec<char> = glob.chars().collect();
    // `s`: a name may hold any character, so `**` must cross line ends too.
    let mut out = String::from(r"(?s)\A(?:");
    // Where the braces that are still open stand.
    let mut open = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let position = at + 1;
        match chars[at] {
            '*' => {
                let stars = chars[at..].iter().take_while(|c| **c == '*').count();
                match stars {
                    1 => out.push_str("([^.]*)"),
                    2 => out.push_str("(.*)"),
                    _ => return Err(PatternFault::TooManyStars { position }),
                }
                at += stars - 1;
            }
            '?' => out.push_str("[^.]"),
            '[' => at = class(&chars, at, &mut out)?,
            '{' => {
                open.push(position);
                out.push_str("(?:");
            }
            ',' if !open.is_empty() => out.push('|'),
            '}' => {
                open.pop().ok_or(PatternFault::Unopened { what: '}', position })?;
                out.push(')');
            }
            ']' => return Err(PatternFault::Unopened { what: ']', position }),
            '\\' => {
                at += 1;
                let escaped = chars.get(at).ok_or(PatternFault::TrailingBackslash { position })?;
                push_literal(*escaped, &mut out);
            }
            c => push_literal(c, &mut out),
        }
        at += 1;
    }
    if let Some(position) = open.pop() {
        return Err(PatternFault::Unclosed { what: '{', position });
    }
    out.push_str(r")\z");
    Ok(out)
}

/// Translates the class that opens at `start`; gives the index of its closing bracket.
fn class(chars: &[char], start: usize, out: &mut String) -> Result<usize, PatternFault> {
    let unclosed = PatternFault::Unclosed { what: '[', position: start + 1 };
    let mut at = start + 1;
    out.push('[');
    if chars.get(at) == Some(&'!') {
        // Like `?`, a class that says what it is not stays within one part of the name.
        out.push_str("^.");
        at += 1;
    }
    let first = at;
    loop {
        let low = *chars.get(at).ok_or_else(|| unclosed.clone())?;
        // Right after the opening, a `]` is a member: the only way to write it, as in every shell.
        if low == ']' && at > first {
            out.push(']');
            return Ok(at);
        }
        push_literal(low, out);
        // A `-` before the closing bracket is a member too.
        if let (Some('-'), Some(&high)) = (chars.get(at + 1), chars.get(at + 2))
            && high != ']'
        {
            if high < low {
                return Err(PatternFault::ReversedRange { low, high, position: at + 1 });
            }
            out.push('-');
            push_literal(high, out);
            at += 2;
        }
        at += 1;
    }
}

fn push_literal(c: char, out: &mut String) {
    out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
}
