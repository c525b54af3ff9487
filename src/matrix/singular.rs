//! The largest and smallest singular value of a matrix, and its deviation from orthonormality. The
//! code uses binary64 with only `+ - * /` and `sqrt`, and a fixed order of every sum, so every
//! machine gets the same bits.

use rayon::prelude::*;

/// The largest number of elements of a matrix for which singular values are computed. This takes some
/// seconds.
pub const MOST_ELEMENTS: usize = 1 << 20;

/// The extreme singular values of a matrix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SingularValues {
    /// The largest.
    pub largest: f64,
    /// The smallest of the `min(rows, columns)` singular values.
    pub smallest: f64,
    /// Below this, the smallest cannot be distinguished from 0, because of rounding errors.
    noise: f64,
}

impl SingularValues {
    /// The ratio of largest to smallest; `None` if the smallest cannot be distinguished from 0.
    pub fn condition_number(&self) -> Option<f64> {
        (self.smallest > self.noise).then(|| self.largest / self.smallest)
    }
}

/// The extreme singular values; `None` if an element is not finite or there are no elements.
///
/// Golub and Kahan, "Calculating the singular values and pseudo-inverse of a matrix", SIAM Journal on
/// Numerical Analysis 2 (1965): reflections from both sides make the matrix bidiagonal. Its elements are
/// then the off-diagonal of a symmetric tridiagonal matrix with a zero diagonal, whose eigenvalues are
/// the singular values and their negatives. Bisection with Sturm counts finds them: Demmel, Kahan,
/// "Accurate singular values of bidiagonal matrices", SIAM Journal on Scientific and Statistical
/// Computing 11 (1990), section 4.
pub(super) fn singular_values(matrix: &[f64], (rows, cols): (usize, usize)) -> Option<SingularValues> {
    let scale = matrix.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    if matrix.is_empty() || !matrix.iter().all(|x| x.is_finite()) {
        return None;
    }
    if scale == 0.0 {
        return Some(SingularValues { largest: 0.0, smallest: 0.0, noise: 0.0 });
    }
    // Columns run along the longer side. Elements are divided by the largest magnitude, so that their squares
    // neither underflow nor overflow.
    let (long, short) = (rows.max(cols), rows.min(cols));
    let columns = (0..short).map(|c| {
        let at = |r: usize| matrix[if rows >= cols { r * cols + c } else { c * cols + r }] / scale;
        (0..long).map(at).collect()
    });
    let beside = bidiagonal(columns.collect());
    // By Gershgorin's theorem, no eigenvalue is larger than the largest row sum.
    let bound = (0..=beside.len())
        .map(|n| {
            let before = if n > 0 { beside[n - 1].abs() } else { 0.0 };
            before + beside.get(n).map_or(0.0, |x| x.abs())
        })
        .fold(0.0, f64::max)
        * (1.0 + 1e-14);
    let largest = bisect(&beside, bound, short);
    Some(SingularValues {
        largest: largest * scale,
        smallest: bisect(&beside, bound, 1) * scale,
        noise: largest * scale * long as f64 * f64::EPSILON,
    })
}

/// Reduces a matrix to bidiagonal form. The matrix is given by its columns, and has at least as many rows as
/// columns. Returns the diagonal and superdiagonal elements alternately.
fn bidiagonal(mut columns: Vec<Vec<f64>>) -> Vec<f64> {
    let (short, long) = (columns.len(), columns[0].len());
    let mut beside = Vec::with_capacity(2 * short - 1);
    let mut row = vec![0.0; short];
    let mut products = vec![0.0; long];
    for k in 0..short {
        let (done, rest) = columns.split_at_mut(k + 1);
        let reflector = &mut done[k][k..];
        let (diagonal, factor) = reflect(reflector);
        beside.push(diagonal);
        rest.par_iter_mut().for_each(|column| {
            let column = &mut column[k..];
            let product = column.iter().zip(&*reflector).fold(0.0, |sum, (x, v)| sum + x * v);
            subtract(column, reflector, factor * product);
        });
        if rest.is_empty() {
            break;
        }
        let row = &mut row[k + 1..];
        for (x, column) in row.iter_mut().zip(&*rest) {
            *x = column[k];
        }
        let (superdiagonal, factor) = reflect(row);
        beside.push(superdiagonal);
        let products = &mut products[k + 1..];
        products.fill(0.0);
        for (v, column) in row.iter().zip(&*rest) {
            subtract(products, &column[k + 1..], -v);
        }
        rest.par_iter_mut().zip(&*row).for_each(|(column, v)| {
            subtract(&mut column[k + 1..], products, factor * v);
        });
    }
    beside
}

/// Replaces a vector by that of the reflection which maps it to the first axis. Returns the first element of
/// the result, and the factor `2 / v²`.
fn reflect(x: &mut [f64]) -> (f64, f64) {
    let length = x.iter().fold(0.0, |sum, x| sum + x * x).sqrt();
    if length == 0.0 {
        return (0.0, 0.0);
    }
    // The sign opposite to the first element avoids cancellation.
    let left = if x[0] > 0.0 { -length } else { length };
    let factor = 1.0 / (length * (length + x[0].abs()));
    x[0] -= left;
    (left, factor)
}

fn subtract(from: &mut [f64], what: &[f64], times: f64) {
    for (x, y) in from.iter_mut().zip(what) {
        *x -= times * y;
    }
}

/// The `n`-th smallest singular value, counted from 1, of the bidiagonal matrix.
fn bisect(beside: &[f64], bound: f64, n: usize) -> f64 {
    // Half of the tridiagonal matrix's eigenvalues are negative.
    let n = n + beside.len().div_ceil(2);
    let (mut low, mut high) = (0.0, bound);
    for _ in 0..200 {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high {
            break;
        }
        if below(beside, middle) >= n {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

/// Number of eigenvalues below `x` of the symmetric tridiagonal matrix with a zero diagonal.
fn below(beside: &[f64], x: f64) -> usize {
    let mut pivot = -x;
    let mut count = usize::from(pivot < 0.0);
    for b in beside {
        // A pivot of 0 is replaced by a tiny one, which moves an eigenvalue by less than its rounding error.
        let divisor = if pivot.abs() < f64::MIN_POSITIVE { -f64::MIN_POSITIVE } else { pivot };
        pivot = -x - b * b / divisor;
        count += usize::from(pivot < 0.0);
    }
    count
}

/// The largest deviation of the inner products of rows, or of columns if there are fewer: from `square` for a
/// vector with itself, and from 0 for two vectors.
pub(super) fn departure_from_orthonormal(matrix: &[f64], (rows, cols): (usize, usize), square: f64) -> f64 {
    let (lines, len) = (rows.min(cols), rows.max(cols));
    let at = |line: usize, n: usize| matrix[if rows <= cols { line * cols + n } else { n * cols + line }];
    let lines: Vec<Vec<f64>> = (0..lines).map(|line| (0..len).map(|n| at(line, n)).collect()).collect();
    let of_line = |(n, a): (usize, &Vec<f64>)| {
        lines[..=n].iter().enumerate().fold(0.0, |most: f64, (m, b)| {
            let product = a.iter().zip(b).fold(0.0, |sum, (x, y)| sum + x * y);
            most.max((product - if m == n { square } else { 0.0 }).abs())
        })
    };
    lines.par_iter().enumerate().map(of_line).reduce(|| 0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(rows: i32, cols: i32) -> Vec<f64> {
        let element = |n| {
            let (i, j) = (n / cols, n % cols);
            f64::from((i * 7 + j * 13 + i * j * 5) % 17 - 8) / 4.0
        };
        (0..rows * cols).map(element).collect()
    }

    fn close(own: f64, expected: f64, allowed: f64) {
        assert!((own - expected).abs() <= allowed, "{own:e}, expected {expected:e}");
    }

    #[test]
    fn values_equal_those_of_mpmath() {
        // From mpmath 1.4 with 40 digits, `svd_r`.
        for (rows, cols, largest, smallest) in [
            (1, 1, 2.0, 2.0),
            (1, 5, 3.0413812651491097, 3.0413812651491097),
            (5, 1, 2.806243040080456, 2.806243040080456),
            (4, 6, 4.24789588158, 0.5604845497556178),
            (9, 20, 7.888826929540827, 2.4481957343494245),
        ] {
            let own = singular_values(&sample(rows, cols), (rows as usize, cols as usize)).unwrap();
            close(own.largest, largest, 1e-14);
            close(own.smallest, smallest, 1e-14);
            assert_eq!(own.condition_number(), Some(own.largest / own.smallest));
        }
    }

    #[test]
    fn singular_matrices_have_no_condition_number() {
        // According to mpmath, the smallest singular values of these are 0, except for the last, where it is
        // 1.07e-16 and the largest is 1.8.
        for (rows, cols, largest) in
            [(3, 3, 3.062281464950811), (6, 4, 4.189958837842402), (12, 12, 6.664382081254978)]
        {
            let own = singular_values(&sample(rows, cols), (rows as usize, cols as usize)).unwrap();
            close(own.largest, largest, 1e-14);
            assert_eq!(own.condition_number(), None);
        }
        assert_eq!(hilbert(12).condition_number(), None);
        let zeros = singular_values(&[0.0; 6], (2, 3)).unwrap();
        assert_eq!((zeros.largest, zeros.condition_number()), (0.0, None));
    }

    fn hilbert(n: u32) -> SingularValues {
        let elements: Vec<f64> = (0..n * n).map(|e| 1.0 / f64::from(e / n + e % n + 1)).collect();
        singular_values(&elements, (n as usize, n as usize)).unwrap()
    }

    #[test]
    fn ill_conditioned_matrices() {
        // Errors are relative to the largest value.
        close(hilbert(4).smallest, 9.670230402260018e-05, 1e-15);
        close(hilbert(8).smallest, 1.1115389694888083e-10, 1e-15);
        close(hilbert(8).largest, 1.6959389969219494, 1e-14);
        close(hilbert(8).condition_number().unwrap(), 1.5257575e10, 1e5);
    }

    #[test]
    fn the_size_of_elements_does_not_matter() {
        let plain = singular_values(&sample(4, 6), (4, 6)).unwrap().condition_number().unwrap();
        for scale in [1e-300, 1e300] {
            let scaled: Vec<f64> = sample(4, 6).iter().map(|x| x * scale).collect();
            let own = singular_values(&scaled, (4, 6)).unwrap().condition_number().unwrap();
            close(own / plain, 1.0, 1e-13);
        }
        assert_eq!(singular_values(&[1.0, f64::INFINITY], (1, 2)), None);
        assert_eq!(singular_values(&[], (0, 2)), None);
    }

    #[test]
    fn departures_are_of_the_shorter_side() {
        // The squared norms of the rows (3, 4, 0) and (0, 0, 5.05) are 25 and 25.5025.
        let wide = [3.0, 4.0, 0.0, 0.0, 0.0, 5.05];
        close(departure_from_orthonormal(&wide, (2, 3), 25.0), 0.5025, 1e-12);
        let tall = [3.0, 0.0, 4.0, 0.25, 0.0, 5.0];
        // The columns are (3, 4, 0) and (0, 0.25, 5); their inner product is 1.
        close(departure_from_orthonormal(&tall, (3, 2), 25.0), 1.0, 1e-12);
    }
}
