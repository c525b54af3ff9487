//! How one weight was generated: the key of its row, its random draws, and their uniforms.

use serde::Serialize;

use super::Subject;
use super::subject::Outside;
use crate::init::{Distribution, Scheme};
use crate::noise::{hash, scalar};

/// A weight and what it was generated from. Bits are hexadecimal, `0x…`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trace {
    /// Row, from 0.
    pub row: usize,
    /// Column, from 0.
    pub column: usize,
    /// Key of the row's draws.
    pub row_key: String,
    /// How the draws are used.
    pub noise: Noise,
    /// The raw draws with their uniforms.
    pub draws: Vec<RawDraw>,
    /// The random value before it is scaled: the uniform itself, or the gaussian.
    pub drawn: Option<f64>,
    /// The weight in binary64, before rounding.
    pub weight: f64,
    /// The bits of that binary64.
    pub weight_bits: String,
    /// The weight as stored.
    pub stored: f64,
    /// The bits in the stored type.
    pub stored_bits: String,
}

/// How the random part of a weight is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Noise {
    /// There are no draws.
    Fixed,
    /// One uniform draw.
    Uniform,
    /// `sqrt(-2 ln u1) cos(2 pi u2)`, at even columns.
    Cosine,
    /// `sqrt(-2 ln u1) sin(2 pi u2)`, at odd columns.
    Sine,
    /// The weight depends on all draws of the layer, and has none of its own.
    Whole,
}

/// A random draw of the row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RawDraw {
    /// Its index in the row, from 0.
    pub index: u64,
    /// Its 64 bits.
    pub bits: String,
    /// The uniform that is used for the weight, in `[0, 1)`. It is made from the upper 52 bits; the first
    /// uniform of a gaussian is at least 1e-12.
    pub uniform: f64,
}

/// The weight at this row and column, and its draws.
///
/// # Errors
/// [`Outside`] if the matrix does not have this row and column.
pub fn trace(subject: &Subject, row: usize, column: usize) -> Result<Trace, Outside> {
    let weight = subject.weight_at(row, column)?;
    let stored = subject.dtype().round(weight);
    let key = hash::row_key(subject.seed(), subject.layer(), row as u64);
    let j = column as u64;
    let draw = |index, least: f64| {
        let bits = hash::draw(key, index);
        RawDraw { index, bits: format!("{bits:#018x}"), uniform: hash::unit(bits).max(least) }
    };
    let noise = noise(subject.scheme(), column);
    let (draws, drawn) = match noise {
        Noise::Fixed | Noise::Whole => (vec![], None),
        Noise::Uniform => (vec![draw(j, 0.0)], Some(scalar::uniform_at(key, j))),
        Noise::Cosine | Noise::Sine => {
            let pair = j >> 1;
            let draws = vec![draw(2 * pair, scalar::U1_FLOOR), draw(2 * pair + 1, 0.0)];
            (draws, Some(scalar::gaussian_at(key, j)))
        }
    };
    let mut bytes = vec![0; subject.dtype().size()];
    subject.dtype().encode(&[weight], &mut bytes);
    let digits: String = bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect();
    Ok(Trace {
        row,
        column,
        row_key: format!("{key:#018x}"),
        noise,
        draws,
        drawn,
        weight,
        weight_bits: format!("{:#018x}", weight.to_bits()),
        stored,
        stored_bits: format!("0x{digits}"),
    })
}

fn noise(scheme: &Scheme, column: usize) -> Noise {
    let gaussian = if column.is_multiple_of(2) { Noise::Cosine } else { Noise::Sine };
    match scheme {
        Scheme::Scaled { distribution: Distribution::Normal, .. }
        | Scheme::Normal { .. }
        | Scheme::Sparse { .. } => gaussian,
        Scheme::Scaled { .. }
        | Scheme::TorchDefault { .. }
        | Scheme::TruncNormal { .. }
        | Scheme::Uniform { .. } => Noise::Uniform,
        Scheme::Constant(_) | Scheme::Eye | Scheme::Dirac { .. } => Noise::Fixed,
        Scheme::Orthogonal { .. } | Scheme::DeltaOrthogonal { .. } => Noise::Whole,
    }
}
