//! Layer ids: with the seed, they determine the noise of a tensor.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::rules::Captures;

/// The layer ids of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayerRule {
    /// The first eight bytes, little-endian, of the SHA-256 of the tensor's name.
    Auto,
    /// `base + step * c`, where `c` is the number that the group `by` matched; `base`
    /// alone if `by` is `None`.
    Affine {
        /// Id for `c = 0`.
        base: u64,
        /// Difference between the ids of consecutive numbers.
        step: u64,
        /// The group with the number.
        by: Option<Group>,
    },
}

/// A capture group of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Group {
    /// Its number, from 1.
    Number(usize),
    /// Its name in a regular expression.
    Name(String),
}

/// Why a tensor has no layer id. The message follows the name of the tensor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayerError {
    /// The group did not participate in the match.
    #[error("its layer id uses {group} of the pattern, which matched nothing")]
    NoGroup {
        /// The group.
        group: Group,
    },
    /// The group matched something other than decimal digits.
    #[error("its layer id uses {group} of the pattern, which matched `{text}`, expected a decimal number")]
    NotANumber {
        /// The group.
        group: Group,
        /// What it matched.
        text: String,
    },
    /// The id is 2^64 or more.
    #[error("its layer id, {base} + {step} * {number}, does not fit in 64 bits")]
    Overflow {
        /// The rule's base.
        base: u64,
        /// The rule's step.
        step: u64,
        /// The number that the group matched.
        number: String,
    },
}

impl LayerRule {
    /// The layer id of the tensor `name`. `captures` are those of the pattern that matched it.
    ///
    /// # Errors
    /// See [`LayerError`].
    pub fn id(&self, name: &str, captures: &Captures<'_>) -> Result<u64, LayerError> {
        let (base, step, group) = match self {
            Self::Auto => return Ok(id_of_name(name)),
            Self::Affine { base, by: None, .. } => return Ok(*base),
            Self::Affine { base, step, by: Some(group) } => (*base, *step, group),
        };
        let text = match group {
            Group::Number(number) => captures.get(*number),
            Group::Name(name) => captures.name(name),
        };
        let text = text.ok_or_else(|| LayerError::NoGroup { group: group.clone() })?;
        // `parse` alone would also accept a sign.
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(LayerError::NotANumber { group: group.clone(), text: text.to_owned() });
        }
        let id = text.parse::<u64>().ok().and_then(|c| step.checked_mul(c)).and_then(|n| base.checked_add(n));
        id.ok_or_else(|| LayerError::Overflow { base, step, number: text.to_owned() })
    }
}

impl LayerRule {
    /// The id of a slice: that of the tensor plus the number of the slice.
    ///
    /// # Errors
    /// See [`LayerError`].
    pub fn id_after(&self, slices: u64, name: &str, captures: &Captures<'_>) -> Result<u64, LayerError> {
        let id = self.id(name, captures)?;
        let number = slices.to_string();
        id.checked_add(slices).ok_or(LayerError::Overflow { base: id, step: 1, number })
    }
}

/// The first eight bytes, little-endian, of the SHA-256 of a name.
pub(crate) fn id_of_name(name: &str) -> u64 {
    let digest = Sha256::digest(name.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(first)
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "group {number}"),
            Self::Name(name) => write!(f, "group `{name}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Pattern;

    fn id(rule: &LayerRule, pattern: &str, name: &str) -> Result<u64, String> {
        let pattern = Pattern::new(pattern).unwrap();
        rule.id(name, &pattern.captures(name).unwrap()).map_err(|e| e.to_string())
    }

    fn affine(base: u64, step: u64, by: Group) -> LayerRule {
        LayerRule::Affine { base, step, by: Some(by) }
    }

    #[test]
    fn auto_is_the_beginning_of_the_names_hash() {
        // printf 'fc1.weight' | sha256sum | cut -c1-16, bytes reversed.
        assert_eq!(id(&LayerRule::Auto, "**", "fc1.weight"), Ok(AUTO_FC1));
    }

    const AUTO_FC1: u64 = 0x9020_0a62_a6c8_aa63;

    #[test]
    fn affine_ids_follow_the_group() {
        let rule = affine(100, 2, Group::Number(2));
        assert_eq!(id(&rule, "*.h.*.w", "gpt.h.11.w"), Ok(122));
        assert_eq!(id(&rule, "*.h.*.w", "gpt.h.007.w"), Ok(114));
        let rule = affine(0, 1, Group::Name("n".into()));
        assert_eq!(id(&rule, r"re:h\.(?P<n>\d+)", "gpt.h.5.w"), Ok(5));
        assert_eq!(id(&LayerRule::Affine { base: 3, step: 1, by: None }, "a", "a"), Ok(3));
        assert_eq!(id(&affine(1, 0, Group::Number(1)), "*", "9"), Ok(1));
    }

    #[test]
    fn ids_that_cannot_be_are_named() {
        let rule = affine(1, 2, Group::Number(1));
        assert_eq!(
            id(&rule, "{h*,b}.w", "b.w").unwrap_err(),
            "its layer id uses group 1 of the pattern, which matched nothing"
        );
        for (name, text) in [("hx.w", "x"), ("h.w", ""), ("h+1.w", "+1"), ("h-1.w", "-1"), ("h٣.w", "٣")] {
            assert_eq!(
                id(&rule, "h*.w", name).unwrap_err(),
                format!(
                    "its layer id uses group 1 of the pattern, which matched `{text}`, expected a decimal \
                     number"
                )
            );
        }
        for number in ["9223372036854775808", "99999999999999999999"] {
            assert_eq!(
                id(&rule, "h*.w", &format!("h{number}.w")).unwrap_err(),
                format!("its layer id, 1 + 2 * {number}, does not fit in 64 bits")
            );
        }
        assert_eq!(id(&rule, "h*.w", "h9223372036854775807.w"), Ok(u64::MAX));
    }
}
