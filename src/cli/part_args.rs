//! The arguments of runs in parts, and which part this process is to do.

use std::path::PathBuf;

use cdi_prune::text::printable;
use clap::{Args, ValueEnum};

/// More parts than any cluster has places for.
const MOST_PARTS: usize = 10_000;

/// Which part of a run to do.
#[derive(Debug, Args)]
#[command(next_help_heading = "Runs in parts")]
pub struct PartArgs {
    /// Do part I of N of the next step (I counts from 1), or `auto`: what the Slurm array or the Kubernetes
    /// Indexed Job says
    #[arg(long, value_name = "I/N", value_parser = parse_part, conflicts_with_all = ["force", "dry_run"])]
    part: Option<Part>,
    /// Number of parts, for `--part auto`, which it implies
    #[arg(long, value_name = "N", value_parser = parse_parts, conflicts_with_all = ["force", "dry_run"])]
    parts: Option<usize>,
    /// Folder in which the parts exchange what they find [default: a hidden folder beside the first output]
    #[arg(long, value_name = "FOLDER", requires = "in_parts")]
    pub parts_folder: Option<PathBuf>,
}

/// The arguments of `merge`.
#[derive(Debug, Args)]
pub struct MergeArgs {
    /// Config file in YAML
    pub config: PathBuf,
    /// Number of parts
    #[arg(long, value_name = "N", value_parser = parse_parts)]
    pub parts: usize,
    /// Folder in which the parts exchange what they find [default: a hidden folder beside the first output]
    #[arg(long, value_name = "FOLDER")]
    pub parts_folder: Option<PathBuf>,
    /// How to print the result: like `run` does, or whether the run is finished, as JSON
    #[arg(long, default_value = "table")]
    pub format: MergeFormat,
    /// Show every tensor and every column
    #[arg(long)]
    pub full: bool,
}

/// How `merge` prints its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MergeFormat {
    Table,
    Github,
    Json,
}

/// A part, as the command line names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Auto,
    Of { number: usize, parts: usize },
}

fn parse_part(text: &str) -> Result<Part, String> {
    if text == "auto" {
        return Ok(Part::Auto);
    }
    let wrong = || format!("expected I/N with 1 ≤ I ≤ N ≤ {MOST_PARTS}, such as 3/16, or `auto`");
    let (number, parts) = text.split_once('/').ok_or_else(wrong)?;
    let (number, parts) = (number.parse().map_err(|_| wrong())?, parts.parse().map_err(|_| wrong())?);
    match (1..=parts).contains(&number) && parts <= MOST_PARTS {
        true => Ok(Part::Of { number, parts }),
        false => Err(wrong()),
    }
}

pub fn parse_parts(text: &str) -> Result<usize, String> {
    let parts = text.parse().ok().filter(|parts| (1..=MOST_PARTS).contains(parts));
    parts.ok_or_else(|| format!("expected a number of parts from 1 to {MOST_PARTS}"))
}

impl PartArgs {
    /// Whether a part is to be done.
    pub fn is_part(&self) -> bool {
        self.part.is_some() || self.parts.is_some()
    }

    /// The number of the part, from 1, and the number of parts.
    pub fn seat(&self, variable: impl Fn(&str) -> Option<String>) -> Result<(usize, usize), String> {
        match (self.part, self.parts) {
            (Some(Part::Of { parts, .. }), Some(other)) if parts != other => {
                Err(format!("--part names {parts} parts, and --parts {other}"))
            }
            (Some(Part::Of { number, parts }), _) => Ok((number, parts)),
            (_, parts) => seat_of_engine(parts, variable),
        }
    }
}

/// The place of a process that an engine has started one of many of.
fn seat_of_engine(
    parts: Option<usize>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<(usize, usize), String> {
    let number = |name: &str| {
        let text = variable(name)?;
        Some(text.parse::<usize>().map_err(|_| format!("{name} is `{}`, not a number", printable(&text))))
    };
    let number = |name: &str| number(name).transpose();
    if let Some(id) = number("SLURM_ARRAY_TASK_ID")? {
        let first = number("SLURM_ARRAY_TASK_MIN")?.unwrap_or(0);
        let step = number("SLURM_ARRAY_TASK_STEP")?.unwrap_or(1).max(1);
        let tasks = number("SLURM_ARRAY_TASK_COUNT")?.or(parts).unwrap_or(0);
        let parts = parts.unwrap_or(tasks);
        // An array of only some tasks, such as those that failed, does not tell which parts they are.
        if tasks != parts {
            return Err(format!(
                "the Slurm array has {tasks} tasks, and --parts says {parts}; to run only some of the parts, name \
                 each: --part $SLURM_ARRAY_TASK_ID/{parts}"
            ));
        }
        let at = id.checked_sub(first).map(|at| at / step).filter(|at| *at < parts);
        let at =
            at.ok_or_else(|| format!("SLURM_ARRAY_TASK_ID is {id}, beyond the {parts} tasks of the array"))?;
        return Ok((at + 1, parts));
    }
    if let Some(index) = number("JOB_COMPLETION_INDEX")? {
        let parts =
            parts.ok_or("a Kubernetes Job does not say how many completions it has; add --parts N")?;
        return match index < parts {
            true => Ok((index + 1, parts)),
            false => Err(format!("JOB_COMPLETION_INDEX is {index}, beyond the {parts} parts")),
        };
    }
    Err("neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX is set: this is no task of a Slurm array, and no pod \
         of a Kubernetes Indexed Job; name the part: --part I/N"
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat(parts: Option<usize>, variables: &[(&str, &str)]) -> Result<(usize, usize), String> {
        seat_of_engine(parts, |name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn engines_say_which_part_it_is() {
        let slurm = |id, min, count| {
            [("SLURM_ARRAY_TASK_ID", id), ("SLURM_ARRAY_TASK_MIN", min), ("SLURM_ARRAY_TASK_COUNT", count)]
        };
        assert_eq!(seat(None, &slurm("1", "1", "16")), Ok((1, 16)));
        assert_eq!(seat(None, &slurm("16", "1", "16")), Ok((16, 16)));
        assert_eq!(seat(Some(4), &slurm("0", "0", "4")), Ok((1, 4)));
        let step = ("SLURM_ARRAY_TASK_STEP", "10");
        assert_eq!(seat(None, &[&slurm("20", "0", "4")[..], &[step]].concat()), Ok((3, 4)));
        // Only the tasks 3 and 7 of 16.
        assert!(
            seat(Some(16), &slurm("7", "3", "2")).unwrap_err().contains("--part $SLURM_ARRAY_TASK_ID/16")
        );
        assert!(seat(None, &slurm("17", "1", "16")).unwrap_err().contains("beyond"));
        assert!(seat(None, &slurm("x", "1", "16")).unwrap_err().contains("not a number"));
        assert_eq!(seat(Some(8), &[("JOB_COMPLETION_INDEX", "7")]), Ok((8, 8)));
        assert!(seat(Some(8), &[("JOB_COMPLETION_INDEX", "8")]).is_err());
        assert!(seat(None, &[("JOB_COMPLETION_INDEX", "0")]).unwrap_err().contains("--parts N"));
        assert!(seat(Some(2), &[]).unwrap_err().contains("--part I/N"));
    }

    #[test]
    fn parts_are_counted_from_one() {
        assert_eq!(parse_part("3/16"), Ok(Part::Of { number: 3, parts: 16 }));
        assert_eq!(parse_part("auto"), Ok(Part::Auto));
        for wrong in ["0/4", "5/4", "1/10001", "1", "a/b", "/", "-1/4"] {
            assert!(parse_part(wrong).is_err(), "{wrong}");
        }
    }
}
