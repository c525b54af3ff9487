//! The flags of `matrix` and their defaults.

use std::path::{Path, PathBuf};

use cdi_prune::config::parse_init;
use cdi_prune::init::Scheme;
use cdi_prune::matrix::{FileFormat, Subject, SubjectError};
use cdi_prune::tensor::{FloatDtype, Layout, Shape};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::cli::global::Format;

pub const SEED: u64 = 42;
pub const LAYER: u64 = 0;
pub const SIDE: usize = 64;
pub const MODE: &str = "he";

pub const EXAMPLES: &str = "\
Examples:
  cdi-prune matrix --mode he --rows 256 --cols 784 --show-dist
  cdi-prune matrix --mode '{mode: normal, std: 0.02}' --at 3,5
  cdi-prune matrix --orthogonal --gain 1.5 --rows 128 --cols 64
  cdi-prune matrix --shape 64,32,3,3 --mode kaiming_uniform_ --dtype bf16 --save kernels.safetensors
  cdi-prune matrix --compare-modes --rows 512 --cols 512
  cdi-prune matrix --test-repro

On a terminal without any flags, it asks for each setting. Otherwise, flags that you omit have their defaults.";

#[derive(Clone, Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "Matrix options")]
pub struct MatrixArgs {
    /// Seed, from -2^63 to 2^64-1 [default: 42]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = parse_seed)]
    pub seed: Option<u64>,
    /// Layer id, from 0 to 2^64-1 [default: 0]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = parse_layer)]
    pub layer: Option<u64>,
    /// Number of rows (outputs in the layout out_in) [default: 64]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = parse_side)]
    pub rows: Option<usize>,
    /// Number of columns (inputs in the layout out_in) [default: 64]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = parse_side)]
    pub cols: Option<usize>,
    /// Tensor of any rank instead of rows and columns, e.g. 64,32,3,3; shown as first dimension by the rest
    #[arg(long, value_name = "D0,D1,…", conflicts_with_all = ["rows", "cols"], value_parser = parse_shape)]
    pub shape: Option<Shape>,
    /// Any value of a rule's `init`: a mode, or a YAML mapping [default: he]
    #[arg(long, value_name = "MODE", conflicts_with = "orthogonal")]
    pub mode: Option<String>,
    /// Gain of the mode
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = parse_gain)]
    pub gain: Option<f64>,
    /// Short for --mode orthogonal
    #[arg(long)]
    pub orthogonal: bool,
    /// Stored type of the weights [default: f32]
    #[arg(long, value_parser = dtypes())]
    pub dtype: Option<FloatDtype>,
    /// Which dimension holds the outputs [default: out_in]
    #[arg(long, value_parser = layouts())]
    pub layout: Option<Layout>,
    /// Show he, xavier and lecun side by side
    #[arg(long, conflicts_with_all = ["mode", "orthogonal", "show_dist", "test_repro", "at", "save"])]
    pub compare_modes: bool,
    /// Show a histogram next to the exact shares
    #[arg(long)]
    pub show_dist: bool,
    /// Generate the weights on one and on all threads, one by one and in blocks, and compare every bit
    #[arg(long)]
    pub test_repro: bool,
    /// Show one weight with its draws
    #[arg(long, value_name = "I,J", value_parser = parse_place)]
    pub at: Option<(usize, usize)>,
    /// Save the matrix as .npy, .safetensors or .csv
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    /// Output format [default: table]
    #[arg(long)]
    pub format: Option<Format>,
}

impl MatrixArgs {
    pub fn dtype(&self) -> FloatDtype {
        self.dtype.unwrap_or(FloatDtype::F32)
    }

    /// The scheme, by the mode's flags or, of several, by this name.
    fn scheme(&self, mode: Option<&str>) -> Result<Scheme, String> {
        let (text, place) = match (mode, &self.mode) {
            (Some(mode), _) => (mode, "--compare-modes"),
            _ if self.orthogonal => ("orthogonal", "--orthogonal"),
            (None, Some(mode)) => (mode.as_str(), "--mode"),
            (None, None) => (MODE, "--mode"),
        };
        let layout = self.layout.unwrap_or_default();
        parse_init(text, self.gain, layout, place).map_err(|e| e.to_string())
    }

    /// The matrix that the flags describe.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn subject(&self, mode: Option<&str>) -> Result<Subject, String> {
        let shape = match &self.shape {
            Some(shape) => shape.clone(),
            None => Shape::new(vec![self.rows.unwrap_or(SIDE), self.cols.unwrap_or(SIDE)])
                .map_err(|e| e.to_string())?,
        };
        let noise = (self.seed.unwrap_or(SEED), self.layer.unwrap_or(LAYER));
        let tensor = (shape, self.layout.unwrap_or_default());
        Subject::new(noise, self.scheme(mode)?, tensor, self.dtype()).map_err(|e| match e {
            SubjectError::Shape(mismatch) if self.shape.is_none() => {
                format!("{mismatch}; use --shape for another shape")
            }
            other => other.to_string(),
        })
    }

    /// Where the matrix goes, if anywhere.
    ///
    /// # Errors
    /// What is wrong with the file's name, in words.
    pub fn file(&self) -> Result<Option<(&Path, FileFormat)>, String> {
        let with_format = |path: &PathBuf| FileFormat::of(path, self.dtype());
        match &self.save {
            None => Ok(None),
            Some(path) => with_format(path).map(|f| Some((path.as_path(), f))).map_err(|e| e.to_string()),
        }
    }
}

/// Signed and unsigned seeds of 64 bits; a negative one as its two's complement.
pub fn parse_seed(text: &str) -> Result<u64, String> {
    let seed = text.parse::<i128>().ok();
    seed.filter(|seed| (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(seed))
        .map(|seed| seed as u64)
        .ok_or_else(|| "expected a whole number from -2^63 to 2^64-1".to_owned())
}

pub fn parse_layer(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "expected a whole number from 0 to 2^64-1".to_owned())
}

pub fn parse_gain(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| "expected a number".to_owned())
}

pub fn parse_side(text: &str) -> Result<usize, String> {
    let side = text.parse().ok().filter(|side| *side > 0);
    side.ok_or_else(|| "expected a whole number of at least 1".to_owned())
}

/// `64,32,3,3`, or as tables print it, `64x32x3x3`.
fn parse_shape(text: &str) -> Result<Shape, String> {
    let dims: Result<Vec<usize>, String> =
        text.split([',', 'x']).map(|side| parse_side(side.trim())).collect();
    let dims = dims.map_err(|_| "expected whole numbers of at least 1, such as 64,32,3,3".to_owned())?;
    Shape::new(dims).map_err(|e| e.to_string())
}

pub fn parse_place(text: &str) -> Result<(usize, usize), String> {
    let number = |text: &str| text.trim().parse().ok();
    text.split_once(',')
        .and_then(|(i, j)| number(i).zip(number(j)))
        .ok_or_else(|| "expected a row and a column, counted from 0, such as 3,5".to_owned())
}

fn dtypes() -> impl TypedValueParser<Value = FloatDtype> {
    const ALL: [FloatDtype; 4] = [FloatDtype::F64, FloatDtype::F32, FloatDtype::F16, FloatDtype::Bf16];
    named(ALL.map(|dtype| (dtype.name(), dtype)))
}

fn layouts() -> impl TypedValueParser<Value = Layout> {
    named([("out_in", Layout::OutIn), ("in_out", Layout::InOut)])
}

fn named<T: Copy + Send + Sync + 'static, const N: usize>(
    all: [(&'static str, T); N],
) -> impl TypedValueParser<Value = T> {
    let names = PossibleValuesParser::new(all.map(|(name, _)| name));
    names.try_map(move |name| all.iter().find(|(n, _)| *n == name).map(|(_, value)| *value).ok_or("unknown"))
}
