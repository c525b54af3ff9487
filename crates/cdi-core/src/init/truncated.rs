//! The truncated normal distribution: one uniform draw per weight, through the inverse of the distribution
//! function.
//!
//! Source of the inverse: Wichura, "Algorithm AS 241: the percentage points of the normal distribution",
//! Applied Statistics 37 (1988), routine PPND16, about 1e-16 relative. It uses this crate's own
//! logarithm, and computes every rational function for each argument before it selects one, so that the
//! compiler can vectorise loops over it.

#[cfg(not(feature = "std"))]
use crate::float::Float;
use crate::noise::math::ln;

const CENTRE: [[f64; 8]; 2] = [
    [
        3.3871328727963665,
        133.14166789178438,
        1971.5909503065513,
        13731.69376550946,
        45921.95393154987,
        67265.7709270087,
        33430.57558358813,
        2509.0809287301227,
    ],
    [
        1.0,
        42.31333070160091,
        687.1870074920579,
        5394.196021424751,
        21213.794301586597,
        39307.89580009271,
        28729.085735721943,
        5226.495278852546,
    ],
];
const TAIL: [[f64; 8]; 2] = [
    [
        1.4234371107496835,
        4.630337846156546,
        5.769497221460691,
        3.6478483247632045,
        1.2704582524523684,
        0.2417807251774506,
        0.022723844989269184,
        0.0007745450142783414,
    ],
    [
        1.0,
        2.053191626637759,
        1.6763848301838038,
        0.6897673349851,
        0.14810397642748008,
        0.015198666563616457,
        0.0005475938084995345,
        1.0507500716444169e-9,
    ],
];
const FAR_TAIL: [[f64; 8]; 2] = [
    [
        6.657904643501103,
        5.463784911164114,
        1.7848265399172913,
        0.29656057182850487,
        0.026532189526576124,
        0.0012426609473880784,
        2.7115555687434876e-5,
        2.0103343992922881e-7,
    ],
    [
        1.0,
        0.599832206555888,
        0.1369298809227358,
        0.014875361290850615,
        0.0007868691311456133,
        1.8463183175100548e-5,
        1.421511758316446e-7,
        2.0442631033899397e-15,
    ],
];

#[inline(always)]
fn rational(c: &[[f64; 8]; 2], x: f64) -> f64 {
    let (mut p, mut q) = (c[0][7], c[1][7]);
    let mut n = 7;
    while n > 0 {
        n -= 1;
        p = p * x + c[0][n];
        q = q * x + c[1][n];
    }
    p / q
}

/// The quantile of the standard normal distribution at `0 < p < 1`.
#[inline(always)]
pub(super) fn quantile(p: f64) -> f64 {
    let q = p - 0.5;
    let centre = q * rational(&CENTRE, 0.180625 - q * q);
    let less = if q < 0.0 { p } else { 1.0 - p };
    let r = (-ln(if less > f64::MIN_POSITIVE { less } else { f64::MIN_POSITIVE })).sqrt();
    let near = rational(&TAIL, r - 1.6);
    let far = rational(&FAR_TAIL, r - 5.0);
    let tail = if r <= 5.0 { near } else { far };
    let tail = if q < 0.0 { -tail } else { tail };
    if q.abs() <= 0.425 { centre } else { tail }
}

/// A normal distribution with this mean and standard deviation, truncated to `[low, high]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Truncated {
    mean: f64,
    std: f64,
    low: f64,
    high: f64,
    /// `std`; negative if the whole interval is above the mean.
    scale: f64,
    /// Probabilities, in the distribution before truncation, of a value below `low` and of one in the
    /// interval. If `scale` is negative, those of the mirrored distribution, and `between` is negative.
    below: f64,
    between: f64,
}

impl Truncated {
    pub fn new(mean: f64, std: f64, low: f64, high: f64) -> Self {
        // Far above the mean, probabilities are close to 1, where binary64 has few distinct values. Therefore
        // the mirrored distribution is drawn there.
        let scale = if low > mean { -std } else { std };
        let below = cumulative((low - mean) / scale);
        let between = cumulative((high - mean) / scale) - below;
        Self { mean, std, low, high, scale, below, between }
    }

    /// Mean and standard deviation before truncation, and the ends of the interval.
    pub fn parameters(&self) -> (f64, f64, f64, f64) {
        (self.mean, self.std, self.low, self.high)
    }

    /// The weight of a uniform draw in `[0, 1)`:
    /// `mean + scale * quantile(below + between * u)`, clamped to the interval.
    #[inline(always)]
    pub fn weight(&self, u: f64) -> f64 {
        let x = self.mean + self.scale * quantile(self.below + self.between * u);
        let x = if x < self.low { self.low } else { x };
        if x > self.high { self.high } else { x }
    }
}

/// The distribution function of the standard normal distribution, from the complementary error function of
/// the crate `libm`, which has the same bits on every machine, unlike the platform's.
fn cumulative(x: f64) -> f64 {
    0.5 * libm::erfc(-x * core::f64::consts::FRAC_1_SQRT_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_far_tails_are_drawn_alike() {
        for (low, high) in [(9.0, 10.0), (2.0, 3.0), (37.0, 38.0)] {
            let (above, below) = (Truncated::new(0.0, 1.0, low, high), Truncated::new(0.0, 1.0, -high, -low));
            let mut last = low;
            for n in 0..1000 {
                let u = f64::from(n) / 1000.0;
                let x = above.weight(u);
                assert!((low..high).contains(&x) && x >= last, "{x} after {last}");
                last = x;
            }
            // The median from either side.
            assert!((above.weight(0.5) + below.weight(0.5)).abs() < 1e-9 * low, "{low}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_published_algorithm() {
        // Python 3.11, statistics.NormalDist().inv_cdf, which is AS 241 too, with the platform's logarithm.
        for (p, x) in QUANTILES {
            let own = quantile(p);
            assert!((own - x).abs() <= 2e-15 * x.abs(), "{p}: {own} for {x}");
        }
        assert_eq!(quantile(0.5), 0.0);
    }

    const QUANTILES: [(f64, f64); 18] = [
        (1e-300, -37.0470962993612),
        (1e-40, -13.310921371425172),
        (1e-12, -7.034483825301132),
        (1e-06, -4.753424308822899),
        (0.001, -3.090232306167813),
        (0.02275, -2.000002443899604),
        (0.05, -1.6448536269514726),
        (0.074, -1.4466320671589785),
        (0.075, -1.4395314709384557),
        (0.076, -1.4325027208258114),
        (0.25, -0.6744897501960817),
        (0.4999, -0.0002506628300880075),
        (0.6, 0.2533471031357998),
        (0.925, 1.439531470938456),
        (0.926, 1.4466320671589785),
        (0.97725, 2.0000024438996027),
        (0.999, 3.090232306167813),
        (0.999999, 4.753424308817089),
    ];
}
