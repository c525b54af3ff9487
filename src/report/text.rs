//! Numbers and names as people read them, in tables and sentences.

use super::Removed;
use crate::analysis::Threshold;

/// Digits in groups of three.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A difference with its sign, digits in groups of three; nothing has none.
pub fn signed(n: i64) -> String {
    let sign = match n {
        0 => "",
        1.. => "+",
        _ => "-",
    };
    format!("{sign}{}", thousands(n.unsigned_abs()))
}

/// So many significant digits at most: plain from a thousandth to a million, else with an exponent.
pub fn significant(x: f64, digits: usize) -> String {
    let rounded = format!("{x:.*e}", digits.saturating_sub(1)).parse().unwrap_or(x);
    if rounded == 0.0 || (1e-3..1e6).contains(&rounded.abs()) {
        rounded.to_string()
    } else {
        format!("{rounded:e}")
    }
}

/// Three significant digits and an exponent, `1.23e-4`; `0` for nothing.
pub fn scientific(x: f64) -> String {
    if x == 0.0 { "0".to_owned() } else { format!("{x:.2e}") }
}

/// A ratio with two digits after the point, with an exponent where that would show little or much.
pub fn ratio(x: f64) -> String {
    if x == 0.0 || (0.01..10_000.0).contains(&x) { format!("{x:.2}") } else { format!("{x:.1e}") }
}

/// A percentage with one digit after the point, in which neither something looks like nothing nor a part like the whole.
pub fn percentage(x: f64) -> String {
    match x {
        _ if x > 0.0 && x < 0.05 => "<0.1".to_owned(),
        99.95..100.0 => ">99.9".to_owned(),
        _ => format!("{x:.1}"),
    }
}

/// `[64, 1024]` → `64x1024`; a scalar is `scalar`.
pub fn shape(dims: &[usize]) -> String {
    if dims.is_empty() {
        return "scalar".to_owned();
    }
    dims.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}

/// A threshold in short.
pub fn threshold(threshold: Threshold) -> String {
    match threshold {
        Threshold::Absolute(x) => significant(x, 4),
        Threshold::Relative(x) if x > 0.0 => format!("{} |w0|", significant(x, 4)),
        Threshold::Relative(x) => significant(x, 4),
        other => other.to_string(),
    }
}

/// A threshold as a condition on a weight: `|w - w0| <= 1e-6`. The factor on the initial value is called `s` where there
/// is one.
pub fn condition(threshold: Threshold, decay: f64) -> String {
    let initial = if decay == 1.0 { "w0" } else { "s w0" };
    match threshold {
        Threshold::Absolute(x) => format!("|w - {initial}| <= {}", significant(x, 4)),
        Threshold::Relative(x) => format!("|w - {initial}| <= {} |{initial}|", significant(x, 4)),
        Threshold::Ulps(0) => format!("w = {initial} in the stored type"),
        Threshold::Ulps(1) => format!("w at most 1 value from {initial}"),
        Threshold::Ulps(n) => format!("w at most {n} values from {initial}"),
        Threshold::Nothing => "none".to_owned(),
    }
}

/// Whether a terminal or a reader of lines would obey a character instead of showing it: control characters, and those that
/// turn the direction of a line or break it unseen.
pub fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{ffff}' | '\u{e0000}'..='\u{e0fff}')
}

/// A name, a path or any other text from outside, on one line and with nothing in it that a terminal or a workflow's log
/// would obey. What is printable already stays as it is.
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

/// Units taken out between two layers, in words; `name` writes names.
pub fn removed_words(removed: &Removed, name: impl Fn(&str) -> String) -> String {
    let Removed { layer, next, units, removed, folded } = removed;
    let (layer, next) = (name(layer), name(next));
    let folded = match folded {
        0 => String::new(),
        n => format!(", the constants of {} folded into the bias of {next}", thousands(*n)),
    };
    format!("{} of {} units between {layer} and {next}{folded}", thousands(*removed), thousands(*units))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0, 1000, -1, i64::MIN].map(signed), ["0", "+1,000", "-1", "-9,223,372,036,854,775,808"]);
    }

    #[test]
    fn reals_are_rounded_to_their_significant_digits() {
        let texts =
            [0.392_205_481_8, 1e-6, 5.623_413_251_903_491e-6, 0.0, -2.5, 1234.5678, 1e6, 0.000_999_96];
        assert_eq!(
            texts.map(|x| significant(x, 4)),
            ["0.3922", "1e-6", "5.623e-6", "0", "-2.5", "1235", "1e6", "0.001"]
        );
        assert_eq!([0.0, 0.017_63, 1.0, 123_456.0].map(scientific), ["0", "1.76e-2", "1.00e0", "1.23e5"]);
    }

    #[test]
    fn ratios_stand_under_each_other() {
        assert_eq!(
            [0.888, 1.0, 12.345, 0.0, 0.001, 3.7e6].map(ratio),
            ["0.89", "1.00", "12.35", "0.00", "1.0e-3", "3.7e6"]
        );
    }

    #[test]
    fn percentages_tell_little_from_nothing() {
        assert_eq!(
            [0.0, 0.01, 0.049, 0.05, 22.705, 99.94, 99.96, 100.0].map(percentage),
            ["0.0", "<0.1", "<0.1", "0.1", "22.7", "99.9", ">99.9", "100.0"]
        );
    }

    #[test]
    fn thresholds_are_conditions() {
        let thresholds = [
            Threshold::Absolute(1e-6),
            Threshold::Relative(1.778_279_4e-5),
            Threshold::Ulps(2),
            Threshold::Nothing,
        ];
        assert_eq!(thresholds.map(threshold), ["1e-6", "1.778e-5 |w0|", "2 ulps", "none"]);
        assert_eq!(
            thresholds.map(|t| condition(t, 0.9)),
            ["|w - s w0| <= 1e-6", "|w - s w0| <= 1.778e-5 |s w0|", "w at most 2 values from s w0", "none"]
        );
        assert_eq!(condition(Threshold::Ulps(1), 1.0), "w at most 1 value from w0");
        assert_eq!(condition(Threshold::Ulps(0), 1.0), "w = w0 in the stored type");
    }

    #[test]
    fn terminals_get_no_orders() {
        assert_eq!(printable("a\u{1b}[31m.weight\n"), "a\\u{1b}[31m.weight\\n");
        assert_eq!(printable("é##[error]\u{202e}x\u{9b}"), "é##\\u{5b}error]\\u{202e}x\\u{9b}");
        let printed = printable("\r\n::error::\u{2028}##[x]");
        assert_eq!(printable(&printed), printed);
    }
}
