//! Numbers as a person reads them on a page: with proper minus signs and powers of ten.

use super::numbers::{percentage, thousands};

/// [`percentage`] with its sign.
pub fn percent(x: f64) -> String {
    format!("{} %", percentage(x))
}

/// Three significant digits: plain where that is short, else with an exponent.
pub fn real(x: f64) -> String {
    let size = x.abs();
    match size {
        0.0 => "0".to_owned(),
        _ if !(0.001..1e5).contains(&size) => scientific(x),
        _ if size >= 1000.0 => {
            let whole = thousands(size.round() as u64);
            if x < 0.0 { format!("−{whole}") } else { whole }
        }
        _ => {
            let decimals = match size {
                100.0.. => 0,
                10.0.. => 1,
                1.0.. => 2,
                0.1.. => 3,
                0.01.. => 4,
                _ => 5,
            };
            minus(format!("{x:.decimals$}"))
        }
    }
}

fn scientific(x: f64) -> String {
    let text = format!("{x:.2e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let digits = digits.trim_end_matches('0').trim_end_matches('.');
    format!("{} × 10{}", minus(digits.to_owned()), superscript(exponent))
}

/// A factor near 1 needs more digits than other numbers.
pub fn factor(x: f64) -> String {
    let text = format!("{x:.6}");
    if (0.01..100.0).contains(&x) {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        real(x)
    }
}

/// A cosine, to three digits after the point.
pub fn cosine(x: f64) -> String {
    minus(format!("{x:.3}"))
}

/// A proper minus.
fn minus(text: String) -> String {
    text.replace('-', "−")
}

/// `10` to a whole power.
pub fn power(exponent: i32) -> String {
    match exponent {
        0 => "1".to_owned(),
        1 => "10".to_owned(),
        n => format!("10{}", superscript(&n.to_string())),
    }
}

fn superscript(digits: &str) -> String {
    let raised = |c: char| match c {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        '0' => '⁰',
        '4'..='9' => char::from_u32(c as u32 - u32::from('4') + u32::from('⁴')).unwrap_or(c),
        other => other,
    };
    digits.chars().map(raised).collect()
}

/// `[64, 1024]` → `64 × 1024`; a scalar is `scalar`.
pub fn shape(dims: &[usize]) -> String {
    if dims.is_empty() {
        return "scalar".to_owned();
    }
    dims.iter().map(usize::to_string).collect::<Vec<_>>().join(" × ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_tell_all_and_nothing_from_nearly_so() {
        assert_eq!(
            [0.0, 0.01, 0.05, 99.94, 99.96, 100.0].map(percent),
            ["0.0 %", "<0.1 %", "0.1 %", "99.9 %", ">99.9 %", "100.0 %"]
        );
    }

    #[test]
    fn reals_have_three_digits() {
        assert_eq!([0.0, 0.5, 12.345, 123.4, 99_999.4].map(real), ["0", "0.500", "12.3", "123", "99,999"]);
        assert_eq!(
            [-0.0123, 1e-3, 9.99e-4, 1e5, -2.5e-12].map(real),
            ["−0.0123", "0.00100", "9.99 × 10⁻⁴", "1 × 10⁵", "−2.5 × 10⁻¹²"]
        );
        assert_eq!([-13, 0, 1, 4, 9, 120].map(power), ["10⁻¹³", "1", "10", "10⁴", "10⁹", "10¹²⁰"]);
    }
}
