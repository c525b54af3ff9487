//! The exact distributions against SciPy, and the marks that they lead to: rare on healthy
//! matrices, there on others.

use cdi_core::internal::init::ExactDistribution;
use cdi_prune::init::{Scheme, SchemeParams};
use cdi_prune::matrix::{Subject, summarise};
use cdi_prune::tensor::{FloatDtype, Layout, Shape};

fn scheme(text: &str) -> Scheme {
    let params =
        if text.starts_with('{') { serde_yaml::from_str(text).unwrap() } else { SchemeParams::named(text) };
    params.scheme().unwrap()
}

fn exact(text: &str, dims: &[usize]) -> Option<ExactDistribution> {
    ExactDistribution::of(&scheme(text), &Shape::new(dims.to_vec()).unwrap(), Layout::OutIn)
}

#[track_caller]
fn close(own: f64, expected: f64) {
    assert!((own - expected).abs() <= 1e-11 * expected.abs().max(1e-3), "{own:?}, expected {expected:?}");
}

/// Mode and shape; mean, standard deviation, and standard deviation of the latter for 1000 weights;
/// `P(<= x)` for some x.
type Case<'a> = (&'a str, &'a [usize], [f64; 3], &'a [(f64, f64)]);

#[test]
fn moments_and_probabilities_equal_those_of_scipy() {
    // SciPy 1.16: `norm`, `uniform`, `truncnorm`, and for orthogonal modes `beta` with both parameters (n -
    // 1)/2; shares of zeros are ceil(0.33 · 50)/50 and 8/9 of 3 by 3 kernels; kernels less their mean have
    // 8/9 of the variance.
    let cases: [Case<'_>; 10] = [
        (
            "he",
            &[50, 20],
            [0.0, 0.31622776601683794, 0.007071067811865475],
            &[(-0.7, 0.013428347753762199), (0.1, 0.6240851829770754), (0.5, 0.9430768509966709)],
        ),
        (
            "glorot_uniform",
            &[50, 20],
            [0.0, 0.16903085094570333, 0.0023904572186687874],
            &[(-0.2, 0.15843497446801338), (0.0, 0.5), (0.25, 0.9269562819149831)],
        ),
        (
            "he_normal",
            &[50, 20],
            [0.0, 0.31622776601683794, 0.005842809078537586],
            &[(-0.6, 0.02599403363548153), (0.1, 0.6147784710019372)],
        ),
        (
            "{mode: trunc_normal, mean: 1, std: 0.5, low: 0.75, high: 3}",
            &[50, 20],
            [1.2544951003137677, 0.3484117089176884, 0.008435217739266648],
            &[(0.8, 0.052124840523824024), (1.0, 0.27690762985128603), (2.0, 0.9671428275485262)],
        ),
        (
            "{mode: sparse, sparsity: 0.33}",
            &[50, 20],
            [0.0, 0.00812403840463596, 0.00022360679774997898],
            &[
                (-0.01, 0.10471246759476166),
                (-1e-9, 0.32999997366980943),
                (0.0, 0.67),
                (0.02, 0.9849849129142016),
            ],
        ),
        (
            "{mode: normal, mean: 3, std: 2, depth: 8}",
            &[50, 20],
            [3.0, 0.5, 0.011180339887498949],
            &[(2.0, 0.022750131948179195)],
        ),
        (
            "{mode: orthogonal, gain: -1.5}",
            &[50, 20],
            [0.0, 0.21213203435596426, 0.004604554601361903],
            &[(-0.3, 0.07969302598730822), (0.1, 0.6789662216191097), (0.6, 0.9981826480748306)],
        ),
        (
            "{mode: delta_orthogonal, gain: 1.5}",
            &[20, 6, 3, 3],
            [0.0, 0.11180339887498952, 0.006969902829634389],
            &[(-0.3, 0.021373568357302915), (0.0, 0.9444444444444444), (0.6, 0.9959783319015414)],
        ),
        (
            "{mode: he, zero_mean: true}",
            &[20, 6, 3, 3],
            [0.0, 0.18144368465060579, 0.004303314829119352],
            &[(0.1, 0.7092294987842523)],
        ),
        // A coordinate on the sphere of three dimensions is uniform.
        ("orthogonal", &[2, 3], [0.0, 0.5773502691896257, 0.00816496580927726], &[(0.5, 0.75), (-0.5, 0.25)]),
    ];
    for (text, dims, [mean, std, error], points) in cases {
        let own = exact(text, dims).unwrap();
        close(own.mean(), mean);
        close(own.std(), std);
        close(own.error_of_std(1000.0), error);
        close(own.error_of_mean(100.0), std / 10.0);
        for (x, up_to) in points {
            close(own.below(*x).1, *up_to);
            close(own.probability(-1e9, *x), *up_to);
        }
        let zeros = own.below(0.0).1 - own.below(0.0).0;
        close(zeros, own.zeros());
        close(own.probability(0.0, 0.0), zeros);
    }
}

#[test]
fn extremes_equal_those_of_scipy() {
    // Of 1000 weights, at 5e-5: `ppf` and `isf` of 1 - (1 - p)^(1/n) and 1 - p^(1/n), `n`
    // without the fixed zeros.
    for (text, min, max) in [
        ("he", (-1.6844565595954295, -0.737391898092553), (0.737391898092553, 1.6844565595954295)),
        (
            "glorot_uniform",
            (-0.29276999260682657, -0.2869997534024262),
            (0.2869997534024263, 0.2927699926068265),
        ),
        ("he_normal", (-0.7190050046467557, -0.6650820218340276), (0.6650820218340276, 0.7190050046467555)),
        (
            "{mode: trunc_normal, mean: 1, std: 0.5, low: 0.75, high: 3}",
            (0.7500000490994134, 0.7596309425463161),
            (2.232636318238608, 2.99987090153514),
        ),
        (
            "{mode: sparse, sparsity: 0.33}",
            (-0.052507040738846954, -0.021729174381017062),
            (0.021729174381017062, 0.052507040738846954),
        ),
        (
            "{mode: normal, mean: 3, std: 2, depth: 8}",
            (0.3366403260336437, 1.8340810369363807),
            (4.1659189630636195, 5.663359673966356),
        ),
    ] {
        let own = exact(text, &[50, 20]).unwrap().extremes(1000.0, 5e-5).unwrap();
        for (own, expected) in own.into_iter().zip([min, max]) {
            close(own.0, expected.0);
            close(own.1, expected.1);
        }
    }
    assert_eq!(exact("orthogonal", &[50, 20]).unwrap().extremes(1000.0, 5e-5), None);
    // One of two weights is 0 by the scheme: the smallest is no larger.
    let sparse = exact("{mode: sparse, sparsity: 0.5}", &[2, 1]).unwrap();
    let [min, max] = sparse.extremes(2.0, 5e-5).unwrap();
    assert_eq!((min.1, max.0), (0.0, 0.0));
}

#[test]
fn fixed_weights_have_no_distribution() {
    for text in ["zeros", "ones", "{mode: constant, value: 2}", "eye", "{mode: he, gain: 0}"] {
        assert_eq!(exact(text, &[5, 5]), None, "{text}");
    }
    assert_eq!(exact("dirac", &[4, 4, 3]), None);
    assert_eq!(exact("{mode: sparse, sparsity: 1}", &[5, 5]), None);
    assert_eq!(exact("{mode: normal, std: 0}", &[5, 5]), None);
    assert_eq!(exact("orthogonal", &[1, 1]), None);
    // Uniform kernels less their mean: no formula.
    assert_eq!(exact("{mode: uniform, zero_mean: true}", &[4, 4, 3]), None);
    assert!(exact("{mode: uniform, zero_mean: true}", &[4, 4]).is_some());
}

#[test]
fn layouts_differ_where_fans_do() {
    let shape = Shape::new(vec![3, 3, 6, 20]).unwrap();
    let std = |text: &str| ExactDistribution::of(&scheme(text), &shape, Layout::InOut).unwrap().std();
    // sqrt(2 / 54), 1 / sqrt(54) for 54 by 20, and sqrt(1 / (9 * 20)).
    close(std("he"), 0.19245008972987526);
    close(std("orthogonal"), 0.13608276348795434);
    close(std("delta_orthogonal"), 0.07453559924999299);
}

fn off(text: &str, dims: &[usize], seed: u64, dtype: FloatDtype) -> Vec<&'static str> {
    let shape = Shape::new(dims.to_vec()).unwrap();
    let subject = Subject::new((seed, 5), scheme(text), (shape, Layout::OutIn), dtype).unwrap();
    let checks = summarise(&subject).checks;
    checks.iter().filter(|check| check.ok == Some(false)).map(|check| check.statistic.name()).collect()
}

#[test]
fn healthy_matrices_are_rarely_off() {
    let mut count = 0;
    for text in [
        "he",
        "glorot_uniform",
        "lecun_normal",
        "{mode: trunc_normal, mean: 1, std: 0.5, low: 0.75, high: 3}",
        "{mode: sparse, sparsity: 0.4}",
        "orthogonal",
    ] {
        for seed in 0..100 {
            count += usize::from(!off(text, &[40, 30], seed, FloatDtype::F32).is_empty());
            count += usize::from(!off(text, &[5, 3], seed, FloatDtype::Bf16).is_empty());
        }
    }
    for seed in 0..100 {
        for text in ["{mode: he, zero_mean: true}", "delta_orthogonal"] {
            count += usize::from(!off(text, &[16, 8, 3, 3], seed, FloatDtype::F16).is_empty());
        }
    }
    // Of 1400; less than one in a thousand is to be expected.
    assert!(count <= 3, "{count}");
}

#[test]
fn what_is_not_as_it_should_be_is_off() {
    // More than the largest binary16, 65504.
    let overflow = off("{mode: normal, std: 1e5}", &[40, 30], 1, FloatDtype::F16);
    assert_eq!(overflow, ["std", "min", "max", "not finite"]);
    // All round to one number of a binary32 or its neighbour, 7.45e-9 apart.
    let coarse = off("{mode: normal, mean: 0.1, std: 1e-10}", &[40, 30], 1, FloatDtype::F32);
    assert_eq!(coarse, ["mean", "std"]);
    assert!(off("{mode: normal, mean: 0.1, std: 1e-10}", &[40, 30], 1, FloatDtype::F64).is_empty());
}
