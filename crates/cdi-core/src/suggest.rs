//! Finds the valid name nearest to a wrong one, for error messages.

use crate::prelude::*;

/// The candidate closest to `name` by Damerau-Levenshtein distance, if it is close enough to be a likely
/// slip: at most a third of its letters (two at least) differ. Ties go to the first in order. Without the
/// feature `config`, none.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    #[cfg(not(feature = "config"))]
    {
        let _ = (name, candidates.into_iter());
        None
    }
    #[cfg(feature = "config")]
    {
        let limit = (name.chars().count() / 3).max(2);
        candidates
            .into_iter()
            .map(|c| (strsim::damerau_levenshtein(name, c), c))
            .filter(|(distance, c)| *distance <= limit && *distance < c.chars().count())
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, c)| c)
    }
}

/// ` (did you mean …?)`, or nothing.
pub fn did_you_mean(near: Option<&str>) -> String {
    near.map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default()
}

#[cfg(all(test, feature = "config"))]
mod tests {
    use super::nearest;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        assert_eq!(nearest("treshold", ["target", "threshold"]), Some("threshold"));
        assert_eq!(nearest("fc1.wieght", ["fc1.weight", "fc2.weight"]), Some("fc1.weight"));
        assert_eq!(nearest("colour", ["seed", "rules"]), None);
        assert_eq!(nearest("x", ["he"]), None);
    }
}
