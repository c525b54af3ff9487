//! Whether a checkpoint started from the initial values at hand at all.
//!
//! Weights that started elsewhere have no more to do with these values than chance makes: with `n` weights,
//! the cosine of both, each less its mean, is then normal with variance `1 / n`, whatever the weights are.
//! Training from the values, even a long one with decay, leaves more of them than that in some tensor, or in
//! all of them together.

/// Standard deviations that chance allows a cosine.
const CHANCE: f64 = 3.0;
/// Standard deviations beyond which it is no chance any more, in a large tensor.
const BEYOND_CHANCE: f64 = 5.0;
/// What small tensors need beyond that, times their weights: the tails of few weights are heavier
/// than the normal ones.
const FEW_WEIGHTS: f64 = 100.0;
/// A cosine that chance may make as large as this tells nothing by being small: so few weights may
/// have been moved far.
const BLUNT: f64 = 0.2;
/// Of so many weights that even what is no chance is less than this, a start here leaves more: then it
/// is one or the other.
const SHARP: f64 = 0.05;
/// Fewer weights than this tell nothing at all.
const FEWEST: u64 = 4;
/// Two trained checkpoints may have as much in common as this without one having started from the other.
const ALIKE: f64 = 0.1;

/// What a tensor's initial values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartKind {
    /// Drawn from the seed.
    Drawn,
    /// The same whatever the seed is: zeros, ones, an identity.
    Fixed,
    /// Those of another checkpoint.
    Stored,
}

/// A tensor beside its initial values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StartTensor {
    /// What these are.
    pub kind: StartKind,
    /// Weights that were compared.
    pub weights: u64,
    /// The cosine of both, each less its mean; `None` where either is the same everywhere,
    /// which tells nothing.
    pub cosine: Option<f64>,
}

/// A cosine beside what chance makes of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StartCosine {
    /// The cosine.
    pub cosine: f64,
    /// The weights that it is over.
    pub weights: u64,
    /// The largest that chance makes but once in some hundred times.
    pub chance: f64,
    /// The smallest cosine that is not chance.
    pub significant: f64,
}

impl StartCosine {
    /// With `stored` the share of the weights whose initial values are another checkpoint's.
    fn new(cosine: f64, weights: u64, stored: f64) -> Self {
        let floor = ALIKE * stored;
        let chance = limit(weights, CHANCE).max(floor);
        let significant = limit(weights, BEYOND_CHANCE + FEW_WEIGHTS / weights as f64).max(floor);
        Self { cosine, weights, chance, significant }
    }

    /// Of one tensor whose initial values are drawn.
    pub fn of_tensor(cosine: f64, weights: u64) -> Self {
        Self::new(cosine, weights, 0.0)
    }

    /// Whether the start is told: it was here, or does not seem to have been; `None` where it may be either.
    pub fn here(&self) -> Option<bool> {
        if self.cosine.abs() >= self.significant {
            return Some(true);
        }
        let small = self.cosine < self.chance && limit(self.weights, CHANCE) <= BLUNT;
        let sharp = limit(self.weights, BEYOND_CHANCE) <= SHARP;
        (small || sharp).then_some(false)
    }
}

/// The cosine at so many standard deviations, by Student's t. (No function but a root, whose bits are
/// the same everywhere.)
fn limit(weights: u64, t: f64) -> f64 {
    t / (weights.max(FEWEST) as f64 - 2.0 + t * t).sqrt()
}

/// What is told of a checkpoint's start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StartFound {
    /// Of each tensor; `None` where it tells nothing.
    pub tensors: Vec<Option<StartCosine>>,
    /// Of all tensors together that tell something of seed, layer ids or base, or, where that is clearer, of
    /// the one with this number; `None` where there is no such tensor.
    pub whole: Option<(StartCosine, Option<usize>)>,
}

/// Judges tensors one by one and all together. The mean of the cosines, by numbers of weights, is over all
/// weights what each is over its own; one tensor that is beyond chance tells as well, unless its values are
/// another checkpoint's.
pub fn started_here(tensors: &[StartTensor]) -> StartFound {
    let one = |tensor: &StartTensor| {
        let stored = f64::from(u8::from(tensor.kind == StartKind::Stored));
        // Of two or three weights the cosine is near 1 whatever they are.
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
