//! The names that frameworks use for initialisers.
//!
//! Frameworks give different meanings to one name. With a trailing underscore, it has PyTorch's meaning
//! (`kaiming_normal_`: a normal distribution); without, that of JAX and Keras (`kaiming_normal`, `he_normal`:
//! a normal distribution truncated at two standard deviations).

use super::distribution::Distribution;
use super::mode::Mode;
use super::params::SchemeParams;
use crate::prelude::*;

/// Alias, canonical mode, and the distribution that the alias implies.
const ALIASES: [(&str, Mode, Option<Distribution>); 37] = {
    use Distribution::{TruncNormal, Uniform};
    [
        ("kaiming", Mode::He, None),
        ("kaiming_normal_", Mode::He, None),
        ("kaiming_normal", Mode::He, Some(TruncNormal)),
        ("kaiming_uniform_", Mode::He, Some(Uniform)),
        ("kaiming_uniform", Mode::He, Some(Uniform)),
        ("he_normal", Mode::He, Some(TruncNormal)),
        ("he_uniform", Mode::He, Some(Uniform)),
        ("glorot", Mode::Xavier, None),
        ("glorot_normal", Mode::Xavier, Some(TruncNormal)),
        ("glorot_uniform", Mode::Xavier, Some(Uniform)),
        ("xavier_normal_", Mode::Xavier, None),
        ("xavier_normal", Mode::Xavier, Some(TruncNormal)),
        ("xavier_uniform_", Mode::Xavier, Some(Uniform)),
        ("xavier_uniform", Mode::Xavier, Some(Uniform)),
        ("lecun_normal", Mode::Lecun, Some(TruncNormal)),
        ("lecun_uniform", Mode::Lecun, Some(Uniform)),
        ("uniform_", Mode::Uniform, None),
        ("random_uniform", Mode::Uniform, None),
        ("normal_", Mode::Normal, None),
        ("random_normal", Mode::Normal, None),
        ("constant_", Mode::Constant, None),
        ("ones_", Mode::Ones, None),
        ("zeros_", Mode::Zeros, None),
        ("eye_", Mode::Eye, None),
        ("identity", Mode::Eye, None),
        ("dirac_", Mode::Dirac, None),
        ("trunc_normal_", Mode::TruncNormal, None),
        ("truncated_normal", Mode::TruncNormal, None),
        ("orthogonal_", Mode::Orthogonal, None),
        ("Orthogonal", Mode::Orthogonal, None),
        ("sparse_", Mode::Sparse, None),
        ("VarianceScaling", Mode::VarianceScaling, None),
        ("HeNormal", Mode::He, Some(TruncNormal)),
        ("HeUniform", Mode::He, Some(Uniform)),
        ("GlorotNormal", Mode::Xavier, Some(TruncNormal)),
        ("GlorotUniform", Mode::Xavier, Some(Uniform)),
        ("embedding", Mode::Normal, None),
    ]
};

/// Every alias.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    ALIASES.iter().map(|(alias, ..)| *alias)
}

/// The parameters with the canonical mode. A distribution that is given takes precedence over the one
/// that the alias implies.
pub(super) fn resolve(params: &SchemeParams) -> SchemeParams {
    match ALIASES.iter().find(|(alias, ..)| *alias == params.mode) {
        Some((_, mode, distribution)) => SchemeParams {
            mode: mode.name().to_owned(),
            distribution: params.distribution.or(*distribution),
            ..params.clone()
        },
        None => params.clone(),
    }
}
