//! The command `matrix`: one generated matrix, looked at.

mod args;
mod ask;
mod print;

use std::io::IsTerminal;
use std::path::Path;

pub use args::{EXAMPLES, MatrixArgs};
use ask::Asker;
use cdi_prune::matrix::{
    Bin, Check, Reproduction, Subject, Summary, Trace, histogram, reproduce, save, summarise, trace,
};
use cdi_prune::noise::NOISE_VERSION;
use cdi_prune::tensor::Layout;
use cdi_prune::text::{counted, printable};
use serde::Serialize;

use super::failure::{Failure, Result};
use super::global::{Format, Global};
use super::out::{print as say, print_json, shown};

/// What `--compare-modes` compares.
const MODES: [&str; 3] = ["he", "xavier", "lecun"];

/// A matrix as JSON.
#[derive(Serialize)]
struct Look<'a> {
    seed: u64,
    layer_id: u64,
    noise_version: u32,
    init: String,
    shape: &'a [usize],
    layout: Layout,
    dtype: &'static str,
    figures: &'a [Check],
    #[serde(skip_serializing_if = "Option::is_none")]
    corner: Option<Vec<Vec<f64>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    histogram: Option<&'a [Bin]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<&'a Trace>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reproduction: Option<&'a Reproduction>,
}

impl<'a> Look<'a> {
    fn new(subject: &'a Subject, summary: &'a Summary) -> Self {
        Self {
            seed: subject.seed(),
            layer_id: subject.layer(),
            noise_version: NOISE_VERSION,
            init: subject.scheme().to_string(),
            shape: subject.shape().dims(),
            layout: subject.layout(),
            dtype: subject.dtype().name(),
            figures: &summary.checks,
            corner: None,
            histogram: None,
            weight: None,
            reproduction: None,
        }
    }
}

fn usage(message: String) -> Failure {
    Failure { message: printable(&message), code: 2 }
}

/// Looks at the matrix that the flags describe, or at one that it asks for.
pub fn run(args: &MatrixArgs, global: &Global) -> Result {
    let no_flag = *args == MatrixArgs::default();
    if no_flag && std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        let mut asker = Asker { input: std::io::stdin().lock(), output: std::io::stdout() };
        let asked = asker.matrix()?;
        drop(asker);
        say("")?;
        return look(&asked, global);
    }
    look(args, global)
}

fn look(args: &MatrixArgs, global: &Global) -> Result {
    if args.compare_modes {
        return compare(args, global);
    }
    // Everything that can be wrong with the flags is found before the first weight is made.
    let subject = args.subject(None).map_err(usage)?;
    let file = args.file().map_err(usage)?;
    if let Some((row, column)) = args.at {
        subject.check(row, column).map_err(|e| usage(format!("--at: {e}")))?;
    }
    if let Some((path, format)) = file {
        save(&subject, path, format)?;
        say_saved(&subject, path);
    }
    let summary = summarise(&subject);
    let bins = args.show_dist.then(|| histogram(&subject, &summary));
    let weight = args.at.and_then(|(row, column)| trace(&subject, row, column).ok());
    let reproduction = args.test_repro.then(|| reproduce(&subject));
    match args.format.unwrap_or(Format::Table) {
        Format::Json => {
            let look = Look {
                corner: Some(subject.corner(print::CORNER, print::CORNER)),
                histogram: bins.as_deref(),
                weight: weight.as_ref(),
                reproduction: reproduction.as_ref(),
                ..Look::new(&subject, &summary)
            };
            print_json(&look)?;
        }
        Format::Table => {
            let color = global.color;
            let mut parts = vec![
                print::title(&subject, &subject.scheme().to_string()),
                print::corner(&subject, color),
                print::checks(&summary.checks, color),
                print::verdict(&subject, &summary),
            ];
            parts.extend(bins.map(|bins| print::histogram(&bins, color)));
            parts.extend(weight.map(|weight| print::trace(&weight, subject.dtype(), color)));
            parts.extend(reproduction.as_ref().map(|r| print::reproduction(r, color)));
            say(&parts.join("\n"))?;
        }
    }
    match reproduction.filter(|reproduction| !reproduction.holds()) {
        None => Ok(()),
        Some(_) => {
            let message =
                "the weights depend on how they are generated: this is a bug, please report it".to_owned();
            Err(Failure { message, code: 1 })
        }
    }
}

fn compare(args: &MatrixArgs, global: &Global) -> Result {
    let look = |mode: &&str| {
        let subject = args.subject(Some(mode)).map_err(usage)?;
        let summary = summarise(&subject);
        Ok((subject, summary))
    };
    let modes = MODES.iter().map(look).collect::<Result<Vec<_>>>()?;
    match args.format.unwrap_or(Format::Table) {
        Format::Json => {
            let looks: Vec<Look<'_>> = modes.iter().map(|(s, summary)| Look::new(s, summary)).collect();
            print_json(&looks)
        }
        Format::Table => say(&print::side_by_side(&modes, global.color)),
    }
}

fn say_saved(subject: &Subject, path: &Path) {
    let bytes = std::fs::metadata(path).map(|metadata| metadata.len()).unwrap_or_default();
    let (weights, bytes) = (counted(subject.weights() as u64, "weight"), counted(bytes, "byte"));
    tracing::info!("saved: {}, {weights}, {bytes}", shown(path));
}
