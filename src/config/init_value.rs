//! The value of a rule's `init`, given alone on a command line.

use super::error::{ConfigError, ConfigErrorKind, Place, Problem};
use super::node::{Node, read_yaml};
use super::path::KeyPath;
use super::resolve;
use super::settings::InitSource;
use crate::init::{Scheme, SchemeParams};
use crate::tensor::Layout;

/// Parses a scheme from the text of a rule's `init`: a mode, or a YAML mapping. `gain`, if given, is set in
/// it. Errors begin with `place`, such as the argument that the text comes from.
///
/// ```
/// use cdi_prune::config::parse_init;
/// use cdi_prune::tensor::Layout;
///
/// let scheme = parse_init("{mode: normal, std: 0.02}", None, Layout::OutIn, "--mode")?;
/// assert_eq!(scheme.to_string(), "normal(std=0.02)");
///
/// let error = parse_init("{mode: normal, sdt: 0.02}", None, Layout::OutIn, "--mode").unwrap_err();
/// assert!(error.to_string().starts_with("--mode: unknown key `sdt` (did you mean `std`?)"));
/// # Ok::<(), cdi_prune::config::ConfigError>(())
/// ```
///
/// # Errors
/// The errors of a config with this `init`. Also `none` and `{from: …}`, which are not schemes.
pub fn parse_init(text: &str, gain: Option<f64>, layout: Layout, place: &str) -> Result<Scheme, ConfigError> {
    let error = |kind| ConfigError { place: Place::Argument(place.to_owned()), kind: Box::new(kind) };
    let key = KeyPath::root().key("mode");
    let not_a_scheme =
        |got: &dyn std::fmt::Display| error(*Problem::bad_value(&key, "a mode or {mode: …}", got).kind);
    let mut node = match read_yaml(text) {
        Ok(node @ (Node::Text(_) | Node::Map(_))) => node,
        Ok(other) => return Err(not_a_scheme(&other)),
        Err(read) if matches!(read.kind, ConfigErrorKind::Empty) => return Err(not_a_scheme(&Node::Null)),
        Err(read) => return Err(error(read.kind)),
    };
    if let Some(gain) = gain {
        set_gain(&mut node, gain);
    }
    match resolve::init_value(&node, &KeyPath::root()) {
        Ok(InitSource::Scheme(scheme)) if scheme.zero_mean() && !layout.are_kernels_together() => {
            Err(error(ConfigErrorKind::ZeroMeanLayout))
        }
        Ok(InitSource::Scheme(scheme)) => Ok(scheme),
        Ok(InitSource::From(_)) => Err(not_a_scheme(&"{from: …}, which generates nothing")),
        Ok(InitSource::None) => Err(not_a_scheme(&"none, which generates nothing")),
        Err(problem) => Err(error(*problem.kind)),
    }
}

/// Whether the mode takes a gain, as far as the text can be parsed.
pub fn takes_gain(text: &str) -> bool {
    let Ok(mut node) = read_yaml(text) else { return false };
    set_gain(&mut node, 1.0);
    matches!(resolve::init_value(&node, &KeyPath::root()), Ok(InitSource::Scheme(_)))
}

fn set_gain(node: &mut Node, gain: f64) {
    if let Node::Text(mode) = node {
        // A mapping has its own error for an unknown mode; keep the error for a word.
        if SchemeParams::named(mode).scheme().is_err() {
            return;
        }
        *node = Node::Map(vec![("mode".to_owned(), Node::Text(mode.clone()))]);
    }
    if let Node::Map(entries) = node {
        entries.retain(|(key, _)| key != "gain");
        entries.push(("gain".to_owned(), Node::Real(gain)));
    }
}
