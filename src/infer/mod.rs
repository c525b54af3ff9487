//! A starting config inferred from a checkpoint's header: the probable kind of each tensor, the usual
//! initialiser of such tensors, and as few readable rules as possible.
//!
//! ```
//! use cdi_prune::infer::{Inference, Surroundings};
//! use cdi_prune::tensor::{Dtype, Shape};
//!
//! let (weight, bias) = (Shape::new(vec![64, 1024])?, Shape::new(vec![64])?);
//! let tensors = [("fc1.weight", Dtype::F32, &weight), ("fc1.bias", Dtype::F32, &bias)];
//! let config = Inference::new(tensors, |_, _| false).config(&Surroundings::default());
//! assert!(config.contains("match: fc1.weight"));
//! # Ok::<(), cdi_prune::tensor::ShapeError>(())
//! ```
//!
//! The way of a name: `classify` says what its tensor is, `family` how the code that the names are from
//! starts such a tensor, `layout` what its dimensions are where no word says it, `cover` finds patterns,
//! `group` makes rules of them, `number` gives those layer ids, `render` writes YAML.

mod classify;
mod cover;
mod family;
mod group;
mod head;
mod inference;
mod layout;
mod name;
mod number;
mod purpose;
mod render;
mod surroundings;
mod yaml;

use std::collections::BTreeMap;

use self::classify::{TensorKind, classify};
pub use self::inference::Inference;
pub use self::purpose::Purpose;
pub use self::surroundings::Surroundings;
use crate::tensor::Shape;

/// Why a tensor is no weight that pruning could take, as far as its name, its shape and its neighbours tell:
/// `None` where it may be one.
pub fn no_weight(name: &str, shape: &Shape, all: &BTreeMap<&str, &Shape>) -> Option<&'static str> {
    if shape.elements() <= 1 {
        return Some("one number");
    }
    match classify(name, shape, all) {
        TensorKind::Statistic => Some("running statistics"),
        TensorKind::Buffer => Some("computed"),
        TensorKind::Unknown if is_scale(name) => Some("scales"),
        _ => None,
    }
}

/// Whether a tensor of this name, of which nothing else is known, holds scales of quantised
/// weights or the like.
fn is_scale(name: &str) -> bool {
    let leaf = name.rsplit(['.', '/']).next().unwrap_or_default();
    let words = ["scale", "scales", "scale_inv", "scaling", "zeros", "zero_point", "alpha", "absmax"];
    words
        .iter()
        .any(|word| leaf.strip_suffix(word).is_some_and(|rest| rest.is_empty() || rest.ends_with(['_', 'q'])))
}

#[cfg(test)]
mod tests {
    use safetensors::Dtype;

    use super::name::Tensors;
    use super::*;

    fn shape(dims: &[usize]) -> Shape {
        Shape::new(dims.to_vec()).unwrap()
    }

    /// Lines of the rules, without comments.
    fn rules(inference: &Inference<'_>) -> Vec<String> {
        let config = inference.config(&Surroundings::default());
        let rules = config.split("\nrules:\n").nth(1).unwrap().split("\ninit:\n").next().unwrap();
        let code = |line: &str| line.split(" #").next().unwrap_or_default().trim().to_owned();
        rules.lines().map(code).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
    }

    #[test]
    fn tensors_set_apart_get_their_own_rule_and_then_none() {
        let (weight, bias) = (shape(&[4, 4]), shape(&[4]));
        let all = [
            ("fc1.weight", Dtype::F32, &weight),
            ("fc2.weight", Dtype::F32, &weight),
            ("fc1.bias", Dtype::F32, &bias),
        ];
        let mut inference = Inference::new(all, |_, _| false);
        let weights = ["- match: \"fc*.weight\"", "layer: {base: 0, step: 1, by: 1}", "init: torch_default"];
        let biases = ["- match: \"**.bias\"", "init: {mode: torch_default, fan_in_of: \"*.weight\"}"];
        assert_eq!(rules(&inference), [&weights[..], &biases].concat());
        assert!(inference.misled().is_empty());

        assert!(inference.set_apart("fc2.weight"));
        let apart = ["- match: fc2.weight", "init: torch_default"];
        assert_eq!(rules(&inference), [&apart[..], &weights, &biases].concat());
        assert!(inference.set_apart("fc2.weight"));
        let apart = ["- match: fc2.weight", "init: none"];
        assert_eq!(rules(&inference), [&apart[..], &weights, &biases].concat());
        assert!(!inference.set_apart("fc2.weight"), "nothing is left to give up");
        assert!(!inference.set_apart("fc3.weight"));

        assert!(inference.set_apart("fc1.bias"));
        let bias = ["- match: fc1.bias", "init: zeros"];
        assert_eq!(rules(&inference), [&bias[..], &apart, &weights].concat());
        assert!(inference.misled().is_empty());

        inference.give_up();
        assert_eq!(rules(&inference), ["- match: \"**\"", "init: none"]);
    }

    #[test]
    fn what_pruning_could_not_take() {
        let (vector, one, matrix, none) = (shape(&[4]), shape(&[1, 1]), shape(&[4, 4]), shape(&[]));
        let all: Tensors<'_> = [
            ("bn.running_var", &vector),
            ("bn.weight", &vector),
            ("gate.weight", &one),
            ("lora.alpha", &none),
            ("fc.weight", &matrix),
            ("fc.weight_scale", &vector),
            ("fc.weight_scale_inv", &matrix),
            ("fc.qzeros", &matrix),
            ("LayerNorm_0/scale", &vector),
            ("fc.upscale", &matrix),
        ]
        .into();
        let found = all.iter().filter_map(|(name, shape)| Some((*name, no_weight(name, shape, &all)?)));
        assert_eq!(
            found.collect::<Vec<_>>(),
            [
                ("bn.running_var", "running statistics"),
                ("fc.qzeros", "scales"),
                ("fc.weight_scale", "scales"),
                ("fc.weight_scale_inv", "scales"),
                ("gate.weight", "one number"),
                ("lora.alpha", "one number"),
            ]
        );
    }

    #[test]
    fn a_rule_that_takes_anothers_tensor_is_found_out() {
        let weight = shape(&[4, 4]);
        let all = [("a.weight", Dtype::F32, &weight), ("b.weight", Dtype::F32, &weight)];
        let mut inference = Inference::new(all, |_, _| false);
        inference.rules[0].patterns = vec!["*.weight".to_owned()];
        assert_eq!(inference.misled(), ["b.weight"]);
        inference.set_apart("b.weight");
        assert!(inference.misled().is_empty());
    }

    #[test]
    fn only_tensors_that_are_floats_get_rules() {
        let (weight, empty) = (shape(&[4, 4]), shape(&[]));
        let all = [("a.weight", Dtype::I8, &weight), ("a.scale", Dtype::F8_E4M3, &empty)];
        assert!(Inference::new(all, |_, _| true).is_empty());
    }
}
