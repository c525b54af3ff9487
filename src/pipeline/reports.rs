//! Comparison of two reports.

use std::path::Path;

use super::error::Error;
use super::outputs::check_distinct;
use crate::report::compare::{ReportComparison, compare};
use crate::report::read;
use crate::store::write_text;

/// Reads two reports and compares them. With an `output`, writes the text that `form` returns.
///
/// # Errors
/// [`Error::Report`] if a file is not a report, [`Error::SameFile`] if the output is one of them.
pub fn compare_reports(
    old: &Path,
    new: &Path,
    output: Option<&Path>,
    form: impl FnOnce(&ReportComparison) -> String,
) -> Result<ReportComparison, Error> {
    let inputs = [("the old report", old), ("the new report", new)];
    check_distinct(inputs, output.map(|path| ("the output", path)))?;
    let comparison = compare(&read(old)?, &read(new)?);
    if let Some(path) = output {
        write_text(path, &form(&comparison))?;
    }
    Ok(comparison)
}
