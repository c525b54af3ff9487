//! Whether a checkpoint started from the given initial values.
//!
//! If it did not, its weights are independent of these values: for `n` weights, the cosine of both,
//! after each mean is subtracted, is then normal with variance `1 / n`, whatever the weights are. If it
//! did, the cosine is larger than that in some tensor, or in all tensors together, even after long
//! training with decay.

/// Standard deviations of a cosine that can still be chance.
const CHANCE: f64 = 3.0;
/// Standard deviations beyond which a cosine cannot be chance, in a large tensor.
const BEYOND_CHANCE: f64 = 5.0;
/// Additional standard deviations for small tensors, times their number of weights: with few weights, the
/// tails are heavier than those of the normal distribution.
const FEW_WEIGHTS: f64 = 100.0;
/// If chance can reach a cosine as large as this, a small cosine is no evidence: so few weights may have been
/// moved far.
const BLUNT: f64 = 0.2;
/// With so many weights that even the smallest cosine beyond chance is less than this, a start here leaves a
/// larger one. Then the question is always decided.
const SHARP: f64 = 0.05;
/// Tensors with fewer weights than this are no evidence.
const FEWEST: u64 = 4;
/// Two trained checkpoints can have a cosine as large as this without one having started from the other.
const ALIKE: f64 = 0.1;

/// Kind of a tensor's initial values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartKind {
    /// Drawn from the seed.
    Drawn,
    /// Independent of the seed: zeros, ones, an identity.
    Fixed,
    /// Values of another checkpoint.
    Stored,
}

/// A tensor compared with its initial values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StartTensor {
    /// Kind of the initial values.
    pub kind: StartKind,
    /// Number of weights compared.
    pub weights: u64,
    /// The cosine of both after each mean is subtracted; `None` if either is constant.
    pub cosine: Option<f64>,
}

/// A cosine, and the cosines that chance can give.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StartCosine {
    /// The cosine.
    pub cosine: f64,
    /// Number of weights.
    pub weights: u64,
    /// The largest cosine that chance gives, except about once in a hundred times.
    pub chance: f64,
    /// The smallest cosine that is not chance.
    pub significant: f64,
}

impl StartCosine {
    /// `stored` is the share of the weights whose initial values come from another checkpoint.
    fn new(cosine: f64, weights: u64, stored: f64) -> Self {
        let floor = ALIKE * stored;
        let chance = limit(weights, CHANCE).max(floor);
        let significant = limit(weights, BEYOND_CHANCE + FEW_WEIGHTS / weights as f64).max(floor);
        Self { cosine, weights, chance, significant }
    }

    /// For one tensor whose initial values are drawn.
    pub fn of_tensor(cosine: f64, weights: u64) -> Self {
        Self::new(cosine, weights, 0.0)
    }

    /// Whether the checkpoint started here, as far as this shows; `None` if it may or may not have.
    pub fn here(&self) -> Option<bool> {
        if self.cosine.abs() >= self.significant {
            return Some(true);
        }
        let small = self.cosine < self.chance && limit(self.weights, CHANCE) <= BLUNT;
        let sharp = limit(self.weights, BEYOND_CHANCE) <= SHARP;
        (small || sharp).then_some(false)
    }
}

/// The cosine at this many standard deviations, by Student's t. (Uses no function but the square root, which
/// has the same bits everywhere.)
fn limit(weights: u64, t: f64) -> f64 {
    t / (weights.max(FEWEST) as f64 - 2.0 + t * t).sqrt()
}

/// Findings about the start of a checkpoint.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StartFound {
    /// For each tensor; `None` if it shows nothing.
    pub tensors: Vec<Option<StartCosine>>,
    /// For all tensors together that depend on seed, layer ids or base; or, if that is clearer, for the one
    /// with this index. `None` if there is no such tensor.
    pub whole: Option<(StartCosine, Option<usize>)>,
}

/// Judges tensors one by one and together. The mean of the cosines, weighted by their numbers of weights, is
/// judged like the cosine of a single tensor with all the weights. One tensor beyond chance is also evidence,
/// unless its initial values come from another checkpoint.
pub fn started_here(tensors: &[StartTensor]) -> StartFound {
    let one = |tensor: &StartTensor| {
        let stored = f64::from(u8::from(tensor.kind == StartKind::Stored));
        // The cosine of two or three weights is often near 1 by chance.
        let cosine = tensor.cosine.filter(|_| tensor.weights >= FEWEST)?;
        Some(StartCosine::new(cosine, tensor.weights, stored))
    };
    let singly: Vec<Option<StartCosine>> = tensors.iter().map(one).collect();
    let (mut weights, mut stored, mut sum) = (0, 0, 0.0);
    let mut clearest: Option<(f64, usize)> = None;
    for (n, (tensor, told)) in tensors.iter().zip(&singly).enumerate() {
        let (Some(told), false) = (told, tensor.kind == StartKind::Fixed) else { continue };
        weights += tensor.weights;
        sum += told.cosine * tensor.weights as f64;
        if tensor.kind == StartKind::Stored {
            stored += tensor.weights;
        } else if told.here() == Some(true) {
            let clear = told.cosine.abs() / told.significant;
            if clearest.is_none_or(|(most, _)| clear > most) {
                clearest = Some((clear, n));
            }
        }
    }
    let whole = (weights > 0).then(|| {
        let all = StartCosine::new(sum / weights as f64, weights, stored as f64 / weights as f64);
        let single = clearest.filter(|_| all.here() != Some(true));
        match single.and_then(|(_, n)| Some((singly[n]?, n))) {
            Some((told, n)) => (told, Some(n)),
            None => (all, None),
        }
    });
    StartFound { tensors: singly, whole }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(kind: StartKind, weights: u64, cosine: f64) -> StartTensor {
        StartTensor { kind, weights, cosine: Some(cosine) }
    }

    fn here(tensors: &[StartTensor]) -> (Option<bool>, Option<usize>) {
        let (told, n) = started_here(tensors).whole.unwrap();
        (told.here(), n)
    }

    #[test]
    fn chance_is_three_standard_deviations() {
        let told = StartCosine::new(0.0004, 65_536, 0.0);
        // 3 / sqrt(65,536 - 2 + 9), and 5.0015… likewise
        assert_eq!((told.chance, told.significant), (0.011_718_124_201_361_292, 0.019_533_780_780_020_26));
        assert_eq!(told.here(), Some(false));
        assert_eq!(StartCosine::new(0.015, 65_536, 0.0).here(), Some(false));
        assert_eq!(StartCosine::new(0.02, 65_536, 0.0).here(), Some(true));
        assert_eq!(StartCosine::new(-0.02, 65_536, 0.0).here(), Some(true));
        assert_eq!(StartCosine::new(-0.019, 65_536, 0.0).here(), Some(false));
        // Three to five standard deviations of fewer weights may be either.
        assert_eq!(
            [0.08, 0.1, 0.14, 0.17].map(|x| StartCosine::new(x, 1000, 0.0).here()),
            [Some(false), None, None, Some(true)]
        );
    }

    #[test]
    fn few_weights_tell_by_much_only() {
        assert_eq!(started_here(&[tensor(StartKind::Drawn, 3, 1.0)]).whole, None);
        assert_eq!(here(&[tensor(StartKind::Drawn, 4, 1.0)]), (Some(true), None));
        assert_eq!(StartCosine::new(0.98, 10, 0.0).here(), None);
        assert_eq!(StartCosine::new(0.99, 10, 0.0).here(), Some(true));
        // 3 / sqrt(217 - 2 + 9) is more than 0.2: what chance may make that large is nothing to go by.
        assert_eq!(StartCosine::new(0.0, 217, 0.0).here(), None);
        assert_eq!(StartCosine::new(0.0, 218, 0.0).here(), Some(false));
    }

    #[test]
    fn two_trained_checkpoints_may_be_alike() {
        let million = 1_000_000;
        assert_eq!(here(&[tensor(StartKind::Stored, million, 0.05)]), (Some(false), None));
        assert_eq!(here(&[tensor(StartKind::Stored, million, 0.5)]), (Some(true), None));
        // One of them by itself says nothing of the base.
        let small = tensor(StartKind::Stored, 1000, 0.9);
        assert_eq!(here(&[tensor(StartKind::Stored, million, 0.0), small]), (Some(false), None));
    }

    #[test]
    fn one_tensor_is_enough_and_so_are_all_together() {
        let far = tensor(StartKind::Drawn, 1_000_000, 0.0);
        let near = tensor(StartKind::Drawn, 1000, 0.9);
        assert_eq!(here(&[far, near]), (Some(true), Some(1)));
        // None of a hundred by itself, 4 standard deviations each: all together 40.
        let each = tensor(StartKind::Drawn, 5000, 0.057);
        assert_eq!(here(&[each]), (None, None));
        assert_eq!(here(&[each; 100]), (Some(true), None));
    }

    #[test]
    fn what_no_seed_makes_says_nothing_of_the_seed() {
        assert_eq!(started_here(&[tensor(StartKind::Fixed, 10_000, 1.0)]).whole, None);
        let far = tensor(StartKind::Drawn, 10_000, 0.0);
        assert_eq!(here(&[tensor(StartKind::Fixed, 10_000, 1.0), far]), (Some(false), None));
        let constant = StartTensor { cosine: None, ..far };
        assert_eq!(started_here(&[constant]), StartFound { tensors: vec![None], whole: None });
    }
}
