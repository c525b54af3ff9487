//! The frameworks' names for initialisers, and their meaning here.
//!
//! Where two frameworks mean different things by one name, PyTorch's has its underscore (`kaiming_normal_`: a normal
//! distribution) and JAX's and Keras's has none (`kaiming_normal`, `he_normal`: a normal distribution cut off at two
//! standard deviations).

use super::params::{Distribution, SchemeParams};

use crate::prelude::*;

/// Name, canonical mode, and the distribution that the name says.
const ALIASES: [(&str, &str, Option<Distribution>); 37] = {
    use Distribution::{TruncNormal, Uniform};
    [
        ("kaiming", "he", None),
        ("kaiming_normal_", "he", None),
        ("kaiming_normal", "he", Some(TruncNormal)),
        ("kaiming_uniform_", "he", Some(Uniform)),
        ("kaiming_uniform", "he", Some(Uniform)),
        ("he_normal", "he", Some(TruncNormal)),
        ("he_uniform", "he", Some(Uniform)),
        ("glorot", "xavier", None),
        ("glorot_normal", "xavier", Some(TruncNormal)),
        ("glorot_uniform", "xavier", Some(Uniform)),
        ("xavier_normal_", "xavier", None),
        ("xavier_normal", "xavier", Some(TruncNormal)),
        ("xavier_uniform_", "xavier", Some(Uniform)),
        ("xavier_uniform", "xavier", Some(Uniform)),
        ("lecun_normal", "lecun", Some(TruncNormal)),
        ("lecun_uniform", "lecun", Some(Uniform)),
        ("uniform_", "uniform", None),
        ("random_uniform", "uniform", None),
        ("normal_", "normal", None),
        ("random_normal", "normal", None),
        ("constant_", "constant", None),
        ("ones_", "ones", None),
        ("zeros_", "zeros", None),
        ("eye_", "eye", None),
        ("identity", "eye", None),
        ("dirac_", "dirac", None),
        ("trunc_normal_", "trunc_normal", None),
        ("truncated_normal", "trunc_normal", None),
        ("orthogonal_", "orthogonal", None),
        ("Orthogonal", "orthogonal", None),
        ("sparse_", "sparse", None),
        ("VarianceScaling", "variance_scaling", None),
        ("HeNormal", "he", Some(TruncNormal)),
        ("HeUniform", "he", Some(Uniform)),
        ("GlorotNormal", "xavier", Some(TruncNormal)),
        ("GlorotUniform", "xavier", Some(Uniform)),
        ("embedding", "normal", None),
    ]
};

/// Every alias.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    ALIASES.iter().map(|(alias, ..)| *alias)
}

/// The parameters under their canonical mode. A distribution that is given beside a name that says one stays.
pub(super) fn resolve(params: &SchemeParams) -> SchemeParams {
    match ALIASES.iter().find(|(alias, ..)| *alias == params.mode) {
        Some((_, mode, distribution)) => SchemeParams {
            mode: (*mode).to_owned(),
            distribution: params.distribution.or(*distribution),
            ..params.clone()
        },
        None => params.clone(),
    }
}
