//! Values rounded to whole numbers of steps from a prediction, or from zero. A value becomes the number `q`
//! of steps and is restored as `prediction + q * step`: one product and one sum in binary64, then rounded to
//! the type. Unlike all other models, this one loses what the step does not resolve.

use super::elements::CHUNK;
use super::symbol::{Form, UNCHANGED};
use crate::prelude::*;
use crate::tensor::FloatDtype;

/// Numbers of steps are below this.
const MOST: f64 = (1u32 << 31) as f64;

/// Added to a number of magnitude below 2^51 and subtracted again, it rounds to the nearest whole number,
/// ties to even.
const ROUND: f64 = 1.5 * (1u64 << 52) as f64;

/// The whole number of steps from the prediction that is nearest to the value, and whether it is to be used;
/// otherwise, the value is stored unchanged. `most` is the largest finite value of its type.
#[inline(always)]
fn steps(value: f64, prediction: f64, step: f64, most: f64) -> (f64, bool) {
    let q = ((value - prediction) / step + ROUND) - ROUND;
    // False for NaN too.
    (q, (q.abs() < MOST) & ((prediction + q * step).abs() <= most))
}

/// The value that is restored from the nearest whole number of steps; `None` if the value
/// is stored unchanged.
pub fn nearest(dtype: FloatDtype, step: f64, value: f64, prediction: f64) -> Option<f64> {
    let (q, is_used) = steps(value, prediction, step, largest(dtype));
    is_used.then(|| dtype.round(prediction + q * step))
}

/// Writes the folded number of steps of each value to `folded`, or [`UNCHANGED`]. Without predictions,
/// steps are counted from zero.
#[inline(always)]
pub fn count(form: Form, step: f64, (values, prediction): (&[u8], &[u8]), folded: &mut Vec<u64>) {
    let Some(dtype) = form.float() else { return };
    let (size, most) = (dtype.size(), largest(dtype));
    folded.resize(values.len() / size, 0);
    let (mut w, mut w0) = ([0.0; CHUNK], [0.0; CHUNK]);
    for (n, (values, folded)) in values.chunks(CHUNK * size).zip(folded.chunks_mut(CHUNK)).enumerate() {
        let (w, w0) = (&mut w[..folded.len()], &mut w0[..folded.len()]);
        dtype.decode(values, w);
        if !prediction.is_empty() {
            let at = n * CHUNK * size;
            dtype.decode(&prediction[at..at + values.len()], w0);
        }
        for (folded, (w, w0)) in folded.iter_mut().zip(w.iter().zip(w0.iter())) {
            let (q, is_used) = steps(*w, *w0, step, most);
            // As an integer: adding `ROUND` puts it in the lowest bits.
            let whole = (q + ROUND).to_bits().wrapping_sub(ROUND.to_bits()) as i64;
            let whole = ((whole << 1) ^ (whole >> 63)) as u64;
            *folded = if is_used { whole } else { UNCHANGED };
        }
    }
}

/// Writes to `out` the values at these folded numbers of steps from their predictions. The bits of
/// values that are [`UNCHANGED`] are arbitrary.
#[inline(always)]
pub fn restore(form: Form, step: f64, folded: &[u64], prediction: &[u8], out: &mut [u8]) {
    let Some(dtype) = form.float() else { return };
    let size = dtype.size();
    let mut w0 = [0.0; CHUNK];
    for (n, (folded, out)) in folded.chunks(CHUNK).zip(out.chunks_mut(CHUNK * size)).enumerate() {
        let w0 = &mut w0[..folded.len()];
        if prediction.is_empty() {
            w0.fill(0.0);
        } else {
            let at = n * CHUNK * size;
            dtype.decode(&prediction[at..at + out.len()], w0);
        }
        for (value, folded) in w0.iter_mut().zip(folded) {
            // Below 2^33, so that it fits into the lowest bits of `ROUND`.
            let q = f64::from_bits(ROUND.to_bits().wrapping_add(Form::unfold(*folded))) - ROUND;
            *value += q * step;
        }
        dtype.encode(w0, out);
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
