//! Units taken out of a chain of layers, in words.

use super::model::Removed;
use crate::text::{counted, thousands};

/// Units taken out between two layers, in words; `name` writes names.
pub fn removed_words(removed: &Removed, name: impl Fn(&str) -> String) -> String {
    let Removed { layer, next, units, removed, folded } = removed;
    let (layer, next) = (name(layer), name(next));
    let folded = match folded {
        0 => String::new(),
        n => format!(", the constants of {} folded into the bias of {next}", thousands(*n)),
    };
    format!("{} of {} between {layer} and {next}{folded}", thousands(*removed), counted(*units, "unit"))
}
