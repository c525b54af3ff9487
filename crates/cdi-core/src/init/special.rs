//! Probabilities that no elementary formula gives, by the crate `libm`: the same bits on every machine.

#[cfg(not(feature = "std"))]
use crate::float::Float;
use core::f64::consts::FRAC_1_SQRT_2;

/// `P(Z > z)` for a standard normal `Z`. Precise in the far tail too, where `1 - P(Z <= z)` loses all digits.
pub(super) fn normal_above(z: f64) -> f64 {
    0.5 * libm::erfc(z * FRAC_1_SQRT_2)
}

/// `P(a < Z < b)` for a standard normal `Z`, `a <= b`, computed from the smaller tail.
pub(super) fn normal_between(a: f64, b: f64) -> f64 {
    if a > 0.0 { normal_above(a) - normal_above(b) } else { normal_above(-b) - normal_above(-a) }
}

/// `P(X > x)`, `0 <= x <= 1`, for one coordinate `X` of a point that is uniform on the unit sphere in
/// `n >= 2` dimensions. `X²` has the beta distribution of `1/2` and `(n - 1)/2`: Fang, Kotz, Ng, "Symmetric
/// multivariate and related distributions", 1990, section 2.3.
pub(super) fn sphere_above(n: usize, x: f64) -> f64 {
    let square = x * x;
    // Not 1 - x * x: near the pole, the difference of x and 1 is exact.
    0.5 * incomplete_beta((n - 1) as f64 / 2.0, 0.5, (1.0 - x) * (1.0 + x), square)
}

/// The regularized incomplete beta function `I(a, b)` at `x`; `y` is `1 - x`.
fn incomplete_beta(a: f64, b: f64, x: f64, y: f64) -> f64 {
    if x <= 0.0 {
        0.0
    } else if y <= 0.0 {
        1.0
    } else if x > (a + 1.0) / (a + b + 2.0) {
        // Here the fraction converges slowly; for the other tail it converges fast.
        1.0 - beta_fraction(b, a, y, x)
    } else {
        beta_fraction(a, b, x, y)
    }
}

/// The continued fraction of `I(a, b)`: NIST Digital Library of Mathematical Functions,
/// 8.17.22, by Lentz's method.
fn beta_fraction(a: f64, b: f64, x: f64, y: f64) -> f64 {
    const SMALLEST: f64 = 1e-300;
    let not_zero = |x: f64| if x.abs() < SMALLEST { SMALLEST } else { x };
    let mut c = 1.0;
    let mut d = 1.0 / not_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    // Some sqrt(max(a, b)) terms are enough.
    for m in 1..10_000 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut factor = 1.0;
        for term in [even, odd] {
            d = 1.0 / not_zero(1.0 + term * d);
            c = not_zero(1.0 + term / c);
            factor = c * d;
            fraction *= factor;
        }
        if (factor - 1.0).abs() < 1e-15 {
            break;
        }
    }
    let ln_beta = libm::lgamma(a) + libm::lgamma(b) - libm::lgamma(a + b);
    libm::exp(a * libm::log(x) + b * libm::log(y) - ln_beta) / a * fraction
}

/// Mean, variance and fourth central moment of a standard normal distribution truncated to `[a, b]`, `a < b`.
/// By Simpson's rule: the closed formulas lose all digits if the interval is short or far from 0.
pub(super) fn truncated_moments(a: f64, b: f64) -> (f64, f64, f64) {
    const INTERVALS: u32 = 4096;
    if a + b == 0.0 {
        // Exactly 0, where the sum below could differ in its last digit.
        let (_, variance, fourth) = truncated_moments(a, b.next_up());
        return (0.0, variance, fourth);
    }
    if a + b < 0.0 {
        let (mean, variance, fourth) = truncated_moments(-b, -a);
        return (-mean, variance, fourth);
    }
    // From where the density is largest to where it has fallen to exp(-50) of that.
    let top = a.max(0.0);
    let reach = (top * top + 100.0).sqrt();
    let (from, to) = (a.max(-reach), b.min(reach));
    let step = (to - from) / f64::from(INTERVALS);
    let integral = |power: &dyn Fn(f64) -> f64| {
        (0..=INTERVALS).fold(0.0, |sum, n| {
            let weight = if n == 0 || n == INTERVALS { 1.0 } else { f64::from(2 + n % 2 * 2) };
            let from_start = f64::from(n) * step;
            let t = from + from_start;
            sum + weight * libm::exp((top - t) * (top + t) / 2.0) * power(from_start)
        })
    };
    let whole = integral(&|_| 1.0);
    let mean = integral(&|x| x) / whole;
    let moment = |power: &dyn Fn(f64) -> f64| integral(&|x| power((x - mean) * (x - mean))) / whole;
    (from + mean, moment(&|square| square), moment(&|square| square * square))
}

/// Two tail probabilities `(s, t)`: the largest of `m` independent draws is above the quantile with upper
/// tail `s` with probability `p`, and below the quantile with upper tail `t` with probability `p`. `m` need
/// not be a whole number.
pub(super) fn tails_of_largest(m: f64, p: f64) -> (f64, f64) {
    (-libm::expm1(libm::log1p(-p) / m), -libm::expm1(libm::log(p) / m))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(own: f64, expected: f64, relative: f64) {
        assert!((own - expected).abs() <= relative * expected.abs(), "{own:e}, expected {expected:e}");
    }

    #[test]
    fn probabilities_equal_those_of_mpmath() {
        // mpmath 1.4 at 40 digits: `ncdf`, and `betainc(…, regularized=True) / 2`.
        for (z, expected) in
            [(0.5, 0.3085375387259869), (3.0, 0.0013498980316300946), (10.0, 7.619853024160525e-24)]
        {
            close(normal_above(z), expected, 1e-14);
        }
        for (a, b, expected) in
            [(-1.0, 2.0, 0.8185946141203637), (5.0, 6.0, 2.856649842341562e-07), (-40.0, 40.0, 1.0)]
        {
            close(normal_between(a, b), expected, 1e-14);
            close(normal_between(-b, -a), expected, 1e-14);
        }
        for (n, x, expected) in [
            (2, 0.3, 0.4030133159793217),
            (3, 0.3, 0.35),
            (10, 0.5, 0.05865340150711908),
            (64, 0.4, 0.00048115852546085807),
            (64, 0.99, 1.3110450839467305e-55),
            (4096, 0.05, 0.0006837687393491355),
            (4096, 0.2, 1.5544200245944506e-38),
        ] {
            close(sphere_above(n, x), expected, 1e-11);
        }
        assert_eq!((sphere_above(5, 0.0), sphere_above(5, 1.0)), (0.5, 0.0));
    }

    #[test]
    fn moments_equal_those_of_mpmath() {
        // `quad` at 40 digits.
        for (a, b, mean, variance, fourth) in [
            (-2.0, 2.0, 0.0, 0.7737413035499232, 1.4161891248494627),
            (-0.5, 4.0, 0.5089902006275354, 0.485562875643776, 0.7885586008151158),
            (10.0, 11.0, 10.09806837493302, 0.009420771902336495, 0.000740157854459114),
            (0.999, 1.0, 0.9994999167083375, 8.333332639305526e-08, 1.2499999305654723e-14),
            (-40.0, -39.0, -39.02560741993011, 0.0006548827702932775, 3.84643833301171e-06),
            (-1e6, 1e6, 0.0, 1.0, 3.0),
        ] {
            let own = truncated_moments(a, b);
            assert!((own.0 - mean).abs() < 1e-11, "[{a}, {b}]: {own:?}");
            close(own.1, variance, 1e-9);
            close(own.2, fourth, 1e-9);
        }
    }

    #[test]
    fn tails_of_the_largest_are_powers() {
        let (above, below) = tails_of_largest(3.0, 0.25);
        close((1.0 - above) * (1.0 - above) * (1.0 - above), 0.75, 1e-14);
        close((1.0 - below) * (1.0 - below) * (1.0 - below), 0.25, 1e-14);
    }
}
