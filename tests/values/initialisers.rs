//! Every initialiser: its values against an independent program, each element alone against the whole, its
//! distribution, and its independence of its neighbours.

use cdi_prune::init::{Generator, MODE_NAMES, SchemeParams};
use cdi_prune::tensor::{Layout, Shape};
use proptest::prelude::*;

fn params(text: &str) -> SchemeParams {
    if text.starts_with('{') { serde_yaml::from_str(text).unwrap() } else { SchemeParams::named(text) }
}

fn generator(text: &str, dims: &[usize], seed: u64, layer: u64) -> Generator {
    let scheme = params(text).scheme().unwrap();
    let shape = Shape::new(dims.to_vec()).unwrap();
    scheme.check_shape(&shape, Layout::OutIn).unwrap();
    Generator::new(seed, layer, &scheme, &shape, Layout::OutIn)
}

fn weights(text: &str, dims: &[usize], seed: u64, layer: u64) -> Vec<f64> {
    let generator = generator(text, dims, seed, layer);
    let mut out = vec![0.0; dims.iter().product()];
    generator.fill(0, &mut out);
    out
}

/// One scheme of each mode, and each distribution.
const SCHEMES: [&str; 19] = [
    "he",
    "{mode: he, fan: out, nonlinearity: tanh}",
    "he_normal",
    "xavier",
    "glorot_uniform",
    "lecun",
    "lecun_normal",
    "attention",
    "{mode: variance_scaling, scale: 0.5, fan: avg, distribution: uniform}",
    "torch_default",
    "{mode: normal, mean: 0.5, std: 0.02, depth: 12}",
    "trunc_normal",
    "{mode: trunc_normal, mean: 1, std: 0.5, low: 0.75, high: 3}",
    "{mode: uniform, low: -1, high: 3}",
    "{mode: sparse, sparsity: 0.3, std: 1}",
    "{mode: constant, value: 0.25}",
    "zeros",
    "ones",
    "eye",
];

#[test]
fn every_mode_is_among_the_schemes() {
    let named: Vec<String> = SCHEMES.iter().map(|s| params(s).scheme().unwrap().params().mode).collect();
    for mode in MODE_NAMES {
        // These are not drawn weight by weight, and have tests of their own.
        let apart = ["dirac", "orthogonal", "delta_orthogonal"].contains(&mode);
        assert!(apart || named.iter().any(|n| n == mode), "{mode}");
    }
}

#[test]
fn values_equal_an_independent_program_s() {
    // Seed 42, layer 3, shape [20, 30], at (0, 0), (5, 7), (19, 29): computed in Python 3.11 with integers,
    // `math` and `statistics.NormalDist`, so equal up to the platform's last bits.
    for (text, expected) in [
        ("trunc_normal", [-1.2557465286642973, -1.4068843064770955, 1.472390024079587]),
        (
            "{mode: trunc_normal, mean: 1, std: 0.5, low: 0.75, high: 3}",
            [0.8311991525828364, 0.8070884508088124, 1.9086169054920719],
        ),
        ("he_normal", [-0.3686026611862933, -0.41296654023028884, 0.43219460997210146]),
        ("torch_default", [-0.1512606251355999, -0.16077594405922185, 0.16432339539365493]),
        (
            "{mode: variance_scaling, scale: 0.5, fan: avg, distribution: uniform}",
            [-0.20293742407338886, -0.21570356403787416, 0.22046296943627297],
        ),
        (
            "{mode: he, fan: out, nonlinearity: tanh}",
            [0.029981029898783002, 0.23423298781383614, -0.10599460692549909],
        ),
        (
            "{mode: xavier, nonlinearity: relu}",
            [0.022754001858662817, 0.17777033871316472, -0.08044425061892024],
        ),
        ("{mode: he, a: 0.2}", [0.020368098968636682, 0.1591299796444066, -0.0720091554989558]),
        (
            "{mode: normal, std: 0.02, depth: 12}",
            [0.0003284257274560056, 0.002565893822749415, -0.0011611127437397833],
        ),
    ] {
        let generator = generator(text, &[20, 30], 42, 3);
        for ((i, j), x) in [(0, 0), (5, 7), (19, 29)].into_iter().zip(expected) {
            let own = generator.weight_at(i, j);
            assert!((own - x).abs() <= 1e-13 * x.abs(), "{text} at ({i}, {j}): {own:?}, expected {x:?}");
        }
    }
}

#[test]
fn bits_are_pinned() {
    // This tool's own, to notice a change of any bit: a change is a breaking one.
    let bits = |text| generator(text, &[20, 30], 42, 3).weight_at(5, 7).to_bits();
    assert_eq!(
        [bits("trunc_normal"), bits("he_normal"), bits("torch_default"), bits("{mode: he, a: 0.2}")],
        [13832386899665826366, 13824483000599472175, 13818332620999353242, 4594901282026775618]
    );
    assert_eq!(
        bits("{mode: variance_scaling, distribution: trunc_normal, fan: avg, scale: 3}"),
        13826537719951461283
    );
}

proptest! {
    #[test]
    fn any_run_equals_the_elements_alone(
        seed: u64,
        layer: u64,
        text in prop::sample::select(SCHEMES.to_vec()),
        rows in 1..40usize,
        cols in 1..40usize,
        from in 0.0..1.0f64,
        to in 0.0..1.0f64,
    ) {
        let generator = generator(text, &[rows, cols], seed, layer);
        let n = (rows * cols) as f64;
        let (start, end) = ((from.min(to) * n) as usize, (from.max(to) * n) as usize);
        let mut run = vec![f64::NAN; end - start];
        generator.fill(start, &mut run);
        for (n, x) in (start..end).zip(&run) {
            let alone = generator.weight_at(n / cols, n % cols);
            prop_assert_eq!(x.to_bits(), alone.to_bits(), "{} at {}", text, n);
        }
    }
}

const SIDE: usize = 256;
const COUNT: usize = SIDE * SIDE;

fn cumulative(x: f64) -> f64 {
    0.5 * libm::erfc(-x / 2f64.sqrt())
}

/// Mean, standard deviation and distribution function of a mode for a matrix of SIDE rows and columns.
#[allow(clippy::type_complexity)]
fn exact() -> Vec<(&'static str, f64, f64, Box<dyn Fn(f64) -> f64>)> {
    let normal = |mean: f64, std: f64| -> (f64, f64, Box<dyn Fn(f64) -> f64>) {
        (mean, std, Box::new(move |x| cumulative((x - mean) / std)))
    };
    let uniform = |low: f64, high: f64| -> (f64, f64, Box<dyn Fn(f64) -> f64>) {
        ((low + high) / 2.0, (high - low) / 12f64.sqrt(), Box::new(move |x| (x - low) / (high - low)))
    };
    let truncated = |mean: f64, std: f64, low: f64, high: f64| -> (f64, f64, Box<dyn Fn(f64) -> f64>) {
        // Johnson, Kotz, Balakrishnan, "Continuous univariate distributions" 1, 1994, section 10.1.
        let (a, b) = ((low - mean) / std, (high - mean) / std);
        let density = |x: f64| libm::exp(-x * x / 2.0) / (2.0 * std::f64::consts::PI).sqrt();
        let (below, between) = (cumulative(a), cumulative(b) - cumulative(a));
        let shift = (density(a) - density(b)) / between;
        let variance = 1.0 + (a * density(a) - b * density(b)) / between - shift * shift;
        let inside = move |x: f64| (cumulative((x - mean) / std) - below) / between;
        (mean + shift * std, std * variance.sqrt(), Box::new(inside))
    };
    let side = SIDE as f64;
    let he = (2.0 / side).sqrt();
    let stretched = he / 0.879_625_661_034_239_8;
    let bound = (3.0 / (2.0 * side)).sqrt();
    [
        ("he", normal(0.0, he)),
        ("he_normal", truncated(0.0, stretched, -2.0 * stretched, 2.0 * stretched)),
        ("{mode: xavier, nonlinearity: tanh}", normal(0.0, 5.0 / 3.0 / side.sqrt())),
        ("glorot_uniform", uniform(-(3.0 / side).sqrt(), (3.0 / side).sqrt())),
        ("lecun", normal(0.0, 1.0 / side.sqrt())),
        ("{mode: variance_scaling, scale: 0.5, fan: avg, distribution: uniform}", uniform(-bound, bound)),
        ("torch_default", uniform(-1.0 / side.sqrt(), 1.0 / side.sqrt())),
        ("{mode: normal, mean: 3, std: 2, depth: 8}", normal(3.0, 0.5)),
        ("trunc_normal", truncated(0.0, 1.0, -2.0, 2.0)),
        ("{mode: trunc_normal, mean: 1, std: 0.5, low: 0.75, high: 3}", truncated(1.0, 0.5, 0.75, 3.0)),
        ("{mode: uniform, low: -1, high: 3}", uniform(-1.0, 3.0)),
        ("{mode: sparse, sparsity: 0, std: 2}", normal(0.0, 2.0)),
    ]
    .into_iter()
    .map(|(text, (mean, std, inside))| (text, mean, std, inside))
    .collect()
}

/// Deterministic, so a bound that holds once holds always. 1.95 is the 0.1 % point of the
/// Kolmogorov-Smirnov statistic.
#[test]
fn distributions_are_the_exact_ones() {
    for (text, mean, std, inside) in exact() {
        for seed in [1, 2, 3] {
            let mut xs = weights(text, &[SIDE, SIDE], seed, 7);
            let n = COUNT as f64;
            let found = xs.iter().sum::<f64>() / n;
            assert!((found - mean).abs() < 4.0 * std / n.sqrt(), "{text}: mean {found}, expected {mean}");
            let variance = xs.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
            assert!(
                (variance.sqrt() / std - 1.0).abs() < 0.012,
                "{text}: std {}, expected {std}",
                variance.sqrt()
            );
            xs.sort_by(f64::total_cmp);
            let distance = xs.iter().enumerate().fold(0.0, |most: f64, (k, x)| {
                let f = inside(*x);
                most.max((f - k as f64 / n).abs()).max(((k + 1) as f64 / n - f).abs())
            });
            assert!(distance * n.sqrt() < 1.95, "{text}, seed {seed}: {}", distance * n.sqrt());
        }
    }
}

fn correlation(xs: &[f64], ys: &[f64]) -> f64 {
    let n = xs.len() as f64;
    let (mx, my) = (xs.iter().sum::<f64>() / n, ys.iter().sum::<f64>() / n);
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (x, y) in xs.iter().zip(ys) {
        xy += (x - mx) * (y - my);
        xx += (x - mx) * (x - mx);
        yy += (y - my) * (y - my);
    }
    xy / (xx * yy).sqrt()
}

#[test]
fn weights_do_not_depend_on_their_neighbours() {
    for text in ["he", "torch_default", "trunc_normal", "{mode: sparse, sparsity: 0.5, std: 1}"] {
        let xs = weights(text, &[SIDE, SIDE], 1, 7);
        let transposed: Vec<f64> = (0..COUNT).map(|n| xs[n % SIDE * SIDE + n / SIDE]).collect();
        let others = [
            ("the next column", [&xs[1..], &xs[..1]].concat()),
            ("the column after next", [&xs[2..], &xs[..2]].concat()),
            ("the next row", [&xs[SIDE..], &xs[..SIDE]].concat()),
            ("the next layer", weights(text, &[SIDE, SIDE], 1, 8)),
            ("the next seed", weights(text, &[SIDE, SIDE], 2, 7)),
            ("layer and seed exchanged", weights(text, &[SIDE, SIDE], 7, 1)),
            ("the transpose", transposed),
        ];
        for (what, ys) in others {
            // Squares too: a sign may hide a dependence of magnitudes.
            let squares = |xs: &[f64]| xs.iter().map(|x| x * x).collect::<Vec<_>>();
            for r in [correlation(&xs, &ys), correlation(&squares(&xs), &squares(&ys))] {
                let bound = 4.0 / (COUNT as f64).sqrt();
                // The diagonal is its own transpose.
                let bound = if what == "the transpose" { bound + 1.0 / SIDE as f64 } else { bound };
                assert!(r.abs() < bound, "{text}, {what}: {r}");
            }
        }
    }
}

#[test]
fn no_weight_comes_twice() {
    let mut all: Vec<u64> = [(1, 7), (1, 8), (2, 7)]
        .into_iter()
        .flat_map(|(seed, layer)| weights("{mode: uniform, low: 0, high: 1}", &[SIDE, SIDE], seed, layer))
        .map(f64::to_bits)
        .collect();
    all.sort_unstable();
    assert!(all.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn sparse_has_its_number_of_zeros_in_each_column() {
    for (rows, sparsity, zeros) in [(10, 0.25, 3), (7, 0.5, 4), (5, 0.0, 0), (5, 1.0, 5), (1, 0.4, 1)] {
        let text = format!("{{mode: sparse, sparsity: {sparsity}, std: 1}}");
        let xs = weights(&text, &[rows, 50], 3, 1);
        let mut first_rows = 0;
        for j in 0..50 {
            assert_eq!((0..rows).filter(|i| xs[i * 50 + j] == 0.0).count(), zeros, "column {j} of {rows}");
            first_rows += usize::from(xs[j] == 0.0);
        }
        // Not the same ones in every column.
        assert!(zeros == 0 || zeros == rows || (1..50).contains(&first_rows));
    }
}

#[test]
fn eye_and_dirac_pass_their_input_on() {
    assert_eq!(weights("eye", &[2, 3], 1, 1), [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    // torch.nn.init.dirac_(torch.empty(4, 2, 3), groups=2)[:, :, 1], the rest 0.
    let xs = weights("{mode: dirac, groups: 2}", &[4, 2, 3], 1, 1);
    let middle: Vec<f64> = xs.iter().skip(1).step_by(3).copied().collect();
    assert_eq!(middle, [1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0]);
    assert_eq!(xs.iter().sum::<f64>(), 4.0);
    // torch.nn.init.dirac_(torch.empty(3, 2, 4, 3)): one at (0, 0, 2, 1) and one at (1, 1, 2, 1).
    let xs = weights("dirac", &[3, 2, 4, 3], 1, 1);
    let ones: Vec<usize> = (0..xs.len()).filter(|n| xs[*n] == 1.0).collect();
    assert_eq!((ones, xs.iter().sum::<f64>()), (vec![7, 24 + 12 + 7], 2.0));
    // The same in Flax's layout, [3, 2 in, 4 out].
    let shape = Shape::new(vec![3, 2, 4]).unwrap();
    let scheme = params("{mode: dirac, groups: 2}").scheme().unwrap();
    let mut xs = vec![0.0; 24];
    Generator::new(1, 1, &scheme, &shape, Layout::InOut).fill(0, &mut xs);
    assert_eq!(xs[8..16], [1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0]);
    assert_eq!(xs.iter().sum::<f64>(), 4.0);
}

#[test]
fn the_bias_of_a_layer_without_inputs_is_zero() {
    let dir = tempfile::tempdir().unwrap();
    let text =
        "{seed: 1, model: {tensors: {w: [3, 0], w.bias: [3]}}, init: {output: init.safetensors}, rules: [
        {match: w, init: he}, {match: w.bias, init: {mode: torch_default, fan_in_of: w}}]}";
    std::fs::write(dir.path().join("x.yaml"), text).unwrap();
    let settings = cdi_prune::config::Settings::load(&dir.path().join("x.yaml"), &[]).unwrap();
    let resolved = cdi_prune::pipeline::Resolved::new(&settings).unwrap();
    cdi_prune::pipeline::run(
        &resolved,
        cdi_prune::pipeline::Stages::Init,
        &cdi_prune::pipeline::Silent,
        |_| (),
    )
    .unwrap();
    let written = cdi_prune::checkpoint::Checkpoint::open(&dir.path().join("init.safetensors")).unwrap();
    assert_eq!(written.tensor("w.bias").unwrap().bytes(), [0; 12]);
}
