//! Every copy of every kernel that this processor can run gives the same bits: those of one value at a time.

use cdi_core::internal::dispatch::InstructionSet;
use cdi_core::internal::init::Fill;
use cdi_core::internal::noise::block::{Gaussians, Uniforms};
use cdi_core::internal::tensor::{Decode, Encode, Round};
use cdi_prune::analysis::{Comparison, DeltaStats, Gathering, Moments, Tally, Threshold};
use cdi_prune::init::{Generator, SchemeParams};
use cdi_prune::noise::{gaussian_at, uniform_at};
use cdi_prune::tensor::{FloatDtype, Layout, Shape};
use proptest::prelude::*;

const DTYPES: [FloatDtype; 4] = [FloatDtype::F64, FloatDtype::F32, FloatDtype::F16, FloatDtype::Bf16];

fn bits(xs: &[f64]) -> Vec<u64> {
    xs.iter().map(|x| x.to_bits()).collect()
}

/// Reals of every kind: any bits at all, the narrower types' range, and what lies at their edges.
fn real() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        any::<u32>().prop_map(|b| f64::from(f32::from_bits(b))),
        -70000.0..70000.0f64,
        -1e-4..1e-4f64,
        Just(0.0),
        Just(-0.0),
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(65519.99),
        Just(65520.0),
        Just(f64::from(f32::from_bits(1)) * 0.5),
    ]
}

fn threshold() -> impl Strategy<Value = Threshold> {
    prop_oneof![
        Just(Threshold::Absolute(0.0)),
        (0.0..2.0f64).prop_map(Threshold::Absolute),
        (0.0..2.0f64).prop_map(Threshold::Relative),
        (0..5u64).prop_map(Threshold::Ulps),
        Just(Threshold::Nothing),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn draws_equal_the_scalar_reference(
        key: u64,
        j in any::<u64>().prop_map(|j| j >> 12),
        len in 0..700usize,
    ) {
        let gaussians: Vec<f64> = (0..len as u64).map(|n| gaussian_at(key, j + n)).collect();
        let uniforms: Vec<f64> = (0..len as u64).map(|n| uniform_at(key, j + n)).collect();
        for set in InstructionSet::available() {
            let mut out = vec![f64::NAN; len];
            set.run(Gaussians { key, j0: j, out: &mut out });
            prop_assert_eq!(bits(&out), bits(&gaussians), "{:?}", set);
            set.run(Uniforms { key, j0: j, out: &mut out });
            prop_assert_eq!(bits(&out), bits(&uniforms), "{:?}", set);
        }
    }

    #[test]
    fn weights_equal_each_weight_alone(
        seed: u64,
        layer: u64,
        mode in prop_oneof![
            Just("he"),
            Just("{mode: uniform, low: -0.25, high: 0.5}"),
            Just("{mode: normal, mean: 0.125, std: 2}"),
            Just("{mode: he, zero_mean: true}"),
            Just("{mode: constant, value: 0.1}"),
        ],
        dims in prop_oneof![
            (1..40usize, 1..30usize).prop_map(|(rows, cols)| vec![rows, cols]),
            (1..4usize, 100..400usize).prop_map(|(rows, cols)| vec![rows, cols]),
            (1..8usize, 1..5usize).prop_map(|(out, channels)| vec![out, channels, 3, 3]),
        ],
        from in 0.0..1.0f64,
        len in 0.0..1.0f64,
    ) {
        let params: SchemeParams = match mode.starts_with('{') {
            true => serde_yaml::from_str(mode).unwrap(),
            false => SchemeParams::named(mode),
        };
        let shape = Shape::new(dims).unwrap();
        let generator = Generator::new(seed, layer, &params.scheme().unwrap(), &shape, Layout::OutIn);
        let start = (from * shape.elements() as f64) as usize;
        let len = (len * (shape.elements() - start) as f64) as usize;
        let cols = generator.matrix().cols;
        let expected: Vec<f64> =
            (start..start + len).map(|n| generator.weight_at(n / cols, n % cols)).collect();
        for set in InstructionSet::available() {
            let mut out = vec![f64::NAN; len];
            set.run(Fill { generator: &generator, start, out: &mut out });
            prop_assert_eq!(bits(&out), bits(&expected), "{:?}", set);
        }
    }

    #[test]
    fn types_are_converted_alike(xs in prop::collection::vec(real(), 0..200)) {
        for dtype in DTYPES {
            let rounded: Vec<f64> = xs.iter().map(|x| dtype.round(*x)).collect();
            let mut stored = vec![0; xs.len() * dtype.size()];
            InstructionSet::PORTABLE.run(Encode { dtype, xs: &xs, out: &mut stored });
            for set in InstructionSet::available() {
                let mut out = xs.clone();
                set.run(Round { dtype, xs: &mut out });
                prop_assert_eq!(bits(&out), bits(&rounded), "{:?} {}", set, dtype);
                let mut bytes = vec![0xAA; stored.len()];
                set.run(Encode { dtype, xs: &xs, out: &mut bytes });
                prop_assert_eq!(&bytes, &stored, "{:?} {}", set, dtype);
                let mut back = vec![1.0; xs.len()];
                set.run(Decode { dtype, bytes: &bytes, out: &mut back });
                prop_assert_eq!(bits(&back), bits(&rounded), "{:?} {}", set, dtype);
            }
        }
    }

    #[test]
    fn comparisons_equal_one_weight_at_a_time(
        pairs in prop::collection::vec(prop_oneof![
            6 => (-2.0..2.0f64, Just(0u8)),
            3 => (-2.0..2.0f64, 1..4u8),
            1 => (real(), Just(4u8)),
        ], 0..400),
        finite: bool,
        threshold in threshold(),
        decay in prop_oneof![Just(1.0), 0.5..1.5f64],
        cut in 0..50usize,
    ) {
        for dtype in DTYPES {
            let initial = |x: f64| dtype.round(if finite && !x.is_finite() { 0.5 } else { x });
            let initial: Vec<f64> = pairs.iter().map(|(x, _)| initial(*x)).collect();
            let trained: Vec<f64> = initial.iter().zip(&pairs).map(|(w0, (_, kind))| match kind {
                0 => *w0,
                1 => dtype.round(w0 * decay),
                2 => dtype.round(w0 + 0.3),
                3 => -w0,
                _ => if finite { 0.0 } else { f64::NAN },
            }).collect();
            let by = Comparison::new(threshold, decay, dtype);
            let (expected, flags) = one_at_a_time(&trained, &initial, threshold, decay, dtype);
            let mut stored = vec![0; trained.len() * dtype.size()];
            dtype.encode(&trained, &mut stored);
            for set in InstructionSet::available() {
                let mut tally = Tally::default();
                let mut changed = vec![0xFF; trained.len().div_ceil(8)];
                let mut starts = initial.clone();
                // In two pieces, the first of any multiple of a piece's unit.
                let cut = (cut * Tally::PIECE).min(trained.len() / Tally::PIECE * Tally::PIECE);
                let (first, second) = stored.split_at(cut * dtype.size());
                tally.add_on(set, &by, first, &mut starts[..cut], &mut changed[..cut / 8]);
                tally.add_on(set, &by, second, &mut starts[cut..], &mut changed[cut / 8..]);
                prop_assert_eq!(tally.stats(), expected, "{:?} {}", set, dtype);
                let found: Vec<bool> =
                    (0..trained.len()).map(|n| changed[n / 8] >> (n % 8) & 1 == 1).collect();
                prop_assert_eq!(&found, &flags, "{:?} {}", set, dtype);
                // What norms, angles and quantiles are read from.
                let all_finite = tally.is_finite();
                let mut gathering = Gathering::default();
                gathering.add_on(set, dtype, &stored[..cut * dtype.size()], &starts[..cut], all_finite);
                gathering.add_on(set, dtype, &stored[cut * dtype.size()..], &starts[cut..], all_finite);
                prop_assert_eq!(gathering.moments(), moments(&trained, &starts), "{:?} {}", set, dtype);
                let mut portable = Gathering::default();
                portable.add_on(InstructionSet::PORTABLE, dtype, &stored, &starts, false);
                let spreads = [&gathering, &portable].map(|g| g.counts.spread(f64::MAX));
                prop_assert_eq!(&spreads[0], &spreads[1], "{:?} {}", set, dtype);
                let histogram = &spreads[0].histogram;
                let inside = histogram.counts.iter().sum::<u64>();
                let counted = histogram.zero + histogram.below + histogram.above + inside;
                prop_assert_eq!(counted, expected.finite);
            }
        }
    }
}

/// Sums over finite deltas in eight lanes; `initial` has the decay factor on it.
fn moments(trained: &[f64], initial: &[f64]) -> Moments {
    let mut lanes = [[0.0; 8]; 5];
    for (n, (w, w0)) in trained.iter().zip(initial).enumerate() {
        let (w, w0) = if (w - w0).abs() < f64::INFINITY { (*w, *w0) } else { (0.0, 0.0) };
        for (sum, x) in lanes.iter_mut().zip([w, w * w, w0, w0 * w0, w * w0]) {
            sum[n % 8] += x;
        }
    }
    let [sum, sum_squares, initial_sum, initial_sum_squares, dot] =
        lanes.map(|lanes| lanes.iter().fold(0.0, |sum, x| sum + x));
    Moments { sum, sum_squares, initial_sum, initial_sum_squares, dot }
}

/// The definition: counts, and sums in eight lanes, element `n` in lane `n % 8`.
fn one_at_a_time(
    trained: &[f64],
    initial: &[f64],
    threshold: Threshold,
    decay: f64,
    dtype: FloatDtype,
) -> (DeltaStats, Vec<bool>) {
    let mut stats = DeltaStats::default();
    let mut lanes = [[0.0; 8]; 3];
    let mut flags = Vec::new();
    for (n, (w, w0)) in trained.iter().zip(initial).enumerate() {
        let w0 = if decay == 1.0 { *w0 } else { w0 * decay };
        let d = (w - w0).abs();
        let changed = match threshold {
            Threshold::Absolute(limit) => d.is_nan() || d > limit,
            Threshold::Relative(x) => d.is_nan() || (x * w0.abs()).is_nan() || d > x * w0.abs(),
            Threshold::Ulps(ulps) => dtype.ulps_between(*w, dtype.round(w0)) > ulps,
            Threshold::Nothing => true,
        };
        flags.push(changed);
        stats.total += 1;
        stats.changed += u64::from(changed);
        stats.zeros += u64::from(*w == 0.0);
        stats.not_finite += u64::from(!w.is_finite());
        stats.nan += u64::from(w.is_nan());
        if d.is_finite() {
            stats.finite += 1;
            stats.changed_finite += u64::from(changed);
            lanes[0][n % 8] += d;
            lanes[1][n % 8] += d * d;
            lanes[2][n % 8] += if changed { d } else { 0.0 };
            stats.max = stats.max.max(d);
        }
    }
    [stats.sum, stats.sum_squares, stats.sum_changed] =
        lanes.map(|lanes| lanes.iter().fold(0.0, |sum, x| sum + x));
    (stats, flags)
}
