//! Units (neurons, filters) that can be removed from a chain of layers, and the constants
//! that remain of them.
//!
//! A layer computes `act(W x + b)`. A unit is *silent* if its row of `W` is zero: for every input, its output
//! is `act(b)`. A unit is *unread* if its column in the weight of the next layer is zero: its output has no
//! effect. An unread unit can simply be removed. A silent unit can be removed if its constant output is 0, or
//! if that constant, multiplied by its column, is added to the bias of the next layer.

/// Activation between two layers of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `max(0, x)`.
    Relu,
    /// The identity.
    Identity,
    /// A function with `f(0) = 0` whose other values differ between frameworks: gelu, silu, tanh.
    ZeroAtZero,
}

impl Activation {
    /// Names in configs, in the order of the documentation.
    pub const WORDS: [(&'static str, Self); 5] = [
        ("relu", Self::Relu),
        ("identity", Self::Identity),
        ("gelu", Self::ZeroAtZero),
        ("silu", Self::ZeroAtZero),
        ("tanh", Self::ZeroAtZero),
    ];

    /// The value of the function at a constant, if it is known exactly.
    fn of(self, x: f64) -> Option<f64> {
        match self {
            _ if x == 0.0 => Some(0.0),
            Self::Relu => Some(if x > 0.0 { x } else { 0.0 }).filter(|_| !x.is_nan()),
            Self::Identity => Some(x),
            Self::ZeroAtZero => None,
        }
        .filter(|x| x.is_finite())
    }
}

/// The units between a layer and the next one of its chain. All slices have one entry per unit.
#[derive(Clone, Copy, Debug)]
pub struct Joint<'a> {
    /// Whether the row of the unit is zero.
    pub silent: &'a [bool],
    /// Whether the columns of the unit in the next layer are zero.
    pub unread: &'a [bool],
    /// Output of the unit before the activation, if it is silent.
    pub bias: &'a [f64],
    /// The activation after the layer; `None` if it is unknown, or depends on more than the unit, such as a
    /// normalisation.
    pub activation: Option<Activation>,
    /// Whether constants can be added to the bias of the next layer: it has one, and every output reads
    /// each unit exactly once.
    pub foldable: bool,
}

/// Decision about the units.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Units {
    /// Units that stay, in ascending order; at least one if there are any.
    pub kept: Vec<usize>,
    /// Units that are removed, with a constant to be added to the bias of the next layer, in ascending order.
    pub folded: Vec<(usize, f64)>,
}

impl Joint<'_> {
    /// Finds the units that can be removed.
    pub fn units(&self) -> Units {
        let mut units = Units::default();
        for unit in 0..self.silent.len() {
            let constant = self.activation.and_then(|f| f.of(self.bias[unit])).filter(|_| self.silent[unit]);
            match constant {
                _ if self.unread[unit] => {}
                Some(0.0) => {}
                Some(x) if self.foldable => units.folded.push((unit, x)),
                _ => units.kept.push(unit),
            }
        }
        if units.kept.is_empty() && !self.silent.is_empty() {
            // Frameworks do not support layers without units, so one stays, with its zeros.
            units.kept.push(0);
            units.folded.retain(|(unit, _)| *unit != 0);
        }
        units
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joint<'a>(silent: &'a [bool], unread: &'a [bool], bias: &'a [f64]) -> Joint<'a> {
        Joint { silent, unread, bias, activation: Some(Activation::Relu), foldable: true }
    }

    const SILENT: [bool; 5] = [true, true, false, false, true];
    const UNREAD: [bool; 5] = [false, false, true, false, true];
    const BIAS: [f64; 5] = [-1.0, 2.0, 3.0, 4.0, 5.0];

    #[test]
    fn unread_units_go_and_silent_ones_leave_what_they_give() {
        let units = joint(&SILENT, &UNREAD, &BIAS).units();
        assert_eq!(units, Units { kept: vec![3], folded: vec![(1, 2.0)] });
        let linear = Joint { activation: Some(Activation::Identity), ..joint(&SILENT, &UNREAD, &BIAS) };
        assert_eq!(linear.units(), Units { kept: vec![3], folded: vec![(0, -1.0), (1, 2.0)] });
    }

    #[test]
    fn what_cannot_be_folded_exactly_stays() {
        let whole = joint(&SILENT, &UNREAD, &BIAS);
        assert_eq!(Joint { foldable: false, ..whole }.units().kept, [1, 3]);
        assert_eq!(Joint { activation: Some(Activation::ZeroAtZero), ..whole }.units().kept, [0, 1, 3]);
        assert_eq!(Joint { activation: None, ..whole }.units().kept, [0, 1, 3]);
        let bias = [0.0, -0.0, f64::NAN, 4.0, f64::INFINITY];
        let unread = [false; 5];
        let tanh = Joint { activation: Some(Activation::ZeroAtZero), ..joint(&SILENT, &unread, &bias) };
        assert_eq!(tanh.units(), Units { kept: vec![2, 3, 4], folded: vec![] });
        assert_eq!(joint(&[true; 2], &[false; 2], &[f64::NAN, f64::INFINITY]).units().kept, [0, 1]);
    }

    #[test]
    fn one_unit_stays() {
        let units = joint(&[true; 3], &[false; 3], &[1.0, 2.0, 0.0]).units();
        assert_eq!(units, Units { kept: vec![0], folded: vec![(1, 2.0)] });
        assert_eq!(joint(&[], &[], &[]).units(), Units::default());
    }
}
