//! Thresholds in words.

use crate::analysis::Threshold;
use crate::text::page::real;
use crate::text::{counted, significant};

/// A threshold in short.
pub fn threshold(threshold: Threshold) -> String {
    match threshold {
        Threshold::Absolute(x) => significant(x, 4),
        Threshold::Relative(x) if x > 0.0 => format!("{} |w0|", significant(x, 4)),
        Threshold::Relative(x) => significant(x, 4),
        other => other.to_string(),
    }
}

/// A threshold in short, on a page.
pub fn on_page(threshold: &Threshold) -> String {
    match threshold {
        Threshold::Absolute(x) | Threshold::Relative(x @ 0.0) => real(*x),
        Threshold::Relative(x) => format!("{} × |w₀|", real(*x)),
        Threshold::Ulps(n) => counted(*n, "ulp"),
        Threshold::Nothing => "none".to_owned(),
    }
}

/// A threshold as a condition on a weight: `|w - w0| <= 1e-6`. The factor on the initial value is called
/// `s` where there is one.
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
