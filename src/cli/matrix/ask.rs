//! Asks for the settings on a terminal, when no flags are given.

use std::io::{BufRead, Write};

use anyhow::Context;
use cdi_prune::config::takes_gain;

use super::args::{
    LAYER, MODE, MatrixArgs, SEED, SIDE, parse_gain, parse_layer, parse_place, parse_seed, parse_side,
};
use crate::cli::failure::{Failure, Result};

/// Somebody who answers.
pub struct Asker<R, W> {
    pub input: R,
    pub output: W,
}

impl<R: BufRead, W: Write> Asker<R, W> {
    /// Asks until an answer can be read; an empty one is the default.
    fn ask<T>(
        &mut self,
        question: &str,
        default: &str,
        read: impl Fn(&str) -> std::result::Result<T, String>,
    ) -> Result<T> {
        loop {
            write!(self.output, "{question} [{default}]: ")
                .and_then(|()| self.output.flush())
                .context("cannot write to standard output")?;
            let mut line = Vec::new();
            if self.input.read_until(b'\n', &mut line).context("cannot read standard input")? == 0 {
                let message = "the input ended before the last question, so nothing was done".to_owned();
                return Err(Failure { message, code: 2 });
            }
            let line = String::from_utf8_lossy(&line);
            let answer = if line.trim().is_empty() { default } else { line.trim() };
            match read(answer) {
                Ok(answer) => return Ok(answer),
                Err(why) => writeln!(self.output, "  {why}").context("cannot write to standard output")?,
            }
        }
    }

    fn yes(&mut self, question: &str) -> Result<bool> {
        self.ask(question, "no", |answer| match answer.to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(true),
            "n" | "no" => Ok(false),
            _ => Err("expected yes or no".to_owned()),
        })
    }

    /// Every flag, each answer checked with those before it.
    pub fn matrix(&mut self) -> Result<MatrixArgs> {
        let mut args = MatrixArgs {
            seed: Some(self.ask("Seed", &SEED.to_string(), parse_seed)?),
            layer: Some(self.ask("Layer id", &LAYER.to_string(), parse_layer)?),
            rows: Some(self.ask("Rows", &SIDE.to_string(), parse_side)?),
            ..MatrixArgs::default()
        };
        args.cols = Some(self.ask("Columns", &SIDE.to_string(), |answer| {
            let cols = parse_side(answer)?;
            MatrixArgs { cols: Some(cols), ..args.clone() }.subject(None).map(|_| cols)
        })?);
        args.compare_modes = self.yes("Show he, xavier and lecun side by side?")?;
        if !args.compare_modes {
            args.mode = Some(self.ask("Mode, or a YAML mapping", MODE, |answer| {
                let with = MatrixArgs { mode: Some(answer.to_owned()), ..args.clone() };
                with.subject(None).map(|_| answer.to_owned())
            })?);
        }
        if args.compare_modes || args.mode.as_deref().is_some_and(takes_gain) {
            args.gain = self.ask("Gain", "the mode's own", |answer| {
                if answer == "the mode's own" {
                    return Ok(None);
                }
                let gain = parse_gain(answer)?;
                let with = MatrixArgs { gain: Some(gain), ..args.clone() };
                with.subject(None).map(|_| Some(gain))
            })?;
        }
        if !args.compare_modes {
            args.show_dist = self.yes("Show the distribution?")?;
            args.test_repro = self.yes("Test reproducibility?")?;
            let subject = args.subject(None).map_err(|message| Failure { message, code: 2 })?;
            args.at = self.ask("Row,column of a weight to show in detail", "none", |answer| {
                if answer == "none" {
                    return Ok(None);
                }
                let (row, column) = parse_place(answer)?;
                subject.check(row, column).map(|()| Some((row, column))).map_err(|e| e.to_string())
            })?;
            args.save = self.ask("File to save to (.npy, .safetensors or .csv)", "none", |answer| {
                if answer == "none" {
                    return Ok(None);
                }
                let with = MatrixArgs { save: Some(answer.into()), ..args.clone() };
                with.file().map(|_| with.save.clone())
            })?;
        }
        Ok(args)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The flags that these answers make, and the conversation.
    fn answer(answers: &str) -> (Result<MatrixArgs>, String) {
        let mut asker = Asker { input: answers.as_bytes(), output: Vec::new() };
        let args = asker.matrix();
        (args, String::from_utf8(asker.output).unwrap())
    }

    fn args(answers: &str) -> MatrixArgs {
        match answer(answers) {
            (Ok(args), _) => args,
            (Err(failure), conversation) => panic!("{} after {conversation}", failure.message),
        }
    }

    #[test]
    fn enter_takes_every_default() {
        let (asked, conversation) = answer(&"\n".repeat(11));
        let expected = MatrixArgs {
            seed: Some(42),
            layer: Some(0),
            rows: Some(64),
            cols: Some(64),
            mode: Some("he".to_owned()),
            ..MatrixArgs::default()
        };
        assert_eq!(asked.ok(), Some(expected));
        assert_eq!(
            conversation,
            "Seed [42]: Layer id [0]: Rows [64]: Columns [64]: Show he, xavier and lecun side by side? [no]: \
             Mode, or a YAML mapping [he]: Gain [the mode's own]: Show the distribution? [no]: Test \
             reproducibility? [no]: Row,column of a weight to show in detail [none]: File to save to (.npy, \
             .safetensors or .csv) [none]: "
        );
    }

    #[test]
    fn every_answer_counts() {
        let asked = args("-1\n7\n8\n9\nn\n{mode: normal, std: 0.02}\ny\nYES\n 7, 8 \na.npy\n");
        let expected = MatrixArgs {
            seed: Some(u64::MAX),
            layer: Some(7),
            rows: Some(8),
            cols: Some(9),
            mode: Some("{mode: normal, std: 0.02}".to_owned()),
            show_dist: true,
            test_repro: true,
            at: Some((7, 8)),
            save: Some("a.npy".into()),
            ..MatrixArgs::default()
        };
        assert_eq!(asked, expected);
        // The last answer may lack its end of line.
        let compared = args("\n\n\n\nyes\n1.5");
        assert!(compared.compare_modes && compared.mode.is_none() && compared.gain == Some(1.5));
    }

    #[test]
    fn a_wrong_answer_is_told_why_and_asked_again() {
        let (asked, conversation) = answer(
            "x\n1\n-1\n2\n0\n1000000\n1000000\n3\nperhaps\nno\nhee\ndirac\northogonal\nnan\nbig\n2\n\
             maybe\nno\nno\n1000000,0\n5\n0,2\na.txt\na.csv\n",
        );
        let asked = asked.ok().unwrap();
        assert_eq!((asked.rows, asked.cols, asked.at), (Some(1_000_000), Some(3), Some((0, 2))));
        let whys = [
            "Seed [42]:   expected a whole number from -2^63 to 2^64-1\nSeed [42]: ",
            "Layer id [0]:   expected a whole number from 0 to 2^64-1\nLayer id [0]: ",
            "Rows [64]:   expected a whole number of at least 1\nRows [64]: ",
            "Columns [64]:   shape [1000000, 1000000] has 1000000000000 weights, more than the limit of \
             2147483648 (2^31)\n\
             Columns [64]: ",
            "[no]:   expected yes or no\n",
            "[he]:   --mode: unknown initialisation mode `hee` (did you mean `he`?); the modes are he, xavier",
            "[he]:   `dirac` needs three to five dimensions; its shape is [1000000, 3]; use --shape for \
             another shape\n",
            "[the mode's own]:   --mode: `gain` is NaN, expected a finite number\n",
            "[the mode's own]:   expected a number\n",
            "[none]:   there is no weight at (1000000, 0): the matrix is 1000000 x 3, its rows are 0 to 999999, its \
             columns 0 to 2\n",
            "[none]:   expected a row and a column, counted from 0, such as 3,5\n",
            "[none]:   a.txt: the file name must end in .npy, .safetensors or .csv\n",
        ];
        for why in whys {
            assert!(conversation.contains(why), "no {why:?} in {conversation:?}");
        }
    }

    #[test]
    fn the_end_of_the_input_ends_it() {
        for answers in ["", "1\n2\n", "1\n2\n3\nx\n"] {
            let (asked, _) = answer(answers);
            let failure = asked.err().unwrap();
            let message = "the input ended before the last question, so nothing was done";
            assert_eq!((failure.message.as_str(), failure.code), (message, 2));
        }
    }
}
