//! Messages that need more than a format string.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::gates::GateResult;
use crate::report::gate_words;
use crate::store::Form;
use crate::text::{counted, significant};
use crate::tune::{Confirmed, TunePoint};

/// Names in backticks, at most the first hundred.
pub(super) fn list(names: &[String]) -> String {
    const SHOWN: usize = 100;
    let mut text = names.iter().take(SHOWN).map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        let _ = write!(text, " and {} more", names.len() - SHOWN);
    }
    text
}

/// Message for weights that are stored in parts.
pub(super) fn in_parts(stem: &str, parts: &[String], form: &Form, more: usize, pruning: bool) -> String {
    let more = if more > 0 { format!(" (and {more} more like it)") } else { String::new() };
    let keep = if pruning {
        "; to prune only the other tensors, keep the parts with a rule in `prune.rules`"
    } else {
        ""
    };
    format!(
        "`{stem}`{more} is compressed as {}, in the parts {}, which are not weights to compare or prune; \
         {}{keep}",
        form.name,
        list(parts),
        form.way_out
    )
}

/// Message for a missing trained checkpoint.
pub(super) fn trained_missing(path: &Path, initial: &Option<PathBuf>) -> String {
    let path = path.display();
    match initial {
        Some(initial) => format!(
            "{path}: there is no trained checkpoint yet. Train the model from the initial checkpoint {}, \
             save it as {path}, then run this command again",
            initial.display()
        ),
        None => format!(
            "{path}: there is no trained checkpoint yet. Train the model, save it there, then run this \
             command again"
        ),
    }
}

/// Message for failed gates.
pub(super) fn gates_failed(failed: &[GateResult], of: usize) -> String {
    let word = if of == 1 { "gate" } else { "gates" };
    let mut text = format!("{} of {of} {word} failed; all outputs were written:", failed.len());
    for result in failed {
        let _ = write!(text, "\n  {}", gate_words(result));
    }
    text
}

/// Message for a search in which the metric drops too far for every file.
pub(super) fn nothing_within(max_drop: f64, original: f64, nearest: Option<&TunePoint>) -> String {
    let number = |x: f64| significant(x, 6);
    let mut text = format!(
        "no pruned file that `tune` tried is within {} of the original's metric, {}",
        number(max_drop),
        number(original)
    );
    if let Some(point) = nearest {
        let _ = write!(
            text,
            "; the closest has {}, which is {} worse ({}; {} bytes)",
            number(point.metric),
            number(point.drop),
            point.words(),
            point.bytes
        );
    }
    let steps = nearest.is_some_and(|point| point.steps.is_some());
    text + if steps {
        "; raise `tune.max_drop`"
    } else {
        "; lower the first value of `tune.sparsity`, or raise `tune.max_drop`"
    }
}

pub(super) fn not_confirmed(
    max_drop: f64,
    original: f64,
    tried: usize,
    nearest: Option<&(TunePoint, Confirmed)>,
) -> String {
    let number = |x: f64| significant(x, 6);
    let mut text = format!(
        "none of {} that `tune.confirm` measured is within {} of the original's metric by that command, {}",
        counted(tried as u64, "file"),
        number(max_drop),
        number(original)
    );
    if let Some((point, found)) = nearest {
        let _ = write!(
            text,
            "; the closest has {}, which is {} worse ({}; {} bytes)",
            number(found.metric),
            number(found.drop),
            point.words(),
            point.bytes
        );
    }
    text + "; evaluate on more data in `tune.command`, or raise `tune.max_drop`"
}
