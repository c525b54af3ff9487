//! No output may replace an input or another output.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use super::error::Error;
use crate::store::{CheckpointWriter, check_name, check_output, identity};

/// Refuses what no output can be, and outputs that are one file with an input or with each other, by whatever paths. Each comes with a word on what
/// it is. Inputs may be one file among themselves.
pub fn check_distinct<'p>(
    inputs: impl IntoIterator<Item = (String, &'p Path)>,
    outputs: impl IntoIterator<Item = (String, Cow<'p, Path>)>,
) -> Result<(), Error> {
    let mut taken = BTreeMap::new();
    for (role, path) in inputs {
        check_name(path)?;
        taken.insert(identity(path), role);
    }
    for (role, path) in outputs {
        check_output(&path)?;
        if let Some(first) = taken.insert(identity(&path), role.clone()) {
            return Err(Error::SameFile { first, second: role, path: path.into_owned() });
        }
    }
    Ok(())
}

/// Refuses a checkpoint whose files, once it is known how many shards it has, would replace or remove an input. To be
/// asked before anything is written into it.
pub fn check_writer<'p>(
    inputs: impl IntoIterator<Item = (String, &'p Path)>,
    writer: &CheckpointWriter,
    role: &str,
) -> Result<(), Error> {
    check_distinct(
        inputs,
        writer.touches().into_iter().map(|path| (format!("a file of {role}"), Cow::from(path))),
    )
}
