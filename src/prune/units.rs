//! Units (neurons, filters) that a chain of layers can do without, and the constants that they leave behind.
//!
//! A layer computes `act(W x + b)`. A unit whose row of `W` is all zero is *silent*: whatever comes in, it
//! gives `act(b)`. A unit whose column of the next layer's weight is all zero is *unread*: whatever it gives,
//! nothing comes of it. An unread unit can go as it is; a silent one when the constant that it gives is 0, or
//! is added, times its column, to the next layer's bias.

/// What stands between two layers of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `max(0, x)`.
    Relu,
    /// Nothing.
    Identity,
    /// Any function with `f(0) = 0` whose other values frameworks compute in ways of their
    /// own: gelu, silu, tanh.
    ZeroAtZero,
}

impl Activation {
    /// Words of a config, in the order of the documentation.
    pub const WORDS: [(&'static str, Self); 5] = [
        ("relu", Self::Relu),
        ("identity", Self::Identity),
        ("gelu", Self::ZeroAtZero),
        ("silu", Self::ZeroAtZero),
        ("tanh", Self::ZeroAtZero),
    ];

    /// The function of a constant, where it can be told exactly.
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

/// The units between a layer and the next one of its chain. All slices have one entry a unit.
#[derive(Clone, Copy, Debug)]
pub struct Joint<'a> {
    /// Whether the unit's row is all zero.
    pub silent: &'a [bool],
    /// Whether the unit's columns in the next layer are all zero.
    pub unread: &'a [bool],
    /// What the unit gives before the activation, if it is silent.
    pub bias: &'a [f64],
    /// What comes after the layer; `None` where it is not a function of the unit alone that is known here,
    /// such as a normalisation.
    pub activation: Option<Activation>,
    /// Whether constants can be added to the next layer's bias exactly: it has one, and every
    /// output reads a unit once.
    pub foldable: bool,
}

/// What becomes of the units.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Units {
    /// Those that stay, ascending; one at least, where there is any.
    pub kept: Vec<usize>,
    /// Those that go and leave a constant to be added to the next layer's bias, ascending.
    pub folded: Vec<(usize, f64)>,
}

impl Joint<'_> {
    /// Finds the units that can go.
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
            // Frameworks have no layers without units: one stays, with the zeros that it has.
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
