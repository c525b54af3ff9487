//! When a weight counts as sleeping.

use std::fmt;

use serde::{Serialize, Serializer};

/// How far from its initial value a weight may lie and still be called sleeping.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Threshold {
    /// `|w - w0| <= x`; `x` finite, not negative.
    Absolute(f64),
    /// `|w - w0| <= x * |w0|`; `x` finite, not negative.
    Relative(f64),
    /// At most this many representable values of the stored type from `w0` (rounded to it) to `w`.
    Ulps(u64),
}

impl Default for Threshold {
    /// Exactly the initial value: the one threshold at which restoring a sleeping weight can cost nothing.
    fn default() -> Self {
        Self::Absolute(0.0)
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absolute(x) => write!(f, "{x:e}"),
            Self::Relative(x) => write!(f, "{x:e} * |w0|"),
            Self::Ulps(1) => f.write_str("1 ulp"),
            Self::Ulps(n) => write!(f, "{n} ulps"),
        }
    }
}

/// A number, `{"relative": x}` or `{"ulps": n}`, as in the config.
impl Serialize for Threshold {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Absolute(x) => serializer.serialize_f64(*x),
            Self::Relative(x) => serializer.collect_map([("relative", x)]),
            Self::Ulps(n) => serializer.collect_map([("ulps", n)]),
        }
    }
}
