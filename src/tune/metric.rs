//! Finds the metric in the output of a command.

/// The last word of a text that looks like a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Metric<'t> {
    /// A finite number.
    Finite(f64),
    /// `nan`, `inf`, or a number beyond the range of binary64, as printed.
    NotFinite(&'t str),
    /// There is no number.
    Missing,
}

/// The last number of a text. Words are separated by white space, `=` and `:`. Quotes, brackets, commas and
/// the like are removed from both ends of a word, and a `%` from its end; the `%` does not change the number:
/// `accuracy: 87.6%` is 87.6. Decimal numbers with or without sign, point and exponent count, and so do
/// `nan`, `inf` and `infinity`. A path or a word that contains digits does not count, nor does `1,234`.
pub fn last_number(text: &str) -> Metric<'_> {
    let ends_word = |c: char| c.is_whitespace() || matches!(c, '=' | ':');
    for word in text.rsplit(ends_word) {
        let around = |c: char| {
            matches!(
                c,
                ',' | ';' | '(' | ')' | '[' | ']' | '{' | '}' | '<' | '>' | '|' | '"' | '\'' | '`' | '*'
            )
        };
        let word = word.trim_matches(around);
        let word = word.strip_suffix('.').unwrap_or(word).trim_matches(around);
        let word = word.strip_suffix('%').unwrap_or(word);
        if !is_number(word) {
            continue;
        }
        return match word.parse() {
            Ok(x) if f64::is_finite(x) => Metric::Finite(x),
            _ => Metric::NotFinite(word),
        };
    }
    Metric::Missing
}

fn is_number(word: &str) -> bool {
    let digits = word.strip_prefix(['+', '-']).unwrap_or(word);
    if ["nan", "inf", "infinity"].iter().any(|name| digits.eq_ignore_ascii_case(name)) {
        return true;
    }
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (digits, None),
    };
    let whole = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent = exponent.map(|e| e.strip_prefix(['+', '-']).unwrap_or(e));
    whole(before)
        && whole(after)
        && before.len() + after.len() > 0
        && exponent.is_none_or(|e| !e.is_empty() && whole(e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_number_in_many_forms() {
        for (text, number) in [
            ("0.876\n", 0.876),
            ("accuracy: 87.6%", 87.6),
            ("87.6 %  /tmp/run2/model-3.safetensors\n", 87.6),
            ("loss 3\nloss=2.5e-3\n\n", 2.5e-3),
            ("{\"loss\": 0.5, \"accuracy\": 0.25}", 0.25),
            ("{\"loss\":0.5,\"accuracy\":.25}", 0.25),
            ("[1, 2, -3]", -3.0),
            ("The perplexity is 12.", 12.0),
            ("epoch 3 done in 1,234 steps", 3.0),
            ("+1E2", 100.0),
            ("5. ", 5.0),
            ("**0.5**", 0.5),
            ("score 0.5 (v2.1.3, 2026-11-26, 0x10, e5, model_7, 1e, -)", 0.5),
            ("-0", -0.0),
        ] {
            assert_eq!(last_number(text), Metric::Finite(number), "{text}");
        }
    }

    #[test]
    fn what_is_no_metric() {
        for text in ["", "\n", "done", "a1 b2", ". - + % e5 1,000", "/tmp/0.5"] {
            assert_eq!(last_number(text), Metric::Missing, "{text}");
        }
        for (text, word) in [
            ("loss 0.5\nloss: nan", "nan"),
            ("NaN%", "NaN"),
            ("-inf", "-inf"),
            ("Infinity", "Infinity"),
            ("1e999", "1e999"),
        ] {
            assert_eq!(last_number(text), Metric::NotFinite(word), "{text}");
        }
    }
}
