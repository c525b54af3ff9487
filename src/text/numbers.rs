//! Numbers as people read them, in tables and sentences.

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

/// A number with its noun: `1 tensor`, `2 tensors`. Every sentence of the program counts with this.
pub fn counted(n: u64, one: &str) -> String {
    format!("{} {one}{}", thousands(n), if n == 1 { "" } else { "s" })
}

/// The same with a verb: `1 weight is`, `2 weights are`.
pub fn counted_are(n: u64, one: &str) -> String {
    format!("{} {}", counted(n, one), if n == 1 { "is" } else { "are" })
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
    exponential(x, 2)
}

/// So many digits after the point and an exponent; `0` for nothing.
pub fn exponential(x: f64, decimals: usize) -> String {
    if x == 0.0 { "0".to_owned() } else { format!("{x:.decimals$e}") }
}

/// A ratio with two digits after the point, with an exponent where that would show little or much.
pub fn ratio(x: f64) -> String {
    if x == 0.0 || (0.01..10_000.0).contains(&x) { format!("{x:.2}") } else { format!("{x:.1e}") }
}

/// A percentage with one digit after the point, in which neither something looks like nothing nor a
/// part like the whole.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0, 1, 1000].map(|n| counted(n, "tensor")), ["0 tensors", "1 tensor", "1,000 tensors"]);
        assert_eq!([1, 2].map(|n| counted_are(n, "weight")), ["1 weight is", "2 weights are"]);
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
}
