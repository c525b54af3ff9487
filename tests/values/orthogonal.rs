//! Orthogonal tensors: how orthogonal they are, how they are distributed, and that nothing but seed, layer
//! and shape decides their bits.

use cdi_prune::init::{Generator, SchemeParams, Whole};
use cdi_prune::tensor::{FloatDtype, Layout, Role, Roles, Shape};
use cdi_prune::workers::Threads;
use sha2::{Digest, Sha256};

fn generator(layer: u64, mode: &str, dims: &[usize], layout: Layout) -> Generator {
    let scheme = SchemeParams::named(mode).scheme().unwrap();
    let shape = Shape::new(dims.to_vec()).unwrap();
    scheme.check_shape(&shape, layout).unwrap();
    Generator::new(42, layer, &scheme, &shape, layout)
}

fn weights(layer: u64, mode: &str, dims: &[usize], layout: Layout) -> Vec<f64> {
    let mut weights = vec![0.0; dims.iter().product()];
    generator(layer, mode, dims, layout).fill(0, &mut weights);
    weights
}

/// The largest difference of the shorter side's inner products from 0 and 1.
fn departure(matrix: &[f64], rows: usize, cols: usize) -> f64 {
    let (lines, len) = (rows.min(cols), rows.max(cols));
    let at = |line: usize, n: usize| matrix[if rows <= cols { line * cols + n } else { n * cols + line }];
    let mut worst = 0f64;
    for a in 0..lines {
        for b in 0..=a {
            let product: f64 = (0..len).map(|n| at(a, n) * at(b, n)).sum();
            worst = worst.max((product - if a == b { 1.0 } else { 0.0 }).abs());
        }
    }
    worst
}

#[test]
fn the_shorter_side_is_orthonormal() {
    // Around the sizes of blocks (32), panels (64) and tiles (4 by 8), and larger than all.
    for (rows, cols) in [(1, 1), (1, 7), (7, 1), (3, 3), (31, 33), (64, 64), (65, 130), (200, 67), (300, 300)]
    {
        for layout in [Layout::OutIn, Layout::InOut] {
            let mut matrix = weights(3, "orthogonal", &[rows, cols], layout);
            let f64s = departure(&matrix, rows, cols);
            assert!(f64s < 1e-14, "{rows}x{cols}: {f64s:e}");
            FloatDtype::F32.round_slice(&mut matrix);
            let f32s = departure(&matrix, rows, cols);
            assert!(f32s < 1e-6, "{rows}x{cols}: {f32s:e}");
        }
    }
    // A convolution is `[out, rest]`, in the other layout `[rest, out]`.
    let kernels = weights(3, "orthogonal", &[20, 3, 3, 3], Layout::OutIn);
    assert!(departure(&kernels, 20, 27) < 1e-14);
    let kernels = weights(3, "orthogonal", &[3, 3, 3, 20], Layout::InOut);
    assert!(departure(&kernels, 27, 20) < 1e-14);
}

#[test]
fn values_equal_an_independent_program_s() {
    // Seed 42, layer 3: Python 3.11 with integers, `math` and one reflection after the other on
    // the whole unit matrix.
    let tall = weights(3, "orthogonal", &[90, 70], Layout::OutIn);
    for (i, j, expected) in [
        (0, 0, 0.007370293508492942),
        (45, 33, 0.014542123007489697),
        (89, 69, -0.062439200265275205),
        (12, 66, 0.03896158319215595),
    ] {
        let got = tall[i * 70 + j];
        assert!((got - expected).abs() < 1e-14, "({i}, {j}): {got} {expected}");
    }
    let small = weights(3, "orthogonal", &[8, 5], Layout::OutIn);
    for (i, j, expected) in
        [(0, 0, 0.022522952096936777), (7, 4, -0.8839601599385095), (3, 2, 0.1132084602893415)]
    {
        assert!((small[i * 5 + j] - expected).abs() < 1e-14, "({i}, {j})");
    }
    // A wide matrix is the tall one turned over, in either layout.
    let wide = weights(3, "orthogonal", &[70, 90], Layout::InOut);
    for (n, value) in wide.iter().enumerate() {
        assert_eq!(value.to_bits(), tall[n % 90 * 70 + n / 90].to_bits(), "{n}");
    }
}

/// SHA-256 of the elements' bytes, little-endian.
fn digest(weights: &[f64]) -> String {
    let bytes: Vec<u8> = weights.iter().flat_map(|w| w.to_le_bytes()).collect();
    Sha256::digest(bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn bits_are_pinned_on_any_number_of_threads() {
    // This crate's own, from x86-64.
    for (dims, expected) in
        [([130, 130], "e917466dc8f6bba3"), ([200, 67], "270fc0da76bc24cc"), ([67, 200], "878b3071516508c2")]
    {
        assert_eq!(digest(&weights(3, "orthogonal", &dims, Layout::OutIn)), expected, "{dims:?}");
        for threads in [1, 2, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let generator = generator(3, "orthogonal", &dims, Layout::OutIn);
            pool.install(|| generator.whole().unwrap().prepare_on(&Threads));
            let mut weights = vec![0.0; dims.iter().product()];
            generator.fill(0, &mut weights);
            assert_eq!(digest(&weights), expected, "{dims:?} on {threads} threads");
        }
    }
}

#[test]
fn elements_and_runs_equal_the_whole() {
    for (mode, dims, layout) in [
        ("orthogonal", &[90, 70][..], Layout::OutIn),
        ("orthogonal", &[20, 5, 3, 3], Layout::OutIn),
        ("orthogonal", &[3, 3, 5, 20], Layout::InOut),
        ("delta_orthogonal", &[20, 5, 3, 3], Layout::OutIn),
        ("delta_orthogonal", &[3, 4, 5, 20], Layout::InOut),
    ] {
        let whole = weights(5, mode, dims, layout);
        let generator = generator(5, mode, dims, layout);
        let cols = generator.matrix().cols;
        for (n, value) in whole.iter().enumerate() {
            assert_eq!(generator.weight_at(n / cols, n % cols).to_bits(), value.to_bits(), "{mode} {dims:?}");
        }
        for start in [0, 1, 69, 70, 333] {
            let mut run = vec![f64::NAN; 200];
            generator.fill(start, &mut run);
            assert_eq!(run, whole[start..start + 200], "{mode} {dims:?}");
            // Made again when they are asked for.
            generator.whole().into_iter().for_each(Whole::release);
        }
    }
}

#[test]
fn delta_orthogonal_kernels_are_an_orthonormal_matrix_in_their_middle() {
    // `jax.nn.initializers.delta_orthogonal` has it at `(k - 1) // 2`: (1, 1) of 3 by 4.
    let kernels = weights(5, "delta_orthogonal", &[20, 6, 3, 4], Layout::OutIn);
    let turned = weights(5, "delta_orthogonal", &[3, 4, 6, 20], Layout::InOut);
    let middle: Vec<f64> = kernels.chunks(12).map(|kernel| kernel[5]).collect();
    assert!(departure(&middle, 20, 6) < 1e-14);
    assert_eq!(kernels.iter().filter(|w| **w != 0.0).count(), 120);
    let (start, len) = (5 * 120, 120);
    assert!(departure(&turned[start..start + len], 6, 20) < 1e-14);
    assert_eq!(turned.iter().filter(|w| **w != 0.0).count(), 120);
}

/// The Kolmogorov-Smirnov distance of a sample from a distribution on [-1, 1], times the
/// square root of its size.
fn distance(mut sample: Vec<f64>, below: impl Fn(f64) -> f64) -> f64 {
    sample.sort_by(f64::total_cmp);
    let n = sample.len() as f64;
    let gaps = sample.iter().enumerate().map(|(i, x)| {
        let p = below(*x);
        (p - i as f64 / n).abs().max(((i + 1) as f64 / n - p).abs())
    });
    gaps.fold(0.0, f64::max) * n.sqrt()
}

#[test]
fn matrices_are_uniformly_distributed() {
    // Every row and column of a uniformly distributed rotation or reflection of space is uniform on the
    // sphere, so each entry is uniform on [-1, 1] (Archimedes), and so is each entry of a product with a
    // fixed one. Half of them turn space over.
    const N: u64 = 4000;
    let matrices: Vec<Vec<f64>> =
        (0..N).map(|layer| weights(layer, "orthogonal", &[3, 3], Layout::OutIn)).collect();
    for entry in 0..9 {
        let d = distance(matrices.iter().map(|m| m[entry]).collect(), |x| f64::midpoint(x, 1.0));
        // The 99.99 % point of Kolmogorov's distribution is 2.23.
        assert!(d < 2.23, "entry {entry}: {d}");
    }
    let turned = |m: &Vec<f64>| 0.6 * m[1] + 0.8 * m[7];
    assert!(distance(matrices.iter().map(turned).collect(), |x| f64::midpoint(x, 1.0)) < 2.23);
    let determinant = |m: &&Vec<f64>| {
        m[0] * (m[4] * m[8] - m[5] * m[7]) - m[1] * (m[3] * m[8] - m[5] * m[6])
            + m[2] * (m[3] * m[7] - m[4] * m[6])
    };
    let positive = matrices.iter().filter(|m| determinant(m) > 0.0).count() as f64;
    // Four standard deviations of a binomial distribution.
    assert!((positive - N as f64 / 2.0).abs() < 4.0 * (N as f64).sqrt() / 2.0, "{positive}");
    // The trace of a uniformly distributed matrix has mean 0 and variance 1: a decomposition that leaves R's
    // signs as they come fails this.
    let traces: Vec<f64> = matrices.iter().map(|m| m[0] + m[4] + m[8]).collect();
    let mean = traces.iter().sum::<f64>() / N as f64;
    let variance = traces.iter().map(|t| t * t).sum::<f64>() / N as f64;
    assert!(mean.abs() < 4.0 / (N as f64).sqrt(), "{mean}");
    assert!((variance - 1.0).abs() < 0.1, "{variance}");
}

#[test]
fn layers_are_independent() {
    let (a, b) = (
        weights(0, "orthogonal", &[100, 100], Layout::OutIn),
        weights(1, "orthogonal", &[100, 100], Layout::OutIn),
    );
    // Ten thousand products of entries of variance 1/100 each: 4 standard deviations.
    let correlation: f64 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
    assert!(correlation.abs() < 4.0, "{correlation}");
    let transposed: f64 = (0..10_000).map(|n| a[n] * b[n % 100 * 100 + n / 100]).sum();
    assert!(transposed.abs() < 4.0, "{transposed}");
}

/// Each expert has a matrix of its own, and a matrix is `[out, rest]` wherever its outputs are stored.
#[test]
fn roles_say_which_matrix_is_orthogonal() {
    let roles = |list: &[Role]| Layout::Roles(Roles::new(list).unwrap());
    let (expert, out, inp, kernel) = (Role::Expert, Role::Out, Role::In, Role::Kernel);
    let experts = weights(3, "orthogonal", &[3, 8, 5], roles(&[expert, out, inp]));
    for one in experts.chunks(40) {
        assert!(departure(one, 8, 5) < 1e-14);
    }
    assert!(experts[..40] != experts[40..80]);
    // The same experts with their inputs first are others, but as orthogonal.
    for one in weights(3, "orthogonal", &[2, 5, 8], roles(&[expert, inp, out])).chunks(40) {
        assert!(departure(one, 5, 8) < 1e-14);
    }
    // `[in, out, k, k]`, turned into the `[out, in * k * k]` that it stands for: the same as
    // stored in that order.
    let turned = weights(3, "orthogonal", &[3, 20, 2, 3], roles(&[inp, out, kernel, kernel]));
    let plain = weights(3, "orthogonal", &[20, 3, 2, 3], Layout::OutIn);
    for (n, weight) in turned.iter().enumerate() {
        let (i, o, k) = (n / 120, n / 6 % 20, n % 6);
        assert_eq!(*weight, plain[o * 18 + i * 6 + k]);
    }
    let turned = weights(5, "delta_orthogonal", &[6, 3, 4, 20], roles(&[inp, kernel, kernel, out]));
    let plain = weights(5, "delta_orthogonal", &[20, 6, 3, 4], Layout::OutIn);
    for (n, weight) in turned.iter().enumerate() {
        let (i, k, o) = (n / 240, n / 20 % 12, n % 20);
        assert_eq!(*weight, plain[o * 72 + i * 12 + k]);
    }
}
