//! Initial values that consist of ones and zeros, or that have a fixed number of zeros, element by element.

#[cfg(not(feature = "std"))]
use crate::float::Float;
use crate::noise::{hash, scalar};
use crate::tensor::{Axes, Layout, Shape};

/// Determines an element from its position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Structure {
    /// 1 on the main diagonal.
    Eye,
    Dirac(Dirac),
    Sparse(Sparse),
}

/// A convolution that copies input channels to output channels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Dirac {
    axes: Axes,
    /// Output channels per group.
    group: usize,
}

/// A matrix with the same number of zeros in each column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sparse {
    rows: u64,
    zeros: u64,
    std: f64,
}

impl Structure {
    pub fn sparse(shape: &Shape, sparsity: f64, std: f64) -> Self {
        let rows = shape.matrix().rows as u64;
        Self::Sparse(Sparse { rows, zeros: (sparsity * rows as f64).ceil() as u64, std })
    }

    pub fn dirac(shape: &Shape, layout: Layout, groups: u64) -> Self {
        let axes = Axes::new(shape, layout);
        let group = axes.outputs / usize::try_from(groups).unwrap_or(usize::MAX).max(1);
        Self::Dirac(Dirac { axes, group })
    }

    /// The weight at row `i`, column `j` of a matrix with `cols` columns.
    pub fn weight(&self, layer_key: u64, i: usize, j: usize, cols: usize) -> f64 {
        match self {
            Self::Eye => f64::from(i == j),
            Self::Dirac(dirac) => dirac.weight(i * cols + j),
            Self::Sparse(sparse) => sparse.weight(layer_key, i as u64, j as u64),
        }
    }
}

impl Dirac {
    fn weight(&self, n: usize) -> f64 {
        // The outputs of a group are consecutive.
        let [_, output, input, place] = self.axes.split(n);
        f64::from(place == self.axes.middle[1] && output % self.group == input)
    }
}

impl Sparse {
    fn weight(&self, layer_key: u64, i: u64, j: u64) -> f64 {
        // The keys of the columns' permutations come from a row number that no tensor reaches.
        let shuffles = hash::hash64(layer_key ^ u64::MAX);
        if shuffled(hash::hash64(shuffles ^ j), i, self.rows) < self.zeros {
            return 0.0;
        }
        self.std * scalar::gaussian_at(hash::hash64(layer_key ^ i), j)
    }
}

/// Position of `n` in a pseudorandom permutation of `0 … len - 1` with this key, computed without the others:
/// a Feistel network of six rounds over the smallest even power of two that is at least `len`, applied again
/// while the result is `len` or more (Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA
/// 2002, the cycle-walking cipher).
fn shuffled(key: u64, n: u64, len: u64) -> u64 {
    let half = (u64::BITS - (len - 1).leading_zeros()).div_ceil(2);
    let mask = (1u64 << half) - 1;
    let mut n = n;
    loop {
        let (mut left, mut right) = (n >> half, n & mask);
        for round in 0..6 {
            let f = hash::draw(key, round << 32 | right) & mask;
            (left, right) = (right, left ^ f);
        }
        n = left << half | right;
        if n < len {
            return n;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::*;

    #[test]
    fn shuffles_are_permutations_in_which_every_place_is_as_likely() {
        for len in [1, 2, 3, 7, 64, 100, 1000] {
            let mut places: Vec<u64> = (0..len).map(|n| shuffled(5, n, len)).collect();
            places.sort_unstable();
            assert!(places.iter().copied().eq(0..len), "{len}");
        }
        // 10,000 shuffles of ten: where 3 goes. Nine degrees of freedom, the 99.9 % point of
        // chi-squared is 27.9.
        let mut counts = [0.0; 10];
        for key in 0..10_000 {
            counts[shuffled(hash::hash64(key), 3, 10) as usize] += 1.0;
        }
        let chi: f64 = counts.iter().map(|n| (n - 1000.0) * (n - 1000.0) / 1000.0).sum();
        assert!(chi < 27.9, "{counts:?}");
    }
}
