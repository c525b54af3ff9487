//! Values rounded to whole numbers of steps from a prediction, or from zero. A value becomes the number `q`
//! of steps and is restored as `prediction + q * step`: one product and one sum in binary64, then rounded to
//! the type. Unlike all other models, this one loses what the step does not resolve.

use super::symbol::{Form, UNCHANGED};
use crate::prelude::*;
use crate::tensor::FloatDtype;

/// Numbers of steps are below this.
const MOST: f64 = (1u32 << 31) as f64;

/// Added to a number of magnitude below 2^51 and subtracted again, it rounds to the nearest whole number,
/// ties to even.
const ROUND: f64 = 1.5 * (1u64 << 52) as f64;

/// The whole number of steps from the prediction that is nearest to the value; `None` if the value is stored
/// unchanged. `most` is the largest finite value of its type.
#[inline(always)]
fn steps(value: f64, prediction: f64, step: f64, most: f64) -> Option<f64> {
    let q = ((value - prediction) / step + ROUND) - ROUND;
    // False for NaN too.
    (q.abs() < MOST && (prediction + q * step).abs() <= most).then_some(q)
}

/// The value that is restored from the nearest whole number of steps; `None` if the value
/// is stored unchanged.
pub fn nearest(dtype: FloatDtype, step: f64, value: f64, prediction: f64) -> Option<f64> {
    let q = steps(value, prediction, step, largest(dtype))?;
    Some(dtype.round(prediction + q * step))
}

/// Buffers of one thread.
#[derive(Debug, Default)]
pub struct Buffers {
    values: Vec<f64>,
    predictions: Vec<f64>,
}

impl Buffers {
    /// Writes the folded number of steps of each value to `folded`, or [`UNCHANGED`]. Without predictions,
    /// steps are counted from zero.
    pub fn count(
        &mut self,
        form: Form,
        step: f64,
        (values, prediction): (&[u8], &[u8]),
        folded: &mut Vec<u64>,
    ) {
        let Some(dtype) = form.float() else { return };
        let most = largest(dtype);
        let Self { values: w, predictions: w0 } = self;
        let len = values.len() / dtype.size();
        w.resize(len, 0.0);
        dtype.decode(values, w);
        decode_or_zeros(dtype, prediction, len, w0);
        folded.resize(len, 0);
        for (folded, (w, w0)) in folded.iter_mut().zip(w.iter().zip(w0.iter())) {
            *folded = steps(*w, *w0, step, most).map_or(UNCHANGED, |q| {
                let whole = q as i64;
                ((whole << 1) ^ (whole >> 63)) as u64
            });
        }
    }

    /// Writes to `out` the values at these folded numbers of steps from their predictions. The bits of
    /// values that are [`UNCHANGED`] are arbitrary.
    pub fn restore(&mut self, form: Form, step: f64, folded: &[u64], prediction: &[u8], out: &mut [u8]) {
        let Some(dtype) = form.float() else { return };
        let w0 = &mut self.predictions;
        decode_or_zeros(dtype, prediction, folded.len(), w0);
        for (value, folded) in w0.iter_mut().zip(folded) {
            *value += Form::unfold(*folded) as i64 as f64 * step;
        }
        dtype.encode(w0, out);
    }
}

fn decode_or_zeros(dtype: FloatDtype, bytes: &[u8], len: usize, out: &mut Vec<f64>) {
    out.clear();
    out.resize(len, 0.0);
    if !bytes.is_empty() {
        dtype.decode(bytes, out);
    }
}

/// The largest finite value of a type.
fn largest(dtype: FloatDtype) -> f64 {
    match dtype {
        FloatDtype::F64 => f64::MAX,
        FloatDtype::F32 => f32::MAX.into(),
        FloatDtype::F16 => half::f16::MAX.into(),
        FloatDtype::Bf16 => half::bf16::MAX.into(),
    }
}

/// The level of a line whose values are on average this many steps from their predictions, in quarter
/// octaves. A sixty-fourth of a step is added, because lines can be without any.
pub fn level(steps: f64) -> i32 {
    libm::round(4.0 * libm::log2(steps + 1.0 / 64.0)) as i32
}
