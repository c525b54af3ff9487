//! How many weights to prune.

use std::cmp::Ordering;

/// `x * n` rounded to the nearest whole number, ties to even: the number of weights that
/// `torch.nn.utils.prune` prunes for a share.
pub fn share_of(x: f64, n: u64) -> u64 {
    // Never above n: the product of a share and a count does not exceed the count, rounded or not.
    ((x * n as f64).round_ties_even() as u64).min(n)
}

/// The share of tensor number `at` of `of`. The `values` are spread evenly over the depth, and interpolated
/// linearly between; with one value per tensor, these are the shares.
///
/// # Panics
/// If there is no value.
pub fn gradient(values: &[f64], at: usize, of: usize) -> f64 {
    if of < 2 || values.len() < 2 {
        return values[0];
    }
    // With the quotient and remainder of whole numbers, a tensor at the position of a value gets it exactly.
    let steps = at * (values.len() - 1);
    let (below, rest) = (steps / (of - 1), steps % (of - 1));
    if rest == 0 {
        return values[below];
    }
    let t = rest as f64 / (of - 1) as f64;
    values[below] + (values[below + 1] - values[below]) * t
}

/// Natural order of names: runs of digits are compared as numbers, so that `h10` comes after `h9`.
pub fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut rest_a, mut rest_b) = (a, b);
    loop {
        let (Some(x), Some(y)) = (rest_a.chars().next(), rest_b.chars().next()) else {
            // Equal except for leading zeros, or one is a prefix of the other.
            return rest_a.len().cmp(&rest_b.len()).then_with(|| a.cmp(b));
        };
        if x.is_ascii_digit() && y.is_ascii_digit() {
            let (number_a, after_a) = digits(rest_a);
            let (number_b, after_b) = digits(rest_b);
            let order = number_a.len().cmp(&number_b.len()).then_with(|| number_a.cmp(number_b));
            if order != Ordering::Equal {
                return order;
            }
            (rest_a, rest_b) = (after_a, after_b);
        } else if x != y {
            return x.cmp(&y);
        } else {
            (rest_a, rest_b) = (&rest_a[x.len_utf8()..], &rest_b[y.len_utf8()..]);
        }
    }
}

/// The digits at the beginning, without leading zeros, and the rest.
fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (text[..end].trim_start_matches('0'), &text[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_rounded_as_torch_does() {
        // Python: [round(x * n) for x, n in …].
        for (x, n, count) in [
            (0.5, 1, 0),
            (0.5, 3, 2),
            (0.5, 5, 2),
            (0.25, 10, 2),
            (0.7, 10, 7),
            (1.0, 7, 7),
            (0.0, 7, 0),
            (0.999, 3, 3),
        ] {
            assert_eq!(share_of(x, n), count, "{x} of {n}");
        }
    }

    #[test]
    fn values_are_spread_over_the_depth() {
        let spread = |values: &[f64], of| (0..of).map(|at| gradient(values, at, of)).collect::<Vec<_>>();
        assert_eq!(spread(&[0.25, 0.75], 3), [0.25, 0.5, 0.75]);
        assert_eq!(spread(&[0.25, 0.75], 2), [0.25, 0.75]);
        assert_eq!(spread(&[0.1, 0.9, 0.3], 3), [0.1, 0.9, 0.3]);
        assert_eq!(spread(&[0.0, 1.0, 0.0], 5), [0.0, 0.5, 1.0, 0.5, 0.0]);
        assert_eq!(spread(&[0.5], 3), [0.5, 0.5, 0.5]);
        assert_eq!(spread(&[0.2, 0.8], 1), [0.2]);
    }

    #[test]
    fn names_are_ordered_as_people_count() {
        let mut names = ["h10.a", "h9.b", "h9.a", "h", "g", "h09.a", "h9", "é2", "é10"];
        names.sort_by(|a, b| natural_order(a, b));
        assert_eq!(names, ["g", "h", "h9", "h09.a", "h9.a", "h9.b", "h10.a", "é2", "é10"]);
    }
}
