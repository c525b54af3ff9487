//! Every weight is addressable alone, every fast path equals the scalar one bit for bit,
//! and blocks never show.

use cdi_core::internal::noise::{block, hash, scalar};
use cdi_prune::init::{
    Distribution, Generator, SchemeParams, gaussian, init_conv_kernel, init_matrix, init_weight,
};
use cdi_prune::tensor::{FloatDtype, Layout, Shape};
use proptest::prelude::*;

fn schemes() -> Vec<SchemeParams> {
    let uniform = Some(Distribution::Uniform);
    vec![
        SchemeParams::named("he"),
        SchemeParams { distribution: uniform, gain: Some(0.7), ..SchemeParams::named("xavier") },
        SchemeParams { zero_mean: Some(true), ..SchemeParams::named("lecun") },
        SchemeParams { zero_mean: Some(true), distribution: uniform, ..SchemeParams::named("he") },
        SchemeParams { d_model: Some(48), ..SchemeParams::named("attention") },
        SchemeParams { mean: Some(0.5), std: Some(0.02), ..SchemeParams::named("normal") },
        SchemeParams { low: Some(-0.1), high: Some(0.3), ..SchemeParams::named("uniform") },
        SchemeParams { value: Some(0.25), ..SchemeParams::named("constant") },
        SchemeParams::named("zeros"),
        SchemeParams::named("ones"),
    ]
}

proptest! {
    #[test]
    fn runs_of_draws_equal_the_scalar_reference(key: u64, j in 0u64..1 << 40, len in 0usize..100) {
        let mut run = vec![0.0; len];
        block::fill_gaussian(key, j, &mut run);
        for (n, x) in run.iter().enumerate() {
            prop_assert_eq!(x.to_bits(), scalar::gaussian_at(key, j + n as u64).to_bits());
        }
        block::fill_uniform(key, j, &mut run);
        for (n, x) in run.iter().enumerate() {
            prop_assert_eq!(x.to_bits(), scalar::uniform_at(key, j + n as u64).to_bits());
        }
    }

    #[test]
    fn any_run_of_elements_equals_the_elements_alone(
        seed: u64,
        layer: u64,
        dims in prop::collection::vec(1usize..8, 0..5),
        scheme in prop::sample::select(schemes()),
        from in 0.0..1.0f64,
        to in 0.0..1.0f64,
    ) {
        let shape = Shape::new(dims).unwrap();
        let generator = Generator::new(seed, layer, &scheme.scheme().unwrap(), &shape, Layout::OutIn);
        let n = shape.elements() as f64;
        let (start, end) = ((from.min(to) * n) as usize, (from.max(to) * n) as usize);
        let mut run = vec![0.0; end - start];
        generator.fill(start, &mut run);
        let cols = shape.matrix().cols;
        for (at, x) in (start..end).zip(&run) {
            let alone = generator.weight_at(at / cols, at % cols);
            prop_assert_eq!(x.to_bits(), alone.to_bits(), "{} of {}", at, shape);
        }
    }
}

#[test]
fn values_do_not_depend_on_the_shape() {
    let normal = SchemeParams { std: Some(0.02), ..SchemeParams::named("normal") }.scheme().unwrap();
    let (small, large) =
        (init_matrix(7, 1, (5, 6), &normal).unwrap(), init_matrix(7, 1, (9, 11), &normal).unwrap());
    for ((i, j), w) in small.indexed_iter() {
        assert_eq!(w.to_bits(), large[[i, j]].to_bits());
    }
}

#[test]
fn the_functions_of_the_method_agree() {
    let he = SchemeParams::named("he").scheme().unwrap();
    let matrix = init_matrix(42, 0, (256, 784), &he).unwrap();
    // `first` of the vectors' first tensor.
    assert_eq!(matrix[[0, 0]].to_bits(), (-0.035_691_537f32).to_bits());
    assert_eq!(matrix[[17, 300]], init_weight(42, 0, (17, 300), &[256, 784], &he).unwrap());
    let std = (2.0 / 784.0f64).sqrt();
    assert_eq!(matrix[[17, 300]], (std * gaussian(42, 0, 17, 300)) as f32);

    let zero_mean = SchemeParams { zero_mean: Some(true), ..SchemeParams::named("he") }.scheme().unwrap();
    let kernels = init_conv_kernel(42, 10, [8, 2, 3, 3], &zero_mean).unwrap();
    assert_eq!(kernels[[0, 0, 0, 0]].to_bits(), (0.487_732_56f32).to_bits());
    assert_eq!(kernels[[5, 1, 2, 0]], init_weight(42, 10, (5, 15), &[8, 2, 3, 3], &zero_mean).unwrap());
    for kernel in
        kernels.outer_iter().flat_map(|filter| filter.outer_iter().map(|k| k.sum()).collect::<Vec<_>>())
    {
        assert!(kernel.abs() < 1e-6, "a kernel sums to {kernel}");
    }
}

/// Deterministic, so the bounds hold once and for all: five standard errors of the moments' estimates.
#[test]
fn moments_are_those_of_the_distributions() {
    let n = 1 << 20;
    let mut draws = vec![0.0; n];
    block::fill_gaussian(hash::row_key(1, 2, 3), 0, &mut draws);
    let moment =
        |p: i32| draws.iter().map(|x| (0..p).fold(1.0, |product, _| product * x)).sum::<f64>() / n as f64;
    assert!(moment(1).abs() < 0.005 && (moment(2) - 1.0).abs() < 0.007, "{} {}", moment(1), moment(2));
    assert!(moment(3).abs() < 0.02 && (moment(4) - 3.0).abs() < 0.05, "{} {}", moment(3), moment(4));
    block::fill_uniform(hash::row_key(1, 2, 3), 0, &mut draws);
    let mean = draws.iter().sum::<f64>() / n as f64;
    let variance = draws.iter().map(|x| (x - 0.5) * (x - 0.5)).sum::<f64>() / n as f64;
    assert!((mean - 0.5).abs() < 0.0015 && (variance - 1.0 / 12.0).abs() < 0.0005, "{mean} {variance}");
}

#[test]
fn both_layouts_take_their_fans_from_the_right_dimensions() {
    let he = SchemeParams::named("he").scheme().unwrap();
    let first = |dims: &[usize], layout| {
        Generator::new(1, 1, &he, &Shape::new(dims.to_vec()).unwrap(), layout).weight_at(0, 0)
    };
    let draw = gaussian(1, 1, 0, 0);
    assert_eq!(first(&[50, 8], Layout::OutIn), (2.0 / 8.0f64).sqrt() * draw);
    assert_eq!(first(&[50, 8], Layout::InOut), (2.0 / 50.0f64).sqrt() * draw);
    assert_eq!(first(&[3, 3, 4, 6], Layout::InOut), (2.0 / 36.0f64).sqrt() * draw);
    assert_eq!(FloatDtype::F32.round(first(&[50, 8], Layout::OutIn)), f64::from(((0.5) * draw) as f32));
}
