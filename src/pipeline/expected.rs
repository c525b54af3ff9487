//! Estimates the sizes of coded tensors before any is coded.

use super::error::Error;
use super::pack::{ToCode, choices};
use super::plan::Codes;
use super::team::{Team, names};
use crate::sparse::Fill;

/// The estimate for each tensor that may be coded, by its index in name order.
pub(super) struct Expected(Vec<Option<Tensor>>);

struct Tensor {
    elements: f64,
    /// Bits per kept value, from a sample without pruning.
    bits: f64,
    /// Bytes that do not depend on the values.
    fixed: f64,
    /// Bits per pruned element that select its fill value.
    fill: f64,
    prediction: Option<f64>,
    /// Whether it is pruned. If not, all its values are kept, whatever the masks say.
    pruned: bool,
}

impl Expected {
    /// Estimates for these tensors out of `of` tensors.
    pub fn new(tensors: &[ToCode<'_>], of: usize, team: &Team) -> Result<Self, Error> {
        // Tables; then, per block, the states of 8 lanes and the length.
        const HEAD: f64 = 128.0;
        const BLOCK: f64 = 36.0;
        let whole: Vec<ToCode<'_>> = tensors.iter().map(|tensor| tensor.unpruned()).collect();
        let mut all: Vec<Option<Tensor>> = (0..of).map(|_| None).collect();
        let chosen = team.share(names::EXPECT, &whole, |tensor| tensor.name(), choices)?;
        for (tensor, (choice, bits)) in tensors.iter().zip(chosen) {
            all[tensor.n()] = Some(Tensor {
                elements: tensor.shape().elements() as f64,
                bits,
                fixed: HEAD + BLOCK * tensor.blocks().count() as f64,
                fill: if tensor.fill() == Some(Fill::Nearest) { 1.0 } else { 0.0 },
                prediction: choice.prediction(),
                pruned: tensor.fill().is_some(),
            });
        }
        Ok(Self(all))
    }
}

impl Codes for Expected {
    /// Assumes that the kept values are at random positions.
    fn of(&self, n: usize, _: &str, stored: usize) -> Option<(u64, Option<f64>)> {
        let Tensor { elements, bits, fixed, fill, prediction, pruned } = *self.0.get(n)?.as_ref()?;
        let kept = if pruned { stored as f64 } else { elements };
        let pruned = elements - kept;
        let surprise = |n: f64| if n > 0.0 { n * libm::log2(elements / n) } else { 0.0 };
        let bits = kept * bits + pruned * fill + surprise(kept) + surprise(pruned);
        Some(((fixed + bits / 8.0) as u64, prediction))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_costs_its_entropy() {
        let tensor = |pruned| Tensor {
            elements: 8000.0,
            bits: 24.0,
            fixed: 100.0,
            fill: 1.0,
            prediction: Some(0.5),
            pruned,
        };
        let expected = Expected(vec![None, Some(tensor(true)), Some(tensor(false))]);
        // Nothing pruned: 3 bytes per value. Half pruned: one bit of mask and half a bit of fill per element.
        // Everything pruned: only the fill.
        let bytes = [8000, 4000, 0].map(|stored| expected.of(1, "", stored).unwrap().0);
        assert_eq!(bytes, [24_100, 13_600, 1_100]);
        assert_eq!(expected.of(1, "", 8000).unwrap().1, Some(0.5));
        // A kept tensor has no mask that could say how many of its values are kept.
        assert_eq!(expected.of(2, "", 0).unwrap().0, 24_100);
        assert!(expected.of(0, "", 0).is_none() && expected.of(3, "", 0).is_none());
    }
}
